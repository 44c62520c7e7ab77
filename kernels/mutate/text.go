package mutate

import (
	"strings"
)

// written is the text of an instruction: @guard opcode operands ;
type written struct {
	guard    string // "@%p1", "@!%p1" or ""
	op       string // "add.rn.f32"
	operands []string
}

// read splits a statement's text into its parts. Comments and line ends are dropped.
func read(text string) written {
	text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(uncommented(text)), ";"))
	var w written
	if strings.HasPrefix(text, "@") {
		rest := strings.TrimLeft(text[1:], " \t!")
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			return w
		}
		w.guard = "@" + rest[:end]
		if strings.Contains(text[:len(text)-len(rest)], "!") {
			w.guard = "@!" + rest[:end]
		}
		text = strings.TrimSpace(rest[end:])
	}
	w.op, text, _ = strings.Cut(text, " ")
	if op, operands, ok := strings.Cut(w.op, "\t"); ok {
		w.op, text = op, operands+" "+text
	}
	depth, from := 0, 0
	for i, c := range text {
		switch c {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth--
		case ',':
			if depth == 0 {
				w.operands = append(w.operands, strings.TrimSpace(text[from:i]))
				from = i + 1
			}
		}
	}
	if last := strings.TrimSpace(text[from:]); last != "" {
		w.operands = append(w.operands, last)
	}
	return w
}

// uncommented returns the text on one line, without comments.
func uncommented(text string) string {
	var b strings.Builder
	for text != "" {
		at := strings.Index(text, "/")
		if at < 0 || at+1 == len(text) {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:at])
		end, skip := -1, 0
		switch text[at+1] {
		case '/':
			end, skip = strings.IndexByte(text[at:], '\n'), 1
		case '*':
			end, skip = strings.Index(text[at:], "*/"), 2
		default:
			b.WriteByte('/')
			text = text[at+1:]
			continue
		}
		if end < 0 {
			break
		}
		b.WriteByte(' ')
		text = text[at+end+skip:]
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (w written) String() string {
	var b strings.Builder
	if w.guard != "" {
		b.WriteString(w.guard + " ")
	}
	b.WriteString(w.op)
	if len(w.operands) > 0 {
		b.WriteString(" " + strings.Join(w.operands, ", "))
	}
	return b.String() + ";"
}

// parts returns the parts of the opcode: "add", "rn", "f32".
func (w written) parts() []string { return strings.Split(w.op, ".") }

// has reports whether the opcode has the given part.
func (w written) has(word string) bool {
	for _, p := range w.parts() {
		if p == word {
			return true
		}
	}
	return false
}

// with returns the instruction with the last occurrence of a part of its opcode replaced.
func (w written) with(word, by string) written {
	parts := w.parts()
	for i := len(parts) - 1; i > 0; i-- { // the type stands at the end
		if parts[i] == word {
			parts[i] = by
			break
		}
	}
	w.op = strings.Join(parts, ".")
	return w
}

// operand returns the instruction with an operand replaced.
func (w written) operand(i int, by string) written {
	w.operands = append([]string(nil), w.operands...)
	w.operands[i] = by
	return w
}

// swapped returns the instruction with two operands exchanged.
func (w written) swapped(i, j int) written {
	w.operands = append([]string(nil), w.operands...)
	w.operands[i], w.operands[j] = w.operands[j], w.operands[i]
	return w
}

// isRegister reports whether an operand is a single register that is not a special register.
func isRegister(s string) bool {
	return len(s) > 2 && s[0] == '%' && class(s) != "" && !strings.ContainsAny(s, ".+-|[{")
}

// class returns a register's name without its number: "%rd" for "%rd12".
func class(register string) string {
	name := strings.TrimRight(register, "0123456789")
	if name == register || len(name) < 2 {
		return ""
	}
	return name
}

// types has the register type of each class, by the naming of clang and nvcc.
var types = map[string]string{"%p": ".pred", "%rs": ".b16", "%h": ".b16", "%r": ".b32", "%f": ".f32", "%rd": ".b64", "%fd": ".f64"}
