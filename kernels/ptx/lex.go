package ptx

import (
	"fmt"
	"strconv"
	"strings"
)

// tokenKind is the kind of a token of PTX text.
type tokenKind uint8

const (
	tokEOF    tokenKind = iota
	tokIdent            // add, %r1, $L__BB0_1, _
	tokDot              // .f32, .L2::128B: the text keeps the dot
	tokInt              // an integer; its value is in bits
	tokF32              // 0f3f800000; its bits are in bits
	tokF64              // 0d3ff0000000000000, 1.5; its bits are in bits
	tokString           // "x"; the text is without the quotes
	tokPunct            // one of , ; : { } [ ] ( ) < > @ ! | + - ~ = and the other operators
)

type token struct {
	kind tokenKind
	text string
	bits uint64
	line int
	pos  int // where it begins in the text
}

func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "the end of the text"
	case tokString:
		return strconv.Quote(t.text)
	}
	return strconv.Quote(short(t.text))
}

// short cuts a name from an untrusted text to a length suitable for an error.
func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// lexer splits PTX text into tokens (PTX ISA §4.2 to §4.5).
type lexer struct {
	text string
	pos  int
	line int
}

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$' || c == '%'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// next returns the next token. Its error has no position; the line is l.line.
func (l *lexer) next() (token, error) {
	if err := l.skipSpace(); err != nil {
		return token{}, err
	}
	t := token{line: l.line, pos: l.pos}
	if l.pos == len(l.text) {
		return t, nil
	}
	start := l.pos
	c := l.text[l.pos]
	switch {
	case isLetter(c):
		l.scan(func(c byte) bool { return isLetter(c) || isDigit(c) })
		t.kind = tokIdent
	case c == '.' && start+1 < len(l.text) && (isLetter(l.text[start+1]) || isDigit(l.text[start+1])):
		l.pos++
		l.scan(func(c byte) bool { return isLetter(c) || isDigit(c) || c == ':' })
		// In ".x:" the colon is a label's, since no dotted name ends in one; only "::" belongs to the name.
		for l.text[l.pos-1] == ':' {
			l.pos--
		}
		t.kind = tokDot
	case isDigit(c):
		if err := l.number(&t); err != nil {
			return token{}, err
		}
	case c == '"':
		l.pos++
		end := strings.IndexAny(l.text[l.pos:], "\"\n")
		if end < 0 || l.text[l.pos+end] != '"' {
			return token{}, fmt.Errorf("unterminated string")
		}
		t.kind, t.text = tokString, l.text[l.pos:l.pos+end]
		l.pos += end + 1
		return t, nil
	case strings.IndexByte(",;:{}[]()<>@!|+-~=*/%&^?", c) >= 0:
		l.pos++
		t.kind = tokPunct
	default:
		return token{}, fmt.Errorf("unexpected character %q", c)
	}
	t.text = l.text[start:l.pos]
	return t, nil
}

func (l *lexer) scan(ok func(byte) bool) {
	for l.pos < len(l.text) && ok(l.text[l.pos]) {
		l.pos++
	}
}

func (l *lexer) skipSpace() error {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\n':
			l.line++
			l.pos++
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			l.pos++
		case strings.HasPrefix(l.text[l.pos:], "//"):
			l.scan(func(c byte) bool { return c != '\n' })
		case strings.HasPrefix(l.text[l.pos:], "/*"):
			end := strings.Index(l.text[l.pos+2:], "*/")
			if end < 0 {
				return fmt.Errorf("unterminated comment")
			}
			comment := l.text[l.pos : l.pos+2+end+2]
			l.line += strings.Count(comment, "\n")
			l.pos += len(comment)
		default:
			return nil
		}
	}
	return nil
}

// number reads an integer in base 2, 8, 10 or 16, or a floating-point number as hexadecimal bits or in
// decimal.
func (l *lexer) number(t *token) error {
	start := l.pos
	l.scan(func(c byte) bool { return isDigit(c) || isLetter(c) && c != '$' && c != '%' && c != '_' })
	text := l.text[start:l.pos]
	if len(text) > 1 && text[0] == '0' {
		switch text[1] {
		case 'f', 'F':
			t.kind = tokF32
			return hexBits(t, text, 8)
		case 'd', 'D':
			t.kind = tokF64
			return hexBits(t, text, 16)
		}
	}
	if l.pos < len(l.text) && l.text[l.pos] == '.' || strings.ContainsAny(text, "eE") && !strings.HasPrefix(text, "0x") && !strings.HasPrefix(text, "0X") {
		return l.decimalFloat(t, start)
	}
	t.kind = tokInt
	digits := strings.TrimSuffix(text, "U")
	base := 10
	switch lower := strings.ToLower(digits); {
	case strings.HasPrefix(lower, "0x"):
		base, digits = 16, digits[2:]
	case strings.HasPrefix(lower, "0b"):
		base, digits = 2, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	v, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return fmt.Errorf("%q is not an integer of 64 bits", short(text))
	}
	t.bits = v
	return nil
}

func hexBits(t *token, text string, digits int) error {
	v, err := strconv.ParseUint(text[2:], 16, 64)
	if err != nil || len(text) != 2+digits {
		return fmt.Errorf("%q is not a floating-point number of %d hexadecimal digits", short(text), digits)
	}
	t.bits = v
	return nil
}

func (l *lexer) decimalFloat(t *token, start int) error {
	l.pos = start
	digits := func() { l.scan(isDigit) }
	digits()
	if l.pos < len(l.text) && l.text[l.pos] == '.' {
		l.pos++
		digits()
	}
	if l.pos < len(l.text) && (l.text[l.pos] == 'e' || l.text[l.pos] == 'E') {
		l.pos++
		if l.pos < len(l.text) && (l.text[l.pos] == '+' || l.text[l.pos] == '-') {
			l.pos++
		}
		digits()
	}
	v, err := strconv.ParseFloat(l.text[start:l.pos], 64)
	if err != nil {
		return fmt.Errorf("%q is not a floating-point number", short(l.text[start:l.pos]))
	}
	t.kind, t.bits = tokF64, float64bits(v)
	return nil
}
