package quantize

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// correlated returns rows of inputs that hang together: a few factors and a little noise.
func correlated(r *rand.Rand, rows, k, factors int) []float32 {
	mix := normal(r, factors*k)
	x := make([]float32, rows*k)
	for i := range rows {
		f := normal(r, factors)
		for c := range k {
			v := 0.1 * float32(r.NormFloat64())
			for j := range f {
				v += f[j] * mix[j*k+c]
			}
			x[i*k+c] = v
		}
	}
	return x
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// newRows returns weights with the scale max|w|/g.Max in every block, not yet rounded.
func newRows(w []float32, n, k, block int, g Grid) *Rows {
	r := &Rows{N: n, K: k, Block: block, Grid: g, W: w, Codes: make([]int8, n*k)}
	r.Scales = make([]float32, n*r.blocks())
	for c := range n {
		for i := range k {
			at := r.at(c, i)
			r.Scales[at] = max(r.Scales[at], float32(math.Abs(float64(w[c*k+i])))/float32(g.Max))
		}
	}
	return r
}

var int4 = Grid{Name: "int4", Bits: 4, Min: -7, Max: 7, Symmetric: true}

func total(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum
}

func solverOf(t interface{ Fatal(...any) }, x []float32, k int) *Solver {
	g := NewGram(k)
	g.Observe(x)
	s, err := NewSolver(g)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGramSumsProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const rows, k = 1100, 300 // several runs of rows, several tiles
	x := correlated(r, rows, k, 5)
	g := NewGram(k)
	g.Observe(x[:700*k])
	g.Observe(x[700*k:])
	for _, at := range [][2]int{{0, 0}, {0, 299}, {255, 256}, {299, 299}, {17, 260}} {
		want, scale := 0.0, 0.0
		for i := range rows {
			p := float64(x[i*k+at[0]]) * float64(x[i*k+at[1]])
			want += p
			scale += math.Abs(p)
		}
		if got := g.XX[at[0]*k+at[1]]; math.Abs(got-want) > 1e-6*scale {
			t.Errorf("XX%v = %v, want %v", at, got, want)
		}
	}
	if g.Rows != rows {
		t.Errorf("%d rows", g.Rows)
	}
	half, other := NewGram(k), NewGram(k)
	half.Observe(x[:700*k])
	other.Observe(x[700*k:])
	if err := half.Merge(other); err != nil {
		t.Fatal(err)
	}
	if d := maxDifference(half.XX, g.XX); d > 1e-9*g.XX[0] {
		t.Errorf("merged sums differ by %g", d)
	}
	c := g.Centred()
	mean := g.Sum[2] / rows
	want := 0.0
	for i := range rows {
		want += (float64(x[i*k+2]) - mean) * (float64(x[i*k+2]) - mean)
	}
	if got := c.XX[2*k+2]; math.Abs(got-want) > 1e-5*want {
		t.Errorf("centred: %v, want %v", got, want)
	}
}

func maxDifference(a, b []float64) float64 {
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(a[i]-b[i]))
	}
	return d
}

func TestGramRefusesWhatIsNoNumber(t *testing.T) {
	if _, err := NewSolver(NewGram(3)); !errors.Is(err, ErrNoValues) {
		t.Errorf("no rows: %v", err)
	}
	g := NewGram(2)
	g.Observe([]float32{1, 2, float32(math.NaN()), 1})
	if _, err := NewSolver(g); !errors.Is(err, ErrNonFinite) {
		t.Errorf("NaN: %v", err)
	}
}

// The ladder of the project's documents: on inputs of 6 factors, K 32, N 8, GPTQ leaves a small part of rounding's error, and
// what comes after it leaves less.
func TestLadderLowersTheError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := solverOf(t, correlated(r, 1024, 32, 6), 32)
	rows := newRows(normal(r, 8*32), 8, 32, 32, int4)
	rows.Round()
	rtn := total(s.Loss(rows))
	s.GPTQ(rows)
	gptq := total(s.Loss(rows))
	s.Descend(rows)
	descended := total(s.Loss(rows))
	s.FitScales(rows)
	fitted := total(s.Loss(rows))
	t.Logf("rtn %.1f, gptq %.1f, descend %.1f, scales %.1f", rtn, gptq, descended, fitted)
	if !(gptq < 0.2*rtn && descended <= gptq && fitted < descended) {
		t.Errorf("rtn %v, gptq %v, descend %v, scales %v", rtn, gptq, descended, fitted)
	}
}

// GPTQ as its paper writes it: with the factor of the inverse, errors carried into the weights to come.
func TestGPTQIsThePapers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, n := rapid.IntRange(1, 150).Draw(t, "k"), rapid.IntRange(1, 4).Draw(t, "n")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		s := solverOf(t, correlated(r, 2*k+3, k, 4), k)
		rows := newRows(normal(r, n*k), n, k, max(k/3, 1), int4)
		s.GPTQ(rows)
		sorted := mat.NewSymDense(k, nil)
		for i := range k {
			for j := i; j < k; j++ {
				sorted.SetSym(i, j, s.h[s.order[i]*k+s.order[j]])
			}
		}
		var c mat.Cholesky
		var inverse mat.SymDense
		if !c.Factorize(sorted) || c.InverseTo(&inverse) != nil || !c.Factorize(&inverse) {
			t.Fatal("no inverse")
		}
		var u mat.TriDense
		c.UTo(&u)
		paper := *rows
		paper.Codes = make([]int8, n*k)
		for c := range n {
			w := make([]float64, k)
			for i := range k {
				w[i] = float64(rows.W[c*k+s.order[i]])
			}
			for i := range k {
				e := (w[i] - paper.set(c, s.order[i], w[i])) / u.At(i, i)
				for j := i; j < k; j++ {
					w[j] -= e * u.At(i, j)
				}
			}
		}
		a, b := s.Loss(rows), s.Loss(&paper)
		for c := range n {
			if math.Abs(a[c]-b[c]) > 0.02*b[c]+1e-3 { // a tie rounded otherwise goes another way from there
				t.Fatalf("channel %d: error %v, the paper's %v", c, a[c], b[c])
			}
		}
	})
}

// Descend ends where no change of a single code helps, and never above its start.
func TestDescendEndsInAMinimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, n := rapid.IntRange(1, 24).Draw(t, "k"), rapid.IntRange(1, 5).Draw(t, "n")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		s := solverOf(t, correlated(r, 3*k, k, 3), k)
		rows := newRows(normal(r, n*k), n, k, max(k/2, 1), int4)
		rows.Round()
		before := s.Loss(rows)
		s.Descend(rows)
		after := s.Loss(rows)
		for c := range n {
			if after[c] > before[c]*(1+1e-5) {
				t.Fatalf("channel %d: %v after %v", c, after[c], before[c])
			}
			for i := range k {
				for _, d := range []int8{-1, 1} {
					code := &rows.Codes[c*k+i]
					if next := *code + d; int32(next) >= int4.Min && int32(next) <= int4.Max {
						*code += d
						if l := s.Loss(rows)[c]; l < after[c]*(1-1e-4) {
							t.Fatalf("channel %d: code %d of %d by %d: %v under %v", c, i, k, d, l, after[c])
						}
						*code -= d
					}
				}
			}
		}
	})
}

// No scales near the fitted ones are better for the same codes.
func TestFitScalesIsBest(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const k, n = 48, 6
	s := solverOf(t, correlated(r, 200, k, 4), k)
	rows := newRows(normal(r, n*k), n, k, 20, int4) // the last block is shorter
	rows.Round()
	before := s.Loss(rows)
	s.FitScales(rows)
	best := s.Loss(rows)
	for c := range n {
		if best[c] >= before[c] {
			t.Errorf("channel %d: %v is not under %v", c, best[c], before[c])
		}
		for x := range rows.blocks() {
			for _, f := range []float32{0.999, 1.001} {
				scale := &rows.Scales[c*rows.blocks()+x]
				old := *scale
				*scale *= f
				if l := s.Loss(rows)[c]; l < best[c]*(1-1e-6) {
					t.Errorf("channel %d, block %d: %v with %v times the scale, %v fitted", c, x, l, f, best[c])
				}
				*scale = old
			}
		}
	}
}

// Fewer samples than inputs, inputs that are always 0 or always the same: no worse than rounding, where it counts.
func TestSingularGrams(t *testing.T) {
	for _, c := range []struct {
		name string
		x    func(i, j int) float32
		rows int
	}{
		{"one sample", func(i, j int) float32 { return float32(j%5) - 2 }, 1},
		{"one sample, centred", func(i, j int) float32 { return float32(j%5) - 2.3 }, 1},
		{"zeros", func(i, j int) float32 { return 0 }, 10},
		{"dead inputs", func(i, j int) float32 { return float32(j%2*(i*7+j*3)%11) - float32(j%2*5) }, 40},
		{"equal inputs", func(i, j int) float32 { return float32(i%7) - 3 }, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			const k, n = 20, 4
			x := make([]float32, c.rows*k)
			for i := range x {
				x[i] = c.x(i/k, i%k)
			}
			g := NewGram(k)
			g.Observe(x)
			if strings.HasSuffix(c.name, "centred") {
				g = g.Centred()
			}
			s, err := NewSolver(g)
			if err != nil {
				t.Fatal(err)
			}
			rows := newRows(normal(rand.New(rand.NewPCG(7, 8)), n*k), n, k, k, int4)
			rows.Round()
			rtn := s.Loss(rows)
			s.Improve(rows, s.GPTQ)
			s.Descend(rows)
			s.FitScales(rows)
			for c, l := range s.Loss(rows) {
				if !(l <= rtn[c]*(1+1e-6)) {
					t.Errorf("channel %d: %v above rounding's %v", c, l, rtn[c])
				}
			}
			if slices.ContainsFunc(rows.Scales, func(s float32) bool { return !(s >= MinScale) }) {
				t.Errorf("scales %v", rows.Scales)
			}
		})
	}
}

func BenchmarkGram(b *testing.B) {
	for _, k := range []int{64, 768, 3072} {
		b.Run(fmt.Sprint(k), func(b *testing.B) {
			x := normal(rand.New(rand.NewPCG(1, 1)), gramRows*k)
			g := NewGram(k)
			g.Observe(x)
			for b.Loop() {
				g.Observe(x)
			}
			b.ReportMetric(float64(b.N)*2*gramRows*float64(k)*float64(k)/1e9/b.Elapsed().Seconds(), "GFLOPS")
		})
	}
}

func BenchmarkSolve(b *testing.B) {
	for _, c := range [][2]int{{768, 3072}, {3072, 768}} {
		k, n := c[0], c[1]
		b.Run(fmt.Sprintf("%dx%d", k, n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			x, w := correlated(r, 1024, k, 16), normal(r, n*k)
			for b.Loop() {
				s := solverOf(b, x, k)
				rows := newRows(w, n, k, 32, int4)
				s.GPTQ(rows)
				s.Descend(rows)
			}
		})
	}
}
