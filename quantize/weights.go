package quantize

import (
	"fmt"
	"math"
	"slices"
)

// PerTensor is the axis of weights that have one scale for all of them.
const PerTensor = -1

// Weights are the codes of a constant tensor and their scales. The value of an
// element is f32(f32(code−zero)·scale).
type Weights struct {
	Grid   Grid
	Dims   []int64
	Axis   int       // whose channels have scales of their own, or PerTensor
	Block  int       // weights of a channel, one after the other, that share a scale; 0: all of them
	Codes  []int8    // row-major, as many as the product of Dims
	Scales []float32 // [channels, blocks of a channel]
	Zeros  []int8    // zero points beside Scales; nil: all 0
	Levels []int8    // the codes in use, ascending; nil: all of Grid

	start func(r *Rows, energy []float64) // finds the scales anew, for what is known of the inputs; nil: they stand
}

// QuantizeWeights rounds the row-major tensor w to the symmetric grid g, with
// the scale of a channel s = f32(max|w|/g.Max), at least MinScale: a dead
// channel has codes 0 and the finest scale, which QuantizeBias raises to what
// its bias needs. Usual axes: 0 of a Conv's [O, I/group, kH, kW] and of an
// embedding table [V, D] (a scale per row), 1 of a MatMul's [K, N].
//
// Weights that are not finite are an error that names the first one's index.
func QuantizeWeights(w []float32, dims []int64, axis int, g Grid) (*Weights, error) {
	if !g.Symmetric || g.Max > math.MaxInt8 {
		return nil, fmt.Errorf("weights cannot be quantized to %s %d…%d: a symmetric grid of at most 8 bits is needed", g.Name, g.Min, g.Max)
	}
	if err := checkWeights(w, dims, axis); err != nil {
		return nil, err
	}
	q := &Weights{Grid: g, Dims: slices.Clone(dims), Axis: axis, Codes: make([]int8, len(w))}
	l := layoutOf(dims, axis)
	q.Scales = make([]float32, l.channels)
	for c, m := range l.absMax(w) {
		q.Scales[c] = usableScale(float64(m)/float64(g.Max), g.Max)
	}
	if l.inner == 1 {
		q.roundColumns(w)
	} else {
		q.Round(w)
	}
	return q, nil
}

// roundColumns is round for channels along the last axis, whose runs are single weights.
func (q *Weights) roundColumns(w []float32) {
	lo, hi := float32(q.Grid.Min), float32(q.Grid.Max)
	for codes := q.Codes; len(codes) > 0; {
		for c, s := range q.Scales {
			codes[c] = int8(round(w[c]/s, lo, hi))
		}
		w, codes = w[len(q.Scales):], codes[len(q.Scales):]
	}
}

func (q *Weights) round(w []float32, c, from, to int) {
	Quantize(q.Codes[from:to], w[from:to], q.params(c), q.Grid)
}

// params returns the scale and the zero point of a channel's block.
func (q *Weights) params(at int) Params {
	p := Params{Scale: q.Scales[at]}
	if q.Zeros != nil {
		p.ZeroPoint = int32(q.Zeros[at])
	}
	return p
}

// Round rounds w, of q's shape, to codes by the scales and zero points of whole channels.
func (q *Weights) Round(w []float32) {
	layoutOf(q.Dims, q.Axis).each(func(c, from, to int) { q.round(w, c, from, to) })
}

// setScale gives a channel another scale and rounds its codes anew from w.
func (q *Weights) setScale(w []float32, channel int, scale float32) {
	q.Scales[channel] = scale
	if q.Levels != nil {
		r := q.Rows(w, channel, channel+1)
		r.Round()
		q.SetRows(r, channel)
		return
	}
	layoutOf(q.Dims, q.Axis).of(channel, func(from, to int) { q.round(w, channel, from, to) })
}

// Dequantize returns the values of the codes.
func (q *Weights) Dequantize() []float32 {
	w := make([]float32, len(q.Codes))
	q.DequantizeTo(w)
	return w
}

// DequantizeTo writes the values of the codes to w, which has their length.
func (q *Weights) DequantizeTo(w []float32) {
	l := layoutOf(q.Dims, q.Axis)
	blocks := max(len(q.Scales)/l.channels, 1)
	if l.inner == 1 { // the runs are single weights: a row has one of each channel
		for i := range l.outer {
			b := 0
			if q.Block > 0 {
				b = i / q.Block
			}
			codes, row := q.Codes[i*l.channels:][:l.channels], w[i*l.channels:][:l.channels]
			for c, code := range codes {
				at := c*blocks + b
				row[c] = q.value(code, at)
			}
		}
		return
	}
	q.eachRun(l, 0, l.channels, func(row, at, n int) {
		k := l.outer * l.inner
		for i, end := row%k, row%k+n; i < end; { // of the channel's weights
			next, s := end, row/k*blocks
			if q.Block > 0 {
				next, s = min((i/q.Block+1)*q.Block, end), s+i/q.Block
			}
			Dequantize(w[at:at+next-i], q.Codes[at:at+next-i], q.params(s))
			at, i = at+next-i, next
		}
	})
}

func (q *Weights) value(code int8, at int) float32 {
	v := int32(code)
	if q.Zeros != nil {
		v -= int32(q.Zeros[at])
	}
	return float32(float32(v) * q.Scales[at])
}

// Rows returns channels from…to of w, the weights q was made from, in the form in which they are solved for. Codes and
// scales are copies; SetRows brings them back.
func (q *Weights) Rows(w []float32, from, to int) *Rows {
	l := layoutOf(q.Dims, q.Axis)
	r := &Rows{N: to - from, K: l.outer * l.inner, Grid: q.Grid, Block: q.Block, Levels: q.Levels}
	if r.Block == 0 {
		r.Block = r.K
	}
	r.W, r.Codes = make([]float32, r.N*r.K), make([]int8, r.N*r.K)
	q.eachRun(l, from, to, func(row, at, n int) {
		copy(r.W[row:row+n], w[at:])
		copy(r.Codes[row:row+n], q.Codes[at:])
	})
	blocks := r.blocks()
	r.Scales = slices.Clone(q.Scales[from*blocks : to*blocks])
	if q.Zeros != nil {
		r.Zeros = slices.Clone(q.Zeros[from*blocks : to*blocks])
	}
	return r
}

// SetRows takes codes, scales and zero points of channels from… over, and the levels of all.
func (q *Weights) SetRows(r *Rows, from int) {
	l := layoutOf(q.Dims, q.Axis)
	q.eachRun(l, from, from+r.N, func(row, at, n int) { copy(q.Codes[at:at+n], r.Codes[row:]) })
	copy(q.Scales[from*r.blocks():], r.Scales)
	if r.Zeros != nil {
		copy(q.Zeros[from*r.blocks():], r.Zeros)
	}
	q.Levels = r.Levels
}

// SetValues writes rows [channels, K] of channels from… to the tensor w of q's shape.
func (q *Weights) SetValues(w, rows []float32, from int) {
	l := layoutOf(q.Dims, q.Axis)
	q.eachRun(l, from, from+len(rows)/(l.outer*l.inner), func(row, at, n int) { copy(w[at:at+n], rows[row:]) })
}

// eachRun calls f for the contiguous runs of channels from…to: n weights at, which lie at row in [to−from, K].
func (q *Weights) eachRun(l layout, from, to int, f func(row, at, n int)) {
	k := l.outer * l.inner
	for o := range l.outer {
		for c := from; c < to; c++ {
			f((c-from)*k+o*l.inner, (o*l.channels+c)*l.inner, l.inner)
		}
	}
}

// ScaleDims is the shape in which the scales of whole channels broadcast over
// Dims: [O,1,1,1] for axis 0 of a Conv, [V,1] for the rows of a table, all ones
// per tensor.
func (q *Weights) ScaleDims() []int64 {
	d := slices.Repeat([]int64{1}, len(q.Dims))
	if q.Axis != PerTensor {
		d[q.Axis] = q.Dims[q.Axis]
	}
	return d
}

// Clone returns a copy with codes and scales of its own.
func (q *Weights) Clone() *Weights {
	r := *q
	r.Codes, r.Scales, r.Zeros = slices.Clone(q.Codes), slices.Clone(q.Scales), slices.Clone(q.Zeros)
	return &r
}

// Matrix returns the codes as a matrix with a row for each channel, padded to width ≥ K by codes that stand for 0 where there is one.
func (q *Weights) Matrix(width int) []int8 {
	l := layoutOf(q.Dims, q.Axis)
	k := l.outer * l.inner
	m := make([]int8, l.channels*width)
	q.eachRun(l, 0, l.channels, func(row, at, n int) { copy(m[row/k*width+row%k:], q.Codes[at:at+n]) })
	blocks := len(q.Scales) / l.channels
	for c := range l.channels {
		for i := k; i < width; i++ {
			switch {
			case q.Levels != nil:
				m[c*width+i] = q.Levels[0]
			case q.Zeros != nil:
				m[c*width+i] = q.Zeros[(c+1)*blocks-1]
			}
		}
	}
	return m
}

// Shape returns the number of channels, of weights in each, and of blocks in each.
func (q *Weights) Shape() (channels, weights, blocks int) {
	l := layoutOf(q.Dims, q.Axis)
	return l.channels, l.outer * l.inner, len(q.Scales) / l.channels
}

// Split returns the sizes before and behind the axis of the channels.
func (q *Weights) Split() (outer, inner int) {
	l := layoutOf(q.Dims, q.Axis)
	return l.outer, l.inner
}
