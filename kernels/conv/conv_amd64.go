package conv

import "github.com/zqonnx/zqonnx/kernels/cpu"

// tap says where the element of one tap lies, in bytes from channel 0 of the first.
type tap struct{ x, w int }

// maxTaps bounds the windows that have vector loops.
const maxTaps = 64

// depthwiseF32AVX2 computes n blocks of 8 channels of one pixel, n ≥ 1 and count ≥ 1; bias may be nil.
//
//go:noescape
func depthwiseF32AVX2(n int, dst, x, w, bias *float32, taps *tap, count int)

// depthwiseU8AVX2 computes n blocks of 16 channels of one pixel over pairs of taps, n ≥ 1 and pairs ≥ 1; bias may be nil.
// zero is four times the zero point of x ^ flip.
//
//go:noescape
func depthwiseU8AVX2(n int, dst *int32, x *uint8, w *int16, bias *int32, taps *tap, pairs int, zero uint64, flip *[16]uint8)

// depthwiseU8AVX512 is depthwiseU8AVX2 for blocks of 32 channels.
//
//go:noescape
func depthwiseU8AVX512(n int, dst *int32, x *uint8, w *int16, bias *int32, taps *tap, pairs int, zero uint64, flip *[16]uint8)

//go:noescape
func reluAVX2(n int, x *float32)

//go:noescape
func clipAVX2(n int, x *float32, lo, hi float32)

// tapList is the taps of the outputs of a line that have the same taps along the last axis. Offsets of x are from the pixel
// wIn of the image's first line.
type tapList struct {
	taps     [maxTaps + 1]tap
	n        int
	wLo, wHi int
}

func (l *tapList) build(g *Geometry, line, wLo, wHi, channels, sizeX, sizeW int) {
	l.n, l.wLo, l.wHi = 0, wLo, wHi
	dLo, dHi, dIn := g.Span(0, line/g.Out[1])
	hLo, hHi, hIn := g.Span(1, line%g.Out[1])
	for kd := dLo; kd < dHi; kd++ {
		for kh := hLo; kh < hHi; kh++ {
			d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
			for kw := wLo; kw < wHi; kw++ {
				l.taps[l.n] = tap{
					x: ((d*g.In[1]+h)*g.In[2] + (kw-wLo)*g.Dilation[2]) * channels * sizeX,
					w: ((kd*g.Kernel[1]+kh)*g.Kernel[2] + kw) * channels * sizeW,
				}
				l.n++
			}
		}
	}
}

// eachPixel calls f for the output pixels of lines lo … hi-1, with where their first tap begins in x.
func eachPixel(g *Geometry, channels, sizeX, sizeW, lo, hi int, f func(l *tapList, pixel, x int)) {
	var l tapList
	extent := (g.Kernel[2] - 1) * g.Dilation[2]
	for line := lo; line < hi; line++ {
		l.wLo = -1
		for ow := range g.Out[2] {
			wLo, wHi, wIn := 0, g.Kernel[2], ow*g.Stride[2]-g.Pad[2]
			if wIn < 0 || wIn+extent >= g.In[2] {
				wLo, wHi, wIn = g.Span(2, ow)
			}
			if wLo != l.wLo || wHi != l.wHi {
				l.build(g, line, wLo, wHi, channels, sizeX, sizeW)
			}
			f(&l, line*g.Out[2]+ow, wIn*channels)
		}
	}
}

// DepthwiseF32 computes output lines lo … hi-1 (a line is all pixels of one (d, h)) of a convolution with one filter a
// channel:
//
//	dst[p, c] = bias[c] + Σ_tap x[pixel(p, tap), c]·w[tap, c]
//
// The sum starts at 0 and takes the taps inside the image in order, each product rounded to float32 before it is added; the
// bias comes last. w is [taps, channels]; bias may be nil.
func DepthwiseF32(dst, x, w, bias []float32, channels int, g *Geometry, lo, hi int) {
	if channels < 8 || g.Taps() > maxTaps || cpu.Current() < cpu.AVX2 {
		depthwiseF32Go(dst, x, w, bias, channels, g, lo, hi)
		return
	}
	x, w = x[:g.Inputs()*channels], w[:g.Taps()*channels]
	at := func(s []float32, i int) *float32 {
		if s == nil {
			return nil
		}
		return &s[i]
	}
	eachPixel(g, channels, 4, 4, lo, hi, func(l *tapList, pixel, in int) {
		out := dst[pixel*channels:][:channels]
		if l.n == 0 {
			clear(out)
			copy(out, bias)
			return
		}
		depthwiseF32AVX2(channels/8, &out[0], &x[in], &w[0], at(bias, 0), &l.taps[0], l.n)
		if channels%8 != 0 { // the last 8 channels, some of them again
			c := channels - 8
			depthwiseF32AVX2(1, &out[c], &x[in+c], &w[c], at(bias, c), &l.taps[0], l.n)
		}
	})
}

// DepthwiseU8 is DepthwiseF32 on codes: acc[p, c] = bias[c] + Σ_tap (x - zeroX)·w[tap, c], exact in int32; acc begins at
// line lo. With signed, x holds the bytes of int8 codes. w has its zero points subtracted already, and one more row, of zeros.
func DepthwiseU8(acc []int32, x []uint8, signed bool, zeroX int32, w []int16, bias []int32, channels int, g *Geometry, lo, hi int) {
	if channels < 16 || g.Taps() > maxTaps || cpu.Current() < cpu.AVX2 {
		depthwiseU8Go(acc, x, signed, zeroX, w, bias, channels, g, lo, hi)
		return
	}
	x, w = x[:g.Inputs()*channels], w[:(g.Taps()+1)*channels]
	var flip [16]uint8
	if signed {
		for i := range flip {
			flip[i] = 0x80
		}
		zeroX += 128
	}
	zero := uint64(uint16(zeroX)) * 0x0001000100010001
	at := func(s []int32, i int) *int32 {
		if s == nil {
			return nil
		}
		return &s[i]
	}
	eachPixel(g, channels, 1, 2, lo, hi, func(l *tapList, pixel, in int) {
		out := acc[(pixel-lo*g.Out[2])*channels:][:channels]
		if l.n == 0 {
			clear(out)
			copy(out, bias)
			return
		}
		if l.n%2 == 1 {
			l.taps[l.n] = tap{x: l.taps[l.n-1].x, w: g.Taps() * channels * 2} // times the zeros
		}
		pairs := (l.n + 1) / 2
		c := 0
		if wide := channels / 32; wide > 0 && cpu.Current() >= cpu.AVX512VNNI {
			depthwiseU8AVX512(wide, &out[0], &x[in], &w[0], at(bias, 0), &l.taps[0], pairs, zero, &flip)
			c = 32 * wide
		}
		if n := (channels - c) / 16; n > 0 {
			depthwiseU8AVX2(n, &out[c], &x[in+c], &w[c], at(bias, c), &l.taps[0], pairs, zero, &flip)
			c += 16 * n
		}
		if c < channels { // the last 16 channels, some of them again
			c = channels - 16
			depthwiseU8AVX2(1, &out[c], &x[in+c], &w[c], at(bias, c), &l.taps[0], pairs, zero, &flip)
		}
	})
}

// Relu sets what is below 0 to 0; NaN stays.
func Relu(x []float32) {
	n := 0
	if cpu.Current() >= cpu.AVX2 {
		if n = len(x) &^ 7; n > 0 {
			reluAVX2(n/8, &x[0])
		}
	}
	reluGo(x[n:])
}

// Clip limits x to lo … hi; NaN stays.
func Clip(x []float32, lo, hi float32) {
	n := 0
	if cpu.Current() >= cpu.AVX2 {
		if n = len(x) &^ 7; n > 0 {
			clipAVX2(n/8, &x[0], lo, hi)
		}
	}
	clipGo(x[n:], lo, hi)
}
