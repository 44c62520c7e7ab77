package ptx

import (
	"math"
	"slices"
)

// readFunction reads an .entry or a .func, from that word on (PTX ISA §11.1).
func (p *parser) readFunction(f *function, extern bool) error {
	if err := p.advance(); err != nil {
		return err
	}
	var err error
	if !f.entry && p.is("(") {
		if f.results, err = p.parameters(); err != nil {
			return err
		}
	}
	if f.name, err = p.ident("a function's name"); err != nil {
		return err
	}
	if p.is("(") {
		if f.params, err = p.parameters(); err != nil {
			return err
		}
	}
	for p.tok.kind == tokDot {
		if err := p.performance(f); err != nil {
			return err
		}
	}
	if p.is("{") {
		f.body = true
		b := &bodyParser{parser: p, f: f}
		p.loc = location{}
		if err := b.block(0, 0); err != nil {
			return err
		}
	} else if err := p.expect(";"); err != nil {
		return err
	} else if extern && f.entry {
		return p.m.errorf(f.line, "an extern entry")
	}
	return nil
}

// parameters reads (.param …, …) or, of a .func, (.reg …, …).
func (p *parser) parameters() ([]*variable, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var vars []*variable
	for !p.is(")") {
		sp := spaceParam
		if p.is(".reg") {
			sp = spaceReg
		} else if !p.is(".param") {
			return nil, p.errorf("expected .param, found %v", p.tok)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		v, err := p.declaration(sp, false)
		if err != nil {
			return nil, err
		}
		if len(vars) == maxParameters {
			return nil, p.errorf("more than %d parameters", maxParameters)
		}
		for _, old := range vars {
			if old.name == v.name && v.name != "_" {
				return nil, p.m.errorf(v.line, "%q is declared twice", short(v.name))
			}
		}
		vars = append(vars, v)
		if !p.is(",") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	return vars, p.expect(")")
}

// performance reads a performance directive (PTX ISA §11.4) before a body.
func (p *parser) performance(f *function) error {
	word := p.tok.text
	if word == ".pragma" {
		return p.pragma()
	}
	if err := p.advance(); err != nil {
		return err
	}
	var into *[3]int
	switch word {
	case ".noreturn", ".explicitcluster":
		return nil
	case ".minnctapersm", ".maxnctapersm", ".maxnreg", ".maxclusterrank":
		_, err := p.integer("a number", math.MaxInt32)
		return err
	case ".maxntid":
		into = &f.maxntid
	case ".reqntid":
		into = &f.reqntid
	case ".reqnctapercluster":
		into = &[3]int{}
	default:
		return p.errorf("unknown directive %q", short(word))
	}
	*into = [3]int{1, 1, 1}
	for i := range 3 {
		n, err := p.integer("a number of threads or blocks", math.MaxInt32)
		if err != nil {
			return err
		}
		into[i] = int(n)
		if !p.is(",") {
			break
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	if word == ".reqnctapercluster" && *into != [3]int{1, 1, 1} {
		return p.errorf("%s: clusters of several blocks are not supported", word)
	}
	return nil
}

// bodyParser reads a function's body. A block { } opens a scope for registers and parameters. Scopes are
// numbered in order; 0 is the function's.
type bodyParser struct {
	*parser
	f *function

	mods     []string  // of the instruction that is being read
	operands []operand // of that instruction
}

// block reads { … }.
func (p *bodyParser) block(scope, depth int) error {
	if depth > maxNesting {
		return p.errorf("blocks nested deeper than %d", maxNesting)
	}
	if err := p.expect("{"); err != nil {
		return err
	}
	for !p.is("}") {
		if err := p.item(scope, depth); err != nil {
			return err
		}
	}
	if depth == 0 {
		p.f.end = p.lex.pos
	}
	return p.advance()
}

func (p *bodyParser) item(scope, depth int) error {
	switch p.tok.kind {
	case tokEOF:
		return p.errorf("%q has no end", short(p.f.name))
	case tokIdent:
		return p.labelOrInstruction(scope)
	case tokPunct:
		switch p.tok.text {
		case "{":
			p.f.parents = append(p.f.parents, scope)
			return p.block(len(p.f.parents), depth+1)
		case ";":
			return p.advance()
		case "@":
			return p.instruction(scope, statement{})
		}
	case tokDot:
		switch p.tok.text {
		case ".loc":
			return p.location()
		case ".pragma":
			return p.pragma()
		case ".reg":
			return p.registers(scope)
		case ".local", ".shared", ".param":
			sp := spaceOf[p.tok.text[1:]]
			vars, err := p.variables(sp, false)
			if err != nil {
				return err
			}
			for _, v := range vars {
				v.scoped = scope
			}
			p.f.locals = append(p.f.locals, vars...)
			return nil
		}
		return p.errorf("unknown directive %v in a function", p.tok)
	}
	return p.errorf("expected an instruction, found %v", p.tok)
}

// registers reads .reg .type name [<count>], …; (PTX ISA §5.1.1, §5.4.5).
func (p *bodyParser) registers(scope int) error {
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.kind != tokDot {
		return p.errorf("expected a type, found %v", p.tok)
	}
	t, ok := typeNames[p.tok.text[1:]]
	if !ok {
		return p.errorf("%v is not a type of register", p.tok)
	}
	if err := p.advance(); err != nil {
		return err
	}
	for {
		d := regDecl{typ: t, count: -1, scope: scope}
		var err error
		if d.name, err = p.ident("a register's name"); err != nil {
			return err
		}
		if ok, err := p.accept("<"); err != nil {
			return err
		} else if ok {
			if d.count, err = p.integer("a number of registers", math.MaxInt32); err != nil {
				return err
			}
			if err := p.expect(">"); err != nil {
				return err
			}
		}
		p.f.regs = append(p.f.regs, d)
		if err := p.count(); err != nil {
			return err
		}
		if !p.is(",") {
			return p.expect(";")
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

func (p *bodyParser) labelOrInstruction(scope int) error {
	line, name, start := p.tok.line, p.tok.text, p.tok.pos
	if err := p.advance(); err != nil {
		return err
	}
	if !p.is(":") {
		return p.rest(scope, statement{op: name, line: line, start: start})
	}
	if _, twice := p.f.labels[name]; twice {
		return p.m.errorf(line, "label %q is defined twice", short(name))
	}
	p.f.labels[name] = len(p.f.stmts)
	if err := p.count(); err != nil {
		return err
	}
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.kind != tokDot {
		return nil
	}
	switch p.tok.text {
	case ".branchtargets":
		return p.branchTargets(name)
	case ".callprototype", ".calltargets":
		return p.errorf("%v: calls through function pointers are not supported", p.tok)
	}
	return nil
}

// branchTargets reads label: .branchtargets a, b, …; of brx.idx.
func (p *bodyParser) branchTargets(label string) error {
	var list []string
	for {
		if err := p.advance(); err != nil {
			return err
		}
		target, err := p.ident("a label")
		if err != nil {
			return err
		}
		list = append(list, target)
		if err := p.weigh(1); err != nil {
			return err
		}
		if !p.is(",") {
			break
		}
	}
	if p.f.tables == nil {
		p.f.tables = map[string][]string{}
	}
	p.f.tables[label] = list
	return p.expect(";")
}

// instruction reads [@[!]p] opcode operands ; from the guard on.
func (p *bodyParser) instruction(scope int, s statement) error {
	s.start = p.tok.pos
	if err := p.expect("@"); err != nil {
		return err
	}
	var err error
	if s.guardNot, err = p.accept("!"); err != nil {
		return err
	}
	if s.guard, err = p.ident("a predicate"); err != nil {
		return err
	}
	s.line = p.tok.line
	if s.op, err = p.ident("an opcode"); err != nil {
		return err
	}
	return p.rest(scope, s)
}

// rest reads an instruction after its opcode's first word.
func (p *bodyParser) rest(scope int, s statement) error {
	s.scope, s.loc = scope, p.loc
	mods, operands := p.mods[:0], p.operands[:0]
	for p.tok.kind == tokDot {
		mods = append(mods, p.tok.text[1:])
		if err := p.advance(); err != nil {
			return err
		}
	}
	for !p.is(";") {
		o, err := p.operand(0)
		if err != nil {
			return err
		}
		if len(operands) == maxOperands {
			return p.errorf("%s: more than %d operands", short(s.op), maxOperands)
		}
		operands = append(operands, o)
		if !p.is(",") {
			break
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	s.end = p.lex.pos
	if err := p.expect(";"); err != nil {
		return err
	}
	s.mods, s.operands = slices.Clone(mods), slices.Clone(operands)
	p.mods, p.operands = mods, operands
	p.f.stmts = append(p.f.stmts, s)
	return p.count()
}
