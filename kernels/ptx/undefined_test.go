package ptx

import (
	"errors"
	"strings"
	"testing"
)

// TestUndefinedValues runs kernels that load undefined bytes: those that drop them pass, those that use them
// are reported at the use.
func TestUndefinedValues(t *testing.T) {
	const (
		half = "st.shared.u16 [tiles], 7; ld.shared.u32 %r6, [tiles];\n" // the upper half is undefined
		hole = "ld.shared.u32 %r6, [tiles+512];\n"                       // all of it is
	)
	for _, c := range []struct {
		name, body string
		kind       Kind
		says       string
	}{
		{"loaded and dropped", hole, noReport, ""},
		{"a sum that a choice drops", hole + "add.s32 %r6, %r6, 1; setp.gt.u32 %p1, %r1, 100; selp.b32 %r2, %r6, 7, %p1;", noReport, ""},
		{"a sum that a choice keeps", hole + "add.s32 %r6, %r6, 1; setp.gt.u32 %p1, %r1, 100; selp.b32 %r2, 7, %r6, %p1;", Uninitialized, "bytes 512 to 515 of shared memory"},
		{"a choice by it", hole + "setp.gt.u32 %p1, %r6, 100; selp.b32 %r2, 1, 2, %p1;", Uninitialized, "what is stored depends on bytes 512 to 515"},
		{"a choice by it of one value", hole + "setp.gt.u32 %p1, %r6, 100; selp.b32 %r2, 2, 2, %p1;", noReport, ""},
		{"a branch", hole + "setp.gt.u32 %p1, %r6, 100; @%p1 bra L; mov.u32 %r2, 1; L:", Uninitialized, "whether it executes depends on"},
		{"a branch that is decided otherwise", hole + "setp.gt.u32 %p1, %r6, 100; setp.gt.u32 %p2, %r1, 100; and.pred %p3, %p1, %p2; @%p3 bra L; mov.u32 %r2, 1; L:", noReport, ""},
		{"a combined comparison, decided otherwise", hole + "setp.lt.u32 %p2, %r1, 100; setp.gt.or.u32 %p1, %r6, 100, %p2; @%p1 bra L; mov.u32 %r2, 1; L:", noReport, ""},
		{"a combined comparison, not decided", hole + "setp.lt.u32 %p2, %r1, 100; setp.gt.and.u32 %p1, %r6, 100, %p2; @%p1 bra L; mov.u32 %r2, 1; L:", Uninitialized, "whether it executes"},
		{"an address", hole + "cvt.u64.u32 %rd6, %r6; add.u64 %rd6, %rd1, %rd6; ld.global.u32 %r2, [%rd6];", Uninitialized, "the address depends on"},
		{"a mask", hole + "shfl.sync.idx.b32 %r2, %r1, 0, 31, %r6;", Uninitialized, "the mask depends on"},
		{"an atomic", hole + "red.global.add.u32 [%rd1], %r6;", Uninitialized, "what the atomic does depends on"},
		{"an atomic on it", "red.shared.add.u32 [tiles+512], 1;", Uninitialized, "nothing has written byte 512"},
		{"exchanged in", "atom.shared.exch.b32 %r2, [tiles+512], 1;", Uninitialized, "nothing has written byte 512"},

		{"the half that is defined", half + "and.b32 %r2, %r6, 0xffff;", noReport, ""},
		{"the half that is defined, extracted", half + "mov.b32 {%h1, %h2}, %r6; cvt.u32.u16 %r2, %h1;", noReport, ""},
		{"the half that is defined, by bfe", half + "bfe.u32 %r2, %r6, 0, 16;", noReport, ""},
		{"all of it, by prmt", half + "prmt.b32 %r2, %r6, 0, 0x3210;", Uninitialized, ""},
		{"the half that is defined, by prmt of zeros", half + "prmt.b32 %r2, %r6, 0, 0x4410;", noReport, ""},
		{"the half that is defined, shifted", half + "shl.b32 %r2, %r6, 16;", noReport, ""},
		{"the half that is not, shifted", half + "shr.u32 %r2, %r6, 16;", Uninitialized, ""},
		{"the half that is not, replaced", half + "mov.u32 %r7, 5; bfi.b32 %r2, %r7, %r6, 16, 16;", noReport, ""},
		{"a choice of equal bits by lop3", half + "lop3.b32 %r2, %r6, 0xffff, 5, 0xca;", noReport, ""},
		{"a choice of other bits by lop3", half + "lop3.b32 %r2, %r6, -1, 5, 0xca;", Uninitialized, ""},
		{"both halves by lop3, one masked", half + "lop3.b32 %r2, %r6, 0xffff, 5, 0x80;", noReport, ""},
		{"one half of a packed sum", half + "fma.rn.f16x2 %r6, %r6, %r6, %r6; and.b32 %r2, %r6, 0xffff;", noReport, ""},
		{"the other half of a packed sum", half + "fma.rn.f16x2 %r6, %r6, %r6, %r6; shr.u32 %r2, %r6, 16;", Uninitialized, ""},
		{"a sum's lower half", half + "add.u32 %r6, %r6, 1; and.b32 %r2, %r6, 0xffff;", noReport, ""},
		{"a product's upper half", half + "mul.hi.u32 %r2, %r6, 3;", Uninitialized, ""},
		{"a comparison that the defined half decides", half + "setp.eq.u32 %p1, %r6, 8; @%p1 bra L; mov.u32 %r2, 1; L:", noReport, ""},
		{"a sign that is undefined", "st.shared.u8 [tiles], 7; ld.shared.s16 %r6, [tiles]; shr.u32 %r2, %r6, 31;", Uninitialized, ""},

		{"another lane's", hole + "setp.eq.u32 %p1, %r1, 0; @%p1 mov.u32 %r6, 5; shfl.sync.idx.b32 %r2, %r6, 0, 31, -1;", noReport, ""},
		{"another lane's that is not defined", "mov.u32 %r6, 1; setp.eq.u32 %p1, %r1, 0; @%p1 ld.shared.u32 %r6, [tiles+512]; shfl.sync.idx.b32 %r2, %r6, 0, 31, -1;", Uninitialized, "bytes 512 to 515"},
		{"a vote that others decide", "mov.u32 %r6, 1; setp.eq.u32 %p1, %r1, 0; @%p1 ld.shared.u32 %r6, [tiles+512]; setp.eq.u32 %p2, %r6, 1; vote.sync.any.pred %p3, %p2, -1; @%p3 bra L; mov.u32 %r2, 1; L:", noReport, ""},
		{"a vote that nobody else decides", "mov.u32 %r6, 1; setp.eq.u32 %p1, %r1, 0; @%p1 ld.shared.u32 %r6, [tiles+512]; setp.eq.u32 %p2, %r6, 1; vote.sync.all.pred %p3, %p2, -1; @%p3 bra L; mov.u32 %r2, 1; L:", Uninitialized, ""},
		{"a ballot's other bits", "mov.u32 %r6, 1; setp.eq.u32 %p1, %r1, 0; @%p1 ld.shared.u32 %r6, [tiles+512]; setp.eq.u32 %p2, %r6, 1; vote.sync.ballot.b32 %r7, %p2, -1; and.b32 %r2, %r7, 2;", noReport, ""},
		{"a warp's sum", "mov.u32 %r6, 1; setp.eq.u32 %p1, %r1, 0; @%p1 ld.shared.u32 %r6, [tiles+512]; redux.sync.add.u32 %r2, %r6, -1;", Uninitialized, ""},

		{"stored and loaded again", hole + "st.shared.u32 [%r4], %r6; ld.shared.u32 %r2, [%r4];", Uninitialized, "is not defined since st.shared.u32"},
		{"stored, overwritten and loaded", hole + "st.shared.u32 [%r4], %r6; st.shared.u32 [%r4], %r1; ld.shared.u32 %r2, [%r4];", noReport, ""},
		{"through local memory", ".local .align 4 .b8 own[8]; st.local.u32 [own], 5; ld.local.u64 %rd6, [own]; st.local.u64 [own], %rd6; ld.local.u32 %r2, [own];", noReport, ""},
		{"a hole in local memory", ".local .align 4 .b8 own[8]; st.local.u32 [own], 5; ld.local.u64 %rd6, [own]; shr.u64 %rd6, %rd6, 32; cvt.u32.u64 %r2, %rd6;", Uninitialized, "bytes 0 to 7 of local memory, and nothing has written byte 4"},
		{"through a call", hole + "{ .param .b32 a; .param .b32 r; st.param.b32 [a], %r6; call (r), twice, (a); ld.param.b32 %r2, [r]; }", Uninitialized, ""},
		{"through a call, of a defined value", "{ .param .b32 a; .param .b32 r; st.param.b32 [a], %r1; call (r), twice, (a); ld.param.b32 %r2, [r]; }", noReport, ""},
		{"64 bits of sums with carries", hole + "add.cc.u32 %r7, %r6, 1; addc.u32 %r2, 0, 0;", Uninitialized, ""},
	} {
		text := strings.Replace(asyncKernel(c.body), ".visible .entry", `.func (.param .b32 out) twice(.param .b32 in)
{
	.reg .b32 %r<3>;
	ld.param.u32 %r1, [in];
	add.u32 %r2, %r1, %r1;
	st.param.b32 [out], %r2;
	ret;
}
.visible .entry`, 1)
		text = strings.Replace(text, ".reg .b32 %r<16>;\n	.reg .b64", ".reg .b16 %h<4>;\n	.reg .b32 %r<16>;\n	.reg .b64", 1)
		for _, opt := range []Options{{}, {Checks: Checks{Uninit: true}}, {Checks: Checks{Uninit: true, Registers: true, Sync: true}, Shuffle: 3}} {
			_, err := runAsync(opt, text, 32)
			var r *Report
			switch {
			case c.kind == noReport || opt.Checks == (Checks{}):
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			case !errors.As(err, &r) || r.Kind != c.kind || !strings.Contains(r.Detail, c.says):
				t.Errorf("%s: %v, want %s: %s", c.name, err, c.kind, c.says)
			}
		}
	}
}
