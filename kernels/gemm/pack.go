package gemm

// PanelsF32 is a float32 matrix B [K, N] packed for the kernel that will read it. It is read-only in use and may be shared.
type PanelsF32 struct {
	k, n   int
	kernel *kernelF32
	panels []float32
}

// PackF32 packs B [K, N] for the current rung. Row k of b begins at k*ldb; transposed means that b holds the [N, K]
// transpose, whose row n begins at n*ldb.
func PackF32(b []float32, k, n, ldb int, transposed bool) *PanelsF32 {
	p := new(PanelsF32)
	p.Repack(b, k, n, ldb, transposed)
	return p
}

// Repack is PackF32 into p, whose memory it reuses.
func (p *PanelsF32) Repack(b []float32, k, n, ldb int, transposed bool) {
	checkB(len(b), k, n, ldb, transposed)
	p.k, p.n, p.kernel = k, n, pick(kernelsF32)
	p.panels = grow(p.panels, p.kernel.panelsLen(k, n))
	if k == 0 {
		return
	}
	width := p.kernel.tileColumns
	for n0 := 0; n0 < n; n0 += width {
		columns := min(width, n-n0)
		panel := p.panels[n0*k:][:width*k]
		if columns < width {
			clear(panel)
		}
		if !transposed {
			for i := range k {
				copy(panel[i*width:][:columns], b[i*ldb+n0:])
			}
			continue
		}
		for j := range columns {
			for i, v := range b[(n0+j)*ldb:][:k] {
				panel[i*width+j] = v
			}
		}
	}
}

// K returns the number of rows of B.
func (p *PanelsF32) K() int { return p.k }

// N returns the number of columns of B.
func (p *PanelsF32) N() int { return p.n }

// Kernel names the kernel that p was packed for: operand types, tile and instruction set.
func (p *PanelsF32) Kernel() string { return p.kernel.name }

// Split divides the product of an A of m rows with p into at most parts regions.
func (p *PanelsF32) Split(m, parts int) Grid {
	return Split(m, p.n, p.kernel.tileRows, p.kernel.tileColumns, parts)
}

// PanelsInt8 is an 8-bit integer matrix B [K, N] with its zero points, packed for the kernel that will read it. It is
// read-only in use and may be shared. Codes are kept signed: uint8 codes and their zero points are shifted down by 128,
// which changes no difference code - zero point.
type PanelsInt8 struct {
	k, n   int
	kernel *kernelInt8
	panels []int8
	sums   []int32 // of each column: Σ_k (B[k,n] - zero point)
	zeros  []int32 // zero point of each column, or nil if all are 0
}

// PackS8 packs B [K, N] of int8 codes for the current rung. Row k of b begins at k*ldb; transposed means that b holds the
// [N, K] transpose, whose row n begins at n*ldb. There are 0 zero points (all 0), 1 (per tensor) or N (per column).
func PackS8(b []int8, k, n, ldb int, transposed bool, zeros []int32) *PanelsInt8 {
	p := new(PanelsInt8)
	p.RepackS8(b, k, n, ldb, transposed, zeros)
	return p
}

// PackU8 is PackS8 for uint8 codes.
func PackU8(b []uint8, k, n, ldb int, transposed bool, zeros []int32) *PanelsInt8 {
	p := new(PanelsInt8)
	p.RepackU8(b, k, n, ldb, transposed, zeros)
	return p
}

// RepackS8 is PackS8 into p, whose memory it reuses.
func (p *PanelsInt8) RepackS8(b []int8, k, n, ldb int, transposed bool, zeros []int32) {
	repack(p, b, k, n, ldb, transposed, zeros, 0)
}

// RepackU8 is PackU8 into p, whose memory it reuses.
func (p *PanelsInt8) RepackU8(b []uint8, k, n, ldb int, transposed bool, zeros []int32) {
	repack(p, b, k, n, ldb, transposed, zeros, 128)
}

// repack packs codes that are shift above their signed form.
func repack[C int8 | uint8](p *PanelsInt8, b []C, k, n, ldb int, transposed bool, zeros []int32, shift int32) {
	checkB(len(b), k, n, ldb, transposed)
	p.k, p.n, p.kernel = k, n, pick(kernelsInt8)
	p.panels = grow(p.panels, p.kernel.panelsLen(k, n))
	p.sums = grow(p.sums, n)
	p.setZeros(zeros, shift)
	clear(p.sums)
	if k == 0 {
		return
	}

	flip := int8(shift) // -128: x - 128 and x ^ 0x80 are the same byte
	width, group := p.kernel.tileColumns, p.kernel.group
	padded := p.kernel.groups(k) * group
	for n0 := 0; n0 < n; n0 += width {
		columns := min(width, n-n0)
		panel := p.panels[n0*padded:][:width*padded]
		if columns < width || padded > k {
			clear(panel)
		}
		sums := p.sums[n0:][:columns]
		if transposed {
			for j := range columns {
				for i, v := range b[(n0+j)*ldb:][:k] {
					code := int8(v) ^ flip
					panel[(i/group*width+j)*group+i%group] = code
					sums[j] += int32(code)
				}
			}
			continue
		}
		for i := range k {
			row := panel[i/group*width*group+i%group:]
			for j, v := range b[i*ldb+n0:][:columns] {
				code := int8(v) ^ flip
				row[j*group] = code
				sums[j] += int32(code)
			}
		}
	}
	for j, zero := range p.zeros {
		p.sums[j] -= int32(k) * zero
	}
}

// setZeros keeps one zero point a column, none if all are 0.
func (p *PanelsInt8) setZeros(zeros []int32, shift int32) {
	if len(zeros) > 1 && len(zeros) != p.n {
		panic("gemm: B needs 0, 1 or N zero points")
	}
	all := grow(p.zeros[:0], p.n)
	any := false
	for j := range all {
		zero := -shift
		switch len(zeros) {
		case 0:
		case 1:
			zero += zeros[0]
		default:
			zero += zeros[j]
		}
		all[j] = zero
		any = any || zero != 0
	}
	p.zeros = all
	if !any {
		p.zeros = all[:0]
	}
}

// K returns the number of rows of B.
func (p *PanelsInt8) K() int { return p.k }

// N returns the number of columns of B.
func (p *PanelsInt8) N() int { return p.n }

// Kernel names the kernel that p was packed for: operand types, tile and instruction set.
func (p *PanelsInt8) Kernel() string { return p.kernel.name }

// Split divides the product of an A of m rows with p into at most parts regions.
func (p *PanelsInt8) Split(m, parts int) Grid {
	return Split(m, p.n, p.kernel.tileRows, p.kernel.tileColumns, parts)
}

// FoldZeroA returns bias - zero·Σ_k (B[k,n] - zero point of B): with this as Bias, a product of uint8 A whose zero point is
// constant needs no ZeroA. bias may be nil.
func (p *PanelsInt8) FoldZeroA(bias []int32, zero int32) []int32 {
	folded := make([]int32, p.n)
	copy(folded, bias)
	for j, sum := range p.sums {
		folded[j] -= zero * sum
	}
	return folded
}

// checkB panics unless b can hold B: the kernels read memory without further checks.
func checkB(length, k, n, ldb int, transposed bool) {
	rows, columns := k, n
	if transposed {
		rows, columns = n, k
	}
	checkMatrix("B", length, rows, columns, ldb)
}
