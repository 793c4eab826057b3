package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/kernels/quant"
	"github.com/zqonnx/zqonnx/onnx"
)

var quantConvOps = []op{
	{"", "ConvInteger", 10, 0, makeConvInteger},
	{"", "QLinearConv", 10, 0, makeQLinearConv},
}

// convInt8 is the integer convolution, channels-last inside like convF32.
type convInt8 struct {
	convShape
	window window
	bias   []int32
	zeroX  []int32 // one, or none for 0
	signed bool

	filters          filtersInt8
	sourceW, sourceZ *onnx.Tensor
	dynamic          *filtersInt8
	now              *filtersInt8

	x               []uint8
	multiplier      []float32
	zero            int32
	signedY         bool
	codes           []uint8 // [batch, pixels, channels], or with channels first if planes
	planes          bool
	sums            []int32 // instead of codes
	inLast, outLast bool
	step, blocks    int
	body            func(i int)
	flip            flip[uint8]
	flipSums        flip[int32]
}

// filtersInt8 is W, packed.
type filtersInt8 struct {
	k      int // of a row of windows: whole groups of 4
	panels []*gemm.PanelsInt8
	taps   []int16 // depthwise: [taps, channels], zero points subtracted, and a row of zeros
	buffer []uint8
	zeros  []int32
}

// pack packs W [out, in/groups, taps] with no, one or out zero points.
func (f *filtersInt8) pack(tw, tz *onnx.Tensor, groups int) error {
	w, signed, err := codes8(tw)
	if err != nil {
		return err
	}
	out, in, taps := int(tw.Dims[0]), int(tw.Dims[1]), int(onnx.NumElements(tw.Dims[2:]))
	f.zeros = zeros32(f.zeros, tz)
	if z := len(f.zeros); z > 1 && z != out {
		return fmt.Errorf("%d zero points for %d filters: %w", z, out, onnx.ErrBadModel)
	}
	zero := func(o int) int32 {
		switch len(f.zeros) {
		case 0:
			return 0
		case 1:
			return f.zeros[0]
		}
		return f.zeros[o]
	}
	if in == 1 && out == groups && groups > 1 {
		f.taps = grown(f.taps, len(w)+out)
		clear(f.taps[len(w):])
		for o := range out {
			for t := range taps {
				f.taps[t*out+o] = int16(codeAt(tw.Type, w, o*taps+t) - zero(o))
			}
		}
		return nil
	}
	n := out / groups
	f.k = in * taps
	if taps > 1 {
		f.k = (f.k + 3) / 4 * 4
	}
	f.buffer = grown(f.buffer, out*f.k)
	for o := range out {
		row := f.buffer[o*f.k:][:f.k]
		transpose(row[:in*taps], w[o*in*taps:][:in*taps], in, taps)
		for i := in * taps; i < f.k; i++ {
			row[i] = uint8(zero(o)) // so that it adds nothing
		}
	}
	for len(f.panels) < groups {
		f.panels = append(f.panels, new(gemm.PanelsInt8))
	}
	for g := range groups {
		zeros := f.zeros
		if len(zeros) > 1 {
			zeros = zeros[g*n:][:n]
		}
		b := f.buffer[g*n*f.k:][:n*f.k]
		if signed {
			f.panels[g].RepackS8(asInt8(b), f.k, n, f.k, true, zeros)
		} else {
			f.panels[g].RepackU8(b, f.k, n, f.k, true, zeros)
		}
	}
	return nil
}

// newConvInt8 reads the attributes, and packs W and its zero point, inputs w and z, if they are constants.
func newConvInt8(b *builder, n *onnx.Node, w, z int) (*convInt8, error) {
	win, err := readWindow(n)
	if err != nil {
		return nil, err
	}
	c := &convInt8{window: win, inLast: b.channelsLast(n.Input(0)), outLast: b.channelsLast(n.Output(0))}
	c.groups = int(n.Int("group", 1))
	tw, tz := b.constant(n.Input(w)), b.constant(n.Input(z))
	if tw != nil && (n.Input(z) == nil || tz != nil) && tw.Rank() >= 3 && divides(c.groups, tw.Dims[0]) {
		if err := c.filters.pack(tw, tz, c.groups); err != nil {
			return nil, err
		}
		c.sourceW, c.sourceZ, c.filters.buffer = tw, tz, nil
	}
	return c, nil
}

// operands takes X and W, with their zero points, as inputs x, zx, w and zw.
func (c *convInt8) operands(r *run, x, zx, w, zw int) (err error) {
	tx, tw := r.in(x), r.in(w)
	if c.x, c.signed, err = codes8(tx); err != nil {
		return err
	}
	c.set(r, &c.window, c.groups, r.firstDims(tx.Dims, c.inLast), tw.Dims)
	if c.zeroX = zeros32(c.zeroX, r.in(zx)); len(c.zeroX) > 1 {
		return fmt.Errorf("a zero point of X for each of %d indices is %w", len(c.zeroX), ErrUnsupported)
	}
	if r.isConst(w, c.sourceW) && r.in(zw) == c.sourceZ {
		c.now = &c.filters
		return nil
	}
	if c.dynamic == nil {
		c.dynamic = new(filtersInt8)
	}
	c.now = c.dynamic
	return c.now.pack(tw, r.in(zw), c.groups)
}

func (c *convInt8) outDims(r *run) []int64 {
	return r.lastDims(r.spatialOut(int64(c.batch), int64(c.out), &c.Geometry, c.spatial), c.outLast)
}

// makeConvInteger takes x, w, x_zero_point, w_zero_point.
func makeConvInteger(b *builder, n *onnx.Node) (kernel, error) {
	c, err := newConvInt8(b, n, 1, 3)
	if err != nil {
		return nil, err
	}
	return func(r *run) error {
		if err := c.operands(r, 0, 2, 1, 3); err != nil {
			return err
		}
		y := onnx.Data[int32](r.out(0, onnx.Int32, c.outDims(r)...))
		c.sums = y
		first := !c.outLast && c.out > 1 && c.Pixels() > 1
		if first {
			c.sums = scratch[int32](r, len(y))
		}
		sums := c.sums
		c.run(r)
		if first {
			c.flipSums.toFirst(r, y, sums, c.batch, c.out, c.Pixels())
		}
		return nil
	}, nil
}

// makeQLinearConv takes x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B.
func makeQLinearConv(b *builder, n *onnx.Node) (kernel, error) {
	c, err := newConvInt8(b, n, 3, 5)
	if err != nil {
		return nil, err
	}
	return func(r *run) error {
		if err := c.operands(r, 0, 2, 3, 5); err != nil {
			return err
		}
		sx, err := r.oneScale(1)
		if err != nil {
			return err
		}
		sy, err := r.oneScale(6)
		if err != nil {
			return err
		}
		sw, err := columnScales(r.in(4), c.out)
		if err != nil {
			return err
		}
		dt, zero, err := outputCodes(r.in(7))
		if err != nil {
			return err
		}
		if t := r.in(8); t != nil {
			if t.Type != onnx.Int32 || t.Len() != c.out {
				return fmt.Errorf("B of %s%v for %d filters: %w", t.Type, t.Dims, c.out, onnx.ErrBadModel)
			}
			c.bias = onnx.Data[int32](t)
		}
		c.multiplier, c.zero, c.signedY = r.multipliers(c.out, sx, sw, sy), zero, dt == onnx.Int8
		y := r.out(0, dt, c.outDims(r)...).Bytes()
		first := !c.outLast && c.out > 1 && c.Pixels() > 1
		c.codes, c.planes = y, first && !c.depthwise
		if first && c.depthwise {
			c.codes = scratch[uint8](r, len(y))
		}
		codes := c.codes
		c.run(r)
		if first && c.depthwise {
			c.flip.toFirst(r, y, codes, c.batch, c.out, c.Pixels())
		}
		return nil
	}, nil
}

// run computes c.codes or c.sums.
func (c *convInt8) run(r *run) {
	c.x = c.flip.toLast(r, c.x, c.batch, c.in, c.Inputs(), c.inLast)
	n, step, tasks := c.Pixels(), 0, c.batch
	if c.depthwise {
		n = c.Out[0] * c.Out[1]
		step = max(16<<10/max(c.Out[2]*c.out, 1), 1)
	} else {
		step = min(max(128<<10/max(c.now.k, 1), 16), 1024)
		tasks *= c.groups
	}
	if t := r.threads(); t > 1 {
		step = min(step, max((n+4*t-1)/(4*t), 1))
	}
	c.step, c.blocks = step, (n+step-1)/step
	if c.body == nil {
		c.body = c.task
	}
	r.each(tasks*c.blocks, c.body)
	c.x, c.codes, c.sums, c.bias, c.multiplier = nil, nil, nil, nil, nil
}

func (c *convInt8) task(i int) {
	block := i % c.blocks
	i /= c.blocks
	lo := block * c.step
	zero := int32(0)
	if len(c.zeroX) > 0 {
		zero = c.zeroX[0]
	}
	w := takeWorker()
	defer w.release()
	pixels := c.Pixels()
	if c.depthwise {
		hi := min(lo+c.step, c.Out[0]*c.Out[1])
		at, n := (i*pixels+lo*c.Out[2])*c.out, (hi-lo)*c.Out[2]*c.out
		var acc []int32
		if c.sums != nil {
			acc = c.sums[at:][:n]
		} else {
			w.sums = grown(w.sums, n)
			acc = w.sums
		}
		conv.DepthwiseU8(acc, c.x[i*c.Inputs()*c.in:], c.signed, zero, c.now.taps, c.bias, c.out, &c.Geometry, lo, hi)
		if c.sums == nil {
			quant.RequantizeRows(c.codes[at:], c.out, acc, c.out, n/max(c.out, 1), c.multiplier, c.zero, c.signedY)
		}
		return
	}
	group, picture := i%c.groups, i/c.groups
	hi := min(lo+c.step, pixels)
	x := c.x[picture*c.Inputs()*c.in:][:c.Inputs()*c.in]
	p := &w.int8
	*p = gemm.Int8{M: hi - lo, B: c.now.panels[group], Signed: c.signed, ZeroA: c.zeroX}
	if c.Pointwise() {
		p.A, p.LDA = x[lo*c.in+group*c.filterIn:], c.in
	} else {
		k := c.now.k
		w.codes = grown(w.codes, (hi-lo)*k)
		conv.Rows(w.codes, k, x, c.in, group*c.filterIn, c.filterIn, &c.Geometry, lo, hi, uint8(zero))
		p.A, p.LDA = w.codes, k
	}
	if c.bias != nil {
		p.Bias = c.bias[group*c.filterOut:][:c.filterOut]
	}
	row := (picture*pixels+lo)*c.out + group*c.filterOut
	if c.sums != nil {
		p.C, p.LDC = c.sums[row:], c.out
	} else {
		t := &w.out
		*t = tailInt8{
			tile: t.tile, multiplier: c.multiplier[group*c.filterOut:][:c.filterOut],
			codes: c.codes[min(row, len(c.codes)):], zero: c.zero, signed: c.signedY, ld: c.out,
		}
		if c.planes {
			t.codes, t.plane = c.codes[(picture*c.out+group*c.filterOut)*pixels+lo:], pixels
		}
		p.Epilogue = t
	}
	p.Run(gemm.Region{M1: hi - lo, N1: c.filterOut}, &w.gemm)
}
