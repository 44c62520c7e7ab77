package ptx

import (
	"math/bits"
	"slices"
	"unsafe"
)

// cp.async.bulk from global to shared memory, whose bytes an mbarrier counts. As with
// cp.async, a copy arrives when it is waited for: when a thread looks at the barrier, all
// arrivals of whose phase have come, and its bytes are all that the phase still expects.
// To the checkers it is then a store by the thread that has issued it, and what it does
// to the barrier is an atomic that releases.

// bulkUnit is what the size and both ends of a copy are multiples of.
const bulkUnit = 16

// bulkOp is what cp.async.bulk has beyond the ends of the copy.
type bulkOp struct {
	size   uint32 // a row of 4 bytes
	bar    memOp
	barImm uint64
}

// bulkCopy is a copy that has not arrived.
type bulkCopy struct {
	w        *warp
	in       *instr
	lane, pc int32
	mem      unsafe.Pointer // an address a of from is at mem + a - base
	base     uint64
	from     uint64
	to, bar  uint64 // in shared memory
	size     uint64
}

// asyncBulk issues cp.async.bulk, lane by lane. Both ends and the barrier are looked at here
// and now.
func asyncBulk(w *warp, in *instr, mask uint32) error {
	op := in.copy.bulk
	w.issued = nil
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & 31
		c := bulkCopy{w: w, in: in, lane: int32(lane), pc: w.pc, size: uint64(row[uint32](w.regs, op.size)[lane])}
		if c.size%bulkUnit != 0 {
			return w.errorf(in, 1<<lane, "copies %d bytes, no multiple of %d", c.size, bulkUnit)
		}
		whole, err := c.look()
		if err != nil {
			return err
		}
		if whole {
			w.block.bulk = append(w.block.bulk, c)
		}
	}
	return nil
}

// look resolves the ends of the copy and the barrier. whole is whether all of it is within
// memory; else it is left out.
func (c *bulkCopy) look() (whole bool, err error) {
	w, op, lane := c.w, c.in.copy.bulk, c.lane
	reached := false
	at := func(m memOp, imm uint64, into *uint64) error {
		reached = false
		m.do = func(_ *warp, _ *instr, t *target) {
			reached = true
			if into != nil {
				*into = t.addr[lane]
			}
			if t.space == spaceGlobal {
				c.mem, c.base = t.mem, t.base
			}
		}
		return w.resolve(c.in, &m, imm, 1<<lane)
	}
	if err := at(op.bar, op.barImm, &c.bar); err != nil || !reached {
		return false, err
	}
	for off := uint64(0); off < c.size; off += bulkUnit {
		ends := [2]*uint64{&c.from, &c.to}
		if off > 0 {
			ends = [2]*uint64{}
		}
		if err := at(c.in.copy.from, c.in.copy.fromImm+off, ends[0]); err != nil || !reached {
			return false, err
		}
		if err := at(c.in.copy.to, c.in.copy.toImm+off, ends[1]); err != nil || !reached {
			return false, err
		}
	}
	return true, nil
}

// land lets the copies arrive whose bytes are all that the phase of a barrier still waits
// for, where a thread waits for that phase: complete says whether a barrier's word is
// what it waits for.
func (b *block) land(bar uint64, complete func(word uint64) bool) error {
	if len(b.bulk) == 0 || bar+8 > uint64(len(b.shared)) || bar%8 != 0 {
		return nil
	}
	word := (*uint64)(unsafe.Pointer(&b.shared[bar]))
	state := unpackMbarrier(*word)
	if state.pending != 0 || state.tx <= 0 || complete(*word) {
		return nil
	}
	left := state.tx
	for i := range b.bulk {
		if c := &b.bulk[i]; c.bar == bar {
			if left -= int64(c.size); left < 0 {
				return c.w.errorf(c.in, 1<<c.lane, "with this copy of %d bytes the barrier gets %d more than its phase expects", c.size, -left)
			}
		}
	}
	if left > 0 {
		return nil // not all are issued yet
	}
	for i := range b.bulk {
		if c := &b.bulk[i]; c.bar == bar {
			if err := c.arrive(); err != nil {
				return err
			}
		}
	}
	b.bulk = slices.DeleteFunc(b.bulk, func(c bulkCopy) bool { return c.bar == bar })
	state.tx = 0
	*word = state.next().pack()
	return nil
}

// arrive copies, in the name of the thread that has issued the copy.
func (c *bulkCopy) arrive() error {
	w := c.w
	pc := w.pc
	w.pc = c.pc
	defer func() { w.pc = pc }()
	p := &pendingCopy{in: c.in, mask: 1 << c.lane, mem: c.mem, base: c.base}
	for off := uint64(0); off < c.size; off += bulkUnit {
		p.from[c.lane], p.to[c.lane] = c.from+off, c.to+off
		if err := w.arrive(p, p.mask); err != nil {
			return err
		}
	}
	if checks := w.block.launch.checks; checks != nil {
		var addr [warpSize]uint64
		addr[c.lane] = c.bar
		return checks.access(&access{
			w: w, in: c.in, space: spaceShared, kind: accessAtomic, sem: semRelease, size: 8, mask: p.mask, addr: &addr, copy: p,
		})
	}
	return nil
}

// overlaps reports whether n bytes at an address are of the copy's source, or of its
// destination.
func (c *bulkCopy) overlaps(at, n uint64, source bool) bool {
	first := c.to
	if source {
		first = c.from
	}
	return first < at+n && at < first+c.size
}

// decodeBulk decodes cp.async.bulk, after these words.
func (d *decoder) decodeBulk() error {
	if d.take("tensor") {
		return d.errorf("%s: tensor copies are not supported", d.in.op)
	}
	if d.takeOne("shared::cluster", "shared::cta") < 0 || !d.take("global") || !d.take("mbarrier::complete_tx::bytes") {
		return d.errorf("%s: of bulk copies only those from global to shared memory with an mbarrier are supported", d.in.op)
	}
	if d.take("multicast::cluster") {
		return d.errorf("%s: clusters are not supported", d.in.op)
	}
	ops := d.s.operands
	want := 4
	if d.take("L2::cache_hint") {
		want = 5
	}
	if len(ops) != want {
		return d.errorf("%s has %d operands, not %d", d.in.op, want, len(ops))
	}
	c := &copyOp{
		to:   memOp{space: spaceShared, kind: accessStore, n: 1, size: bulkUnit},
		from: memOp{space: spaceGlobal, kind: accessLoad, n: 1, size: bulkUnit},
		bulk: &bulkOp{bar: memOp{space: spaceShared, kind: accessAtomic, sem: semRelaxed, n: 1, size: 8}},
	}
	for _, end := range []struct {
		o   operand
		m   *memOp
		imm *uint64
	}{{ops[0], &c.to, &c.toImm}, {ops[1], &c.from, &c.fromImm}, {ops[3], &c.bulk.bar, &c.bulk.barImm}} {
		d.in.imm = 0
		if err := d.address(end.o, end.m); err != nil {
			return err
		}
		*end.imm = d.in.imm
	}
	first := len(d.in.uses)
	var err error
	if c.bulk.size, err = d.src(ops[2], b32); err != nil {
		return err
	}
	d.need(first)
	if want == 5 {
		if _, err := d.src(ops[4], b64); err != nil {
			return err
		}
	}
	d.in.copy, d.in.kind, d.in.run = c, kindRun, asyncBulk
	return d.push()
}
