package engine

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/move"
	"github.com/zqonnx/zqonnx/onnx"
)

var moveOps = []op{
	{"", "Transpose", 1, 0, makeTranspose},
	{"", "Concat", 1, 0, makeConcat},
	{"", "Split", 1, 0, makeSplit},
	{"", "Slice", 1, 0, makeSlice},
	{"", "Expand", 8, 0, makeExpand},
	{"", "Tile", 6, 0, makeTile},
	{"", "DepthToSpace", 1, 0, makeDepthToSpace},
	{"", "SpaceToDepth", 1, 0, makeSpaceToDepth},
	{"", "ReverseSequence", 10, 0, makeReverseSequence},
}

// mover copies elements of any type from one layout to another on the workers.
type mover struct {
	move.Layout
	dst, src *onnx.Tensor
	body     func(lo, hi int)
}

// run copies what the layout says; the dimensions were added before.
func (m *mover) run(r *run, dst, src *onnx.Tensor) {
	if m.body == nil {
		m.body = m.work
	}
	units := m.Plan()
	if units == 0 {
		return
	}
	m.dst, m.src = dst, src
	if src.Type.Bits() >= 8 || src.Type == onnx.String {
		r.par(units, max(1, grain/m.Unit()), m.body)
	} else {
		m.packed(units)
	}
	m.dst, m.src = nil, nil
}

func (m *mover) work(lo, hi int) {
	switch m.src.Type.Bits() {
	case 0:
		move.Run(&m.Layout, m.dst.Strings(), m.src.Strings(), lo, hi)
	case 8:
		move.Run(&m.Layout, raw[uint8](m.dst), raw[uint8](m.src), lo, hi)
	case 16:
		move.Run(&m.Layout, raw[uint16](m.dst), raw[uint16](m.src), lo, hi)
	case 32:
		move.Run(&m.Layout, raw[uint32](m.dst), raw[uint32](m.src), lo, hi)
	case 64:
		move.Run(&m.Layout, raw[uint64](m.dst), raw[uint64](m.src), lo, hi)
	default:
		move.Run(&m.Layout, raw[[2]uint64](m.dst), raw[[2]uint64](m.src), lo, hi)
	}
}

// packed moves elements of less than a byte by way of bytes.
func (m *mover) packed(units int) {
	src := make([]uint8, m.src.Len())
	for i := range src {
		src[i] = uint8(codeAt(m.src.Type, m.src.Bytes(), i))
	}
	dst := make([]uint8, m.dst.Len())
	for i := range dst {
		dst[i] = uint8(codeAt(m.dst.Type, m.dst.Bytes(), i))
	}
	move.Run(&m.Layout, dst, src, 0, units)
	clear(m.dst.Bytes())
	for i, c := range dst {
		setCode(m.dst.Type, m.dst.Bytes(), i, int32(c))
	}
}

// raw views a tensor's bytes as words.
func raw[T any](t *onnx.Tensor) []T {
	b := t.Bytes()
	var w T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(w)))
}

// axisOf turns an axis that may count from the end into one from the front.
func (r *run) axisOf(a int64, rank int) int {
	if a < -int64(rank) || a >= int64(rank) {
		r.failf("axis %d is outside of rank %d", a, rank)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a)
}

// product multiplies dimensions.
func product(dims []int64) int {
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	return n
}

// integerList is a list of integers that is an attribute in old opsets and an input in new ones.
type integerList struct {
	attr  []int64
	input int
}

// listOf reads the attribute; where the node has none, get reads the input.
func listOf(n *onnx.Node, attr string, input int) integerList {
	if a := n.Attr(attr); a != nil {
		return integerList{slices.Clone(n.Ints(attr)), -1}
	}
	return integerList{nil, input}
}

// get returns the list; nil when it is left out.
func (l *integerList) get(r *run) []int64 {
	if l.input < 0 {
		return l.attr
	}
	return r.ints(l.input)
}

// ints returns the integers of input i; nil when it is left out.
func (r *run) ints(i int) []int64 {
	t := r.in(i)
	if t == nil {
		return nil
	}
	v, err := t.Int64s()
	if err != nil {
		r.failf("input %d: %w", i, err)
	}
	if v == nil {
		v = []int64{} // there, but empty
	}
	return v
}

func makeTranspose(_ *builder, n *onnx.Node) (kernel, error) {
	perm := n.Ints("perm")
	var m mover
	return func(r *run) error {
		x := r.in(0)
		rank := x.Rank()
		if perm != nil && len(perm) != rank {
			return fmt.Errorf("perm %v for rank %d: %w", perm, rank, onnx.ErrBadModel)
		}
		dims, stride, seen := r.shape(rank), r.shape(rank), r.shape(rank)
		s := int64(1)
		for i := rank - 1; i >= 0; i-- {
			stride[i], seen[i] = s, 0
			s *= x.Dims[i]
		}
		m.Reset()
		for i := range rank {
			p := rank - 1 - i
			if perm != nil {
				p = r.axisOf(perm[i], rank)
			}
			if seen[p]++; seen[p] > 1 {
				return fmt.Errorf("perm %v names an axis twice: %w", perm, onnx.ErrBadModel)
			}
			dims[i] = x.Dims[p]
		}
		to := product(dims)
		for i, d := range dims {
			p := rank - 1 - i
			if perm != nil {
				p = r.axisOf(perm[i], rank)
			}
			to /= max(int(d), 1)
			m.Add(int(d), to, int(stride[p]))
		}
		m.run(r, r.out(0, x.Type, dims...), x)
		return nil
	}, nil
}

// dense appends the dimensions of a dense tensor to the layout, the source dense as well.
func (m *mover) dense(dims []int64) {
	stride := product(dims)
	for _, d := range dims {
		stride /= max(int(d), 1)
		m.Add(int(d), stride, stride)
	}
}

func makeConcat(_ *builder, n *onnx.Node) (kernel, error) {
	at := n.Int("axis", 1) // the default of opset 1
	c := &concatenation{}
	return func(r *run) error {
		return c.run(r, r.inputs, r.axisOf(at, r.in(0).Rank()))
	}, nil
}

// concatenation joins tensors along an axis.
type concatenation struct{ m mover }

func (c *concatenation) run(r *run, inputs []*onnx.Tensor, axis int) error {
	first := inputs[0]
	dims := append(r.shape(first.Rank())[:0], first.Dims...)
	for k, x := range inputs[1:] {
		if x == nil || x.Type != first.Type || x.Rank() != first.Rank() {
			return fmt.Errorf("input %d does not have the type and rank of the first: %w", k+1, onnx.ErrBadModel)
		}
		for i, d := range x.Dims {
			if i == axis {
				dims[i] += d
			} else if d != dims[i] {
				return fmt.Errorf("shapes %v and %v do not fit along axis %d", first.Dims, x.Dims, axis)
			}
		}
	}
	y := r.out(0, first.Type, dims...)
	outer, inner := product(dims[:axis]), product(dims[axis+1:])
	offset := 0
	m := &c.m
	for _, x := range inputs {
		own := int(x.Dims[axis]) * inner
		m.Reset()
		m.DstAt = offset
		m.Add(outer, int(dims[axis])*inner, own)
		m.Add(own, 1, 1)
		m.run(r, y, x)
		offset += own
	}
	return nil
}

func makeSplit(b *builder, n *onnx.Node) (kernel, error) {
	at := n.Int("axis", 0)
	list := listOf(n, "split", 1)
	parts := n.Int("num_outputs", int64(len(n.Outputs())))
	outputs := len(n.Outputs())
	var m mover
	return func(r *run) error {
		x := r.in(0)
		axis := r.axisOf(at, x.Rank())
		d := x.Dims[axis]
		sizes := list.get(r)
		if sizes == nil {
			if parts < int64(outputs) || parts <= 0 {
				return fmt.Errorf("num_outputs is %d for %d outputs: %w", parts, outputs, onnx.ErrBadModel)
			}
			each := (d + parts - 1) / parts
			sizes = r.shape(outputs)
			left := d
			for i := range sizes {
				sizes[i] = min(each, left)
				left -= sizes[i]
			}
		}
		sum := int64(0)
		for _, s := range sizes {
			if s < 0 {
				return fmt.Errorf("a part of %d: %w", s, onnx.ErrBadModel)
			}
			sum += s
		}
		if len(sizes) != outputs || sum != d {
			return fmt.Errorf("parts %v of %d for %d outputs do not fit", slices.Clone(sizes), d, outputs)
		}
		outer, inner := product(x.Dims[:axis]), product(x.Dims[axis+1:])
		dims := append(r.shape(x.Rank())[:0], x.Dims...)
		offset := 0
		for i, s := range sizes {
			dims[axis] = s
			own := int(s) * inner
			if r.wants(i) {
				m.Reset()
				m.SrcAt = offset
				m.Add(outer, own, int(d)*inner)
				m.Add(own, 1, 1)
				m.run(r, r.out(i, x.Type, dims...), x)
			}
			offset += own
		}
		return nil
	}, nil
}

// makeSlice takes starts, ends and axes from attributes (opset 1) or inputs (opset 10, with steps).
func makeSlice(b *builder, n *onnx.Node) (kernel, error) {
	starts, ends, axes, steps := listOf(n, "starts", 1), listOf(n, "ends", 2), listOf(n, "axes", 3), integerList{nil, 4}
	var m mover
	return func(r *run) error {
		x := r.in(0)
		rank := x.Rank()
		from, to, along, by := starts.get(r), ends.get(r), axes.get(r), steps.get(r)
		if from == nil || to == nil {
			return fmt.Errorf("starts or ends are missing: %w", onnx.ErrBadModel)
		}
		if len(from) != len(to) || along != nil && len(along) != len(from) || by != nil && len(by) != len(from) || along == nil && len(from) > rank {
			return fmt.Errorf("starts %v, ends %v, axes %v and steps %v do not fit rank %d", from, to, along, by, rank)
		}
		dims, first, step := append(r.shape(rank)[:0], x.Dims...), r.shape(rank), r.shape(rank)
		for i := range rank {
			first[i], step[i] = 0, 1
		}
		for k := range from {
			i := k
			if along != nil {
				i = r.axisOf(along[k], rank)
			}
			s := int64(1)
			if by != nil {
				s = by[k]
			}
			if s == 0 {
				return fmt.Errorf("step 0 along axis %d", i)
			}
			first[i], step[i] = from[k], s
			first[i], dims[i] = span(from[k], to[k], s, x.Dims[i])
		}
		y := r.out(0, x.Type, dims...)
		m.Reset()
		stride, own := product(x.Dims), product(dims)
		for i, d := range dims {
			stride /= max(int(x.Dims[i]), 1)
			own /= max(int(d), 1)
			m.SrcAt += int(first[i]) * stride
			m.Add(int(d), own, int(step[i])*stride)
		}
		m.run(r, y, x)
		return nil
	}, nil
}

// span returns the first index and the number of indices of a slice of a dimension of d.
func span(from, to, step, d int64) (first, n int64) {
	if from < 0 {
		from += d
	}
	if to < 0 {
		to += d
	}
	if step > 0 {
		from, to = min(max(from, 0), d), min(max(to, 0), d)
		if to <= from {
			return from, 0
		}
		return from, (to-from-1)/step + 1
	}
	from, to = min(max(from, -1), d-1), min(max(to, -1), d-1)
	if to >= from {
		return 0, 0
	}
	// The step may be the least integer: its magnitude as an unsigned number is right.
	return from, int64(uint64(from-to-1)/-uint64(step)) + 1
}

func makeExpand(b *builder, n *onnx.Node) (kernel, error) {
	var m mover
	return func(r *run) error {
		x, want := r.in(0), r.ints(1)
		rank := max(x.Rank(), len(want))
		dims := r.shape(rank)
		for i := range dims {
			dims[i] = 1
			if j := i - (rank - len(want)); j >= 0 {
				dims[i] = want[j]
			}
			if j := i - (rank - x.Rank()); j >= 0 && x.Dims[j] != 1 {
				if dims[i] != 1 && dims[i] != x.Dims[j] {
					return fmt.Errorf("shape %v cannot be expanded to %v", x.Dims, want)
				}
				dims[i] = x.Dims[j]
			}
		}
		y := r.out(0, x.Type, dims...)
		m.Reset()
		own, stride := product(dims), product(x.Dims)
		for i, d := range dims {
			own /= max(int(d), 1)
			s := 0
			if j := i - (rank - x.Rank()); j >= 0 {
				stride /= max(int(x.Dims[j]), 1)
				if x.Dims[j] != 1 {
					s = stride
				}
			}
			m.Add(int(d), own, s)
		}
		m.run(r, y, x)
		return nil
	}, nil
}

func makeTile(b *builder, n *onnx.Node) (kernel, error) {
	var m mover
	return func(r *run) error {
		x, repeats := r.in(0), r.ints(1)
		if len(repeats) != x.Rank() {
			return fmt.Errorf("repeats %v for rank %d", repeats, x.Rank())
		}
		dims := r.shape(x.Rank())
		for i, d := range x.Dims {
			if repeats[i] < 0 || d > 0 && repeats[i] > r.f.p.opts.MaxBytes/d {
				return fmt.Errorf("repeats %v of shape %v", repeats, x.Dims)
			}
			dims[i] = d * repeats[i]
		}
		y := r.out(0, x.Type, dims...)
		m.Reset()
		own, stride := product(dims), product(x.Dims)
		for i, d := range x.Dims {
			own /= max(int(dims[i]), 1)
			stride /= max(int(d), 1)
			m.Add(int(repeats[i]), own*int(d), 0)
			m.Add(int(d), own, stride)
		}
		m.run(r, y, x)
		return nil
	}, nil
}

// imageBlocks checks the input [N, C, H, W] and the attribute blocksize.
func imageBlocks(x *onnx.Tensor, block int64) error {
	if x.Rank() != 4 || block < 1 {
		return fmt.Errorf("shape %v and blocksize %d: %w", x.Dims, block, onnx.ErrBadModel)
	}
	return nil
}

func makeDepthToSpace(_ *builder, n *onnx.Node) (kernel, error) {
	s, columnsFirst := n.Int("blocksize", 0), n.Str("mode", "DCR") == "CRD"
	var m mover
	return func(r *run) error {
		x := r.in(0)
		if err := imageBlocks(x, s); err != nil {
			return err
		}
		if x.Dims[1]%(s*s) != 0 {
			return fmt.Errorf("%d channels do not divide into blocks of %d by %d", x.Dims[1], s, s)
		}
		c, h, w, b := int(x.Dims[1]/(s*s)), int(x.Dims[2]), int(x.Dims[3]), int(s)
		y := r.out(0, x.Type, x.Dims[0], int64(c), x.Dims[2]*s, x.Dims[3]*s)
		rowOf, columnOf, channel := b*c*h*w, c*h*w, h*w // the source strides of block row, block column, channel
		if columnsFirst {
			rowOf, columnOf, channel = b*h*w, h*w, b*b*h*w
		}
		m.Reset()
		m.Add(int(x.Dims[0]), c*h*b*w*b, c*h*b*w*b)
		m.Add(c, h*b*w*b, channel)
		m.Add(h, b*w*b, w)
		m.Add(b, w*b, rowOf)
		m.Add(w, b, 1)
		m.Add(b, 1, columnOf)
		m.run(r, y, x)
		return nil
	}, nil
}

func makeSpaceToDepth(_ *builder, n *onnx.Node) (kernel, error) {
	s := n.Int("blocksize", 0)
	var m mover
	return func(r *run) error {
		x := r.in(0)
		if err := imageBlocks(x, s); err != nil {
			return err
		}
		if x.Dims[2]%s != 0 || x.Dims[3]%s != 0 {
			return fmt.Errorf("shape %v does not divide into blocks of %d by %d", x.Dims, s, s)
		}
		b, c, h, w := int(s), int(x.Dims[1]), int(x.Dims[2]/s), int(x.Dims[3]/s)
		y := r.out(0, x.Type, x.Dims[0], x.Dims[1]*s*s, x.Dims[2]/s, x.Dims[3]/s)
		m.Reset()
		m.Add(int(x.Dims[0]), c*b*b*h*w, c*b*b*h*w)
		m.Add(b, b*c*h*w, w*b)
		m.Add(b, c*h*w, 1)
		m.Add(c, h*w, h*b*w*b)
		m.Add(h, w, b*w*b)
		m.Add(w, 1, b)
		m.run(r, y, x)
		return nil
	}, nil
}

// makeReverseSequence reverses the first steps of each sequence of a batch.
func makeReverseSequence(_ *builder, n *onnx.Node) (kernel, error) {
	timeAt, batchAt := n.Int("time_axis", 0), n.Int("batch_axis", 1)
	var m mover
	return func(r *run) error {
		x, lengths := r.in(0), r.ints(1)
		time, batch := r.axisOf(timeAt, x.Rank()), r.axisOf(batchAt, x.Rank())
		if time == batch || len(lengths) != int(x.Dims[batch]) {
			return fmt.Errorf("axes %d and %d, and %d lengths for shape %v: %w", time, batch, len(lengths), x.Dims, onnx.ErrBadModel)
		}
		y := r.out(0, x.Type, x.Dims...)
		m.Reset()
		m.dense(x.Dims)
		m.run(r, y, x)
		for k, length := range lengths {
			if length < 0 || length > x.Dims[time] {
				return fmt.Errorf("length %d of %d steps", length, x.Dims[time])
			}
			m.Reset()
			stride := product(x.Dims)
			for i, d := range x.Dims {
				stride /= max(int(d), 1)
				switch i {
				case batch:
					m.SrcAt += k * stride
					m.DstAt += k * stride
				case time:
					m.SrcAt += max(int(length)-1, 0) * stride
					m.Add(int(length), stride, -stride)
				default:
					m.Add(int(d), stride, stride)
				}
			}
			m.run(r, y, x)
		}
		return nil
	}, nil
}
