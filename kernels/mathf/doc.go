// Package mathf has the elementary functions of the kernels, with the same bits on every machine: package math picks
// instructions by CPU, and the compiler may fuse a product and a sum, so here every product is rounded explicitly.
//
// Functions named like an operator work on slices; dst and src have the same length and may be the same slice. Those with
// Of work on one float32, those with 64 on one float64. The float32 polynomials of Exp and Erf are within one unit in the
// last place, those of Log within three, of Tanh within five, of Sigmoid within three of ½'s; functions computed in float64 are
// correctly rounded to float32 but for rare ties.
// NaN, infinities and subnormal numbers go by IEEE 754.
package mathf

import "math"

// Sqrt stores the square roots, correctly rounded.
func Sqrt(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(sqrt, dst, src); i < len(src); i++ {
		dst[i] = float32(math.Sqrt(float64(src[i])))
	}
}

// Pow returns x to the power of y.
func Pow(x, y float32) float32 { return float32(Pow64(float64(x), float64(y))) }

// function names a loop that has a vector form.
type function int

const (
	exp function = iota
	sigmoid
	tanh
	erf
	sqrt
)
