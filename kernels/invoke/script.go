package invoke

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"kvcompress/kernels/device"
)

// Limits of a script.
const (
	maxScript     = 1 << 20 // bytes
	maxStatements = 10000
)

// Script is a sequence of launches that share memory. A statement is a line:
//
//	module FILE.ptx                             loads a module's kernels and variables
//	buffer NAME in=FILE [mask=FILE]             a buffer with the array of a file; elements that
//	                                            the mask excludes stay undefined
//	buffer NAME zeros=TYPE[SHAPE]               a buffer of zeros
//	buffer NAME tmp=TYPE[SHAPE]                 an undefined buffer
//	write NAME FILE                             copies the array of a file to a buffer
//	zero NAME                                   zeroes a buffer
//	set VARIABLE[+BYTES] KIND=VALUE             writes a number, address or struct to a variable
//	set VARIABLE[+BYTES] in=FILE                … or an array
//	launch ENTRY grid=X[,Y[,Z]] block=X[,Y[,Z]] [shared=BYTES] [cooperative] [KIND=VALUE]…
//	expect NAME FILE [mask=FILE] [ulp=N] [rtol=R] [atol=A]
//	expect VARIABLE[+BYTES] FILE …              compares a buffer, or a variable, with a file
//	save NAME FILE                              writes a buffer to a file, if there was no error
//	save VARIABLE[+BYTES] TYPE[SHAPE]:FILE      … or a variable, as an array
//
// Arguments are ParseArg's numbers and structs, and buf=NAME. Words with spaces are in double quotes; # at
// the start of a word begins a comment. File names are relative to the script's folder; save cannot write
// outside it.
type Script struct {
	name  string
	steps []step
}

// step is a parsed statement.
type step struct {
	line int
	text string // its first words, for messages
	do   action
}

// action executes a statement.
type action interface {
	run(r *scriptRun) error
}

type (
	moduleStep struct{ file string }
	bufferStep struct {
		name, mask string
		from       *buffer
	}
	writeStep struct{ name, file string } // file "" means zeros
	setStep   struct {
		to  named // a variable
		arg Arg
	}
	launchStep struct{ launch Launch }
	expectStep struct {
		name       named
		file, mask string
		tolerance  Tolerance
	}
	saveStep struct {
		name named
		file string
		as   *buffer // of a variable: the type and shape of the array; nil for a buffer
	}
)

// ParseScript parses a script. name is that of its file, for errors, which also have the line.
func ParseScript(name string, text []byte) (*Script, error) {
	p := &scriptParser{script: &Script{name: name}, buffers: map[string]bool{}, files: map[string]bool{}}
	if len(text) > maxScript {
		return nil, fmt.Errorf("%s: a script of %d bytes; the limit is %d", name, len(text), maxScript)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%s: it is not text in UTF-8", name)
	}
	line := 0
	for text := range strings.SplitSeq(string(text), "\n") {
		line++
		words, err := splitWords(strings.TrimSuffix(text, "\r"))
		if err == nil && len(words) > 0 {
			if len(p.script.steps) == maxStatements {
				err = fmt.Errorf("more than %d statements", maxStatements)
			} else {
				err = p.statement(line, words)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
	if len(p.script.steps) == 0 {
		return nil, fmt.Errorf("%s: the script has no statements", name)
	}
	return p.script, nil
}

// scriptParser has the declarations of a script.
type scriptParser struct {
	script  *Script
	buffers map[string]bool
	files   map[string]bool // files that are written
	modules int
}

// splitWords splits a line at spaces outside double quotes.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, open := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, open = !quoted, true
		case unicode.IsControl(r) && r != '\t':
			return nil, fmt.Errorf("the control character %q", r)
		case quoted:
			word.WriteRune(r)
		case unicode.IsSpace(r):
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
		case r == '#' && !open:
			return words, nil
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if quoted {
		return nil, errors.New("unterminated quote")
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}

var statements = map[string]func(*scriptParser, []string) (action, error){
	"module": (*scriptParser).module, "buffer": (*scriptParser).buffer, "write": (*scriptParser).write,
	"zero": (*scriptParser).zero, "set": (*scriptParser).set, "launch": (*scriptParser).launch,
	"expect": (*scriptParser).expect, "save": (*scriptParser).save,
}

func (p *scriptParser) statement(line int, words []string) error {
	parse, ok := statements[words[0]]
	if !ok {
		return fmt.Errorf("unknown statement %q: want module, buffer, write, zero, set, launch, expect or save", words[0])
	}
	do, err := parse(p, words[1:])
	if err != nil {
		return fmt.Errorf("%s: %w", words[0], err)
	}
	p.script.steps = append(p.script.steps, step{line, strings.Join(words[:min(len(words), 2)], " "), do})
	return nil
}

func (p *scriptParser) module(words []string) (action, error) {
	if len(words) != 1 {
		return nil, errors.New("want module FILE.ptx")
	}
	if p.modules++; p.modules > 64 {
		return nil, errors.New("more than 64 modules")
	}
	return moduleStep{words[0]}, nil
}

func (p *scriptParser) buffer(words []string) (action, error) {
	if len(words) < 2 {
		return nil, errors.New("want buffer NAME in=FILE, zeros=TYPE[SHAPE] or tmp=TYPE[SHAPE]")
	}
	s := bufferStep{name: words[0]}
	if err := checkName(s.name); err != nil {
		return nil, err
	}
	if p.buffers[s.name] {
		return nil, fmt.Errorf("buffer %q already exists", s.name)
	}
	kind, value, _ := strings.Cut(words[1], "=")
	var err error
	switch kind {
	case "in":
		s.from = &buffer{from: value}
		_, _, err = splitFile(value)
	case "zeros", "tmp":
		if s.from, err = parseNew(value); err == nil && s.from.to != "" {
			err = errors.New("save writes buffers to files")
		}
		if err == nil {
			s.from.zeroed = kind == "zeros"
		}
	default:
		err = fmt.Errorf("%q is none of in=FILE, zeros=TYPE[SHAPE] and tmp=TYPE[SHAPE]", words[1])
	}
	if err != nil {
		return nil, err
	}
	for _, w := range words[2:] {
		file, ok := strings.CutPrefix(w, "mask=")
		if !ok || s.mask != "" || kind != "in" {
			return nil, fmt.Errorf("unexpected %q: only in=FILE can have a mask=FILE", w)
		}
		if _, _, err := splitFile(file); err != nil {
			return nil, err
		}
		s.mask = file
	}
	p.buffers[s.name] = true
	return s, nil
}

// known returns an error if there is no buffer with a name.
func (p *scriptParser) known(name string) error {
	if !p.buffers[name] {
		return fmt.Errorf("no buffer %q so far", name)
	}
	return nil
}

func (p *scriptParser) write(words []string) (action, error) {
	if len(words) != 2 {
		return nil, errors.New("want write NAME FILE")
	}
	if err := p.known(words[0]); err != nil {
		return nil, err
	}
	_, _, err := splitFile(words[1])
	return writeStep{words[0], words[1]}, err
}

func (p *scriptParser) zero(words []string) (action, error) {
	if len(words) != 1 {
		return nil, errors.New("want zero NAME")
	}
	return writeStep{name: words[0]}, p.known(words[0])
}

func (p *scriptParser) set(words []string) (action, error) {
	if len(words) != 2 {
		return nil, errors.New("want set VARIABLE KIND=VALUE or set VARIABLE in=FILE")
	}
	to, err := parsePlace(words[0])
	if err != nil {
		return nil, err
	}
	if p.modules == 0 {
		return nil, errors.New("no module so far")
	}
	a, err := ParseArg(words[1])
	if err != nil {
		return nil, err
	}
	if a.kind != "in" {
		err = p.argument(a)
	}
	return setStep{to, a}, err
}

// parsePlace parses NAME or NAME+BYTES of a buffer or variable; any name that PTX allows.
func parsePlace(text string) (named, error) {
	name, add, added := strings.Cut(text, "+")
	n := named{name: name}
	if name == "" {
		return n, errors.New("want a name")
	}
	if added {
		var err error
		if n.add, err = strconv.ParseInt(add, 0, 64); err != nil || n.add < 0 {
			return n, fmt.Errorf("%q is not a number of bytes", add)
		}
	}
	return n, nil
}

// argument returns an error if an argument is not allowed in a script.
func (p *scriptParser) argument(a Arg) error {
	for _, a := range withFields([]Arg{a}) {
		if a.buffer != nil {
			return fmt.Errorf("%q: declare a buffer, and give it as buf=NAME", a.text)
		}
		if a.named != nil {
			if err := p.known(a.named.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *scriptParser) launch(words []string) (action, error) {
	if len(words) == 0 {
		return nil, errors.New("want launch ENTRY grid=X[,Y[,Z]] block=X[,Y[,Z]] [shared=BYTES] [cooperative] [KIND=VALUE]…")
	}
	if p.modules == 0 {
		return nil, errors.New("no module so far")
	}
	l := Launch{Entry: words[0]}
	seen := map[string]bool{}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "grid":
			l.Grid, err = ParseDim(value)
		case "block":
			l.Block, err = ParseDim(value)
		case "shared":
			l.Shared, err = strconv.Atoi(value)
			if err != nil {
				err = errors.New("want a number of bytes")
			}
		case "cooperative":
			if l.Cooperative = true; w != key {
				err = errors.New("want the word cooperative alone")
			}
		default:
			a, err := ParseArg(w)
			if err == nil {
				err = p.argument(a)
			}
			if err != nil {
				return nil, err
			}
			if l.Args = append(l.Args, a); len(l.Args) > 4096 {
				return nil, errors.New("more than 4096 arguments")
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w, err)
		}
		if seen[key] {
			return nil, fmt.Errorf("a second %s", strings.TrimSuffix(w, value))
		}
		seen[key] = true
	}
	if !seen["grid"] || !seen["block"] {
		return nil, errors.New("want grid= and block=")
	}
	return launchStep{l}, nil
}

func (p *scriptParser) expect(words []string) (action, error) {
	if len(words) < 2 {
		return nil, errors.New("want expect NAME FILE [mask=FILE] [ulp=N] [rtol=R] [atol=A]")
	}
	name, err := parsePlace(words[0])
	if err != nil {
		return nil, err
	}
	s := expectStep{name: name, file: words[1]}
	if p.buffers[words[0]] {
		s.name = named{name: words[0]}
	} else if p.modules == 0 {
		return nil, fmt.Errorf("no buffer %q so far, and no module with variables", words[0])
	}
	if _, _, err := splitFile(s.file); err != nil {
		return nil, err
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "mask":
			s.mask = value
			_, _, err = splitFile(value)
		case "ulp":
			if s.tolerance.ULP, err = strconv.ParseUint(value, 0, 63); err != nil {
				err = fmt.Errorf("want an integer from 0 to %d", math.MaxInt64)
			}
		case "rtol":
			s.tolerance.Rel, err = parseTolerance(value)
		case "atol":
			s.tolerance.Abs, err = parseTolerance(value)
		default:
			err = errors.New("want mask=FILE, ulp=N, rtol=R or atol=A")
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", w, err)
		}
	}
	return s, nil
}

func parseTolerance(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0) || v > math.MaxFloat64 {
		return 0, errors.New("want a number from 0 on")
	}
	return v, nil
}

func (p *scriptParser) save(words []string) (action, error) {
	if len(words) != 2 {
		return nil, errors.New("want save NAME FILE or save VARIABLE TYPE[SHAPE]:FILE")
	}
	s := saveStep{name: named{name: words[0]}, file: words[1]}
	if !p.buffers[words[0]] {
		if p.modules == 0 {
			return nil, fmt.Errorf("no buffer %q so far, and no module with variables", words[0])
		}
		var err error
		if s.name, err = parsePlace(words[0]); err != nil {
			return nil, err
		}
		if s.as, err = parseNew(words[1]); err != nil {
			return nil, fmt.Errorf("no buffer %q so far, and for a variable: %w", words[0], err)
		}
		if s.file = s.as.to; s.file == "" {
			return nil, fmt.Errorf("want save %s %s:FILE", words[0], words[1])
		}
	}
	path, _, err := splitFile(s.file)
	if err != nil {
		return nil, err
	}
	if !filepath.IsLocal(path) {
		return nil, fmt.Errorf("%q is not in the script's folder", path)
	}
	if path = filepath.Clean(path); p.files[path] {
		return nil, fmt.Errorf("%q is already written by another statement", path)
	}
	p.files[path] = true
	return s, nil
}

// ParseDim parses the size of a grid or block: X, X,Y or X,Y,Z, each from 1 to 2147483647.
func ParseDim(text string) (device.Dim, error) {
	extents := [3]int{1, 1, 1}
	i := 0
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseInt(word, 0, 32)
		if i == len(extents) || err != nil || n < 1 {
			return device.Dim{}, errors.New("want X, X,Y or X,Y,Z, each from 1 to 2147483647")
		}
		extents[i] = int(n)
		i++
	}
	return device.Dim{X: extents[0], Y: extents[1], Z: extents[2]}, nil
}
