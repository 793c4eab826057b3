package norm

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

// results is everything this package computes of one row.
type results struct {
	Sum, Squares, Mean, Inverse, RMS float32
	Affine, Plain, Softmax, Log      []float32
	Distributed                      []float32
}

func all(x, scale, bias []float32) results {
	n := len(x)
	r := results{Affine: make([]float32, n), Plain: make([]float32, n), Softmax: make([]float32, n), Log: make([]float32, n), Distributed: make([]float32, n)}
	r.Sum, r.Squares, r.RMS = Sum(x), SquaredDeviation(x, 0.5), RootMeanSquare(x, 1e-5)
	r.Mean, r.Inverse = Moments(x, 1e-5)
	Affine(r.Affine, x, r.Mean, r.Inverse, scale, bias)
	Affine(r.Plain, x, r.Mean, r.Inverse, nil, nil)
	Distributed(r.Distributed, x, 1e-5, scale, bias)
	Softmax(r.Softmax, x)
	LogSoftmax(r.Log, x, make([]float32, n))
	return r
}

// TestRungs holds every rung to plain Go, and plain Go to float64.
func TestRungs(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for n := 1; n < 70; n++ {
			x, scale, bias := make([]float32, n), make([]float32, n), make([]float32, n)
			var sum, squares, exps float64
			for i := range x {
				x[i], scale[i], bias[i] = float32(r.NormFloat64()*3), float32(r.NormFloat64()), float32(r.NormFloat64())
				sum += float64(x[i])
				squares += (float64(x[i]) - 0.5) * (float64(x[i]) - 0.5)
				exps += math.Exp(float64(x[i]))
			}
			restore := cpu.Set(cpu.Go)
			want := all(x, scale, bias)
			restore()
			if d := cmp.Diff(want, all(x, scale, bias)); d != "" {
				t.Fatalf("%d elements: %s", n, d)
			}
			near := func(what string, got float32, want float64) {
				t.Helper()
				if math.Abs(float64(got)-want) > 2e-5*math.Max(1, math.Abs(want)) {
					t.Errorf("%s of %d elements: %v, not %v", what, n, got, want)
				}
			}
			near("sum", want.Sum, sum)
			near("squares", want.Squares, squares)
			near("mean", want.Mean, sum/float64(n))
			for i, v := range x {
				near("softmax", want.Softmax[i], math.Exp(float64(v))/exps)
				near("log softmax", want.Log[i], float64(v)-math.Log(exps))
				if n > 1 { // a single element is its own mean, which x·f - mean·f shows as far as f is large
					near("distributed", want.Distributed[i], float64(want.Affine[i]))
				}
				near("affine", want.Affine[i], float64((v-want.Mean)*want.Inverse*scale[i]+bias[i]))
			}
		}
	})
}

// TestGreatest has the edges: NaN counts only as the first element, −∞ masks.
func TestGreatest(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	cputest.EachRung(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for n := 1; n < 40; n++ {
			x := make([]float32, n)
			for i := range x {
				x[i] = []float32{nan, inf, -inf, -1, 2, float32(r.NormFloat64())}[r.IntN(6)]
			}
			want := x[0]
			for _, v := range x {
				if v > want {
					want = v
				}
			}
			if got := greatest(x); got != want && (got == got || want == want) {
				t.Errorf("the greatest of %v is %v, want %v", x, got, want)
			}
		}
	})
}
