package conform

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// parameters returns loads of a kernel's parameter, whole and in parts.
func parameters() *Op {
	return &Op{
		Name: "ld.param", in: []string{"b32"}, out: []string{"pred", "b32"},
		declare: ".reg .b64 %whole, %p;\n.reg .b32 %lo, %hi, %n0;\n.reg .b16 %h0, %h1, %y;",
		body: `ld.param.u64 %whole, [p_in];
			ld.param.v2.u32 {%lo, %hi}, [p_in];
			mov.b64 %p, {%lo, %hi};
			setp.eq.u64 %d0, %whole, %p;
			ld.param.u16 %h0, [p_n];
			ld.param.u16 %h1, [p_n+2];
			mov.b32 %n0, {%h0, %h1};
			ld.param.s8 %y, [p_n+3];
			cvt.s32.s16 %hi, %y;
			shr.s32 %lo, %n0, 24;
			sub.s32 %n0, %n0, %n;
			sub.s32 %hi, %hi, %lo;
			or.b32 %d1, %n0, %hi;`,
		rows: sparse(32, 1),
		eval: exacts(func([]uint64) []uint64 { return []uint64{1, 0} }),
	}
}

// fences returns the memory fences. They have no effect that one thread can observe.
func fences() *Op {
	return &Op{
		Name: "fences", in: []string{"b32"}, out: []string{"b32"},
		body: `st.global.b32 [%rout], %a0;
			membar.cta;
			membar.gl;
			membar.sys;
			fence.sc.cta;
			fence.acq_rel.gpu;
			fence.sc.sys;
			nanosleep.u32 20;
			ld.global.b32 %d0, [%rout];`,
		rows: func(r *rand.Rand) [][]uint64 { return sparse(32, 1)(r)[:128] },
		eval: exact(func(a []uint64) uint64 { return a[0] }),
	}
}

// packs returns mov between a register and a vector of smaller registers.
func packs() []*Op {
	var ops []*Op
	for _, p := range []struct {
		whole, part string
		n           int
	}{{"b32", "b16", 2}, {"b64", "b32", 2}, {"b64", "b16", 4}} {
		width := regBits(p.part)
		var as, ds []string
		for k := range p.n {
			as, ds = append(as, fmt.Sprintf("%%a%d", k)), append(ds, fmt.Sprintf("%%d%d", k))
		}
		ops = append(ops, &Op{
			Name: fmt.Sprintf("mov.%s of %d parts", p.whole, p.n), in: repeat(p.part, p.n), out: []string{p.whole},
			body: fmt.Sprintf("mov.%s %%d0, {%s};", p.whole, strings.Join(as, ", ")), rows: sparse(width, p.n),
			eval: exact(func(a []uint64) uint64 { return joined(a, width).Uint64() }),
		}, &Op{
			Name: fmt.Sprintf("mov.%s into %d parts", p.whole, p.n), in: []string{p.whole}, out: repeat(p.part, p.n),
			body: fmt.Sprintf("mov.%s {%s}, %%a0;", p.whole, strings.Join(ds, ", ")), rows: sparse(regBits(p.whole), 1),
			eval: exacts(func(a []uint64) []uint64 {
				var d []uint64
				for k := range p.n {
					d = append(d, a[0]>>(k*width))
				}
				return d
			}),
		}, &Op{
			Name: fmt.Sprintf("mov.%s into the last and the first of %d parts", p.whole, p.n), in: []string{p.whole}, out: repeat(p.part, 2),
			body: fmt.Sprintf("mov.%[1]s {%[2]s%%d0}, %%a0;\nmov.%[1]s {%%d1%[3]s}, %%a0;", p.whole,
				strings.Repeat("_, ", p.n-1), strings.Repeat(", _", p.n-1)),
			rows: sparse(regBits(p.whole), 1),
			eval: exacts(func(a []uint64) []uint64 { return []uint64{a[0] >> ((p.n - 1) * width), a[0]} }),
		})
	}
	for _, t := range []string{"b16", "b32", "b64", "f32", "f64", "pred"} {
		d := wholeNumbers(regBits(t))
		if t == "pred" {
			d = truth()
		}
		ops = append(ops, &Op{
			Name: "mov." + t, in: []string{t}, out: []string{t}, body: "mov." + t + " %d0, %a0;", rows: rows(d),
			eval: exact(func(a []uint64) uint64 { return a[0] }),
		})
	}
	return append(ops, &Op{
		Name: "immediates", out: []string{"b32", "b32", "b64", "b16", "f32", "f64", "b32", "b32", "f32", "b32"},
		in: []string{"b32"},
		body: `mov.b32 %d0, 0x7fffffff;
			mov.s32 %d1, -17;
			mov.b64 %d2, 0xfedcba9876543210;
			mov.b16 %d3, -1;
			mov.f32 %d4, 0f80000001;
			mov.f64 %d5, 0dBFF8000000000001;
			add.s32 %d6, %a0, -2147483648;
			and.b32 %d7, %a0, 0b1010;
			mov.f32 %d8, 0.1;
			mov.b32 %d9, 0777;`,
		rows: rows(wholeNumbers(32)),
		eval: exacts(func(a []uint64) []uint64 {
			return []uint64{0x7fffffff, ^uint64(16), 0xfedcba9876543210, 0xffff, 0x80000001, 0xbff8000000000001,
				a[0] + 0x80000000, a[0] & 10, 0x3dcccccd, 0x1ff}
		}),
	})
}

// constants returns loads from variables with initializers.
func constants() []*Op {
	values := []uint64{1, 0xffffffff, 0x12345678, 0x80000000, 0, 7, 0x3fc00000, 0xcafebabe}
	return []*Op{{
		Name: "ld.const", in: []string{"b32"}, out: []string{"b32", "b32", "b32", "pred", "pred"},
		module:  ".const .align 8 .b32 conform_table[8] = {1, -1, 0x12345678, 0x80000000, 0, 7, 0x3fc00000, 0xcafebabe};",
		declare: ".reg .b64 %p, %q;\n.reg .b32 %t;",
		body: `and.b32 %t, %a0, 7;
			mul.wide.u32 %q, %t, 4;
			mov.u64 %p, conform_table;
			add.u64 %p, %p, %q;
			ld.const.b32 %d0, [%p];
			ld.const.b32 %d1, [conform_table+28];
			cvta.const.u64 %q, conform_table;
			ld.b32 %d2, [%q+8];
			isspacep.const %d3, %q;
			isspacep.shared::cta %d4, %q;`,
		rows: rows(wholeNumbers(32)),
		eval: exacts(func(a []uint64) []uint64 { return []uint64{values[a[0]&7], values[7], values[2], 1, 0} }),
	}, {
		Name: "ld.global of a variable", in: []string{"b32"}, out: []string{"b16", "f32", "b64"},
		module: `.global .align 4 .b8 conform_bytes[8] = {1, 2, 3, 255, 128, 127};
			.global .align 4 .f32 conform_floats[2] = {1.5, 0fC0490FDB};
			.global .align 8 .u64 conform_word = 0x0123456789abcdef;`,
		declare: ".reg .b64 %p, %q;\n.reg .b32 %t;",
		body: `and.b32 %t, %a0, 7;
			cvt.u64.u32 %q, %t;
			mov.u64 %p, conform_bytes;
			add.u64 %p, %p, %q;
			ld.global.s8 %d0, [%p];
			ld.global.f32 %d1, [conform_floats+4];
			ld.global.u64 %d2, [conform_word];`,
		rows: rows(wholeNumbers(32)),
		eval: exacts(func(a []uint64) []uint64 {
			bytes := []uint64{1, 2, 3, 255, 128, 127, 0, 0}
			return []uint64{s8.extend(bytes[a[0]&7]), 0xc0490fdb, 0x0123456789abcdef}
		}),
	}}
}

// addresses returns cvta in both directions, isspacep, and the address of a variable.
func addresses() []*Op {
	var ops []*Op
	for _, sp := range spaces[:3] {
		ops = append(ops, &Op{
			Name: "cvta and isspacep, " + sp.name, in: []string{"b32"}, out: []string{"pred", "pred", "pred", "pred", "b32"},
			declare: sp.declare + "\n.reg .b64 %g, %back;",
			body: fmt.Sprintf(`%[1]s
				st%[2]s.b32 [%%p+4], %%a0;
				cvta%[2]s.u64 %%g, %%p;
				cvta.to%[2]s.u64 %%back, %%g;
				setp.eq.u64 %%d0, %%p, %%back;
				isspacep.global %%d1, %%g;
				isspacep.shared %%d2, %%g;
				isspacep.local %%d3, %%g;
				ld.b32 %%d4, [%%g+4];`, sp.generate, sp.suffix),
			rows: sparse(32, 1),
			eval: exacts(func(a []uint64) []uint64 {
				return []uint64{1, truthOf(sp.name == "global"), truthOf(sp.name == "shared"), truthOf(sp.name == "local"), a[0]}
			}),
		})
	}
	return append(ops, &Op{
		Name: "mov of a variable's address", in: []string{"b32"}, out: []string{"b64", "b32", "b32"},
		declare: ".shared .align 8 .b8 first[24];\n.local .align 8 .b8 own[16];\n.reg .b64 %p, %q;\n.reg .b32 %s, %t;",
		body: `mov.u64 %p, first+20;
			mov.u64 %q, first;
			sub.u64 %d0, %p, %q;
			mov.u32 %s, first+4;
			mov.u32 %t, first;
			sub.u32 %d1, %s, %t;
			st.local.b32 [own+12], %a0;
			mov.u64 %p, own;
			ld.local.b32 %d2, [%p+12];`,
		rows: sparse(32, 1),
		eval: exacts(func(a []uint64) []uint64 { return []uint64{20, 4, a[0]} }),
	})
}

// shortCopy returns cp.async with fewer bytes in the source than in the destination: the
// rest is filled with zeros.
func shortCopy() *Op {
	return &Op{
		Name: "cp.async of a size", in: []string{"b64", "b64", "b32"}, out: []string{"b64", "b64"}, declare: sharedBuffer,
		body: sharedAddress + `
			st.shared.b64 [%p], -1;
			st.shared.b64 [%p+8], -1;
			cp.async.cg.shared.global [%p], [%rin], 16, %a2;
			cp.async.wait_all;
			ld.shared.v2.b64 {%d0, %d1}, [%p];`,
		rows: func(r *rand.Rand) [][]uint64 {
			t := sparse(64, 2)(r)
			for i := range t {
				t[i] = append(t[i], uint64(i%17))
			}
			return t
		},
		eval: each(func(a []uint64) []want {
			if a[2] > 16 { // a source larger than the destination: undefined
				return []want{{like: anything}, {like: anything}}
			}
			n := int(a[2])
			return []want{{bits: a[0] & mask(8*n)}, {bits: a[1] & mask(8*max(0, n-8))}}
		}),
	}
}

// asyncCopies returns cp.async from global to shared memory, of each size.
func asyncCopies() []*Op {
	var ops []*Op
	for _, n := range []int{4, 8, 16} {
		ways := []string{"ca"}
		if n == 16 {
			ways = append(ways, "cg")
		}
		for _, way := range ways {
			for _, wait := range []string{"cp.async.wait_all;", "cp.async.commit_group;\ncp.async.wait_group 0;"} {
				ops = append(ops, &Op{
					Name: fmt.Sprintf("cp.async.%s of %d, %s", way, n, wait[:strings.IndexByte(wait, ';')]),
					in:   []string{"b64", "b64"}, out: []string{"b64", "b64"}, declare: sharedBuffer,
					body: fmt.Sprintf(`%s
						st.shared.b64 [%%p], 0;
						st.shared.b64 [%%p+8], 0;
						cp.async.%s.shared.global [%%p], [%%rin], %d;
						%s
						ld.shared.v2.b64 {%%d0, %%d1}, [%%p];`, sharedAddress, way, n, wait),
					rows: sparse(64, 2),
					eval: exacts(func(a []uint64) []uint64 {
						if n < 16 {
							return []uint64{a[0] & mask(8*n), 0}
						}
						return []uint64{a[0], a[1]}
					}),
				})
			}
		}
	}
	return ops
}
