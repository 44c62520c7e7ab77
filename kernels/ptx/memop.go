package ptx

import (
	"math/bits"
	"unsafe"
)

// A warp's access to memory. It is resolved to the allocations that its lanes access, nearly always one, and
// then performed for all of their lanes together.

// target is memory that some lanes access: address a is at mem + a - base.
type target struct {
	mem        unsafe.Pointer
	base       uint64
	addr       *[warpSize]uint64
	mask       uint32
	space      space
	contiguous bool // the lanes' addresses are contiguous, in order
	same       bool // the lanes have the same address
}

// An accessFunc performs a load, store or atomic for the lanes of a target.
type accessFunc func(w *warp, in *instr, t *target)

// unaligned returns the bits that no address of the access has.
func (m *memOp) unaligned() uint64 { return uint64(max(m.size, m.whole) - 1) }

// run returns the function that executes the access.
func (m *memOp) run() runFunc {
	if m.kind == accessAtomic || m.sem != semWeak {
		return accessStrong
	}
	return accessMemory
}

// accessMemory executes a weak load or store.
func accessMemory(w *warp, in *instr, mask uint32) error {
	return w.resolve(in, in.mem, in.imm, mask)
}

// accessStrong executes a strong load or store, or an atomic. A warp that waits for another block polls by
// these, and so some of them end the warp's turn in a cooperative launch.
func accessStrong(w *warp, in *instr, mask uint32) error {
	if err := w.resolve(in, in.mem, in.imm, mask); err != nil {
		return err
	}
	if w.polls > 0 {
		if w.polls--; w.polls == 0 {
			w.pc++
			return errYield
		}
	}
	return nil
}

// addresses returns each lane's address, without the immediate offset.
func (w *warp) addresses(m *memOp) *[warpSize]uint64 {
	if !m.addr32 {
		return row[uint64](w.regs, m.addr)
	}
	from := row[uint32](w.regs, m.addr)
	for i := range w.addr {
		w.addr[i] = uint64(from[i])
	}
	return &w.addr
}

// resolve finds the memory that the lanes of mask access, shows the access to the checkers, and performs it,
// in one step if all lanes access one allocation.
func (w *warp) resolve(in *instr, m *memOp, imm uint64, mask uint32) error {
	if m.slot != 0 && !m.leads {
		if known := &w.known[m.slot-1]; known.holds(m, imm, mask) {
			return w.resolveKnown(in, m, known, imm, mask)
		}
	}
	from := w.addresses(m)
	lane := bits.TrailingZeros32(mask) & 31
	first := from[lane] + imm
	at, generic := m.space, m.space == spaceGeneric
	if generic {
		at = spaceOfAddress(first)
	}
	l := w.block.launch
	t := &w.target
	t.space, t.mask, t.addr = at, mask, &w.addr
	var size uint64
	var al *allocation
	switch at {
	case spaceGlobal:
		if al = l.origin[m.origin]; al == nil {
			al = l.device.mem.find(first)
		}
		if al != nil {
			t.mem, t.base, size = pointer(al.mem), al.base, al.size
		}
	case spaceLocal:
		t.mem, t.base, size = pointer(w.local), 0, uint64(l.entry.local)
	default:
		mem := w.window(at)
		t.mem, t.base, size = pointer(mem), 0, uint64(len(mem))
	}
	if generic && at != spaceGlobal {
		t.base = windowOf(at)
	}
	s := &w.coalescing
	good := size >= uint64(m.size)
	if good {
		s.imm, s.base, s.step = imm, t.base, uint64(m.size)
		s.first, s.lane0 = first, first-uint64(lane)*s.step
		s.look(&w.addr, from, mask)
		good = !s.outside(size-uint64(m.size)) && s.low&m.unaligned() == 0
		if m.bound != 0 && good {
			if b := &l.bounds[m.bound]; b.limits(at) {
				good = s.min >= b.lo && s.max+uint64(m.size) <= b.hi
			}
		}
	} else {
		for i := range w.addr {
			w.addr[i] = from[i] + imm
		}
	}
	if !good {
		if m.leads {
			w.known[m.slot-1].mask = 0
		}
		return w.resolveSlowly(in, m, mask)
	}
	t.contiguous, t.same = s.apart == 0, s.uneven == 0
	if m.leads {
		w.know(m, from, imm, t, al, size)
	}
	if at != spaceGlobal {
		return w.accessWindow(in, m, t, true)
	}
	if l.checks != nil {
		if err := w.check(in, m, at, &w.addr, mask, al, true); err != nil {
			return err
		}
	}
	m.do(w, in, t)
	return nil
}

// accessWindow accesses shared, local or constant memory; t's lanes are inside it.
func (w *warp) accessWindow(in *instr, m *memOp, t *target, near bool) error {
	if m.kind != accessLoad && t.space != spaceShared && t.space != spaceLocal {
		return w.errorf(in, t.mask, "writes %v memory", t.space)
	}
	if t.base != 0 {
		for i := range w.addr {
			w.addr[i] -= t.base
		}
		t.base = 0
	}
	checked := t.space == spaceShared || t.space == spaceLocal
	if w.block.launch.checks != nil && checked {
		if err := w.check(in, m, t.space, &w.addr, t.mask, nil, near); err != nil {
			return err
		}
	}
	if t.space == spaceLocal {
		// The local memories of the lanes are consecutive.
		t.contiguous, t.same = false, false
		stride := uint64(w.block.launch.entry.local)
		for i := range w.addr {
			w.addr[i] += uint64(i) * stride
		}
	}
	m.do(w, in, t)
	return nil
}

// within reports whether all lanes of mask are aligned and at most span past base.
func within(addr *[warpSize]uint64, base, span, align uint64, mask uint32) bool {
	bad := uint64(0)
	if mask == allLanes {
		for i := range addr {
			off := addr[i] - base
			bad |= off & align
			if off > span {
				return false
			}
		}
		return bad == 0
	}
	for ; mask != 0; mask &= mask - 1 {
		off := addr[bits.TrailingZeros32(mask)&31] - base
		if off > span || off&align != 0 {
			return false
		}
	}
	return true
}

// window returns the memory of a space with its own window of generic addresses.
func (w *warp) window(sp space) []byte {
	l := w.block.launch
	switch sp {
	case spaceShared:
		return w.block.shared
	case spaceParam:
		return l.params
	case spaceConst:
		return l.loaded.constants
	}
	return nil
}

func spaceOfAddress(a uint64) space {
	switch {
	case a-sharedBase < sharedSize:
		return spaceShared
	case a-localBase < localSize:
		return spaceLocal
	case a-constBase < constSize:
		return spaceConst
	case a-paramBase < paramSize:
		return spaceParam
	}
	return spaceGlobal
}

// resolveSlowly is resolve for lanes in several spaces or allocations, and for invalid addresses. The
// addresses are in w.addr.
func (w *warp) resolveSlowly(in *instr, m *memOp, mask uint32) error {
	addr := w.addr // a copy, because w.addr is changed below
	for rest := mask; rest != 0; {
		at, group := m.space, rest
		if at == spaceGeneric {
			at = spaceOfAddress(addr[bits.TrailingZeros32(rest)&31])
			group = 0
			for g := rest; g != 0; g &= g - 1 {
				if i := bits.TrailingZeros32(g) & 31; spaceOfAddress(addr[i]) == at {
					group |= 1 << i
				}
			}
		}
		rest &^= group
		w.addr = addr
		if m.space == at && at != spaceGlobal {
			// Addresses of a space with its own window have 32 bits, and wrap (PTX ISA §6.4.1). Valid ones
			// have no more bits anyway.
			for i := range w.addr {
				w.addr[i] = uint64(uint32(w.addr[i]))
			}
		}
		if at == spaceGlobal {
			if err := w.resolveGlobal(in, m, group); err != nil {
				return err
			}
			continue
		}
		t := &w.target
		*t = target{addr: &w.addr, mask: group, space: at}
		size := w.block.launch.entry.local
		t.mem = pointer(w.local)
		if at != spaceLocal {
			mem := w.window(at)
			t.mem, size = pointer(mem), len(mem)
		}
		if m.space == spaceGeneric {
			t.base = windowOf(at)
		}
		b := &w.block.launch.bounds[m.bound]
		if size < int(m.size) || !within(&w.addr, t.base, uint64(size)-uint64(m.size), m.unaligned(), group) || b.limits(at) {
			good, err := w.outside(in, m, at, t.base, group, size)
			if err != nil {
				return err
			}
			if t.mask = good; good == 0 {
				continue
			}
		}
		if err := w.accessWindow(in, m, t, false); err != nil {
			return err
		}
	}
	return nil
}

// resolveGlobal groups lanes by allocation.
func (w *warp) resolveGlobal(in *instr, m *memOp, mask uint32) error {
	mem := &w.block.launch.device.mem
	addr := &w.addr
	own := w.block.launch.origin[m.origin]
	// All lanes are checked before the first access takes effect.
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		at := addr[lane]
		a := mem.find(at)
		if a != nil && own != nil && a != own {
			a = nil // a different allocation
		}
		if a != nil && a.size-(at-a.base) >= uint64(m.size) && at&m.unaligned() == 0 {
			continue
		}
		r := w.report(OutOfBounds, in, 1<<lane)
		r.Space, r.Address, r.Size = spaceGlobal.String(), at, int(m.size)
		if a != nil && at&m.unaligned() != 0 {
			r.Kind = Misaligned
			r.Allocation, r.Extent, r.Offset = a.name, int64(a.size), int64(at-a.base)
			r.Detail = misaligned(max(m.size, m.whole))
		} else if b := w.block.launch.meantFor(m, at); b != nil {
			at -= windowOf(b.space)
			r.Space, r.Address = b.space.String(), at
			b.outsideOf(r, at, m.size)
		} else {
			mem.describe(r, own)
		}
		if err := w.block.launch.found(r); err != nil {
			return err
		}
		mask &^= 1 << lane // skipped
	}
	if mask == 0 {
		return nil
	}
	if w.block.launch.checks != nil {
		if err := w.check(in, m, spaceGlobal, addr, mask, nil, false); err != nil {
			return err
		}
	}
	for rest := mask; rest != 0; {
		a := mem.find(addr[bits.TrailingZeros32(rest)&31])
		var group uint32
		for g := rest; g != 0; g &= g - 1 {
			if i := bits.TrailingZeros32(g) & 31; addr[i]-a.base < a.size {
				group |= 1 << i
			}
		}
		rest &^= group
		w.target = target{mem: pointer(a.mem), base: a.base, addr: addr, mask: group, space: spaceGlobal}
		m.do(w, in, &w.target)
	}
	return nil
}

func misaligned(size uint32) string {
	return "the address is no multiple of " + [...]string{"1", "2", "4", "8", "16", "32"}[bits.TrailingZeros32(size)] + " bytes"
}

// outside reports accesses outside a window, and misaligned ones. If the launch continues, it returns the
// remaining lanes.
func (w *warp) outside(in *instr, m *memOp, sp space, base uint64, mask uint32, extent int) (uint32, error) {
	b := &w.block.launch.bounds[m.bound]
	for rest := mask; rest != 0; rest &= rest - 1 {
		lane := bits.TrailingZeros32(rest) & 31
		at := w.addr[lane] - base
		end := at + uint64(m.size)
		inside := end <= uint64(extent) && end > at
		bounded := b.limits(sp) && (!inside || at < b.lo || end > b.hi)
		if inside && !bounded && at&m.unaligned() == 0 {
			continue
		}
		r := w.report(OutOfBounds, in, 1<<lane)
		r.Space, r.Address, r.Size = sp.String(), at, int(m.size)
		r.Extent, r.Offset = int64(extent), int64(at)
		if bounded {
			b.outsideOf(r, at, m.size)
		} else if inside {
			r.Kind, r.Detail = Misaligned, misaligned(max(m.size, m.whole))
		} else {
			r.Detail = boundsDetail(at, end, sp, extent)
		}
		if err := w.block.launch.found(r); err != nil {
			return 0, err
		}
		mask &^= 1 << lane
	}
	return mask, nil
}

// check shows an access to the checkers. near says that w.coalescing describes it.
func (w *warp) check(in *instr, m *memOp, sp space, addr *[warpSize]uint64, mask uint32, a *allocation, near bool) error {
	c := &w.access
	c.in, c.space, c.kind, c.sem, c.scope, c.size = in, sp, m.kind, m.sem, m.scope, m.size
	c.mask, c.addr, c.imm, c.alloc, c.copy, c.arrival = mask, addr, 0, a, nil, m.arrival
	alone := a != nil || sp != spaceGlobal // the target covers all lanes
	c.same, c.row = alone && w.target.same, alone && w.target.contiguous && mask == allLanes
	if c.from, c.to = 0, 0; near {
		c.from, c.to = w.coalescing.min, w.coalescing.max+uint64(m.size)
	}
	return w.block.launch.checks.access(c)
}
