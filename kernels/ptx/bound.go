package ptx

import (
	"fmt"

	"kvcompress/internal/cxx"
)

// Variables of shared, local and constant memory lie next to each other in the window of their space. An access
// whose address is certainly derived from one of them has to stay inside it, as an access to global memory has
// to stay in the allocation of its pointer (origin.go). All dynamic shared memory counts as one variable.

// bound is the variable that an access has to stay in, as a range of offsets in its window.
type bound struct {
	name   string
	space  space
	lo, hi uint64 // hi is 0 if there is no bound
}

// limits reports whether the bound holds for an access to a space.
func (b *bound) limits(at space) bool { return b.hi != 0 && b.space == at }

// findBound sets the bound of an access to a window, given the origins of its address.
func (p *originPass) findBound(m *memOp, set originSet) {
	if m.space == spaceGlobal || m.call || set&unknownOrigin != 0 {
		return
	}
	var one *variable
	for i, o := range p.e.origins {
		v := o.variable
		if set>>i&1 == 0 || v == nil || v.space == spaceGlobal || m.space != spaceGeneric && v.space != m.space {
			continue
		}
		if one != nil {
			return
		}
		one = v
	}
	if one == nil {
		return
	}
	n, ok := p.bounds[one]
	if !ok {
		p.e.bounds = append(p.e.bounds, one)
		n = uint16(len(p.e.bounds))
		p.bounds[one] = n
	}
	m.bound = n
}

// findBounds returns the bounds, indexed by memOp.bound. A variable that fills its window needs none.
func (l *launch) findBounds() []bound {
	e := l.entry
	list := make([]bound, 1+len(e.bounds))
	for i, v := range e.bounds {
		b := bound{name: v.name, space: v.space, lo: e.placed[v]}
		switch {
		case v.space == spaceConst:
			b.lo = l.loaded.constAt[v]
			b.hi = b.lo + uint64(v.size)
		case v.extern:
			b.lo = uint64(e.dynamicAt)
			b.hi = b.lo + uint64(l.shared)
		default:
			b.hi = b.lo + uint64(v.size)
		}
		if whole := b.lo == 0 && b.hi == l.windowSize(v.space); b.hi > b.lo && !whole {
			list[i+1] = b
		}
	}
	return list
}

// meantFor returns the variable of another space that an address in global memory, but in no allocation of its
// own, was meant for; or nil. If the address may as well be derived from an allocation, the nearer one is meant.
func (l *launch) meantFor(m *memOp, at uint64) *bound {
	b := &l.bounds[m.bound]
	switch {
	case b.hi == 0:
		return nil
	case !l.points[m.origin]:
		return b
	}
	base := windowOf(b.space)
	far := distance(at, base+b.lo, base+b.hi)
	if own := l.origin[m.origin]; own != nil && distance(at, own.base, own.base+own.size) <= far {
		return nil
	} else if own == nil && l.device.mem.within(at, far) {
		return nil
	}
	return b
}

// windowSize returns the number of bytes of shared, local or constant memory.
func (l *launch) windowSize(s space) uint64 {
	switch s {
	case spaceShared:
		return uint64(l.entry.dynamicAt + l.shared)
	case spaceLocal:
		return uint64(l.entry.local)
	}
	return uint64(len(l.loaded.constants))
}

// outsideOf completes the report about an access of n bytes to an offset in the window.
func (b *bound) outsideOf(r *Report, at uint64, n uint32) {
	size, name := int64(b.hi-b.lo), cxx.Variable(b.name)
	off := int64(at - b.lo)
	if at>>31 == 1 { // an address of 32 bits, before the window
		off -= 1 << 32
	}
	r.Allocation, r.Extent, r.Offset = name, size, off
	if off < 0 {
		r.Detail = fmt.Sprintf("%d bytes before %q in %v memory", -off, name, b.space)
		return
	}
	r.Detail = fmt.Sprintf("%d bytes past the end of %q in %v memory (%d bytes)", off+int64(n)-size, name, b.space, size)
}
