package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var padOps = []op{
	{"", "Pad", 1, 0, makePad},
	{"", "CenterCropPad", 18, 0, makeCenterCropPad},
}

// makePad adds elements at both ends of dimensions; negative numbers cut them off.
func makePad(_ *builder, n *onnx.Node) (kernel, error) {
	mode := n.Str("mode", "constant")
	name := "pads"
	if n.Attr("paddings") != nil {
		name = "paddings" // opset 1
	}
	list, axesAt := listOf(n, name, 1), integerList{nil, 3}
	attr := onnx.Scalar(n.Float("value", 0))
	if mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap" {
		return nil, fmt.Errorf("mode %q is %w", mode, ErrUnsupported)
	}
	var p padder
	return func(r *run) error {
		x, pads, axes := r.in(0), list.get(r), axesAt.get(r)
		rank := x.Rank()
		k := rank
		if axes != nil {
			k = len(axes)
		}
		if len(pads) != 2*k {
			return fmt.Errorf("%d pads for %d axes", len(pads), k)
		}
		before, dims := r.shape(rank), append(r.shape(rank)[:0], x.Dims...)
		clear(before)
		for j := range k {
			i := j
			if axes != nil {
				i = r.axisOf(axes[j], rank)
			}
			before[i] = pads[j]
			dims[i] = x.Dims[i] + pads[j] + pads[k+j]
		}
		value := r.in(2)
		if value == nil || value.Len() == 0 {
			value = attr
		}
		if mode == "constant" && value.Type != x.Type {
			if x.Type == onnx.String {
				value = onnx.NewStrings([]int64{}, [][]byte{{}})
			} else {
				value = castTo(value, x.Type)
			}
		}
		y := r.out(0, x.Type, dims...)
		switch {
		case y.Len() == 0:
			return nil
		case mode == "constant":
			p.fill(r, y, value)
			p.place(r, y, x, before)
			return nil
		}
		for i, d := range x.Dims {
			if d == 0 {
				return fmt.Errorf("mode %q on shape %v", mode, x.Dims)
			}
			if mode == "reflect" && d == 1 && dims[i] > 1 {
				return fmt.Errorf("mode reflect on a dimension of 1: %w", ErrUnsupported)
			}
		}
		return p.gather(r, y, x, before, mode)
	}, nil
}

type padder struct {
	m    mover
	maps [][]int64
	c    blocks
}

func (p *padder) fill(r *run, y, value *onnx.Tensor) {
	p.m.Reset()
	p.m.Add(y.Len(), 1, 0)
	p.m.run(r, y, value)
}

// place copies x into y, before elements behind y's beginning; what lies outside is left out.
func (p *padder) place(r *run, y, x *onnx.Tensor, before []int64) {
	m := &p.m
	m.Reset()
	to, from := y.Len(), x.Len()
	for i, d := range x.Dims {
		to /= max(int(y.Dims[i]), 1)
		from /= max(int(d), 1)
		first := max(before[i], 0)
		last := min(before[i]+d, y.Dims[i])
		m.DstAt += int(first) * to
		m.SrcAt += int(first-before[i]) * from
		m.Add(int(max(last-first, 0)), to, from)
	}
	m.run(r, y, x)
}

// gather fills y from x by an index for each axis.
func (p *padder) gather(r *run, y, x *onnx.Tensor, before []int64, mode string) error {
	rank := x.Rank()
	for len(p.maps) < rank {
		p.maps = append(p.maps, nil)
	}
	stride := int64(1)
	for i := rank - 1; i >= 0; i-- {
		d := x.Dims[i]
		p.maps[i] = p.maps[i][:0]
		for j := range y.Dims[i] {
			p.maps[i] = append(p.maps[i], source(j-before[i], d, mode)*stride)
		}
		stride *= d
	}
	p.c.size, p.c.at = 1, append(p.c.at[:0], 0)
	for i := range rank { // outer sums with the next axis
		next := make([]int64, 0, len(p.c.at)*len(p.maps[i]))
		for _, at := range p.c.at {
			for _, o := range p.maps[i] {
				next = append(next, at+o)
			}
		}
		p.c.at = next
	}
	return p.c.run(r, y, x)
}

// source returns which of d elements index j means.
func source(j, d int64, mode string) int64 {
	switch mode {
	case "edge":
		return min(max(j, 0), d-1)
	case "wrap":
		return ((j % d) + d) % d
	}
	if d == 1 {
		return 0
	}
	period := 2 * (d - 1)
	j = ((j % period) + period) % period
	return min(j, period-j)
}

// makeCenterCropPad crops or pads dimensions to a shape, keeping the middle.
func makeCenterCropPad(_ *builder, n *onnx.Node) (kernel, error) {
	axes := n.Ints("axes")
	var p padder
	return func(r *run) error {
		x, want := r.in(0), r.ints(1)
		if axes == nil && len(want) != x.Rank() || axes != nil && len(want) != len(axes) {
			return fmt.Errorf("%d sizes for shape %v and axes %v: %w", len(want), x.Dims, axes, onnx.ErrBadModel)
		}
		dims, before := slices.Clone(x.Dims), make([]int64, x.Rank())
		for j, d := range want {
			i := j
			if axes != nil {
				i = r.axisOf(axes[j], x.Rank())
			}
			dims[i] = d
			if d >= x.Dims[i] {
				before[i] = (d - x.Dims[i]) / 2
			} else {
				before[i] = -((x.Dims[i] - d) / 2)
			}
		}
		y := r.out(0, x.Type, dims...)
		if x.Type != onnx.String {
			clear(y.Bytes())
		}
		p.place(r, y, x, before)
		return nil
	}, nil
}
