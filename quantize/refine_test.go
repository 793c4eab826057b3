package quantize

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Refine never raises the error of a channel, keeps every weight inside the grid, and gains what its comment promises.
func TestRefine(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		dims []int64
		axis int
		gain float64 // dB at least, over all channels
	}{
		{[]int64{256, 1, 3, 3}, 0, 1.5},
		{[]int64{64, 256}, 1, 0.5},
		{[]int64{512, 64}, 0, 0.5},
		{[]int64{4, 4096}, 0, 0},
	} {
		w := make([]float32, c.dims[0]*c.dims[1]*func() int64 {
			if len(c.dims) == 4 {
				return 9
			}
			return 1
		}())
		for i := range w {
			w[i] = float32(r.NormFloat64())
		}
		q, err := QuantizeWeights(w, c.dims, c.axis, Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		noise := func() float64 {
			sum := 0.0
			for i, v := range q.Dequantize() {
				sum += float64(v-w[i]) * float64(v-w[i])
			}
			return sum
		}
		before := noise()
		q.Refine(w)
		if gain := 10 * math.Log10(before/noise()); gain < c.gain {
			t.Errorf("%v: gains %.2f dB, want %.2f", c.dims, gain, c.gain)
		}
		for i, code := range q.Codes {
			if code == -128 {
				t.Fatalf("%v: weight %d left the grid", c.dims, i)
			}
		}
	}
}
