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
		want := &Weights{Type: "int8", Scales: c.scales, Range: c.span, Float: linear([]float32{-2, 0, 1, 2, 0, 0, 0, 0}), Codes: codeHistogram(codes)}
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

// With Options.Histograms a layer tells what its values were in the whole run and how far its codes reach.
func TestHistogramsOfARun(t *testing.T) {
	float := newNet("x")
	w := float.weights("w", 8, 3)
	original := w.Const()
	m := float.model(float.add("y", "MatMul", float.in("x"), w))

	quant := newNet("x")
	codes := make([]int8, original.Len())
	for i, v := range onnx.Data[float32](original) {
		codes[i] = int8(v / 0.25)
	}
	dq := quant.add("w_dq", "DequantizeLinear", quant.g.AddConst("w_q", onnx.Of(codes, 8, 3)), quant.g.AddConst("w_scale", onnx.Scalar(float32(0.25))))
	y := quant.quantized(quant.add("y0", "MatMul", quant.in("x"), dq), 0.5, 128)
	q := quant.model(quant.add("y", "Identity", y))

	layers := []Layer{{Key: "MatMul:y", Op: "MatMul", Float: "y", Quant: y.Name(), Inputs: []Pair{{"x", "x"}}}}
	set := probes(t, m, 4)
	l := verify(t, m, q, layers, set, Options{Histograms: true}).Layers[0]
	if l.Weights == nil || l.Activations == nil {
		t.Fatalf("no histograms: %+v", l)
	}
	want := &Weights{Type: "int8", Scales: &Scales{1, 0.25, 0.25}, Range: &Span{-32.125, 31.875}, Float: linear(onnx.Data[float32](original)), Codes: codeHistogram(onnx.Of(codes))}
	if d := cmp.Diff(want, l.Weights); d != "" {
		t.Error(d)
	}
	if a := l.Activations; *a.Scale != 0.5 || *a.Range != (Span{-64.25, 63.75}) || a.Float.values() != uint64(l.Accumulated.Values) {
		t.Errorf("scale %v, range %v, %d values of %d", *a.Scale, a.Range, a.Float.values(), l.Accumulated.Values)
	}
	other := onnx.Zeros(onnx.Float32, 3, 8)
	layers[0].Weights = other
	if l := verify(t, m, q, layers, set, Options{Histograms: true}).Layers[0]; l.Weights == nil || l.Weights.Float.Counts[linearBuckets/2] != 24 {
		t.Errorf("the weights given were not taken: %+v", l.Weights)
	}
	if l := verify(t, m, q, layers, set, Options{}).Layers[0]; l.Weights != nil || l.Activations != nil {
		t.Error("histograms that nobody asked for")
	}
}
