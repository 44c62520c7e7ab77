package conform

import (
	"strings"
	"testing"
)

// TestTeeth checks that rows distinguish similar forms: several rows of a form must have
// different results if it is replaced by a similar form. Each line has a pattern and the
// replacements of its star that give similar forms.
func TestTeeth(t *testing.T) {
	by := map[string]*Op{}
	for _, o := range Ops() {
		by[o.Name] = o
	}
	for _, c := range []struct{ form, confused string }{
		{"*.s32", "min max"},
		{"mul.hi.*", "u32 s32"},
		{"mul.hi.*", "u64 s64"},
		{"mul.wide.*", "u32 s32"},
		{"mad.*.s32", "lo hi"},
		{"sad.*", "u32 s32"},
		{"div.*", "u64 s64"},
		{"rem.*", "u16 s16"},
		{"dp4a.*", "u32.u32 u32.s32 s32.u32 s32.s32"},
		{"bfind*", ".u32 .shiftamt.u32 .s32 .shiftamt.s32"},
		{"bfe.*", "u32 s32"},
		{"bfe.*", "u64 s64"},
		{"shr.*", "u32 s32"},
		{"shr.*", "u64 s64"},
		{"shf.*.b32", "l.clamp l.wrap r.clamp r.wrap"},
		{"prmt.b32*", "- .f4e .b4e .rc8 .ecl .ecr .rc16"},
		{"lop3.b32 *", "0xf0 0xcc 0xaa 0x80 0xe8 0xca 0x96"},
		{"szext.*", "clamp.u32 wrap.u32 clamp.s32 wrap.s32"},
		{"bmsk.*.b32", "clamp wrap"},
		{"cvt.pack.sat.*.s32.b32", "u2 s2 u4 s4 u8 s8"},
		{"*", "min.u16x2 max.u16x2 min.s16x2 max.s16x2 min.relu.s16x2 max.relu.s16x2"},
		{"v*4.s32.s32.s32", "add sub avrg absdiff min max"},
		{"vadd2.*", "u32.u32.u32.sat u32.u32.u32.add s32.s32.s32.sat s32.s32.s32.add"},
		{"cvt.*.tf32.f32", "rna rn rz"},
		{"add.*.f32", "rn rz rm rp"},
		{"mul.*.f64", "rn rz rm rp"},
		{"fma.*.f32", "rn rz rm rp"},
		{"fma.*.f64", "rn rz rm rp"},
		{"div.*.f32", "rn rz rm rp"},
		{"div.*.f64", "rn rz rm rp"},
		{"rcp.*.f32", "rn rz rm rp"},
		{"sqrt.*.f32", "rn rz rp"}, // a root is not negative, so rm equals rz
		{"*.f32", "min max min.NaN max.NaN"},
		{"*.bf16x2", "min max min.NaN max.NaN"},
		{"testp.*.f32", "finite number normal subnormal"},
		{"setp.*.f32", "eq ne lt le gt ge equ neu ltu leu gtu geu num nan"},
		{"setp.*.f16", "eq ne lt le gt ge equ neu ltu leu gtu geu num nan"},
		{"setp.*.s32", "eq ne lt le gt ge"},
		{"setp.lt.*", "u32 s32"},
		{"setp.lt.*.f64", "and or xor"},
		{"cvt.*.f32.s32", "rn rz rm rp"},
		{"cvt.*.f32.u64", "rn rz rp"},
		{"cvt.rn.f32.*", "u32 s32"},
		{"cvt.*.s32.f32", "rni rzi rmi rpi"},
		{"cvt.*.s64.f64", "rni rzi rmi rpi"},
		{"cvt.rzi.*.f64", "u32 s32"},
		{"cvt.*.f32.f64", "rn rz rm rp"},
		{"cvt.*.f16.f32", "rn rz rm rp"},
		{"cvt.*.bf16.f32", "rn rz"},
		{"cvt.*.f32.f32", "rni rzi rmi rpi"},
		{"cvt*.s8.s32", "- .sat"},
		{"cvt*.u16.s16", "- .sat"},
		{"cvt.rn.satfinite.*.f32", "e4m3x2 e5m2x2"},
		{"ld.global.* into b32", "u8 s8"},
		{"atom.global.*.u32", "add min max inc dec"},
		{"atom.shared.*.s64", "min max"},
		{"red.*.add.f32", "global shared"},
		{"vote.sync.*.pred", "all any uni"},
		{"redux.sync.*", "min.s32 max.s32 min.u32 max.u32 add.u32"},
		{"shfl.sync.*.b32", "up down bfly idx"},
	} {
		stars := strings.Fields(c.confused)
		for _, x := range stars {
			for _, y := range stars {
				if x == y {
					continue
				}
				name := func(star string) string { return strings.Replace(c.form, "*", strings.TrimSuffix(star, "-"), 1) }
				a, b := by[name(x)], by[name(y)]
				if a == nil || b == nil {
					t.Fatalf("there is no %q or no %q", name(x), name(y))
				}
				if n := told(a, b); n < 2 {
					t.Errorf("%s done as %s is told by %d rows", a.Name, b.Name, n)
				}
			}
		}
	}
}

// told counts the rows of a table for which a and b give different results.
func told(a, b *Op) (n int) {
	rows := a.Rows()
	others := b.want(rows)
	for i, wants := range a.want(rows) {
		for k, w := range wants {
			if !w.met(others[i][k].bits, regBits(a.out[k])) {
				n++
				break
			}
		}
	}
	return n
}
