package quantize

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/gemm"
)

// A Gram holds what the error of a linear layer depends on: for inputs x of K values it is the sum of x·xᵀ and of x over all
// rows seen. With e the errors of the weights of one output, the layer's output is off by eᵀx, and the energy of that over all
// rows is eᵀ·XX·e. Grams form a monoid up to the rounding of float64 sums: the same rows in the same order give the same bits.
type Gram struct {
	K    int
	Rows int64
	XX   []float64 // [K, K]; only what lies on and right of the diagonal
	Sum  []float64 // [K]

	packed  gemm.PanelsF32
	scratch gemm.Scratch
	turned  []float32 // rows as columns
	block   []float32
}

// NewGram returns the empty Gram of inputs with k values.
func NewGram(k int) *Gram {
	return &Gram{K: k, XX: make([]float64, k*k), Sum: make([]float64, k)}
}

// gramRows is the number of rows that are summed in float32 before they go into the float64 sums; gramTile is how many rows
// of XX a product computes, since of each only what lies right of the diagonal is needed.
const gramRows, gramTile = 512, 256

// Observe adds rows of K values. Values that are not finite spoil the Gram; see Err.
func (g *Gram) Observe(x []float32) {
	if len(x)%max(g.K, 1) != 0 {
		panic(fmt.Sprintf("quantize: %d values are no rows of %d", len(x), g.K))
	}
	for len(x) > 0 {
		n := min(len(x), gramRows*g.K)
		g.observe(x[:n])
		x = x[n:]
	}
}

func (g *Gram) observe(x []float32) {
	k, rows := g.K, len(x)/g.K
	g.Rows += int64(rows)
	g.turned, g.block = resize(g.turned, k*rows), resize(g.block, min(gramTile, k)*k)
	for i := range rows {
		for j, v := range x[i*k:][:k] {
			g.turned[j*rows+i] = v
			g.Sum[j] += float64(v)
		}
	}
	for m := 0; m < k; m += gramTile {
		tile, columns := min(gramTile, k-m), k-m
		g.packed.Repack(x[m:], rows, columns, k, false)
		p := gemm.F32{M: tile, A: g.turned[m*rows:], LDA: rows, B: &g.packed, C: g.block, LDC: columns}
		p.Run(gemm.Region{M1: tile, N1: columns}, &g.scratch)
		for i := range tile {
			into := g.XX[(m+i)*k+m+i:][:columns-i]
			for j, v := range g.block[i*columns+i:][:columns-i] {
				into[j] += float64(v)
			}
		}
	}
}

// Merge adds what another Gram has seen.
func (g *Gram) Merge(o *Gram) error {
	if g.K != o.K {
		return fmt.Errorf("a Gram of %d inputs cannot merge one of %d", g.K, o.K)
	}
	g.Rows += o.Rows
	for i, v := range o.XX {
		g.XX[i] += v
	}
	for i, v := range o.Sum {
		g.Sum[i] += v
	}
	return nil
}

// Err tells why nothing can be learned from the Gram: ErrNoValues, ErrNonFinite, or nil.
func (g *Gram) Err() error {
	if g.Rows == 0 {
		return ErrNoValues
	}
	for i := range g.K {
		if d := g.XX[i*g.K+i]; d-d != 0 {
			return fmt.Errorf("%w: in column %d of a layer's input", ErrNonFinite, i)
		}
	}
	return nil
}

// cancelled is the share of a sum of squares at or below which what is left of it without the mean is rounding.
const cancelled = 1e-6 // XX is summed in float32 for 512 rows at a time

// Centred returns the Gram of x − mean(x): what a layer's error depends on when its bias makes up for the mean of it.
func (g *Gram) Centred() *Gram {
	c := &Gram{K: g.K, Rows: g.Rows, XX: make([]float64, len(g.XX)), Sum: make([]float64, g.K)}
	constant := make([]bool, g.K)
	for i := range g.K {
		square := g.XX[i*g.K+i]
		constant[i] = square-float64(g.Sum[i]*g.Sum[i])/float64(max(g.Rows, 1)) <= cancelled*square
	}
	for i := range g.K {
		for j := i; j < g.K && !constant[i]; j++ {
			if !constant[j] {
				c.XX[i*g.K+j] = g.XX[i*g.K+j] - float64(g.Sum[i]*g.Sum[j])/float64(max(g.Rows, 1))
			}
		}
	}
	return c
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
