package mathf

import "math"

// FMA returns a*b + c rounded once to float32, as the FMA instruction does. Go has no such operation:
// float32(math.FMA(...)) rounds twice.
func FMA(a, b, c float32) float32 {
	product := float64(float64(a) * float64(b)) // exact: 24 + 24 bits
	sum := float64(product + float64(c))

	// Rounding sum to float32 differs from rounding the exact value only if sum sits on a midpoint between two float32.
	// In the normal range midpoints are known by their last 29 bits.
	const tail = 1<<29 - 1
	if bits := math.Float64bits(sum); bits&tail != 1<<28 && math.Abs(sum) >= 0x1p-126 {
		return float32(sum)
	}
	return float32(toOdd(sum, product, float64(c)))
}

// toOdd returns x+y rounded to odd, given sum, which is x+y rounded to nearest: an inexact result gets an odd last bit, so
// that a second, shorter rounding sees on which side of a midpoint the exact value lies.
func toOdd(sum, x, y float64) float64 {
	if math.IsInf(sum, 0) || math.IsNaN(sum) {
		return sum
	}
	yRounded := float64(sum - x) // Knuth's two-sum: rest is x+y-sum, exactly
	rest := float64(x-float64(sum-yRounded)) + float64(y-yRounded)
	bits := math.Float64bits(sum)
	switch {
	case rest == 0 || bits&1 == 1:
	case (rest > 0) == (sum > 0):
		bits++
	default:
		bits--
	}
	return math.Float64frombits(bits)
}
