package rescale

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// A pattern says which scale each element of a tensor has: a small tensor of channel numbers that broadcasts over it from the
// last axis on, as ONNX's operands do. Dims do not start with 1.
type pattern struct {
	dims    []int
	channel []int
}

// along returns the pattern of channels along one axis, counted from the end: -1 is the last.
func along(axis, channels int) pattern {
	p := pattern{dims: make([]int, -axis), channel: make([]int, channels)}
	for i := range p.dims {
		p.dims[i] = 1
	}
	p.dims[0] = channels
	for i := range p.channel {
		p.channel[i] = i
	}
	return p
}

// axis returns the only axis along which the pattern varies, counted from the end; 0: there are several.
func (p pattern) axis() int {
	for _, d := range p.dims[1:] {
		if d != 1 {
			return 0
		}
	}
	return -len(p.dims)
}

// moved returns a pattern along one axis as one along another, or along an axis of other meaning.
func (p pattern) moved(axis int) pattern {
	m := along(axis, len(p.channel))
	m.channel = p.channel
	return m
}

// trimmed drops leading axes of size 1.
func (p pattern) trimmed() pattern {
	for len(p.dims) > 1 && p.dims[0] == 1 {
		p.dims = p.dims[1:]
	}
	return p
}

// padded returns the sizes of all axes of a tensor of that rank.
func (p pattern) padded(rank int) []int {
	dims := make([]int, rank)
	for i := range dims {
		dims[i] = 1
	}
	copy(dims[rank-len(p.dims):], p.dims)
	return dims
}

// fits reports whether v has, where the pattern varies, its sizes, so that nothing broadcasts v to them.
func (p pattern) fits(v *onnx.Value) bool {
	shape := rewrite.Shape(v)
	if len(shape) < len(p.dims) {
		return false
	}
	for i, d := range shape[len(shape)-len(p.dims):] {
		if p.dims[i] != 1 && d.Size != int64(p.dims[i]) {
			return false
		}
	}
	return true
}

// over returns the channel of each element of a tensor of those sizes; nil when the tensor would broadcast to the pattern.
func (p pattern) over(dims []int64) []int {
	if len(dims) < len(p.dims) {
		return nil
	}
	sizes := make([]int, len(dims))
	for i, d := range dims {
		sizes[i] = int(d)
	}
	steps := make([]int, len(dims)) // in the pattern
	step := 1
	for i := range p.dims {
		k, at := len(p.dims)-1-i, len(dims)-1-i
		if p.dims[k] == 1 {
			continue
		}
		if sizes[at] != p.dims[k] {
			return nil
		}
		steps[at] = step
		step *= p.dims[k]
	}
	all := make([]int, 0, onnx.NumElements(dims))
	walk(sizes, steps, func(at int) { all = append(all, p.channel[at]) })
	return all
}

// walk calls f for all elements of a tensor in order, with the sum of index times step.
func walk(sizes, steps []int, f func(at int)) {
	if len(sizes) == 0 {
		f(0)
		return
	}
	if slices.Contains(sizes, 0) {
		return
	}
	index, at := make([]int, len(sizes)), 0
	for {
		f(at)
		k := len(sizes) - 1
		for ; k >= 0; k-- {
			index[k]++
			at += steps[k]
			if index[k] < sizes[k] {
				break
			}
			at -= steps[k] * sizes[k]
			index[k] = 0
		}
		if k < 0 {
			return
		}
	}
}

// transposed returns the pattern of a tensor whose axis i is axis perm[i] of the one that p is of.
func (p pattern) transposed(perm []int) pattern {
	from := p.padded(len(perm))
	steps := make([]int, len(perm))
	for i, step := len(from)-1, 1; i >= 0; i-- {
		if from[i] != 1 {
			steps[i] = step
			step *= from[i]
		}
	}
	to, by := make([]int, len(perm)), make([]int, len(perm))
	for i, a := range perm {
		to[i], by[i] = from[a], steps[a]
	}
	q := pattern{dims: to}
	walk(to, by, func(at int) { q.channel = append(q.channel, p.channel[at]) })
	return q.trimmed()
}

// reshaped returns the pattern of the tensor with the same elements in order as one of shape from, which p is of; false when
// it cannot be told from the fixed sizes at the end.
func (p pattern) reshaped(from, to []onnx.Dim) (pattern, bool) {
	tail := int64(1)
	var dims []int64
	for _, d := range from[len(from)-len(p.dims):] {
		if d.Size < 1 {
			return p, false
		}
		tail *= d.Size
		dims = append(dims, d.Size)
	}
	q := pattern{}
	for i, product := len(to)-1, int64(1); product < tail; i-- {
		if i < 0 || to[i].Size < 1 {
			return p, false
		}
		product *= to[i].Size
		if product > tail {
			return p, false
		}
		q.dims = append(q.dims, int(to[i].Size))
	}
	if len(q.dims) == 0 {
		return p, false
	}
	slices.Reverse(q.dims)
	q.channel = p.over(dims)
	return q.trimmed(), true
}

// repeated returns the pattern of a tensor of shape to, which repeats one of shape from.
func (p pattern) repeated(from, to []onnx.Dim) (pattern, bool) {
	return p.tiled(from, to, func(q *pattern, in, out int) { q.channel[out] = p.channel[in] }, false)
}

// folded is the inverse of repeated: channels that lie on the same element must be one, which it tells by tie.
func (p pattern) folded(from, to []onnx.Dim, tie func(a, b int)) (pattern, bool) {
	return p.tiled(from, to, func(q *pattern, in, out int) {
		if q.channel[in] < 0 {
			q.channel[in] = p.channel[out]
		}
		tie(q.channel[in], p.channel[out])
	}, true)
}

// tiled pairs the places in the pattern of a tensor and in that of its repetition.
func (p pattern) tiled(from, to []onnx.Dim, pair func(q *pattern, in, out int), back bool) (pattern, bool) {
	if len(from) > len(to) || len(p.dims) > len(to) {
		return p, false
	}
	rank := len(p.dims)
	if !back { // new axes may repeat what the pattern does not see, and it need not
		rank = min(rank, len(from))
	}
	in, out := make([]int, rank), make([]int, rank)
	for i := range rank {
		k := len(to) - rank + i
		a, b, d := int64(1), to[k].Size, p.dims[len(p.dims)-rank+i]
		if j := k - (len(to) - len(from)); j >= 0 {
			a = from[j].Size
		}
		switch {
		case d == 1: // equal for all elements of this axis
			in[i], out[i] = 1, 1
		case a < 1 || b < 1 || b%a != 0:
			return p, false
		default:
			in[i], out[i] = int(a), int(b)
		}
	}
	q := pattern{dims: in}
	if !back {
		q.dims = out
	}
	q.channel = make([]int, product(q.dims))
	for i := range q.channel {
		q.channel[i] = -1
	}
	index := make([]int, rank)
	for at := range product(out) {
		rest, step, inside := at, 1, 0
		for k := rank - 1; k >= 0; k-- {
			index[k] = rest % out[k]
			rest /= out[k]
			inside += index[k] % in[k] * step
			step *= in[k]
		}
		pair(&q, inside, at)
	}
	return q.trimmed(), true
}

func product(dims []int) int {
	p := 1
	for _, d := range dims {
		p *= d
	}
	return p
}
