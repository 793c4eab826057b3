package prepare

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// MakeGemms gives a matrix product with a constant bias its normal form.
var MakeGemms = rewrite.Pass{
	Name: "make-gemms",
	Doc:  "turn MatMul and Add of a constant bias into Gemm where the input is a matrix; elsewhere make the bias Add's second operand",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		if m.Opset("") < 7 {
			return nil // Gemm and Add broadcast by attributes there
		}
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				if n.Is("MatMul") {
					makeGemm(c, n)
				}
			}
		}
		return nil
	},
}

// makeGemm works on one MatMul. The Gemm keeps its place and name and takes the Add's output name.
func makeGemm(c *rewrite.Context, n *onnx.Node) {
	out := n.Output(0)
	add := rewrite.OnlyUse(out)
	if add == nil || !add.Is("Add") || add.Graph() != n.Graph() {
		return
	}
	if add.Input(1) == out && add.Input(0).Const() != nil {
		bias := add.Input(0)
		add.SetInput(0, out)
		add.SetInput(1, bias)
	}
	bias, w := add.Input(1).Const(), rewrite.Const(n.Input(1))
	if bias == nil || w == nil || !w.Type.IsFloat() || w.Rank() != 2 || rewrite.Rank(n.Input(0)) != 2 {
		return
	}
	columns := w.Dims[1]
	if !isRow(bias.Dims, columns) {
		return
	}
	n.Op = "Gemm"
	n.SetInput(2, add.Input(1))
	rewrite.Absorb(c, add, out)
	if bias.Rank() == 2 && bias.Dims[1] == columns {
		setConst(n, 2, bias.Reshaped(columns), n.Input(2).Name())
	}
}

// isRow reports whether dims broadcast over the rows of a matrix with that many columns.
func isRow(dims []int64, columns int64) bool {
	switch len(dims) {
	case 0:
		return true
	case 1:
		return dims[0] == 1 || dims[0] == columns
	case 2:
		return dims[0] == 1 && (dims[1] == 1 || dims[1] == columns)
	}
	return false
}
