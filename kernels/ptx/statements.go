package ptx

// Function is a kernel or a .func of a PTX text, with its instructions as written.
type Function struct {
	Name  string
	Entry bool // a kernel
	// Start and End are its position in the text, from ".entry" or ".func" to after its closing brace.
	Start, End int
	Statements []Statement
}

// Statement is an instruction of a PTX text, as written.
type Statement struct {
	Line       int    // of the PTX
	File       string // source file named by the PTX; "" if none
	SourceLine int
	// Start and End are its position in the text, from its guard or opcode to after its semicolon.
	Start, End int
	// Labeled reports whether a label precedes it.
	Labeled bool
}

// Statements returns the functions of a PTX text that have a body and can be parsed, in order. The error is
// that of an invalid text: see Parse.
func Statements(name string, text []byte) ([]Function, error) {
	m, err := parseModule(name, text)
	if err != nil {
		return nil, err
	}
	var list []Function
	for _, fs := range [][]*function{m.bodies, m.entries} {
		for _, f := range fs {
			if f.refused != nil {
				continue
			}
			out := Function{Name: f.name, Entry: f.entry, Start: f.start, End: f.end}
			labeled := map[int]bool{}
			for _, at := range f.labels {
				labeled[at] = true
			}
			for i := range f.stmts {
				s := &f.stmts[i]
				out.Statements = append(out.Statements, Statement{
					Line: s.line, File: m.files[s.loc.file], SourceLine: s.loc.line,
					Start: s.start, End: s.end, Labeled: labeled[i],
				})
			}
			list = append(list, out)
		}
	}
	return list, nil
}
