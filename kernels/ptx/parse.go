package ptx

import (
	"fmt"
	"math"
)

// Limits on a text.
const (
	maxText       = 16 << 20 // bytes of PTX
	maxItems      = 1 << 19  // instructions (each with four operands), labels, registers and variables
	maxParameters = 4096     // of a function
	maxOperands   = 16       // of an instruction
	maxNesting    = 64       // of { } in a function
	maxVariable   = 1 << 30  // bytes of one variable
	maxInitialise = 64 << 20 // bytes of all initialisers
)

var float64bits = math.Float64bits

// parser turns tokens into a module.
type parser struct {
	lex   lexer
	tok   token
	m     *module
	inits int64 // bytes of initialisers so far
	items int   // declarations so far, in quarters
	loc   location
}

// parseError is an error in the text, with its line.
type parseError struct {
	name string
	line int
	msg  string
}

func (e *parseError) Error() string { return fmt.Sprintf("ptx: %s:%d: %s", e.name, e.line, e.msg) }

func (m *module) errorf(line int, format string, args ...any) error {
	return &parseError{m.name, line, fmt.Sprintf(format, args...)}
}

// parseModule reads a PTX text.
func parseModule(name string, text []byte) (*module, error) {
	m := &module{name: name, bits: 64, files: map[int]string{}, globals: map[string]*variable{}, funcs: map[string]*function{}}
	if len(text) > maxText {
		return nil, m.errorf(1, "a text of %d bytes; the limit is %d", len(text), maxText)
	}
	for len(text) > 0 && text[len(text)-1] == 0 { // the driver accepts a C string
		text = text[:len(text)-1]
	}
	p := &parser{lex: lexer{text: string(text), line: 1}, m: m}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if !p.is(".version") {
		return nil, p.errorf("a PTX text begins with .version, not %v", p.tok)
	}
	for p.tok.kind != tokEOF {
		if err := p.topLevel(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (p *parser) errorf(format string, args ...any) error {
	return p.m.errorf(p.tok.line, format, args...)
}

func (p *parser) advance() error {
	t, err := p.lex.next()
	if err != nil {
		return p.m.errorf(p.lex.line, "%v", err)
	}
	p.tok = t
	return nil
}

// is reports whether the current token is this word or symbol.
func (p *parser) is(text string) bool {
	return p.tok.text == text && (p.tok.kind == tokPunct || p.tok.kind == tokDot || p.tok.kind == tokIdent)
}

// accept advances past the token if it is this one, and reports whether it was.
func (p *parser) accept(text string) (bool, error) {
	if !p.is(text) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(text string) error {
	if !p.is(text) {
		return p.errorf("expected %q, found %v", text, p.tok)
	}
	return p.advance()
}

func (p *parser) ident(what string) (string, error) {
	if p.tok.kind != tokIdent {
		return "", p.errorf("expected %s, found %v", what, p.tok)
	}
	name := p.tok.text
	return name, p.advance()
}

func (p *parser) integer(what string, limit int64) (int64, error) {
	if p.tok.kind != tokInt {
		return 0, p.errorf("expected %s, found %v", what, p.tok)
	}
	if p.tok.bits > uint64(limit) {
		return 0, p.errorf("%s of %s is more than %d", what, short(p.tok.text), limit)
	}
	v := int64(p.tok.bits)
	return v, p.advance()
}

// count counts a declaration against maxItems.
func (p *parser) count() error {
	return p.weigh(4)
}

// weigh counts n quarters of a declaration.
func (p *parser) weigh(n int) error {
	if p.items += n; p.items > 4*maxItems {
		return p.errorf("more than %d instructions, labels, registers and variables", maxItems)
	}
	return nil
}

// topLevel reads one directive at module scope.
func (p *parser) topLevel() error {
	if p.tok.kind != tokDot {
		if ok, err := p.accept(";"); ok {
			return err
		}
		return p.errorf("expected a directive, found %v", p.tok)
	}
	switch p.tok.text {
	case ".version":
		return p.version()
	case ".target":
		if err := p.advance(); err != nil {
			return err
		}
		target, err := p.ident("a target")
		if err != nil {
			return err
		}
		p.m.target = target
		for p.is(",") {
			if err := p.advance(); err != nil {
				return err
			}
			option, err := p.ident("a target's option")
			if err != nil {
				return err
			}
			if option != "debug" && option != "texmode_unified" && option != "texmode_independent" && option != "map_f64_to_f32" {
				return p.errorf("unknown target option %q", short(option))
			}
			if option == "map_f64_to_f32" {
				return p.errorf("target option map_f64_to_f32 is not supported")
			}
		}
		return nil
	case ".address_size":
		line := p.tok.line
		if err := p.advance(); err != nil {
			return err
		}
		bits, err := p.integer("an address size", 64)
		if err != nil {
			return err
		}
		if bits != 64 {
			return p.m.errorf(line, "address size %d: only 64 is supported", bits)
		}
		return nil
	case ".file":
		return p.file()
	case ".loc":
		return p.location()
	case ".pragma":
		return p.pragma()
	case ".section":
		return p.section()
	}
	return p.linked()
}

func (p *parser) version() error {
	line := p.tok.line
	// The lexer would read 8.0 as a decimal number, so the version is read from the text.
	var major, minor int
	text := p.lex.text[p.lex.pos:]
	n := 0
	for n < len(text) && (text[n] == ' ' || text[n] == '\t') {
		n++
	}
	end := n
	for end < len(text) && (isDigit(text[end]) || text[end] == '.') {
		end++
	}
	if k, err := fmt.Sscanf(text[n:end], "%d.%d", &major, &minor); k != 2 || err != nil || end-n > 8 {
		return p.m.errorf(line, "expected a version such as 7.8")
	}
	p.lex.pos += end
	if major < 1 || major > 9 {
		return p.m.errorf(line, "PTX version %d.%d is not supported", major, minor)
	}
	p.m.version = [2]int{major, minor}
	return p.advance()
}

// file reads .file N "path" [, time, size].
func (p *parser) file() error {
	if err := p.advance(); err != nil {
		return err
	}
	n, err := p.integer("a file's number", math.MaxInt32)
	if err != nil {
		return err
	}
	if p.tok.kind != tokString {
		return p.errorf("expected a file's name, found %v", p.tok)
	}
	p.m.files[int(n)] = p.tok.text
	if err := p.count(); err != nil {
		return err
	}
	if err := p.advance(); err != nil {
		return err
	}
	for p.is(",") {
		if err := p.advance(); err != nil {
			return err
		}
		if _, err := p.integer("a number", math.MaxInt64); err != nil {
			return err
		}
	}
	return nil
}

// location reads .loc file line column [, function_name label[+n], inlined_at file line column]. It keeps the
// innermost place, where inlined code was written.
func (p *parser) location() error {
	if err := p.advance(); err != nil {
		return err
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = p.integer("a number of .loc", math.MaxInt32); err != nil {
			return err
		}
	}
	if n[1] > 0 { // line 0 means no line: keep the previous one
		p.loc = location{file: int(n[0]), line: int(n[1])}
	}
	for p.is(",") {
		if err := p.advance(); err != nil {
			return err
		}
		word, err := p.ident("function_name or inlined_at")
		if err != nil {
			return err
		}
		switch word {
		case "function_name":
			if _, err := p.ident("a label"); err != nil {
				return err
			}
			if ok, err := p.accept("+"); err != nil {
				return err
			} else if ok {
				if _, err := p.integer("an offset", math.MaxInt32); err != nil {
					return err
				}
			}
		case "inlined_at":
			for range 3 {
				if _, err := p.integer("a number of .loc", math.MaxInt32); err != nil {
					return err
				}
			}
		default:
			return p.errorf("unknown word %q in .loc", short(word))
		}
	}
	return nil
}

// pragma skips .pragma "…", …;
func (p *parser) pragma() error {
	for {
		if err := p.advance(); err != nil {
			return err
		}
		if p.tok.kind != tokString {
			return p.errorf("expected a string, found %v", p.tok)
		}
		if err := p.advance(); err != nil {
			return err
		}
		if !p.is(",") {
			return p.expect(";")
		}
	}
}

// section skips .section NAME { … }: debug information.
func (p *parser) section() error {
	for !p.is("{") {
		if err := p.advance(); err != nil {
			return err
		}
		if p.tok.kind == tokEOF {
			return p.errorf("a section without its text")
		}
	}
	for !p.is("}") {
		if err := p.advance(); err != nil {
			return err
		}
		if p.tok.kind == tokEOF {
			return p.errorf("unterminated section")
		}
	}
	return p.advance()
}

// linked reads a function or a variable, with its linkage before it.
func (p *parser) linked() error {
	extern := false
	for {
		switch p.tok.text {
		case ".extern":
			extern = true
		case ".visible", ".weak", ".common":
		case ".entry", ".func":
			return p.function(extern)
		case ".global", ".const", ".shared":
			vars, err := p.variables(spaceOf[p.tok.text[1:]], extern)
			if err != nil {
				return err
			}
			for _, v := range vars {
				if old := p.m.globals[v.name]; old != nil && !old.extern {
					if v.extern {
						continue
					}
					return p.m.errorf(v.line, "%q is declared twice", short(v.name))
				}
				if p.m.funcs[v.name] != nil {
					return p.m.errorf(v.line, "%q is declared twice", short(v.name))
				}
				p.m.globals[v.name] = v
				p.m.order = append(p.m.order, v)
			}
			return nil
		case ".tex":
			return p.errorf(".tex: textures are not supported")
		default:
			return p.errorf("unknown directive %v", p.tok)
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}
