package conform

import (
	"hash/fnv"
	"math/rand/v2"
)

// An Op is one form of an instruction with its table of operands.
type Op struct {
	// Name identifies the form: "add.rn.f32", "shl.b32 by an immediate". Names are unique.
	Name string
	// Chapter is a short name for the form's chapter in the manual: "integer", "extended", "bits", "float",
	// "half", "narrow", "compare", "logic", "convert", "memory", "atomic", "warp", "flow", "operand".
	Chapter string
	// Target is the lowest architecture that has the form: "sm_80", "sm_90".
	Target string
	// ISA is the lowest PTX version that has the form, if it is higher than the constant ISA; else it is empty.
	ISA string

	in, out []string // types of the registers %a0, %a1, … and %d0, %d1, …
	module  string   // PTX before the kernel: variables, functions
	declare string   // declarations at the head of the kernel
	body    string   // the code that reads %a and writes %d

	// group is how many threads communicate, with one row each: 1 (none), a warp, or a block.
	group int
	rows  table
	eval  oracle
}

// An oracle computes the expected results of a group of rows.
type oracle func(group [][]uint64) [][]want

// Rows returns the form's operands: the input registers of each thread. They are always the same.
func (o *Op) Rows() [][]uint64 { return o.Draw(1) }

// Draw returns operands of the same kinds, with random numbers from a seed. Rows uses seed 1.
func (o *Op) Draw(seed uint64) [][]uint64 {
	h := fnv.New64a()
	h.Write([]byte(o.Name))
	t := o.rows(rand.New(rand.NewPCG(h.Sum64(), seed)))
	if n := len(t) % o.group; n != 0 {
		t = t[:len(t)-n]
	}
	return t
}

// Inputs returns the number of registers in a row.
func (o *Op) Inputs() int { return len(o.in) }

// Alone reports whether a thread's results depend only on its own operands. Then the form can run on any
// rows; if the manual does not define the result for a row, the oracle accepts any.
func (o *Op) Alone() bool { return o.group == 1 }

// want computes the expected results of whole groups of rows.
func (o *Op) want(rows [][]uint64) [][]want {
	var all [][]want
	for i := 0; i < len(rows); i += o.group {
		all = append(all, o.eval(rows[i:i+o.group])...)
	}
	return all
}

// each returns the oracle of a form without communication between threads and with several results.
func each(f func(a []uint64) []want) oracle {
	return func(group [][]uint64) [][]want {
		out := make([][]want, len(group))
		for i, row := range group {
			out[i] = f(row)
		}
		return out
	}
}

// single returns the oracle of a form with one result.
func single(like likeness, f func(a []uint64) uint64) oracle {
	return each(func(a []uint64) []want { return []want{{f(a), like}} })
}

// exact returns the oracle of a form with one result that must be equal bit by bit.
func exact(f func(a []uint64) uint64) oracle { return single(exactly, f) }

// exacts returns the oracle of a form with several such results.
func exacts(f func(a []uint64) []uint64) oracle {
	return each(func(a []uint64) []want {
		var out []want
		for _, v := range f(a) {
			out = append(out, want{bits: v})
		}
		return out
	})
}

// truthOf returns 1 or 0, as a predicate is stored.
func truthOf(p bool) uint64 {
	if p {
		return 1
	}
	return 0
}

// Ops returns all forms of the suite.
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
		{"narrow", narrowOps()},
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
			// A module's variables and functions can be declared only once.
			if o.Alone() && o.module == "" {
				all = append(all, guarded(o))
			}
		}
	}
	return all
}
