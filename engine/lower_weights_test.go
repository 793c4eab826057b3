package engine

import (
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// TestWeightOnlyProducts holds the lowering to what ONNX Runtime 1.32 makes a MatMulNBits and what it leaves in float.
func TestWeightOnlyProducts(t *testing.T) {
	const fused, left = "MatMulDequantized", "MatMul"
	type vs = []*onnx.Value
	weights := func(n *net) *onnx.Value {
		return n.op("DequantizeLinear", "d", vs{n.con(filledCodes(onnx.Int8, 1, 64, 16)), n.con(filledFloats(2, 1, 16))}, onnx.AttrI("axis", 1))
	}
	product := func(n *net, x *onnx.Value) *onnx.Value { return n.op("MatMul", "y", vs{x, weights(n)}) }
	half := onnx.Scalar(uint16(1 << 15))
	for _, c := range []struct {
		name  string
		x     []int64
		build func(n *net) *onnx.Value
		want  string // the first of the operators that has to do with the product
	}{
		{"alone", []int64{5, 64}, func(n *net) *onnx.Value { return product(n, n.x) }, fused},
		{"codes behind", []int64{5, 64}, func(n *net) *onnx.Value { return n.quantize(product(n, n.x), 0.1, zero120) }, left},
		{"8-bit codes in front of something before", []int64{5, 64}, func(n *net) *onnx.Value {
			return product(n, n.op("Neg", "r", vs{n.quantize(n.x, 0.1, zero120)}))
		}, fused},
		{"int8 codes that two nodes take", []int64{5, 64}, func(n *net) *onnx.Value {
			x := n.quantize(n.x, 0.1, zeroS8)
			return n.op("Sub", "s", vs{product(n, x), n.op("ReduceMax", "m", vs{n.op("Neg", "r", vs{x})})})
		}, left},
		{"16-bit codes in front", []int64{5, 64}, func(n *net) *onnx.Value { return product(n, n.quantize(n.x, 0.1, half)) }, fused},
		{"16-bit codes around", []int64{5, 64}, func(n *net) *onnx.Value {
			return n.quantize(product(n, n.quantize(n.x, 0.1, half)), 0.1, half)
		}, fused},
		{"16-bit codes in front, 8-bit ones behind", []int64{5, 64}, func(n *net) *onnx.Value {
			return n.quantize(product(n, n.quantize(n.x, 0.1, half)), 0.1, zero120)
		}, left},
		{"a row added", []int64{5, 64}, func(n *net) *onnx.Value { return n.op("Add", "a", vs{product(n, n.x), n.con(filledFloats(3, 1, 16))}) }, fused},
		{"a matrix added", []int64{5, 64}, func(n *net) *onnx.Value {
			return n.op("Add", "a", vs{n.con(filledFloats(3, 1, 5, 16)), product(n, n.x)})
		}, left},
		{"a matrix added to several", []int64{2, 5, 64}, func(n *net) *onnx.Value {
			return n.op("Add", "a", vs{product(n, n.x), n.con(filledFloats(3, 1, 5, 16))})
		}, fused},
		{"two products", []int64{5, 64}, func(n *net) *onnx.Value {
			d := weights(n)
			return n.op("Sub", "s", vs{n.op("MatMul", "y", vs{n.x, d}), n.op("MatMul", "z", vs{n.op("Neg", "r", vs{n.x}), d})})
		}, left},
		{"a scale in a vector of one", []int64{5, 64}, func(n *net) *onnx.Value {
			return n.op("MatMul", "y", vs{n.x, n.op("DequantizeLinear", "d", vs{n.con(filledCodes(onnx.Int8, 1, 64, 16)), n.con(filledFloats(2, 1, 1))})})
		}, left},
		{"a transposed Gemm", []int64{5, 64}, func(n *net) *onnx.Value {
			d := n.op("DequantizeLinear", "d", vs{n.con(filledCodes(onnx.Int8, 1, 16, 64)), n.con(filledFloats(2, 1, 16))}, onnx.AttrI("axis", 0))
			return n.op("Gemm", "y", vs{n.x, d}, onnx.AttrI("transB", 1))
		}, "Gemm"},
		{"a Gemm with a bias that is no row", []int64{5, 64}, func(n *net) *onnx.Value {
			return n.op("Gemm", "y", vs{n.x, weights(n), n.con(filledFloats(3, 1, 1, 16))})
		}, "Gemm"},
	} {
		n := newNet(c.x...)
		m := n.model(c.build(n))
		m.Opsets[0].Version = 21
		p := compiled(t, m, Options{Semantics: Fused})
		got := ""
		for _, op := range []string{fused, left, "Gemm"} {
			if got == "" && strings.Contains(" "+opsOf(p)+" ", " "+op+" ") {
				got = op
			}
		}
		if got != c.want {
			t.Errorf("%s: compiled to %s, not to a %s", c.name, opsOf(p), c.want)
		}
		ran(t, p, map[string]*onnx.Tensor{"x": filledFloats(5, 1, c.x...)}, nil)
	}
}
