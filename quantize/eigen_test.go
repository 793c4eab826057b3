package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// Vectors are orthonormal, and turn the matrix into its eigenvalues, those that LAPACK's method finds.
func TestEigenvectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, rank := rapid.IntRange(1, 20).Draw(t, "n"), rapid.IntRange(0, 20).Draw(t, "rank")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 20))
		half := mat.NewDense(n, rank+1, nil)
		for i := range n {
			for j := range rank {
				half.Set(i, j, r.NormFloat64()*math.Exp(3*r.NormFloat64()))
			}
		}
		var m mat.SymDense
		m.SymOuterK(1, half)
		copied := zeros(n, n)
		for i := range n {
			for j := range n {
				copied.Data[i*n+j] = m.At(i, j)
			}
		}
		vectors := eigenvectors(copied)
		var e mat.EigenSym
		if !e.Factorize(&m, false) {
			t.Fatal("no eigenvalues")
		}
		values := e.Values(nil)
		slices.Reverse(values)
		for i, v := range vectors {
			for j, w := range vectors {
				a, b := mat.NewVecDense(n, v), mat.NewVecDense(n, w)
				dot, product, want, one := mat.Dot(a, b), mat.Inner(a, &m, b), 0.0, 0.0
				if i == j {
					want, one = values[i], 1
				}
				if math.Abs(dot-one) > 1e-12 || math.Abs(product-want) > 1e-11*values[0] {
					t.Fatalf("vectors %d and %d: product %v, under the matrix %v, want %v", i, j, dot, product, want)
				}
			}
		}
	})
}

func TestOrthonormalise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 21))
	q := zeros(5, 9)
	for i := range q.Data {
		q.Data[i] = r.Float64()
	}
	clear(q.Data[9:18])
	copy(q.Data[27:36], q.Data[18:27]) // twice the same, but for rounding
	q.Data[30] *= 1 + 1e-15
	orthonormalise(q)
	for i := range 5 {
		for j := range 5 {
			want := 0.0
			if i == j && i != 1 {
				want = 1
			}
			v := blas64.Dot(blas64.Vector{N: 9, Data: q.Data[i*9:], Inc: 1}, blas64.Vector{N: 9, Data: q.Data[j*9:], Inc: 1})
			if math.Abs(v-want) > 1e-12 {
				t.Errorf("rows %d and %d: %v, want %v", i, j, v, want)
			}
		}
	}
}
