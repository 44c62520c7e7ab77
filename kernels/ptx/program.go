package ptx

// Program is a parsed and decoded PTX module. It is immutable; any number of devices and goroutines may share
// it.
type Program struct {
	module  *module
	entries map[string]*entry
	approx  bool
	key     programKey
}

// Parse reads and decodes a PTX text. name is that of its file, for errors, which also have the line. A
// kernel that cannot be run is an error only if no other kernel can: see Refused. Unless allowApprox is set,
// instructions with results that may differ on a GPU, such as ex2.approx or an add.f32 that may be fused,
// make their kernel one that cannot be run.
func Parse(name string, text []byte, allowApprox bool) (*Program, error) {
	m, err := parseModule(name, text)
	if err != nil {
		return nil, err
	}
	p, err := decodeModule(m, allowApprox)
	if err != nil {
		return nil, err
	}
	p.key = keyOf(name, text, allowApprox)
	return p, nil
}

// Entries returns the names of the kernels, in the order of the text.
func (p *Program) Entries() []string {
	var names []string
	for _, f := range p.module.entries {
		names = append(names, f.name)
	}
	return names
}

// Approximate reports whether any kernel has instructions with results that may differ on a GPU.
func (p *Program) Approximate() bool { return p.approx }

// entry is a kernel: the flat code of its body and of all functions that it calls, and what a launch has to
// set up.
type entry struct {
	program *Program
	fn      *function
	refused error // why it cannot be run; then the other fields are unset
	approx  bool  // it has approximate instructions
	code    []instr

	regBytes   uint32 // of a warp's register file, including constants and special registers
	preds      int
	clusters   bool      // it has barrier.cluster
	flows      []flow    // for each instruction of code
	regs       []regInfo // by a register's number
	rowReg     []int32   // number of the register in a row, indexed by the row's offset in units of 64 bytes; -1 for none
	predReg    []int32   // number of a predicate, by its index; -1 for none
	regNames   []string  // by a register's number
	consts     []constRow
	predTrue   int32 // index of a predicate that is always true
	specials   []specialRow
	origins    []origin             // of addresses
	originSets []originSet          // that accesses to global memory have
	bounds     []*variable          // that accesses to other memory have to stay in
	placed     map[*variable]uint64 // offsets of the variables of shared and local memory
	params     []param
	paramSize  int
	shared     int      // bytes of static shared memory
	dynamicAt  int      // offset of dynamic shared memory
	local      int      // bytes of local memory of each thread
	maxDepth   int      // of nested calls
	initial    []uint32 // warp.init of a new block (sure.go)
	known      int      // rows of addresses of which something is known at a time
}

// constRow is a row of the register file with the same value in all lanes.
type constRow struct {
	off   uint32
	bytes uint8
	value uint64
	sym   *variable // its address is added
	gen   bool      // its generic address is
	of    *variable // of shared or local memory, whose address is in value
}

// specialRow is a row that holds a special register.
type specialRow struct {
	off uint32
	reg specialReg
}

// param is a kernel's parameter.
type param struct {
	name string
	off  int
	size int
	elem int // bytes of an element; a parameter of more than one is an array
}
