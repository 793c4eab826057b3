package quantize

import (
	"cmp"
	"slices"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"

	"github.com/zqonnx/zqonnx/kernels/gemm"
)

// Damping is the share of the mean of a Gram's diagonal that is added to the diagonal: it bounds how far errors are carried
// along directions that the samples hardly have. (GPTQ, 2210.17323 §3.)
const Damping = 0.01

// A Solver finds codes of weights for what their layer sees. One serves all layers that see the same input, also at the same time.
//
// With H = XX + λI, λ = Damping·mean(diagonal), the error of a channel is eᵀHe, e = w − ŵ.
type Solver struct {
	k      int
	h      []float64       // [K, K], damped
	order  []int           // GPTQ's order: the inputs with most energy first
	upper  []float32       // [K, K]: U[i,j]/U[i,i], where H[r, r] = UᵀU for r = order turned round
	panels *gemm.PanelsF32 // H
}

// NewSolver prepares what a Gram says of a layer's input. Where the samples are fewer than the inputs, damping is raised.
func NewSolver(g *Gram) (*Solver, error) {
	if err := g.Err(); err != nil {
		return nil, err
	}
	k := g.K
	s := &Solver{k: k, h: make([]float64, k*k)}
	mean := 0.0
	for i := range k {
		mean += g.XX[i*k+i] / float64(k)
		for j := i; j < k; j++ {
			s.h[i*k+j], s.h[j*k+i] = g.XX[i*k+j], g.XX[i*k+j]
		}
	}
	if mean == 0 {
		mean = 1 // nothing but zeros was seen: all columns are alike
	}
	damping := Damping * mean * max(1, float64(k)/float64(g.Rows))
	for i := range k {
		if s.h[i*k+i] == 0 {
			s.h[i*k+i] = mean // a dead input: its weights are rounded for themselves
		}
		s.h[i*k+i] += damping
	}
	s.factor(damping)
	h := make([]float32, k*k)
	for i, v := range s.h {
		h[i] = float32(v)
	}
	s.panels = gemm.PackF32(h, k, k, k, false)
	return s, nil
}

// factor computes U. It adds to the damping where H is not positive definite.
func (s *Solver) factor(damping float64) {
	k := s.k
	s.order = make([]int, k)
	for i := range s.order {
		s.order[i] = i
	}
	slices.SortStableFunc(s.order, func(a, b int) int { return cmp.Compare(s.h[b*k+b], s.h[a*k+a]) })
	turned := mat.NewSymDense(k, nil)
	for i := range k {
		a := s.order[k-1-i]
		for j := i; j < k; j++ {
			turned.SetSym(i, j, s.h[a*k+s.order[k-1-j]])
		}
	}
	// Sums that cancel, as those of centred inputs do, may leave a little less than a Gram: more damping then.
	var c mat.Cholesky
	for more := damping; !c.Factorize(turned); more *= 4 {
		for i := range k {
			s.h[i*k+i] += more
			turned.SetSym(i, i, turned.At(i, i)+more)
		}
	}
	var t mat.TriDense
	c.UTo(&t)
	u := t.RawTriangular()
	s.upper = make([]float32, k*k)
	for i := range k {
		for j := i; j < k; j++ {
			s.upper[i*k+j] = float32(u.Data[i*u.Stride+j] / u.Data[i*u.Stride+i])
		}
	}
}

// gptqBlock is the number of inputs after which the errors made are carried to all that follow, in one product.
const gptqBlock = 64

// GPTQ rounds the channels of r one weight after the other; what each leaves is made up for by the weights to come.
//
// It is written as Babai's nearest plane: with H = UᵀU the error is ‖Ue‖², and from the last row of U up, each code is the one
// that brings its row nearest to 0: w + Σ U[i,j]·e[j]/U[i,i]. That is GPTQ's result (Chen et al., 2507.18553) without the inverse
// of H and with the errors of the weights themselves.
func (s *Solver) GPTQ(r *Rows) {
	k, n := s.k, r.N
	carried := make([]float32, n*k) // Σ U[i,j]/U[i,i]·e[j] over finished j, in U's order
	errors := make([]float32, n*gptqBlock)
	var panels gemm.PanelsF32
	var scratch gemm.Scratch
	for end := k; end > 0; {
		begin := max(end-gptqBlock, 0)
		width := end - begin
		for c := range n {
			e := errors[c*width:][:width]
			for i := end - 1; i >= begin; i-- {
				u := s.upper[i*k:]
				want := float64(carried[c*k+i])
				for j := i + 1; j < end; j++ {
					want += float64(u[j]) * float64(e[j-begin])
				}
				in := s.order[k-1-i]
				w := float64(r.W[c*k+in])
				e[i-begin] = float32(w - r.set(c, in, w+want))
			}
		}
		if begin > 0 {
			panels.Repack(s.upper[begin:], width, begin, k, true)
			p := gemm.F32{M: n, A: errors, LDA: width, B: &panels, C: carried, LDC: k, Accumulate: true}
			p.Run(gemm.Region{M1: n, N1: begin}, &scratch)
		}
		end = begin
	}
}

// descendSweeps bounds the rounds of Descend; few channels need more than five.
const descendSweeps = 20

// Descend changes single codes of r as long as that lowers the error of their channel (coordinate descent on the quadratic
// that AdaRound, 2004.10568, relaxes). The result is never worse than what it starts from.
func (s *Solver) Descend(r *Rows) {
	k := s.k
	s.eachErrors(r, func(c int, _, gradient []float64) {
		for range descendSweeps {
			changed := false
			for i := range k {
				// The best real change of e[i] is −gradient/h; codes take whole steps.
				h, step := s.h[i*k+i], r.scale(c, i)
				code := float64(r.Codes[c*k+i])
				next := r.nearest(gradient[i]/h/step, code)
				if next == code {
					continue
				}
				d := float64(step * (next - code))
				if float64(d*d*h) >= float64(2*d*gradient[i]) {
					continue
				}
				r.Codes[c*k+i] = int8(next)
				blas64.Axpy(-d, s.column(i), blas64.Vector{N: k, Data: gradient, Inc: 1})
				changed = true
			}
			if !changed {
				break
			}
		}
	})
}

// column is a column of H, and a row of it.
func (s *Solver) column(i int) blas64.Vector {
	return blas64.Vector{N: s.k, Data: s.h[i*s.k:][:s.k], Inc: 1}
}

// Loss returns the error eᵀHe of every channel of r.
func (s *Solver) Loss(r *Rows) []float64 {
	loss := make([]float64, r.N)
	s.eachErrors(r, func(c int, e, he []float64) {
		for i, v := range e {
			loss[c] += float64(v * he[i])
		}
	})
	return loss
}

// eachErrors calls f with the errors e = w − ŵ of every row of r, and He, to the precision of float32 products.
func (s *Solver) eachErrors(r *Rows, f func(c int, e, he []float64)) {
	k := s.k
	var scratch gemm.Scratch
	e, he := make([]float64, gptqBlock*k), make([]float64, k)
	e32, he32 := make([]float32, gptqBlock*k), make([]float32, gptqBlock*k)
	for first := 0; first < r.N; first += gptqBlock {
		n := min(gptqBlock, r.N-first)
		for c := range n {
			r.errors(first+c, e[c*k:][:k])
			for i, v := range e[c*k:][:k] {
				e32[c*k+i] = float32(v)
			}
		}
		p := gemm.F32{M: n, A: e32, LDA: k, B: s.panels, C: he32, LDC: k}
		p.Run(gemm.Region{M1: n, N1: k}, &scratch)
		for c := range n {
			for i, v := range he32[c*k:][:k] {
				he[i] = float64(v)
			}
			f(first+c, e[c*k:][:k], he)
		}
	}
}

// FitScales gives every block of every channel the scale that is best for its codes: with q the codes of a block, the
// errors are w − Σ s·q, and the least of eᵀHe is the solution of a system with as many equations as the channel has blocks.
// Scales that would turn negative or vanish stay, as do those of blocks whose codes are all 0. A channel whose error would
// not fall keeps its scales.
func (s *Solver) FitScales(r *Rows) {
	k, blocks := s.k, r.blocks()
	w := &Rows{N: r.N, K: k, Block: k, W: r.W, Codes: make([]int8, len(r.Codes)), Scales: make([]float32, r.N)} // of errors w
	hq := make([]float64, k*blocks)
	s.eachErrors(w, func(c int, _, hw []float64) {
		a, b := mat.NewSymDense(blocks, nil), make([]float64, blocks)
		for x := range blocks {
			row := blas64.Vector{N: k, Data: hq[x*k:][:k], Inc: 1}
			clear(row.Data)
			from, to := r.block(x)
			for i := from; i < to; i++ {
				if q := r.code(c, i); q != 0 {
					blas64.Axpy(q, s.column(i), row)
					b[x] += float64(q * hw[i])
				}
			}
		}
		for x := range blocks {
			for y := x; y < blocks; y++ {
				from, to := r.block(y)
				sum := 0.0
				for i := from; i < to; i++ {
					sum += float64(hq[x*k+i] * r.code(c, i))
				}
				if x == y && sum == 0 {
					sum = 1
				}
				a.SetSym(x, y, sum)
			}
		}
		var f mat.Cholesky
		var best mat.VecDense
		if !f.Factorize(a) || f.SolveVecTo(&best, mat.NewVecDense(blocks, b)) != nil {
			return
		}
		scales := r.Scales[c*blocks:][:blocks]
		fit := slices.Clone(scales)
		for x := range blocks {
			if v := float32(best.AtVec(x)); v >= MinScale && v-v == 0 {
				fit[x] = v
			}
		}
		if quadratic(a, b, fit) < quadratic(a, b, scales) {
			copy(scales, fit)
		}
	})
}

// quadratic is sᵀAs − 2bᵀs.
func quadratic(a *mat.SymDense, b []float64, s []float32) float64 {
	sum := 0.0
	for i := range s {
		sum -= float64(2 * b[i] * float64(s[i]))
		for j := range s {
			sum += float64(float64(s[i]) * float64(s[j]) * a.At(i, j))
		}
	}
	return sum
}

// Improve runs f on r and takes back what it did to the codes and scales of channels whose error rose. It returns the error
// of every channel afterwards.
func (s *Solver) Improve(r *Rows, f func(*Rows)) []float64 {
	before := s.Loss(r)
	codes, scales := slices.Clone(r.Codes), slices.Clone(r.Scales)
	f(r)
	after := s.Loss(r)
	blocks := r.blocks()
	for c := range r.N {
		if after[c] > before[c] {
			after[c] = before[c]
			copy(r.Codes[c*r.K:][:r.K], codes[c*r.K:])
			copy(r.Scales[c*blocks:][:blocks], scales[c*blocks:])
		}
	}
	return after
}
