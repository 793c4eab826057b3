package quantize

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas64"
)

// jacobiSweeps bounds the sweeps of eigenvectors, whose errors fall quadratically: eight are many.
const jacobiSweeps = 30

// eigenvectors returns those of a symmetric matrix, which it destroys, largest eigenvalues first. It turns pairs of rows and columns
// until what is beside the diagonal is rounding (Jacobi's method; LAPACK's in Go has products that the compiler may fuse).
func eigenvectors(m blas64.General) [][]float64 {
	n := m.Rows
	row := func(i int) []float64 { return m.Data[i*m.Stride:][:n] }
	vectors := make([][]float64, n)
	for i := range vectors {
		vectors[i] = make([]float64, n)
		vectors[i][i] = 1
	}
	negligible := 0.0
	for i := range n {
		negligible += math.Abs(row(i)[i]) / 1e14
	}
	for range jacobiSweeps {
		turned := false
		for i := range n {
			for j := i + 1; j < n; j++ {
				p, q, off := row(i)[i], row(j)[j], row(i)[j]
				if math.Abs(off) <= negligible {
					continue
				}
				turned = true
				// The smaller of the two angles that bring off to 0.
				half := (q - p) / (2 * off)
				tan := math.Copysign(1/(math.Abs(half)+math.Sqrt(1+float64(half*half))), half)
				cos := 1 / math.Sqrt(1+float64(tan*tan))
				sin := tan * cos
				turn(row(i), row(j), cos, sin)
				for x := range n {
					r := row(x)
					r[i], r[j] = float64(cos*r[i])-float64(sin*r[j]), float64(sin*r[i])+float64(cos*r[j])
				}
				turn(vectors[i], vectors[j], cos, sin)
			}
		}
		if !turned {
			break
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(row(b)[b], row(a)[a]) })
	sorted := make([][]float64, n)
	for i, at := range order {
		sorted[i] = vectors[at]
	}
	return sorted
}

func turn(a, b []float64, cos, sin float64) {
	for x, v := range a {
		w := b[x]
		a[x], b[x] = float64(cos*v)-float64(sin*w), float64(sin*v)+float64(cos*w)
	}
}

// orthonormalise makes the rows of q orthogonal and of length 1, by Gram and Schmidt's process, twice. Rows that are 0 stay.
func orthonormalise(q blas64.General) {
	row := func(i int) blas64.Vector {
		return blas64.Vector{N: q.Cols, Data: q.Data[i*q.Stride:][:q.Cols], Inc: 1}
	}
	for i := range q.Rows {
		v := row(i)
		for range 2 {
			for j := range i {
				blas64.Axpy(-blas64.Dot(v, row(j)), row(j), v)
			}
			if n := blas64.Nrm2(v); n > 0 {
				for x := range v.Data {
					v.Data[x] /= n
				}
			}
		}
	}
}
