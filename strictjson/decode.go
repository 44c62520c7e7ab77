package strictjson

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// maxErrors bounds the errors that are collected of one value.
const maxErrors = 100

// decoder decodes one value, and collects its errors.
type decoder struct {
	lenient bool // unknown names are ignored, and so is null
	errs    []*Error
}

func decode(data []byte, v any, d decoder) []*Error {
	if err := syntax(data); err != nil {
		return []*Error{{Err: err}}
	}
	d.value(data, reflect.ValueOf(v).Elem(), "", 0)
	return d.errs
}

func (d *decoder) fail(path string, err error) {
	if len(d.errs) < maxErrors {
		// An error of a type's own decoder may already begin with the path.
		if text, ok := strings.CutPrefix(err.Error(), path+": "); ok && path != "" {
			err = errors.New(text)
		}
		d.errs = append(d.errs, &Error{path, err})
	}
}

func (d *decoder) want(path, what string, data []byte) {
	d.fail(path, fmt.Errorf("want %s, got %s", what, Excerpt(data)))
}

// value decodes data, which is valid JSON without surrounding space (except the outermost value),
// into v, which can be set.
func (d *decoder) value(data []byte, v reflect.Value, path string, depth int) {
	if depth > MaxDepth {
		d.fail(path, fmt.Errorf("nested deeper than %d", MaxDepth))
		return
	}
	data = data[skipSpace(data, 0):]
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		if data[0] == 'n' {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		d.value(data, v.Elem(), path, depth) // a pointer is no level of nesting
		return
	}
	isNull := data[0] == 'n'
	switch self := v.Addr().Interface().(type) {
	case json.Unmarshaler:
		d.self(data, v, path, depth)
		return
	case encoding.TextUnmarshaler:
		switch {
		case isNull && d.lenient:
		case data[0] != '"':
			d.want(path, "a string", data)
		default:
			var text string
			err := json.Unmarshal(data, &text)
			if err == nil {
				err = self.UnmarshalText([]byte(text))
			}
			if err != nil {
				d.fail(path, err)
			}
		}
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		if isNull {
			v.SetZero()
			return
		}
		if t.Elem().Kind() != reflect.Uint8 {
			d.slice(data, v, path, depth)
			return
		}
	case reflect.Map:
		if isNull {
			v.SetZero()
			return
		}
		if t.Key().Kind() == reflect.String {
			d.mapOf(data, v, path, depth)
			return
		}
	case reflect.Interface:
		d.self(data, v, path, depth)
		return
	}
	if isNull && d.lenient {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		d.structOf(data, v, path, depth)
	case reflect.String:
		if data[0] != '"' {
			d.want(path, "a string", data)
			return
		}
		d.self(data, v, path, depth)
	case reflect.Bool:
		if data[0] != 't' && data[0] != 'f' {
			d.want(path, "true or false", data)
			return
		}
		v.SetBool(data[0] == 't')
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(literal(data), 10, t.Bits())
		if err != nil {
			high := uint64(1)<<(t.Bits()-1) - 1
			d.want(path, wantInteger(err, fmt.Sprintf("-%d", high+1), high), data)
			return
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(literal(data), 10, t.Bits())
		if err != nil {
			if negative, _, _ := strings.Cut(literal(data), "."); strings.HasPrefix(negative, "-") {
				err = strconv.ErrRange
			}
			d.want(path, wantInteger(err, "0", math.MaxUint64>>(64-t.Bits())), data)
			return
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(literal(data), t.Bits())
		switch {
		case errors.Is(err, strconv.ErrRange):
			d.want(path, fmt.Sprintf("a number that fits %d bits", t.Bits()), data)
		case err != nil || !isNumber(data):
			d.want(path, "a number", data)
		default:
			v.SetFloat(x)
		}
	default:
		d.self(data, v, path, depth)
	}
}

// literal returns the text of a number, true, false or null, and for any other value a
// text that is none of these.
func literal(data []byte) string { return string(data[:skipValue(data, 0)]) }

func isNumber(data []byte) bool { return data[0] == '-' || '0' <= data[0] && data[0] <= '9' }

// wantInteger describes the expected value: with its range, if err is that the number is
// out of range.
func wantInteger(err error, low string, high uint64) string {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Sprintf("an integer from %s to %d", low, high)
	}
	return "an integer"
}

// self decodes a value with encoding/json. Unless d is lenient, it first refuses names
// that occur twice in an object of the value.
func (d *decoder) self(data []byte, v reflect.Value, path string, depth int) {
	if !d.lenient {
		before := len(d.errs)
		if d.names(data, path, depth); len(d.errs) > before {
			return
		}
	}
	if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
		d.fail(path, Plain(err))
	}
}

// names refuses equal names and deep nesting anywhere in a value.
func (d *decoder) names(data []byte, path string, depth int) {
	if depth > MaxDepth {
		d.fail(path, fmt.Errorf("nested deeper than %d", MaxDepth))
		return
	}
	switch data = data[skipSpace(data, 0):]; data[0] {
	case '{':
		if err := object(data, func(name string, value []byte) error {
			d.names(value, join(path, name), depth+1)
			return nil
		}); err != nil {
			d.fail(path, err)
		}
	case '[':
		i := 0
		array(data, func(value []byte) {
			d.names(value, fmt.Sprintf("%s[%d]", path, i), depth+1)
			i++
		})
	}
}

func (d *decoder) slice(data []byte, v reflect.Value, path string, depth int) {
	if data[0] != '[' {
		d.want(path, "an array", data)
		return
	}
	element := reflect.New(v.Type().Elem()).Elem()
	all := reflect.MakeSlice(v.Type(), 0, 0)
	before := len(d.errs)
	array(data, func(value []byte) {
		element.SetZero()
		d.value(value, element, fmt.Sprintf("%s[%d]", path, all.Len()), depth+1)
		all = reflect.Append(all, element)
	})
	if len(d.errs) == before {
		v.Set(all)
	}
}

func (d *decoder) mapOf(data []byte, v reflect.Value, path string, depth int) {
	if data[0] != '{' {
		d.want(path, "an object", data)
		return
	}
	t := v.Type()
	all := reflect.MakeMap(t)
	before := len(d.errs)
	err := object(data, func(name string, value []byte) error {
		element := reflect.New(t.Elem()).Elem()
		d.value(value, element, join(path, name), depth+1)
		all.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), element)
		return nil
	})
	if err != nil {
		d.fail(path, err)
	}
	if len(d.errs) == before {
		v.Set(all)
	}
}

func (d *decoder) structOf(data []byte, v reflect.Value, path string, depth int) {
	if data[0] != '{' {
		d.want(path, "an object", data)
		return
	}
	fields := fieldsOf(v.Type())
	err := object(data, func(name string, value []byte) error {
		d.member(fields, name, value, v, path, depth)
		return nil
	})
	if err != nil {
		d.fail(path, err)
	}
}

// member decodes the value of one name into its field of the struct v.
func (d *decoder) member(fields map[string][]int, name string, value []byte, v reflect.Value, path string, depth int) {
	index, known := fields[name]
	switch {
	case known:
		d.value(value, v.FieldByIndex(index), join(path, name), depth+1)
	case !d.lenient:
		d.fail(path, fmt.Errorf("unknown field %q", Excerpt(name)))
	}
}

func join(path, name string) string {
	if path == "" {
		return Excerpt(name)
	}
	return path + "." + Excerpt(name)
}

// structFields caches the results of fieldsOf, by reflect.Type.
var structFields sync.Map

// fieldsOf returns the index path of each field of a struct type by its JSON name.
func fieldsOf(t reflect.Type) map[string][]int {
	if fields, ok := structFields.Load(t); ok {
		return fields.(map[string][]int)
	}
	fields := make(map[string][]int)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || f.Tag.Get("json") == "-" {
			continue // of an embedded struct, the fields are visible themselves
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Index
	}
	structFields.Store(t, fields)
	return fields
}

// errCut is the error for a text that ends too early.
var errCut = errors.New("it ends in the middle of a value")

// Plain rewords an error of encoding/json without the names of Go's types.
func Plain(err error) error {
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
			want = "an integer"
		}
		plain := &Error{t.Field, fmt.Errorf("want %s, got %s", want, Excerpt(t.Value))}
		return plain
	}
	var syntax *json.SyntaxError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &syntax) && err.Error() == "unexpected end of JSON input" {
		return errCut
	}
	if err != nil && strings.HasPrefix(err.Error(), "json: ") {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return err
}
