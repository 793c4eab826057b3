// Package minifloat converts floats of few bits: float16, bfloat16, the 8-bit floats and float4 of ONNX.
package minifloat

import "math"

// A Format is a binary floating-point format of at most 16 bits: sign, exponent, mantissa.
type Format struct {
	Exponent, Mantissa int
	Bias               int
	Special            Special
}

// Special says which codes are infinities and NaN.
type Special int

const (
	IEEE   Special = iota // largest exponent: infinities and NaN
	FN                    // no infinity; NaN is all ones
	FNUZ                  // no infinity, no negative zero, whose code is NaN
	Finite                // neither infinity nor NaN
)

// The formats of ONNX.
var (
	Float16        = Format{5, 10, 15, IEEE}
	BFloat16       = Format{8, 7, 127, IEEE}
	Float8E4M3FN   = Format{4, 3, 7, FN}
	Float8E4M3FNUZ = Format{4, 3, 8, FNUZ}
	Float8E5M2     = Format{5, 2, 15, IEEE}
	Float8E5M2FNUZ = Format{5, 2, 16, FNUZ}
	Float4E2M1     = Format{2, 1, 1, Finite}
	Float6E2M3     = Format{2, 3, 1, Finite}
	Float6E3M2     = Format{3, 2, 3, Finite}
)

func (f Format) sign() uint16 { return 1 << (f.Exponent + f.Mantissa) }

// largest is the code of the largest finite number.
func (f Format) largest() uint16 {
	all := f.sign() - 1
	switch f.Special {
	case IEEE:
		return all - 1<<f.Mantissa
	case FN:
		return all - 1
	}
	return all
}

// nan is the code of a NaN. Formats without one give the negative zero, as other libraries do.
func (f Format) nan() uint16 {
	switch f.Special {
	case IEEE:
		return f.sign() - 1<<(f.Mantissa-1)
	case FN:
		return f.sign() - 1
	}
	return f.sign()
}

// Decode returns the value of a code.
func (f Format) Decode(c uint16) float64 {
	magnitude := c & (f.sign() - 1)
	negative := c&f.sign() != 0
	switch {
	case f.Special == FNUZ && negative && magnitude == 0, f.Special != FNUZ && magnitude > f.largest() && !f.isInf(magnitude):
		return math.NaN()
	}
	v := math.Inf(1)
	if !f.isInf(magnitude) {
		m, e := int(magnitude)&(1<<f.Mantissa-1), int(magnitude)>>f.Mantissa
		if e == 0 {
			e = 1
		} else {
			m |= 1 << f.Mantissa
		}
		v = math.Ldexp(float64(m), e-f.Bias-f.Mantissa)
	}
	if negative {
		v = -v
	}
	return v
}

func (f Format) isInf(magnitude uint16) bool {
	return f.Special == IEEE && magnitude == f.largest()+1
}

// Encode rounds x to the nearest code, half to even. Numbers too large become the largest one if saturate is set, or the
// format has nothing else; otherwise infinity, or NaN where there is none.
func (f Format) Encode(x float64, saturate bool) uint16 {
	if x != x {
		return f.nan() | f.signOf(x)
	}
	a := math.Abs(x)
	e := -1074
	if a != 0 {
		_, e = math.Frexp(a) // a = [0.5, 1)·2^e
	}
	unit := max(e-1, 1-f.Bias) - f.Mantissa
	// Around 2^unit·n; math.RoundToEven of a number below 2^12 is exact.
	var c uint16
	if n := math.RoundToEven(math.Ldexp(a, -unit)); math.IsInf(a, 0) || n > float64(int(2)<<f.Mantissa) || unit+f.Mantissa+f.Bias > 1<<f.Exponent {
		c = math.MaxUint16
	} else {
		code := int(n) + (unit+f.Mantissa+f.Bias-1)<<f.Mantissa // a carry runs into the exponent
		c = uint16(min(code, math.MaxUint16))
	}
	if c > f.largest() {
		switch {
		case saturate || f.Special == Finite:
			c = f.largest()
		case f.Special == IEEE:
			c = f.largest() + 1
		default:
			c = f.nan()
		}
	}
	if c == 0 && f.Special == FNUZ {
		return 0
	}
	return c | f.signOf(x)
}

func (f Format) signOf(x float64) uint16 {
	if math.Signbit(x) {
		return f.sign()
	}
	return 0
}

// DecodeE8M0 returns the value of an exponent-only code; 255 is NaN.
func DecodeE8M0(c uint8) float64 {
	if c == 255 {
		return math.NaN()
	}
	return math.Ldexp(1, int(c)-127)
}
