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
	reading := mask
	if c.hasAmount {
		for i, n := range row[uint32](w.regs, c.amount) {
			if n == 0 { // a lane that copies nothing needs no valid address
				reading &^= 1 << i
			}
		}
	}
	if reading != 0 {
		if err := w.resolve(in, &c.from, c.fromImm, reading); err != nil {
			return err
		}
	}
	return w.resolve(in, &c.to, c.toImm, mask)
}

func asyncRead(w *warp, in *instr, t *target) {
	c := in.copy
	for g := t.mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		n := c.from.size
		if c.hasAmount {
			n = min(n, row[uint32](w.regs, c.amount)[lane])
		}
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
