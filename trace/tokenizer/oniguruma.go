package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// translate rewrites a regular expression from the syntax of Oniguruma, which
// tokenizer.json files use, to that of regexp2 (.NET's), so that it has the same matches.
// Syntax that has another meaning in .NET is expanded to Oniguruma's meaning:
//
//   - classes may be nested, and && is their intersection: [\p{L}&&[^\p{Han}]]
//   - \w, and so \b, is letters, marks, digits and connectors; \h is a hexadecimal digit
//   - (?i) ignores case by Unicode's simple folding: (?i:s) matches ſ
//   - ^ and $ match at line boundaries, and with (?m) a dot matches a newline
//   - (?i) is in effect to the end of its group, alternatives included
//   - a quantifier with a + after it is possessive: ?+, *+, ++
//   - a ? or + after {n} is another quantifier: a{2}? is (?:a{2})?
//
// Syntax that cannot be translated is an error that names it.
func translate(expression string) (string, error) {
	t := translator{in: []rune(expression)}
	if err := t.alternatives(flags{}); err != nil {
		return "", err
	}
	if t.at < len(t.in) {
		return "", errors.New("there is a ) without a (")
	}
	return t.out.String(), nil
}

// maxDepth is the maximum nesting depth of groups and classes.
const maxDepth = 100

// flags are the options set by (?imx).
type flags struct {
	ignoreCase bool // i
	dotAll     bool // m
	extended   bool // x
}

type translator struct {
	in    []rune
	at    int
	depth int
	out   strings.Builder

	// literals are the last adjacent characters written under ignoreCase, folded.
	literals string
}

// peek reports whether s is next.
func (t *translator) peek(s string) bool {
	return strings.HasPrefix(string(t.in[t.at:min(len(t.in), t.at+len(s))]), s)
}

// take skips s if it is next.
func (t *translator) take(s string) bool {
	if !t.peek(s) {
		return false
	}
	t.at += len(s) // s is ASCII
	return true
}

// alternatives translates up to the end of the group, or of the expression.
func (t *translator) alternatives(f flags) error {
	if t.depth++; t.depth > maxDepth {
		return fmt.Errorf("more than %d groups within each other", maxDepth)
	}
	defer func() { t.depth-- }()
	isolated := 0 // groups that (?i) opened here, up to the end of this one
	for t.at < len(t.in) && t.in[t.at] != ')' {
		if t.take("|") {
			t.out.WriteByte('|')
			t.literals = ""
			continue
		}
		if f.extended && t.skipComment() {
			continue
		}
		if changed, ok := t.switches(&f); ok || changed != nil {
			if changed != nil {
				return changed
			}
			t.out.WriteString("(?:")
			isolated++
			continue
		}
		if err := t.quantified(f); err != nil {
			return err
		}
	}
	t.out.WriteString(strings.Repeat(")", isolated))
	t.literals = ""
	return nil
}

// skipComment skips white space, or a comment up to the end of its line.
func (t *translator) skipComment() bool {
	if t.in[t.at] != '#' {
		if !unicode.IsSpace(t.in[t.at]) {
			return false
		}
		t.at++
		return true
	}
	for t.at < len(t.in) && t.in[t.at] != '\n' {
		t.at++
	}
	return true
}

// switches reads an option such as (?i), which is in effect to the end of the group.
func (t *translator) switches(f *flags) (error, bool) {
	begin := t.at
	if !t.take("(?") || t.at == len(t.in) || !strings.ContainsRune("imx-", t.in[t.at]) {
		t.at = begin
		return nil, false
	}
	changed, err := t.readFlags(*f)
	if err != nil {
		return err, false
	}
	if !t.take(")") {
		t.at = begin
		return nil, false
	}
	*f = changed
	return nil, true
}

// readFlags reads the letters after "(?", as in (?imx-imx).
func (t *translator) readFlags(f flags) (flags, error) {
	for on := true; t.at < len(t.in); t.at++ {
		switch t.in[t.at] {
		case '-':
			on = false
		case 'i':
			f.ignoreCase = on
		case 'm':
			f.dotAll = on
		case 'x':
			f.extended = on
		case ')', ':':
			return f, nil
		default:
			return f, fmt.Errorf("(?%c)", t.in[t.at])
		}
	}
	return f, errors.New("a group without its )")
}

// quantified translates an atom and the quantifiers after it.
func (t *translator) quantified(f flags) error {
	if text, _ := t.quantifier(); text != "" {
		return fmt.Errorf("a %s without what it repeats", text)
	}
	begin := t.out.Len()
	quantifiable, err := t.atom(f)
	if err != nil {
		return err
	}
	for repeated := false; t.at < len(t.in); repeated = true {
		for f.extended && t.at < len(t.in) && t.skipComment() {
		}
		quantifier, possessive := t.quantifier()
		if quantifier == "" {
			return nil
		}
		if !quantifiable {
			return errors.New("a quantifier of what matches no characters")
		}
		t.literals = ""
		whole := t.out.String()
		atom := whole[begin:]
		t.out.Reset()
		t.out.WriteString(whole[:begin])
		if repeated {
			atom = "(?:" + atom + ")"
		}
		if possessive {
			fmt.Fprintf(&t.out, "(?>%s%s)", atom, quantifier)
		} else {
			t.out.WriteString(atom + quantifier)
		}
	}
	return nil
}

// quantifier reads ?, *, +, {n}, {n,} or {n,m}, and a ? (lazy) or + (possessive) that belongs to it.
// It returns "" if there is no quantifier here.
func (t *translator) quantifier() (text string, possessive bool) {
	switch {
	case t.take("?"):
		text = "?"
	case t.take("*"):
		text = "*"
	case t.take("+"):
		text = "+"
	case t.peek("{"):
		end := slices.Index(t.in[t.at:], '}')
		if end < 0 {
			return "", false
		}
		low, high, ranged := strings.Cut(string(t.in[t.at+1:t.at+end]), ",")
		if !digits(low) && !(ranged && low == "") || ranged && high != "" && !digits(high) || low == "" && high == "" {
			return "", false // a literal brace
		}
		if low == "" {
			low = "0"
		}
		text = "{" + low + "}"
		if ranged {
			text = "{" + low + "," + high + "}"
		}
		t.at += end + 1
		if ranged && t.take("?") {
			text += "?"
		}
		return text, false // a + after {…} is another quantifier, and so is a ? after {n}
	default:
		return "", false
	}
	if t.take("+") {
		return text, true
	}
	if t.take("?") {
		text += "?"
	}
	return text, false
}

func digits(s string) bool {
	return s != "" && len(s) < 6 && strings.Trim(s, "0123456789") == ""
}

// atom translates one element of an expression. It reports whether a quantifier may follow.
func (t *translator) atom(f flags) (quantifiable bool, err error) {
	c := t.in[t.at]
	if c != '(' && c != '[' && c != '\\' && c != '.' && c != '^' && c != '$' {
		t.at++
		return true, t.literal(c, f)
	}
	if c != '\\' {
		t.literals = ""
	}
	switch c {
	case '(':
		return t.group(f)
	case '[':
		t.at++
		class, err := t.class(f)
		if err != nil {
			return false, err
		}
		if f.ignoreCase { // including nested classes, and before negation
			class = class.folded()
		}
		t.out.WriteString(class.text())
	case '.':
		t.at++
		if f.dotAll {
			t.out.WriteString(`[\s\S]`)
		} else {
			t.out.WriteString(`[^\n]`)
		}
	case '^': // no match at the end of the text after a final newline
		t.at++
		t.out.WriteString(`(?:\A|(?m:^)(?!\z))`)
		return false, nil
	case '$':
		t.at++
		t.out.WriteString("(?m:$)")
		return false, nil
	case '\\':
		return t.escape(f)
	}
	return true, nil
}

// literal writes a literal character.
func (t *translator) literal(c rune, f flags) error {
	if !f.ignoreCase {
		t.out.WriteString(quoted(c))
		t.literals = ""
		return nil
	}
	set := runeSet{{c, c}}.folded()
	switch {
	case len(set) == 1 && set[0].lo == set[0].hi:
		t.out.WriteString(quoted(c))
	default:
		t.out.WriteString(classText(set))
	}
	t.literals += fullFold()(c)
	for s, r := range caseTable().strings {
		if strings.HasSuffix(t.literals, s) {
			return fmt.Errorf("(?i) with %q, which is %q too", s, r)
		}
	}
	return nil
}

// quoted returns a character escaped so that it is literal, inside and outside a class.
func quoted(c rune) string {
	switch {
	case c < 0x20 || c == 0x7F || 0xD800 <= c && c < 0xE000:
		return fmt.Sprintf(`\u%04X`, c)
	case strings.ContainsRune(`\^$.|?*+()[]{}-#&~ `, c):
		return `\` + string(c)
	}
	return string(c)
}

// groupKinds are the beginnings of groups that have the same meaning in both syntaxes, and
// whether a quantifier may follow the group.
var groupKinds = []struct {
	begin        string
	quantifiable bool
}{
	{"(?:", true}, {"(?>", true}, {"(?=", false}, {"(?!", false}, {"(?<=", false}, {"(?<!", false},
}

// group translates a group from its parenthesis on.
func (t *translator) group(f flags) (quantifiable bool, err error) {
	quantifiable = true
	switch {
	case t.take("(?#"):
		end := slices.Index(t.in[t.at:], ')')
		if end < 0 {
			return false, errors.New("a comment without its )")
		}
		t.at += end + 1
		t.out.WriteString("(?:)")
		return false, nil
	case t.peek("(?<") && !t.peek("(?<=") && !t.peek("(?<!"):
		end := slices.Index(t.in[t.at:], '>')
		if end < 0 {
			return false, errors.New("a name without its >")
		}
		t.at += end + 1 // a name is not needed: there are no back references
		t.out.WriteString("(?:")
	case t.peek("(?"):
		known := false
		for _, kind := range groupKinds {
			if known = t.take(kind.begin); known {
				t.out.WriteString(kind.begin)
				quantifiable = kind.quantifiable
				break
			}
		}
		if known {
			break
		}
		t.at += len("(?")
		if f, err = t.readFlags(f); err != nil {
			return false, err
		}
		if !t.take(":") {
			return false, errors.New("a group of switches without its colon")
		}
		t.out.WriteString("(?:")
	default:
		t.at++
		t.out.WriteString("(?:")
	}
	if err := t.alternatives(f); err != nil {
		return false, err
	}
	if !t.take(")") {
		return false, errors.New("a group without its )")
	}
	t.out.WriteByte(')')
	return quantifiable, nil
}

// escape translates a backslash and what follows it, outside of a class.
func (t *translator) escape(f flags) (quantifiable bool, err error) {
	if t.at+1 == len(t.in) {
		return false, errors.New(`a \ at the end`)
	}
	c := t.in[t.at+1]
	word := func() string { return classText(loneWordRunes()) }
	text := ""
	switch c {
	case 'b':
		text = fmt.Sprintf("(?:(?<=%[1]s)(?!%[1]s)|(?<!%[1]s)(?=%[1]s))", word())
	case 'B':
		text = fmt.Sprintf("(?:(?<=%[1]s)(?=%[1]s)|(?<!%[1]s)(?!%[1]s))", word())
	case 'A', 'z', 'Z', 'G':
		text = `\` + string(c)
	}
	if text != "" {
		t.at += 2
		t.out.WriteString(text)
		t.literals = ""
		return false, nil
	}
	switch c {
	case 'R':
		text = `(?>\r\n|[\n-\r\u0085\u2028\u2029])`
	case 'N':
		text = `[^\n]`
	case 'O':
		text = `[\s\S]`
	}
	if text != "" {
		t.at += 2
		t.out.WriteString(text)
		t.literals = ""
		return true, nil
	}
	if c == 'k' || c == 'g' || '1' <= c && c <= '9' {
		return false, fmt.Errorf(`the reference \%c`, c)
	}
	item, single, err := t.escaped()
	if err != nil {
		return false, err
	}
	if single {
		return true, t.literal(item.set[0].lo, f)
	}
	t.literals = ""
	if slices.Equal(item.set, wordRunes()) {
		item.set = loneWordRunes()
	}
	t.out.WriteString(item.text()) // ignoreCase does not apply to a set
	return true, nil
}

// class is a class of characters. If regexp2's syntax can express it, plain is that syntax.
type class struct {
	set     runeSet // before negation
	plain   string  // the content of the brackets in regexp2's syntax
	exact   bool    // plain is equivalent to set
	negated bool
}

// text returns the class in regexp2's syntax.
func (c class) text() string {
	set := c.set
	switch {
	case c.exact && c.negated:
		return "[^" + c.plain + "]"
	case c.exact:
		return "[" + c.plain + "]"
	case c.negated:
		set = set.not()
	}
	return classText(set)
}

// folded returns the class with all case variants of its characters.
func (c class) folded() class {
	set := c.set.folded()
	c.exact = c.exact && slices.Equal(set, c.set)
	c.set = set
	return c
}

// whole returns the runes of the class, after negation.
func (c class) whole() runeSet {
	if c.negated {
		return c.set.not()
	}
	return c.set
}

// classText returns a class that lists the ranges of a set; for the empty set, a class that
// matches nothing.
func classText(set runeSet) string {
	if len(set) == 0 {
		return `[^\s\S]`
	}
	var b strings.Builder
	b.WriteByte('[')
	for _, r := range set {
		b.WriteString(quotedRune(r.lo))
		if r.hi > r.lo {
			b.WriteByte('-')
			b.WriteString(quotedRune(r.hi))
		}
	}
	b.WriteByte(']')
	return b.String()
}

// quotedRune returns the first or last rune of a range, escaped. A surrogate, which a string
// cannot contain, is written as \uHHHH.
func quotedRune(c rune) string {
	if 0xD800 <= c && c < 0xE000 {
		return `\u` + strconv.FormatInt(int64(c), 16)
	}
	return quoted(c)
}

// class translates a class; its opening bracket has been read.
func (t *translator) class(f flags) (class, error) {
	if t.depth++; t.depth > maxDepth {
		return class{}, fmt.Errorf("more than %d classes within each other", maxDepth)
	}
	defer func() { t.depth-- }()
	c := class{exact: true}
	c.negated = t.take("^")
	var before runeSet // in an intersection, the set before the last &&
	intersected := false
	for first := true; ; first = false {
		switch {
		case t.at == len(t.in):
			return c, errors.New("a class without its ]")
		case t.peek("]") && !(first && slices.Contains(t.in[t.at+1:], ']')):
			t.at++
			if first {
				return c, errors.New("an empty class")
			}
			if intersected {
				c.set = c.set.and(before)
			}
			return c, nil
		case t.take("&&"):
			if intersected {
				c.set = c.set.and(before)
			}
			before, intersected = c.set, true
			c.set, c.exact = nil, false
		default:
			if err := t.classItem(&c, f); err != nil {
				return c, err
			}
		}
	}
}

// classItem adds the next character, range, set or nested class to a class.
func (t *translator) classItem(c *class, f flags) error {
	if t.peek("[:") {
		if item, ok, err := t.bracket(); ok || err != nil {
			c.add(item)
			return err
		}
	}
	if t.take("[") {
		nested, err := t.class(f)
		c.set, c.exact = c.set.or(nested.whole()), false
		return err
	}
	low, single, err := t.classRune()
	if err != nil {
		return err
	}
	begin := t.at
	if !single || !t.take("-") || t.peek("]") || t.peek("[") || t.at == len(t.in) {
		if t.at > begin && t.at < len(t.in) { // the hyphen is literal
			t.at = begin
		}
		c.add(low)
		return nil
	}
	high, single, err := t.classRune()
	if err != nil {
		return err
	}
	if !single {
		return errors.New("a range to a set of characters")
	}
	from, to := low.set[0].lo, high.set[0].lo
	if from > to {
		return fmt.Errorf("the empty range %q-%q", from, to)
	}
	c.add(class{set: runeSet{{from, to}}, plain: quoted(from) + "-" + quoted(to), exact: true})
	return nil
}

// add adds a set to a class. A class with a negated set is written as ranges, because regexp2
// does not match letters by anything after \P{L} in a class.
func (c *class) add(item class) {
	c.set = c.set.or(item.whole())
	c.plain += item.plain
	c.exact = c.exact && item.exact && !item.negated
}

// classRune reads one character of a class, or an escape for a set such as \d.
func (t *translator) classRune() (item class, single bool, err error) {
	if t.in[t.at] == '\\' {
		if t.at+1 < len(t.in) && t.in[t.at+1] == 'b' {
			t.at += 2
			return oneRune('\b'), true, nil
		}
		return t.escaped()
	}
	t.at++
	return oneRune(t.in[t.at-1]), true, nil
}

func oneRune(r rune) class { return class{set: runeSet{{r, r}}, plain: quoted(r), exact: true} }

// bracket reads a POSIX bracket such as [:alpha:].
func (t *translator) bracket() (item class, ok bool, err error) {
	rest := string(t.in[t.at+2:])
	name, _, found := strings.Cut(rest, ":]")
	if !found || len(name) > 20 {
		return item, false, nil
	}
	plain, negated := strings.CutPrefix(name, "^")
	if plain == "punct" {
		plain = "posixpunct"
	}
	set, ok := property(plain)
	if !ok || !slices.Contains([]string{"alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "posixpunct", "print", "space", "upper", "word", "xdigit"}, plain) {
		return item, false, nil
	}
	if negated {
		set = set.not()
	}
	t.at += len("[:") + len([]rune(name)) + len(":]")
	return class{set: set}, true, nil
}

// escaped reads an escape sequence for a character or a set.
func (t *translator) escaped() (item class, single bool, err error) {
	if t.at+1 == len(t.in) {
		return item, false, errors.New(`a \ at the end`)
	}
	c := t.in[t.at+1]
	t.at += 2
	switch c {
	case 'd', 'D':
		return class{set: tables(unicode.Nd), plain: `\d`, exact: true, negated: c == 'D'}, false, nil
	case 's', 'S':
		return class{set: spaceRunes(), plain: `\s`, exact: true, negated: c == 'S'}, false, nil
	case 'w', 'W':
		return class{set: wordRunes(), negated: c == 'W'}, false, nil
	case 'h', 'H':
		return class{set: hexRunes(), negated: c == 'H'}, false, nil
	case 'p', 'P':
		return t.named(c == 'P')
	case 'x':
		return t.hex(2)
	case 'u':
		return t.hex(4)
	case '0':
		return t.octal()
	}
	if at := strings.IndexRune("ntrfvae", c); at >= 0 {
		return oneRune(rune("\n\t\r\f\v\a\x1B"[at])), true, nil
	}
	if c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
		return item, false, fmt.Errorf(`\%c`, c)
	}
	return oneRune(c), true, nil
}

// named reads the name of \p{NAME} or \p{^NAME}.
func (t *translator) named(negated bool) (class, bool, error) {
	end := slices.Index(t.in[t.at:], '}')
	if !t.peek("{") || end < 0 {
		return class{}, false, errors.New(`\p without a {NAME}`)
	}
	name := string(t.in[t.at+1 : t.at+end])
	t.at += end + 1
	plain, inverted := strings.CutPrefix(name, "^")
	s, ok := property(plain)
	if !ok {
		return class{}, false, fmt.Errorf(`\p{%s}`, name)
	}
	item := class{set: s, negated: negated != inverted}
	if unicode.Categories[plain] != nil && plain != "C" && plain != "Cn" && plain != "LC" || unicode.Scripts[plain] != nil {
		item.plain, item.exact = `\p{`+plain+`}`, true
	}
	return item, false, nil
}

// hex reads \xHH, \x{H…} or \uHHHH.
func (t *translator) hex(most int) (class, bool, error) {
	var text string
	braced := t.take("{")
	if braced {
		end := slices.Index(t.in[t.at:], '}')
		if end < 0 {
			return class{}, false, errors.New(`\x{ without its }`)
		}
		text = string(t.in[t.at : t.at+end])
		t.at += end + 1
	} else {
		for len(text) < most && t.at < len(t.in) && hexRunes().has(t.in[t.at]) {
			text += string(t.in[t.at])
			t.at++
		}
	}
	n, err := strconv.ParseUint(text, 16, 32)
	if err != nil || n > unicode.MaxRune {
		return class{}, false, fmt.Errorf(`\x%s`, text)
	}
	if most == 2 && n > 0x7F && !braced {
		return class{}, false, fmt.Errorf(`\x%s, which is a byte and no character`, text)
	}
	return oneRune(rune(n)), true, nil
}

// octal reads up to two digits after \0.
func (t *translator) octal() (class, bool, error) {
	n := rune(0)
	for i := 0; i < 2 && t.at < len(t.in) && '0' <= t.in[t.at] && t.in[t.at] <= '7'; i++ {
		n = n*8 + t.in[t.at] - '0'
		t.at++
	}
	return oneRune(n), true, nil
}
