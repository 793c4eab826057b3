package onnx

import (
	"errors"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// FuzzParse reads anything. What can be read must survive everything the package does with a model, and be written back
// as protobuf itself understands it.
func FuzzParse(f *testing.F) {
	tensors, err := os.ReadFile("testdata/tensors.onnx")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tensors)
	f.Add(marshal(f, fullModel()))
	for _, p := range smallModels() {
		f.Add(marshal(f, p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrBadModel) {
				t.Fatalf("%v is no ErrBadModel", err)
			}
			return
		}
		if err := m.Graph.verify(); err != nil {
			t.Fatal(err)
		}
		_ = Check(m)
		text := m.Text()
		c := m.Clone()
		if c.Text() != text {
			t.Fatal("the clone has another text")
		}
		if err := c.Graph.verify(); err != nil {
			t.Fatal(err)
		}
		m.Graph.Keys()
		m.Graph.FreshName("x")
		out, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		p, q := &onnxpb.ModelProto{}, &onnxpb.ModelProto{}
		if proto.Unmarshal(b, p) != nil {
			return // damaged typed data, which are not decoded until they are used
		}
		if err := proto.Unmarshal(out, q); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(p, q) {
			t.Fatalf("written otherwise than read:\n%v\n%v", p, q)
		}
		if again, err := Parse(out); err != nil || again.Text() != text {
			t.Fatalf("what was written reads otherwise: %v", err)
		}
	})
}

// FuzzParseTensor reads anything as a tensor that is a file of its own.
func FuzzParseTensor(f *testing.F) {
	for _, t := range fullModel().Graph.Initializer {
		f.Add(marshal(f, t))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name, x, err := ParseTensor(b)
		if err == nil {
			err = x.Load()
		}
		if err != nil {
			if !errors.Is(err, ErrBadModel) {
				t.Fatalf("%v is no ErrBadModel", err)
			}
			return
		}
		if x.Type != Undefined && x.Type != String && int64(len(x.Bytes())) != x.Type.ByteSize(NumElements(x.Dims)) {
			t.Fatalf("%d bytes for %s%v", len(x.Bytes()), x.Type, x.Dims)
		}
		out, err := MarshalTensor(name, x)
		if err != nil {
			t.Fatal(err)
		}
		if again, y, err := ParseTensor(out); err != nil || again != name || string(y.Bytes()) != string(x.Bytes()) {
			t.Fatalf("what was written reads otherwise: %v", err)
		}
	})
}

// smallModels are seeds that a mutation changes more easily than the full model.
func smallModels() []*onnxpb.ModelProto {
	str := proto.String
	node := func(op string, in []string, out ...string) *onnxpb.NodeProto {
		return &onnxpb.NodeProto{OpType: str(op), Input: in, Output: out}
	}
	info := func(name string) *onnxpb.ValueInfoProto { return &onnxpb.ValueInfoProto{Name: str(name)} }
	inner := &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{node("Relu", []string{"a"}, "c")}, Output: []*onnxpb.ValueInfoProto{info("c")}}
	branch := node("If", []string{"a"}, "b")
	branch.Attribute = []*onnxpb.AttributeProto{{Name: str("g"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: inner}}
	function := &onnxpb.FunctionProto{Name: str("F"), Input: []string{"a"}, Output: []string{"b"}, Node: []*onnxpb.NodeProto{node("F", []string{"a"}, "b")}}
	return []*onnxpb.ModelProto{
		{Graph: &onnxpb.GraphProto{}},
		{IrVersion: proto.Int64(3), Graph: &onnxpb.GraphProto{
			Input: []*onnxpb.ValueInfoProto{info("a")}, Node: []*onnxpb.NodeProto{node("Relu", []string{"a"}, "b")}, Output: []*onnxpb.ValueInfoProto{info("b"), info("a")},
		}},
		{Graph: &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{info("a")}, Node: []*onnxpb.NodeProto{branch}}, Functions: []*onnxpb.FunctionProto{function}},
		{Graph: &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{{Name: str("a"), DataType: proto.Int32(9), Dims: []int64{2}, Int32Data: []int32{0, 1}}}, Output: []*onnxpb.ValueInfoProto{info("a")}}},
	}
}
