// Package strictjson reads JSON objects the way a file format wants them read:
// names match exactly, no name occurs twice, and nothing follows the value.
// (encoding/json takes the last of two equal names, matches names in any case,
// and so lets two readers of one file disagree about what it says.)
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// MaxDepth is how deeply objects and arrays may nest in what Unmarshal reads.
const MaxDepth = 32

// Object calls visit with the name and the raw JSON value of every member of the
// object in data, in order. It stops at the first error, its own or visit's.
// value aliases data.
func Object(data []byte, visit func(name string, value []byte) error) error {
	if err := syntax(data); err != nil {
		return err
	}
	return object(data, visit)
}

// Unmarshal decodes data into v as encoding/json does, but refuses a name that v
// has no field for or spells in another case, a name that occurs twice in one
// object, nesting beyond MaxDepth, and anything after the value.
func Unmarshal(data []byte, v any) error {
	if err := syntax(data); err != nil {
		return err
	}
	if err := checkNames(data, reflect.TypeOf(v), 0); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return plain(dec.Decode(v))
}

// plain puts an error of encoding/json into words that do not speak of Go.
func plain(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		want := "another type"
		switch t.Type.Kind() {
		case reflect.String:
			want = "a string"
		case reflect.Bool:
			want = "true or false"
		case reflect.Slice, reflect.Array:
			want = "an array"
		case reflect.Struct, reflect.Map:
			want = "an object"
		case reflect.Float32, reflect.Float64:
			want = "a number"
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			want = "an integer that fits " + t.Type.String()
		}
		return fmt.Errorf("%s: want %s, got %s", t.Field, want, t.Value)
	}
	if err != nil && strings.HasPrefix(err.Error(), "json: ") {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return err
}

func syntax(data []byte) error {
	if json.Valid(data) {
		return nil
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return io.ErrUnexpectedEOF
	}
	var raw json.RawMessage // only to learn what is wrong, and where
	err := json.Unmarshal(data, &raw)
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Errorf("%w (byte %d)", err, s.Offset)
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
	for i = skipSpace(data, i+1); data[i] != '}'; i = skipSpace(data, i) {
		end := skipValue(data, i)
		name, err := unquote(data[i:end])
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return fmt.Errorf("%q occurs twice", name)
		}
		i = skipSpace(data, end) // the colon
		i = skipSpace(data, i+1) // the value
		end = skipValue(data, i) // what follows it
		if err := visit(name, data[i:end:end]); err != nil {
			return err
		}
		if i = skipSpace(data, end); data[i] == ',' {
			i++
		}
	}
	return nil
}

// checkNames refuses equal names anywhere in the valid JSON value data, and names
// that the type t into which it will be decoded spells otherwise or lacks. Where t
// is nil any name will do.
func checkNames(data []byte, t reflect.Type, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	fields, element := members(t)
	switch i := skipSpace(data, 0); data[i] {
	case '{':
		return object(data, func(name string, value []byte) error {
			inner, known := fields[name]
			if fields == nil {
				inner = element
			} else if !known {
				return fmt.Errorf("unknown field %q", name)
			}
			return checkNames(value, inner, depth+1)
		})
	case '[':
		for i = skipSpace(data, i+1); data[i] != ']'; i = skipSpace(data, i) {
			end := skipValue(data, i)
			if err := checkNames(data[i:end], element, depth+1); err != nil {
				return err
			}
			if i = skipSpace(data, end); data[i] == ',' {
				i++
			}
		}
	}
	return nil
}

// members returns the fields of a struct type by their names in JSON, or the type
// of the elements of a slice, an array or a map. Of types that decode themselves it
// returns neither.
func members(t reflect.Type) (fields map[string]reflect.Type, element reflect.Type) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil, nil
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return nil, t.Elem()
	case reflect.Struct:
	default:
		return nil, nil
	}
	fields = make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || f.Tag.Get("json") == "-" {
			continue // of an embedded struct, the fields are visible themselves
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
	}
	return fields, nil
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

// names is a set of strings that is cheap while it is small.
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
