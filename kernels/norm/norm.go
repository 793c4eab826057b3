// Package norm normalizes rows: softmax and its relatives, and layer normalization. Element i of a row goes to one of a fixed
// number of partial sums, and these are added as a fixed tree, so that vector code of any width gives the same bits: those
// of ONNX Runtime 1.32 on x86 with AVX-512.
package norm

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/kernels/reduce"
)

const (
	sumLanes    = 16 // of Sum
	momentLanes = 8  // of means and deviations
)

// Sum returns Σ x of 16 partial sums: the upper half is added to the lower one, then neighbours are.
func Sum(x []float32) float32 {
	var s [sumLanes]float32
	for x = sums(&s, x); len(x) >= sumLanes; x = x[sumLanes:] {
		for i, v := range x[:sumLanes] {
			s[i] += v
		}
	}
	for i, v := range x {
		s[i] += v
	}
	for i := range sumLanes / 2 {
		s[i] += s[i+sumLanes/2]
	}
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// tree adds the upper half of the partial sums to the lower one until one is left.
func tree[F float32 | float64](s *[momentLanes]F) F {
	for half := momentLanes / 2; half > 0; half /= 2 {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}

// Mean returns the mean of x, summed in float64.
func Mean(x []float32) float32 {
	n := float64(len(x))
	var s [momentLanes]float64
	for x = means(&s, x); len(x) > 0; x = x[min(momentLanes, len(x)):] {
		for i, v := range x[:min(momentLanes, len(x))] {
			s[i] += float64(v)
		}
	}
	return float32(tree(&s) / n)
}

// SquaredDeviation returns Σ (x - mean)². Whole blocks go to partial sums by fused products; what is left of x comes after
// their tree, each square rounded.
func SquaredDeviation(x []float32, mean float32) float32 {
	var s [momentLanes]float32
	for x = squares(&s, x, mean); len(x) >= momentLanes; x = x[momentLanes:] {
		for i, v := range x[:momentLanes] {
			d := v - mean
			s[i] = mathf.FMA(d, d, s[i])
		}
	}
	sum := tree(&s)
	for _, v := range x {
		d := v - mean
		sum += float32(d * d)
	}
	return sum
}

// Moments returns the mean of x and 1/√(variance + epsilon).
func Moments(x []float32, epsilon float32) (mean, inverse float32) {
	mean = Mean(x)
	return mean, inverseDeviation(x, mean, epsilon)
}

// RootMeanSquare returns 1/√(mean of squares + epsilon).
func RootMeanSquare(x []float32, epsilon float32) float32 { return inverseDeviation(x, 0, epsilon) }

func inverseDeviation(x []float32, mean, epsilon float32) float32 {
	return 1 / float32(math.Sqrt(float64(SquaredDeviation(x, mean)/float32(len(x))+epsilon)))
}

// Affine computes dst[i] = FMA(f32((x[i]-mean)·inverse), scale[i], bias[i]). scale, or bias, or both may be nil.
func Affine(dst, x []float32, mean, inverse float32, scale, bias []float32) {
	x = x[:len(dst)]
	for i := affine(dst, x, mean, inverse, scale, bias); i < len(x); i++ {
		v := float32((x[i] - mean) * inverse)
		switch {
		case scale != nil && bias != nil:
			v = mathf.FMA(v, scale[i], bias[i])
		case scale != nil:
			v = float32(v * scale[i])
		case bias != nil:
			v += bias[i]
		}
		dst[i] = v
	}
}

// Distributed computes a layer normalization by the formula of TensorFlow's exporter, each step rounded:
//
//	dst[i] = x[i]·f + (bias[i] - mean·f)    with f = scale[i] / √(variance + epsilon)
func Distributed(dst, x []float32, epsilon float32, scale, bias []float32) {
	dst, scale, bias = dst[:len(x)], scale[:len(x)], bias[:len(x)]
	n := float32(len(x))
	mean := reduce.Sum(x) / n
	variance := reduce.SumSquaredDeviations(x, mean) / n
	inverse := 1 / float32(math.Sqrt(float64(variance+epsilon)))
	for i := distributed(dst, x, mean, inverse, scale, bias); i < len(x); i++ {
		f := float32(inverse * scale[i])
		dst[i] = float32(x[i]*f) + (bias[i] - float32(mean*f))
	}
}

// greatest returns the greatest element; NaN if the first is one.
func greatest(x []float32) float32 {
	m, done := maxima(x)
	for _, v := range x[done:] {
		if v > m {
			m = v
		}
	}
	return m
}

// Softmax computes dst[i] = e[i]·(1/Σe) with e[i] = exp(x[i] - max x). dst may be x.
func Softmax(dst, x []float32) {
	dst = dst[:len(x)]
	m := [1]float32{greatest(x)}
	elem.Sub(dst, x, m[:], 1, 0)
	mathf.Exp(dst, dst)
	scale := [1]float32{1 / Sum(dst)}
	elem.Mul(dst, dst, scale[:], 1, 0)
}

// LogSoftmax computes dst[i] = x[i] - max x - log Σ exp(x - max x). buffer has the length of x. dst may be x.
func LogSoftmax(dst, x, buffer []float32) {
	dst, buffer = dst[:len(x)], buffer[:len(x)]
	m := [1]float32{greatest(x)}
	elem.Sub(dst, x, m[:], 1, 0)
	mathf.Exp(buffer, dst)
	log := [1]float32{mathf.LogOf(Sum(buffer))}
	elem.Sub(dst, dst, log[:], 1, 0)
}

// Hardmax sets dst to 1 at the first greatest element, else to 0. dst may be x.
func Hardmax(dst, x []float32) {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	clear(dst[:len(x)])
	dst[best] = 1
}
