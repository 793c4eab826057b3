package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/onnx"
)

// fusedDomain is of the operators that only lowering makes.
const fusedDomain = "zqonnx.fused"

var fusedOps = []op{
	{fusedDomain, "DistributedNorm", 0, 0, makeLayerNorm(false)}, // X, scale, bias
	{fusedDomain, "MatMulBias", 0, 0, makeMatMul},                // A·B + bias; the bias is a row
	{fusedDomain, "RowScale", 0, 0, makeRowScale},
}

// makeRowScale gives max(max |x|, floor) / steps for each row of X.
func makeRowScale(_ *builder, n *onnx.Node) (kernel, error) {
	floor, steps := n.Float("floor", 0), n.Float("steps", 1)
	var x, y []float32
	var width int
	body := func(lo, hi int) {
		for i := lo; i < hi; i++ {
			y[i] = max(elem.MaxMagnitude(x[i*width:][:width]), floor) / steps
		}
	}
	return func(r *run) error {
		tx := r.in(0)
		if tx.Rank() == 0 {
			return fmt.Errorf("X is a scalar: %w", onnx.ErrBadModel)
		}
		dims := r.shape(tx.Rank())
		copy(dims, tx.Dims)
		width = int(dims[len(dims)-1])
		dims[len(dims)-1] = 1
		x, y = r.float32In(0), onnx.Data[float32](r.out(0, onnx.Float32, dims...))
		r.par(len(y), max(grain/max(width, 1), 1), body)
		x, y = nil, nil
		return nil
	}, nil
}
