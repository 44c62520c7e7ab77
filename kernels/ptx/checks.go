package ptx

import (
	"fmt"
	"math/bits"
	"strings"
)

// checks are the checkers of a device. The machine reports accesses to global, shared and local memory,
// barriers and fences to them.
type checks struct {
	on     Checks
	device *Device
	races  *races // nil if that check is off
	blockChecks
	sharedBytes int
	localBytes  int      // per thread
	afloat      []*block // blocks that wait for their turn, with copies in flight

	looked    raceAccess // the access being checked
	localAddr [warpSize]uint64
}

// allocShadow is the checkers' shadow of an allocation, or of a block's shared memory. A field is nil if its
// check is off.
type allocShadow struct {
	init   *initMap
	races  *raceShadow
	stains []stain
}

// newChecks returns the checkers of a device, or nil if all are off.
func newChecks(on Checks, d *Device) *checks {
	if !on.Uninit && !on.Races && !on.Leaks {
		return nil
	}
	c := &checks{on: on, device: d}
	if on.Races {
		c.races = newRaces()
	}
	return c
}

func (c *checks) newShadow(size int64) *allocShadow {
	s := new(allocShadow)
	if c.on.Uninit {
		s.init = newInitMap(size)
	}
	if c.on.Races {
		s.races = newRaceShadow(size)
	}
	return s
}

// alloc starts to track an allocation with undefined contents.
func (c *checks) alloc(a *allocation) { a.shadow = c.newShadow(int64(a.size)) }

// hostWrite records that the host has written n bytes of an allocation.
func (c *checks) hostWrite(a *allocation, off, n int64) {
	if c.on.Uninit {
		a.shadow.init.written(off, n)
	}
}

// hostCopy records that the host has copied n bytes.
func (c *checks) hostCopy(dst *allocation, dstOff int64, src *allocation, srcOff, n int64) {
	if !c.on.Uninit {
		return
	}
	marks := src.shadow.init
	if src == dst { // the ranges may overlap
		marks = newInitMap(n)
		marks.copied(0, src.shadow.init, srcOff, n)
		srcOff = 0
	}
	dst.shadow.init.copied(dstOff, marks, srcOff, n)
}

// hostRead checks that the bytes which the host reads have been written.
func (c *checks) hostRead(a *allocation, off, n int64) error {
	if !c.on.Uninit {
		return nil
	}
	var passed *stain // the last suppressed one
	for at := off; ; at++ {
		if at = a.shadow.init.unwritten(at, off+n-at); at < 0 {
			return nil
		}
		s := a.shadow.stainOf(at)
		if s != nil && s == passed {
			continue
		}
		r := c.undefinedRead(a, off, n, at, s)
		if len(c.device.opt.Suppress) == 0 || !c.device.suppresses(r) {
			return r
		}
		c.device.suppressed++
		if passed = s; s == nil && c.device.suppressesKind(Uninitialized) {
			return nil
		}
	}
}

// undefinedRead returns the report for a host read of byte at, which is undefined because of the store s or,
// if s is nil, because nothing has written it.
func (c *checks) undefinedRead(a *allocation, off, n, at int64, s *stain) *Report {
	r := &Report{
		Kind: Uninitialized, Space: "global", Address: a.base + uint64(at), Size: int(n),
		Allocation: a.name, Extent: int64(a.size), Offset: at,
	}
	what := fmt.Sprintf("the host reads bytes %d to %d of %q, and", off, off+n-1, a.name)
	if s != nil {
		r.Kind, r.Kernel, r.Access, r.Other = s.report.Kind, s.report.Kernel, s.report.Access, s.report.Other
		r.Detail = fmt.Sprintf("%s byte %d is not defined: %s", what, at, s.report.Detail)
		return r
	}
	r.Detail = fmt.Sprintf("%s nothing has written byte %d", what, at)
	return r
}

// close reports memory that was never freed.
func (c *checks) close() error {
	if !c.on.Leaks {
		return nil
	}
	var names []string
	var first *allocation
	total, more := uint64(0), 0
	for _, a := range c.device.mem.live {
		if a.variable {
			continue
		}
		if first == nil {
			first = a
		}
		total += a.size
		if len(names) == 8 {
			more++
			continue
		}
		names = append(names, fmt.Sprintf("%q (%d bytes)", a.name, a.size))
	}
	if first == nil {
		return nil
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return &Report{
		Kind: Leak, Address: first.base, Allocation: first.name, Extent: int64(first.size),
		Detail: fmt.Sprintf("%d bytes were never freed: %s", total, strings.Join(names, ", ")),
	}
}

// begin starts a launch.
func (c *checks) begin(l *launch) {
	c.sharedBytes = l.entry.dynamicAt + l.shared
	c.localBytes = l.entry.local
	c.afloat = nil
	c.newBlock(len(l.warps))
	if c.races != nil {
		c.races.beginLaunch(l.block[0] * l.block[1] * l.block[2])
		if l.cooperative {
			c.races.beginTogether()
		}
	}
}

// barrier records that the warps of waited leave a barrier together.
func (c *checks) barrier(b *block, id int, waited uint32) error {
	if c.races == nil {
		return nil
	}
	if b.barriers[id].whole || waited == 1<<len(b.warps)-1 {
		c.races.blockBarrier()
	} else {
		c.races.catchUp(c.shared.races)
		c.races.partBarrier(waited, c.arrivals[id])
	}
	c.arrivals[id] = nil
	return nil
}

// arrive records a warp's bar.arrive.
func (c *checks) arrive(w *warp, id int) {
	if c.races != nil {
		c.races.catchUp(c.shared.races)
		c.arrivals[id] = append(c.arrivals[id], c.races.arrive(w.index))
	}
}

// warpSync records bar.warp.sync by the lanes of mask.
func (c *checks) warpSync(w *warp, mask uint32) {
	if c.races != nil {
		if mask&w.live != w.live { // for a whole warp, everything later is ordered after everything before
			c.races.catchUp(c.shared.races)
		}
		c.races.warpBarrier(w.index, mask, w.live)
	}
}

// fence records membar or fence by the lanes of mask.
func (c *checks) fence(w *warp, mask uint32, s scope) {
	if c.races != nil {
		c.races.catchUp(c.shared.races)
		c.races.fence(c.races, w.index, mask, reachOf(s))
		if w.block.launch.entry.clusters {
			c.clusterFence(w)
		}
	}
}

// access checks a load, store or atomic before it takes effect.
func (c *checks) access(a *access) error {
	switch a.space {
	case spaceGlobal:
		if a.alloc != nil {
			return c.memory(a, a.mask, a.alloc, a.alloc.shadow)
		}
		for rest := a.mask; rest != 0; {
			al := c.device.mem.find(a.addr[bits.TrailingZeros32(rest)])
			var mask uint32
			for m := rest; m != 0; m &= m - 1 {
				if l := bits.TrailingZeros32(m); a.addr[l]-al.base < al.size {
					mask |= 1 << l
				}
			}
			if err := c.memory(a, mask, al, al.shadow); err != nil {
				return err
			}
			rest &^= mask
		}
	case spaceShared:
		return c.memory(a, a.mask, nil, c.shared)
	case spaceLocal:
		return c.threadMemory(a)
	}
	return nil
}

// nearBytes is the largest span of lanes for which all memory in between is checked at once.
const nearBytes = 2048

// memory checks the lanes of mask of an access to an allocation, or to shared memory if al is nil.
func (c *checks) memory(a *access, mask uint32, al *allocation, s *allocShadow) error {
	base := -a.imm
	if al != nil {
		base = al.base - a.imm
	}
	if s.races != nil && (c.flight.lanes > 0 || a.in.copy != nil || c.afloat != nil) {
		if err := c.awaited(a, mask, al); err != nil {
			return err
		}
	}
	if s.init != nil && a.in.copy == nil { // a copy reads and writes only when it is performed
		if a.kind != accessStore {
			if a.to > 0 && a.to-a.from <= nearBytes && s.init.unwritten(int64(a.from), int64(a.to-a.from)) < 0 {
				// The whole range is written, whichever bytes each lane reads.
			} else if lane := s.init.loaded(a.addr, base, mask, a.size, a.row, a.same); lane >= 0 {
				if a.in.rows != nil {
					c.loadRowsUndefined(a, mask, al, s, base)
				} else if a.kind == accessAtomic || a.in.mem == nil { // wmma.load has more than one place for a value
					off := int64(a.addr[lane] - base)
					if err := a.w.block.launch.found(c.uninitialized(a, lane, al, s.init.unwritten(off, int64(a.size))-off)); err != nil {
						return err
					}
				} else {
					c.loadUndefined(a, mask, al, s, a.addr, base)
				}
			}
		}
		if a.kind != accessLoad {
			s.init.stored(a.addr, base, mask, a.size, a.row)
			if undef := a.w.undefStored & mask; undef != 0 {
				if a.in.rows != nil {
					c.storeRowsUndefined(a, undef, s, base)
				} else {
					c.storeUndefined(a, undef, al, s, a.addr, base)
				}
				a.w.undefStored &^= mask
			}
		}
	}
	if s.races == nil {
		return nil
	}
	r, ra := c.races, &c.looked
	strong := a.kind == accessAtomic || a.sem != semWeak
	*ra = raceAccess{addr: a.addr, base: base, mask: mask, size: a.size, floor: r.launch, values: a, same: a.same, row: a.row, nc: a.in.nonCoherent(), arrival: a.arrival, grid: al != nil && r.grid != nil}
	if al == nil {
		ra.floor = r.block
	}
	ra.stamp = r.now | stamp(min(a.w.pc, pcUnknown))<<stampPCShift | stamp(a.w.index)<<stampWarpShift | stamp(a.kind)
	to := reachOf(a.scope)
	if strong {
		ra.stamp |= stampStrong
		if a.sem == semVolatile {
			to = toAll
		}
		if to == toAll {
			ra.stamp |= stampWide
		}
	}
	if c.device.opt.SameValueStores && a.kind == accessStore && !a.issuesBulk() {
		if ra.memory = a.w.block.shared; al != nil {
			ra.memory = al.mem
		}
	}
	if al != nil || !r.later(s.races, ra, a.sem, c.where(a)) {
		if err := c.raceAll(a, ra, s.races, al); err != nil {
			return err
		}
	}
	if strong {
		ra.mask = mask
		locations := &r.global
		if al == nil {
			locations = &r.inShared
		}
		r.strong(r, locations, ra, a.sem, to)
	}
	return nil
}

// where returns a range that contains the bytes of an access to shared memory.
func (c *checks) where(a *access) extent64 {
	if a.to == 0 {
		return extent64{0, uint64(c.sharedBytes)}
	}
	return extent64{a.from, a.to}
}

// localOf returns the map of written bytes in the local memory of a warp's lanes, lane after lane.
func (c *checks) localOf(w *warp) *initMap {
	if c.local[w.index] == nil {
		c.local[w.index] = newInitMap(int64(c.localBytes) * warpSize)
	}
	return c.local[w.index]
}

// passed records that a call has copied an argument or a result within local memory.
func (c *checks) passed(w *warp, from, to, size int64, mask uint32) {
	if !c.on.Uninit {
		return
	}
	m := c.localOf(w)
	for ; mask != 0; mask &= mask - 1 {
		lane := int64(bits.TrailingZeros32(mask) * c.localBytes)
		m.copied(lane+to, m, lane+from, size)
	}
}

// threadMemory checks an access to local memory, which is private to its thread.
func (c *checks) threadMemory(a *access) error {
	if !c.on.Uninit {
		return nil
	}
	m := c.localOf(a.w)
	for l := range c.localAddr {
		c.localAddr[l] = a.addr[l] + uint64(l*c.localBytes)
	}
	shadow := &allocShadow{init: m}
	if a.kind != accessStore {
		// A lane's memory need not be aligned to a word of the map, so lanes are checked one by one.
		for rest := a.mask; rest != 0; rest &= rest - 1 {
			l := bits.TrailingZeros32(rest)
			if m.unwritten(int64(c.localAddr[l]), int64(a.size)) >= 0 {
				c.loadUndefined(a, rest&-rest, nil, shadow, &c.localAddr, 0)
			}
		}
	}
	if a.kind != accessLoad {
		for rest := a.mask; rest != 0; rest &= rest - 1 {
			m.written(int64(c.localAddr[bits.TrailingZeros32(rest)]), int64(a.size))
		}
		if undef := a.w.undefStored & a.mask; undef != 0 {
			c.storeUndefined(a, undef, nil, shadow, &c.localAddr, 0)
			a.w.undefStored &^= a.mask
		}
	}
	return nil
}

// report starts a report about a lane's access.
func (c *checks) report(kind Kind, a *access, lane int, al *allocation) *Report {
	r := a.w.report(kind, a.in, 1<<lane)
	r.Space, r.Address, r.Size = a.space.String(), a.at(lane), int(a.size)
	r.Offset, r.Extent = int64(r.Address), int64(c.sharedBytes)
	if a.space == spaceLocal {
		r.Extent = int64(c.localBytes)
	}
	if al != nil {
		r.Allocation, r.Extent, r.Offset = al.name, int64(al.size), int64(r.Address-al.base)
	}
	return r
}

// bytesOf describes the bytes of a report's access: "bytes 8 to 11 of "keys"".
func (r *Report) bytesOf() string {
	where := r.Space + " memory"
	if r.Allocation != "" {
		where = fmt.Sprintf("%q", r.Allocation)
	}
	if r.Size == 1 {
		return fmt.Sprintf("byte %d of %s", r.Offset, where)
	}
	return fmt.Sprintf("bytes %d to %d of %s", r.Offset, r.Offset+int64(r.Size)-1, where)
}

func (c *checks) uninitialized(a *access, lane int, al *allocation, at int64) error {
	r := c.report(Uninitialized, a, lane, al)
	r.Detail = fmt.Sprintf("reads %s, and nothing has written byte %d", r.bytesOf(), r.Offset+at)
	if a.space == spaceShared {
		r.Detail += " in this block so far"
	}
	return r
}

// race returns the report about a lane's access and an earlier one by the given block.
func (c *checks) race(a *access, lane int, al *allocation, with stamp, block uint64) error {
	r := c.report(Race, a, lane, al)
	e := a.w.block.launch.entry
	w := &a.w.block.warps[with.warp()]
	other := Access{Block: a.w.block.launch.indexOf(block), Thread: w.thread(with.lane()), Op: "an access"}
	if pc := with.pc(); pc != pcUnknown && pc < len(e.code) {
		other = e.accessOf(&e.code[pc], other.Block, other.Thread)
	}
	r.Other = &other
	r.Detail = fmt.Sprintf("%s, and the two accesses are not ordered", r.bytesOf())
	if a.in.nonCoherent() && with.writes() {
		r.Kind = NonCoherent
		r.Detail = fmt.Sprintf("%s, which the same launch has written: it may read the old contents", r.bytesOf())
	}
	return r
}
