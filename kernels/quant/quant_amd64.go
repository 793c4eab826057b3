package quant

import "github.com/zqonnx/zqonnx/kernels/cpu"

// The vector loops take n blocks of 8 elements, those of AVX-512 of 16, n ≥ 1, and give the bits of the plain Go loops of the
// same names.

//go:noescape
func requantizeAVX2(n int, dst *uint8, acc *int32, multiplier *float32, lo, hi float32, zero int32)

//go:noescape
func quantizeAVX2(n int, dst *uint8, x *float32, scale, lo, hi float32, zero int32)

//go:noescape
func dequantizeAVX2(n int, dst *float32, x *uint8, scale float32, zero int32, flip uint64)

//go:noescape
func scaleAVX2(n int, dst *float32, acc *int32, multiplier *float32, factor float32, bias *float32)

//go:noescape
func addAVX2(n int, dst, a, b *uint8, ratioA, ratioB, fixed, lo, hi float32, offset int32, flip uint64)

//go:noescape
func mulAVX2(n int, dst, a, b *uint8, multiplier, zc, lo, hi float32, za, zb int32, flip uint64)

// requantizeAVX512 takes rows of any number of columns, both ≥ 1.
//
//go:noescape
func requantizeAVX512(rows, columns int, dst *uint8, ldDst int, acc *int32, ldAcc int, multiplier *float32, lo, hi float32, zero int32)

//go:noescape
func quantizeAVX512(n int, dst *uint8, x *float32, scale, lo, hi float32, zero int32)

//go:noescape
func addAVX512(n int, dst, a, b *uint8, ratioA, ratioB, fixed, lo, hi float32, offset int32, flip *[16]uint8)

// mapAVX512 takes n blocks of 32 elements, n ≥ 1.
//
//go:noescape
func mapAVX512(n int, dst, x *uint8, table *[256]uint8)

//go:noescape
func minMaxAVX2(n int, x *float32, least, greatest *[8]float32)

// blocks returns how many elements of n the vector loops take.
func blocks(n int) int {
	if n < 8 || cpu.Current() < cpu.AVX2 {
		return 0
	}
	return n &^ 7
}

// wideBlocks returns how many elements of n the loops of AVX-512 take.
func wideBlocks(n int) int {
	if n < 16 || cpu.Current() < cpu.AVX512VNNI {
		return 0
	}
	return n &^ 15
}

// flipOf turns int8 codes to uint8 codes 128 above, eight at a time.
func flipOf(signed bool) (flip uint64, offset int32) {
	if signed {
		return 0x8080808080808080, 128
	}
	return 0, 0
}

// Quantize computes dst[i] = sat(rint(f32(x[i]/scale)) + zero).
func Quantize(dst []uint8, x []float32, scale float32, zero int32, signed bool) {
	x = x[:len(dst)]
	lo, hi := Limits(signed)
	l, h := float32(lo-zero), float32(hi-zero)
	n := wideBlocks(len(dst))
	if n > 0 {
		quantizeAVX512(n/16, &dst[0], &x[0], scale, l, h, zero)
	}
	if rest := blocks(len(dst) - n); rest > 0 {
		quantizeAVX2(rest/8, &dst[n], &x[n], scale, l, h, zero)
		n += rest
	}
	quantizeGo(dst[n:], x[n:], scale, zero, signed)
}

// Dequantize computes dst[i] = f32(f32(x[i]-zero)·scale).
func Dequantize(dst []float32, x []uint8, scale float32, zero int32, signed bool) {
	x = x[:len(dst)]
	n := blocks(len(dst))
	if n > 0 {
		flip, offset := flipOf(signed)
		dequantizeAVX2(n/8, &dst[0], &x[0], scale, zero+offset, flip)
	}
	dequantizeGo(dst[n:], x[n:], scale, zero, signed)
}

func requantizeRows(dst []uint8, ldDst int, acc []int32, ldAcc int, rows int, multiplier []float32, zero int32, signed bool) {
	lo, hi := Limits(signed)
	l, h := float32(lo-zero), float32(hi-zero)
	columns := len(multiplier)
	if cpu.Current() >= cpu.AVX512VNNI {
		requantizeAVX512(rows, columns, &dst[0], ldDst, &acc[0], ldAcc, &multiplier[0], l, h, zero)
		return
	}
	n := blocks(columns)
	for range rows {
		if n > 0 {
			requantizeAVX2(n/8, &dst[0], &acc[0], &multiplier[0], l, h, zero)
		}
		requantizeGo(dst[n:columns], acc[n:], multiplier[n:], zero, signed)
		dst, acc = dst[min(ldDst, len(dst)):], acc[min(ldAcc, len(acc)):]
	}
}

// Scale computes dst[i] = f32(f32(f32(acc[i])·multiplier[i])·factor) + bias[i]; bias may be nil.
func Scale(dst []float32, acc []int32, multiplier []float32, factor float32, bias []float32) {
	acc, multiplier = acc[:len(dst)], multiplier[:len(dst)]
	n := blocks(len(dst))
	if n > 0 {
		var b *float32
		if bias != nil {
			b = &bias[:len(dst)][0]
		}
		scaleAVX2(n/8, &dst[0], &acc[0], &multiplier[0], factor, b)
	}
	if bias != nil {
		bias = bias[n:]
	}
	scaleGo(dst[n:], acc[n:], multiplier[n:], factor, bias)
}

// Add computes dst[i] = sat(rint(fma(a, sa/sc, fma(b, sb/sc, fixed)))) with fixed = zc - fma(sa/sc, za, f32(sb/sc·zb)).
// Operand a begins at a[0] and takes steps of stepA, 0 or 1; b alike.
func (s *Sum) Add(dst, a, b []uint8, stepA, stepB int) {
	if (stepA == 0 || stepB == 0) && blocks(len(dst)) > 0 {
		inRuns(dst, a, b, stepA, stepB, s.Add)
		return
	}
	n := 0
	if stepA == 1 && stepB == 1 {
		a, b = a[:len(dst)], b[:len(dst)]
		lo, hi := Limits(s.signed)
		flip, offset := flipOf(s.signed)
		if n = wideBlocks(len(dst)); n > 0 {
			var wide [16]uint8
			for i := range wide {
				wide[i] = uint8(flip)
			}
			addAVX512(n/16, &dst[0], &a[0], &b[0], s.ratioA, s.ratioB, s.fixed, float32(lo), float32(hi), offset, &wide)
		}
		if rest := blocks(len(dst) - n); rest > 0 {
			addAVX2(rest/8, &dst[n], &a[n], &b[n], s.ratioA, s.ratioB, s.fixed, float32(lo), float32(hi), offset, flip)
			n += rest
		}
	}
	s.addGo(dst[n:], a[n*stepA:], b[n*stepB:], stepA, stepB)
}

// Mul computes dst[i] = sat(rint(f32(f32(f32((a-za)(b-zb))·f32(f32(sa·sb)/sc)) + zc))), with steps as in Add.
func (p *Product) Mul(dst, a, b []uint8, stepA, stepB int) {
	if (stepA == 0 || stepB == 0) && blocks(len(dst)) > 0 {
		inRuns(dst, a, b, stepA, stepB, p.Mul)
		return
	}
	n := 0
	if stepA == 1 && stepB == 1 {
		a, b = a[:len(dst)], b[:len(dst)]
		if n = blocks(len(dst)); n > 0 {
			lo, hi := Limits(p.signed)
			flip, offset := flipOf(p.signed)
			mulAVX2(n/8, &dst[0], &a[0], &b[0], p.multiplier, p.zc, float32(lo), float32(hi), p.za+offset, p.zb+offset, flip)
		}
	}
	p.mulGo(dst[n:], a[n*stepA:], b[n*stepB:], stepA, stepB)
}

// inRuns calls f for runs of dst with operands that both take steps of 1: what takes steps of 0 is repeated.
func inRuns(dst, a, b []uint8, stepA, stepB int, f func(dst, a, b []uint8, stepA, stepB int)) {
	var repeatedA, repeatedB [256]uint8
	for i := range repeatedA {
		repeatedA[i], repeatedB[i] = a[0], b[0]
	}
	for lo := 0; lo < len(dst); lo += len(repeatedA) {
		n := min(len(repeatedA), len(dst)-lo)
		partA, partB := repeatedA[:], repeatedB[:]
		if stepA == 1 {
			partA = a[lo:]
		}
		if stepB == 1 {
			partB = b[lo:]
		}
		f(dst[lo:][:n], partA, partB, 1, 1)
	}
}

// Map computes dst[i] = table[x[i]].
func Map(dst, x []uint8, table *[256]uint8) {
	x = x[:len(dst)]
	n := 0
	if cpu.Current() >= cpu.AVX512VNNI && len(dst) >= 32 {
		n = len(dst) &^ 31
		mapAVX512(n/32, &dst[0], &x[0], table)
	}
	mapGo(dst[n:], x[n:], table)
}

// MinMax returns the least and the greatest of 0 and the elements of x; NaN is passed over.
func MinMax(x []float32) (lo, hi float32) {
	n := blocks(len(x))
	if n == 0 {
		return minMaxGo(x)
	}
	var least, greatest [8]float32
	minMaxAVX2(n/8, &x[0], &least, &greatest)
	lo, hi = minMaxGo(x[n:])
	for i := range least {
		lo, hi = min(lo, least[i]), max(hi, greatest[i])
	}
	return lo, hi
}
