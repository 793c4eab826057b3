package quantize

import "errors"

// averaging is how much of the way to a new sample's extremes the average goes.
const averaging = 0.01

// A MovingAverage is the Collector of extremes that follow those of one sample
// after the other: r ← r + 0.01·(new − r), from the first sample's on. Each
// slice that Observe gets is a sample, and their order matters: this one is no
// monoid. Samples without finite values are passed over.
type MovingAverage struct {
	extremes Extremes
	min, max float64
}

// Observe implements Collector; x is all of a sample's tensor.
func (a *MovingAverage) Observe(x []float32) {
	var e Extremes
	e.Observe(x)
	if e.Count > 0 {
		least, greatest := float64(e.Min), float64(e.Max)
		if a.extremes.Count == 0 {
			a.min, a.max = least, greatest
		}
		a.min += float64(averaging * (least - a.min))
		a.max += float64(averaging * (greatest - a.max))
	}
	a.extremes.merge(&e)
}

// Merge implements Collector: it always fails with ErrOrdered.
func (a *MovingAverage) Merge(Collector) error { return ErrOrdered }

// ErrOrdered is what merging a MovingAverage fails with.
var ErrOrdered = errors.New("a moving average depends on the order of the samples and cannot be merged: let one collector observe all of them, or choose another range method")

// Seen implements Collector.
func (a *MovingAverage) Seen() Extremes { return a.extremes }

func averagedEnds(a *MovingAverage) (lo, hi float64) { return a.min, a.max }

func newMovingAverage() Collector { return new(MovingAverage) }
