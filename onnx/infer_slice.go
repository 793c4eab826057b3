package onnx

import (
	"math"
	"slices"
)

// A sliceSpec is a slice of one axis.
type sliceSpec struct{ axis, start, end, step int64 }

// resolve returns the first index and the number of elements that the slice takes from size elements.
func (s sliceSpec) resolve(size int64) (start, count int64) {
	clamp := func(v, lo, hi int64) int64 {
		if v < 0 {
			v = max(v, -size-1) + size
		}
		return min(max(v, lo), hi)
	}
	if s.step > 0 {
		start, end := clamp(s.start, 0, size), clamp(s.end, 0, size)
		if end <= start {
			return start, 0
		}
		return start, (end-start-1)/s.step + 1
	}
	start = clamp(s.start, 0, size-1)
	end := int64(-1)
	if s.end >= -size {
		end = clamp(s.end, 0, size-1)
	}
	if start <= end || size == 0 {
		return start, 0
	}
	if s.step == math.MinInt64 {
		return start, 1
	}
	return start, (start-end-1)/-s.step + 1
}

// slices returns what a Slice of a tensor of that rank takes from which axes; false when it is not known.
func (c *call) slices(rank int) ([]sliceSpec, bool) {
	var starts, ends, axes, steps []int64
	if c.opset < 10 {
		starts, ends, axes = c.n.Ints("starts"), c.n.Ints("ends"), c.n.Ints("axes")
	} else {
		ok := true
		get := func(i int) (x []int64) {
			if c.n.Input(i) != nil {
				var known bool
				x, known = c.known(i)
				ok = ok && known
			}
			return x
		}
		starts, ends, axes, steps = get(1), get(2), get(3), get(4)
		if !ok {
			return nil, false
		}
	}
	if len(starts) != len(ends) || axes != nil && len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
		c.bad("starts, ends, axes and steps differ in length")
		return nil, false
	}
	out := make([]sliceSpec, len(starts))
	for i := range out {
		out[i] = sliceSpec{int64(i), starts[i], ends[i], 1}
		if axes != nil {
			out[i].axis = axes[i]
		}
		axis, ok := c.within(out[i].axis, rank)
		if !ok {
			return nil, false
		}
		out[i].axis = int64(axis)
		if steps != nil {
			if out[i].step = steps[i]; steps[i] == 0 {
				c.bad("a step of 0")
				return nil, false
			}
		}
	}
	return out, true
}

func slice(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	specs, ok := c.slices(len(s))
	if !ok {
		c.set(0, c.elem(0), c.slicedUnknown(s))
		return
	}
	out := slices.Clone(s)
	for _, p := range specs {
		d := &out[p.axis]
		switch {
		case d.Size >= 0:
			_, count := p.resolve(d.Size)
			*d = Fixed(count)
		case p.start == 0 && p.step == 1 && p.end >= math.MaxInt32: // the whole
		default:
			*d = Symbol("")
		}
	}
	c.set(0, c.elem(0), out)
}

// slicedUnknown returns s with the sizes unknown that a Slice with unknown bounds may change.
func (c *call) slicedUnknown(s []Dim) []Dim {
	axes, ok := c.known(3)
	if !ok || c.opset < 10 {
		return unknown(len(s))
	}
	out := slices.Clone(s)
	for _, a := range axes {
		if k, ok := c.within(a, len(s)); ok {
			out[k] = Symbol("")
		}
	}
	return out
}
