package quantize

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// squaredError is the mean squared error of quantizing x, value by value.
func squaredError(x []float32, p Params, g Grid) float64 {
	sum := 0.0
	for _, v := range x {
		d := float64(float32(quantizeOne(v, p, g)-p.ZeroPoint)*p.Scale) - float64(v)
		sum += d * d
	}
	return sum / float64(len(x))
}

func sqnr(x []float32, p Params, g Grid) float64 {
	signal := 0.0
	for _, v := range x {
		signal += float64(v) * float64(v)
	}
	return 10 * math.Log10(signal/float64(len(x))/squaredError(x, p, g))
}

// failing is a *testing.T or a *rapid.T.
type failing interface{ Fatal(...any) }

func collect(t failing, r RangeRule, x []float32) Collector {
	c, err := r.NewCollector()
	if err != nil {
		t.Fatal(err)
	}
	c.Observe(x)
	return c
}

func rangeOf(t failing, r RangeRule, x []float32, g Grid) (lo, hi float32) {
	lo, hi, err := r.Range(collect(t, r, x), g)
	if err != nil {
		t.Fatal(err)
	}
	return lo, hi
}

func paramsOf(t failing, r RangeRule, x []float32, g Grid) Params {
	return g.Params(rangeOf(t, r, x, g))
}

// k by bits is the best k for normal values, to within a tenth.
func TestSigmaByBits(t *testing.T) {
	x := sample(1<<18, gauss)
	for bits := 2; bits <= 8; bits++ {
		g := Grid{Name: "test", Bits: bits, Min: 0, Max: 1<<bits - 1}
		// Half a step to the side, the codes lie evenly around the mean.
		loss := func(k float64) float64 {
			p := Params{Scale: float32(2 * k / float64(g.Max)), ZeroPoint: g.Max/2 + 1}
			moved := slices.Clone(x)
			for i := range moved {
				moved[i] -= p.Scale / 2
			}
			return squaredError(moved, p, g)
		}
		k := sigmaByBits[bits]
		if loss(k) > loss(k*1.1) || loss(k) > loss(k*0.9) {
			t.Errorf("%d bits: k %v gives %v, %v gives %v, %v gives %v", bits, k, loss(k), k*1.1, loss(k*1.1), k*0.9, loss(k*0.9))
		}
		lo, hi := rangeOf(t, RangeRule{Method: "sigma"}, x, g)
		if math.Abs(float64(hi-lo)/2-k) > 0.01*k {
			t.Errorf("%d bits: range %v…%v, want ±%v", bits, lo, hi, k)
		}
	}
}

func TestSimpleRanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		rule   RangeRule
		g      Grid
		x      []float32
		lo, hi float32
	}{
		{"minmax", RangeRule{Method: "minmax"}, Uint8, []float32{-1, 3}, -1, 3},
		{"minmax contains 0", RangeRule{Method: "minmax"}, Uint8, []float32{2, 3}, 0, 3},
		{"minmax symmetric", RangeRule{Method: "minmax"}, Int8Weights, []float32{-5, 3}, -5, 5},
		{"sigma, cut to the extremes", RangeRule{Method: "sigma", SigmaK: 3}, Uint8, []float32{-1, 1}, -1, 1},
		{"sigma 1", RangeRule{Method: "sigma", SigmaK: 0.5}, Uint8, []float32{-1, 1}, -0.5, 0.5},
		{"sigma of a constant", RangeRule{Method: "sigma"}, Uint8, []float32{7, 7}, 0, 7},
		{"sigma far from 0", RangeRule{Method: "sigma", SigmaK: 0.5}, Uint8, []float32{9, 11}, 0, 10.5},
		{"sigma negative", RangeRule{Method: "sigma", SigmaK: 0.5}, Uint8, []float32{-9, -11}, -10.5, 0},
		{"percentile 100", RangeRule{Method: "percentile", Percentile: 100}, Uint8, []float32{-1, 3}, -1, 3},
		{"percentile of a constant", RangeRule{Method: "percentile"}, Uint8, []float32{-7, -7}, -7, 0},
		{"percentile symmetric 100", RangeRule{Method: "percentile", Percentile: 100}, Int8Weights, []float32{-5, 3}, -5, 5},
		{"mse of zeros", RangeRule{Method: "mse"}, Uint8, []float32{0, 0}, 0, 0},
		{"mse of one value", RangeRule{Method: "mse"}, Uint8, []float32{5}, 0, 5},
	} {
		if lo, hi := rangeOf(t, c.rule, c.x, c.g); lo != c.lo || hi != c.hi {
			t.Errorf("%s: %v…%v, want %v…%v", c.name, lo, hi, c.lo, c.hi)
		}
	}
}

func TestRangesThatCannotBe(t *testing.T) {
	full := new(Histogram)
	full.Observe([]float32{1})
	bad := new(Histogram)
	bad.Observe([]float32{1, nan})
	few := new(Extremes)
	few.Observe([]float32{1})
	for _, c := range []struct {
		rule RangeRule
		c    Collector
		is   error
		text string
	}{
		{RangeRule{Method: "mse"}, new(Histogram), ErrNoValues, ""},
		{RangeRule{Method: "mse"}, bad, ErrNonFinite, "1 NaN and 0 infinite among 2"},
		{RangeRule{Method: "mse"}, few, nil, `"mse" needs a *quantize.Histogram`},
		{RangeRule{Method: "moving-average"}, full, nil, `"moving-average" needs a *quantize.MovingAverage, not a *quantize.Histogram`},
		{RangeRule{Method: Auto}, full, nil, "for planners"},
		{RangeRule{Method: "best"}, full, nil, "use one of minmax, moving-average, percentile, entropy, mse, octav, sigma, auto"},
		{RangeRule{Method: "percentile", Percentile: 101}, full, nil, "percentile 101"},
		{RangeRule{Method: "percentile", Percentile: math.NaN()}, full, nil, "percentile NaN"},
		{RangeRule{Method: "sigma", SigmaK: -1}, full, nil, "sigma k -1"},
	} {
		_, _, err := c.rule.Range(c.c, Uint8)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: error %v, want %v %q", c.rule, err, c.is, c.text)
		}
	}
}

// choosing are the methods that have a range of their own.
func choosing() []Method {
	return slices.DeleteFunc(slices.Clone(Methods), func(m Method) bool { return m.Name == Auto })
}

// For any values and any rule: 0 within, not beyond the extremes.
func TestRangeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := append(values.Draw(t, "x"), rapid.Float32().Draw(t, "one more"))
		g := rapid.SampledFrom([]Grid{Uint8, Int8, Int8Weights, uint4}).Draw(t, "grid")
		least, greatest := min(slices.Min(x), 0), max(slices.Max(x), 0)
		if g.Symmetric {
			greatest = max(-least, greatest)
			least = -greatest
		}
		for _, m := range choosing() {
			lo, hi, err := RangeRule{Method: m.Name}.Range(m.observing(x), g)
			if err != nil {
				t.Fatal(err)
			}
			if !(least <= lo && lo <= 0 && 0 <= hi && hi <= greatest) {
				t.Errorf("%s: %v…%v of values %v…%v", m.Name, lo, hi, least, greatest)
			}
		}
	})
}

// Quantiles against the sorted samples, within a bucket's width.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := append(values.Draw(t, "x"), 1)
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h Histogram
		h.Observe(x)
		slices.Sort(x)
		rank := min(max(int(math.Ceil(q*float64(len(x)))), 1), len(x))
		want := float64(x[rank-1])
		if got := quantile(h.buckets(), q); math.Abs(got-want) > max(math.Abs(want), 0x1p-126)/128 {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
		for i := range x {
			x[i] = float32(math.Abs(float64(x[i])))
		}
		slices.Sort(x)
		want = float64(x[rank-1])
		if got := quantile(magnitudes(h.buckets()), q); math.Abs(got-want) > max(want, 0x1p-126)/64 {
			t.Errorf("quantile %v of magnitudes = %v, want %v", q, got, want)
		}
	})
}

func TestPercentileKeepsItsShare(t *testing.T) {
	x := sample(1_000_000, laplace)
	for _, p := range []float64{99, 99.9, 99.99} {
		for _, g := range []Grid{Uint8, Int8Weights} {
			lo, hi := rangeOf(t, RangeRule{Method: "percentile", Percentile: p}, x, g)
			kept := 0
			for _, v := range x {
				if lo <= v && v <= hi {
					kept++
				}
			}
			if got := 100 * float64(kept) / float64(len(x)); math.Abs(got-p) > 0.02*(100-p) {
				t.Errorf("percentile %v keeps %v of %s", p, got, g.Name)
			}
		}
	}
}

// The noise estimated from buckets against the samples' own.
func TestNoise(t *testing.T) {
	for name, from := range distributions {
		x := sample(1<<16, from)
		var h Histogram
		h.Observe(x)
		for _, g := range []Grid{Uint8, Int8Weights, uint4} {
			for _, share := range []float32{1, 0.7, 0.3, 0.05} {
				p := g.Params(share*h.Seen().Min, share*h.Seen().Max)
				got, want := h.Noise(p, g), squaredError(x, p, g)
				if math.Abs(got/want-1) > 0.03 {
					t.Errorf("%s %d bits, %v of the range: %v, want %v", name, g.Bits, share, got, want)
				}
			}
		}
	}
	if n := new(Histogram).Noise(Params{1, 0}, Uint8); n != 0 {
		t.Errorf("noise of nothing: %v", n)
	}
}

var distributions = map[string]func(*rand.Rand) float64{
	"gauss": gauss, "laplace": laplace, "relu": relu, "outliers": outliers,
	"shifted":  func(r *rand.Rand) float64 { return r.NormFloat64() + 2.5 },
	"negative": func(r *rand.Rand) float64 { return -r.ExpFloat64() },
	"silu": func(r *rand.Rand) float64 {
		x := 3 * r.NormFloat64()
		return x / (1 + math.Exp(-x))
	},
}

// No range on a fine lattice of both ends has noticeably less error.
func TestMSEAgainstBruteForce(t *testing.T) {
	for name, from := range distributions {
		x := sample(3000, from)
		lo, hi := min(slices.Min(x), 0), max(slices.Max(x), 0)
		for _, g := range []Grid{Uint8, Int8Weights, uint4} {
			got := squaredError(x, paramsOf(t, RangeRule{Method: "mse"}, x, g), g)
			best, at := math.Inf(1), [2]float32{}
			for i := float32(1); i > 0.02; i -= 0.04 {
				for j := float32(1); j > 0.02; j -= 0.04 {
					if e := squaredError(x, g.Params(lo*i, hi*j), g); e < best {
						best, at = e, [2]float32{i, j}
					}
				}
			}
			if got > 1.03*best {
				t.Errorf("%s %d bits: error %v, brute force %v at %v", name, g.Bits, got, best, at)
			}
		}
	}
}

func TestMSEIsNeverWorseThanMinMax(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := append(values.Draw(t, "x"), 1)
		var h Histogram
		h.Observe(x)
		noise := func(method string) float64 {
			lo, hi, err := RangeRule{Method: method}.Range(&h, Uint8)
			if err != nil {
				t.Fatal(err)
			}
			return h.Noise(Uint8.Params(lo, hi), Uint8)
		}
		if mse, minmax := noise("mse"), noise("minmax"); mse > minmax {
			t.Errorf("mse %v, minmax %v", mse, minmax)
		}
	})
}

func ratio(h *Histogram, lo, hi float32, g Grid) float64 {
	return h.Noise(g.Params(lo, hi), g) / h.power()
}

func (m Method) observing(x []float32) Collector {
	c := m.collector()
	c.Observe(x)
	return c
}

func histogram(x []float32) *Histogram {
	h := new(Histogram)
	h.Observe(x)
	return h
}

func scaled(x []float32, by float32) []float32 {
	r := slices.Clone(x)
	for i := range r {
		r[i] *= by
	}
	return r
}

// Tensors that share a scale: what each method makes of a large loud tensor and a
// small quiet one with a tail of its own.
func TestSharedRange(t *testing.T) {
	large, small := sample(1<<18, gauss), scaled(seeded(2, 1<<8, gauss), 0.25)
	loud, quiet := histogram(large), histogram(small)
	both := []Collector{loud, quiet}
	shared := func(r RangeRule, c ...Collector) (lo, hi float32) {
		lo, hi, err := r.SharedRange(c, uint4)
		if err != nil {
			t.Fatal(err)
		}
		return lo, hi
	}

	lo, hi := shared(RangeRule{Method: "minmax"}, both...)
	if want := slices.Max(large); lo != slices.Min(large) || hi != want {
		t.Errorf("minmax %v…%v", lo, hi)
	}

	// mse: the sum of noise over signal is less than with the plain merge, in which
	// the small one is drowned, and than with either one's own range.
	sum := func(lo, hi float32) float64 { return ratio(loud, lo, hi, uint4) + ratio(quiet, lo, hi, uint4) }
	mse := RangeRule{Method: "mse"}
	got := sum(shared(mse, both...))
	merged := histogram(slices.Concat(large, small))
	for name, other := range map[string]float64{"merged": sum(shared(mse, merged)), "loud": sum(shared(mse, loud)), "quiet": sum(shared(mse, quiet))} {
		t.Logf("noise over signal: shared %.4f, %s %.4f", got, name, other)
		if got > 0.97*other {
			t.Errorf("noise over signal: shared %v, %s %v", got, name, other)
		}
	}

	// sigma: the variance of the whole is the mean of the two tensors'.
	_, hi = shared(RangeRule{Method: "sigma", SigmaK: 1}, both...)
	if want := math.Sqrt((loud.power() + quiet.power()) / 2); math.Abs(float64(hi)-want) > 0.01 {
		t.Errorf("sigma: %v, want %v", hi, want)
	}

	// percentile: of a hundred values of the small tensor one is far out; in the
	// merged values that is one of a hundred thousand.
	far := slices.Repeat([]float32{0.5}, 100)
	far[0] = 9
	if _, hi := shared(RangeRule{Method: "percentile", Percentile: 99}, loud, histogram(far)); hi < 8.9 {
		t.Errorf("percentile cuts the small tensor at %v", hi)
	}
	if _, hi := shared(RangeRule{Method: "percentile", Percentile: 99}, histogram(slices.Concat(large, far))); hi > 4 {
		t.Errorf("percentile of all values is %v: the case shows nothing", hi)
	}
}

// A tensor far too quiet for the scale of the loud one must not cost the loud one its range.
func TestSharedRangeKeepsTheLoudTensor(t *testing.T) {
	x := sample(1<<14, gauss)
	for _, g := range []Grid{Uint8, Int8Weights, uint4} {
		for _, quieter := range []float32{4, 16, 64, 1024, 1 << 40} {
			loud, quiet := histogram(x), histogram(scaled(x, 1/quieter))
			lo, hi, err := RangeRule{Method: "mse"}.SharedRange([]Collector{quiet, loud}, g)
			if err != nil {
				t.Fatal(err)
			}
			alone, high, err := RangeRule{Method: "mse"}.Range(loud, g)
			if err != nil {
				t.Fatal(err)
			}
			if got := (hi - lo) / (high - alone); got < 0.4 {
				t.Errorf("%s %d bits, one of two is %v times quieter: %v of the loud one's range", g.Name, g.Bits, quieter, got)
			}
		}
	}
}

// The order of the tensors does not matter, and no range is beyond the union.
func TestSharedRangeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SampledFrom([]Grid{Uint8, Int8Weights, uint4}).Draw(t, "grid")
		x := rapid.SliceOfN(values, 1, 4).Draw(t, "tensors")
		for _, m := range choosing() {
			r := RangeRule{Method: m.Name}
			var c []Collector
			for _, x := range x {
				c = append(c, m.observing(append(x, 1)))
			}
			mirrored := slices.Clone(c)
			slices.Reverse(mirrored)
			lo, hi, err := r.SharedRange(c, g)
			if err != nil {
				t.Fatal(err)
			}
			if l, h, _ := r.SharedRange(mirrored, g); l != lo || h != hi {
				t.Errorf("%s: %v…%v, in another order %v…%v", m.Name, lo, hi, l, h)
			}
			least, greatest, _ := RangeRule{Method: "minmax"}.SharedRange(c, g)
			if !(least <= lo && lo <= 0 && 0 <= hi && hi <= greatest) {
				t.Errorf("%s: %v…%v of values %v…%v", m.Name, lo, hi, least, greatest)
			}
		}
	})
}

func TestSharedRangeThatCannotBe(t *testing.T) {
	full, bad := histogram([]float32{1}), histogram([]float32{nan})
	for _, c := range []struct {
		c    []Collector
		is   error
		text string
	}{
		{nil, ErrNoValues, ""},
		{[]Collector{full, new(Histogram)}, ErrNoValues, "tensor 2 of the 2 that share a scale"},
		{[]Collector{bad, full}, ErrNonFinite, "tensor 1 of the 2"},
	} {
		if _, _, err := (RangeRule{Method: "mse"}).SharedRange(c.c, Uint8); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%d collectors: %v, want %v %q", len(c.c), err, c.is, c.text)
		}
	}
}

func BenchmarkRange(b *testing.B) {
	x := sample(1<<20, gauss)
	for _, m := range choosing() {
		b.Run(m.Name, func(b *testing.B) {
			c := m.observing(x)
			for b.Loop() {
				if _, _, err := (RangeRule{Method: m.Name}).Range(c, Uint8); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The bits of every method's range, alone and shared with a smaller and quieter
// tensor, the same on every machine and with every GOAMD64. The sample is made of
// exact operations only.
func TestRangeBits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	x := make([]float32, 20000)
	for i := range x {
		for range 8 {
			x[i] += float32(r.IntN(1<<12)-1<<11) / 1024
		}
	}
	quiet := scaled(x[:100], 0.125)
	for _, c := range []struct {
		method        string
		alone, shared [2]uint32
	}{
		{"minmax", [2]uint32{0xc137d000, 0x41561400}, [2]uint32{0xc137d000, 0x41561400}},
		{"moving-average", [2]uint32{0xc137d000, 0x41561400}, [2]uint32{0xc137d000, 0x41561400}},
		{"percentile", [2]uint32{0xc12e8000, 0x41398000}, [2]uint32{0xc12d0000, 0x41390000}},
		{"entropy", [2]uint32{0xc12f169c, 0x412f169c}, [2]uint32{0xc1261944, 0x41261944}},
		{"mse", [2]uint32{0xc12c5300, 0x4148b2c0}, [2]uint32{0xc10b4ba0, 0x41132dc0}},
		{"octav", [2]uint32{0xc12e255f, 0x414c6a04}, [2]uint32{0xc1100d42, 0x41147549}},
		{"sigma", [2]uint32{0xc137d000, 0x414c3e76}, [2]uint32{0xc111444b, 0x4111b96c}},
	} {
		rule := RangeRule{Method: c.method}
		bitsOf := func(tensors ...Collector) [2]uint32 {
			lo, hi, err := rule.SharedRange(tensors, Uint8)
			if err != nil {
				t.Fatal(err)
			}
			return [2]uint32{math.Float32bits(lo), math.Float32bits(hi)}
		}
		if got := bitsOf(collect(t, rule, x)); got != c.alone {
			t.Errorf("%s: %#x, want %#x", c.method, got, c.alone)
		}
		if got := bitsOf(collect(t, rule, x), collect(t, rule, quiet)); got != c.shared {
			t.Errorf("%s, shared: %#x, want %#x", c.method, got, c.shared)
		}
	}
}
