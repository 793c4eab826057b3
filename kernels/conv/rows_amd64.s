#include "textflag.h"

// NEXT goes on to the next row.
#define NEXT(loop) \
	ADDQ R8, DI \
	ADDQ R9, SI \
	DECQ CX \
	JNZ  loop

// func copyRowsAVX2(n, size int, dst unsafe.Pointer, ldDst int, src unsafe.Pointer, ldSrc int)
//
// The last bytes of a row are copied by a move that ends where the row ends, and may overlap the one before.
TEXT ·copyRowsAVX2(SB), NOSPLIT, $0-48
	MOVQ n+0(FP), CX
	MOVQ size+8(FP), DX
	MOVQ dst+16(FP), DI
	MOVQ ldDst+24(FP), R8
	MOVQ src+32(FP), SI
	MOVQ ldSrc+40(FP), R9
	CMPQ DX, $8
	JLT  four
	CMPQ DX, $16
	JLT  eight
	CMPQ DX, $32
	JLT  sixteen
	CMPQ DX, $64
	JLE  thirtyTwo
	LEAQ -32(DX), R11

row:
	XORL R10, R10

chunk:
	VMOVDQU (SI)(R10*1), Y0
	VMOVDQU Y0, (DI)(R10*1)
	ADDQ $32, R10
	CMPQ R10, R11
	JLT  chunk
	VMOVDQU (SI)(R11*1), Y0
	VMOVDQU Y0, (DI)(R11*1)
	NEXT(row)
	VZEROUPPER
	RET

thirtyTwo:
	VMOVDQU (SI), Y0
	VMOVDQU -32(SI)(DX*1), Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, -32(DI)(DX*1)
	NEXT(thirtyTwo)
	VZEROUPPER
	RET

sixteen:
	VMOVDQU (SI), X0
	VMOVDQU -16(SI)(DX*1), X1
	VMOVDQU X0, (DI)
	VMOVDQU X1, -16(DI)(DX*1)
	NEXT(sixteen)
	RET

eight:
	MOVQ (SI), AX
	MOVQ -8(SI)(DX*1), BX
	MOVQ AX, (DI)
	MOVQ BX, -8(DI)(DX*1)
	NEXT(eight)
	RET

four:
	MOVL (SI), AX
	MOVL -4(SI)(DX*1), BX
	MOVL AX, (DI)
	MOVL BX, -4(DI)(DX*1)
	NEXT(four)
	RET
