#include "textflag.h"

// Picks the low byte of each of 8 32-bit words, 4 in either half.
DATA lowBytes<>+0(SB)/8, $0x808080800c080400
DATA lowBytes<>+8(SB)/8, $0x8080808080808080
DATA lowBytes<>+16(SB)/8, $0x808080800c080400
DATA lowBytes<>+24(SB)/8, $0x8080808080808080
GLOBL lowBytes<>(SB), RODATA|NOPTR, $32

// STORE8 rounds the 8 floats in Y0 half to even, limits them to Y13 … Y14 before, and stores the low bytes at DI. A NaN
// becomes Y13. ADD is an integer addition of Y15 after rounding, or nothing.
#define ROUND \
	VMAXPS Y13, Y0, Y0 \
	VMINPS Y14, Y0, Y0 \
	VCVTPS2DQ Y0, Y0

#define STORE8 \
	VPSHUFB Y12, Y0, Y0 \
	VEXTRACTI128 $1, Y0, X1 \
	VPUNPCKLDQ X1, X0, X0 \
	VMOVQ X0, (DI)

// func requantizeAVX2(n int, dst *uint8, acc *int32, multiplier *float32, lo, hi float32, zero int32)
TEXT ·requantizeAVX2(SB), NOSPLIT, $0-44
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ acc+16(FP), SI
	MOVQ multiplier+24(FP), DX
	VBROADCASTSS lo+32(FP), Y13
	VBROADCASTSS hi+36(FP), Y14
	VBROADCASTSS zero+40(FP), Y15
	VMOVDQU lowBytes<>(SB), Y12

loop:
	VCVTDQ2PS (SI), Y0
	VMULPS (DX), Y0, Y0
	ROUND
	VPADDD Y15, Y0, Y0
	STORE8
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $8, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func quantizeAVX2(n int, dst *uint8, x *float32, scale, lo, hi float32, zero int32)
TEXT ·quantizeAVX2(SB), NOSPLIT, $0-40
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	VBROADCASTSS scale+24(FP), Y11
	VBROADCASTSS lo+28(FP), Y13
	VBROADCASTSS hi+32(FP), Y14
	VBROADCASTSS zero+36(FP), Y15
	VMOVDQU lowBytes<>(SB), Y12

loop:
	VMOVUPS (SI), Y0
	VDIVPS Y11, Y0, Y0
	ROUND
	VPADDD Y15, Y0, Y0
	STORE8
	ADDQ $32, SI
	ADDQ $8, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func dequantizeAVX2(n int, dst *float32, x *uint8, scale float32, zero int32, flip uint64)
TEXT ·dequantizeAVX2(SB), NOSPLIT, $0-40
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	VBROADCASTSS scale+24(FP), Y11
	VBROADCASTSS zero+28(FP), Y12
	MOVQ flip+32(FP), X13

loop:
	VMOVQ (SI), X0
	VPXOR X13, X0, X0
	VPMOVZXBD X0, Y0
	VPSUBD Y12, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y11, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $8, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func scaleAVX2(n int, dst *float32, acc *int32, multiplier *float32, factor float32, bias *float32)
TEXT ·scaleAVX2(SB), NOSPLIT, $0-48
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ acc+16(FP), SI
	MOVQ multiplier+24(FP), DX
	VBROADCASTSS factor+32(FP), Y1
	MOVQ bias+40(FP), BX
	TESTQ BX, BX
	JZ   plain

loop:
	VCVTDQ2PS (SI), Y0
	VMULPS (DX), Y0, Y0
	VMULPS Y1, Y0, Y0
	VADDPS (BX), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $32, BX
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

plain:
	VCVTDQ2PS (SI), Y0
	VMULPS (DX), Y0, Y0
	VMULPS Y1, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $32, DI
	DECQ CX
	JNZ  plain
	VZEROUPPER
	RET

// func addAVX2(n int, dst, a, b *uint8, ratioA, ratioB, fixed, lo, hi float32, offset int32, flip uint64)
TEXT ·addAVX2(SB), NOSPLIT, $0-64
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ a+16(FP), SI
	MOVQ b+24(FP), DX
	VBROADCASTSS ratioA+32(FP), Y8
	VBROADCASTSS ratioB+36(FP), Y9
	VBROADCASTSS fixed+40(FP), Y10
	VBROADCASTSS lo+44(FP), Y13
	VBROADCASTSS hi+48(FP), Y14
	VBROADCASTSS offset+52(FP), Y11
	MOVQ flip+56(FP), X7
	VMOVDQU lowBytes<>(SB), Y12

loop:
	VMOVQ (SI), X0
	VMOVQ (DX), X1
	VPXOR X7, X0, X0
	VPXOR X7, X1, X1
	VPMOVZXBD X0, Y0
	VPMOVZXBD X1, Y1
	VPSUBD Y11, Y0, Y0
	VPSUBD Y11, Y1, Y1
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VFMADD213PS Y10, Y9, Y1
	VFMADD213PS Y1, Y8, Y0
	ROUND
	STORE8
	ADDQ $8, SI
	ADDQ $8, DX
	ADDQ $8, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func mulAVX2(n int, dst, a, b *uint8, multiplier, zc, lo, hi float32, za, zb int32, flip uint64)
TEXT ·mulAVX2(SB), NOSPLIT, $0-64
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ a+16(FP), SI
	MOVQ b+24(FP), DX
	VBROADCASTSS multiplier+32(FP), Y8
	VBROADCASTSS zc+36(FP), Y9
	VBROADCASTSS lo+40(FP), Y13
	VBROADCASTSS hi+44(FP), Y14
	VBROADCASTSS za+48(FP), Y10
	VBROADCASTSS zb+52(FP), Y11
	MOVQ flip+56(FP), X7
	VMOVDQU lowBytes<>(SB), Y12

loop:
	VMOVQ (SI), X0
	VMOVQ (DX), X1
	VPXOR X7, X0, X0
	VPXOR X7, X1, X1
	VPMOVZXBD X0, Y0
	VPMOVZXBD X1, Y1
	VPSUBD Y10, Y0, Y0
	VPSUBD Y11, Y1, Y1
	VPMULLD Y1, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y8, Y0, Y0
	VADDPS Y9, Y0, Y0
	ROUND
	STORE8
	ADDQ $8, SI
	ADDQ $8, DX
	ADDQ $8, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func minMaxAVX2(n int, x *float32, least, greatest *[8]float32)
TEXT ·minMaxAVX2(SB), NOSPLIT, $0-32
	MOVQ n+0(FP), CX
	MOVQ x+8(FP), SI
	MOVQ least+16(FP), DI
	MOVQ greatest+24(FP), DX
	VMOVUPS (DI), Y0
	VMOVUPS (DX), Y1

loop:
	// The second operand wins where one is NaN: here what was least so far.
	VMOVUPS (SI), Y2
	VMINPS Y0, Y2, Y0
	VMAXPS Y1, Y2, Y1
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, (DX)
	VZEROUPPER
	RET

// func requantizeAVX512(rows, columns int, dst *uint8, ldDst int, acc *int32, ldAcc int, multiplier *float32, lo, hi float32, zero int32)
TEXT ·requantizeAVX512(SB), NOSPLIT, $0-68
	MOVQ rows+0(FP), DX
	MOVQ columns+8(FP), CX
	MOVQ dst+16(FP), DI
	MOVQ ldDst+24(FP), R8
	MOVQ acc+32(FP), SI
	MOVQ ldAcc+40(FP), R9
	SHLQ $2, R9
	VBROADCASTSS lo+56(FP), Z13
	VBROADCASTSS hi+60(FP), Z14
	VBROADCASTSS zero+64(FP), Z15

	// Whole blocks of 16 columns, then those of K1.
	MOVQ CX, R12
	SHRQ $4, R12
	ANDQ $15, CX
	MOVL $1, AX
	SHLL CX, AX
	DECL AX
	KMOVW AX, K1

row:
	MOVQ SI, R10
	MOVQ DI, R11
	MOVQ multiplier+48(FP), BX
	MOVQ R12, AX
	TESTQ AX, AX
	JZ   tail

block:
	VCVTDQ2PS (R10), Z0
	VMULPS (BX), Z0, Z0
	VMAXPS Z13, Z0, Z0
	VMINPS Z14, Z0, Z0
	VCVTPS2DQ Z0, Z0
	VPADDD Z15, Z0, Z0
	VPMOVDB Z0, (R11)
	ADDQ $64, R10
	ADDQ $64, BX
	ADDQ $16, R11
	DECQ AX
	JNZ  block

tail:
	TESTQ CX, CX
	JZ   next
	VCVTDQ2PS.Z (R10), K1, Z0
	VMULPS.Z (BX), Z0, K1, Z0
	VMAXPS Z13, Z0, Z0
	VMINPS Z14, Z0, Z0
	VCVTPS2DQ Z0, Z0
	VPADDD Z15, Z0, Z0
	VPMOVDB Z0, K1, (R11)

next:
	ADDQ R9, SI
	ADDQ R8, DI
	DECQ DX
	JNZ  row
	VZEROUPPER
	RET

// func quantizeAVX512(n int, dst *uint8, x *float32, scale, lo, hi float32, zero int32)
TEXT ·quantizeAVX512(SB), NOSPLIT, $0-40
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	VBROADCASTSS scale+24(FP), Z11
	VBROADCASTSS lo+28(FP), Z13
	VBROADCASTSS hi+32(FP), Z14
	VBROADCASTSS zero+36(FP), Z15

loop:
	VMOVUPS (SI), Z0
	VDIVPS Z11, Z0, Z0
	VMAXPS Z13, Z0, Z0
	VMINPS Z14, Z0, Z0
	VCVTPS2DQ Z0, Z0
	VPADDD Z15, Z0, Z0
	VPMOVDB Z0, (DI)
	ADDQ $64, SI
	ADDQ $16, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func addAVX512(n int, dst, a, b *uint8, ratioA, ratioB, fixed, lo, hi float32, offset int32, flip *[16]uint8)
TEXT ·addAVX512(SB), NOSPLIT, $0-64
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ a+16(FP), SI
	MOVQ b+24(FP), DX
	VBROADCASTSS ratioA+32(FP), Z8
	VBROADCASTSS ratioB+36(FP), Z9
	VBROADCASTSS fixed+40(FP), Z10
	VBROADCASTSS lo+44(FP), Z13
	VBROADCASTSS hi+48(FP), Z14
	VBROADCASTSS offset+52(FP), Z11
	MOVQ flip+56(FP), AX
	VMOVDQU (AX), X7

loop:
	VPXOR (SI), X7, X0
	VPXOR (DX), X7, X1
	VPMOVZXBD X0, Z0
	VPMOVZXBD X1, Z1
	VPSUBD Z11, Z0, Z0
	VPSUBD Z11, Z1, Z1
	VCVTDQ2PS Z0, Z0
	VCVTDQ2PS Z1, Z1
	VFMADD213PS Z10, Z9, Z1
	VFMADD213PS Z1, Z8, Z0
	VMAXPS Z13, Z0, Z0
	VMINPS Z14, Z0, Z0
	VCVTPS2DQ Z0, Z0
	VPMOVDB Z0, (DI)
	ADDQ $16, SI
	ADDQ $16, DX
	ADDQ $16, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func mapAVX512(n int, dst, x *uint8, table *[256]uint8)
TEXT ·mapAVX512(SB), NOSPLIT, $0-32
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ x+16(FP), SI
	MOVQ table+24(FP), DX
	VMOVDQU16 (DX), Z0
	VMOVDQU16 64(DX), Z1
	VMOVDQU16 128(DX), Z2
	VMOVDQU16 192(DX), Z3
	MOVL $1, AX
	VPBROADCASTW AX, Z7
	MOVL $128, AX
	VPBROADCASTW AX, Z8

loop:
	// The table is 128 words, of which one register of indices picks among 64. An odd code takes the upper byte of its word.
	VPMOVZXBW (SI), Z4
	VPSRLW $1, Z4, Z5
	VMOVDQA64 Z5, Z6
	VPERMI2W Z1, Z0, Z5
	VPERMI2W Z3, Z2, Z6
	VPTESTMW Z8, Z4, K1
	VMOVDQU16 Z6, K1, Z5
	VPTESTMW Z7, Z4, K2
	VPSRLW $8, Z5, K2, Z5
	VPMOVWB Z5, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
