package ptx

import (
	"math"
	"math/bits"
	"unsafe"
)

// An atomFunc computes the new value from the old one.
type atomFunc func(old, b, c uint64) uint64

// atom executes atom and red. Lanes take effect in ascending order, or, in a shuffled launch, in a random
// order for each instruction.
func atom(w *warp, in *instr, t *target) {
	if rng := w.block.launch.rng; rng != nil && t.mask&(t.mask-1) != 0 {
		all := t.mask
		var lanes [warpSize]uint8
		n := 0
		for g := all; g != 0; g &= g - 1 {
			lanes[n] = uint8(bits.TrailingZeros32(g))
			n++
		}
		rng.Shuffle(n, func(i, j int) { lanes[i], lanes[j] = lanes[j], lanes[i] })
		for _, lane := range lanes[:n] {
			t.mask = 1 << lane
			atomAscending(w, in, t)
		}
		t.mask = all
		return
	}
	atomAscending(w, in, t)
}

// atomGlobal executes an atomic at generic addresses, which have to be in global memory.
func atomGlobal(w *warp, in *instr, mask uint32) error {
	for i, at := range w.addresses(in.mem) {
		if s := spaceOfAddress(at + in.imm); mask>>i&1 != 0 && s != spaceGlobal {
			return w.errorf(in, 1<<i, "a vector atomic in %v memory: it has to be in global memory", s)
		}
	}
	return accessStrong(w, in, mask)
}

func atomAscending(w *warp, in *instr, t *target) {
	m := in.mem
	op := m.atomic
	if m.flush && t.space == spaceGlobal {
		op = addFlushed
	} else if m.quick != nil {
		m.quick(w, in, t)
		return
	}
	for g := t.mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		p := unsafe.Add(t.mem, t.addr[lane]-t.base)
		b := w.lane(in.b, m.elem, lane)
		c := uint64(0)
		if m.hasC {
			c = w.lane(in.c, m.elem, lane)
		}
		var old uint64
		switch m.elem {
		case 2:
			q := (*uint16)(p)
			old = uint64(*q)
			*q = uint16(op(old, b, c))
		case 4:
			q := (*uint32)(p)
			old = uint64(*q)
			*q = uint32(op(old, b, c))
		case 8:
			q := (*uint64)(p)
			old = *q
			*q = op(old, b, c)
		}
		if !m.regs[0].sink {
			w.setLane(m.regs[0].off, m.elem, lane, old)
		}
	}
}

// quickAtomics are operations of 32 bits and two operands with a loop of their own.
var quickAtomics = map[atomKey]accessFunc{
	{"add", u32}: atomAdd, {"add", s32}: atomAdd,
	{"min", u32}: atomWords(func(a, b uint32) uint32 { return min(a, b) }),
	{"max", u32}: atomWords(func(a, b uint32) uint32 { return max(a, b) }),
	{"min", s32}: atomWords(func(a, b uint32) uint32 { return uint32(min(int32(a), int32(b))) }),
	{"max", s32}: atomWords(func(a, b uint32) uint32 { return uint32(max(int32(a), int32(b))) }),
	{"and", b32}: atomWords(func(a, b uint32) uint32 { return a & b }),
	{"or", b32}:  atomWords(func(a, b uint32) uint32 { return a | b }),
	{"xor", b32}: atomWords(func(a, b uint32) uint32 { return a ^ b }),
	{"add", f32}: atomWords(func(a, b uint32) uint32 {
		return math.Float32bits(canonical(math.Float32frombits(a) + math.Float32frombits(b)))
	}),
}

func atomAdd(w *warp, in *instr, t *target) {
	b, d := row[uint32](w.regs, in.b), (*[warpSize]uint32)(w.scratchRow())
	if r := &in.mem.regs[0]; !r.sink {
		d = row[uint32](w.regs, r.off)
	}
	for g := t.mask; g != 0; g &= g - 1 {
		i := bits.TrailingZeros32(g) & 31
		p := (*uint32)(unsafe.Add(t.mem, t.addr[i]-t.base))
		old, v := *p, b[i] // b may be d
		*p, d[i] = old+v, old
	}
}

func atomWords(op func(old, b uint32) uint32) accessFunc {
	return func(w *warp, in *instr, t *target) {
		b, d := row[uint32](w.regs, in.b), (*[warpSize]uint32)(w.scratchRow())
		if r := &in.mem.regs[0]; !r.sink {
			d = row[uint32](w.regs, r.off)
		}
		for g := t.mask; g != 0; g &= g - 1 {
			i := bits.TrailingZeros32(g) & 31
			p := (*uint32)(unsafe.Add(t.mem, t.addr[i]-t.base))
			old := *p
			*p = op(old, b[i])
			d[i] = old
		}
	}
}

type atomKey struct {
	op  string
	typ typ
}

// atomics are the operations of atom and red (PTX ISA §9.7.13).
var atomics = map[atomKey]atomFunc{
	{"and", b32}: func(old, b, _ uint64) uint64 { return old & b },
	{"and", b64}: func(old, b, _ uint64) uint64 { return old & b },
	{"or", b32}:  func(old, b, _ uint64) uint64 { return old | b },
	{"or", b64}:  func(old, b, _ uint64) uint64 { return old | b },
	{"xor", b32}: func(old, b, _ uint64) uint64 { return old ^ b },
	{"xor", b64}: func(old, b, _ uint64) uint64 { return old ^ b },

	{"exch", b32}: func(_, b, _ uint64) uint64 { return b },
	{"exch", b64}: func(_, b, _ uint64) uint64 { return b },
	{"cas", b16}:  compareAndSwap,
	{"cas", b32}:  compareAndSwap,
	{"cas", b64}:  compareAndSwap,

	{"add", u32}: func(old, b, _ uint64) uint64 { return old + b },
	{"add", s32}: func(old, b, _ uint64) uint64 { return old + b },
	{"add", u64}: func(old, b, _ uint64) uint64 { return old + b },
	{"add", s64}: func(old, b, _ uint64) uint64 { return old + b },
	{"add", f32}: func(old, b, _ uint64) uint64 {
		sum := math.Float32frombits(uint32(old)) + math.Float32frombits(uint32(b))
		return uint64(math.Float32bits(canonical(sum)))
	},
	{"add", f64}: func(old, b, _ uint64) uint64 {
		return math.Float64bits(canonical(math.Float64frombits(old) + math.Float64frombits(b)))
	},
	{"add", f16}:    func(old, b, _ uint64) uint64 { return softHalf(fmtF16, softAdd, old, b, 0) },
	{"add", bf16}:   func(old, b, _ uint64) uint64 { return softHalf(fmtBF16, softAdd, old, b, 0) },
	{"add", f16x2}:  func(old, b, _ uint64) uint64 { return addHalves(fmtF16, old, b) },
	{"add", bf16x2}: func(old, b, _ uint64) uint64 { return addHalves(fmtBF16, old, b) },

	// A NaN is smaller and larger than no number, as for min and max.
	{"min", f16}:    func(old, b, _ uint64) uint64 { return uint64(halfMinMax(fmtF16, 0, uint16(old), uint16(b))) },
	{"max", f16}:    func(old, b, _ uint64) uint64 { return uint64(halfMinMax(fmtF16, minMaxMax, uint16(old), uint16(b))) },
	{"min", bf16}:   func(old, b, _ uint64) uint64 { return uint64(halfMinMax(fmtBF16, 0, uint16(old), uint16(b))) },
	{"max", bf16}:   func(old, b, _ uint64) uint64 { return uint64(halfMinMax(fmtBF16, minMaxMax, uint16(old), uint16(b))) },
	{"min", f16x2}:  func(old, b, _ uint64) uint64 { return minMaxHalves(fmtF16, 0, old, b) },
	{"max", f16x2}:  func(old, b, _ uint64) uint64 { return minMaxHalves(fmtF16, minMaxMax, old, b) },
	{"min", bf16x2}: func(old, b, _ uint64) uint64 { return minMaxHalves(fmtBF16, 0, old, b) },
	{"max", bf16x2}: func(old, b, _ uint64) uint64 { return minMaxHalves(fmtBF16, minMaxMax, old, b) },

	{"inc", u32}: func(old, b, _ uint64) uint64 {
		if old >= b {
			return 0
		}
		return old + 1
	},
	{"dec", u32}: func(old, b, _ uint64) uint64 {
		if old == 0 || old > b {
			return b
		}
		return old - 1
	},

	{"min", u32}: func(old, b, _ uint64) uint64 { return min(old, b) },
	{"min", u64}: func(old, b, _ uint64) uint64 { return min(old, b) },
	{"max", u32}: func(old, b, _ uint64) uint64 { return max(old, b) },
	{"max", u64}: func(old, b, _ uint64) uint64 { return max(old, b) },
	{"min", s32}: func(old, b, _ uint64) uint64 { return uint64(min(int32(old), int32(b))) },
	{"min", s64}: func(old, b, _ uint64) uint64 { return uint64(min(int64(old), int64(b))) },
	{"max", s32}: func(old, b, _ uint64) uint64 { return uint64(max(int32(old), int32(b))) },
	{"max", s64}: func(old, b, _ uint64) uint64 { return uint64(max(int64(old), int64(b))) },
}

func compareAndSwap(old, b, c uint64) uint64 {
	if old == b {
		return c
	}
	return old
}

func addHalves(f *format, a, b uint64) uint64 {
	return softHalf(f, softAdd, a>>16&0xffff, b>>16&0xffff, 0)<<16 | softHalf(f, softAdd, a&0xffff, b&0xffff, 0)
}

func minMaxHalves(f *format, flags, a, b uint64) uint64 {
	return uint64(halfMinMax(f, flags, uint16(a>>16), uint16(b>>16)))<<16 | uint64(halfMinMax(f, flags, uint16(a), uint16(b)))
}

// addFlushed is add.f32 on global memory, which flushes subnormal operands and results to zero (PTX ISA
// §9.7.13.4, atom).
func addFlushed(old, b, _ uint64) uint64 {
	f := fmtF32
	sum := math.Float32frombits(uint32(f.flush(old))) + math.Float32frombits(uint32(f.flush(b)))
	return f.flush(uint64(math.Float32bits(canonical(sum))))
}
