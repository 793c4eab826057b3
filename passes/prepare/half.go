package prepare

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// WidenHalves moves the arithmetic of float16 and bfloat16 to float32. It is for runtimes that have no kernels for them, such as
// ONNX Runtime on CPUs, which puts a Cast before and behind every node by itself; where half-precision arithmetic is fast it is
// not wanted. Results differ by the rounding of what lies between, which falls away.
//
// Every tensor of a half-precision type becomes float32, but for those that somebody else may look at: the inputs and outputs of
// the model, and what nodes of other domains, local functions, sequences and optionals take and give. Casts stand between the two.
var WidenHalves = rewrite.Pass{
	Name: "widen-halves",
	Doc:  "compute in float32 what a model computes in float16 or bfloat16; inputs and outputs keep their types",
	Run:  widenHalves,
}

// halves are the types that are widened.
var halves = []onnx.DataType{onnx.Float16, onnx.BFloat16}

func isHalf(t onnx.DataType) bool { return slices.Contains(halves, t) }

// HalfTypes returns the half-precision types of the constants of m.
func HalfTypes(m *onnx.Model) []onnx.DataType {
	found := map[onnx.DataType]bool{}
	note := func(t *onnx.Tensor) {
		if t != nil {
			found[t.Type] = true
		}
	}
	for g := range rewrite.Graphs(m) {
		for _, v := range g.Consts() {
			note(v.Const())
		}
		for n := range g.Nodes() {
			note(n.Constant())
		}
	}
	return slices.DeleteFunc(slices.Clone(halves), func(t onnx.DataType) bool { return !found[t] })
}

// Narrowed returns a float32 tensor in a half-precision type; nil where that would change an element.
func Narrowed(t *onnx.Tensor, to onnx.DataType) *onnx.Tensor {
	n := onnx.Zeros(to, t.Dims...)
	onnx.SetFloats(n, onnx.Data[float32](t))
	if back, err := widened(n); err != nil || !bytes.Equal(back.Bytes(), t.Bytes()) {
		return nil
	}
	return n
}

// A widening is one run of the pass. Each value of a half-precision type has one type from now on, and each of its takers wants
// one; where they differ stands a Cast.
type widening struct {
	context *rewrite.Context
	kept    map[*onnx.Node]bool // nodes that take and give halves as before
	results map[*onnx.Value][]result
}

// A result is a place among the outputs of a graph.
type result struct {
	graph *onnx.Graph
	index int
}

func widenHalves(c *rewrite.Context, m *onnx.Model) error {
	w := &widening{c, map[*onnx.Node]bool{}, map[*onnx.Value][]result{}}
	functions := map[string]bool{} // may stand in the place of operators
	for _, f := range m.Functions {
		functions[f.Name] = true
	}
	var values []*onnx.Value
	count := 0
	for g := range rewrite.Graphs(m) {
		values = append(values, halvesAmong(g.Inputs())...)
		values = append(values, halvesAmong(g.Consts())...)
		for n := range g.Nodes() {
			values = append(values, halvesAmong(n.Outputs())...)
			if w.kept[n] = functions[n.Op] || keepsHalves(n); w.kept[n] {
				continue
			}
			if len(halvesAmong(n.Inputs()))+len(halvesAmong(n.Outputs())) > 0 {
				count++
			}
			if err := widenAttributes(n); err != nil {
				return err
			}
		}
		for i, v := range g.Outputs() {
			w.results[v] = append(w.results[v], result{g, i})
		}
	}
	for _, v := range values {
		if err := w.value(v); err != nil {
			return err
		}
	}
	if count > 0 {
		c.Logf("%d nodes compute in float32 instead of half precision", count)
	}
	return nil
}

func halvesAmong(values []*onnx.Value) []*onnx.Value {
	return slices.DeleteFunc(slices.Clone(values), func(v *onnx.Value) bool { return !isHalf(rewrite.Elem(v)) })
}

// keepsHalves reports whether a node cannot be given float32 for halves: it is not known what it does with them, it sees their
// bits or digits, or it handles them in sequences.
func keepsHalves(n *onnx.Node) bool {
	if !n.Is(n.Op) || n.Is("BitCast") || n.Is("Cast", "CastLike") && rewrite.Elem(n.Output(0)) == onnx.String {
		return true
	}
	values := slices.Concat(n.Inputs(), n.Outputs())
	for _, g := range n.Subgraphs() {
		values = slices.Concat(values, g.Inputs(), g.Outputs())
	}
	return slices.ContainsFunc(values, func(v *onnx.Value) bool { return v != nil && !widenable(v.Type) }) ||
		slices.ContainsFunc(n.Attrs, func(a *onnx.Attribute) bool { return a.Kind == onnx.AttrSparseTensor })
}

// widenable reports whether it is clear what becomes of a value of that type: it is a tensor, or there are no halves in it.
func widenable(t *onnx.Type) bool {
	if t != nil && t.Kind == onnx.KindTensor {
		return t.Elem.Valid()
	}
	for inner := t; inner != nil; inner = inner.Inner {
		if inner.Kind == onnx.KindOpaque || isHalf(inner.Elem) {
			return false
		}
	}
	return t != nil
}

// typeAttributes are the attributes of standard operators that name an element type.
var typeAttributes = []string{"to", "dtype", "output_dtype", "output_datatype", "precision", "softmax_precision", "stash_type"}

// widenAttributes has the node compute in float32 what its attributes would have in half precision.
func widenAttributes(n *onnx.Node) error {
	for _, a := range slices.Clone(n.Attrs) {
		switch {
		case a.Kind == onnx.AttrInt && isHalf(onnx.DataType(a.Int)) && slices.Contains(typeAttributes, a.Name):
			n.SetAttr(onnx.AttrI(a.Name, int64(onnx.Float32)))
		case a.Kind == onnx.AttrTensor && a.Tensor != nil && isHalf(a.Tensor.Type):
			t, err := widened(a.Tensor)
			if err != nil {
				return fmt.Errorf("%s %q: attribute %q: %w", n.Op, n.Key(), a.Name, err)
			}
			n.SetAttr(onnx.AttrT(a.Name, t))
		}
	}
	return nil
}

func widened(t *onnx.Tensor) (*onnx.Tensor, error) {
	x, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	return onnx.Of(x, append([]int64{}, t.Dims...)...), nil
}

// fixed reports whether the inputs and outputs of g keep their types: those of the model, and of the bodies of nodes that are kept.
func (w *widening) fixed(g *onnx.Graph) bool { return g.Owner() == nil || w.kept[g.Owner()] }

// stays reports whether v keeps its type: constants where anybody wants it, others where who gives them does.
func (w *widening) stays(v *onnx.Value) bool {
	if v.Const() != nil {
		return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return w.kept[u.Node] }) ||
			slices.ContainsFunc(w.results[v], func(r result) bool { return w.fixed(r.graph) })
	}
	if n, _ := v.Producer(); n != nil {
		return w.kept[n]
	}
	return w.fixed(v.Graph())
}

// value gives v the type that it has from now on, and its takers the one that they want.
func (w *widening) value(v *onnx.Value) error {
	half, stays := v.Type.Elem, w.stays(v)
	var wide *onnx.Tensor // of a constant
	if v.Const() != nil {
		var err error
		if wide, err = widened(v.Const()); err != nil {
			return fmt.Errorf("tensor %q: %w", v.Name(), err)
		}
	}
	switch {
	case stays:
	case wide != nil:
		v.SetConst(wide)
	default:
		v.Type = ofElem(v.Type, onnx.Float32)
	}
	var made *onnx.Value
	other := func() *onnx.Value { // v in the other type
		switch {
		case made != nil:
		case wide != nil:
			made = v.Graph().AddConst(v.Name()+"_f32", wide)
		case stays:
			made = castOf(v, onnx.Float32)
			w.context.Trace.Became(v, made)
		default:
			made = castOf(v, half)
		}
		return made
	}
	for _, u := range slices.Clone(v.Uses()) {
		if w.kept[u.Node] != stays {
			u.Node.SetInput(u.Index, other())
		}
	}
	for _, r := range w.results[v] {
		want := v
		if w.fixed(r.graph) != stays {
			want = other()
		}
		switch {
		case want == r.graph.Outputs()[r.index]:
		case want != v && r.graph.Owner() == nil:
			takeOver(v, want)
		default:
			r.graph.SetOutput(r.index, want)
		}
	}
	return nil
}

// castOf puts a Cast of v as early as there can be one, before any subgraph that may take it.
func castOf(v *onnx.Value, to onnx.DataType) *onnx.Value {
	n, _ := v.Producer()
	out := v.Graph().InsertAfter(n, onnx.NodeSpec{
		Op: "Cast", Inputs: []*onnx.Value{v}, Outputs: []string{v.Name() + "_" + to.String()},
		Attrs: []*onnx.Attribute{onnx.AttrI("to", int64(to))},
	}).Output(0)
	out.Type = ofElem(v.Type, to)
	return out
}

func ofElem(t *onnx.Type, elem onnx.DataType) *onnx.Type {
	t = t.Clone()
	t.Elem = elem
	return t
}

// takeOver makes cast, computed from v, the output of the model that v was, under its name; v keeps its other uses.
func takeOver(v, cast *onnx.Value) {
	name, uses := v.Name(), slices.Clone(v.Uses())
	onnx.Replace(v, cast)
	for _, u := range uses {
		u.Node.SetInput(u.Index, v)
	}
	v.Rename(v.Graph().FreshName(name + "_f32"))
}
