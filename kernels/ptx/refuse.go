package ptx

import (
	"errors"
	"fmt"
	"strings"
)

// An error in a function or a variable does not refuse the whole file. It is kept with the function or
// variable, and returned when a kernel that uses it is requested. A text in which no kernel can be run is
// refused with its first error.

// errNoEnd is the error of a function without a closing brace.
var errNoEnd = errors.New("no end")

// mark is a place in the text to return to.
type mark struct {
	lex lexer
	tok token
}

func (p *parser) mark() mark { return mark{p.lex, p.tok} }

// skipFunction advances past a function that could not be parsed, from its first word: past its body, or past
// the semicolon of a declaration.
func (p *parser) skipFunction(from mark) error {
	p.lex, p.tok = from.lex, from.tok
	for depth := 0; ; {
		end := false
		switch {
		case p.tok.kind == tokEOF:
			return errNoEnd
		case p.is("{"):
			depth++
		case p.is("}"):
			depth--
			end = depth <= 0
		case p.is(";"):
			end = depth == 0
		}
		if err := p.advance(); err != nil || end {
			return err
		}
	}
}

// function reads an .entry or a .func, starting at that word. An error inside it is kept with it, unless its
// end cannot be found or the text is too long.
func (p *parser) function(extern bool) error {
	f := &function{line: p.tok.line, start: p.tok.pos, entry: p.is(".entry"), labels: map[string]int{}}
	from := p.mark()
	err := p.readFunction(f, extern)
	if err == nil {
		return p.declare(f)
	}
	if f.name == "" || p.items > 4*maxItems || p.skipFunction(from) != nil {
		return err
	}
	f.refused, f.body = err, true
	f.stmts, f.regs, f.locals, f.labels, f.tables = nil, nil, nil, nil, nil
	return p.declare(f)
}

// declare registers a function under its name.
func (p *parser) declare(f *function) error {
	old := p.m.funcs[f.name]
	switch {
	case p.m.globals[f.name] != nil:
		return p.m.errorf(f.line, "%q is declared twice", short(f.name))
	case old == nil || !old.body:
		p.m.funcs[f.name] = f
	case f.body:
		return p.m.errorf(f.line, "%q is defined twice", short(f.name))
	}
	if f.entry && f.body {
		p.m.entries = append(p.m.entries, f)
	} else if f.body {
		p.m.bodies = append(p.m.bodies, f)
	}
	return nil
}

// refuseVariables marks variables that cannot be used: those without a definition, and those initialized with
// an invalid address or with the address of such a variable.
func (m *module) refuseVariables() {
	holders := map[string][]*variable{} // by the name of the variable that they point to
	var todo []*variable
	for _, v := range m.order {
		if v.extern && v.space != spaceShared && v.refused == nil && m.globals[v.name] == v {
			v.refused = m.errorf(v.line, "extern variable %q is nowhere defined", short(v.name))
		}
		for _, f := range v.fixups {
			if err := m.checkFixup(f); err != nil && v.refused == nil {
				v.refused = err
			}
			if of := holders[f.symbol]; len(of) == 0 || of[len(of)-1] != v {
				holders[f.symbol] = append(of, v)
			}
		}
		if v.refused != nil {
			todo = append(todo, v)
		}
	}
	for ; len(todo) > 0; todo = todo[1:] {
		for _, h := range holders[todo[0].name] {
			if h.refused == nil {
				h.refused = todo[0].refused
				todo = append(todo, h)
			}
		}
	}
}

// checkFixup returns an error if an address in an initializer is not that of a variable in global or constant
// memory.
func (m *module) checkFixup(f fixup) error {
	sym := m.globals[f.symbol]
	if m.funcs[f.symbol] != nil {
		return m.errorf(f.line, "the address of %s: function pointers are not supported", short(f.symbol))
	}
	if sym == nil || sym.space == spaceShared {
		return m.errorf(f.line, "%q is no variable whose address is constant", short(f.symbol))
	}
	return nil
}

// decodeModule decodes every entry, and every function once by itself, so that functions that no kernel calls
// are checked too. Entries that cannot be run are kept with the reason, unless none can be run.
func decodeModule(m *module, approx bool) (*Program, error) {
	m.refuseVariables()
	p := &Program{module: m, entries: map[string]*entry{}}
	left := &limits{code: maxCode, steps: maxSteps, origins: maxOriginSteps}
	var first error
	usable := 0
	for _, f := range m.entries {
		e, err := decodeEntry(p, f, approx, left)
		if err != nil {
			e = &entry{program: p, fn: f, refused: err}
			if first == nil {
				first = err
			}
		} else {
			usable++
			p.approx = p.approx || e.approx
		}
		p.entries[f.name] = e
	}
	// From the last one on: a function stands before its callers, and is decoded with them.
	for i := len(m.bodies) - 1; i >= 0; i-- {
		if f := m.bodies[i]; !f.called {
			if _, err := decodeEntry(p, f, approx, left); err != nil && first == nil {
				first = err
			}
		}
	}
	for _, v := range m.order {
		if first == nil {
			first = v.refused
		}
	}
	if usable == 0 && first != nil {
		return nil, first
	}
	return p, nil
}

// limits is the remaining budget for decoding a module.
type limits struct {
	code    int // instructions
	steps   int // steps of the search for post-dominators
	origins int // steps of the search for the origins of pointers
}

// Refused returns why a kernel cannot be run, with the line; nil if it can be.
func (p *Program) Refused(entry string) error {
	e := p.entries[entry]
	if e == nil {
		return nil
	}
	return e.refused
}

// maxListed is the number of names that an error lists.
const maxListed = 20

// thereAre lists the kernels for an error.
func (p *Program) thereAre() string { return listed(p.Entries(), "it has no kernel") }

// listed formats names for an error; none is the text if there are none.
func listed(names []string, none string) string {
	if len(names) == 0 {
		return ": " + none
	}
	list := make([]string, 0, maxListed)
	for _, n := range names[:min(len(names), maxListed)] {
		list = append(list, short(n))
	}
	text := ": there are " + strings.Join(list, ", ")
	if more := len(names) - maxListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
