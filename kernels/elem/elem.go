// Package elem has elementwise loops on slices. Every operation is rounded once, as Go's operators do.
package elem

import "math"

var inf = float32(math.Inf(1))

// Float is a type of floating-point elements.
type Float interface{ ~float32 | ~float64 }

// Number is a type of elements that can be compared.
type Number interface {
	Float | ~int8 | ~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64
}

// A Binary loop computes dst[i] = f(a[i·sa], b[i·sb]). The strides are 0 (one element for all) or 1, and not both 0
// where dst has several elements. dst may be a or b where that one's stride is 1.
type Binary[T, R any] func(dst []R, a, b []T, sa, sb int)

// Lift makes a Binary loop of a function.
func Lift[T, R any](f func(a, b T) R) Binary[T, R] {
	return func(dst []R, a, b []T, sa, sb int) {
		for i := range dst {
			dst[i] = f(a[i*sa], b[i*sb])
		}
	}
}

// Add is the Binary loop of a + b.
func Add[T Float](dst, a, b []T, sa, sb int) {
	done := vector(add, dst, a, b, sa, sb)
	dst, a, b = dst[done:], a[done*sa:], b[done*sb:]
	n := len(dst)
	switch {
	case n == 0:
	case sa == 0:
		c := a[0]
		for i, y := range b[:n] {
			dst[i] = c + y
		}
	case sb == 0:
		c := b[0]
		for i, x := range a[:n] {
			dst[i] = x + c
		}
	default:
		b = b[:n]
		for i, x := range a[:n] {
			dst[i] = x + b[i]
		}
	}
}

// Sub is the Binary loop of a − b.
func Sub[T Float](dst, a, b []T, sa, sb int) {
	done := vector(sub, dst, a, b, sa, sb)
	dst, a, b = dst[done:], a[done*sa:], b[done*sb:]
	n := len(dst)
	switch {
	case n == 0:
	case sa == 0:
		c := a[0]
		for i, y := range b[:n] {
			dst[i] = c - y
		}
	case sb == 0:
		c := b[0]
		for i, x := range a[:n] {
			dst[i] = x - c
		}
	default:
		b = b[:n]
		for i, x := range a[:n] {
			dst[i] = x - b[i]
		}
	}
}

// Mul is the Binary loop of a · b.
func Mul[T Float](dst, a, b []T, sa, sb int) {
	done := vector(mul, dst, a, b, sa, sb)
	dst, a, b = dst[done:], a[done*sa:], b[done*sb:]
	n := len(dst)
	switch {
	case n == 0:
	case sa == 0:
		c := a[0]
		for i, y := range b[:n] {
			dst[i] = c * y
		}
	case sb == 0:
		c := b[0]
		for i, x := range a[:n] {
			dst[i] = x * c
		}
	default:
		b = b[:n]
		for i, x := range a[:n] {
			dst[i] = x * b[i]
		}
	}
}

// Div is the Binary loop of a / b.
func Div[T Float](dst, a, b []T, sa, sb int) {
	done := vector(div, dst, a, b, sa, sb)
	dst, a, b = dst[done:], a[done*sa:], b[done*sb:]
	n := len(dst)
	switch {
	case n == 0:
	case sa == 0:
		c := a[0]
		for i, y := range b[:n] {
			dst[i] = c / y
		}
	case sb == 0:
		c := b[0]
		for i, x := range a[:n] {
			dst[i] = x / c
		}
	default:
		b = b[:n]
		for i, x := range a[:n] {
			dst[i] = x / b[i]
		}
	}
}

// Max is the Binary loop of max(a, b), where 0 is above −0 and a NaN wins.
func Max[T Float](dst, a, b []T, sa, sb int) {
	for i := vector(maximum, dst, a, b, sa, sb); i < len(dst); i++ {
		dst[i] = max(a[i*sa], b[i*sb])
	}
}

// Min is the Binary loop of min(a, b), where −0 is below 0 and a NaN wins.
func Min[T Float](dst, a, b []T, sa, sb int) {
	for i := vector(minimum, dst, a, b, sa, sb); i < len(dst); i++ {
		dst[i] = min(a[i*sa], b[i*sb])
	}
}

// vector computes whole blocks of float32; it returns how many elements of dst it did.
func vector[T Float](op operation, dst, a, b []T, sa, sb int) int {
	if len(dst) < block {
		return 0
	}
	y, ok := any(dst).([]float32)
	if !ok {
		return 0
	}
	return binaryBlocks(op, y, any(a).([]float32), any(b).([]float32), sa, sb)
}

// block is how many elements the vector loops take at a time.
const block = 8

// operation names a Binary loop that has a vector form.
type operation int

const (
	add operation = iota
	sub
	mul
	div
	maximum
	minimum
)

// Relu stores max(x, 0); a NaN stays one.
func Relu[T Float](dst, src []T) { AtLeast(dst, src, 0) }

// LeakyRelu stores x, times alpha below 0.
func LeakyRelu[T Float](dst, src []T, alpha T) {
	src = src[:len(dst)]
	i := 0
	if y, ok := any(dst).([]float32); ok {
		i = leakyReluBlocks(y, any(src).([]float32), float32(alpha))
	}
	for ; i < len(src); i++ {
		x := src[i]
		if x < 0 {
			x *= alpha
		}
		dst[i] = x
	}
}

// Clip stores min(max(x, lo), hi); a NaN stays one.
func Clip[T Number](dst, src []T, lo, hi T) {
	src = src[:len(dst)]
	i := 0
	if y, ok := any(dst).([]float32); ok {
		i = clipBlocks(y, any(src).([]float32), float32(lo), float32(hi))
	}
	for ; i < len(src); i++ {
		x := src[i]
		if x < lo {
			x = lo
		}
		if x > hi {
			x = hi
		}
		dst[i] = x
	}
}

// HardSigmoid stores alpha·x + beta, clipped to [0, 1].
func HardSigmoid[T Float](dst, src []T, alpha, beta T) {
	src = src[:len(dst)]
	i := 0
	if y, ok := any(dst).([]float32); ok {
		i = hardSigmoidBlocks(y, any(src).([]float32), float32(alpha), float32(beta), false)
	}
	for ; i < len(src); i++ {
		dst[i] = min(max(T(alpha*src[i])+beta, 0), 1)
	}
}

// HardSwish stores x times its hard sigmoid with slope 1/6 and offset 1/2.
func HardSwish[T Float](dst, src []T) {
	src = src[:len(dst)]
	i := 0
	if y, ok := any(dst).([]float32); ok {
		i = hardSigmoidBlocks(y, any(src).([]float32), 1.0/6, 0.5, true)
	}
	for ; i < len(src); i++ {
		x := src[i]
		dst[i] = x * min(max(T(x*(1.0/6))+0.5, 0), 1)
	}
}

// Abs stores |x|.
func Abs(dst, src []float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	}
}

// Neg stores −x.
func Neg(dst, src []float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = -x
	}
}

// Reciprocal stores 1/x.
func Reciprocal(dst, src []float32) {
	src = src[:len(dst)]
	Div(dst, []float32{1}, src, 0, 1)
}

// AtLeast stores max(x, lo); a NaN stays one.
func AtLeast[T Number](dst, src []T, lo T) {
	src = src[:len(dst)]
	i := 0
	if y, ok := any(dst).([]float32); ok {
		i = clipBlocks(y, any(src).([]float32), float32(lo), inf)
	}
	for ; i < len(src); i++ {
		x := src[i]
		if x < lo {
			x = lo
		}
		dst[i] = x
	}
}

// AtMost stores min(x, hi); a NaN stays one.
func AtMost[T Number](dst, src []T, hi T) {
	src = src[:len(dst)]
	i := 0
	if y, ok := any(dst).([]float32); ok {
		i = clipBlocks(y, any(src).([]float32), -inf, float32(hi))
	}
	for ; i < len(src); i++ {
		x := src[i]
		if x > hi {
			x = hi
		}
		dst[i] = x
	}
}

// MaxMagnitude returns the greatest |x|, 0 of none; NaN when there is one.
func MaxMagnitude(x []float32) float32 {
	m, done := magnitudeBlocks(x) // as bits, which are ordered like the numbers, with the NaNs on top
	for _, v := range x[done:] {
		m = max(m, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(m)
}
