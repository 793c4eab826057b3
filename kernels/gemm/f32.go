package gemm

type kernelF32 = kernel[float32, float32, float32]

// F32 is a product C[M, N] = A[M, K]·B[K, N] + Bias of float32 matrices. The package comment defines it to the bit.
type F32 struct {
	M          int
	A          []float32 // row m begins at m*LDA
	LDA        int       // ≥ K
	B          *PanelsF32
	C          []float32 // row m begins at m*LDC; nil if the epilogue takes all
	LDC        int       // ≥ N
	BlockK     int       // sums of so many products are added up; 0: DefaultBlockK
	Accumulate bool      // C is added to the first of these sums
	Bias       []float32 // [N], added last; may be nil
	Epilogue   EpilogueF32
}

// DefaultBlockK keeps a block of A in the cache.
const DefaultBlockK = 512

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
	switch {
	case p.C != nil:
		checkMatrix("C", len(p.C), p.M, b.n, p.LDC)
	case p.Accumulate || p.Epilogue == nil:
		panic("gemm: no C, and no epilogue to take its place")
	}
	var bias []float32
	if p.Bias != nil {
		bias = p.Bias[:b.n][r.N0:]
	}
	kBlock := p.BlockK
	if kBlock == 0 {
		kBlock = DefaultBlockK
	}
	kn.run(r, &product[float32, float32]{
		k: b.k, kBlock: kBlock, panels: b.panels, c: p.C, ldc: p.LDC, accumulate: p.Accumulate, bias: bias, keepC: p.Epilogue != nil,
	}, &s.f32, func(m, k, rows, depth int) (*float32, int) {
		return s.prepareF32(p.A[m*p.LDA+k:], p.LDA, rows, depth)
	}, func(m, rows int, c []float32, ldc int) {
		if p.Epilogue != nil {
			p.Epilogue.Tile(m, r.N0, rows, r.N1-r.N0, c, ldc)
		}
	})
}
