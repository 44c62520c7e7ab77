//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// No instruction here fuses a multiplication with an addition, and every sum starts with +0 plus its first
// term, as in the Go twins. A lane's sum is therefore never -0, and adding +0 for a lane without a term
// changes nothing.

// DOT adds the products of two vectors of the shared row, S0 and S1, with a row of the other operand to two
// vectors of lanes.
#define DOT(off0, off1, row, S0, S1, T0, T1, L0, L1) \
	VMULPS off0(row)(CX*1), S0, T0; \
	VMULPS off1(row)(CX*1), S1, T1; \
	VADDPS T0, L0, L0;              \
	VADDPS T1, L1, L1

// DOT1 does the same for one vector.
#define DOT1(off, row, S, T, L) \
	VMULPS off(row)(CX*1), S, T; \
	VADDPS T, L, L

// STORE writes the four sums in the named registers to out, and advances it.
#define STORE(A, B, C, D) \
	MOVQ  dotQuads_out+0(DI), AX;  \
	VMOVSS A, (AX)(R12*1);         \
	MOVQ  dotQuads_out+8(DI), AX;  \
	VMOVSS B, (AX)(R12*1);         \
	MOVQ  dotQuads_out+16(DI), AX; \
	VMOVSS C, (AX)(R12*1);         \
	MOVQ  dotQuads_out+24(DI), AX; \
	VMOVSS D, (AX)(R12*1);         \
	ADDQ  BX, R12

// DOT_LOAD loads the fields of dotQuads. Registers:
//	DI: w       SI: shared        R8, R9, R10, R11: other
//	R12: bytes by which out has advanced, BX: by which it advances per step
//	R13: steps left               DX: bytes of the whole 32 lanes of a vector
#define DOT_LOAD \
	MOVQ w+0(FP), DI;               \
	MOVQ dotQuads_shared(DI), SI;   \
	MOVQ dotQuads_other+0(DI), R8;  \
	MOVQ dotQuads_other+8(DI), R9;  \
	MOVQ dotQuads_other+16(DI), R10; \
	MOVQ dotQuads_other+24(DI), R11; \
	MOVQ dotQuads_outStep(DI), BX;  \
	SHLQ $2, BX;                    \
	XORQ R12, R12;                  \
	MOVQ dotQuads_n(DI), R13;       \
	MOVQ dotQuads_d(DI), DX;        \
	ANDQ $~31, DX;                  \
	SHLQ $2, DX

// DOT_NEXT advances to the next step's vectors.
#define DOT_NEXT \
	MOVQ dotQuads_sharedStep(DI), AX; \
	LEAQ (SI)(AX*4), SI;              \
	MOVQ dotQuads_otherStep(DI), AX;  \
	LEAQ (R8)(AX*4), R8;              \
	LEAQ (R9)(AX*4), R9;              \
	LEAQ (R10)(AX*4), R10;            \
	LEAQ (R11)(AX*4), R11

// WEIGH_LOAD loads the fields of weighQuads. Registers:
//	DI: w    R8, R9, R10, R11: e    SI: v    DX: rows
//	R12: bytes of a row    CX: byte offset of the current columns
#define WEIGH_LOAD \
	MOVQ w+0(FP), DI;               \
	MOVQ weighQuads_e+0(DI), R8;    \
	MOVQ weighQuads_e+8(DI), R9;    \
	MOVQ weighQuads_e+16(DI), R10;  \
	MOVQ weighQuads_e+24(DI), R11;  \
	MOVQ weighQuads_v(DI), SI;      \
	MOVQ weighQuads_n(DI), DX;      \
	MOVQ weighQuads_d(DI), R12;     \
	SHLQ $2, R12;                   \
	XORQ CX, CX

// WEIGH adds the two vectors V0 and V1 of row BX, weighted by e, to two sums.
#define WEIGH(e, V0, V1, E, T0, T1, S0, S1) \
	VBROADCASTSS (e)(BX*4), E; \
	VMULPS V0, E, T0;          \
	VMULPS V1, E, T1;          \
	VADDPS T0, S0, S0;         \
	VADDPS T1, S1, S1

// WEIGH1 does the same for one vector.
#define WEIGH1(e, V, E, T, S) \
	VBROADCASTSS (e)(BX*4), E; \
	VMULPS V, E, T;            \
	VADDPS T, S, S

// EXP_LOAD loads m, into M, and the first of expConstants.
#define EXP_LOAD(M, LOWEST, LOG2E, ROUND, HI, LO) \
	MOVQ dst+0(FP), DI;                         \
	MOVQ x+8(FP), SI;                           \
	MOVQ n+16(FP), CX;                          \
	MOVQ c+32(FP), AX;                          \
	VBROADCASTSS m+24(FP), M;                   \
	VBROADCASTSS 0(AX), LOWEST;                 \
	VBROADCASTSS 4(AX), LOG2E;                  \
	VBROADCASTSS 8(AX), ROUND;                  \
	VBROADCASTSS 12(AX), HI;                    \
	VBROADCASTSS 16(AX), LO

// func dotQuadsAVX512(w *dotQuads)
TEXT ·dotQuadsAVX512(SB), NOSPLIT, $0-8
	DOT_LOAD

	// K1 and K2: masks of the lanes left after the last whole 32.
	MOVQ  dotQuads_d(DI), CX
	ANDQ  $31, CX
	MOVL  $1, R15
	SHLL  CX, R15
	DECL  R15
	KMOVW R15, K1
	MOVL  R15, AX
	SHRL  $16, AX
	KMOVW AX, K2

step512:
	VPXORD Z0, Z0, Z0
	VMOVAPS Z0, Z1
	VMOVAPS Z0, Z2
	VMOVAPS Z0, Z3
	VMOVAPS Z0, Z4
	VMOVAPS Z0, Z5
	VMOVAPS Z0, Z6
	VMOVAPS Z0, Z7
	XORQ    CX, CX
	CMPQ    CX, DX
	JGE     rest512

whole512:
	VMOVUPS (SI)(CX*1), Z8
	VMOVUPS 64(SI)(CX*1), Z9
	DOT(0, 64, R8, Z8, Z9, Z10, Z11, Z0, Z1)
	DOT(0, 64, R9, Z8, Z9, Z12, Z13, Z2, Z3)
	DOT(0, 64, R10, Z8, Z9, Z14, Z15, Z4, Z5)
	DOT(0, 64, R11, Z8, Z9, Z16, Z17, Z6, Z7)
	ADDQ    $128, CX
	CMPQ    CX, DX
	JLT     whole512

rest512:
	TESTL     R15, R15
	JZ        reduce512
	VMOVUPS.Z (SI)(CX*1), K1, Z8
	VMOVUPS.Z 64(SI)(CX*1), K2, Z9
	VMULPS.Z  (R8)(CX*1), Z8, K1, Z10
	VMULPS.Z  64(R8)(CX*1), Z9, K2, Z11
	VMULPS.Z  (R9)(CX*1), Z8, K1, Z12
	VMULPS.Z  64(R9)(CX*1), Z9, K2, Z13
	VMULPS.Z  (R10)(CX*1), Z8, K1, Z14
	VMULPS.Z  64(R10)(CX*1), Z9, K2, Z15
	VMULPS.Z  (R11)(CX*1), Z8, K1, Z16
	VMULPS.Z  64(R11)(CX*1), Z9, K2, Z17
	VADDPS    Z10, Z0, Z0
	VADDPS    Z11, Z1, Z1
	VADDPS    Z12, Z2, Z2
	VADDPS    Z13, Z3, Z3
	VADDPS    Z14, Z4, Z4
	VADDPS    Z15, Z5, Z5
	VADDPS    Z16, Z6, Z6
	VADDPS    Z17, Z7, Z7

reduce512:
	// Lanes l and l xor 16.
	VADDPS Z1, Z0, Z0
	VADDPS Z3, Z2, Z2
	VADDPS Z5, Z4, Z4
	VADDPS Z7, Z6, Z6

	// xor 8, two of the four dot products in one register.
	VSHUFF32X4 $0x44, Z2, Z0, Z8
	VSHUFF32X4 $0xee, Z2, Z0, Z9
	VSHUFF32X4 $0x44, Z6, Z4, Z10
	VSHUFF32X4 $0xee, Z6, Z4, Z11
	VADDPS     Z9, Z8, Z8
	VADDPS     Z11, Z10, Z10

	// xor 4, all four in one register.
	VSHUFF32X4 $0x88, Z10, Z8, Z0
	VSHUFF32X4 $0xdd, Z10, Z8, Z1
	VADDPS     Z1, Z0, Z0

	// xor 2 and xor 1.
	VPERMILPS $0x4e, Z0, Z1
	VADDPS    Z1, Z0, Z0
	VPERMILPS $0xb1, Z0, Z1
	VADDPS    Z1, Z0, Z0

	VEXTRACTF32X4 $1, Z0, X1
	VEXTRACTF32X4 $2, Z0, X2
	VEXTRACTF32X4 $3, Z0, X3
	STORE(X0, X1, X2, X3)
	DOT_NEXT
	DECQ R13
	JNZ  step512
	VZEROUPPER
	RET

// func dotQuadsAVX2(w *dotQuads)
//
// There are registers for half of the lanes of four dot products: first lanes 0-7 and 16-23, then lanes 8-15
// and 24-31.
TEXT ·dotQuadsAVX2(SB), NOSPLIT, $0-8
	DOT_LOAD
	MOVQ dotQuads_d(DI), R15
	ANDQ $31, R15

step256:
	VXORPS  Y0, Y0, Y0
	VMOVAPS Y0, Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y0, Y3
	VMOVAPS Y0, Y4
	VMOVAPS Y0, Y5
	VMOVAPS Y0, Y6
	VMOVAPS Y0, Y7
	XORQ    CX, CX
	CMPQ    CX, DX
	JGE     evenRest256

evenWhole256:
	VMOVUPS (SI)(CX*1), Y8
	VMOVUPS 64(SI)(CX*1), Y9
	DOT(0, 64, R8, Y8, Y9, Y10, Y11, Y0, Y1)
	DOT(0, 64, R9, Y8, Y9, Y12, Y13, Y2, Y3)
	DOT(0, 64, R10, Y8, Y9, Y10, Y11, Y4, Y5)
	DOT(0, 64, R11, Y8, Y9, Y12, Y13, Y6, Y7)
	ADDQ    $128, CX
	CMPQ    CX, DX
	JLT     evenWhole256

evenRest256:
	CMPQ    R15, $8
	JLT     evenReduce256
	VMOVUPS (SI)(CX*1), Y8
	DOT1(0, R8, Y8, Y10, Y0)
	DOT1(0, R9, Y8, Y11, Y2)
	DOT1(0, R10, Y8, Y12, Y4)
	DOT1(0, R11, Y8, Y13, Y6)
	CMPQ    R15, $24
	JLT     evenReduce256
	VMOVUPS 64(SI)(CX*1), Y9
	DOT1(64, R8, Y9, Y10, Y1)
	DOT1(64, R9, Y9, Y11, Y3)
	DOT1(64, R10, Y9, Y12, Y5)
	DOT1(64, R11, Y9, Y13, Y7)

evenReduce256:
	// Lanes l and l xor 16.
	VADDPS Y1, Y0, Y12
	VADDPS Y3, Y2, Y13
	VADDPS Y5, Y4, Y14
	VADDPS Y7, Y6, Y15

	VXORPS  Y0, Y0, Y0
	VMOVAPS Y0, Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y0, Y3
	VMOVAPS Y0, Y4
	VMOVAPS Y0, Y5
	VMOVAPS Y0, Y6
	VMOVAPS Y0, Y7
	XORQ    CX, CX
	CMPQ    CX, DX
	JGE     oddRest256

oddWhole256:
	VMOVUPS 32(SI)(CX*1), Y8
	VMOVUPS 96(SI)(CX*1), Y9
	DOT(32, 96, R8, Y8, Y9, Y10, Y11, Y0, Y1)
	DOT(32, 96, R9, Y8, Y9, Y10, Y11, Y2, Y3)
	DOT(32, 96, R10, Y8, Y9, Y10, Y11, Y4, Y5)
	DOT(32, 96, R11, Y8, Y9, Y10, Y11, Y6, Y7)
	ADDQ    $128, CX
	CMPQ    CX, DX
	JLT     oddWhole256

oddRest256:
	CMPQ    R15, $16
	JLT     reduce256
	VMOVUPS 32(SI)(CX*1), Y8
	DOT1(32, R8, Y8, Y10, Y0)
	DOT1(32, R9, Y8, Y11, Y2)
	DOT1(32, R10, Y8, Y10, Y4)
	DOT1(32, R11, Y8, Y11, Y6)

reduce256:
	// xor 16, then xor 8.
	VADDPS Y1, Y0, Y0
	VADDPS Y3, Y2, Y2
	VADDPS Y5, Y4, Y4
	VADDPS Y7, Y6, Y6
	VADDPS Y12, Y0, Y0
	VADDPS Y13, Y2, Y2
	VADDPS Y14, Y4, Y4
	VADDPS Y15, Y6, Y6

	// xor 4, two of the four dot products in one register.
	VPERM2F128 $0x20, Y2, Y0, Y8
	VPERM2F128 $0x31, Y2, Y0, Y9
	VPERM2F128 $0x20, Y6, Y4, Y10
	VPERM2F128 $0x31, Y6, Y4, Y11
	VADDPS     Y9, Y8, Y8
	VADDPS     Y11, Y10, Y10

	// xor 2, all four: the first and third in the lower half.
	VUNPCKLPD Y10, Y8, Y0
	VUNPCKHPD Y10, Y8, Y1
	VADDPS    Y1, Y0, Y0

	// xor 1.
	VPERMILPS $0xb1, Y0, Y1
	VADDPS    Y1, Y0, Y0

	VEXTRACTF128 $1, Y0, X1
	VPERMILPS    $0x4e, X0, X2
	VPERMILPS    $0x4e, X1, X3
	STORE(X0, X1, X2, X3)
	DOT_NEXT
	DECQ R13
	JNZ  step256
	VZEROUPPER
	RET

// func weighQuadsAVX512(w *weighQuads)
//
// 32 columns at a time; K1 and K2 mask those that exist.
TEXT ·weighQuadsAVX512(SB), NOSPLIT, $0-8
	WEIGH_LOAD
	MOVL  $0xffff, R15
	KMOVW R15, K1
	KMOVW R15, K2

columns512:
	MOVQ R12, AX
	SUBQ CX, AX
	JLE  done512
	CMPQ AX, $128
	JGE  load512

	// The last 8, 16 or 24 columns.
	MOVQ  CX, R13
	MOVQ  AX, CX
	SHRQ  $2, CX
	MOVL  $1, R15
	SHLL  CX, R15
	DECL  R15
	MOVQ  R13, CX
	KMOVW R15, K1
	SHRL  $16, R15
	KMOVW R15, K2

load512:
	MOVQ      weighQuads_acc+0(DI), AX
	VMOVUPS.Z (AX)(CX*1), K1, Z0
	VMOVUPS.Z 64(AX)(CX*1), K2, Z1
	MOVQ      weighQuads_acc+8(DI), AX
	VMOVUPS.Z (AX)(CX*1), K1, Z2
	VMOVUPS.Z 64(AX)(CX*1), K2, Z3
	MOVQ      weighQuads_acc+16(DI), AX
	VMOVUPS.Z (AX)(CX*1), K1, Z4
	VMOVUPS.Z 64(AX)(CX*1), K2, Z5
	MOVQ      weighQuads_acc+24(DI), AX
	VMOVUPS.Z (AX)(CX*1), K1, Z6
	VMOVUPS.Z 64(AX)(CX*1), K2, Z7
	LEAQ      (SI)(CX*1), R13
	XORQ      BX, BX

row512:
	VMOVUPS.Z (R13), K1, Z8
	VMOVUPS.Z 64(R13), K2, Z9
	WEIGH(R8, Z8, Z9, Z10, Z11, Z12, Z0, Z1)
	WEIGH(R9, Z8, Z9, Z13, Z14, Z15, Z2, Z3)
	WEIGH(R10, Z8, Z9, Z16, Z17, Z18, Z4, Z5)
	WEIGH(R11, Z8, Z9, Z19, Z20, Z21, Z6, Z7)
	ADDQ      R12, R13
	INCQ      BX
	CMPQ      BX, DX
	JLT       row512

	MOVQ    weighQuads_acc+0(DI), AX
	VMOVUPS Z0, K1, (AX)(CX*1)
	VMOVUPS Z1, K2, 64(AX)(CX*1)
	MOVQ    weighQuads_acc+8(DI), AX
	VMOVUPS Z2, K1, (AX)(CX*1)
	VMOVUPS Z3, K2, 64(AX)(CX*1)
	MOVQ    weighQuads_acc+16(DI), AX
	VMOVUPS Z4, K1, (AX)(CX*1)
	VMOVUPS Z5, K2, 64(AX)(CX*1)
	MOVQ    weighQuads_acc+24(DI), AX
	VMOVUPS Z6, K1, (AX)(CX*1)
	VMOVUPS Z7, K2, 64(AX)(CX*1)
	ADDQ    $128, CX
	JMP     columns512

done512:
	VZEROUPPER
	RET

// func weighQuadsAVX2(w *weighQuads)
//
// 16 columns at a time, then the last 8.
TEXT ·weighQuadsAVX2(SB), NOSPLIT, $0-8
	WEIGH_LOAD

columns256:
	MOVQ R12, AX
	SUBQ CX, AX
	JLE  done256
	LEAQ (SI)(CX*1), R13
	XORQ BX, BX
	CMPQ AX, $64
	JLT  eight256

	MOVQ    weighQuads_acc+0(DI), AX
	VMOVUPS (AX)(CX*1), Y0
	VMOVUPS 32(AX)(CX*1), Y1
	MOVQ    weighQuads_acc+8(DI), AX
	VMOVUPS (AX)(CX*1), Y2
	VMOVUPS 32(AX)(CX*1), Y3
	MOVQ    weighQuads_acc+16(DI), AX
	VMOVUPS (AX)(CX*1), Y4
	VMOVUPS 32(AX)(CX*1), Y5
	MOVQ    weighQuads_acc+24(DI), AX
	VMOVUPS (AX)(CX*1), Y6
	VMOVUPS 32(AX)(CX*1), Y7

row256:
	VMOVUPS (R13), Y8
	VMOVUPS 32(R13), Y9
	WEIGH(R8, Y8, Y9, Y10, Y12, Y13, Y0, Y1)
	WEIGH(R9, Y8, Y9, Y11, Y14, Y15, Y2, Y3)
	WEIGH(R10, Y8, Y9, Y10, Y12, Y13, Y4, Y5)
	WEIGH(R11, Y8, Y9, Y11, Y14, Y15, Y6, Y7)
	ADDQ    R12, R13
	INCQ    BX
	CMPQ    BX, DX
	JLT     row256

	MOVQ    weighQuads_acc+0(DI), AX
	VMOVUPS Y0, (AX)(CX*1)
	VMOVUPS Y1, 32(AX)(CX*1)
	MOVQ    weighQuads_acc+8(DI), AX
	VMOVUPS Y2, (AX)(CX*1)
	VMOVUPS Y3, 32(AX)(CX*1)
	MOVQ    weighQuads_acc+16(DI), AX
	VMOVUPS Y4, (AX)(CX*1)
	VMOVUPS Y5, 32(AX)(CX*1)
	MOVQ    weighQuads_acc+24(DI), AX
	VMOVUPS Y6, (AX)(CX*1)
	VMOVUPS Y7, 32(AX)(CX*1)
	ADDQ    $64, CX
	JMP     columns256

eight256:
	MOVQ    weighQuads_acc+0(DI), AX
	VMOVUPS (AX)(CX*1), Y0
	MOVQ    weighQuads_acc+8(DI), AX
	VMOVUPS (AX)(CX*1), Y2
	MOVQ    weighQuads_acc+16(DI), AX
	VMOVUPS (AX)(CX*1), Y4
	MOVQ    weighQuads_acc+24(DI), AX
	VMOVUPS (AX)(CX*1), Y6

eightRow256:
	VMOVUPS (R13), Y8
	WEIGH1(R8, Y8, Y9, Y13, Y0)
	WEIGH1(R9, Y8, Y10, Y14, Y2)
	WEIGH1(R10, Y8, Y11, Y13, Y4)
	WEIGH1(R11, Y8, Y12, Y14, Y6)
	ADDQ    R12, R13
	INCQ    BX
	CMPQ    BX, DX
	JLT     eightRow256

	MOVQ    weighQuads_acc+0(DI), AX
	VMOVUPS Y0, (AX)(CX*1)
	MOVQ    weighQuads_acc+8(DI), AX
	VMOVUPS Y2, (AX)(CX*1)
	MOVQ    weighQuads_acc+16(DI), AX
	VMOVUPS Y4, (AX)(CX*1)
	MOVQ    weighQuads_acc+24(DI), AX
	VMOVUPS Y6, (AX)(CX*1)

done256:
	VZEROUPPER
	RET

// func maxAVX2(x *float32, n int) float32
TEXT ·maxAVX2(SB), NOSPLIT, $0-20
	MOVQ    x+0(FP), SI
	MOVQ    n+8(FP), CX
	VMOVUPS (SI), Y0
	VMOVAPS Y0, Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y0, Y3

max256:
	VMAXPS (SI), Y0, Y0
	VMAXPS 32(SI), Y1, Y1
	VMAXPS 64(SI), Y2, Y2
	VMAXPS 96(SI), Y3, Y3
	ADDQ   $128, SI
	SUBQ   $32, CX
	JNZ    max256

	VMAXPS       Y1, Y0, Y0
	VMAXPS       Y3, Y2, Y2
	VMAXPS       Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VMAXPS       X1, X0, X0
	VPERMILPS    $0x4e, X0, X1
	VMAXPS       X1, X0, X0
	VPERMILPS    $0xb1, X0, X1
	VMAXPS       X1, X0, X0
	VMOVSS       X0, ret+16(FP)
	VZEROUPPER
	RET

// func expSubAVX512(dst, x *float32, n int, m float32, c *[12]float32)
TEXT ·expSubAVX512(SB), NOSPLIT, $0-40
	EXP_LOAD(Z31, Z30, Z29, Z28, Z27, Z26)
	VBROADCASTSS 20(AX), Z25
	VBROADCASTSS 24(AX), Z24
	VBROADCASTSS 28(AX), Z23
	VBROADCASTSS 32(AX), Z22
	VBROADCASTSS 36(AX), Z21
	VBROADCASTSS 40(AX), Z20
	VBROADCASTSS 44(AX), Z19

exp512:
	VMOVUPS (SI), Z0
	VSUBPS  Z31, Z0, Z0
	VMAXPS  Z30, Z0, Z0

	VMULPS Z29, Z0, Z1
	VADDPS Z28, Z1, Z1 // t
	VSUBPS Z28, Z1, Z2 // n
	VMULPS Z27, Z2, Z3
	VSUBPS Z3, Z0, Z0
	VMULPS Z26, Z2, Z3
	VSUBPS Z3, Z0, Z0 // r

	VMULPS Z0, Z25, Z2
	VADDPS Z24, Z2, Z2
	VMULPS Z0, Z2, Z2
	VADDPS Z23, Z2, Z2
	VMULPS Z0, Z2, Z2
	VADDPS Z22, Z2, Z2
	VMULPS Z0, Z2, Z2
	VADDPS Z21, Z2, Z2 // q
	VMULPS Z0, Z0, Z3
	VMULPS Z3, Z2, Z2
	VADDPS Z2, Z0, Z0
	VADDPS Z20, Z0, Z0 // p

	VPSLLD  $23, Z1, Z1
	VMULPS  Z1, Z0, Z0
	VMULPS  Z19, Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JNZ     exp512
	VZEROUPPER
	RET

// func expSubAVX2(dst, x *float32, n int, m float32, c *[12]float32)
TEXT ·expSubAVX2(SB), NOSPLIT, $0-40
	EXP_LOAD(Y15, Y14, Y13, Y12, Y11, Y10)
	VBROADCASTSS 20(AX), Y9
	VBROADCASTSS 24(AX), Y8
	VBROADCASTSS 28(AX), Y7
	VBROADCASTSS 32(AX), Y6
	VBROADCASTSS 36(AX), Y5
	VBROADCASTSS 40(AX), Y4

exp256:
	VMOVUPS (SI), Y0
	VSUBPS  Y15, Y0, Y0
	VMAXPS  Y14, Y0, Y0

	VMULPS Y13, Y0, Y1
	VADDPS Y12, Y1, Y1 // t
	VSUBPS Y12, Y1, Y2 // n
	VMULPS Y11, Y2, Y3
	VSUBPS Y3, Y0, Y0
	VMULPS Y10, Y2, Y3
	VSUBPS Y3, Y0, Y0 // r

	VMULPS Y0, Y9, Y2
	VADDPS Y8, Y2, Y2
	VMULPS Y0, Y2, Y2
	VADDPS Y7, Y2, Y2
	VMULPS Y0, Y2, Y2
	VADDPS Y6, Y2, Y2
	VMULPS Y0, Y2, Y2
	VADDPS Y5, Y2, Y2 // q
	VMULPS Y0, Y0, Y3
	VMULPS Y3, Y2, Y2
	VADDPS Y2, Y0, Y0
	VADDPS Y4, Y0, Y0 // p

	VPSLLD       $23, Y1, Y1
	VMULPS       Y1, Y0, Y0
	VBROADCASTSS 44(AX), Y3
	VMULPS       Y3, Y0, Y0
	VMOVUPS      Y0, (DI)
	ADDQ         $32, SI
	ADDQ         $32, DI
	SUBQ         $8, CX
	JNZ          exp256
	VZEROUPPER
	RET

// func prefetch(p unsafe.Pointer, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	ADDQ SI, CX
	ANDQ $~63, SI

line:
	PREFETCHT0 (SI)
	ADDQ       $64, SI
	CMPQ       SI, CX
	JLT        line
	RET
