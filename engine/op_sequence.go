package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// A sequence is a slice of tensors that nobody changes: operators make new slices, of elements that are no buffers of the run.
var sequenceOps = []op{
	{"", "SequenceEmpty", 11, 0, makeSequenceEmpty},
	{"", "SequenceConstruct", 11, 0, makeSequenceConstruct},
	{"", "SequenceAt", 11, 0, makeSequenceAt},
	{"", "SequenceInsert", 11, 0, makeSequenceInsert},
	{"", "SequenceErase", 11, 0, makeSequenceErase},
	{"", "SequenceLength", 11, 0, makeSequenceLength},
	{"", "SplitToSequence", 11, 0, makeSplitToSequence},
	{"", "ConcatFromSequence", 11, 0, makeConcatFromSequence},
	{"", "Optional", 15, 0, makeOptional},
	{"", "OptionalHasElement", 15, 0, makeOptionalHasElement},
	{"", "OptionalGetElement", 15, 0, makeOptionalGetElement},
}

// sequence returns the elements of input i.
func (r *run) sequence(i int) []*onnx.Tensor {
	if i >= len(r.s.in) || r.s.in[i] < 0 || !r.f.values[r.s.in[i]].isSeq {
		r.failf("input %d is no sequence", i)
	}
	return r.f.values[r.s.in[i]].seq
}

func (r *run) giveSequence(i int, s []*onnx.Tensor) {
	if r.wants(i) {
		r.f.values[r.s.out[i]] = value{seq: s, isSeq: true}
	}
}

// place returns the position that input i names in a sequence of n; the default without it.
func (r *run) place(i, n, def int) int {
	p := r.ints(i)
	if p == nil {
		return def
	}
	if len(p) != 1 || p[0] < -int64(n) || p[0] > int64(n) {
		r.failf("position %v in a sequence of %d", slices.Clone(p), n)
	}
	if p[0] < 0 {
		return int(p[0]) + n
	}
	return int(p[0])
}

func makeSequenceEmpty(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error { r.giveSequence(0, nil); return nil }, nil
}

func makeSequenceConstruct(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		var s []*onnx.Tensor
		for _, t := range r.inputs {
			if t == nil || t.Type != r.inputs[0].Type {
				return fmt.Errorf("elements of different types: %w", onnx.ErrBadModel)
			}
			s = append(s, t.Clone())
		}
		r.giveSequence(0, s)
		return nil
	}, nil
}

func makeSequenceAt(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		s := r.sequence(0)
		i := r.place(1, len(s), 0)
		if i == len(s) {
			return fmt.Errorf("position %d in a sequence of %d", i, len(s))
		}
		r.give(0, value{t: s[i]})
		return nil
	}, nil
}

func makeSequenceInsert(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		s := r.sequence(0)
		r.giveSequence(0, slices.Insert(slices.Clone(s), r.place(2, len(s), len(s)), r.in(1).Clone()))
		return nil
	}, nil
}

func makeSequenceErase(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		s := r.sequence(0)
		i := r.place(1, len(s), len(s)-1)
		if i < 0 || i == len(s) {
			return fmt.Errorf("position %d in a sequence of %d", i, len(s))
		}
		r.giveSequence(0, slices.Delete(slices.Clone(s), i, i+1))
		return nil
	}, nil
}

func makeSequenceLength(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		onnx.Data[int64](r.out(0, onnx.Int64))[0] = int64(len(r.sequence(0)))
		return nil
	}, nil
}

// makeSplitToSequence splits along an axis into parts of given sizes, of one size, or, without sizes, of 1; these lose the
// axis without keepdims.
func makeSplitToSequence(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt, keep := n.Int("axis", 0), n.Int("keepdims", 1) != 0
	var m mover
	return func(r *run) error {
		x, sizes := r.in(0), slices.Clone(r.ints(1))
		axis := r.axisOf(axisAt, x.Rank())
		d := x.Dims[axis]
		if sizes == nil || r.in(1).Rank() == 0 {
			each := int64(1)
			if sizes != nil {
				each = sizes[0]
			}
			if each < 1 {
				return fmt.Errorf("parts of %d", each)
			}
			sizes = sizes[:0]
			for left := d; left > 0; left -= each {
				sizes = append(sizes, min(each, left))
			}
		}
		outer, inner := product(x.Dims[:axis]), product(x.Dims[axis+1:])
		var s []*onnx.Tensor
		at := int64(0)
		for _, k := range sizes {
			if k < 0 || k > d-at {
				return fmt.Errorf("parts %v of %d do not fit", sizes, d)
			}
			dims := slices.Clone(x.Dims)
			dims[axis] = k
			t := onnx.Zeros(x.Type, dims...)
			m.Reset()
			m.SrcAt = int(at) * inner
			m.Add(outer, int(k)*inner, int(d)*inner)
			m.Add(int(k)*inner, 1, 1)
			m.run(r, t, x)
			if r.in(1) == nil && !keep {
				t = t.Reshaped(slices.Delete(dims, axis, axis+1)...)
			}
			s = append(s, t)
			at += k
		}
		if at != d {
			return fmt.Errorf("parts %v of %d do not fit", sizes, d)
		}
		r.giveSequence(0, s)
		return nil
	}, nil
}

// makeConcatFromSequence concatenates along an axis, a new one if new_axis is set.
func makeConcatFromSequence(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt, fresh := n.Int("axis", 0), n.Int("new_axis", 0) != 0
	concat := &concatenation{}
	return func(r *run) error {
		s := r.sequence(0)
		if len(s) == 0 {
			return fmt.Errorf("an empty sequence cannot be concatenated")
		}
		if fresh {
			s = slices.Clone(s)
			rank := s[0].Rank()
			axis := r.axisOf(axisAt, rank+1)
			for i, t := range s {
				if t.Rank() != rank {
					return fmt.Errorf("elements of rank %d and %d", rank, t.Rank())
				}
				s[i] = t.Reshaped(slices.Insert(slices.Clone(t.Dims), axis, 1)...)
			}
		}
		return concat.run(r, s, r.axisOf(axisAt, s[0].Rank()))
	}, nil
}

// An optional without value is a value that is neither a tensor nor a sequence.
func makeOptional(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		v := value{}
		if len(r.s.in) > 0 {
			v = r.valueIn(0)
		}
		r.give(0, v)
		return nil
	}, nil
}

func makeOptionalHasElement(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		v := value{}
		if len(r.s.in) > 0 {
			v = r.valueIn(0)
		}
		onnx.Data[bool](r.out(0, onnx.Bool))[0] = v.t != nil || v.isSeq
		return nil
	}, nil
}

func makeOptionalGetElement(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		v := r.valueIn(0)
		if v.t == nil && !v.isSeq {
			return fmt.Errorf("the optional is empty")
		}
		r.give(0, v)
		return nil
	}, nil
}
