package ptx

import "math/bits"

// Undefined values in matrices. Kernels load tiles of which rows were not filled, and drop what depends on these rows:
// so ldmatrix and stmatrix move undefined bytes, and mma spreads them to the rows and columns that they are in.

// place returns where ldmatrix and stmatrix keep a byte of a row: the register, the lane and the first bit. row is the
// lane that has its address.
func (m *matrixOp) place(row, at int) (reg uint32, lane, bit int) {
	reg = m.regs[row/8]
	if row %= 8; m.transpose {
		return reg, at/2*4 + row/2, (row%2*2 + at%2) * 8
	}
	return reg, row*4 + at/4, at % 4 * 8
}

// loadRowsUndefined is loadUndefined for ldmatrix.
func (c *checks) loadRowsUndefined(a *access, mask uint32, al *allocation, s *allocShadow, base uint64) {
	w := a.w
	e := w.block.launch.entry
	w.startUndefined()
	for ; mask != 0; mask &= mask - 1 {
		l := bits.TrailingZeros32(mask)
		off := int64(a.addr[l] - base)
		at := s.init.unwritten(off, int64(a.size))
		if at < 0 {
			continue
		}
		why := &cause{
			in: a.in, thread: w.index*warpSize + l, block: w.block.index, space: a.space, alloc: al,
			extent: int64(c.sharedBytes), off: off, size: a.size, at: at, stored: s.stainOf(at),
		}
		if al != nil {
			why.extent = int64(al.size)
		}
		for b := range int(a.size) {
			if s.init.unwritten(off+int64(b), 1) < 0 {
				continue
			}
			reg, lane, bit := a.in.rows.place(l, b)
			id := e.regOf(reg)
			w.setUndefined(id, lane, w.undefinedBits(id, lane)|0xff<<bit)
			w.setCause(uint32(id), lane, why)
		}
	}
}

// storeRowsUndefined is storeUndefined for stmatrix.
func (c *checks) storeRowsUndefined(a *access, mask uint32, s *allocShadow, base uint64) {
	w := a.w
	e := w.block.launch.entry
	for ; mask != 0; mask &= mask - 1 {
		l := bits.TrailingZeros32(mask)
		off := int64(a.addr[l] - base)
		var why *cause
		for b := range int(a.size) {
			reg, lane, bit := a.in.rows.place(l, b)
			id := e.regOf(reg)
			if w.undefinedBits(id, lane)>>bit&0xff != 0 {
				s.init.forgotten(off+int64(b), 1)
				why = w.causeOf(uint32(id), lane)
			}
		}
		if why != nil && len(s.stains) < maxStains {
			s.stains = append(s.stains, stain{off, a.size, why.report(w.report(Uninitialized, a.in, 1<<l), w.block.launch, "what is stored")})
		}
	}
}

// spread is the rule of mma: an element of D depends on a row of A, a column of B and an element of C.
func (m *mmaRows) spread(w *warp, in *instr, mask, bad uint32) {
	e := w.block.launch.entry
	var rows [16]bool
	var columns [8]bool
	for lane := range warpSize {
		g := lane / 4
		for r, off := range m.a {
			rows[g+8*(r&1)] = rows[g+8*(r&1)] || w.undefinedBits(e.regOf(off), lane) != 0
		}
		for _, off := range m.b {
			columns[g] = columns[g] || w.undefinedBits(e.regOf(off), lane) != 0
		}
	}
	undef := make([][warpSize]uint64, len(m.d)) // D may be C
	for lane := range warpSize {
		g, t := lane/4, lane%4
		for r, off := range m.c {
			u := w.undefinedBits(e.regOf(off), lane)
			switch {
			case !m.half && (u != 0 || rows[g+8*(r>>1)] || columns[2*t+r&1]):
				u = ^uint64(0)
			case m.half:
				row := rows[g+8*r]
				u = halves(bits64(row || columns[2*t+1] || u>>16 != 0)<<1|bits64(row || columns[2*t] || u&0xffff != 0), 1, 16)
			}
			undef[r][lane] = u
		}
	}
	for r, off := range m.d {
		for lane, u := range undef[r] {
			w.setUndefined(e.regOf(off), lane, u)
		}
	}
}

// spreadTransposed is the rule of movmatrix.
func spreadTransposed(w *warp, in *instr, mask, bad uint32) {
	e := w.block.launch.entry
	d, a := e.regOf(in.d), e.regOf(in.a)
	var undef [warpSize]uint64
	for lane := range undef {
		g, t := lane/4, lane%4
		for half := range 2 {
			u := w.undefinedBits(a, (2*t+half)*4+g/2) >> (g % 2 * 16) & 0xffff
			undef[lane] |= u << (16 * half)
		}
	}
	for lane, u := range undef {
		w.setUndefined(d, lane, u)
	}
}
