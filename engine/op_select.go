package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/onnx"
)

var selectOps = []op{
	{"", "Where", 9, 0, makeWhere},
	{"", "Clip", 1, 0, half(makeClip)},
	{"", "PRelu", 1, 6, channelSlope(binary(prelu()))},
	{"", "PRelu", 7, 0, binary(prelu())},
	{"", "NonZero", 9, 0, makeNonZero},
	{"", "Compress", 9, 0, makeCompress},
	{"", "Trilu", 14, 0, makeTrilu},
}

// makeWhere takes elements of any type from one of two tensors.
func makeWhere(*builder, *onnx.Node) (kernel, error) {
	var c broadcast
	var y, cond, a, b *onnx.Tensor
	loop := func(lo, hi int) {
		switch y.Type.Bits() {
		case 0:
			choose(&c, y.Strings(), onnx.Data[bool](cond), a.Strings(), b.Strings(), lo, hi)
		case 8:
			choose(&c, raw[uint8](y), onnx.Data[bool](cond), raw[uint8](a), raw[uint8](b), lo, hi)
		case 16:
			choose(&c, raw[uint16](y), onnx.Data[bool](cond), raw[uint16](a), raw[uint16](b), lo, hi)
		case 32:
			choose(&c, raw[uint32](y), onnx.Data[bool](cond), raw[uint32](a), raw[uint32](b), lo, hi)
		case 64:
			choose(&c, raw[uint64](y), onnx.Data[bool](cond), raw[uint64](a), raw[uint64](b), lo, hi)
		}
	}
	return func(r *run) error {
		cond, a, b = r.in(0), r.in(1), r.in(2)
		if cond.Type != onnx.Bool || a.Type != b.Type {
			return fmt.Errorf("operands of %s, %s and %s: %w", cond.Type, a.Type, b.Type, onnx.ErrBadModel)
		}
		if n := a.Type.Bits(); a.Type != onnx.String && (n < 8 || n > 64) {
			return fmt.Errorf("elements of %s are %w", a.Type, ErrUnsupported)
		}
		y = r.out(0, a.Type, c.shape(r, cond, a, b)...)
		if c.plan(cond, a, b); c.len() > 0 {
			r.par(c.len(), grain, loop)
		}
		y, cond, a, b = nil, nil, nil, nil
		return nil
	}, nil
}

func choose[T any](c *broadcast, y []T, cond []bool, a, b []T, lo, hi int) {
	sc, sa, sb := c.step(0), c.step(1), c.step(2)
	c.each(lo, hi, func(o, n int, at [maxOperands]int) {
		k, i, j := at[0], at[1], at[2]
		for d := range y[o : o+n] {
			if cond[k] {
				y[o+d] = a[i]
			} else {
				y[o+d] = b[j]
			}
			k, i, j = k+sc, i+sa, j+sb
		}
	})
}

// makeClip takes the limits from attributes (before opset 11) or inputs.
func makeClip(_ *builder, n *onnx.Node) (kernel, error) {
	var x, y, least, most *onnx.Tensor
	if a := n.Attr("min"); a != nil {
		least = onnx.Scalar(a.Float)
	}
	if a := n.Attr("max"); a != nil {
		most = onnx.Scalar(a.Float)
	}
	var clip func(lo, hi int)
	bodies := map[onnx.DataType]func(lo, hi int){}
	limits := [2]*onnx.Tensor{}
	addClip[float32](bodies, &x, &y, &limits)
	addClip[float64](bodies, &x, &y, &limits)
	addClip[int8](bodies, &x, &y, &limits)
	addClip[int16](bodies, &x, &y, &limits)
	addClip[int32](bodies, &x, &y, &limits)
	addClip[int64](bodies, &x, &y, &limits)
	addClip[uint8](bodies, &x, &y, &limits)
	addClip[uint16](bodies, &x, &y, &limits)
	addClip[uint32](bodies, &x, &y, &limits)
	addClip[uint64](bodies, &x, &y, &limits)
	return func(r *run) error {
		x = r.in(0)
		if clip = bodies[x.Type]; clip == nil {
			return fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
		}
		limits = [2]*onnx.Tensor{least, most}
		for i := range limits {
			if t := r.in(1 + i); t != nil && t.Len() > 0 {
				limits[i] = t
			}
			if t := limits[i]; t != nil && (t.Type != x.Type || t.Len() != 1) {
				return fmt.Errorf("limit %s%v for elements of %s: %w", t.Type, t.Dims, x.Type, onnx.ErrBadModel)
			}
		}
		y = r.out(0, x.Type, x.Dims...)
		r.par(x.Len(), grain, clip)
		x, y, limits = nil, nil, [2]*onnx.Tensor{}
		return nil
	}, nil
}

func addClip[T number](m map[onnx.DataType]func(lo, hi int), x, y **onnx.Tensor, limits *[2]*onnx.Tensor) {
	m[onnx.Of([]T{0}).Type] = func(lo, hi int) {
		dst, src := onnx.Data[T](*y)[lo:hi], onnx.Data[T](*x)[lo:hi]
		switch a, b := limits[0], limits[1]; {
		case a != nil && b != nil:
			elem.Clip(dst, src, onnx.Data[T](a)[0], onnx.Data[T](b)[0])
		case a != nil:
			elem.AtLeast(dst, src, onnx.Data[T](a)[0])
		case b != nil:
			elem.AtMost(dst, src, onnx.Data[T](b)[0])
		default:
			copy(dst, src)
		}
	}
}

// channelSlope gives a slope of one dimension to the channels, axis 1, as opsets before 7 do.
func channelSlope(m maker) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		k, err := m(b, n)
		if err != nil {
			return nil, err
		}
		return func(r *run) error {
			if x, s := r.in(0), r.in(1); s.Rank() == 1 && x.Rank() > 2 && s.Len() > 1 {
				dims := make([]int64, x.Rank()-1)
				for i := range dims {
					dims[i] = 1
				}
				dims[0] = s.Dims[0]
				r.inputs[1] = s.Reshaped(dims...)
			}
			return k(r)
		}, nil
	}
}

// prelu is x, times the slope below 0.
func prelu() binaryTypes {
	return arithmetic(
		elem.Lift(func(x, s float32) float32 {
			if x < 0 {
				x *= s
			}
			return x
		}),
		elem.Lift(func(x, s float64) float64 {
			if x < 0 {
				x *= s
			}
			return x
		}),
		func(x, s int64) int64 {
			if x < 0 {
				x *= s
			}
			return x
		},
		func(x, _ uint64) uint64 { return x })
}

// makeNonZero lists the indices of elements that are not 0, one column an element.
func makeNonZero(*builder, *onnx.Node) (kernel, error) {
	var found []int64
	return func(r *run) error {
		x := r.in(0)
		if !castable(x.Type) || x.Type == onnx.String {
			return fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
		}
		found = found[:0]
		var set [256]bool
		for at, n := 0, x.Len(); at < n; at += len(set) {
			k := min(len(set), n-at)
			truths(set[:k], x, at)
			for i, v := range set[:k] {
				if v {
					found = append(found, int64(at+i))
				}
			}
		}
		rank := max(x.Rank(), 1)
		k := len(found)
		y := onnx.Data[int64](r.out(0, onnx.Int64, int64(rank), int64(k)))
		for j, i := range found {
			for d := rank - 1; d >= 0; d-- {
				size := int64(1)
				if x.Rank() > 0 {
					size = x.Dims[d]
				}
				y[d*k+j] = i % size
				i /= size
			}
		}
		return nil
	}, nil
}

// truths says which elements of x from at on are not 0; at most 256.
func truths(d []bool, x *onnx.Tensor, at int) {
	if isFloating(x.Type) {
		var v [256]float64
		loadFloats(v[:len(d)], x, at)
		for i := range d {
			d[i] = v[i] != 0
		}
		return
	}
	var v [256]int64
	loadInts(v[:len(d)], x, at)
	for i := range d {
		d[i] = v[i] != 0
	}
}

// makeCompress keeps the slices along an axis (of the flattened tensor without axis) whose condition holds.
func makeCompress(_ *builder, n *onnx.Node) (kernel, error) {
	var m mover
	return func(r *run) error {
		x, cond := r.in(0), onnx.Data[bool](r.in(1))
		dims := append(r.shape(max(x.Rank(), 1))[:0], x.Dims...)
		axis := 0
		if n.Attr("axis") == nil {
			dims = append(dims[:0], int64(x.Len()))
		} else {
			axis = r.axisOf(n.Int("axis", 0), x.Rank())
		}
		d := int(dims[axis])
		if len(cond) > d {
			return fmt.Errorf("a condition of %d for %d slices", len(cond), d)
		}
		outer, inner := product(dims[:axis]), product(dims[axis+1:])
		kept := 0
		for _, c := range cond {
			if c {
				kept++
			}
		}
		dims[axis] = int64(kept)
		y := r.out(0, x.Type, dims...)
		k := 0
		for i, c := range cond {
			if !c {
				continue
			}
			m.Reset()
			m.SrcAt, m.DstAt = i*inner, k*inner
			m.Add(outer, kept*inner, d*inner)
			m.Add(inner, 1, 1)
			m.run(r, y, x)
			k++
		}
		return nil
	}, nil
}

// makeTrilu keeps the upper or lower triangle of the last two dimensions.
func makeTrilu(_ *builder, n *onnx.Node) (kernel, error) {
	upper := n.Int("upper", 1) != 0
	return func(r *run) error {
		x := r.in(0)
		if x.Rank() < 2 || x.Type == onnx.String || x.Type.Bits() < 8 {
			return fmt.Errorf("%s%v is %w", x.Type, x.Dims, ErrUnsupported)
		}
		k := int64(0)
		if v := r.ints(1); v != nil {
			k = v[0]
		}
		y := r.out(0, x.Type, x.Dims...)
		rows, columns, size := int(x.Dims[x.Rank()-2]), x.Dims[x.Rank()-1], x.Type.Bits()/8
		src, dst := x.Bytes(), y.Bytes()
		copy(dst, src)
		for i := range product(x.Dims[:x.Rank()-1]) {
			row := dst[i*int(columns)*size:][:int(columns)*size]
			edge := int64(i % rows) // the diagonal's column, moved by k without overflow
			if k > 0 {
				edge = min(edge+min(k, columns), columns)
			} else {
				edge = max(edge+max(k, -int64(rows)), -1)
			}
			if upper {
				clear(row[:max(edge, 0)*int64(size)])
			} else {
				clear(row[min(edge+1, columns)*int64(size):])
			}
		}
		return nil
	}, nil
}
