package quantize

import (
	"cmp"
	"math"
	"slices"
)

// Diffuse rounds every channel in memory order and carries each error on to the next weight, so that the errors of any run
// of neighbours sum to at most one step. Where neighbouring weights see alike inputs (a filter over a signal, a transform of
// one) their errors then cancel: rounding noise moves to frequencies the input does not have. Elsewhere it costs 3 dB.
func (q *Weights) Diffuse(w []float32) {
	l := layoutOf(q.Dims, q.Axis)
	lo, hi := float64(q.Grid.Min), float64(q.Grid.Max)
	for c, s := range q.Scales {
		carry := 0.0
		l.of(c, func(from, to int) {
			for i := from; i < to; i++ {
				want := float64(w[i])/float64(s) - carry
				code := min(max(math.RoundToEven(want), lo), hi)
				carry = code - want
				q.Codes[i] = int8(code)
			}
		})
	}
}

// Balance flips roundings, up for down or down for up, so that the errors of a convolution's weights cancel where its inputs
// are alike: over each kernel of so many consecutive elements (neighbouring pixels are alike), then over the whole
// channel (after a Relu all inputs have a positive mean). Sums of errors of more than half a step disappear; what is
// flipped are the weights nearest to the middle between two codes. It needs no data. (SQuant, 2202.07471.)
//
// w are the weights q was made from, with channels along axis 0.
func (q *Weights) Balance(w []float32, kernel int) {
	l := layoutOf(q.Dims, q.Axis)
	errors := make([]float64, l.inner) // code − w/s, in steps
	l.each(func(c, from, to int) {
		codes := q.Codes[from:to]
		for i, code := range codes {
			errors[i] = float64(code) - float64(w[from+i])/float64(q.Scales[c])
		}
		for i := 0; i+kernel <= len(codes) && kernel > 1; i += kernel {
			q.cancel(codes[i:i+kernel], errors[i:i+kernel], 1)
		}
		q.cancel(codes, errors, max(kernel, 1))
	})
}

// cancel flips as many codes as bring the sum of the errors nearest to 0, at most one of every kernel when there are
// several kernels. Each flip is the one that raises the squared errors of weights and kernels least.
func (q *Weights) cancel(codes []int8, errors []float64, kernel int) {
	sum := 0.0
	for _, e := range errors {
		sum += e
	}
	count := int(math.RoundToEven(math.Abs(sum)))
	if count == 0 {
		return
	}
	step := 1.0
	if sum > 0 {
		step = -1
	}
	type flip struct {
		at   int
		cost float64
	}
	var flips []flip
	for k := 0; k < len(codes); k += kernel {
		best := flip{-1, math.Inf(1)}
		part := 0.0
		for i := k; i < min(k+kernel, len(codes)); i++ {
			part += errors[i]
			// (e+step)² − e² = 1 + 2·e·step; only a weight rounded away from step is worth it.
			next := int32(codes[i]) + int32(step)
			if cost := 1 + 2*errors[i]*step; errors[i]*step < 0 && cost < best.cost && next >= q.Grid.Min && next <= q.Grid.Max {
				best = flip{i, cost}
			}
		}
		if best.at < 0 {
			continue
		}
		if kernel > 1 {
			best.cost += 1 + 2*part*step
		}
		flips = append(flips, best)
	}
	slices.SortStableFunc(flips, func(a, b flip) int { return cmp.Compare(a.cost, b.cost) })
	for _, f := range flips[:min(count, len(flips))] {
		codes[f.at] += int8(step)
		errors[f.at] += step
	}
}
