package ptx

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"
)

// Matrix products of a warp with fragments: wmma (PTX ISA §9.7.15.4). The layout of a matrix in a fragment is
// implementation-defined. Here a register of f64 has one element, and one of 32 bits one, two or four, from the low end. Element s
// of lane l, counted through the registers, is element (32·s + l) mod (rows·columns) of the matrix in
// row-major order. Fragments of A and B of f16 therefore hold each element two or four times, as on hardware.
// Products are added as in mma.sync (matrix.go).

// fragment is a matrix in the registers of a warp.
type fragment struct {
	regs       []uint32 // rows of 4 bytes; of 8 for f64
	size       int      // bytes of an element
	rows, cols int
}

// regBytes returns the number of bytes of a register.
func (m *fragment) regBytes() int { return max(m.size, 4) }

// each calls f for every element that a lane holds: its register and first bit, and its place in the matrix.
func (m *fragment) each(f func(lane int, reg uint32, bit uint, i, j int)) {
	per := m.regBytes() / m.size
	for s := range len(m.regs) * per {
		for lane := range warpSize {
			n := (warpSize*s + lane) % (m.rows * m.cols)
			f(lane, m.regs[s/per], uint(s%per*m.size*8), n/m.cols, n%m.cols)
		}
	}
}

// slots returns the number of elements that a lane holds.
func (m *fragment) slots() int { return len(m.regs) * m.regBytes() / m.size }

// wmmaMove is wmma.load and wmma.store.
type wmmaMove struct {
	fragment
	mem       memOp // of one element; its address is that of the first one
	imm       uint64
	stride    memReg // a row of 4 bytes; sink: the matrix is contiguous
	colMajor  bool
	addresses uint32 // a row of 8 bytes that belongs to no register: each lane's address
}

func (m *wmmaMove) run(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	base := w.lane(m.mem.addr, 8>>bit(m.mem.addr32), 0)
	stride := uint64(m.cols)
	if m.colMajor {
		stride = uint64(m.rows)
	}
	if !m.stride.sink {
		stride = w.lane(m.stride.off, 4, 0)
	}
	for lane := range warpSize {
		if w.lane(m.mem.addr, 8>>bit(m.mem.addr32), lane) != base || !m.stride.sink && w.lane(m.stride.off, 4, lane) != stride {
			return w.errorf(in, 1<<lane, "the address or the stride is not that of lane 0: they have to be the same in all lanes")
		}
	}
	per, bytes := m.regBytes()/m.size, uint8(m.regBytes())
	at := row[uint64](w.regs, m.addresses)
	for s := range min(m.slots(), (m.rows*m.cols+warpSize-1)/warpSize) {
		members := uint32(0)
		for lane := range warpSize {
			n := warpSize*s + lane
			if n >= m.rows*m.cols {
				break
			}
			members |= 1 << lane
			i, j := uint64(n/m.cols), uint64(n%m.cols)
			if m.colMajor {
				i, j = j, i
			}
			at[lane] = base + m.imm + (i*stride+j)*uint64(m.size)
			if m.mem.addr32 {
				at[lane] = uint64(uint32(at[lane]))
			}
		}
		mem := m.mem
		mem.addr, mem.addr32 = m.addresses, false
		off, shift := m.regs[s/per], uint(s%per*m.size*8)
		mem.do = func(w *warp, _ *instr, t *target) {
			for rest := t.mask; rest != 0; rest &= rest - 1 {
				lane := bits.TrailingZeros32(rest) & 31
				p, r := unsafe.Add(t.mem, t.addr[lane]-t.base), w.lane(off, bytes, lane)
				if m.mem.kind == accessLoad {
					w.setLane(off, bytes, lane, r&^(widthBits(uint8(m.size))<<shift)|loadElement(p, m.size)<<shift)
				} else {
					storeElement(p, m.size, r>>shift)
				}
			}
		}
		if err := w.resolve(in, &mem, 0, members); err != nil {
			return err
		}
	}
	if m.mem.kind == accessLoad {
		m.repeat(w)
	}
	return nil
}

// repeat copies the elements that a fragment holds more than once, which has none of f64.
func (m *wmmaMove) repeat(w *warp) {
	if m.size == 8 {
		return
	}
	per, n := 4/m.size, m.rows*m.cols
	for s := n / warpSize; s < m.slots(); s++ {
		for lane := range warpSize {
			from := (warpSize*s + lane) % n
			v := row[uint32](w.regs, m.regs[from/warpSize/per])[from%warpSize] >> uint(from/warpSize%per*m.size*8)
			r, shift, all := &row[uint32](w.regs, m.regs[s/per])[lane], uint(s%per*m.size*8), uint32(widthBits(uint8(m.size)))
			*r = *r&^(all<<shift) | v&all<<shift
		}
	}
}

func loadElement(p unsafe.Pointer, size int) uint64 {
	switch size {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		return uint64(*(*uint32)(p))
	}
	return *(*uint64)(p)
}

func storeElement(p unsafe.Pointer, size int, v uint64) {
	switch size {
	case 1:
		*(*uint8)(p) = uint8(v)
	case 2:
		*(*uint16)(p) = uint16(v)
	case 4:
		*(*uint32)(p) = uint32(v)
	default:
		*(*uint64)(p) = v
	}
}

// wmmaProduct is wmma.mma.
type wmmaProduct struct {
	mmaOp      // element kinds and the treatment of integers
	a, b, c, d fragment
}

func (m *wmmaProduct) run(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var a, b [32][32]byte // rows of A, columns of B
	var c [32][32]uint32
	get := func(lane int, reg uint32, bit uint) uint32 { return row[uint32](w.regs, reg)[lane] >> bit }
	put := func(to []byte, size int, v uint32) {
		switch size {
		case 1:
			to[0] = byte(v)
		case 2:
			binary.LittleEndian.PutUint16(to, uint16(v))
		default:
			binary.LittleEndian.PutUint32(to, v)
		}
	}
	m.a.each(func(lane int, reg uint32, bit uint, i, k int) { put(a[i][k*m.a.size:], m.a.size, get(lane, reg, bit)) })
	m.b.each(func(lane int, reg uint32, bit uint, k, j int) { put(b[j][k*m.b.size:], m.b.size, get(lane, reg, bit)) })
	m.c.each(func(lane int, reg uint32, bit uint, i, j int) {
		if c[i][j] = get(lane, reg, bit); m.c.size == 2 {
			c[i][j] = halfToSingle(uint16(c[i][j]))
		}
	})
	bytes := m.a.cols * m.a.size
	if m.kind >= mmaInt8 {
		for i := range m.d.rows {
			for j := range m.d.cols {
				c[i][j] = m.dotInt(a[i][:bytes], b[j][:bytes], int32(c[i][j]))
			}
		}
	} else {
		var x [32]tileRow
		var y [16][32]float32
		for i := range m.d.rows {
			m.widen(x[i][:], a[i][:bytes], nil)
		}
		for j := range m.d.cols {
			var column tileRow
			for k, v := range column[:m.widen(column[:], b[j][:bytes], nil)] {
				y[k][j] = v
			}
		}
		t := tile{rows: m.d.rows, k: m.a.cols, strideB: 32, strideC: 32}
		for j := 0; j < m.d.cols; j += 8 {
			t.multiply((*float32)(unsafe.Pointer(&c[0][j])), &x[0], &y[0][j])
		}
	}
	m.d.each(func(lane int, reg uint32, bit uint, i, j int) {
		r := &row[uint32](w.regs, reg)[lane]
		if m.d.size == 4 {
			*r = c[i][j]
		} else {
			*r = *r&^(0xffff<<bit) | uint32(singleToHalf(c[i][j]))<<bit
		}
	})
	return nil
}

// runDouble is wmma.mma of f64: each product and sum is one fma, in ascending order of k.
func (m *wmmaProduct) runDouble(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var a, b, c [8][8]float64
	get := func(f *fragment, into *[8][8]float64) {
		f.each(func(lane int, reg uint32, _ uint, i, j int) { into[i][j] = row[float64](w.regs, reg)[lane] })
	}
	get(&m.a, &a)
	get(&m.b, &b)
	get(&m.c, &c)
	m.d.each(func(lane int, reg uint32, _ uint, i, j int) {
		sum := c[i][j]
		for k := range m.a.cols {
			sum = canonical(math.FMA(a[i][k], b[k][j], sum))
		}
		row[float64](w.regs, reg)[lane] = sum
	})
	return nil
}
