package conform

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
)

const warp = 32

// In the forms below, a lane's row begins with a predicate, whether the lane takes part,
// and with the mask of all lanes that take part, which is equal in all of these.
const (
	colMember = iota
	colMask
	colValue // the first column of the form's own operands
)

// member has the types of the first two columns.
var member = []string{"pred", "b32"}

// warpRows returns the rows of n warps: full warps first, then warps with random members.
// fill draws the remaining columns of the i-th warp, with the members in mask m.
func warpRows(n int, fill func(r *rand.Rand, i int, m uint64) [][]uint64) table {
	return func(r *rand.Rand) [][]uint64 {
		var all [][]uint64
		for i := range n {
			m := r.Uint64() & mask(32)
			switch i % 4 {
			case 0, 1:
				m = mask(32)
			case 2:
				m &= r.Uint64()
			}
			if m == 0 {
				m = 1 << r.IntN(32)
			}
			for lane, rest := range fill(r, i, m) {
				all = append(all, append([]uint64{m >> lane & 1, m}, rest...))
			}
		}
		return all
	}
}

// members returns the lanes of a warp that take part.
func members(group [][]uint64) (lanes []int) {
	for lane, row := range group {
		if row[colMember] != 0 {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// partly returns the body of a form that only the members of a warp execute. Other lanes
// skip the instruction, by a branch or by a guard, and their results are 0 or false.
func partly(branch bool, out []string, instruction string) string {
	var s string
	for k, t := range out {
		if t == "pred" {
			s += fmt.Sprintf("setp.ne.b32 %%d%d, %%i, %%i;\n", k)
		} else {
			s += fmt.Sprintf("mov.b32 %%d%d, 0;\n", k)
		}
	}
	if branch {
		return s + "@!%a0 bra SKIP;\n" + instruction + "\nSKIP:"
	}
	return s + "@%a0 " + instruction
}

// collective returns two forms of an instruction: skipped by a branch, and by a guard.
func collective(name string, in, out []string, instruction string, t table, eval func(group [][]uint64, lanes []int) [][]want) []*Op {
	var ops []*Op
	for _, branch := range []bool{true, false} {
		ops = append(ops, &Op{
			Name: name + map[bool]string{true: " in a branch", false: ""}[branch], group: warp,
			in: append(member[:2:2], in...), out: out, rows: t,
			body: partly(branch, out, instruction),
			eval: func(group [][]uint64) [][]want {
				all := make([][]want, warp)
				for i := range all {
					all[i] = make([]want, len(out))
				}
				lanes := members(group)
				for i, w := range eval(group, lanes) {
					all[lanes[i]] = w
				}
				return all
			},
		})
	}
	return ops
}

// warpOps returns the collective instructions of a warp or a block.
func warpOps() []*Op {
	ops := shuffles()
	ops = append(ops, votes()...)
	ops = append(ops, matches()...)
	ops = append(ops, reductions()...)
	ops = append(ops, exits()...)
	ops = append(ops, barriers()...)
	return append(ops, masks()...)
}

// shuffles returns the forms of shfl.sync. The columns are the value, b and c.
func shuffles() []*Op {
	var ops []*Op
	for _, mode := range []string{"up", "down", "bfly", "idx"} {
		bs := []uint64{0, 1, 2, 3, 4, 8, 15, 16, 30, 31, 32, 33, 0xffffffff}
		source := func(lane int, b, c uint64) (j int, in bool) {
			bval, cval, seg := int(b&31), int(c&31), int(c>>8&31)
			most, least := lane&seg|cval&^seg, lane&seg
			switch mode {
			case "up":
				j = lane - bval
				in = j >= most
			case "down":
				j = lane + bval
				in = j <= most
			case "bfly":
				j = lane ^ bval
				in = j <= most
			case "idx":
				j = least | bval&^seg
				in = j <= most
			}
			if !in {
				j = lane
			}
			return j, in
		}
		fill := func(r *rand.Rand, i int, m uint64) [][]uint64 {
			// Segments of 1, 2, 4, … lanes with the matching clamp, equal in the whole warp;
			// in some warps random values in each lane.
			width := uint64(1) << r.IntN(6)
			c := (32-width)<<8 | 31
			if mode == "up" {
				c = (32 - width) << 8
			}
			b := bs[r.IntN(len(bs))]
			rows := make([][]uint64, warp)
			for lane := range rows {
				switch i % 8 {
				case 4:
					b = r.Uint64() & mask(32)
				case 5:
					c = r.Uint64() & mask(32)
				case 6:
					b, c = r.Uint64()&31, r.Uint64()&0x1f1f
				}
				// The value from a lane that takes no part is undefined: read the own lane then.
				own := b
				if j, _ := source(lane, b, c); m>>j&1 == 0 {
					if own = 0; mode == "idx" {
						own = uint64(lane)
					}
				}
				rows[lane] = []uint64{r.Uint64() & mask(32), own, c}
			}
			return rows
		}
		eval := func(group [][]uint64, lanes []int) [][]want {
			var all [][]want
			for _, lane := range lanes {
				row := group[lane]
				j, in := source(lane, row[colValue+1], row[colValue+2])
				all = append(all, []want{{bits: group[j][colValue]}, {bits: truthOf(in)}})
			}
			return all
		}
		ops = append(ops, collective("shfl.sync."+mode+".b32", repeat("b32", 3), []string{"b32", "pred"},
			"shfl.sync."+mode+".b32 %d0|%d1, %a2, %a3, %a4, %a1;", warpRows(64, fill), eval)...)

		// The forms that compilers emit: constants, and a full warp.
		for _, k := range []struct{ b, c uint64 }{{1, 31}, {16, 31}, {4, 0x181f}, {2, 0x1c00}, {0, 0}} {
			name := fmt.Sprintf("shfl.sync.%s.b32 by %d, %#x", mode, k.b, k.c)
			ops = append(ops, &Op{
				Name: name, group: warp, in: []string{"b32"}, out: []string{"b32", "pred"},
				body: fmt.Sprintf("shfl.sync.%s.b32 %%d0|%%d1, %%a0, %d, %d, -1;", mode, k.b, k.c),
				rows: func(r *rand.Rand) [][]uint64 { return sparse(32, 1)(r)[:4*warp] },
				eval: func(group [][]uint64) [][]want {
					var all [][]want
					for lane := range group {
						j, in := source(lane, k.b, k.c)
						all = append(all, []want{{bits: group[j][0]}, {bits: truthOf(in)}})
					}
					return all
				},
			})
		}
	}
	return ops
}

// flags returns predicates for a warp: all false, all true, or random.
func flags(r *rand.Rand, i int, _ uint64) [][]uint64 {
	word := r.Uint64() & mask(32)
	switch i / 4 % 3 {
	case 0:
		word = 0
	case 1:
		word = mask(32)
	}
	if i%5 == 0 {
		word ^= 1 << r.IntN(32)
	}
	rows := make([][]uint64, warp)
	for lane := range rows {
		rows[lane] = []uint64{word >> lane & 1}
	}
	return rows
}

// votes returns vote.sync on a predicate and on its complement.
func votes() []*Op {
	var ops []*Op
	for _, not := range []string{"", "!"} {
		for _, mode := range []string{"all", "any", "uni", "ballot"} {
			out, typ := "pred", "pred"
			if mode == "ballot" {
				out, typ = "b32", "b32"
			}
			name := "vote.sync." + mode + "." + typ
			ops = append(ops, collective(name+map[string]string{"": "", "!": " of a complement"}[not], []string{"pred"}, []string{out},
				fmt.Sprintf("%s %%d0, %s%%a2, %%a1;", name, not), warpRows(48, flags),
				func(group [][]uint64, lanes []int) [][]want {
					var ballot, who uint64
					for _, lane := range lanes {
						who |= 1 << lane
						if group[lane][colValue] != 0 == (not == "") {
							ballot |= 1 << lane
						}
					}
					v := map[string]uint64{
						"all": truthOf(ballot == who), "any": truthOf(ballot != 0),
						"uni": truthOf(ballot == who || ballot == 0), "ballot": ballot,
					}[mode]
					return repeat([]want{{bits: v}}, len(lanes))
				})...)
		}
	}
	return ops
}

// few draws the value of each lane from a few values, in some warps from a single one.
func few(bits int) func(r *rand.Rand, i int, m uint64) [][]uint64 {
	return func(r *rand.Rand, i int, _ uint64) [][]uint64 {
		some := make([]uint64, 1+i%5)
		for k := range some {
			some[k] = r.Uint64() & mask(bits)
		}
		if len(some) > 1 {
			some[1] = some[0] ^ 1<<(bits-1) // differs only in the top bit
		}
		rows := make([][]uint64, warp)
		for lane := range rows {
			rows[lane] = []uint64{some[r.IntN(len(some))]}
		}
		return rows
	}
}

// matches returns match.any and match.all.
func matches() []*Op {
	var ops []*Op
	for _, n := range []int{32, 64} {
		typ := fmt.Sprintf("b%d", n)
		alike := func(group [][]uint64, lanes []int, v uint64) (m uint64) {
			for _, lane := range lanes {
				if group[lane][colValue] == v {
					m |= 1 << lane
				}
			}
			return m
		}
		ops = append(ops, collective("match.any.sync."+typ, []string{typ}, []string{"b32"},
			"match.any.sync."+typ+" %d0, %a2, %a1;", warpRows(48, few(n)),
			func(group [][]uint64, lanes []int) [][]want {
				var all [][]want
				for _, lane := range lanes {
					all = append(all, []want{{bits: alike(group, lanes, group[lane][colValue])}})
				}
				return all
			})...)
		ops = append(ops, collective("match.all.sync."+typ, []string{typ}, []string{"b32", "pred"},
			"match.all.sync."+typ+" %d0|%d1, %a2, %a1;", warpRows(48, few(n)),
			func(group [][]uint64, lanes []int) [][]want {
				m := alike(group, lanes, group[lanes[0]][colValue])
				all := bits.OnesCount64(m) == len(lanes)
				if !all {
					m = 0
				}
				return repeat([]want{{bits: m}, {bits: truthOf(all)}}, len(lanes))
			})...)
	}
	return ops
}

// reductions returns the forms of redux.sync.
func reductions() []*Op {
	var ops []*Op
	values := func(r *rand.Rand, i int, _ uint64) [][]uint64 {
		d, alike := wholeNumbers(32), r.Uint64()
		rows := make([][]uint64, warp)
		for lane := range rows {
			rows[lane] = []uint64{d.random(r)}
			switch i % 3 {
			case 0:
				rows[lane][0] = d.hard[r.IntN(len(d.hard))]
			case 1: // all equal except for some bits
				rows[lane][0] = alike&mask(32) | 1<<r.IntN(32)
			}
		}
		return rows
	}
	for _, o := range []struct {
		op string
		ts []integer
		f  func(t integer, x, y uint64) uint64
	}{
		{"add", []integer{u32, s32}, func(_ integer, x, y uint64) uint64 { return x + y }},
		{"min", []integer{u32, s32}, func(t integer, x, y uint64) uint64 {
			if t.value(x).Cmp(t.value(y)) < 0 {
				return x
			}
			return y
		}},
		{"max", []integer{u32, s32}, func(t integer, x, y uint64) uint64 {
			if t.value(x).Cmp(t.value(y)) > 0 {
				return x
			}
			return y
		}},
		{"and", []integer{b32}, func(_ integer, x, y uint64) uint64 { return x & y }},
		{"or", []integer{b32}, func(_ integer, x, y uint64) uint64 { return x | y }},
		{"xor", []integer{b32}, func(_ integer, x, y uint64) uint64 { return x ^ y }},
	} {
		for _, t := range o.ts {
			name := "redux.sync." + o.op + "." + t.name
			ops = append(ops, collective(name, []string{"b32"}, []string{"b32"},
				name+" %d0, %a2, %a1;", warpRows(32, values),
				func(group [][]uint64, lanes []int) [][]want {
					v := group[lanes[0]][colValue]
					for _, lane := range lanes[1:] {
						v = o.f(t, v, group[lane][colValue])
					}
					return repeat([]want{{bits: v}}, len(lanes))
				})...)
		}
	}
	return ops
}

// masks returns activemask and the special registers with lane numbers and masks.
func masks() []*Op {
	bit := func(lane int) uint64 { return 1 << lane }
	ops := []*Op{{
		Name: "the lanes' registers", group: warp, in: []string{"b32"}, out: repeat("b32", 9),
		body: `mov.u32 %d0, %laneid;
			mov.u32 %d1, %lanemask_eq;
			mov.u32 %d2, %lanemask_lt;
			mov.u32 %d3, %lanemask_le;
			mov.u32 %d4, %lanemask_gt;
			mov.u32 %d5, %lanemask_ge;
			mov.u32 %d6, %tid.x;
			mov.u32 %d7, %ntid.x;
			mov.u32 %d8, %nctaid.y;`,
		rows: func(*rand.Rand) [][]uint64 { return repeat([]uint64{0}, warp) },
		eval: func(group [][]uint64) [][]want {
			var all [][]want
			for lane := range group {
				eq := bit(lane)
				lt := eq - 1
				all = append(all, []want{{bits: uint64(lane)}, {bits: eq}, {bits: lt}, {bits: lt | eq}, {bits: ^(lt | eq)},
					{bits: ^lt}, {bits: uint64(lane)}, {bits: warp}, {bits: 1}})
			}
			return all
		},
	}}
	return append(ops, &Op{
		Name: "activemask.b32", group: warp, in: []string{"pred"}, out: []string{"b32", "b32"},
		// A guard, not a branch: where lanes reconverge after a branch is not specified.
		body: "activemask.b32 %d0;\nmov.b32 %d1, 0;\n@%a0 activemask.b32 %d1;",
		rows: func(r *rand.Rand) [][]uint64 {
			var rows [][]uint64
			for i := range 12 {
				rows = append(rows, flags(r, i, 0)...)
			}
			return rows
		},
		eval: func(group [][]uint64) [][]want {
			var active uint64
			for lane, row := range group {
				active |= row[0] << lane
			}
			all := make([][]want, len(group))
			for lane, row := range group {
				all[lane] = []want{{bits: mask(32)}, {bits: active * row[0]}}
			}
			return all
		},
	})
}
