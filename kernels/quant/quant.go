// Package quant moves numbers between float32 and integer codes: quantize, dequantize, and requantize, which brings the
// int32 sums of a product to codes of another scale.
//
// Notation: f32 rounds to float32, rint rounds half to even, sat limits to the codes there are. A code is a byte; signed
// says that it is an int8.
package quant

import "math"

// Limits returns the least and the greatest code.
func Limits(signed bool) (lo, hi int32) {
	if signed {
		return -128, 127
	}
	return 0, 255
}

// A float32 near magic has its unit in the last place, so that its bits minus magicBits are the rounded distance from
// magic. Good for |distance| < 2^22.
const (
	magic     float32 = 3 << 22
	magicBits int32   = 0x4B400000
)

// round returns rint(v) limited to lo … hi, which are integers; a NaN becomes lo.
func round(v, lo, hi float32) int32 {
	if !(v > lo) {
		v = lo
	}
	if v > hi {
		v = hi
	}
	return int32(math.Float32bits(float32(v+magic))) - magicBits
}

func quantizeGo(dst []uint8, x []float32, scale float32, zero int32, signed bool) {
	lo, hi := Limits(signed)
	l, h := float32(lo-zero), float32(hi-zero)
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = uint8(round(v/scale, l, h) + zero)
	}
}

func dequantizeGo(dst []float32, x []uint8, scale float32, zero int32, signed bool) {
	x = x[:len(dst)]
	if signed {
		for i, v := range x {
			dst[i] = float32(int32(int8(v))-zero) * scale
		}
		return
	}
	for i, v := range x {
		dst[i] = float32(int32(v)-zero) * scale
	}
}

// Requantize computes dst[i] = sat(rint(f32(f32(acc[i])·multiplier[i])) + zero).
func Requantize(dst []uint8, acc []int32, multiplier []float32, zero int32, signed bool) {
	RequantizeRows(dst, 0, acc, 0, 1, multiplier[:len(dst)], zero, signed)
}

// RequantizeRows is Requantize for rows that begin ldDst and ldAcc elements apart, with one multiplier a column.
func RequantizeRows(dst []uint8, ldDst int, acc []int32, ldAcc int, rows int, multiplier []float32, zero int32, signed bool) {
	if rows > 0 && len(multiplier) > 0 {
		dst, acc = dst[:(rows-1)*ldDst+len(multiplier)], acc[:(rows-1)*ldAcc+len(multiplier)]
		requantizeRows(dst, ldDst, acc, ldAcc, rows, multiplier, zero, signed)
	}
}

func requantizeGo(dst []uint8, acc []int32, multiplier []float32, zero int32, signed bool) {
	lo, hi := Limits(signed)
	l, h := float32(lo-zero), float32(hi-zero)
	acc, multiplier = acc[:len(dst)], multiplier[:len(dst)]
	for i, v := range acc {
		dst[i] = uint8(round(float32(float32(v)*multiplier[i]), l, h) + zero)
	}
}

func scaleGo(dst []float32, acc []int32, multiplier []float32, factor float32, bias []float32) {
	acc, multiplier = acc[:len(dst)], multiplier[:len(dst)]
	if bias == nil {
		for i, v := range acc {
			dst[i] = float32(float32(float32(v)*multiplier[i]) * factor)
		}
		return
	}
	bias = bias[:len(dst)]
	for i, v := range acc {
		dst[i] = float32(float32(float32(v)*multiplier[i])*factor) + bias[i]
	}
}

func mapGo(dst, x []uint8, table *[256]uint8) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = table[v]
	}
}

func minMaxGo(x []float32) (lo, hi float32) {
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}
