package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var gatherOps = []op{
	{"", "Gather", 1, 0, makeGather},
	{"", "GatherElements", 11, 0, makeGatherElements},
	{"", "GatherND", 11, 0, makeGatherND},
	{"", "Scatter", 9, 10, makeScatterElements},
	{"", "ScatterElements", 11, 0, makeScatterElements},
	{"", "ScatterND", 11, 0, makeScatterND},
	{"", "OneHot", 9, 0, makeOneHot},
	{"", "TensorScatter", 24, 0, makeTensorScatter},
}

// blocks copies blocks of elements by number: block i of dst is block at[i] of src.
type blocks struct {
	size     int // elements
	at       []int64
	dst, src *onnx.Tensor
	body     func(lo, hi int)
}

func (c *blocks) run(r *run, dst, src *onnx.Tensor) error {
	if bits := src.Type.Bits() * c.size; bits%8 != 0 {
		return fmt.Errorf("blocks of %d elements of %s are %w", c.size, src.Type, ErrUnsupported)
	}
	if c.body == nil {
		c.body = c.work
	}
	c.dst, c.src = dst, src
	r.par(len(c.at), max(1, grain/max(c.size, 1)), c.body)
	c.dst, c.src = nil, nil
	return nil
}

func (c *blocks) work(lo, hi int) {
	switch bits := c.src.Type.Bits(); {
	case c.src.Type == onnx.String:
		copyBlocks(c.dst.Strings(), c.src.Strings(), c.at, c.size, lo, hi)
	case c.size == 1 && bits == 32:
		copyElements(raw[uint32](c.dst), raw[uint32](c.src), c.at, lo, hi)
	case c.size == 1 && bits == 64:
		copyElements(raw[uint64](c.dst), raw[uint64](c.src), c.at, lo, hi)
	default:
		copyBlocks(c.dst.Bytes(), c.src.Bytes(), c.at, c.size*bits/8, lo, hi)
	}
}

func copyBlocks[T any](dst, src []T, at []int64, size, lo, hi int) {
	for i := lo; i < hi; i++ {
		copy(dst[i*size:][:size], src[int(at[i])*size:])
	}
}

func copyElements[T any](dst, src []T, at []int64, lo, hi int) {
	for i := lo; i < hi; i++ {
		dst[i] = src[at[i]]
	}
}

// index returns an index that may count from the end as one from the front.
func (r *run) index(i, d int64) int64 {
	if i < -d || i >= d {
		r.failf("index %d is outside of the dimension %d", i, d)
	}
	if i < 0 {
		i += d
	}
	return i
}

func makeGather(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt := n.Int("axis", 0)
	var c blocks
	return func(r *run) error {
		x, index := r.in(0), r.ints(1)
		axis := r.axisOf(axisAt, x.Rank())
		dims := append(r.shape(x.Rank() + r.in(1).Rank())[:0], x.Dims[:axis]...)
		dims = append(append(dims, r.in(1).Dims...), x.Dims[axis+1:]...)
		if len(dims) > x.Rank()+r.in(1).Rank()-1 {
			return fmt.Errorf("shapes %v and %v: %w", x.Dims, r.in(1).Dims, onnx.ErrBadModel)
		}
		outer, d := product(x.Dims[:axis]), x.Dims[axis]
		c.size = product(x.Dims[axis+1:])
		y := r.out(0, x.Type, dims...)
		c.at = c.at[:0]
		for o := range int64(outer) {
			for _, i := range index {
				c.at = append(c.at, o*d+r.index(i, d))
			}
		}
		return c.run(r, y, x)
	}, nil
}

// positions appends for every element of a tensor of index's shape the position it names in a tensor of shape dims: its own
// coordinates, but along the axis what index says.
func (r *run) positions(at []int64, dims []int64, index []int64, shape []int64, axis int) []int64 {
	rank := len(dims)
	strides, coordinate := r.shape(rank), r.shape(rank)
	s := int64(1)
	for i := rank - 1; i >= 0; i-- {
		strides[i], coordinate[i] = s, 0
		s *= dims[i]
	}
	for _, k := range index {
		p := r.index(k, dims[axis]) * strides[axis]
		for i, c := range coordinate {
			if i != axis {
				p += c * strides[i]
			}
		}
		at = append(at, p)
		for i := rank - 1; i >= 0; i-- {
			if coordinate[i]++; coordinate[i] < shape[i] {
				break
			}
			coordinate[i] = 0
		}
	}
	return at
}

// fitsAlong checks that an index tensor lies inside data's shape but for the axis.
func fitsAlong(data, index []int64, axis int) error {
	for i := range data {
		if len(index) != len(data) || i != axis && index[i] > data[i] {
			return fmt.Errorf("indices of shape %v for data of shape %v along axis %d: %w", slices.Clone(index), slices.Clone(data), axis, onnx.ErrBadModel)
		}
	}
	return nil
}

func makeGatherElements(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt := n.Int("axis", 0)
	c := blocks{size: 1}
	return func(r *run) error {
		x, shape := r.in(0), r.in(1).Dims
		axis := r.axisOf(axisAt, x.Rank())
		if err := fitsAlong(x.Dims, shape, axis); err != nil {
			return err
		}
		c.at = r.positions(c.at[:0], x.Dims, r.ints(1), shape, axis)
		return c.run(r, r.out(0, x.Type, shape...), x)
	}, nil
}

// tuples appends the block that each index tuple (the last dimension of the index tensor) names behind batch dimensions.
func (r *run) tuples(at []int64, dims []int64, index []int64, shape []int64, batch int) []int64 {
	k := int(shape[len(shape)-1])
	if batch+k > len(dims) || batch >= len(shape) || !slices.Equal(dims[:batch], shape[:batch]) {
		r.failf("indices of shape %v for data of shape %v with %d batch dimensions", slices.Clone(shape), slices.Clone(dims), batch)
	}
	inBatch := product(shape[batch : len(shape)-1])
	for t := range product(shape[:len(shape)-1]) {
		p := int64(t / max(inBatch, 1))
		for j := range k {
			d := dims[batch+j]
			p = p*d + r.index(index[t*k+j], d)
		}
		at = append(at, p)
	}
	return at
}

func makeGatherND(_ *builder, n *onnx.Node) (kernel, error) {
	batch := int(n.Int("batch_dims", 0))
	var c blocks
	return func(r *run) error {
		x, shape := r.in(0), r.in(1).Dims
		if len(shape) == 0 || batch < 0 {
			return fmt.Errorf("indices are a scalar, or batch_dims %d: %w", batch, onnx.ErrBadModel)
		}
		c.at = r.tuples(c.at[:0], x.Dims, r.ints(1), shape, batch)
		k := batch + int(shape[len(shape)-1])
		c.size = product(x.Dims[k:])
		dims := append(r.shape(len(shape) + x.Rank())[:0], shape[:len(shape)-1]...)
		return c.run(r, r.out(0, x.Type, append(dims, x.Dims[k:]...)...), x)
	}, nil
}

// scatter writes blocks of updates to the positions at, in order.
func scatter(y, updates *onnx.Tensor, at []int64, size int, reduction string) error {
	if reduction != "none" {
		f := reductions[y.Type]
		if f == nil {
			return fmt.Errorf("reduction %q of %s is %w", reduction, y.Type, ErrUnsupported)
		}
		return f(y, updates, at, size, reduction)
	}
	if y.Type == onnx.String {
		for i, p := range at {
			copy(y.Strings()[int(p)*size:][:size], updates.Strings()[i*size:])
		}
		return nil
	}
	bits := y.Type.Bits() * size
	if bits%8 != 0 {
		return fmt.Errorf("blocks of %d elements of %s are %w", size, y.Type, ErrUnsupported)
	}
	b, u := y.Bytes(), updates.Bytes()
	for i, p := range at {
		copy(b[int(p)*bits/8:][:bits/8], u[i*bits/8:])
	}
	return nil
}

// reductions combine blocks of updates with what is there.
var reductions = map[onnx.DataType]func(y, updates *onnx.Tensor, at []int64, size int, kind string) error{
	onnx.Float32: reduceInto[float32], onnx.Float64: reduceInto[float64], onnx.Int8: reduceInto[int8], onnx.Int16: reduceInto[int16],
	onnx.Int32: reduceInto[int32], onnx.Int64: reduceInto[int64], onnx.Uint8: reduceInto[uint8], onnx.Uint16: reduceInto[uint16],
	onnx.Uint32: reduceInto[uint32], onnx.Uint64: reduceInto[uint64],
}

func reduceInto[T number](ty, tu *onnx.Tensor, at []int64, size int, kind string) error {
	f := map[string]func(a, b T) T{
		"add": func(a, b T) T { return a + b }, "mul": func(a, b T) T { return a * b }, "max": maxOf[T], "min": minOf[T],
	}[kind]
	if f == nil {
		return fmt.Errorf("reduction %q: %w", kind, ErrUnsupported)
	}
	y, u := onnx.Data[T](ty), onnx.Data[T](tu)
	for i, p := range at {
		to := y[int(p)*size:][:size]
		for j, v := range u[i*size:][:size] {
			to[j] = f(to[j], v)
		}
	}
	return nil
}

// copied gives output 0 the contents of x.
func (r *run) copied(x *onnx.Tensor) *onnx.Tensor {
	y := r.out(0, x.Type, x.Dims...)
	if x.Type == onnx.String {
		copy(y.Strings(), x.Strings())
	} else {
		copy(y.Bytes(), x.Bytes())
	}
	return y
}

func makeScatterElements(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt, reduction := n.Int("axis", 0), n.Str("reduction", "none")
	var at []int64
	return half(func(*builder, *onnx.Node) (kernel, error) {
		return func(r *run) error {
			x, shape, updates := r.in(0), r.in(1).Dims, r.in(2)
			axis := r.axisOf(axisAt, x.Rank())
			if err := fitsAlong(x.Dims, shape, axis); err != nil {
				return err
			}
			if updates.Type != x.Type || !slices.Equal(updates.Dims, shape) {
				return fmt.Errorf("updates %s%v for indices of shape %v: %w", updates.Type, updates.Dims, shape, onnx.ErrBadModel)
			}
			at = r.positions(at[:0], x.Dims, r.ints(1), shape, axis)
			return scatter(r.copied(x), updates, at, 1, reduction)
		}, nil
	})(nil, n)
}

func makeScatterND(_ *builder, n *onnx.Node) (kernel, error) {
	reduction := n.Str("reduction", "none")
	var at []int64
	return half(func(*builder, *onnx.Node) (kernel, error) {
		return func(r *run) error {
			x, shape, updates := r.in(0), r.in(1).Dims, r.in(2)
			if len(shape) == 0 {
				return fmt.Errorf("indices are a scalar: %w", onnx.ErrBadModel)
			}
			at = r.tuples(at[:0], x.Dims, r.ints(1), shape, 0)
			size := product(x.Dims[shape[len(shape)-1]:])
			if updates.Type != x.Type || updates.Len() != len(at)*size {
				return fmt.Errorf("updates %s%v for %d blocks of %d: %w", updates.Type, updates.Dims, len(at), size, onnx.ErrBadModel)
			}
			return scatter(r.copied(x), updates, at, size, reduction)
		}, nil
	})(nil, n)
}

func makeOneHot(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt := n.Int("axis", -1)
	var m mover
	return func(r *run) error {
		index := castTo(r.in(0), onnx.Int64)
		depth := onnx.Data[int64](castTo(r.in(1), onnx.Int64))
		values := r.in(2)
		if len(depth) != 1 || depth[0] < 0 || values.Len() != 2 {
			return fmt.Errorf("the depth must be one number and the values two: %w", onnx.ErrBadModel)
		}
		axis, d := r.axisOf(axisAt, index.Rank()+1), depth[0]
		dims := slices.Insert(slices.Clone(index.Dims), axis, d)
		y := r.out(0, values.Type, dims...)
		m.Reset() // the off value everywhere
		m.Add(y.Len(), 1, 0)
		m.run(r, y, values)
		inner := product(dims[axis+1:])
		var at []int64
		for i, k := range onnx.Data[int64](index) {
			if k >= -d && k < d {
				at = append(at, (int64(i/max(inner, 1))*d+r.index(k, d))*int64(inner)+int64(i%max(inner, 1)))
			}
		}
		for _, p := range at {
			m.Reset()
			m.SrcAt, m.DstAt = 1, int(p)
			m.run(r, y, values)
		}
		return nil
	}, nil
}

// makeTensorScatter writes updates into a cache along an axis, at a position of each batch.
func makeTensorScatter(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt, circular := n.Int("axis", -2), n.Str("mode", "linear") == "circular"
	var m mover
	return func(r *run) error {
		x, updates, start := r.in(0), r.in(1), r.ints(2)
		axis := r.axisOf(axisAt, x.Rank())
		if axis == 0 || updates.Rank() != x.Rank() || updates.Type != x.Type || start != nil && len(start) != int(x.Dims[0]) {
			return fmt.Errorf("update %s%v of %s%v along axis %d: %w", updates.Type, updates.Dims, x.Type, x.Dims, axis, onnx.ErrBadModel)
		}
		for i, d := range updates.Dims {
			if i != axis && d != x.Dims[i] {
				return fmt.Errorf("update of shape %v of a cache of shape %v: %w", updates.Dims, x.Dims, onnx.ErrBadModel)
			}
		}
		y := r.copied(x)
		d, k := int(x.Dims[axis]), int(updates.Dims[axis])
		middle, inner := product(x.Dims[1:axis]), product(x.Dims[axis+1:])
		for b := range int(x.Dims[0]) {
			at := 0
			if start != nil {
				at = int(start[b])
			}
			if at < 0 || k > d || !circular && at > d-k {
				return fmt.Errorf("position %d for %d of %d", at, k, d)
			}
			for j := range k {
				m.Reset()
				m.DstAt, m.SrcAt = (b*middle*d+(at+j)%d)*inner, (b*middle*k+j)*inner
				m.Add(middle, d*inner, k*inner)
				m.Add(inner, 1, 1)
				m.run(r, y, updates)
			}
		}
		return nil
	}, nil
}
