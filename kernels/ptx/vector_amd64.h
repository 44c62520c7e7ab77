// What the assembly of rows has in common.

// ROWS loads the addresses of the destination, DI, and of the sources, R9 and R10.
#define ROWS \
	MOVQ d+0(FP), DI;       \
	MOVQ w+8(FP), SI;       \
	MOVQ in+16(FP), BX;     \
	MOVQ warp_regs(SI), R8; \
	MOVL instr_a(BX), R9;   \
	ADDQ R8, R9;            \
	MOVL instr_b(BX), R10;  \
	ADDQ R8, R10

// SOURCES does the same in a function without a destination.
#define SOURCES \
	MOVQ w+0(FP), SI;       \
	MOVQ in+8(FP), BX;      \
	MOVQ warp_regs(SI), R8; \
	MOVL instr_a(BX), R9;   \
	ADDQ R8, R9;            \
	MOVL instr_b(BX), R10;  \
	ADDQ R8, R10

// THIRD loads the address of the source c, R11.
#define THIRD \
	MOVL instr_c(BX), R11; \
	ADDQ R8, R11

#define NANS32 \
	VCMPPS $3, Y0, Y1, Y4; \
	VCMPPS $3, Y2, Y3, Y5; \
	VORPS Y4, Y5, Y4;      \
	VMOVMSKPS Y4, AX;      \
	TESTL AX, AX;          \
	JNZ nans

#define STORE32 \
	VMOVUPS Y0, 0(DI);  \
	VMOVUPS Y1, 32(DI); \
	VMOVUPS Y2, 64(DI); \
	VMOVUPS Y3, 96(DI); \
	VZEROUPPER;         \
	RET

#define CANONICAL32 \
	VBROADCASTSS nan32<>(SB), Y6; \
	VCMPPS $3, Y0, Y0, Y4;        \
	VBLENDVPS Y4, Y6, Y0, Y0;     \
	VCMPPS $3, Y1, Y1, Y4;        \
	VBLENDVPS Y4, Y6, Y1, Y1;     \
	VCMPPS $3, Y2, Y2, Y4;        \
	VBLENDVPS Y4, Y6, Y2, Y2;     \
	VCMPPS $3, Y3, Y3, Y4;        \
	VBLENDVPS Y4, Y6, Y3, Y3

DATA nan32<>(SB)/4, $0x7fffffff
GLOBL nan32<>(SB), RODATA|NOPTR, $4

#define SIGNS \
	VMOVMSKPS Y0, AX; \
	VMOVMSKPS Y1, BX; \
	VMOVMSKPS Y2, CX; \
	VMOVMSKPS Y3, DX; \
	SHLL $8, BX;      \
	SHLL $16, CX;     \
	SHLL $24, DX;     \
	ORL BX, AX;       \
	ORL DX, CX;       \
	ORL CX, AX;       \
	VZEROUPPER


DATA bits64<>+0(SB)/8, $1
DATA bits64<>+8(SB)/8, $2
DATA bits64<>+16(SB)/8, $4
DATA bits64<>+24(SB)/8, $8
GLOBL bits64<>(SB), RODATA|NOPTR, $32

// LANES32 makes, of the low 8 bits of the mask that fills Y15, the lanes of Y, and
// moves on to the next 8. Y14 holds the bits.
#define LANES32(Y) \
	VPAND Y14, Y15, Y;   \
	VPCMPEQD Y14, Y, Y;  \
	VPSRLD $8, Y15, Y15

#define LANES64(Y) \
	VPAND Y14, Y15, Y;   \
	VPCMPEQQ Y14, Y, Y;  \
	VPSRLQ $4, Y15, Y15
