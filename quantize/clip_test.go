package quantize

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// weighted is the energy of the errors of all rows; energy nil: all columns alike.
func (r *Rows) weighted(energy []float64) float64 {
	sum, e := 0.0, make([]float64, r.K)
	for c := range r.N {
		r.errors(c, e)
		for i, v := range e {
			if energy != nil {
				v *= math.Sqrt(energy[i])
			}
			sum += v * v
		}
	}
	return sum
}

var smallGrids = []Grid{int4, Int4, Uint4, Int2, Uint2, Int8, Int8Weights}

// NewRows saturates nothing: no error is above half a step.
func TestNewRowsHoldTheExtremes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 4).Draw(t, "n"), rapid.IntRange(1, 40).Draw(t, "k")
		g := rapid.SampledFrom(smallGrids).Draw(t, "grid")
		w := rapid.SliceOfN(rapid.Float32Range(-1e4, 1e4), n*k, n*k).Draw(t, "w")
		r := NewRows(w, n, k, rapid.IntRange(1, k).Draw(t, "block"), g)
		e := make([]float64, k)
		for c := range n {
			r.errors(c, e)
			for i, v := range e {
				// The zero point is rounded too: the ends of an asymmetric range move by up to half a step.
				limit := 0.5
				if !g.Symmetric {
					limit = 1
				}
				if !(math.Abs(v) <= limit*r.scale(c, i)*1.0001) {
					t.Fatalf("weight %v at %d, %d: off by %v with scale %v", w[c*k+i], c, i, v, r.scale(c, i))
				}
			}
		}
	})
}

// No block is worse than unclipped, and no clip that the documented search space has beats a symmetric one.
func TestClipFindsTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 3).Draw(t, "n"), rapid.IntRange(1, 30).Draw(t, "k")
		g := rapid.SampledFrom(smallGrids).Draw(t, "grid")
		block := rapid.IntRange(1, k).Draw(t, "block")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		w := normal(r, n*k)
		energy := make([]float64, k)
		for i := range energy {
			energy[i] = math.Exp(2 * r.NormFloat64())
		}
		rows := NewRows(w, n, k, block, g)
		before := rows.weighted(energy)
		rows.Clip(energy, false)
		after := rows.weighted(energy)
		if after > before*(1+1e-9) {
			t.Fatalf("%v after %v", after, before)
		}
		rows.Clip(energy, true)
		if l := rows.weighted(energy); l > after*(1+1e-9) {
			t.Fatalf("%v with negative scales, %v without", l, after)
		}
		if !g.Symmetric {
			return
		}
		rows.Clip(energy, false)
		for c := range n {
			for x := range rows.blocks() {
				from, to := rows.block(x)
				least, far := math.Inf(1), 0.0
				for i := from; i < to; i++ {
					v := float64(w[c*k+i])
					far = max(far, v/float64(g.Max), v/float64(g.Min))
				}
				got := 0.0
				for try := range 41 {
					s, sum, now := float32(far*(1.05-0.015*float64(try))), 0.0, 0.0
					for i := from; i < to; i++ {
						v := float64(w[c*k+i])
						q := min(max(math.RoundToEven(v/float64(s)), float64(g.Min)), float64(g.Max))
						sum += energy[i] * (v - q*float64(s)) * (v - q*float64(s))
						d := v - rows.code(c, i)*rows.scale(c, i)
						now += energy[i] * d * d
					}
					least, got = min(least, sum), now
				}
				if got > least*(1+1e-6)+1e-12 {
					t.Fatalf("block %d of row %d: %v, the least is %v", x, c, got, least)
				}
			}
		}
	})
}

// The errors of Gaussian weights in blocks of 32, relative to the energy of the weights.
func TestClipErrors(t *testing.T) {
	w := normal(rand.New(rand.NewPCG(1, 2)), 400*128)
	for _, c := range []struct {
		g                    Grid
		rtn, clip, negatives float64
	}{
		{int4, 0.00944, 0.00834, 0.00834},
		{Int4, 0.00860, 0.00764, 0.00670},
		{Uint4, 0.00660, 0.00596, 0.00596},
		{Int2, 0.354, 0.142, 0.1125},
		{Uint2, 0.166, 0.112, 0.112},
	} {
		r := NewRows(w, 400, 128, 32, c.g)
		rtn := r.weighted(nil) / float64(len(w))
		r.Clip(nil, false)
		clip := r.weighted(nil) / float64(len(w))
		r.Clip(nil, true)
		negatives := r.weighted(nil) / float64(len(w))
		for _, x := range [][2]float64{{rtn, c.rtn}, {clip, c.clip}, {negatives, c.negatives}} {
			if math.Abs(x[0]/x[1]-1) > 0.02 {
				t.Errorf("%s %d…%d: rtn %.5f, clip %.5f, with negative scales %.5f", c.g.Name, c.g.Min, c.g.Max, rtn, clip, negatives)
				break
			}
		}
	}
}

func TestClipOfZeros(t *testing.T) {
	for _, g := range smallGrids {
		r := NewRows(make([]float32, 12), 3, 4, 3, g)
		r.Clip(nil, true)
		if r.weighted(nil) != 0 || r.Scales[0] != MinScale {
			t.Errorf("%s: error %v, scales %v", g.Name, r.weighted(nil), r.Scales)
		}
	}
}

func BenchmarkClip(b *testing.B) {
	w := normal(rand.New(rand.NewPCG(1, 1)), 768*768)
	for _, g := range []Grid{Int4, Uint4} {
		b.Run(g.Name, func(b *testing.B) {
			r := NewRows(w, 768, 768, 32, g)
			for b.Loop() {
				r.Clip(nil, false)
			}
		})
	}
}
