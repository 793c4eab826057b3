package mathf

import "math"

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

const (
	log2e = 1.44269504088896341
	// Adding and taking away roundMagic rounds a small float32 to the nearest integer.
	roundMagic = 1 << 23 * 1.5
)

// The functions below are ONNX Runtime's on x86 (MLAS), to the bit: where activations are quantized behind them, a last bit
// decides about codes. Polynomials have the highest power first; the vector loops read these tables too.
var (
	// expReduction takes k·ln 2 from x in two steps.
	expReduction = [...]float32{-6.93145752e-1, -1.42860677e-6}

	expPolynomial    = [...]float32{0x1.694000p-10, 0x1.125edcp-7, 0x1.555b5ap-5, 0x1.555450p-3, 0x1.fffff6p-2, 1, 1}
	erfExpPolynomial = [...]float32{1.38319808e-3, 8.37550033e-3, 4.16689515e-2, 1.66664466e-1, 4.99999851e-1, 1, 1}

	// tanh and sigmoid − ½ are quotients of polynomials in x²; the numerator times x.
	tanhNumerator = [...]float32{
		-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05, 6.37261928875436e-04,
		4.89352455891786e-03,
	}
	tanhDenominator    = [...]float32{1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03}
	sigmoidNumerator   = [...]float32{4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03, 2.48287947061529e-01}
	sigmoidDenominator = [...]float32{
		6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03, 1.16817656904453e-01, 9.93151921023180e-01,
	}

	// erf(x)/x − 1 in x² below erfSplit, and −log(erfc(x))/x − 1 from there on.
	erfPolynomial     = [...]float32{-5.99104969e-4, 4.99339588e-3, -2.67667342e-2, 1.12818025e-1, -3.76124859e-1, 1.28379151e-1}
	logErfcPolynomial = [...]float32{
		1.72948930e-5, -3.83208680e-4, 3.88393435e-3, -2.42545605e-2, 1.06777847e-1, 6.34846687e-1, 1.28717512e-1,
	}
)

// The ends of the arguments' ranges: beyond them the results do not change.
const (
	expLeast, expGreatest = -105, 89
	tanhGreatest          = 9
	sigmoidGreatest       = 18
	erfGreatest, erfSplit = 3.925, 0.921875
)

// polynomial returns Σ c[i]·x^(n−1−i), by Horner's rule with fused products.
func polynomial(c []float32, x float32) float32 {
	p := c[0]
	for _, c := range c[1:] {
		p = FMA(p, x, c)
	}
	return p
}

// within returns x, or the end of ±limit that it is beyond; a NaN stays.
func within(x, limit float32) float32 {
	switch {
	case x > limit:
		return limit
	case x < -limit:
		return -limit
	}
	return x
}

// Exp stores e to the power of src.
func Exp(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(exp, dst, src); i < len(src); i++ {
		dst[i] = ExpOf(src[i])
	}
}

// ExpOf returns e to the power of x: x = k·ln 2 + r, a polynomial in r, times 2^k.
func ExpOf(x float32) float32 {
	switch {
	case x != x:
		return x + x // quiet
	case x < expLeast:
		x = expLeast
	case x > expGreatest:
		x = expGreatest
	}
	return expBy(expPolynomial[:], x)
}

func expBy(c []float32, x float32) float32 {
	f := FMA(x, log2e, roundMagic) - roundMagic
	r := FMA(f, expReduction[0], x)
	r = FMA(f, expReduction[1], r)
	// 2^k in two steps: only the last product may round, overflow or underflow.
	k := int32(f)
	half := k >> 1
	p := polynomial(c, r) * math.Float32frombits(uint32(half+127)<<23)
	return p * math.Float32frombits(uint32(k-half+127)<<23)
}

// Sigmoid stores 1/(1+e^-x). The error is absolute: results below 1e-7 are noise.
func Sigmoid(dst, src []float32) {
	src = src[:len(dst)]
	for i := vector(sigmoid, dst, src); i < len(src); i++ {
		dst[i] = SigmoidOf(src[i])
	}
}

// SigmoidOf returns 1/(1+e^-x), as Sigmoid.
func SigmoidOf(x float32) float32 {
	y := quotient(sigmoidNumerator[:], sigmoidDenominator[:], within(x, sigmoidGreatest)) + 0.5
	switch {
	case y < 0:
		return 0
	case y > 1:
		return 1
	}
	return y
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
	return quotient(tanhNumerator[:], tanhDenominator[:], within(x, tanhGreatest))
}

// quotient returns x·p(x²)/q(x²).
func quotient(p, q []float32, x float32) float32 {
	z := float32(x * x)
	return float32(polynomial(p, z)*x) / polynomial(q, z)
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
	a := within(abs(x), erfGreatest)
	if a >= erfSplit {
		e := polynomial(logErfcPolynomial[:], a)
		return copySign(1-expBy(erfExpPolynomial[:], -FMA(e, a, a)), x)
	}
	e := polynomial(erfPolynomial[:], float32(a*a))
	return copySign(FMA(e, a, a), x)
}

// Log stores the natural logarithms.
func Log(dst, src []float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = LogOf(x)
	}
}

// LogOf returns the natural logarithm of x: x = m·2^e with m around 1, and a quotient of polynomials in m − 1. This one has no
// fused products, as ONNX Runtime takes it from Eigen.
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
	p := float32(0.18256296349849254*m) + 1.0000000190281063
	p = float32(p*m) + 1.0000000190281136
	q := float32(0.049616247954120038*m) + 0.59923249590823520
	q = float32(q*m) + 1.4999999999999927
	q = float32(q*m) + 1
	return float32((e+float32(k))*math.Ln2) + float32(p*m)/q
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func copySign(x, sign float32) float32 {
	return math.Float32frombits(math.Float32bits(x)&^(1<<31) | math.Float32bits(sign)&(1<<31))
}
