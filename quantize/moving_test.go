package quantize

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func averaged(samples ...[]float32) *MovingAverage {
	a := new(MovingAverage)
	for _, x := range samples {
		a.Observe(x)
	}
	return a
}

func TestMovingAverage(t *testing.T) {
	for _, c := range []struct {
		name    string
		samples [][]float32
		lo, hi  float64
	}{
		{"the first sample is the start", [][]float32{{-1, 3}}, -1, 3},
		{"1 % of the way", [][]float32{{-1, 3}, {-2, 103}}, -1.01, 4},
		{"order", [][]float32{{-2, 103}, {-1, 3}}, -1.99, 102},
		{"1 % of what is left", [][]float32{{0, 100}, {0, 0}, {0, 0}}, 0, 98.01},
		{"empty samples are passed over", [][]float32{{}, {-1, 3}, {}, {-2, 103}, {}}, -1.01, 4},
	} {
		a := averaged(c.samples...)
		if math.Abs(a.min-c.lo) > 1e-12 || math.Abs(a.max-c.hi) > 1e-12 {
			t.Errorf("%s: %v…%v, want %v…%v", c.name, a.min, a.max, c.lo, c.hi)
		}
		lo, hi, err := RangeRule{Method: "moving-average"}.Range(a, Uint8)
		if err != nil || lo != float32(min(a.min, 0)) || hi != float32(a.max) {
			t.Errorf("%s: range %v…%v (%v)", c.name, lo, hi, err)
		}
	}
}

func TestMovingAverageCannotMerge(t *testing.T) {
	a, b := averaged([]float32{1}), averaged([]float32{2})
	if err := a.Merge(b); !errors.Is(err, ErrOrdered) {
		t.Errorf("merged: %v", err)
	}
	if err := new(Histogram).Merge(a); err == nil {
		t.Error("a Histogram took a MovingAverage")
	}
}

// The average lies between the samples' extremes, and no sample moves it by more than its share.
func TestMovingAverageProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := new(MovingAverage)
		for _, x := range rapid.SliceOfN(anyValues, 1, 20).Draw(t, "samples") {
			before := *a
			a.Observe(x)
			if a.extremes.Count == 0 {
				continue
			}
			if a.min < float64(a.extremes.Min) || a.max > float64(a.extremes.Max) || a.min > a.max {
				t.Errorf("average %v…%v of extremes %+v", a.min, a.max, a.extremes)
			}
			far := 1.000001 * averaging * (float64(a.extremes.Max) - float64(a.extremes.Min))
			if before.extremes.Count > 0 && (math.Abs(a.min-before.min) > far || math.Abs(a.max-before.max) > far) {
				t.Errorf("%v…%v after %v…%v", a.min, a.max, before.min, before.max)
			}
		}
	})
}
