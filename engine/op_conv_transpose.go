package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/onnx"
)

// convTranspose is the transposed convolution: every input pixel times the filters gives a patch, and patches are added
// where they lie. Its geometry is that of the convolution it transposes: In is the spatial size of Y, Out that of X.
type convTranspose struct {
	convShape // in and out are channels of X and Y
	window    window
	padding   []int64 // output_padding
	outShape  []int64 // output_shape

	panels, dynamic, now []*gemm.PanelsF32 // by group: [in/groups, taps·out/groups]
	buffer               []float32

	x, y []float32 // channels last
	bias []float32
	body func(i int)
	flip flip[float32]
}

func makeConvTranspose(b *builder, n *onnx.Node) (kernel, error) {
	w, err := readWindow(n)
	if err != nil {
		return nil, err
	}
	c := &convTranspose{window: w, padding: n.Ints("output_padding"), outShape: n.Ints("output_shape")}
	groups := int(n.Int("group", 1))
	source, err := constantFilters(b, n, groups, func(w []float32, in, out, taps, groups int) {
		c.panels = c.pack(nil, w, in, out, taps, groups)
	})
	if err != nil {
		return nil, err
	}
	c.buffer = nil
	return func(r *run) error {
		x, f := r.in(0), r.in(1)
		if x.Type != onnx.Float32 || f.Type != onnx.Float32 {
			return fmt.Errorf("X of %s and W of %s are %w", x.Type, f.Type, ErrUnsupported)
		}
		if err := c.place(x.Dims, f.Dims, groups); err != nil {
			return err
		}
		c.bias = nil
		if r.in(2) != nil {
			c.bias = r.channelParams(2, c.out)
		}
		if r.isConst(1, source) {
			c.now = c.panels
		} else {
			c.dynamic = c.pack(c.dynamic, onnx.Data[float32](f), c.in, c.filterOut, c.Taps(), groups)
			c.now = c.dynamic
		}
		dims := r.shape(2 + c.spatial)
		dims[0], dims[1] = int64(c.batch), int64(c.out)
		for i := range c.spatial {
			dims[2+i] = int64(c.In[3-c.spatial+i])
		}
		y := onnx.Data[float32](r.out(0, onnx.Float32, dims...))
		c.x = c.flip.toLast(r, onnx.Data[float32](x), c.batch, c.in, c.Pixels(), false)
		c.y = y
		first := c.out > 1 && c.Inputs() > 1
		if first {
			c.y = scratch[float32](r, len(y))
		}
		sums := c.y
		if c.body == nil {
			c.body = c.picture
		}
		r.each(c.batch*c.groups, c.body)
		if first {
			c.flip.toFirst(r, y, sums, c.batch, c.out, c.Inputs())
		}
		c.x, c.y, c.bias = nil, nil, nil
		return nil
	}, nil
}

// place finds the geometry.
func (c *convTranspose) place(x, f []int64, groups int) error {
	bad := func(why string) error {
		return fmt.Errorf("X of shape %v, W of shape %v, group %d: %s: %w", clone(x), clone(f), groups, why, onnx.ErrBadModel)
	}
	k := len(x) - 2
	w := &c.window
	switch {
	case k < 1 || k > 3 || len(f) != len(x):
		return bad("one to three spatial axes are needed")
	case w.kernel != nil && !equalDims(w.kernel, f[2:]):
		return bad(fmt.Sprintf("kernel_shape is %v", w.kernel))
	case x[1] != f[0] || !divides(groups, x[1]):
		return bad("their channels do not fit")
	case w.strides != nil && len(w.strides) != k || w.dilations != nil && len(w.dilations) != k || w.pads != nil && len(w.pads) != 2*k ||
		c.padding != nil && len(c.padding) != k || c.outShape != nil && len(c.outShape) != k && len(c.outShape) != k+2:
		return bad("an attribute has the wrong length")
	}
	c.batch, c.in, c.groups, c.spatial = int(x[0]), int(x[1]), groups, k
	c.filterIn, c.filterOut = c.in/groups, int(f[1])
	c.out = c.filterOut * groups
	c.Geometry = conv.Geometry{
		Out: axes(x[2:]), In: [3]int{1, 1, 1}, Kernel: axes(f[2:]), Stride: axes(w.strides), Dilation: axes(w.dilations),
	}
	for i := range k {
		a := 3 - k + i
		before, after, extra := 0, 0, 0
		if w.pads != nil {
			before, after = int(w.pads[i]), int(w.pads[k+i])
		}
		if c.padding != nil {
			extra = int(c.padding[i])
		}
		full := (c.Out[a]-1)*c.Stride[a] + extra + (c.Kernel[a]-1)*c.Dilation[a] + 1
		size := full - before - after
		given := c.outShape != nil
		if given {
			size = int(c.outShape[len(c.outShape)-k+i])
		}
		if !given && (w.auto == "SAME_UPPER" || w.auto == "SAME_LOWER") {
			size, given = c.Out[a]*c.Stride[a], true
		}
		if given {
			total := max(full-size, 0)
			before = total - total/2
			if w.auto == "SAME_UPPER" {
				before = total / 2
			}
		} else if w.auto == "VALID" {
			before, size = 0, full
		}
		if size < 1 || size > 1<<31 {
			return bad(fmt.Sprintf("Y would have the size %d", size))
		}
		c.In[a], c.Pad[a] = size, before
	}
	return nil
}

// pack packs W [in, out/groups, taps] by group as [in/groups, (tap, out)].
func (c *convTranspose) pack(panels []*gemm.PanelsF32, w []float32, in, out, taps, groups int) []*gemm.PanelsF32 {
	row, n := out*taps, in/groups
	c.buffer = grown(c.buffer, len(w))
	for i := range in {
		transpose(c.buffer[i*row:][:row], w[i*row:], out, taps)
	}
	for g := len(panels); g < groups; g++ {
		panels = append(panels, new(gemm.PanelsF32))
	}
	for g := range groups {
		panels[g].Repack(c.buffer[g*n*row:][:n*row], n, row, row, false)
	}
	return panels
}

// picture computes one group of one picture, a block of input pixels at a time.
func (c *convTranspose) picture(i int) {
	group, picture := i%c.groups, i/c.groups
	w := takeWorker()
	defer w.release()
	pixels, columns := c.Pixels(), c.Taps()*c.filterOut
	y := c.y[picture*c.Inputs()*c.out:][:c.Inputs()*c.out]
	from := group * c.filterOut
	for p := range c.Inputs() {
		clear(y[p*c.out+from:][:c.filterOut])
	}
	block := max(8<<10/max(columns, 1), 64)
	w.rows = grown(w.rows, block*columns)
	for lo := 0; lo < pixels; lo += block {
		n := min(block, pixels-lo)
		w.f32 = gemm.F32{
			M: n, A: c.x[(picture*pixels+lo)*c.in+group*c.filterIn:], LDA: c.in, B: c.now[group], C: w.rows, LDC: columns,
		}
		w.f32.Run(gemm.Region{M1: n, N1: columns}, &w.gemm)
		for p := 0; p < n; {
			od, oh, ow := c.At(lo + p)
			m := min(n-p, c.Out[2]-ow)
			c.addPatches(y[from:], w.rows[p*columns:], od, oh, ow, m)
			p += m
		}
	}
	if c.bias != nil {
		for p := range c.Inputs() {
			to := y[p*c.out+from:][:c.filterOut]
			for j, v := range c.bias[from:][:c.filterOut] {
				to[j] += v
			}
		}
	}
}

// addPatches adds what n input pixels of one line, from ow on, contribute to a group's channels of Y: a patch each.
func (c *convTranspose) addPatches(y, patches []float32, od, oh, ow, n int) {
	dLo, dHi, dIn := c.Span(0, od)
	hLo, hHi, hIn := c.Span(1, oh)
	for i := range n {
		patch := patches[i*c.Taps()*c.filterOut:]
		wLo, wHi, wIn := c.Span(2, ow+i)
		// Taps side by side are one run in memory when the group has all channels.
		runs, size := wHi-wLo, c.filterOut
		if c.groups == 1 && c.Dilation[2] == 1 {
			runs, size = min(runs, 1), runs*size
		}
		for kd := dLo; kd < dHi; kd++ {
			for kh := hLo; kh < hHi; kh++ {
				d, h := dIn+(kd-dLo)*c.Dilation[0], hIn+(kh-hLo)*c.Dilation[1]
				at := ((d*c.In[1]+h)*c.In[2] + wIn) * c.out
				tap := ((kd*c.Kernel[1]+kh)*c.Kernel[2] + wLo) * c.filterOut
				for range runs {
					addTo(y[at:][:size], patch[tap:][:size])
					at += c.Dilation[2] * c.out
					tap += size
				}
			}
		}
	}
}

// addTo adds x to y.
func addTo(y, x []float32) {
	if len(y) >= 16 {
		elem.Add(y, y, x, 1, 1)
		return
	}
	for i, v := range x {
		y[i] += v
	}
}
