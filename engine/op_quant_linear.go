package engine

import (
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/kernels/minifloat"
	"github.com/zqonnx/zqonnx/kernels/quant"
	"github.com/zqonnx/zqonnx/onnx"
)

var quantOps = []op{
	{"", "QuantizeLinear", 10, 0, makeQuantizeLinear},
	{"", "DequantizeLinear", 10, 0, makeDequantizeLinear},
	{msDomain, "QuantizeLinear", 1, 0, makeQuantizeLinear},
	{msDomain, "DequantizeLinear", 1, 0, makeDequantizeLinear},
	{"", "DynamicQuantizeLinear", 11, 0, makeDynamicQuantizeLinear},
}

// affine says which scale and zero point an element has: element (outer, a, inner) around the quantized axis has number
// outer·stepOuter + a/block·stepAxis + inner·stepInner. Per tensor all steps are 0.
type affine struct {
	axis, block                    int64 // attributes
	outer, along, inner            int
	run                            int // consecutive elements with one scale
	stepOuter, stepAxis, stepInner int
}

func readAffine(n *onnx.Node) affine {
	return affine{axis: n.Int("axis", 1), block: n.Int("block_size", 0)}
}

// set resolves the layout for the shapes of x and of its scale.
func (q *affine) set(x, scale, zero *onnx.Tensor) error {
	bad := func(why string) error {
		return fmt.Errorf("scale of shape %v does not fit X of shape %v with axis %d, block size %d: %s: %w",
			scale.Dims, x.Dims, q.axis, q.block, why, onnx.ErrBadModel)
	}
	if zero != nil && zero.Len() != scale.Len() {
		return fmt.Errorf("scale of shape %v and zero point of shape %v differ: %w", scale.Dims, zero.Dims, onnx.ErrBadModel)
	}
	q.outer, q.along, q.inner = 1, 1, x.Len()
	q.stepOuter, q.stepAxis, q.stepInner, q.run = 0, 0, 0, x.Len()
	if scale.Len() == 1 && (q.block == 0 || scale.Rank() == 0) {
		return nil
	}
	axis := int(q.axis)
	if axis < 0 {
		axis += x.Rank()
	}
	if axis < 0 || axis >= x.Rank() {
		return bad("no such axis")
	}
	q.outer, q.along, q.inner = int(onnx.NumElements(x.Dims[:axis])), int(x.Dims[axis]), int(onnx.NumElements(x.Dims[axis+1:]))
	if q.block == 0 {
		if scale.Rank() != 1 || scale.Len() != q.along {
			return bad("one scale for each index of the axis is needed")
		}
		q.stepAxis, q.run = 1, q.inner
		return nil
	}
	if q.block < 0 || scale.Rank() != x.Rank() {
		return bad("blocks need a scale of X's rank")
	}
	blocks := (q.along + int(q.block) - 1) / int(q.block)
	for i, d := range scale.Dims {
		if i == axis && d != int64(blocks) || i != axis && d != x.Dims[i] {
			return bad("its dimensions must be X's, divided by the block size along the axis")
		}
	}
	q.stepOuter, q.stepAxis, q.stepInner, q.run = blocks*q.inner, q.inner, 1, 1
	return nil
}

// each calls f for runs of elements lo … hi-1 that share parameter p.
func (q *affine) each(f func(lo, hi, p int)) {
	if q.outer*q.along*q.inner == 0 {
		return
	}
	if q.stepAxis == 0 {
		f(0, q.inner, 0)
		return
	}
	block := max(int(q.block), 1)
	for o := range q.outer {
		for a := 0; a < q.along; {
			at, p := (o*q.along+a)*q.inner, o*q.stepOuter+a/block*q.stepAxis
			switch {
			case q.stepInner == 0:
				f(at, at+q.inner, p)
				a++
			case q.inner == 1: // blocks along the last axis
				end := min((a/block+1)*block, q.along)
				f(at, at+end-a, p)
				a = end
			default:
				for i := range q.inner {
					f(at+i, at+i+1, p+i)
				}
				a++
			}
		}
	}
}

// codeTypes are the integer types a value is quantized to: their limits.
var codeTypes = map[onnx.DataType][2]int32{
	onnx.Uint8: {0, 255}, onnx.Int8: {-128, 127}, onnx.Uint16: {0, 65535}, onnx.Int16: {-32768, 32767},
	onnx.Uint4: {0, 15}, onnx.Int4: {-8, 7}, onnx.Uint2: {0, 3}, onnx.Int2: {-2, 1},
}

// smallFloats are the floating-point types a value is quantized to.
var smallFloats = map[onnx.DataType]minifloat.Format{
	onnx.Float8E4M3FN: minifloat.Float8E4M3FN, onnx.Float8E4M3FNUZ: minifloat.Float8E4M3FNUZ, onnx.Float8E5M2: minifloat.Float8E5M2,
	onnx.Float8E5M2FNUZ: minifloat.Float8E5M2FNUZ, onnx.Float4E2M1: minifloat.Float4E2M1,
}

func makeQuantizeLinear(b *builder, n *onnx.Node) (kernel, error) {
	q := readAffine(n)
	saturate := n.Int("saturate", 1) != 0
	want := onnx.DataType(n.Int("output_dtype", 0))
	var x []float32
	var codes []uint8
	var scale float32
	var zero int32
	var signed bool
	body := func(lo, hi int) { quant.Quantize(codes[lo:hi], x[lo:hi], scale, zero, signed) }
	var scales []float32
	var zeros zeroPoints
	runs := func(lo, hi, p int) { quant.Quantize(codes[lo:hi], x[lo:hi], scales[p], zeros.at(p), signed) }
	return func(r *run) error {
		tx, ts, tz := r.in(0), r.in(1), r.in(2)
		if err := q.set(tx, ts, tz); err != nil {
			return err
		}
		dt := want
		switch {
		case tz != nil:
			dt = tz.Type
		case dt == onnx.Undefined:
			dt = onnx.Uint8
		}
		y := r.out(0, dt, tx.Dims...)
		if (dt == onnx.Uint8 || dt == onnx.Int8) && tx.Type == onnx.Float32 && ts.Type == onnx.Float32 {
			x, codes, signed = onnx.Data[float32](tx), onnx.Data[uint8](y), dt == onnx.Int8
			scales = onnx.Data[float32](ts)
			zeros.set(tz)
			if q.stepAxis == 0 {
				scale, zero = scales[0], zeros.at(0)
				r.par(len(x), 4096, body)
			} else {
				q.each(runs)
			}
			x, codes, scales = nil, nil, nil
			return nil
		}
		return quantizeAny(y, tx, ts, tz, &q, saturate)
	}, nil
}

// zeroPoints reads a tensor of zero points; without one they are 0.
type zeroPoints struct {
	t     *onnx.Tensor
	bytes []uint8
}

func (z *zeroPoints) set(t *onnx.Tensor) {
	z.t, z.bytes = t, nil
	if t != nil {
		z.bytes = t.Bytes()
	}
}

func (z *zeroPoints) at(i int) int32 {
	if z.t == nil {
		return 0
	}
	return codeAt(z.t.Type, z.bytes, i)
}

// codeAt returns integer code i of a tensor's bytes.
func codeAt(dt onnx.DataType, b []uint8, i int) int32 {
	switch dt {
	case onnx.Uint8:
		return int32(b[i])
	case onnx.Int8:
		return int32(int8(b[i]))
	case onnx.Uint16:
		return int32(b[2*i]) | int32(b[2*i+1])<<8
	case onnx.Int16:
		return int32(int16(uint16(b[2*i]) | uint16(b[2*i+1])<<8))
	case onnx.Int32:
		return int32(uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24)
	case onnx.Uint4, onnx.Float4E2M1:
		return int32(b[i/2] >> (i % 2 * 4) & 15)
	case onnx.Int4:
		return int32(int8(b[i/2]>>(i%2*4)<<4) >> 4)
	case onnx.Uint2:
		return int32(b[i/4] >> (i % 4 * 2) & 3)
	case onnx.Int2:
		return int32(int8(b[i/4]>>(i%4*2)<<6) >> 6)
	}
	return int32(b[i])
}

// setCode stores code i; packed bytes must start as 0.
func setCode(dt onnx.DataType, b []uint8, i int, v int32) {
	switch dt.Bits() {
	case 8:
		b[i] = uint8(v)
	case 16:
		b[2*i], b[2*i+1] = uint8(v), uint8(v>>8)
	case 4:
		b[i/2] |= uint8(v&15) << (i % 2 * 4)
	case 2:
		b[i/4] |= uint8(v&3) << (i % 4 * 2)
	}
}

// quantizeAny quantizes between any types the standard allows.
func quantizeAny(y, tx, ts, tz *onnx.Tensor, q *affine, saturate bool) error {
	x, err := tx.Float32s()
	if err != nil {
		return err
	}
	scales, err := scaleFloats(ts)
	if err != nil {
		return err
	}
	limits, isInt := codeTypes[y.Type]
	float, isFloat := smallFloats[y.Type]
	if !isInt && !isFloat {
		return fmt.Errorf("codes of %s are %w", y.Type, ErrUnsupported)
	}
	out := y.Bytes()
	clear(out)
	var zeros zeroPoints
	zeros.set(tz)
	q.each(func(lo, hi, p int) {
		s := scales[p]
		if !isInt {
			for i := lo; i < hi; i++ {
				v := x[i] / s
				if v == 0 { // adding the zero point leaves no -0
					v = 0
				}
				setCode(y.Type, out, i, int32(float.Encode(float64(v), saturate)))
			}
			return
		}
		zero := zeros.at(p)
		for i := lo; i < hi; i++ {
			v := math.RoundToEven(float64(x[i]/s)) + float64(zero)
			if !(v > float64(limits[0])) {
				v = float64(limits[0])
			}
			setCode(y.Type, out, i, int32(min(v, float64(limits[1]))))
		}
	})
	return nil
}

// scaleFloats returns scales as float32.
func scaleFloats(t *onnx.Tensor) ([]float32, error) {
	if t.Type == onnx.Float8E8M0 {
		s := make([]float32, t.Len())
		for i, b := range t.Bytes() {
			s[i] = float32(minifloat.DecodeE8M0(b))
		}
		return s, nil
	}
	return t.Float32s()
}

func makeDequantizeLinear(b *builder, n *onnx.Node) (kernel, error) {
	q := readAffine(n)
	want := onnx.DataType(n.Int("output_dtype", 0))
	var y []float32
	var codes []uint8
	var scale float32
	var zero int32
	var signed bool
	body := func(lo, hi int) { quant.Dequantize(y[lo:hi], codes[lo:hi], scale, zero, signed) }
	var scales []float32
	var zeros zeroPoints
	runs := func(lo, hi, p int) { quant.Dequantize(y[lo:hi], codes[lo:hi], scales[p], zeros.at(p), signed) }
	return func(r *run) error {
		tx, ts, tz := r.in(0), r.in(1), r.in(2)
		if err := q.set(tx, ts, tz); err != nil {
			return err
		}
		dt := want
		if dt == onnx.Undefined {
			dt = ts.Type
		}
		t := r.out(0, dt, tx.Dims...)
		if (tx.Type == onnx.Uint8 || tx.Type == onnx.Int8) && dt == onnx.Float32 && ts.Type == onnx.Float32 {
			codes, y, signed = onnx.Data[uint8](tx), onnx.Data[float32](t), tx.Type == onnx.Int8
			scales = onnx.Data[float32](ts)
			zeros.set(tz)
			if q.stepAxis == 0 {
				scale, zero = scales[0], zeros.at(0)
				r.par(len(y), 4096, body)
			} else {
				q.each(runs)
			}
			y, codes, scales = nil, nil, nil
			return nil
		}
		return dequantizeAny(t, tx, ts, tz, &q)
	}, nil
}

func dequantizeAny(t, tx, ts, tz *onnx.Tensor, q *affine) error {
	scales, err := scaleFloats(ts)
	if err != nil {
		return err
	}
	_, isInt := codeTypes[tx.Type]
	isInt = isInt || tx.Type == onnx.Int32
	float, isFloat := smallFloats[tx.Type]
	if !isInt && !isFloat {
		return fmt.Errorf("codes of %s are %w", tx.Type, ErrUnsupported)
	}
	y := make([]float32, tx.Len())
	if t.Type == onnx.Float32 {
		y = onnx.Data[float32](t)
	}
	codes := tx.Bytes()
	var zeros zeroPoints
	zeros.set(tz)
	q.each(func(lo, hi, p int) {
		for i := lo; i < hi; i++ {
			v := codeAt(tx.Type, codes, i)
			if isInt {
				y[i] = float32(v-zeros.at(p)) * scales[p]
			} else {
				y[i] = float32(float.Decode(uint16(v))) * scales[p]
			}
		}
	})
	switch t.Type {
	case onnx.Float32:
	case onnx.Float16, onnx.BFloat16:
		onnx.SetFloats(t, y)
	default:
		return fmt.Errorf("a result of %s is %w", t.Type, ErrUnsupported)
	}
	return nil
}

// makeDynamicQuantizeLinear gives uint8 codes over the range of X, widened to contain 0.
func makeDynamicQuantizeLinear(b *builder, n *onnx.Node) (kernel, error) {
	var d dynamicQuantizer
	return func(r *run) error {
		x := r.in(0)
		if x.Type != onnx.Float32 {
			return fmt.Errorf("X of %s is %w", x.Type, ErrUnsupported)
		}
		y := r.out(0, onnx.Uint8, x.Dims...)
		scale, zero := d.run(r, onnx.Data[uint8](y), onnx.Data[float32](x))
		onnx.Data[float32](r.out(1, onnx.Float32))[0] = scale
		onnx.Data[uint8](r.out(2, onnx.Uint8))[0] = zero
		return nil
	}, nil
}

// dynamicQuantizer is the computation of DynamicQuantizeLinear.
type dynamicQuantizer struct {
	x      []float32
	y      []uint8
	scale  float32
	zero   uint8
	ranges [][2]float32
	step   int
	least  func(i int)
	body   func(lo, hi int)
}

func (d *dynamicQuantizer) run(r *run, y []uint8, x []float32) (scale float32, zero uint8) {
	d.x, d.y = x, y
	if d.body == nil {
		d.least = func(i int) {
			d.ranges[i][0], d.ranges[i][1] = quant.MinMax(d.x[i*d.step : min((i+1)*d.step, len(d.x))])
		}
		d.body = func(lo, hi int) { quant.Quantize(d.y[lo:hi], d.x[lo:hi], d.scale, int32(d.zero), false) }
	}
	pieces := max(min(r.threads(), len(x)/4096), 1)
	d.step = (len(x) + pieces - 1) / pieces
	d.ranges = grown(d.ranges, pieces)
	r.each(pieces, d.least)
	lo, hi := float32(0), float32(0)
	for _, m := range d.ranges {
		lo, hi = min(lo, m[0]), max(hi, m[1])
	}
	d.scale, d.zero = dynamicParams(lo, hi)
	r.par(len(x), 4096, d.body)
	d.x, d.y = nil, nil
	return d.scale, d.zero
}

// dynamicParams returns scale and zero point for values in [lo, hi], which contains 0.
func dynamicParams(lo, hi float32) (scale float32, zero uint8) {
	if lo == hi {
		return 1, 0
	}
	scale = float32(hi-lo) / 255
	z := 0 - lo/scale
	return scale, uint8(math.RoundToEven(float64(max(0, min(z, 255)))))
}
