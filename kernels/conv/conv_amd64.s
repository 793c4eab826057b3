#include "textflag.h"

// func depthwiseF32AVX2(n int, dst, x, w, bias *float32, taps *tap, count int)
TEXT ·depthwiseF32AVX2(SB), NOSPLIT, $0-56
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	MOVQ w+24(FP), DX
	MOVQ bias+32(FP), BX

four:
	CMPQ CX, $4
	JLT  one
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	MOVQ taps+40(FP), R8
	MOVQ count+48(FP), R9

tapFour:
	MOVQ (R8), R10
	MOVQ 8(R8), R11
	VMOVUPS (SI)(R10*1), Y4
	VMOVUPS 32(SI)(R10*1), Y5
	VMOVUPS 64(SI)(R10*1), Y6
	VMOVUPS 96(SI)(R10*1), Y7
	VMULPS (DX)(R11*1), Y4, Y4
	VMULPS 32(DX)(R11*1), Y5, Y5
	VMULPS 64(DX)(R11*1), Y6, Y6
	VMULPS 96(DX)(R11*1), Y7, Y7
	VADDPS Y4, Y0, Y0
	VADDPS Y5, Y1, Y1
	VADDPS Y6, Y2, Y2
	VADDPS Y7, Y3, Y3
	ADDQ $16, R8
	DECQ R9
	JNZ  tapFour
	TESTQ BX, BX
	JZ   storeFour
	VADDPS (BX), Y0, Y0
	VADDPS 32(BX), Y1, Y1
	VADDPS 64(BX), Y2, Y2
	VADDPS 96(BX), Y3, Y3
	ADDQ $128, BX

storeFour:
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $128, DI
	ADDQ $128, SI
	ADDQ $128, DX
	SUBQ $4, CX
	JMP  four

one:
	TESTQ CX, CX
	JZ   done
	VXORPS Y0, Y0, Y0
	MOVQ taps+40(FP), R8
	MOVQ count+48(FP), R9

tapOne:
	MOVQ (R8), R10
	MOVQ 8(R8), R11
	VMOVUPS (SI)(R10*1), Y4
	VMULPS (DX)(R11*1), Y4, Y4
	VADDPS Y4, Y0, Y0
	ADDQ $16, R8
	DECQ R9
	JNZ  tapOne
	TESTQ BX, BX
	JZ   storeOne
	VADDPS (BX), Y0, Y0
	ADDQ $32, BX

storeOne:
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	ADDQ $32, DX
	DECQ CX
	JMP  one

done:
	VZEROUPPER
	RET

// func depthwiseU8AVX2(n int, dst *int32, x *uint8, w *int16, bias *int32, taps *tap, pairs int, zero uint64, flip *[16]uint8)
TEXT ·depthwiseU8AVX2(SB), NOSPLIT, $0-72
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	MOVQ w+24(FP), DX
	MOVQ bias+32(FP), BX
	VPBROADCASTQ zero+56(FP), Y14
	MOVQ flip+64(FP), AX
	VMOVDQU (AX), X15

block:
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	MOVQ taps+40(FP), R8
	MOVQ pairs+48(FP), R9

pair:
	MOVQ (R8), R10
	MOVQ 8(R8), R11
	MOVQ 16(R8), R12
	MOVQ 24(R8), R13
	VPXOR (SI)(R10*1), X15, X2
	VPXOR (SI)(R12*1), X15, X3
	VPMOVZXBW X2, Y2
	VPMOVZXBW X3, Y3
	VPSUBW Y14, Y2, Y2
	VPSUBW Y14, Y3, Y3
	VMOVDQU (DX)(R11*1), Y4
	VMOVDQU (DX)(R13*1), Y5
	VPUNPCKLWD Y3, Y2, Y6
	VPUNPCKHWD Y3, Y2, Y7
	VPUNPCKLWD Y5, Y4, Y8
	VPUNPCKHWD Y5, Y4, Y9
	VPMADDWD Y8, Y6, Y6
	VPMADDWD Y9, Y7, Y7
	VPADDD Y6, Y0, Y0
	VPADDD Y7, Y1, Y1
	ADDQ $32, R8
	DECQ R9
	JNZ  pair

	// Unpacking works in halves: channels 0-3, 8-11 are in Y0, the others in Y1.
	VPERM2I128 $0x20, Y1, Y0, Y2
	VPERM2I128 $0x31, Y1, Y0, Y3
	TESTQ BX, BX
	JZ   store
	VPADDD (BX), Y2, Y2
	VPADDD 32(BX), Y3, Y3
	ADDQ $64, BX

store:
	VMOVDQU Y2, (DI)
	VMOVDQU Y3, 32(DI)
	ADDQ $64, DI
	ADDQ $16, SI
	ADDQ $32, DX
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET

// Quadwords of two registers whose 16-byte lanes are to be put one by one, the lower and the upper halves.
DATA lowerLanes<>+0(SB)/8, $0
DATA lowerLanes<>+8(SB)/8, $1
DATA lowerLanes<>+16(SB)/8, $8
DATA lowerLanes<>+24(SB)/8, $9
DATA lowerLanes<>+32(SB)/8, $2
DATA lowerLanes<>+40(SB)/8, $3
DATA lowerLanes<>+48(SB)/8, $10
DATA lowerLanes<>+56(SB)/8, $11
DATA upperLanes<>+0(SB)/8, $4
DATA upperLanes<>+8(SB)/8, $5
DATA upperLanes<>+16(SB)/8, $12
DATA upperLanes<>+24(SB)/8, $13
DATA upperLanes<>+32(SB)/8, $6
DATA upperLanes<>+40(SB)/8, $7
DATA upperLanes<>+48(SB)/8, $14
DATA upperLanes<>+56(SB)/8, $15
GLOBL lowerLanes<>(SB), RODATA|NOPTR, $64
GLOBL upperLanes<>(SB), RODATA|NOPTR, $64

// func depthwiseU8AVX512(n int, dst *int32, x *uint8, w *int16, bias *int32, taps *tap, pairs int, zero uint64, flip *[16]uint8)
TEXT ·depthwiseU8AVX512(SB), NOSPLIT, $0-72
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	MOVQ w+24(FP), DX
	MOVQ bias+32(FP), BX
	VPBROADCASTQ zero+56(FP), Z14
	MOVQ flip+64(FP), AX
	VBROADCASTI128 (AX), Y15
	VMOVDQU64 lowerLanes<>(SB), Z12
	VMOVDQU64 upperLanes<>(SB), Z13

block:
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	MOVQ taps+40(FP), R8
	MOVQ pairs+48(FP), R9

pair:
	MOVQ (R8), R10
	MOVQ 8(R8), R11
	MOVQ 16(R8), R12
	MOVQ 24(R8), R13
	VPXOR (SI)(R10*1), Y15, Y2
	VPXOR (SI)(R12*1), Y15, Y3
	VPMOVZXBW Y2, Z2
	VPMOVZXBW Y3, Z3
	VPSUBW Z14, Z2, Z2
	VPSUBW Z14, Z3, Z3
	VMOVDQU64 (DX)(R11*1), Z4
	VMOVDQU64 (DX)(R13*1), Z5
	VPUNPCKLWD Z3, Z2, Z6
	VPUNPCKHWD Z3, Z2, Z7
	VPUNPCKLWD Z5, Z4, Z8
	VPUNPCKHWD Z5, Z4, Z9
	VPDPWSSD Z8, Z6, Z0
	VPDPWSSD Z9, Z7, Z1
	ADDQ $32, R8
	DECQ R9
	JNZ  pair

	// Unpacking works in lanes: channels 0-3, 8-11, 16-19, 24-27 are in Z0, the others in Z1.
	VMOVDQA64 Z12, Z2
	VMOVDQA64 Z13, Z3
	VPERMI2Q Z1, Z0, Z2
	VPERMI2Q Z1, Z0, Z3
	TESTQ BX, BX
	JZ   store
	VPADDD (BX), Z2, Z2
	VPADDD 64(BX), Z3, Z3
	ADDQ $128, BX

store:
	VMOVDQU64 Z2, (DI)
	VMOVDQU64 Z3, 64(DI)
	ADDQ $128, DI
	ADDQ $32, SI
	ADDQ $64, DX
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET

// func reluAVX2(n int, x *float32)
TEXT ·reluAVX2(SB), NOSPLIT, $0-16
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	VXORPS Y1, Y1, Y1

loop:
	// 0 if it is greater, else x, also where that is NaN.
	VMAXPS (SI), Y1, Y0
	VMOVUPS Y0, (SI)
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func clipAVX2(n int, x *float32, lo, hi float32)
TEXT ·clipAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	VBROADCASTSS lo+16(FP), Y1
	VBROADCASTSS hi+20(FP), Y2

loop:
	VMAXPS (SI), Y1, Y0
	VMINPS Y0, Y2, Y0
	VMOVUPS Y0, (SI)
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
