package engine

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// fuseWeights makes a product of float A and dequantized constant weights one MatMulDequantized, as ONNX Runtime makes it a
// MatMulNBits; like that one it computes in 8-bit integers. bias is the Gemm's.
func fuseWeights(n *onnx.Node, bias *onnx.Value) {
	d := weightOnly(n.Input(1), n.Graph())
	if d == nil || isDequantized(n.Input(0)) || feedsQuantize(n.Output(0)) {
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
	shape, dt := rewrite.Shape(codes), rewrite.Elem(codes)
	limits := codeTypes[dt]
	if limits[1] == 0 || dt.Bits() > 8 || len(shape) != 2 || shape[0].Size < 0 || shape[1].Size < 0 || !constant(codes) {
		return nil
	}
	if elem := rewrite.Elem(scale); elem != onnx.Float32 && elem != onnx.Float16 {
		return nil
	}
	block := d.Int("block_size", 0)
	for i, p := range []*onnx.Value{scale, zero} {
		if p == nil {
			continue
		}
		s := rewrite.Shape(p)
		fits := false
		switch {
		case s == nil || !constant(p) || i == 1 && rewrite.Elem(p) != dt:
		case block > 0:
			fits = block >= 16 && block&(block-1) == 0 && d.Attr("axis") != nil && d.Int("axis", 0) == 0 &&
				len(s) == 2 && s[0].Size == (shape[0].Size+block-1)/block && s[1].Size == shape[1].Size
		case len(s) == 0:
			fits = len(rewrite.Shape(scale)) == 0
		default:
			fits = len(s) == 1 && s[0].Size == shape[1].Size && d.Int("axis", 1) == 1
		}
		if !fits {
			return nil
		}
	}
	if zero != nil && len(rewrite.Shape(zero)) != len(rewrite.Shape(scale)) {
		return nil
	}
	return d
}

func isDequantized(v *onnx.Value) bool {
	p, _ := v.Producer()
	return p != nil && p.Op == "DequantizeLinear"
}

// feedsQuantize reports whether a QuantizeLinear takes v.
func feedsQuantize(v *onnx.Value) bool {
	return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return u.Node.Op == "QuantizeLinear" })
}
