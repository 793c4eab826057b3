package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blocks describes a microkernel for weights with a scale and a zero point for each block of k. The float sums of a tile stay
// in the first registers; one vector of columns after the other takes the integer sums of a block in the next ones.
type blocks struct {
	name          string
	vec           vectors
	rows, columns int
	nibbles       bool // two codes in a byte of B
	group         int  // consecutive k of a lane
	bytesA        int  // of a code of A
}

// step is how many k the body of the loop takes.
const step = 16

// Registers behind the sums.
func (k *blocks) float(row, column int) reg.VecPhysical { return k.vec.reg(row*k.columns + column) }
func (k *blocks) sum(row int) reg.VecPhysical           { return k.vec.reg(k.rows*k.columns + row) }
func (k *blocks) free(i int) reg.VecPhysical            { return k.vec.reg(k.rows*(k.columns+1) + i) }

// header is what stands in front of the codes of a block of A: the scale, and the sum of the codes, negated.
const header = 8

// headerB is what stands in front of those of a column of B: the zero point and the scale.
const headerB = 5

var (
	blockCount, steps, stepsLeft = reg.RCX, reg.R14, reg.RAX
	bytesBlockA                  = reg.R9
)

func (k *blocks) lanes() int { return k.vec.bytes / 4 }

func (k *blocks) doc() []string {
	return []string{
		k.name + fmt.Sprintf(" computes, for rows ≤ %d and vectors ≤ %d, with the blocks of package gemm's kernelBlocks,", k.rows, k.columns),
		"",
		"	for i := range rows {",
		fmt.Sprintf("		for j := range vectors * %d {", k.lanes()),
		"			acc := 0",
		"			for each block a of row i and b of column j {",
		"				sum := a.negatedSum * b.zero",
		fmt.Sprintf("				for k := range steps * %d {", step),
		"					sum += a.codes[k] * b.codes[k]",
		"				}",
		"				acc = fma(float32(sum), a.scale*b.scale, acc) // rounded once",
		"			}",
		"			if bias != nil {",
		"				acc += bias[j]",
		"			}",
		"			c[i*ldc+j] = acc",
		"		}",
		"	}",
		"",
		fmt.Sprintf("A panel of B has %d columns.", k.columns*k.lanes()),
	}
}

func (k *blocks) generate() {
	TEXT(k.name, NOSPLIT, "func(rows, vectors, blocks, steps int, a *uint8, lda int, b *uint8, c *float32, ldc int, bias *float32)")
	Doc(k.doc()...)
	Pragma("noescape")
	Load(Param("blocks"), blockCount)
	Load(Param("steps"), steps)
	Load(Param("a"), rowsA[0])
	Load(Param("lda"), lda)
	Load(Param("b"), pointerB)
	Load(Param("c"), rowsC[0])
	Load(Param("ldc"), ldc)
	Load(Param("bias"), bias)
	SHLQ(Imm(2), ldc)
	MOVQ(steps, bytesBlockA)
	shift := uint64(4) // log2(step)
	if k.bytesA == 2 {
		shift++
	}
	SHLQ(Imm(shift), bytesBlockA)
	pointAtRows(k.rows)
	if k.nibbles && k.vec.wide() {
		MOVL(U32(0x0f0f0f0f), reg.EAX)
		VPBROADCASTD(reg.EAX, k.mask())
	}
	eachTile(k.rows, k.columns, k.tile)
}

func (k *blocks) scales() reg.VecPhysical { return k.free(3) }
func (k *blocks) mask() reg.VecPhysical   { return k.free(4) } // of the low nibbles; narrow kernels have no register left for it

// tile is the code for one size of tile.
func (k *blocks) tile(rows, columns int) {
	label := func(what string) string { return fmt.Sprintf("%s%dx%d", what, rows, columns) }
	pointersA := (rows + 2) / 3
	if rows > 1 {
		Label(label("tile"))
	}
	for i := range rows {
		for j := range columns {
			k.vec.clear(k.float(i, j))
		}
	}
	TESTQ(blockCount, blockCount)
	JEQ(LabelRef(label("done")))
	Label(label("block"))
	for j := range columns {
		k.begin(rows)
		MOVQ(steps, stepsLeft)
		Label(label(fmt.Sprintf("vector%dof", j)))
		k.step(rows)
		for i := range pointersA {
			ADDQ(Imm(uint64(step*k.bytesA)), rowsA[i])
		}
		DECQ(stepsLeft)
		JNE(LabelRef(label(fmt.Sprintf("vector%dof", j))))
		for i := range pointersA {
			SUBQ(bytesBlockA, rowsA[i])
		}
		k.end(rows, j)
	}
	// A whole panel is as wide as the largest tile.
	if skipped := k.columns - columns; skipped > 0 {
		Load(Param("steps"), stepsLeft)
		IMUL3Q(U32(uint32(skipped*k.bytesStep())), stepsLeft, stepsLeft)
		LEAQ(Mem{Base: pointerB, Index: stepsLeft, Scale: 1, Disp: skipped * headerB * k.lanes()}, pointerB)
	}
	for i := range pointersA {
		LEAQ(Mem{Base: rowsA[i], Index: bytesBlockA, Scale: 1, Disp: header}, rowsA[i])
	}
	DECQ(blockCount)
	JNE(LabelRef(label("block")))
	Label(label("done"))

	TESTQ(bias, bias)
	JEQ(LabelRef(label("store")))
	for j := range columns {
		VMOVUPS(Mem{Base: bias, Disp: j * k.vec.bytes}, k.free(0))
		for i := range rows {
			VADDPS(k.free(0), k.float(i, j), k.float(i, j))
		}
	}
	Label(label("store"))
	for i := range rows {
		for j := range columns {
			VMOVUPS(k.float(i, j), row(rowsC, ldc, i, j*k.vec.bytes))
		}
	}
	VZEROUPPER()
	RET()
}

// bytesStep returns the bytes that a step takes in a vector of columns of B.
func (k *blocks) bytesStep() int {
	if k.nibbles {
		return step * k.lanes() / 2
	}
	return step * k.lanes()
}

// begin starts the integer sums with what the zero points take away, and loads the scales of B.
func (k *blocks) begin(rows int) {
	zero := k.free(0)
	VPMOVZXBD(Mem{Base: pointerB}, zero)
	for i := range rows {
		negatedSum := row(rowsA, lda, i, 4)
		if k.vec.wide() {
			k.vec.clear(k.sum(i))
			VPDPWSSD_BCST(negatedSum, zero, k.sum(i))
		} else {
			VPBROADCASTD(negatedSum, k.sum(i))
			VPMADDWD(zero, k.sum(i), k.sum(i))
		}
	}
	VMOVUPS(Mem{Base: pointerB, Disp: k.lanes()}, k.scales())
	ADDQ(Imm(uint64(headerB*k.lanes())), pointerB)
}

// step adds the products of 16 k.
func (k *blocks) step(rows int) {
	groups := step / k.group
	low, high := k.free(0), k.free(1)
	load := func(i int) {
		from := Mem{Base: pointerB, Disp: i * k.lanes() * k.group}
		if k.vec.wide() {
			VMOVDQU32(from, low)
		} else {
			VPMOVZXBW(from, low)
		}
	}
	if !k.nibbles {
		for i := range groups {
			load(i)
			k.multiply(rows, low, i)
		}
	} else {
		for i := range groups / 2 {
			load(i)
			VPSRLW(Imm(4), low, high)
			if k.vec.wide() {
				VPANDD(k.mask(), low, low)
				VPANDD(k.mask(), high, high)
			} else {
				VPAND(lowNibbles, low, low)
			}
			k.multiply(rows, low, 2*i)
			k.multiply(rows, high, 2*i+1)
		}
	}
	ADDQ(U32(uint32(k.bytesStep())), pointerB)
}

// multiply adds the products of a group of k.
func (k *blocks) multiply(rows int, b reg.VecPhysical, group int) {
	product := k.free(2)
	for i := range rows {
		a := row(rowsA, lda, i, header+group*k.group*k.bytesA)
		if k.vec.wide() {
			VPDPBUSD_BCST(a, b, k.sum(i))
		} else {
			VPBROADCASTD(a, product)
			VPMADDWD(b, product, product)
			VPADDD(product, k.sum(i), k.sum(i))
		}
	}
}

// end adds the sums of a block, times its scales, to column j of the float sums.
func (k *blocks) end(rows, j int) {
	for i := range rows {
		scale := k.free(i % 3)
		VCVTDQ2PS(k.sum(i), k.sum(i))
		if a := row(rowsA, lda, i, 0); k.vec.wide() {
			VMULPS_BCST(a, k.scales(), scale)
		} else {
			VBROADCASTSS(a, scale)
			VMULPS(k.scales(), scale, scale)
		}
		VFMADD231PS(scale, k.sum(i), k.float(i, j))
	}
}

var allBlocks = []*blocks{
	{name: "gemmBlocks4_6x48_avx512vnni", vec: zmm, rows: 6, columns: 3, nibbles: true, group: 4, bytesA: 1},
	{name: "gemmBlocks8_6x48_avx512vnni", vec: zmm, rows: 6, columns: 3, group: 4, bytesA: 1},
	{name: "gemmBlocks4_4x16_avx2", vec: ymm, rows: 4, columns: 2, nibbles: true, group: 2, bytesA: 2},
	{name: "gemmBlocks8_4x16_avx2", vec: ymm, rows: 4, columns: 2, group: 2, bytesA: 2},
}

var lowNibbles Mem

// generateBlocks writes the microkernels and what quantizes A for them.
func generateBlocks() {
	lowNibbles = GLOBL("lowNibbles", RODATA|NOPTR)
	for i := range 4 {
		DATA(8*i, U64(0x000f000f000f000f))
	}
	for _, k := range allBlocks {
		k.generate()
		k.dequantize()
		k.floatRow()
	}
	quantizeBlocks("quantizeBlocks_avx512", zmm, 1)
	quantizeBlocks("quantizeBlocks_avx2", ymm, 2)
}

func (k *blocks) bits() int {
	if k.nibbles {
		return 4
	}
	return 8
}

// columnsName names a function for whole panels.
func (k *blocks) columnsName(what string) (name string, width int) {
	width = k.columns * k.lanes()
	return fmt.Sprintf("%s%d_%d%s", what, k.bits(), width, k.name[strings.LastIndex(k.name, "_"):]), width
}

// load loads codes of B: a lane gets those of its column, those of a group of k in each half of its bytes.
func (k *blocks) load(from Mem, to reg.VecPhysical) {
	if k.vec.wide() {
		VMOVDQU32(from, to)
	} else {
		VPMOVZXWD(from, to)
	}
}

// eachCode calls f for the k of a step: in which load they are, and how far left in their lane.
func (k *blocks) eachCode(f func(inStep, load, shift int)) {
	perLoad := k.group * 8 / k.bits()
	for load := range step / perLoad {
		for half := range 8 / k.bits() {
			for t := range k.group {
				f(load*perLoad+half*k.group+t, load, 8*t+4*half)
			}
		}
	}
}

// floatRow writes the product of one row in float arithmetic: there floats of B are used once, so that they stay in registers.
func (k *blocks) floatRow() {
	name, width := k.columnsName("floatRowBlocks")
	TEXT(name, NOSPLIT, "func(blocks, steps int, a *float32, b *uint8, c *float32)")
	Doc(name+fmt.Sprintf(" computes, for blocks ≥ 1 and steps ≥ 1, for %d columns of the blocks of package gemm's kernelBlocks,", width),
		"",
		"	acc := 0",
		"	for each block and k in it {",
		"		acc = fma(a[k], float32(b.codes[k]-b.zero)*b.scale, acc) // rounded once",
		"	}",
		"	c[j] = acc")
	Pragma("noescape")
	a := reg.RDI
	pointers := []reg.GPPhysical{reg.RSI, reg.R8, reg.R10}[:k.columns]
	vec := func(what, j int) reg.VecPhysical { return k.vec.reg(what*k.columns + j) }
	const acc, zero, scale, packed, value = 0, 1, 2, 3, 4
	one, mask, magic := k.vec.reg(5*k.columns), k.vec.reg(5*k.columns+1), k.vec.reg(5*k.columns+2)
	Load(Param("blocks"), blockCount)
	Load(Param("steps"), steps)
	Load(Param("a"), a)
	Load(Param("b"), pointers[0])
	k.vec.constant(1<<k.bits()-1, mask)
	k.vec.constant(0x4b000000, magic) // 2^23, whose last bit is 1
	for j := range k.columns {
		k.vec.clear(vec(acc, j))
	}
	MOVQ(steps, bytesBlockA) // here: of a block of a vector of columns, without its header
	IMUL3Q(U32(uint32(k.bytesStep())), bytesBlockA, bytesBlockA)
	Label("block")
	for j := range k.columns {
		if j > 0 {
			LEAQ(Mem{Base: pointers[j-1], Index: bytesBlockA, Scale: 1}, pointers[j])
		}
		VPMOVZXBD(Mem{Base: pointers[j]}, vec(zero, j))
		k.vec.or(magic, vec(zero, j), vec(zero, j))
		VMOVUPS(Mem{Base: pointers[j], Disp: k.lanes()}, vec(scale, j))
		ADDQ(Imm(uint64(headerB*k.lanes())), pointers[j])
	}
	MOVQ(steps, stepsLeft)
	Label("step")
	last := -1
	k.eachCode(func(inStep, load, shift int) {
		if load != last {
			for j := range k.columns {
				k.load(Mem{Base: pointers[j], Disp: load * k.lanes() * k.group}, vec(packed, j))
			}
			last = load
		}
		VBROADCASTSS(Mem{Base: a, Disp: 4 * inStep}, one)
		for j := range k.columns {
			v, from := vec(value, j), vec(packed, j)
			switch {
			case k.vec.wide():
				if shift > 0 {
					VPSRLD(Imm(uint64(shift)), from, v)
				} else {
					VMOVDQA32(from, v)
				}
				VPTERNLOGD(Imm(0xea), magic, mask, v) // v & mask | magic
			case shift > 0:
				VPSRLD(Imm(uint64(shift)), from, v)
				VPAND(mask, v, v)
				VPOR(magic, v, v)
			default:
				VPAND(mask, from, v)
				VPOR(magic, v, v)
			}
			VSUBPS(vec(zero, j), v, v) // exact
			VMULPS(vec(scale, j), v, v)
			VFMADD231PS(one, v, vec(acc, j))
		}
	})
	ADDQ(Imm(4*step), a)
	for j := range k.columns {
		ADDQ(U32(uint32(k.bytesStep())), pointers[j])
	}
	DECQ(stepsLeft)
	JNE(LabelRef("step"))
	if k.columns > 1 {
		MOVQ(pointers[k.columns-1], pointers[0])
	}
	DECQ(blockCount)
	JNE(LabelRef("block"))
	Load(Param("c"), a)
	for j := range k.columns {
		VMOVUPS(vec(acc, j), Mem{Base: a, Disp: j * k.vec.bytes})
	}
	VZEROUPPER()
	RET()
}

// dequantize writes what makes floats of the codes of B, in the panels of the float kernels.
func (k *blocks) dequantize() {
	name, width := k.columnsName("dequantizeBlocks")
	TEXT(name, NOSPLIT, "func(blocks, steps int, b *uint8, dst *float32)")
	Doc(name+fmt.Sprintf(" computes, for blocks ≥ 1 and steps ≥ 1, for %d columns of the blocks of package gemm's kernelBlocks,", width),
		"",
		"	for each block, k in it, and column j {",
		fmt.Sprintf("		dst[k*%d+j] = float32(b.codes[k]-b.zero) * b.scale", width),
		"	}")
	Pragma("noescape")
	dst := reg.RDI
	Load(Param("blocks"), blockCount)
	Load(Param("steps"), steps)
	Load(Param("b"), pointerB)
	Load(Param("dst"), dst)
	zero, scale, mask, packed, value := k.vec.reg(0), k.vec.reg(1), k.vec.reg(2), k.vec.reg(3), k.vec.reg(4)
	k.vec.constant(1<<k.bits()-1, mask)
	rowBytes := 4 * width
	MOVQ(steps, bytesBlockA)
	IMUL3Q(U32(uint32(step*rowBytes)), bytesBlockA, bytesBlockA) // of a block of the result
	Label("block")
	for j := range k.columns {
		VPMOVZXBD(Mem{Base: pointerB}, zero)
		VMOVUPS(Mem{Base: pointerB, Disp: k.lanes()}, scale)
		ADDQ(Imm(uint64(headerB*k.lanes())), pointerB)
		MOVQ(steps, stepsLeft)
		label := fmt.Sprintf("vector%d", j)
		Label(label)
		last := -1
		k.eachCode(func(inStep, load, shift int) {
			if load != last {
				k.load(Mem{Base: pointerB, Disp: load * k.lanes() * k.group}, packed)
				last = load
			}
			from := packed
			if shift > 0 {
				VPSRLD(Imm(uint64(shift)), packed, value)
				from = value
			}
			k.vec.and(mask, from, value)
			VPSUBD(zero, value, value)
			VCVTDQ2PS(value, value)
			VMULPS(scale, value, value)
			VMOVUPS(value, Mem{Base: dst, Disp: inStep*rowBytes + j*k.vec.bytes})
		})
		ADDQ(U32(uint32(k.bytesStep())), pointerB)
		ADDQ(U32(uint32(step*rowBytes)), dst)
		DECQ(stepsLeft)
		JNE(LabelRef(label))
		if j < k.columns-1 {
			SUBQ(bytesBlockA, dst)
		}
	}
	DECQ(blockCount)
	JNE(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// quantizeBlocks writes what turns floats into the blocks of A: a scale, the negated sum of the codes, and the codes.
func quantizeBlocks(name string, vec vectors, bytesA int) {
	TEXT(name, NOSPLIT, "func(blocks, steps int, x *float32, dst *uint8)")
	Doc(name+" computes, for blocks ≥ 1 and steps ≥ 1, with blocks of steps*16 elements,",
		"",
		"	for each block x and its dst {",
		"		greatest := max |x[k]| // a NaN wins",
		"		dst.scale = greatest / 127",
		"		inverse := min(127/greatest, greatest finite) // 0 for 0",
		"		for k := range x {",
		"			dst.codes[k] = rint(min(max(x[k]*inverse, -127), 127)) // a NaN gives -127",
		"		}",
		"		dst.negatedSum = -Σ dst.codes",
		"	}",
		"",
		fmt.Sprintf("A code has %d bytes.", bytesA))
	Pragma("noescape")
	perStep := 64 / vec.bytes // vectors of floats in a step
	x, dst, left := reg.RSI, reg.RDI, reg.RAX
	magnitude, lowest, highest, most, inverse := vec.reg(15), vec.reg(14), vec.reg(13), vec.reg(12), vec.reg(11)
	v := [2]reg.VecPhysical{vec.reg(0), vec.reg(1)}
	Load(Param("blocks"), reg.RCX)
	Load(Param("steps"), reg.RDX)
	Load(Param("x"), x)
	Load(Param("dst"), dst)
	vec.constant(0x7fffffff, magnitude)
	vec.constant(0xc2fe0000, lowest)  // -127
	vec.constant(0x42fe0000, highest) // 127
	vec.constant(0x7f7fffff, vec.reg(10))
	Label("block")
	VPXOR(reg.Y12, reg.Y12, reg.Y12) // the rest too
	MOVQ(reg.RDX, left)
	Label("magnitudes")
	for i := range perStep {
		from := Mem{Base: x, Disp: i * vec.bytes}
		// Of the bits of magnitudes, those of a NaN are the greatest.
		vec.and(from, magnitude, v[i])
		VPMAXUD(v[i], most, most)
	}
	ADDQ(Imm(64), x)
	DECQ(left)
	JNE(LabelRef("magnitudes"))
	vec.reduce(func(x, y, to Op) { VPMAXUD(x, y, to) })
	VDIVSS(reg.X13, reg.X12, reg.X0)
	VMOVSS(reg.X0, Mem{Base: dst})
	VDIVSS(reg.X12, reg.X13, reg.X0)
	VXORPS(reg.X1, reg.X1, reg.X1)
	VCMPSS(Imm(4), reg.X1, reg.X12, reg.X1) // all bits where it is not 0
	VANDPS(reg.X1, reg.X0, reg.X0)
	VMINSS(reg.X10, reg.X0, reg.X0)
	VBROADCASTSS(reg.X0, inverse)

	sum := most
	VPXOR(reg.Y12, reg.Y12, reg.Y12)
	MOVQ(reg.RDX, left)
	SHLQ(Imm(6), left)
	SUBQ(left, x)
	MOVQ(reg.RDX, left)
	ADDQ(Imm(header), dst)
	Label("codes")
	for i := range perStep {
		VMULPS(Mem{Base: x, Disp: i * vec.bytes}, inverse, v[i])
		VMAXPS(lowest, v[i], v[i]) // the second operand of the instruction where there is a NaN
		VMINPS(highest, v[i], v[i])
		VCVTPS2DQ(v[i], v[i])
		VPADDD(v[i], sum, sum)
	}
	if vec.wide() {
		VPMOVSDB(reg.Z0, Mem{Base: dst})
	} else {
		VPACKSSDW(reg.Y1, reg.Y0, reg.Y0)
		VPERMQ(Imm(0xd8), reg.Y0, reg.Y0)
		VMOVDQU(reg.Y0, Mem{Base: dst})
	}
	ADDQ(Imm(64), x)
	ADDQ(Imm(uint64(step*bytesA)), dst)
	DECQ(left)
	JNE(LabelRef("codes"))
	vec.reduce(func(x, y, to Op) { VPADDD(x, y, to) })
	VPXOR(reg.X0, reg.X0, reg.X0)
	VPSUBD(reg.X12, reg.X0, reg.X0)
	// The sum stands behind the scale: back over the codes.
	MOVQ(reg.RDX, left)
	SHLQ(Imm(uint64(4+bytesA-1)), left)
	NEGQ(left)
	VMOVD(reg.X0, Mem{Base: dst, Index: left, Scale: 1, Disp: -4})
	DECQ(reg.RCX)
	JNE(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// reduce combines the lanes of register 12 to one in its first lane. It needs the first register.
func (v vectors) reduce(combine func(x, y, to Op)) {
	if v.wide() {
		VEXTRACTI64X4(Imm(1), reg.Z12, reg.Y0)
		combine(reg.Y0, reg.Y12, reg.Y12)
	}
	VEXTRACTI128(Imm(1), reg.Y12, reg.X0)
	combine(reg.X0, reg.X12, reg.X12)
	VPSHUFD(Imm(0x4e), reg.X12, reg.X0)
	combine(reg.X0, reg.X12, reg.X12)
	VPSHUFD(Imm(0xb1), reg.X12, reg.X0)
	combine(reg.X0, reg.X12, reg.X12)
}
