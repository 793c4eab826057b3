package engine

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
)

// ifModel is y = cond ? x : z, with x and z taken from outside by the branches.
func ifModel() *onnx.Model {
	g := onnx.NewGraph("g")
	c := g.AddInput("c", onnx.ScalarOf(onnx.Bool))
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Symbol("n")))
	z := g.AddInput("z", onnx.TensorOf(onnx.Float32, onnx.Symbol("n")))
	branch := func(v *onnx.Value) *onnx.Graph {
		s := onnx.NewGraph("branch")
		s.AddOutput(s.Append(onnx.NodeSpec{Op: "Identity", Inputs: []*onnx.Value{v}, Outputs: []string{v.Name() + "_inner"}}).Output(0))
		return s
	}
	n := g.Append(onnx.NodeSpec{
		Op: "If", Name: "choose", Inputs: []*onnx.Value{c}, Outputs: []string{"y"},
		Attrs: []*onnx.Attribute{onnx.AttrG("then_branch", branch(x)), onnx.AttrG("else_branch", branch(z))},
	})
	g.AddOutput(n.Output(0))
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
}

func TestIf(t *testing.T) {
	p, err := Compile(ifModel(), Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cond bool
		want []float32
	}{{true, []float32{1, 2}}, {false, []float32{3, 4}}} {
		out, err := p.Run(context.Background(), map[string]*onnx.Tensor{
			"c": onnx.Scalar(c.cond), "x": onnx.Of([]float32{1, 2}), "z": onnx.Of([]float32{3, 4}),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, onnx.Data[float32](out["y"])); d != "" {
			t.Errorf("cond %v: %s", c.cond, d)
		}
	}
}
