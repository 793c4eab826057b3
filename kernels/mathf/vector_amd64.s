#include "textflag.h"

// The numbers of the loops but the polynomials'.
DATA least<>+0(SB)/4, $-105.0
DATA greatest<>+0(SB)/4, $89.0
DATA log2e<>+0(SB)/4, $1.44269504088896341
DATA roundMagic<>+0(SB)/4, $12582912.0
DATA one<>+0(SB)/4, $1.0
DATA half<>+0(SB)/4, $0.5
DATA tanhGreatest<>+0(SB)/4, $9.0
DATA sigmoidGreatest<>+0(SB)/4, $18.0
DATA erfGreatest<>+0(SB)/4, $3.925
DATA erfSplit<>+0(SB)/4, $0.921875
GLOBL least<>(SB), RODATA|NOPTR, $4
GLOBL greatest<>(SB), RODATA|NOPTR, $4
GLOBL log2e<>(SB), RODATA|NOPTR, $4
GLOBL roundMagic<>(SB), RODATA|NOPTR, $4
GLOBL one<>(SB), RODATA|NOPTR, $4
GLOBL half<>(SB), RODATA|NOPTR, $4
GLOBL tanhGreatest<>(SB), RODATA|NOPTR, $4
GLOBL sigmoidGreatest<>(SB), RODATA|NOPTR, $4
GLOBL erfGreatest<>(SB), RODATA|NOPTR, $4
GLOBL erfSplit<>(SB), RODATA|NOPTR, $4

// TERM is p = p·x + c, rounded once. It spoils Y3.
#define TERM(c, x, p) \
	VBROADCASTSS c(SB), Y3 \
	VFMADD213PS Y3, x, p

// EXP and ERFEXP turn Y0 to e^Y0 by their polynomials and spoil Y1 to Y3. Y13 is roundMagic, Y12 is 1. 2^k is two factors, so that
// only the last product may round, overflow or underflow.
#define EXP \
	VBROADCASTSS log2e<>(SB), Y1 \
	VFMADD213PS Y13, Y0, Y1 \
	VSUBPS Y13, Y1, Y1 \
	VBROADCASTSS ·expReduction+0(SB), Y2 \
	VFMADD231PS Y2, Y1, Y0 \
	VBROADCASTSS ·expReduction+4(SB), Y2 \
	VFMADD231PS Y2, Y1, Y0 \
	VBROADCASTSS ·expPolynomial+0(SB), Y2 \
	TERM(·expPolynomial+4, Y0, Y2) \
	TERM(·expPolynomial+8, Y0, Y2) \
	TERM(·expPolynomial+12, Y0, Y2) \
	TERM(·expPolynomial+16, Y0, Y2) \
	VFMADD213PS Y12, Y0, Y2 \
	VFMADD213PS Y12, Y0, Y2 \
	VCVTPS2DQ Y1, Y1 \
	VPSRAD $1, Y1, Y3 \
	VPSUBD Y3, Y1, Y1 \
	VPSLLD $23, Y3, Y3 \
	VPSLLD $23, Y1, Y1 \
	VPADDD Y12, Y3, Y3 \
	VPADDD Y12, Y1, Y1 \
	VMULPS Y3, Y2, Y0 \
	VMULPS Y1, Y0, Y0

#define ERFEXP \
	VBROADCASTSS log2e<>(SB), Y1 \
	VFMADD213PS Y13, Y0, Y1 \
	VSUBPS Y13, Y1, Y1 \
	VBROADCASTSS ·expReduction+0(SB), Y2 \
	VFMADD231PS Y2, Y1, Y0 \
	VBROADCASTSS ·expReduction+4(SB), Y2 \
	VFMADD231PS Y2, Y1, Y0 \
	VBROADCASTSS ·erfExpPolynomial+0(SB), Y2 \
	TERM(·erfExpPolynomial+4, Y0, Y2) \
	TERM(·erfExpPolynomial+8, Y0, Y2) \
	TERM(·erfExpPolynomial+12, Y0, Y2) \
	TERM(·erfExpPolynomial+16, Y0, Y2) \
	VFMADD213PS Y12, Y0, Y2 \
	VFMADD213PS Y12, Y0, Y2 \
	VCVTPS2DQ Y1, Y1 \
	VPSRAD $1, Y1, Y3 \
	VPSUBD Y3, Y1, Y1 \
	VPSLLD $23, Y3, Y3 \
	VPSLLD $23, Y1, Y1 \
	VPADDD Y12, Y3, Y3 \
	VPADDD Y12, Y1, Y1 \
	VMULPS Y3, Y2, Y0 \
	VMULPS Y1, Y0, Y0

// func expAVX2(n int, dst, src *float32)
TEXT ·expAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VBROADCASTSS least<>(SB), Y15
	VBROADCASTSS greatest<>(SB), Y14
	VBROADCASTSS roundMagic<>(SB), Y13
	VBROADCASTSS one<>(SB), Y12

loop:
	VMOVUPS (SI), Y0
	// The limits come first in their comparisons: a NaN stays.
	VMAXPS Y0, Y15, Y0
	VMINPS Y0, Y14, Y0
	EXP
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func sigmoidAVX2(n int, dst, src *float32)
TEXT ·sigmoidAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VPCMPEQD Y11, Y11, Y11
	VPSLLD $31, Y11, Y11
	VBROADCASTSS sigmoidGreatest<>(SB), Y14
	VXORPS Y11, Y14, Y15
	VBROADCASTSS one<>(SB), Y12
	VBROADCASTSS half<>(SB), Y10
	VXORPS Y9, Y9, Y9

loop:
	VMOVUPS (SI), Y0
	VMAXPS Y0, Y15, Y0
	VMINPS Y0, Y14, Y0
	VMULPS Y0, Y0, Y1
	VBROADCASTSS ·sigmoidNumerator+0(SB), Y2
	TERM(·sigmoidNumerator+4, Y1, Y2)
	TERM(·sigmoidNumerator+8, Y1, Y2)
	TERM(·sigmoidNumerator+12, Y1, Y2)
	TERM(·sigmoidNumerator+16, Y1, Y2)
	VMULPS Y0, Y2, Y0
	VBROADCASTSS ·sigmoidDenominator+0(SB), Y2
	TERM(·sigmoidDenominator+4, Y1, Y2)
	TERM(·sigmoidDenominator+8, Y1, Y2)
	TERM(·sigmoidDenominator+12, Y1, Y2)
	TERM(·sigmoidDenominator+16, Y1, Y2)
	TERM(·sigmoidDenominator+20, Y1, Y2)
	VDIVPS Y2, Y0, Y0
	VADDPS Y10, Y0, Y0
	VMAXPS Y0, Y9, Y0
	VMINPS Y0, Y12, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func tanhAVX2(n int, dst, src *float32)
TEXT ·tanhAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VPCMPEQD Y11, Y11, Y11
	VPSLLD $31, Y11, Y11
	VBROADCASTSS tanhGreatest<>(SB), Y14
	VXORPS Y11, Y14, Y15

loop:
	VMOVUPS (SI), Y0
	VMAXPS Y0, Y15, Y0
	VMINPS Y0, Y14, Y0
	VMULPS Y0, Y0, Y1
	VBROADCASTSS ·tanhNumerator+0(SB), Y2
	TERM(·tanhNumerator+4, Y1, Y2)
	TERM(·tanhNumerator+8, Y1, Y2)
	TERM(·tanhNumerator+12, Y1, Y2)
	TERM(·tanhNumerator+16, Y1, Y2)
	TERM(·tanhNumerator+20, Y1, Y2)
	TERM(·tanhNumerator+24, Y1, Y2)
	VMULPS Y0, Y2, Y0
	VBROADCASTSS ·tanhDenominator+0(SB), Y2
	TERM(·tanhDenominator+4, Y1, Y2)
	TERM(·tanhDenominator+8, Y1, Y2)
	TERM(·tanhDenominator+12, Y1, Y2)
	VDIVPS Y2, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func erfAVX2(n int, dst, src *float32)
TEXT ·erfAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VPCMPEQD Y11, Y11, Y11
	VPSLLD $31, Y11, Y11
	VBROADCASTSS roundMagic<>(SB), Y13
	VBROADCASTSS one<>(SB), Y12
	VBROADCASTSS erfGreatest<>(SB), Y14
	VBROADCASTSS erfSplit<>(SB), Y10

loop:
	VMOVUPS (SI), Y8
	VANDNPS Y8, Y11, Y7 // |x|
	VANDPS Y11, Y8, Y8 // the sign
	VMINPS Y7, Y14, Y7
	VCMPPS $2, Y7, Y10, Y6 // split ≤ |x|

	VBROADCASTSS ·logErfcPolynomial+0(SB), Y0
	TERM(·logErfcPolynomial+4, Y7, Y0)
	TERM(·logErfcPolynomial+8, Y7, Y0)
	TERM(·logErfcPolynomial+12, Y7, Y0)
	TERM(·logErfcPolynomial+16, Y7, Y0)
	TERM(·logErfcPolynomial+20, Y7, Y0)
	TERM(·logErfcPolynomial+24, Y7, Y0)
	VFNMSUB213PS Y7, Y7, Y0
	ERFEXP
	VSUBPS Y0, Y12, Y0

	VMULPS Y7, Y7, Y4
	VBROADCASTSS ·erfPolynomial+0(SB), Y5
	TERM(·erfPolynomial+4, Y4, Y5)
	TERM(·erfPolynomial+8, Y4, Y5)
	TERM(·erfPolynomial+12, Y4, Y5)
	TERM(·erfPolynomial+16, Y4, Y5)
	TERM(·erfPolynomial+20, Y4, Y5)
	VFMADD213PS Y7, Y7, Y5

	VBLENDVPS Y6, Y0, Y5, Y5
	VORPS Y8, Y5, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func sqrtAVX2(n int, dst, src *float32)
TEXT ·sqrtAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI

loop:
	VSQRTPS (SI), Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// TERM512 is TERM without a register for c.
#define TERM512(c, x, p) \
	VFMADD213PS.BCST c(SB), x, p

// VSCALEFPS multiplies by 2^k with one rounding.
#define EXP512 \
	VBROADCASTSS log2e<>(SB), Z1 \
	VFMADD213PS Z13, Z0, Z1 \
	VSUBPS Z13, Z1, Z1 \
	VFMADD231PS.BCST ·expReduction+0(SB), Z1, Z0 \
	VFMADD231PS.BCST ·expReduction+4(SB), Z1, Z0 \
	VBROADCASTSS ·expPolynomial+0(SB), Z2 \
	TERM512(·expPolynomial+4, Z0, Z2) \
	TERM512(·expPolynomial+8, Z0, Z2) \
	TERM512(·expPolynomial+12, Z0, Z2) \
	TERM512(·expPolynomial+16, Z0, Z2) \
	VFMADD213PS Z12, Z0, Z2 \
	VFMADD213PS Z12, Z0, Z2 \
	VSCALEFPS Z1, Z2, Z0

#define ERFEXP512 \
	VBROADCASTSS log2e<>(SB), Z1 \
	VFMADD213PS Z13, Z0, Z1 \
	VSUBPS Z13, Z1, Z1 \
	VFMADD231PS.BCST ·expReduction+0(SB), Z1, Z0 \
	VFMADD231PS.BCST ·expReduction+4(SB), Z1, Z0 \
	VBROADCASTSS ·erfExpPolynomial+0(SB), Z2 \
	TERM512(·erfExpPolynomial+4, Z0, Z2) \
	TERM512(·erfExpPolynomial+8, Z0, Z2) \
	TERM512(·erfExpPolynomial+12, Z0, Z2) \
	TERM512(·erfExpPolynomial+16, Z0, Z2) \
	VFMADD213PS Z12, Z0, Z2 \
	VFMADD213PS Z12, Z0, Z2 \
	VSCALEFPS Z1, Z2, Z0

// func expAVX512(n int, dst, src *float32)
TEXT ·expAVX512(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VBROADCASTSS least<>(SB), Z15
	VBROADCASTSS greatest<>(SB), Z14
	VBROADCASTSS roundMagic<>(SB), Z13
	VBROADCASTSS one<>(SB), Z12

loop:
	VMOVUPS (SI), Z0
	// The limits come first in their comparisons: a NaN stays.
	VMAXPS Z0, Z15, Z0
	VMINPS Z0, Z14, Z0
	EXP512
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func sigmoidAVX512(n int, dst, src *float32)
TEXT ·sigmoidAVX512(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VPTERNLOGD $255, Z11, Z11, Z11
	VPSLLD $31, Z11, Z11
	VBROADCASTSS sigmoidGreatest<>(SB), Z14
	VPXORD Z11, Z14, Z15
	VBROADCASTSS one<>(SB), Z12
	VBROADCASTSS half<>(SB), Z10
	VPXORD Z9, Z9, Z9

loop:
	VMOVUPS (SI), Z0
	VMAXPS Z0, Z15, Z0
	VMINPS Z0, Z14, Z0
	VMULPS Z0, Z0, Z1
	VBROADCASTSS ·sigmoidNumerator+0(SB), Z2
	TERM512(·sigmoidNumerator+4, Z1, Z2)
	TERM512(·sigmoidNumerator+8, Z1, Z2)
	TERM512(·sigmoidNumerator+12, Z1, Z2)
	TERM512(·sigmoidNumerator+16, Z1, Z2)
	VMULPS Z0, Z2, Z0
	VBROADCASTSS ·sigmoidDenominator+0(SB), Z2
	TERM512(·sigmoidDenominator+4, Z1, Z2)
	TERM512(·sigmoidDenominator+8, Z1, Z2)
	TERM512(·sigmoidDenominator+12, Z1, Z2)
	TERM512(·sigmoidDenominator+16, Z1, Z2)
	TERM512(·sigmoidDenominator+20, Z1, Z2)
	VDIVPS Z2, Z0, Z0
	VADDPS Z10, Z0, Z0
	VMAXPS Z0, Z9, Z0
	VMINPS Z0, Z12, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func tanhAVX512(n int, dst, src *float32)
TEXT ·tanhAVX512(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VPTERNLOGD $255, Z11, Z11, Z11
	VPSLLD $31, Z11, Z11
	VBROADCASTSS tanhGreatest<>(SB), Z14
	VPXORD Z11, Z14, Z15

loop:
	VMOVUPS (SI), Z0
	VMAXPS Z0, Z15, Z0
	VMINPS Z0, Z14, Z0
	VMULPS Z0, Z0, Z1
	VBROADCASTSS ·tanhNumerator+0(SB), Z2
	TERM512(·tanhNumerator+4, Z1, Z2)
	TERM512(·tanhNumerator+8, Z1, Z2)
	TERM512(·tanhNumerator+12, Z1, Z2)
	TERM512(·tanhNumerator+16, Z1, Z2)
	TERM512(·tanhNumerator+20, Z1, Z2)
	TERM512(·tanhNumerator+24, Z1, Z2)
	VMULPS Z0, Z2, Z0
	VBROADCASTSS ·tanhDenominator+0(SB), Z2
	TERM512(·tanhDenominator+4, Z1, Z2)
	TERM512(·tanhDenominator+8, Z1, Z2)
	TERM512(·tanhDenominator+12, Z1, Z2)
	VDIVPS Z2, Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func erfAVX512(n int, dst, src *float32)
TEXT ·erfAVX512(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VPTERNLOGD $255, Z11, Z11, Z11
	VPSLLD $31, Z11, Z11
	VBROADCASTSS roundMagic<>(SB), Z13
	VBROADCASTSS one<>(SB), Z12
	VBROADCASTSS erfGreatest<>(SB), Z14
	VBROADCASTSS erfSplit<>(SB), Z10

loop:
	VMOVUPS (SI), Z8
	VANDNPS Z8, Z11, Z7 // |x|
	VANDPS Z11, Z8, Z8 // the sign
	VMINPS Z7, Z14, Z7
	VCMPPS $2, Z7, Z10, K1 // split ≤ |x|

	VBROADCASTSS ·logErfcPolynomial+0(SB), Z0
	TERM512(·logErfcPolynomial+4, Z7, Z0)
	TERM512(·logErfcPolynomial+8, Z7, Z0)
	TERM512(·logErfcPolynomial+12, Z7, Z0)
	TERM512(·logErfcPolynomial+16, Z7, Z0)
	TERM512(·logErfcPolynomial+20, Z7, Z0)
	TERM512(·logErfcPolynomial+24, Z7, Z0)
	VFNMSUB213PS Z7, Z7, Z0
	ERFEXP512
	VSUBPS Z0, Z12, Z0

	VMULPS Z7, Z7, Z4
	VBROADCASTSS ·erfPolynomial+0(SB), Z5
	TERM512(·erfPolynomial+4, Z4, Z5)
	TERM512(·erfPolynomial+8, Z4, Z5)
	TERM512(·erfPolynomial+12, Z4, Z5)
	TERM512(·erfPolynomial+16, Z4, Z5)
	TERM512(·erfPolynomial+20, Z4, Z5)
	VFMADD213PS Z7, Z7, Z5

	VMOVAPS Z0, K1, Z5
	VORPS Z8, Z5, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
