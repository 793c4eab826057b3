package engine

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// fuseChains has one kernel do what a chain of float operators does: the tensors in between are never written. Results may
// differ from the chain's in rounding.
var fuseChains = rewrite.Pass{
	Name: "fuse-chains",
	Doc:  "turn chains of operators into integer products with floats behind, scales of rows, layer norms, Gelu, and products with a factor or a bias",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		for _, fuse := range []func(n *onnx.Node){
			fuseIntegerProduct, fuseRowScale,
			fuseRowProduct, // after both
			fuseNorm, fuseGelu,
			fuseProductScale, fuseBias, // last: a factor or a bias may also be part of a longer chain
		} {
			eachNode(m, fuse)
			for g := range rewrite.Graphs(m) {
				rewrite.RemoveDead(g) // a dead node is a use
			}
		}
		return nil
	},
}

// chain is the nodes that one node takes the place of.
type chain []*onnx.Node

func (c *chain) add(n *onnx.Node) *onnx.Node {
	if !slices.Contains(*c, n) {
		*c = append(*c, n)
	}
	return n
}

// from adds the node that computes v if it is one of these operators; else it returns nil.
func (c *chain) from(v *onnx.Value, ops ...string) *onnx.Node {
	n := rewrite.ProducedBy(v, ops...)
	if n == nil {
		return nil
	}
	return c.add(n)
}

// into adds the node that is all that takes v if it is one of these operators; else it returns nil.
func (c *chain) into(v *onnx.Value, ops ...string) *onnx.Node {
	n := rewrite.OnlyUse(v)
	if n == nil || !n.Is(ops...) {
		return nil
	}
	return c.add(n)
}

// closed reports whether nothing sees what the chain computes but the result of last, one of its nodes.
func (c chain) closed(last *onnx.Node) bool {
	for _, n := range c {
		if n.Graph() != last.Graph() {
			return false
		}
		for _, v := range n.Outputs() {
			if n == last || v == nil {
				continue
			}
			if v.IsOutput() || slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return !slices.Contains(c, u.Node) }) {
				return false
			}
		}
	}
	return true
}

// otherOperand returns the operand of a binary node that is not v; nil if v is none.
func otherOperand(n *onnx.Node, v *onnx.Value) *onnx.Value {
	switch {
	case n == nil || v == nil:
	case n.Input(0) == v:
		return n.Input(1)
	case n.Input(1) == v:
		return n.Input(0)
	}
	return nil
}

// constantNumber returns the value of a constant of one float32 that does not raise the rank of what it is combined with.
func constantNumber(v *onnx.Value) (float32, bool) {
	t := rewrite.Const(v)
	if t == nil || t.Type != onnx.Float32 || t.Len() != 1 || t.Rank() > 1 || t.Load() != nil {
		return 0, false
	}
	return onnx.Data[float32](t)[0], true
}

// isConstant reports whether v is that number, to the precision of float32.
func isConstant(v *onnx.Value, want float32) bool {
	x, ok := constantNumber(v)
	return ok && abs32(x-want) <= 2e-7*want
}

// splitNumber returns the operands of a commutative node one of which is a constant number.
func splitNumber(n *onnx.Node) (v *onnx.Value, x float32, ok bool) {
	if n == nil {
		return nil, 0, false
	}
	if x, ok = constantNumber(n.Input(1)); ok {
		return n.Input(0), x, true
	}
	x, ok = constantNumber(n.Input(0))
	return n.Input(1), x, ok
}

// withNumber returns the operand of a commutative node whose other one is that constant; else nil.
func withNumber(n *onnx.Node, want float32) *onnx.Value {
	if n == nil {
		return nil
	}
	for i := range 2 {
		if isConstant(n.Input(i), want) {
			return n.Input(1 - i)
		}
	}
	return nil
}

// isRow reports whether v is a constant with one float32 for each of the last dimension of a tensor like that one.
func isRow(v *onnx.Value, like []onnx.Dim) bool {
	t := rewrite.Const(v)
	if t == nil || t.Type != onnx.Float32 || t.Rank() == 0 || t.Rank() > len(like) {
		return false
	}
	width := t.Dims[t.Rank()-1]
	return int64(t.Len()) == width && width > 0 && like[len(like)-1].Size == width
}
