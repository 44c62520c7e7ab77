package ptx

import "unsafe"

// An access reuses what an earlier access has computed about the addresses of its lanes. In a basic block,
// accesses through a register that does not change in between differ by constants: [a], [a+4], [a+128]. The
// first of them is the leading access. If the same lanes execute the others, these take from it which memory
// the lanes access, the distance between lanes, and the distances from the ends of the memory.

// maxKnown is the number of registers of a basic block that are tracked at a time.
const maxKnown = 32

// knownRow is what is known about the addresses in a row.
type knownRow struct {
	mask  uint32 // lanes that the knowledge covers; 0 for none
	same  bool   // they access the same address
	space space
	alloc *allocation // nil for shared memory
	mem   unsafe.Pointer
	base  uint64 // of mem, as an address
	size  uint64 // the end of the memory that may be accessed
	floor uint64 // its start
	step  uint64 // between consecutive lanes; 0 if it varies or is unknown

	imm      uint64 // of the leading access, which the other fields describe
	low      uint64 // bitwise or of the offsets: tells their alignment
	min, max uint64 // bounds of the offsets

	addr *[warpSize]uint64 // the addresses, to which an access adds its imm − added
	at   uint64            // imm already included in addr
	wide [warpSize]uint64  // the addresses of a row of 32 bits, widened
}

// findKnown marks the accesses whose result later ones to the same address register can reuse (leaders), and those later ones.
func findKnown(e *entry, starts []bool) {
	type group struct {
		leader *memOp
		slot   uint8
	}
	groups := map[uint32]*group{}
	used := uint8(0)
	for i := range e.code {
		in := &e.code[i]
		if starts[i] {
			clear(groups)
			used = 0
		}
		if m := in.mem; m != nil {
			if m.follows(e, in) {
				switch g := groups[m.addr]; {
				case g == nil && in.guard < 0:
					groups[m.addr] = &group{leader: m}
				case g == nil:
				case g.slot == 0 && used == maxKnown:
				case g.slot == 0:
					used++
					g.slot = used
					g.leader.slot, g.leader.leads = g.slot, true
					e.known = max(e.known, int(used))
					m.slot = g.slot
				default:
					m.slot = g.slot
				}
			}
		}
		for _, r := range in.defs {
			if reg := e.regs[r]; reg.bytes > 0 {
				delete(groups, reg.off)
			}
		}
	}
}

// follows reports whether an access may lead or follow others: it must be a weak load or store that does not
// overwrite the address register.
func (m *memOp) follows(e *entry, in *instr) bool {
	if m.kind == accessAtomic || m.sem != semWeak || m.call || m.space != spaceGlobal && m.space != spaceShared && m.space != spaceGeneric {
		return false
	}
	address := e.regOf(m.addr)
	for _, r := range in.defs {
		if int32(r) == address {
			return false
		}
	}
	return true
}

// know records the facts that a leading access has computed.
func (w *warp) know(m *memOp, from *[warpSize]uint64, imm uint64, t *target, al *allocation, size uint64) {
	k, s := &w.known[m.slot-1], &w.coalescing
	if t.space != spaceGlobal && t.space != spaceShared {
		k.mask = 0
		return
	}
	k.mask, k.same, k.space, k.alloc = t.mask, t.same, t.space, al
	k.mem, k.base, k.size, k.floor = t.mem, t.base, size, 0
	if m.bound != 0 {
		if b := &w.block.launch.bounds[m.bound]; b.limits(t.space) {
			k.floor, k.size = b.lo, b.hi
		}
	}
	k.imm, k.low, k.min, k.max, k.step = imm, s.low, s.min, s.max, 0
	if t.contiguous && t.mask == allLanes {
		k.step = uint64(m.size)
	}
	k.addr, k.at = from, 0
	if m.addr32 {
		k.wide, k.at = w.addr, imm
		k.addr = &k.wide
	}
}

// holds reports whether an access is certainly aligned and inside the known memory.
func (k *knownRow) holds(m *memOp, imm uint64, mask uint32) bool {
	if k.mask != mask || k.size < uint64(m.size) {
		return false
	}
	distance, span := imm-k.imm, k.size-uint64(m.size)
	return k.max+distance <= span && k.min+distance >= k.floor && k.min+distance <= k.max+distance && (k.low|distance)&m.unaligned() == 0
}

// resolveKnown is resolve for an access to known memory.
func (w *warp) resolveKnown(in *instr, m *memOp, k *knownRow, imm uint64, mask uint32) error {
	add := imm - k.at
	w.target = target{
		mem: k.mem, base: k.base - add, addr: k.addr, mask: mask, space: k.space,
		contiguous: k.step == uint64(m.size), same: k.same,
	}
	if w.block.launch.checks != nil {
		c := &w.access
		c.in, c.space, c.kind, c.sem, c.scope, c.size = in, k.space, m.kind, m.sem, m.scope, m.size
		c.mask, c.addr, c.imm, c.alloc, c.copy = mask, k.addr, add, k.alloc, nil
		c.same, c.row = k.same, w.target.contiguous
		c.from, c.to = k.min+imm-k.imm, k.max+imm-k.imm+uint64(m.size)
		if k.alloc == nil {
			c.imm -= k.base
		}
		if err := w.block.launch.checks.access(c); err != nil {
			return err
		}
	}
	m.do(w, in, &w.target)
	return nil
}
