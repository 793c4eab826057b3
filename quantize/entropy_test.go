package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// divergence is KL(P‖Q) of h[:i] by its definition, bin by bin.
func divergence(h []uint64, i, levels int) float64 {
	p, q := make([]float64, i), make([]float64, i)
	for j := range h {
		p[min(j, i-1)] += float64(h[j])
	}
	for l := range levels {
		from, to := l*i/levels, (l+1)*i/levels
		sum, filled := 0.0, 0.0
		for _, n := range h[from:to] {
			sum += float64(n)
			filled += min(float64(n), 1)
		}
		for j := from; j < to; j++ {
			if h[j] > 0 {
				q[j] = sum / filled
			}
		}
	}
	var np, nq, d float64
	for j := range i {
		np, nq = np+p[j], nq+q[j]
	}
	for j := range i {
		if p[j] > 0 {
			d += p[j] / np * math.Log(p[j]/np/(q[j]/nq))
		}
	}
	return d
}

func TestLeastDivergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := rapid.SliceOfN(rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(0, 9), rapid.Uint64Range(0, 1<<20)), 4, 40).Draw(t, "histogram")
		h[len(h)-1]++ // the greatest value lies in the last bin
		levels := rapid.IntRange(1, 4).Draw(t, "levels")
		got := leastDivergence(h, levels)
		if got < levels || got > len(h) {
			t.Fatalf("%d of %d bins for %d levels", got, len(h), levels)
		}
		for i := levels; i <= len(h); i++ {
			if d, least := divergence(h, i, levels), divergence(h, got, levels); d < least-1e-9 {
				t.Errorf("%d bins have %v, %d chosen have %v", i, d, got, least)
			}
		}
	})
}

// heavy has the tail of a t distribution of 3 degrees of freedom.
func heavy(r *rand.Rand) float64 {
	chi := 0.0
	for range 3 {
		n := r.NormFloat64()
		chi += n * n
	}
	return r.NormFloat64() / math.Sqrt(chi/3)
}

// A heavy tail is cut; with as many bins as levels, ONNX Runtime's default of 128,
// there is one candidate, the extremes. Nor do the least bins always win,
// as they would if Q had the tail.
func TestEntropyCutsAHeavyTail(t *testing.T) {
	x := sample(1<<16, heavy)
	greatest := max(-slices.Min(x), slices.Max(x))
	b := magnitudes(histogram(x).buckets())
	kept := leastDivergence(linearBins(b, float64(greatest), entropyBins), 128)
	t.Logf("%d of %d bins kept, of ±%v", kept, entropyBins, greatest)
	if kept <= 128 || kept > entropyBins/2 {
		t.Errorf("%d of %d bins kept", kept, entropyBins)
	}
	if kept := leastDivergence(linearBins(b, float64(greatest), 128), 128); kept != 128 {
		t.Errorf("%d of 128 bins kept", kept)
	}
	lo, hi := rangeOf(t, RangeRule{Method: "entropy"}, x, Int8Weights)
	if want := float32(float64(greatest) * float64(kept) / entropyBins); hi != want || lo != -want {
		t.Errorf("range %v…%v, want ±%v", lo, hi, want)
	}
	if minmax, entropy := sqnr(x, paramsOf(t, RangeRule{Method: "minmax"}, x, uint4), uint4), sqnr(x, paramsOf(t, RangeRule{Method: "entropy"}, x, uint4), uint4); entropy < minmax+2 {
		t.Errorf("4 bits: %.1f dB, minmax %.1f dB", entropy, minmax)
	}
}

// Zeros, however many, change nothing.
func TestEntropyDoesNotCountZeros(t *testing.T) {
	x := sample(1<<14, laplace)
	lo, hi := rangeOf(t, RangeRule{Method: "entropy"}, x, Uint8)
	if l, h := rangeOf(t, RangeRule{Method: "entropy"}, append(x, make([]float32, 1<<16)...), Uint8); l != lo || h != hi {
		t.Errorf("%v…%v with zeros, %v…%v without", l, h, lo, hi)
	}
}

// No value is lost or doubled, and none is farther from its bin than its bucket is wide.
func TestLinearBins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := append(values.Draw(t, "x"), 1)
		for i := range x {
			x[i] = float32(math.Abs(float64(x[i])))
		}
		slices.Sort(x)
		greatest := float64(x[len(x)-1])
		const bins = 300
		at := 0
		for i, n := range linearBins(histogram(x).buckets(), greatest, bins) {
			for range n {
				v := float64(x[at]) / greatest * bins
				if v < float64(i)-v/64-1e-9 || v > float64(i+1)+v/64+1e-9 {
					t.Errorf("value at %v in bin %d", v, i)
				}
				at++
			}
		}
		if at != len(x) {
			t.Errorf("%d of %d values in bins", at, len(x))
		}
	})
}
