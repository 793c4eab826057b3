package rewrite

import (
	"iter"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// Graphs iterates over the main graph and all subgraphs of m, a graph before the graphs inside it. Functions are left out:
// their bodies have their own opsets and no types.
func Graphs(m *onnx.Model) iter.Seq[*onnx.Graph] {
	return func(yield func(*onnx.Graph) bool) {
		if !yield(m.Graph) {
			return
		}
		for n := range m.Graph.AllNodes() {
			for _, g := range n.Subgraphs() {
				if !yield(g) {
					return
				}
			}
		}
	}
}

// Const returns the tensor of a constant value: an initializer or the output of a Constant node. It is nil when v is nil
// or not constant.
func Const(v *onnx.Value) *onnx.Tensor {
	if v == nil {
		return nil
	}
	if t := v.Const(); t != nil {
		return t
	}
	if n, _ := v.Producer(); n != nil {
		return n.Constant()
	}
	return nil
}

// ConstInts returns the elements of a constant integer value; false when v is not one.
func ConstInts(v *onnx.Value) ([]int64, bool) {
	t := Const(v)
	if t == nil {
		return nil, false
	}
	x, err := t.Int64s()
	return x, err == nil
}

// OnlyUse returns the node that takes v when that is the only use of it, and v is no graph output; else nil.
func OnlyUse(v *onnx.Value) *onnx.Node {
	if v == nil || v.IsOutput() || len(v.Uses()) != 1 {
		return nil
	}
	return v.Uses()[0].Node
}

// ProducedBy returns the node that computes v as its first output when it is one of these standard operators; else nil.
func ProducedBy(v *onnx.Value, ops ...string) *onnx.Node {
	if v == nil {
		return nil
	}
	if n, i := v.Producer(); n != nil && i == 0 && n.Is(ops...) {
		return n
	}
	return nil
}

// Used reports whether anything takes v: a node or the graph's outputs.
func Used(v *onnx.Value) bool { return v != nil && (len(v.Uses()) > 0 || v.IsOutput()) }

// Shape returns the dimensions of v; nil when its rank is unknown.
func Shape(v *onnx.Value) []onnx.Dim {
	if v == nil || v.Type == nil || v.Type.Kind != onnx.KindTensor {
		return nil
	}
	return v.Type.Shape
}

// Rank returns the rank of v, -1 when it is unknown.
func Rank(v *onnx.Value) int {
	if s := Shape(v); s != nil {
		return len(s)
	}
	return -1
}

// Elem returns the element type of v; Undefined when it is unknown.
func Elem(v *onnx.Value) onnx.DataType {
	if v == nil || v.Type == nil || v.Type.Kind != onnx.KindTensor {
		return onnx.Undefined
	}
	return v.Type.Elem
}

// Bypass puts v, which has the same numbers, in the place of n's first output, and removes n when nothing else holds it.
// Where n's output is a graph output whose name v cannot take over, n stays to provide it. It reports whether anything changed.
func Bypass(c *Context, n *onnx.Node, v *onnx.Value) bool {
	out, declared := n.Output(0), n.Output(0).IsOutput()
	if !onnx.Replace(out, v) {
		if len(out.Uses()) == 0 {
			return false
		}
		onnx.ReplaceUses(out, v)
		return true
	}
	if declared && out.Type != nil {
		v.Type = out.Type.Clone() // what the model promises its callers
	}
	c.Trace.Became(out, v)
	RemoveUnused(n)
	return true
}

// Absorb removes next, whose work the producer of v, its only input that is not constant, does from now on: v loses its old
// meaning and takes over that of next's first output, with the name. v must have no other use and be of the same graph.
func Absorb(c *Context, next *onnx.Node, v *onnx.Value) {
	name := next.Output(0).Name()
	c.Trace.Gone(v)
	Bypass(c, next, v)
	if v.Name() != name && v.Graph().Value(name) == nil {
		v.Rename(name)
	}
}

// RemoveUnused removes n when nothing uses its outputs, and reports whether it did.
func RemoveUnused(n *onnx.Node) bool {
	if slices.ContainsFunc(n.Outputs(), Used) {
		return false
	}
	n.Graph().Remove(n)
	return true
}

// RemoveDead removes the nodes and initializers of g and of its subgraphs that nothing uses, and returns how many nodes it
// removed. Initializers that are graph inputs stay: callers know them.
func RemoveDead(g *onnx.Graph) int {
	removed := 0
	for _, n := range slices.Backward(slices.Collect(g.Nodes())) {
		if RemoveUnused(n) {
			removed++
			continue
		}
		for _, s := range n.Subgraphs() {
			removed += RemoveDead(s)
		}
	}
	for _, v := range slices.Clone(g.Consts()) {
		if !Used(v) && !v.IsInput() {
			g.DropConst(v)
		}
	}
	return removed
}
