package plan

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/quantize"
)

// between is two convolutions with a Relu between.
func between(b *builder) {
	x := b.op("Relu", "r", in(b.conv("c1", b.input("x", 1, 8, 8, 8))))
	b.output(b.conv("c2", x))
}

// What is given stands in the plan as it is, and range methods do not change it.
func TestGivenParameters(t *testing.T) {
	p := func(scale float32, zero int32) *quantize.Params {
		return &quantize.Params{Scale: scale, ZeroPoint: zero}
	}
	for _, c := range []struct {
		name, tensor string
		given        Given
		want         string // scale, zero point, range
		fails        string
	}{
		{"scale and zero point", "x", Given{Params: p(0.03125, 100)}, "0.03125 100 [-3.125 4.84375] given", ""},
		{"a range", "x", Given{Range: &[2]float32{-2, 3.1}}, "0.02 100 [-2 3.1] given", ""},
		{"a symmetric range", "x", Given{Range: &[2]float32{-2.54, 1}, Symmetric: true}, "0.02 128 [-2.54 2.54] given", ""},
		{"of a Relu", "r", Given{Params: p(0.5, 0)}, "0.5 0 [0 127.5] given", ""},
		{"a range of a Relu", "r", Given{Range: &[2]float32{-4, 2.55}}, "0.01 0 [0 2.55] given", ""},
		{"a zero point that a Relu has not", "r", Given{Params: p(0.5, 3)}, "", "need the zero point 0, not 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, err := Prepare(build(between), 0)
			if err != nil {
				t.Fatal(err)
			}
			var o Options
			planned(t, build(between), func(have *Options) { o = *have })
			o.Activations, o.Calibration, o.Given = ModeStatic, given(t, prep, 4, one), map[string]Given{c.tensor: c.given}
			made, err := Make(t.Context(), prep, o)
			if c.fails != "" {
				if !errors.Is(err, ErrChoice) || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("%v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, n := range made.Nodes {
				if a, ok := n.Activations[c.tensor]; ok {
					found = true
					expect(t, fmt.Sprint(a.Scale, " ", a.ZeroPoint, " ", a.Range, " ", a.Method), c.want)
				}
			}
			if !found {
				t.Errorf("%s does not become codes", c.tensor)
			}
		})
	}
}

func TestReadTensorOverrides(t *testing.T) {
	g := build(between).Graph
	all, err := ReadTensorOverrides([]byte(`{
		"x": [{"quant_type": "QUInt8", "scale": [0.5], "zero_point": 3}], "r": [{"rmin": 0, "rmax": 6.0, "symmetric": false}],
		"w_c1": [{"quant_type": "QInt4", "axis": 0}, {"quant_type": "QInt4"}], "w_c2": [{}]
	}`), g)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, fmt.Sprint(all.Overrides), "[{Conv_c1 {false int4 (auto)  {  map[]}}} {Conv_c2 {false int8 (auto)  {  map[]}}}]")
	if x, r := all.Given["x"], all.Given["r"]; len(all.Given) != 2 || *x.Params != (quantize.Params{Scale: 0.5, ZeroPoint: 3}) || *r.Range != [2]float32{0, 6} || r.Symmetric {
		t.Errorf("given %+v", all.Given)
	}
	for _, c := range []struct{ text, want string }{
		{`{"y": [{}]}`, `tensor "y": the model has none of that name`},
		{`{"x": []}`, "an empty list says nothing"},
		{`{"x": [{"colour": 1}]}`, `unknown field "colour"`},
		{`{"x": [{"convert": {"quant_type": "QUInt16"}}]}`, "convert and reduce_range are not supported"},
		{`{"w_c1": [{"reduce_range": true}]}`, "convert and reduce_range are not supported"},
		{`{"x": [{"quant_type": "QInt16"}]}`, "quant_type QInt16: activations are QUInt8"},
		{`{"x": [{"axis": 1}]}`, "an activation has one scale, no axis"},
		{`{"x": [{"scale": 1}]}`, "scale and zero_point go together"},
		{`{"x": [{"rmin": 1}]}`, "so do rmin and rmax"},
		{`{"x": [{"scale": 1, "zero_point": 0, "symmetric": true}]}`, "leave nothing for"},
		{`{"x": [{"scale": 0, "zero_point": 0}]}`, "make no codes of 8 bits"},
		{`{"x": [{"scale": 1, "zero_point": 1.5}]}`, "make no codes of 8 bits"},
		{`{"x": [{"scale": 1, "zero_point": 256}]}`, "make no codes of 8 bits"},
		{`{"x": [{"rmin": 2, "rmax": 1}]}`, "2 to 1 is no range"},
		{`{"w_c1": [{"scale": [1, 2], "zero_point": 0}]}`, "cannot unmarshal"},
		{`{"w_c1": [{"scale": 1, "zero_point": 0}]}`, "not supported for weights"},
		{`{"w_c1": [{"quant_type": "QFLOAT8E4M3FN"}]}`, "quant_type QFLOAT8E4M3FN is not supported for weights; there are QInt4, QInt8, QUInt4, QUInt8"},
		{`{"w_c1": [{"quant_type": "QInt4"}, {"quant_type": "QInt8"}]}`, "QInt4 and QInt8 for channels of one tensor"},
		{`{"w_c1": [{"quant_type": "QInt8", "symmetric": false}]}`, "symmetric false does not go with QInt8"},
		{`[]`, "cannot unmarshal array"},
		{`{`, "unexpected EOF"},
	} {
		if _, err := ReadTensorOverrides([]byte(c.text), g); !errors.Is(err, ErrChoice) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

func FuzzReadTensorOverrides(f *testing.F) {
	f.Add([]byte(`{"x": [{"scale": [1e300], "zero_point": -1}], "w_c1": [{"axis": 9}]}`))
	g := build(between).Graph
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ReadTensorOverrides(b, g); err != nil && !errors.Is(err, ErrChoice) {
			t.Errorf("%v", err)
		}
	})
}
