package mutate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The kinds of fault.
const (
	KindOperand   = "an operand"
	KindConstant  = "a constant by one"
	KindEdge      = "a comparison's edge"
	KindSense     = "a predicate's sense"
	KindRounding  = "a rounding"
	KindType      = "a type's sign"
	KindWidth     = "a type's width"
	KindFused     = "fused for two roundings"
	KindBarrier   = "a dropped barrier, fence or wait"
	KindAtomic    = "a dropped atomic"
	KindStore     = "a dropped store"
	KindAddress32 = "32 for 64 bits of address arithmetic"
)

// Kinds returns the kinds of fault.
func Kinds() []string {
	return []string{KindOperand, KindConstant, KindEdge, KindSense, KindRounding, KindType, KindWidth, KindFused, KindBarrier, KindAtomic, KindStore, KindAddress32}
}

// fault is a replacement of an instruction.
type fault struct {
	kind string
	text string // the replacement
	// result is the faulty instruction if it is a single one that writes one register. Then its
	// result can be compared with the original's.
	result written
}

// preceding has facts about the instructions before the current one.
type preceding struct {
	last     map[string]string  // the last register written, by class
	products map[string]written // mul instructions by destination, while destination and operands have not been overwritten
	small    smallRegisters     // of the whole function
}

// faults returns all faults of an instruction.
func (c *preceding) faults(w written) []fault {
	var list []fault
	add := func(kind string, changed ...written) {
		for _, x := range changed {
			f := fault{kind: kind, text: x.String()}
			if x.op != "" && len(x.operands) > 0 && (w.writes() != "" || kind == KindType && w.loads() != "") {
				f.result = x
			}
			list = append(list, f)
		}
	}
	text := func(kind, text string) { list = append(list, fault{kind: kind, text: text}) }

	parts := w.parts()
	op := parts[0]
	if w.guard != "" {
		x := w
		if strings.HasPrefix(w.guard, "@!") {
			x.guard = "@" + w.guard[2:]
		} else {
			x.guard = "@!" + w.guard[1:]
		}
		text(KindSense, x.String())
	}
	switch {
	case op == "bra" || op == "ret" || op == "exit" || op == "call" || op == "trap" || op == "brx" || op == "cvta":
		return list
	case op == "bar" || op == "barrier" || op == "membar" || op == "fence" || strings.HasPrefix(w.op, "cp.async.wait"):
		text(KindBarrier, ";")
		return list
	case op == "cp" && len(w.operands) > 1:
		text(KindStore, ";")
	case op == "st":
		text(KindStore, ";")
	case op == "red":
		text(KindStore, ";")
	}
	if t := w.notAtomic(); t != "" {
		text(KindAtomic, t)
	}
	if op == "setp" || op == "set" {
		for _, r := range [][2]string{{"lt", "le"}, {"le", "lt"}, {"gt", "ge"}, {"ge", "gt"}, {"ltu", "leu"}, {"leu", "ltu"}, {"gtu", "geu"}, {"geu", "gtu"}} {
			if parts[1] == r[0] {
				add(KindEdge, w.with(r[0], r[1]))
			}
		}
		for _, r := range [][2]string{{"lt", "ge"}, {"ge", "lt"}, {"gt", "le"}, {"le", "gt"}, {"eq", "ne"}, {"ne", "eq"}, {"neu", "equ"}, {"equ", "neu"}} {
			if parts[1] == r[0] {
				add(KindSense, w.with(r[0], r[1]))
			}
		}
	}
	add(KindRounding, w.rounded()...)
	add(KindType, w.signed()...)
	add(KindWidth, w.narrower()...)
	add(KindConstant, w.constants()...)
	add(KindOperand, c.others(w)...)
	if x, ok := c.fused(w); ok {
		add(KindFused, x)
	}
	if (op == "add" || op == "sub" || op == "mul" || op == "mad" || op == "shl") && len(w.operands) > 2 && class(w.operands[0]) == "%rd" && !c.small.fits(w) {
		d := w.operands[0]
		g := ""
		if w.guard != "" {
			g = w.guard + " "
		}
		text(KindAddress32, fmt.Sprintf("%s %sshl.b64 %s, %s, 32; %sshr.s64 %s, %s, 32;", w, g, d, d, g, d, d))
	}
	return list
}

// destinations returns all registers that an instruction writes.
func (w written) destinations() []string {
	if len(w.operands) == 0 || w.parts()[0] == "st" || w.parts()[0] == "red" {
		return nil
	}
	all := strings.FieldsFunc(w.operands[0], func(r rune) bool { return strings.ContainsRune("{}|, ", r) })
	return slices.DeleteFunc(all, func(d string) bool { return !isRegister(d) })
}

// writes returns the register that an instruction writes; "" if it has any other effect.
func (w written) writes() string {
	switch w.parts()[0] {
	case "st", "red", "atom", "cp", "bar", "barrier", "shfl", "vote", "redux", "ldmatrix", "mma", "ld":
		return ""
	}
	if len(w.operands) < 2 || !isRegister(w.operands[0]) {
		return ""
	}
	return w.operands[0]
}

// loads returns the register that a load writes; "" for another instruction, and for a load of several registers.
func (w written) loads() string {
	if w.parts()[0] != "ld" || len(w.operands) < 2 || !isRegister(w.operands[0]) {
		return ""
	}
	return w.operands[0]
}

// rounded returns the instruction with another rounding mode.
func (w written) rounded() []written {
	for _, r := range [][2]string{{"rn", "rz"}, {"rz", "rn"}, {"rni", "rzi"}, {"rzi", "rni"}, {"rmi", "rni"}, {"rpi", "rni"}} {
		if w.has(r[0]) {
			return []written{w.with(r[0], r[1])}
		}
	}
	return nil
}

// signed returns the instruction with a signed type replaced by an unsigned one, or the
// reverse, if the result may differ.
func (w written) signed() []written {
	parts := w.parts()
	switch parts[0] {
	case "setp", "set", "shr", "div", "rem", "min", "max", "cvt", "bfe":
	case "mul", "mad":
		if !w.has("wide") && !w.has("hi") {
			return nil
		}
	case "ld":
	default:
		return nil
	}
	t := parts[len(parts)-1]
	if parts[0] == "setp" && (w.has("eq") || w.has("ne")) || parts[0] == "ld" && (t == "u32" || t == "s32" || t == "u64" || t == "s64") {
		return nil
	}
	if len(t) < 2 || t[0] != 's' && t[0] != 'u' {
		return nil
	}
	if _, err := strconv.Atoi(t[1:]); err != nil {
		return nil
	}
	other := "u" + t[1:]
	if t[0] == 'u' {
		other = "s" + t[1:]
	}
	return []written{w.with(t, other)}
}

// narrower returns a load or store with half the width.
func (w written) narrower() []written {
	parts := w.parts()
	if parts[0] != "ld" && parts[0] != "st" || w.has("param") || w.has("v2") || w.has("v4") {
		return nil
	}
	t := parts[len(parts)-1]
	for _, r := range [][2]string{{"u32", "u16"}, {"s32", "s16"}, {"b32", "b16"}, {"u64", "u32"}, {"b64", "b32"}, {"s64", "s32"}, {"u16", "u8"}, {"b16", "b8"}} {
		if t == r[0] {
			return []written{w.with(r[0], r[1])}
		}
	}
	return nil
}

// constants returns the instruction with one constant increased by 1, or the offset of an
// address by one element.
func (w written) constants() []written {
	var list []written
	parts := w.parts()
	if w.has("param") || strings.HasPrefix(w.op, "cp.async.commit") {
		return nil
	}
	for i, o := range w.operands {
		if i == 0 && w.writes() != "" {
			continue
		}
		switch {
		case strings.HasPrefix(o, "["):
			if step := sizeOf(parts); step > 0 && (parts[0] == "ld" || parts[0] == "st") {
				inner := strings.TrimSuffix(o[1:], "]")
				base, off, _ := strings.Cut(inner, "+")
				n, err := strconv.ParseInt(off, 0, 64)
				if off == "" {
					n, err = 0, nil
				}
				if err == nil {
					list = append(list, w.operand(i, fmt.Sprintf("[%s+%d]", base, n+int64(step))))
				}
			}
		case strings.HasPrefix(o, "0f") || strings.HasPrefix(o, "0F"):
			if n, err := strconv.ParseUint(o[2:], 16, 32); err == nil {
				list = append(list, w.operand(i, fmt.Sprintf("0f%08X", uint32(n)+1)))
			}
		default:
			if n, err := strconv.ParseInt(o, 0, 64); err == nil && !w.has("sync") {
				list = append(list, w.operand(i, strconv.FormatInt(n+1, 10)))
			}
		}
	}
	return list
}

// sizeOf returns the size of an access's element in bytes, from the last part of the opcode;
// 0 if it has none.
func sizeOf(parts []string) int {
	t := parts[len(parts)-1]
	if len(t) < 2 {
		return 0
	}
	n, err := strconv.Atoi(t[1:])
	if err != nil {
		return 0
	}
	return n / 8
}

// others returns the instruction with two operands exchanged, if their order matters, and with
// one operand replaced by the last register written.
func (c *preceding) others(w written) []written {
	var list []written
	op := w.parts()[0]
	if len(w.operands) < 2 || op == "ld" && w.has("param") {
		return nil
	}
	swap := func(i, j int) {
		if len(w.operands) > j && w.operands[i] != w.operands[j] && isRegister(w.operands[i]) && isRegister(w.operands[j]) {
			list = append(list, w.swapped(i, j))
		}
	}
	switch op {
	case "sub", "div", "rem", "selp", "setp":
		swap(1, 2)
	case "shl", "shr":
		if class(w.operands[1]) == class(w.operands[len(w.operands)-1]) {
			swap(1, 2)
		}
	case "fma", "mad":
		if class(w.operands[1]) == class(w.operands[len(w.operands)-1]) {
			swap(2, 3)
		}
	}
	first := 1
	if w.writes() == "" && op == "st" {
		first = 1 // the stored value; a wrong address is another kind
	}
	for i := first; i < len(w.operands); i++ {
		o := w.operands[i]
		if !isRegister(o) {
			continue
		}
		if other := c.last[class(o)]; other != "" && other != o {
			list = append(list, w.operand(i, other))
			break
		}
	}
	return list
}

// fused returns an fma in place of an addition of a product.
func (c *preceding) fused(w written) (written, bool) {
	parts := w.parts()
	t := parts[len(parts)-1]
	if parts[0] != "add" || t != "f32" && t != "f64" || len(w.operands) != 3 || w.guard != "" {
		return w, false
	}
	for i := 1; i <= 2; i++ {
		if p, ok := c.products[w.operands[i]]; ok && p.parts()[len(p.parts())-1] == t {
			return written{op: "fma.rn." + t, operands: []string{w.operands[0], p.operands[1], p.operands[2], w.operands[3-i]}}, true
		}
	}
	return w, false
}

// note updates the facts after an instruction. labeled says that it has a label.
func (c *preceding) note(w written, labeled bool) {
	if labeled || w.parts()[0] == "bra" {
		clear(c.products)
	}
	for _, d := range w.destinations() {
		c.last[class(d)] = d
		delete(c.products, d)
		for to, p := range c.products {
			if p.operands[1] == d || p.operands[2] == d {
				delete(c.products, to)
			}
		}
	}
	if w.parts()[0] == "mul" && (w.has("f32") || w.has("f64")) && w.guard == "" && len(w.operands) == 3 && w.operands[0] != w.operands[1] && w.operands[0] != w.operands[2] {
		c.products[w.operands[0]] = w
	}
}

// notAtomic returns an atomic operation as a load, an operation and a store; "" if it cannot
// be written so.
func (w written) notAtomic() string {
	parts := w.parts()
	if parts[0] != "atom" && parts[0] != "red" || w.guard != "" {
		return ""
	}
	operands := w.operands
	old := ""
	if parts[0] == "atom" {
		if len(operands) < 3 {
			return ""
		}
		old, operands = operands[0], operands[1:]
	}
	if len(operands) != 2 {
		return ""
	}
	space, op, t := "", "", parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		switch p {
		case "global", "shared":
			space = "." + p
		case "add", "min", "max", "or", "and", "xor", "exch":
			op = p
		}
	}
	if space == "" || op == "" || t[0] == 'f' {
		return ""
	}
	bits := "b" + t[1:]
	compute := fmt.Sprintf("%s.%s %%mutant_a, %%mutant_a, %s;", op, t, operands[1])
	switch op {
	case "exch":
		compute = fmt.Sprintf("mov.%s %%mutant_a, %s;", bits, operands[1])
	case "or", "and", "xor":
		compute = fmt.Sprintf("%s.%s %%mutant_a, %%mutant_a, %s;", op, bits, operands[1])
	}
	keep := ""
	if old != "" && old != "_" {
		keep = fmt.Sprintf(" mov.%s %s, %%mutant_b;", bits, old)
	}
	return fmt.Sprintf("{ .reg .%s %%mutant_a, %%mutant_b; ld%s.%s %%mutant_a, %s; mov.%s %%mutant_b, %%mutant_a; %s st%s.%s %s, %%mutant_a;%s }",
		bits, space, bits, operands[0], bits, compute, space, bits, operands[0], keep)
}
