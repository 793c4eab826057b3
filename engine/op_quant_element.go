package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/kernels/quant"
	"github.com/zqonnx/zqonnx/onnx"
)

var quantElementOps = []op{
	{msDomain, "QLinearAdd", 1, 0, makeQLinearAdd},
	{msDomain, "QLinearMul", 1, 0, makeQLinearMul},
	{msDomain, "QLinearSigmoid", 1, 0, tableOf(func(*onnx.Node) func(float32) float32 { return mathf.SigmoidOf })},
	{msDomain, "QLinearLeakyRelu", 1, 0, tableOf(func(n *onnx.Node) func(float32) float32 {
		alpha := n.Float("alpha", 0.01)
		return func(v float32) float32 {
			if v >= 0 {
				return v
			}
			return float32(v * alpha)
		}
	})},
	{msDomain, "QLinearConcat", 1, 0, makeQLinearConcat},
	{msDomain, "QLinearWhere", 1, 0, makeQLinearWhere},
	{msDomain, "QLinearSoftmax", 1, 0, makeQLinearSoftmax},
	{msDomain, "QLinearAveragePool", 1, 0, makeQLinearAveragePool},
	{msDomain, "QLinearGlobalAveragePool", 1, 0, makeQLinearGlobalAveragePool},
}

// params reads the scale and zero point that are inputs i and i+1. dt is the type of the codes where the zero point is left out.
func (r *run) params(i int, dt onnx.DataType) (quant.Params, error) {
	s, err := r.oneScale(i)
	if err != nil {
		return quant.Params{}, err
	}
	p := quant.Params{Scale: s, Signed: dt == onnx.Int8}
	if z := r.in(i + 1); z != nil {
		var t onnx.DataType
		if t, p.Zero, err = outputCodes(z); err != nil {
			return p, err
		}
		p.Signed = t == onnx.Int8
	}
	return p, nil
}

// codeType is the element type of codes with these parameters.
func codeType(p quant.Params) onnx.DataType {
	if p.Signed {
		return onnx.Int8
	}
	return onnx.Uint8
}

// makeQLinearAdd and makeQLinearMul take A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point.
func makeQLinearAdd(*builder, *onnx.Node) (kernel, error) {
	return binaryCodes(func(a, b, c quant.Params) func(dst, a, b []uint8, stepA, stepB int) {
		s := quant.NewSum(a.Scale, a.Zero, b.Scale, b.Zero, c.Scale, c.Zero, c.Signed)
		return s.Add
	})
}

func makeQLinearMul(*builder, *onnx.Node) (kernel, error) {
	return binaryCodes(func(a, b, c quant.Params) func(dst, a, b []uint8, stepA, stepB int) {
		p := quant.NewProduct(a.Scale, a.Zero, b.Scale, b.Zero, c.Scale, c.Zero, c.Signed)
		return p.Mul
	})
}

// binaryCodes makes the kernel of an elementwise operator on codes; of gives the loop for the parameters of its operands.
func binaryCodes(of func(a, b, c quant.Params) func(dst, a, b []uint8, stepA, stepB int)) (kernel, error) {
	var (
		last    [3]quant.Params
		loop    func(dst, a, b []uint8, stepA, stepB int)
		cast    broadcast
		y, a, b []uint8
	)
	part := func(o, n int, at [maxOperands]int) {
		loop(y[o:][:n], a[at[0]:], b[at[1]:], cast.step(0), cast.step(1))
	}
	body := func(lo, hi int) { cast.each(lo, hi, part) }
	return func(r *run) error {
		ta, tb := r.in(0), r.in(3)
		var now [3]quant.Params
		var err error
		for i, at := range [3]int{1, 4, 6} {
			if now[i], err = r.params(at, ta.Type); err != nil {
				return err
			}
		}
		if loop == nil || now != last {
			loop, last = of(now[0], now[1], now[2]), now
		}
		if a, _, err = codes8(ta); err != nil {
			return err
		}
		if tb.Type != ta.Type {
			return fmt.Errorf("operands of %s and %s: %w", ta.Type, tb.Type, onnx.ErrBadModel)
		}
		b = tb.Bytes()
		y = r.out(0, ta.Type, cast.shape(r, ta, tb)...).Bytes()
		cast.plan(ta, tb)
		if len(y) > 0 {
			r.par(len(y), grain, body)
		}
		y, a, b = nil, nil, nil
		return nil
	}, nil
}

// codeTable is a function from codes to codes, kept until its parameters change.
type codeTable struct {
	table    [256]uint8
	from, to quant.Params
	made     bool
}

func (t *codeTable) set(from, to quant.Params, f func(float32) float32) {
	if !t.made || t.from != from || t.to != to {
		quant.Table(&t.table, from, to, f)
		t.from, t.to, t.made = from, to, true
	}
}

// tableOf makes the kernel of a function of one code. It takes X, X_scale, X_zero_point, Y_scale, Y_zero_point.
func tableOf(f func(n *onnx.Node) func(float32) float32) maker {
	return func(_ *builder, n *onnx.Node) (kernel, error) {
		var t codeTable
		var y, x []uint8
		fn := f(n)
		body := func(lo, hi int) { quant.Map(y[lo:hi], x[lo:hi], &t.table) }
		return func(r *run) error {
			tx := r.in(0)
			from, err := r.params(1, tx.Type)
			if err != nil {
				return err
			}
			to, err := r.params(3, tx.Type)
			if err != nil {
				return err
			}
			if x, _, err = codes8(tx); err != nil {
				return err
			}
			t.set(from, to, fn)
			y = r.out(0, codeType(to), tx.Dims...).Bytes()
			r.par(len(y), grain, body)
			y, x = nil, nil
			return nil
		}, nil
	}
}

func identity(v float32) float32 { return v }

// makeQLinearConcat takes Y_scale, Y_zero_point, then for each operand codes, scale and zero point.
func makeQLinearConcat(b *builder, n *onnx.Node) (kernel, error) {
	operands := (len(n.Inputs()) - 2) / 3
	if operands < 1 || len(n.Inputs()) != 2+3*operands {
		return nil, fmt.Errorf("%d inputs: %w", len(n.Inputs()), onnx.ErrBadModel)
	}
	tables := make([]codeTable, operands)
	attr := int(n.Int("axis", 0))
	return func(r *run) error {
		first := r.in(2)
		to, err := r.params(0, first.Type)
		if err != nil {
			return err
		}
		axis := attr
		if axis < 0 {
			axis += first.Rank()
		}
		if axis < 0 || axis >= first.Rank() {
			return fmt.Errorf("axis %d of shape %v: %w", attr, first.Dims, onnx.ErrBadModel)
		}
		dims := r.shape(first.Rank())
		copy(dims, first.Dims)
		dims[axis] = 0
		for i := range operands {
			x := r.in(2 + 3*i)
			if x.Rank() != first.Rank() || !equalDims(x.Dims[:axis], first.Dims[:axis]) || !equalDims(x.Dims[axis+1:], first.Dims[axis+1:]) {
				return fmt.Errorf("shapes %v and %v differ beyond axis %d: %w", x.Dims, first.Dims, axis, onnx.ErrBadModel)
			}
			dims[axis] += x.Dims[axis]
		}
		y := r.out(0, codeType(to), dims...).Bytes()
		outer, inner := int(onnx.NumElements(dims[:axis])), int(onnx.NumElements(dims[axis+1:]))
		row, at := int(dims[axis])*inner, 0
		for i := range operands {
			t := r.in(2 + 3*i)
			x, _, err := codes8(t)
			if err != nil {
				return err
			}
			from, err := r.params(3+3*i, t.Type)
			if err != nil {
				return err
			}
			n := int(t.Dims[axis]) * inner
			if from != to {
				tables[i].set(from, to, identity)
			}
			for o := range outer {
				dst, src := y[o*row+at:][:n], x[o*n:][:n]
				if from == to {
					copy(dst, src)
				} else {
					quant.Map(dst, src, &tables[i].table)
				}
			}
			at += n
		}
		return nil
	}, nil
}

// makeQLinearWhere takes condition, X, x_scale, x_zero_point, Y, y_scale, y_zero_point, z_scale, z_zero_point.
func makeQLinearWhere(*builder, *onnx.Node) (kernel, error) {
	var cast broadcast
	var tables [2]codeTable
	return func(r *run) error {
		c, x, y := r.in(0), r.in(1), r.in(4)
		var p [3]quant.Params
		var err error
		for i, at := range [3]int{2, 5, 7} {
			if p[i], err = r.params(at, x.Type); err != nil {
				return err
			}
		}
		xs, _, err := codes8(x)
		if err != nil {
			return err
		}
		ys, _, err := codes8(y)
		if err != nil {
			return err
		}
		for i := range tables {
			tables[i].set(p[i], p[2], identity)
		}
		z := r.out(0, codeType(p[2]), cast.shape(r, c, x, y)...).Bytes()
		cast.plan(c, x, y)
		cs := onnx.Data[bool](c)
		if len(z) == 0 {
			return nil
		}
		cast.each(0, len(z), func(o, n int, at [maxOperands]int) {
			for i := range n {
				if cs[at[0]+i*cast.step(0)] {
					z[o+i] = tables[0].table[xs[at[1]+i*cast.step(1)]]
				} else {
					z[o+i] = tables[1].table[ys[at[2]+i*cast.step(2)]]
				}
			}
		})
		return nil
	}, nil
}

// makeQLinearSoftmax takes X, X_scale, X_zero_point, Y_scale, Y_zero_point.
func makeQLinearSoftmax(_ *builder, n *onnx.Node) (kernel, error) {
	attr, coerced := int(n.Int("axis", -1)), n.Int("opset", 13) < 13
	var (
		table       [256]float32
		scale       float32
		length      int
		to          quant.Params
		signed      bool
		x, y        []uint8
		rows, inner int
	)
	body := func(lo, hi int) {
		for i := lo; i < hi; i++ {
			at := i/inner*length*inner + i%inner
			quant.Softmax(y[at:], x[at:], length, inner, signed, &table, to)
		}
	}
	return func(r *run) error {
		tx := r.in(0)
		from, err := r.params(1, tx.Type)
		if err != nil {
			return err
		}
		if to, err = r.params(3, tx.Type); err != nil {
			return err
		}
		if x, signed, err = codes8(tx); err != nil {
			return err
		}
		axis := attr
		if axis < 0 {
			axis += tx.Rank()
		}
		if axis < 0 || axis >= tx.Rank() {
			return fmt.Errorf("axis %d of shape %v: %w", attr, tx.Dims, onnx.ErrBadModel)
		}
		n := int(tx.Dims[axis])
		inner = int(onnx.NumElements(tx.Dims[axis+1:]))
		if coerced {
			n, inner = n*inner, 1
		}
		if n != length || from.Scale != scale {
			length, scale = n, from.Scale
			quant.SoftmaxTable(&table, scale, n, mathf.Exp64, mathf.Log64)
		}
		y = r.out(0, codeType(to), tx.Dims...).Bytes()
		if rows = len(y) / max(n, 1); rows > 0 {
			r.par(rows, max(4096/n, 1), body)
		}
		x, y = nil, nil
		return nil
	}, nil
}

// makeQLinearAveragePool takes X, x_scale, x_zero_point, y_scale, y_zero_point.
func makeQLinearAveragePool(b *builder, n *onnx.Node) (kernel, error) {
	w, err := readWindow(n)
	if err != nil {
		return nil, err
	}
	if w.kernel == nil {
		return nil, fmt.Errorf("kernel_shape is missing: %w", onnx.ErrBadModel)
	}
	var (
		includePad = n.Int("count_include_pad", 0) != 0
		last       = n.Int("channels_last", 0) != 0 || b.channelsLast(n.Input(0))
		from, to   quant.Params
		x, y       []uint8
		g          conv.Geometry
		channels   int
		values     [256]float32
	)
	body := func(lo, hi int) {
		in, out, step := g.Inputs(), g.Pixels(), 1
		for i := lo; i < hi; i++ {
			plane, pixel := i/out, i%out
			from, at := plane*in, i
			if last { // i counts picture, channel, pixel
				from, step = plane/channels*in*channels+plane%channels, channels
				at = (plane/channels*out+pixel)*channels + plane%channels
			}
			y[at] = averageCode(x[from:], step, &g, pixel, includePad, &values, to)
		}
	}
	return func(r *run) error {
		tx := r.in(0)
		p, err := r.params(1, tx.Type)
		if err != nil {
			return err
		}
		if to, err = r.params(3, tx.Type); err != nil {
			return err
		}
		if x, _, err = codes8(tx); err != nil {
			return err
		}
		if p != from {
			from = p
			for i := range values {
				values[i] = from.Value(uint8(i))
			}
		}
		dims := r.firstDims(tx.Dims, last)
		if len(dims) < 3 {
			return fmt.Errorf("X of shape %v: %w", tx.Dims, onnx.ErrBadModel)
		}
		g = w.geometry(r, dims[2:], w.kernel)
		channels = int(dims[1])
		y = r.out(0, codeType(to), r.lastDims(r.spatialOut(dims[0], dims[1], &g, len(dims)-2), last)...).Bytes()
		r.par(len(y), 1024, body)
		x, y = nil, nil
		return nil
	}, nil
}

// averageCode averages the window of one output pixel in float32.
func averageCode(x []uint8, step int, g *conv.Geometry, pixel int, includePad bool, values *[256]float32, to quant.Params) uint8 {
	var sum float32
	n := 0
	od, oh, ow := g.At(pixel)
	dLo, dHi, dIn := g.Span(0, od)
	hLo, hHi, hIn := g.Span(1, oh)
	wLo, wHi, wIn := g.Span(2, ow)
	for kd := dLo; kd < dHi; kd++ {
		for kh := hLo; kh < hHi; kh++ {
			d, h := dIn+(kd-dLo)*g.Dilation[0], hIn+(kh-hLo)*g.Dilation[1]
			in := (d*g.In[1]+h)*g.In[2] + wIn
			for range wHi - wLo {
				sum += values[x[in*step]]
				in += g.Dilation[2]
				n++
			}
		}
	}
	if includePad {
		n = g.Taps()
	}
	return to.CodeTies(sum / float32(n))
}

// makeQLinearGlobalAveragePool takes X, x_scale, x_zero_point, y_scale, y_zero_point.
func makeQLinearGlobalAveragePool(b *builder, n *onnx.Node) (kernel, error) {
	standard := n.Int("channels_last", 0) != 0
	last, lastOut := standard || b.channelsLast(n.Input(0)), standard || b.channelsLast(n.Output(0))
	var sums []int32
	return func(r *run) error {
		tx := r.in(0)
		from, err := r.params(1, tx.Type)
		if err != nil {
			return err
		}
		to, err := r.params(3, tx.Type)
		if err != nil {
			return err
		}
		x, signed, err := codes8(tx)
		if err != nil {
			return err
		}
		if tx.Rank() < 3 {
			return fmt.Errorf("X of shape %v: %w", tx.Dims, onnx.ErrBadModel)
		}
		dims := r.shape(tx.Rank())
		copy(dims, r.firstDims(tx.Dims, last))
		batch, channels, pixels := int(dims[0]), int(dims[1]), int(onnx.NumElements(dims[2:]))
		for i := range dims[2:] {
			dims[2+i] = 1
		}
		y := r.out(0, codeType(to), r.lastDims(dims, lastOut)...).Bytes()
		sums = grown(sums, batch*channels)
		for i := range sums {
			sums[i] = -from.Zero * int32(pixels)
		}
		flip := uint8(0)
		if signed {
			flip = 0x80
			for i := range sums {
				sums[i] -= 128 * int32(pixels)
			}
		}
		if last {
			for picture := range batch {
				row := sums[picture*channels:][:channels]
				for p := range pixels {
					for c, v := range x[(picture*pixels+p)*channels:][:channels] {
						row[c] += int32(v ^ flip)
					}
				}
			}
		} else {
			for i := range sums {
				var s int32
				for _, v := range x[i*pixels:][:pixels] {
					s += int32(v ^ flip)
				}
				sums[i] += s
			}
		}
		m := r.multipliers(len(y), from.Scale, oneFloat, float32(to.Scale*float32(pixels)))
		quant.Requantize(y, sums, m, to.Zero, to.Signed)
		return nil
	}, nil
}

// oneFloat is a scale that changes nothing.
var oneFloat = []float32{1}
