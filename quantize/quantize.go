// Package quantize holds the numbers of quantization: ranges gathered from
// streams of values, scales and zero points, integer codes of weights and
// biases, and corrections of what rounding did. It knows no graph.
//
// Notation: rint rounds half to even, f32 rounds to float32, sat limits to the
// grid. A real value x and its code q belong together by
//
//	q = sat(rint(f32(x/s)) + z)      x̂ = f32(f32(q−z)·s)
//
// with scale s and zero point z, as ONNX QuantizeLinear and DequantizeLinear
// have it. All results are the same bits on every machine.
package quantize

import (
	"fmt"
	"math"
)

// A Grid is the set of codes Min…Max that a value may become.
type Grid struct {
	Name      string // ONNX name of the type that stores a code
	Bits      int
	Min, Max  int32
	Symmetric bool // the zero point is always 0
}

// The grids in use. Weights leave out −128 so that a weight and its negative
// have the same magnitude.
var (
	Uint8       = Grid{Name: "uint8", Bits: 8, Min: 0, Max: 255}
	Int8        = Grid{Name: "int8", Bits: 8, Min: -128, Max: 127}
	Int8Weights = Grid{Name: "int8", Bits: 8, Min: -127, Max: 127, Symmetric: true}
)

// Params map the real numbers onto a grid.
type Params struct {
	Scale     float32 // finite, at least MinScale
	ZeroPoint int32   // the code of 0, within the grid
}

// MinScale is the least scale this package chooses: the product of two scales
// (the scale of an int32 bias) is still a normal float32. Whatever is smaller
// than half of it is 0.
const MinScale float32 = 1.0 / (1 << 63)

// Params returns scale and zero point for values in [lo, hi]. The range is
// first widened to contain 0, so that 0 has a code of its own.
//
//	symmetric:  s = f32(max(−lo, hi)/Max),          z = 0
//	otherwise:  s = f32((hi−lo)/(Max−Min)),         z = rint(Min − lo/s)
//
// with quotients in float64; then s is raised to MinScale, or lowered until the
// outermost codes stand for finite numbers. A range without negative numbers has
// z = Min, one without positive numbers z = Max. The range [0, 0] says nothing
// about the scale: it becomes 1, as in ONNX Runtime. lo and hi must be finite.
func (g Grid) Params(lo, hi float32) Params {
	l, h := min(float64(lo), 0), max(float64(hi), 0)
	if l == 0 && h == 0 {
		return Params{Scale: 1, ZeroPoint: g.zero()}
	}
	if g.Symmetric {
		return Params{Scale: usableScale(max(-l, h)/float64(g.Max), g.Max)}
	}
	s := (h - l) / float64(g.Max-g.Min)
	z := g.Max
	if h > 0 {
		below := -l / float64(usableScale(s, 1)) // steps between lo and 0
		z = int32(min(math.RoundToEven(float64(g.Min)+below), float64(g.Max)))
	}
	return Params{Scale: usableScale(s, max(z-g.Min, g.Max-z)), ZeroPoint: z}
}

// usableScale rounds s to float32 and limits it to MinScale and to what leaves
// farthest, the largest distance of a code from the zero point, finite.
func usableScale(s float64, farthest int32) float32 {
	greatest := float32(math.MaxFloat32 / float64(farthest))
	if float64(greatest)*float64(farthest) > math.MaxFloat32 {
		greatest = math.Nextafter32(greatest, 0)
	}
	return min(max(float32(s), MinScale), greatest)
}

// zero is the code of 0 when nothing else decides it.
func (g Grid) zero() int32 {
	if g.Symmetric {
		return 0
	}
	return g.Min
}

// Limits returns the least and the greatest value that do not saturate: the
// outermost codes reach half a step beyond their own value.
func (p Params) Limits(g Grid) (lo, hi float64) {
	s := float64(p.Scale)
	return (float64(g.Min-p.ZeroPoint) - 0.5) * s, (float64(g.Max-p.ZeroPoint) + 0.5) * s
}

// Code is a Go type that stores a code.
type Code interface{ int8 | uint8 }

// Quantize writes sat(rint(f32(x/s)) + z) for every x into dst, which has the
// length of x. ±Inf saturate; NaN becomes the grid's minimum, as in ONNX
// Runtime's vector code. It panics if T cannot hold the codes of g.
func Quantize[T Code](dst []T, x []float32, p Params, g Grid) {
	if int32(T(g.Min)) != g.Min || int32(T(g.Max)) != g.Max {
		panic(fmt.Sprintf("quantize: codes %d…%d do not fit %T", g.Min, g.Max, dst))
	}
	dst = dst[:len(x)]
	lo, hi := float32(g.Min-p.ZeroPoint), float32(g.Max-p.ZeroPoint)
	for i, v := range x {
		dst[i] = T(round(v/p.Scale, lo, hi) + p.ZeroPoint)
	}
}

// round limits v to integers lo and hi and rounds it half to even: limiting
// first gives the same and makes the sum with magic exact. NaN becomes lo.
func round(v, lo, hi float32) int32 {
	if !(v > lo) {
		v = lo
	}
	if v > hi {
		v = hi
	}
	return int32(math.Float32bits(float32(v+magic))) - magicBits
}

// A float32 near magic has its unit in the last place, so that its bits minus
// magicBits are the rounded distance from magic. Good for |distance| < 2^22.
const (
	magic     float32 = 3 << 22
	magicBits int32   = 0x4B400000
)

// Dequantize writes f32(f32(q−z)·s) for every code into dst, which has the
// length of codes.
func Dequantize[T Code](dst []float32, codes []T, p Params) {
	dst = dst[:len(codes)]
	for i, q := range codes {
		dst[i] = float32(float32(int32(q)-p.ZeroPoint) * p.Scale)
	}
}
