package quantize

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// Property: no flip moves a weight by more than one step, no code leaves the grid, and the sums of the errors of kernels
// and channels end up within one step, half a step for kernels of one element.
func TestBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, i, k := rapid.IntRange(1, 4).Draw(t, "o"), rapid.IntRange(1, 12).Draw(t, "i"), rapid.SampledFrom([]int{1, 4, 9}).Draw(t, "k")
		w := make([]float32, o*i*k)
		for j := range w {
			w[j] = rapid.Float32Range(-1, 1).Draw(t, "w")
		}
		dims := []int64{int64(o), int64(i), int64(k)}
		q, err := QuantizeWeights(w, dims, 0, Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		before := q.Clone()
		q.Balance(w, k)
		for c := range o {
			whole := 0.0
			for kernel := range i {
				part, rounded := 0.0, 0.0
				for j := range k {
					at := (c*i+kernel)*k + j
					if d := int(q.Codes[at]) - int(before.Codes[at]); d < -1 || d > 1 || q.Codes[at] == -128 {
						t.Fatalf("code %d became %d", before.Codes[at], q.Codes[at])
					}
					part += float64(q.Codes[at]) - float64(w[at])/float64(q.Scales[c])
					rounded += float64(before.Codes[at]) - float64(w[at])/float64(q.Scales[c])
				}
				if k > 1 && math.Abs(part) > max(1.5+1e-9, math.Abs(rounded)+1e-9) {
					t.Fatalf("kernel %d of channel %d: errors sum to %v", kernel, c, part)
				}
				whole += part
			}
			if k == 1 && math.Abs(whole) > 0.5+1e-9 && i > 1 {
				// Only weights rounded the wrong way can be flipped; without one the sum stays.
				for j := range i {
					at := c*i + j
					e := float64(q.Codes[at]) - float64(w[at])/float64(q.Scales[c])
					if e*whole > 0 && math.Abs(e) > 1e-9 && q.Codes[at] == before.Codes[at] && math.Abs(float64(q.Codes[at])) < 127 {
						t.Fatalf("channel %d: errors sum to %v, and weight %d could be flipped", c, whole, j)
					}
				}
			}
		}
	})
}

// On inputs like those behind a Relu (positive, neighbours alike) the error of the outputs falls by several dB.
func TestBalanceOnSmoothInputs(t *testing.T) {
	const o, i, k, n = 8, 16, 9, 400
	r := rand.New(rand.NewPCG(3, 4))
	w := make([]float32, o*i*k)
	for j := range w {
		w[j] = float32(r.NormFloat64())
	}
	q, err := QuantizeWeights(w, []int64{o, i, k}, 0, Int8Weights)
	if err != nil {
		t.Fatal(err)
	}
	rounded := q.Dequantize()
	q.Balance(w, k)
	balanced := q.Dequantize()
	var plain, better float64
	for range n {
		x := make([]float64, i*k)
		for a := range i {
			level := math.Abs(r.NormFloat64())
			for b := range k {
				x[a*k+b] = max(0, level+0.2*r.NormFloat64())
			}
		}
		for c := range o {
			var p, s float64
			for j, v := range x {
				p += v * float64(rounded[c*i*k+j]-w[c*i*k+j])
				s += v * float64(balanced[c*i*k+j]-w[c*i*k+j])
			}
			plain += p * p
			better += s * s
		}
	}
	if gain := 10 * math.Log10(plain/better); gain < 5 {
		t.Errorf("gains %.1f dB, want at least 5", gain)
	}
}
