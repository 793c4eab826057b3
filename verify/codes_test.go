package verify

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

func TestCodes(t *testing.T) {
	for _, c := range []struct {
		name        string
		scale, zero *onnx.Tensor
		want        *codes
		lo, hi      float64
	}{
		{"uint8", onnx.Scalar(float32(0.5)), onnx.Scalar(uint8(10)), &codes{"q", onnx.Uint8, 0.5, 10}, -5.25, 122.75},
		{"int8 of one element", onnx.Of([]float32{0.25}), onnx.Of([]int8{-28}), &codes{"q", onnx.Int8, 0.25, -28}, -25.125, 38.875},
		{"int16", onnx.Scalar(float32(1)), onnx.Scalar(int16(0)), &codes{"q", onnx.Int16, 1, 0}, -32768.5, 32767.5},
		{"uint16", onnx.Scalar(float32(1)), onnx.Scalar(uint16(1)), &codes{"q", onnx.Uint16, 1, 1}, -1.5, 65534.5},
		{"int32 has no range to clip at", onnx.Scalar(float32(1)), onnx.Scalar(int32(0)), &codes{"q", onnx.Int32, 1, 0}, 0, 0},
		{"no zero point, type unknown", onnx.Scalar(float32(2)), nil, &codes{"q", onnx.Undefined, 2, 0}, 0, 0},
		{"per channel", onnx.Of([]float32{1, 2}), onnx.Of([]uint8{0, 0}), nil, 0, 0},
	} {
		b := newNet()
		in := []*onnx.Value{b.g.AddInput("q", nil), b.g.AddConst("scale", c.scale), nil}
		if c.zero != nil {
			in[2] = b.g.AddConst("zero", c.zero)
		}
		got := codesOf(b.add("x", "DequantizeLinear", in...))
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(codes{})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if got == nil {
			continue
		}
		if lo, hi, ok := got.limits(); lo != c.lo || hi != c.hi || ok != (c.lo != c.hi) {
			t.Errorf("%s: limits %v…%v %v", c.name, lo, hi, ok)
		}
	}
	b := newNet()
	q := b.g.AddInput("q", nil)
	for _, v := range []*onnx.Value{q, b.add("neg", "Neg", q), b.add("dynamic", "DequantizeLinear", q, b.g.AddInput("scale", nil))} {
		if c := codesOf(v); c != nil {
			t.Errorf("%s has the codes %+v", v, c)
		}
	}
}

// A program that has the codes only is compared behind them.
func TestCodesAreComparedBehindTheirScale(t *testing.T) {
	var c metric.Comparison
	w := view{"q", &codes{"q", onnx.Uint8, 0.5, 10}}
	if _, err := compare(&c, w, onnx.Of([]float32{-5, 0, 122.5, 1}), onnx.Of([]uint8{0, 10, 255, 13})); err != nil {
		t.Fatal(err)
	}
	if r := c.Result(); r.MaxAbs != 0.5 || r.MeanAbs != 0.125 {
		t.Errorf("%+v", r)
	}
}

// In a program without the dequantized tensor the layer is seen by its codes, and in one with neither not at all.
func TestTheFloatTensorIsPreferred(t *testing.T) {
	b := newNet("x")
	h := b.quantized(b.add("h", "Relu", b.in("x")), 1, 0)
	quant := b.model(b.add("y", "Neg", h))
	l := newLayer(Layer{Float: "h", Quant: "h_dq"}, quant.Graph)
	for _, c := range []struct{ has, want string }{{"h_dq", "h_dq"}, {"h_q", "h_q"}, {"other", ""}} {
		n := newNet("x")
		q, err := newLane("", n.model(n.add(c.has, "Relu", n.in("x"))), 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if w, ok := q.sees(l); w.tensor != c.want || ok != (c.want != "") || ok && (w.codes != nil) != (c.want == "h_q") {
			t.Errorf("a program with %s shows %+v", c.has, w)
		}
	}
}
