package mathf

import "math"

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

const (
	log2e = 1.44269504088896341
	// ln2High has few bits, so that a small integer times it is exact; ln2High + ln2Low is ln 2.
	ln2High = 0.693359375
	ln2Low  = -2.12194440e-4
	// Adding and taking away roundMagic rounds a small float32 to the nearest integer.
	roundMagic = 1 << 23 * 1.5
)

// The polynomials, highest power first; the vector loops read these tables too.
var (
	expPolynomial = [...]float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

	tanhPolynomial = [...]float32{-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1}

	// Weighted least-maximum fits: erf(x)/x − 1 in x² on [0, 1], and log(erfc(x)) on [1, 4].
	erfPolynomial = [...]float32{
		-9.680140465e-06, 1.127054557e-4, -8.484711872e-4, 5.221074913e-3, -2.686544508e-2, 1.1283782870e-1, -3.7612637877e-1,
		1.2837916613e-1,
	}
	logErfcPolynomial = [...]float32{
		-2.168676292e-5, 4.413352872e-4, -4.204556346e-3, 2.5208240375e-2, -1.0841855407e-1, -6.3321989775e-1, -1.1295783520,
		1.8803705e-4,
	}
)

// Exp stores e to the power of src.
func Exp(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(exp, dst, src); i < len(src); i++ {
		dst[i] = ExpOf(src[i])
	}
}

// ExpOf returns e to the power of x: x = k·ln 2 + r, a polynomial in r, times 2^k.
func ExpOf(x float32) float32 {
	if !(x >= -87) { // the result may be subnormal
		return expSmall(x)
	}
	if x > 88.722839 {
		return inf
	}
	p, k := expParts(x)
	if k > 127 {
		return float32(p*2) * math.Float32frombits(uint32(k-1+127)<<23)
	}
	return p * math.Float32frombits(uint32(k+127)<<23)
}

func expParts(x float32) (p float32, k int32) {
	f := float32(x*log2e) + roundMagic
	f -= roundMagic
	r := x - float32(f*ln2High)
	r -= float32(f * ln2Low)
	c := &expPolynomial
	p = float32(c[0]*r) + c[1]
	p = float32(p*r) + c[2]
	p = float32(p*r) + c[3]
	p = float32(p*r) + c[4]
	p = float32(p*r) + c[5]
	p = float32(float32(p*r)*r) + r
	return p + 1, int32(f)
}

func expSmall(x float32) float32 {
	switch {
	case x != x:
		return x + x // quiet
	case x < -104:
		return 0
	}
	p, k := expParts(x)
	// 2^k in two steps: only the last product may round.
	return float32(p*math.Float32frombits(uint32(k+64+127)<<23)) * math.Float32frombits((127-64)<<23)
}

// Sigmoid stores 1/(1+e^-x).
func Sigmoid(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(sigmoid, dst, src); i < len(src); i++ {
		dst[i] = SigmoidOf(src[i])
	}
}

// SigmoidOf returns 1/(1+e^-x).
func SigmoidOf(x float32) float32 {
	if x >= 0 {
		return 1 / (1 + ExpOf(-x))
	}
	e := ExpOf(x) // keeps small results exact
	return e / (1 + e)
}

// Tanh stores the hyperbolic tangents.
func Tanh(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(tanh, dst, src); i < len(src); i++ {
		dst[i] = TanhOf(src[i])
	}
}

// TanhOf returns the hyperbolic tangent of x.
func TanhOf(x float32) float32 {
	a := abs(x)
	if a < 0.625 {
		z := float32(a * a)
		c := &tanhPolynomial
		p := float32(c[0]*z) + c[1]
		p = float32(p*z) + c[2]
		p = float32(p*z) + c[3]
		p = float32(p*z) + c[4]
		return copySign(float32(float32(p*z)*a)+a, x) // keeps -0
	}
	y := float32(1)
	if !(a > 9.02) {
		y = 1 - 2/(ExpOf(a+a)+1)
	}
	return copySign(y, x)
}

// Erf stores the error functions.
func Erf(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(erf, dst, src); i < len(src); i++ {
		dst[i] = ErfOf(src[i])
	}
}

// ErfOf returns the error function of x.
func ErfOf(x float32) float32 {
	a := abs(x)
	if a < 1 {
		z := float32(x * x)
		c := &erfPolynomial
		p := float32(c[0]*z) + c[1]
		p = float32(p*z) + c[2]
		p = float32(p*z) + c[3]
		p = float32(p*z) + c[4]
		p = float32(p*z) + c[5]
		p = float32(p*z) + c[6]
		p = float32(p*z) + c[7]
		return float32(p*x) + x
	}
	y := float32(1)
	if !(a > 4) {
		c := &logErfcPolynomial
		p := float32(c[0]*a) + c[1]
		p = float32(p*a) + c[2]
		p = float32(p*a) + c[3]
		p = float32(p*a) + c[4]
		p = float32(p*a) + c[5]
		p = float32(p*a) + c[6]
		p = float32(p*a) + c[7]
		y = 1 - ExpOf(p)
	}
	return copySign(y, x)
}

// Log stores the natural logarithms.
func Log(dst, src []float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = LogOf(x)
	}
}

// LogOf returns the natural logarithm of x: x = m·2^e with m around 1, and a polynomial in m − 1.
func LogOf(x float32) float32 {
	e := float32(0)
	if x < 1.1754944e-38 { // subnormal, zero or negative
		switch {
		case x < 0:
			return nan
		case x == 0:
			return -inf
		}
		x *= 1 << 23
		e = -23
	}
	b := math.Float32bits(x)
	if b >= 0x7f800000 {
		return x // +Inf, NaN
	}
	const sqrtHalf = 0x3f3504f3
	k := int32(b-sqrtHalf) >> 23
	m := math.Float32frombits(b-uint32(k)<<23) - 1
	e += float32(k)
	z := float32(m * m)
	p := float32(7.0376836292e-2)
	p = float32(p*m) - 1.1514610310e-1
	p = float32(p*m) + 1.1676998740e-1
	p = float32(p*m) - 1.2420140846e-1
	p = float32(p*m) + 1.4249322787e-1
	p = float32(p*m) - 1.6668057665e-1
	p = float32(p*m) + 2.0000714765e-1
	p = float32(p*m) - 2.4999993993e-1
	p = float32(p*m) + 3.3333331174e-1
	p = float32(float32(p*m) * z)
	p += float32(e * ln2Low)
	p -= float32(0.5 * z)
	return (m + p) + float32(e*ln2High)
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func copySign(x, sign float32) float32 {
	return math.Float32frombits(math.Float32bits(x)&^(1<<31) | math.Float32bits(sign)&(1<<31))
}
