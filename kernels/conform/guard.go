package conform

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// guardedRows is the number of rows of a form that are run again under a guard.
const guardedRows = 96

// idle is the value of an output register if a guard skips the instruction. A narrower register has the low
// bytes of idle.
const idle = 0x5aa5_3cc3_6996_0ff0

// guarded returns a form whose threads execute o only if their predicate is true: a guard for a single
// instruction, a branch for several. Other threads keep their registers' values. Every form without
// communication between threads also has a guarded form, because a device may use different code for a full
// warp and for some of its lanes.
func guarded(o *Op) *Op {
	g := len(o.in)
	var b strings.Builder
	for k, t := range o.out {
		switch t {
		case "pred":
			fmt.Fprintf(&b, "setp.ne.b32 %%d%d, %%i, %%i;\n", k)
		case "f32":
			fmt.Fprintf(&b, "mov.f32 %%d%d, 0f%08X;\n", k, idle&mask(32))
		case "f64":
			fmt.Fprintf(&b, "mov.f64 %%d%d, 0d%016X;\n", k, uint64(idle))
		default:
			fmt.Fprintf(&b, "mov.%s %%d%d, %#x;\n", t, k, idle&mask(regBits(t)))
		}
	}
	if body := strings.TrimSpace(o.body); strings.Count(body, ";") == 1 {
		fmt.Fprintf(&b, "@%%a%d %s", g, body)
	} else {
		fmt.Fprintf(&b, "@!%%a%d bra KEEP;\n%s\nKEEP:", g, body)
	}
	return &Op{
		Name: o.Name + " under a guard", Chapter: o.Chapter, Target: o.Target, ISA: o.ISA, group: 1,
		in: append(o.in[:g:g], "pred"), out: o.out, declare: o.declare, body: b.String(),
		rows: func(r *rand.Rand) [][]uint64 {
			all := o.rows(r)
			t := make([][]uint64, min(guardedRows, len(all)))
			for i := range t {
				row := all[i*len(all)/len(t)]
				t[i] = append(row[:g:g], r.Uint64N(2))
			}
			return t
		},
		eval: each(func(a []uint64) []want {
			if a[g] != 0 {
				return o.eval([][]uint64{a[:g]})[0]
			}
			w := make([]want, len(o.out))
			for k, t := range o.out {
				if t != "pred" {
					w[k].bits = idle
				}
			}
			return w
		}),
	}
}
