package ptx

import (
	"math/bits"
	"slices"
	"unsafe"
)

// Undefined values: those of registers and memory that nothing has written, and values computed from them.
// They are tracked bit by bit in registers, and byte by byte in memory. They may be moved, computed with, and
// dropped; other uses are reported (used.go). For every register, warp.init has the lanes in which all bits
// are defined. The code in this file runs only for other lanes.

// undefined has the undefined bits of a warp's registers.
type undefined struct {
	part  []uint32       // by a register's number: the lanes in which some bits are defined
	words []uint64       // the undefined bits of those lanes, laid out like the register file
	file  unsafe.Pointer // pointer to words
	from  []*causes      // by a register's number

	operands [5 * warpSize]uint64 // rows for the operands of an instruction; the first is unused
}

// causes says for each lane where the value of a register came from; nil if nothing has written the register.
type causes [warpSize]*cause

// cause is the origin of an undefined value.
type cause struct {
	reg    uint32 // the unwritten register, if in is nil
	in     *instr // otherwise the load of unwritten memory
	thread int    // the thread of the block that executed it
	block  [3]int
	space  space
	alloc  *allocation
	extent int64
	off    int64 // of the access in its memory
	size   uint32
	at     int64  // index of the first unwritten byte
	stored *stain // if set, a store of an undefined value wrote that byte
}

// regInfo is the place of a register.
type regInfo struct {
	off   uint32 // offset of its row; for a predicate its index
	bytes uint8  // of an element; 0 for a predicate
}

// A spreadFunc sets which bits of an instruction's results are undefined, when some source is undefined in
// the lanes in bad. It is called before the instruction executes.
type spreadFunc func(w *warp, in *instr, mask, bad uint32)

func (w *warp) startUndefined() *undefined {
	w.undefinedAbout = true
	if w.undef == nil {
		e := w.block.launch.entry
		u := &undefined{part: make([]uint32, len(e.regs)), from: make([]*causes, len(e.regs)), words: make([]uint64, len(w.file))}
		u.file = unsafe.Pointer(&u.words[0])
		w.undef = u
	}
	return w.undef
}

// reset starts a block.
func (u *undefined) reset() {
	if u != nil {
		clear(u.part)
		clear(u.from)
	}
}

// widthBits returns a mask of n bytes; for a predicate (0) of one bit.
func widthBits(bytes uint8) uint64 {
	if bytes == 0 {
		return 1
	}
	return ^uint64(0) >> (64 - 8*uint(bytes))
}

// undefinedBits returns the undefined bits of a lane of a register.
func (w *warp) undefinedBits(id int32, lane int) uint64 {
	if id < 0 || w.init[id]>>lane&1 != 0 {
		return 0
	}
	u, r := w.undef, w.block.launch.entry.regs[id]
	if u == nil || u.part[id]>>lane&1 == 0 {
		return widthBits(r.bytes)
	}
	switch r.bytes {
	case 1:
		return uint64(row[uint8](u.file, r.off)[lane])
	case 2:
		return uint64(row[uint16](u.file, r.off)[lane])
	case 4:
		return uint64(row[uint32](u.file, r.off)[lane])
	}
	return row[uint64](u.file, r.off)[lane]
}

// setUndefined sets the undefined bits of a lane of a register.
func (w *warp) setUndefined(id int32, lane int, undef uint64) {
	if id < 0 {
		return
	}
	u, r := w.undef, w.block.launch.entry.regs[id]
	all := widthBits(r.bytes)
	undef &= all
	bit := uint32(1) << lane
	if undef == 0 {
		w.init[id] |= bit
		return
	}
	w.init[id] &^= bit
	if undef == all {
		u.part[id] &^= bit
		return
	}
	u.part[id] |= bit
	switch r.bytes {
	case 1:
		row[uint8](u.file, r.off)[lane] = uint8(undef)
	case 2:
		row[uint16](u.file, r.off)[lane] = uint16(undef)
	case 4:
		row[uint32](u.file, r.off)[lane] = uint32(undef)
	default:
		row[uint64](u.file, r.off)[lane] = undef
	}
}

// regOf returns the number of the register with this row, or -1.
func (e *entry) regOf(row uint32) int32 {
	if row == noPred || int(row/64) >= len(e.rowReg) {
		return -1
	}
	return e.rowReg[row/64]
}

// predOf returns the number of a predicate, or -1.
func (e *entry) predOf(index uint32) int32 {
	if index == noPred {
		return -1
	}
	return e.predReg[index]
}

// spread is called for an instruction with a source that is undefined in the lanes of bad. The results get
// the source's cause.
func (w *warp) spread(in *instr, mask, bad uint32) {
	w.startUndefined()
	var why causes
	for rest := bad; rest != 0; rest &= rest - 1 {
		lane := bits.TrailingZeros32(rest) & 31
		for _, r := range in.uses {
			if w.init[r]>>lane&1 == 0 {
				why[lane] = w.causeOf(r, lane)
				break
			}
		}
	}
	rule := w.block.launch.entry.flows[w.pc].spread
	if rule == nil {
		rule = spreadAll
	}
	rule(w, in, mask, bad)
	for _, r := range in.defs {
		for rest := mask &^ w.init[r]; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest) & 31
			if why[lane] == nil { // the cause is in another lane
				why[lane] = why[bits.TrailingZeros32(bad)&31]
			}
			w.setCause(r, lane, why[lane])
		}
	}
}

// causeOf returns why a lane of a register is undefined.
func (w *warp) causeOf(reg uint32, lane int) *cause {
	if w.undef != nil {
		if c := w.undef.from[reg]; c != nil && c[lane] != nil {
			return c[lane]
		}
	}
	return &cause{reg: reg}
}

func (w *warp) setCause(reg uint32, lane int, why *cause) {
	u := w.undef
	if u.from[reg] == nil {
		u.from[reg] = new(causes)
	}
	u.from[reg][lane] = why
}

// spreadAll makes the whole result undefined.
func spreadAll(w *warp, in *instr, mask, bad uint32) {
	for _, r := range in.defs {
		w.init[r] = w.init[r]&^bad | mask&^bad
		w.undef.part[r] &^= bad
	}
}

// byGroup applies a rule to each group of lanes that execute a .sync instruction together.
func byGroup(rule spreadFunc) spreadFunc {
	return func(w *warp, in *instr, mask, bad uint32) {
		for mask != 0 {
			group := w.group(in, mask)
			mask &^= group
			if bad&group != 0 {
				rule(w, in, group, bad&group)
			} else {
				spreadAll(w, in, group, 0)
			}
		}
	}
}

// spreadWarp is spreadAll for results that depend on all lanes.
func spreadWarp(w *warp, in *instr, mask, bad uint32) { spreadAll(w, in, mask, mask) }

// spreadLanes sets the destination's undefined bits lane by lane.
func spreadLanes(w *warp, in *instr, mask, bad uint32, of func(lane int) uint64) {
	for _, r := range in.defs {
		w.init[r] |= mask &^ bad
	}
	d := w.block.launch.entry.regOf(in.d)
	for ; bad != 0; bad &= bad - 1 {
		lane := bits.TrailingZeros32(bad) & 31
		w.setUndefined(d, lane, of(lane))
	}
}

// spreadUp is for sums, differences and low halves of products: a bit depends on the source bits at and below
// it.
func spreadUp(w *warp, in *instr, mask, bad uint32) {
	spreadLanes(w, in, mask, bad, func(lane int) uint64 {
		u := w.undefinedSources(in, lane)
		return u | -u
	})
}

// spreadHalves is for packed pairs: a half depends on the same half of its sources.
func spreadHalves(w *warp, in *instr, mask, bad uint32) {
	spreadLanes(w, in, mask, bad, func(lane int) uint64 {
		u := w.undefinedSources(in, lane)
		return halves(u, 16, 16)
	})
}

// spreadPairs is for pairs of 32 bits each.
func spreadPairs(w *warp, in *instr, mask, bad uint32) {
	spreadLanes(w, in, mask, bad, func(lane int) uint64 { return halves(w.undefinedSources(in, lane), 32, 32) })
}

// halves maps two halves of a bits to two of b bits: all bits of a resulting half are undefined if any bit of
// the corresponding half of u is.
func halves(u uint64, a, b uint) (d uint64) {
	for i := range uint(2) {
		if u>>(i*a)&(1<<a-1) != 0 {
			d |= (1<<b - 1) << (i * b)
		}
	}
	return d
}

func (w *warp) undefinedSources(in *instr, lane int) (u uint64) {
	for _, r := range in.uses {
		u |= w.undefinedBits(int32(r), lane)
	}
	return u
}

// spreadMoves is for instructions that move bits without changing them: the marks of undefined bits move like
// the values. moved lists which of the operands a, b, c and e are moved; the other operands say where to.
func spreadMoves(moved ...int) spreadFunc {
	return func(w *warp, in *instr, mask, bad uint32) {
		u, e := w.undef, w.block.launch.entry
		moves := *in
		operands := [4]*uint32{&moves.a, &moves.b, &moves.c, &moves.e}
		unsure := uint32(0) // lanes in which the positions are undefined
		for k, operand := range operands {
			if *operand == 0 {
				continue
			}
			off := uint32(k+1) * warpSize * 8
			id := e.regOf(*operand)
			at := unsafe.Add(unsafe.Pointer(&u.operands), off)
			if slices.Contains(moved, k) {
				*(*[warpSize]uint64)(at) = [warpSize]uint64{}
				bytes := uint8(8)
				if id >= 0 {
					bytes = e.regs[id].bytes
				}
				for g := bad; g != 0; g &= g - 1 {
					lane := bits.TrailingZeros32(g) & 31
					setElement(at, bytes, lane, w.undefinedBits(id, lane))
				}
			} else { // 32 bits
				*(*[warpSize]uint32)(at) = *row[uint32](w.regs, *operand)
				if id >= 0 {
					unsure |= bad &^ w.init[id]
				}
			}
			*operand = off
		}
		regs := w.regs
		w.regs = unsafe.Pointer(&u.operands)
		in.alu(unsafe.Pointer(&w.scratch), w, &moves)
		w.regs = regs
		spreadLanes(w, in, mask, bad, func(lane int) uint64 {
			if unsure>>lane&1 != 0 {
				return ^uint64(0)
			}
			return element(unsafe.Pointer(&w.scratch), in.dbytes, lane)
		})
	}
}

// element and setElement read and write a lane of a row with elements of the given size.
func element(p unsafe.Pointer, bytes uint8, lane int) uint64 {
	switch bytes {
	case 1:
		return uint64(row[uint8](p, 0)[lane])
	case 2:
		return uint64(row[uint16](p, 0)[lane])
	case 4:
		return uint64(row[uint32](p, 0)[lane])
	}
	return row[uint64](p, 0)[lane]
}

func setElement(p unsafe.Pointer, bytes uint8, lane int, v uint64) {
	switch bytes {
	case 1:
		row[uint8](p, 0)[lane] = uint8(v)
	case 2:
		row[uint16](p, 0)[lane] = uint16(v)
	case 4:
		row[uint32](p, 0)[lane] = uint32(v)
	default:
		row[uint64](p, 0)[lane] = v
	}
}

// spreadLogic is for bitwise logic with a lop3 truth table: a bit is defined if the undefined source bits do
// not affect it.
func spreadLogic(table uint64, sources int) spreadFunc {
	return func(w *warp, in *instr, mask, bad uint32) {
		table := table
		if sources == 3 { // lop3
			table = in.imm
		}
		e := w.block.launch.entry
		rows := [3]uint32{in.a, in.b, in.c}
		spreadLanes(w, in, mask, bad, func(lane int) uint64 {
			var may [3][2]uint64 // which bits of an operand may be 0, and which may be 1
			for k, off := range rows[:sources] {
				v, u := w.lane(off, in.dbytes, lane), w.undefinedBits(e.regOf(off), lane)
				may[k] = [2]uint64{^v | u, v | u}
			}
			for k := sources; k < 3; k++ {
				may[k][0] = ^uint64(0)
			}
			var out [2]uint64
			for i := range 8 {
				out[table>>i&1] |= may[0][i>>2] & may[1][i>>1&1] & may[2][i&1]
			}
			return out[0] & out[1]
		})
	}
}

// spreadChoice is for selp: if the selector is defined, the bits of the selected value; otherwise also the
// bits in which the two values differ.
func spreadChoice(w *warp, in *instr, mask, bad uint32) {
	e := w.block.launch.entry
	a, b := e.regOf(in.a), e.regOf(in.b)
	choice := allLanes // lanes in which the selector is defined
	if id := e.predOf(in.c); id >= 0 {
		choice = w.init[id]
	}
	chosen := w.preds[in.c]
	if in.notC {
		chosen = ^chosen
	}
	spreadLanes(w, in, mask, bad, func(lane int) uint64 {
		ua, ub := w.undefinedBits(a, lane), w.undefinedBits(b, lane)
		switch {
		case choice>>lane&1 == 0:
			return ua | ub | (w.lane(in.a, in.dbytes, lane) ^ w.lane(in.b, in.dbytes, lane))
		case chosen>>lane&1 != 0:
			return ua
		}
		return ub
	})
}

// spreadConversion is for cvt.
func spreadConversion(w *warp, in *instr, mask, bad uint32) {
	op := in.cvt
	whole := op.from.class <= classBits && op.to.class <= classBits && op.fromF == nil && op.toF == nil
	if whole && !op.sat && op.from.lanes == 1 && op.to.lanes == 1 {
		spreadMoves(0)(w, in, mask, bad)
		return
	}
	e := w.block.launch.entry
	a, b := e.regOf(in.a), e.regOf(in.b)
	spreadLanes(w, in, mask, bad, func(lane int) uint64 {
		u := w.undefinedBits(a, lane)
		switch {
		case op.to.lanes == 2 && op.from == f32: // a is the upper half
			return halves(bits64(u != 0)<<1|bits64(w.undefinedBits(b, lane) != 0), 1, uint(op.to.bits/2))
		case op.to.lanes == 2:
			return halves(u, uint(op.srcBytes)*4, uint(op.to.bits/2))
		case u&widthBits(uint8(op.from.bytes())) != 0:
			return ^uint64(0)
		}
		return 0
	})
}

func bits64(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// spreadComparison is for setp. eq and ne are decided if defined bits differ; combining with a defined
// predicate may decide the result too.
func spreadComparison(w *warp, in *instr, mask, bad uint32) {
	e := w.block.launch.entry
	a, b := e.regOf(in.a), e.regOf(in.b)
	unsure := uint32(0)
	for g := bad; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		ua, ub := w.undefinedBits(a, lane), w.undefinedBits(b, lane)
		if ua|ub == 0 {
			continue
		}
		if in.equality != 0 && (w.lane(in.a, in.equality, lane)^w.lane(in.b, in.equality, lane))&^(ua|ub)&widthBits(in.equality) != 0 {
			continue
		}
		unsure |= 1 << lane
	}
	var p uint32
	if in.kind == kindSetp {
		p = in.cmp(w, in)
	} else { // packed halves are not analyzed
		unsure, p = bad, 0
	}
	c, unsureC := uint32(0), uint32(0)
	if in.boolOp != boolNone {
		if c = w.preds[in.c]; in.notC {
			c = ^c
		}
		if id := e.predOf(in.c); id >= 0 {
			unsureC = ^w.init[id]
		}
	}
	set := func(index uint32, p uint32) {
		if id := e.predOf(index); id >= 0 {
			u := logicUndefined(in.boolOp, p, unsure, c, unsureC) & bad
			if in.boolOp == boolNone {
				u = unsure
			}
			w.init[id] = w.init[id]&^mask | mask&^u
			w.undef.part[id] &^= mask
		}
	}
	set(in.d, p)
	set(uint32(in.d2), ^p) // -1 is noPred
}

// logicUndefined returns the lanes in which p combined with c is undefined, given the undefined lanes of
// both.
func logicUndefined(op uint8, p, up, c, uc uint32) uint32 {
	u := up | uc
	switch op {
	case boolAnd: // either being false decides
		u &^= ^up&^p | ^uc&^c
	case boolOr:
		u &^= ^up&p | ^uc&c
	}
	return u
}

// spreadPredicates is for logic on predicates.
func spreadPredicates(op uint8) spreadFunc {
	return func(w *warp, in *instr, mask, bad uint32) {
		e := w.block.launch.entry
		side := func(index uint32, not bool) (v, u uint32) {
			if v = w.preds[index]; not {
				v = ^v
			}
			if id := e.predOf(index); id >= 0 {
				u = ^w.init[id]
			}
			return v, u
		}
		a, ua := side(in.a, in.imm&1 != 0)
		b, ub := uint32(0), uint32(0)
		if op != boolNone {
			b, ub = side(in.b, in.imm&2 != 0)
		}
		if id := e.predOf(in.d); id >= 0 {
			u := logicUndefined(op, a, ua, b, ub) & bad
			w.init[id] = w.init[id]&^mask | mask&^u
			w.undef.part[id] &^= mask
		}
	}
}

// spreadShuffle is for shfl.sync: the bits of the source lane.
func spreadShuffle(w *warp, in *instr, mask, bad uint32) {
	e := w.block.launch.entry
	a := e.regOf(in.a)
	where := uint32(0) // lanes in which the source lane is undefined
	for _, off := range [2]uint32{in.b, in.c} {
		if id := e.regOf(off); id >= 0 {
			where |= mask &^ w.init[id]
		}
	}
	var u [warpSize]uint64
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		if where>>lane&1 != 0 {
			u[lane] = ^uint64(0)
			continue
		}
		from, _ := shuffled(in.imm, uint32(lane), row[uint32](w.regs, in.b)[lane], row[uint32](w.regs, in.c)[lane])
		u[lane] = w.undefinedBits(a, int(from))
	}
	d := e.regOf(in.d)
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		w.setUndefined(d, lane, u[lane])
	}
	if in.d2 >= 0 {
		if id := e.predOf(uint32(in.d2)); id >= 0 {
			w.init[id] = w.init[id]&^mask | mask&^where
		}
	}
}

// spreadVote is for vote.sync: a ballot has a bit for each lane; any, all and uni may be decided by the
// defined lanes.
func spreadVote(w *warp, in *instr, mask, bad uint32) {
	e := w.block.launch.entry
	p := w.preds[in.a]
	if in.notC {
		p = ^p
	}
	if in.imm == voteBallot {
		d := e.regOf(in.d)
		for g := mask; g != 0; g &= g - 1 {
			w.setUndefined(d, bits.TrailingZeros32(g)&31, uint64(bad))
		}
		return
	}
	sure := mask &^ bad
	if in.imm == voteAll && sure&^p != 0 || in.imm == voteAny && sure&p != 0 || in.imm == voteUni && sure&p != 0 && sure&^p != 0 {
		bad = 0
	} else {
		bad = mask
	}
	spreadAll(w, in, mask, bad)
}

// spreadRules are the rules by opcode, for instructions on rows; decoders set others. Without a rule, the
// whole result becomes undefined.
var spreadRules = map[string]spreadFunc{
	"mov": spreadMoves(0, 1, 2, 3), "brev": spreadMoves(0),
	"shl": spreadMoves(0), "shr": spreadMoves(0), "shf": spreadMoves(0, 1),
	"prmt": spreadMoves(0, 1), "bfe": spreadMoves(0), "bfi": spreadMoves(0, 1),
	"and": spreadLogic(0b11000000, 2), "or": spreadLogic(0b11111100, 2), "xor": spreadLogic(0b00111100, 2),
	"not": spreadLogic(0b00001111, 1), "lop3": spreadLogic(0, 3),
	"cvta": spreadUp, "selp": spreadChoice, "cvt": spreadConversion,
}
