package ptx

import (
	"fmt"
	"math/bits"
)

// Uses of undefined values that are reported: values that decide where a thread branches, which memory it
// accesses, which lanes or barrier an instruction names, what an atomic does; and what the host reads.

// follow reports uses of undefined registers, and records which registers an instruction defines. A guard is
// used by all active lanes, like a branch's.
func (w *warp) follow(in *instr, mask uint32) error {
	w.undefStored = 0 // a store outside of memory has left it
	if in.guard >= 0 {
		if bad := w.active &^ w.init[in.guardReg]; bad != 0 {
			if err := w.used(in, in.guardReg, bad, "whether it executes"); err != nil {
				return err
			}
		}
	}
	defined := allLanes
	for _, r := range in.uses {
		defined &= w.init[r]
	}
	if bad := mask &^ defined; bad != 0 {
		return w.followUndefined(in, mask, bad)
	}
	for _, r := range in.defs {
		w.init[r] |= mask
	}
	return nil
}

// followUndefined is follow when sources are undefined in the lanes of bad.
func (w *warp) followUndefined(in *instr, mask, bad uint32) error {
	for _, n := range w.block.launch.entry.flows[w.pc].needs {
		if lanes := mask &^ w.init[n.reg]; lanes != 0 {
			if err := w.used(in, n.reg, lanes, n.what); err != nil {
				return err
			}
		}
	}
	if bad &= w.undefinedOf(in); bad == 0 {
		for _, r := range in.defs {
			w.init[r] |= mask
		}
		return nil
	}
	stores := in.mem != nil || in.rows != nil && in.rows.mem.kind == accessStore
	if !stores {
		w.spread(in, mask, bad)
		return nil
	}
	// A store whose address is defined.
	if c := w.block.launch.checks; c == nil || !c.on.Uninit { // memory is not tracked
		for _, r := range in.uses {
			if lanes := mask &^ w.init[r]; lanes != 0 {
				if err := w.used(in, r, lanes, "what is stored"); err != nil {
					return err
				}
			}
		}
		return nil
	}
	w.startUndefined()
	if w.undefStored = bad; in.rows != nil { // the lanes of the addresses
		w.undefStored = in.rows.rows()
	}
	return nil
}

// undefinedOf returns the lanes in which a source of an instruction is undefined.
func (w *warp) undefinedOf(in *instr) uint32 {
	defined := allLanes
	for _, r := range in.uses {
		defined &= w.init[r]
	}
	return ^defined
}

// used reports the use of a register in lanes in which it is undefined. If the launch continues, the register
// then counts as defined.
func (w *warp) used(in *instr, reg, lanes uint32, what string) error {
	l, lane := w.block.launch, bits.TrailingZeros32(lanes)
	c := w.causeOf(reg, lane)
	known := c.in == nil && l.again(UninitRegister, in, nil) || c.in != nil && l.again(Uninitialized, in, c.in)
	if !known {
		if err := l.found(c.report(w.report(Uninitialized, in, 1<<lane), l, what)); err != nil {
			return err
		}
	}
	w.init[reg] |= lanes
	return nil
}

// report completes a report about the use of a value.
func (c *cause) report(r *Report, l *launch, what string) *Report {
	e := l.entry
	if c.in == nil {
		r.Kind = UninitRegister
		r.Detail = fmt.Sprintf("%s depends on %s, which has not been written", what, e.regNames[c.reg])
		return r
	}
	r.Space, r.Size, r.Offset, r.Extent = c.space.String(), int(c.size), c.off, c.extent
	r.Address = uint64(c.off)
	if c.alloc != nil {
		r.Allocation, r.Address = c.alloc.name, c.alloc.base+uint64(c.off)
	}
	other := e.accessOf(c.in, c.block, l.thread(0, c.thread))
	r.Other = &other
	if c.stored != nil {
		r.Detail = fmt.Sprintf("%s depends on %s, and %s", what, r.bytesOf(), c.stored.says(c.at))
		return r
	}
	r.Detail = fmt.Sprintf("%s depends on %s, and nothing has written byte %d", what, r.bytesOf(), c.at)
	if c.space == spaceShared {
		r.Detail += " in this block so far"
	}
	return r
}

// stain is a store of an undefined value.
type stain struct {
	off    int64 // offset in its memory
	size   uint32
	report *Report // as if the store were a reported use
}

// maxStains is the number of stores of undefined values recorded for an allocation.
const maxStains = 64

// says describes which store made a byte undefined.
func (s *stain) says(at int64) string {
	return fmt.Sprintf("byte %d is not defined since %s at %s: %s", at, s.report.Op, s.report.place(), s.report.Detail)
}

// stainOf returns the last store that made a byte undefined, if recorded.
func (s *allocShadow) stainOf(at int64) *stain {
	for i := len(s.stains) - 1; i >= 0; i-- {
		if t := &s.stains[i]; at >= t.off && at < t.off+int64(t.size) {
			return t
		}
	}
	return nil
}
