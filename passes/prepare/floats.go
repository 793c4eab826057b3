package prepare

import (
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// foldable has the element types that numbers can be folded into.
var foldable = map[onnx.DataType]bool{onnx.Float32: true, onnx.Float64: true, onnx.Float16: true}

// float64s returns a copy of the elements of a tensor of a foldable type.
func float64s(t *onnx.Tensor) ([]float64, error) {
	if err := t.Load(); err != nil {
		return nil, err
	}
	if t.Type == onnx.Float64 {
		return append([]float64{}, onnx.Data[float64](t)...), nil
	}
	x, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y, nil
}

// fromFloat64s rounds x to a foldable type; nil when a number is not finite in it.
func fromFloat64s(dt onnx.DataType, x []float64, dims []int64) *onnx.Tensor {
	t := onnx.Zeros(dt, append([]int64{}, dims...)...)
	if onnx.SetFloats(t, x) >= 0 || slices.ContainsFunc(x, func(v float64) bool { return math.IsInf(v, 0) || math.IsNaN(v) }) {
		return nil
	}
	return t
}
