package ptx

import (
	"math/bits"
	"unsafe"
)

// Loads, stores and atomics. A warp's access is resolved to the memory that its
// lanes lie in, nearly always one piece, and then done for all of them.

// A loadFunc reads an element of each lane of mask from p + addr[lane] - base.
type loadFunc func(d unsafe.Pointer, p unsafe.Pointer, addr *[warpSize]uint64, base uint64, mask uint32)

// A storeFunc writes an element of each lane.
type storeFunc func(s unsafe.Pointer, p unsafe.Pointer, addr *[warpSize]uint64, base uint64, mask uint32)

// gather is a loadFunc: elements E into a row of R, with E's sign or zeros above.
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

// scatter is a storeFunc. Of lanes that write to one address the last one's value
// stays, where PTX leaves open which does.
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

// target is memory in which lanes lie: an address a is at mem + a - base.
type target struct {
	mem   unsafe.Pointer
	base  uint64
	addr  *[warpSize]uint64
	mask  uint32
	space space
}

// addresses returns each lane's address.
func (w *warp) addresses(in *instr) *[warpSize]uint64 {
	m := in.mem
	if !m.addr32 {
		from := row[uint64](w.regs, m.addr)
		if in.imm == 0 {
			return from
		}
		for i := range w.addr {
			w.addr[i] = from[i] + in.imm
		}
		return &w.addr
	}
	from := row[uint32](w.regs, m.addr)
	for i := range w.addr {
		w.addr[i] = uint64(from[i] + uint32(in.imm))
	}
	return &w.addr
}

// resolve calls do for the memory of the lanes of mask: once where all lie in one
// piece, else once for each. Each lane is within it and aligned.
func (w *warp) resolve(in *instr, mask uint32, do func(t *target) error) error {
	m := in.mem
	addr := w.addresses(in)
	sp := m.space
	l := w.block.launch
	if sp == spaceGlobal {
		first := addr[bits.TrailingZeros32(mask)&31]
		if a := l.device.mem.find(first); a != nil && a.size >= uint64(m.size) {
			if within(addr, a.base, a.size-uint64(m.size), uint64(m.size-1), mask) {
				w.target = target{pointer(a.mem), a.base, addr, mask, spaceGlobal}
				if l.checks != nil {
					if err := w.check(in, spaceGlobal, addr, mask, a); err != nil {
						return err
					}
				}
				return do(&w.target)
			}
		}
	}
	return w.resolveSlowly(in, sp, addr, mask, do)
}

// within reports whether all lanes of mask are at most span past base and aligned.
func within(addr *[warpSize]uint64, base, span, align uint64, mask uint32) bool {
	bad := uint64(0)
	if mask == allLanes {
		for i := range addr {
			off := addr[i] - base
			bad |= off & align
			if off > span {
				return false
			}
		}
		return bad == 0
	}
	for ; mask != 0; mask &= mask - 1 {
		off := addr[bits.TrailingZeros32(mask)&31] - base
		if off > span || off&align != 0 {
			return false
		}
	}
	return true
}

// window is a space of which each lane or block has its own.
func (w *warp) window(sp space) (mem []byte, base uint64) {
	l := w.block.launch
	switch sp {
	case spaceShared:
		return w.block.shared, sharedBase
	case spaceParam:
		return l.params, paramBase
	case spaceConst:
		return l.loaded.constants, constBase
	}
	return nil, 0
}

func spaceOfAddress(a uint64) space {
	switch {
	case a-sharedBase < sharedSize:
		return spaceShared
	case a-localBase < localSize:
		return spaceLocal
	case a-constBase < constSize:
		return spaceConst
	case a-paramBase < paramSize:
		return spaceParam
	}
	return spaceGlobal
}

// resolveSlowly is resolve for lanes in any space or in several allocations.
func (w *warp) resolveSlowly(in *instr, sp space, addr *[warpSize]uint64, mask uint32, do func(t *target) error) error {
	m := in.mem
	generic := sp == spaceGeneric
	for rest := mask; rest != 0; {
		lane := bits.TrailingZeros32(rest) & 31
		at := sp
		group := rest
		if generic {
			at = spaceOfAddress(addr[lane])
			group = 0
			for g := rest; g != 0; g &= g - 1 {
				if i := bits.TrailingZeros32(g) & 31; spaceOfAddress(addr[i]) == at {
					group |= 1 << i
				}
			}
		}
		rest &^= group
		var err error
		switch at {
		case spaceGlobal:
			err = w.resolveGlobal(in, addr, group, do)
		case spaceLocal:
			err = w.resolveLocal(in, addr, group, generic, do)
		default:
			mem, base := w.window(at)
			t := &w.target
			*t = target{mem: pointer(mem), addr: addr, mask: group, space: at}
			if generic {
				t.addr = w.offsets(addr, base)
			}
			if uint64(len(mem)) < uint64(m.size) || !within(t.addr, 0, uint64(len(mem))-uint64(m.size), uint64(m.size-1), group) {
				return w.outside(in, at, t.addr, group, len(mem))
			}
			if m.kind != accessLoad && at != spaceShared {
				return w.errorf(in, group, "writes %v memory", at)
			}
			if w.block.launch.checks != nil && at == spaceShared {
				if err := w.check(in, at, t.addr, group, nil); err != nil {
					return err
				}
			}
			err = do(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// offsets subtracts a window's base from addresses.
func (w *warp) offsets(addr *[warpSize]uint64, base uint64) *[warpSize]uint64 {
	for i := range w.offset {
		w.offset[i] = addr[i] - base
	}
	return &w.offset
}

func (w *warp) resolveLocal(in *instr, addr *[warpSize]uint64, mask uint32, generic bool, do func(t *target) error) error {
	m := in.mem
	if generic {
		addr = w.offsets(addr, localBase)
	}
	size := uint64(w.block.launch.entry.local)
	if size < uint64(m.size) || !within(addr, 0, size-uint64(m.size), uint64(m.size-1), mask) {
		return w.outside(in, spaceLocal, addr, mask, int(size))
	}
	if w.block.launch.checks != nil && !m.call {
		if err := w.check(in, spaceLocal, addr, mask, nil); err != nil {
			return err
		}
	}
	for i := range w.offset {
		w.offset[i] = addr[i] + uint64(i)*size
	}
	w.target = target{mem: pointer(w.local), addr: &w.offset, mask: mask, space: spaceLocal}
	return do(&w.target)
}

// resolveGlobal groups lanes by allocation.
func (w *warp) resolveGlobal(in *instr, addr *[warpSize]uint64, mask uint32, do func(t *target) error) error {
	m := in.mem
	mem := &w.block.launch.device.mem
	// All lanes are looked at before the first access takes effect.
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g) & 31
		at := addr[lane]
		a := mem.find(at)
		if a != nil && a.size-(at-a.base) >= uint64(m.size) && at&uint64(m.size-1) == 0 {
			continue
		}
		r := w.report(OutOfBounds, in, 1<<lane)
		r.Space, r.Address, r.Size = spaceGlobal.String(), at, int(m.size)
		if a != nil && at&uint64(m.size-1) != 0 {
			r.Kind = Misaligned
			r.Allocation, r.Extent, r.Offset = a.name, int64(a.size), int64(at-a.base)
			r.Detail = misaligned(m.size)
			return r
		}
		mem.describe(r)
		return r
	}
	if w.block.launch.checks != nil {
		if err := w.check(in, spaceGlobal, addr, mask, nil); err != nil {
			return err
		}
	}
	for rest := mask; rest != 0; {
		a := mem.find(addr[bits.TrailingZeros32(rest)&31])
		var group uint32
		for g := rest; g != 0; g &= g - 1 {
			if i := bits.TrailingZeros32(g) & 31; addr[i]-a.base < a.size {
				group |= 1 << i
			}
		}
		rest &^= group
		w.target = target{pointer(a.mem), a.base, addr, group, spaceGlobal}
		if err := do(&w.target); err != nil {
			return err
		}
	}
	return nil
}

func misaligned(size uint32) string {
	return "the address is no multiple of " + [...]string{"1", "2", "4", "8", "16"}[bits.TrailingZeros32(size)] + " bytes"
}

// outside reports an access outside a window, or a misaligned one.
func (w *warp) outside(in *instr, sp space, addr *[warpSize]uint64, mask uint32, extent int) error {
	m := in.mem
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & 31
		at := addr[lane]
		end := at + uint64(m.size)
		inside := end <= uint64(extent) && end > at
		if inside && at&uint64(m.size-1) == 0 {
			continue
		}
		r := w.report(OutOfBounds, in, 1<<lane)
		r.Space, r.Address, r.Size = sp.String(), at, int(m.size)
		r.Extent, r.Offset = int64(extent), int64(at)
		if inside {
			r.Kind, r.Detail = Misaligned, misaligned(m.size)
		} else {
			r.Detail = boundsDetail(at, end, sp, extent)
		}
		return r
	}
	return nil
}

// check shows an access to the checkers.
func (w *warp) check(in *instr, sp space, addr *[warpSize]uint64, mask uint32, a *allocation) error {
	m := in.mem
	w.access = access{
		w: w, in: in, space: sp, kind: m.kind, sem: m.sem, scope: m.scope, size: m.size,
		mask: mask, addr: addr, alloc: a,
	}
	return w.block.launch.checks.access(&w.access)
}

// load executes ld.
func load(w *warp, in *instr, mask uint32) error {
	return w.resolve(in, mask, func(t *target) error {
		m := in.mem
		for k := range m.n {
			if r := &m.regs[k]; !r.sink {
				m.loads[k](unsafe.Add(w.regs, r.off), unsafe.Add(t.mem, int(k)*int(m.elem)), t.addr, t.base, t.mask)
			}
		}
		return nil
	})
}

// store executes st.
func store(w *warp, in *instr, mask uint32) error {
	return w.resolve(in, mask, func(t *target) error {
		m := in.mem
		for k := range m.n {
			r := &m.regs[k]
			m.stores[k](unsafe.Add(w.regs, r.off), unsafe.Add(t.mem, int(k)*int(m.elem)), t.addr, t.base, t.mask)
		}
		return nil
	})
}

// loadParam reads a kernel's parameter at a fixed place: one value for all lanes.
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

// asyncCopy executes cp.async at once: reads n of size bytes from global memory
// and writes them, with zeros after, to shared memory.
func asyncCopy(w *warp, in *instr, mask uint32) error {
	from, to := in.copy.from, in.copy.to
	n := uint32(from.size)
	var data [warpSize][16]byte
	amounts := (*[warpSize]uint32)(nil)
	if in.copy.hasAmount {
		amounts = row[uint32](w.regs, in.copy.amount)
	}
	// Lanes that copy nothing need no valid address.
	reading := mask
	if amounts != nil {
		for m := mask; m != 0; m &= m - 1 {
			if lane := bits.TrailingZeros32(m) & 31; amounts[lane] == 0 {
				reading &^= 1 << lane
			}
		}
	}
	part := *in
	if reading != 0 {
		part.mem, part.imm = from, in.copy.fromImm
		err := w.resolve(&part, reading, func(t *target) error {
			for m := t.mask; m != 0; m &= m - 1 {
				lane := bits.TrailingZeros32(m) & 31
				src := unsafe.Slice((*byte)(unsafe.Add(t.mem, t.addr[lane]-t.base)), n)
				if amounts != nil && amounts[lane] < n {
					src = src[:amounts[lane]]
				}
				copy(data[lane][:n], src)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	part.mem, part.imm = to, in.copy.toImm
	return w.resolve(&part, mask, func(t *target) error {
		for m := t.mask; m != 0; m &= m - 1 {
			lane := bits.TrailingZeros32(m) & 31
			copy(unsafe.Slice((*byte)(unsafe.Add(t.mem, t.addr[lane]-t.base)), n), data[lane][:n])
		}
		return nil
	})
}

// copyOp is cp.async.
type copyOp struct {
	from, to       *memOp
	fromImm, toImm uint64
	hasAmount      bool
	amount         uint32
}
