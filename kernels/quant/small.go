package quant

import "math"

// SmallFloat is a floating-point type of at most 8 bits.
type SmallFloat struct {
	bits     int
	positive []float32 // the finite values without sign, by code
	next     float32   // what the code behind the last one would be: what rounds to it overflows
	nan      uint8     // code of NaN; of the largest value where there is none
	infinity uint8     // code of infinity; that of NaN where there is none
	onlyZero bool      // there is no negative zero
}

// The types of ONNX.
var (
	E4M3FN   = smallFloat(4, 3, 7, 0x7e, 0x7f, 0x7f, false)
	E4M3FNUZ = smallFloat(4, 3, 8, 0x7f, 0x80, 0x80, true)
	E5M2     = smallFloat(5, 2, 15, 0x7b, 0x7f, 0x7c, false)
	E5M2FNUZ = smallFloat(5, 2, 16, 0x7f, 0x80, 0x80, true)
	E2M1     = smallFloat(2, 1, 1, 0x7, 0x7, 0x7, false)
)

// smallFloat lists the values of a type with that many bits of exponent and mantissa, whose largest finite code is last.
func smallFloat(exponent, mantissa, bias int, last, nan, infinity uint8, onlyZero bool) *SmallFloat {
	f := &SmallFloat{bits: 1 + exponent + mantissa, nan: nan, infinity: infinity, onlyZero: onlyZero}
	for code := 0; code <= int(last)+1; code++ {
		e, m := code>>mantissa, float64(code&(1<<mantissa-1))/float64(int(1)<<mantissa)
		v := float32(math.Ldexp(m+1, e-bias))
		if e == 0 {
			v = float32(math.Ldexp(m, 1-bias))
		}
		if code > int(last) {
			f.next = v
			break
		}
		f.positive = append(f.positive, v)
	}
	return f
}

// Encode rounds v half to even. What is too large, infinities included, becomes the largest value if saturate, else
// infinity or, in types without, NaN.
func (f *SmallFloat) Encode(v float32, saturate bool) uint8 {
	if v != v {
		return f.nan
	}
	sign := uint8(0)
	if math.Signbit(float64(v)) {
		sign, v = 1<<(f.bits-1), -v
	}
	lo, hi := 0, len(f.positive) // the largest code whose value is at most v
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; f.positive[mid] <= v {
			lo = mid
		} else {
			hi = mid
		}
	}
	above := f.next
	if lo+1 < len(f.positive) {
		above = f.positive[lo+1]
	}
	below := float64(v) - float64(f.positive[lo])
	if rest := float64(above) - float64(v); below > rest || below == rest && lo&1 == 1 {
		lo++
	}
	if lo == len(f.positive) {
		if !saturate {
			if f.infinity == f.nan && f.onlyZero {
				return f.nan
			}
			return f.infinity | sign
		}
		lo--
	}
	if lo == 0 && f.onlyZero {
		return 0
	}
	return uint8(lo) | sign
}

// Decode returns the value of a code.
func (f *SmallFloat) Decode(code uint8) float32 {
	sign := uint8(1) << (f.bits - 1)
	magnitude := code & (sign - 1)
	if f.onlyZero && code == sign || int(magnitude) >= len(f.positive) {
		if f.infinity != f.nan && magnitude == f.infinity {
			return float32(math.Copysign(math.Inf(1), -float64(code&sign)+0.5))
		}
		return float32(math.NaN())
	}
	if code&sign != 0 {
		return -f.positive[magnitude]
	}
	return f.positive[magnitude]
}
