package mathf

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// fmaExact computes a*b + c with unlimited precision and rounds once. The operands and the result are finite.
func fmaExact(a, b, c float32) float32 {
	x, y, z := new(big.Float).SetFloat64(float64(a)), new(big.Float).SetFloat64(float64(b)), new(big.Float).SetFloat64(float64(c))
	x.SetPrec(2000).SetMode(big.ToNearestEven).Mul(x, y)
	x.Add(x, z)
	if x.Sign() == 0 { // big knows no sum of opposite zeros; float64 does, exactly
		return float32(float64(float64(a)*float64(b)) + float64(c))
	}
	v, _ := x.Float32()
	return v
}

func sameF32(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func TestFMA(t *testing.T) {
	const (
		ulp       = 0x1p-23
		subnormal = 0x1p-149
		largest   = math.MaxFloat32
	)
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	negZero := float32(math.Copysign(0, -1))
	cases := []struct {
		name          string
		a, b, c, want float32
	}{
		{"simple", 2, 3, 4, 10},
		// c = 1; a*b is half an ulp of c, and a little more or less: one rounding must see the rest.
		{"tie to even", ulp / 2, 1, 1, 1},
		{"tie to even, up", ulp / 2, 1, 1 + ulp, 1 + 2*ulp},
		{"just above a midpoint", ulp / 2, 1 + ulp, 1, 1 + ulp},
		{"just below a midpoint", ulp / 2, 1 - ulp/2, 1 + ulp, 1 + ulp},
		{"negative, just above", -ulp / 2, 1 + ulp, -1, -1 - ulp},
		// The float64 sum is itself rounded onto the midpoint; what tells the side, (1-x)(1+x) = 1-x² or c, is lost in it.
		{"rounded down to a midpoint", 1 + ulp, 1, 0x1p-24, 1 + 2*ulp},
		{"rounded onto a midpoint from below", (1 - ulp) * 0x1p-24, 1 + ulp, 1 + ulp, 1 + ulp},
		{"rounded onto a midpoint from above", (1 - ulp) * -0x1p-24, 1 + ulp, 1 + 2*ulp, 1 + 2*ulp},
		{"negative, from below", (1 - ulp) * -0x1p-24, 1 + ulp, -1 - ulp, -1 - ulp},
		{"tiny c above a midpoint", 1 + 0x1p-12, 1 + 0x1p-12, 0x1p-60, 1 + 0x1p-11 + ulp},
		{"tiny c below a midpoint", 1 + 0x1p-12, 1 + 0x1p-12, -0x1p-60, 1 + 0x1p-11},
		{"subnormal, rounded up to the neighbour of a midpoint", 0x8007fdp-98, 0xfff007p-99, 0x1p-130, 0x1p-130 + subnormal},
		{"subnormal, rounded onto a midpoint from below", (1 - ulp) * 0x1p-75, (1 + ulp) * 0x1p-75, 0x1p-140 + subnormal, 0x1p-140 + subnormal},
		{"subnormal tie", 0x1p-75, 0x1p-75, 0, 0},
		{"subnormal above tie", 0x1p-75 + 0x1p-98, 0x1p-75, 0, subnormal},
		{"subnormal tie to even", 3 * 0x1p-75, 0x1p-75, 0, 2 * subnormal},
		{"subnormal exact", 0x1p-70, 0x1p-79, subnormal, 2 * subnormal},
		{"subnormal with a trace", 0x1p-100, 0x1p-126, subnormal, subnormal},
		{"overflow", largest, 2, 0, inf},
		{"no overflow", largest, 2, -largest, largest},
		{"overflow at the midpoint", 0x1p103, 1, largest, inf},
		{"below the overflow midpoint", 0x1p103 - 0x1p79, 1, largest, largest},
		{"cancel to +0", 1, 1, -1, 0},
		{"-0", -1, 0, negZero, negZero},
		{"+0 wins", -1, 0, 0, 0},
		{"inf", inf, 1, -1, inf},
		{"inf*0", inf, 0, 1, nan},
		{"inf-inf", inf, 1, -inf, nan},
		{"nan", nan, 1, 1, nan},
	}
	for _, c := range cases {
		if got := FMA(c.a, c.b, c.c); !sameF32(got, c.want) {
			t.Errorf("%s: FMA(%g, %g, %g) = %x, want %x", c.name, c.a, c.b, c.c, got, c.want)
		}
	}
}

func fromBits(b uint32) float32 { return math.Float32frombits(b) }

// Float32 drawn to provoke what random bits never hit: sums close to midpoints, cancellation, subnormals.
func drawFMA(t *rapid.T) (a, b, c float32) {
	bits := rapid.Uint32()
	a, b = fromBits(bits.Draw(t, "a")), fromBits(bits.Draw(t, "b"))
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return a, b, fromBits(bits.Draw(t, "c"))
	case 1: // c near -a*b
		return a, b, fromBits(math.Float32bits(-a*b) + uint32(rapid.IntRange(-2, 2).Draw(t, "ulps")))
	case 2: // subnormal result
		return fromBits(bits.Draw(t, "a")&0x807fffff | 0x20000000), fromBits(bits.Draw(t, "b")&0x807fffff | 0x1f800000),
			fromBits(bits.Draw(t, "c") & 0x800000ff)
	}
	// a*b = ±2^-24·c·(1 + few bits far below): next to a midpoint of c.
	c = fromBits(bits.Draw(t, "c")&0x80ffffff | 0x3f000000)
	_, e := math.Frexp(float64(c))
	a = float32(math.Ldexp(1, e-25+rapid.IntRange(-1, 1).Draw(t, "scale")))
	// (1-x)(1+x) = 1 - x² with x = 2^-23, or a few ulps.
	tail := rapid.IntRange(-3, 3).Draw(t, "tail")
	b = fromBits(math.Float32bits(1) + uint32(tail))
	if rapid.Bool().Draw(t, "square") {
		a, b = a*(1-0x1p-23), 1+0x1p-23
	}
	if rapid.Bool().Draw(t, "negative") {
		a = -a
	}
	return a, b, c
}

func TestFMAProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			a, b, c := drawFMA(t)
			if x := float64(a) * float64(b) * 0; x != 0 || float64(c)*0 != 0 {
				continue // not finite: x is NaN
			}
			if got, want := FMA(a, b, c), fmaExact(a, b, c); !sameF32(got, want) {
				t.Fatalf("FMA(%x, %x, %x) = %x, want %x", a, b, c, got, want)
			}
		}
	})
}
