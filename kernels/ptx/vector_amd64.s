//go:build !purego

#include "go_asm.h"
#include "textflag.h"
#include "vector_amd64.h"

// Row operations in AVX2. A row of 32-bit elements is four vectors, one of 64-bit
// elements eight.

#define ONE(OP, off, Y) \
	VMOVDQU off(R9), Y;    \
	OP off(R10), Y, Y;     \
	VMOVDQU Y, off(DI)

// BINARY32 applies an instruction to the vectors of two rows of 128 bytes.
#define BINARY32(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;             \
	ONE(OP, 0, Y0);   \
	ONE(OP, 32, Y1);  \
	ONE(OP, 64, Y2);  \
	ONE(OP, 96, Y3);  \
	VZEROUPPER;       \
	RET

// BINARY64 does so for rows of 256 bytes.
#define BINARY64(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;             \
	ONE(OP, 0, Y0);   \
	ONE(OP, 32, Y1);  \
	ONE(OP, 64, Y2);  \
	ONE(OP, 96, Y3);  \
	ONE(OP, 128, Y4); \
	ONE(OP, 160, Y5); \
	ONE(OP, 192, Y6); \
	ONE(OP, 224, Y7); \
	VZEROUPPER;       \
	RET

BINARY32(·addRow32, VPADDD)
BINARY32(·subRow32, VPSUBD)
BINARY32(·mulRow32, VPMULLD)
BINARY32(·andRow32, VPAND)
BINARY32(·orRow32, VPOR)
BINARY32(·xorRow32, VPXOR)
BINARY32(·minRowS32, VPMINSD)
BINARY32(·maxRowS32, VPMAXSD)
BINARY32(·minRowU32, VPMINUD)
BINARY32(·maxRowU32, VPMAXUD)
BINARY32(·shlRow32, VPSLLVD)
BINARY32(·shrRowU32, VPSRLVD)
BINARY32(·shrRowS32, VPSRAVD)
BINARY64(·addRow64, VPADDQ)
BINARY64(·subRow64, VPSUBQ)
BINARY64(·andRow64, VPAND)
BINARY64(·orRow64, VPOR)
BINARY64(·xorRow64, VPXOR)

// FLOAT32 applies an instruction of floats. A NaN among the results, which is
// rare, becomes the canonical one.
#define LOAD_OP(OP, off, Y) \
	VMOVUPS off(R9), Y; \
	OP off(R10), Y, Y

#define FLOAT32(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                \
	LOAD_OP(OP, 0, Y0);  \
	LOAD_OP(OP, 32, Y1); \
	LOAD_OP(OP, 64, Y2); \
	LOAD_OP(OP, 96, Y3); \
	NANS32;              \
	STORE32;             \
nans:                    \
	CANONICAL32;         \
	STORE32

FLOAT32(·addRowF32, VADDPS)
FLOAT32(·subRowF32, VSUBPS)
FLOAT32(·mulRowF32, VMULPS)
FLOAT32(·divRowF32, VDIVPS)

// func sqrtRowF32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·sqrtRowF32(SB), NOSPLIT, $0-24
	ROWS
	VSQRTPS 0(R9), Y0
	VSQRTPS 32(R9), Y1
	VSQRTPS 64(R9), Y2
	VSQRTPS 96(R9), Y3
	NANS32
	STORE32
nans:
	CANONICAL32
	STORE32

// func widenRowF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·widenRowF16(SB), NOSPLIT, $0-24
	ROWS
	VCVTPH2PS 0(R9), Y0
	VCVTPH2PS 16(R9), Y1
	VCVTPH2PS 32(R9), Y2
	VCVTPH2PS 48(R9), Y3
	NANS32
	STORE32
nans:
	CANONICAL32
	STORE32

// func madRow32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·madRow32(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	VMOVDQU 0(R9), Y0
	VMOVDQU 32(R9), Y1
	VMOVDQU 64(R9), Y2
	VMOVDQU 96(R9), Y3
	VPMULLD 0(R10), Y0, Y0
	VPMULLD 32(R10), Y1, Y1
	VPMULLD 64(R10), Y2, Y2
	VPMULLD 96(R10), Y3, Y3
	VPADDD 0(R11), Y0, Y0
	VPADDD 32(R11), Y1, Y1
	VPADDD 64(R11), Y2, Y2
	VPADDD 96(R11), Y3, Y3
	STORE32

// func copyRow32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·copyRow32(SB), NOSPLIT, $0-24
	ROWS
	VMOVDQU 0(R9), Y0
	VMOVDQU 32(R9), Y1
	VMOVDQU 64(R9), Y2
	VMOVDQU 96(R9), Y3
	STORE32

#define COPY(off) \
	VMOVDQU off(R9), Y0; \
	VMOVDQU Y0, off(DI)

// func copyRow64(d unsafe.Pointer, w *warp, in *instr)
TEXT ·copyRow64(SB), NOSPLIT, $0-24
	ROWS
	COPY(0)
	COPY(32)
	COPY(64)
	COPY(96)
	COPY(128)
	COPY(160)
	COPY(192)
	COPY(224)
	VZEROUPPER
	RET

// WIDEN extends four elements of 32 bits, at off, to 64.
#define WIDEN(EXT, off) \
	EXT off(R9), Y0;         \
	VMOVDQU Y0, (2*off)(DI)

#define WIDENROW(name, EXT) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;            \
	WIDEN(EXT, 0);   \
	WIDEN(EXT, 16);  \
	WIDEN(EXT, 32);  \
	WIDEN(EXT, 48);  \
	WIDEN(EXT, 64);  \
	WIDEN(EXT, 80);  \
	WIDEN(EXT, 96);  \
	WIDEN(EXT, 112); \
	VZEROUPPER;      \
	RET

WIDENROW(·widenRowS32, VPMOVSXDQ)
WIDENROW(·widenRowU32, VPMOVZXDQ)

#define WIDEMUL(EXT, MUL, off) \
	EXT off(R9), Y0;        \
	EXT off(R10), Y1;       \
	MUL Y1, Y0, Y0;         \
	VMOVDQU Y0, (2*off)(DI)

#define WIDEMULROW(name, EXT, MUL) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                   \
	WIDEMUL(EXT, MUL, 0);   \
	WIDEMUL(EXT, MUL, 16);  \
	WIDEMUL(EXT, MUL, 32);  \
	WIDEMUL(EXT, MUL, 48);  \
	WIDEMUL(EXT, MUL, 64);  \
	WIDEMUL(EXT, MUL, 80);  \
	WIDEMUL(EXT, MUL, 96);  \
	WIDEMUL(EXT, MUL, 112); \
	VZEROUPPER;             \
	RET

WIDEMULROW(·mulWideRowU32, VPMOVZXDQ, VPMULUDQ)
WIDEMULROW(·mulWideRowS32, VPMOVSXDQ, VPMULDQ)

// MUL64 is lo·lo + ((hi·lo + lo·hi) << 32).
#define MUL64(off) \
	VMOVDQU off(R9), Y0;     \
	VMOVDQU off(R10), Y1;    \
	VPSRLQ $32, Y0, Y2;      \
	VPSRLQ $32, Y1, Y3;      \
	VPMULUDQ Y2, Y1, Y2;     \
	VPMULUDQ Y3, Y0, Y3;     \
	VPADDQ Y2, Y3, Y2;       \
	VPSLLQ $32, Y2, Y2;      \
	VPMULUDQ Y0, Y1, Y0;     \
	VPADDQ Y0, Y2, Y0;       \
	VMOVDQU Y0, off(DI)

// func mulRow64(d unsafe.Pointer, w *warp, in *instr)
TEXT ·mulRow64(SB), NOSPLIT, $0-24
	ROWS
	MUL64(0)
	MUL64(32)
	MUL64(64)
	MUL64(96)
	MUL64(128)
	MUL64(160)
	MUL64(192)
	MUL64(224)
	VZEROUPPER
	RET

// SHIFT64 shifts four elements of 64 bits, at off, by four of 32.
#define SHIFT64(OP, off) \
	VPMOVZXDQ (off/2)(R10), Y1; \
	VMOVDQU off(R9), Y0;        \
	OP Y1, Y0, Y0;              \
	VMOVDQU Y0, off(DI)

#define SHIFTROW64(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;             \
	SHIFT64(OP, 0);   \
	SHIFT64(OP, 32);  \
	SHIFT64(OP, 64);  \
	SHIFT64(OP, 96);  \
	SHIFT64(OP, 128); \
	SHIFT64(OP, 160); \
	SHIFT64(OP, 192); \
	SHIFT64(OP, 224); \
	VZEROUPPER;       \
	RET

SHIFTROW64(·shlRow64, VPSLLVQ)
SHIFTROW64(·shrRowU64, VPSRLVQ)

// NARROW takes the low halves of eight elements of 64 bits.
#define NARROW(off) \
	VMOVUPS (2*off)(R9), Y0;           \
	VSHUFPS $0x88, (2*off+32)(R9), Y0, Y0; \
	VPERMQ $0xd8, Y0, Y0;              \
	VMOVUPS Y0, off(DI)

// func narrowRow64(d unsafe.Pointer, w *warp, in *instr)
TEXT ·narrowRow64(SB), NOSPLIT, $0-24
	ROWS
	NARROW(0)
	NARROW(32)
	NARROW(64)
	NARROW(96)
	VZEROUPPER
	RET

// Comparisons: a mask of 32 bits from the signs of four vectors.

#define LOAD(R) \
	VMOVDQU 0(R), Y0;  \
	VMOVDQU 32(R), Y1; \
	VMOVDQU 64(R), Y2; \
	VMOVDQU 96(R), Y3

// GREATER compares the row X, as signed, with the row R: X > R.
#define GREATER(R) \
	VPCMPGTD 0(R), Y0, Y0;  \
	VPCMPGTD 32(R), Y1, Y1; \
	VPCMPGTD 64(R), Y2, Y2; \
	VPCMPGTD 96(R), Y3, Y3

// func ltRowS32(w *warp, in *instr) uint32
TEXT ·ltRowS32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R10)
	GREATER(R9)
	SIGNS
	MOVL AX, ret+16(FP)
	RET

// func gtRowS32(w *warp, in *instr) uint32
TEXT ·gtRowS32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	GREATER(R10)
	SIGNS
	MOVL AX, ret+16(FP)
	RET

// func leRowS32(w *warp, in *instr) uint32
TEXT ·leRowS32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	GREATER(R10)
	SIGNS
	NOTL AX
	MOVL AX, ret+16(FP)
	RET

// func geRowS32(w *warp, in *instr) uint32
TEXT ·geRowS32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R10)
	GREATER(R9)
	SIGNS
	NOTL AX
	MOVL AX, ret+16(FP)
	RET

#define EQUAL(R) \
	VPCMPEQD 0(R), Y0, Y0;  \
	VPCMPEQD 32(R), Y1, Y1; \
	VPCMPEQD 64(R), Y2, Y2; \
	VPCMPEQD 96(R), Y3, Y3

// func eqRow32(w *warp, in *instr) uint32
TEXT ·eqRow32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	EQUAL(R10)
	SIGNS
	MOVL AX, ret+16(FP)
	RET

// func neRow32(w *warp, in *instr) uint32
TEXT ·neRow32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	EQUAL(R10)
	SIGNS
	NOTL AX
	MOVL AX, ret+16(FP)
	RET

#define MINU(R) \
	VPMINUD 0(R), Y0, Y0;  \
	VPMINUD 32(R), Y1, Y1; \
	VPMINUD 64(R), Y2, Y2; \
	VPMINUD 96(R), Y3, Y3

// Unsigned: a ≤ b where min(a, b) is a.

// func leRowU32(w *warp, in *instr) uint32
TEXT ·leRowU32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	MINU(R10)
	EQUAL(R9)
	SIGNS
	MOVL AX, ret+16(FP)
	RET

// func gtRowU32(w *warp, in *instr) uint32
TEXT ·gtRowU32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	MINU(R10)
	EQUAL(R9)
	SIGNS
	NOTL AX
	MOVL AX, ret+16(FP)
	RET

// func geRowU32(w *warp, in *instr) uint32
TEXT ·geRowU32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	MINU(R10)
	EQUAL(R10)
	SIGNS
	MOVL AX, ret+16(FP)
	RET

// func ltRowU32(w *warp, in *instr) uint32
TEXT ·ltRowU32(SB), NOSPLIT, $0-20
	SOURCES
	LOAD(R9)
	MINU(R10)
	EQUAL(R10)
	SIGNS
	NOTL AX
	MOVL AX, ret+16(FP)
	RET

#define COMPAREF32(name, how) \
TEXT name(SB), NOSPLIT, $0-20 \
	SOURCES;                       \
	LOAD(R9);                      \
	VCMPPS $how, 0(R10), Y0, Y0;   \
	VCMPPS $how, 32(R10), Y1, Y1;  \
	VCMPPS $how, 64(R10), Y2, Y2;  \
	VCMPPS $how, 96(R10), Y3, Y3;  \
	SIGNS;                         \
	MOVL AX, ret+16(FP);           \
	RET

COMPAREF32(·eqRowF32, 0x00)
COMPAREF32(·ltRowF32, 0x11)
COMPAREF32(·leRowF32, 0x12)
COMPAREF32(·gtRowF32, 0x1e)
COMPAREF32(·geRowF32, 0x1d)
COMPAREF32(·neRowF32, 0x0c)

DATA bits32<>+0(SB)/4, $1
DATA bits32<>+4(SB)/4, $2
DATA bits32<>+8(SB)/4, $4
DATA bits32<>+12(SB)/4, $8
DATA bits32<>+16(SB)/4, $16
DATA bits32<>+20(SB)/4, $32
DATA bits32<>+24(SB)/4, $64
DATA bits32<>+28(SB)/4, $128
GLOBL bits32<>(SB), RODATA|NOPTR, $32

#define SELECT32(off) \
	LANES32(Y2);            \
	VMOVUPS off(R10), Y0;   \
	VMOVUPS off(R9), Y1;    \
	VBLENDVPS Y2, Y1, Y0, Y0; \
	VMOVUPS Y0, off(DI)

// func selpRow32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·selpRow32(SB), NOSPLIT, $0-24
	ROWS
	MOVQ warp_preds(SI), CX
	MOVL instr_c(BX), DX
	MOVL (CX)(DX*4), AX
	MOVBLZX instr_notC(BX), DX
	NEGL DX
	XORL DX, AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15
	VMOVDQU bits32<>(SB), Y14
	SELECT32(0)
	SELECT32(32)
	SELECT32(64)
	SELECT32(96)
	VZEROUPPER
	RET

#define MASKED32(off) \
	LANES32(Y2);               \
	VMOVDQU off(SI), Y0;       \
	VPMASKMOVD Y0, Y2, off(DI)

// func blendRow32(d, s unsafe.Pointer, mask uint32)
TEXT ·blendRow32(SB), NOSPLIT, $0-20
	MOVQ d+0(FP), DI
	MOVQ s+8(FP), SI
	MOVL mask+16(FP), AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15
	VMOVDQU bits32<>(SB), Y14
	MASKED32(0)
	MASKED32(32)
	MASKED32(64)
	MASKED32(96)
	VZEROUPPER
	RET

#define MASKED64(off) \
	LANES64(Y2);               \
	VMOVDQU off(SI), Y0;       \
	VPMASKMOVQ Y0, Y2, off(DI)

// func blendRow64(d, s unsafe.Pointer, mask uint32)
TEXT ·blendRow64(SB), NOSPLIT, $0-20
	MOVQ d+0(FP), DI
	MOVQ s+8(FP), SI
	MOVL mask+16(FP), AX
	VMOVQ AX, X15
	VPBROADCASTQ X15, Y15
	VMOVDQU bits64<>(SB), Y14
	MASKED64(0)
	MASKED64(32)
	MASKED64(64)
	MASKED64(96)
	MASKED64(128)
	MASKED64(160)
	MASKED64(192)
	MASKED64(224)
	VZEROUPPER
	RET

DATA lanes<>+0(SB)/8, $0
DATA lanes<>+8(SB)/8, $1
DATA lanes<>+16(SB)/8, $2
DATA lanes<>+24(SB)/8, $3
GLOBL lanes<>(SB), RODATA|NOPTR, $32

// SURVEY looks at four addresses.
//	Y15: mask, Y14: bits         Y13: imm, Y12: base
//	Y10: the address expected in the lane after first, Y9: 4·step
//	Y8: the first address        Y4, Y5, Y6, Y7: max, low, apart, uneven; Y2: min
// PART replaces those of lanes that are not in the mask by the first, one that is.
#define SURVEY(off, PART) \
	VPADDQ off(SI), Y13, Y0;   \
	VMOVDQU Y0, off(DI);       \
	VPXOR Y10, Y0, Y1;         \
	VPOR Y1, Y6, Y6;           \
	VPADDQ Y9, Y10, Y10;       \
	PART;                      \
	VPXOR Y8, Y0, Y1;          \
	VPOR Y1, Y7, Y7;           \
	VPSUBQ Y12, Y0, Y0;        \
	VPOR Y0, Y5, Y5;           \
	VPMINUD Y0, Y2, Y2;        \
	VPMAXUD Y0, Y4, Y4

#define WHOLE
#define PART \
	LANES64(Y3);               \
	VBLENDVPD Y3, Y0, Y8, Y0

#define SURVEYROW(PART) \
	SURVEY(0, PART);   \
	SURVEY(32, PART);  \
	SURVEY(64, PART);  \
	SURVEY(96, PART);  \
	SURVEY(128, PART); \
	SURVEY(160, PART); \
	SURVEY(192, PART); \
	SURVEY(224, PART)

// FOLD joins the four elements of a vector into the low one.
#define FOLD(OP, Y, X) \
	VEXTRACTI128 $1, Y, X0; \
	OP X0, X, X;            \
	VPSRLDQ $8, X, X0;      \
	OP X0, X, X

// func coalesceRow(out, from *[32]uint64, s *coalescing, mask uint32)
TEXT ·coalesceRow(SB), NOSPLIT, $0-28
	MOVQ out+0(FP), DI
	MOVQ from+8(FP), SI
	MOVQ s+16(FP), BX
	MOVL mask+24(FP), AX
	VPBROADCASTQ coalescing_imm(BX), Y13
	VPBROADCASTQ coalescing_base(BX), Y12
	VPBROADCASTQ coalescing_step(BX), Y9
	VMOVDQU lanes<>(SB), Y10
	VPMULUDQ Y9, Y10, Y10
	VPBROADCASTQ coalescing_lane0(BX), Y0
	VPADDQ Y0, Y10, Y10
	VPSLLQ $2, Y9, Y9
	VPBROADCASTQ coalescing_first(BX), Y8
	VPCMPEQD Y2, Y2, Y2
	VPXOR Y4, Y4, Y4
	VPXOR Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7
	CMPL AX, $-1
	JNE part
	SURVEYROW(WHOLE)
	JMP fold
part:
	VMOVQ AX, X15
	VPBROADCASTQ X15, Y15
	VMOVDQU bits64<>(SB), Y14
	SURVEYROW(PART)
fold:
	FOLD(VPMINUD, Y2, X2)
	FOLD(VPMAXUD, Y4, X4)
	FOLD(VPOR, Y5, X5)
	FOLD(VPOR, Y6, X6)
	FOLD(VPOR, Y7, X7)
	VMOVQ X2, coalescing_min(BX)
	VMOVQ X4, coalescing_max(BX)
	VMOVQ X5, coalescing_low(BX)
	VMOVQ X6, coalescing_apart(BX)
	VMOVQ X7, coalescing_uneven(BX)
	VZEROUPPER
	RET
