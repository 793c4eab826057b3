package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSmoothScales(t *testing.T) {
	for _, c := range []struct {
		x, w  float32
		alpha float64
		want  float32
	}{
		{16, 1, 0.5, 4},
		{16, 4, 0.5, 2},
		{8, 5, 1, 8},
		{8, 5, 0, 0.2},
		{0, 5, 0.5, 1},
		{8, 0, 0.5, 1},
		{1, 1e-30, 0.5, 316.22777}, // 1/√leastDenominator
		{1e-30, 1, 0.9, 1e-5},
		{1e30, 1, 0.9, 1e5},
	} {
		if got := SmoothScales([]float32{c.x}, []float32{c.w}, c.alpha)[0]; math.Abs(float64(got/c.want)-1) > 1e-6 {
			t.Errorf("x %v, w %v, α %v: %v, want %v", c.x, c.w, c.alpha, got, c.want)
		}
	}
}

// What layers compute stays, and the Gram is that of the inputs they then have.
func TestEqualisedInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 5).Draw(t, "n"), rapid.IntRange(1, 20).Draw(t, "k")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 13))
		x := correlated(r, 40, k, 3)
		lo, hi, most := slices.Clone(x[:k]), slices.Clone(x[:k]), make([]float32, k)
		for i, v := range x {
			lo[i%k], hi[i%k] = min(lo[i%k], v), max(hi[i%k], v)
		}
		z := Shifts(lo, hi)
		for i := range most {
			most[i] = max(hi[i]-z[i], z[i]-lo[i])
			if math.Abs(float64(most[i]-(hi[i]-lo[i])/2)) > 1e-5 {
				t.Fatalf("shifted by %v, %v…%v reaches %v", z[i], lo[i], hi[i], most[i])
			}
		}
		rows := NewRows(normal(r, n*k), n, k, k, Int8Weights)
		w := make([]float32, k)
		rows.ColumnMax(w)
		s := SmoothScales(most, w, 0.5)
		scaled := rows.scaled(s)
		input := slices.Clone(x)
		for i := range input {
			input[i] = (x[i] - z[i%k]) / s[i%k]
		}
		bias := rows.Product(z)
		for row := range 40 {
			want, got := rows.Product(x[row*k:][:k]), scaled.Product(input[row*k:][:k])
			for c := range want {
				if math.Abs(float64(got[c]+bias[c]-want[c])) > 1e-4 {
					t.Fatalf("output %d: %v + %v, was %v", c, got[c], bias[c], want[c])
				}
			}
		}
		g, direct := NewGram(k), NewGram(k)
		g.Observe(x)
		direct.Observe(input)
		got := g.Equalised(z, s)
		for i := range k {
			for j := i; j < k; j++ {
				limit := 1e-4 * math.Sqrt(g.XX[i*k+i]*g.XX[j*k+j]) / float64(s[i]) / float64(s[j])
				if math.Abs(got.XX[i*k+j]-direct.XX[i*k+j]) > limit {
					t.Fatalf("XX[%d,%d] is %v, %v when summed", i, j, got.XX[i*k+j], direct.XX[i*k+j])
				}
			}
			if math.Abs(got.Sum[i]-direct.Sum[i]) > 1e-3 {
				t.Fatalf("sum %d is %v, %v when summed", i, got.Sum[i], direct.Sum[i])
			}
		}
	})
}

// outputError is the energy that rounding a layer's input (to int8 per tensor) and its weights puts on its output.
func outputError(x []float32, rows *Rows, s []float32) float64 {
	k := rows.K
	q := rows.scaled(s)
	input := make([]float32, len(x))
	most := 0.0
	for i, v := range x {
		input[i] = v / s[i%k]
		most = max(most, math.Abs(float64(input[i])))
	}
	p := Params{Scale: float32(most / 127)}
	codes := make([]int8, len(x))
	Quantize(codes, input, p, Int8Weights)
	Dequantize(input, codes, p)
	e := 0.0
	for m := range len(x) / k {
		want := rows.Product(x[m*k:][:k])
		for c := range rows.N {
			got := 0.0
			for i := range k {
				got += float64(input[m*k+i]) * q.code(c, i) * q.scale(c, i)
			}
			e += (got - float64(want[c])) * (got - float64(want[c]))
		}
	}
	return e
}

// Inputs with a few columns 50 times as loud as the others, as those of large language models are: int8 for weights and inputs.
func TestSmoothGains(t *testing.T) {
	const rows, n, k = 200, 32, 64
	r := rand.New(rand.NewPCG(1, 14))
	x := correlated(r, rows, k, 6)
	most := make([]float32, k)
	for i := range x {
		if i%k%20 == 3 {
			x[i] *= 50
		}
		most[i%k] = max(most[i%k], float32(math.Abs(float64(x[i]))))
	}
	g := NewGram(k)
	g.Observe(x)
	s, err := NewSolver(g)
	if err != nil {
		t.Fatal(err)
	}
	layers := []*Rows{NewRows(normal(r, n*k), n, k, k, Int8Weights), NewRows(normal(r, n*k), n, k, k, Int8Weights)}
	scales, alpha := s.Smooth(layers, most, g.Rows)
	w := make([]float32, k)
	for _, l := range layers {
		l.ColumnMax(w)
	}
	loss := func(s []float32) float64 { return outputError(x, layers[0], s) + outputError(x, layers[1], s) }
	none, best := loss(slices.Repeat([]float32{1}, k)), loss(scales)
	t.Logf("α %.2f leaves %.4f of the error", alpha, best/none)
	if best > 0.1*none {
		t.Errorf("α %v: %v, unscaled %v", alpha, best, none)
	}
	for i := smoothFrom; i <= smoothTo; i++ {
		if l := loss(SmoothScales(most, w, float64(i)/20)); best > 1.1*l {
			t.Errorf("α %v leaves %v, %v leaves %v", alpha, best, float64(i)/20, l)
		}
	}
}

func TestAWQ(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 8).Draw(t, "n"), rapid.IntRange(1, 30).Draw(t, "k")
		s, rows := lowRankCase(t, n, k, rapid.Uint64().Draw(t, "seed"))
		one := slices.Repeat([]float32{1}, k)
		rtn := sum(s.Loss(rows))
		if l := s.unscaledLoss(rows, one); math.Abs(l-rtn) > 1e-5*rtn+1e-9 {
			t.Fatalf("unscaled: %v, %v", l, rtn)
		}
		original := *rows
		scales := s.AWQ([]*Rows{rows})
		for i, v := range rows.W {
			if want := original.W[i] * scales[i%k]; v != want {
				t.Fatalf("weight %d is %v, want %v", i, v, want)
			}
		}
		if l := s.unscaledLoss(original.scaled(scales), scales); !(l <= rtn*(1+1e-5)+1e-9) {
			t.Fatalf("%v, %v unscaled", l, rtn)
		}
		lo, hi := slices.Min(scales), slices.Max(scales)
		if !(lo > 0) || math.Abs(float64(lo*hi)-1) > 1e-3 {
			t.Fatalf("scales from %v to %v", lo, hi)
		}
	})
}

// A few columns are ten times as loud as the others: int4 in blocks of 32.
func TestAWQGains(t *testing.T) {
	const n, k = 96, 128
	r := rand.New(rand.NewPCG(1, 19))
	x := correlated(r, 4*k, k, 6)
	for i := range x {
		if i%k%20 == 3 {
			x[i] *= 10
		}
	}
	s := solverOf(t, x, k)
	w := normal(r, n*k)
	rows, clipped := NewRows(w, n, k, 32, Int4), NewRows(w, n, k, 32, Int4)
	rtn := sum(s.Loss(rows))
	clipped.Clip(s.Energy(), false)
	clip := sum(s.Loss(clipped)) / rtn
	scales := s.AWQ([]*Rows{rows})
	awq := s.unscaledLoss(rows, scales) / rtn
	t.Logf("clip leaves %.3f, AWQ %.3f of rounding's error; scales up to %.2f", clip, awq, slices.Max(scales))
	if awq > 0.9*clip {
		t.Errorf("AWQ %v, clip %v", awq, clip)
	}
}
