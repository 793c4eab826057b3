package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zqonnx/zqonnx/onnx"
)

var einsumOps = []op{
	{"", "Einsum", 12, 0, half(makeEinsum)},
}

// ellipsis stands for the dimension i places from the end of those that "..." covers; letters are their own labels.
const ellipsis = rune(-1000)

// labelled is an operand whose dimensions have labels, all different.
type labelled struct {
	t      *onnx.Tensor
	labels []rune
}

// makeEinsum multiplies the operands one after another, each time as a batched matrix product.
func makeEinsum(_ *builder, n *onnx.Node) (kernel, error) {
	equation := strings.ReplaceAll(n.Str("equation", ""), " ", "")
	left, right, explicit := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	if equation == "" || len(terms) != len(n.Inputs()) {
		return nil, fmt.Errorf("equation %q for %d operands: %w", equation, len(n.Inputs()), onnx.ErrBadModel)
	}
	e := &einsum{}
	return func(r *run) error {
		var operands []labelled
		sizes := map[rune]int64{}
		for i, term := range terms {
			x := r.in(i)
			labels, err := labelsOf(term, x.Rank())
			if err != nil {
				return fmt.Errorf("equation %q, operand %d of shape %v: %w", equation, i, x.Dims, err)
			}
			for d, l := range labels {
				switch size, ok := sizes[l]; {
				case !ok || size == 1 && l < 0:
					sizes[l] = x.Dims[d]
				case x.Dims[d] != size && !(l < 0 && x.Dims[d] == 1):
					return fmt.Errorf("equation %q: a label has the sizes %d and %d", equation, size, x.Dims[d])
				}
			}
			operands = append(operands, labelled{x, labels})
		}
		out, err := e.result(right, explicit, operands)
		if err != nil {
			return fmt.Errorf("equation %q: %w", equation, err)
		}
		for _, l := range out {
			if _, ok := sizes[l]; !ok {
				return fmt.Errorf("equation %q: the result has a label that no operand has: %w", equation, onnx.ErrBadModel)
			}
		}
		acc := e.reduce(r, operands[0], func(l rune) bool { return wanted(l, out, operands[1:]) })
		for i := 1; i < len(operands); i++ {
			keep := func(l rune) bool { return wanted(l, out, operands[i+1:]) }
			b := e.reduce(r, operands[i], func(l rune) bool { return keep(l) || slices.Contains(acc.labels, l) })
			if acc, err = e.multiply(r, acc, b, keep); err != nil {
				return err
			}
		}
		dims := make([]int64, len(out))
		for i, l := range out {
			dims[i] = sizes[l]
		}
		y := r.out(0, acc.t.Type, dims...)
		e.arrange(r, y, acc, out)
		return nil
	}, nil
}

// labelsOf gives each dimension of an operand its label; dimensions under "..." count from the end.
func labelsOf(term string, rank int) ([]rune, error) {
	before, after, dots := strings.Cut(term, "...")
	covered := rank - len(before) - len(after)
	if covered < 0 || !dots && covered != 0 {
		return nil, fmt.Errorf("%d labels for rank %d: %w", len(before)+len(after), rank, onnx.ErrBadModel)
	}
	labels := []rune(before)
	for i := range covered {
		labels = append(labels, ellipsis-rune(covered-1-i)) // ellipsis is the last of them
	}
	labels = append(labels, []rune(after)...)
	for _, l := range before + after {
		if (l < 'a' || l > 'z') && (l < 'A' || l > 'Z') {
			return nil, fmt.Errorf("label %q: %w", l, onnx.ErrBadModel)
		}
	}
	return labels, nil
}

// einsum is the working memory of a kernel.
type einsum struct {
	m       mover
	product productF32
}

// result returns the labels of the result; without "->" these are "..." and the letters that occur once, in order.
func (e *einsum) result(term string, explicit bool, operands []labelled) ([]rune, error) {
	count := map[rune]int{}
	covered := 0
	for _, o := range operands {
		for _, l := range o.labels {
			if count[l]++; l < 0 {
				covered = max(covered, int(ellipsis-l)+1)
			}
		}
	}
	if !explicit {
		term = "..."
		for l := 'A'; l <= 'z'; l++ {
			if count[l] == 1 {
				term += string(l)
			}
		}
	}
	letters := len(strings.ReplaceAll(term, "...", ""))
	if !strings.Contains(term, "...") {
		covered = 0
	}
	labels, err := labelsOf(term, letters+covered)
	if err != nil {
		return nil, err
	}
	for i, l := range labels {
		if slices.Contains(labels[:i], l) {
			return nil, fmt.Errorf("a label twice in the result: %w", onnx.ErrBadModel)
		}
	}
	return labels, nil
}

func wanted(l rune, out []rune, later []labelled) bool {
	if slices.Contains(out, l) {
		return true
	}
	return slices.ContainsFunc(later, func(o labelled) bool { return slices.Contains(o.labels, l) })
}

// size returns the length of x along a label, 1 if it lacks the label.
func (x labelled) size(l rune) int64 {
	s := int64(1)
	for i, k := range x.labels {
		if k == l {
			s = max(s, x.t.Dims[i])
			if x.t.Dims[i] == 0 {
				return 0
			}
		}
	}
	return s
}

// arrange copies x to y, whose dimensions have the labels order. A label that x has twice walks the diagonal; one that it
// lacks, or has with length 1, is repeated.
func (e *einsum) arrange(r *run, y *onnx.Tensor, x labelled, order []rune) {
	e.m.Reset()
	own := y.Len()
	for i, l := range order {
		own /= max(int(y.Dims[i]), 1)
		stride, s := x.t.Len(), 0
		for d, k := range x.labels {
			stride /= max(int(x.t.Dims[d]), 1)
			if k == l && x.t.Dims[d] != 1 {
				s += stride
			}
		}
		e.m.Add(int(y.Dims[i]), own, s)
	}
	e.m.run(r, y, x.t)
}

// arranged returns x in new memory with dimensions in the given order.
func (e *einsum) arranged(r *run, x labelled, order []rune) labelled {
	dims := make([]int64, len(order))
	for i, l := range order {
		dims[i] = x.size(l)
	}
	r.check(x.t.Type, dims)
	y := onnx.Zeros(x.t.Type, dims...)
	e.arrange(r, y, x, order)
	return labelled{y, order}
}

// reduce sums over the labels that keep does not want, and leaves each label once.
func (e *einsum) reduce(r *run, x labelled, keep func(rune) bool) labelled {
	var kept, gone []rune
	for i, l := range x.labels {
		switch {
		case slices.Contains(x.labels[:i], l):
		case keep(l):
			kept = append(kept, l)
		default:
			gone = append(gone, l)
		}
	}
	if len(gone) == 0 && len(kept) == len(x.labels) {
		return x
	}
	if len(gone) == 0 {
		return e.arranged(r, x, kept)
	}
	one := onnx.Zeros(x.t.Type)
	castInto(one, onnx.Scalar(true), 0, 1, true)
	y, err := e.multiply(r, e.arranged(r, x, slices.Concat(kept, gone)), labelled{e.repeated(r, one, x, gone), gone}, keep)
	if err != nil {
		panic(errKernel{err})
	}
	return y
}

// repeated returns a tensor of ones with the sizes that x has along labels.
func (e *einsum) repeated(r *run, one *onnx.Tensor, x labelled, labels []rune) *onnx.Tensor {
	dims := make([]int64, len(labels))
	for i, l := range labels {
		dims[i] = x.size(l)
	}
	y := onnx.Zeros(one.Type, dims...)
	e.arrange(r, y, labelled{one, nil}, labels)
	return y
}

// multiply is the product of a and b, summed over the labels of both that keep does not want.
func (e *einsum) multiply(r *run, a, b labelled, keep func(rune) bool) (labelled, error) {
	var batch, rows, columns, inner []rune
	for _, l := range a.labels {
		switch {
		case !slices.Contains(b.labels, l):
			rows = append(rows, l)
		case keep(l):
			batch = append(batch, l)
		default:
			inner = append(inner, l)
		}
	}
	for _, l := range b.labels {
		if !slices.Contains(a.labels, l) {
			columns = append(columns, l)
		}
	}
	size := func(labels []rune) int {
		n := 1
		for _, l := range labels {
			n *= int(max(a.size(l), b.size(l)))
			if a.size(l) == 0 || b.size(l) == 0 {
				n = 0
			}
		}
		return n
	}
	// Labels under "..." may have length 1 on one side: both sides get the whole length.
	full := func(x labelled, order []rune) *onnx.Tensor {
		dims := make([]int64, len(order))
		for i, l := range order {
			if dims[i] = max(a.size(l), b.size(l)); a.size(l) == 0 || b.size(l) == 0 {
				dims[i] = 0
			}
		}
		r.check(x.t.Type, dims)
		y := onnx.Zeros(x.t.Type, dims...)
		e.arrange(r, y, x, order)
		return y
	}
	ta, tb := full(a, slices.Concat(batch, rows, inner)), full(b, slices.Concat(batch, inner, columns))
	p := &e.product
	s := &p.shape
	s.m, s.k, s.n = size(rows), size(inner), size(columns)
	s.a, s.b = s.a[:0], s.b[:0]
	for i := range size(batch) {
		s.a, s.b = append(s.a, i*s.m*s.k), append(s.b, i*s.k*s.n)
	}
	order := slices.Concat(batch, rows, columns)
	dims := make([]int64, len(order))
	for i, l := range order {
		dims[i] = max(a.size(l), b.size(l))
	}
	r.check(ta.Type, dims)
	y := onnx.Zeros(ta.Type, dims...)
	switch ta.Type {
	case onnx.Float32:
		p.a, p.b, p.c = onnx.Data[float32](ta), onnx.Data[float32](tb), onnx.Data[float32](y)
		p.run(r, false)
	case onnx.Float64:
		multiply[float64](s, ta, tb, y)
	case onnx.Int32:
		multiply[int32](s, ta, tb, y)
	case onnx.Int64:
		multiply[int64](s, ta, tb, y)
	default:
		return labelled{}, fmt.Errorf("elements of %s are %w", ta.Type, ErrUnsupported)
	}
	return labelled{y, order}, nil
}
