package ptx

import (
	"math/bits"
	"unsafe"
)

// Loads and stores that move all elements of a vector, or all lanes, at once.

// A fillFunc loads one element at p into the lanes of mask; lanes that are not live may also get it.
type fillFunc func(d, p unsafe.Pointer, mask, live uint32)

// A vectorFunc moves all elements of a vector of each lane.
type vectorFunc func(w *warp, m *memOp, t *target)

// A blockFunc moves the elements of all 32 lanes, which are contiguous from p.
type blockFunc func(w *warp, m *memOp, p unsafe.Pointer)

func fillRow[R, E ~int8 | ~uint8 | integer](d, p unsafe.Pointer, mask, live uint32) {
	v := R(*(*E)(p))
	to := (*[warpSize]R)(d)
	if mask == live {
		fillAll(to, v)
		return
	}
	for ; mask != 0; mask &= mask - 1 {
		to[bits.TrailingZeros32(mask)&31] = v
	}
}

func fillAll[R any](to *[warpSize]R, v R) {
	for i := range to {
		to[i] = v
	}
}

// fillWords is fillRow for elements of 4 bytes.
func fillWords(d, p unsafe.Pointer, mask, live uint32) {
	if vectors && mask == live {
		fillRow32(d, *(*uint32)(p))
		return
	}
	fillRow[uint32, uint32](d, p, mask, live)
}

var fills = map[loadKey]fillFunc{
	{1, 1, false}: fillRow[uint8, uint8], {2, 1, false}: fillRow[uint16, uint8],
	{4, 1, false}: fillRow[uint32, uint8], {8, 1, false}: fillRow[uint64, uint8],
	{2, 2, false}: fillRow[uint16, uint16], {4, 2, false}: fillRow[uint32, uint16], {8, 2, false}: fillRow[uint64, uint16],
	{4, 4, false}: fillWords, {8, 4, false}: fillRow[uint64, uint32], {8, 8, false}: fillRow[uint64, uint64],
	{1, 1, true}: fillRow[int8, int8], {2, 1, true}: fillRow[int16, int8], {4, 1, true}: fillRow[int32, int8], {8, 1, true}: fillRow[int64, int8],
	{2, 2, true}: fillRow[int16, int16], {4, 2, true}: fillRow[int32, int16], {8, 2, true}: fillRow[int64, int16],
	{4, 4, true}: fillWords, {8, 4, true}: fillRow[int64, int32], {8, 8, true}: fillRow[int64, int64],
}

// vectorKey is a vector of n elements of elem bytes.
type vectorKey struct{ n, elem uint8 }

// chooseWide selects the functions that move all elements or lanes at once, if registers are as wide as the
// elements and none is a sink.
func (m *memOp) chooseWide(vectors map[vectorKey]vectorFunc, blocks map[vectorKey]blockFunc) {
	for k := range m.n {
		if m.regs[k].sink || m.regs[k].bytes != m.elem {
			return
		}
	}
	key := vectorKey{m.n, m.elem}
	m.vector, m.block = vectors[key], blocks[key]
}

func gather2[E unsignedInt](w *warp, m *memOp, t *target) {
	x, y := row[E](w.regs, m.regs[0].off), row[E](w.regs, m.regs[1].off)
	if t.mask == allLanes {
		for i := range x {
			p := (*[2]E)(unsafe.Add(t.mem, t.addr[i]-t.base))
			x[i], y[i] = p[0], p[1]
		}
		return
	}
	for mask := t.mask; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		p := (*[2]E)(unsafe.Add(t.mem, t.addr[i]-t.base))
		x[i], y[i] = p[0], p[1]
	}
}

func gather4[E unsignedInt](w *warp, m *memOp, t *target) {
	x, y := row[E](w.regs, m.regs[0].off), row[E](w.regs, m.regs[1].off)
	z, v := row[E](w.regs, m.regs[2].off), row[E](w.regs, m.regs[3].off)
	if t.mask == allLanes {
		for i := range x {
			p := (*[4]E)(unsafe.Add(t.mem, t.addr[i]-t.base))
			x[i], y[i], z[i], v[i] = p[0], p[1], p[2], p[3]
		}
		return
	}
	for mask := t.mask; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		p := (*[4]E)(unsafe.Add(t.mem, t.addr[i]-t.base))
		x[i], y[i], z[i], v[i] = p[0], p[1], p[2], p[3]
	}
}

func scatter2[E unsignedInt](w *warp, m *memOp, t *target) {
	x, y := row[E](w.regs, m.regs[0].off), row[E](w.regs, m.regs[1].off)
	for mask := t.mask; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		*(*[2]E)(unsafe.Add(t.mem, t.addr[i]-t.base)) = [2]E{x[i], y[i]}
	}
}

func scatter4[E unsignedInt](w *warp, m *memOp, t *target) {
	x, y := row[E](w.regs, m.regs[0].off), row[E](w.regs, m.regs[1].off)
	z, v := row[E](w.regs, m.regs[2].off), row[E](w.regs, m.regs[3].off)
	for mask := t.mask; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		*(*[4]E)(unsafe.Add(t.mem, t.addr[i]-t.base)) = [4]E{x[i], y[i], z[i], v[i]}
	}
}

func loadBlock[E ~uint8 | unsignedInt](w *warp, m *memOp, p unsafe.Pointer) {
	*row[E](w.regs, m.regs[0].off) = *(*[warpSize]E)(p)
}

func storeBlock[E ~uint8 | unsignedInt](w *warp, m *memOp, p unsafe.Pointer) {
	*(*[warpSize]E)(p) = *row[E](w.regs, m.regs[0].off)
}

var (
	loadVectors = map[vectorKey]vectorFunc{
		{2, 2}: gather2[uint16], {2, 4}: gather2[uint32], {2, 8}: gather2[uint64],
		{4, 2}: gather4[uint16], {4, 4}: gather4[uint32],
	}
	storeVectors = map[vectorKey]vectorFunc{
		{2, 2}: scatter2[uint16], {2, 4}: scatter2[uint32], {2, 8}: scatter2[uint64],
		{4, 2}: scatter4[uint16], {4, 4}: scatter4[uint32],
	}
	loadBlocks = map[vectorKey]blockFunc{
		{1, 1}: loadBlock[uint8], {1, 2}: loadBlock[uint16], {1, 4}: loadBlock[uint32], {1, 8}: loadBlock[uint64],
	}
	storeBlocks = map[vectorKey]blockFunc{
		{1, 1}: storeBlock[uint8], {1, 2}: storeBlock[uint16], {1, 4}: storeBlock[uint32], {1, 8}: storeBlock[uint64],
	}
)
