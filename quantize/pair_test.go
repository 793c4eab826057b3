package quantize

import (
	"math"
	"math/rand/v2"
	"testing"
)

// With x̂ = x + noise, the target's loss is the least there is, below that of the layer's own weights; Loss and MeanError are what the
// rows themselves give.
func TestPair(t *testing.T) {
	const k, n, rows = 12, 3, 400
	r := rand.New(rand.NewPCG(1, 9))
	p := NewPair(k)
	w := normal(r, n*k)
	both := make([]float32, 0, rows*2*k)
	mix := normal(r, k*k)
	for range rows {
		x, seen := make([]float32, k), make([]float32, k)
		z := normal(r, k)
		for i := range k {
			x[i] = 1
			for j := range k {
				x[i] += mix[i*k+j] * z[j]
			}
			seen[i] = x[i]*0.9 + float32(r.NormFloat64())
		}
		both = append(append(both, seen...), x...)
	}
	p.Observe(both)
	s, err := NewSolver(p.Seen())
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Target(s, w)
	if err != nil {
		t.Fatal(err)
	}
	direct := func(v []float32) (energy, mean []float64) {
		energy, mean = make([]float64, n), make([]float64, n)
		for at := 0; at < len(both); at += 2 * k {
			for c := range n {
				e := 0.0
				for i := range k {
					e += float64(w[c*k+i])*float64(both[at+k+i]) - float64(v[c*k+i])*float64(both[at+i])
				}
				energy[c] += e * e
				mean[c] += e / rows
			}
		}
		return energy, mean
	}
	for name, v := range map[string][]float32{"own": w, "target": v} {
		energy, mean := direct(v)
		loss, off := p.Loss(v, w), p.MeanError(v, w)
		for c := range n {
			if math.Abs(loss[c]/energy[c]-1) > 1e-4 || math.Abs(float64(off[c])-mean[c]) > 1e-5 {
				t.Errorf("%s, channel %d: loss %v and mean %v, %v and %v from the rows", name, c, loss[c], off[c], energy[c], mean[c])
			}
		}
	}
	own, target := sum(p.Loss(w, w)), sum(p.Loss(v, w))
	if target > 0.8*own {
		t.Errorf("loss %v with the target, %v with the layer's own weights", target, own)
	}
	for i := range v { // no step from the target gains anything, but for what damping holds back
		for _, d := range []float32{0.05, -0.05} {
			u := append([]float32{}, v...)
			u[i] += d
			if l := sum(p.Loss(u, w)); l < target*(1-0.002) {
				t.Fatalf("weight %d off by %v: %v instead of %v", i, d, l, target)
			}
		}
	}
}
