package quantize

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func gauss(r *rand.Rand) float64 { return r.NormFloat64() }

// laplace is the two-sided exponential distribution of standard deviation √2.
func laplace(r *rand.Rand) float64 { return r.ExpFloat64() * float64(1-2*r.IntN(2)) }

func relu(r *rand.Rand) float64 { return max(r.NormFloat64(), 0) }

func outliers(r *rand.Rand) float64 {
	if r.IntN(500) == 0 {
		return 3 + 20*r.Float64()
	}
	return r.NormFloat64()
}

func sample(n int, from func(*rand.Rand) float64) []float32 { return seeded(1, n, from) }

func seeded(seed uint64, n int, from func(*rand.Rand) float64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(from(r))
	}
	return x
}

// values favours what collectors could stumble over: zeros of both signs,
// subnormals, extremes, equal numbers, what is not finite.
var values = rapid.SliceOf(rapid.OneOf(
	rapid.Float32(),
	rapid.Float32Range(-3, 3),
	rapid.SampledFrom([]float32{0, float32(math.Copysign(0, -1)), 1, 1, -1, 1e-45, -1e-45, math.MaxFloat32, -math.MaxFloat32}),
))

// anyValues has NaN and Inf as well.
var anyValues = rapid.Map(rapid.SliceOf(rapid.Uint32()), func(b []uint32) []float32 {
	x := make([]float32, len(b))
	for i := range b {
		x[i] = math.Float32frombits(b[i])
	}
	return x
})

func TestCollectorsAreMonoids(t *testing.T) {
	for name, zero := range map[string]func() Collector{
		"Extremes":  func() Collector { return new(Extremes) },
		"Histogram": func() Collector { return new(Histogram) },
	} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			x := slices.Concat(values.Draw(t, "x"), anyValues.Draw(t, "bits"))
			whole := zero()
			whole.Observe(x)

			// Any order, any slices, any shards, merged in any tree.
			x = rapid.Permutation(x).Draw(t, "order")
			shards := []Collector{zero()}
			for len(x) > 0 {
				if rapid.Bool().Draw(t, "new shard") {
					shards = append(shards, zero())
				}
				n := rapid.IntRange(0, len(x)).Draw(t, "slice")
				shards[len(shards)-1].Observe(x[:n])
				x = x[n:]
			}
			for len(shards) > 1 {
				i := rapid.IntRange(1, len(shards)-1).Draw(t, "merge")
				if err := shards[i-1].Merge(shards[i]); err != nil {
					t.Fatal(err)
				}
				shards = slices.Delete(shards, i, i+1)
			}
			if !sameState(shards[0], whole) {
				t.Errorf("merged %+v, whole %+v", shards[0], whole)
			}
		}))
	}
}

// sameState compares to the bit: −0 is not 0.
func sameState(a, b Collector) bool {
	x, y := a.Seen(), b.Seen()
	return reflect.DeepEqual(a, b) && math.Float32bits(x.Min) == math.Float32bits(y.Min) && math.Float32bits(x.Max) == math.Float32bits(y.Max)
}

func TestMergeLeavesTheOtherAlone(t *testing.T) {
	var a, b, want Histogram
	b.Observe([]float32{1, 2})
	want.Observe([]float32{1, 2})
	if err := a.Merge(&b); err != nil {
		t.Fatal(err)
	}
	a.Observe([]float32{1, 1, 5})
	if !reflect.DeepEqual(b, want) {
		t.Error("observing into the merged histogram changed the one it was merged from")
	}
}

func TestMergeOfDifferentCollectorsIsRefused(t *testing.T) {
	if err := new(Extremes).Merge(new(Histogram)); err == nil {
		t.Error("Extremes took a Histogram")
	}
	if err := new(Histogram).Merge(new(Extremes)); err == nil {
		t.Error("Histogram took an Extremes")
	}
}

func TestSeen(t *testing.T) {
	for _, c := range []struct {
		x    []float32
		want Extremes
		err  error
	}{
		{nil, Extremes{}, ErrNoValues},
		{[]float32{nan, inf, -inf}, Extremes{NaN: 1, Inf: 2}, ErrNonFinite},
		{[]float32{2, nan, -3}, Extremes{Count: 2, NaN: 1, Min: -3, Max: 2}, ErrNonFinite},
		{[]float32{5, 7}, Extremes{Count: 2, Min: 5, Max: 7}, nil},
		{[]float32{-1e-45, -math.MaxFloat32}, Extremes{Count: 2, Min: -math.MaxFloat32, Max: -1e-45}, nil},
	} {
		for _, k := range []Collector{new(Extremes), new(Histogram)} {
			k.Observe(c.x)
			if got := k.Seen(); got != c.want || !errors.Is(got.Err(), c.err) {
				t.Errorf("%T of %v: %+v (%v), want %+v (%v)", k, c.x, got, got.Err(), c.want, c.err)
			}
		}
	}
}

// Every value lies in a bucket that is there, and buckets are as narrow as said.
func TestBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := values.Draw(t, "x")
		var h Histogram
		h.Observe(x)
		b := h.buckets()
		slices.Sort(x)
		at := 0
		for i, k := range b {
			if i > 0 && k.lo < b[i-1].hi {
				t.Errorf("bucket %v after %v", k, b[i-1])
			}
			if !(k.lo <= k.hi) || k.hi-k.lo > max(math.Abs(k.hi), math.Abs(k.lo), 0x1p-126)/128 {
				t.Errorf("bucket %v", k)
			}
			for range int(k.n) {
				if v := float64(x[at]); v < k.lo || v > k.hi {
					t.Errorf("%v is not in %v", v, k)
				}
				at++
			}
		}
		if at != len(x) {
			t.Errorf("%d values in buckets, not %d", at, len(x))
		}
	})
}

// exactMoments is the definition, in rational numbers.
func exactMoments(x []float32) (mean, variance float64) {
	n, sum := big.NewRat(int64(len(x)), 1), new(big.Rat)
	for _, v := range x {
		sum.Add(sum, new(big.Rat).SetFloat64(float64(v)))
	}
	m := new(big.Rat).Quo(sum, n)
	square := new(big.Rat)
	for _, v := range x {
		d := new(big.Rat).Sub(new(big.Rat).SetFloat64(float64(v)), m)
		square.Add(square, d.Mul(d, d))
	}
	mean, _ = m.Float64()
	variance, _ = square.Quo(square, n).Float64()
	return mean, variance
}

func TestMomentsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := append(values.Draw(t, "x"), 1)
		var h Histogram
		h.Observe(x)
		mean, variance := h.Moments()
		if wantMean, wantVariance := exactMoments(x); mean != wantMean || variance != wantVariance {
			t.Errorf("mean %v, variance %v, want %v and %v", mean, variance, wantMean, wantVariance)
		}
	})
}

// 2^20 squares of a full mantissa overflow 64 bits; the carry must be kept.
func TestMomentsOfManyValues(t *testing.T) {
	var h Histogram
	x := slices.Repeat([]float32{math.Nextafter32(2, 0)}, 1<<20)
	for range 8 {
		h.Observe(x)
	}
	if h.binades[127].square[1] == 0 {
		t.Error("the case has no carry")
	}
	if mean, variance := h.Moments(); mean != float64(x[0]) || variance != 0 {
		t.Errorf("mean %v, variance %v of a constant %v", mean, variance, x[0])
	}
}

func TestMomentsOfNothing(t *testing.T) {
	if m, v := new(Histogram).Moments(); m != 0 || v != 0 {
		t.Errorf("mean %v, variance %v", m, v)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var h Histogram
	for i := range uint32(1 << 16) {
		h.Observe([]float32{math.Float32frombits(i << 16)})
	}
	n := 0
	for _, e := range h.binades {
		if e != nil {
			n++
		}
	}
	if n != 510 {
		t.Errorf("%d binades of all float32, want 510", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	x := sample(1<<20, gauss)
	r := slices.Clone(x)
	for i := range r {
		r[i] = max(r[i], 0)
	}
	for _, c := range []struct {
		name string
		k    Collector
		x    []float32
	}{
		{"extremes", new(Extremes), x},
		{"histogram gauss", new(Histogram), x},
		{"histogram relu", new(Histogram), r},
		{"histogram constant", new(Histogram), slices.Repeat([]float32{1}, 1<<20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.k.Observe(c.x)
			}
			perSecond(b, len(c.x))
		})
	}
}
