package mutate

import (
	"slices"
	"strconv"
	"strings"
)

// smallRegisters is a set of registers, each written once in its function, whose values are at least 0 and below [smallest].
type smallRegisters map[string]bool

const (
	smallBits = 20
	smallest  = 1 << smallBits // more than there are threads in a block
)

// smallOf finds small registers in a function's instructions, in the order of its text: numbers of threads, lanes and warps, what
// is masked by a small constant, and small registers that are copied, widened or shifted to the right.
func smallOf(instructions []written) smallRegisters {
	writes := map[string]int{}
	for _, w := range instructions {
		for _, d := range w.destinations() {
			writes[d]++
		}
	}
	known := smallRegisters{}
	for _, w := range instructions {
		d := w.writes()
		if d == "" || writes[d] != 1 || w.guard != "" {
			continue
		}
		source := w.operands[1]
		switch op := w.parts()[0]; {
		case op == "mov" && isThreadNumber(source),
			slices.Contains([]string{"mov.u32", "mov.b32", "mov.u64", "mov.b64", "cvt.u64.u32", "cvt.s64.s32"}, w.op) && known[source],
			(w.op == "shr.u32" || w.op == "shr.u64") && known[source]:
			known[d] = true
		case op == "and" && len(w.operands) == 3:
			mask, err := strconv.ParseUint(w.operands[2], 0, smallBits)
			known[d] = err == nil && mask < smallest
		}
	}
	return known
}

// isThreadNumber reports whether a special register is small.
func isThreadNumber(name string) bool {
	name, _, _ = strings.Cut(name, ".")
	return slices.Contains([]string{"%tid", "%ntid", "%laneid", "%warpid", "%nwarpid"}, name)
}

// fits reports whether an instruction computes an offset that fits 31 bits: the product of a small register and a constant.
func (known smallRegisters) fits(w written) bool {
	if len(w.operands) != 3 || !known[w.operands[1]] {
		return false
	}
	by, err := strconv.ParseUint(w.operands[2], 0, 31)
	if err != nil {
		return false
	}
	switch w.parts()[0] {
	case "mul":
		return by <= 1<<(31-smallBits)
	case "shl":
		return by <= 31-smallBits
	}
	return false
}
