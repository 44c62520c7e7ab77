package ptx

import "math/bits"

// Undefined bits move between registers and memory.

// loadUndefined marks the undefined bytes of a load's memory in its registers, for the lanes of mask. A
// lane's memory is at addr - base.
func (c *checks) loadUndefined(a *access, mask uint32, al *allocation, s *allocShadow, addr *[warpSize]uint64, base uint64) {
	w, m := a.w, a.in.mem
	e := w.block.launch.entry
	w.startUndefined()
	for rest := mask; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		off := int64(addr[l] - base)
		at := s.init.unwritten(off, int64(a.size))
		if at < 0 {
			continue
		}
		why := &cause{
			in: a.in, thread: w.index*warpSize + l, block: w.block.index, space: a.space, alloc: al,
			extent: int64(c.sharedBytes), off: off, size: a.size, at: at, stored: s.stainOf(at),
		}
		switch {
		case al != nil:
			why.extent = int64(al.size)
		case a.space == spaceLocal:
			why.off, why.at, why.extent = int64(a.addr[l]), at-off+int64(a.addr[l]), int64(c.localBytes)
		}
		for k := range m.n {
			if m.regs[k].sink {
				continue
			}
			id := e.regOf(m.regs[k].off)
			var undef uint64
			for b := range int64(m.elem) {
				if s.init.unwritten(off+int64(k)*int64(m.elem)+b, 1) >= 0 {
					undef |= 0xff << (8 * b)
				}
			}
			if undef>>(8*m.elem-1)&1 != 0 && m.signed {
				undef |= ^widthBits(m.elem)
			}
			if id >= 0 && undef != 0 {
				w.setUndefined(id, l, undef)
				w.setCause(uint32(id), l, why)
			}
		}
	}
}

// storeUndefined marks the undefined bytes of a store by the lanes of undef. A byte is undefined if any of
// its bits is. It is called after all bytes of the store were marked as written.
func (c *checks) storeUndefined(a *access, undef uint32, al *allocation, s *allocShadow, addr *[warpSize]uint64, base uint64) {
	w, m := a.w, a.in.mem
	e := w.block.launch.entry
	for rest := undef; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		off := int64(addr[l] - base)
		for k := range m.n {
			id := e.regOf(m.regs[k].off)
			bits := w.undefinedBits(id, l)
			if bits&widthBits(m.elem) == 0 {
				continue
			}
			at := off + int64(k)*int64(m.elem)
			for b := range int64(m.elem) {
				if bits>>(8*b)&0xff != 0 {
					s.init.forgotten(at+b, 1)
				}
			}
			if len(s.stains) < maxStains && a.space != spaceLocal {
				s.stains = append(s.stains, stain{at, uint32(m.elem), w.causeOf(uint32(id), l).report(w.report(Uninitialized, a.in, 1<<l), w.block.launch, "what is stored")})
			}
		}
	}
}
