package engine

import (
	"math"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// fuseGelu finds Gelu written out, from its Erf or Tanh on: x · ½ · (1 + gate), in any order of the factors.
func fuseGelu(n *onnx.Node) {
	if !n.Is("Erf", "Tanh") {
		return
	}
	var c chain
	c.add(n)
	approximate := "none"
	x := c.erfArgument(n.Input(0))
	if n.Op == "Tanh" {
		approximate = "tanh"
		x = c.tanhArgument(n.Input(0))
	}
	if x == nil || rewrite.Elem(x) != onnx.Float32 {
		return
	}
	sum := c.into(n.Output(0), "Add")
	if withNumber(sum, 1) != n.Output(0) {
		return
	}
	last := c.halved(sum.Output(0), x)
	if last == nil || !c.closed(last) {
		return
	}
	become(last, msDomain, "Gelu", last.Name, []*onnx.Attribute{onnx.AttrS("approximate", approximate)}, x)
}

// halved matches ½ · x · v, and returns the node that gives it.
func (c *chain) halved(v, x *onnx.Value) *onnx.Node {
	n := c.into(v, "Mul")
	other := otherOperand(n, v)
	switch {
	case other == nil:
		return nil
	case isConstant(other, 0.5):
		next := c.into(n.Output(0), "Mul")
		if otherOperand(next, n.Output(0)) == x {
			return next
		}
		return nil
	case other == x:
		next := c.into(n.Output(0), "Mul")
		if withNumber(next, 0.5) == n.Output(0) {
			return next
		}
		return nil
	}
	if withNumber(c.from(other, "Mul"), 0.5) == x {
		return n
	}
	return nil
}

// erfArgument returns x if v is x / √2.
func (c *chain) erfArgument(v *onnx.Value) *onnx.Value {
	n := c.from(v, "Div", "Mul")
	if n != nil && n.Op == "Div" {
		if isConstant(n.Input(1), math.Sqrt2) {
			return n.Input(0)
		}
		return nil
	}
	return withNumber(n, 1/math.Sqrt2)
}

// tanhArgument returns x if v is √(2/π) · (x + 0.044715·x³).
func (c *chain) tanhArgument(v *onnx.Value) *onnx.Value {
	sum := c.from(withNumber(c.from(v, "Mul"), 0.79788456080286535588), "Add")
	if sum == nil {
		return nil
	}
	for i := range 2 {
		x := sum.Input(1 - i)
		scaled := rewrite.ProducedBy(sum.Input(i), "Mul")
		if cube := withNumber(scaled, 0.044715); cube != nil && c.isCube(cube, x) {
			c.add(scaled)
			return x
		}
	}
	return nil
}

// isCube reports whether v is x³.
func (c *chain) isCube(v, x *onnx.Value) bool {
	n := c.from(v, "Pow", "Mul")
	if n == nil {
		return false
	}
	if n.Op == "Pow" {
		return n.Input(0) == x && isConstant(n.Input(1), 3)
	}
	square := c.from(otherOperand(n, x), "Mul", "Pow")
	if square == nil || square.Input(0) != x {
		return false
	}
	return square.Op == "Mul" && square.Input(1) == x || square.Op == "Pow" && isConstant(square.Input(1), 2)
}
