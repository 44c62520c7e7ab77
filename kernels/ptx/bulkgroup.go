package ptx

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// cp.async.bulk from shared to global memory, which completes in bulk groups: a thread commits its copies as a group,
// and waits for its groups. As with other asynchronous copies, the source is read and the destination written as late as
// possible: at the waits, or, once the source has been read, at the end of the block. A block that ends before
// the source has been read is reported, since another block may get that shared memory.

// bulkStore is a pending copy to global memory.
type bulkStore struct {
	bulkCopy        // to is the global address, from the offset in shared memory
	group    uint32 // how many groups its thread had committed before
	data     []byte // what was read from the source; nil before
	marks    *initMap
}

// Limits of the pending copies to global memory: the number of a block's, and the bytes of all blocks that run at a
// time. Beyond them a block's first ones are performed, as hardware may do at any time; what does not wait for these is
// not found.
const (
	maxStores     = 1024
	maxStoreBytes = 64 << 20
)

// addStore issues a copy.
func (b *block) addStore(s bulkStore) error {
	b.stores = append(b.stores, s)
	b.launch.storeBytes += s.size
	if c := b.launch.checks; c != nil && c.races != nil {
		c.flight.lanes++
	}
	for len(b.stores) > maxStores || len(b.stores) > 0 && b.launch.storeBytes > maxStoreBytes {
		first := &b.stores[0]
		if err := first.read(); err != nil {
			return err
		}
		if err := first.write(); err != nil {
			return err
		}
		b.stores = b.stores[1:]
	}
	return nil
}

// bulkGroupCommit makes each thread's bulk copies since its last group into a new group.
func bulkGroupCommit(w *warp, in *instr, mask uint32) error {
	for ; mask != 0; mask &= mask - 1 {
		w.bulkCommits[bits.TrailingZeros32(mask)&31]++
	}
	return nil
}

// bulkGroupWait performs pending copies, except those of each thread's last in.imm groups. bulkGroupRead only reads
// their sources.
func bulkGroupWait(w *warp, in *instr, mask uint32) error { return w.waitBulk(in, mask, true) }

func bulkGroupRead(w *warp, in *instr, mask uint32) error { return w.waitBulk(in, mask, false) }

func (w *warp) waitBulk(in *instr, mask uint32, write bool) error {
	b := w.block
	kept := b.stores[:0]
	for i, s := range b.stores {
		due := s.w == w && mask>>s.lane&1 != 0 && uint64(s.group)+in.imm < uint64(w.bulkCommits[s.lane])
		if due {
			err := s.read()
			if err == nil && write {
				err = s.write()
			}
			if err != nil {
				b.stores = append(kept, b.stores[i:]...)
				return err
			}
		}
		if !due || !write {
			kept = append(kept, s)
		}
	}
	b.stores = kept
	return nil
}

// endStores performs the copies that are pending at the end of the block.
func (b *block) endStores() error {
	for i := range b.stores {
		s := &b.stores[i]
		if s.data == nil {
			r := s.w.report(NotAwaited, s.in, 1<<s.lane)
			r.Space, r.Address, r.Size, r.Offset, r.Extent = spaceShared.String(), s.from, int(s.size), int64(s.from), int64(len(b.shared))
			r.Detail = fmt.Sprintf("the block ends, and its thread has not waited until the copy has read %s (cp.async.bulk.wait_group.read)", r.bytesOf())
			if err := b.launch.found(r); err != nil {
				return err
			}
		}
		if err := s.read(); err != nil {
			return err
		}
		if err := s.write(); err != nil {
			return err
		}
	}
	b.stores = nil
	return nil
}

// read reads the source.
func (s *bulkStore) read() error {
	if s.data != nil {
		return nil
	}
	b := s.w.block
	data := make([]byte, s.size)
	copy(data, b.shared[s.from:s.from+s.size])
	if c := b.launch.checks; c != nil {
		if err := s.check(c, spaceShared, accessLoad, s.from, data); err != nil {
			return err
		}
		if c.on.Uninit {
			s.marks = newInitMap(int64(s.size))
			s.marks.copied(0, c.shared.init, int64(s.from), int64(s.size))
		}
	}
	s.data = data
	return nil
}

// write writes the destination.
func (s *bulkStore) write() error {
	l := s.w.block.launch
	l.storeBytes -= s.size
	if c := l.checks; c != nil {
		if err := s.check(c, spaceGlobal, accessStore, s.to, s.data); err != nil {
			return err
		}
		if c.races != nil {
			if c.flight.lanes--; c.flight.lanes == 0 {
				c.flight.clear()
			}
		}
		if al := c.device.mem.find(s.to); c.on.Uninit && al != nil {
			al.shadow.init.copied(int64(s.to-al.base), s.marks, 0, int64(s.size))
		}
	}
	copy(unsafe.Slice((*byte)(unsafe.Add(s.mem, s.to-s.base)), s.size), s.data)
	return nil
}

// check shows an access of the copy to the checkers, as one of the thread that issued it.
func (s *bulkStore) check(c *checks, sp space, kind accessKind, at uint64, data []byte) error {
	w := s.w
	pc := w.pc
	w.pc = s.pc
	defer func() { w.pc = pc }()
	p := &pendingCopy{in: s.in, mask: 1 << s.lane, mem: pointer(data)}
	var addr [warpSize]uint64
	for off := uint64(0); off < s.size; off += bulkUnit {
		addr[s.lane], p.from[s.lane] = at+off, off
		if err := c.access(&access{w: w, in: s.in, space: sp, kind: kind, size: bulkUnit, mask: p.mask, addr: &addr, copy: p}); err != nil {
			return err
		}
	}
	return nil
}

// awaitedStores checks an access to what a block's pending copies to global memory read and write.
func (c *checks) awaitedStores(b *block, a *access, mask uint32, al *allocation) error {
	for i := range b.stores {
		s := &b.stores[i]
		if al == nil && (a.kind == accessLoad || s.data != nil) || a.copy != nil && a.in == s.in {
			continue
		}
		for rest := mask; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest)
			first, end := s.to, "destination"
			if al == nil {
				first, end = s.from, "source"
			}
			if at := a.at(lane); at < first+s.size && first < at+uint64(a.size) {
				other := s.w.accessOf(s.in, int(s.lane))
				if err := a.w.block.launch.found(c.notAwaited(a, lane, al, &other, end)); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// decodeBulkGroup decodes cp.async.bulk.commit_group and wait_group. It returns false for others.
func (d *decoder) decodeBulkGroup() (bool, error) {
	d.in.kind = kindRun
	switch d.takeOne("commit_group", "wait_group") {
	case 0:
		d.in.run = bulkGroupCommit
		_, err := d.operands(0)
		if err == nil {
			err = d.push()
		}
		return true, err
	case 1:
		if d.in.run = bulkGroupWait; d.take("read") {
			d.in.run = bulkGroupRead
		}
		ops, err := d.operands(1)
		if err != nil {
			return true, err
		}
		if ops[0].kind != opInt || ops[0].bits > 1<<31 {
			return true, d.errorf("%s: the number of groups is a constant", d.in.op)
		}
		d.in.imm = ops[0].bits
		return true, d.push()
	}
	return false, nil
}
