package engine

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// normChain is a layer normalization written out, as exporters before opset 17 do. With d = x - mean x, or d = x:
//
//	d / √(mean d² + epsilon) · scale + bias
type normChain struct {
	chain
	x, mean     *onnx.Value // mean is nil where none is taken away
	centered    *onnx.Value // d
	epsilon     float32
	scale, bias *onnx.Value // may be nil

	isDistributed bool // x·factor + (bias - mean·factor), whose rounding is another
}

// fuseNorm starts from the square root, the one node that all spellings share.
func fuseNorm(n *onnx.Node) {
	if !n.Is("Sqrt") || rewrite.Elem(n.Input(0)) != onnx.Float32 && rewrite.Elem(n.Output(0)) != onnx.Float32 {
		return
	}
	var c normChain
	c.add(n)
	if !c.deviation(n.Input(0)) {
		return
	}
	last := c.quotient(n.Output(0))
	if last == nil {
		return
	}
	if c.scale == nil {
		last = c.affine(last, "Mul", &c.scale)
	}
	if c.bias == nil && c.mean != nil {
		last = c.affine(last, "Add", &c.bias)
	}
	if !c.closed(last) {
		return
	}
	if c.scale == nil { // the operators need one
		c.scale = last.Graph().AddConst(last.Output(0).Name()+"/scale", onnx.Scalar[float32](1))
	}
	attrs := []*onnx.Attribute{onnx.AttrI("axis", -1), onnx.AttrF("epsilon", c.epsilon)}
	if c.mean == nil {
		become(last, "", "SimplifiedLayerNormalization", last.Name, attrs, c.x, c.scale)
		return
	}
	domain, op := "", "LayerNormalization"
	if c.isDistributed {
		domain, op = fusedDomain, "DistributedNorm"
	}
	become(last, domain, op, last.Name, attrs, c.x, c.scale, c.bias)
}

// deviation matches v = mean d² + epsilon.
func (c *normChain) deviation(v *onnx.Value) bool {
	variance, epsilon, ok := splitNumber(c.from(v, "Add"))
	if !ok {
		return false
	}
	squares := lastMean(c.from(variance, "ReduceMean"))
	square := c.from(squares, "Mul", "Pow")
	if square == nil {
		return false
	}
	c.epsilon, c.centered = epsilon, square.Input(0)
	if square.Op == "Mul" && square.Input(1) != c.centered || square.Op == "Pow" && !isConstant(square.Input(1), 2) {
		return false
	}
	c.x = c.centered
	if sub := rewrite.ProducedBy(c.centered, "Sub"); sub != nil {
		mean := rewrite.ProducedBy(sub.Input(1), "ReduceMean")
		if x := lastMean(mean); x != nil && x == sub.Input(0) {
			c.x, c.mean = x, mean.Output(0)
			c.add(sub)
			c.add(mean)
		}
	}
	return rewrite.Elem(c.x) == onnx.Float32
}

// quotient matches d / root or d · (1 / root), and returns the node that gives it. The scale may be a factor of 1 / root.
func (c *normChain) quotient(root *onnx.Value) *onnx.Node {
	n := c.into(root, "Div", "Reciprocal")
	if n == nil {
		return nil
	}
	if n.Op == "Div" && n.Input(1) != root {
		return nil
	}
	if n.Op == "Div" && !isConstant(n.Input(0), 1) {
		if c.isCentered(n.Input(0)) {
			return n
		}
		return nil
	}
	inverse := n.Output(0)
	n = c.into(inverse, "Mul")
	other := otherOperand(n, inverse)
	switch {
	case other == nil:
		return nil
	case c.isCentered(other):
		return n
	case !isRow(other, rewrite.Shape(c.x)):
		return nil
	}
	c.scale = other
	factor := n.Output(0)
	if n = c.into(factor, "Mul"); n != nil {
		if c.isCentered(otherOperand(n, factor)) {
			return n
		}
		return nil
	}
	return c.distributed(factor)
}

// distributed matches x·factor + (bias - mean·factor), TensorFlow's spelling.
func (c *normChain) distributed(factor *onnx.Value) *onnx.Node {
	if c.mean == nil || len(factor.Uses()) != 2 {
		return nil
	}
	var products [2]*onnx.Value // of x, of mean
	for _, u := range factor.Uses() {
		for i, v := range []*onnx.Value{c.x, c.mean} {
			if u.Node.Is("Mul") && otherOperand(u.Node, factor) == v {
				products[i] = c.add(u.Node).Output(0)
			}
		}
	}
	sub := c.into(products[1], "Sub")
	if sub == nil || sub.Input(1) != products[1] || !isRow(sub.Input(0), rewrite.Shape(c.x)) {
		return nil
	}
	last := c.into(products[0], "Add")
	if otherOperand(last, products[0]) != sub.Output(0) {
		return nil
	}
	c.bias, c.isDistributed = sub.Input(0), true
	return last
}

// isCentered reports whether v is d, be it computed once more.
func (c *normChain) isCentered(v *onnx.Value) bool {
	if v == nil || v == c.centered {
		return v != nil
	}
	sub := rewrite.ProducedBy(v, "Sub")
	if c.mean == nil || sub == nil || sub.Input(0) != c.x || sub.Input(1) != c.mean {
		return false
	}
	c.add(sub)
	return true
}

// affine takes a constant row that is all that follows last: a factor or a summand.
func (c *normChain) affine(last *onnx.Node, op string, row **onnx.Value) *onnx.Node {
	v := last.Output(0)
	n := rewrite.OnlyUse(v)
	if n == nil || !n.Is(op) || n.Graph() != last.Graph() || !isRow(otherOperand(n, v), rewrite.Shape(c.x)) {
		return last
	}
	*row = otherOperand(n, v)
	return c.add(n)
}

// lastMean returns what a ReduceMean takes the mean of along the last axis, which it keeps; else nil.
func lastMean(n *onnx.Node) *onnx.Value { return lastAxis(n, "ReduceMean") }

// lastAxis returns what a node of that reduction reduces along the last axis, which it keeps; else nil.
func lastAxis(n *onnx.Node, reduction string) *onnx.Value {
	if n == nil || !n.Is(reduction) || n.Int("keepdims", 1) == 0 {
		return nil
	}
	axes := n.Ints("axes")
	if n.Input(1) != nil {
		axes, _ = rewrite.ConstInts(n.Input(1))
	}
	rank := rewrite.Rank(n.Input(0))
	if len(axes) != 1 || rank < 1 || axes[0] != -1 && axes[0] != int64(rank-1) {
		return nil
	}
	return n.Input(0)
}
