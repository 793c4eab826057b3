package gemm

import "math"

// Blocks is a product of float32 A with weights B that have a scale and a zero point for each block of consecutive k. It has two
// arithmetics: that of [F32] with BlockK = 256, B[k,n] being f32(f32(code[k,n] - zero[n])·scale[n]); and that of 8-bit integers
// (accuracy level 4 of ONNX Runtime's MatMulNBits):
//
//	amax      = max |A[m,k]| over the block       (a NaN wins)
//	q[k]      = rint(f32(A[m,k]·f32(127/amax)))   (0 where amax is 0; the factor is finite)
//	C[m,n]    = Σ FMA(f32(Σ_k q[k]·(code[k,n] - zero[n])), f32(f32(amax/127)·scale[n]), ·) over the blocks in order, from 0
//	C[m,n]   += Bias[n]
//
// The inner sums are exact; the outer sum is rounded once a block.
type Blocks struct {
	M    int
	A    []float32 // row m begins at m*LDA
	LDA  int       // ≥ K
	B    *PanelsBlocks
	C    []float32 // row m begins at m*LDC
	LDC  int       // ≥ N
	Bias []float32 // [N]; may be nil
	Int8 bool      // the arithmetic of integers
}

// MaxBlock is the longest block: up to there the sum of a block's codes fits in 16 bits.
const MaxBlock = 256

// Run computes region r of C. It may run concurrently for regions that do not overlap, each with a scratch of its own.
func (p *Blocks) Run(r Region, s *Scratch) {
	b, kn := p.B, p.B.kernel
	checkRegion(r, p.M, b.n, kn.tileColumns)
	if r.M0 >= r.M1 || r.N0 >= r.N1 {
		return
	}
	checkMatrix("A", len(p.A), p.M, b.k, p.LDA)
	checkMatrix("C", len(p.C), p.M, b.n, p.LDC)
	var bias []float32
	if p.Bias != nil {
		bias = p.Bias[:b.n][r.N0:]
	}
	switch {
	case p.Int8:
		p.runInt8(r, bias, s)
	case r.M1-r.M0 == 1 && kn.codes.floatRow != nil && b.k > 0 && b.k%kn.group == 0:
		p.runFloatRow(r, bias, s)
	default:
		p.runFloat(r, bias, s)
	}
}

// runInt8 quantizes blocks of rows and multiplies them over all k.
func (p *Blocks) runInt8(r Region, bias []float32, s *Scratch) {
	b, kn := p.B, p.B.kernel
	kn.run(r, &product[uint8, float32]{
		k: b.k, kBlock: kn.groups(max(b.k, 1)) * kn.group, panels: b.panels, c: p.C, ldc: p.LDC, bias: bias,
	}, &s.f32, func(m, k, rows, depth int) (*uint8, int) {
		return s.prepareBlocks(kn, p.A[m*p.LDA+k:], p.LDA, rows, depth)
	}, func(int, int, []float32, int) {})
}

// blockKBlocks is how many k are dequantized and multiplied in one go.
const blockKBlocks = 256

// runFloat makes floats of a part of a panel, multiplies all rows with it, and goes on to the next.
func (p *Blocks) runFloat(r Region, bias []float32, s *Scratch) {
	b, kn := p.B, p.B.float
	width := kn.tileColumns
	s.panel = grow(s.panel, blockKBlocks*width)
	o := block[float32, float32, float32]{panels: &s.panel[0], ldc: p.LDC}
	for n := r.N0; n < r.N1; n += width {
		columns := min(width, r.N1-n)
		for k := 0; k == 0 || k < b.k; k += blockKBlocks {
			o.groups = min(blockKBlocks, b.k-k)
			b.dequantize(s.panel, n/width, k, o.groups)
			o.accumulate, o.bias = k > 0, nil
			if bias != nil && k+o.groups == b.k {
				o.bias = bias[n-r.N0:][:columns]
			}
			step := kn.rowBlock(blockKBlocks, columns, true)
			for m := r.M0; m < r.M1; m += step {
				o.rows = min(step, r.M1-m)
				if o.groups > 0 {
					o.a, o.lda = s.prepareF32(p.A[m*p.LDA+k:], p.LDA, o.rows, o.groups)
				}
				o.c, o.nHi = &p.C[m*p.LDC+n], columns
				kn.block(&o, &s.f32)
			}
		}
	}
}

// runFloatRow is runFloat for a single row and whole blocks.
func (p *Blocks) runFloatRow(r Region, bias []float32, s *Scratch) {
	b, kn := p.B, p.B.kernel
	width, steps := kn.tileColumns, kn.group/stepBlocks
	s.panel = grow(s.panel, width)
	a := p.A[r.M0*p.LDA:][:b.k]
	for n := r.N0; n < r.N1; n += width {
		out := p.C[r.M0*p.LDC+n:][:min(width, r.N1-n)]
		for k := 0; k < b.k; k += blockKBlocks {
			kn.codes.floatRow(kn.groups(min(blockKBlocks, b.k-k)), steps, &a[k], b.at(n/width, k), &s.panel[0])
			if k == 0 {
				copy(out, s.panel)
				continue
			}
			for j := range out {
				out[j] += s.panel[j]
			}
		}
		if bias != nil {
			for j, v := range bias[n-r.N0:][:len(out)] {
				out[j] += v
			}
		}
	}
}

// at returns where the block of k begins in a panel.
func (p *PanelsBlocks) at(panel, k int) *uint8 {
	kn := p.kernel
	return &p.panels[panel*kn.panelLen(p.k)+k/kn.group*kn.groupB*kn.tileColumns]
}

// dequantize makes floats of depth codes of each column of a panel, from k on, which is the first of a block.
func (p *PanelsBlocks) dequantize(dst []float32, panel, k, depth int) {
	if depth > 0 {
		p.kernel.codes.dequantize(p.kernel.groups(depth), p.kernel.group/stepBlocks, p.at(panel, k), &dst[0])
	}
}

// prepareBlocks returns rows of A [rows, k] as blocks of codes, each behind its scale and the negated sum of its codes.
func (s *Scratch) prepareBlocks(kn *kernelBlocks, a []float32, lda, rows, k int) (*uint8, int) {
	stride := kn.groups(k) * kn.groupA
	s.aInt8 = grow(s.aInt8, rows*stride)
	whole := k / kn.group
	for i := range rows {
		x, dst := a[i*lda:][:k], s.aInt8[i*stride:][:stride]
		if whole > 0 {
			kn.quantize(whole, kn.group/stepBlocks, &x[0], &dst[0])
		}
		if rest := x[whole*kn.group:]; len(rest) > 0 {
			s.aBlock = grow(s.aBlock, kn.group)
			clear(s.aBlock[copy(s.aBlock, rest):])
			kn.quantize(1, kn.group/stepBlocks, &s.aBlock[0], &dst[whole*kn.groupA])
		}
	}
	return &s.aInt8[0], stride
}

// blockHeaderA is what stands in front of the codes of a block of A: a float32 and an int32.
const blockHeaderA = 8

// blockHeaderB is what stands in front of the codes of a block of a column of B: a uint8 and a float32.
const blockHeaderB = 5

// microBlocks is a microkernel of kernelBlocks: as microkernel, but over blocks of steps·stepBlocks k, and it never accumulates.
type microBlocks func(rows, vectors, blocks, steps int, a *uint8, lda int, b *uint8, c *float32, ldc int, bias *float32)

// stepBlocks divides the length of a block.
const stepBlocks = 16

// kernelBlocks is a way to multiply by blocks. A group is a block. In a panel of B each block of each vector of columns has the
// zero points of its columns, their scales, and their codes: [codeGroup of k][column][k within it]; where they have 4 bits, the
// codes of two groups of k share bytes, the first ones low.
type kernelBlocks struct {
	kernel[uint8, uint8, float32]
	codeGroup      int
	bytesA         int                                             // of a code of A
	quantize       func(blocks, steps int, x *float32, dst *uint8) // a row of A to blocks
	nibbles, bytes codesBlocks
	codes          codesBlocks // one of the two
}

// codesBlocks is what depends on how codes of B are stored.
type codesBlocks struct {
	multiply   microBlocks
	dequantize floatsBlocks
	floatRow   rowBlocks // nil: rows have no kernel of their own
}

// rowBlocks multiplies a row of A with consecutive blocks of a panel of B in float arithmetic, from 0.
type rowBlocks func(blocks, steps int, a *float32, b *uint8, c *float32)

// floatsBlocks makes floats of consecutive blocks of a panel of B: dst is [k][column], as panels of float32 are.
type floatsBlocks func(blocks, steps int, b *uint8, dst *float32)

// sized returns the kernel for a length of blocks, and for codes of 4 or of 8 bits.
func (kn kernelBlocks) sized(block int, nibbles bool) *kernelBlocks {
	kn.codes = kn.bytes
	kn.group, kn.groupA, kn.groupB, kn.groupBlock = block, blockHeaderA+block*kn.bytesA, blockHeaderB+block, 1<<30
	if nibbles {
		kn.codes, kn.groupB = kn.nibbles, blockHeaderB+block/2
	}
	multiply := kn.codes.multiply
	kn.multiply = func(rows, vectors, groups int, a *uint8, lda int, b *uint8, c *float32, ldc int, _ bool, bias *float32) {
		multiply(rows, vectors, groups, block/stepBlocks, a, lda, b, c, ldc, bias)
	}
	return &kn
}

// PanelsBlocks is a matrix B [K, N] of codes with a scale and a zero point for each block of k of each column, packed for the
// kernel that will read it. It is read-only in use and may be shared.
type PanelsBlocks struct {
	k, n   int
	kernel *kernelBlocks
	float  *kernelF32 // of the same rung and width
	panels []uint8
}

// PackBlocks packs B for the current rung. Codes are [N, K]; scales and zero points [N, ⌈K/block⌉]; block is a power of two from
// 16 to MaxBlock. Nibbles says that no code or zero point is above 15: they take half the memory.
func PackBlocks(codes []uint8, scales []float32, zeros []uint8, k, n, block int, nibbles bool) *PanelsBlocks {
	if block < stepBlocks || block > MaxBlock || block&(block-1) != 0 {
		panic("gemm: blocks must be a power of two from 16 to 256")
	}
	blocks := ceilDiv(k, block)
	checkMatrix("B", len(codes), n, k, k)
	checkMatrix("scales of B", len(scales), n, blocks, blocks)
	checkMatrix("zero points of B", len(zeros), n, blocks, blocks)
	kn := pick(kernelsBlocks).sized(block, nibbles)
	p := &PanelsBlocks{k: k, n: n, kernel: kn, float: pick(kernelsF32), panels: make([]uint8, kn.panelsLen(k, n))}
	chunk := kn.lanes * kn.groupB // a block of a vector of columns
	perPanel := kn.tileColumns / kn.lanes
	for j := range n {
		panel := p.panels[j/kn.tileColumns*kn.panelLen(k):]
		vector, lane := j%kn.tileColumns/kn.lanes, j%kn.lanes
		for b := range blocks {
			out := panel[(b*perPanel+vector)*chunk:][:chunk]
			out[lane] = zeros[j*blocks+b]
			le.PutUint32(out[kn.lanes+4*lane:], math.Float32bits(scales[j*blocks+b]))
			depth := min(block, k-b*block)
			kn.packColumn(out[kn.lanes*blockHeaderB:], lane, codes[j*k+b*block:][:depth], nibbles)
		}
	}
	return p
}

// packColumn packs the codes of a block of a column.
func (kn *kernelBlocks) packColumn(out []uint8, lane int, codes []uint8, nibbles bool) {
	g := kn.codeGroup
	for i, code := range codes {
		group := i / g
		if nibbles {
			code <<= group % 2 * 4
			group /= 2
		}
		out[(group*kn.lanes+lane)*g+i%g] |= code
	}
}

// Kernel names the kernel that p was packed for: tile and instruction set.
func (p *PanelsBlocks) Kernel() string { return p.kernel.name }

// Split divides the product of an A of m rows with p into at most parts regions.
func (p *PanelsBlocks) Split(m, parts int) Grid {
	return Split(m, p.n, p.kernel.tileRows, p.kernel.tileColumns, parts)
}
