package ptx

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// mbarrier: barriers that are objects of 8 bytes in shared memory (PTX ISA §9.7.13.15). The machine's own
// layout is, from the low end: 20 bits of pending arrivals of the current phase, 20 bits of arrivals that a
// phase expects, 21 bits of the bytes of copies that the phase still expects (tx-count, which may be negative
// for a while), and the number of the phase. For the checkers, init is a plain store, an arrival an atomic that
// releases at the end of the phase, and a wait a strong load that acquires what the completed phases have
// released. A wait never suspends: it returns at once whether the phase is complete.

const (
	mbarrierCount  = 1<<20 - 1
	mbarrierExpect = 20 // first bit of the expected arrivals
	mbarrierTx     = 40 // first bit of the expected bytes
	mbarrierPhase  = 61 // first bit of the phase number
)

// mbarrierState is the unpacked state of a barrier.
type mbarrierState struct {
	pending, expected uint64
	tx                int64
	phase             uint64
}

func unpackMbarrier(word uint64) mbarrierState {
	tx := int64(word<<(64-mbarrierPhase)) >> (64 - mbarrierPhase + mbarrierTx)
	return mbarrierState{word & mbarrierCount, word >> mbarrierExpect & mbarrierCount, tx, word >> mbarrierPhase}
}

func (s mbarrierState) pack() uint64 {
	return s.pending | s.expected<<mbarrierExpect | uint64(s.tx)<<mbarrierTx&(1<<mbarrierPhase-1) | s.phase<<mbarrierPhase
}

// next returns the barrier in its next phase if this one is complete, else unchanged.
func (s mbarrierState) next() mbarrierState {
	if s.pending == 0 && s.tx == 0 {
		s.pending, s.phase = s.expected, s.phase+1
	}
	return s
}

type mbarrierKind uint8

const (
	mbarrierInit mbarrierKind = iota
	mbarrierInval
	mbarrierArrive
	mbarrierDrop // arrive_drop
	mbarrierWait // test_wait and try_wait
	mbarrierWaitParity
	mbarrierAsync // cp.async.mbarrier.arrive
	mbarrierExpectTx
	mbarrierCompleteTx
)

// mbarrierOp is an operation on a barrier in memory.
type mbarrierOp struct {
	kind   mbarrierKind
	mem    memOp
	state  memReg // of 8 bytes: the state that arrivals return and waits take; of 4 for a wait on a parity
	count  uint32 // a row of 4 bytes
	noInc  bool   // of cp.async.mbarrier.arrive
	remote bool   // in .shared::cluster, where an arrival returns no state
	hasTx  bool   // an arrival that expects bytes first
	tx     uint32 // a row of 4 bytes: the number of bytes, of arrivals, expect_tx and complete_tx
}

// waits reports whether the operation is test_wait or try_wait.
func (m *mbarrierOp) waits() bool { return m.kind == mbarrierWait || m.kind == mbarrierWaitParity }

func (m *mbarrierOp) run(w *warp, in *instr, mask uint32) error {
	if m.waits() {
		return m.wait(w, in, mask)
	}
	mem, wrong, why := m.mem, uint32(0), ""
	mem.do = func(w *warp, _ *instr, t *target) {
		for rest := t.mask; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest) & 31
			word := (*uint64)(unsafe.Add(t.mem, t.addr[lane]-t.base))
			old, problem := *word, ""
			if *word, problem = m.next(old, w, lane); !m.state.sink {
				w.setLane(m.state.off, 8, lane, old)
			}
			if problem != "" {
				wrong, why = wrong|1<<lane, problem
			} else if m.kind > mbarrierInval && (*word^old)>>mbarrierPhase != 0 {
				w.block.endPhase(t.addr[lane] - t.base)
			}
		}
		if m.kind == mbarrierAsync {
			w.issueArrivals(in, t)
		}
	}
	if err := w.resolve(in, &mem, in.imm, mask); err != nil {
		return err
	}
	if wrong != 0 {
		return w.errorf(in, wrong, "%s", why)
	}
	return nil
}

// wait is test_wait and try_wait. A wait that is not complete acquires nothing. If all lanes wait for the
// same barrier, as they nearly always do, only one of them accesses it.
func (m *mbarrierOp) wait(w *warp, in *instr, mask uint32) error {
	mem, looks := m.mem, mask
	from := w.addresses(&mem)
	if len(w.block.bulk) > 0 || len(w.block.trailing) > 0 {
		for rest := mask; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest) & 31
			at := from[lane] + in.imm
			if mem.space == spaceGeneric {
				at -= sharedBase
			}
			if err := w.block.land(at, func(word uint64) bool { return m.complete(word, w, lane) }); err != nil {
				return err
			}
		}
		from = w.addresses(&mem)
	}
	looks &= -looks
	for rest := mask; rest != 0; rest &= rest - 1 {
		if from[bits.TrailingZeros32(rest)&31] != from[bits.TrailingZeros32(mask)&31] {
			looks = mask
		}
	}
	complete := uint32(0)
	mem.do = func(w *warp, _ *instr, t *target) {
		lanes := t.mask
		if looks != mask {
			lanes = mask
		}
		word := uint64(0)
		for rest := lanes; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest) & 31
			if t.mask>>lane&1 != 0 {
				word = *(*uint64)(unsafe.Add(t.mem, t.addr[lane]-t.base))
			}
			complete |= bit(m.complete(word, w, lane)) << lane
		}
	}
	mem.sem = semRelaxed
	if err := w.resolve(in, &mem, in.imm, looks); err != nil {
		return err
	}
	if complete != 0 && m.mem.sem == semAcquire {
		mem.sem, mem.do = semAcquire, func(*warp, *instr, *target) {}
		if err := w.resolve(in, &mem, in.imm, complete); err != nil {
			return err
		}
	}
	if in.d != noPred {
		w.set(in.d, mask, complete)
	}
	return nil
}

// endPhase tells the checkers that a phase of a barrier is complete.
func (b *block) endPhase(bar uint64) {
	if c := b.launch.checks; c != nil && c.races != nil {
		c.races.endPhase(c.races, bar)
	}
}

// complete reports whether the phase that a lane waits for is complete.
func (m *mbarrierOp) complete(word uint64, w *warp, lane int) bool {
	if m.kind == mbarrierWait {
		return (word^w.lane(m.state.off, 8, lane))>>mbarrierPhase != 0
	}
	return word>>mbarrierPhase&1 != w.lane(m.state.off, 4, lane)&1
}

// next returns the barrier after an operation by a lane, or the problem with its operands.
func (m *mbarrierOp) next(old uint64, w *warp, lane int) (word uint64, problem string) {
	s := unpackMbarrier(old)
	switch {
	case m.kind == mbarrierInval:
		return 0, ""
	case m.kind == mbarrierInit:
		s = mbarrierState{pending: mbarrierCount}
	case m.kind == mbarrierAsync: // the arrival is issued
		if !m.noInc {
			s.pending++
		}
		if s.pending > mbarrierCount {
			return old, fmt.Sprintf("%d arrivals would be pending, more than %d", s.pending, mbarrierCount)
		}
		return s.pack(), ""
	}
	if m.hasTx || m.kind == mbarrierExpectTx {
		s.tx += int64(w.lane(m.tx, 4, lane))
	} else if m.kind == mbarrierCompleteTx {
		s.tx -= int64(w.lane(m.tx, 4, lane))
	}
	if s.tx > mbarrierCount || s.tx < -mbarrierCount {
		return old, fmt.Sprintf("%d bytes would be expected, beyond %d", s.tx, mbarrierCount)
	}
	if m.kind == mbarrierExpectTx || m.kind == mbarrierCompleteTx {
		return s.next().pack(), ""
	}
	count := w.lane(m.count, 4, lane)
	if count < 1 || count > s.pending {
		return old, fmt.Sprintf("the count of arrivals is not within the barrier's: %d of 1 to %d, or more than are pending", count, mbarrierCount)
	}
	switch m.kind {
	case mbarrierInit:
		return mbarrierState{pending: count, expected: count}.pack(), ""
	case mbarrierDrop:
		if count > s.expected {
			return old, fmt.Sprintf("%d arrivals would be dropped of the %d that a phase expects", count, s.expected)
		}
		s.expected -= count
	}
	s.pending -= count
	return s.next().pack(), ""
}

// pendingCount is mbarrier.pending_count.
func pendingCount(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[uint64](w.regs, in.a)
	for i := range d {
		d[i] = uint32(a[i] & mbarrierCount)
	}
}

// decodeMbarrier decodes mbarrier.
func decodeMbarrier(d *decoder) error {
	what := d.takeOne("init", "inval", "arrive", "arrive_drop", "test_wait", "try_wait", "pending_count", "expect_tx", "complete_tx")
	if what < 0 {
		return d.unsupported()
	}
	if what == 6 {
		if !d.take("b64") {
			return d.unsupported()
		}
		return d.alu(pendingCount, b32, b64)
	}
	m := &mbarrierOp{kind: [...]mbarrierKind{
		mbarrierInit, mbarrierInval, mbarrierArrive, mbarrierDrop, mbarrierWait, mbarrierWait, 0, mbarrierExpectTx, mbarrierCompleteTx,
	}[what]}
	arrives := m.kind == mbarrierArrive || m.kind == mbarrierDrop
	m.hasTx = arrives && d.take("expect_tx")
	if m.kind == mbarrierWait && d.take("parity") {
		m.kind = mbarrierWaitParity
	}
	waits := m.waits()
	m.mem.sem = map[bool]semantics{false: semRelease, true: semAcquire}[waits]
	switch {
	case what < 2:
	case d.take("relaxed"), m.kind == mbarrierExpectTx, m.kind == mbarrierCompleteTx:
		m.mem.sem = semRelaxed
	default:
		d.takeOne("release", "acquire")
	}
	if s, ok := d.takeScope(); ok && s > scopeCluster {
		return d.unsupported()
	}
	d.take("noComplete")
	if err := d.mbarrierMemory(m); err != nil {
		return err
	}
	ops := d.s.operands
	d.in.d = noPred
	var err error
	if m.remote && (waits || what < 2 || arrives && len(ops) > 0 && ops[0].kind != opSink) {
		return d.errorf("%s: of barriers in .shared::cluster only arrivals without a state and numbers of bytes are supported", d.in.op)
	}
	switch {
	case waits:
		if len(ops) < 3 || len(ops) > 4 || len(ops) == 4 && what != 5 { // the fourth is the suspend time hint
			return d.errorf("%s: wrong number of operands", d.in.op)
		}
		if ops[0].kind != opName {
			return d.errorf("%s: the destination is not a predicate", d.in.op)
		}
		if d.in.d, err = d.dstPred(ops[0].name); err != nil {
			return err
		}
		t := b64
		if m.kind == mbarrierWaitParity {
			t = b32
		}
		if m.state.off, err = d.src(ops[2], t); err != nil {
			return err
		}
		d.need(0, "what it waits for")
		return d.mbarrierAt(m, ops[1])
	case arrives:
		if len(ops) == 0 {
			return d.errorf("%s: no operands", d.in.op)
		}
		if m.state.sink = ops[0].kind == opSink; !m.state.sink {
			if m.state.off, err = d.dst(ops[0], b64); err != nil {
				return err
			}
		}
		ops = ops[1:]
	}
	counts := m.hasTx || m.kind == mbarrierExpectTx || m.kind == mbarrierCompleteTx
	if len(ops) < 1 || len(ops) > 2 || (counts || m.kind == mbarrierInit) && len(ops) != 2 || m.kind == mbarrierInval && len(ops) != 1 {
		return d.errorf("%s: wrong number of operands", d.in.op)
	}
	m.count = d.constant(1, 4, nil, false)
	if len(ops) == 2 {
		into := &m.count
		if counts {
			into = &m.tx
		}
		if *into, err = d.src(ops[1], b32); err != nil {
			return err
		}
		d.need(0, "what the barrier counts")
	}
	return d.mbarrierAt(m, ops[0])
}

// mbarrierMemory decodes the address of a barrier.
func (d *decoder) mbarrierMemory(m *mbarrierOp) error {
	m.state.sink = true
	m.mem.space, m.mem.kind, m.mem.elem, m.mem.n, m.mem.size = spaceGeneric, accessAtomic, 8, 1, 8
	m.mem.regs[0].sink = true
	switch m.kind {
	case mbarrierInit, mbarrierInval:
		m.mem.kind, m.mem.sem = accessStore, semWeak
	case mbarrierWait, mbarrierWaitParity:
		m.mem.kind = accessLoad
	default:
		m.mem.arrival = true
	}
	if space := d.takeOne("shared", "shared::cta", "shared::cluster"); space >= 0 {
		m.remote = space == 2
		m.mem.space = spaceShared
	}
	if !d.take("b64") {
		return d.unsupported()
	}
	return nil
}

func (d *decoder) mbarrierAt(m *mbarrierOp, address operand) error {
	if err := d.address(address, &m.mem); err != nil {
		return err
	}
	d.in.kind, d.in.run, d.in.mbarrier = kindRun, m.run, m
	return d.push()
}

// asyncArrive decodes cp.async.mbarrier.arrive.
func (d *decoder) asyncArrive() error {
	if !d.take("arrive") {
		return d.unsupported()
	}
	m := &mbarrierOp{kind: mbarrierAsync, noInc: d.take("noinc")}
	m.mem.sem = semRelaxed
	if err := d.mbarrierMemory(m); err != nil {
		return err
	}
	ops, err := d.operands(1)
	if err != nil {
		return err
	}
	d.in.d, m.count = noPred, d.constant(1, 4, nil, false)
	return d.mbarrierAt(m, ops[0])
}
