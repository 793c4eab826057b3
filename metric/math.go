package metric

import "math"

// exp and ln are the package's own because math.Exp and math.Log choose
// instructions by CPU, and a report must not. Products are converted before
// they are added, so that no compiler fuses the two. Both are within 2 units
// in the last place.

const (
	ln2High = 6.93147180369123816490e-01 // the leading 33 bits of ln 2
	ln2Low  = 1.90821492927058770002e-10 // the rest
	log2E   = 1.44269504088896338700e+00
	ln10    = 2.30258509299404568402e+00
)

// exp is e^x: x = k·ln2 + r with |r| ≤ ln2/2, and the Taylor series of e^r.
func exp(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > 709.79:
		return math.Inf(1)
	case x < -745.2:
		return 0
	}
	k := math.RoundToEven(x * log2E)
	r := x - float64(k*ln2High)
	r -= float64(k * ln2Low)
	sum := 0.0
	for _, c := range expTerms {
		sum = float64(sum*r) + c
	}
	return math.Ldexp(sum, int(k))
}

// expTerms are 1/n! from n = 14 down to 0.
var expTerms = [...]float64{
	1.0 / 87178291200, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
	1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1,
}

// ln is the natural logarithm: x = 2^k·f with f around 1, and
// ln f = 2·artanh((f−1)/(f+1)).
func ln(x float64) float64 {
	switch {
	case x != x || x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case x > math.MaxFloat64:
		return x
	}
	f, k := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f, k = 2*f, k-1
	}
	s := (f - 1) / (f + 1)
	square := float64(s * s)
	sum := 0.0
	for n := 25.0; n >= 3; n -= 2 {
		sum = float64((sum + 1/n) * square)
	}
	r := float64(2*s) + float64(2*s*sum)
	return float64(float64(k)*ln2High) + (r + float64(float64(k)*ln2Low))
}
