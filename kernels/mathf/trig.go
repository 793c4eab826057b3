package mathf

import (
	"math"
	"math/bits"
)

// π/2 in three parts; the first two have 33 bits, so that products with integers below 2^20 are exact.
const (
	halfPi1 = 1.57079632673412561417e+00
	halfPi2 = 6.07710050630396597660e-11
	halfPi3 = 2.02226624879595063154e-21
)

// twoOverPi are the bits of 2/π, enough for every float64; the first word is its integer part.
var twoOverPi = [...]uint64{
	0,
	0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561, 0xb7246e3a424dd2e0,
	0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4,
	0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
	0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab, 0xf0cfbc209af4361d,
}

// reduce returns r in about [−π/4, π/4] and k mod 4 with x = k·π/2 + r.
func reduce(x float64) (r float64, k uint64) {
	if math.Abs(x) < 1<<20 {
		f := math.Floor(float64(x*(2/math.Pi)) + 0.5)
		r = x - float64(f*halfPi1)
		r -= float64(f * halfPi2)
		r -= float64(f * halfPi3)
		return r, uint64(int64(f)) & 3
	}
	// Payne and Hanek: |x| = m·2^e, and only those bits of 2/π matter that make m·2^e·2/π modulo 4.
	b := math.Float64bits(math.Abs(x))
	m, e := b&(1<<52-1)|1<<52, int(b>>52)-1075
	at := func(i int) uint64 { // 64 bits of 2/π from bit i on; bit 64 is the first behind the point
		w, s := i>>6, uint(i&63)
		return twoOverPi[w]<<s | twoOverPi[w+1]>>(64-s)
	}
	// From the bit on that stands for 2 in 2^e·2/π: the product's low 192 bits are the value modulo 4 times 2^190.
	first := 64 + e - 2
	h2, l2 := bits.Mul64(m, at(first+128))
	h1, l1 := bits.Mul64(m, at(first+64))
	p1, c := bits.Add64(h2, l1, 0)
	p0, _ := bits.Add64(h1, m*at(first), c)
	k = p0 >> 62
	hi, lo := p0<<2|p1>>62, p1<<2|l2>>62
	neg := hi>>63 != 0 // nearer to the next multiple
	if neg {
		k++
		lo, c = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, c)
	}
	z := bits.LeadingZeros64(hi)
	hi = hi<<z | lo>>(64-z)
	r = math.Ldexp(float64(hi), -64-z) * (math.Pi / 2)
	if neg {
		r = -r
	}
	if x < 0 {
		r, k = -r, -k
	}
	return r, k & 3
}

func sinKernel(r float64) float64 {
	z := float64(r * r)
	p := 1.58969099521155010221e-10
	p = float64(p*z) - 2.50507602534068634195e-08
	p = float64(p*z) + 2.75573137070700676789e-06
	p = float64(p*z) - 1.98412698298579493134e-04
	p = float64(p*z) + 8.33333333332248946124e-03
	p = float64(p*z) - 1.66666666666666324348e-01
	return r + float64(float64(p*z)*r)
}

func cosKernel(r float64) float64 {
	z := float64(r * r)
	p := -1.13596475577881948265e-11
	p = float64(p*z) + 2.08757232129817482790e-09
	p = float64(p*z) - 2.75573143513906633035e-07
	p = float64(p*z) + 2.48015872894767294178e-05
	p = float64(p*z) - 1.38888888888741095749e-03
	p = float64(p*z) + 4.16666666666666019037e-02
	return 1 - (float64(z*0.5) - float64(float64(p*z)*z))
}

func quadrant(r float64, k uint64) float64 {
	y := sinKernel(r)
	if k&1 != 0 {
		y = cosKernel(r)
	}
	if k&2 != 0 {
		y = -y
	}
	return y
}

// Sin64 returns the sine of x in radians.
func Sin64(x float64) float64 {
	if x-x != 0 {
		return math.NaN()
	}
	return quadrant(reduce(x))
}

// Cos64 returns the cosine of x in radians.
func Cos64(x float64) float64 {
	if x-x != 0 {
		return math.NaN()
	}
	r, k := reduce(x)
	return quadrant(r, k+1)
}

// Tan64 returns the tangent of x in radians.
func Tan64(x float64) float64 {
	if x-x != 0 {
		return math.NaN()
	}
	r, k := reduce(x)
	return quadrant(r, k) / quadrant(r, k+1)
}

// Atan64 returns the arc tangent of x in radians.
func Atan64(x float64) float64 {
	if x != x {
		return x
	}
	const tan3Pi8 = 2.41421356237309504880
	a, base := math.Abs(x), 0.0
	switch {
	case a > tan3Pi8:
		a, base = -1/a, math.Pi/2
	case a > tan3Pi8-2:
		a, base = (a-1)/(a+1), math.Pi/4
	}
	// |a| ≤ tan π/8; halve the angle once more for a short series.
	h := a / (1 + math.Sqrt(1+float64(a*a)))
	z := float64(h * h)
	p := 0.0
	for n := 25.0; n >= 3; n -= 2 {
		p = 1/n - float64(p*z)
	}
	return math.Copysign(base+2*(h-float64(float64(p*z)*h)), x)
}

// Asin64 returns the arc sine of x in radians; NaN outside [−1, 1].
func Asin64(x float64) float64 { return Atan64(x / math.Sqrt(float64((1-x)*(1+x)))) }

// Acos64 returns the arc cosine of x in radians; NaN outside [−1, 1].
func Acos64(x float64) float64 { return 2 * Atan64(math.Sqrt((1-x)/(1+x))) }
