package conv

func depthwiseF32Go(dst, x, w, bias []float32, channels int, g *Geometry, lo, hi int) {
	for line := lo; line < hi; line++ {
		dLo, dHi, dIn := g.Span(0, line/g.Out[1])
		hLo, hHi, hIn := g.Span(1, line%g.Out[1])
		for ow := range g.Out[2] {
			wLo, wHi, wIn := g.Span(2, ow)
			out := dst[(line*g.Out[2]+ow)*channels:][:channels]
			clear(out)
			for kd := dLo; kd < dHi; kd++ {
				for kh := hLo; kh < hHi; kh++ {
					d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
					in := ((d*g.In[1]+h)*g.In[2] + wIn) * channels
					tap := ((kd*g.Kernel[1]+kh)*g.Kernel[2] + wLo) * channels
					for range wHi - wLo {
						multiplyAddF32(out, x[in:][:channels], w[tap:][:channels])
						in += g.Dilation[2] * channels
						tap += channels
					}
				}
			}
			if bias != nil {
				for c, b := range bias[:channels] {
					out[c] += b
				}
			}
		}
	}
}

// multiplyAddF32 computes dst[i] += float32(a[i]·b[i]).
func multiplyAddF32(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] += float32(a[i] * b[i])
	}
}

func depthwiseU8Go(acc []int32, x []uint8, signed bool, zeroX int32, w []int16, bias []int32, channels int, g *Geometry, lo, hi int) {
	flip := uint8(0)
	if signed { // x + 128 is x ^ 0x80 as uint8, and the zero point moves along
		flip, zeroX = 0x80, zeroX+128
	}
	for line := lo; line < hi; line++ {
		dLo, dHi, dIn := g.Span(0, line/g.Out[1])
		hLo, hHi, hIn := g.Span(1, line%g.Out[1])
		for ow := range g.Out[2] {
			wLo, wHi, wIn := g.Span(2, ow)
			out := acc[((line-lo)*g.Out[2]+ow)*channels:][:channels]
			clear(out)
			copy(out, bias)
			for kd := dLo; kd < dHi; kd++ {
				for kh := hLo; kh < hHi; kh++ {
					d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
					in := ((d*g.In[1]+h)*g.In[2] + wIn) * channels
					tap := ((kd*g.Kernel[1]+kh)*g.Kernel[2] + wLo) * channels
					for range wHi - wLo {
						multiplyAddU8(out, x[in:][:channels], flip, zeroX, w[tap:][:channels])
						in += g.Dilation[2] * channels
						tap += channels
					}
				}
			}
		}
	}
}

// multiplyAddU8 computes dst[i] += ((a[i]^flip) - zero)·b[i].
func multiplyAddU8(dst []int32, a []uint8, flip uint8, zero int32, b []int16) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] += (int32(a[i]^flip) - zero) * int32(b[i])
	}
}

func reluGo(x []float32) {
	for i, v := range x {
		if v < 0 {
			x[i] = 0
		}
	}
}

func clipGo(x []float32, lo, hi float32) {
	for i, v := range x {
		if v < lo {
			v = lo
		}
		if v > hi {
			v = hi
		}
		x[i] = v
	}
}
