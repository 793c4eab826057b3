// Package conv computes convolutions of channels-last images [D, H, W, C]: the rows of the matrix product a convolution
// is (im2col), and the depthwise ones, which are none, directly. One or two spatial axes are three with leading ones of size 1.
package conv

// Geometry is where the windows of a convolution or pool lie, by spatial axis. Output o and tap k of an axis meet at input
// o·Stride - Pad + k·Dilation, which is padding when it is outside 0 … In-1.
type Geometry struct {
	In, Out, Kernel, Stride, Dilation, Pad [3]int
	After                                  [3]int // padding behind the input
}

// Pixels returns the number of outputs of a channel.
func (g *Geometry) Pixels() int { return g.Out[0] * g.Out[1] * g.Out[2] }

// Inputs returns the number of inputs of a channel.
func (g *Geometry) Inputs() int { return g.In[0] * g.In[1] * g.In[2] }

// Taps returns the number of taps of a window.
func (g *Geometry) Taps() int { return g.Kernel[0] * g.Kernel[1] * g.Kernel[2] }

// Pointwise reports whether the windows are the pixels themselves.
func (g *Geometry) Pointwise() bool {
	return g.Taps() == 1 && g.Stride == [3]int{1, 1, 1} && g.Pad == [3]int{} && g.In == g.Out
}

// At returns the coordinates of output pixel i.
func (g *Geometry) At(i int) (d, h, w int) {
	w = i % g.Out[2]
	i /= g.Out[2]
	return i / g.Out[1], i % g.Out[1], w
}

// Span returns the taps [lo, hi) of axis a that lie inside the input for output o, and the input of tap lo.
func (g *Geometry) Span(a, o int) (lo, hi, in int) {
	start, step := o*g.Stride[a]-g.Pad[a], g.Dilation[a]
	if start < 0 {
		lo = (-start + step - 1) / step
	}
	hi = g.Kernel[a]
	if last := g.In[a] - 1 - start; last < 0 {
		hi = 0
	} else if n := last/step + 1; n < hi {
		hi = n
	}
	lo = min(lo, hi)
	return lo, hi, start + lo*step
}

// Window calls f for the taps of output pixel i that lie inside the input, in order, with the input pixel they meet.
func (g *Geometry) Window(i int, f func(tap, in int)) {
	od, oh, ow := g.At(i)
	dLo, dHi, dIn := g.Span(0, od)
	hLo, hHi, hIn := g.Span(1, oh)
	wLo, wHi, wIn := g.Span(2, ow)
	for kd := dLo; kd < dHi; kd++ {
		for kh := hLo; kh < hHi; kh++ {
			d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
			for kw := wLo; kw < wHi; kw++ {
				f((kd*g.Kernel[1]+kh)*g.Kernel[2]+kw, (d*g.In[1]+h)*g.In[2]+wIn+(kw-wLo)*g.Dilation[2])
			}
		}
	}
}
