package ptx

import "unsafe"

const warpSize = 32

const allLanes = ^uint32(0)

// kind says how the machine's loop executes an instruction.
type kind uint8

const (
	kindALU      kind = iota // computes a row from rows: alu
	kindSetp                 // computes a predicate from rows: cmp
	kindRun                  // any other instruction that continues with the next one: run
	kindWarpWide             // the same, but warp-wide: by the lanes of the member mask in row e
	kindBranch               // to target
	kindBrx                  // to an entry of table, by the index in row a
	kindCall                 // to target
	kindRet
	kindExit
	kindBarrier
)

// instr is a decoded instruction. Operands are rows of the warp's register file: a row holds a register of
// all 32 lanes, or a constant or special register. A row is identified by its offset in bytes.
type instr struct {
	kind     kind
	sure     bool // need not be tracked while no register is undefined (sure.go)
	counted  bool // false for further parts of one PTX instruction
	effect   effect
	dbytes   uint8  // of an element of d
	equality uint8  // setp: bytes of the integers that eq or ne compares; 0 for others
	notC     bool   // setp: predicate c is negated
	boolOp   uint8  // setp: how the result is combined with c
	guard    int32  // a predicate; -1 is none
	guardNot uint32 // all ones if the guard is negated
	guardReg uint32 // the guard's number as a register

	d, a, b, c, e uint32 // rows, or indices of predicates
	d2            int32  // setp, shfl: a second predicate; -1 is none
	imm           uint64

	alu aluFunc
	cmp cmpFunc
	run runFunc

	target   int32 // of a branch or call
	rpc      int32 // reconvergence point of divergent lanes; -1: the threads' end
	table    []int32
	mem      *memOp
	bar      *barOp
	cvt      *cvtOp
	copy     *copyOp
	mbarrier *mbarrierOp
	matrix   *memOp    // of ldmatrix, stmatrix, wmma.load and wmma.store
	rows     *matrixOp // of ldmatrix and stmatrix

	uses []uint32 // numbers of the registers read, and of those written
	defs []uint32
	line int32
	loc  location
	op   string // as written, for reports

	callee *function
}

// flow says how undefined registers affect an instruction.
type flow struct {
	// needs are the registers that must be defined: addresses, masks. For the other registers, spread says what
	// becomes undefined with them; nil is spreadAll.
	needs  []need
	spread spreadFunc
}

// need is a register that must be defined, by its number, and its role, such as "the address".
type need struct {
	reg  uint32
	what string
}

// An aluFunc computes all 32 lanes of a row, active or not; the loop keeps those of the active lanes. It
// changes only d.
type aluFunc func(d unsafe.Pointer, w *warp, in *instr)

// A cmpFunc returns a predicate of all 32 lanes.
type cmpFunc func(w *warp, in *instr) uint32

// A runFunc executes an instruction for the lanes of mask.
type runFunc func(w *warp, in *instr, mask uint32) error

// row returns a row of the register file p. The decoder has placed every row inside the file, aligned to its
// size.
func row[T any](p unsafe.Pointer, off uint32) *[warpSize]T {
	return (*[warpSize]T)(unsafe.Add(p, off))
}

// lane returns a lane's value from a row with elements of 1, 2, 4 or 8 bytes.
func (w *warp) lane(off uint32, bytes uint8, lane int) uint64 {
	switch bytes {
	case 1:
		return uint64(row[uint8](w.regs, off)[lane])
	case 2:
		return uint64(row[uint16](w.regs, off)[lane])
	case 4:
		return uint64(row[uint32](w.regs, off)[lane])
	}
	return row[uint64](w.regs, off)[lane]
}

// setLane sets a lane of a row.
func (w *warp) setLane(off uint32, bytes uint8, lane int, v uint64) {
	switch bytes {
	case 1:
		row[uint8](w.regs, off)[lane] = uint8(v)
	case 2:
		row[uint16](w.regs, off)[lane] = uint16(v)
	case 4:
		row[uint32](w.regs, off)[lane] = uint32(v)
	default:
		row[uint64](w.regs, off)[lane] = v
	}
}

// memOp describes a load, store or atomic.
type memOp struct {
	space   space
	kind    accessKind
	sem     semantics
	scope   scope
	elem    uint8  // bytes of an element in memory
	n       uint8  // elements: 1, 2 or 4
	signed  bool   // a load into a wider register extends the sign
	nc      bool   // a non-coherent load
	size    uint32 // elem·n
	whole   uint32 // of a vector that is accessed in parts: its size, which its address is a multiple of; 0 if not the first part
	addr32  bool   // the address is in a row of 32 bits
	call    bool   // accesses an argument or result of a call
	hasC    bool   // an atomic with a second operand
	arrival bool   // at an mbarrier
	addr    uint32
	bound   uint16 // of the address: its index in launch.bounds, 0 for none
	origin  uint16 // of the address: its index in launch.origin, 0 if not known
	regs    [4]memReg
	loads   [4]loadFunc
	stores  [4]storeFunc
	fills   [4]fillFunc
	vector  vectorFunc // moves all elements of a vector at once
	block   blockFunc  // moves 32 lanes with contiguous addresses; nil if there is none
	do      accessFunc
	atomic  atomFunc
	quick   accessFunc // a faster form of atomic for all lanes; nil if there is none
	slot    uint8      // index of what is known of the addresses (memknown.go), from 1; 0 for none
	leads   bool       // determines that for the accesses that follow
	flush   bool       // add.f32, which flushes subnormals in global memory
}

// nonCoherent reports whether the instruction is ld.global.nc.
func (in *instr) nonCoherent() bool { return in.mem != nil && in.mem.nc }

// memReg is the register of an element.
type memReg struct {
	off   uint32
	bytes uint8
	sink  bool
}

// barOp describes a barrier.
type barOp struct {
	kind    barKind
	id      memReg // rows of 4 bytes
	count   memReg // sink: all threads
	red     uint8
	src     int32
	srcNot  bool
	aligned bool
	relaxed bool // of barrier.cluster.arrive
}
