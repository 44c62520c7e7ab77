// Package strictjson decodes JSON strictly: names match exactly, no name occurs twice,
// null is no number and no string, and nothing follows the value. An error says where in
// the value it is (limits.max_num_seqs), in JSON's terms and not in Go's.
//
// encoding/json takes the last of two equal names and matches names in any case, so two
// programs could read the same file differently.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// MaxDepth is how deeply objects and arrays may nest in what Unmarshal reads.
const MaxDepth = 32

// Object calls visit with the name and the raw JSON value of every member of the
// object in data, in order. It stops at the first error of visit. Of a name that occurs
// twice only the first member is visited; the error for it is returned after the last
// member. value aliases data.
func Object(data []byte, visit func(name string, value []byte) error) error {
	if err := syntax(data); err != nil {
		return err
	}
	return object(data, visit)
}

// Error is one thing that is wrong with a value.
type Error struct {
	Path string // as in shape.layers or layers[0][3]; empty for the whole
	Err  error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Err.Error()
	}
	return e.Path + ": " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Within reports whether e is about the value at a path, or about a part of that value.
func (e *Error) Within(path string) bool {
	rest, ok := strings.CutPrefix(e.Path, path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// Unmarshal decodes data into v as encoding/json does, but refuses a name that v
// has no field for or spells in another case, a name that occurs twice in one
// object, a null for a number, a string, true or false or an object, nesting beyond
// MaxDepth, and anything after the value. It returns the first error that Errors
// would.
func Unmarshal(data []byte, v any) error {
	return first(Errors(data, v))
}

// Errors is like Unmarshal, but does not stop at an error. It returns up to a hundred errors.
// Fields of v whose values have errors do not change.
func Errors(data []byte, v any) []*Error {
	return decode(data, v, decoder{})
}

// Known is like Unmarshal, for files with members that v does not have: unknown names are
// ignored, and null is the same as a missing member.
func Known(data []byte, v any) error {
	return first(decode(data, v, decoder{lenient: true}))
}

// Members sets fields of the struct that v points to from JSON values by name, as Unmarshal would from one object
// of them with its names in ascending order.
func Members(members map[string]json.RawMessage, v any) error {
	var d decoder
	into := reflect.ValueOf(v).Elem()
	fields := fieldsOf(into.Type())
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := syntax(members[name]); err != nil {
			d.fail(join("", name), err)
			continue
		}
		d.member(fields, name, members[name], into, "", 0)
	}
	return first(d.errs)
}

func first(errs []*Error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// Excerpt returns a bad value as an error message quotes it: whole if it is short, else
// its beginning.
func Excerpt[T string | []byte](value T) string {
	const most = 60
	if len(value) <= most {
		return string(value)
	}
	return strings.ToValidUTF8(string(value[:most]), "") + "…"
}

func syntax(data []byte) error {
	if json.Valid(data) {
		return nil
	}
	switch {
	case len(data) == 0:
		return errors.New("it is empty")
	case len(bytes.TrimSpace(data)) == 0:
		return errors.New("it is blank")
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return errors.New("it begins with a byte order mark, which JSON does not allow")
	}
	var raw json.RawMessage // only to learn what is wrong, and where
	err := json.Unmarshal(data, &raw)
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Errorf("%w (byte %d)", Plain(err), s.Offset)
	}
	return err
}

// object is Object on data that is known to be valid JSON.
func object(data []byte, visit func(name string, value []byte) error) error {
	i := skipSpace(data, 0)
	if data[i] != '{' {
		return errors.New("not a JSON object")
	}
	var seen names
	var twice error
	for i = skipSpace(data, i+1); data[i] != '}'; i = skipSpace(data, i) {
		end := skipValue(data, i)
		name, err := unquote(data[i:end])
		if err != nil {
			return err
		}
		i = skipSpace(data, end) // the colon
		i = skipSpace(data, i+1) // the value
		end = skipValue(data, i) // what follows it
		if seen.add(name) {
			if err := visit(name, data[i:end:end]); err != nil {
				return err
			}
		} else if twice == nil {
			twice = fmt.Errorf("%q occurs twice", Excerpt(name))
		}
		if i = skipSpace(data, end); data[i] == ',' {
			i++
		}
	}
	return twice
}

// array calls visit with every element of the array in data, which is valid JSON.
func array(data []byte, visit func(value []byte)) {
	for i := skipSpace(data, skipSpace(data, 0)+1); data[i] != ']'; i = skipSpace(data, i) {
		end := skipValue(data, i)
		visit(data[i:end:end])
		if i = skipSpace(data, end); data[i] == ',' {
			i++
		}
	}
}

func unquote(quoted []byte) (string, error) {
	plain := quoted[1 : len(quoted)-1]
	for _, c := range plain {
		if c == '\\' || c >= 0x80 {
			var s string
			err := json.Unmarshal(quoted, &s)
			return s, err
		}
	}
	return string(plain), nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns where the value that begins at data[i] ends.
func skipValue(data []byte, i int) int {
	for depth := 0; i < len(data); {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i // the end of what encloses a number or a literal
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i++
			continue
		}
		if i++; depth == 0 {
			return i
		}
	}
	return i
}

// names is a set of strings: a slice while it is small, then a map.
type names struct {
	few  []string
	many map[string]struct{}
}

func (n *names) add(name string) bool {
	const few = 16
	if n.many == nil {
		for _, s := range n.few {
			if s == name {
				return false
			}
		}
		if n.few = append(n.few, name); len(n.few) < few {
			return true
		}
		n.many = make(map[string]struct{}, 2*few)
		for _, s := range n.few {
			n.many[s] = struct{}{}
		}
		return true
	}
	if _, dup := n.many[name]; dup {
		return false
	}
	n.many[name] = struct{}{}
	return true
}
