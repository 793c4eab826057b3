package rewrite

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// model returns a model around g.
func model(g *onnx.Graph) *onnx.Model {
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}
}

// unary appends op(in) and returns its output.
func unary(g *onnx.Graph, op, name string, in *onnx.Value) *onnx.Value {
	return g.Append(onnx.NodeSpec{Op: op, Name: op + "_" + name, Inputs: []*onnx.Value{in}, Outputs: []string{name}}).Output(0)
}

func ops(g *onnx.Graph) string {
	var s []string
	for n := range g.Nodes() {
		s = append(s, n.Op)
	}
	return strings.Join(s, " ")
}

func TestPipelineStopsAtTheFirstErrorAndNamesThePass(t *testing.T) {
	var ran []string
	bad := errors.New("no")
	step := func(name string, err error) Pass {
		return Pass{Name: name, Run: func(c *Context, m *onnx.Model) error {
			ran = append(ran, name)
			c.Logf("ran %d", len(ran))
			return err
		}}
	}
	var log []string
	c := &Context{
		Log:   func(pass, msg string) { log = append(log, pass+": "+msg) },
		Check: func(p Pass, m *onnx.Model) error { ran = append(ran, "check "+p.Name); return nil },
	}
	err := Pipeline{step("a", nil), step("b", bad), step("c", nil)}.Run(c, model(onnx.NewGraph("g")))
	if !errors.Is(err, bad) || !strings.Contains(err.Error(), "pass b") {
		t.Errorf("error %v", err)
	}
	if got := strings.Join(ran, ","); got != "a,check a,b" {
		t.Errorf("ran %s", got)
	}
	if got := strings.Join(log, ","); got != "a: ran 1,b: ran 3" {
		t.Errorf("log %s", got)
	}
}

func TestTraceComposes(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32))
	a := unary(g, "Relu", "a", x)
	b := unary(g, "Identity", "b", a)
	c := unary(g, "Identity", "c", b)
	d := unary(g, "Neg", "d", c)
	g.AddOutput(d)
	tr := NewTrace(model(g))
	ctx := &Context{Trace: tr}
	nb, _ := b.Producer()
	nc, _ := c.Producer()
	if !Bypass(ctx, nb, a) || !Bypass(ctx, nc, a) {
		t.Fatal("not bypassed")
	}
	if got := tr.Names(a); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("a carries %v", got)
	}
	e := unary(g, "Abs", "e", x)
	tr.Became(a, e)
	tr.Gone(d)
	for name, want := range map[string]*onnx.Value{"x": x, "a": e, "b": e, "c": e, "d": nil, "e": nil} {
		if got := tr.Value(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if ops(g) != "Relu Neg Abs" {
		t.Errorf("nodes %s", ops(g))
	}
	var none *Trace
	none.Became(a, b)
	none.Gone(a)
	if none.Value("a") != nil || none.Names(a) != nil {
		t.Error("a nil trace knows something")
	}
}

func TestTraceNamesInsideSubgraphs(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32))
	cond := g.AddInput("cond", onnx.ScalarOf(onnx.Bool))
	branch := func() *onnx.Graph { return onnx.NewGraph("branch") }
	then, els := branch(), branch()
	n := g.Append(onnx.NodeSpec{
		Op: "If", Name: "If_3", Inputs: []*onnx.Value{cond}, Outputs: []string{"y"},
		Attrs: []*onnx.Attribute{onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", els)},
	})
	a := unary(then, "Relu", "z", x)
	then.AddOutput(a)
	b := unary(els, "Neg", "z", x)
	els.AddOutput(b)
	g.AddOutput(n.Output(0))
	tr := NewTrace(model(g))
	if tr.Value("If_3/then_branch/"+a.Name()) != a || tr.Value("If_3/else_branch/"+b.Name()) != b {
		t.Errorf("subgraph values are not found: %v", tr.now)
	}
}

func TestBypassKeepsOutputNames(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	a := unary(g, "Relu", "a", x)
	a.Type = onnx.TensorOf(onnx.Float32, onnx.Symbol(""))
	y := unary(g, "Identity", "y", a)
	y.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(2))
	z := unary(g, "Identity", "z", x) // a graph input cannot become the output z
	w := unary(g, "Neg", "w", z)
	for _, v := range []*onnx.Value{y, z, w} {
		g.AddOutput(v)
	}
	for _, v := range []*onnx.Value{y, z} {
		n, _ := v.Producer()
		if !Bypass(&Context{}, n, n.Input(0)) {
			t.Errorf("%s is not bypassed", v)
		}
	}
	var names []string
	for _, o := range g.Outputs() {
		names = append(names, o.Name())
	}
	if got := strings.Join(names, " "); got != "y z w" {
		t.Errorf("outputs %s", got)
	}
	if ops(g) != "Relu Identity Neg" || g.Outputs()[0] != a || a.Type.String() != "f32[2]" {
		t.Errorf("nodes %s, y: %v", ops(g), a.Type)
	}
	if n, _ := w.Producer(); n.Input(0) != x {
		t.Error("w does not read x directly")
	}
}

func TestRemoveDead(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32))
	cond := g.AddInput("cond", onnx.ScalarOf(onnx.Bool))
	unused := g.AddConst("unused", onnx.Of([]float32{1}))
	onlyInner := unary(g, "Neg", "only_inner", x) // lives by a dead node of a subgraph only
	used := unary(g, "Relu", "used", x)
	then, els := onnx.NewGraph("then"), onnx.NewGraph("else")
	n := g.Append(onnx.NodeSpec{
		Op: "If", Inputs: []*onnx.Value{cond}, Outputs: []string{"y"},
		Attrs: []*onnx.Attribute{onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", els)},
	})
	then.AddOutput(unary(then, "Abs", "t", used))
	els.AddOutput(unary(els, "Exp", "e", used))
	unary(els, "Sin", "dead", onlyInner)
	unary(g, "Cos", "chain2", unary(g, "Sin", "chain1", n.Output(0)))
	g.AddOutput(n.Output(0))
	listed := g.AddInput("listed", onnx.TensorOf(onnx.Float32))
	if got := RemoveDead(g); got != 4 {
		t.Errorf("%d nodes removed, want 4", got)
	}
	if ops(g) != "Relu If" || ops(then) != "Abs" || ops(els) != "Exp" {
		t.Errorf("left: %s; %s; %s", ops(g), ops(then), ops(els))
	}
	if unused.Graph() != nil || listed.Graph() != g || len(x.Uses()) != 1 {
		t.Error("wrong values left")
	}
}

func TestConstSeesEveryForm(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32))
	for _, c := range []struct {
		attr *onnx.Attribute
		want onnx.DataType
		dims []int64
	}{
		{onnx.AttrT("value", onnx.Of([]int8{1, 2}, 2, 1)), onnx.Int8, []int64{2, 1}},
		{onnx.AttrF("value_float", 1), onnx.Float32, []int64{}},
		{onnx.AttrI("value_int", 1), onnx.Int64, []int64{}},
		{onnx.AttrS("value_string", "a"), onnx.String, []int64{}},
		{onnx.AttrFs("value_floats", 1, 2), onnx.Float32, []int64{2}},
		{onnx.AttrIs("value_ints", 1, 2, 3), onnx.Int64, []int64{3}},
		{&onnx.Attribute{Name: "value_strings", Kind: onnx.AttrStrings, Strings: [][]byte{{1}}}, onnx.String, []int64{1}},
	} {
		n := g.Append(onnx.NodeSpec{Op: "Constant", Outputs: []string{"c"}, Attrs: []*onnx.Attribute{c.attr}})
		if got := Const(n.Output(0)); got == nil || got.Type != c.want || !slices.Equal(got.Dims, c.dims) {
			t.Errorf("%s: %v", c.attr.Name, got)
		}
	}
	v := g.AddConst("w", onnx.Of([]int64{4, 5}))
	if got, ok := ConstInts(v); !ok || !slices.Equal(got, []int64{4, 5}) {
		t.Errorf("ConstInts: %v %v", got, ok)
	}
	if Const(x) != nil || Const(nil) != nil || Const(unary(g, "Relu", "r", v)) != nil {
		t.Error("something that is no constant is one")
	}
}
