package ptx

import (
	"fmt"
	"math"
)

// Operands and constants.

// operand reads one operand (PTX ISA §6).
func (p *bodyParser) operand(depth int) (operand, error) {
	var o operand
	if depth > 2 {
		return o, p.errorf("an operand nested too deep")
	}
	if err := p.weigh(1); err != nil {
		return o, err
	}
	switch {
	case p.is("{"), p.is("("):
		o.kind = opVector
		end := "}"
		if p.is("(") {
			// A parenthesis starts a call's list. Constant expressions can also be in parentheses, but no
			// compiler writes them.
			o.kind, end = opList, ")"
		}
		if err := p.advance(); err != nil {
			return o, err
		}
		for !p.is(end) {
			element, err := p.operand(depth + 1)
			if err != nil {
				return o, err
			}
			if len(o.list) == maxParameters {
				return o, p.errorf("more than %d operands in a list", maxParameters)
			}
			o.list = append(o.list, element)
			if !p.is(",") {
				break
			}
			if err := p.advance(); err != nil {
				return o, err
			}
		}
		return o, p.expect(end)
	case p.is("["):
		return p.address(depth)
	case p.is("!"):
		if err := p.advance(); err != nil {
			return o, err
		}
		o.not = true
		var err error
		o.name, err = p.ident("a predicate")
		return o, err
	case p.tok.kind == tokIdent:
		name := p.tok.text
		err := p.advance()
		if err != nil {
			return o, err
		}
		if name == "_" {
			o.kind = opSink
		}
		o.name = name
		for p.tok.kind == tokDot { // %tid.x
			o.name += p.tok.text
			if err := p.advance(); err != nil {
				return o, err
			}
		}
		if ok, err := p.accept("|"); err != nil {
			return o, err
		} else if ok {
			if o.pair, err = p.ident("a predicate"); err != nil {
				return o, err
			}
		}
		if p.is("+") || p.is("-") { // symbol+4, register+4
			if o.bits, err = p.added(); err != nil {
				return o, err
			}
			if o.kind == opSink {
				return o, p.errorf("_ is no value")
			}
		}
		return o, nil
	}
	return p.constant()
}

// address reads [reg+imm], [symbol+imm] or [imm].
func (p *bodyParser) address(depth int) (operand, error) {
	o := operand{kind: opAddress}
	if err := p.expect("["); err != nil {
		return o, err
	}
	if p.tok.kind == tokIdent {
		var err error
		if o.name, err = p.ident("an address"); err != nil {
			return o, err
		}
		if p.is("+") || p.is("-") {
			if o.bits, err = p.added(); err != nil {
				return o, err
			}
		}
	} else {
		c, err := p.constant()
		if err != nil {
			return o, err
		}
		if c.kind != opInt {
			return o, p.errorf("an address is an integer")
		}
		o.bits = c.bits
	}
	if ok, err := p.accept(","); err != nil {
		return o, err
	} else if ok { // [texture, {x, y}]
		place, err := p.operand(depth + 1)
		if err != nil {
			return o, err
		}
		o.list = []operand{place}
	}
	return o, p.expect("]")
}

// added reads the integer offset of a register or a symbol.
func (p *parser) added() (uint64, error) {
	c, err := p.constant()
	if err == nil && c.kind != opInt {
		err = p.errorf("what is added is an integer")
	}
	return c.bits, err
}

// constant reads signs and a number.
func (p *parser) constant() (operand, error) {
	negative, invert := false, false
	for n := 0; p.is("-") || p.is("+") || p.is("~"); n++ {
		if n > 8 || invert {
			return operand{}, p.errorf("too many signs")
		}
		switch p.tok.text {
		case "-":
			negative = !negative
		case "~":
			invert = true
		}
		if err := p.advance(); err != nil {
			return operand{}, err
		}
	}
	o := operand{bits: p.tok.bits}
	switch p.tok.kind {
	case tokInt:
		o.kind = opInt
		if invert {
			o.bits = ^o.bits
		}
		if negative {
			o.bits = -o.bits
		}
	case tokF32:
		o.kind = opF32
		if negative {
			o.bits ^= 1 << 31
		}
	case tokF64:
		o.kind = opF64
		if negative {
			o.bits ^= 1 << 63
		}
	default:
		return o, p.errorf("expected an operand, found %v", p.tok)
	}
	if invert && o.kind != opInt {
		return o, p.errorf("~ of a floating-point number")
	}
	return o, p.advance()
}

// constantAs returns the bits of a constant as a value of a type. An integer is cut to the type's width,
// since compilers write -1 for unsigned types; a floating-point constant is converted (PTX ISA §4.5).
func constantAs(c operand, t typ) (uint64, error) {
	keep := uint64(1)<<(t.bits-1)<<1 - 1
	switch c.kind {
	case opInt:
		if t.float() && t.bits >= 32 && t.lanes == 1 {
			return 0, fmt.Errorf("want a floating-point number, not an integer")
		}
		if high := c.bits &^ keep; high != 0 && high != ^uint64(0)&^keep {
			return 0, fmt.Errorf("%#x does not fit in %d bits", c.bits, t.bits)
		}
		return c.bits & keep, nil
	case opF32:
		switch {
		case t == f32 || t == b32 || t == u32 || t == s32:
			return c.bits, nil
		case t == f64:
			return math.Float64bits(float64(math.Float32frombits(uint32(c.bits)))), nil
		}
	case opF64:
		switch {
		case t == f64 || t == b64 || t == u64 || t == s64:
			return c.bits, nil
		case t == f32:
			return uint64(math.Float32bits(float32(math.Float64frombits(c.bits)))), nil
		}
	}
	return 0, fmt.Errorf("this constant cannot be %v", t)
}
