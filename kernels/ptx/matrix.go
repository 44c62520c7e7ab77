package ptx

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"
)

// Matrix products of a warp: mma.sync of 16×8 or 8×8 results, ldmatrix, stmatrix and movmatrix (PTX ISA §9.7.15.5).
//
// For every type, a register of A has 4 bytes of a row of 16 or 32 bytes, and one of B 4 bytes of a column of
// that size. With g = lane/4 and t = lane%4: register r of A has row g + 8·(r mod 2), from byte 16·(r/2) +
// 4·t; register r of B has column g, from byte 16·r + 4·t. A 32-bit register r of C and D is row g + 8·(r/2),
// column 2·t + r mod 2.
//
// 8×8 results use one register of A, and two of C and D. Of two 4-bit elements in a byte, the first is the
// lower half. In f64 a register is an element: register r of A is row g + 8·(r mod 2), column t + 4·(r/2),
// and that of B is row t + 4·r, column g.
//
// An element of D is C's plus the products, added in ascending order of k. Each product is exact, and each
// sum is rounded to nearest even in f32, also if C and D are f16, which is rounded to at the end. The manual
// leaves order and rounding open; hardware adds several products at a time and truncates, for floats of 8 bits
// to fewer bits than f32 has, so results may differ. In f64 each product and sum is one fma. Integer sums are
// exact, and wrap or, with .satfinite, saturate.

// mmaRows are the registers of an mma.
type mmaRows struct {
	a, b, c, d []uint32
	half       bool // C and D are f16
}

// mmaOp is mma.sync with registers of 4 bytes.
type mmaOp struct {
	mmaRows
	bytes    int // of a row of A
	kind     mmaKind
	valuesA  *[256]float32 // of the bytes of A, if kind is mmaBytes
	valuesB  *[256]float32
	saturate bool
	signedA  bool // of integers
	signedB  bool
}

type mmaKind uint8

const (
	mmaF16 mmaKind = iota
	mmaBF16
	mmaTF32
	mmaBytes // floats of 8 bits or less, one in a byte
	mmaInt8
	mmaInt4
)

// matrices are the operands of an mma as rows and columns.
type matrices struct {
	a [16][32]byte
	b [8][32]byte
	c [16][8]uint32
}

// run executes an mma, which all lanes execute together.
func (m *mmaOp) run(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var x matrices
	for lane := range warpSize {
		g, t := lane/4, lane%4
		for r, off := range m.a {
			binary.LittleEndian.PutUint32(x.a[g+8*(r&1)][16*(r>>1)+4*t:], row[uint32](w.regs, off)[lane])
		}
		for r, off := range m.b {
			binary.LittleEndian.PutUint32(x.b[g][16*r+4*t:], row[uint32](w.regs, off)[lane])
		}
		for r, off := range m.c {
			v := row[uint32](w.regs, off)[lane]
			if m.half {
				x.c[g+8*r][2*t], x.c[g+8*r][2*t+1] = halfToSingle(uint16(v)), halfToSingle(uint16(v>>16))
			} else {
				x.c[g+8*(r>>1)][2*t+r&1] = v
			}
		}
	}
	if m.kind >= mmaInt8 {
		for i := range x.c {
			for j := range x.c[i] {
				x.c[i][j] = m.dotInt(x.a[i][:m.bytes], x.b[j][:m.bytes], int32(x.c[i][j]))
			}
		}
	} else {
		var a [16]tileRow
		var b [16][8]float32
		step := min(m.bytes, len(a[0])*m.elementBytes())
		t := tile{rows: len(x.c), k: step / m.elementBytes(), strideB: 8, strideC: 8}
		for from := 0; from < m.bytes; from += step {
			for i := range x.a {
				m.widen(a[i][:], x.a[i][from:from+step], m.valuesA)
			}
			for j := range x.b {
				var column tileRow
				for k, v := range column[:m.widen(column[:], x.b[j][from:from+step], m.valuesB)] {
					b[k][j] = v
				}
			}
			t.multiply((*float32)(unsafe.Pointer(&x.c)), &a[0], &b[0][0])
		}
	}
	for lane := range warpSize {
		g, t := lane/4, lane%4
		for r, off := range m.d {
			d := &row[uint32](w.regs, off)[lane]
			if m.half {
				*d = uint32(singleToHalf(x.c[g+8*r][2*t])) | uint32(singleToHalf(x.c[g+8*r][2*t+1]))<<16
			} else {
				*d = x.c[g+8*(r>>1)][2*t+r&1]
			}
		}
	}
	return nil
}

// elementBytes returns the bytes of an element of A and B.
func (m *mmaOp) elementBytes() int {
	switch m.kind {
	case mmaTF32:
		return 4
	case mmaBytes:
		return 1
	}
	return 2
}

// byteValues are the numbers in a byte by their class. Of .kind::f8f6f4, which has them too, an e2m1 is in bits 2 to 5.
var byteValues = map[class]*[256]float32{
	classE4M3: valuesOf(fmtE4M3, 0), classE5M2: valuesOf(fmtE5M2, 0),
	classE2M3: valuesOf(fmtE2M3, 0), classE3M2: valuesOf(fmtE3M2, 0), classE2M1: valuesOf(fmtE2M1, 2),
}

// valuesOf returns the numbers of a format, in f32, by the byte that has them from a bit on.
func valuesOf(f *format, from int) *[256]float32 {
	var v [256]float32
	for b := range v {
		v[b] = math.Float32frombits(uint32(fmtF32.pack(f.unpack(uint64(b)>>from&(1<<f.bits-1)), roundNearest, false)))
	}
	return &v
}

// widen converts floats to f32, exactly, and returns their number. The lower 13 bits of a tf32 are ignored. values are
// those of bytes.
func (m *mmaOp) widen(to []float32, from []byte, values *[256]float32) int {
	n := len(from) / m.elementBytes()
	for i := range n {
		switch m.kind {
		case mmaBytes:
			to[i] = values[from[i]]
		case mmaF16:
			to[i] = singleOfHalf(binary.LittleEndian.Uint16(from[2*i:]))
		case mmaBF16:
			to[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(from[2*i:])) << 16)
		default:
			to[i] = math.Float32frombits(binary.LittleEndian.Uint32(from[4*i:]) &^ 0x1fff)
		}
	}
	return n
}

// tileRow is a row of A, or a column of B.
type tileRow [16]float32

// tile is a matrix product in memory, in which C has 8 columns. Rows of A are a tileRow apart, those of B and
// C a number of floats.
type tile struct {
	rows, k          int
	strideB, strideC int
}

// multiply adds A·B to C: for each element in ascending order of k, by fma in f32.
//
//	for each row i, column j < 8, and k: c[i][j] = fma(a[i][k], b[k][j], c[i][j])
func (t *tile) multiply(c *float32, a *tileRow, b *float32) {
	if vectors {
		multiplyTile(c, a, b, t)
		return
	}
	t.plain(c, a, b)
}

func (t *tile) plain(c *float32, a *tileRow, b *float32) {
	for i := range t.rows {
		row := (*tileRow)(unsafe.Add(unsafe.Pointer(a), i*int(unsafe.Sizeof(*a))))
		for j := range 8 {
			sum := (*float32)(unsafe.Add(unsafe.Pointer(c), 4*(i*t.strideC+j)))
			for k := range t.k {
				y := *(*float32)(unsafe.Add(unsafe.Pointer(b), 4*(k*t.strideB+j)))
				*sum = float32(oddRounded(float64(row[k])*float64(y), float64(*sum)))
			}
			*sum = canonical(*sum)
		}
	}
}

// dotInt adds the products of a row and a column of 8-bit or 4-bit integers to c.
func (m *mmaOp) dotInt(a, b []byte, c int32) uint32 {
	wide := func(v byte, up uint, signed bool) int64 { // extends the bits that remain after a shift by up
		if signed {
			return int64(int8(v<<up) >> up)
		}
		return int64(v << up >> up)
	}
	sum := int64(c)
	for i := range a {
		if m.kind == mmaInt4 {
			sum += wide(a[i], 4, m.signedA) * wide(b[i], 4, m.signedB)
			sum += wide(a[i]>>4, 4, m.signedA) * wide(b[i]>>4, 4, m.signedB)
			continue
		}
		sum += wide(a[i], 0, m.signedA) * wide(b[i], 0, m.signedB)
	}
	if m.saturate {
		sum = min(max(sum, math.MinInt32), math.MaxInt32)
	}
	return uint32(sum)
}

// mmaDouble is mma.sync of f64.
type mmaDouble struct {
	mmaRows
	k int
}

func (m *mmaDouble) run(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var a [16][16]float64
	var b [16][8]float64
	var c [16][8]float64
	for lane := range warpSize {
		g, t := lane/4, lane%4
		for r, off := range m.a {
			a[g+8*(r&1)][t+4*(r>>1)] = row[float64](w.regs, off)[lane]
		}
		for r, off := range m.b {
			b[t+4*r][g] = row[float64](w.regs, off)[lane]
		}
		for r, off := range m.c {
			c[g+8*(r>>1)][2*t+r&1] = row[float64](w.regs, off)[lane]
		}
	}
	for i := range c {
		for j := range c[i] {
			for k := range m.k {
				c[i][j] = canonical(math.FMA(a[i][k], b[k][j], c[i][j]))
			}
		}
	}
	for lane := range warpSize {
		g, t := lane/4, lane%4
		for r, off := range m.d {
			row[float64](w.regs, off)[lane] = c[g+8*(r>>1)][2*t+r&1]
		}
	}
	return nil
}

// lanesMissing reports an instruction that all lanes of a warp must execute together, but some do not.
func (w *warp) lanesMissing(in *instr, mask uint32) error {
	r := w.report(MaskMismatch, in, mask)
	r.Detail = "all lanes of the warp have to execute it, and only some do"
	if w.live != allLanes {
		r.Detail = "all 32 lanes of a warp have to execute it, and some are not there or have exited"
	}
	return w.block.launch.found(r)
}

// matrixOp is ldmatrix, which loads n matrices of 8 rows of 16 bytes, or stmatrix, which stores them. Lane 8·i + j has
// the address of row j of matrix i. Every lane has 4 bytes of row lane/4, from byte 4·(lane%4); or, transposed, the 2-byte
// elements of column lane/4 in rows 2·(lane%4) and the next.
type matrixOp struct {
	mem       memOp
	imm       uint64
	regs      []uint32 // rows of 4 bytes
	transpose bool
}

// rows returns the lanes that have an address.
func (m *matrixOp) rows() uint32 { return uint32(1<<(8*len(m.regs)) - 1) }

// load executes an ldmatrix.
func (m *matrixOp) load(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var rows [warpSize][16]byte
	mem := m.mem
	mem.do = func(w *warp, _ *instr, t *target) {
		for lane := range warpSize {
			if t.mask>>lane&1 != 0 {
				rows[lane] = *(*[16]byte)(unsafe.Add(t.mem, t.addr[lane]-t.base))
			}
		}
	}
	if err := w.resolve(in, &mem, m.imm, m.rows()); err != nil {
		return err
	}
	for i, off := range m.regs {
		d := row[uint32](w.regs, off)
		for lane := range d {
			g, t := lane/4, lane%4
			if m.transpose {
				lo := binary.LittleEndian.Uint16(rows[8*i+2*t][2*g:])
				hi := binary.LittleEndian.Uint16(rows[8*i+2*t+1][2*g:])
				d[lane] = uint32(lo) | uint32(hi)<<16
			} else {
				d[lane] = binary.LittleEndian.Uint32(rows[8*i+g][4*t:])
			}
		}
	}
	return nil
}

// store executes a stmatrix.
func (m *matrixOp) store(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var rows [warpSize][16]byte
	for i, off := range m.regs {
		for lane, v := range row[uint32](w.regs, off) {
			g, t := lane/4, lane%4
			if m.transpose {
				binary.LittleEndian.PutUint16(rows[8*i+2*t][2*g:], uint16(v))
				binary.LittleEndian.PutUint16(rows[8*i+2*t+1][2*g:], uint16(v>>16))
			} else {
				binary.LittleEndian.PutUint32(rows[8*i+g][4*t:], v)
			}
		}
	}
	mem := m.mem
	mem.do = func(w *warp, _ *instr, t *target) {
		for rest := t.mask; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest) & 31
			*(*[16]byte)(unsafe.Add(t.mem, t.addr[lane]-t.base)) = rows[lane]
		}
	}
	return w.resolve(in, &mem, m.imm, m.rows())
}

// movmatrix transposes a matrix of 8 by 8 elements of 16 bits, whose layout is that of matrixOp.
func movmatrix(w *warp, in *instr, mask uint32) error {
	if mask != allLanes {
		return w.lanesMissing(in, mask)
	}
	var columns [8][8]uint16
	for lane, v := range row[uint32](w.regs, in.a) {
		g, t := lane/4, lane%4
		columns[2*t][g], columns[2*t+1][g] = uint16(v), uint16(v>>16)
	}
	d := row[uint32](w.regs, in.d)
	for lane := range d {
		g, t := lane/4, lane%4
		d[lane] = uint32(columns[g][2*t]) | uint32(columns[g][2*t+1])<<16
	}
	return nil
}
