package quantize

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
)

// A LowRank makes up for a part of what quantization does to the weights of a layer: Y += (X·A)·B, where A·B is near the
// errors w − ŵ. What it is worth, Gain tells: the errors of white noise hardly have a low rank.
type LowRank struct {
	K, Rank, N int
	A          []float32 // [K, Rank]
	B          []float32 // [Rank, N]
}

// LoRC returns the correction of that rank which leaves the least squared errors of the weights; it needs no data.
// (ZeroQuant-V2, 2303.08302.)
func LoRC(r *Rows, rank int) *LowRank {
	return lowRank(r, rank, func(rows blas64.General) blas64.General { return rows })
}

// LQER weights the errors by the energy of their inputs. (2402.02446.) LowRank is better at the same rank.
func (s *Solver) LQER(r *Rows, rank int) *LowRank {
	energy := s.Energy()
	return lowRank(r, rank, func(rows blas64.General) blas64.General {
		for i := range rows.Data {
			rows.Data[i] *= energy[i%s.k]
		}
		return rows
	})
}

// LowRank returns the correction of that rank which leaves the least error of the layer's output, Σ eᵀHe.
func (s *Solver) LowRank(r *Rows, rank int) *LowRank {
	h := blas64.General{Rows: s.k, Cols: s.k, Stride: s.k, Data: s.h}
	return lowRank(r, rank, func(rows blas64.General) blas64.General {
		product := zeros(rows.Rows, s.k)
		blas64.Gemm(blas.NoTrans, blas.NoTrans, 1, rows, h, 0, product)
		return product
	})
}

// Up to exactRows channels everything is computed at once. With more, a random subspace of a few more dimensions than asked
// for is turned towards the largest errors (Halko, Martinsson & Tropp, 0909.4061, algorithm 4.4).
const (
	exactRows   = 128
	oversample  = 8
	powerRounds = 2
)

// lowRank projects the errors E [N, K] onto the N-dimensional directions along which they count most: with Q the first
// eigenvectors of E·H·Eᵀ, Eᵀ·Q·Qᵀ is the best correction of its rank under H. That is the truncated SVD of UEᵀ, H = UᵀU,
// unscaled by U⁻¹, without U: H need not have an inverse. metric returns rows·H, and may write to rows.
func lowRank(r *Rows, rank int, metric func(rows blas64.General) blas64.General) *LowRank {
	rank = max(min(rank, r.N, r.K), 0)
	width, rounds := min(rank+oversample, r.N), 1+powerRounds
	if r.N <= exactRows {
		width, rounds = r.N, 0
	}
	q := zeros(width, r.N) // directions as rows
	random := rand.New(rand.NewPCG(0, 0))
	for i := range q.Data {
		switch {
		case rounds > 0:
			q.Data[i] = 2*random.Float64() - 1
		case i%(r.N+1) == 0:
			q.Data[i] = 1
		}
	}
	for range rounds {
		q = r.back(metric(r.project(q)))
		orthonormalise(q)
	}

	// Within the subspace the eigenvectors are exact.
	p := r.project(q)
	small := zeros(width, width)
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, metric(clone(p)), p, 0, small)
	vectors := eigenvectors(small)
	l := &LowRank{K: r.K, Rank: rank, N: r.N, A: make([]float32, r.K*rank), B: make([]float32, rank*r.N)}
	a, b := make([]float64, r.K), make([]float64, r.N)
	for m := range rank {
		v := blas64.Vector{N: width, Data: vectors[m], Inc: 1}
		blas64.Gemv(blas.Trans, 1, p, v, 0, blas64.Vector{N: r.K, Data: a, Inc: 1})
		blas64.Gemv(blas.Trans, 1, q, v, 0, blas64.Vector{N: r.N, Data: b, Inc: 1})
		// Both factors get the root of the size of their product, so that neither needs a wider range.
		size := math.Sqrt(blas64.Nrm2(blas64.Vector{N: r.K, Data: a, Inc: 1}))
		if size == 0 {
			continue
		}
		for i, x := range a {
			l.A[i*rank+m] = float32(x / size)
		}
		for i, x := range b {
			l.B[m*r.N+i] = float32(x * size)
		}
	}
	return l
}

func zeros(rows, columns int) blas64.General {
	return blas64.General{Rows: rows, Cols: columns, Stride: max(columns, 1), Data: make([]float64, rows*columns)}
}

func clone(g blas64.General) blas64.General {
	g.Data = slices.Clone(g.Data)
	return g
}

// project returns q·E for q [width, N].
func (r *Rows) project(q blas64.General) blas64.General {
	p := zeros(q.Rows, r.K)
	r.eachErrorBlock(func(first int, e blas64.General) {
		part := blas64.General{Rows: q.Rows, Cols: e.Rows, Stride: q.Stride, Data: q.Data[first:]}
		blas64.Gemm(blas.NoTrans, blas.NoTrans, 1, part, e, 1, p)
	})
	return p
}

// back returns p·Eᵀ for p [width, K].
func (r *Rows) back(p blas64.General) blas64.General {
	q := zeros(p.Rows, r.N)
	r.eachErrorBlock(func(first int, e blas64.General) {
		part := blas64.General{Rows: q.Rows, Cols: e.Rows, Stride: q.Stride, Data: q.Data[first:]}
		blas64.Gemm(blas.NoTrans, blas.Trans, 1, p, e, 0, part)
	})
	return q
}

// eachErrorBlock calls f with the errors of some rows at a time.
func (r *Rows) eachErrorBlock(f func(first int, e blas64.General)) {
	e := zeros(min(exactRows, r.N), r.K)
	for first := 0; first < r.N; first += exactRows {
		e.Rows = min(exactRows, r.N-first)
		for c := range e.Rows {
			r.errors(first+c, e.Data[c*r.K:][:r.K])
		}
		f(first, e)
	}
}

// Residual returns rows with a copy of r's codes and scales and the weights that these stand for beside the correction: w − A·B.
func (l *LowRank) Residual(r *Rows) *Rows {
	rest := *r
	rest.W = make([]float32, len(r.W))
	rest.Codes, rest.Scales, rest.Zeros = slices.Clone(r.Codes), slices.Clone(r.Scales), slices.Clone(r.Zeros)
	for c := range r.N {
		for i := range r.K {
			sum := 0.0
			for m, a := range l.A[i*l.Rank:][:l.Rank] {
				sum += float64(a) * float64(l.B[m*l.N+c])
			}
			rest.W[c*r.K+i] = float32(float64(r.W[c*r.K+i]) - sum)
		}
	}
	return &rest
}

// Gain returns the error of the layer without the correction and with it; loss is SquaredErrors or a Solver's Loss.
func (l *LowRank) Gain(r *Rows, loss func(*Rows) []float64) (before, after float64) {
	return sum(loss(r)), sum(loss(l.Residual(r)))
}

// SquaredErrors returns Σ (w − ŵ)² of every row.
func SquaredErrors(r *Rows) []float64 {
	loss, e := make([]float64, r.N), make([]float64, r.K)
	for c := range loss {
		r.errors(c, e)
		for _, v := range e {
			loss[c] += float64(v * v)
		}
	}
	return loss
}

func sum(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s
}

// Factors are a correction in int8. Its terms have one scale each, so that they take hardly more than their codes.
type Factors struct {
	A      []int8    // [K, Rank]
	B      []int8    // [Rank, N]
	Scales []float32 // [Rank]: A·diag(Scales)·B
}

// Int8 rounds the factors: each of A's columns and B's rows to its own −127…127.
func (l *LowRank) Int8() (*Factors, error) {
	a, err := QuantizeWeights(l.A, []int64{int64(l.K), int64(l.Rank)}, 1, Int8Weights)
	if err != nil {
		return nil, err
	}
	b, err := QuantizeWeights(l.B, []int64{int64(l.Rank), int64(l.N)}, 0, Int8Weights)
	if err != nil {
		return nil, err
	}
	f := &Factors{A: a.Codes, B: b.Codes, Scales: make([]float32, l.Rank)}
	for m := range f.Scales {
		f.Scales[m] = max(float32(a.Scales[m]*b.Scales[m]), MinScale)
	}
	return f, nil
}

// LowRank returns what the codes stand for; the scales are in B.
func (f *Factors) LowRank() *LowRank {
	rank := len(f.Scales)
	l := &LowRank{K: len(f.A) / max(rank, 1), Rank: rank, N: len(f.B) / max(rank, 1), A: make([]float32, len(f.A)), B: make([]float32, len(f.B))}
	for i, c := range f.A {
		l.A[i] = float32(c)
	}
	for i, c := range f.B {
		l.B[i] = float32(float32(c) * f.Scales[i/l.N])
	}
	return l
}

// AddTo adds A·B to the weights w of a layer: [K, N], or [N, K] where transposed.
func (l *LowRank) AddTo(w []float32, transposed bool) {
	row, column := l.N, 1 // what lies between neighbouring inputs, and outputs
	if transposed {
		row, column = 1, l.K
	}
	for i := range l.K {
		for m, a := range l.A[i*l.Rank:][:l.Rank] {
			if a == 0 {
				continue
			}
			for n, b := range l.B[m*l.N:][:l.N] {
				w[i*row+n*column] += float32(a * b)
			}
		}
	}
}

// loftqRounds is how often LoftQ corrects and rounds in turn.
const loftqRounds = 5

// LoftQ rounds what a correction leaves, and corrects what rounding leaves, in turn, from the codes that r has; r and the
// result are the best of all rounds under loss. correct is LoRC or a method of a Solver, round chooses codes (and scales) for
// the weights of its rows. (2310.08659.)
func LoftQ(r *Rows, rank int, correct func(*Rows, int) *LowRank, round func(*Rows), loss func(*Rows) []float64) *LowRank {
	l := correct(r, rank)
	best := l
	_, least := l.Gain(r, loss)
	for range loftqRounds {
		next := l.Residual(r)
		round(next)
		next.W = r.W
		l = correct(next, rank)
		if _, after := l.Gain(next, loss); after < least {
			best, least = l, after
			copy(r.Codes, next.Codes)
			copy(r.Scales, next.Scales)
			copy(r.Zeros, next.Zeros)
			r.Levels = next.Levels
		}
	}
	return best
}
