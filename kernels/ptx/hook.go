package ptx

// The interface between the machine and its checkers. The machine calls the methods of checks; the types
// below are all that the checkers see of it. A launch without checks has a nil *checks, and calls none of
// them.

// accessKind is what an access does to memory.
type accessKind uint8

const (
	accessLoad accessKind = iota
	accessStore
	accessAtomic // atom and red: reads and writes
)

// space is a state space of memory. Generic addresses are resolved before a checker sees them.
type space uint8

const (
	spaceGlobal space = iota
	spaceShared
	spaceLocal
	spaceParam
	spaceConst
	spaceGeneric
	spaceReg
)

var spaceNames = [...]string{"global", "shared", "local", "param", "const", "generic", "reg"}

func (s space) String() string { return spaceNames[s] }

// scope is the set of threads for which an operation is ordered or atomic.
type scope uint8

const (
	scopeCTA scope = iota
	scopeCluster
	scopeGPU
	scopeSys
)

// semantics is the memory ordering of a load, store, atomic or fence.
type semantics uint8

const (
	semWeak semantics = iota // no synchronization
	semVolatile
	semRelaxed
	semAcquire
	semRelease
	semAcqRel
	semSC
)

// access is one warp's load, store or atomic on global, shared or local memory, shown to the checkers before
// it takes effect. Every lane in mask is within its memory and aligned; the machine has checked that. It is
// valid only during the call.
type access struct {
	w     *warp
	in    *instr
	space space // spaceGlobal, spaceShared or spaceLocal
	kind  accessKind
	sem   semantics
	scope scope
	size  uint32 // bytes per lane: 1, 2, 4, 8 or 16; all elements of a vector together
	mask  uint32 // the lanes that access memory, never 0

	// addr + imm is each lane's address: in global memory a generic address, in shared memory an offset in
	// the block's shared memory, in local memory an offset in the thread's. Lanes outside mask have any
	// value. imm is not 0 only for weak accesses to global and shared memory.
	addr *[warpSize]uint64
	imm  uint64
	// alloc is the allocation that all lanes access in global memory. It is nil if they access several: then
	// find each by w.block.launch.mem.find(addr).
	alloc *allocation

	// copy is the asynchronous copy that is now performed, and so writes shared memory. It is nil when a copy
	// is issued, and for all other accesses.
	copy *pendingCopy

	arrival bool // at an mbarrier: what it releases is acquired by waits for the end of the phase

	// All bytes are at offsets from to before to in the allocation or the block's shared memory. to is 0 if
	// that is not known.
	from, to uint64

	same bool // all lanes of mask access the same address
	row  bool // mask is all lanes, and their addresses are contiguous in order
}

// at returns a lane's address.
func (a *access) at(lane int) uint64 { return a.addr[lane] + a.imm }

// issuesBulk reports whether the access is the issue of a bulk copy: the values that it will store are not
// known yet.
func (a *access) issuesBulk() bool { return a.copy == nil && a.in.copy != nil && a.in.copy.bulk != nil }

// stored returns the bytes that a store's lane writes, as two little-endian words; 0 for a load or an atomic.
func (a *access) stored(lane int) (lo, hi uint64) {
	if a.kind != accessStore {
		return 0, 0
	}
	if a.in.copy != nil {
		if a.copy != nil {
			return a.copy.value(lane)
		}
		for _, p := range a.w.issued {
			if p.mask>>lane&1 != 0 {
				return p.value(lane)
			}
		}
		return 0, 0
	}
	var out [2]uint64
	m := a.in.mem
	if m == nil || m.regs[0].sink { // wmma.store, mbarrier.init: no two lanes write to the same address
		return uint64(lane), 1
	}
	for i := range m.n {
		r := &m.regs[i]
		v := a.w.lane(r.off, r.bytes, lane) & (1<<(8*uint(m.elem)-1)<<1 - 1)
		bit := uint(i) * 8 * uint(m.elem)
		out[bit/64] |= v << (bit % 64)
	}
	return out[0], out[1]
}
