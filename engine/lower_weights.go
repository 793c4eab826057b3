package engine

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// fuseWeights makes a product of float A and dequantized constant weights one MatMulDequantized, as ONNX Runtime 1.32 makes it a
// MatMulNBits; like that one it computes in 8-bit integers. bias is the Gemm's.
func fuseWeights(n *onnx.Node, bias *onnx.Value) {
	d := weightOnly(n.Input(1), n.Graph())
	if d == nil || !weightOnlyBetween(n.Input(0), n.Output(0)) || n.Op == "MatMul" && becomesGemm(n) {
		return
	}
	columns := rewrite.Shape(d.Input(0))[1].Size
	if s := rewrite.Shape(bias); bias != nil && (len(s) != 1 || s[0].Size != columns) {
		return
	}
	inputs := []*onnx.Value{n.Input(0), d.Input(0), d.Input(1), d.Input(2), bias}
	become(n, fusedDomain, "MatMulDequantized", n.Name, append(slices.Clone(d.Attrs), onnx.AttrI("accuracy_level", levelInt8)), inputs...)
}

// weightOnly returns the DequantizeLinear that gives v, if ONNX Runtime takes it for the weights of a MatMulNBits: nobody else has
// them; scales are per tensor (scalars), per column, or for blocks of a power of two along the rows.
func weightOnly(v *onnx.Value, g *onnx.Graph) *onnx.Node {
	d, _ := v.Producer()
	if d == nil || d.Op != "DequantizeLinear" || d.Graph() != g || v.IsOutput() || len(v.Uses()) != 1 {
		return nil
	}
	codes, scale, zero := d.Input(0), d.Input(1), d.Input(2)
	shape, dt, scales := rewrite.Shape(codes), rewrite.Elem(codes), rewrite.Shape(scale)
	limits := codeTypes[dt]
	if limits[1] == 0 || dt.Bits() > 8 || len(shape) != 2 || shape[0].Size < 0 || shape[1].Size < 0 || !constant(codes) {
		return nil
	}
	if elem := rewrite.Elem(scale); elem != onnx.Float32 && elem != onnx.Float16 || scales == nil || !constant(scale) {
		return nil
	}
	fits := true // a scalar
	if block := d.Int("block_size", 0); block > 0 {
		fits = isBlock(block) && d.Attr("axis") != nil && d.Int("axis", 0) == 0 &&
			len(scales) == 2 && scales[0].Size == (shape[0].Size+block-1)/block && scales[1].Size == shape[1].Size
	} else if len(scales) > 0 {
		fits = len(scales) == 1 && scales[0].Size == shape[1].Size && d.Int("axis", 1) == 1
	}
	if !fits {
		return nil
	}
	if zero != nil {
		zeros := rewrite.Shape(zero)
		if zeros == nil || !slices.EqualFunc(zeros, scales, func(a, b onnx.Dim) bool { return a.Size == b.Size }) || rewrite.Elem(zero) != dt || !constant(zero) {
			return nil
		}
	}
	return d
}

// weightOnlyBetween reports whether ONNX Runtime takes a product of x to y for one of floats: codes of 16 bits around it count as
// such, for it has no kernel for them.
func weightOnlyBetween(x, y *onnx.Value) bool {
	p, _ := x.Producer()
	dequantized := p != nil && p.Op == "DequantizeLinear"
	if dequantized && rewrite.Elem(p.Input(0)).Bits() != 16 {
		return false
	}
	for _, u := range y.Uses() {
		if q := u.Node; q.Op == "QuantizeLinear" {
			return dequantized && rewrite.OnlyUse(y) == q && rewrite.Elem(q.Output(0)) == rewrite.Elem(p.Input(0))
		}
	}
	return true
}

// becomesGemm reports whether the Add behind a MatMul of matrices makes it a Gemm whose bias is no row: it stays a float one.
func becomesGemm(n *onnx.Node) bool {
	add := rewrite.OnlyUse(n.Output(0))
	if add == nil || !add.Is("Add") || rewrite.Rank(n.Input(0)) != 2 {
		return false
	}
	s := rewrite.Shape(otherOperand(add, n.Output(0)))
	return len(s) == 2 && !(s[0].Size == 1 && s[1].Size == 1)
}
