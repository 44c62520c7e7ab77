//go:build !purego

#include "textflag.h"

// func dotsLanesAVX2(s *[4][8]float32, a, b0, b1, b2, b3 *float32, n int)
//
// Y0 to Y3 hold the eight parts of each of the four sums. Products are rounded
// before they are added: no VFMADD.
TEXT ·dotsLanesAVX2(SB), NOSPLIT, $0-56
	MOVQ s+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b0+16(FP), R8
	MOVQ b1+24(FP), R9
	MOVQ b2+32(FP), R10
	MOVQ b3+40(FP), R11
	MOVQ n+48(FP), CX
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS 64(DI), Y2
	VMOVUPS 96(DI), Y3
	XORQ AX, AX

eight:
	VMOVUPS (SI)(AX*4), Y4
	VMULPS  (R8)(AX*4), Y4, Y5
	VMULPS  (R9)(AX*4), Y4, Y6
	VMULPS  (R10)(AX*4), Y4, Y7
	VMULPS  (R11)(AX*4), Y4, Y8
	VADDPS  Y5, Y0, Y0
	VADDPS  Y6, Y1, Y1
	VADDPS  Y7, Y2, Y2
	VADDPS  Y8, Y3, Y3
	ADDQ    $8, AX
	CMPQ    AX, CX
	JLT     eight

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VZEROUPPER
	RET
