package quantize

import (
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

	collector func() Collector // the cheapest that serves
	choose    chooser          // nil: Auto
}

// Auto is the method of a planner that tries the Candidates and measures what each does to the layers that take the tensor.
// A RangeRule gathers for it what the Candidates need, but has no Range of its own.
const Auto = "auto"

// A chooser makes one range of what was seen of the tensors that are to share it.
type chooser func(r RangeRule, c []Collector, g Grid) (lo, hi float64, err error)

// Methods are the ways to choose a range. What they choose is cut to the
// extremes seen and widened to contain 0.
var Methods = []Method{
	{"minmax", "the extremes seen", newExtremes, widest(extremeEnds)},
	{"moving-average", "extremes that follow those of one sample after the other, 1 % of the way each", newMovingAverage, widest(averagedEnds)},
	{"percentile", "99.99 % of the values (--percentile), half of the rest cut off on each side", newHistogram, mixed(percentileRange, byTensor)},
	{"entropy", "least divergence (KL) of the clipped, quantized distribution of magnitudes from the true one", newHistogram, mixed(entropyRange, byTensor)},
	{"mse", "least mean squared error of the quantized values, both ends searched", newHistogram, mixed(mseRange, byPower)},
	{"octav", "least expected squared error of rounding and clipping (OCTAV)", newHistogram, mixed(octavRange, byPower)},
	{"sigma", "mean ± k standard deviations, k by the number of bits (--sigma-k)", newHistogram, mixed(sigmaRange, byTensor)},
	{Auto, "of the others, but moving-average, the one that disturbs least the layers that take the tensor", newHistogram, nil},
}

func newExtremes() Collector  { return new(Extremes) }
func newHistogram() Collector { return new(Histogram) }

// ordered methods have ranges that depend on the order of the samples, which
// only a collector of their own follows.
func (m Method) ordered() bool {
	_, is := m.collector().(*MovingAverage)
	return is
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
	m, _ := r.method()
	return m.collector(), nil
}

// Range returns the range for the grid g, lo ≤ 0 ≤ hi; g.Params makes scale and
// zero point of it. Symmetric grids get −lo = hi. Errors: those of Check,
// ErrNoValues, ErrNonFinite, a collector that the method cannot work with, and Auto.
func (r RangeRule) Range(c Collector, g Grid) (lo, hi float32, err error) {
	return r.SharedRange([]Collector{c}, g)
}

// SharedRange returns the range for tensors that must share scale and zero
// point, as the operands of a Concat must. A tensor of few elements counts as
// much as one of many:
//
//   - minmax and moving-average take the union of the tensors' ranges;
//   - percentile, entropy and sigma see every tensor as an equal share of the values;
//   - mse and octav weigh squared errors by the power (the mean square) of their
//     tensor, since what follows is used to a tensor's own magnitude: they minimise
//     the sum of noise over signal. A tensor under 2^-Bits of the loudest one's
//     power, to which half of the bits would be lost anyway, is weighed as if it
//     had that power: else the loud one would be clipped away for its sake.
//
// Errors are those of Range.
func (r RangeRule) SharedRange(c []Collector, g Grid) (lo, hi float32, err error) {
	if err := r.Check(); err != nil {
		return 0, 0, err
	}
	var seen Extremes
	if err := seen.mergeAll(c); err != nil {
		return 0, 0, err
	}
	m, _ := r.method()
	if m.choose == nil {
		return 0, 0, fmt.Errorf("range method %q is for planners, which choose one of the candidates", r.Method)
	}
	cl, ch, err := m.choose(r, c, g)
	if err != nil {
		return 0, 0, fmt.Errorf("range method %q %w", r.Method, err)
	}
	l, h := max(cl, float64(seen.Min)), min(ch, float64(seen.Max))
	l, h = min(l, 0), max(h, 0)
	if g.Symmetric {
		h = max(-l, h)
		l = -h
	}
	return float32(l), float32(h), nil
}

// mergeAll adds what all the collectors have seen, unless a range must be
// refused for one of them.
func (e *Extremes) mergeAll(c []Collector) error {
	for i := range c {
		o := c[i].Seen()
		if err := o.Err(); err != nil {
			if len(c) > 1 {
				err = fmt.Errorf("tensor %d of the %d that share a scale: %w", i+1, len(c), err)
			}
			return err
		}
		e.merge(&o)
	}
	return e.Err()
}

// widest chooses the union of the ranges that ends gives for each tensor.
func widest[C Collector](ends func(C) (lo, hi float64)) chooser {
	return func(_ RangeRule, c []Collector, _ Grid) (lo, hi float64, err error) {
		lo, hi = math.Inf(1), math.Inf(-1)
		for _, c := range c {
			k, ok := c.(C)
			if !ok {
				return 0, 0, collectorError[C](c)
			}
			l, h := ends(k)
			lo, hi = min(lo, l), max(hi, h)
		}
		return lo, hi, nil
	}
}

// mixed chooses from the mixture of all tensors' histograms, of which each
// makes up the share that shares says.
func mixed(from func(RangeRule, mixture, Grid) (lo, hi float64), shares func([]*Histogram, Grid) []float64) chooser {
	return func(r RangeRule, c []Collector, g Grid) (lo, hi float64, err error) {
		h := make([]*Histogram, len(c))
		for i := range c {
			var ok bool
			if h[i], ok = c[i].(*Histogram); !ok {
				return 0, 0, collectorError[*Histogram](c[i])
			}
		}
		lo, hi = from(r, mix(h, g, shares), g)
		return lo, hi, nil
	}
}

func collectorError[C Collector](c Collector) error {
	var want C
	return fmt.Errorf("needs a %T, not a %T", want, c)
}

func extremeEnds(c Collector) (lo, hi float64) {
	e := c.Seen()
	return float64(e.Min), float64(e.Max)
}
