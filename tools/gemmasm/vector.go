package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// addScaled writes y += alpha·x for whole vectors.
func addScaled() {
	TEXT("addScaled_avx2", NOSPLIT, "func(vectors int, y *int32, alpha int32, x *int32)")
	Doc("addScaled_avx2 computes",
		"",
		"	for i := range vectors * 8 {",
		"		y[i] += alpha * x[i]",
		"	}",
		"",
		"for vectors ≥ 1.")
	Pragma("noescape")
	Load(Param("vectors"), reg.RCX)
	Load(Param("y"), reg.RDI)
	Load(Param("x"), reg.RSI)
	Load(Param("alpha"), reg.EAX)
	VMOVD(reg.EAX, reg.X0)
	VPBROADCASTD(reg.X0, reg.Y0)
	Label("loop")
	VPMULLD(Mem{Base: reg.RSI}, reg.Y0, reg.Y1)
	VPADDD(Mem{Base: reg.RDI}, reg.Y1, reg.Y1)
	VMOVDQU(reg.Y1, Mem{Base: reg.RDI})
	ADDQ(Imm(32), reg.RSI)
	ADDQ(Imm(32), reg.RDI)
	DECQ(reg.RCX)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// widenBytes writes bytes as 16-bit words, for whole vectors.
func widenBytes() {
	TEXT("widenBytes_avx2", NOSPLIT, "func(vectors int, dst *uint8, src *uint8, flip uint8)")
	Doc("widenBytes_avx2 computes",
		"",
		"	for i := range vectors * 16 {",
		"		dst[2*i], dst[2*i+1] = src[i]^flip, 0",
		"	}",
		"",
		"for vectors ≥ 1.")
	Pragma("noescape")
	Load(Param("vectors"), reg.RCX)
	Load(Param("dst"), reg.RDI)
	Load(Param("src"), reg.RSI)
	Load(Param("flip"), reg.EAX)
	VMOVD(reg.EAX, reg.X0)
	VPBROADCASTW(reg.X0, reg.Y0)
	Label("loop")
	VPMOVZXBW(Mem{Base: reg.RSI}, reg.Y1)
	VPXOR(reg.Y0, reg.Y1, reg.Y1)
	VMOVDQU(reg.Y1, Mem{Base: reg.RDI})
	ADDQ(Imm(16), reg.RSI)
	ADDQ(Imm(32), reg.RDI)
	DECQ(reg.RCX)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// peak writes a loop of independent multiply-adds on registers.
func peak(name, what string, accumulators int, step func(i int), clear func(i int)) {
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(name + " executes, n times, " + what + ".")
	Load(Param("n"), reg.RCX)
	for i := range accumulators + 2 {
		clear(i)
	}
	Label("loop")
	for i := range accumulators {
		step(i)
	}
	DECQ(reg.RCX)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func peaks() {
	clearZ := func(i int) { VPXORD(z[i], z[i], z[i]) }
	clearY := func(i int) { VPXOR(y[i], y[i], y[i]) }
	peak("f32AVX512", "24 independent VFMADD231PS of 16 lanes", 24,
		func(i int) { VFMADD231PS(z[24], z[25], z[i]) }, clearZ)
	peak("f32AVX2", "12 independent VFMADD231PS of 8 lanes", 12,
		func(i int) { VFMADD231PS(y[12], y[13], y[i]) }, clearY)
	peak("u8s8AVX512VNNI", "24 independent VPDPBUSD of 16 lanes by 4", 24,
		func(i int) { VPDPBUSD(z[24], z[25], z[i]) }, clearZ)
	peak("u8s8AVX2", "12 independent VPMADDWD and VPADDD of 8 lanes by 2", 12,
		func(i int) {
			VPMADDWD(y[12], y[13], y[14+i%2])
			VPADDD(y[14+i%2], y[i], y[i])
		}, clearY)
}
