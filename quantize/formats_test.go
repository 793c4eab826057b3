package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/minifloat"
)

// The errors of Gaussian weights: 1 − 2/π for binary ones, 0.190 for the best three levels there are.
func TestFewLevelsErrors(t *testing.T) {
	w := normal(rand.New(rand.NewPCG(1, 11)), 64*1024)
	energy := energyOf(w)
	r := NewRows(w, 64, 1024, 1024, Int4)
	r.Binary()
	if e := r.weighted(nil) / energy; math.Abs(e-(1-2/math.Pi)) > 0.003 {
		t.Errorf("binary: %.4f", e)
	}
	r.Ternary()
	if e := r.weighted(nil) / energy; e < 0.189 || e > 0.194 {
		t.Errorf("ternary: %.4f", e)
	}
}

func energyOf(w []float32) float64 {
	sum := 0.0
	for _, v := range w {
		sum += float64(v) * float64(v)
	}
	return sum
}

// No scale near it is better for the same codes, the codes are levels, and solving keeps to them.
func TestFewLevels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 4).Draw(t, "n"), rapid.IntRange(1, 30).Draw(t, "k")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 11))
		s := solverOf(t, correlated(r, 3*k, k, 3), k)
		rows := NewRows(normal(r, n*k), n, k, rapid.IntRange(1, k).Draw(t, "block"), Uint4)
		if rapid.Bool().Draw(t, "binary") {
			rows.Binary()
		} else {
			rows.Ternary()
		}
		least := rows.weighted(nil)
		for i := range rows.Scales {
			for _, f := range []float32{0.99, 1.01} {
				old := rows.Scales[i]
				rows.Scales[i] *= f
				if l := rows.weighted(nil); l < least*(1-1e-6) {
					t.Fatalf("scale %d times %v: %v, was %v", i, f, l, least)
				}
				rows.Scales[i] = old
			}
		}
		before := s.Loss(rows)
		s.Descend(rows)
		for c, l := range s.Loss(rows) {
			if l > before[c]*(1+1e-5) {
				t.Fatalf("row %d: %v after %v", c, l, before[c])
			}
		}
		for _, q := range rows.Codes {
			if !slices.Contains(rows.Levels, q) {
				t.Fatalf("code %d of levels %v", q, rows.Levels)
			}
		}
	})
}

// SQNR of Gaussian weights in blocks of 32.
func TestMinifloatErrors(t *testing.T) {
	w := normal(rand.New(rand.NewPCG(1, 12)), 64*1024)
	rows := NewRows(w, 64, 1024, 32, Int6)
	energy := energyOf(w)
	for _, c := range []struct {
		name string
		f    minifloat.Format
		rule func([]float32)
		db   float64
	}{
		{"e4m3", minifloat.Float8E4M3FN, nil, 32.40},
		{"e4m3, powers of two", minifloat.Float8E4M3FN, PowersOfTwo, 31.5},
		{"e5m2", minifloat.Float8E5M2, nil, 26.34},
		{"e3m2", minifloat.Float6E3M2, nil, 26.34},
		{"e3m2, powers of two", minifloat.Float6E3M2, PowersOfTwo, 25.5},
		{"e3m2, ratios of powers of two", minifloat.Float6E3M2, PowerOfTwoRatios, 25.5},
		{"e2m1", minifloat.Float4E2M1, nil, 19.87},
		{"e2m1, powers of two", minifloat.Float4E2M1, PowersOfTwo, 18.73},
		{"e2m1, ratios of powers of two", minifloat.Float4E2M1, PowerOfTwoRatios, 18.89},
	} {
		b := rows.Minifloat(c.f, c.rule)
		left := 0.0
		for i, v := range b.Dequantize() {
			left += (float64(v) - float64(w[i])) * (float64(v) - float64(w[i]))
		}
		if db := 10 * math.Log10(energy/left); math.Abs(db-c.db) > 0.05 {
			t.Errorf("%s: %.2f dB, expected %.2f", c.name, db, c.db)
		}
	}
	if db := 10 * math.Log10(energy/rows.weighted(nil)); math.Abs(db-33.32) > 0.05 {
		t.Errorf("int6: %.2f dB", db)
	}
}

// Every weight gets the nearest value there is, and the extreme of a block keeps its own.
func TestMinifloatIsNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom([]minifloat.Format{minifloat.Float8E4M3FN, minifloat.Float8E5M2, minifloat.Float6E3M2, minifloat.Float6E2M3, minifloat.Float4E2M1}).Draw(t, "format")
		k := rapid.IntRange(1, 20).Draw(t, "k")
		w := rapid.SliceOfN(rapid.Float32Range(-100, 100), k, k).Draw(t, "w")
		b := NewRows(w, 1, k, rapid.IntRange(1, k).Draw(t, "block"), Int8).Minifloat(f, rapid.SampledFrom([]func([]float32){nil, PowersOfTwo, PowerOfTwoRatios}).Draw(t, "rule"))
		for i, v := range b.Dequantize() {
			s := b.Scales[i/b.Block]
			for _, l := range b.Levels {
				if l-l == 0 && math.Abs(float64(l*s-w[i])) < math.Abs(float64(v-w[i]))*(1-1e-6)-1e-18 {
					t.Fatalf("%v became %v, %v is nearer", w[i], v, l*s)
				}
			}
		}
	})
}

func TestScalesOfPowersOfTwo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scales := rapid.SliceOfN(rapid.Float32Range(float32(MinScale), 1e30), 1, 9).Draw(t, "scales")
		m1, m2 := slices.Clone(scales), slices.Clone(scales)
		PowersOfTwo(m1)
		PowerOfTwoRatios(m2)
		for i, s := range scales {
			if f, _ := math.Frexp(float64(m1[i])); f != 0.5 || m1[i] < s || m1[i] >= 2*s {
				t.Fatalf("%v became %v", s, m1[i])
			}
			if f, _ := math.Frexp(float64(slices.Max(scales)) / float64(m2[i])); f != 0.5 || m2[i] < s*(1-1e-6) || m2[i] > 2*s*(1+1e-6) {
				t.Fatalf("%v became %v beside %v", s, m2[i], slices.Max(scales))
			}
		}
	})
}
