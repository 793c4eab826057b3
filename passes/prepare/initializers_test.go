package prepare

import (
	"strings"
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
	n := b.g.Append(onnx.NodeSpec{
		Op: "If", Inputs: in(cond), Outputs: []string{"z"},
		Attrs: []*onnx.Attribute{onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", els)},
	})
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
	b.g.AddOutput(b.op("Add", "y", in(x, b.floats("w", 2))))
	file, err := b.m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// Protobuf joins messages that stand one behind the other: a second model with only an input makes w an input too, as IR 3 wants.
	g := onnx.NewGraph("")
	g.AddInput("w", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	more, err := (&onnx.Model{IRVersion: 3, Graph: g}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Parse(append(file, more...))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Graph.Inputs()) != 2 || m.Graph.Value("w").Const() == nil {
		t.Fatalf("the test's model is not as it should be:\n%s", m.Text())
	}
	var log []string
	c := &rewrite.Context{Log: func(pass, msg string) { log = append(log, msg) }, Check: check}
	if err := (rewrite.Pipeline{FreeInitializers}).Run(c, m); err != nil {
		t.Fatal(err)
	}
	if m.IRVersion != 7 || len(m.Graph.Inputs()) != 1 || m.Graph.Value("w").Const() == nil {
		t.Errorf("got\n%s", m.Text())
	}
	expect(t, strings.Join(log, "; "), "IR version raised from 3 to 7; 1 initializers are no graph inputs any more")
}
