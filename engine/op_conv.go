package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/onnx"
)

var convOps = []op{
	{"", "Conv", 1, 0, half(makeConv)},
	{msDomain, "FusedConv", 1, 0, half(makeConv)},
	{"", "ConvTranspose", 1, 0, half(makeConvTranspose)},
}

// convShape is what a convolution knows of its operands in a run.
type convShape struct {
	conv.Geometry
	batch, in, out, groups int
	filterIn, filterOut    int // channels of a group
	spatial                int
	depthwise              bool
}

// set takes the dims of X and W and checks them.
func (s *convShape) set(r *run, w *window, groups int, x, f []int64) {
	if len(x) < 3 || len(f) != len(x) {
		r.failf("X of shape %v and W of shape %v do not make a convolution: %w", clone(x), clone(f), onnx.ErrBadModel)
	}
	if w.kernel != nil && !equalDims(w.kernel, f[2:]) {
		r.failf("kernel_shape %v, but W has shape %v: %w", w.kernel, clone(f), onnx.ErrBadModel)
	}
	s.Geometry = w.geometry(r, x[2:], f[2:])
	s.batch, s.in, s.out, s.groups, s.spatial = int(x[0]), int(x[1]), int(f[0]), groups, len(x)-2
	if !divides(groups, x[1]) || !divides(groups, f[0]) || int(f[1]) != s.in/groups {
		r.failf("X of shape %v, W of shape %v and group %d do not make a convolution: %w", clone(x), clone(f), groups, onnx.ErrBadModel)
	}
	s.filterIn, s.filterOut = s.in/groups, s.out/groups
	s.depthwise = groups > 1 && s.filterIn == 1 && s.filterOut == 1
}

// divides reports whether so many groups can be made of channels. 0 channels are one group, not any number of them.
func divides(groups int, channels int64) bool {
	return groups >= 1 && int64(groups) <= max(channels, 1) && channels%int64(groups) == 0
}

func equalDims(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i, d := range a {
		if d != b[i] {
			return false
		}
	}
	return true
}

// convF32 is the float32 convolution: channels-last inside, where every group is a matrix product of windows and filters,
// and a depthwise one is a sum over taps.
type convF32 struct {
	convShape
	act  activation
	bias []float32

	filters filtersF32  // of the constant W
	dynamic *filtersF32 // of a W that a run gave
	now     *filtersF32

	x, y            []float32 // [batch, pixels, channels]
	planes          []float32 // Y with channels first, where y is not wanted
	inLast, outLast bool
	step, blocks    int // output pixels, or lines, of a task, and the tasks of a group and picture
	body            func(i int)
	flip            flip[float32]
}

// filtersF32 is W, packed.
type filtersF32 struct {
	panels []*gemm.PanelsF32 // by group
	taps   []float32         // depthwise: [taps, channels]
	buffer []float32
}

// pack packs W [out, in/groups, taps].
func (f *filtersF32) pack(w []float32, out, in, taps, groups int) {
	if in == 1 && out == groups && groups > 1 {
		f.taps = grown(f.taps, len(w))
		transpose(f.taps, w, out, taps)
		return
	}
	k, n := in*taps, out/groups
	for len(f.panels) < groups {
		f.panels = append(f.panels, new(gemm.PanelsF32))
	}
	f.buffer = grown(f.buffer, len(w))
	for o := range out {
		transpose(f.buffer[o*k:][:k], w[o*k:][:k], in, taps)
	}
	for g := range groups {
		f.panels[g].Repack(f.buffer[g*n*k:][:n*k], k, n, k, true)
	}
}

// constantFilters has W packed where it is a constant, and returns it then, else nil. W has groups along its first axis.
func constantFilters(b *builder, n *onnx.Node, groups int, pack func(w []float32, first, second, taps, groups int)) (*onnx.Tensor, error) {
	t := b.constant(n.Input(1))
	if t == nil || !isFloat32(t) || t.Rank() < 3 || !divides(groups, t.Dims[0]) {
		return nil, nil
	}
	w, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	pack(w, int(t.Dims[0]), int(t.Dims[1]), int(onnx.NumElements(t.Dims[2:])), groups)
	return t, nil
}

func makeConv(b *builder, n *onnx.Node) (kernel, error) {
	w, err := readWindow(n)
	if err != nil {
		return nil, err
	}
	c := &convF32{inLast: b.channelsLast(n.Input(0)), outLast: b.channelsLast(n.Output(0))}
	if c.act, err = readActivation(n); err != nil {
		return nil, err
	}
	if n.Input(3) != nil {
		return nil, fmt.Errorf("the input Z is %w", ErrUnsupported)
	}
	groups := int(n.Int("group", 1))
	source, err := constantFilters(b, n, groups, c.filters.pack)
	if err != nil {
		return nil, err
	}
	c.filters.buffer = nil
	return func(r *run) error {
		x, f := r.in(0), r.in(1)
		if x.Type == onnx.Float64 && f.Type == onnx.Float64 {
			return plainConv(r, &w, groups)
		}
		if x.Type != onnx.Float32 || f.Type != onnx.Float32 {
			return fmt.Errorf("X of %s and W of %s are %w", x.Type, f.Type, ErrUnsupported)
		}
		c.convShape.set(r, &w, groups, r.firstDims(x.Dims, c.inLast), f.Dims)
		c.bias = nil
		if r.in(2) != nil {
			if c.bias = onnx.Data[float32](r.in(2)); len(c.bias) != c.out {
				return fmt.Errorf("B has %d elements, W %d filters: %w", len(c.bias), c.out, onnx.ErrBadModel)
			}
		}
		c.now = &c.filters
		if !r.isConst(1, source) {
			if c.dynamic == nil {
				c.dynamic = new(filtersF32)
			}
			c.now = c.dynamic
			c.now.pack(onnx.Data[float32](f), c.out, c.filterIn, c.Taps(), groups)
		}
		c.run(r, onnx.Data[float32](x))
		return nil
	}, nil
}

// firstDims returns the dims that x has with channels first.
func (r *run) firstDims(x []int64, last bool) []int64 {
	if !last || len(x) < 3 {
		return x
	}
	d := r.shape(len(x))
	d[0], d[1] = x[0], x[len(x)-1]
	copy(d[2:], x[1:len(x)-1])
	return d
}

// lastDims is the inverse of firstDims.
func (r *run) lastDims(x []int64, last bool) []int64 {
	if !last || len(x) < 3 {
		return x
	}
	d := r.shape(len(x))
	d[0], d[len(x)-1] = x[0], x[1]
	copy(d[1:], x[2:])
	return d
}

func (c *convF32) run(r *run, x []float32) {
	y := onnx.Data[float32](r.out(0, onnx.Float32, r.lastDims(r.spatialOut(int64(c.batch), int64(c.out), &c.Geometry, c.spatial), c.outLast)...))
	c.x = c.flip.toLast(r, x, c.batch, c.in, c.Inputs(), c.inLast)
	pixels := c.Pixels()
	first := !c.outLast && c.out > 1 && pixels > 1 // else both layouts are one
	c.y, c.planes = y, nil
	tasks := c.batch
	if c.depthwise {
		if first {
			c.y = scratch[float32](r, len(y))
		}
		c.split(r, c.Out[0]*c.Out[1], 1)
	} else {
		if first {
			c.y, c.planes = nil, y
		}
		rows := 64
		if k := c.filterIn * c.Taps(); k > 0 {
			rows = max(32<<10/k, 16)
		}
		c.split(r, pixels, min(rows, 1024))
		tasks *= c.groups
	}
	if c.body == nil {
		c.body = c.task
	}
	r.each(tasks*c.blocks, c.body)
	if c.depthwise && first {
		c.flip.toFirst(r, y, c.y, c.batch, c.out, pixels)
	}
	c.x, c.y, c.planes, c.bias = nil, nil, nil, nil
}

// split cuts n pixels or lines into tasks of at most step, and no fewer than keep all workers busy.
func (c *convF32) split(r *run, n, step int) {
	if c.depthwise {
		step = max((n+8*r.threads()-1)/(8*r.threads()), 1)
		if r.threads() == 1 {
			step = max(n, 1)
		}
	} else if t := r.threads(); t > 1 {
		step = min(step, max((n+4*t-1)/(4*t), 16))
	}
	c.step, c.blocks = step, (n+step-1)/step
}

func (c *convF32) task(i int) {
	block := i % c.blocks
	i /= c.blocks
	lo := block * c.step
	if c.depthwise {
		lines := c.Out[0] * c.Out[1]
		hi := min(lo+c.step, lines)
		y := c.y[i*c.Pixels()*c.out:][:c.Pixels()*c.out]
		conv.DepthwiseF32(y, c.x[i*c.Inputs()*c.in:], c.now.taps, c.bias, c.out, &c.Geometry, lo, hi)
		c.act.apply(y[lo*c.Out[2]*c.out : hi*c.Out[2]*c.out])
		return
	}
	group, picture := i%c.groups, i/c.groups
	pixels := c.Pixels()
	hi := min(lo+c.step, pixels)
	x := c.x[picture*c.Inputs()*c.in:][:c.Inputs()*c.in]
	w := takeWorker()
	p := &w.f32
	*p = gemm.F32{M: hi - lo, B: c.now.panels[group]}
	if c.Pointwise() {
		p.A, p.LDA = x[lo*c.in+group*c.filterIn:], c.in
	} else {
		k := c.filterIn * c.Taps()
		w.rows = grown(w.rows, (hi-lo)*k)
		conv.Rows(w.rows, k, x, c.in, group*c.filterIn, c.filterIn, &c.Geometry, lo, hi, 0)
		p.A, p.LDA = w.rows, k
	}
	if c.bias != nil {
		p.Bias = c.bias[group*c.filterOut:][:c.filterOut]
	}
	w.tail = tailF32{act: c.act}
	if c.planes != nil {
		w.tail.planes, w.tail.plane = c.planes[(picture*c.out+group*c.filterOut)*pixels+lo:], pixels
	} else {
		p.C, p.LDC = c.y[(picture*pixels+lo)*c.out+group*c.filterOut:], c.out
	}
	if c.planes != nil || c.act.kind != "" {
		p.Epilogue = &w.tail
	}
	p.Run(gemm.Region{M1: hi - lo, N1: c.filterOut}, &w.gemm)
	w.release()
}

// flippable is what a flip moves, by size.
type flippable interface {
	float32 | uint8 | int32 | uint16 | uint32
}

// flip changes between channels first and channels last.
type flip[T flippable] struct {
	dst, src      []T
	rows, columns int // of a picture
	blocks        int
	body          func(i int)
}

// toLast returns x [batch, channels, pixels] as [batch, pixels, channels]: x itself where that is how it lies.
func (f *flip[T]) toLast(r *run, x []T, batch, channels, pixels int, already bool) []T {
	if already || channels == 1 || pixels == 1 {
		return x
	}
	dst := scratch[T](r, batch*channels*pixels)
	f.run(r, dst, x, batch, channels, pixels)
	return dst
}

// toFirst writes x [batch, pixels, channels] to dst [batch, channels, pixels].
func (f *flip[T]) toFirst(r *run, dst, x []T, batch, channels, pixels int) {
	f.run(r, dst, x, batch, pixels, channels)
}

func (f *flip[T]) run(r *run, dst, src []T, batch, rows, columns int) {
	f.dst, f.src, f.rows, f.columns = dst, src, rows, columns
	const block = 256
	f.blocks = (columns + block - 1) / block
	if f.body == nil {
		f.body = func(i int) {
			picture, j0 := i/f.blocks, i%f.blocks*block
			conv.Transpose(f.dst[picture*f.rows*f.columns:], f.src[picture*f.rows*f.columns:], f.rows, f.columns, j0, min(j0+block, f.columns))
		}
	}
	r.each(batch*f.blocks, f.body)
	f.dst, f.src = nil, nil
}

// plainConv is a float64 convolution, by the definition.
func plainConv(r *run, w *window, groups int) error {
	var s convShape
	x, f := r.in(0), r.in(1)
	s.set(r, w, groups, x.Dims, f.Dims)
	y := onnx.Data[float64](r.out(0, onnx.Float64, r.spatialOut(int64(s.batch), int64(s.out), &s.Geometry, s.spatial)...))
	xs, fs := onnx.Data[float64](x), onnx.Data[float64](f)
	for i := range y {
		pixel, plane := i%s.Pixels(), i/s.Pixels()
		o, picture := plane%s.out, plane/s.out
		sum := 0.0
		s.Window(pixel, func(tap, in int) {
			for c := range s.filterIn {
				channel := o/s.filterOut*s.filterIn + c
				sum += float64(xs[(picture*s.in+channel)*s.Inputs()+in] * fs[(o*s.filterIn+c)*s.Taps()+tap])
			}
		})
		if b := r.in(2); b != nil {
			sum += onnx.Data[float64](b)[o]
		}
		y[i] = sum
	}
	return nil
}
