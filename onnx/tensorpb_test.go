package onnx

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

func TestTensorProtoRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := DataType(rapid.IntRange(1, int(Int2)).Draw(t, "type"))
		dims := rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 3).Draw(t, "dims")
		name := rapid.String().Draw(t, "name")
		n := NumElements(dims)
		var want *Tensor
		if typ == String {
			strs := make([][]byte, n)
			for i := range strs {
				strs[i] = []byte(rapid.StringN(0, 5, -1).Draw(t, "element"))
			}
			want = NewStrings(dims, strs)
		} else {
			want = Zeros(typ, dims...)
			for i := range want.data {
				want.data[i] = byte(rapid.IntRange(0, 1).Draw(t, "byte"))
			}
		}
		b, err := MarshalTensor(name, want)
		if err != nil {
			t.Fatal(err)
		}
		gotName, got, err := ParseTensor(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Load(); err != nil {
			t.Fatal(err)
		}
		equal := slices.EqualFunc(got.Strings(), want.Strings(), bytes.Equal)
		if gotName != name || got.Type != typ || !slices.Equal(got.Dims, dims) || !bytes.Equal(got.Bytes(), want.Bytes()) || !equal {
			t.Fatalf("%q %s%v %x %q, want %q %s%v %x %q", gotName, got.Type, got.Dims, got.data, got.strs, name, typ, dims, want.data, want.strs)
		}
	})
}

func marshalProto(t *testing.T, p *onnxpb.TensorProto) []byte {
	t.Helper()
	b, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseTensorReadsTypedFields(t *testing.T) {
	name, x, err := ParseTensor(marshalProto(t, &onnxpb.TensorProto{
		Name: new("x"), DataType: new(int32(Float32)), Dims: []int64{3}, FloatData: []float32{1, -2, 0.5},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := Data[float32](x); name != "x" || !slices.Equal(x.Dims, []int64{3}) || !slices.Equal(got, []float32{1, -2, 0.5}) {
		t.Errorf("got %q %v %v", name, x.Dims, got)
	}
}

func TestParseTensorRefuses(t *testing.T) {
	location := onnxpb.TensorProto_EXTERNAL
	for _, c := range []struct {
		name string
		file []byte
	}{
		{"truncated", marshalProto(t, &onnxpb.TensorProto{DataType: new(int32(Uint8)), Dims: []int64{9}, RawData: make([]byte, 9)})[:8]},
		{"short", marshalProto(t, &onnxpb.TensorProto{DataType: new(int32(Float32)), Dims: []int64{9}, RawData: make([]byte, 9)})},
		{"overflow", marshalProto(t, &onnxpb.TensorProto{DataType: new(int32(Float32)), Dims: []int64{1 << 40, 1 << 40}})},
		{"external", marshalProto(t, &onnxpb.TensorProto{
			DataType: new(int32(Uint8)), Dims: []int64{1}, DataLocation: &location,
			ExternalData: []*onnxpb.StringStringEntryProto{{Key: new("location"), Value: new("x.data")}},
		})},
	} {
		_, x, err := ParseTensor(c.file)
		if err == nil {
			err = x.Load()
		}
		if !errors.Is(err, ErrBadModel) {
			t.Errorf("%s: got %v, want a bad model", c.name, err)
		} else {
			t.Log(c.name+":", err)
		}
	}
}
