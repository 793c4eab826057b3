package conv

// Rows writes the windows of output pixels lo … hi-1 as rows of a matrix, ld elements apart: columns are ordered
// (tap, channel), over channels c0 … c0+c-1 of the image x, which has the given number of channels. Padding is fill; what is
// left of a row behind the taps is 0.
func Rows[T float32 | uint8](dst []T, ld int, x []T, channels, c0, c int, g *Geometry, lo, hi int, fill T) {
	k := g.Taps() * c
	// Taps side by side are one run in memory when they take all channels.
	joined := c == channels && g.Dilation[2] == 1
	od, oh, ow := g.At(lo)
	dLo, dHi, dIn := g.Span(0, od)
	hLo, hHi, hIn := g.Span(1, oh)
	extent := (g.Kernel[2] - 1) * g.Dilation[2]
	for p := lo; p < hi; p++ {
		row := dst[(p-lo)*ld:][:ld]
		clear(row[k:])
		wLo, wHi, wIn := 0, g.Kernel[2], ow*g.Stride[2]-g.Pad[2]
		if wIn < 0 || wIn+extent >= g.In[2] {
			wLo, wHi, wIn = g.Span(2, ow)
		}
		at := 0
		for kd := range g.Kernel[0] {
			for kh := range g.Kernel[1] {
				line := row[at : at+g.Kernel[2]*c]
				at += len(line)
				if kd < dLo || kd >= dHi || kh < hLo || kh >= hHi || wLo == wHi {
					fillWith(line, fill)
					continue
				}
				d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
				from := ((d*g.In[1]+h)*g.In[2]+wIn)*channels + c0
				if wLo > 0 {
					fillWith(line[:wLo*c], fill)
				}
				if joined {
					copy(line[wLo*c:wHi*c], x[from:])
				} else {
					for kw := wLo; kw < wHi; kw++ {
						copy(line[kw*c:][:c], x[from:])
						from += g.Dilation[2] * channels
					}
				}
				if wHi < g.Kernel[2] {
					fillWith(line[wHi*c:], fill)
				}
			}
		}
		if ow++; ow == g.Out[2] {
			ow = 0
			if oh++; oh == g.Out[1] {
				oh = 0
				od++
				dLo, dHi, dIn = g.Span(0, od)
			}
			hLo, hHi, hIn = g.Span(1, oh)
		}
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
