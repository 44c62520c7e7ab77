//go:build !purego

#include "textflag.h"

// Each loop goes through its numbers 32 at a time, and reads all 32 before it
// writes any.

#define ARGS \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX

// WRITE256 writes the 32 float32 in Y0 to Y3.
#define WRITE256 \
	VMOVUPS Y0, (DI);   \
	VMOVUPS Y1, 32(DI); \
	VMOVUPS Y2, 64(DI); \
	VMOVUPS Y3, 96(DI); \
	ADDQ    $128, DI

// func decodeF16AVX2(dst *float32, src *byte, n int)
TEXT ·decodeF16AVX2(SB), NOSPLIT, $0-24
	ARGS

decodeF16:
	VCVTPH2PS (SI), Y0
	VCVTPH2PS 16(SI), Y1
	VCVTPH2PS 32(SI), Y2
	VCVTPH2PS 48(SI), Y3
	WRITE256
	ADDQ      $64, SI
	SUBQ      $32, CX
	JNZ       decodeF16
	VZEROUPPER
	RET

// func decodeBF16AVX2(dst *float32, src *byte, n int)
TEXT ·decodeBF16AVX2(SB), NOSPLIT, $0-24
	ARGS

decodeBF16:
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPMOVZXWD 32(SI), Y2
	VPMOVZXWD 48(SI), Y3
	VPSLLD    $16, Y0, Y0
	VPSLLD    $16, Y1, Y1
	VPSLLD    $16, Y2, Y2
	VPSLLD    $16, Y3, Y3
	WRITE256
	ADDQ      $64, SI
	SUBQ      $32, CX
	JNZ       decodeBF16
	VZEROUPPER
	RET

// func decodeE5M2AVX2(dst *float32, src *byte, n int)
//
// E5M2 is the upper half of f16.
TEXT ·decodeE5M2AVX2(SB), NOSPLIT, $0-24
	ARGS

decodeE5M2:
	VPMOVZXBW (SI), X0
	VPMOVZXBW 8(SI), X1
	VPMOVZXBW 16(SI), X2
	VPMOVZXBW 24(SI), X3
	VPSLLW    $8, X0, X0
	VPSLLW    $8, X1, X1
	VPSLLW    $8, X2, X2
	VPSLLW    $8, X3, X3
	VCVTPH2PS X0, Y0
	VCVTPH2PS X1, Y1
	VCVTPH2PS X2, Y2
	VCVTPH2PS X3, Y3
	WRITE256
	ADDQ      $32, SI
	SUBQ      $32, CX
	JNZ       decodeE5M2
	VZEROUPPER
	RET

// E4M3 makes eight float32 of the E4M3 in the upper bytes of X's words. Such a
// word, shifted right by one below its sign, is the f16 number of 2^-8 times the
// value. The arithmetic shift also puts the sign where the f16 has the highest
// bit of its exponent, which has to go. The NaN needs an exception: read as f16,
// it is 2^-8 times 480, the number that would follow 448.
#define E4M3(X, Y) \
	VPSRAW  $1, X, X;            \
	VPAND   X15, X, X;           \
	VCVTPH2PS X, Y;              \
	VMULPS  Y14, Y, Y;           \
	VANDNPS Y, Y13, Y12;         \
	VCMPPS  $0, Y11, Y12, Y12;   \
	VANDPS  Y10, Y12, Y12;       \
	VXORPS  Y12, Y, Y

// func decodeE4M3AVX2(dst *float32, src *byte, n int)
TEXT ·decodeE4M3AVX2(SB), NOSPLIT, $0-24
	ARGS
	MOVL         $0xbf80bf80, AX // all but the f16's highest exponent bit
	VMOVD        AX, X15
	VPBROADCASTD X15, X15
	MOVL         $0x43800000, AX // 256
	VMOVD        AX, X14
	VPBROADCASTD X14, Y14
	MOVL         $0x80000000, AX // the sign
	VMOVD        AX, X13
	VPBROADCASTD X13, Y13
	MOVL         $0x43f00000, AX // 480
	VMOVD        AX, X11
	VPBROADCASTD X11, Y11
	MOVL         $0x3c300000, AX // the bits in which 480 and the quiet NaN differ
	VMOVD        AX, X10
	VPBROADCASTD X10, Y10

decodeE4M3:
	VPMOVZXBW (SI), X0
	VPMOVZXBW 8(SI), X1
	VPMOVZXBW 16(SI), X2
	VPMOVZXBW 24(SI), X3
	VPSLLW    $8, X0, X0
	VPSLLW    $8, X1, X1
	VPSLLW    $8, X2, X2
	VPSLLW    $8, X3, X3
	E4M3(X0, Y0)
	E4M3(X1, Y1)
	E4M3(X2, Y2)
	E4M3(X3, Y3)
	WRITE256
	ADDQ      $32, SI
	SUBQ      $32, CX
	JNZ       decodeE4M3
	VZEROUPPER
	RET

// func encodeF16AVX2(dst *byte, src *float32, n int)
//
// The immediate 0 has VCVTPS2PH round to nearest even, whatever MXCSR says.
TEXT ·encodeF16AVX2(SB), NOSPLIT, $0-24
	ARGS

encodeF16:
	VMOVUPS   (SI), Y0
	VMOVUPS   32(SI), Y1
	VMOVUPS   64(SI), Y2
	VMOVUPS   96(SI), Y3
	VCVTPS2PH $0, Y0, (DI)
	VCVTPS2PH $0, Y1, 16(DI)
	VCVTPS2PH $0, Y2, 32(DI)
	VCVTPS2PH $0, Y3, 48(DI)
	ADDQ      $128, SI
	ADDQ      $64, DI
	SUBQ      $32, CX
	JNZ       encodeF16
	VZEROUPPER
	RET

// BF16 rounds the eight float32 in Y to the bits of bf16, in its double words:
// it adds half a step less one, and one more if the result would be odd. A NaN
// becomes quiet instead.
#define BF16(Y) \
	VPSRLD    $16, Y, Y4;       \
	VPAND     Y15, Y4, Y5;      \
	VPADDD    Y14, Y, Y6;       \
	VPADDD    Y5, Y6, Y6;       \
	VPSRLD    $16, Y6, Y6;      \
	VPOR      Y13, Y4, Y4;      \
	VCMPPS    $3, Y, Y, Y7;     \
	VBLENDVPS Y7, Y4, Y6, Y

// func encodeBF16AVX2(dst *byte, src *float32, n int)
TEXT ·encodeBF16AVX2(SB), NOSPLIT, $0-24
	ARGS
	MOVL         $1, AX
	VMOVD        AX, X15
	VPBROADCASTD X15, Y15
	MOVL         $0x7fff, AX
	VMOVD        AX, X14
	VPBROADCASTD X14, Y14
	MOVL         $0x40, AX // the bit that makes a NaN quiet
	VMOVD        AX, X13
	VPBROADCASTD X13, Y13

encodeBF16:
	VMOVUPS   (SI), Y0
	VMOVUPS   32(SI), Y1
	VMOVUPS   64(SI), Y2
	VMOVUPS   96(SI), Y3
	BF16(Y0)
	BF16(Y1)
	BF16(Y2)
	BF16(Y3)

	// VPACKUSDW packs within 128-bit lanes: the 64-bit quarters are in the order 0 2 1 3.
	VPACKUSDW Y1, Y0, Y0
	VPACKUSDW Y3, Y2, Y2
	VPERMQ    $0xd8, Y0, Y0
	VPERMQ    $0xd8, Y2, Y2
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y2, 32(DI)
	ADDQ      $128, SI
	ADDQ      $64, DI
	SUBQ      $32, CX
	JNZ       encodeBF16
	VZEROUPPER
	RET
