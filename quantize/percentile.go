package quantize

import "math"

// percentileRange cuts the same share of values off at both ends.
func percentileRange(r RangeRule, m mixture, g Grid) (lo, hi float64) {
	p := r.Percentile
	if p == 0 {
		p = 99.99
	}
	b := m.buckets()
	if g.Symmetric {
		a := quantile(magnitudes(b), p/100)
		return -a, a
	}
	cut := (100 - p) / 200
	return quantile(b, cut), quantile(b, 1-cut)
}

// quantile is the value below or at which the share q lies: the
// ceil(q·n)-th value, spread evenly within its bucket.
func quantile(b []bucket, q float64) float64 {
	n, before := mass(b), 0.0
	rank := min(max(math.Ceil(float64(q*n)), 1), n)
	i := 0
	for ; before+b[i].n < rank; i++ {
		before += b[i].n
	}
	within := (rank - before - 0.5) / b[i].n
	switch rank {
	case 1:
		return b[0].lo
	case n:
		return b[i].hi
	}
	return b[i].lo + float64((b[i].hi-b[i].lo)*within)
}
