//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// LINE_LOAD loads the fields of lineRows. Registers:
//	DI: dst    SI: line    R8: scales    R9: minima
//	DX: rows left    R11: size    R12: bits, which is also the bytes of 8 codes
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

// LINE_NEXT advances to the next line. R8 and R9 have passed the line's scales and minima: one more group of
// each follows.
#define LINE_NEXT \
	ADDQ lineRows_skip(AX), SI;   \
	MOVQ lineRows_groups(AX), R10; \
	LEAQ (R8)(R10*4), R8;         \
	LEAQ (R9)(R10*4), R9

// CHANNEL_LOAD loads the fields of channelRows. Registers:
//	DI, SI: dst and codes of the current columns    R8, R9: scales, minima
//	R10: bytes of a period    R11: d    R12: bytes of a row of dst    R13: columns left
#define CHANNEL_LOAD \
	MOVQ w+0(FP), AX;                \
	MOVQ channelRows_scales(AX), R8; \
	MOVQ channelRows_minima(AX), R9; \
	MOVQ channelRows_period(AX), R10; \
	MOVQ channelRows_d(AX), R11;     \
	LEAQ (R11*4), R12;               \
	MOVQ channelRows_columns(AX), R13; \
	MOVQ channelRows_dst(AX), R14;   \
	MOVQ channelRows_codes(AX), R15

// CHANNEL_FIRST starts a group of columns. CX: rows in the first period, DX: rows left after it.
#define CHANNEL_FIRST \
	MOVQ R14, DI;                    \
	MOVQ R15, SI;                    \
	MOVQ channelRows_rows(AX), DX;   \
	MOVQ channelRows_inFirst(AX), CX; \
	SUBQ CX, DX

// CHANNEL_PERIOD loads the bits of a period into V.
#define CHANNEL_PERIOD(V, T, done) \
	VPMOVZXBD (SI), V;  \
	ADDQ      R11, SI;  \
	CMPQ      R10, $1;  \
	JEQ       done;     \
	VPMOVZXBD (SI), T;  \
	VPSLLD    $8, T, T; \
	VORPS     T, V, V;  \
	ADDQ      R11, SI;  \
	VPMOVZXBD (SI), T;  \
	VPSLLD    $16, T, T; \
	VORPS     T, V, V;  \
	ADDQ      R11, SI

// CHANNEL_PERIOD2 does the same for two vectors.
#define CHANNEL_PERIOD2(V, W, T, done) \
	VPMOVZXBD (SI), V;   \
	VPMOVZXBD 16(SI), W; \
	ADDQ      R11, SI;   \
	CMPQ      R10, $1;   \
	JEQ       done;      \
	VPMOVZXBD (SI), T;   \
	VPSLLD    $8, T, T;  \
	VORPS     T, V, V;   \
	VPMOVZXBD 16(SI), T; \
	VPSLLD    $8, T, T;  \
	VORPS     T, W, W;   \
	ADDQ      R11, SI;   \
	VPMOVZXBD (SI), T;   \
	VPSLLD    $16, T, T; \
	VORPS     T, V, V;   \
	VPMOVZXBD 16(SI), T; \
	VPSLLD    $16, T, T; \
	VORPS     T, W, W;   \
	ADDQ      R11, SI

// CHANNEL_NEXT advances to the next period, if rows are left. CX: rows in it.
#define CHANNEL_NEXT(next, columns) \
	TESTQ   DX, DX;                 \
	JZ      columns;                \
	MOVQ    channelRows_inEach(AX), CX; \
	CMPQ    CX, DX;                 \
	CMOVQGT DX, CX;                 \
	SUBQ    CX, DX;                 \
	JMP     next

// func readChannelsAVX2(w *channelRows)
TEXT ·readChannelsAVX2(SB), NOSPLIT, $0-8
	CHANNEL_LOAD
	VPBROADCASTD channelRows_skipped(AX), Y11
	VPBROADCASTD channelRows_bits(AX), Y14
	VPBROADCASTD channelRows_mask(AX), Y15

columns256:
	VMOVUPS (R8), Y12
	VMOVUPS (R9), Y13
	CHANNEL_FIRST
	CHANNEL_PERIOD(Y0, Y1, first256)

first256:
	VPSRLVD Y11, Y0, Y0

channels256:
	VPAND     Y15, Y0, Y1
	VCVTDQ2PS Y1, Y1
	VMULPS    Y12, Y1, Y1
	VADDPS    Y13, Y1, Y1
	VMOVUPS   Y1, (DI)
	VPSRLVD   Y14, Y0, Y0
	ADDQ      R12, DI
	DECQ      CX
	JNZ       channels256
	CHANNEL_NEXT(period256, next256)

period256:
	CHANNEL_PERIOD(Y0, Y1, channels256)
	JMP channels256

next256:
	ADDQ $32, R8
	ADDQ $32, R9
	ADDQ $32, R14
	ADDQ $8, R15
	SUBQ $8, R13
	JNZ  columns256
	VZEROUPPER
	RET

// CHANNEL_ROW makes a row of 8 channels of their codes, V, and goes on to the next row.
#define CHANNEL_ROW(V) \
	VCVTDQ2PS V, V;      \
	VMULPS    Y12, V, V; \
	VADDPS    Y13, V, V; \
	VMOVUPS   V, (DI);   \
	ADDQ      R12, DI

// func readNibblesAVX2(w *channelRows)
//
// Codes of 4 bits: a byte has two rows of a channel. The first row may be the second of its byte, and the last one the
// first.
TEXT ·readNibblesAVX2(SB), NOSPLIT, $0-8
	CHANNEL_LOAD
	VPBROADCASTD channelRows_mask(AX), Y15

nibblesColumns:
	VMOVUPS (R8), Y12
	VMOVUPS (R9), Y13
	MOVQ    R14, DI
	MOVQ    R15, SI
	MOVQ    channelRows_rows(AX), DX
	CMPL    channelRows_skipped(AX), $0
	JEQ     nibblesPairs

	VPMOVZXBD (SI), Y1
	VPSRLD    $4, Y1, Y1
	CHANNEL_ROW(Y1)
	ADDQ R11, SI
	DECQ DX

nibblesPairs:
	MOVQ DX, CX
	SHRQ $1, CX
	JZ   nibblesLast

nibbles:
	VPMOVZXBD (SI), Y1
	VPAND     Y15, Y1, Y0
	VPSRLD    $4, Y1, Y1
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VMULPS    Y12, Y0, Y0
	VMULPS    Y12, Y1, Y1
	VADDPS    Y13, Y0, Y0
	VADDPS    Y13, Y1, Y1
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, (DI)(R12*1)
	ADDQ      R11, SI
	LEAQ      (DI)(R12*2), DI
	DECQ      CX
	JNZ       nibbles

nibblesLast:
	TESTQ $1, DX
	JZ    nibblesNext
	VPMOVZXBD (SI), Y0
	VPAND     Y15, Y0, Y0
	CHANNEL_ROW(Y0)

nibblesNext:
	ADDQ $32, R8
	ADDQ $32, R9
	ADDQ $32, R14
	ADDQ $8, R15
	SUBQ $8, R13
	JNZ  nibblesColumns
	VZEROUPPER
	RET

// func readChannelsAVX512(w *channelRows)
//
// VPERMPS selects by the lowest 4 bits of each number. In its table of 16, entry i is the float32 of the
// lowest b bits of i, so it converts a code of b bits whatever the bits above it are.
TEXT ·readChannelsAVX512(SB), NOSPLIT, $0-8
	CHANNEL_LOAD
	VPBROADCASTD channelRows_skipped(AX), Z11
	VPBROADCASTD channelRows_bits(AX), Z14
	MOVQ         channelRows_code(AX), BX
	VMOVUPS      (BX), Z15

columns512:
	VMOVUPS (R8), Z12
	VMOVUPS 64(R8), Z16
	VMOVUPS (R9), Z13
	VMOVUPS 64(R9), Z17
	CHANNEL_FIRST
	CHANNEL_PERIOD2(Z0, Z2, Z1, first512)

first512:
	VPSRLVD Z11, Z0, Z0
	VPSRLVD Z11, Z2, Z2

channels512:
	VPERMPS Z15, Z0, Z1
	VPERMPS Z15, Z2, Z3
	VMULPS  Z12, Z1, Z1
	VMULPS  Z16, Z3, Z3
	VADDPS  Z13, Z1, Z1
	VADDPS  Z17, Z3, Z3
	VMOVUPS Z1, (DI)
	VMOVUPS Z3, 64(DI)
	VPSRLVD Z14, Z0, Z0
	VPSRLVD Z14, Z2, Z2
	ADDQ    R12, DI
	DECQ    CX
	JNZ     channels512
	CHANNEL_NEXT(period512, next512)

period512:
	CHANNEL_PERIOD2(Z0, Z2, Z1, channels512)
	JMP channels512

next512:
	ADDQ $128, R8
	ADDQ $128, R9
	ADDQ $128, R14
	ADDQ $32, R15
	SUBQ $32, R13
	JNZ  columns512
	VZEROUPPER
	RET

// LINE_CODES makes 8 numbers of the codes in the 4 bytes at an address.
#define LINE_CODES(from, V) \
	VPBROADCASTD from, V;  \
	VPSRLVD   Y14, V, V;   \
	VPAND     Y15, V, V;   \
	VCVTDQ2PS V, V;        \
	VMULPS    Y12, V, V;   \
	VADDPS    Y13, V, V

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
	SUBQ $32, CX
	JL   line256

lines256:
	LEAQ (SI)(R12*2), R13
	LINE_CODES((SI), Y0)
	LINE_CODES((SI)(R12*1), Y1)
	LINE_CODES((R13), Y2)
	LINE_CODES((R13)(R12*1), Y3)
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	LEAQ    (R13)(R12*2), SI
	ADDQ    $128, DI
	SUBQ    $32, CX
	JGE     lines256

line256:
	ADDQ $32, CX
	JZ   done256

one256:
	LINE_CODES((SI), Y0)
	VMOVUPS Y0, (DI)
	ADDQ    R12, SI
	ADDQ    $32, DI
	SUBQ    $8, CX
	JG      one256

done256:
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
	VPBROADCASTQ (SI)(R12*2), Z1
	VPSHUFB      Z11, Z0, Z0
	VPSHUFB      Z11, Z1, Z1
	VPSRLVD      Z14, Z0, Z0
	VPSRLVD      Z14, Z1, Z1
	VPERMPS      Z15, Z0, Z0
	VPERMPS      Z15, Z1, Z1
	VMULPS       Z12, Z0, Z0
	VMULPS       Z12, Z1, Z1
	VADDPS       Z13, Z0, Z0
	VADDPS       Z13, Z1, Z1
	VMOVUPS      Z0, (DI)
	VMOVUPS      Z1, 64(DI)
	LEAQ         (SI)(R12*4), SI
	ADDQ         $128, DI
	SUBQ         $32, CX
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
