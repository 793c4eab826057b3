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
		transposeF32(panel, width, b[n0*ldb:], ldb, k, columns)
	}
}

// transposeF32 computes panel[i*width+j] = rows[j*ld+i] for i < k, j < columns.
func transposeF32(panel []float32, width int, rows []float32, ld, k, columns int) {
	j := 0
	for ; j+4 <= columns; j += 4 { // four columns share the cost of a store's address
		r0, r1, r2, r3 := rows[j*ld:][:k], rows[(j+1)*ld:][:k], rows[(j+2)*ld:][:k], rows[(j+3)*ld:][:k]
		for i := range r0 {
			out := panel[i*width+j:][:4]
			out[0], out[1], out[2], out[3] = r0[i], r1[i], r2[i], r3[i]
		}
	}
	for ; j < columns; j++ {
		for i, v := range rows[j*ld:][:k] {
			panel[i*width+j] = v
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
	p.repack(asBytes(b), k, n, ldb, transposed, zeros, 0)
}

// RepackU8 is PackU8 into p, whose memory it reuses.
func (p *PanelsInt8) RepackU8(b []uint8, k, n, ldb int, transposed bool, zeros []int32) {
	p.repack(b, k, n, ldb, transposed, zeros, 128)
}

// repack packs the bytes of codes that are shift above their signed form: x - 128 and x ^ 128 are the same byte.
func (p *PanelsInt8) repack(b []uint8, k, n, ldb int, transposed bool, zeros []int32, shift uint8) {
	checkB(len(b), k, n, ldb, transposed)
	kn := pick(kernelsInt8)
	width, panelLen := kn.tileColumns, kn.panelLen(k)
	p.k, p.n, p.kernel = k, n, kn
	p.panels = grow(p.panels, kn.panelsLen(k, n))
	p.sums = grow(p.sums, ceilDiv(n, width)*width)
	p.setZeros(zeros, int32(shift))
	panels := asBytes(p.panels)
	for n0 := 0; n0 < n && k > 0; n0 += width {
		columns := min(width, n-n0)
		panel := panels[n0/width*panelLen:][:panelLen]
		if columns < width || panelLen > k*width {
			clear(panel)
		}
		if transposed {
			packColumns(panel, width, kn.group, b[n0*ldb:], ldb, k, columns, shift)
		} else {
			packRows(panel, width, kn.group, b[n0:], ldb, k, columns, shift)
		}
	}
	p.sumColumns()
}

// sumColumns computes the sums as a product with a row of ones.
func (p *PanelsInt8) sumColumns() {
	kn := p.kernel
	groups, width, row := kn.groups(p.k), kn.tileColumns, &ones[kn.groupA/kn.group]
	clear(p.sums)
	for n0 := 0; n0 < p.n; n0 += width {
		step := len(row) / kn.groupA
		for g := 0; g < groups; g += step {
			b := &p.panels[n0/width*kn.panelLen(p.k)+g*kn.group*width]
			kn.multiply(1, width/kn.lanes, min(step, groups-g), &row[0], 0, b, &p.sums[n0], width, true, nil)
		}
	}
	p.sums = p.sums[:p.n]
	for j, zero := range p.zeros {
		p.sums[j] -= int32(p.k) * zero
	}
}

// ones[w] is a row of A of codes 1, w bytes each.
var ones = [...][512]uint8{1: repeatOne(1), 2: repeatOne(2)}

func repeatOne(width int) (row [512]uint8) {
	for i := 0; i < len(row); i += width {
		row[i] = 1
	}
	return row
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
