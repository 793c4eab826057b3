package quantize

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func candidatesOf(t testing.TB, g Grid, h ...*Histogram) []Candidate {
	c, err := RangeRule{}.Candidates(h, g)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each candidate is what its method chooses, with the error that the values have.
func TestCandidates(t *testing.T) {
	for name, from := range distributions {
		x := sample(1<<15, from)
		h := histogram(x)
		for _, g := range []Grid{Uint8, Int8Weights, uint4} {
			var names []string
			least := math.Inf(1)
			byName := map[string]float64{}
			for _, c := range candidatesOf(t, g, h) {
				names = append(names, c.Method)
				if lo, hi := rangeOf(t, RangeRule{Method: c.Method}, x, g); lo != c.Lo || hi != c.Hi {
					t.Errorf("%s %s: %v…%v, want %v…%v", name, c.Method, c.Lo, c.Hi, lo, hi)
				}
				p := g.Params(c.Lo, c.Hi)
				if c.Noise != h.Noise(p, g) {
					t.Errorf("%s %s: noise %v, the histogram's %v", name, c.Method, c.Noise, h.Noise(p, g))
				}
				if want := squaredError(x, p, g); math.Abs(c.Noise/want-1) > 0.03 {
					t.Errorf("%s %s: noise %v, the values' %v", name, c.Method, c.Noise, want)
				}
				// Buckets with few values are not filled evenly.
				if want := clippedError(x, p, g); math.Abs(c.Clipping-want) > 0.1*want+0.01*c.Noise {
					t.Errorf("%s %d bits, %s: clipping %v, the values' %v", name, g.Bits, c.Method, c.Clipping, want)
				}
				least = min(least, c.Noise)
				byName[c.Method] = c.Noise
			}
			if want := []string{"minmax", "percentile", "entropy", "mse", "octav", "sigma"}; !slices.Equal(names, want) {
				t.Errorf("candidates %v, want %v", names, want)
			}
			if byName["mse"] > 1.01*least {
				t.Errorf("%s %d bits: mse has %v, the best %v", name, g.Bits, byName["mse"], least)
			}
		}
	}
}

// clippedError is the mean squared distance of x from the codes' range.
func clippedError(x []float32, p Params, g Grid) float64 {
	lo, hi := float64(g.Min-p.ZeroPoint)*float64(p.Scale), float64(g.Max-p.ZeroPoint)*float64(p.Scale)
	sum := 0.0
	for _, v := range x {
		d := float64(v) - min(max(float64(v), lo), hi)
		sum += d * d
	}
	return sum / float64(len(x))
}

// For tensors that share a scale, noise is the mean of each one's own, weighed by power.
func TestCandidatesOfSharedScale(t *testing.T) {
	a, b, zeros := histogram(sample(1<<16, gauss)), histogram(scaled(seeded(2, 1000, laplace), 0.3)), histogram(make([]float32, 99))
	wa, wb := 1/a.power(), 1/b.power()
	for _, c := range candidatesOf(t, Uint8, a, b, zeros) {
		p := Uint8.Params(c.Lo, c.Hi)
		want := (wa*a.Noise(p, Uint8) + wb*b.Noise(p, Uint8)) / (wa + wb)
		if math.Abs(c.Noise/want-1) > 1e-9 {
			t.Errorf("%s: noise %v, want %v", c.Method, c.Noise, want)
		}
	}
}

func TestCandidatesThatCannotBe(t *testing.T) {
	if _, err := (RangeRule{}).Candidates([]*Histogram{new(Histogram)}, Uint8); !errors.Is(err, ErrNoValues) {
		t.Errorf("of no values: %v", err)
	}
	if _, err := (RangeRule{}).Candidates(nil, Uint8); !errors.Is(err, ErrNoValues) {
		t.Errorf("of no tensors: %v", err)
	}
	if _, err := (RangeRule{Percentile: 101}).Candidates([]*Histogram{histogram([]float32{1})}, Uint8); err == nil {
		t.Error("percentile 101 was taken")
	}
}
