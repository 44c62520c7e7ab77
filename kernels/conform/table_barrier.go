package conform

import (
	"fmt"
	"math/rand/v2"
)

// unstored is the result of a thread that exits before it stores one.
const unstored = untouched * 0x0101010101010101

// exits returns warp collectives with a mask that contains exited lanes. These lanes are
// not waited for, and do not affect the result.
func exits() []*Op {
	gone := func(group [][]uint64, f func(left []int) [][]want) [][]want {
		all := make([][]want, warp)
		var left []int
		for lane, row := range group {
			all[lane] = []want{{bits: unstored}, {bits: unstored}}
			if row[0] != 0 {
				left = append(left, lane)
			}
		}
		for i, w := range f(left) {
			all[left[i]] = w
		}
		return all
	}
	t := func(r *rand.Rand) [][]uint64 {
		var rows [][]uint64
		for i := range 24 {
			stay := r.Uint64() | r.Uint64()*uint64(i%2) | 1
			for lane, v := range flags(r, i, 0) {
				rows = append(rows, []uint64{stay >> lane & 1, v[0]})
			}
		}
		return rows
	}
	return []*Op{{
		Name: "vote.sync after exit", group: warp, in: []string{"pred", "pred"}, out: []string{"b32", "pred"}, rows: t,
		body: "@!%a0 exit;\nvote.sync.ballot.b32 %d0, %a1, -1;\nvote.sync.all.pred %d1, %a1, -1;",
		eval: func(group [][]uint64) [][]want {
			return gone(group, func(left []int) [][]want {
				var ballot uint64
				all := true
				for _, lane := range left {
					ballot |= group[lane][1] << lane
					all = all && group[lane][1] != 0
				}
				return repeat([]want{{bits: ballot}, {bits: truthOf(all)}}, len(left))
			})
		},
	}, {
		Name: "match.any.sync after ret", group: warp, in: []string{"pred", "pred"}, out: []string{"b32", "b32"}, rows: t,
		body: "@!%a0 ret;\nselp.b32 %d1, 7, 9, %a1;\nmatch.any.sync.b32 %d0, %d1, -1;",
		eval: func(group [][]uint64) [][]want {
			return gone(group, func(left []int) [][]want {
				var all [][]want
				for _, lane := range left {
					var m uint64
					for _, other := range left {
						if group[other][1] == group[lane][1] {
							m |= 1 << other
						}
					}
					all = append(all, []want{{bits: m}, {bits: 9 - 2*group[lane][1]}})
				}
				return all
			})
		},
	}}
}

// barriers returns the forms of bar.red, bar.sync, bar.arrive and bar.warp.sync.
func barriers() []*Op {
	const group = 96
	var ops []*Op
	block := func(r *rand.Rand) [][]uint64 {
		var rows [][]uint64
		for i := range 12 {
			for w := range group / warp {
				rows = append(rows, flags(r, i+w*(i%2), 0)...)
			}
		}
		return rows
	}
	for _, not := range []string{"", "!"} {
		for _, op := range []string{"popc", "and", "or"} {
			for _, barrier := range []string{"bar.red.%s 0, ", "bar.red.%s 7, 96, ", "barrier.red.%s 0, "} {
				out, typ := "pred", op+".pred %d0,"
				if op == "popc" {
					out, typ = "b32", "popc.u32 %d0,"
				}
				instruction := fmt.Sprintf(barrier, typ)
				ops = append(ops, &Op{
					Name: instruction + not + "p", group: group, in: []string{"pred"}, out: []string{out}, rows: block,
					body: instruction + not + "%a0;",
					eval: func(in [][]uint64) [][]want {
						n := 0
						for _, row := range in {
							if row[0] != 0 == (not == "") {
								n++
							}
						}
						v := map[string]uint64{"popc": uint64(n), "and": truthOf(n == group), "or": truthOf(n > 0)}[op]
						return repeat([]want{{bits: v}}, group)
					},
				})
			}
		}
	}
	words := func(r *rand.Rand) [][]uint64 {
		rows := make([][]uint64, 4*group)
		for i := range rows {
			rows[i] = []uint64{r.Uint64() & mask(32)}
		}
		return rows
	}
	// exchange adds a form in which threads of a block read, after a barrier, values that
	// other threads stored before it.
	exchange := func(name, sync string, from func(i int) int, body string) {
		ops = append(ops, &Op{
			Name: name, group: group, in: []string{"b32"}, out: []string{"b32"}, rows: words,
			declare: ".shared .align 4 .b32 words[96];\n.reg .b32 %t, %o, %at;\n.reg .pred %p;",
			body: fmt.Sprintf(`mov.u32 %%t, %%tid.x;
				shl.b32 %%o, %%t, 2;
				mov.u32 %%at, words;
				add.u32 %%o, %%at, %%o;
				st.shared.b32 [%%o], %%a0;
				%s
				%s
				shl.b32 %%t, %%t, 2;
				add.u32 %%o, %%at, %%t;
				ld.shared.b32 %%d0, [%%o];`, sync, body),
			eval: func(in [][]uint64) [][]want {
				all := make([][]want, len(in))
				for i := range in {
					all[i] = []want{{bits: in[from(i)][0]}}
				}
				return all
			},
		})
	}
	reversed := func(i int) int { return group - 1 - i }
	reverse := "sub.u32 %t, 95, %t;"
	exchange("bar.sync and an exchange", "bar.sync 0;", reversed, reverse)
	exchange("bar.sync of a register and a count", "mov.u32 %t, 5;\nbar.sync %t, 96;\nmov.u32 %t, %tid.x;", reversed, reverse)
	exchange("barrier.sync and an exchange", "barrier.sync 3;", reversed, reverse)
	exchange("barrier.cta.sync.aligned and an exchange", "barrier.cta.sync.aligned 15, 96;", reversed, reverse)
	exchange("bar.warp.sync and an exchange", "bar.warp.sync 0xffffffff;", func(i int) int { return i ^ 5 }, "xor.b32 %t, %t, 5;")
	// The first two warps arrive without waiting; the third waits for them and reads.
	exchange("bar.arrive and bar.sync", `setp.lt.u32 %p, %t, 64;
		@%p bra ARRIVE;
		bar.sync 1, 96;
		sub.u32 %t, %t, 64;
		bra GO;
		ARRIVE:
		bar.arrive 1, 96;
		GO:`, func(i int) int {
		if i >= 64 {
			return i - 64
		}
		return i
	}, "")
	return ops
}
