// Package norm normalizes rows: softmax and its relatives, and layer normalization. Sums of float32 are 16 partial sums,
// element i in sum i mod 16, added in a fixed tree, so that vector code of any width gives the same bits.
package norm

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

const lanes = 16

// tree adds the partial sums.
func tree(s *[lanes]float32) float32 {
	for half := lanes / 2; half > 0; half /= 2 {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}

// Sum returns Σ x.
func Sum(x []float32) float32 {
	var s [lanes]float32
	x = sums(&s, x)
	for len(x) >= lanes {
		for i, v := range x[:lanes] {
			s[i] += v
		}
		x = x[lanes:]
	}
	for i, v := range x {
		s[i] += v
	}
	return tree(&s)
}

// SquaredDeviation returns Σ (x - mean)².
func SquaredDeviation(x []float32, mean float32) float32 {
	var s [lanes]float32
	x = squares(&s, x, mean)
	for len(x) >= lanes {
		for i, v := range x[:lanes] {
			d := v - mean
			s[i] += float32(d * d)
		}
		x = x[lanes:]
	}
	for i, v := range x {
		d := v - mean
		s[i] += float32(d * d)
	}
	return tree(&s)
}

// Moments returns the mean of x and 1/√(variance + epsilon).
func Moments(x []float32, epsilon float32) (mean, inverse float32) {
	n := float32(len(x))
	mean = Sum(x) / n
	variance := SquaredDeviation(x, mean) / n
	return mean, 1 / float32(math.Sqrt(float64(variance+epsilon)))
}

// RootMeanSquare returns 1/√(mean of squares + epsilon).
func RootMeanSquare(x []float32, epsilon float32) float32 {
	return 1 / float32(math.Sqrt(float64(SquaredDeviation(x, 0)/float32(len(x))+epsilon)))
}

// Affine computes dst[i] = f32(f32((x[i]-mean)·inverse)·scale[i]) + bias[i]; scale and bias may be nil.
func Affine(dst, x []float32, mean, inverse float32, scale, bias []float32) {
	x = x[:len(dst)]
	for i := affine(dst, x, mean, inverse, scale, bias); i < len(x); i++ {
		v := float32((x[i] - mean) * inverse)
		if scale != nil {
			v = float32(v * scale[i])
		}
		if bias != nil {
			v += bias[i]
		}
		dst[i] = v
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
