package conform

import "math/rand/v2"

// flowOps returns guards and branches: small kernels with divergent threads, each with
// the same computation in Go as its oracle.
func flowOps() []*Op {
	small := domain{[]uint64{0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33}, func(r *rand.Rand) uint64 { return r.Uint64N(40) }}
	word := wholeNumbers(32)
	lanes := func(t table) table { // whole warps
		return func(r *rand.Rand) [][]uint64 {
			rows := t(r)
			return rows[:len(rows)/warp*warp]
		}
	}
	return []*Op{{
		Name: "guards", in: []string{"b32", "b32", "pred"}, out: repeat("b32", 3),
		declare: ".reg .pred %never;",
		body: `mov.b32 %d0, %a0;
			mov.b32 %d1, %a0;
			mov.b32 %d2, %a0;
			@%a2 add.u32 %d0, %d0, %a1;
			@!%a2 add.u32 %d1, %d1, %a1;
			setp.ne.u32 %never, %i, %i;
			@%never st.global.b32 [%rin+1], %a0;
			@%never add.u32 %d2, %d2, 1;`,
		rows: rows(word, word, truth()),
		eval: exacts(func(a []uint64) []uint64 {
			if a[2] != 0 {
				return []uint64{a[0] + a[1], a[0], a[0]}
			}
			return []uint64{a[0], a[0] + a[1], a[0]}
		}),
	}, {
		Name: "if and else, nested", in: []string{"b32", "pred", "pred"}, out: []string{"b32"},
		body: `@!%a1 bra ELSE;
			add.u32 %d0, %a0, 1;
			@!%a2 bra JOIN;
			mul.lo.u32 %d0, %d0, 3;
			bra JOIN;
			ELSE:
			sub.u32 %d0, %a0, 1;
			@%a2 bra SQUARE;
			xor.b32 %d0, %d0, 255;
			bra JOIN;
			SQUARE:
			mul.lo.u32 %d0, %d0, %d0;
			JOIN:
			add.u32 %d0, %d0, 7;`,
		rows: rows(word, truth(), truth()),
		eval: exact(func(a []uint64) uint64 {
			d := uint32(a[0])
			switch p, q := a[1] != 0, a[2] != 0; {
			case p && q:
				d = (d + 1) * 3
			case p:
				d++
			case q:
				d = (d - 1) * (d - 1)
			default:
				d = (d - 1) ^ 255
			}
			return uint64(d + 7)
		}),
	}, {
		Name: "a loop of as many turns as each thread wants", in: []string{"b32"}, out: []string{"b32", "b32"},
		declare: ".reg .b32 %x, %odd;\n.reg .pred %p, %q;",
		// The steps of the 3x+1 problem, at most 200.
		body: `mov.b32 %d0, 0;
			add.u32 %x, %a0, 1;
			TOP:
			setp.le.u32 %p, %x, 1;
			setp.ge.or.u32 %p, %d0, 200, %p;
			@%p bra OUT;
			and.b32 %odd, %x, 1;
			setp.eq.u32 %q, %odd, 0;
			@%q bra EVEN;
			mad.lo.u32 %x, %x, 3, 1;
			bra NEXT;
			EVEN:
			shr.u32 %x, %x, 1;
			NEXT:
			add.u32 %d0, %d0, 1;
			bra TOP;
			OUT:
			mov.b32 %d1, %x;`,
		rows: rows(word),
		eval: exacts(func(a []uint64) []uint64 {
			x, n := uint32(a[0])+1, 0
			for x > 1 && n < 200 {
				if x%2 == 0 {
					x /= 2
				} else {
					x = 3*x + 1
				}
				n++
			}
			return []uint64{uint64(n), uint64(x)}
		}),
	}, {
		Name: "nested loops with continue and break", in: []string{"b32", "b32"}, out: []string{"b32"},
		declare: ".reg .b32 %j, %k, %m;\n.reg .pred %p;",
		body: `mov.b32 %d0, 0;
			mov.b32 %j, 0;
			OUTER:
			setp.ge.u32 %p, %j, %a0;
			@%p bra END;
			mov.b32 %k, 0;
			INNER:
			setp.ge.u32 %p, %k, %a1;
			@%p bra LEAVE;
			and.b32 %m, %k, 3;
			setp.eq.u32 %p, %m, 1;
			@%p bra CONTINUE;
			mad.lo.u32 %d0, %j, %k, %d0;
			add.u32 %d0, %d0, 1;
			setp.gt.u32 %p, %d0, 5000;
			@%p bra END;
			CONTINUE:
			add.u32 %k, %k, 1;
			bra INNER;
			LEAVE:
			add.u32 %j, %j, 1;
			bra OUTER;
			END:`,
		rows: rows(small, small),
		eval: exact(func(a []uint64) uint64 {
			var d uint64
			for j := range a[0] {
				for k := range a[1] {
					if k&3 == 1 {
						continue
					}
					if d += j*k + 1; d > 5000 {
						return d
					}
				}
			}
			return d
		}),
	}, {
		Name: "threads that leave early", in: []string{"b32"}, out: []string{"b32"},
		declare: ".reg .b32 %k;\n.reg .pred %p;",
		// Each thread leaves a loop by ret or exit in its own iteration.
		body: `mov.b32 %k, 0;
			TURN:
			setp.eq.u32 %p, %k, %a0;
			@!%p bra ON;
			and.b32 %d0, %k, 1;
			setp.eq.u32 %p, %d0, 0;
			st.global.b32 [%rout], %k;
			@%p exit;
			ret;
			ON:
			add.u32 %k, %k, 1;
			setp.lt.u32 %p, %k, 20;
			@%p bra TURN;
			mov.b32 %d0, 1000;`,
		rows: rows(small),
		eval: exact(func(a []uint64) uint64 {
			if a[0] < 20 {
				return a[0]
			}
			return 1000
		}),
	}, {
		Name: "a vote after branches", group: warp, in: []string{"b32", "pred"}, out: []string{"b32", "b32"},
		declare: ".reg .b32 %k;\n.reg .pred %p;",
		body: `mov.b32 %d0, %a0;
			mov.b32 %k, 0;
			LOOP:
			setp.ge.u32 %p, %k, %a0;
			@%p bra AFTER;
			add.u32 %k, %k, 1;
			bra LOOP;
			AFTER:
			@%a1 bra OTHER;
			add.u32 %d0, %d0, %k;
			bra MEET;
			OTHER:
			mul.lo.u32 %d0, %d0, %k;
			MEET:
			vote.sync.ballot.b32 %d1, %a1, -1;
			shfl.sync.bfly.b32 %d0, %d0, 1, 31, -1;`,
		rows: lanes(rows(small, truth())),
		eval: func(group [][]uint64) [][]want {
			var ballot uint64
			d := make([]uint64, warp)
			for lane, row := range group {
				ballot |= row[1] << lane
				if d[lane] = 2 * row[0]; row[1] != 0 {
					d[lane] = row[0] * row[0]
				}
			}
			all := make([][]want, warp)
			for lane := range all {
				all[lane] = []want{{bits: d[lane^1]}, {bits: ballot}}
			}
			return all
		},
	}, {
		Name: "two halves of a warp in different collectives", group: warp, in: []string{"pred", "b32", "b32"}, out: []string{"b32"},
		// The lanes of a mask shuffle among themselves, and so do the lanes of its complement.
		declare: ".reg .b32 %others, %sum;",
		body: `not.b32 %others, %a1;
			@%a0 bra MINE;
			redux.sync.add.u32 %d0, %a2, %others;
			bra BOTH;
			MINE:
			redux.sync.xor.b32 %d0, %a2, %a1;
			BOTH:
			redux.sync.add.u32 %sum, %a2, -1;
			add.u32 %d0, %d0, %sum;`,
		rows: warpRows(24, func(r *rand.Rand, _ int, _ uint64) [][]uint64 { return sparse(32, 1)(r)[:warp] }),
		eval: func(group [][]uint64) [][]want {
			var sum, xor, all uint64
			for _, row := range group {
				all += row[2]
				if row[0] != 0 {
					xor ^= row[2]
				} else {
					sum += row[2]
				}
			}
			out := make([][]want, warp)
			for lane, row := range group {
				d := sum
				if row[0] != 0 {
					d = xor
				}
				out[lane] = []want{{bits: d + all}}
			}
			return out
		},
	}, {
		Name: "branches into one another's blocks", in: []string{"b32", "pred", "pred"}, out: []string{"b32"},
		// Two branches into one basic block, and a branch past it: not the control flow of
		// an if with else.
		body: `mov.b32 %d0, %a0;
			@%a1 bra LEFT;
			add.u32 %d0, %d0, 1;
			@%a2 bra SHARED;
			add.u32 %d0, %d0, 2;
			bra LAST;
			LEFT:
			add.u32 %d0, %d0, 4;
			@!%a2 bra LAST;
			SHARED:
			shl.b32 %d0, %d0, 3;
			LAST:
			xor.b32 %d0, %d0, 16;`,
		rows: rows(word, truth(), truth()),
		eval: exact(func(a []uint64) uint64 {
			d := uint32(a[0])
			if a[1] != 0 {
				d += 4
			} else if d++; a[2] == 0 {
				d += 2
			}
			if a[2] != 0 {
				d <<= 3
			}
			return uint64(d ^ 16)
		}),
	}, {
		Name: "brx.idx", in: []string{"b32"}, out: []string{"b32"},
		declare: ".reg .b32 %k;",
		body: `and.b32 %k, %a0, 3;
			WAYS: .branchtargets W0, W1, W2, W1;
			brx.idx %k, WAYS;
			W0:
			mov.b32 %d0, 100;
			bra OVER;
			W1:
			add.u32 %d0, %a0, 5;
			bra OVER;
			W2:
			mov.b32 %d0, %k;
			OVER:`,
		rows: rows(word),
		eval: exact(func(a []uint64) uint64 {
			switch a[0] & 3 {
			case 0:
				return 100
			case 2:
				return 2
			}
			return a[0] + 5
		}),
	}, {
		Name: "call", in: []string{"b32", "b32", "pred"}, out: []string{"b32", "b32"},
		module: `.func (.param .b32 r) conform_difference(.param .b32 x, .param .b32 y)
			{
			.reg .b32 %x, %y;
			.reg .pred %p;
			ld.param.b32 %x, [x];
			ld.param.b32 %y, [y];
			setp.lt.u32 %p, %x, %y;
			@%p bra LESS;
			sub.u32 %x, %x, %y;
			st.param.b32 [r], %x;
			ret;
			LESS:
			sub.u32 %x, %y, %x;
			st.param.b32 [r], %x;
			ret;
			}`,
		body: `{
			.param .b32 x;
			.param .b32 y;
			.param .b32 r;
			st.param.b32 [x], %a0;
			st.param.b32 [y], %a1;
			call.uni (r), conform_difference, (x, y);
			ld.param.b32 %d0, [r];
			}
			mov.b32 %d1, 3;
			@!%a2 bra NOT;
			{
			.param .b32 x;
			.param .b32 y;
			.param .b32 r;
			st.param.b32 [x], %d0;
			st.param.b32 [y], 10;
			call (r), conform_difference, (x, y);
			ld.param.b32 %d1, [r];
			}
			NOT:`,
		rows: rows(word, word, truth()),
		eval: exacts(func(a []uint64) []uint64 {
			diff := func(x, y uint32) uint32 { return max(x, y) - min(x, y) }
			d := diff(uint32(a[0]), uint32(a[1]))
			if a[2] == 0 {
				return []uint64{uint64(d), 3}
			}
			return []uint64{uint64(d), uint64(diff(d, 10))}
		}),
	}}
}
