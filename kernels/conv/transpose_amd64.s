#include "textflag.h"

// QUARTERS loads columns at+0 … at+3 of 8 rows, two rows a register, and stores them as 4 rows of dst from R12 on.
#define QUARTERS(at) \
	VMOVUPS at(SI), X0 \
	VMOVUPS at(SI)(R8*1), X1 \
	VMOVUPS at(SI)(R8*2), X2 \
	VMOVUPS at(SI)(R9*1), X3 \
	VINSERTF128 $1, at(R10), Y0, Y0 \
	VINSERTF128 $1, at(R10)(R8*1), Y1, Y1 \
	VINSERTF128 $1, at(R10)(R8*2), Y2, Y2 \
	VINSERTF128 $1, at(R10)(R9*1), Y3, Y3 \
	VUNPCKLPS Y1, Y0, Y4 \
	VUNPCKHPS Y1, Y0, Y5 \
	VUNPCKLPS Y3, Y2, Y6 \
	VUNPCKHPS Y3, Y2, Y7 \
	VUNPCKLPD Y6, Y4, Y0 \
	VUNPCKHPD Y6, Y4, Y1 \
	VUNPCKLPD Y7, Y5, Y2 \
	VUNPCKHPD Y7, Y5, Y3 \
	VMOVUPS Y0, (R12) \
	VMOVUPS Y1, (R12)(DX*1) \
	VMOVUPS Y2, (R12)(DX*2) \
	VMOVUPS Y3, (R12)(R11*1)

// func transposeAVX2(n int, dst, src unsafe.Pointer, strideDst, strideSrc int)
TEXT ·transposeAVX2(SB), NOSPLIT, $0-40
	MOVQ n+0(FP), CX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ strideDst+24(FP), DX
	MOVQ strideSrc+32(FP), R8
	LEAQ (R8)(R8*2), R9
	LEAQ (DX)(DX*2), R11

loop:
	LEAQ (SI)(R8*4), R10
	MOVQ DI, R12
	QUARTERS(0)
	LEAQ (DI)(DX*4), R12
	QUARTERS(16)
	LEAQ (SI)(R8*8), SI
	ADDQ $32, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
