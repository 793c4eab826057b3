package engine

import (
	"slices"

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

// fuseProductScale makes constant factors of a product and of its operands the product's own alpha.
func fuseProductScale(n *onnx.Node) {
	if !n.Is("MatMul") && !(n.Domain == msDomain && n.Op == "FusedMatMul") || rewrite.Elem(n.Output(0)) != onnx.Float32 {
		return
	}
	alpha, found := n.Float("alpha", 1), false
	a, b := n.Input(0), n.Input(1)
	for _, operand := range []**onnx.Value{&a, &b} {
		p, _ := (*operand).Producer()
		if x, factor, ok := scaled(p); ok && p.Graph() == n.Graph() && rewrite.Rank(x) >= 2 {
			*operand, alpha, found = x, float32(alpha*factor), true
		}
	}
	last := n
	if next := rewrite.OnlyUse(n.Output(0)); next != nil && next.Graph() == n.Graph() {
		if x, factor, ok := scaled(next); ok && x == n.Output(0) {
			last, alpha, found = next, float32(alpha*factor), true
		}
	}
	if !found {
		return
	}
	attrs := slices.DeleteFunc(slices.Clone(n.Attrs), func(a *onnx.Attribute) bool { return a.Name == "alpha" })
	become(last, msDomain, "FusedMatMul", n.Name, append(attrs, onnx.AttrF("alpha", alpha)), a, b)
}

// scaled matches x·factor and x/(1/factor), with a constant factor.
func scaled(n *onnx.Node) (x *onnx.Value, factor float32, ok bool) {
	switch {
	case n == nil:
	case n.Is("Mul"):
		return splitNumber(n)
	case n.Is("Div"):
		factor, ok = constantNumber(n.Input(1))
		return n.Input(0), 1 / factor, ok
	}
	return nil, 0, false
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

// fuseRowScale finds the scales of rows that are quantized each for itself: max(max |x|, floor) / steps.
func fuseRowScale(n *onnx.Node) {
	magnitude := rewrite.ProducedBy(lastAxis(n, "ReduceMax"), "Abs")
	if magnitude == nil || rewrite.Elem(magnitude.Input(0)) != onnx.Float32 {
		return
	}
	var c chain
	c.add(magnitude)
	c.add(n)
	limited := c.into(n.Output(0), "Max")
	if limited == nil || len(limited.Inputs()) != 2 {
		return
	}
	_, floor, ok := splitNumber(limited)
	last := c.into(limited.Output(0), "Div")
	if !ok || !(floor >= 0) || last == nil || last.Input(0) != limited.Output(0) {
		return
	}
	steps, ok := constantNumber(last.Input(1))
	if !ok || !c.closed(last) {
		return
	}
	attrs := []*onnx.Attribute{onnx.AttrF("floor", floor), onnx.AttrF("steps", steps)}
	become(last, fusedDomain, "RowScale", last.Name, attrs, magnitude.Input(0))
}

// fuseRowProduct gives a product of codes, whose rows were divided by their scales before, these scales as those of A.
func fuseRowProduct(n *onnx.Node) {
	if n.Domain != msDomain || n.Op != "MatMulIntegerToFloat" || n.Input(6) != nil || rewrite.Rank(n.Input(1)) != 2 {
		return
	}
	a, ok := constantNumber(n.Input(2))
	b := rewrite.Const(n.Input(3))
	var c chain
	last := c.into(n.Output(0), "Mul")
	rows := otherOperand(last, n.Output(0))
	if !ok || b == nil || b.Type != onnx.Float32 || b.Load() != nil || rows == nil || last.Graph() != n.Graph() || !quantizedByRows(n.Input(0), rows) {
		return
	}
	scales := onnx.Zeros(onnx.Float32, b.Dims...)
	for j, s := range onnx.Data[float32](b) {
		onnx.Data[float32](scales)[j] = float32(a * s)
	}
	product := n.Graph().AddConst(n.Input(3).Name()+"/product", scales)
	become(last, msDomain, n.Op, n.Name, n.Attrs, n.Input(0), n.Input(1), rows, product, n.Input(4), n.Input(5))
}

// quantizedByRows reports whether rows is the RowScale of what codes quantizes: one scale for each of its rows.
func quantizedByRows(codes, rows *onnx.Value) bool {
	scale, _ := rows.Producer()
	q, _ := codes.Producer()
	if scale == nil || scale.Domain != fusedDomain || scale.Op != "RowScale" || q == nil || q.Op != "QuantizeLinear" {
		return false
	}
	x := scale.Input(0)
	if q.Input(0) == x {
		return true
	}
	d := rewrite.ProducedBy(q.Input(0), "Div")
	return d != nil && d.Input(0) == x && d.Input(1) == rows
}
