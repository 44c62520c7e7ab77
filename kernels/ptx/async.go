package ptx

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// cp.async. A copy is performed when its thread waits for it: only then is the source read and the
// destination written. That is as late as hardware may do it, so code that does not wait reads the old
// contents.

// copyOp is cp.async.
type copyOp struct {
	from, to       memOp
	fromImm, toImm uint64
	hasAmount      bool
	amount         uint32
	bulk           *bulkOp // of cp.async.bulk; nil of cp.async
}

// pendingCopy is a cp.async by lanes with the same number of committed groups, from one allocation. It has
// not arrived in the lanes of mask.
type pendingCopy struct {
	in     *instr
	mask   uint32
	group  uint32 // how many groups its lanes had committed before
	number uint64 // of the copies that the warp has issued in the block
	mem    unsafe.Pointer
	base   uint64 // an address a of from is at mem + a - base
	rows   bool   // all 32 lanes, with contiguous sources and contiguous destinations
	short  bool   // use n, the number of bytes read; the rest of the destination is zeroed
	from   [warpSize]uint64
	to     [warpSize]uint64 // in shared memory
	n      [warpSize]uint8
}

// asyncCopy issues cp.async. Both addresses are checked at issue.
func asyncCopy(w *warp, in *instr, mask uint32) error {
	c := in.copy
	whole, short, none := mask, uint32(0), uint32(0)
	if c.hasAmount {
		for i, n := range row[uint32](w.regs, c.amount) {
			if n < c.from.size {
				whole &^= 1 << i
				short |= bit(n > 0) << i
				none |= bit(n == 0) << i
			}
		}
	}
	first := len(w.pending)
	if whole != 0 {
		if err := w.resolve(in, &c.from, c.fromImm, whole); err != nil {
			return err
		}
	}
	if short &= mask; short != 0 {
		if err := w.asyncShort(in, short); err != nil {
			return err
		}
	}
	if none &= mask; none != 0 { // a lane that reads nothing needs no valid address
		w.pend(in, &target{addr: &w.addr, mask: none}, true)
	}
	w.issued = w.pending[first:]
	mask = 0 // lanes with a source in memory
	for _, p := range w.issued {
		mask |= p.mask
	}
	w.targeted = 0
	if mask != 0 {
		if err := w.resolve(in, &c.to, c.toImm, mask); err != nil {
			return err
		}
	}
	if w.targeted != mask {
		for _, p := range w.issued {
			p.mask &= w.targeted
		}
	}
	return nil
}

// asyncShort checks, byte by byte, the sources of lanes that read fewer bytes than they write. Bytes after
// those are not read and may be out of bounds.
func (w *warp) asyncShort(in *instr, mask uint32) error {
	c := in.copy
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		if at := w.addresses(&c.from)[lane] + c.fromImm; at&uint64(c.from.size-1) != 0 {
			r := w.report(Misaligned, in, 1<<lane)
			r.Space, r.Address, r.Size = spaceGlobal.String(), at, int(c.from.size)
			r.Detail = misaligned(c.from.size)
			if err := w.block.launch.found(r); err != nil {
				return err
			}
			mask &^= 1 << lane
		}
	}
	one := c.from
	one.size = 1
	amount := row[uint32](w.regs, c.amount)
	first, reached := len(w.pending), uint32(0)
	one.do = func(w *warp, in *instr, t *target) {
		reached |= t.mask
		w.pend(in, t, true)
	}
	for k := range c.from.size {
		for i, n := range amount {
			if n <= k {
				mask &^= 1 << i
			}
		}
		if mask == 0 {
			break
		}
		if err := w.resolve(in, &one, c.fromImm+uint64(k), mask); err != nil {
			return err
		}
		if lost := mask &^ reached; lost != 0 { // out of bounds, but the launch continues
			mask = reached
			for _, p := range w.pending[first:] {
				p.mask &^= lost
			}
		}
		reached = 0
		one.do = func(_ *warp, _ *instr, t *target) { reached |= t.mask }
	}
	return nil
}

// unlessIgnored computes the bytes that cp.async copies, 0 in the lanes of a predicate.
func unlessIgnored(p unsafe.Pointer, w *warp, in *instr) {
	ignored := w.preds[in.d2]
	if in.notC {
		ignored = ^ignored
	}
	d := (*[warpSize]uint32)(p)
	for i := range d {
		d[i] = uint32(in.imm) * (1 - ignored>>i&1)
	}
}

// asyncSource records the sources of the lanes of a target.
func asyncSource(w *warp, in *instr, t *target) { w.pend(in, t, false) }

// pend adds the lanes of a target to the pending copies, one copy for each group.
func (w *warp) pend(in *instr, t *target, short bool) {
	for rest := t.mask; rest != 0; {
		p := w.newCopy()
		p.in, p.mem, p.base, p.short = in, t.mem, t.base, short
		p.from = *t.addr
		p.group, p.mask = w.commits[bits.TrailingZeros32(rest)&31], rest
		if w.ownCommits {
			p.mask = 0
			for g := rest; g != 0; g &= g - 1 {
				if l := bits.TrailingZeros32(g) & 31; w.commits[l] == p.group {
					p.mask |= 1 << l
				}
			}
		}
		p.rows = t.contiguous && p.mask == allLanes && !short
		if short {
			for i := range p.n {
				p.n[i] = 0
				if t.mem != nil {
					p.n[i] = uint8(min(row[uint32](w.regs, in.copy.amount)[i], in.copy.from.size))
				}
			}
		}
		rest &^= p.mask
	}
}

// asyncTarget records the destinations of the lanes of a target.
func asyncTarget(w *warp, in *instr, t *target) {
	w.targeted |= t.mask
	for _, p := range w.issued {
		if t.mask == allLanes {
			p.to = *t.addr
		} else {
			for g := p.mask & t.mask; g != 0; g &= g - 1 {
				l := bits.TrailingZeros32(g) & 31
				p.to[l] = t.addr[l]
			}
		}
		p.rows = p.rows && t.contiguous
	}
}

// asyncCommit makes each thread's copies since its last group into a new group.
func asyncCommit(w *warp, in *instr, mask uint32) error {
	w.ownCommits = w.ownCommits || mask != w.live
	for g := mask; g != 0; g &= g - 1 {
		w.commits[bits.TrailingZeros32(g)&31]++
	}
	return nil
}

// asyncWait performs pending copies, except those of each thread's last in.imm groups.
func asyncWait(w *warp, in *instr, mask uint32) error {
	return w.performCopies(func(p *pendingCopy) (lanes uint32) {
		for g := p.mask & mask; g != 0; g &= g - 1 {
			l := bits.TrailingZeros32(g) & 31
			lanes |= bit(uint64(p.group)+in.imm < uint64(w.commits[l])) << l
		}
		return lanes
	})
}

// performCopies performs the pending copies of the lanes that due returns for each of them.
func (w *warp) performCopies(due func(p *pendingCopy) uint32) error {
	kept := w.pending[:0]
	for _, p := range w.pending {
		if lanes := due(p); lanes != 0 {
			if err := w.arrive(p, lanes); err != nil {
				return err
			}
			if p.mask &^= lanes; p.mask == 0 {
				w.spare = append(w.spare, p)
				continue
			}
		}
		kept = append(kept, p)
	}
	w.pending = kept
	return nil
}

// newCopy adds a pending copy.
func (w *warp) newCopy() *pendingCopy {
	p := new(pendingCopy)
	if n := len(w.spare) - 1; n >= 0 {
		p, w.spare = w.spare[n], w.spare[:n]
	}
	p.number = w.issues
	w.issues++
	w.pending = append(w.pending, p)
	return p
}

// forgetCopies starts a block: no copies and no groups.
func (w *warp) forgetCopies() {
	w.spare = append(w.spare, w.pending...)
	w.pending, w.issued, w.ownCommits = w.pending[:0], nil, false
	w.commits, w.issues, w.bulkCommits = [warpSize]uint32{}, 0, [warpSize]uint32{}
}

// asyncWaitAll commits and performs all copies.
func asyncWaitAll(w *warp, in *instr, mask uint32) error {
	if err := asyncCommit(w, in, mask); err != nil {
		return err
	}
	return asyncWait(w, in, mask)
}

// arrive performs a copy for some lanes.
func (w *warp) arrive(p *pendingCopy, lanes uint32) error {
	if c := w.block.launch.checks; c != nil {
		if err := c.arrived(w, p, lanes); err != nil {
			return err
		}
	}
	shared := pointer(w.block.shared)
	size := p.in.copy.to.size
	if p.rows && lanes == allLanes {
		n := size * warpSize
		copy(unsafe.Slice((*byte)(unsafe.Add(shared, p.to[0])), n), unsafe.Slice((*byte)(unsafe.Add(p.mem, p.from[0]-p.base)), n))
		return nil
	}
	for g := lanes; g != 0; g &= g - 1 {
		l := bits.TrailingZeros32(g) & 31
		to := unsafe.Add(shared, p.to[l])
		if p.short {
			lo, hi := p.value(l)
			switch size {
			case 4:
				*(*uint32)(to) = uint32(lo)
			case 8:
				*(*uint64)(to) = lo
			default:
				*(*[2]uint64)(to) = [2]uint64{lo, hi}
			}
			continue
		}
		from := unsafe.Add(p.mem, p.from[l]-p.base)
		switch size {
		case 4:
			*(*uint32)(to) = *(*uint32)(from)
		case 8:
			*(*uint64)(to) = *(*uint64)(from)
		default:
			*(*[2]uint64)(to) = *(*[2]uint64)(from)
		}
	}
	return nil
}

// value returns the bytes that a lane copies, as two little-endian words.
func (p *pendingCopy) value(lane int) (lo, hi uint64) {
	var b [16]byte
	if n := p.read(lane); n > 0 {
		copy(b[:], unsafe.Slice((*byte)(unsafe.Add(p.mem, p.from[lane]-p.base)), n))
	}
	return binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])
}

// read returns the number of bytes that a lane reads.
func (p *pendingCopy) read(lane int) uint32 {
	if p.short {
		return uint32(p.n[lane])
	}
	return p.in.copy.from.size
}
