package quantize

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func pointsOf(t *rapid.T, most int) []point {
	n := rapid.IntRange(1, most).Draw(t, "n")
	points := make([]point, n)
	for i := range points {
		points[i] = point{float64(rapid.IntRange(-40, 40).Draw(t, "value")) / 8, float64(rapid.IntRange(1, 9).Draw(t, "weight"))}
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	return points
}

func lossOf(points []point, levels []float64) float64 {
	sum := 0.0
	for _, p := range points {
		d := math.Inf(1)
		for _, l := range levels {
			d = min(d, (p.value-l)*(p.value-l))
		}
		sum += p.weight * d
	}
	return sum
}

// No cut of the points into runs is better.
func TestKMeansIsExact(t *testing.T) {
	mean := func(m float64) float64 { return m }
	rapid.Check(t, func(t *rapid.T) {
		points, k := pointsOf(t, 9), rapid.IntRange(1, 4).Draw(t, "k")
		least := math.Inf(1)
		var cut func(from, k int, levels []float64)
		cut = func(from, k int, levels []float64) {
			for to := from + 1; to <= len(points) && k > 0; to++ {
				n, x := 0.0, 0.0
				for _, p := range points[from:to] {
					n, x = n+p.weight, x+p.weight*p.value
				}
				with := append(slices.Clone(levels), x/n)
				if to == len(points) {
					least = min(least, lossOf(points, with))
				}
				cut(to, k-1, with)
			}
		}
		cut(0, k, nil)
		levels := kMeans(points, k, mean)
		if got := lossOf(points, levels); len(levels) > k || !slices.IsSorted(levels) || got > least*(1+1e-9)+1e-9 {
			t.Fatalf("%v leave %v, the least is %v", levels, got, least)
		}
	})
}

// No choice of k whole numbers is better.
func TestKMeansOnAGridIsExact(t *testing.T) {
	whole := func(m float64) float64 { return min(max(math.RoundToEven(m), -4), 3) }
	rapid.Check(t, func(t *rapid.T) {
		points, k := pointsOf(t, 30), rapid.IntRange(1, 5).Draw(t, "k")
		least := math.Inf(1)
		for set := 1; set < 256; set++ {
			var levels []float64
			for i := range 8 {
				if set>>i&1 == 1 {
					levels = append(levels, float64(i-4))
				}
			}
			if len(levels) <= k {
				least = min(least, lossOf(points, levels))
			}
		}
		levels := kMeans(points, k, whole)
		if got := lossOf(points, levels); len(levels) > k || got > least*(1+1e-9)+1e-9 {
			t.Fatalf("%v leave %v, the least is %v", levels, got, least)
		}
	})
}

// 16 levels of the int8 grid beat the 16 of int4 by what their spacing follows the weights, and are as good as any numbers.
// The Lloyd-Max quantizers' figures for 16 levels: 20.22 dB for Gauss, 18.0 dB for Laplace.
func TestLevelsFollowTheWeights(t *testing.T) {
	const n, k = 64, 1024
	for _, c := range []struct {
		name             string
		w                []float32
		int4, grid, free float64 // dB
	}{
		{"gauss", normal(rand.New(rand.NewPCG(1, 9)), n*k), 19.33, 20.34, 20.35},
		{"laplace", seeded(9, n*k, laplace), 15.70, 18.26, 18.27},
	} {
		energy := 0.0
		for _, v := range c.w {
			energy += float64(v) * float64(v)
		}
		db := func(left float64) float64 { return 10 * math.Log10(energy/left) }
		four := NewRows(c.w, n, k, k, Int4)
		four.Clip(nil, false)
		rows := NewRows(c.w, n, k, k, Int8Weights)
		free := rows.KMeans(16, nil)
		left := 0.0
		for i, v := range free.Dequantize() {
			left += (float64(v) - float64(c.w[i])) * (float64(v) - float64(c.w[i]))
		}
		rows.FitLevels(16, nil)
		a, b, f := db(four.weighted(nil)), db(rows.weighted(nil)), db(left)
		t.Logf("%s: int4 %.2f dB, 16 of 256 levels %.2f dB, 16 levels %.2f dB; %v", c.name, a, b, f, rows.Levels)
		for _, x := range [][2]float64{{a, c.int4}, {b, c.grid}, {f, c.free}} {
			if math.Abs(x[0]-x[1]) > 0.03 {
				t.Errorf("%s: %.2f dB, expected %.2f", c.name, x[0], x[1])
			}
		}
	}
}

// Codes are levels, the codebook says what the rows say, and a Solver's ways to lower the error keep to the levels.
func TestLevelsAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 6).Draw(t, "n"), rapid.IntRange(1, 30).Draw(t, "k")
		count := rapid.SampledFrom([]int{1, 2, 4, 16, 256}).Draw(t, "count")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 9))
		s := solverOf(t, correlated(r, 3*k, k, 3), k)
		rows := NewRows(normal(r, n*k), n, k, max(k/2, 1), Int8Weights)
		rows.FitLevels(count, s.Energy())
		before := s.Loss(rows)
		check := func() {
			t.Helper()
			for _, q := range rows.Codes {
				if _, ok := slices.BinarySearch(rows.Levels, q); !ok || len(rows.Levels) > count {
					t.Fatalf("code %d is no level of %v", q, rows.Levels)
				}
			}
			for i, v := range rows.Codebook().Dequantize() {
				if w := float32(rows.code(i/k, i%k)) * rows.Scales[rows.at(i/k, i%k)]; v != w {
					t.Fatalf("weight %d is %v, in the codebook %v", i, w, v)
				}
			}
		}
		check()
		s.Improve(rows, s.GPTQ)
		check()
		s.Descend(rows)
		s.FitScales(rows)
		s.Descend(rows)
		check()
		for c, l := range s.Loss(rows) {
			if l > before[c]*(1+1e-5)+1e-9 {
				t.Fatalf("channel %d: %v after %v", c, l, before[c])
			}
		}
	})
}

// What 16 levels leave of the error of int4, before and after solving, on inputs of 6 factors.
func TestLevelsAreSolvedFor(t *testing.T) {
	const n, k = 32, 64
	r := rand.New(rand.NewPCG(1, 10))
	s := solverOf(t, correlated(r, 1024, k, 6), k)
	w := seeded(10, n*k, laplace)
	four := NewRows(w, n, k, k, Int4)
	four.Clip(s.Energy(), false)
	rtn := total(s.Loss(four))
	adaround(s, four)
	solved := total(s.Loss(four))
	rows := NewRows(w, n, k, k, Int8Weights)
	rows.FitLevels(16, s.Energy())
	nearest := total(s.Loss(rows))
	adaround(s, rows)
	levels := total(s.Loss(rows))
	t.Logf("int4 %.0f, solved %.0f; 16 of 256 levels %.0f, solved %.0f", rtn, solved, nearest, levels)
	if !(nearest < 0.85*rtn && levels < 0.1*nearest && levels < 0.85*solved) {
		t.Errorf("int4 %v, solved %v; 16 levels %v, solved %v", rtn, solved, nearest, levels)
	}
}

// Rows of zeros, of one value, of few values.
func TestLevelsOfFewValues(t *testing.T) {
	for _, c := range []struct {
		name string
		w    func(i int) float32
		n    int
		off  float64 // 0 has no level of its own
	}{
		{"zeros", func(int) float32 { return 0 }, 12, 0},
		{"many zeros", func(int) float32 { return 0 }, 20000, 0},
		{"one value", func(int) float32 { return -3 }, 20000, 1e-6},
		{"a dead row", func(i int) float32 { return float32(i / 6 * (i - 8)) }, 12, 0.6},
		{"three values", func(i int) float32 { return float32(i%3) * 1e-10 }, 12, 1e-12},
	} {
		w := make([]float32, c.n)
		for i := range w {
			w[i] = c.w(i)
		}
		rows := NewRows(w, 2, c.n/2, c.n/2, Int8Weights)
		b := rows.KMeans(4, nil)
		rows.FitLevels(4, nil)
		for _, values := range [][]float32{rows.Codebook().Dequantize(), b.Dequantize()} {
			for i, v := range values {
				if e := math.Abs(float64(v - w[i])); !(e <= c.off) {
					t.Errorf("%s: weight %d is %v, was %v", c.name, i, v, w[i])
				}
			}
		}
	}
}

func BenchmarkFitLevels(b *testing.B) {
	w := normal(rand.New(rand.NewPCG(1, 1)), 768*768)
	for _, count := range []int{4, 16, 64} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				NewRows(w, 768, 768, 768, Int8Weights).FitLevels(count, nil)
			}
		})
	}
}
