package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// FoldLayouts applies what only moves the elements of constants. Exporters write weights as slices of others put together
// anew; in branches, of constants of the graphs around.
var FoldLayouts = rewrite.Pass{
	Name: "fold-layouts",
	Doc:  "apply to constants what only moves their elements: Reshape, Transpose, Slice, Split, Concat, Gather, Expand...",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		f := &folder{context: c, views: map[*onnx.Value]*view{}, known: map[string]*view{}, moving: map[*onnx.Node]bool{}}
		for g := range rewrite.Graphs(m) {
			for _, v := range g.Consts() {
				f.limit += v.Const().Len()
			}
		}
		var movers []*onnx.Node
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				if f.move(n) {
					movers = append(movers, n)
				}
			}
		}
		if err := f.fold(movers); err != nil {
			return err
		}
		for _, n := range slices.Backward(movers) {
			if n.Graph() != nil {
				rewrite.RemoveUnused(n)
			}
		}
		return nil
	},
}

const (
	// smallTensor is the number of elements up to which a constant may be stored twice.
	smallTensor = 1024
	// tinyTensor is the number of elements up to which a constant does not count when sizes before and after are compared:
	// an axis or a zero that unrelated nodes share would else tie them together.
	tinyTensor = 16
)

// A folder finds the tensors that are views of constants and decides which of them to store.
type folder struct {
	context *rewrite.Context
	views   map[*onnx.Value]*view
	known   map[string]*view // by what they are, so that equal ones are one
	moving  map[*onnx.Node]bool
	limit   int // elements of all constants: a view of more is not made
}

// move makes views of the outputs of n and reports whether n only moves elements of constants. Outputs of a graph must be
// computed there.
func (f *folder) move(n *onnx.Node) bool {
	row := movers[n.Op]
	if row == nil || !n.Is(n.Op) || len(n.Outputs()) == 0 || slices.ContainsFunc(n.Outputs(), func(v *onnx.Value) bool { return v == nil || v.IsOutput() }) {
		return false
	}
	inputs := n.Inputs()
	if n.Op != "Concat" {
		inputs = inputs[:min(len(inputs), 1)]
	}
	var from []*view
	for _, v := range inputs {
		from = append(from, f.of(v))
	}
	if len(from) == 0 || slices.ContainsFunc(from, func(w *view) bool { return w == nil || w.typ != from[0].typ }) {
		return false
	}
	made := make([]*view, len(n.Outputs()))
	for i := range made {
		w := row(n, i, from)
		if w == nil {
			return false
		}
		if size, ok := onnx.CountElements(w.dims); !ok || size > int64(max(smallTensor, f.limit)) {
			return false
		}
		made[i] = f.intern(w, from)
	}
	for i, v := range n.Outputs() {
		f.views[v] = made[i]
	}
	f.moving[n] = true
	return true
}

// of returns v as a view: of itself where it is a constant; nil when it is computed.
func (f *folder) of(v *onnx.Value) *view {
	if v == nil {
		return nil
	}
	if w := f.views[v]; w != nil {
		return w
	}
	t := rewrite.Const(v)
	if t == nil || t.Type.Bits() < 8 {
		return nil
	}
	w := &view{typ: t.Type, dims: t.Dims, value: v, tensor: t, graph: v.Graph(), id: len(f.known)}
	f.views[v], f.known[w.key()] = w, w
	return w
}

// intern returns the view equal to w that is known, else w.
func (f *folder) intern(w *view, from []*view) *view {
	w.from, w.typ, w.graph, w.id = from, from[0].typ, from[0].graph, len(f.known)
	key := w.key()
	if old := f.known[key]; old != nil {
		return old
	}
	f.known[key] = w
	for _, s := range from {
		if depth(s.graph) > depth(w.graph) {
			w.graph = s.graph
		}
		if s.value == nil || s.len() > tinyTensor {
			s.join(w)
		}
	}
	return w
}

// depth returns how many graphs stand around g.
func depth(g *onnx.Graph) int {
	d := 0
	for ; g.Parent() != nil; g = g.Parent() {
		d++
	}
	return d
}

// fold stores the views that other nodes take: small ones, and those that together need no more than the constants that
// nobody needs any more then.
func (f *folder) fold(movers []*onnx.Node) error {
	type need struct {
		out  *onnx.Value
		view *view
	}
	var needs []need
	grows := map[*view]int{} // elements, by the root of what hangs together
	counted := map[*view]bool{}
	for _, n := range movers {
		for _, out := range n.Outputs() {
			w := f.views[out]
			if !slices.ContainsFunc(out.Uses(), f.keeps) {
				continue
			}
			needs = append(needs, need{out, w})
			if w.len() > smallTensor && !counted[w] {
				counted[w] = true
				grows[w.root()] += w.len()
			}
		}
	}
	for v, w := range f.views {
		if w.value == v && w.len() > tinyTensor && !v.IsOutput() && !v.IsInput() && !slices.ContainsFunc(v.Uses(), f.keeps) {
			grows[w.root()] -= w.len()
		}
	}
	stored := map[*view]*onnx.Value{}
	for _, x := range needs {
		w := x.view
		if w.len() > smallTensor && grows[w.root()] > 0 {
			continue
		}
		if stored[w] != nil {
			onnx.ReplaceUses(x.out, stored[w])
			f.context.Trace.Became(x.out, stored[w])
			continue
		}
		t, err := w.load()
		if err != nil {
			return err
		}
		stored[w] = placeConst(f.context, w.graph, x.out, t)
	}
	return nil
}

// keeps reports whether a use needs the tensor itself.
func (f *folder) keeps(u onnx.Use) bool { return !f.moving[u.Node] }
