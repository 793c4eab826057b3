package onnx

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// TestTypedFields compares every element type's typed field with its raw data, both packed by the onnx package.
func TestTypedFields(t *testing.T) {
	b, err := os.ReadFile("testdata/tensors.onnx")
	if err != nil {
		t.Fatal(err)
	}
	m := roundTrip(t, "tensors.onnx", b)
	types := 0
	for _, v := range m.Graph.Consts() {
		base, ok := strings.CutSuffix(v.Name(), "/typed")
		if !ok || base == "STRING" {
			continue
		}
		types++
		raw := m.Graph.Value(base + "/raw").Const()
		if raw.Type != v.Const().Type || int32(raw.Type) != onnxpb.TensorProto_DataType_value[base] {
			t.Errorf("%s: types %v and %v", base, raw.Type, v.Const().Type)
		}
		if !bytes.Equal(raw.Bytes(), v.Const().Bytes()) {
			t.Errorf("%s: decoded to %x, raw data are %x", base, v.Const().Bytes(), raw.Bytes())
		}
	}
	if types != len(dataTypes)-2 { // neither undefined nor string
		t.Errorf("%d element types", types)
	}
	got := m.Graph.Value("STRING/typed").Const().Strings()
	if want := [][]byte{[]byte("a"), {}, []byte("ü\x00a")}; len(got) != 3 || !bytes.Equal(bytes.Join(got, []byte("|")), bytes.Join(want, []byte("|"))) {
		t.Errorf("strings %q", got)
	}
}

// rawTensor serializes a TensorProto from fields.
func rawTensor(dt DataType, dims []int64, rest ...[]byte) []byte {
	var b []byte
	for _, d := range dims {
		b = protowire.AppendTag(b, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(d))
	}
	b = protowire.AppendTag(b, 2, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(dt))
	return append(b, bytes.Join(rest, nil)...)
}

func bytesField(num protowire.Number, b ...byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
}

func varintField(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func TestTensorForms(t *testing.T) {
	fixed32 := protowire.AppendFixed32(protowire.AppendTag(nil, floatData, protowire.Fixed32Type), 0x3f800000)
	minusOne := varintField(int32Data, 0xffffffffffffffff) // ten bytes, as protobuf writes negative numbers
	for _, c := range []struct {
		name string
		b    []byte
		want []byte
		err  string
	}{
		{name: "unpacked floats between other fields", b: rawTensor(Float32, []int64{2}, fixed32, bytesField(8, 'n'), fixed32), want: []byte{0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f}},
		{name: "packed and unpacked mixed", b: rawTensor(Int8, []int64{3}, bytesField(int32Data, 1, 2), minusOne), want: []byte{1, 2, 255}},
		{name: "negative int32", b: rawTensor(Int32, []int64{1}, minusOne), want: []byte{255, 255, 255, 255}},
		{name: "raw data twice: the last counts", b: rawTensor(Uint8, []int64{1}, bytesField(rawData, 1), bytesField(rawData, 2)), want: []byte{2}},
		{name: "raw data beside an empty field", b: rawTensor(Uint8, []int64{1}, bytesField(rawData, 1), bytesField(floatData)), want: []byte{1}},
		{name: "a bool of 7 is true", b: rawTensor(Bool, []int64{4}, bytesField(rawData, 0, 7, 1, 255)), want: []byte{0, 1, 1, 1}},
		{name: "a typed bool of 7 is true", b: rawTensor(Bool, []int64{2}, bytesField(int32Data, 0, 7)), want: []byte{0, 1}},
		{name: "no elements", b: rawTensor(Float32, []int64{0}), want: []byte{}},
		{name: "no elements of a dimension", b: rawTensor(Float32, []int64{0, 1 << 40}), want: []byte{}},
		{name: "scalar", b: rawTensor(Uint8, nil, bytesField(rawData, 9)), want: []byte{9}},
		{name: "too few raw bytes", b: rawTensor(Float32, []int64{2}, bytesField(rawData, 1, 2, 3, 4)), err: "4 bytes of data, but f32[2] asks for 8"},
		{name: "raw strings", b: rawTensor(String, []int64{1}, bytesField(rawData, 1)), err: "raw data of element type string"},
		{name: "unknown type", b: rawTensor(99, []int64{1}, bytesField(rawData, 1)), err: "raw data of element type type99"},
		{name: "unknown typed type", b: rawTensor(99, []int64{1}, bytesField(int32Data, 1)), err: "unknown element type type99"},
		{name: "negative type", b: rawTensor(-1&(1<<31-1), []int64{1}, bytesField(int32Data, 1)), err: "unknown element type"},
		{name: "wrong field", b: rawTensor(Float32, []int64{1}, bytesField(int64Data, 1)), err: "wrong data field"},
		{name: "too many values", b: rawTensor(Int32, []int64{1}, bytesField(int32Data, 1, 2)), err: "2 stored values"},
		{name: "ragged floats", b: rawTensor(Float32, []int64{1}, bytesField(floatData, 1, 2, 3)), err: "truncated typed data"},
		{name: "truncated varint", b: rawTensor(Int32, []int64{1}, bytesField(int32Data, 0x80)), err: "truncated typed data"},
		{name: "endless varint", b: rawTensor(Int64, []int64{1}, bytesField(int64Data, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)), err: "damaged typed data"},
		{name: "too many strings", b: rawTensor(String, []int64{1}, bytesField(stringData, 'a'), bytesField(stringData, 'b')), err: "more strings"},
		{name: "too few strings", b: rawTensor(String, []int64{2}, bytesField(stringData, 'a')), err: "1 strings"},
		{name: "numbers as strings", b: rawTensor(String, []int64{1}, bytesField(int32Data, 1)), err: "string tensor with elements in data field 5"},
		{name: "no data", b: rawTensor(Float32, []int64{1}), err: "no data"},
		{name: "gigantic dimensions", b: rawTensor(Float32, []int64{1 << 60, 1 << 60}, bytesField(rawData)), err: "impossible dimensions"},
		{name: "one gigantic dimension", b: rawTensor(Int8, []int64{1 << 50}, bytesField(int32Data, 1)), err: "1 stored values"},
		{name: "negative dimension", b: rawTensor(Float32, []int64{-1}, bytesField(rawData)), err: "impossible dimensions"},
		{name: "external without a file", b: rawTensor(Float32, []int64{1}, varintField(14, 1)), err: "was not read from a file"},
		{name: "truncated", b: rawTensor(Float32, []int64{1}, []byte{rawData<<3 | 2, 100, 0}), err: "raw_data of TensorProto"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, x, err := ParseTensor(c.b)
			if err == nil {
				err = x.Load()
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !errors.Is(err, ErrBadModel) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(x.Bytes(), c.want) {
				t.Errorf("%x, want %x", x.Bytes(), c.want)
			}
			b, err := MarshalTensor("n", x)
			if err != nil {
				t.Fatal(err)
			}
			if name, y, err := ParseTensor(b); err != nil || name != "n" || !bytes.Equal(y.Bytes(), c.want) {
				t.Errorf("written and read again: %q %v", name, err)
			}
		})
	}
}

func TestSparseInitializer(t *testing.T) {
	tensor := func(num protowire.Number, b []byte) []byte { return bytesField(num, b...) }
	i64 := func(v ...uint64) []byte {
		var b []byte
		for _, x := range v {
			b = protowire.AppendVarint(b, x)
		}
		return bytesField(int64Data, b...)
	}
	values := rawTensor(Uint8, []int64{2}, bytesField(8, 's'), bytesField(rawData, 5, 6))
	for _, c := range []struct {
		name    string
		indices []byte
		dims    []uint64
		want    []byte
		err     string
	}{
		{"linear", rawTensor(Int64, []int64{2}, i64(1, 5)), []uint64{2, 3}, []byte{0, 5, 0, 0, 0, 6}, ""},
		{"coordinates", rawTensor(Int64, []int64{2, 2}, i64(0, 2, 1, 0)), []uint64{2, 3}, []byte{0, 0, 5, 6, 0, 0}, ""},
		{"outside", rawTensor(Int64, []int64{2}, i64(1, 6)), []uint64{2, 3}, nil, "index 6 outside"},
		{"coordinate outside", rawTensor(Int64, []int64{2, 2}, i64(0, 3, 1, 0)), []uint64{2, 3}, nil, "index 3 outside"},
		{"too few indices", rawTensor(Int64, []int64{1}, i64(1)), []uint64{2, 3}, nil, "do not fit"},
		{"gigantic", rawTensor(Int64, []int64{2}, i64(1, 5)), []uint64{1 << 20, 1 << 20}, nil, "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sparse := append(tensor(1, values), tensor(2, c.indices)...)
			for _, d := range c.dims {
				sparse = append(sparse, varintField(3, d)...)
			}
			graph := append(bytesField(15, sparse...), bytesField(12, bytesField(1, 's')...)...)
			model := bytesField(7, graph...)
			m, err := Parse(model)
			if err == nil {
				err = m.Graph.Value("s").Const().Load()
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !errors.Is(err, ErrBadModel) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Graph.Value("s").Const().Bytes(); !bytes.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			out, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if diff := sameProto(t, model, out); diff != "" {
				t.Error(diff)
			}
		})
	}
}
