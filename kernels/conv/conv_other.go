//go:build !amd64

package conv

// DepthwiseF32 computes output lines lo … hi-1 (a line is all pixels of one (d, h)) of a convolution with one filter a
// channel:
//
//	dst[p, c] = bias[c] + Σ_tap x[pixel(p, tap), c]·w[tap, c]
//
// The sum starts at 0 and takes the taps inside the image in order, each product rounded to float32 before it is added; the
// bias comes last. w is [taps, channels]; bias may be nil.
func DepthwiseF32(dst, x, w, bias []float32, channels int, g *Geometry, lo, hi int) {
	depthwiseF32Go(dst, x, w, bias, channels, g, lo, hi)
}

// DepthwiseU8 is DepthwiseF32 on codes: acc[p, c] = bias[c] + Σ_tap (x - zeroX)·w[tap, c], exact in int32; acc begins at
// line lo. With signed, x holds the bytes of int8 codes. w has its zero points subtracted already, and one more row, of zeros.
func DepthwiseU8(acc []int32, x []uint8, signed bool, zeroX int32, w []int16, bias []int32, channels int, g *Geometry, lo, hi int) {
	depthwiseU8Go(acc, x, signed, zeroX, w, bias, channels, g, lo, hi)
}

// Relu sets what is below 0 to 0; NaN stays.
func Relu(x []float32) {
	reluGo(x)
}

// Clip limits x to lo … hi; NaN stays.
func Clip(x []float32, lo, hi float32) {
	clipGo(x, lo, hi)
}

func copyRows[T float32 | uint8](dst []T, ldDst int, src []T, ldSrc, n, size int) {
	copyRowsGo(dst, ldDst, src, ldSrc, n, size)
}
