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
	at      map[uint32]uint64    // the place that a row is the address of
	holds   map[uint64]originSet // of the values stored to a place, by its number of units
	unknown originSet            // of those stored to places that are not known
	all     bool                 // all rows have origins by now that get any
}

// findPlaces finds the rows that always hold the address of one place in local memory.
func (p *originPass) findPlaces() {
	f := &p.frame
	f.at, f.holds = map[uint32]uint64{}, map[uint64]originSet{}
	for _, c := range p.e.consts {
		if c.of != nil && c.of.space == spaceLocal {
			f.at[c.off] = c.value
			if c.gen {
				f.at[c.off] -= localBase
			}
		}
	}
	if len(f.at) == 0 {
		return
	}
	writers := map[uint32]int{} // by a register's number
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
		at, known := f.at[in.a]
		n, constant := p.fixed[in.b]
		switch {
		case !known:
		case op == "mov" || op == "cvta":
			f.at[in.d] = at
		case op == "add" && constant:
			f.at[in.d] = at + n
			if in.dbytes == 4 {
				f.at[in.d] = uint64(uint32(at + n))
			}
		case op == "or" && constant: // the window begins at a multiple of a power of two
			f.at[in.d] = at | n
		}
	}
}

// place returns the place in local memory that an operation accesses, if it is always the same.
func (p *originPass) place(m *memOp, imm uint64) (at uint64, known bool) {
	switch {
	case m.call:
		at, known = p.fixed[m.addr]
	case m.space == spaceLocal || m.space == spaceGeneric:
		at, known = p.frame.at[m.addr]
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
	if s&unknownOrigin != 0 {
		return true
	}
	for i, o := range p.e.origins {
		if s>>i&1 != 0 && o.variable != nil && o.variable.space == spaceLocal {
			return true
		}
	}
	return false
}

// hold adds origins to some bytes.
func (p *originPass) hold(at, n uint64, s originSet) (changed bool) {
	for unit := at / localUnit; unit*localUnit < at+n; unit++ {
		old := p.frame.holds[unit]
		p.frame.holds[unit] = old | s
		changed = changed || old|s != old
	}
	return changed
}

// held returns the origins of what some bytes may hold.
func (p *originPass) held(at, n uint64) originSet {
	s := p.frame.unknown
	for unit := at / localUnit; unit*localUnit < at+n; unit++ {
		s |= p.frame.holds[unit]
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
