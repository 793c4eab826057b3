package gemm

type kernelInt8 = kernel[uint8, int8, int32]

// Int8 is a product of 8-bit integer matrices with zero points:
//
//	C[m,n] = Bias[n] + Σ_k (A[m,k] - zeroA[m])·(B[k,n] - zeroB[n])    in int32, modulo 2^32
//
// zeroB belongs to B.
type Int8 struct {
	M          int
	A          []uint8 // row m begins at m*LDA; the bytes of int8 codes if Signed; what is between rows may be read
	LDA        int     // ≥ K
	Signed     bool    // A holds int8 codes
	ZeroA      []int32 // 0 (all 0), 1 (per tensor) or M (per row) zero points of A
	B          *PanelsInt8
	C          []int32 // row m begins at m*LDC; nil if the epilogue takes all
	LDC        int     // ≥ N
	Accumulate bool    // add to C instead of storing
	Bias       []int32 // [N]; may be nil
	Epilogue   EpilogueInt8
}

// EpilogueInt8 is called on rows of a region as soon as they are computed, while they are in the cache; see [Int8.Run].
type EpilogueInt8 interface {
	// Tile gets C[m0:m0+rows, n0:n0+columns] as c: its row i begins at i*ldc. It may change c. Tiles of different regions
	// come concurrently.
	Tile(m0, n0, rows, columns int, c []int32, ldc int)
}

// Run computes region r of C. It may run concurrently for regions that do not overlap, each with a scratch of its own.
// If there is an epilogue, it gets blocks of rows, over all columns of r, from top to bottom. Without C these live in s.
func (p *Int8) Run(r Region, s *Scratch) {
	b, kn := p.B, p.B.kernel
	checkRegion(r, p.M, b.n, kn.tileColumns)
	if r.M0 >= r.M1 || r.N0 >= r.N1 {
		return
	}
	checkMatrix("A", len(p.A), p.M, b.k, p.LDA)
	if len(p.ZeroA) > 1 && len(p.ZeroA) != p.M {
		panic("gemm: A needs 0, 1 or M zero points")
	}
	switch {
	case p.C != nil:
		checkMatrix("C", len(p.C), p.M, b.n, p.LDC)
	case p.Accumulate || p.Epilogue == nil:
		panic("gemm: no C, and no epilogue to take its place")
	}
	kn.run(r, &product[int8, int32]{
		k: b.k, kBlock: kn.groupBlock * kn.group, panels: b.panels, c: p.C, ldc: p.LDC, accumulate: p.Accumulate, bias: p.offset(r, s), keepC: p.Epilogue != nil,
	}, &s.int32, func(m, k, rows, depth int) (*uint8, int) {
		return s.prepareInt8(kn, p.A[m*p.LDA+k:], p.LDA, rows, depth, p.shift())
	}, func(m, rows int, c []int32, ldc int) {
		p.correctRows(m, rows, r, c, ldc)
		if p.Epilogue != nil {
			p.Epilogue.Tile(m, r.N0, rows, r.N1-r.N0, c, ldc)
		}
	})
}

// shift is what the kernels, which want uint8, add to the codes of A: int8 codes move up by 128, and their zero points too.
func (p *Int8) shift() int32 {
	if p.Signed {
		return 128
	}
	return 0
}

// zeroOf returns the zero point of row m of shifted A.
func (p *Int8) zeroOf(m int) int32 {
	switch len(p.ZeroA) {
	case 0:
		return p.shift()
	case 1:
		return p.shift() + p.ZeroA[0]
	}
	return p.shift() + p.ZeroA[m]
}

// offset returns what every row of region r gets added: the bias, and the correction for a zero point of A that all rows
// share, -zeroA·Σ_k (B - zeroB). It is nil if there is nothing to add.
func (p *Int8) offset(r Region, s *Scratch) []int32 {
	var bias []int32
	if p.Bias != nil {
		bias = p.Bias[:p.B.n][r.N0:r.N1]
	}
	if len(p.ZeroA) > 1 || p.zeroOf(0) == 0 {
		return bias
	}
	s.offset = grow(s.offset, r.N1-r.N0)
	if n := copy(s.offset, bias); n == 0 {
		clear(s.offset)
	}
	addScaled(s.offset, -p.zeroOf(0), p.B.sums[r.N0:r.N1])
	return s.offset
}

// correctRows corrects rows m to m+rows of C for what differs from row to row: a zero point of A per row,
// -zeroA[m]·Σ_k (B - zeroB), and zero points of B, -zeroB[n]·Σ_k A.
func (p *Int8) correctRows(m, rows int, r Region, c []int32, ldc int) {
	perRow, zeros := len(p.ZeroA) > 1, p.B.zeros
	if p.B.k == 0 || !perRow && len(zeros) == 0 {
		return
	}
	for i := range rows {
		row := c[i*ldc:][:r.N1-r.N0]
		if zero := p.zeroOf(m + i); perRow && zero != 0 {
			addScaled(row, -zero, p.B.sums[r.N0:r.N1])
		}
		if len(zeros) > 0 {
			sum := sumBytes(p.A[(m+i)*p.LDA:][:p.B.k], uint8(p.shift()))
			addScaled(row, -sum, zeros[r.N0:r.N1])
		}
	}
}
