//go:build !purego

#include "go_asm.h"
#include "textflag.h"
#include "vector_amd64.h"

// Floats on rows: f32 beyond vector_amd64.s, f64, f16 and conversions. A result that is
// NaN is the canonical one.

// CANON32 makes NaNs of Y canonical, by way of T. Y15 holds the canonical one.
#define CANON32(Y, T) \
	VCMPPS $3, Y, Y, T; \
	VBLENDVPS T, Y15, Y, Y

#define FMA32(off, Y) \
	VMOVUPS off(R9), Y; \
	VMOVUPS off(R10), Y6; \
	VFMADD213PS off(R11), Y6, Y

// func fmaRowF32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaRowF32(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	FMA32(0, Y0)
	FMA32(32, Y1)
	FMA32(64, Y2)
	FMA32(96, Y3)
	NANS32
	STORE32
nans:
	CANONICAL32
	STORE32

DATA one32<>(SB)/4, $0x3f800000
GLOBL one32<>(SB), RODATA|NOPTR, $4

// func rcpRowF32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·rcpRowF32(SB), NOSPLIT, $0-24
	ROWS
	VBROADCASTSS one32<>(SB), Y6
	VDIVPS 0(R9), Y6, Y0
	VDIVPS 32(R9), Y6, Y1
	VDIVPS 64(R9), Y6, Y2
	VDIVPS 96(R9), Y6, Y3
	NANS32
	STORE32
nans:
	CANONICAL32
	STORE32

// Flushing. FLUSH makes subnormal numbers of Y zeros of their sign, by way of T. Y14
// holds the smallest normal number, Y13 all bits but the sign.
DATA normal32<>(SB)/4, $0x00800000
GLOBL normal32<>(SB), RODATA|NOPTR, $4
DATA abs32<>(SB)/4, $0x7fffffff
GLOBL abs32<>(SB), RODATA|NOPTR, $4

#define FLUSHING \
	VBROADCASTSS normal32<>(SB), Y14; \
	VBROADCASTSS abs32<>(SB), Y13

#define FLUSH(Y, T) \
	VANDPS Y13, Y, T; \
	VCMPPS $0x11, Y14, T, T; \
	VANDPS Y13, T, T; \
	VANDNPS Y, T, Y

#define FLUSHED(OP, off, Y) \
	VMOVUPS off(R9), Y;   \
	VMOVUPS off(R10), Y6; \
	FLUSH(Y, Y4);         \
	FLUSH(Y6, Y4);        \
	OP Y6, Y, Y;          \
	FLUSH(Y, Y4)

#define FLUSHEDFLOAT32(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                 \
	FLUSHING;             \
	FLUSHED(OP, 0, Y0);   \
	FLUSHED(OP, 32, Y1);  \
	FLUSHED(OP, 64, Y2);  \
	FLUSHED(OP, 96, Y3);  \
	NANS32;               \
	STORE32;              \
nans:                     \
	CANONICAL32;          \
	STORE32

FLUSHEDFLOAT32(·addFtzRowF32, VADDPS)
FLUSHEDFLOAT32(·subFtzRowF32, VSUBPS)
FLUSHEDFLOAT32(·mulFtzRowF32, VMULPS)
FLUSHEDFLOAT32(·divFtzRowF32, VDIVPS)

#define FLUSHEDFMA(off, Y) \
	VMOVUPS off(R9), Y;      \
	VMOVUPS off(R10), Y6;    \
	VMOVUPS off(R11), Y7;    \
	FLUSH(Y, Y4);            \
	FLUSH(Y6, Y4);           \
	FLUSH(Y7, Y4);           \
	VFMADD213PS Y7, Y6, Y;   \
	FLUSH(Y, Y4)

// func fmaFtzRowF32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaFtzRowF32(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	FLUSHING
	FLUSHEDFMA(0, Y0)
	FLUSHEDFMA(32, Y1)
	FLUSHEDFMA(64, Y2)
	FLUSHEDFMA(96, Y3)
	NANS32
	STORE32
nans:
	CANONICAL32
	STORE32

#define FLUSHEDCOMPARE(how, off, Y) \
	VMOVUPS off(R9), Y;      \
	VMOVUPS off(R10), Y6;    \
	FLUSH(Y, Y4);            \
	FLUSH(Y6, Y4);           \
	VCMPPS $how, Y6, Y, Y

#define COMPAREFTZF32(name, how) \
TEXT name(SB), NOSPLIT, $0-20 \
	SOURCES;                     \
	FLUSHING;                    \
	FLUSHEDCOMPARE(how, 0, Y0);  \
	FLUSHEDCOMPARE(how, 32, Y1); \
	FLUSHEDCOMPARE(how, 64, Y2); \
	FLUSHEDCOMPARE(how, 96, Y3); \
	SIGNS;                       \
	MOVL AX, ret+16(FP);         \
	RET

COMPAREFTZF32(·eqFtzRowF32, 0x00)
COMPAREFTZF32(·ltFtzRowF32, 0x11)
COMPAREFTZF32(·leFtzRowF32, 0x12)
COMPAREFTZF32(·gtFtzRowF32, 0x1e)
COMPAREFTZF32(·geFtzRowF32, 0x1d)
COMPAREFTZF32(·neFtzRowF32, 0x0c)

// The larger or smaller of two numbers: -0 is below +0, and a NaN is passed over. What
// the instruction gives depends, of zeros and NaNs, on the order of operands: both orders
// are taken and joined. NaNs, which are rare, are put right after.
#define PICK32(OP, JOIN, off, Y) \
	VMOVUPS off(R9), Y;      \
	VMOVUPS off(R10), Y6;    \
	VCMPPS $3, Y6, Y, Y4;    \
	VORPS Y4, Y5, Y5;        \
	OP Y6, Y, Y4;            \
	OP Y, Y6, Y;             \
	JOIN Y4, Y, Y

#define PICKNAN32(off, Y) \
	VMOVUPS off(R9), Y7;     \
	VMOVUPS off(R10), Y6;    \
	VCMPPS $3, Y7, Y7, Y4;   \
	VBLENDVPS Y4, Y6, Y, Y;  \
	VCMPPS $3, Y6, Y6, Y4;   \
	VBLENDVPS Y4, Y7, Y, Y;  \
	CANON32(Y, Y4)

#define PICKROW32(name, OP, JOIN) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                     \
	VXORPS Y5, Y5, Y5;        \
	PICK32(OP, JOIN, 0, Y0);  \
	PICK32(OP, JOIN, 32, Y1); \
	PICK32(OP, JOIN, 64, Y2); \
	PICK32(OP, JOIN, 96, Y3); \
	VMOVMSKPS Y5, AX;         \
	TESTL AX, AX;             \
	JNZ nans;                 \
	STORE32;                  \
nans:                         \
	VBROADCASTSS nan32<>(SB), Y15; \
	PICKNAN32(0, Y0);         \
	PICKNAN32(32, Y1);        \
	PICKNAN32(64, Y2);        \
	PICKNAN32(96, Y3);        \
	STORE32

PICKROW32(·minRowF32, VMINPS, VORPS)
PICKROW32(·maxRowF32, VMAXPS, VANDPS)

// f64: eight vectors a row.
#define NANS64(Y) \
	VCMPPD $3, Y, Y, Y14;    \
	VBLENDVPD Y14, Y15, Y, Y

#define FLOAT64(OP, off) \
	VMOVUPD off(R9), Y0;      \
	OP off(R10), Y0, Y0;      \
	NANS64(Y0);               \
	VMOVUPD Y0, off(DI)

#define FLOATROW64(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                          \
	VBROADCASTSD nan64<>(SB), Y15; \
	FLOAT64(OP, 0);   \
	FLOAT64(OP, 32);  \
	FLOAT64(OP, 64);  \
	FLOAT64(OP, 96);  \
	FLOAT64(OP, 128); \
	FLOAT64(OP, 160); \
	FLOAT64(OP, 192); \
	FLOAT64(OP, 224); \
	VZEROUPPER;       \
	RET

DATA nan64<>(SB)/8, $0x7ff8000000000000
GLOBL nan64<>(SB), RODATA|NOPTR, $8

FLOATROW64(·addRowF64, VADDPD)
FLOATROW64(·subRowF64, VSUBPD)
FLOATROW64(·mulRowF64, VMULPD)
FLOATROW64(·divRowF64, VDIVPD)

#define FMA64(off) \
	VMOVUPD off(R9), Y0;          \
	VMOVUPD off(R10), Y1;         \
	VFMADD213PD off(R11), Y1, Y0; \
	NANS64(Y0);                   \
	VMOVUPD Y0, off(DI)

// func fmaRowF64(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaRowF64(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	VBROADCASTSD nan64<>(SB), Y15
	FMA64(0)
	FMA64(32)
	FMA64(64)
	FMA64(96)
	FMA64(128)
	FMA64(160)
	FMA64(192)
	FMA64(224)
	VZEROUPPER
	RET

// f16: a vector of eight is computed with in f32, which is exact or rounds so that the
// rounding to f16 gives the same as one rounding (see halves.go), and rounded.
#define TOHALF(Y, T, off) \
	CANON32(Y, T);                \
	VCVTPS2PH $0, Y, off(DI)

#define HALF(OP, off) \
	VCVTPH2PS off(R9), Y0;  \
	VCVTPH2PS off(R10), Y1; \
	OP Y1, Y0, Y0;          \
	TOHALF(Y0, Y4, off)

#define HALFROW(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                          \
	VBROADCASTSS nan32<>(SB), Y15; \
	HALF(OP, 0);                   \
	HALF(OP, 16);                  \
	HALF(OP, 32);                  \
	HALF(OP, 48);                  \
	VZEROUPPER;                    \
	RET

// A row of packed halves is twice as long.
#define HALFROW2(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                          \
	VBROADCASTSS nan32<>(SB), Y15; \
	HALF(OP, 0);                   \
	HALF(OP, 16);                  \
	HALF(OP, 32);                  \
	HALF(OP, 48);                  \
	HALF(OP, 64);                  \
	HALF(OP, 80);                  \
	HALF(OP, 96);                  \
	HALF(OP, 112);                 \
	VZEROUPPER;                    \
	RET

HALFROW(·addRowF16, VADDPS)
HALFROW(·subRowF16, VSUBPS)
HALFROW(·mulRowF16, VMULPS)
HALFROW2(·addRowF16x2, VADDPS)
HALFROW2(·subRowF16x2, VSUBPS)
HALFROW2(·mulRowF16x2, VMULPS)

// HALFFMA: the product p of two f16 is exact in f32. Knuth's two-sum gives s + e = p + c;
// s is then rounded to odd: where e is not 0, one less in magnitude if e has the other
// sign, and the last bit set.
#define HALFFMA(off) \
	VCVTPH2PS off(R9), Y0;   \
	VCVTPH2PS off(R10), Y1;  \
	VCVTPH2PS off(R11), Y2;  \
	VMULPS Y1, Y0, Y0;       \
	VADDPS Y2, Y0, Y1;       \
	VSUBPS Y0, Y1, Y3;       \
	VSUBPS Y3, Y1, Y4;       \
	VSUBPS Y4, Y0, Y4;       \
	VSUBPS Y3, Y2, Y5;       \
	VADDPS Y5, Y4, Y4;       \
	VXORPS Y4, Y1, Y5;       \
	VPSRAD $31, Y5, Y5;      \
	VCMPPS $0x0c, Y14, Y4, Y4; \
	VPAND Y4, Y5, Y5;        \
	VPADDD Y5, Y1, Y1;       \
	VPSRLD $31, Y4, Y4;      \
	VPOR Y4, Y1, Y0;         \
	TOHALF(Y0, Y4, off)

// func fmaRowF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaRowF16(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	VBROADCASTSS nan32<>(SB), Y15
	VXORPS Y14, Y14, Y14
	HALFFMA(0)
	HALFFMA(16)
	HALFFMA(32)
	HALFFMA(48)
	VZEROUPPER
	RET

// func fmaRowF16x2(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaRowF16x2(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	VBROADCASTSS nan32<>(SB), Y15
	VXORPS Y14, Y14, Y14
	HALFFMA(0)
	HALFFMA(16)
	HALFFMA(32)
	HALFFMA(48)
	HALFFMA(64)
	HALFFMA(80)
	HALFFMA(96)
	HALFFMA(112)
	VZEROUPPER
	RET

#define NARROWF16(off) \
	VMOVUPS (2*off)(R9), Y0; \
	TOHALF(Y0, Y4, off)

// func narrowRowF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·narrowRowF16(SB), NOSPLIT, $0-24
	ROWS
	VBROADCASTSS nan32<>(SB), Y15
	NARROWF16(0)
	NARROWF16(16)
	NARROWF16(32)
	NARROWF16(48)
	VZEROUPPER
	RET

#define PACKF16(off) \
	VMOVUPS off(R9), Y0;    \
	VMOVUPS off(R10), Y1;   \
	CANON32(Y0, Y4);        \
	CANON32(Y1, Y4);        \
	VCVTPS2PH $0, Y0, X0;   \
	VCVTPS2PH $0, Y1, X1;   \
	VPMOVZXWD X0, Y0;       \
	VPMOVZXWD X1, Y1;       \
	VPSLLD $16, Y0, Y0;     \
	VPOR Y1, Y0, Y0;        \
	VMOVDQU Y0, off(DI)

// func packRowF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·packRowF16(SB), NOSPLIT, $0-24
	ROWS
	VBROADCASTSS nan32<>(SB), Y15
	PACKF16(0)
	PACKF16(32)
	PACKF16(64)
	PACKF16(96)
	VZEROUPPER
	RET

#define WIDENBF16(R, off, Y) \
	VPMOVZXWD off(R), Y; \
	VPSLLD $16, Y, Y

// func widenRowBF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·widenRowBF16(SB), NOSPLIT, $0-24
	ROWS
	WIDENBF16(R9, 0, Y0)
	WIDENBF16(R9, 16, Y1)
	WIDENBF16(R9, 32, Y2)
	WIDENBF16(R9, 48, Y3)
	NANS32
	STORE32
nans:
	CANONICAL32
	STORE32

DATA round32<>(SB)/4, $0x7fff
GLOBL round32<>(SB), RODATA|NOPTR, $4
DATA low32<>(SB)/4, $1
GLOBL low32<>(SB), RODATA|NOPTR, $4
DATA nanbf16<>(SB)/4, $0x7fff0000
GLOBL nanbf16<>(SB), RODATA|NOPTR, $4

// BF16 rounds eight f32 to the upper halves of their words. Y14 holds 1, Y13 0x7fff, Y12
// the canonical NaN there.
#define BF16(Y, T, U) \
	VCMPPS $3, Y, Y, U;    \
	VPSRLD $16, Y, T;      \
	VPAND Y14, T, T;       \
	VPADDD Y13, Y, Y;      \
	VPADDD T, Y, Y;        \
	VBLENDVPS U, Y12, Y, Y

#define ROUNDING \
	VPBROADCASTD low32<>(SB), Y14;   \
	VPBROADCASTD round32<>(SB), Y13; \
	VPBROADCASTD nanbf16<>(SB), Y12

#define NARROWBF16(off) \
	VMOVUPS (2*off)(R9), Y0;       \
	VMOVUPS (2*off+32)(R9), Y1;    \
	BF16(Y0, Y4, Y5);              \
	BF16(Y1, Y4, Y5);              \
	VPSRLD $16, Y0, Y0;            \
	VPSRLD $16, Y1, Y1;            \
	VPACKUSDW Y1, Y0, Y0;          \
	VPERMQ $0xd8, Y0, Y0;          \
	VMOVDQU Y0, off(DI)

// func narrowRowBF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·narrowRowBF16(SB), NOSPLIT, $0-24
	ROWS
	ROUNDING
	NARROWBF16(0)
	NARROWBF16(32)
	VZEROUPPER
	RET

#define PACKBF16(off) \
	VMOVUPS off(R9), Y0;        \
	VMOVUPS off(R10), Y1;       \
	BF16(Y0, Y4, Y5);           \
	BF16(Y1, Y4, Y5);           \
	VPSRLD $16, Y1, Y1;         \
	VPBLENDW $0x55, Y1, Y0, Y0; \
	VMOVDQU Y0, off(DI)

// func packRowBF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·packRowBF16(SB), NOSPLIT, $0-24
	ROWS
	ROUNDING
	PACKBF16(0)
	PACKBF16(32)
	PACKBF16(64)
	PACKBF16(96)
	VZEROUPPER
	RET

// func floatRowS32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·floatRowS32(SB), NOSPLIT, $0-24
	ROWS
	VCVTDQ2PS 0(R9), Y0
	VCVTDQ2PS 32(R9), Y1
	VCVTDQ2PS 64(R9), Y2
	VCVTDQ2PS 96(R9), Y3
	STORE32

DATA two31<>(SB)/4, $0x4f000000
GLOBL two31<>(SB), RODATA|NOPTR, $4

// WHOLE converts to s32: what is out of range comes as the least number. Where it is too
// large, it becomes the largest; of NaN, 0. Y15 holds 2^31.
#define WHOLE(how, off) \
	VROUNDPS $how, off(R9), Y0;  \
	VCVTTPS2DQ Y0, Y1;           \
	VCMPPS $0x1d, Y15, Y0, Y2;   \
	VPXOR Y2, Y1, Y1;            \
	VCMPPS $3, Y0, Y0, Y2;       \
	VPANDN Y1, Y2, Y1;           \
	VMOVDQU Y1, off(DI)

#define WHOLEROW(name, how) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                          \
	VBROADCASTSS two31<>(SB), Y15; \
	WHOLE(how, 0);                 \
	WHOLE(how, 32);                \
	WHOLE(how, 64);                \
	WHOLE(how, 96);                \
	VZEROUPPER;                    \
	RET

WHOLEROW(·nearestRowS32, 8)
WHOLEROW(·floorRowS32, 9)
WHOLEROW(·ceilRowS32, 10)
WHOLEROW(·truncRowS32, 11)

#define ROUNDROW(name, how) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                       \
	VROUNDPS $how, 0(R9), Y0;   \
	VROUNDPS $how, 32(R9), Y1;  \
	VROUNDPS $how, 64(R9), Y2;  \
	VROUNDPS $how, 96(R9), Y3;  \
	NANS32;                     \
	STORE32;                    \
nans:                           \
	CANONICAL32;                \
	STORE32

ROUNDROW(·nearestRowF32, 8)
ROUNDROW(·floorRowF32, 9)
ROUNDROW(·ceilRowF32, 10)
ROUNDROW(·truncRowF32, 11)

// Comparisons of 64 bits: eight vectors of four.
#define SIGNS64(OP, R, S, off, shift) \
	VMOVDQU off(R), Y0;       \
	VPXOR Y15, Y0, Y0;        \
	VPXOR off(S), Y15, Y1;    \
	OP Y1, Y0, Y0;            \
	VMOVMSKPD Y0, CX;         \
	SHLL $shift, CX;          \
	ORL CX, AX

#define COMPARE64(OP, R, S) \
	XORL AX, AX;                  \
	SIGNS64(OP, R, S, 0, 0);      \
	SIGNS64(OP, R, S, 32, 4);     \
	SIGNS64(OP, R, S, 64, 8);     \
	SIGNS64(OP, R, S, 96, 12);    \
	SIGNS64(OP, R, S, 128, 16);   \
	SIGNS64(OP, R, S, 160, 20);   \
	SIGNS64(OP, R, S, 192, 24);   \
	SIGNS64(OP, R, S, 224, 28);   \
	VZEROUPPER

#define COMPAREROW64(name, OP, R, S, BIAS, NOT) \
TEXT name(SB), NOSPLIT, $0-20 \
	SOURCES;              \
	BIAS;                 \
	COMPARE64(OP, R, S);  \
	NOT;                  \
	MOVL AX, ret+16(FP);  \
	RET

DATA sign64<>(SB)/8, $0x8000000000000000
GLOBL sign64<>(SB), RODATA|NOPTR, $8

#define SIGNED VPXOR Y15, Y15, Y15
#define UNSIGNED VPBROADCASTQ sign64<>(SB), Y15
#define SAME XORL $0, AX
#define NOT NOTL AX

COMPAREROW64(·eqRow64, VPCMPEQQ, R9, R10, SIGNED, SAME)
COMPAREROW64(·neRow64, VPCMPEQQ, R9, R10, SIGNED, NOT)
COMPAREROW64(·gtRowS64, VPCMPGTQ, R9, R10, SIGNED, SAME)
COMPAREROW64(·ltRowS64, VPCMPGTQ, R10, R9, SIGNED, SAME)
COMPAREROW64(·leRowS64, VPCMPGTQ, R9, R10, SIGNED, NOT)
COMPAREROW64(·geRowS64, VPCMPGTQ, R10, R9, SIGNED, NOT)
COMPAREROW64(·gtRowU64, VPCMPGTQ, R9, R10, UNSIGNED, SAME)
COMPAREROW64(·ltRowU64, VPCMPGTQ, R10, R9, UNSIGNED, SAME)
COMPAREROW64(·leRowU64, VPCMPGTQ, R9, R10, UNSIGNED, NOT)
COMPAREROW64(·geRowU64, VPCMPGTQ, R10, R9, UNSIGNED, NOT)

// 2^x in f64, as exp2Single in approx.go has it, to the bit: the polynomial's
// coefficients, the highest last.
DATA exp2<>+0(SB)/8, $0x3ff0000000000000
DATA exp2<>+8(SB)/8, $0x3fe62e42fefa39ef
DATA exp2<>+16(SB)/8, $0x3fcebfbdff82c58f
DATA exp2<>+24(SB)/8, $0x3fac6b08d704a0c0
DATA exp2<>+32(SB)/8, $0x3f83b2ab6fba4e77
DATA exp2<>+40(SB)/8, $0x3f55d87fe78a6731
DATA exp2<>+48(SB)/8, $0x3f2430912f86c787
DATA exp2<>+56(SB)/8, $0x3eeffcbfc588b0c7
DATA exp2<>+64(SB)/8, $0x3eb62c0223a5c824
DATA exp2<>+72(SB)/8, $0x3e7b5253d395e7c4
DATA exp2<>+80(SB)/8, $0x3e3e4cf5158b8eca
DATA exp2<>+88(SB)/8, $0x3dfe8cac7351bb25
DATA exp2<>+96(SB)/8, $0x3dbc3bd650fc2986
DATA exp2<>+104(SB)/8, $0x3d7816193166d0f9
GLOBL exp2<>(SB), RODATA|NOPTR, $112

DATA limit64<>(SB)/8, $0x4069000000000000 // 200
GLOBL limit64<>(SB), RODATA|NOPTR, $8
DATA lowest64<>(SB)/8, $0xc069000000000000
GLOBL lowest64<>(SB), RODATA|NOPTR, $8
DATA magic64<>(SB)/8, $0x4338000000000000 // 1.5·2^52
GLOBL magic64<>(SB), RODATA|NOPTR, $8

// FTZ puts into Y14 the smallest normal number if the instruction has .ftz, else 0, and
// all bits but the sign into Y13, so that FLUSH does what is asked.
#define FTZ \
	FLUSHING;                  \
	MOVQ instr_imm(BX), AX;    \
	SHLQ $45, AX;              \
	SARQ $63, AX;              \
	VMOVQ AX, X4;              \
	VPBROADCASTQ X4, Y4;       \
	VPAND Y4, Y14, Y14

#define HORNER(k) \
	VBROADCASTSD exp2<>+(8*k)(SB), Y4; \
	VMULPD Y2, Y3, Y3;                 \
	VADDPD Y4, Y3, Y3;                 \
	VMULPD Y6, Y7, Y7;                 \
	VADDPD Y4, Y7, Y7

// EXP2 computes the four of X0, in f64 in Y1, and of X5 in Y5.
#define EXP2 \
	VCVTPS2PD X0, Y0;        \
	VCVTPS2PD X5, Y5;        \
	VMINPD Y11, Y0, Y0;      \
	VMINPD Y11, Y5, Y5;      \
	VMAXPD Y10, Y0, Y0;      \
	VMAXPD Y10, Y5, Y5;      \
	VROUNDPD $8, Y0, Y1;     \
	VROUNDPD $8, Y5, Y8;     \
	VSUBPD Y1, Y0, Y2;       \
	VSUBPD Y8, Y5, Y6;       \
	VBROADCASTSD exp2<>+104(SB), Y3; \
	VMOVAPD Y3, Y7;          \
	HORNER(12);              \
	HORNER(11);              \
	HORNER(10);              \
	HORNER(9);               \
	HORNER(8);               \
	HORNER(7);               \
	HORNER(6);               \
	HORNER(5);               \
	HORNER(4);               \
	HORNER(3);               \
	HORNER(2);               \
	HORNER(1);               \
	HORNER(0);               \
	VADDPD Y9, Y1, Y1;       \
	VADDPD Y9, Y8, Y8;       \
	VPSLLQ $52, Y1, Y1;      \
	VPSLLQ $52, Y8, Y8;      \
	VPADDQ Y3, Y1, Y1;       \
	VPADDQ Y7, Y8, Y5

#define EX2(off) \
	VMOVUPS off(R9), X0;     \
	VMOVUPS (off+16)(R9), X5; \
	EXP2;                    \
	VCVTPD2PSY Y1, X1;       \
	VCVTPD2PSY Y5, X5;       \
	VINSERTF128 $1, X5, Y1, Y0; \
	VMOVUPS off(R9), Y1;     \
	VCMPPS $3, Y1, Y1, Y4;   \
	VBLENDVPS Y4, Y15, Y0, Y0; \
	FLUSH(Y0, Y4);           \
	VMOVUPS Y0, off(DI)

// func ex2RowF32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·ex2RowF32(SB), NOSPLIT, $0-24
	ROWS
	FTZ
	VBROADCASTSS nan32<>(SB), Y15
	VBROADCASTSD limit64<>(SB), Y11
	VBROADCASTSD lowest64<>(SB), Y10
	VBROADCASTSD magic64<>(SB), Y9
	EX2(0)
	EX2(32)
	EX2(64)
	EX2(96)
	VZEROUPPER
	RET

#define RSQRT(off) \
	VMOVUPS off(R9), Y0;     \
	FLUSH(Y0, Y4);           \
	VEXTRACTF128 $1, Y0, X1; \
	VCVTPS2PD X0, Y0;        \
	VCVTPS2PD X1, Y1;        \
	VSQRTPD Y0, Y0;          \
	VSQRTPD Y1, Y1;          \
	VDIVPD Y0, Y12, Y0;      \
	VDIVPD Y1, Y12, Y1;      \
	VCVTPD2PSY Y0, X0;       \
	VCVTPD2PSY Y1, X1;       \
	VINSERTF128 $1, X1, Y0, Y0; \
	CANON32(Y0, Y4);         \
	FLUSH(Y0, Y4);           \
	VMOVUPS Y0, off(DI)

DATA one64<>(SB)/8, $0x3ff0000000000000
GLOBL one64<>(SB), RODATA|NOPTR, $8

// func rsqrtRowF32(d unsafe.Pointer, w *warp, in *instr)
TEXT ·rsqrtRowF32(SB), NOSPLIT, $0-24
	ROWS
	FTZ
	VBROADCASTSS nan32<>(SB), Y15
	VBROADCASTSD one64<>(SB), Y12
	RSQRT(0)
	RSQRT(32)
	RSQRT(64)
	RSQRT(96)
	VZEROUPPER
	RET

#define FLUSHEDONE(OP, off, Y) \
	VMOVUPS off(R9), Y;  \
	FLUSH(Y, Y4);        \
	OP(Y);               \
	FLUSH(Y, Y4)

#define RECIPROCAL(Y) VDIVPS Y, Y7, Y
#define ROOT(Y) VSQRTPS Y, Y

#define FLUSHEDROW(name, OP) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                         \
	FLUSHING;                     \
	VBROADCASTSS one32<>(SB), Y7; \
	FLUSHEDONE(OP, 0, Y0);        \
	FLUSHEDONE(OP, 32, Y1);       \
	FLUSHEDONE(OP, 64, Y2);       \
	FLUSHEDONE(OP, 96, Y3);       \
	NANS32;                       \
	STORE32;                      \
nans:                             \
	CANONICAL32;                  \
	STORE32

FLUSHEDROW(·rcpFtzRowF32, RECIPROCAL)
FLUSHEDROW(·sqrtFtzRowF32, ROOT)

#define HALFPICK(OP, JOIN, off) \
	VCVTPH2PS off(R9), Y0;   \
	VCVTPH2PS off(R10), Y1;  \
	VCMPPS $3, Y0, Y0, Y2;   \
	VCMPPS $3, Y1, Y1, Y3;   \
	OP Y1, Y0, Y4;           \
	OP Y0, Y1, Y5;           \
	JOIN Y4, Y5, Y5;         \
	VBLENDVPS Y2, Y1, Y5, Y5; \
	VBLENDVPS Y3, Y0, Y5, Y5; \
	TOHALF(Y5, Y4, off)

#define HALFPICKROW2(name, OP, JOIN) \
TEXT name(SB), NOSPLIT, $0-24 \
	ROWS;                          \
	VBROADCASTSS nan32<>(SB), Y15; \
	HALFPICK(OP, JOIN, 0);   \
	HALFPICK(OP, JOIN, 16);  \
	HALFPICK(OP, JOIN, 32);  \
	HALFPICK(OP, JOIN, 48);  \
	HALFPICK(OP, JOIN, 64);  \
	HALFPICK(OP, JOIN, 80);  \
	HALFPICK(OP, JOIN, 96);  \
	HALFPICK(OP, JOIN, 112); \
	VZEROUPPER;              \
	RET

HALFPICKROW2(·minRowF16x2, VMINPS, VORPS)
HALFPICKROW2(·maxRowF16x2, VMAXPS, VANDPS)

// bf16: the product of two is exact in f32 if no exponent is extreme. Where all operands
// of a row are 0 or between 2^-40 and 2^40, fma is as of f16; else it is left to Go.
DATA abs16<>(SB)/2, $0x7fff
GLOBL abs16<>(SB), RODATA|NOPTR, $2
DATA least16<>(SB)/2, $0x2b80
GLOBL least16<>(SB), RODATA|NOPTR, $2
DATA range16<>(SB)/2, $0x2800
GLOBL range16<>(SB), RODATA|NOPTR, $2

#define INRANGE(R, off) \
	VPAND off(R), Y11, Y0;   \
	VPXOR Y1, Y1, Y1;        \
	VPCMPEQW Y1, Y0, Y1;     \
	VPSUBW Y10, Y0, Y0;      \
	VPMINUW Y9, Y0, Y2;      \
	VPCMPEQW Y2, Y0, Y0;     \
	VPOR Y1, Y0, Y0;         \
	VPAND Y0, Y8, Y8

#define INRANGE3(off) \
	INRANGE(R9, off);  \
	INRANGE(R10, off); \
	INRANGE(R11, off)

#define RANGE \
	VPBROADCASTW abs16<>(SB), Y11;   \
	VPBROADCASTW least16<>(SB), Y10; \
	VPBROADCASTW range16<>(SB), Y9;  \
	VPCMPEQW Y8, Y8, Y8

#define BF16FMA(off, Y) \
	WIDENBF16(R9, off, Y0);  \
	WIDENBF16(R10, off, Y1); \
	WIDENBF16(R11, off, Y2); \
	VMULPS Y1, Y0, Y0;        \
	VADDPS Y2, Y0, Y;         \
	VSUBPS Y0, Y, Y3;         \
	VSUBPS Y3, Y, Y4;         \
	VSUBPS Y4, Y0, Y4;        \
	VSUBPS Y3, Y2, Y5;        \
	VADDPS Y5, Y4, Y4;        \
	VXORPS Y4, Y, Y5;         \
	VPSRAD $31, Y5, Y5;       \
	VCMPPS $0x0c, Y15, Y4, Y4; \
	VPAND Y4, Y5, Y5;         \
	VPADDD Y5, Y, Y;          \
	VPSRLD $31, Y4, Y4;       \
	VPOR Y4, Y, Y;            \
	VPSRLD $16, Y, Y4;        \
	VPAND Y14, Y4, Y4;        \
	VPADDD Y13, Y, Y;         \
	VPADDD Y4, Y, Y;          \
	VPSRLD $16, Y, Y

#define BF16FMA2(off) \
	BF16FMA(off, Y6);         \
	BF16FMA((off+16), Y7);    \
	VPACKUSDW Y7, Y6, Y6;     \
	VPERMQ $0xd8, Y6, Y6;     \
	VMOVDQU Y6, off(DI)

// func fmaRowBF16(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaRowBF16(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	RANGE
	INRANGE3(0)
	INRANGE3(32)
	VPMOVMSKB Y8, AX
	CMPL AX, $-1
	JNE extreme
	ROUNDING
	VXORPS Y15, Y15, Y15
	BF16FMA2(0)
	BF16FMA2(32)
	VZEROUPPER
	RET
extreme:
	VZEROUPPER
	JMP ·fmaBF16(SB)

// func fmaRowBF16x2(d unsafe.Pointer, w *warp, in *instr)
TEXT ·fmaRowBF16x2(SB), NOSPLIT, $0-24
	ROWS
	THIRD
	RANGE
	INRANGE3(0)
	INRANGE3(32)
	INRANGE3(64)
	INRANGE3(96)
	VPMOVMSKB Y8, AX
	CMPL AX, $-1
	JNE extreme
	ROUNDING
	VXORPS Y15, Y15, Y15
	BF16FMA2(0)
	BF16FMA2(32)
	BF16FMA2(64)
	BF16FMA2(96)
	VZEROUPPER
	RET
extreme:
	VZEROUPPER
	JMP ·fmaBF16x2(SB)

#define SELECT64(off) \
	LANES64(Y2);            \
	VMOVUPD off(R10), Y0;   \
	VMOVUPD off(R9), Y1;    \
	VBLENDVPD Y2, Y1, Y0, Y0; \
	VMOVUPD Y0, off(DI)

// func selpRow64(d unsafe.Pointer, w *warp, in *instr)
TEXT ·selpRow64(SB), NOSPLIT, $0-24
	ROWS
	MOVQ warp_preds(SI), CX
	MOVL instr_c(BX), DX
	MOVL (CX)(DX*4), AX
	MOVBLZX instr_notC(BX), DX
	NEGL DX
	XORL DX, AX
	VMOVQ AX, X15
	VPBROADCASTQ X15, Y15
	VMOVDQU bits64<>(SB), Y14
	SELECT64(0)
	SELECT64(32)
	SELECT64(64)
	SELECT64(96)
	SELECT64(128)
	SELECT64(160)
	SELECT64(192)
	SELECT64(224)
	VZEROUPPER
	RET

// func multiplyTile(c *float32, a *tileRow, b *float32, t *tile)
TEXT ·multiplyTile(SB), NOSPLIT, $0-32
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ t+24(FP), BX
	MOVQ tile_rows(BX), CX
	MOVQ tile_k(BX), R8
	MOVQ tile_strideB(BX), R9
	SHLQ $2, R9
	MOVQ tile_strideC(BX), R10
	SHLQ $2, R10
	VBROADCASTSS nan32<>(SB), Y15
next:
	TESTQ CX, CX
	JZ done
	VMOVUPS (DI), Y0
	MOVQ DX, R11
	XORQ R12, R12
product:
	CMPQ R12, R8
	JGE store
	VBROADCASTSS (SI)(R12*4), Y1
	VFMADD231PS (R11), Y1, Y0
	ADDQ R9, R11
	INCQ R12
	JMP product
store:
	CANON32(Y0, Y4)
	VMOVUPS Y0, (DI)
	ADDQ R10, DI
	ADDQ $64, SI
	DECQ CX
	JMP next
done:
	VZEROUPPER
	RET

// func fillRow32(d unsafe.Pointer, v uint32)
TEXT ·fillRow32(SB), NOSPLIT, $0-12
	MOVQ d+0(FP), DI
	MOVL v+8(FP), AX
	VMOVD AX, X0
	VPBROADCASTD X0, Y0
	VMOVDQU Y0, 0(DI)
	VMOVDQU Y0, 32(DI)
	VMOVDQU Y0, 64(DI)
	VMOVDQU Y0, 96(DI)
	VZEROUPPER
	RET
