package validate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"kvcompress/strictjson"
)

// infinite spells an infinity in JSON, which has none: a number beyond every float.
const infinite = "1e999"

// withInfinities returns a reader of JSON in which Infinity, as written by Python's json, is replaced by
// [infinite], except inside strings.
func withInfinities(r io.Reader) io.Reader {
	return &infinities{in: bufio.NewReader(r)}
}

// infinities is the reader that withInfinities returns.
type infinities struct {
	in      *bufio.Reader
	pending string // output not yet returned
	quoted  bool   // inside a string
	escaped bool   // after a backslash
}

// Read implements io.Reader.
func (x *infinities) Read(p []byte) (int, error) {
	n := copy(p, x.pending)
	x.pending = x.pending[n:]
	for n < len(p) {
		c, err := x.in.ReadByte()
		if err != nil {
			if n > 0 {
				err = nil // the next read returns it again
			}
			return n, err
		}
		if !x.quoted && c == 'I' {
			if rest, err := x.in.Peek(len("nfinity")); err == nil && string(rest) == "nfinity" {
				if _, err := x.in.Discard(len(rest)); err != nil {
					return n, err
				}
				copied := copy(p[n:], infinite)
				x.pending = infinite[copied:]
				n += copied
				continue
			}
		}
		switch {
		case x.escaped:
			x.escaped = false
		case x.quoted && c == '\\':
			x.escaped = true
		case c == '"':
			x.quoted = !x.quoted
		}
		p[n] = c
		n++
	}
	return n, nil
}

// floats are binary32 numbers, possibly infinite.
type floats []float32

// UnmarshalJSON implements json.Unmarshaler.
func (f *floats) UnmarshalJSON(data []byte) error {
	var texts []json.Number
	if err := json.Unmarshal(data, &texts); err != nil {
		if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
			return strictjson.Plain(err)
		}
		return errors.New("want numbers, got a string") // of no number
	}
	*f = make(floats, len(texts))
	for i, text := range texts {
		x, err := strconv.ParseFloat(string(text), 32)
		if errors.Is(err, strconv.ErrRange) && math.IsInf(x, 0) && (text == infinite || text == "-"+infinite) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("[%d] is %s: want a binary32 number, Infinity or -Infinity", i, text)
		}
		(*f)[i] = float32(x)
	}
	return nil
}
