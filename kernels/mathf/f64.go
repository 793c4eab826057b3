package mathf

import "math"

const (
	ln2High64 = 6.93147180369123816490e-01
	ln2Low64  = 1.90821492927058770002e-10
	ln2       = math.Ln2
)

// Exp64 returns e to the power of x.
func Exp64(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > 709.782712893384:
		return math.Inf(1)
	case x < -745.2:
		return 0
	}
	k := math.Floor(float64(x*log2e) + 0.5)
	r := x - float64(k*ln2High64)
	r -= float64(k * ln2Low64)
	// Taylor's series to degree 13: below 2^-58 for |r| ≤ ln 2 / 2.
	p := 1 / 6227020800.0
	for _, c := range [...]float64{
		1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0, 1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 0.5,
	} {
		p = float64(p*r) + c
	}
	p = 1 + (r + float64(float64(p*r)*r))
	return math.Ldexp(p, int(k))
}

// Expm164 returns e^x − 1, exact for small x too.
func Expm164(x float64) float64 {
	if !(math.Abs(x) < 0.5) {
		return Exp64(x) - 1
	}
	p := 0.0
	for n := 18.0; n >= 2; n-- {
		p = float64(p*x)/n + 1
	}
	return float64(x * p)
}

// Log64 returns the natural logarithm of x.
func Log64(x float64) float64 {
	switch {
	case x != x || x > math.MaxFloat64:
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	// log m = 2 artanh s: s + s³/3 + s⁵/5 ...
	f := m - 1
	s := f / (2 + f)
	z := float64(s * s)
	p := 0.0
	for n := 23.0; n >= 3; n -= 2 {
		p = float64(p*z) + 1/n
	}
	// 2s = f − s·f, which keeps the low bits of f.
	r := f - float64(s*(f-float64(2*z*p)))
	k := float64(e)
	return float64(k*ln2High64) + (r + float64(k*ln2Low64))
}

// Log1p64 returns log(1 + x), exact for small x too.
func Log1p64(x float64) float64 {
	u := 1 + x
	switch {
	case u == 1 || x != x || x > math.MaxFloat64:
		return x
	case u <= 0:
		return Log64(u)
	}
	return Log64(u) * (x / (u - 1)) // the two errors of u cancel
}

// Pow64 returns x to the power of y, as IEEE 754 pow.
func Pow64(x, y float64) float64 {
	isInt := math.Trunc(y) == y
	odd := isInt && math.Abs(y) < 1<<53 && math.Mod(y, 2) != 0
	switch {
	case y == 0 || x == 1:
		return 1
	case y == 1:
		return x
	case x != x || y != y:
		return math.NaN()
	case math.IsInf(y, 0):
		switch a := math.Abs(x); {
		case a == 1:
			return 1
		case (a > 1) == (y > 0):
			return math.Inf(1)
		}
		return 0
	case x == 0:
		r := 0.0
		if y < 0 {
			r = math.Inf(1)
		}
		if odd {
			r = math.Copysign(r, x)
		}
		return r
	case x < 0 && !isInt && !math.IsInf(x, 0):
		return math.NaN()
	case math.IsInf(x, 0):
		r := 0.0
		if y > 0 {
			r = math.Inf(1)
		}
		if x < 0 && odd {
			r = -r
		}
		return r
	}
	sign := 1.0
	if x < 0 && odd {
		sign = -1
	}
	x = math.Abs(x)
	if isInt && math.Abs(y) <= 64 { // powers by squaring: exact where the result is
		n, p, b := int(math.Abs(y)), 1.0, x
		for ; n > 0; n >>= 1 {
			if n&1 != 0 {
				p = float64(p * b)
			}
			b = float64(b * b)
		}
		if y < 0 {
			p = 1 / p
		}
		if p != 0 && p <= math.MaxFloat64 {
			return sign * p
		}
	}
	// y·log2 x as integer and fraction, so that exp sees a small argument.
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	ye := float64(y * float64(e))
	k := math.Floor(ye + 0.5)
	r := float64(y*Log64(m)) + float64((ye-k)*ln2)
	if math.Abs(k) > 1e9 || math.Abs(r) > 1e9 {
		if k+r/ln2 > 0 {
			return sign * math.Inf(1)
		}
		return sign * 0
	}
	j := math.Floor(r/ln2 + 0.5)
	return sign * math.Ldexp(Exp64(r-float64(j*ln2High64)-float64(j*ln2Low64)), int(k+j))
}

// Sigmoid64 returns 1/(1+e^-x).
func Sigmoid64(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + Exp64(-x))
	}
	e := Exp64(x)
	return e / (1 + e)
}

// Tanh64 returns the hyperbolic tangent of x.
func Tanh64(x float64) float64 {
	if math.Abs(x) > 20 {
		return math.Copysign(1, x)
	}
	e := Expm164(2 * x)
	return e / (e + 2)
}

// Sinh64 returns the hyperbolic sine of x.
func Sinh64(x float64) float64 {
	a := math.Abs(x)
	if a > 700 {
		h := Exp64(a / 2)
		return math.Copysign(float64(h/2*h), x)
	}
	e := Expm164(a)
	return math.Copysign((e+e/(e+1))/2, x)
}

// Cosh64 returns the hyperbolic cosine of x.
func Cosh64(x float64) float64 {
	a := math.Abs(x)
	if a > 700 {
		h := Exp64(a / 2)
		return float64(h / 2 * h)
	}
	e := Exp64(a)
	return (e + 1/e) / 2
}

// Asinh64 returns the inverse hyperbolic sine of x.
func Asinh64(x float64) float64 {
	a := math.Abs(x)
	if a > 1e8 {
		return math.Copysign(Log64(a)+ln2, x)
	}
	z := float64(a * a)
	return math.Copysign(Log1p64(a+z/(1+math.Sqrt(1+z))), x)
}

// Acosh64 returns the inverse hyperbolic cosine of x; NaN below 1.
func Acosh64(x float64) float64 {
	if x > 1e8 {
		return Log64(x) + ln2
	}
	t := x - 1
	return Log1p64(t + math.Sqrt(float64(2*t)+float64(t*t)))
}

// Atanh64 returns the inverse hyperbolic tangent of x.
func Atanh64(x float64) float64 {
	a := math.Abs(x)
	return math.Copysign(Log1p64(2*a/(1-a))/2, x)
}

// Softplus64 returns log(1 + e^x).
func Softplus64(x float64) float64 { return max(x, 0) + Log1p64(Exp64(-math.Abs(x))) }

// Erf64 returns the error function of x.
func Erf64(x float64) float64 {
	a := math.Abs(x)
	z := float64(a * a)
	switch {
	case x != x:
		return x
	case a > 6:
		return math.Copysign(1, x)
	case a < 2.5: // e^-x² · Σ 2ⁿ x^(2n+1) / (2n+1)!!, all terms of one sign
		t, s := a, a
		for n := 1.0; t > s*1e-17; n++ {
			t = float64(t*2*z) / (2*n + 1)
			s += t
		}
		return math.Copysign(float64(2/math.SqrtPi*s)*Exp64(-z), x)
	}
	f := a // erfc as a continued fraction, from its tail
	for n := 60.0; n >= 1; n-- {
		f = a + n/2/f
	}
	return math.Copysign(1-Exp64(-z)/(math.SqrtPi*f), x)
}
