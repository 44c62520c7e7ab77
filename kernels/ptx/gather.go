package ptx

import (
	"math/bits"
	"unsafe"
)

// Loads and stores of elements.

// A loadFunc reads an element of each lane of mask from p + addr[lane] - base.
type loadFunc func(d unsafe.Pointer, p unsafe.Pointer, addr *[warpSize]uint64, base uint64, mask uint32)

// A storeFunc writes an element of each lane.
type storeFunc func(s unsafe.Pointer, p unsafe.Pointer, addr *[warpSize]uint64, base uint64, mask uint32)

// gather is a loadFunc: it loads elements E into a row of R, extended with E's sign or zeros.
func gather[R, E ~int8 | ~uint8 | integer](d, p unsafe.Pointer, addr *[warpSize]uint64, base uint64, mask uint32) {
	to := (*[warpSize]R)(d)
	if mask == allLanes {
		for i := range to {
			to[i] = R(*(*E)(unsafe.Add(p, addr[i]-base)))
		}
		return
	}
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		to[i] = R(*(*E)(unsafe.Add(p, addr[i]-base)))
	}
}

// scatter is a storeFunc. If several lanes write to one address, the last one's value stays; PTX leaves open
// which does.
func scatter[R, E ~uint8 | unsignedInt](s, p unsafe.Pointer, addr *[warpSize]uint64, base uint64, mask uint32) {
	from := (*[warpSize]R)(s)
	if mask == allLanes {
		for i := range from {
			*(*E)(unsafe.Add(p, addr[i]-base)) = E(from[i])
		}
		return
	}
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		*(*E)(unsafe.Add(p, addr[i]-base)) = E(from[i])
	}
}

type loadKey struct {
	reg, elem uint8 // bytes
	signed    bool
}

var loads = map[loadKey]loadFunc{
	{1, 1, false}: gather[uint8, uint8], {2, 1, false}: gather[uint16, uint8],
	{4, 1, false}: gather[uint32, uint8], {8, 1, false}: gather[uint64, uint8],
	{2, 2, false}: gather[uint16, uint16], {4, 2, false}: gather[uint32, uint16], {8, 2, false}: gather[uint64, uint16],
	{4, 4, false}: gather[uint32, uint32], {8, 4, false}: gather[uint64, uint32], {8, 8, false}: gather[uint64, uint64],
	{1, 1, true}: gather[int8, int8], {2, 1, true}: gather[int16, int8], {4, 1, true}: gather[int32, int8], {8, 1, true}: gather[int64, int8],
	{2, 2, true}: gather[int16, int16], {4, 2, true}: gather[int32, int16], {8, 2, true}: gather[int64, int16],
	{4, 4, true}: gather[int32, int32], {8, 4, true}: gather[int64, int32], {8, 8, true}: gather[int64, int64],
}

var stores = map[loadKey]storeFunc{
	{1, 1, false}: scatter[uint8, uint8], {2, 1, false}: scatter[uint16, uint8],
	{4, 1, false}: scatter[uint32, uint8], {8, 1, false}: scatter[uint64, uint8],
	{2, 2, false}: scatter[uint16, uint16], {4, 2, false}: scatter[uint32, uint16], {8, 2, false}: scatter[uint64, uint16],
	{4, 4, false}: scatter[uint32, uint32], {8, 4, false}: scatter[uint64, uint32], {8, 8, false}: scatter[uint64, uint64],
}

// load is ld.
func load(w *warp, in *instr, t *target) {
	m := in.mem
	switch {
	case t.same:
		for k := range m.n {
			if r := &m.regs[k]; !r.sink {
				m.fills[k](unsafe.Add(w.regs, r.off), w.at(t, k, m), t.mask, w.live)
			}
		}
		return
	case t.contiguous && t.mask == allLanes && m.block != nil:
		m.block(w, m, unsafe.Add(t.mem, t.addr[0]-t.base))
		return
	case m.vector != nil:
		m.vector(w, m, t)
		return
	}
	for k := range m.n {
		if r := &m.regs[k]; !r.sink {
			m.loads[k](unsafe.Add(w.regs, r.off), unsafe.Add(t.mem, int(k)*int(m.elem)), t.addr, t.base, t.mask)
		}
	}
}

// at returns the address of element k of the first lane.
func (w *warp) at(t *target, k uint8, m *memOp) unsafe.Pointer {
	lane := bits.TrailingZeros32(t.mask) & 31
	return unsafe.Add(t.mem, t.addr[lane]-t.base+uint64(k)*uint64(m.elem))
}

// store is st.
func store(w *warp, in *instr, t *target) {
	m := in.mem
	switch {
	case t.contiguous && t.mask == allLanes && m.block != nil:
		m.block(w, m, unsafe.Add(t.mem, t.addr[0]-t.base))
		return
	case m.vector != nil:
		m.vector(w, m, t)
		return
	}
	for k := range m.n {
		r := &m.regs[k]
		m.stores[k](unsafe.Add(w.regs, r.off), unsafe.Add(t.mem, int(k)*int(m.elem)), t.addr, t.base, t.mask)
	}
}

// loadParam reads a kernel's parameter at a fixed offset: one value for all lanes.
func loadParam[R, E ~int8 | ~uint8 | integer](p unsafe.Pointer, w *warp, in *instr) {
	v := R(*(*E)(unsafe.Pointer(&w.block.launch.params[in.imm])))
	d := (*[warpSize]R)(p)
	for i := range d {
		d[i] = v
	}
}

var paramLoads = map[loadKey]aluFunc{
	{1, 1, false}: loadParam[uint8, uint8], {2, 1, false}: loadParam[uint16, uint8],
	{4, 1, false}: loadParam[uint32, uint8], {8, 1, false}: loadParam[uint64, uint8],
	{2, 2, false}: loadParam[uint16, uint16], {4, 2, false}: loadParam[uint32, uint16], {8, 2, false}: loadParam[uint64, uint16],
	{4, 4, false}: loadParam[uint32, uint32], {8, 4, false}: loadParam[uint64, uint32], {8, 8, false}: loadParam[uint64, uint64],
	{1, 1, true}: loadParam[int8, int8], {2, 1, true}: loadParam[int16, int8], {4, 1, true}: loadParam[int32, int8], {8, 1, true}: loadParam[int64, int8],
	{2, 2, true}: loadParam[int16, int16], {4, 2, true}: loadParam[int32, int16], {8, 2, true}: loadParam[int64, int16],
	{4, 4, true}: loadParam[int32, int32], {8, 4, true}: loadParam[int64, int32], {8, 8, true}: loadParam[int64, int64],
}
