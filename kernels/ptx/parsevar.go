package ptx

import (
	"encoding/binary"
	"math"
)

// variables reads the declaration of variables in a space, from the space's name to the semicolon (PTX ISA
// §5.4).
func (p *parser) variables(sp space, extern bool) ([]*variable, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	v, err := p.declaration(sp, extern)
	if err != nil {
		return nil, err
	}
	vars := []*variable{v}
	for p.is(",") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		next := &variable{space: sp, elem: v.elem, extern: extern, align: v.align, count: 1}
		if err := p.declarator(next); err != nil {
			return nil, err
		}
		vars = append(vars, next)
	}
	return vars, p.expect(";")
}

// declaration reads [.align n] [.v2] .type name[dims] [= init].
func (p *parser) declaration(sp space, extern bool) (*variable, error) {
	v := &variable{space: sp, extern: extern, count: 1}
	vector := int64(1)
	for p.tok.kind == tokDot {
		word := p.tok.text[1:]
		if err := p.advance(); err != nil {
			return nil, err
		}
		switch word {
		case "align":
			n, err := p.integer("an alignment", 4096)
			if err != nil {
				return nil, err
			}
			if n == 0 || n&(n-1) != 0 {
				return nil, p.errorf("alignment %d is not a power of two", n)
			}
			v.align = max(v.align, int(n))
			continue
		case "v2":
			vector = 2
			continue
		case "v4":
			vector = 4
			continue
		case "ptr": // .ptr [.space] [.align n]: what a parameter points to
			if err := p.pointee(); err != nil {
				return nil, err
			}
			continue
		case "attribute":
			if err := p.attribute(); err != nil {
				return nil, err
			}
			continue
		}
		t, ok := typeNames[word]
		switch word {
		case "texref", "samplerref", "surfref":
			err := p.errorf(".%s: textures and surfaces are not supported", word)
			if sp != spaceGlobal {
				return nil, err
			}
			v.refused, t, ok = err, typeNames["b64"], true
		}
		if !ok || t == pred {
			return nil, p.errorf("%q is not a type of memory", "."+short(word))
		}
		if v.elem.bits != 0 {
			return nil, p.errorf("a second type, .%s", word)
		}
		v.elem = t
	}
	if v.elem.bits == 0 {
		return nil, p.errorf("a variable without a type, at %v", p.tok)
	}
	v.align = max(v.align, v.elem.bytes()*int(vector))
	v.count = vector
	return v, p.declarator(v)
}

func (p *parser) pointee() error {
	for {
		switch {
		case p.is(".global"), p.is(".const"), p.is(".shared"), p.is(".local"):
			if err := p.advance(); err != nil {
				return err
			}
		case p.is(".align"):
			if err := p.advance(); err != nil {
				return err
			}
			if _, err := p.integer("an alignment", math.MaxInt32); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (p *parser) attribute() error {
	if err := p.expect("("); err != nil {
		return err
	}
	for !p.is(")") {
		if p.tok.kind == tokEOF {
			return p.errorf("unterminated attribute")
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return p.advance()
}

// declarator reads name[dims] [= init] of a variable whose type is known.
func (p *parser) declarator(v *variable) error {
	if err := p.count(); err != nil {
		return err
	}
	v.line = p.tok.line
	name, err := p.ident("a variable's name")
	if err != nil {
		return err
	}
	v.name = name
	if p.is("<") {
		return p.errorf("numbered names are for registers only")
	}
	vector, unsized := v.count, false
	var inner []int64 // the dimensions after the first
	dims := 0
	for ; p.is("["); dims++ {
		if err := p.advance(); err != nil {
			return err
		}
		if p.is("]") {
			if dims > 0 {
				return p.errorf("%q: only the first dimension may be left out", short(name))
			}
			unsized = true
		} else {
			n, err := p.integer("a dimension", maxVariable)
			if err != nil {
				return err
			}
			if dims > 0 {
				inner = append(inner, n)
			}
			if n > 0 && v.count > maxVariable/n/int64(v.elem.bytes()) {
				return p.errorf("%q is larger than %d bytes", short(name), maxVariable)
			}
			v.count *= n
		}
		if err := p.expect("]"); err != nil {
			return err
		}
	}
	if p.is("=") {
		if err := p.advance(); err != nil {
			return err
		}
		if v.space != spaceGlobal && v.space != spaceConst {
			return p.errorf("%q: only .global and .const may be initialised", short(name))
		}
		limit := v.count
		if unsized {
			limit = maxInitialise / int64(v.elem.bytes())
		}
		if dims > 0 && vector > 1 {
			inner = append(inner, vector)
		}
		sizes := listSizes(limit, inner)
		n, err := p.initialiser(v, sizes, limit, 0, 0)
		if err != nil {
			return err
		}
		if unsized {
			row := int64(1)
			if len(sizes) > 1 {
				row = max(row, sizes[1])
			}
			v.count, unsized = (n+row-1)/row*row, false
		}
	}
	if unsized && !v.extern && v.space != spaceParam {
		return p.errorf("%q has no size", short(name))
	}
	if unsized {
		v.count = 0
	}
	v.size = v.count * int64(v.elem.bytes())
	return nil
}

// listSizes returns how many elements a list in braces covers at each nesting depth: the whole variable, a
// row of its first dimension, and so on.
func listSizes(all int64, inner []int64) []int64 {
	sizes := make([]int64, len(inner)+1)
	size := int64(1)
	for i := len(inner); i > 0; i-- {
		size = min(size*inner[i-1], maxVariable)
		sizes[i] = size
	}
	sizes[0] = all
	return sizes
}

// initialiser reads a value or { values } into v.init, starting at element at, and returns the index after
// the last element. If a list is short, the rest of its row is zero (PTX ISA §5.4.4).
func (p *parser) initialiser(v *variable, sizes []int64, limit, at int64, depth int) (int64, error) {
	if p.is("{") {
		if depth >= min(len(sizes), maxNesting) {
			return 0, p.errorf("%q: lists nested deeper than its dimensions", short(v.name))
		}
		end := at + sizes[depth]
		if end > limit || sizes[depth] > 0 && at%sizes[depth] != 0 {
			return 0, p.errorf("%q: a list where no row begins", short(v.name))
		}
		if err := p.advance(); err != nil {
			return 0, err
		}
		for !p.is("}") {
			var err error
			if at, err = p.initialiser(v, sizes, end, at, depth+1); err != nil {
				return 0, err
			}
			if !p.is(",") {
				break
			}
			if err := p.advance(); err != nil {
				return 0, err
			}
		}
		if depth > 0 {
			at = end
		}
		return at, p.expect("}")
	}
	if at >= limit {
		return 0, p.errorf("%q: more values than elements", short(v.name))
	}
	size := int64(v.elem.bytes())
	if p.inits += size; p.inits > maxInitialise {
		return 0, p.errorf("initialisers of more than %d bytes", maxInitialise)
	}
	var word [8]byte
	switch p.tok.kind {
	case tokIdent:
		f := fixup{at: at * size, line: p.tok.line}
		if p.is("generic") {
			f.gen = true
			if err := p.advance(); err != nil {
				return 0, err
			}
			if err := p.expect("("); err != nil {
				return 0, err
			}
		}
		var err error
		if f.symbol, err = p.ident("a name"); err != nil {
			return 0, err
		}
		if f.gen {
			if err := p.expect(")"); err != nil {
				return 0, err
			}
		}
		if p.is("+") || p.is("-") {
			add, err := p.constant()
			if err != nil {
				return 0, err
			}
			f.add = int64(add.bits)
		}
		if size != 8 {
			return 0, p.errorf("%q: an address needs 8 bytes", short(v.name))
		}
		v.fixups = append(v.fixups, f)
	default:
		c, err := p.constant()
		if err != nil {
			return 0, err
		}
		bits, err := constantAs(c, v.elem)
		if err != nil {
			return 0, p.errorf("%v", err)
		}
		binary.LittleEndian.PutUint64(word[:], bits)
	}
	if missing := (at+1)*size - int64(len(v.init)); missing > 0 {
		v.init = append(v.init, make([]byte, missing)...)
	}
	copy(v.init[at*size:], word[:size])
	return at + 1, nil
}
