package prepare

import (
	"math"

	"github.com/x448/float16"
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
	var round func(i int, v float64) float64 // stores and returns what was stored
	switch dt {
	case onnx.Float32:
		y := onnx.Data[float32](t)
		round = func(i int, v float64) float64 { y[i] = float32(v); return float64(y[i]) }
	case onnx.Float16:
		y := onnx.Data[uint16](t)
		round = func(i int, v float64) float64 {
			h := float16.Fromfloat32(float32(v))
			y[i] = h.Bits()
			return float64(h.Float32())
		}
	default:
		y := onnx.Data[float64](t)
		round = func(i int, v float64) float64 { y[i] = v; return v }
	}
	for i, v := range x {
		if stored := round(i, v); math.IsInf(stored, 0) || math.IsNaN(stored) {
			return nil
		}
	}
	return t
}
