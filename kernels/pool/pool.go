// Package pool reduces windows and whole planes of channels-last images: maxima, means and norms. A channels-first image
// is one image of one channel for each of its planes.
package pool

import (
	"github.com/zqonnx/zqonnx/kernels/conv"
)

// Number is what maxima are taken of.
type Number interface {
	float32 | float64 | int8 | uint8
}

// windows calls f for output pixels lo … hi-1 with the taps inside the image: rows of taps that begin at input pixel in,
// n taps, each step pixels from the last. f is called with n < 0 first, to begin an output, and with n = 0 to end it.
func windows(g *conv.Geometry, lo, hi int, f func(out, in, n int)) {
	for p := lo; p < hi; p++ {
		od, oh, ow := g.At(p)
		dLo, dHi, dIn := g.Span(0, od)
		hLo, hHi, hIn := g.Span(1, oh)
		wLo, wHi, wIn := g.Span(2, ow)
		f(p, 0, -1)
		for kd := dLo; kd < dHi && wHi > wLo; kd++ {
			for kh := hLo; kh < hHi; kh++ {
				d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
				f(p, (d*g.In[1]+h)*g.In[2]+wIn, wHi-wLo)
			}
		}
		f(p, 0, 0)
	}
}

// Max computes dst[p, c] = max over the window of p of x[·, c] for output pixels lo … hi-1; lowest where a window is empty.
// A NaN is passed over unless it comes first.
func Max[T Number](dst, x []T, channels int, g *conv.Geometry, lo, hi int, lowest T) {
	for p := lo; p < hi; p++ {
		od, oh, ow := g.At(p)
		dLo, dHi, dIn := g.Span(0, od)
		hLo, hHi, hIn := g.Span(1, oh)
		wLo, wHi, wIn := g.Span(2, ow)
		out := dst[p*channels:][:channels]
		first := true
		for kd := dLo; kd < dHi; kd++ {
			for kh := hLo; kh < hHi; kh++ {
				d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
				in := ((d*g.In[1]+h)*g.In[2] + wIn) * channels
				for range wHi - wLo {
					from := x[in:][:channels]
					in += g.Dilation[2] * channels
					if first {
						copy(out, from)
						first = false
						continue
					}
					maxInto(out, from)
				}
			}
		}
		if first {
			for i := range out {
				out[i] = lowest
			}
		}
	}
}

func maxIntoGo[T Number](dst, x []T) {
	x = x[:len(dst)]
	for i, v := range x {
		if v > dst[i] {
			dst[i] = v
		}
	}
}

// MaxAt is Max of one plane that gives the input pixel of each maximum too, the first where there are several; -1 for an
// empty window.
func MaxAt[T Number](dst []T, at []int64, x []T, g *conv.Geometry, lowest T) {
	windows(g, 0, g.Pixels(), func(out, in, n int) {
		if n < 0 {
			dst[out], at[out] = lowest, -1
		}
		for range n {
			if at[out] < 0 || x[in] > dst[out] {
				dst[out], at[out] = x[in], int64(in)
			}
			in += g.Dilation[2]
		}
	})
}

// Average computes dst[p, c] = f32(Σ x[·, c] / n) over the window of p, summed in float32 in the order of the taps; n
// counts the taps inside the image or, with includePad, inside the image and its padding.
func Average(dst, x []float32, channels int, g *conv.Geometry, lo, hi int, includePad bool) {
	accumulate(dst, x, channels, g, lo, hi, addInto, func(p int, out []float32, taps int) {
		if includePad {
			taps = padded(g, p)
		}
		n := float32(taps)
		for i := range out {
			out[i] /= n
		}
	})
}

func addIntoGo(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

// padded returns how many taps of the window of output pixel p lie inside the image and its padding.
func padded(g *conv.Geometry, p int) int {
	var o [3]int
	o[0], o[1], o[2] = g.At(p)
	n := 1
	for a := range o {
		room := g.In[a] + g.After[a] - 1 - (o[a]*g.Stride[a] - g.Pad[a])
		n *= min(room/g.Dilation[a]+1, g.Kernel[a])
	}
	return n
}

// Norm computes dst[p, c] = root(Σ power(x[·, c])) over the window of p.
func Norm(dst, x []float32, channels int, g *conv.Geometry, lo, hi int, power, root func(float32) float32) {
	add := func(dst, x []float32) {
		for i, v := range x {
			dst[i] += power(v)
		}
	}
	accumulate(dst, x, channels, g, lo, hi, add, func(_ int, out []float32, _ int) {
		for i, v := range out {
			out[i] = root(v)
		}
	})
}

func accumulate(dst, x []float32, channels int, g *conv.Geometry, lo, hi int, add func(dst, x []float32), finish func(p int, out []float32, taps int)) {
	var out []float32
	taps := 0
	windows(g, lo, hi, func(p, in, n int) {
		switch {
		case n < 0:
			out, taps = dst[p*channels:][:channels], 0
			clear(out)
		case n == 0:
			finish(p, out, taps)
		default:
			taps += n
			for range n {
				add(out, x[in*channels:][:channels])
				in += g.Dilation[2]
			}
		}
	})
}

// Mean returns the mean of n elements step apart, summed in float64.
func Mean(x []float32, n, step int) float32 {
	sum := 0.0
	if step == 1 {
		for _, v := range x[:n] {
			sum += float64(v)
		}
	} else {
		for i := range n {
			sum += float64(x[i*step])
		}
	}
	return float32(sum / float64(n))
}
