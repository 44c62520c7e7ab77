package conform

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A memType is the type in memory of one register of a load or store.
type memType struct {
	name   string
	t      integer
	reg    string
	offset int // in bytes, within a slot of 8 bytes
}

// memTypes returns the types of ld and st.
func memTypes() []memType {
	var all []memType
	for _, t := range allIntegers {
		offset := map[int]int{8: 3, 16: 2, 32: 4, 64: 0}[t.bits]
		all = append(all, memType{t.name, t, t.reg(), offset})
		if !t.signed {
			all = append(all, memType{fmt.Sprintf("b%d", t.bits), t, t.reg(), offset})
		}
	}
	return append(all, memType{"f32", u32, "f32", 4}, memType{"f64", u64, "f64", 0})
}

// A space is a way to access memory: the code that sets %p to the address of 32 bytes that
// only this thread uses, and the suffix of loads and stores.
type space struct {
	name     string // for people
	suffix   string // of ld and st: ".global", or none for generic addresses
	declare  string
	atomic   bool
	generate string
}

// Every thread of a block of up to 128 has its own 32 bytes. In global memory they are
// its row of results, which is overwritten at the end of the kernel; a form that needs
// all 32 bytes has four results.
var spaces = []space{
	{"global", ".global", ".reg .b64 %p;", true, "mov.b64 %p, %rout;"},
	{"shared", ".shared", sharedBuffer, true, sharedAddress},
	{"local", ".local", ".local .align 16 .b8 own[32];\n.reg .b64 %p;", false, "mov.u64 %p, own;"},
	{"generic to global", "", ".reg .b64 %p;", true, "cvta.global.u64 %p, %rout;"},
	{"generic to shared", "", sharedBuffer, true, sharedAddress + "\ncvta.shared.u64 %p, %p;"},
	{"generic to local", "", ".local .align 16 .b8 own[32];\n.reg .b64 %p;", false, "cvta.local.u64 %p, own;"},
}

const (
	sharedBuffer = `.shared .align 16 .b8 buffer[4096];
		.reg .b32 %t;
		.reg .b64 %p, %q;`
	sharedAddress = `mov.u32 %t, %tid.x;
		mul.wide.u32 %q, %t, 32;
		mov.u64 %p, buffer;
		add.u64 %p, %p, %q;`
)

// memoryOps returns the instructions that move data.
func memoryOps() []*Op {
	var ops []*Op
	for _, m := range memTypes() {
		ops = append(ops, loads(m)...)
		for _, sp := range spaces {
			ops = append(ops, storeAndLoad(m, sp))
		}
	}
	ops = append(ops, vectors()...)
	ops = append(ops, cacheOperators()...)
	ops = append(ops, packs()...)
	ops = append(ops, constants()...)
	ops = append(ops, addresses()...)
	ops = append(ops, asyncCopies()...)
	ops = append(ops, shortCopy())
	return append(ops, parameters(), fences())
}

// loads returns ld.global of one type, from an offset within a slot, to a register of
// its size and to wider ones: sign-extended if signed, else zero-extended.
func loads(m memType) []*Op {
	var ops []*Op
	regs := []string{m.reg}
	if strings.ContainsAny(m.name[:1], "usb") {
		for _, wide := range []string{"b32", "b64"} {
			if regBits(wide) > regBits(m.reg) {
				regs = append(regs, wide)
			}
		}
	}
	for _, reg := range regs {
		name := "ld.global." + m.name
		if reg != m.reg {
			name += " into " + reg
		}
		ops = append(ops, &Op{
			Name: name, in: []string{"b64"}, out: []string{reg},
			body: fmt.Sprintf("ld.global.%s %%d0, [%%rin+%d];", m.name, m.offset),
			rows: rows(wholeNumbers(64)),
			eval: exact(func(a []uint64) uint64 { return m.t.extend(a[0] >> (8 * m.offset)) }),
		})
	}
	return ops
}

// storeAndLoad returns a store of a value between other bytes, from a wider register if
// the type allows that. The results are the value and all bytes around it, loaded again.
func storeAndLoad(m memType, sp space) *Op {
	reg := m.reg
	if m.t.bits < 32 {
		reg = "b32"
	}
	return &Op{
		Name: "st and ld, " + sp.name + ", " + m.name,
		in:   []string{reg, "b64"}, out: []string{"b64", m.reg}, declare: sp.declare,
		body: fmt.Sprintf(`%[1]s
			st%[2]s.b64 [%%p], %%a1;
			st%[2]s.%[3]s [%%p+%[4]d], %%a0;
			ld%[2]s.b64 %%d0, [%%p];
			ld%[2]s.%[3]s %%d1, [%%p+%[4]d];`, sp.generate, sp.suffix, m.name, m.offset),
		rows: rows(wholeNumbers(regBits(reg)), wholeNumbers(64)),
		eval: exacts(func(a []uint64) []uint64 {
			hole := mask(m.t.bits) << (8 * m.offset)
			return []uint64{a[1]&^hole | a[0]<<(8*m.offset)&hole, m.t.extend(a[0])}
		}),
	}
}

// vectors returns st and ld of two and four elements, stored in one order and loaded in
// another.
func vectors() []*Op {
	var ops []*Op
	for _, m := range memTypes() {
		for _, n := range []int{2, 4} {
			if n*m.t.bits > 128 {
				continue
			}
			for _, sp := range spaces {
				reg := m.reg
				if m.t.bits == 16 { // the value is extended to the register
					reg = "b32"
				}
				var from, to []string
				for k := range n {
					from = append(from, fmt.Sprintf("%%a%d", n-1-k))
					to = append(to, fmt.Sprintf("%%d%d", k))
				}
				out := repeat(reg, n)
				ops = append(ops, &Op{
					Name: fmt.Sprintf("st and ld, %s, v%d.%s", sp.name, n, m.name),
					in:   repeat(reg, n), out: append(out, repeat("b64", 4-n)...), declare: sp.declare,
					body: fmt.Sprintf("%[1]s\nst%[2]s.v%[3]d.%[4]s [%%p], {%[5]s};\nld%[2]s.v%[3]d.%[4]s {%[6]s}, [%%p];%[7]s",
						sp.generate, sp.suffix, n, m.name, strings.Join(from, ", "), strings.Join(to, ", "),
						strings.Repeat("\nmov.b64 %d2, 0;\nmov.b64 %d3, 0;", (4-n)/2)),
					rows: sparse(regBits(reg), n),
					eval: exacts(func(a []uint64) []uint64 {
						d := make([]uint64, 4)
						for k := range n {
							d[k] = m.t.extend(a[n-1-k])
						}
						return d
					}),
				})
			}
		}
	}
	return ops
}

// sparse is a small table of operands, for forms in which the values only have to differ.
func sparse(bits, n int) table {
	return func(r *rand.Rand) [][]uint64 {
		t := make([][]uint64, 150)
		for i := range t {
			for range n {
				t[i] = append(t[i], r.Uint64()&mask(bits))
			}
		}
		return t
	}
}

// cacheOperators returns ld and st with cache hints, or with memory ordering and scope.
func cacheOperators() []*Op {
	var ops []*Op
	for _, ld := range []string{
		"ld.global.ca", "ld.global.cg", "ld.global.cs", "ld.global.lu", "ld.global.cv", "ld.global.nc",
		"ld.weak.global", "ld.volatile.global", "ld.relaxed.cta.global", "ld.relaxed.gpu.global", "ld.relaxed.sys.global",
		"ld.acquire.cta.global", "ld.acquire.gpu.global", "ld.acquire.sys.global", "ld.global.L2::128B", "ldu.global",
		"ld.relaxed.gpu", "ld.volatile", "ld.global.L1::evict_last",
	} {
		ops = append(ops, &Op{
			Name: ld + ".u32", in: []string{"b32", "b32"}, out: []string{"b32", "b32"},
			declare: ".reg .b64 %g;",
			body:    "cvta.global.u64 %g, %rin;\nprefetch.global.L1 [%rin];\n" + ld + ".u32 %d0, [" + pointer(ld) + "];\n" + ld + ".u32 %d1, [" + pointer(ld) + "+8];",
			rows:    sparse(32, 2),
			eval:    exacts(func(a []uint64) []uint64 { return []uint64{a[0], a[1]} }),
		})
	}
	for _, st := range []string{
		"st.global.wb", "st.global.cg", "st.global.cs", "st.global.wt", "st.weak.global", "st.volatile.global",
		"st.relaxed.cta.global", "st.relaxed.gpu.global", "st.release.gpu.global", "st.release.sys.global",
		"st.release.cta", "st.volatile",
	} {
		ops = append(ops, &Op{
			Name: st + ".u32", in: []string{"b32"}, out: []string{"b32"},
			declare: ".reg .b64 %g;",
			body:    "cvta.global.u64 %g, %rout;\n" + st + ".u32 [" + strings.Replace(pointer(st), "%rin", "%rout", 1) + "], %a0;\nld.global.u32 %d0, [%rout];",
			rows:    sparse(32, 1),
			eval:    exact(func(a []uint64) uint64 { return a[0] }),
		})
	}
	return ops
}

// pointer returns the address register for an instruction: the generic address if the
// instruction names no space.
func pointer(instruction string) string {
	if strings.Contains(instruction, "global") {
		return "%rin"
	}
	return "%g"
}
