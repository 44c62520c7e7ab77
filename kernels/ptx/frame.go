package ptx

import "strings"

// Pointers in local memory. A compiler without optimization keeps every variable there, and passes arguments
// in .param variables, which are in local memory here. So a load from a constant place gets the origins of
// what is stored to that place, in any order, and of what is stored to places that are not known.

// localUnit is the number of bytes whose origins are kept together.
const localUnit = 4

// maxCopied is the size of the largest argument or result of which it is known what is where.
const maxCopied = 256

// frame is what an originPass knows of local memory.
type frame struct {
	at      []uint64    // the place that a row is the address of, by its offset in units of 64 bytes; or noPlace
	holds   []originSet // of the values stored to a place, by its number of units; empty if there is none
	unknown originSet   // of those stored to places that are not known
	all     bool        // all rows have origins by now that get any
}

const noPlace = ^uint64(0)

// findPlaces finds the rows that always hold the address of one place in local memory.
func (p *originPass) findPlaces() {
	if p.e.local == 0 {
		return
	}
	f := &p.frame
	units := p.e.local/localUnit + 1
	p.left -= units + len(p.rows)
	f.at, f.holds = make([]uint64, len(p.rows)), make([]originSet, units)
	for i := range f.at {
		f.at[i] = noPlace
	}
	for _, c := range p.e.consts {
		if c.of != nil && c.of.space == spaceLocal {
			at := c.value
			if c.gen {
				at -= localBase
			}
			f.at[c.off/64] = at
		}
	}
	writers := make([]int, len(p.e.regs)) // by a register's number
	for i := range p.e.code {
		for _, r := range p.e.code[i].defs {
			writers[r]++
		}
	}
	for i := range p.e.code {
		in := &p.e.code[i]
		if in.kind != kindALU || len(in.defs) != 1 || writers[in.defs[0]] != 1 {
			continue
		}
		op, _, _ := strings.Cut(in.op, ".")
		at := f.at[in.a/64]
		n, constant := p.fixed[in.b]
		switch {
		case at == noPlace:
			continue
		case op == "mov" || op == "cvta":
		case op == "add" && constant:
			if at += n; in.dbytes == 4 {
				at = uint64(uint32(at))
			}
		case op == "or" && constant: // the window begins at a multiple of a power of two
			at |= n
		default:
			continue
		}
		f.at[in.d/64] = at
	}
}

// place returns the place in local memory that an operation accesses, if it is always the same.
func (p *originPass) place(m *memOp, imm uint64) (at uint64, known bool) {
	switch {
	case m.call:
		at, known = p.fixed[m.addr]
	case (m.space == spaceLocal || m.space == spaceGeneric) && len(p.frame.at) > 0:
		at = p.frame.at[m.addr/64]
		known = at != noPlace
	}
	return at + imm, known
}

// stored adds the origins of a stored value to the place of a store; it reports whether any is new.
func (p *originPass) stored(in *instr) bool {
	m := in.mem
	at, known := p.place(m, in.imm)
	if !known && !p.mayBeLocal(m) {
		return false
	}
	changed := false
	for k := range m.n {
		s := unknownOrigin // a part of a pointer
		if m.elem >= localUnit {
			s = p.at(m.regs[k].off)
		}
		if s == 0 {
			continue
		}
		if !known {
			changed = changed || p.frame.unknown|s != p.frame.unknown
			p.frame.unknown |= s
			continue
		}
		changed = p.hold(at+uint64(k)*uint64(m.elem), uint64(m.elem), s) || changed
	}
	return changed
}

// mayBeLocal reports whether an access that is not to one place may be to local memory.
func (p *originPass) mayBeLocal(m *memOp) bool {
	if m.space != spaceGeneric {
		return m.space == spaceLocal
	}
	s := p.rows[m.addr/64]
	if s == 0 {
		return p.frame.all
	}
	return s&(unknownOrigin|p.locals) != 0
}

// units returns the units of some bytes, as far as they are in local memory.
func (p *originPass) units(at, n uint64) []originSet {
	p.left -= int(n / localUnit)
	first, end := at/localUnit, (at+n+localUnit-1)/localUnit
	if end = min(end, uint64(len(p.frame.holds))); first >= end {
		return nil
	}
	return p.frame.holds[first:end]
}

// hold adds origins to some bytes.
func (p *originPass) hold(at, n uint64, s originSet) (changed bool) {
	units := p.units(at, n)
	for i, old := range units {
		units[i] = old | s
		changed = changed || old|s != old
	}
	return changed
}

// held returns the origins of what some bytes may hold.
func (p *originPass) held(at, n uint64) originSet {
	s := p.frame.unknown
	for _, o := range p.units(at, n) {
		s |= o
	}
	return s
}

// copied adds the origins of an argument or a result to where it is copied.
func (p *originPass) copied(in *instr) (changed bool) {
	from, to, size := in.passed()
	if size > maxCopied {
		changed = p.frame.unknown&unknownOrigin == 0
		p.frame.unknown |= unknownOrigin
		return changed
	}
	for off := uint64(0); off < size; off += localUnit {
		n := min(localUnit, size-off)
		changed = p.hold(to+off, n, p.held(from+off, n)) || changed
	}
	return changed
}
