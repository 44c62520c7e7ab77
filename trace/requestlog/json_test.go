package requestlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

// anything reads a value with jsonReader and returns it like encoding/json, with numbers
// as text.
func anything(j *jsonReader) (any, error) {
	c, err := j.peek()
	if err != nil {
		return nil, err
	}
	switch c {
	case '{':
		all := map[string]any{}
		err := j.object(func(name []byte) error {
			n := string(name)
			v, err := anything(j)
			all[n] = v
			return err
		})
		return all, err
	case '[':
		all := []any{}
		err := j.array(func() error {
			v, err := anything(j)
			all = append(all, v)
			return err
		})
		return all, err
	case '"':
		return j.text()
	}
	text, err := j.literal()
	switch string(text) {
	case "true":
		return true, err
	case "false":
		return false, err
	case "null":
		return nil, err
	}
	return json.Number(text), err
}

// longNumber matches numbers of more characters than jsonReader allows.
var longNumber = regexp.MustCompile(`[-+.0-9Ee]{1000}[-+.0-9Ee]{25}`)

// FuzzJSON compares jsonReader with encoding/json: valid JSON is read equally with every
// size of buffer, and can be skipped.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{moonLines, vllm, `{"a\u00e9\"":[1,-2.5e+7,true,false,null,"\\",{},[],"é"]}`, `[[[]]]`, " 5 ", `"a" "b"`, `{"a":1,}`, `[1 2]`, "\"\xff\"", `"\ud800"`} {
		f.Add([]byte(s), uint8(3))
	}
	f.Add(bytes.Repeat([]byte("4"), 1171), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var want any
		valid := json.Valid(data) && d.Decode(&want) == nil
		if valid && strings.Count(string(data), "[")+strings.Count(string(data), "{") > 500 || len(data) > maxString/2 || longNumber.Match(data) {
			return // longer or more deeply nested than jsonReader allows
		}
		j := newJSONReader(bytes.NewReader(data))
		j.buf = make([]byte, 1+int(size))
		got, err := anything(j)
		if !valid {
			skipAll(newJSONReader(iotest.OneByteReader(bytes.NewReader(data))))
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Fatalf("%q: %s, want %s", data, a, b)
		}
		j = newJSONReader(bytes.NewReader(data))
		j.buf = make([]byte, 1+int(size))
		if err := j.skip(); err != nil {
			t.Fatalf("%q: skip: %v", data, err)
		}
		left, _ := io.ReadAll(io.MultiReader(bytes.NewReader(j.buf[j.at:j.n]), j.r))
		if len(bytes.TrimSpace(left)) > 0 {
			t.Fatalf("%q: skip leaves %q", data, left)
		}
	})
}

// skipAll skips values until there is an error.
func skipAll(j *jsonReader) {
	for j.skip() == nil {
	}
}

// TestPosition counts lines and columns through small buffers.
func TestPosition(t *testing.T) {
	for size := 1; size < 40; size++ {
		j := newJSONReader(strings.NewReader("{\"a\": 1,\n \"b\": [\"x\", \n\n 7]}"))
		j.buf = make([]byte, size)
		var got []string
		err := j.object(func(name []byte) error {
			got = append(got, fmt.Sprintf("%s %v", name, j.position()))
			if string(name) == "a" {
				return j.skip()
			}
			return j.array(func() error {
				got = append(got, fmt.Sprint(j.position()))
				return j.skip()
			})
		})
		if s := strings.Join(got, ", "); err != nil || s != "a {1 7}, b {2 7}, {2 8}, {4 2}" {
			t.Errorf("size %d: %v, %s", size, err, s)
		}
	}
}
