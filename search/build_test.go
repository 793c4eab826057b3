package search

import (
	"math/rand/v2"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// uneven is a chain of three products with Tanh between, 32 by 32 each; in the columns of the second, one weight is much larger
// than the rest.
func uneven() *onnx.Model { return chain(32, 8) }

// chain has three products of width n.
func chain(n int64, outlier float32) *onnx.Model {
	g, r := onnx.NewGraph("chain"), rand.New(rand.NewPCG(1, 2))
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(n)))
	for i, name := range []string{"first", "second", "third"} {
		w := make([]float32, n*n)
		for k := range w {
			w[k] = float32(r.NormFloat64()) / 4
		}
		if i == 1 {
			for k := range n {
				w[k] *= outlier
			}
		}
		if i > 0 {
			x = g.Append(onnx.NodeSpec{Op: "Tanh", Name: "tanh_" + name, Inputs: []*onnx.Value{x}, Outputs: []string{"t_" + name}}).Output(0)
		}
		x = g.Append(onnx.NodeSpec{Op: "MatMul", Name: name, Inputs: []*onnx.Value{x, g.AddConst("w_"+name, onnx.Of(w, n, n))}, Outputs: []string{"y_" + name}}).Output(0)
	}
	x.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(n))
	g.AddOutput(x)
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
}

// prepared makes ready to plan a model, token-wise, on 16 probes.
func prepared(t testing.TB, model func() *onnx.Model) (*plan.Prepared, plan.Options) {
	t.Helper()
	prep, err := plan.Prepare(model(), 0)
	if err != nil {
		t.Fatal(err)
	}
	set, err := data.Probes(prep.Model.Graph, data.Options{Limit: 16, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return prep, plan.Options{
		Target: target.Targets[0], Activations: plan.ModeToken, Range: quantize.RangeRule{Method: "minmax"}, Equalize: plan.EqualizeNone,
		Probes: set, Threads: 1, Guard: plan.DefaultGuard,
	}
}
