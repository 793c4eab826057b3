package quantize

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/reduce"
)

// DynamicParams are the parameters of ONNX DynamicQuantizeLinear (opset 11) as
// ONNX Runtime computes them:
//
//	s = f32(f32(max(x,0) − min(x,0))/255)
//	z = rint(clip(f32(0 − f32(min/s)), 0, 255))
//
// and s = 1, z = 0 when all values are 0 (or there are none). NaN is skipped.
// This is what the operator does, not what it should: s may be 0 or infinite
// for extreme tensors; where that makes z NaN, z is 255.
func DynamicParams(x []float32) Params {
	var lo, hi float32
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	s := float32(float32(hi-lo) / 255)
	if lo == hi {
		return Params{Scale: 1}
	}
	z := float32(0 - float32(lo/s))
	if !(z < 255) {
		z = 255
	}
	return Params{Scale: s, ZeroPoint: int32(math.RoundToEven(float64(max(z, 0))))}
}

// RowFloor is what the largest magnitude of a row is raised to before it
// becomes a scale; an all-zero row then has codes 0 instead of 0/0.
const RowFloor = 127 * MinScale

// RowScale is the scale of one token (a row of the last axis) in token-wise
// quantization (ZeroQuant, 2206.01861 §3.1): f32(max(max|x|, RowFloor)/127).
// NaN is skipped, as ReduceMax skips it.
//
// With sigmaK above 0 a token's range is its mean ± sigmaK standard deviations,
// as far as there are values, and what is beyond saturates:
//
//	w = sigmaK·sqrt(mean((x − mean(x))²))
//	s = f32(max(|max(mean(x) − w, min x)|, |min(mean(x) + w, max x)|, RowFloor)/127)
//
// all in float32, with sums as package reduce has them.
func RowScale(row []float32, sigmaK float32) float32 {
	if sigmaK > 0 {
		return deviation(row, sigmaK) / 127
	}
	m := RowFloor
	for _, v := range row {
		if v < 0 {
			v = -v
		}
		if v > m {
			m = v
		}
	}
	return float32(m / 127)
}

// deviation is the larger end of a row's mean ± k standard deviations.
func deviation(row []float32, k float32) float32 {
	n := float32(len(row))
	mean := reduce.Sum(row) / n
	sigma := float32(math.Sqrt(float64(reduce.SumSquaredDeviations(row, mean) / n)))
	w := float32(sigma * k)
	lo, hi := max(mean-w, reduce.Min(row)), min(mean+w, reduce.Max(row))
	return max(lo, -lo, hi, -hi, RowFloor)
}
