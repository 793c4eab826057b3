#include "textflag.h"

// func sumAVX2(n int, x *float32, partial *[16]float32)
TEXT ·sumAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	MOVQ partial+16(FP), DI
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1

loop:
	VADDPS (SI), Y0, Y0
	VADDPS 32(SI), Y1, Y1
	ADDQ $64, SI
	DECQ CX
	JNZ  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VZEROUPPER
	RET

// func meanAVX2(n int, x *float32, partial *[8]float64)
TEXT ·meanAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	MOVQ partial+16(FP), DI
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1

loop:
	VCVTPS2PD (SI), Y2
	VCVTPS2PD 16(SI), Y3
	VADDPD Y2, Y0, Y0
	VADDPD Y3, Y1, Y1
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VMOVUPD Y0, (DI)
	VMOVUPD Y1, 32(DI)
	VZEROUPPER
	RET

// func squaredDeviationAVX2(n int, x *float32, mean float32, partial *[8]float32)
TEXT ·squaredDeviationAVX2(SB), NOSPLIT, $0-32
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	VBROADCASTSS mean+16(FP), Y4
	MOVQ partial+24(FP), DI
	VXORPS Y0, Y0, Y0

loop:
	VMOVUPS (SI), Y2
	VSUBPS Y4, Y2, Y2
	VFMADD231PS Y2, Y2, Y0
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VMOVUPS Y0, (DI)
	VZEROUPPER
	RET

// func affineAVX2(n int, dst, x *float32, mean, inverse float32, scale, bias *float32)
TEXT ·affineAVX2(SB), NOSPLIT, $0-48
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	VBROADCASTSS mean+24(FP), Y4
	VBROADCASTSS inverse+28(FP), Y5
	MOVQ scale+32(FP), DX
	MOVQ bias+40(FP), BX

loop:
	VMOVUPS (SI), Y0
	VSUBPS Y4, Y0, Y0
	VMULPS Y5, Y0, Y0
	TESTQ DX, DX
	JZ   noScale
	TESTQ BX, BX
	JZ   noBias
	VMOVUPS (DX), Y1
	VFMADD213PS (BX), Y1, Y0
	ADDQ $32, DX
	ADDQ $32, BX
	JMP  store

noBias:
	VMULPS (DX), Y0, Y0
	ADDQ $32, DX
	JMP  store

noScale:
	TESTQ BX, BX
	JZ   store
	VADDPS (BX), Y0, Y0
	ADDQ $32, BX

store:
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func distributedAVX2(n int, dst, x *float32, mean, inverse float32, scale, bias *float32)
TEXT ·distributedAVX2(SB), NOSPLIT, $0-48
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	VBROADCASTSS mean+24(FP), Y4
	VBROADCASTSS inverse+28(FP), Y5
	MOVQ scale+32(FP), DX
	MOVQ bias+40(FP), BX

loop:
	VMULPS (DX), Y5, Y1
	VMULPS Y1, Y4, Y2
	VMOVUPS (BX), Y3
	VSUBPS Y2, Y3, Y3
	VMULPS (SI), Y1, Y0
	VADDPS Y3, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $32, BX
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func maxAVX2(n int, x *float32, lane *[8]float32)
TEXT ·maxAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	MOVQ lane+16(FP), DI
	VBROADCASTSS (SI), Y0

loop:
	// The second operand wins where one is NaN: here what was greatest so far.
	VMOVUPS (SI), Y1
	VMAXPS Y0, Y1, Y0
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VMOVUPS Y0, (DI)
	VZEROUPPER
	RET
