package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// absolute is Σ|w − ŵ|; zeros are real zero points, nil: those of r.
func (r *Rows) absolute(zeros []float32) float64 {
	sum := 0.0
	for c := range r.N {
		for i := range r.K {
			z := r.zero(c, i)
			if zeros != nil {
				z = float64(zeros[r.at(c, i)])
			}
			sum += math.Abs(float64(r.W[c*r.K+i]) - (float64(r.Codes[c*r.K+i])-z)*r.scale(c, i))
		}
	}
	return sum
}

func TestHQQIsNeverWorse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 4).Draw(t, "n"), rapid.IntRange(1, 60).Draw(t, "k")
		g := rapid.SampledFrom([]Grid{Uint4, Uint2}).Draw(t, "grid")
		block := rapid.IntRange(1, k).Draw(t, "block")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
		w := skewed(r, n*k)
		rows := NewRows(w, n, k, block, g)
		before := rows.absolute(nil)
		zeros := rows.HQQReal()
		if l := rows.absolute(zeros); !(l <= before*(1+1e-6)) {
			t.Fatalf("real zero points: %v after %v", l, before)
		}
		rows.HQQ()
		if l := rows.absolute(nil); !(l <= before*(1+1e-6)) {
			t.Fatalf("%v after %v", l, before)
		}
		scaled := slices.Clone(w)
		for i := range scaled {
			scaled[i] *= 1024
		}
		other := NewRows(scaled, n, k, block, g)
		other.HQQ()
		if !slices.Equal(other.Zeros, rows.Zeros) || !slices.Equal(other.Codes, rows.Codes) {
			t.Fatal("weights times 1024 have other codes")
		}
	})
}

// skewed returns numbers of which few are large, most of those positive.
func skewed(r *rand.Rand, n int) []float32 {
	w := normal(r, n)
	for i, v := range w {
		w[i] = v*v - 0.5*v
	}
	return w
}

func TestHQQErrors(t *testing.T) {
	for _, c := range []struct {
		name        string
		w           func(*rand.Rand, int) []float32
		g           Grid
		whole, real float64 // Σ|w − ŵ| as parts of what rounding leaves
	}{
		{"normal", normal, Uint4, 0.947, 0.929},
		{"normal", normal, Uint2, 0.719, 0.933},
		{"skewed", skewed, Uint4, 0.968, 0.979},
		{"skewed", skewed, Uint2, 0.763, 1},
	} {
		rows := NewRows(c.w(rand.New(rand.NewPCG(1, 5)), 256*256), 256, 256, 64, c.g)
		before := rows.absolute(nil)
		real := rows.absolute(rows.HQQReal()) / before
		rows.HQQ()
		whole := rows.absolute(nil) / before
		if math.Abs(whole-c.whole) > 0.01 || math.Abs(real-c.real) > 0.01 {
			t.Errorf("%s to %s: whole zero points %.3f, real ones %.3f of rounding's errors", c.name, c.g.Name, whole, real)
		}
	}
}

func TestHQQLeavesSymmetricGrids(t *testing.T) {
	rows := NewRows(skewed(rand.New(rand.NewPCG(1, 6)), 256), 4, 64, 64, Int4)
	codes, scales := slices.Clone(rows.Codes), slices.Clone(rows.Scales)
	rows.HQQ()
	if !slices.Equal(codes, rows.Codes) || !slices.Equal(scales, rows.Scales) {
		t.Error("a grid without zero points was changed")
	}
}
