package prepare

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

func TestLiftConstants(t *testing.T) {
	b := build(t, 13)
	x := b.input("x", 2)
	cond := b.g.AddInput("cond", onnx.ScalarOf(onnx.Bool))
	k := b.op("Constant", "k", nil, onnx.AttrFs("value_floats", 1, 2))
	out := b.op("Constant", "out", nil, onnx.AttrF("value_float", 3)) // a graph output stays one
	both := b.op("Constant", "both", nil, onnx.AttrF("value_float", 4))
	branch := func(name string) *onnx.Graph {
		g := onnx.NewGraph(name)
		c := g.Append(onnx.NodeSpec{Op: "Constant", Outputs: []string{"c_" + name}, Attrs: []*onnx.Attribute{onnx.AttrI("value_int", 7)}})
		g.AddOutput(g.Append(onnx.NodeSpec{Op: "Add", Inputs: in(c.Output(0), c.Output(0)), Outputs: []string{"o_" + name}}).Output(0))
		return g
	}
	then, els := branch("then"), branch("else")
	n := b.g.Append(onnx.NodeSpec{Op: "If", Inputs: in(cond), Outputs: []string{"z"},
		Attrs: []*onnx.Attribute{onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", els)}})
	b.g.AddOutput(b.op("Mul", "y", in(b.op("Add", "s", in(x, k)), both)))
	for _, v := range in(out, both, n.Output(0)) {
		b.g.AddOutput(v)
	}
	expect(t, b.run(LiftConstants), "out=Constant() both=Constant() z=If(cond) s=Add(x,k) y=Mul(s,both_1)")
	expect(t, line(then), "o_then=Add(c_then,c_then)")
	expect(t, line(els), "o_else=Add(c_else,c_else)")
	if v := b.g.Value("k"); v == nil || v.Const() == nil || v.Const().Len() != 2 {
		t.Errorf("k is %v", v)
	}
}

func TestFreeInitializers(t *testing.T) {
	b := build(t, 8)
	b.m.IRVersion = 3
	x := b.input("x", 2)
	w := b.g.AddInput("w", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	b.g.AddOutput(b.op("Add", "y", in(x, w)))
	// The only way to an initializer that is an input is a file: see the tests on real models. Here w stays, as it has no value.
	var log string
	c := &rewrite.Context{Log: func(pass, msg string) { log += pass + ": " + msg }}
	if err := (rewrite.Pipeline{FreeInitializers}).Run(c, b.m); err != nil {
		t.Fatal(err)
	}
	if b.m.IRVersion != 7 || len(b.g.Inputs()) != 2 {
		t.Errorf("IR %d, %d inputs", b.m.IRVersion, len(b.g.Inputs()))
	}
	expect(t, log, "free-initializers: IR version raised from 3 to 7")
}
