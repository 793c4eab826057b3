package verify

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// Codes and scales are found in every form in which quantized graphs keep them.
func TestWeights(t *testing.T) {
	codes := onnx.Of([]int8{-127, 0, 64, 127, 1, 2, 3, 4}, 8, 1)
	float := onnx.Of([]float32{-2, 0, 1, 2, 0, 0, 0, 0}, 8, 1)
	scales := onnx.Of([]float32{0.25, 0.5}, 2)
	both := &Scales{2, 0.25, 0.5}
	reach := &Span{-64.25, 63.75}
	for _, c := range []struct {
		name   string
		build  func(b *net, q, s, x *onnx.Value) *onnx.Value
		scales *Scales
		span   *Span
	}{
		{"DequantizeLinear", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			return b.add("y", "MatMul", x, b.add("w", "DequantizeLinear", q, s))
		}, both, reach},
		{"DequantizeLinear with a zero point", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			zero := b.g.AddConst("zero", onnx.Of([]int8{1, 1}))
			return b.add("y", "MatMul", x, b.add("w", "DequantizeLinear", q, s, zero))
		}, both, &Span{-64.75, 63.25}},
		{"zero points of their own", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			zero := b.g.AddConst("zero", onnx.Of([]int8{1, 2}))
			return b.add("y", "MatMul", x, b.add("w", "DequantizeLinear", q, s, zero))
		}, both, nil},
		{"Cast and Mul", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			return b.add("y", "MatMul", x, b.add("w", "Mul", s, b.add("cast", "Cast", q)))
		}, both, reach},
		{"MatMulInteger", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			sx := b.g.AddInput("sx", nil)
			return b.add("y", "Mul", b.add("cast", "Cast", b.add("int32", "MatMulInteger", x, q)), b.add("s", "Mul", sx, s))
		}, both, reach},
		{"rows of a table", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			return b.add("y", "Mul", b.add("cast", "Cast", b.add("rows", "Gather", q, x)), b.add("s", "Gather", s, x))
		}, both, reach},
		{"an operator that keeps its scales to itself", func(b *net, q, s, x *onnx.Value) *onnx.Value {
			return b.add("y", "DynamicQuantizeMatMul", x, q, s)
		}, nil, nil},
	} {
		b := newNet("x")
		q, s := b.g.AddConst("q", codes), b.g.AddConst("s", scales)
		y := c.build(b, q, s, b.in("x"))
		l := layer{Layer: Layer{Quant: y.Name(), Inputs: []Pair{{"x", "x"}}}}
		got := l.weights(float, b.g)
		if got == nil {
			t.Errorf("%s: no codes found", c.name)
			continue
		}
		want := &Weights{Type: codes.Type.String(), Scales: c.scales, Range: c.span, Float: linear([]float32{-2, 0, 1, 2, 0, 0, 0, 0}), Codes: codeHistogram(codes)}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// The search stays inside the layer: codes behind its inputs are those of another.
func TestWeightsOfAnotherLayer(t *testing.T) {
	b := newNet("x")
	q, s := b.g.AddConst("q", onnx.Of([]int8{1, 2}, 2, 1)), b.g.AddConst("s", onnx.Scalar(float32(1)))
	h := b.add("h", "MatMul", b.in("x"), b.add("w", "DequantizeLinear", q, s))
	y := b.add("y", "Relu", h)
	float := onnx.Of([]float32{1, 2}, 2, 1)
	inside := layer{Layer: Layer{Quant: y.Name(), Inputs: []Pair{{"h", "h"}}}}
	if w := inside.weights(float, b.g); w != nil {
		t.Errorf("%+v", w)
	}
	without := layer{Layer: Layer{Quant: y.Name()}}
	if w := without.weights(float, b.g); w == nil || w.Scales == nil || w.Scales.Least != metric.Number(1) {
		t.Errorf("%+v", w)
	}
}

func TestWeightsOf(t *testing.T) {
	b := newNet("x")
	small, large, bias := b.weights("r", 2, 4), b.weights("w", 4, 8), b.weights("bias", 99)
	codes := b.g.AddConst("codes", onnx.Zeros(onnx.Int8, 9, 9))
	n, _ := b.add("y", "Any", b.in("x"), small, large, bias, codes).Producer()
	if w := WeightsOf(n); w != large.Const() {
		t.Errorf("%v", w)
	}
	n, _ = b.add("z", "Any", b.in("x"), bias).Producer()
	if w := WeightsOf(n); w != nil {
		t.Errorf("%v", w)
	}
}
