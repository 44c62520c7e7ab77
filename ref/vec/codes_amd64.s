//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// LINE_LOAD reads the fields of lineRows. From then on
//	DI: dst    SI: line    R8: scales    R9: minima
//	DX: rows to do    R11: size    R12: bits, the bytes of 8 codes
#define LINE_LOAD \
	MOVQ w+0(FP), AX;             \
	MOVQ lineRows_dst(AX), DI;    \
	MOVQ lineRows_line(AX), SI;   \
	MOVQ lineRows_scales(AX), R8; \
	MOVQ lineRows_minima(AX), R9; \
	MOVQ lineRows_rows(AX), DX;   \
	MOVQ lineRows_size(AX), R11;  \
	MOVQ lineRows_bits(AX), R12;  \
	MOVQ lineRows_table(AX), BX

// LINE_NEXT goes on to the next line: past its scales' minima, and the minima's scales.
#define LINE_NEXT \
	ADDQ lineRows_skip(AX), SI;   \
	MOVQ lineRows_groups(AX), R10; \
	LEAQ (R8)(R10*4), R8;         \
	LEAQ (R9)(R10*4), R9

// func readCodesAVX2(dst *float32, codes *byte, scales, minima *float32, n int, shift, mask uint32)
TEXT ·readCodesAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ scales+16(FP), R8
	MOVQ minima+24(FP), R9
	MOVQ n+32(FP), CX
	MOVL shift+40(FP), AX
	VMOVD AX, X14
	MOVL mask+44(FP), AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15
	XORQ BX, BX

codes256:
	VPMOVZXBD (SI)(BX*1), Y0
	VPSRLD    X14, Y0, Y0
	VPAND     Y15, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VMULPS    (R8)(BX*4), Y0, Y0
	VADDPS    (R9)(BX*4), Y0, Y0
	VMOVUPS   Y0, (DI)(BX*4)
	ADDQ      $8, BX
	CMPQ      BX, CX
	JLT       codes256
	VZEROUPPER
	RET

// func readCodesAVX512(dst *float32, codes *byte, scales, minima *float32, n int, shift, mask uint32, code *[16]float32)
//
// A permutation looks at the lowest 4 bits of each number alone: by a table of 16, of which every
// 2ᵇ are 0 to 2ᵇ − 1, it makes a float32 of a code, whatever is above it.
TEXT ·readCodesAVX512(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ scales+16(FP), R8
	MOVQ minima+24(FP), R9
	MOVQ n+32(FP), CX
	MOVL shift+40(FP), AX
	VMOVD AX, X14
	MOVQ code+48(FP), AX
	VMOVUPS (AX), Z15
	XORQ BX, BX

codes512:
	VPMOVZXBD (SI)(BX*1), Z0
	VPSRLD    X14, Z0, Z0
	VPERMPS   Z15, Z0, Z0
	VMULPS    (R8)(BX*4), Z0, Z0
	VADDPS    (R9)(BX*4), Z0, Z0
	VMOVUPS   Z0, (DI)(BX*4)
	ADDQ      $16, BX
	CMPQ      BX, CX
	JLT       codes512
	VZEROUPPER
	RET

// func readLinesAVX2(w *lineRows)
TEXT ·readLinesAVX2(SB), NOSPLIT, $0-8
	LINE_LOAD
	VMOVDQU lineTable_after(BX), Y14
	VPBROADCASTD lineRows_mask(AX), Y15

row256:
	MOVQ lineRows_groups(AX), R10

group256:
	VBROADCASTSS (R8), Y12
	VBROADCASTSS (R9), Y13
	MOVQ R11, CX

line256:
	VPBROADCASTD (SI), Y0
	VPSRLVD      Y14, Y0, Y0
	VPAND        Y15, Y0, Y0
	VCVTDQ2PS    Y0, Y0
	VMULPS       Y12, Y0, Y0
	VADDPS       Y13, Y0, Y0
	VMOVUPS      Y0, (DI)
	ADDQ         R12, SI
	ADDQ         $32, DI
	SUBQ         $8, CX
	JG           line256

	ADDQ $4, R8
	ADDQ $4, R9
	DECQ R10
	JNZ  group256
	LINE_NEXT
	DECQ DX
	JNZ  row256
	VZEROUPPER
	RET

// func readLinesAVX512(w *lineRows)
TEXT ·readLinesAVX512(SB), NOSPLIT, $0-8
	LINE_LOAD
	VMOVDQU32 lineTable_bytes(BX), Z11
	VMOVDQU32 lineTable_shifts(BX), Z14
	MOVQ lineRows_code(AX), BX
	VMOVUPS (BX), Z15

row512:
	MOVQ lineRows_groups(AX), R10

group512:
	VBROADCASTSS (R8), Z12
	VBROADCASTSS (R9), Z13
	MOVQ R11, CX

line512:
	VPBROADCASTQ (SI), Z0
	VPSHUFB      Z11, Z0, Z0
	VPSRLVD      Z14, Z0, Z0
	VPERMPS      Z15, Z0, Z0
	VMULPS       Z12, Z0, Z0
	VADDPS       Z13, Z0, Z0
	VMOVUPS      Z0, (DI)
	LEAQ         (SI)(R12*2), SI
	ADDQ         $64, DI
	SUBQ         $16, CX
	JG           line512

	ADDQ $4, R8
	ADDQ $4, R9
	DECQ R10
	JNZ  group512
	LINE_NEXT
	DECQ DX
	JNZ  row512
	VZEROUPPER
	RET
