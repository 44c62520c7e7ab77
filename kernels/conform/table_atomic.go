package conform

import (
	"fmt"
	"math/rand/v2"
)

// An update is an atomic operation. eval computes the new value in memory from the
// old value and the operands.
type update struct {
	op    string
	types []atomType
	n     int // number of operands besides the address
	eval  func(t atomType, sp space, old, b, c uint64) want
}

// An atomType is a type of atom and red.
type atomType struct {
	name string
	t    integer
	f    format // for floating-point types
	reg  string
}

func atomIntegers(ts ...integer) []atomType {
	var all []atomType
	for _, t := range ts {
		all = append(all, atomType{name: t.name, t: t, reg: t.reg()})
	}
	return all
}

func atomFloat(f format) atomType {
	return atomType{name: f.name, t: integer{bits: f.width()}, f: f, reg: f.reg()}
}

func updates() []update {
	onInts := func(f func(t integer, old, b, c uint64) uint64) func(atomType, space, uint64, uint64, uint64) want {
		return func(t atomType, _ space, old, b, c uint64) want {
			m := mask(t.t.bits)
			return want{bits: f(t.t, old&m, b&m, c&m) & m}
		}
	}
	pick := func(sign int) func(t integer, old, b, _ uint64) uint64 {
		return func(t integer, old, b, _ uint64) uint64 {
			if t.value(b).Cmp(t.value(old)) == sign {
				return b
			}
			return old
		}
	}
	every := atomIntegers(u32, s32, u64, s64)
	bits := atomIntegers(b32, b64)
	return []update{
		{"add", atomIntegers(u32, s32, u64), 1, onInts(func(_ integer, old, b, _ uint64) uint64 { return old + b })},
		{"add", []atomType{atomFloat(f32), atomFloat(f64)}, 1, atomicSum},
		{"min", every, 1, onInts(pick(-1))},
		{"max", every, 1, onInts(pick(1))},
		{"inc", atomIntegers(u32), 1, onInts(func(_ integer, old, b, _ uint64) uint64 {
			if old >= b {
				return 0
			}
			return old + 1
		})},
		{"dec", atomIntegers(u32), 1, onInts(func(_ integer, old, b, _ uint64) uint64 {
			if old == 0 || old > b {
				return b
			}
			return old - 1
		})},
		{"and", bits, 1, onInts(func(_ integer, old, b, _ uint64) uint64 { return old & b })},
		{"or", bits, 1, onInts(func(_ integer, old, b, _ uint64) uint64 { return old | b })},
		{"xor", bits, 1, onInts(func(_ integer, old, b, _ uint64) uint64 { return old ^ b })},
		{"exch", bits, 1, onInts(func(_ integer, _, b, _ uint64) uint64 { return b })},
		{"cas", atomIntegers(b16, b32, b64), 2, onInts(func(_ integer, old, b, c uint64) uint64 {
			if old == b {
				return c
			}
			return old
		})},
	}
}

// atomicSum is floating-point add, rounded to nearest. By the manual, atom.add.f32 on
// global memory flushes subnormal inputs and results to a zero of the same sign; on
// shared memory it does not.
func atomicSum(t atomType, sp space, old, b, _ uint64) want {
	f := t.f
	flush := func(v uint64) uint64 { return v }
	if f.name == f32.name && (sp.name == "global" || sp.name == "generic to global") {
		flush = func(v uint64) uint64 {
			if v&f.inf() == 0 {
				return v & f.sign()
			}
			return v
		}
	}
	return want{flush(f.add(flush(old), flush(b), nearest)), f.like()}
}

// atomicOps returns the forms of atom and red.
func atomicOps() []*Op {
	var ops []*Op
	for _, u := range updates() {
		for _, t := range u.types {
			for _, sp := range spaces {
				if !sp.atomic {
					continue
				}
				ops = append(ops, atom(u, t, sp, "atom"+sp.suffix))
				if u.op != "exch" && u.op != "cas" {
					ops = append(ops, red(u, t, sp))
				}
			}
		}
	}
	// Ordering and scope do not affect the results of a single thread.
	add := updates()[0]
	for _, form := range []string{"atom.relaxed.gpu.global", "atom.acquire.cta.global", "atom.release.sys.global", "atom.acq_rel.gpu.global", "atom.gpu.global"} {
		ops = append(ops, atom(add, add.types[0], spaces[0], form))
	}
	for _, f := range []format{f16, bf16} {
		for _, sp := range spaces {
			if sp.atomic {
				ops = append(ops, halfSums(f, sp)...)
			}
		}
	}
	return append(append(ops, immediateAtomics()), contended()...)
}

// halfSums returns add.noftz on one or two half-precision numbers. It does not flush
// subnormals.
func halfSums(f format, sp space) []*Op {
	target := ""
	if f.name == "bf16" {
		target = "sm_90"
	}
	values := rows(f.numbers(), f.numbers()).and(f.sums(), f.underflows())
	var ops []*Op
	for _, two := range []bool{false, true} {
		t := atomType{name: "noftz." + f.name, t: integer{bits: 16}, f: f, reg: "b16"}
		u := update{op: "add", n: 1, eval: func(_ atomType, _ space, old, b, _ uint64) want {
			return want{f.add(old, b, nearest), f.like()}
		}}
		table := values
		if two {
			t = atomType{name: "noftz." + f.name + "x2", t: integer{bits: 32}, f: f, reg: "b32"}
			u.eval = func(_ atomType, _ space, old, b, _ uint64) want {
				lo, hi := f.add(old&mask(16), b&mask(16), nearest), f.add(old>>16, b>>16, nearest)
				return want{hi<<16 | lo, map[string]likeness{"f16": likeF16x2, "bf16": likeBF16x2}[f.name]}
			}
			table = packed(16, values)
		}
		for _, o := range []*Op{atom(u, t, sp, "atom"+sp.suffix), red(u, t, sp)} {
			o.Target, o.rows = target, table
			ops = append(ops, o)
		}
	}
	return ops
}

// immediateAtomics returns atom with an immediate operand, and without a result.
func immediateAtomics() *Op {
	return &Op{
		Name: "atom with a constant and a sink", in: []string{"b32"}, out: []string{"b32", "b32"},
		body: `st.global.b32 [%rout+8], %a0;
			atom.global.add.u32 %d0, [%rout+8], 5;
			atom.global.max.s32 _, [%rout+8], -3;
			ld.global.b32 %d1, [%rout+8];`,
		rows: rows(wholeNumbers(32)),
		eval: exacts(func(a []uint64) []uint64 {
			return []uint64{a[0], uint64(uint32(max(int32(a[0])+5, -3)))}
		}),
	}
}

// values returns operands of an atomic. They are often equal to the value in memory, or
// differ from it by 1.
func (u update) values(t atomType) table {
	d := wholeNumbers(t.t.bits)
	if t.f.man != 0 {
		d = t.f.numbers()
		return rows(d, d).and(t.f.sums(), t.f.underflows())
	}
	ds := repeat(d, u.n+1)
	return rows(ds...).and(func(r *rand.Rand) [][]uint64 {
		all := rows(ds...)(r)
		for _, row := range all {
			row[1] = (row[0] + r.Uint64N(3) - 1) & mask(t.t.bits)
		}
		return all
	})
}

// underflows returns pairs of small numbers whose sum may be subnormal.
func (f format) underflows() table {
	return func(r *rand.Rand) [][]uint64 {
		t := make([][]uint64, 2*randomRows)
		for i := range t {
			t[i] = []uint64{f.near(r, 1, 2), f.near(r, 1, 2)}
		}
		return t
	}
}

// atom returns an atomic on a word that only one thread accesses. The results are the
// values before and after.
func atom(u update, t atomType, sp space, instruction string) *Op {
	args := "%a1"
	if u.n == 2 {
		args = "%a1, %a2"
	}
	plain := fmt.Sprintf("b%d", t.t.bits)
	name := instruction + "." + u.op + "." + t.name
	return &Op{
		Name: name + placed(sp), in: repeat(t.reg, u.n+1), out: []string{t.reg, t.reg}, declare: sp.declare,
		body: fmt.Sprintf(`%[1]s
			st%[2]s.%[3]s [%%p+8], %%a0;
			%[4]s %%d0, [%%p+8], %[5]s;
			ld%[2]s.%[3]s %%d1, [%%p+8];`, sp.generate, sp.suffix, plain, name, args),
		rows: u.values(t),
		eval: each(func(a []uint64) []want {
			var c uint64
			if u.n == 2 {
				c = a[2]
			}
			return []want{{bits: a[0]}, u.eval(t, sp, a[0], a[1], c)}
		}),
	}
}

// placed returns a suffix for the names of forms with generic addresses.
func placed(sp space) string {
	if sp.suffix == "" {
		return ", " + sp.name
	}
	return ""
}

// red returns red on a word that only one thread accesses. The result is the value after.
func red(u update, t atomType, sp space) *Op {
	plain := fmt.Sprintf("b%d", t.t.bits)
	name := "red" + sp.suffix + "." + u.op + "." + t.name
	return &Op{
		Name: name + placed(sp), in: repeat(t.reg, 2), out: []string{t.reg}, declare: sp.declare,
		body: fmt.Sprintf(`%[1]s
			st%[2]s.%[3]s [%%p], %%a0;
			%[4]s [%%p], %%a1;
			ld%[2]s.%[3]s %%d0, [%%p];`, sp.generate, sp.suffix, plain, name),
		rows: u.values(t),
		eval: each(func(a []uint64) []want { return []want{u.eval(t, sp, a[0], a[1], 0)} }),
	}
}

// contended returns atomics of all threads of a block on one word. The results do not
// depend on the order of the threads.
func contended() []*Op {
	const group, start = 96, 0xfedcba98
	var ops []*Op
	us := updates()
	for _, u := range []update{us[0], us[2], us[3], us[4], us[6], us[7], us[8]} {
		for _, shared := range []bool{false, true} {
			t := u.types[0]
			if u.op == "and" || u.op == "or" || u.op == "xor" {
				t = atomIntegers(b32)[0]
			}
			suffix, where := ".global", ".reg .b64 %p;\n.reg .b32 %t;\n.reg .pred %first;"
			address := fmt.Sprintf("mov.u32 %%t, %%tid.x;\nmul.wide.u32 %%p, %%t, %d;\nsub.u64 %%p, %%rout, %%p;", slot)
			if shared {
				suffix, where = ".shared", ".shared .align 4 .b32 word;\n.reg .b64 %p;\n.reg .b32 %t;\n.reg .pred %first;"
				address = "mov.u32 %t, %tid.x;\nmov.u64 %p, word;"
			}
			name := "red" + suffix + "." + u.op + "." + t.name
			bound := func(r *rand.Rand) [][]uint64 {
				var rows [][]uint64
				for range 6 {
					same := r.Uint64N(150) // inc wraps at the same bound in all threads
					for range group {
						v := r.Uint64() & mask(32)
						switch u.op {
						case "inc":
							v = same
						case "and": // likely bits, so some remain set
							v |= r.Uint64N(1<<32) | r.Uint64N(1<<32) | r.Uint64N(1<<32) | r.Uint64N(1<<32)
						case "min":
							v |= 1 << 28
						}
						rows = append(rows, []uint64{v})
					}
				}
				return rows
			}
			ops = append(ops, &Op{
				Name: name + " by a whole block", group: group, in: []string{t.reg}, out: []string{t.reg}, declare: where,
				body: fmt.Sprintf(`%[1]s
					setp.eq.u32 %%first, %%t, 0;
					@%%first st%[2]s.b32 [%%p], %[3]d;
					bar.sync 0;
					%[4]s [%%p], %%a0;
					bar.sync 0;
					ld%[2]s.b32 %%d0, [%%p];
					bar.sync 0;`, address, suffix, start, name),
				rows: bound,
				eval: func(in [][]uint64) [][]want {
					v := uint64(start)
					for _, row := range in {
						v = u.eval(t, space{}, v, row[0], 0).bits
					}
					return repeat([]want{{bits: v}}, len(in))
				},
			})
		}
	}
	return ops
}
