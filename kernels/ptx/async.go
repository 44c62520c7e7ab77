package ptx

import (
	"math/bits"
	"unsafe"
)

// cp.async.

// asyncCopy executes cp.async at once: it reads n of size bytes from global memory
// and writes them, with zeros after, to shared memory.
func asyncCopy(w *warp, in *instr, mask uint32) error {
	c := in.copy
	w.copied = [warpSize][16]byte{}
	whole, short := mask, uint32(0)
	if c.hasAmount {
		for i, n := range row[uint32](w.regs, c.amount) {
			if n < c.from.size { // a lane that copies nothing needs no valid address
				whole &^= 1 << i
				short |= bit(n > 0) << i
			}
		}
	}
	if whole != 0 {
		if err := w.resolve(in, &c.from, c.fromImm, whole); err != nil {
			return err
		}
	}
	if short &= mask; short != 0 {
		if err := asyncShort(w, in, short); err != nil {
			return err
		}
	}
	return w.resolve(in, &c.to, c.toImm, mask)
}

// asyncShort reads the lanes that copy fewer bytes than they write, byte by byte:
// what lies after them is not read.
func asyncShort(w *warp, in *instr, mask uint32) error {
	c := in.copy
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		if at := w.addresses(&c.from)[lane] + c.fromImm; at&uint64(c.from.size-1) != 0 {
			r := w.report(Misaligned, in, 1<<lane)
			r.Space, r.Address, r.Size = spaceGlobal.String(), at, int(c.from.size)
			r.Detail = misaligned(c.from.size)
			return r
		}
	}
	one := c.from
	one.size = 1
	for k := range c.from.size {
		for i, n := range row[uint32](w.regs, c.amount) {
			if n <= k {
				mask &^= 1 << i
			}
		}
		if mask == 0 {
			break
		}
		one.do = func(w *warp, _ *instr, t *target) {
			for g := t.mask; g != 0; g &= g - 1 {
				lane := bits.TrailingZeros32(g) & 31
				w.copied[lane][k&15] = *(*byte)(unsafe.Add(t.mem, t.addr[lane]-t.base))
			}
		}
		if err := w.resolve(in, &one, c.fromImm+uint64(k), mask); err != nil {
			return err
		}
	}
	return nil
}

func asyncRead(w *warp, in *instr, t *target) {
	n := in.copy.from.size
	for g := t.mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		copy(w.copied[lane][:], unsafe.Slice((*byte)(unsafe.Add(t.mem, t.addr[lane]-t.base)), n))
	}
}

func asyncWrite(w *warp, in *instr, t *target) {
	n := in.copy.to.size
	for g := t.mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		copy(unsafe.Slice((*byte)(unsafe.Add(t.mem, t.addr[lane]-t.base)), n), w.copied[lane][:])
	}
}

// copyOp is cp.async.
type copyOp struct {
	from, to       memOp
	fromImm, toImm uint64
	hasAmount      bool
	amount         uint32
}
