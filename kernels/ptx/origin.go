package ptx

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// Origins of pointers. Most addresses of global memory are one pointer, a parameter of the kernel or a
// variable of the module, plus an offset. The decoder finds from which parameters and variables an address
// may be derived, and a launch knows which of these point to memory. If exactly one does, an access outside
// its allocation is out of bounds, even if it hits another allocation.
//
// An address that may be derived from several pointers, or from a loaded value that may be a pointer, is not
// bound to one allocation. But allocations are far apart ([allocGap]).

// origin is a pointer from which a kernel derives addresses.
type origin struct {
	param    int       // the parameter's offset, if variable is nil
	variable *variable // a variable of the module or the kernel
}

// originSet is a set of an entry's origins, by their index.
type originSet uint64

const (
	// unknownOrigin is the origin of a loaded value that may be a pointer.
	unknownOrigin   originSet = 1 << 63
	maxOrigins                = 62
	maxOriginSets             = 1 << 12
	maxOriginPasses           = 64

	// maxOriginSteps bounds the search for the origins of a module's pointers, in instructions visited and units of
	// local memory. Compiled code takes a few passes over its instructions. Without a budget left, the addresses of
	// the remaining kernels are not bound to one allocation or variable.
	maxOriginSteps = 64 << 20
)

// originPass finds the origins of all rows of an entry, independently of control flow: a row gets the origins
// of everything that any instruction may write to it.
type originPass struct {
	e      *entry
	known  map[origin]originSet
	bounds map[*variable]uint16 // memOp.bound by the variable
	rows   []originSet          // by offset of the row in units of 64 bytes
	fixed  map[uint32]uint64
	locals originSet // of the variables in local memory
	frame  frame
	left   int // steps
}

// findOrigins sets the origin of every access to global memory, in at most left steps. It returns how many are
// left.
func findOrigins(e *entry, left int) int {
	if left <= 0 {
		return 0
	}
	p := &originPass{e: e, known: map[origin]originSet{}, bounds: map[*variable]uint16{}, rows: make([]originSet, e.regBytes/64+1), fixed: map[uint32]uint64{}, left: left}
	if p.find() {
		p.assign()
	}
	return p.left
}

// find finds the origins of all rows. It returns false if that takes too many steps.
func (p *originPass) find() bool {
	e := p.e
	for _, c := range e.consts {
		switch {
		case c.of != nil:
			p.rows[c.off/64] = p.of(origin{variable: c.of})
		case c.sym == nil:
			p.fixed[c.off] = c.value
		default:
			p.rows[c.off/64] = p.of(origin{variable: c.sym})
		}
	}
	p.findPlaces()
	for pass, changed := 0, true; changed || !p.frame.all; pass++ {
		if p.left -= len(e.code); pass == maxOriginPasses || p.left <= 0 {
			return false
		}
		p.frame.all = p.frame.all || !changed
		changed = false
		for i := range e.code {
			changed = p.step(&e.code[i]) || changed
		}
	}
	return true
}

// assign sets the origin and the bound of every access.
func (p *originPass) assign() {
	e, numbers := p.e, map[originSet]uint16{}
	for i := range e.code {
		for _, m := range e.code[i].memory() {
			s := p.rows[m.addr/64]
			p.findBound(m, s)
			if s == 0 || s&unknownOrigin != 0 || m.space != spaceGlobal && m.space != spaceGeneric {
				continue
			}
			n, ok := numbers[s]
			if !ok && len(numbers) < maxOriginSets {
				e.originSets = append(e.originSets, s)
				n = uint16(len(e.originSets))
				numbers[s] = n
			}
			m.origin = n
		}
	}
}

// memory returns the instruction's memory operations.
func (in *instr) memory() []*memOp {
	switch {
	case in.mem != nil:
		return []*memOp{in.mem}
	case in.matrix != nil:
		return []*memOp{in.matrix}
	case in.mbarrier != nil:
		return []*memOp{&in.mbarrier.mem}
	case in.copy != nil && in.copy.bulk != nil && !in.copy.bulk.group:
		return []*memOp{&in.copy.from, &in.copy.to, &in.copy.bulk.bar}
	case in.copy != nil:
		return []*memOp{&in.copy.from, &in.copy.to}
	}
	return nil
}

// of returns the set with one origin.
func (p *originPass) of(o origin) originSet {
	s, ok := p.known[o]
	if !ok {
		if len(p.e.origins) == maxOrigins {
			return unknownOrigin
		}
		s = 1 << len(p.e.origins)
		p.known[o] = s
		if o.variable != nil && o.variable.space == spaceLocal {
			p.locals |= s
		}
		p.e.origins = append(p.e.origins, o)
	}
	return s
}

// add adds origins to a row; it reports whether any is new.
func (p *originPass) add(row uint32, s originSet) bool {
	old := p.rows[row/64]
	p.rows[row/64] = old | s
	return old|s != old
}

// step adds an instruction's origins to its destination.
func (p *originPass) step(in *instr) bool {
	op, _, _ := strings.Cut(in.op, ".")
	a, b, c, e := p.at(in.a), p.at(in.b), p.at(in.c), p.at(in.e)
	switch op {
	case "ld", "ldu", "atom":
		return p.loaded(in)
	case "st":
		return p.stored(in)
	case "call":
		if in.kind == kindRun && !in.counted {
			return p.copied(in)
		}
		return false
	}
	if in.kind == kindSetp || in.d == noPred {
		return false
	}
	switch op {
	case "mov", "cvta":
		return p.add(in.d, a|b|c|e)
	case "mapa":
		return p.add(in.d, a)
	case "add", "addc", "and", "or", "xor", "lop3", "min", "max", "bfi":
		return p.add(in.d, a|b|c)
	case "selp", "slct": // the selector is not a pointer
		return p.add(in.d, a|b)
	case "shfl":
		return p.add(in.d, a)
	case "sub", "subc":
		switch {
		case b == 0:
			return p.add(in.d, a)
		case a != b || b&(b-1) != 0 || b == unknownOrigin:
			return p.add(in.d, a|b) // a distance, which may lead from one variable to the other
		}
		return false // a distance within one variable
	case "mad", "madc":
		return p.add(in.d, (a|b)&^unknownOrigin|c)
	case "cvt":
		if in.cvt != nil && in.cvt.srcBytes < in.cvt.dstBytes { // an index, or an address of 32 bits in a window
			a &^= unknownOrigin
		}
		return p.add(in.d, a)
	default: // such as shifts that align a pointer
		if in.kind == kindALU {
			return p.add(in.d, (a|b|c|e)&^unknownOrigin)
		}
	}
	return false
}

// at returns the origins of an operand's row. Row 0, which no register has, means that the instruction has no
// such operand.
func (p *originPass) at(row uint32) originSet {
	if int(row/64) >= len(p.rows) || row%64 != 0 {
		return 0
	}
	return p.rows[row/64]
}

// loaded adds the origins of a loaded value: a parameter's, those of what is stored to a place in local memory, or
// the unknown origin.
func (p *originPass) loaded(in *instr) bool {
	m := in.mem
	if m == nil { // loadParam
		if in.dbytes < 8 {
			return false
		}
		return p.add(in.d, p.of(origin{param: int(in.imm)}))
	}
	changed := false
	at, isParam := p.fixed[m.addr]
	isParam = isParam && m.space == spaceParam && m.elem == 8
	for k := range m.n {
		if m.regs[k].sink || m.elem < 4 {
			continue
		}
		s := unknownOrigin
		if isParam {
			s = p.of(origin{param: int(at+in.imm) + 8*int(k)})
		} else if place, known := p.place(m, in.imm); known {
			s = p.held(place+uint64(k)*uint64(m.elem), uint64(m.elem))
		}
		changed = p.add(m.regs[k].off, s) || changed
	}
	return changed
}

// findOrigins sets, by memOp.origin, the allocation that the addresses of each set of origins must be in: that
// of the only origin in the set that points to memory, or nil; and whether any points to memory.
func (l *launch) findOrigins() {
	e := l.entry
	points := make([]*allocation, len(e.origins))
	for i, o := range e.origins {
		switch {
		case o.variable != nil:
			points[i] = l.loaded.globals[o.variable]
		case o.param >= 0 && o.param+8 <= len(l.params):
			points[i] = l.device.mem.find(binary.LittleEndian.Uint64(l.params[o.param:]))
		}
	}
	l.origin, l.points = make([]*allocation, 1+len(e.originSets)), make([]bool, 1+len(e.originSets))
	l.points[0] = true // not known
	for i, set := range e.originSets {
		var one *allocation
		for ; set != 0; set &= set - 1 {
			a := points[bits.TrailingZeros64(uint64(set))]
			if a != nil && one != nil && a != one {
				one = nil
				break
			}
			if a != nil {
				one, l.points[i+1] = a, true
			}
		}
		l.origin[i+1] = one
	}
}
