package onnx

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

func pbNode(op, in, out string) *onnxpb.NodeProto {
	n := &onnxpb.NodeProto{OpType: &op}
	if in != "" {
		n.Input = strings.Split(in, ",")
	}
	if out != "" {
		n.Output = strings.Split(out, ",")
	}
	return n
}

func pbInfo(name string) *onnxpb.ValueInfoProto { return &onnxpb.ValueInfoProto{Name: &name} }

func pbByte(name string) *onnxpb.TensorProto {
	return &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(int32(Uint8)), RawData: []byte{1}}
}

func pbGraphAttr(g *onnxpb.GraphProto) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String("body"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: g}
}

// nested returns depth graphs in each other.
func nested(depth int) *onnxpb.GraphProto {
	g := &onnxpb.GraphProto{}
	for range depth {
		n := pbNode("If", "", "")
		n.Attribute = []*onnxpb.AttributeProto{pbGraphAttr(g)}
		g = &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{n}}
	}
	return g
}

func TestBadGraphs(t *testing.T) {
	named := func(n *onnxpb.NodeProto, name string) *onnxpb.NodeProto { n.Name = &name; return n }
	withBody := func(n *onnxpb.NodeProto, g *onnxpb.GraphProto) *onnxpb.NodeProto {
		n.Attribute = append(n.Attribute, pbGraphAttr(g))
		return n
	}
	long := strings.Repeat("n", 1<<20)
	var types *onnxpb.TypeProto
	for range 1000 {
		types = &onnxpb.TypeProto{Value: &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{ElemType: types}}}
	}
	for _, c := range []struct {
		name string
		g    *onnxpb.GraphProto
		want []string // parts of the error; nil: the graph is good
	}{
		{"empty", &onnxpb.GraphProto{}, nil},
		{"undefined input", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{named(pbNode("Relu", "a", "b"), "n1")}}, []string{`"n1" (Relu)`, `input 0 takes "a"`, "nothing defines"}},
		{"missing initializer", &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{pbInfo("x")}, Node: []*onnxpb.NodeProto{pbNode("Conv", "x,w", "y")}}, []string{`Conv node of output "y"`, `input 1 takes "w"`}},
		{"wrong order", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{named(pbNode("A", "b", "a"), "n1"), named(pbNode("B", "", "b"), "n2")}}, []string{`"n1" (A)`, `takes "b"`, `later node "n2" (B)`, "order"}},
		{"cycle", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{named(pbNode("A", "b", "a"), "n1"), named(pbNode("B", "a", "b"), "n2")}}, []string{`"n1" (A)`, `"n2" (B)`, "depend on each other"}},
		{"self-loop", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{named(pbNode("A", "a", "a"), "n1")}}, []string{`"n1" (A)`, "depend on each other"}},
		{"body takes its node's output", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{withBody(named(pbNode("If", "", "y"), "if"), &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{pbNode("Relu", "y", "z")}})}}, []string{`attribute "body"`, `takes "y"`, `"if" (If)`}},
		{"duplicate input", &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{pbInfo("x"), pbInfo("x")}}, []string{`graph input "x"`, "twice"}},
		{"duplicate initializer", &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{pbByte("w"), pbByte("w")}}, []string{`initializer "w"`, "twice"}},
		{"initializer and sparse initializer", &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{pbByte("w")}, SparseInitializer: []*onnxpb.SparseTensorProto{{Values: pbByte("w"), Indices: pbByte("")}}}, []string{`initializer "w"`, "twice"}},
		{"duplicate output", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{pbNode("A", "", "a"), named(pbNode("B", "", "a"), "n2")}}, []string{`"n2" (B)`, `output "a"`, "twice"}},
		{"output named like an input", &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{pbInfo("x")}, Node: []*onnxpb.NodeProto{pbNode("A", "", "x")}}, []string{`output "x"`, "twice"}},
		{"nameless input", &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{pbInfo("")}}, []string{"graph input without a name"}},
		{"nameless initializer", &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{pbByte("")}}, []string{"initializer without a name"}},
		{"undefined graph output", &onnxpb.GraphProto{Output: []*onnxpb.ValueInfoProto{pbInfo("y")}}, []string{`graph output "y"`}},
		{"names of the body outside", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{withBody(pbNode("If", "", "y"), &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{pbNode("A", "", "z")}}), pbNode("Relu", "z", "w")}}, []string{`takes "z"`, "nothing defines"}},
		{"gigantic names", &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{named(pbNode("A", long, long), long)}}, []string{"nnn", "1048576 bytes"}},
		{"nested 100 deep", nested(100), nil},
		{"nested 1000 deep", nested(1000), []string{"nested too deep"}},
		{"nested types", &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{{Name: proto.String("x"), Type: types}}}, []string{"nested too deep"}},
		{"dimensions of 2^60", &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{{Name: proto.String("w"), DataType: proto.Int32(1), Dims: []int64{1 << 60, 16}, RawData: []byte{1}}}}, []string{`initializer "w"`, "impossible dimensions"}},
		{"negative dimension", &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{{Name: proto.String("w"), DataType: proto.Int32(1), Dims: []int64{-4}, RawData: []byte{1, 2, 3, 4}}}}, []string{`initializer "w"`, "impossible dimensions"}},
		{"bytes that do not fit", &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{{Name: proto.String("w"), DataType: proto.Int32(1), Dims: []int64{4}, RawData: []byte{1}}}}, []string{`initializer "w"`, "1 bytes", "f32[4]", "16"}},
		{"sparse without indices", &onnxpb.GraphProto{SparseInitializer: []*onnxpb.SparseTensorProto{{Values: pbByte("w")}}}, []string{`sparse initializer "w"`, "missing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(marshal(t, &onnxpb.ModelProto{Graph: c.g}))
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrBadModel) {
				t.Fatalf("error %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not tell %q", err, w)
				}
			}
			if len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestBadBytes(t *testing.T) {
	full := marshal(t, fullModel())
	group := bytes.Repeat(protowire.AppendTag(nil, 900, protowire.StartGroupType), 100_000)
	random := make([]byte, 10_000)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(random)
	twice := &onnxpb.AttributeProto{Name: proto.String("t"), Type: onnxpb.AttributeProto_TENSOR.Enum(), T: pbByte("a")}
	merged := append(marshal(t, twice), marshal(t, &onnxpb.AttributeProto{T: pbByte("b")})...)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "no ONNX model"},
		{"text", []byte("ir_version: 8 graph { }"), ""},
		{"random", random, ""},
		{"a length that lies", []byte{7<<3 | 2, 100, 1}, "graph of ModelProto"},
		{"a gigantic length", append([]byte{7<<3 | 2}, protowire.AppendVarint(nil, 1<<62)...), "graph of ModelProto"},
		{"a gigantic string", append([]byte{2<<3 | 2}, protowire.AppendVarint(nil, 1<<40)...), "producer_name of ModelProto"},
		{"field number 0", []byte{0, 0}, "damaged ModelProto"},
		{"endless varint", bytes.Repeat([]byte{0xff}, 100), "damaged ModelProto"},
		{"the graph is a number", varintField(7, 1), "no ONNX model"},
		{"nested groups", group, "damaged or truncated"},
		{"a tensor in pieces", bytesField(7, bytesField(1, append(bytesField(4, 'N'), bytesField(5, merged...)...)...)...), "in pieces"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Parse(c.b); !errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
				t.Errorf("error %v, want %q", err, c.want)
			}
			path := filepath.Join(t.TempDir(), "bad.onnx")
			if err := os.WriteFile(path, c.b, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(path); !errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), path) {
				t.Errorf("Read: %v", err)
			}
		})
	}
	for k := range full {
		if m, err := Parse(full[:k]); err == nil {
			_ = Check(m) // cut between two fields
		} else if !errors.Is(err, ErrBadModel) {
			t.Fatalf("cut to %d bytes: %v", k, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.onnx")); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrBadModel) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

// TestBoundedMemory reads files that decode to far more than their size.
func TestBoundedMemory(t *testing.T) {
	const size = 32 << 20
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"empty nodes", bytesField(7, bytes.Repeat([]byte{1<<3 | 2, 0}, size/2)...)},
		{"empty strings", bytesField(7, bytesField(1, bytes.Repeat([]byte{1<<3 | 2, 0}, size/2)...)...)},
		{"small integers", bytesField(7, bytesField(1, bytesField(5, bytesField(8, make([]byte, size)...)...)...)...)},
		{"separate integers", bytesField(7, bytesField(1, bytesField(5, bytes.Repeat([]byte{8 << 3, 1}, size/2)...)...)...)},
		{"scattered data", bytesField(7, bytesField(5, bytes.Repeat([]byte{rawData<<3 | 2, 0, 2 << 3, 2}, size/4)...)...)},
		{"empty tensors", bytesField(7, bytes.Repeat([]byte{5<<3 | 2, 0}, size/2)...)},
		{"training graphs", bytes.Repeat([]byte{0xa2, 1, 0}, size/3)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse(c.b)
			runtime.ReadMemStats(&after)
			allocated := int64(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%d MB allocated", allocated>>20)
			if !errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), "memory") {
				t.Errorf("error %v", err)
			}
			if allocated > 4*size+64<<20 {
				t.Errorf("%d bytes allocated for a file of %d", allocated, len(c.b))
			}
		})
	}
}

func TestCheck(t *testing.T) {
	model := func(g *Graph) *Model { return &Model{IRVersion: 10, Opsets: []Opset{{"", 20}}, Graph: g} }
	for _, c := range []struct {
		name  string
		build func(m *Model)
		want  []string // nil: nothing is wrong
	}{
		{"good", func(*Model) {}, nil},
		{"wrong order", func(m *Model) { m.Graph.first.MoveAfter(m.Graph.last) }, []string{`output "b"`, `"a"`, "computed only later", `output "a"`}},
		{"cycle", func(m *Model) { m.Graph.first.SetInput(0, m.Graph.last.Output(0)) }, []string{"depend on each other"}},
		{"no import", func(m *Model) { m.Graph.first.Domain = "com.example" }, []string{"A node", `"com.example" is not imported`}},
		{"no opset", func(m *Model) { m.Opsets = nil }, []string{"no operator set"}},
		{"opset twice", func(m *Model) { m.Opsets = append(m.Opsets, Opset{"ai.onnx", 20}) }, []string{"twice"}},
		{"opset 0", func(m *Model) { m.Opsets[0].Version = 0 }, []string{"version 0"}},
		{"IR version", func(m *Model) { m.IRVersion = 99 }, []string{"IR version 99"}},
		{"no input type", func(m *Model) { m.Graph.inputs[0].Type = nil }, []string{`graph input "x" has no type`}},
		{"no operator", func(m *Model) { m.Graph.first.Op = "" }, []string{"has no operator"}},
		{"two attributes", func(m *Model) { m.Graph.first.Attrs = []*Attribute{AttrI("k", 1), AttrI("k", 2)} }, []string{`two attributes "k"`}},
		{"attribute without value", func(m *Model) { m.Graph.first.SetAttr(AttrT("value", nil)) }, []string{`attribute "value" has no value`}},
		{"unknown kind", func(m *Model) { m.Graph.first.SetAttr(&Attribute{Name: "k", Kind: 77}) }, []string{"unknown kind 77"}},
		{"reference outside of functions", func(m *Model) { m.Graph.first.SetAttr(&Attribute{Name: "k", Kind: AttrInt, Ref: "r"}) }, []string{`refers to attribute "r"`}},
		{"bytes", func(m *Model) { m.Graph.AddConst("w", Of([]float32{1, 2})).Const().Dims[0] = 3 }, []string{`initializer "w" has 8 bytes`}},
		{"typed data", func(m *Model) {
			_, x, err := ParseTensor(rawTensor(Int32, []int64{1}, bytesField(int32Data, 1, 2)))
			if err != nil {
				t.Fatal(err)
			}
			m.Graph.AddConst("w", x)
		}, []string{"2 stored values"}},
		{"declared type", func(m *Model) { m.Graph.AddConst("w", Of([]float32{1})).Type = TensorOf(Int8, Fixed(1)) }, []string{`"w" is declared as i8[1]`}},
		{"declared dimensions", func(m *Model) { m.Graph.AddConst("w", Of([]float32{1})).Type = TensorOf(Float32, Fixed(2)) }, []string{`"w" is declared as f32[2]`}},
		{"declared symbol", func(m *Model) { m.Graph.AddConst("w", Of([]float32{1})).Type = TensorOf(Float32, Symbol("N")) }, nil},
		{"output twice", func(m *Model) { m.Graph.AddOutput(m.Graph.outputs[0]) }, []string{`graph output "y" is listed twice`}},
		{"shadowed name", func(m *Model) {
			s := NewGraph("s")
			m.Graph.last.SetAttr(AttrG("body", s))
			s.AddInput("a", nil)
		}, []string{`"a", subgraph of`}},
		{"value of a sibling", func(m *Model) {
			s := NewGraph("s")
			v := s.Append(NodeSpec{Op: "S", Outputs: []string{"s"}}).Output(0)
			m.Graph.first.SetAttr(AttrG("body", s))
			m.Graph.last.SetInput(0, v)
		}, []string{`"s", is a value of another graph`}},
		{"body takes its node's output", func(m *Model) {
			s := NewGraph("s")
			s.AddOutput(m.Graph.last.Output(0))
			m.Graph.last.SetAttr(AttrG("body", s))
		}, []string{"computed by the node around"}},
		{"functions call each other", func(m *Model) {
			for _, f := range [][2]string{{"F", "G"}, {"G", "F"}} {
				fn := &Function{Name: f[0], Domain: "local", Opsets: []Opset{{"local", 1}}, Body: NewGraph("")}
				fn.Body.Append(NodeSpec{Op: f[1], Domain: "local"})
				m.Functions = append(m.Functions, fn)
			}
		}, []string{`function "F" calls itself`}},
		{"function twice", func(m *Model) {
			for range 2 {
				m.Functions = append(m.Functions, &Function{Name: "F", Body: NewGraph("")})
			}
		}, []string{`function "F"`, "twice"}},
		{"reference to no attribute", func(m *Model) {
			fn := &Function{Name: "F", Opsets: []Opset{{"", 20}}, Attributes: []string{"good"}, Body: NewGraph("")}
			fn.Body.Append(NodeSpec{Op: "A", Attrs: []*Attribute{{Name: "k", Kind: AttrInt, Ref: "good"}, {Name: "l", Kind: AttrInt, Ref: "bad"}}})
			m.Functions = append(m.Functions, fn)
		}, []string{`refers to "bad"`}},
		{"broken links", func(m *Model) { m.Graph.inputs[0].uses = nil }, []string{"links are broken"}},
		{"many", func(m *Model) {
			for range 100 {
				m.Graph.Append(NodeSpec{Op: "X", Domain: "unknown"})
			}
		}, []string{"and 80 more problems"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, _, _, _ := threeNodes()
			m := model(g)
			c.build(m)
			err := Check(m)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrBadModel) {
				t.Fatalf("error %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not tell %q", err, w)
				}
			}
		})
	}
}
