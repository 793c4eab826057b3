//go:build !amd64

package quant

// Quantize computes dst[i] = sat(rint(f32(x[i]/scale)) + zero).
func Quantize(dst []uint8, x []float32, scale float32, zero int32, signed bool) {
	quantizeGo(dst, x, scale, zero, signed)
}

// Dequantize computes dst[i] = f32(f32(x[i]-zero)·scale).
func Dequantize(dst []float32, x []uint8, scale float32, zero int32, signed bool) {
	dequantizeGo(dst, x, scale, zero, signed)
}

func requantizeRows(dst []uint8, ldDst int, acc []int32, ldAcc int, rows int, multiplier []float32, zero int32, signed bool) {
	for range rows {
		requantizeGo(dst[:len(multiplier)], acc, multiplier, zero, signed)
		dst, acc = dst[min(ldDst, len(dst)):], acc[min(ldAcc, len(acc)):]
	}
}

// Scale computes dst[i] = f32(f32(f32(acc[i])·multiplier[i])·factor) + bias[i]; bias may be nil.
func Scale(dst []float32, acc []int32, multiplier []float32, factor float32, bias []float32) {
	scaleGo(dst, acc, multiplier, factor, bias)
}

// Add computes dst[i] = sat(rint(fma(a, sa/sc, fma(b, sb/sc, fixed)))) with fixed = zc - fma(sa/sc, za, f32(sb/sc·zb)).
// Operand a begins at a[0] and takes steps of stepA, 0 or 1; b alike.
func (s *Sum) Add(dst, a, b []uint8, stepA, stepB int) { s.addGo(dst, a, b, stepA, stepB) }

// Mul computes dst[i] = sat(rint(f32(f32(f32((a-za)(b-zb))·f32(f32(sa·sb)/sc)) + zc))), with steps as in Add.
func (p *Product) Mul(dst, a, b []uint8, stepA, stepB int) { p.mulGo(dst, a, b, stepA, stepB) }

// Map computes dst[i] = table[x[i]].
func Map(dst, x []uint8, table *[256]uint8) { mapGo(dst, x, table) }

// MinMax returns the least and the greatest of 0 and the elements of x; NaN is passed over.
func MinMax(x []float32) (lo, hi float32) { return minMaxGo(x) }
