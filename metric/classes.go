package metric

import "math"

// observeRows compares the rows of classes of one tensor.
func (c *Comparison) observeRows(ref, got []float32) {
	if c.Classes == 0 {
		return
	}
	for i := 0; i < len(ref); i += c.Classes {
		r, g := ref[i:i+c.Classes], got[i:i+c.Classes]
		c.rows++
		if argmax(r) == argmax(g) {
			c.same++
		}
		c.divergence += Divergence(r, g)
	}
}

// argmax is the index of the first greatest value, NaN counting as the
// greatest, as in numpy.
func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v != v {
			return i
		}
		if v > x[best] {
			best = i
		}
	}
	return best
}

// Divergence is the Kullback-Leibler divergence Σ p·ln(p/q) in nats between the
// class probabilities p of ref and q of got, two rows of equal length.
//
// If ref is a row of probabilities (none negative, their sum within 0.001 of 1),
// both rows are taken as such, raised to at least 1e-10 each, since 8-bit codes
// make many of them 0, and divided by their sum. Any other ref is taken as
// logits: both rows go through softmax.
func Divergence(ref, got []float32) float64 {
	logOf := logOf(ref)
	p, q := logOf(ref), logOf(got)
	sum := 0.0
	for i := range p {
		// Far below, 0·(−Inf) would be NaN: e^-745 is 0 already.
		if w := exp(p[i]); w != 0 {
			sum += float64(w * (p[i] - q[i]))
		}
	}
	return sum
}

// logOf returns how the logarithms of class probabilities are found in rows that mean what ref does.
func logOf(ref []float32) func([]float32) []float64 {
	if areProbabilities(ref) {
		return logProbabilities
	}
	return logSoftmax
}

func areProbabilities(x []float32) bool {
	sum := 0.0
	for _, v := range x {
		if !(v >= 0) {
			return false
		}
		sum += float64(v)
	}
	return math.Abs(sum-1) <= 1e-3
}

func logProbabilities(x []float32) []float64 {
	r := make([]float64, len(x))
	sum := 0.0
	for i, v := range x {
		r[i] = float64(v)
		if r[i] < 1e-10 {
			r[i] = 1e-10
		}
		sum += r[i]
	}
	for i := range r {
		r[i] = ln(r[i] / sum)
	}
	return r
}

func logSoftmax(x []float32) []float64 {
	r := make([]float64, len(x))
	largest := math.Inf(-1)
	for i, v := range x {
		r[i] = float64(v)
		largest = max(largest, r[i])
	}
	sum := 0.0
	for _, v := range r {
		sum += exp(v - largest)
	}
	l := ln(sum)
	for i := range r {
		r[i] = r[i] - largest - l
	}
	return r
}
