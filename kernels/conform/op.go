package conform

import (
	"hash/fnv"
	"math/rand/v2"
)

// An Op is one form of an instruction with the operands that it is tried on.
type Op struct {
	// Name says which: "add.rn.f32", "shl.b32 by an immediate". No two are alike.
	Name string
	// Chapter is the manual's chapter that the form belongs to, in a word: "integer",
	// "extended", "bits", "float", "half", "compare", "logic", "convert", "memory", "atomic",
	// "warp", "flow", "operand".
	Chapter string
	// Target is the architecture that it needs at least: "sm_80", "sm_90".
	Target string

	in, out []string // the types of the registers %a0, %a1, … and %d0, %d1, …
	module  string   // PTX before the kernel: variables, functions
	declare string   // declarations at the head of the kernel
	body    string   // what reads %a and writes %d

	// group is how many threads belong together, one row each: 1, a warp, or a block.
	group int
	rows  table
	eval  oracle
}

// An oracle computes what must come out of a group of rows.
type oracle func(group [][]uint64) [][]want

// Rows returns the operands that the form is tried on: for each thread the values of
// its input registers. They are the same every time.
func (o *Op) Rows() [][]uint64 { return o.Draw(1) }

// Draw returns operands of the same kinds with other random numbers among them,
// those of a seed. Rows are those of seed 1.
func (o *Op) Draw(seed uint64) [][]uint64 {
	h := fnv.New64a()
	h.Write([]byte(o.Name))
	t := o.rows(rand.New(rand.NewPCG(h.Sum64(), seed)))
	if n := len(t) % o.group; n != 0 {
		t = t[:len(t)-n]
	}
	return t
}

// Inputs returns how many registers a row holds.
func (o *Op) Inputs() int { return len(o.in) }

// Alone says whether a thread's results depend on its own operands only: then the
// form may be tried on any rows. Where the operands of a row together are beyond
// what the manual defines, the oracle takes any result.
func (o *Op) Alone() bool { return o.group == 1 }

// want computes the expected results of whole groups of rows.
func (o *Op) want(rows [][]uint64) [][]want {
	var all [][]want
	for i := 0; i < len(rows); i += o.group {
		all = append(all, o.eval(rows[i:i+o.group])...)
	}
	return all
}

// each is the oracle of a form whose threads are alone, with several results.
func each(f func(a []uint64) []want) oracle {
	return func(group [][]uint64) [][]want {
		out := make([][]want, len(group))
		for i, row := range group {
			out[i] = f(row)
		}
		return out
	}
}

// single is the oracle of a form with one result.
func single(like likeness, f func(a []uint64) uint64) oracle {
	return each(func(a []uint64) []want { return []want{{f(a), like}} })
}

// exact is the oracle of a form with one result that is met to the bit.
func exact(f func(a []uint64) uint64) oracle { return single(exactly, f) }

// exacts is the oracle of a form with several such results.
func exacts(f func(a []uint64) []uint64) oracle {
	return each(func(a []uint64) []want {
		var out []want
		for _, v := range f(a) {
			out = append(out, want{bits: v})
		}
		return out
	})
}

// truthOf is 1 or 0: how a predicate is stored.
func truthOf(p bool) uint64 {
	if p {
		return 1
	}
	return 0
}

// Ops returns every form of the suite.
func Ops() []*Op {
	var all []*Op
	for _, c := range []struct {
		chapter string
		ops     []*Op
	}{
		{"integer", integerOps()},
		{"extended", extendedOps()},
		{"bits", bitOps()},
		{"float", floatOps()},
		{"half", halfOps()},
		{"compare", compareOps()},
		{"logic", logicOps()},
		{"convert", convertOps()},
		{"memory", memoryOps()},
		{"atomic", atomicOps()},
		{"warp", warpOps()},
		{"flow", flowOps()},
		{"operand", operandOps()},
	} {
		for _, o := range c.ops {
			o.Chapter = c.chapter
			if o.Target == "" {
				o.Target = "sm_80"
			}
			if o.group == 0 {
				o.group = 1
			}
			all = append(all, o)
			// A module's variables and functions are declared once.
			if o.Alone() && o.module == "" {
				all = append(all, guarded(o))
			}
		}
	}
	return all
}
