package onnx

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// editor makes random edits of a graph and its subgraphs.
type editor struct {
	t *rapid.T
	g *Graph
}

func pick[T any](t *rapid.T, what string, list []T) (x T, ok bool) {
	if len(list) == 0 {
		return x, false
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(t, what)], true
}

// graphs lists the main graph and all subgraphs.
func (e *editor) graphs() []*Graph {
	gs := []*Graph{e.g}
	for n := range e.g.AllNodes() {
		gs = append(gs, n.Subgraphs()...)
	}
	return gs
}

func (e *editor) graph() *Graph { g, _ := pick(e.t, "graph", e.graphs()); return g }

func nodesOf(g *Graph) []*Node { return slices.Collect(g.Nodes()) }

// own lists the values that g defines, in a defined order.
func own(g *Graph) []*Value {
	vs := slices.Clone(g.inputs)
	for _, v := range g.consts {
		if !v.input {
			vs = append(vs, v)
		}
	}
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			if v != nil {
				vs = append(vs, v)
			}
		}
	}
	return vs
}

// visible lists the values that g may use.
func visible(g *Graph) []*Value {
	var vs []*Value
	for ; g != nil; g = g.Parent() {
		vs = append(vs, own(g)...)
	}
	return vs
}

func (e *editor) inputs(g *Graph) []*Value {
	var ins []*Value
	vs := append(visible(g), nil)
	for range rapid.IntRange(0, 3).Draw(e.t, "inputs") {
		v, _ := pick(e.t, "input", vs)
		ins = append(ins, v)
	}
	return ins
}

func (e *editor) spec(g *Graph) NodeSpec {
	return NodeSpec{Op: "Op", Inputs: e.inputs(g), Outputs: rapid.SliceOfN(rapid.SampledFrom([]string{"", "y", "z"}), 0, 3).Draw(e.t, "outputs")}
}

// subgraph returns an attribute whose graph uses values that g sees.
func (e *editor) subgraph(g *Graph, name string) *Attribute {
	s := NewGraph("sub")
	n := s.Append(NodeSpec{Op: "Inner", Inputs: e.inputs(g), Outputs: []string{"inner"}})
	s.AddOutput(n.Output(0))
	if v, ok := pick(e.t, "handed on", visible(g)); ok && rapid.Bool().Draw(e.t, "hand on") {
		s.AddOutput(v)
	}
	return AttrG(name, s)
}

func TestEditsKeepLinks(t *testing.T) {
	t.Parallel()
	one := Of([]float32{1})
	edits := []struct {
		name string
		do   func(*editor)
	}{
		{"add input", func(e *editor) { g := e.graph(); g.AddInput(g.FreshName("x"), TensorOf(Float32)) }},
		{"add const", func(e *editor) { e.graph().AddConst("w", one) }},
		{"append", func(e *editor) { g := e.graph(); g.Append(e.spec(g)) }},
		{"insert", func(e *editor) {
			g := e.graph()
			mark, _ := pick(e.t, "mark", nodesOf(g))
			if rapid.Bool().Draw(e.t, "before") {
				g.InsertBefore(mark, e.spec(g))
			} else {
				g.InsertAfter(mark, e.spec(g))
			}
		}},
		{"subgraph", func(e *editor) {
			g := e.graph()
			if n, ok := pick(e.t, "node", nodesOf(g)); ok {
				n.SetAttr(e.subgraph(g, rapid.SampledFrom([]string{"then", "else"}).Draw(e.t, "attribute")))
			}
		}},
		{"drop attribute", func(e *editor) {
			if n, ok := pick(e.t, "node", nodesOf(e.graph())); ok {
				n.DropAttr("then")
			}
		}},
		{"move attribute", func(e *editor) {
			g := e.graph()
			a, ok := pick(e.t, "from", nodesOf(g))
			if b, _ := pick(e.t, "to", nodesOf(g)); ok && a != b && a.Attr("then") != nil {
				b.SetAttr(a.Attr("then"))
				a.DropAttr("then")
			}
		}},
		{"set input", func(e *editor) {
			g := e.graph()
			if n, ok := pick(e.t, "node", nodesOf(g)); ok {
				v, _ := pick(e.t, "value", append(visible(g), nil))
				n.SetInput(rapid.IntRange(0, 4).Draw(e.t, "index"), v)
			}
		}},
		{"trim", func(e *editor) {
			if n, ok := pick(e.t, "node", nodesOf(e.graph())); ok {
				n.TrimInputs(rapid.IntRange(0, 3).Draw(e.t, "index"))
			}
		}},
		{"remove", func(e *editor) {
			g := e.graph()
			if n, ok := pick(e.t, "node", nodesOf(g)); ok && !slices.ContainsFunc(n.outputs, func(v *Value) bool { return v != nil && v.inUse() }) {
				g.Remove(n)
				if n.Graph() != nil {
					e.t.Fatal("a removed node has a graph")
				}
			}
		}},
		{"replace uses", func(e *editor) {
			g := e.graph()
			if v, ok := pick(e.t, "old", own(g)); ok {
				w, _ := pick(e.t, "new", visible(g))
				ReplaceUses(v, w)
			}
		}},
		{"replace", func(e *editor) {
			g := e.graph()
			old, ok := pick(e.t, "old", own(g))
			if !ok {
				return
			}
			v, _ := pick(e.t, "new", own(g))
			name, was := old.Name(), slices.Contains(g.outputs, old)
			if Replace(old, v) && was && v.Name() != name {
				e.t.Fatalf("the output %s is now called %s", name, v)
			}
		}},
		{"add output", func(e *editor) {
			g := e.graph()
			if v, ok := pick(e.t, "value", visible(g)); ok {
				g.AddOutput(v)
			}
		}},
		{"set output", func(e *editor) {
			g := e.graph()
			if len(g.outputs) > 0 {
				v, _ := pick(e.t, "value", visible(g))
				if v != nil {
					g.SetOutput(rapid.IntRange(0, len(g.outputs)-1).Draw(e.t, "index"), v)
				}
			}
		}},
		{"drop const", func(e *editor) {
			g := e.graph()
			if v, ok := pick(e.t, "const", g.consts); ok && !v.inUse() {
				g.DropConst(v)
			}
		}},
		{"drop input", func(e *editor) {
			g := e.graph()
			if v, ok := pick(e.t, "input", g.inputs); ok && !v.inUse() {
				g.DropInput(v)
			}
		}},
		{"rename", func(e *editor) {
			g := e.graph()
			if v, ok := pick(e.t, "value", own(g)); ok {
				v.Rename(g.FreshName(v.Name()))
			}
		}},
		{"move", func(e *editor) {
			g := e.graph()
			n, ok := pick(e.t, "node", nodesOf(g))
			if mark, _ := pick(e.t, "mark", append(nodesOf(g), nil)); ok {
				n.MoveAfter(mark)
			}
		}},
		{"sweep", func(e *editor) {
			g := e.graph()
			for n := range g.Nodes() {
				if !slices.ContainsFunc(n.outputs, func(v *Value) bool { return v != nil && v.inUse() }) {
					g.Remove(n)
				}
			}
		}},
		{"clone", func(e *editor) { e.g = (&Model{Graph: e.g}).Clone().Graph }},
	}
	names := make([]int, len(edits))
	for i := range names {
		names[i] = i
	}
	rapid.Check(t, func(t *rapid.T) {
		e := &editor{t, NewGraph("main")}
		for range rapid.IntRange(1, 60).Draw(t, "edits") {
			edit := edits[rapid.SampledFrom(names).Draw(t, "edit")]
			edit.do(e)
			if err := e.g.verify(); err != nil {
				t.Fatalf("after %s: %v\n%s", edit.name, err, e.g.Text())
			}
			// No name is given twice within sight, so that names mean what pointers mean.
			for _, g := range e.graphs() {
				for _, v := range visible(g) {
					if g.Lookup(v.Name()) != v {
						t.Fatalf("after %s: two values are called %s\n%s", edit.name, v, e.g.Text())
					}
				}
			}
			if c := (&Model{Graph: e.g}).Clone(); c.Graph.verify() != nil || c.Graph.Text() != e.g.Text() {
				t.Fatalf("after %s: the clone differs: %v", edit.name, c.Graph.verify())
			}
		}
	})
}

// threeNodes returns a graph x -> A -> B -> C -> output y.
func threeNodes() (g *Graph, a, b, c *Node) {
	g = NewGraph("g")
	x := g.AddInput("x", TensorOf(Float32, Symbol("N")))
	add := func(op string, in *Value, out string) *Node {
		return g.Append(NodeSpec{Op: op, Inputs: []*Value{in}, Outputs: []string{out}})
	}
	a = add("A", x, "a")
	b = add("B", a.Output(0), "b")
	c = add("C", b.Output(0), "y")
	g.AddOutput(c.Output(0))
	c.Output(0).Type = TensorOf(Float32, Symbol("N"))
	return g, a, b, c
}

func ops(g *Graph) string {
	s := ""
	for n := range g.Nodes() {
		s += n.Op
	}
	return s
}

func TestEditWhileIterating(t *testing.T) {
	g, _, b, _ := threeNodes()
	visited := ""
	for n := range g.Nodes() {
		visited += n.Op
		switch n.Op {
		case "A":
			// The next node is removed before the iteration comes to it, and another put in its place.
			ReplaceUses(b.Output(0), n.Output(0))
			g.Remove(b)
			g.InsertAfter(n, NodeSpec{Op: "D", Inputs: n.Outputs(), Outputs: []string{"d"}})
		case "D":
			g.Remove(n)
		}
	}
	if visited != "ADC" || ops(g) != "AC" {
		t.Errorf("visited %s, left %s", visited, ops(g))
	}
	// What is inside a removed node is not visited any more.
	last := g.Append(NodeSpec{Op: "L"})
	inner := NewGraph("inner")
	inner.Append(NodeSpec{Op: "I"})
	last.SetAttr(AttrG("body", inner))
	for n := range g.AllNodes() {
		switch n {
		case last:
			g.Remove(n)
		case inner.first:
			t.Error("a node inside a removed one was visited")
		}
	}
	// Uses can be gone through while they are changed.
	x := g.Value("x")
	for range 5 {
		g.Append(NodeSpec{Op: "U", Inputs: []*Value{x}})
	}
	other := g.AddInput("other", nil)
	for _, u := range x.Uses() {
		u.Node.SetInput(u.Index, other)
	}
	if len(x.Uses()) != 0 || len(other.Uses()) != 6 {
		t.Errorf("%d and %d uses", len(x.Uses()), len(other.Uses()))
	}
}

func TestReplaceKeepsOutputNames(t *testing.T) {
	g, a, b, c := threeNodes()
	y := c.Output(0)
	n := g.Append(NodeSpec{Op: "N", Inputs: []*Value{b.Output(0)}, Outputs: []string{"y"}})
	if n.Output(0).Name() == "y" {
		t.Fatal("the name y was given twice")
	}
	if !Replace(y, n.Output(0)) || n.Output(0).Name() != "y" || g.Outputs()[0] != n.Output(0) || n.Output(0).Type.String() != "f32[N]" {
		t.Errorf("output %s %s", g.Outputs()[0], n.Output(0).Type)
	}
	g.Remove(c)
	for _, v := range []*Value{g.Value("x"), g.AddConst("w", Of([]float32{1}))} {
		if Replace(n.Output(0), v) {
			t.Errorf("%s, which no node computes, replaced an output", v)
		}
	}
	if !Replace(a.Output(0), g.Value("x")) || b.Input(0) != g.Value("x") {
		t.Error("an inner value was not replaced")
	}
	// A value that only a subgraph hands on is in use, and replaced there too.
	s := NewGraph("s")
	s.AddOutput(a.Output(0))
	b.SetAttr(AttrG("then", s))
	if !a.Output(0).IsOutput() {
		t.Error("a value handed on by a subgraph counts as unused")
	}
	if !Replace(a.Output(0), g.Value("x")) || s.Outputs()[0] != g.Value("x") || a.Output(0).IsOutput() {
		t.Error("the subgraph's output was not replaced")
	}
	if err := g.verify(); err != nil {
		t.Error(err)
	}
}

func TestFreshName(t *testing.T) {
	g, a, _, _ := threeNodes()
	g.Append(NodeSpec{Op: "D", Name: "node"})
	s := NewGraph("s")
	s.AddInput("inner", nil)
	for _, want := range []string{"x_1", "x_2", "x_3"} {
		if got := g.FreshName("x"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	a.SetAttr(AttrG("body", s)) // after the names were first collected
	for base, want := range map[string]string{"inner": "inner_1", "node": "node_1", "free": "free", "": "_1"} {
		if got := g.FreshName(base); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := s.FreshName("y"); got != "y_1" {
		t.Errorf("%s in a subgraph, want y_1", got)
	}
}

func TestKeys(t *testing.T) {
	g, a, b, c := threeNodes()
	a.Name, b.Name = "same", "same"
	c.Name = "own"
	s := NewGraph("s")
	inner := s.Append(NodeSpec{Op: "I", Outputs: []string{"", "i"}})
	c.SetAttr(AttrG("then_branch", s))
	l := NewGraph("l")
	listed := l.Append(NodeSpec{Op: "L", Name: "same"})
	c.SetAttr(&Attribute{Name: "list", Kind: AttrGraphs, Graphs: []*Graph{l}})
	keys := g.Keys()
	for n, want := range map[*Node]string{a: "A:a", b: "B:b", c: "own", inner: "own/then_branch/I:i", listed: "own/list[0]/same"} {
		if n.Key() != want || keys[n] != want {
			t.Errorf("key %q and %q, want %q", n.Key(), keys[n], want)
		}
	}
	if len(keys) != 5 {
		t.Errorf("%d keys", len(keys))
	}
	// A name that looks like the key of another node leaves that one the next number.
	c.Name = "A:a"
	silent := []*Node{g.Append(NodeSpec{Op: "P"}), g.Append(NodeSpec{Op: "P"}), g.Append(NodeSpec{Op: "P", Name: "P:#2"})}
	keys = g.Keys()
	for n, want := range map[*Node]string{
		a: "A:a#2", b: "B:b", c: "A:a", inner: "A:a/then_branch/I:i", silent[0]: "P:", silent[1]: "P:#3", silent[2]: "P:#2",
	} {
		if n.Key() != want || keys[n] != want {
			t.Errorf("key %q and %q, want %q", n.Key(), keys[n], want)
		}
	}
}

func TestTensorMemory(t *testing.T) {
	backing := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	view := New(Uint8, []int64{4}, backing[:4])
	view.Resize(Uint8, 8)
	view.Bytes()[0] = 99
	if backing[0] != 1 {
		t.Error("Resize wrote into memory that is not the tensor's own")
	}
	dims := []int64{2, 3}
	z := Zeros(Float32, dims...)
	p := &z.Bytes()[0]
	r := z.Reshaped(6)
	z.Resize(Float32, 3, 1)
	if dims[0] != 2 || dims[1] != 3 {
		t.Error("Resize changed the dims it was made from")
	}
	if &z.Bytes()[0] != p {
		t.Error("Resize does not reuse its own memory")
	}
	r.Resize(Float32, 6)
	if &r.Bytes()[0] == p {
		t.Error("Resize of a reshaped tensor reuses the other's memory")
	}
	odd := New(Float32, []int64{1}, append(make([]byte, 1, 8), 0, 0, 128, 63)[1:])
	if got := Data[float32](odd); got[0] != 1 {
		t.Errorf("unaligned data read as %v", got)
	}
	if s := Scalar(int8(3)); s.Rank() != 0 || s.Dims == nil || Data[int8](s)[0] != 3 {
		t.Errorf("scalar %v", s)
	}
	strs := NewStrings([]int64{1}, [][]byte{[]byte("a")})
	c := strs.Clone()
	c.Strings()[0] = []byte("b")
	if string(strs.Strings()[0]) != "a" {
		t.Error("a cloned string tensor shares its elements")
	}
	if got := fmt.Sprint(len(Zeros(String, 2).Strings())); got != "2" {
		t.Errorf("%s zero strings", got)
	}
}
