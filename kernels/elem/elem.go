// Package elem has elementwise loops on slices. Every operation is rounded once, as Go's operators do.
package elem

import "math"

// Float is a type of floating-point elements.
type Float interface{ ~float32 | ~float64 }

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

// Relu stores max(x, 0); a NaN stays one.
func Relu[T Float](dst, src []T) {
	src = src[:len(dst)]
	for i, x := range src {
		if x < 0 {
			x = 0
		}
		dst[i] = x
	}
}

// LeakyRelu stores x, times alpha below 0.
func LeakyRelu[T Float](dst, src []T, alpha T) {
	src = src[:len(dst)]
	for i, x := range src {
		if x < 0 {
			x *= alpha
		}
		dst[i] = x
	}
}

// Clip stores min(max(x, lo), hi); a NaN stays one.
func Clip[T Float | ~int8 | ~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64](dst, src []T, lo, hi T) {
	src = src[:len(dst)]
	for i, x := range src {
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
	for i, x := range src {
		dst[i] = min(max(T(alpha*x)+beta, 0), 1)
	}
}

// HardSwish stores x times its hard sigmoid with slope 1/6 and offset 1/2.
func HardSwish[T Float](dst, src []T) {
	src = src[:len(dst)]
	for i, x := range src {
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
	for i, x := range src {
		dst[i] = 1 / x
	}
}

// AtLeast stores max(x, lo); a NaN stays one.
func AtLeast[T Float | ~int8 | ~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64](dst, src []T, lo T) {
	src = src[:len(dst)]
	for i, x := range src {
		if x < lo {
			x = lo
		}
		dst[i] = x
	}
}

// AtMost stores min(x, hi); a NaN stays one.
func AtMost[T Float | ~int8 | ~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64](dst, src []T, hi T) {
	src = src[:len(dst)]
	for i, x := range src {
		if x > hi {
			x = hi
		}
		dst[i] = x
	}
}
