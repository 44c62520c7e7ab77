package ptx

// The text of a module after parsing, before its instructions are decoded.

// module has the declarations of a PTX text.
type module struct {
	name    string // of the file, for error messages
	version [2]int
	target  string
	bits    int // 32 or 64: the size of an address
	files   map[int]string
	globals map[string]*variable // .global, .const and .shared at module scope
	order   []*variable          // globals in the order of the text
	funcs   map[string]*function
	entries []*function // in the order of the text
	bodies  []*function // .func bodies, in the order of the text
}

// function is an .entry or a .func.
type function struct {
	name    string
	line    int
	entry   bool
	body    bool  // false for a declaration
	refused error // an error in its text; then nothing else is known of it
	params  []*variable
	results []*variable
	stmts   []statement
	labels  map[string]int // label → index of the statement that follows it
	reqntid [3]int         // 0 if not given
	maxntid [3]int
	locals  []*variable // .local, .shared and .param declared in the body
	called  bool
	regs    []regDecl
	parents []int               // parents[i] is the scope around scope i+1
	tables  map[string][]string // .branchtargets

	start, end int // position in the text, without the linking directives before it
}

// variable is a declared variable in memory.
type variable struct {
	name    string
	line    int
	space   space
	align   int
	elem    typ // type of an element
	count   int64
	size    int64 // bytes; 0 for an unsized extern
	extern  bool
	init    []byte
	fixups  []fixup
	scoped  int   // the scope, within its function, that declares it
	refused error // why it cannot be used
}

// fixup is an address in an initialiser.
type fixup struct {
	at     int64
	symbol string
	add    int64
	gen    bool // generic(symbol)
	line   int
}

// regDecl declares registers: one, or a numbered range.
type regDecl struct {
	name  string // or the prefix
	count int64  // -1 for a single one
	typ   typ
	scope int
}

// statement is an instruction as it was written.
type statement struct {
	guard    string
	guardNot bool
	op       string   // the opcode's first part: "ld"
	mods     []string // the others: "global", "v4", "f32"
	operands []operand
	line     int
	loc      location
	scope    int

	start, end int // position in the text, including guard and semicolon
}

// location is a place in the source from which PTX was compiled.
type location struct {
	file int
	line int
}

type operandKind uint8

const (
	opName    operandKind = iota // a register, a variable, a label, a function
	opInt                        // bits
	opF32                        // bits
	opF64                        // bits
	opVector                     // {a, b}
	opAddress                    // [name+add] or [add]
	opList                       // (a, b) of a call
	opSink                       // _
)

type operand struct {
	kind operandKind
	name string
	not  bool   // !name
	pair string // name|pair
	bits uint64 // of an immediate; of an address, the offset
	list []operand
}
