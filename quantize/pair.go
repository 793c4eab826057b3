package quantize

import (
	"fmt"

	"gonum.org/v1/gonum/mat"
)

// A Pair is what is known of a layer's input in the quantized network, x̂, beside the same in the float network, x: the Gram of rows
// [x̂, x], of 2·K values.
type Pair struct{ *Gram }

// NewPair returns the empty Pair of inputs with k values.
func NewPair(k int) Pair { return Pair{NewGram(2 * k)} }

// Centred returns the Pair of what is left of the inputs without their means.
func (p Pair) Centred() Pair { return Pair{p.Gram.Centred()} }

func (p Pair) inputs() int { return p.K / 2 }

// Seen returns the Gram of x̂.
func (p Pair) Seen() *Gram {
	k := p.inputs()
	g := NewGram(k)
	g.Rows = p.Rows
	copy(g.Sum, p.Sum)
	for i := range k {
		copy(g.XX[i*k+i:(i+1)*k], p.XX[i*p.K+i:])
	}
	return g
}

// cross is Σ x̂[i]·x[j].
func (p Pair) cross(i, j int) float64 { return p.XX[i*p.K+p.inputs()+j] }

// Target returns the weights V [N, K] with which the layer, fed with x̂, comes nearest to what w [N, K] gives for x:
//
//	V = W + W·(Σ x·x̂ᵀ − Σ x̂·x̂ᵀ)·H⁻¹
//
// where H is that of s, the Solver of p.Seen(): its damping pulls V towards W. It is the closed form of ZeroQuant's layer-by-layer
// distillation (2206.01861 §4.3) for one linear layer; no labels are needed.
func (p Pair) Target(s *Solver, w []float32) ([]float32, error) {
	k := p.inputs()
	if s.k != k || len(w)%k != 0 {
		return nil, fmt.Errorf("%d weights and a Solver of %d inputs do not fit a Pair of %d", len(w), s.k, k)
	}
	h, difference := mat.NewSymDense(k, s.h), mat.NewDense(k, k, nil)
	for i := range k {
		for j := range k {
			seen := p.XX[min(i, j)*p.K+max(i, j)]
			difference.Set(i, j, p.cross(i, j)-seen)
		}
	}
	var c mat.Cholesky
	if !c.Factorize(h) {
		return nil, fmt.Errorf("what a layer of %d inputs sees says nothing of how to make up for it", k)
	}
	var z mat.Dense // H⁻¹·(Σ x̂·xᵀ − Σ x̂·x̂ᵀ)
	if err := c.SolveTo(&z, difference); err != nil {
		return nil, err
	}
	n := len(w) / k
	double := make([]float64, len(w))
	for i, v := range w {
		double[i] = float64(v)
	}
	var moved mat.Dense
	moved.Mul(mat.NewDense(n, k, double), z.T())
	v := make([]float32, len(w))
	for i := range v {
		v[i] = float32(double[i] + moved.At(i/k, i%k))
	}
	return v, nil
}

// Loss returns, for each of N channels, the energy of V·x̂ − W·x over all rows seen: of what the layer gives with weights v [N, K], quantized
// ones mostly, in the quantized network, beside what it gives with w in float.
func (p Pair) Loss(v, w []float32) []float64 {
	k := p.inputs()
	loss := make([]float64, len(w)/k)
	both, product := make([]float64, p.K), mat.NewVecDense(p.K, nil)
	g := mat.NewSymDense(p.K, p.XX)
	for c := range loss {
		for i := range k {
			both[i], both[k+i] = float64(v[c*k+i]), -float64(w[c*k+i])
		}
		x := mat.NewVecDense(p.K, both)
		product.MulVec(g, x)
		loss[c] = mat.Dot(x, product)
	}
	return loss
}

// MeanError returns, for each channel, the mean of W·x − V·x̂: what a bias makes up for.
func (p Pair) MeanError(v, w []float32) []float32 {
	k := p.inputs()
	e := make([]float32, len(w)/k)
	for c := range e {
		sum := 0.0
		for i := range k {
			sum += float64(float64(w[c*k+i])*p.Sum[k+i]) - float64(float64(v[c*k+i])*p.Sum[i])
		}
		e[c] = float32(sum / float64(max(p.Rows, 1)))
	}
	return e
}
