package ptx

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Coverage counts which instructions launches execute, and which directions of their branches
// (Options.Coverage). Several devices and goroutines may share it. The zero value is ready for use.
type Coverage struct {
	mu       sync.Mutex
	programs map[programKey]*Program
	counts   map[entryKey][]hits
}

// entryKey identifies a kernel across Programs of the same text.
type entryKey struct {
	program programKey
	name    string
}

// hits counts the warps that reached an instruction.
type hits struct {
	ran     int64 // an active lane executed it, or took the branch
	skipped int64 // an active lane skipped it by its guard, or did not take the branch
}

// count counts a warp that reaches an instruction.
func (h *hits) count(active, mask uint32) {
	if mask != 0 {
		h.ran++
	}
	if active&^mask != 0 {
		h.skipped++
	}
}

// KernelCoverage is the coverage of one kernel.
type KernelCoverage struct {
	Module       string // name under which it was loaded: "attention.ptx"
	Kernel       string
	Launches     int64
	Instructions []InstructionCoverage // its own code in order, followed by that of the functions it calls
}

// InstructionCoverage says how many warps have executed an instruction.
type InstructionCoverage struct {
	Opcode     string // including modifiers: "ld.global.u32"
	Line       int    // of the PTX
	File       string // source file named by the PTX; "" if none
	SourceLine int

	// Ran and Skipped count the warps in which at least one thread executed the instruction, or skipped it by
	// its guard. For a Branch they count its two directions: taken and not taken.
	Ran, Skipped int64
	// Branch reports whether it is a guarded branch.
	Branch bool
}

// Add makes Kernels list the kernels of a program even if they are never launched.
func (c *Coverage) Add(p *Program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.programs == nil {
		c.programs, c.counts = map[programKey]*Program{}, map[entryKey][]hits{}
	}
	if c.programs[p.key] == nil {
		c.programs[p.key] = p
	}
}

// add adds the counts of one launch.
func (c *Coverage) add(e *entry, counted []hits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := entryKey{e.program.key, e.fn.name}
	all := c.counts[key]
	if all == nil {
		all = make([]hits, len(e.code)+1)
		c.counts[key] = all
	}
	for i, h := range counted {
		all[i].ran += h.ran
		all[i].skipped += h.skipped
	}
	all[len(e.code)].ran++ // number of launches
}

// Kernels returns the coverage of the kernels of all programs that were loaded or added, by module and then
// in the order of the text. Kernels that cannot be run are left out.
func (c *Coverage) Kernels() []KernelCoverage {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []KernelCoverage
	for _, p := range c.programs {
		for _, f := range p.module.entries {
			if e := p.entries[f.name]; e.refused == nil {
				list = append(list, e.coverage(c.counts[entryKey{p.key, f.name}]))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b KernelCoverage) int { return cmp.Compare(a.Module, b.Module) })
	return list
}

// coverage returns the coverage of a kernel with the given counts; nil means never executed.
func (e *entry) coverage(counted []hits) KernelCoverage {
	k := KernelCoverage{Module: e.program.module.name, Kernel: e.fn.name}
	if counted != nil {
		k.Launches = counted[len(e.code)].ran
	}
	for i := range e.code {
		in := &e.code[i]
		if !in.counted {
			continue // a further part of the previous PTX instruction
		}
		one := InstructionCoverage{
			Opcode: in.op, Line: int(in.line), File: e.program.module.files[in.loc.file], SourceLine: in.loc.line,
			Branch: in.kind == kindBranch && in.guard >= 0,
		}
		if counted != nil {
			one.Ran, one.Skipped = counted[i].ran, counted[i].skipped
		}
		if one.Branch && strings.HasPrefix(in.op, "call") { // decoded as a branch around the call
			one.Ran, one.Skipped, one.Branch = one.Skipped, one.Ran, false
		}
		k.Instructions = append(k.Instructions, one)
	}
	return k
}

// Reached reports whether a warp has reached an instruction on a line of a kernel's PTX, in any program.
func (c *Coverage) Reached(kernel string, line int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, counted := range c.counts {
		if key.name != kernel {
			continue
		}
		for i := range c.programs[key.program].entries[kernel].code {
			in := &c.programs[key.program].entries[kernel].code[i]
			if int(in.line) == line && in.counted && counted[i] != (hits{}) {
				return true
			}
		}
	}
	return false
}

// Took says of each instruction of a kernel, in the order of its code, what warps did there: a bit for those
// that executed it, and one for those whose guard skipped it; of a branch, its two directions. It is nil where the
// kernel was not launched. Programs of the same kernel count together.
func (c *Coverage) Took(kernel string) []uint8 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var took []uint8
	for key, counted := range c.counts {
		if key.name != kernel {
			continue
		}
		if took == nil {
			took = make([]uint8, len(counted)-1)
		}
		for i := range min(len(took), len(counted)-1) {
			if counted[i].ran > 0 {
				took[i] |= 1
			}
			if counted[i].skipped > 0 {
				took[i] |= 2
			}
		}
	}
	return took
}
