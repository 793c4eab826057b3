#include "textflag.h"

// The numbers of the loops but the polynomials'. Limits of exp's argument: beyond them the result is 0 or infinite.
DATA least<>+0(SB)/4, $-105.0
DATA greatest<>+0(SB)/4, $89.0
DATA log2e<>+0(SB)/4, $1.44269504088896341
DATA roundMagic<>+0(SB)/4, $12582912.0
DATA ln2High<>+0(SB)/4, $0.693359375
DATA ln2Low<>+0(SB)/4, $-2.12194440e-4
DATA one<>+0(SB)/4, $1.0
DATA two<>+0(SB)/4, $2.0
DATA four<>+0(SB)/4, $4.0
DATA tanhSplit<>+0(SB)/4, $0.625
GLOBL least<>(SB), RODATA|NOPTR, $4
GLOBL greatest<>(SB), RODATA|NOPTR, $4
GLOBL log2e<>(SB), RODATA|NOPTR, $4
GLOBL roundMagic<>(SB), RODATA|NOPTR, $4
GLOBL ln2High<>(SB), RODATA|NOPTR, $4
GLOBL ln2Low<>(SB), RODATA|NOPTR, $4
GLOBL one<>(SB), RODATA|NOPTR, $4
GLOBL two<>(SB), RODATA|NOPTR, $4
GLOBL four<>(SB), RODATA|NOPTR, $4
GLOBL tanhSplit<>(SB), RODATA|NOPTR, $4

// CONSTANTS sets the registers of all loops: the limits, roundMagic, 1, and sign bits.
#define CONSTANTS \
	VBROADCASTSS least<>(SB), Y15 \
	VBROADCASTSS greatest<>(SB), Y14 \
	VBROADCASTSS roundMagic<>(SB), Y13 \
	VBROADCASTSS one<>(SB), Y12 \
	VPCMPEQD Y11, Y11, Y11 \
	VPSLLD $31, Y11, Y11

// TERM is p = p·x + c.
#define TERM(c, x, p) \
	VMULPS x, p, p \
	VBROADCASTSS c(SB), Y3 \
	VADDPS Y3, p, p

// EXP turns Y0 to e^Y0 and spoils Y1 to Y3. 2^k is two factors, so that only the last product may round, overflow or
// underflow. The limits come first in their comparisons: a NaN stays.
#define EXP \
	VMAXPS Y0, Y15, Y0 \
	VMINPS Y0, Y14, Y0 \
	VBROADCASTSS log2e<>(SB), Y1 \
	VMULPS Y1, Y0, Y1 \
	VADDPS Y13, Y1, Y1 \
	VSUBPS Y13, Y1, Y1 \
	VBROADCASTSS ln2High<>(SB), Y2 \
	VMULPS Y2, Y1, Y2 \
	VSUBPS Y2, Y0, Y0 \
	VBROADCASTSS ln2Low<>(SB), Y2 \
	VMULPS Y2, Y1, Y2 \
	VSUBPS Y2, Y0, Y0 \
	VCVTPS2DQ Y1, Y1 \
	VBROADCASTSS ·expPolynomial+0(SB), Y2 \
	TERM(·expPolynomial+4, Y0, Y2) \
	TERM(·expPolynomial+8, Y0, Y2) \
	TERM(·expPolynomial+12, Y0, Y2) \
	TERM(·expPolynomial+16, Y0, Y2) \
	TERM(·expPolynomial+20, Y0, Y2) \
	VMULPS Y0, Y2, Y2 \
	VMULPS Y0, Y2, Y2 \
	VADDPS Y0, Y2, Y2 \
	VADDPS Y12, Y2, Y2 \
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
	CONSTANTS

loop:
	VMOVUPS (SI), Y0
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
	CONSTANTS
	VXORPS Y10, Y10, Y10

loop:
	VMOVUPS (SI), Y0
	VCMPPS $13, Y10, Y0, Y4 // x ≥ 0
	VANDPS Y11, Y4, Y5
	VXORPS Y5, Y0, Y0 // −|x|; a NaN keeps its sign
	EXP
	VADDPS Y0, Y12, Y1
	VBLENDVPS Y4, Y12, Y0, Y0
	VDIVPS Y1, Y0, Y0
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
	CONSTANTS
	VBROADCASTSS tanhSplit<>(SB), Y10
	VBROADCASTSS two<>(SB), Y9

loop:
	VMOVUPS (SI), Y8
	VANDNPS Y8, Y11, Y7 // |x|
	VANDPS Y11, Y8, Y8 // the sign
	VCMPPS $1, Y10, Y7, Y6 // |x| < 0.625

	// 1 − 2/(e^2|x| + 1); beyond 9.02 that is 1.
	VADDPS Y7, Y7, Y0
	EXP
	VADDPS Y12, Y0, Y0
	VDIVPS Y0, Y9, Y0
	VSUBPS Y0, Y12, Y0

	VMULPS Y7, Y7, Y4
	VBROADCASTSS ·tanhPolynomial+0(SB), Y5
	TERM(·tanhPolynomial+4, Y4, Y5)
	TERM(·tanhPolynomial+8, Y4, Y5)
	TERM(·tanhPolynomial+12, Y4, Y5)
	TERM(·tanhPolynomial+16, Y4, Y5)
	VMULPS Y4, Y5, Y5
	VMULPS Y7, Y5, Y5
	VADDPS Y7, Y5, Y5

	VBLENDVPS Y6, Y5, Y0, Y0
	VANDNPS Y0, Y11, Y0
	VORPS Y8, Y0, Y0
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
	CONSTANTS
	VBROADCASTSS four<>(SB), Y10

loop:
	VMOVUPS (SI), Y8
	VANDNPS Y8, Y11, Y7 // |x|
	VCMPPS $1, Y12, Y7, Y6 // |x| < 1

	// 1 − e^p; at 4 and beyond that is 1.
	VMINPS Y7, Y10, Y7
	VBROADCASTSS ·logErfcPolynomial+0(SB), Y0
	TERM(·logErfcPolynomial+4, Y7, Y0)
	TERM(·logErfcPolynomial+8, Y7, Y0)
	TERM(·logErfcPolynomial+12, Y7, Y0)
	TERM(·logErfcPolynomial+16, Y7, Y0)
	TERM(·logErfcPolynomial+20, Y7, Y0)
	TERM(·logErfcPolynomial+24, Y7, Y0)
	TERM(·logErfcPolynomial+28, Y7, Y0)
	EXP
	VSUBPS Y0, Y12, Y0
	VANDNPS Y0, Y11, Y0
	VANDPS Y11, Y8, Y1
	VORPS Y1, Y0, Y0

	VMULPS Y8, Y8, Y4
	VBROADCASTSS ·erfPolynomial+0(SB), Y5
	TERM(·erfPolynomial+4, Y4, Y5)
	TERM(·erfPolynomial+8, Y4, Y5)
	TERM(·erfPolynomial+12, Y4, Y5)
	TERM(·erfPolynomial+16, Y4, Y5)
	TERM(·erfPolynomial+20, Y4, Y5)
	TERM(·erfPolynomial+24, Y4, Y5)
	TERM(·erfPolynomial+28, Y4, Y5)
	VMULPS Y8, Y5, Y5
	VADDPS Y8, Y5, Y5

	VBLENDVPS Y6, Y5, Y0, Y0
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

#define CONSTANTS512 \
	VBROADCASTSS least<>(SB), Z15 \
	VBROADCASTSS greatest<>(SB), Z14 \
	VBROADCASTSS roundMagic<>(SB), Z13 \
	VBROADCASTSS one<>(SB), Z12 \
	VPTERNLOGD $255, Z11, Z11, Z11 \
	VPSLLD $31, Z11, Z11 \
	VBROADCASTSS log2e<>(SB), Z16 \
	VBROADCASTSS ln2High<>(SB), Z17 \
	VBROADCASTSS ln2Low<>(SB), Z18 \
	VBROADCASTSS ·expPolynomial+0(SB), Z19 \
	VBROADCASTSS ·expPolynomial+4(SB), Z20 \
	VBROADCASTSS ·expPolynomial+8(SB), Z21 \
	VBROADCASTSS ·expPolynomial+12(SB), Z22 \
	VBROADCASTSS ·expPolynomial+16(SB), Z23 \
	VBROADCASTSS ·expPolynomial+20(SB), Z24

#define TERM512(c, x, p) \
	VMULPS x, p, p \
	VADDPS.BCST c(SB), p, p

// EXP512 turns Z0 to e^Z0 and spoils Z1 and Z2, like EXP. VSCALEFPS multiplies by 2^k with one rounding.
#define EXP512 \
	VMAXPS Z0, Z15, Z0 \
	VMINPS Z0, Z14, Z0 \
	VMULPS Z16, Z0, Z1 \
	VADDPS Z13, Z1, Z1 \
	VSUBPS Z13, Z1, Z1 \
	VMULPS Z17, Z1, Z2 \
	VSUBPS Z2, Z0, Z0 \
	VMULPS Z18, Z1, Z2 \
	VSUBPS Z2, Z0, Z0 \
	VMULPS Z19, Z0, Z2 \
	VADDPS Z20, Z2, Z2 \
	VMULPS Z0, Z2, Z2 \
	VADDPS Z21, Z2, Z2 \
	VMULPS Z0, Z2, Z2 \
	VADDPS Z22, Z2, Z2 \
	VMULPS Z0, Z2, Z2 \
	VADDPS Z23, Z2, Z2 \
	VMULPS Z0, Z2, Z2 \
	VADDPS Z24, Z2, Z2 \
	VMULPS Z0, Z2, Z2 \
	VMULPS Z0, Z2, Z2 \
	VADDPS Z0, Z2, Z2 \
	VADDPS Z12, Z2, Z2 \
	VSCALEFPS Z1, Z2, Z0

// func expAVX512(n int, dst, src *float32)
TEXT ·expAVX512(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	CONSTANTS512

loop:
	VMOVUPS (SI), Z0
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
	CONSTANTS512
	VPXORD Z10, Z10, Z10

loop:
	VMOVUPS (SI), Z0
	VCMPPS $13, Z10, Z0, K1 // x ≥ 0
	VXORPS Z11, Z0, K1, Z0 // −|x|; a NaN keeps its sign
	EXP512
	VADDPS Z0, Z12, Z1
	VMOVAPS Z12, K1, Z0
	VDIVPS Z1, Z0, Z0
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
	CONSTANTS512
	VBROADCASTSS tanhSplit<>(SB), Z10
	VBROADCASTSS two<>(SB), Z9

loop:
	VMOVUPS (SI), Z8
	VANDNPS Z8, Z11, Z7 // |x|
	VANDPS Z11, Z8, Z8 // the sign
	VCMPPS $1, Z10, Z7, K1 // |x| < 0.625

	// 1 − 2/(e^2|x| + 1); beyond 9.02 that is 1.
	VADDPS Z7, Z7, Z0
	EXP512
	VADDPS Z12, Z0, Z0
	VDIVPS Z0, Z9, Z0
	VSUBPS Z0, Z12, Z0

	VMULPS Z7, Z7, Z4
	VBROADCASTSS ·tanhPolynomial+0(SB), Z5
	TERM512(·tanhPolynomial+4, Z4, Z5)
	TERM512(·tanhPolynomial+8, Z4, Z5)
	TERM512(·tanhPolynomial+12, Z4, Z5)
	TERM512(·tanhPolynomial+16, Z4, Z5)
	VMULPS Z4, Z5, Z5
	VMULPS Z7, Z5, Z5
	VADDPS Z7, Z5, K1, Z0

	VANDNPS Z0, Z11, Z0
	VORPS Z8, Z0, Z0
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
	CONSTANTS512
	VBROADCASTSS four<>(SB), Z10

loop:
	VMOVUPS (SI), Z8
	VANDNPS Z8, Z11, Z7 // |x|
	VCMPPS $1, Z12, Z7, K1 // |x| < 1

	// 1 − e^p; at 4 and beyond that is 1.
	VMINPS Z7, Z10, Z7
	VBROADCASTSS ·logErfcPolynomial+0(SB), Z0
	TERM512(·logErfcPolynomial+4, Z7, Z0)
	TERM512(·logErfcPolynomial+8, Z7, Z0)
	TERM512(·logErfcPolynomial+12, Z7, Z0)
	TERM512(·logErfcPolynomial+16, Z7, Z0)
	TERM512(·logErfcPolynomial+20, Z7, Z0)
	TERM512(·logErfcPolynomial+24, Z7, Z0)
	TERM512(·logErfcPolynomial+28, Z7, Z0)
	EXP512
	VSUBPS Z0, Z12, Z0
	VANDNPS Z0, Z11, Z0
	VANDPS Z11, Z8, Z1
	VORPS Z1, Z0, Z0

	VMULPS Z8, Z8, Z4
	VBROADCASTSS ·erfPolynomial+0(SB), Z5
	TERM512(·erfPolynomial+4, Z4, Z5)
	TERM512(·erfPolynomial+8, Z4, Z5)
	TERM512(·erfPolynomial+12, Z4, Z5)
	TERM512(·erfPolynomial+16, Z4, Z5)
	TERM512(·erfPolynomial+20, Z4, Z5)
	TERM512(·erfPolynomial+24, Z4, Z5)
	TERM512(·erfPolynomial+28, Z4, Z5)
	VMULPS Z8, Z5, Z5
	VADDPS Z8, Z5, K1, Z0

	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
