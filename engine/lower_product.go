package engine

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// fuseIntegerProduct makes MatMulInteger, Cast, and Mul by f32(sx·sw), with sx one number and sw one or one a column, one
// MatMulIntegerToFloat, which computes the same: f32(f32(acc)·f32(sx·sw)).
func fuseIntegerProduct(n *onnx.Node) {
	if !n.Is("MatMulInteger") {
		return
	}
	var c chain
	c.add(n)
	cast := c.into(n.Output(0), "Cast")
	if cast == nil || onnx.DataType(cast.Int("to", 0)) != onnx.Float32 {
		return
	}
	last := c.into(cast.Output(0), "Mul")
	scale := rewrite.ProducedBy(otherOperand(last, cast.Output(0)), "Mul")
	if scale == nil || !c.closed(last) {
		return
	}
	like := rewrite.Shape(n.Output(0))
	for i := range 2 {
		sx, sw := scale.Input(i), scale.Input(1-i)
		if _, one := constantNumber(sw); oneNumber(sx) && (one || isRow(sw, like)) {
			become(last, msDomain, "MatMulIntegerToFloat", n.Name, nil, n.Input(0), n.Input(1), sx, sw, n.Input(2), n.Input(3))
			return
		}
	}
}

// oneNumber reports whether v is known to be a scalar of float32.
func oneNumber(v *onnx.Value) bool {
	if _, ok := constantNumber(v); ok {
		return true
	}
	n, _ := v.Producer()
	return n != nil && n.Is("DynamicQuantizeLinear") || rewrite.Elem(v) == onnx.Float32 && rewrite.Rank(v) == 0
}

// fuseBias lets a product add the constant row behind it, which it does last, as Add would.
func fuseBias(n *onnx.Node) {
	domain, op, at := fusedDomain, "MatMulBias", 2
	switch {
	case n.Is("MatMul") && rewrite.Elem(n.Output(0)) == onnx.Float32 && rewrite.Rank(n.Input(0)) >= 2 && rewrite.Rank(n.Input(1)) >= 2:
	case n.Domain == msDomain && n.Op == "MatMulIntegerToFloat" && n.Input(6) == nil:
		domain, op, at = msDomain, n.Op, 6
	default:
		return
	}
	var c chain
	add := c.into(n.Output(0), "Add")
	bias := otherOperand(add, n.Output(0))
	if bias == nil || !isRow(bias, rewrite.Shape(n.Output(0))) || add.Graph() != n.Graph() {
		return
	}
	inputs := make([]*onnx.Value, at+1)
	copy(inputs, n.Inputs())
	inputs[at] = bias
	become(add, domain, op, n.Name, n.Attrs, inputs...)
}
