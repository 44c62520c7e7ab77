package ptx

import (
	"fmt"
	"path"
	"strings"
)

// Kind is the kind of problem in a Report.
type Kind uint8

const (
	OutOfBounds     Kind = iota // an access outside every allocation, or across the end of one
	Freed                       // an access to freed memory
	Misaligned                  // an address that is not a multiple of the access size
	Uninitialized               // a use of a value read from memory that nothing has written
	UninitRegister              // a use of a register that nothing has written
	Race                        // two unordered accesses, one of them a write
	NotAwaited                  // an access to memory of an asynchronous copy in flight
	NonCoherent                 // a load with .nc of memory that the same launch has written
	BarrierDiverged             // a barrier that only some of the threads reach
	Deadlock                    // threads that wait in loops for what no thread will do
	MaskMismatch                // a warp-wide instruction with a member mask other than the lanes that execute it
	InactiveLane                // a shuffle from a lane that does not execute it
	Leak                        // memory that was never freed
	BadFree                     // a free of something that is not allocated
	Trapped                     // the kernel executed trap
)

var kindNames = [...]string{
	OutOfBounds: "out of bounds", Freed: "use after free", Misaligned: "misaligned",
	Uninitialized: "uninitialized memory", UninitRegister: "uninitialized register", Race: "race",
	NotAwaited: "copy not awaited", NonCoherent: "non-coherent load",
	BarrierDiverged: "barrier divergence", Deadlock: "deadlock", MaskMismatch: "mask mismatch", InactiveLane: "inactive lane",
	Leak: "leak", BadFree: "bad free", Trapped: "trap",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Access is one thread's execution of one instruction.
type Access struct {
	Block  [3]int // ctaid
	Thread [3]int // tid

	Op      string // the opcode: "ld.global.f32"
	File    string // source file of the PTX, "" if the PTX does not say
	Line    int
	PTX     string // the name of the PTX file
	PTXLine int    // 0 if unknown
}

// place returns the position of the instruction: "attention.cu:88 (line 412 of attention.ptx)".
func (a *Access) place() string {
	file, ptx := path.Clean(a.File), ""
	if a.PTXLine != 0 {
		ptx = fmt.Sprintf("line %d of %s", a.PTXLine, a.PTX)
	}
	switch {
	case a.File == "" && ptx == "":
		return "a place that is not known"
	case a.File == "":
		return ptx
	case ptx == "":
		return fmt.Sprintf("%s:%d", file, a.Line)
	}
	return fmt.Sprintf("%s:%d (%s)", file, a.Line, ptx)
}

func coordinates(c [3]int) string { return fmt.Sprintf("(%d,%d,%d)", c[0], c[1], c[2]) }

// Report is a problem found by a checker, or an access that is always refused. The first one ends its launch
// and is the launch's error.
type Report struct {
	Kind   Kind
	Kernel string // "" for an operation of the host
	Access        // the access; of a race, the later of the two; of an undefined host read, the store

	Space      string // "global", "shared", "local", or "" if no memory is involved
	Address    uint64 // in global memory a generic address, elsewhere an offset in the space
	Size       int    // bytes of the access
	Allocation string // name of the allocation, in global memory
	Extent     int64  // size of the allocation in bytes
	Offset     int64  // offset of the address in the allocation; negative before its start

	Detail string  // the problem, in words
	Other  *Access // of a race, the earlier access; of an undefined value, the load of it
}

// Error returns the report on one line.
func (r *Report) Error() string {
	var b strings.Builder
	b.WriteString("ptx: ")
	if r.Kernel != "" {
		fmt.Fprintf(&b, "%s: block %s thread %s: %s: ", r.Kernel, coordinates(r.Block), coordinates(r.Thread), r.place())
	}
	fmt.Fprintf(&b, "%s: ", r.Kind)
	if r.Op != "" {
		b.WriteString(r.Op)
		switch {
		case r.Space == "", r.Kind == Uninitialized && r.Other != nil: // then it is the address from which the value was loaded
		case r.Allocation != "":
			fmt.Fprintf(&b, " at %#x", r.Address)
		default:
			fmt.Fprintf(&b, " at %#x of %s memory", r.Address, r.Space)
		}
		b.WriteString(": ")
	}
	b.WriteString(r.Detail)
	if o := r.Other; o != nil {
		fmt.Fprintf(&b, ": %s, block %s thread %s: %s: %s", r.earlier(), coordinates(o.Block), coordinates(o.Thread), o.place(), o.Op)
	}
	return b.String()
}

// String returns the report on several lines.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Kind, r.Detail)
	if r.Kernel != "" {
		fmt.Fprintf(&b, "    kernel  %s\n", r.Kernel)
		r.describe(&b, "thread")
	}
	if r.Other != nil {
		r.Other.describe(&b, r.earlier())
	}
	switch {
	case r.Allocation != "" && r.Space != "":
		fmt.Fprintf(&b, "    memory  %#x is %q%+d, which has %d bytes\n", r.Address, r.Allocation, r.Offset, r.Extent)
	case r.Space != "":
		fmt.Fprintf(&b, "    memory  %#x of %d bytes of %s memory\n", r.Address, r.Extent, r.Space)
	}
	return b.String()
}

// earlier describes Other.
func (r *Report) earlier() string {
	if r.Kind == Uninitialized {
		return "loaded"
	}
	return "before"
}

func (a *Access) describe(b *strings.Builder, word string) {
	fmt.Fprintf(b, "    %-7s %s of block %s: %s\n", word, coordinates(a.Thread), coordinates(a.Block), a.Op)
	fmt.Fprintf(b, "            %s\n", a.place())
}
