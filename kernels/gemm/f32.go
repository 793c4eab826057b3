package gemm

import "unsafe"

type kernelF32 = kernel[float32, float32, float32]

// F32 is a product C[M, N] = A[M, K]·B[K, N] + Bias of float32 matrices. The package comment defines it to the bit.
type F32 struct {
	M          int
	A          []float32 // row m begins at m*LDA
	LDA        int       // ≥ K
	B          *PanelsF32
	C          []float32 // row m begins at m*LDC; nil if the epilogue takes all
	LDC        int       // ≥ N
	Accumulate bool      // the accumulators start at C instead of 0
	Bias       []float32 // [N], added last; may be nil
	Epilogue   EpilogueF32
}

// EpilogueF32 is called on rows of a region as soon as they are computed, while they are in the cache; see [F32.Run].
type EpilogueF32 interface {
	// Tile gets C[m0:m0+rows, n0:n0+columns] as c: its row i begins at i*ldc. It may change c. Tiles of different regions
	// come concurrently.
	Tile(m0, n0, rows, columns int, c []float32, ldc int)
}

// Run computes region r of C. It may run concurrently for regions that do not overlap, each with a scratch of its own.
// If there is an epilogue, it gets blocks of rows, over all columns of r, from top to bottom. Without C these live in s.
func (p *F32) Run(r Region, s *Scratch) {
	b, kn := p.B, p.B.kernel
	checkRegion(r, p.M, b.n, kn.tileColumns)
	if r.M0 >= r.M1 || r.N0 >= r.N1 {
		return
	}
	checkMatrix("A", len(p.A), p.M, b.k, p.LDA)
	columns := r.N1 - r.N0
	o := operands[float32, float32, float32]{
		groups: kn.groups(b.k), panels: unsafe.SliceData(b.panels), nLo: r.N0, nHi: r.N1, accumulate: p.Accumulate,
	}
	if p.Bias != nil {
		o.bias = p.Bias[:b.n][r.N0:]
	}
	switch {
	case p.C != nil:
		checkMatrix("C", len(p.C), p.M, b.n, p.LDC)
	case p.Accumulate || p.Epilogue == nil:
		panic("gemm: no C, and no epilogue to take its place")
	}

	rowBytes := 4 * b.k
	if p.Epilogue != nil {
		rowBytes += 4 * columns
	}
	step := rowBlock(rowBytes, kn.tileRows)
	for m := r.M0; m < r.M1; m += step {
		o.rows = min(step, r.M1-m)
		o.a, o.lda = s.prepareF32(p.A, p.LDA, m, o.rows, b.k)
		var c []float32
		if p.C != nil {
			c, o.ldc = p.C[m*p.LDC+r.N0:], p.LDC
			c = c[:(o.rows-1)*o.ldc+columns]
		} else {
			s.cF32 = grow(s.cF32, o.rows*columns)
			c, o.ldc = s.cF32, columns
		}
		o.c = &c[0]
		kn.block(&o, &s.edgeF32)
		if p.Epilogue != nil {
			p.Epilogue.Tile(m, r.N0, o.rows, columns, c, o.ldc)
		}
	}
}
