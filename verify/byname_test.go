package verify

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestLayersByName(t *testing.T) {
	x := []Pair{{"x", "x"}}
	for _, c := range []struct {
		name         string
		float, quant func(b *net) *onnx.Value // y
		want         []Layer
	}{
		{
			"behind the last scale",
			func(b *net) *onnx.Value { return b.add("y", "Neg", b.add("h", "Relu", b.in("x"))) },
			func(b *net) *onnx.Value { return b.add("y", "Neg", b.quantized(b.add("h", "Relu", b.in("x")), 1, 0)) },
			[]Layer{
				{Key: "Relu:h", Op: "Relu", Float: "h", Quant: "h_dq", Inputs: x},
				{Key: "Neg:y", Op: "Neg", Float: "y", Quant: "y", Inputs: []Pair{{"h", "h_dq"}}},
			},
		},
		{
			// Softplus takes the float tensor, so h itself is what both mean.
			"taken in float too",
			func(b *net) *onnx.Value {
				h := b.add("h", "Relu", b.in("x"))
				return b.add("y", "Add", b.add("p", "Softplus", h), b.add("n", "Neg", h))
			},
			func(b *net) *onnx.Value {
				h := b.add("h", "Relu", b.in("x"))
				return b.add("y", "Add", b.add("p", "Softplus", h), b.add("n", "Neg", b.quantized(h, 1, 0)))
			},
			[]Layer{
				{Key: "Relu:h", Op: "Relu", Float: "h", Quant: "h", Inputs: x},
				{Key: "Softplus:p", Op: "Softplus", Float: "p", Quant: "p", Inputs: []Pair{{"h", "h"}}},
				{Key: "Neg:n", Op: "Neg", Float: "n", Quant: "n", Inputs: []Pair{{"h", "h"}}},
				{Key: "Add:y", Op: "Add", Float: "y", Quant: "y", Inputs: []Pair{{"p", "p"}, {"n", "n"}}},
			},
		},
		{
			// Two DequantizeLinear: compared behind one, but given in front of both.
			"dequantized twice",
			func(b *net) *onnx.Value {
				h := b.add("h", "Relu", b.in("x"))
				return b.add("y", "Mul", h, h)
			},
			func(b *net) *onnx.Value {
				one := b.quantized(b.add("h", "Relu", b.in("x")), 1, 0)
				n, _ := one.Producer()
				return b.add("y", "Mul", one, b.add("again", "DequantizeLinear", n.Inputs()...))
			},
			[]Layer{
				{Key: "Relu:h", Op: "Relu", Float: "h", Quant: "h_dq", Inputs: x},
				{Key: "Mul:y", Op: "Mul", Float: "y", Quant: "y", Inputs: []Pair{{"h", "h"}}},
			},
		},
		{
			// The range of the codes does Relu's work: h means what r meant.
			"Relu removed",
			func(b *net) *onnx.Value {
				return b.add("y", "Neg", b.add("r", "Relu", b.add("h", "Softplus", b.in("x"))))
			},
			func(b *net) *onnx.Value {
				return b.add("y", "Neg", b.quantized(b.add("h", "Softplus", b.in("x")), 1, 0))
			},
			[]Layer{{Key: "Neg:y", Op: "Neg", Float: "y", Quant: "y", Inputs: x}},
		},
		{
			// Mul is folded into the weights: h means what m meant.
			"folded into weights",
			func(b *net) *onnx.Value {
				h := b.add("h", "MatMul", b.in("x"), b.weights("w", 8, 8))
				return b.add("y", "Relu", b.add("m", "Mul", h, b.weights("s", 8)))
			},
			func(b *net) *onnx.Value {
				return b.add("y", "Relu", b.add("h", "MatMul", b.in("x"), b.weights("w", 8, 8)))
			},
			[]Layer{{Key: "MatMul:h", Op: "MatMul", Float: "y", Quant: "y", Inputs: x}},
		},
		{
			// Weights and what only moves elements are no layers; weights are no inputs.
			"constants and moves",
			func(b *net) *onnx.Value {
				w := b.add("wt", "Transpose", b.weights("w", 8, 8))
				return b.add("y", "MatMul", b.add("h", "Transpose", b.in("x")), w)
			},
			func(b *net) *onnx.Value {
				return b.add("y", "MatMul", b.add("h", "Transpose", b.in("x")), b.weights("w8", 8, 8))
			},
			[]Layer{{Key: "MatMul:y", Op: "MatMul", Float: "y", Quant: "y", Inputs: []Pair{{"h", "h"}}}},
		},
		{
			"of another type",
			func(b *net) *onnx.Value { return b.add("y", "Neg", b.add("h", "Relu", b.in("x"))) },
			func(b *net) *onnx.Value {
				h := b.add("h", "Relu", b.in("x"))
				h.Type = onnx.TensorOf(onnx.Int32)
				return b.add("y", "Neg", h)
			},
			[]Layer{{Key: "Neg:y", Op: "Neg", Float: "y", Quant: "y", Inputs: x}},
		},
		{
			"too long a gap",
			func(b *net) *onnx.Value {
				v := b.in("x")
				for i := range largestBody {
					v = b.add(fmt.Sprint("h", i), "Neg", v)
				}
				return b.add("y", "Neg", v)
			},
			func(b *net) *onnx.Value { return b.add("y", "Neg", b.in("x")) },
			[]Layer{{Key: "Neg:y", Op: "Neg", Float: "y", Quant: "y"}},
		},
	} {
		f, q := newNet("x"), newNet("x")
		float, quant := f.model(c.float(f)), q.model(c.quant(q))
		if d := cmp.Diff(c.want, LayersByName(float, quant)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// Integer inputs of a layer are given like others.
func TestIndicesAreInputs(t *testing.T) {
	build := func() *onnx.Model {
		b := newNet()
		ids := b.g.AddInput("ids", onnx.TensorOf(onnx.Int64, onnx.Symbol("n")))
		return b.model(b.add("y", "Gather", b.weights("table", 9, 4), ids))
	}
	want := []Layer{{Key: "Gather:y", Op: "Gather", Float: "y", Quant: "y", Inputs: []Pair{{"ids", "ids"}}}}
	if d := cmp.Diff(want, LayersByName(build(), build())); d != "" {
		t.Error(d)
	}
}
