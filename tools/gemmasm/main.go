// Command gemmasm writes the assembly of package gemm and, with -peak, the loops its benchmarks measure themselves
// against. Run it through go generate ./kernels/gemm/...
package main

import (
	"flag"
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	peak := flag.Bool("peak", false, "write the peak loops instead of the kernels")
	flag.Parse()
	ConstraintExpr("amd64")
	if *peak {
		peaks()
	} else {
		for _, k := range kernels {
			k.generate()
		}
		generateBlocks()
		addScaled()
		widenBytes()
	}
	Generate()
}

// vectors of one width.
type vectors struct {
	bytes int
	reg   func(i int) reg.VecPhysical
}

func (v vectors) wide() bool { return v.bytes == 64 }

func (v vectors) clear(r reg.VecPhysical) {
	if v.wide() {
		VPXORD(r, r, r)
	} else {
		VPXOR(r, r, r)
	}
}

func (v vectors) and(x, y Op, to reg.VecPhysical) {
	if v.wide() {
		VPANDD(x, y, to)
	} else {
		VPAND(x, y, to)
	}
}

func (v vectors) or(x, y Op, to reg.VecPhysical) {
	if v.wide() {
		VPORD(x, y, to)
	} else {
		VPOR(x, y, to)
	}
}

// constant fills a register with the same 32 bits. It needs the first register and EAX.
func (v vectors) constant(bits uint32, to reg.VecPhysical) {
	MOVL(U32(bits), reg.EAX)
	VMOVD(reg.EAX, reg.X0)
	VPBROADCASTD(reg.X0, to)
}

var (
	zmm = vectors{64, func(i int) reg.VecPhysical { return z[i] }}
	ymm = vectors{32, func(i int) reg.VecPhysical { return y[i] }}

	z = []reg.VecPhysical{
		reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
	}
	y = []reg.VecPhysical{
		reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
	}
)

// kernel describes a microkernel. A tile of rows × columns vectors of accumulators stays in the first registers; each group
// of k loads a row of B into the next ones and broadcasts 4 bytes of each row of A.
type kernel struct {
	name          string
	operands      string // Go types: a, b, c and bias
	doc           []string
	vec           vectors
	rows, columns int
	bytesB        int // of a vector of B in memory
	unroll        int // groups in the body of the loop

	loadB     func(from Mem, to reg.VecPhysical)
	broadcast func(from Mem, to reg.VecPhysical)
	multiply  func(k *kernel, a reg.VecPhysical, row, columns int)
	load      func(from, to Op)
	store     func(from, to Op)
	add       func(x, y, sum Op)
	clear     func(r reg.VecPhysical)
}

var kernels = []*kernel{
	{
		name: "gemmF32_8x48_avx512", operands: f32, doc: docF32(8, 48, 16),
		vec: zmm, rows: 8, columns: 3, bytesB: 64, unroll: 4,
		loadB:     func(from Mem, to reg.VecPhysical) { VMOVUPS(from, to) },
		broadcast: func(from Mem, to reg.VecPhysical) { VBROADCASTSS(from, to) },
		multiply:  multiplyFMA,
		load:      func(from, to Op) { VMOVUPS(from, to) },
		store:     func(from, to Op) { VMOVUPS(from, to) },
		add:       func(x, y, sum Op) { VADDPS(x, y, sum) },
		clear:     func(r reg.VecPhysical) { VPXORD(r, r, r) },
	},
	{
		name: "gemmF32_6x16_avx2", operands: f32, doc: docF32(6, 16, 8),
		vec: ymm, rows: 6, columns: 2, bytesB: 32, unroll: 4,
		loadB:     func(from Mem, to reg.VecPhysical) { VMOVUPS(from, to) },
		broadcast: func(from Mem, to reg.VecPhysical) { VBROADCASTSS(from, to) },
		multiply:  multiplyFMA,
		load:      func(from, to Op) { VMOVUPS(from, to) },
		store:     func(from, to Op) { VMOVUPS(from, to) },
		add:       func(x, y, sum Op) { VADDPS(x, y, sum) },
		clear:     func(r reg.VecPhysical) { VXORPS(r, r, r) },
	},
	{
		name: "gemmU8S8_8x48_avx512vnni", operands: u8s8, doc: docU8S8(8, 48, 16, 4, "a[i*lda+g*4+t]"),
		vec: zmm, rows: 8, columns: 3, bytesB: 64, unroll: 4,
		loadB:     func(from Mem, to reg.VecPhysical) { VMOVDQU32(from, to) },
		broadcast: func(from Mem, to reg.VecPhysical) { VPBROADCASTD(from, to) },
		multiply: func(k *kernel, a reg.VecPhysical, row, columns int) {
			for j := range columns {
				VPDPBUSD(k.b(j), a, k.acc(row, j))
			}
		},
		load:  func(from, to Op) { VMOVDQU32(from, to) },
		store: func(from, to Op) { VMOVDQU32(from, to) },
		add:   func(x, y, sum Op) { VPADDD(x, y, sum) },
		clear: func(r reg.VecPhysical) { VPXORD(r, r, r) },
	},
	{
		name: "gemmU8S8_6x16_avx2", operands: u8s8, doc: docU8S8(6, 16, 8, 2, "uint16(a[i*lda+g*4+2*t:])"),
		vec: ymm, rows: 6, columns: 2, bytesB: 16, unroll: 4,
		loadB:     func(from Mem, to reg.VecPhysical) { VPMOVSXBW(from, to) },
		broadcast: func(from Mem, to reg.VecPhysical) { VPBROADCASTD(from, to) },
		// VPMADDWD is exact on widened codes; VPMADDUBSW would saturate.
		multiply: func(k *kernel, a reg.VecPhysical, row, columns int) {
			for j := range columns {
				product := k.a(row + 1)
				if j == columns-1 {
					product = a // needed no more
				}
				VPMADDWD(k.b(j), a, product)
				VPADDD(product, k.acc(row, j), k.acc(row, j))
			}
		},
		load:  func(from, to Op) { VMOVDQU(from, to) },
		store: func(from, to Op) { VMOVDQU(from, to) },
		add:   func(x, y, sum Op) { VPADDD(x, y, sum) },
		clear: func(r reg.VecPhysical) { VPXOR(r, r, r) },
	},
}

const (
	f32  = "a *float32, lda int, b *float32, c *float32, ldc int, accumulate bool, bias *float32"
	u8s8 = "a *uint8, lda int, b *int8, c *int32, ldc int, accumulate bool, bias *int32"
)

func multiplyFMA(k *kernel, a reg.VecPhysical, row, columns int) {
	for j := range columns {
		VFMADD231PS(k.b(j), a, k.acc(row, j))
	}
}

func docF32(rows, columns, lanes int) []string {
	return doc(rows, columns, lanes, fmt.Sprintf("acc = fma(a[i*lda+g], b[g*%d+j], acc) // rounded once", columns))
}

func docU8S8(rows, columns, lanes, group int, a string) []string {
	return doc(rows, columns, lanes,
		fmt.Sprintf("for t := range %d {", group),
		fmt.Sprintf("	acc += int32(%s) * int32(b[(g*%d+j)*%d+t])", a, columns, group),
		"}")
}

func doc(rows, columns, lanes int, body ...string) []string {
	lines := []string{
		fmt.Sprintf("computes, for rows ≤ %d and vectors ≤ %d,", rows, columns/lanes),
		"",
		"	for i := range rows {",
		fmt.Sprintf("		for j := range vectors * %d {", lanes),
		"			acc := 0",
		"			for g := range groups {",
	}
	for _, line := range body {
		lines = append(lines, "				"+line)
	}
	return append(lines,
		"			}",
		"			if accumulate {",
		"				acc += c[i*ldc+j]",
		"			}",
		"			if bias != nil {",
		"				acc += bias[j]",
		"			}",
		"			c[i*ldc+j] = acc",
		"		}",
		"	}")
}

// Registers: the accumulators first, then a row of B, then broadcasts of A.
func (k *kernel) acc(row, column int) reg.VecPhysical { return k.vec.reg(row*k.columns + column) }

func (k *kernel) b(column int) reg.VecPhysical { return k.vec.reg(k.rows*k.columns + column) }

// a returns a register for the broadcast of a row, in turns.
func (k *kernel) a(row int) reg.VecPhysical {
	first := (k.rows + 1) * k.columns
	free := 16 - first
	if k.vec.bytes == 64 {
		free = 32 - first
	}
	return k.vec.reg(first + row%free)
}

// General registers.
var (
	groups, lda, ldc = reg.RCX, reg.RDX, reg.RDI
	pointerB         = reg.RSI
	bias             = reg.R8
	accumulate       = reg.R9B
	scratch          = reg.RAX
	rowsA            = [3]reg.GPPhysical{reg.R10, reg.R11, reg.R12} // every third row of A
	rowsC            = [3]reg.GPPhysical{reg.R13, reg.RBX, reg.R15} // every third row of C
)

// row addresses row i of a matrix whose every third row has a pointer.
func row(pointers [3]reg.GPPhysical, stride reg.Register, i, offset int) Mem {
	m := Mem{Base: pointers[i/3], Disp: offset}
	if i%3 != 0 {
		m.Index, m.Scale = stride, uint8(i%3)
	}
	return m
}

func (k *kernel) generate() {
	TEXT(k.name, NOSPLIT, "func(rows, vectors, groups int, "+k.operands+")")
	Doc(append([]string{k.name + " " + k.doc[0]}, k.doc[1:]...)...)
	Pragma("noescape")
	Load(Param("groups"), groups)
	Load(Param("a"), rowsA[0])
	Load(Param("lda"), lda)
	Load(Param("b"), pointerB)
	Load(Param("c"), rowsC[0])
	Load(Param("ldc"), ldc)
	Load(Param("accumulate"), accumulate)
	Load(Param("bias"), bias)
	if k.operands == f32 {
		SHLQ(Imm(2), lda)
	}
	SHLQ(Imm(2), ldc)
	pointAtRows(k.rows)
	eachTile(k.rows, k.columns, k.tile)
}

// pointAtRows sets the pointers to every third of rows of A and C but the first, which are loaded.
func pointAtRows(rows int) {
	for i := 1; i < (rows+2)/3; i++ {
		LEAQ(Mem{Base: rowsA[i-1], Index: lda, Scale: 2}, rowsA[i])
		ADDQ(lda, rowsA[i])
		LEAQ(Mem{Base: rowsC[i-1], Index: ldc, Scale: 2}, rowsC[i])
		ADDQ(ldc, rowsC[i])
	}
}

// eachTile writes a jump to the size of tile that is wanted, the largest one asked for first, and all sizes. Those of several
// rows begin with the label tile<rows>x<columns>.
func eachTile(rows, columns int, tile func(rows, columns int)) {
	Load(Param("vectors"), scratch)
	for v := columns; v > 1; v-- {
		CMPQ(scratch, Imm(uint64(v)))
		JEQ(LabelRef(fmt.Sprintf("vectors%d", v)))
	}
	for v := 1; v <= columns; v++ {
		if v > 1 {
			Label(fmt.Sprintf("vectors%d", v))
		}
		Load(Param("rows"), scratch)
		for r := rows; r > 1; r-- {
			CMPQ(scratch, Imm(uint64(r)))
			JEQ(LabelRef(fmt.Sprintf("tile%dx%d", r, v)))
		}
		for r := 1; r <= rows; r++ {
			tile(r, v)
		}
	}
}

// tile is the code for one size of tile.
func (k *kernel) tile(rows, columns int) {
	label := func(what string) string { return fmt.Sprintf("%s%dx%d", what, rows, columns) }
	each := func(f func(i, j int)) {
		for i := range rows {
			for j := range columns {
				f(i, j)
			}
		}
	}
	atC := func(i, j int) Mem { return row(rowsC, ldc, i, j*k.vec.bytes) }
	if rows > 1 {
		Label(label("tile"))
	}
	each(func(i, j int) { k.clear(k.acc(i, j)) })

	body := func(n int) {
		for g := range n {
			for j := range columns {
				k.loadB(Mem{Base: pointerB, Disp: (g*k.columns + j) * k.bytesB}, k.b(j))
			}
			for i := range rows {
				a := k.a(i)
				k.broadcast(row(rowsA, lda, i, 4*g), a)
				k.multiply(k, a, i, columns)
			}
		}
		ADDQ(U32(uint32(n*k.columns*k.bytesB)), pointerB)
		for i := range (rows + 2) / 3 {
			ADDQ(Imm(uint64(4*n)), rowsA[i])
		}
	}
	SUBQ(Imm(uint64(k.unroll)), groups)
	JLT(LabelRef(label("rest")))
	Label(label("loop"))
	body(k.unroll)
	SUBQ(Imm(uint64(k.unroll)), groups)
	JGE(LabelRef(label("loop")))
	Label(label("rest"))
	ADDQ(Imm(uint64(k.unroll)), groups)
	JEQ(LabelRef(label("done")))
	Label(label("single"))
	body(1)
	DECQ(groups)
	JNE(LabelRef(label("single")))
	Label(label("done"))

	TESTB(accumulate, accumulate)
	JEQ(LabelRef(label("bias")))
	each(func(i, j int) { k.add(atC(i, j), k.acc(i, j), k.acc(i, j)) })
	Label(label("bias"))
	TESTQ(bias, bias)
	JEQ(LabelRef(label("store")))
	for j := range columns {
		k.load(Mem{Base: bias, Disp: j * k.vec.bytes}, k.b(j))
		for i := range rows {
			k.add(k.b(j), k.acc(i, j), k.acc(i, j))
		}
	}
	Label(label("store"))
	each(func(i, j int) { k.store(k.acc(i, j), atC(i, j)) })
	VZEROUPPER()
	RET()
}
