package prepare

import (
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// branchGraph is a branch that doubles x, adds a constant of its own, and chooses again by a condition inside.
func branchGraph(name string, x, inner *onnx.Value) *onnx.Graph {
	g := onnx.NewGraph(name)
	op := func(g *onnx.Graph, op, out string, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
		return g.Append(onnx.NodeSpec{Op: op, Name: op, Inputs: inputs, Outputs: []string{out}, Attrs: attrs}).Output(0)
	}
	sum := op(g, "Add", name+"_sum", in(op(g, "Add", name+"_twice", in(x, x)), g.AddConst(name+"_c", onnx.Of([]float32{7}))))
	yes, no := onnx.NewGraph("yes"), onnx.NewGraph("no")
	yes.AddOutput(op(yes, "Relu", name+"_relu", in(sum)))
	no.AddOutput(sum)
	g.AddOutput(op(g, "If", name+"_out", in(inner), onnx.AttrG("then_branch", yes), onnx.AttrG("else_branch", no)))
	return g
}

func TestInlineBranches(t *testing.T) {
	for _, c := range []struct {
		name  string
		cond  func(b *builder) *onnx.Value
		inner bool // the inner condition is constant: true
		want  string
	}{
		{"else", func(b *builder) *onnx.Value { return b.g.AddConst("c", onnx.Scalar(false)) }, false, "else_twice=Add(x,x) else_sum=Add(else_twice,else_c) y=If(inner) z=Abs(y)"},
		{
			"then, by a size, and inside", func(b *builder) *onnx.Value {
				return b.op("Cast", "c", in(b.op("Shape", "s", in(b.input("state", 2)))), onnx.AttrI("to", int64(onnx.Bool)))
			}, true,
			"then_twice=Add(x,x) then_sum=Add(then_twice,then_c) y=Relu(then_sum) z=Abs(y)",
		},
		{"computed", func(b *builder) *onnx.Value { return b.g.AddInput("c", onnx.ScalarOf(onnx.Bool)) }, true, "y=If(c) z=Abs(y)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, 13)
			x := b.input("x", 1, 3)
			cond := c.cond(b)
			var inner *onnx.Value
			if c.inner {
				inner = b.g.AddConst("inner", onnx.Scalar(true))
			} else {
				inner = b.g.AddInput("inner", onnx.ScalarOf(onnx.Bool))
			}
			y := b.op("If", "y", in(cond), onnx.AttrG("then_branch", branchGraph("then", x, inner)), onnx.AttrG("else_branch", branchGraph("else", x, inner)))
			b.g.AddOutput(y)
			b.g.AddOutput(b.op("Abs", "z", in(y)))
			expect(t, b.run(FoldShapes, InlineBranches), c.want)
			if c.name == "computed" {
				return
			}
			branch := map[bool]string{true: "then", false: "else"}[c.inner]
			var keys []string
			for n := range b.g.Nodes() {
				keys = append(keys, n.Key())
			}
			if !slices.Contains(keys, "If_y/"+branch+"_branch/Add:"+branch+"_twice") {
				t.Errorf("the keys are %q: nodes are to be named by what their keys were", keys)
			}
		})
	}
}

// A branch that hands on a value of the graph around it, or a constant of its own, under the name of a graph output.
func TestInlineBranchesThatComputeNothing(t *testing.T) {
	for _, own := range []bool{false, true} {
		b := build(t, 13)
		x := b.input("x", 1, 3)
		then, otherwise := onnx.NewGraph("then"), onnx.NewGraph("else")
		want := "y=Identity(x)"
		if own {
			then.AddOutput(then.AddConst("k", onnx.Of([]float32{1, 2, 3}, 1, 3)))
			want = "y=Identity(k)"
		} else {
			then.AddOutput(x)
		}
		otherwise.AddOutput(x)
		b.g.AddOutput(b.op("If", "y", in(b.g.AddConst("c", onnx.Scalar(true))), onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", otherwise)))
		c := &rewrite.Context{Trace: rewrite.NewTrace(b.m), Check: check}
		if err := (rewrite.Pipeline{InferShapes, InlineBranches}).Run(c, b.m); err != nil {
			t.Fatal(err)
		}
		expect(t, line(b.g), want)
		if v := c.Trace.Value("y"); v != b.g.Outputs()[0] {
			t.Errorf("the trace has %v for y", v)
		}
	}
}
