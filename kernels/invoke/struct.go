package invoke

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/trace/regular"
)

// maxStruct bounds the size of a struct, to that of all parameters (PTX ISA, .param).
const maxStruct = 32764

// structure is a struct by value: the bytes of a file, or fields.
type structure struct {
	file   string // .bin or .hex; "" for fields
	bytes  []byte // of the file, once read
	fields []field
}

// field is a scalar or an address in a struct.
type field struct {
	at int
	Arg
}

// parseStruct parses FILE.bin, FILE.hex or KIND[@OFFSET]=VALUE,…. A comma in brackets belongs to a shape.
func parseStruct(text string) (*structure, error) {
	if (strings.HasSuffix(text, ".bin") || strings.HasSuffix(text, ".hex")) && !strings.Contains(text, "=") {
		return &structure{file: text}, nil
	}
	s := &structure{}
	end := 0
	for _, part := range splitFields(text) {
		kind, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("field %q: want KIND=VALUE or KIND@OFFSET=VALUE, or a .bin or .hex file for the whole struct", part)
		}
		kind, offset, placed := strings.Cut(kind, "@")
		if kind == "struct" {
			return nil, fmt.Errorf("field %q: a struct in a struct: give its fields at their offsets", part)
		}
		a, err := ParseArg(kind + "=" + value)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", part, errors.Unwrap(err))
		}
		size := a.bits() / 8
		f := field{at: ceil.Div(end, size) * size, Arg: a}
		if placed {
			if f.at, err = strconv.Atoi(offset); err != nil || f.at < 0 {
				return nil, fmt.Errorf("field %q: %q is not an offset", part, offset)
			}
		}
		if f.at > maxStruct-size {
			return nil, fmt.Errorf("field %q: it extends past %d bytes, the limit", part, maxStruct)
		}
		for _, g := range s.fields {
			if f.at < g.at+g.bits()/8 && g.at < f.at+size {
				return nil, fmt.Errorf("field %q: it overlaps %q", part, g.text)
			}
		}
		s.fields = append(s.fields, f)
		end = f.at + size
	}
	return s, nil
}

// splitFields splits at the commas outside brackets.
func splitFields(text string) []string {
	depth := 0
	return strings.FieldsFunc(text+",", func(r rune) bool {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		}
		return r == ',' && depth <= 0
	})
}

// read reads the bytes of a struct from its file.
func (s *structure) read(open func(path string) string) error {
	if s.file == "" {
		return nil
	}
	path := open(s.file)
	raw, err := regular.ReadFile(path, 4*maxStruct)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if strings.HasSuffix(s.file, ".hex") {
		text := strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, string(raw))
		if raw, err = hex.DecodeString(text); err != nil {
			return fmt.Errorf("%s: not hexadecimal digits, two for each byte: %w", path, err)
		}
	}
	if len(raw) > maxStruct {
		return fmt.Errorf("%s: a struct of %d bytes; the limit is %d", path, len(raw), maxStruct)
	}
	s.bytes = raw
	return nil
}

// size returns the known number of bytes of a struct.
func (s *structure) size() int {
	n := len(s.bytes)
	for _, f := range s.fields {
		n = max(n, f.at+f.bits()/8)
	}
	return n
}

// put writes the low bytes of a word.
func put(to []byte, word device.Arg) {
	for i := range min(len(to), 8) {
		to[i] = byte(word >> (8 * i))
	}
}

// named is the address of a buffer of a script.
type named struct {
	name string
	add  int64
}

// parseNamed parses NAME or NAME+BYTES.
func parseNamed(text string) (*named, error) {
	name, add, added := strings.Cut(text, "+")
	n := &named{name: name}
	if err := checkName(name); err != nil {
		return nil, err
	}
	if added {
		var err error
		if n.add, err = strconv.ParseInt(add, 0, 64); err != nil || n.add < 0 || n.add > math.MaxInt64/2 {
			return nil, fmt.Errorf("%q is not a number of bytes", add)
		}
	}
	return n, nil
}

// checkName returns an error if a name is not valid for a buffer.
func checkName(name string) error {
	for i, r := range name {
		if !unicode.IsLetter(r) && r != '_' && (i == 0 || !unicode.IsDigit(r) && r != '.') {
			return fmt.Errorf("%q is not a valid name: want letters, digits, _ and dots, starting with a letter", name)
		}
	}
	if name == "" {
		return errors.New("want a name")
	}
	return nil
}
