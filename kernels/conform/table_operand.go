package conform

import "math/big"

// operandOps returns instructions with unusual operands: constants in each place, and
// registers declared with another type of the same size.
func operandOps() []*Op {
	return []*Op{{
		Name: "constants for operands", in: []string{"b32", "b64", "b16", "f32", "f64", "pred"},
		out: []string{"b64", "b64", "b16", "f32", "f64", "b32", "b32", "b32", "b64", "f32"},
		body: `mul.wide.s32 %d0, %a0, -4;
			add.s64 %d1, %a1, -1;
			add.s16 %d2, %a2, -32768;
			fma.rn.f32 %d3, %a3, 0f40000000, 0fBF800000;
			mul.rn.f64 %d4, %a4, 0dBFE0000000000000;
			selp.b32 %d5, -1, 0x1f, %a5;
			mad.lo.s32 %d6, %a0, 3, -5;
			sub.u32 %d7, 0xffffffff, %a0;
			and.b64 %d8, %a1, 0xffffffff00000000;
			sub.rn.f32 %d9, 0f00000000, %a3;`,
		rows: rows(wholeNumbers(32), wholeNumbers(64), wholeNumbers(16), f32.numbers(), f64.numbers(), truth()),
		eval: each(func(a []uint64) []want {
			x := big.NewInt(0).Mul(s32.value(a[0]), big.NewInt(-4))
			chosen := uint64(0x1f)
			if a[5] != 0 {
				chosen = mask(32)
			}
			two, half := f32.one()+1<<f32.man, f64.one()-1<<f64.man
			return []want{
				{bits: wrap(x, 64)},
				{bits: a[1] - 1},
				{bits: a[2] + 0x8000},
				{bits: f32.fma(a[3], two, f32.one()|f32.sign(), nearest)},
				{f64.mul(a[4], half|f64.sign(), nearest), likeF64},
				{bits: chosen},
				{bits: a[0]*3 - 5},
				{bits: mask(32) - a[0]},
				{bits: a[1] &^ mask(32)},
				{bits: f32.sub(0, a[3], nearest)},
			}
		}),
	}, {
		Name: "registers of other types", in: []string{"b32", "b64", "b16", "f32", "f64"},
		out: []string{"b32", "b64", "b16", "f32", "f64", "b32"},
		declare: `.reg .u32 %u;
			.reg .s32 %s;
			.reg .u64 %x;
			.reg .s64 %y;
			.reg .u16 %v;
			.reg .f16 %h;
			.reg .f16x2 %hh;
			.reg .b32 %f;
			.reg .b64 %g;`,
		body: `mov.u32 %u, %a0;
			mov.s32 %s, 3;
			mul.lo.s32 %u, %u, %s;
			shr.s32 %d0, %u, 1;
			mov.b64 %x, %a1;
			neg.s64 %y, %x;
			max.u64 %d1, %y, %x;
			mov.u16 %v, %a2;
			not.b16 %d2, %v;
			mov.b32 %f, %a3;
			add.rn.f32 %d3, %f, %f;
			mov.b64 %g, %a4;
			add.rn.f64 %d4, %g, %a4;
			mov.b16 %h, %a2;
			mov.b32 %hh, {%h, %h};
			neg.f16x2 %hh, %hh;
			mov.b32 %d5, %hh;`,
		rows: rows(wholeNumbers(32), wholeNumbers(64), f16.numbers(), f32.numbers(), f64.numbers()),
		eval: each(func(a []uint64) []want {
			h := a[2] ^ f16.sign()
			return []want{
				{bits: wrap(big.NewInt(0).Rsh(s32.value(a[0]*3), 1), 32)},
				{bits: max(a[1], -a[1])},
				{bits: ^a[2]},
				{bits: f32.add(a[3], a[3], nearest)},
				{f64.add(a[4], a[4], nearest), likeF64},
				{h<<16 | h, likeF16x2},
			}
		}),
	}}
}
