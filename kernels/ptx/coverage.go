package ptx

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Coverage counts which instructions launches have executed, and which directions of
// their branches (Options.Coverage). Devices may share it, and goroutines use it at
// the same time. The zero value is ready for use.
type Coverage struct {
	mu       sync.Mutex
	programs map[programKey]*Program
	counts   map[entryKey][]hits
}

// entryKey is a kernel, whichever Program of the same text it is of.
type entryKey struct {
	program programKey
	name    string
}

// hits counts what warps did when they came to an instruction.
type hits struct {
	ran     int64 // an active lane executed it; of a branch, took it
	skipped int64 // an active lane's guard skipped it; of a branch, it went on
}

// count counts a warp's coming to an instruction.
func (h *hits) count(active, mask uint32) {
	if mask != 0 {
		h.ran++
	}
	if active&^mask != 0 {
		h.skipped++
	}
}

// KernelCoverage says what has been executed of a kernel.
type KernelCoverage struct {
	Module       string // its name as it was loaded: "attention.ptx"
	Kernel       string
	Launches     int64
	Instructions []InstructionCoverage // in the order of its code, that of the functions that it calls after it
}

// InstructionCoverage says how often warps have executed an instruction.
type InstructionCoverage struct {
	Opcode     string // with its modifiers: "ld.global.u32"
	Line       int    // of the PTX
	File       string // of the source, as the PTX names it; "" where it does not
	SourceLine int

	// Ran and Skipped count the warps that came by of which at least one thread executed
	// the instruction, and skipped it by its guard. Of a Branch they are its two
	// directions: taken, and not.
	Ran, Skipped int64
	// Branch is whether it is a branch with a guard.
	Branch bool
}

// Add has Kernels list the kernels of a program, whether or not they are launched.
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

// add adds what a launch has counted, and one launch.
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
	all[len(e.code)].ran++ // the launches
}

// Kernels returns the coverage of the kernels of all programs that were loaded or
// added, by module and then in the order of the text. Kernels that cannot be run are
// not among them.
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

// coverage returns the coverage of a kernel that was counted so; nil is never.
func (e *entry) coverage(counted []hits) KernelCoverage {
	k := KernelCoverage{Module: e.program.module.name, Kernel: e.fn.name}
	if counted != nil {
		k.Launches = counted[len(e.code)].ran
	}
	for i := range e.code {
		in := &e.code[i]
		if !in.counted {
			continue // a part of one before
		}
		one := InstructionCoverage{
			Opcode: in.op, Line: int(in.line), File: e.program.module.files[in.loc.file], SourceLine: in.loc.line,
			Branch: in.kind == kindBranch && in.guard >= 0,
		}
		if counted != nil {
			one.Ran, one.Skipped = counted[i].ran, counted[i].skipped
		}
		if one.Branch && strings.HasPrefix(in.op, "call") { // a branch around it
			one.Ran, one.Skipped, one.Branch = one.Skipped, one.Ran, false
		}
		k.Instructions = append(k.Instructions, one)
	}
	return k
}

// Reached reports whether a warp has come to an instruction of a kernel, of any program,
// that stands on a line of the PTX.
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
