package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// maxOperands is how many tensors one elementwise step reads.
const maxOperands = 3

// broadcast walks operands of several shapes by the standard's multidirectional broadcasting. Dimensions that all operands
// walk alike are merged, so that rows are long.
type broadcast struct {
	out     []int64 // the result's shape
	dims    []int   // merged; the last is the row
	strides [maxOperands][]int
	rows    int
	row     int // elements of a row
}

// shape finds the result's shape.
func (c *broadcast) shape(r *run, operands ...*onnx.Tensor) []int64 {
	c.out = c.out[:0]
	for _, t := range operands {
		for len(c.out) < len(t.Dims) {
			c.out = slices.Insert(c.out, 0, 1)
		}
	}
	for _, t := range operands {
		shift := len(c.out) - len(t.Dims)
		for i, d := range t.Dims {
			switch o := &c.out[shift+i]; {
			case *o == 1:
				*o = d
			case d != 1 && d != *o:
				r.failf("shapes %v and %v cannot be broadcast together", slices.Clone(c.out), slices.Clone(t.Dims))
			}
		}
	}
	return c.out
}

// plan merges the dimensions; the operands broadcast to c.out.
func (c *broadcast) plan(operands ...*onnx.Tensor) {
	c.dims = c.dims[:0]
	for k := range operands {
		c.strides[k] = c.strides[k][:0]
	}
	var stride [maxOperands]int
	for k := range operands {
		stride[k] = 1
	}
	for i := len(c.out) - 1; i >= 0; i-- { // from the last dimension; c.dims is built backwards
		d := int(c.out[i])
		if d == 1 {
			continue
		}
		var s [maxOperands]int
		for k, t := range operands {
			if j := i - (len(c.out) - len(t.Dims)); j >= 0 && t.Dims[j] != 1 {
				s[k] = stride[k]
				stride[k] *= d
			}
		}
		last := len(c.dims) - 1
		merges := last >= 0
		for k := range operands {
			merges = merges && s[k] == c.strides[k][last]*c.dims[last]
		}
		if merges {
			c.dims[last] *= d
			continue
		}
		c.dims = append(c.dims, d)
		for k := range operands {
			c.strides[k] = append(c.strides[k], s[k])
		}
	}
	if len(c.dims) == 0 {
		c.dims = append(c.dims, 1)
		for k := range operands {
			c.strides[k] = append(c.strides[k], 0)
		}
	}
	slices.Reverse(c.dims)
	for k := range operands {
		slices.Reverse(c.strides[k])
	}
	c.row, c.rows = c.dims[len(c.dims)-1], 1
	for _, d := range c.dims[:len(c.dims)-1] {
		c.rows *= d
	}
}

// len returns the number of results.
func (c *broadcast) len() int { return c.rows * c.row }

// step returns the stride of operand k inside a row: 0 or 1.
func (c *broadcast) step(k int) int { return c.strides[k][len(c.dims)-1] }

// each calls f for the parts of rows that cover results lo … hi-1: f gets where the part begins in the result and in the
// operands, and its length.
func (c *broadcast) each(lo, hi int, f func(o, n int, at [maxOperands]int)) {
	for lo < hi {
		row, i := lo/c.row, lo%c.row
		n := min(c.row-i, hi-lo)
		var at [maxOperands]int
		last := len(c.dims) - 1
		for k := range at {
			if c.strides[k] != nil {
				at[k] = i * c.strides[k][last]
			}
		}
		for d := last - 1; d >= 0; d-- {
			j := row % c.dims[d]
			row /= c.dims[d]
			for k := range at {
				if c.strides[k] != nil {
					at[k] += j * c.strides[k][d]
				}
			}
		}
		f(lo, n, at)
		lo += n
	}
}

// grain is how many elements of a cheap loop are worth a worker.
const grain = 16 << 10

// binaryBody computes results lo … hi-1 of one element type.
type binaryBody func(k *binaryRun, lo, hi int)

// binaryTypes says what an operator does for each type of its operands.
type binaryTypes map[onnx.DataType]struct {
	result onnx.DataType
	body   binaryBody
}

// binaryRun is a binary elementwise kernel.
type binaryRun struct {
	broadcast
	y, a, b *onnx.Tensor
	body    binaryBody
}

func (k *binaryRun) work(lo, hi int) { k.body(k, lo, hi) }

// bodyOf makes the body of a loop.
func bodyOf[T, R onnx.Elem](loop func(dst []R, a, b []T, sa, sb int)) binaryBody {
	return func(k *binaryRun, lo, hi int) {
		y, a, b := onnx.Data[R](k.y), onnx.Data[T](k.a), onnx.Data[T](k.b)
		sa, sb := k.step(0), k.step(1)
		k.each(lo, hi, func(o, n int, at [maxOperands]int) { loop(y[o:o+n], a[at[0]:], b[at[1]:], sa, sb) })
	}
}

// apply computes y = a ∘ b, broadcast to y's shape. y may be a.
func (k *binaryRun) apply(r *run, body binaryBody, y, a, b *onnx.Tensor, loop func(lo, hi int)) {
	k.y, k.a, k.b, k.body = y, a, b, body
	k.out = append(k.out[:0], y.Dims...)
	k.plan(a, b)
	if k.len() > 0 {
		r.par(k.len(), grain, loop)
	}
	k.y, k.a, k.b = nil, nil, nil
}

// binary makes the kernels of a binary operator.
func binary(types binaryTypes) maker {
	return binaryOf(func(*onnx.Node) (binaryTypes, error) { return types, nil })
}

// binaryOf makes the kernels of a binary operator whose attributes matter.
func binaryOf(types func(n *onnx.Node) (binaryTypes, error)) maker {
	return half(func(b *builder, n *onnx.Node) (kernel, error) {
		legacy, axis := n.Int("broadcast", 0) != 0, n.Int("axis", -1)
		types, err := types(n)
		if err != nil {
			return nil, err
		}
		k := &binaryRun{}
		loop := k.work
		return func(r *run) error {
			a, b := r.in(0), r.in(1)
			if a.Type != b.Type {
				return fmt.Errorf("operands of %s and %s: %w", a.Type, b.Type, onnx.ErrBadModel)
			}
			t, ok := types[a.Type]
			if !ok {
				return fmt.Errorf("elements of %s are %w", a.Type, ErrUnsupported)
			}
			if legacy {
				b = r.placed(a, b, axis)
			}
			y := r.out(0, t.result, k.shape(r, a, b)...)
			k.apply(r, t.body, y, a, b, loop)
			return nil
		}, nil
	})
}

// placed gives b the rank of a where opsets before 7 ask for it: its dimensions begin at an axis of a.
func (r *run) placed(a, b *onnx.Tensor, axis int64) *onnx.Tensor {
	if axis == -1 || b.Rank() == 0 {
		return b
	}
	dims := make([]int64, a.Rank()-r.axisOf(axis, a.Rank()))
	if len(dims) < b.Rank() {
		r.failf("shape %v does not fit into %v from axis %d on", b.Dims, a.Dims, axis)
	}
	for i := range dims {
		dims[i] = 1
	}
	copy(dims, b.Dims)
	return b.Reshaped(dims...)
}

// variadic makes the kernels of an operator on any number of operands: a ∘ b ∘ c ...; finish, if there is one, gets the
// result and the number of operands.
func variadic(types binaryTypes, finish func(y *onnx.Tensor, n int)) maker {
	return half(func(*builder, *onnx.Node) (kernel, error) {
		k := &binaryRun{}
		loop := k.work
		return func(r *run) error {
			for _, t := range r.inputs {
				if t == nil || t.Type != r.in(0).Type {
					return fmt.Errorf("operands of different types: %w", onnx.ErrBadModel)
				}
			}
			a := r.in(0)
			t, ok := types[a.Type]
			if !ok {
				return fmt.Errorf("elements of %s are %w", a.Type, ErrUnsupported)
			}
			y := r.out(0, t.result, k.shape(r, r.inputs...)...)
			if len(r.inputs) == 1 {
				copy(y.Bytes(), a.Bytes())
			}
			for _, b := range r.inputs[1:] {
				k.apply(r, t.body, y, a, b, loop)
				a = y
			}
			if finish != nil {
				finish(y, len(r.inputs))
			}
			return nil
		}, nil
	})
}
