package quantize

import (
	"cmp"
	"math"
	"slices"
)

// A mixture is what ranges are chosen from: the histograms of the tensors that
// are to share one, with weights for what one value of each counts.
type mixture []component

type component struct {
	*Histogram
	weight float64
}

// mixtureMass is what the values of a mixture of several tensors count in
// all: enough that one value of a small share still counts as one or more,
// little enough that sums of whole masses are exact.
const mixtureMass = 1 << 40

// mix gives every histogram the share of the whole that shares says. One of
// zeros is left out, as any range serves it; one that is alone counts its values
// as they are. The order of the histograms does not matter, to the last bit.
func mix(h []*Histogram, g Grid, shares func([]*Histogram, Grid) []float64) mixture {
	if len(h) == 1 {
		return mixture{{h[0], 1}}
	}
	h = inOrder(h)
	total, of := 0.0, shares(h, g)
	for _, s := range of {
		total += s
	}
	var m mixture
	for i, h := range h {
		if of[i] > 0 {
			m = append(m, component{h, mixtureMass * (of[i] / total) / float64(h.extremes.Count)})
		}
	}
	if m == nil {
		m = mixture{{h[0], 1}}
	}
	return m
}

// inOrder sorts by all that goes into sums over histograms.
func inOrder(h []*Histogram) []*Histogram {
	h = slices.Clone(h)
	slices.SortFunc(h, func(a, b *Histogram) int {
		am, av := a.Moments()
		bm, bv := b.Moments()
		return cmp.Or(cmp.Compare(av, bv), cmp.Compare(am, bm), cmp.Compare(a.extremes.Count, b.extremes.Count))
	})
	return h
}

// byTensor gives every tensor the same share, whatever its size.
func byTensor(h []*Histogram, _ Grid) []float64 {
	r := make([]float64, len(h))
	for i := range h {
		if h[i].power() > 0 {
			r[i] = 1
		}
	}
	return r
}

// byPower gives every tensor a share such that an error counts in relation to
// the tensor's power, or to 2^-Bits of the greatest power if it has less.
func byPower(h []*Histogram, g Grid) []float64 {
	r := make([]float64, len(h))
	for i := range h {
		r[i] = h[i].power()
	}
	greatest := slices.Max(r)
	least := math.Ldexp(greatest, -g.Bits)
	for i, p := range r {
		if p > 0 {
			r[i] = greatest / max(p, least)
		}
	}
	return r
}

// power is the mean square of the values.
func (h *Histogram) power() float64 {
	mean, variance := h.Moments()
	return variance + float64(mean*mean)
}

// buckets are those of all histograms, from the least to the greatest; those
// of different histograms may overlap.
func (m mixture) buckets() []bucket {
	var r []bucket
	for _, c := range m {
		from := len(r)
		r = append(r, c.Histogram.buckets()...)
		for i := range r[from:] {
			r[from+i].n *= c.weight
		}
	}
	if len(m) > 1 {
		sortBuckets(r)
	}
	return r
}

// extremes of all histograms, widened to contain 0.
func (m mixture) extremes() (lo, hi float64) {
	for _, c := range m {
		lo, hi = min(lo, float64(c.Histogram.extremes.Min)), max(hi, float64(c.Histogram.extremes.Max))
	}
	return lo, hi
}

// moments are mean and variance of the whole.
func (m mixture) moments() (mean, variance float64) {
	if len(m) == 1 {
		return m[0].Moments()
	}
	var n, sum, square float64
	for _, c := range m {
		mass := c.weight * float64(c.Histogram.extremes.Count)
		mean, _ := c.Moments()
		n += mass
		sum += float64(mass * mean)
		square += float64(mass * c.power())
	}
	mean = sum / n
	return mean, max(square/n-float64(mean*mean), 0)
}

// mass is what all values count.
func mass(b []bucket) float64 {
	n := 0.0
	for _, x := range b {
		n += x.n
	}
	return n
}

// magnitudes are the buckets of |x|, from the least to the greatest.
func magnitudes(b []bucket) []bucket {
	r := make([]bucket, len(b))
	for i, x := range b {
		if x.lo < 0 {
			x.lo, x.hi = -x.hi, -x.lo
		}
		r[i] = x
	}
	sortBuckets(r)
	return r
}

// nonzero leaves out the bucket of 0, with values that every scale makes 0.
func nonzero(b []bucket) []bucket {
	r := make([]bucket, 0, len(b))
	for _, x := range b {
		if x.lo > 0 || x.hi < 0 {
			r = append(r, x)
		}
	}
	return r
}

func sortBuckets(b []bucket) {
	slices.SortFunc(b, func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi), cmp.Compare(a.n, b.n))
	})
}
