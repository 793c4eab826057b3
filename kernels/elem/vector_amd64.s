#include "textflag.h"

DATA one<>+0(SB)/4, $1.0
GLOBL one<>(SB), RODATA|NOPTR, $4

// STORE writes Y0 and steps to the next block.
#define STORE(loop) \
	VMOVUPS Y0, (DI) \
	ADDQ R8, SI \
	ADDQ R9, DX \
	ADDQ $32, DI \
	DECQ CX \
	JNZ  loop \
	VZEROUPPER \
	RET

// func binaryAVX2(op operation, n int, dst, a, b *float32, stepA, stepB int)
TEXT ·binaryAVX2(SB), NOSPLIT, $0-56
	MOVQ op+0(FP), AX
	MOVQ n+8(FP), CX
	MOVQ dst+16(FP), DI
	MOVQ a+24(FP), SI
	MOVQ b+32(FP), DX
	MOVQ stepA+40(FP), R8
	MOVQ stepB+48(FP), R9
	CMPQ AX, $1
	JLT  add
	JEQ  sub
	CMPQ AX, $3
	JLT  mul
	JEQ  div
	CMPQ AX, $5
	JLT  max
	JMP  min

add:
	VMOVUPS (SI), Y0
	VADDPS (DX), Y0, Y0
	STORE(add)

sub:
	VMOVUPS (SI), Y0
	VSUBPS (DX), Y0, Y0
	STORE(sub)

mul:
	VMOVUPS (SI), Y0
	VMULPS (DX), Y0, Y0
	STORE(mul)

div:
	VMOVUPS (SI), Y0
	VDIVPS (DX), Y0, Y0
	STORE(div)

// The instructions return their second operand where both are zeros or one is NaN. Both ways together order the zeros; the
// sum is the NaN.
max:
	VMOVUPS (SI), Y1
	VMOVUPS (DX), Y2
	VMAXPS Y1, Y2, Y0
	VMAXPS Y2, Y1, Y3
	VANDPS Y3, Y0, Y0
	VADDPS Y1, Y2, Y3
	VCMPPS $3, Y1, Y2, Y4
	VBLENDVPS Y4, Y3, Y0, Y0
	STORE(max)

min:
	VMOVUPS (SI), Y1
	VMOVUPS (DX), Y2
	VMINPS Y1, Y2, Y0
	VMINPS Y2, Y1, Y3
	VORPS Y3, Y0, Y0
	VADDPS Y1, Y2, Y3
	VCMPPS $3, Y1, Y2, Y4
	VBLENDVPS Y4, Y3, Y0, Y0
	STORE(min)

// func clipAVX2(n int, dst, src *float32, lo, hi float32)
TEXT ·clipAVX2(SB), NOSPLIT, $0-32
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VBROADCASTSS lo+24(FP), Y1
	VBROADCASTSS hi+28(FP), Y2

loop:
	// x comes second in both, so that NaN and -0 stay.
	VMOVUPS (SI), Y0
	VMAXPS Y0, Y1, Y0
	VMINPS Y0, Y2, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func leakyReluAVX2(n int, dst, src *float32, alpha float32)
TEXT ·leakyReluAVX2(SB), NOSPLIT, $0-28
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VBROADCASTSS alpha+24(FP), Y1
	VXORPS Y2, Y2, Y2

loop:
	VMOVUPS (SI), Y0
	VMULPS Y1, Y0, Y3
	VCMPPS $1, Y2, Y0, Y4
	VBLENDVPS Y4, Y3, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func hardSigmoidAVX2(n int, dst, src *float32, alpha, beta float32, mask uint32)
TEXT ·hardSigmoidAVX2(SB), NOSPLIT, $0-36
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	VBROADCASTSS alpha+24(FP), Y1
	VBROADCASTSS beta+28(FP), Y2
	VBROADCASTSS mask+32(FP), Y3
	VBROADCASTSS one<>(SB), Y4
	VXORPS Y5, Y5, Y5

loop:
	VMOVUPS (SI), Y0
	VMULPS Y1, Y0, Y6
	VADDPS Y2, Y6, Y6
	VADDPS Y5, Y6, Y6 // no -0
	VMAXPS Y6, Y5, Y6
	VMINPS Y6, Y4, Y6
	VBLENDVPS Y3, Y0, Y4, Y0
	VMULPS Y6, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func magnitudeAVX2(n int, src *float32, lane *[8]uint32)
TEXT ·magnitudeAVX2(SB), NOSPLIT, $0-24
	MOVQ n+0(FP), CX
	MOVQ src+8(FP), SI
	MOVQ lane+16(FP), DI
	VPCMPEQD Y1, Y1, Y1
	VPSRLD $1, Y1, Y1
	VPXOR Y0, Y0, Y0

loop:
	VPAND (SI), Y1, Y2
	VPMAXUD Y2, Y0, Y0
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	VMOVDQU Y0, (DI)
	VZEROUPPER
	RET
