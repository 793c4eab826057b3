package quantize

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A RangeRule says how the range of an activation is chosen from what a
// Collector has seen.
type RangeRule struct {
	Method     string  // the name of a row of Methods
	Percentile float64 // for "percentile": how many of a hundred values are kept; 0 means 99.99
	SigmaK     float64 // for "sigma": k of mean ± k·std; 0 means by the grid's bits
}

// A Method is a way to choose a range.
type Method struct {
	Name, Doc string

	extremesOnly bool // an Extremes serves as well as a Histogram
	choose       func(r RangeRule, h *Histogram, g Grid) (lo, hi float64)
}

// Methods are the ways to choose a range. What they choose is cut to the
// extremes seen and widened to contain 0.
var Methods = []Method{
	{Name: "minmax", Doc: "the extremes seen", extremesOnly: true},
	{Name: "percentile", Doc: "99.99 % of the values (--percentile), half of the rest cut off on each side", choose: percentileRange},
	{Name: "mse", Doc: "least mean squared error of the quantized values, both ends searched", choose: mseRange},
	{Name: "sigma", Doc: "mean ± k standard deviations, k by the number of bits (--sigma-k)", choose: sigmaRange},
}

func (r RangeRule) method() (Method, error) {
	i := slices.IndexFunc(Methods, func(m Method) bool { return m.Name == r.Method })
	if i < 0 {
		var names []string
		for _, m := range Methods {
			names = append(names, m.Name)
		}
		return Method{}, fmt.Errorf("unknown range method %q: use one of %s", r.Method, strings.Join(names, ", "))
	}
	return Methods[i], nil
}

// Check refuses unknown methods and numbers that mean nothing.
func (r RangeRule) Check() error {
	if _, err := r.method(); err != nil {
		return err
	}
	if !(r.Percentile >= 0 && r.Percentile <= 100) {
		return fmt.Errorf("percentile %v is not between 0 and 100", r.Percentile)
	}
	if !(r.SigmaK >= 0 && r.SigmaK <= math.MaxFloat32) {
		return fmt.Errorf("sigma k %v is not a positive number", r.SigmaK)
	}
	return nil
}

// NewCollector returns the cheapest collector that the rule can work with.
func (r RangeRule) NewCollector() (Collector, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if m, _ := r.method(); m.extremesOnly {
		return new(Extremes), nil
	}
	return new(Histogram), nil
}

// Range returns the range for the grid g, lo ≤ 0 ≤ hi; g.Params makes scale and
// zero point of it. Symmetric grids get −lo = hi. Errors: those of Check,
// ErrNoValues, ErrNonFinite, and an Extremes where a Histogram is needed.
func (r RangeRule) Range(c Collector, g Grid) (lo, hi float32, err error) {
	if err := r.Check(); err != nil {
		return 0, 0, err
	}
	m, _ := r.method()
	seen := c.Seen()
	if err := seen.Err(); err != nil {
		return 0, 0, err
	}
	l, h := float64(seen.Min), float64(seen.Max)
	if !m.extremesOnly {
		hist, ok := c.(*Histogram)
		if !ok {
			return 0, 0, fmt.Errorf("range method %q needs a %T, not a %T", r.Method, new(Histogram), c)
		}
		cl, ch := m.choose(r, hist, g)
		l, h = max(cl, l), min(ch, h)
	}
	l, h = min(l, 0), max(h, 0)
	if g.Symmetric {
		h = max(-l, h)
		l = -h
	}
	return float32(l), float32(h), nil
}

func percentileRange(r RangeRule, h *Histogram, g Grid) (lo, hi float64) {
	p := r.Percentile
	if p == 0 {
		p = 99.99
	}
	if g.Symmetric {
		a := quantile(magnitudes(h.buckets()), p/100)
		return -a, a
	}
	b := h.buckets()
	cut := (100 - p) / 200
	return quantile(b, cut), quantile(b, 1-cut)
}

// quantile is the value below or at which the share q lies: the
// ceil(q·n)-th value, spread evenly within its bucket.
func quantile(b []bucket, q float64) float64 {
	var n, before uint64
	for _, x := range b {
		n += x.n
	}
	rank := min(max(uint64(math.Ceil(q*float64(n))), 1), n)
	i := 0
	for ; before+b[i].n < rank; i++ {
		before += b[i].n
	}
	within := (float64(rank-before) - 0.5) / float64(b[i].n)
	switch {
	case rank == 1:
		return b[0].lo
	case rank == n:
		return b[i].hi
	}
	return b[i].lo + float64((b[i].hi-b[i].lo)*within)
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
	slices.SortFunc(r, func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi), cmp.Compare(a.n, b.n))
	})
	return r
}

// sigmaByBits is the k that is best for normally distributed values.
var sigmaByBits = map[int]float64{2: 1.53, 3: 2.08, 4: 2.56, 5: 2.94, 6: 3.29, 7: 3.62, 8: 3.92}

func sigmaRange(r RangeRule, h *Histogram, g Grid) (lo, hi float64) {
	k := r.SigmaK
	if k == 0 {
		k = sigmaByBits[g.Bits]
	}
	mean, variance := h.Moments()
	d := float64(k * math.Sqrt(variance))
	return mean - d, mean + d
}
