package conv

// Rows writes the windows of output pixels lo … hi-1 as rows of a matrix, ld elements apart: columns are ordered
// (tap, channel), over channels c0 … c0+c-1 of the image x, which has the given number of channels. Padding is fill; what is
// left of a row behind the taps is 0.
func Rows[T float32 | uint8](dst []T, ld int, x []T, channels, c0, c int, g *Geometry, lo, hi int, fill T) {
	for p := lo; p < hi; {
		od, oh, ow := g.At(p)
		n := min(hi-p, g.Out[2]-ow)
		l := windows[T]{dst: dst[(p-lo)*ld:][:n*ld], ld: ld, x: x[c0:], channels: channels, c: c, g: g, first: ow, n: n, fill: fill}
		l.write(od, oh)
		p += n
	}
}

// windows is the rows of some output pixels of one line.
type windows[T float32 | uint8] struct {
	dst      []T
	ld       int
	x        []T // from the first channel
	channels int // of x
	c        int // to take
	g        *Geometry
	first, n int // output pixels along the last axis
	fill     T
}

func (l *windows[T]) write(od, oh int) {
	g := l.g
	width := g.Kernel[2] * l.c
	if k := g.Taps() * l.c; k < l.ld {
		for i := range l.n {
			clear(l.dst[i*l.ld+k:][:l.ld-k])
		}
	}
	dLo, dHi, dIn := g.Span(0, od)
	hLo, hHi, hIn := g.Span(1, oh)
	a, b := l.inside()
	at := 0
	for kd := range g.Kernel[0] {
		for kh := range g.Kernel[1] {
			if kd < dLo || kd >= dHi || kh < hLo || kh >= hHi {
				for i := range l.n {
					fillWith(l.dst[i*l.ld+at:][:width], l.fill)
				}
			} else {
				d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
				line := (d*g.In[1] + h) * g.In[2]
				for i := range a {
					l.atEdge(i, at, line)
				}
				if a < b {
					l.run(a, b, at, line)
				}
				for i := b; i < l.n; i++ {
					l.atEdge(i, at, line)
				}
			}
			at += width
		}
	}
}

// inside returns the pixels a … b-1 whose windows do not reach over the ends of the image's lines.
func (l *windows[T]) inside() (a, b int) {
	g := l.g
	stride, extent := g.Stride[2], (g.Kernel[2]-1)*g.Dilation[2]
	a = min(max((g.Pad[2]+stride-1)/stride-l.first, 0), l.n)
	if last := g.In[2] - 1 - extent + g.Pad[2]; last >= 0 {
		b = last/stride + 1 - l.first
	}
	return a, min(max(b, a), l.n)
}

// run copies one line of the windows a … b-1, which lie inside the image. Taps side by side are one run in memory when they
// take all channels.
func (l *windows[T]) run(a, b, at, line int) {
	g := l.g
	pieces, size := g.Kernel[2], l.c
	if l.c == l.channels && g.Dilation[2] == 1 {
		pieces, size = 1, pieces*size
	}
	to, from := a*l.ld+at, (line+(l.first+a)*g.Stride[2]-g.Pad[2])*l.channels
	for range pieces {
		copyRows(l.dst[to:], l.ld, l.x[from:], g.Stride[2]*l.channels, b-a, size)
		to += size
		from += g.Dilation[2] * l.channels
	}
}

// atEdge writes one line of the window of pixel i.
func (l *windows[T]) atEdge(i, at, line int) {
	g := l.g
	to := l.dst[i*l.ld+at:][:g.Kernel[2]*l.c]
	wLo, wHi, wIn := g.Span(2, l.first+i)
	if wLo >= wHi {
		fillWith(to, l.fill)
		return
	}
	fillWith(to[:wLo*l.c], l.fill)
	from := (line + wIn) * l.channels
	for kw := wLo; kw < wHi; kw++ {
		copy(to[kw*l.c:][:l.c], l.x[from:])
		from += g.Dilation[2] * l.channels
	}
	fillWith(to[wHi*l.c:], l.fill)
}

// copyRowsGo copies n rows of size elements, n and size ≥ 1.
func copyRowsGo[T float32 | uint8](dst []T, ldDst int, src []T, ldSrc, n, size int) {
	for i := range n {
		copy(dst[i*ldDst:][:size], src[i*ldSrc:][:size])
	}
}

func fillWith[T float32 | uint8](s []T, v T) {
	if v == 0 {
		clear(s)
		return
	}
	for i := range s {
		s[i] = v
	}
}
