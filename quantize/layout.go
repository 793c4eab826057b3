package quantize

import (
	"math"
	"math/bits"
)

// A layout sees a row-major tensor as [outer, channels, inner].
type layout struct{ outer, channels, inner int }

func layoutOf(dims []int64, axis int) layout {
	if axis == PerTensor {
		n, _ := volume(dims)
		return layout{1, 1, n}
	}
	outer, _ := volume(dims[:axis])
	inner, _ := volume(dims[axis+1:])
	return layout{outer, int(dims[axis]), inner}
}

// volume is the product of dims; false when one is not positive or it overflows.
func volume(dims []int64) (int, bool) {
	n := uint64(1)
	for _, d := range dims {
		hi, lo := bits.Mul64(n, uint64(d))
		if d <= 0 || hi != 0 || lo > math.MaxInt {
			return 0, false
		}
		n = lo
	}
	return int(n), true
}

// index is the position of element i in a tensor of shape dims.
func index(i int, dims []int64) []int64 {
	at := make([]int64, len(dims))
	rest := int64(i)
	for d := len(dims) - 1; d >= 0; d-- {
		at[d], rest = rest%dims[d], rest/dims[d]
	}
	return at
}

// each calls f with every contiguous run from…to and its channel, in memory order.
func (l layout) each(f func(channel, from, to int)) {
	at := 0
	for range l.outer {
		for c := range l.channels {
			f(c, at, at+l.inner)
			at += l.inner
		}
	}
}

// of calls f with the contiguous runs of one channel.
func (l layout) of(channel int, f func(from, to int)) {
	for o := range l.outer {
		at := (o*l.channels + channel) * l.inner
		f(at, at+l.inner)
	}
}

// absMax is the largest magnitude of every channel; NaN counts as the largest.
func (l layout) absMax(x []float32) []float32 {
	// The bits of |x| order as |x| does, NaN last.
	m := make([]uint32, l.channels)
	if l.inner == 1 {
		for ; len(x) > 0; x = x[l.channels:] {
			for c, v := range x[:l.channels] {
				m[c] = max(m[c], math.Float32bits(v)&^signBit)
			}
		}
	} else {
		l.each(func(c, from, to int) {
			a := m[c]
			for _, v := range x[from:to] {
				a = max(a, math.Float32bits(v)&^signBit)
			}
			m[c] = a
		})
	}
	r := make([]float32, l.channels)
	for c, b := range m {
		r[c] = math.Float32frombits(b)
	}
	return r
}

const signBit = 1 << 31
