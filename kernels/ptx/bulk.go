package ptx

import (
	"math/bits"
	"slices"
	"strings"
	"unsafe"
)

// cp.async.bulk from global to shared memory; an mbarrier counts the bytes. As with cp.async, a copy is
// performed as late as possible: when a thread tests the barrier, all arrivals of the phase have happened,
// and the issued copies have as many bytes as the phase still expects. To the checks, the copy is a store by
// the thread that issued it, and its effect on the barrier is an atomic with release semantics.

// bulkUnit is the alignment in bytes of the size and of both addresses of a copy.
const bulkUnit = 16

// bulkOp has the operands of cp.async.bulk other than the two addresses.
type bulkOp struct {
	size   uint32 // offset of a 4-byte register
	group  bool   // from shared to global memory, without a barrier
	bar    memOp
	barImm uint64
}

// bulkCopy is a pending copy.
type bulkCopy struct {
	w        *warp
	in       *instr
	lane, pc int32
	mem      unsafe.Pointer // global address a is at mem + a - base
	base     uint64
	from     uint64
	to, bar  uint64 // in shared memory
	size     uint64
}

// asyncBulk issues cp.async.bulk, lane by lane. Both addresses and the barrier are checked when it is issued.
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
		switch {
		case !whole || c.size == 0 && op.group:
		case op.group:
			if err := w.block.addStore(bulkStore{bulkCopy: c, group: w.bulkCommits[lane]}); err != nil {
				return err
			}
		default:
			w.block.bulk = append(w.block.bulk, c)
		}
	}
	return nil
}

// look resolves the addresses of the copy and the barrier. whole reports whether the whole copy is within
// memory; if not, it is not issued.
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
	if !op.group {
		if err := at(op.bar, op.barImm, &c.bar); err != nil || !reached {
			return false, err
		}
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

// issuedBytes returns the number of bytes of the issued copies of a barrier.
func (b *block) issuedBytes(bar uint64) (n uint64) {
	for i := range b.bulk {
		if b.bulk[i].bar == bar {
			n += b.bulk[i].size
		}
	}
	return n
}

// land performs the bulk copies of a barrier and its issued asynchronous arrivals, if the phase lacks no other
// arrival and the copies have as many bytes as it still expects. complete reports whether the phase that the
// thread waits for is complete according to the barrier's word; land then does nothing.
func (b *block) land(bar uint64, complete func(word uint64) bool) error {
	if n := uint64(len(b.shared)); bar >= n || n-bar < 8 || bar%8 != 0 {
		return nil
	}
	word := (*uint64)(unsafe.Pointer(&b.shared[bar]))
	state := unpackMbarrier(*word)
	if state.pending == 0 && state.tx == 0 { // not initialized, or all arrivals have been dropped
		return nil
	}
	if state.tx < 0 || complete(*word) || state.pending > b.issuedArrivals(bar) {
		return nil
	}
	left := state.tx
	for i := range b.bulk {
		if c := &b.bulk[i]; c.bar == bar && state.tx > 0 {
			if left -= int64(c.size); left < 0 {
				return c.w.errorf(c.in, 1<<c.lane, "with this copy of %d bytes the barrier gets %d more than its phase expects", c.size, -left)
			}
		}
	}
	if left > 0 {
		return nil // some copies are not issued yet
	}
	b.launch.watch.heard = true
	if state.tx > 0 {
		for i := range b.bulk {
			if c := &b.bulk[i]; c.bar == bar {
				if err := c.arrive(); err != nil {
					return err
				}
			}
		}
		b.bulk = slices.DeleteFunc(b.bulk, func(c bulkCopy) bool { return c.bar == bar })
	}
	if err := b.performArrivals(bar, state.pending); err != nil {
		return err
	}
	state.tx, state.pending = 0, 0
	*word = state.next().pack()
	b.endPhase(bar)
	return nil
}

// arrive performs the copy as the thread that issued it.
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
			w: w, in: c.in, space: spaceShared, kind: accessAtomic, sem: semRelease, arrival: true, size: 8, mask: p.mask, addr: &addr, copy: p,
		})
	}
	return nil
}

// overlaps reports whether n bytes at an address overlap the copy's source or, if source is false, its
// destination.
func (c *bulkCopy) overlaps(at, n uint64, source bool) bool {
	first := c.to
	if source {
		first = c.from
	}
	return first < at+n && at < first+c.size
}

// decodeBulk decodes cp.async.bulk. The words of its name have been read.
func (d *decoder) decodeBulk() error {
	if d.take("tensor") {
		return d.errorf("%s: tensor copies are not supported", d.in.op)
	}
	if found, err := d.decodeBulkGroup(); found {
		return err
	}
	if d.take("prefetch") {
		if !d.take("L2") || !d.take("global") {
			return d.unsupported()
		}
		if err := d.dropPolicy(); err != nil {
			return err
		}
		ops, err := d.operands(2)
		if err != nil {
			return err
		}
		if err := d.address(ops[0], &memOp{space: spaceGlobal}); err != nil {
			return err
		}
		if _, err := d.src(ops[1], b32); err != nil {
			return err
		}
		d.in.imm, d.in.effect = 0, own
		d.in.kind, d.in.run = kindRun, nothing
		return d.push()
	}
	group := strings.HasPrefix(d.in.op, "cp.async.bulk.global.shared::cta.") && d.take("bulk_group")
	if group {
		d.takeOne("global")
		d.takeOne("shared::cta")
	} else if !strings.HasPrefix(d.in.op, "cp.async.bulk.shared::") || d.takeOne("shared::cluster", "shared::cta") < 0 || !d.take("global") || !d.take("mbarrier::complete_tx::bytes") {
		return d.errorf("%s: of bulk copies only those from global to shared memory with an mbarrier, and from shared to global memory with a bulk_group are supported", d.in.op)
	}
	if d.take("multicast::cluster") {
		return d.errorf("%s: copies to several blocks of a cluster are not supported", d.in.op)
	}
	if err := d.dropPolicy(); err != nil {
		return err
	}
	want := 4
	if group {
		want = 3
	}
	ops, err := d.operands(want)
	if err != nil {
		return err
	}
	c := &copyOp{
		to:   memOp{space: spaceShared, kind: accessStore, n: 1, size: bulkUnit},
		from: memOp{space: spaceGlobal, kind: accessLoad, n: 1, size: bulkUnit},
		bulk: &bulkOp{bar: memOp{space: spaceShared, kind: accessAtomic, sem: semRelaxed, n: 1, size: 8, arrival: true}},
	}
	if c.bulk.group = group; group {
		c.to.space, c.from.space = spaceGlobal, spaceShared
	}
	for i, end := range []struct {
		m   *memOp
		imm *uint64
	}{{&c.to, &c.toImm}, {&c.from, &c.fromImm}, {}, {&c.bulk.bar, &c.bulk.barImm}} {
		if i == 2 || i >= want {
			continue
		}
		d.in.imm = 0
		if err := d.address(ops[i], end.m); err != nil {
			return err
		}
		*end.imm = d.in.imm
	}
	first := len(d.in.uses)
	if c.bulk.size, err = d.src(ops[2], b32); err != nil {
		return err
	}
	d.need(first, "how much is copied")
	d.in.copy, d.in.kind, d.in.run = c, kindRun, asyncBulk
	return d.push()
}
