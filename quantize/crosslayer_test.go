package quantize

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func linear(r *rand.Rand, out, in, groups, kernel int) *Linear {
	l := &Linear{Out: out, In: in, Groups: groups, Kernel: kernel, W: normal(r, out*in/groups*kernel), Bias: normal(r, out)}
	for c := range out { // ranges that differ as those of depthwise filters do
		multiply(l.output(c), math.Exp(1.5*r.NormFloat64()))
	}
	return l
}

// forward runs a chain with Relu between, on inputs that are the same all over an image.
func forward(chain []*Linear, x []float64) []float64 {
	for at, l := range chain {
		y := make([]float64, l.Out)
		for c := range y {
			if l.Bias != nil {
				y[c] = float64(l.Bias[c])
			}
			inputs := l.In / l.Groups
			for i := range inputs {
				for k := range l.Kernel {
					y[c] += float64(l.W[(c*inputs+i)*l.Kernel+k]) * x[c/(l.Out/l.Groups)*inputs+i]
				}
			}
			if at+1 < len(chain) {
				y[c] = max(y[c], 0)
			}
		}
		x = y
	}
	return x
}

// drawChain is an inverted residual: 1×1, depthwise 3×3, 1×1, or with groups.
func drawChain(t *rapid.T) []*Linear {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 15))
	groups, each := rapid.IntRange(1, 4).Draw(t, "groups"), rapid.IntRange(1, 3).Draw(t, "each")
	in, out := rapid.IntRange(1, 5).Draw(t, "in"), rapid.IntRange(1, 5).Draw(t, "out")
	wide := groups * rapid.IntRange(1, 3).Draw(t, "outputs")
	return []*Linear{linear(r, groups*each, in, 1, 1), linear(r, wide, groups*each, groups, 9), linear(r, out, wide, 1, 1)}
}

func (l *Linear) inputRange(c int) float64 {
	most := 0.0
	l.eachInput(c, func(_ int, w []float32) { most = max(most, greatest(w)) })
	return most
}

func TestEqualiseKeepsTheFunction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chain := drawChain(t)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "input"), 16))
		x := make([]float64, chain[0].In)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		before := forward(chain, x)
		first := chain[0].output(0)[0]
		scales, err := Equalise(chain)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(chain[0].output(0)[0]) * float64(scales[0][0]); math.Abs(got-float64(first)) > 1e-4*math.Abs(float64(first)) {
			t.Fatalf("scale %v says that weight %v was %v, not %v", scales[0][0], chain[0].output(0)[0], got, first)
		}
		largest := 0.0
		for _, v := range before {
			largest = max(largest, math.Abs(v))
		}
		for i, v := range forward(chain, x) {
			if math.Abs(v-before[i]) > 1e-3*largest+1e-3 {
				t.Fatalf("output %d is %v, was %v", i, v, before[i])
			}
		}
		for i := range len(chain) - 1 {
			for c := range chain[i].Out {
				a, b := greatest(chain[i].output(c)), chain[i+1].inputRange(c)
				if a/b > 1.02 || b/a > 1.02 {
					t.Fatalf("channel %d behind layer %d: ranges %v and %v", c, i, a, b)
				}
			}
		}
	})
}

// SQNR of the weights of a depthwise chain with one scale for each tensor.
func TestEqualiseGains(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 17))
	chain := []*Linear{linear(r, 96, 16, 1, 1), linear(r, 96, 96, 96, 9), linear(r, 24, 96, 1, 1)}
	// What a channel as a whole loses, on average.
	db := func(l *Linear) float64 {
		q, err := QuantizeWeights(l.W, []int64{int64(len(l.W))}, PerTensor, Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		w := q.Dequantize()
		each, sum := len(w)/l.Out, 0.0
		for c := range l.Out {
			var energy, left float64
			for i := c * each; i < (c+1)*each; i++ {
				energy += float64(l.W[i]) * float64(l.W[i])
				left += (float64(w[i]) - float64(l.W[i])) * (float64(w[i]) - float64(l.W[i]))
			}
			sum += 10 * math.Log10(energy/left)
		}
		return sum / float64(l.Out)
	}
	var before []float64
	for _, l := range chain {
		before = append(before, db(l))
	}
	if _, err := Equalise(chain); err != nil {
		t.Fatal(err)
	}
	for i, l := range chain {
		after := db(l)
		t.Logf("layer %d: %.1f dB, %.1f dB equalised", i, before[i], after)
		if i < 2 && after < before[i]+6 {
			t.Errorf("layer %d: %.1f dB, %.1f dB equalised", i, before[i], after)
		}
	}
}

func TestEqualiseDeadChannels(t *testing.T) {
	a := &Linear{Out: 2, In: 1, Groups: 1, Kernel: 1, W: []float32{0, 8}}
	b := &Linear{Out: 1, In: 2, Groups: 1, Kernel: 1, W: []float32{3, 2}}
	scales, err := Equalise([]*Linear{a, b})
	if err != nil || scales[0][0] != 1 || scales[0][1] != 2 || a.W[1] != 4 || b.W[1] != 4 || b.W[0] != 3 {
		t.Errorf("%v, %v: %v %v", scales, err, a.W, b.W)
	}
	for _, c := range []struct {
		l    *Linear
		want string
	}{
		{&Linear{Out: 1, In: 3, Groups: 1, Kernel: 1, W: []float32{1, 2, 3}}, "2 outputs before 3 inputs"},
		{&Linear{Out: 1, In: 2, Groups: 1, Kernel: 1, W: []float32{1, 2, 3}}, "3 weights where"},
		{&Linear{Out: 1, In: 2, Groups: 3, Kernel: 1}, "3 groups"},
		{&Linear{Out: 1, In: 2, Groups: 0, Kernel: 1}, "0 groups"},
		{&Linear{Out: 1, In: 2, Groups: 1, Kernel: 1, W: []float32{1, 2}, Bias: []float32{1, 2}}, "a bias of 2 values for 1 outputs"},
	} {
		if _, err := Equalise([]*Linear{a, c.l}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// As long as the outputs of the first layer stay above what is absorbed, nothing changes but the biases.
func TestAbsorbBias(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chain := drawChain(t)[1:]
		a := chain[0]
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "input"), 18))
		if rapid.Bool().Draw(t, "no bias") {
			chain[1].Bias = nil
		}
		x := make([]float64, a.In)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		// Raise the first layer's bias until all outputs are positive, and call those the mean.
		bare := *a
		bare.Bias = nil
		beta, gamma := make([]float32, a.Out), make([]float32, a.Out)
		for c, v := range forward([]*Linear{&bare}, x) {
			beta[c] = float32(math.Abs(v) + 1)
			a.Bias[c] = beta[c] - float32(v)
			gamma[c] = float32(r.NormFloat64())
		}
		before := forward(chain, x)
		absorbed, err := AbsorbBias(a, chain[1], beta, gamma)
		if err != nil {
			t.Fatal(err)
		}
		for c, v := range absorbed {
			if want := max(0, float64(beta[c])-3*math.Abs(float64(gamma[c]))); math.Abs(float64(v)-want) > 1e-5*want {
				t.Fatalf("%v ± %v: %v is absorbed", beta[c], gamma[c], v)
			}
		}
		for i, v := range forward(chain, x) {
			if math.Abs(v-before[i]) > 1e-3*(1+math.Abs(before[i])) {
				t.Fatalf("output %d is %v, was %v", i, v, before[i])
			}
		}
	})
	if _, err := AbsorbBias(&Linear{Out: 1, In: 1, Groups: 1, Kernel: 1, W: []float32{1}}, &Linear{Out: 1, In: 1, Groups: 1, Kernel: 1, W: []float32{1}}, nil, nil); err == nil {
		t.Error("no means, no error")
	}
}

func TestNormalRange(t *testing.T) {
	if lo, hi := NormalRange([]float32{1, -2, 0}, []float32{0.5, -1, 2}, 6); lo != -12 || hi != 12 {
		t.Errorf("%v…%v", lo, hi)
	}
	if lo, hi := NormalRange([]float32{5}, []float32{0.5}, 2); lo != 4 || hi != 6 {
		t.Errorf("%v…%v", lo, hi)
	}
}
