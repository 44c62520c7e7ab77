package requestlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonReader reads JSON as a stream, value by value, and tracks its line and column.
// It buffers a piece of the text, never a whole value, so a file may be a single line
// of gigabytes. In values that it skips it checks only that brackets match and strings
// end: Python, for example, writes NaN and Infinity, which are not JSON.
type jsonReader struct {
	r     io.Reader
	buf   []byte
	at, n int // index of the next byte in buf, and number of bytes in buf
	err   error

	before    int64 // bytes before buf
	line      int
	lineStart int64
	token     []byte // scratch
	path      []byte // scratch for walk
}

func newJSONReader(r io.Reader) *jsonReader {
	return &jsonReader{r: r, buf: make([]byte, headSize), line: 1}
}

// position is the place of a byte in the text.
type position struct{ line, column int }

func (j *jsonReader) position() position {
	return position{j.line, int(j.before + int64(j.at) - j.lineStart + 1)}
}

func (p position) fail(err error) error {
	return &Error{Line: p.line, Column: p.column, Err: err}
}

// fill reads more of the text when all of buf is used. It returns io.EOF at the end.
func (j *jsonReader) fill() error {
	if j.at < j.n {
		return nil
	}
	if j.err != nil {
		return j.err
	}
	j.before += int64(j.n)
	j.at, j.n = 0, 0
	for range 100 {
		j.n, j.err = j.r.Read(j.buf)
		if j.n > 0 {
			return nil
		}
		if j.err != nil {
			return j.err
		}
	}
	j.err = io.ErrNoProgress
	return j.err
}

var errEnds = errors.New("the file ends in the middle of a value")

// space skips white space and returns the next byte without consuming it. It returns
// io.EOF at the end of the file.
func (j *jsonReader) space() (byte, error) {
	for {
		if err := j.fill(); err != nil {
			return 0, err
		}
		switch c := j.buf[j.at]; c {
		case '\n':
			j.at++
			j.line++
			j.lineStart = j.before + int64(j.at)
		case ' ', '\t', '\r':
			j.at++
		default:
			return c, nil
		}
	}
}

// peek is space, but the end of the file is an unexpected one.
func (j *jsonReader) peek() (byte, error) {
	c, err := j.space()
	if err == io.EOF {
		err = j.position().fail(errEnds)
	}
	return c, err
}

// expect skips white space and reads one given byte, such as a bracket.
func (j *jsonReader) expect(want byte) error {
	c, err := j.peek()
	if err != nil {
		return err
	}
	if c != want {
		return j.position().fail(fmt.Errorf("want %q, got %q", want, c))
	}
	j.at++
	return nil
}

// object reads an object. It calls visit with each name; visit must read the whole
// value, at which the reader is. The name is valid until visit reads.
func (j *jsonReader) object(visit func(name []byte) error) error {
	if err := j.expect('{'); err != nil {
		return err
	}
	if c, err := j.peek(); err != nil || c == '}' {
		j.at++
		return err
	}
	for {
		name, err := j.name()
		if err != nil {
			return err
		}
		if err := j.expect(':'); err != nil {
			return err
		}
		if _, err := j.peek(); err != nil {
			return err
		}
		if err := visit(name); err != nil {
			return err
		}
		if more, err := j.more('}'); !more {
			return err
		}
	}
}

// array reads an array. It calls visit for each element; visit must read the whole
// element, at which the reader is.
func (j *jsonReader) array(visit func() error) error {
	if err := j.expect('['); err != nil {
		return err
	}
	if c, err := j.peek(); err != nil || c == ']' {
		j.at++
		return err
	}
	for {
		if _, err := j.peek(); err != nil {
			return err
		}
		if err := visit(); err != nil {
			return err
		}
		if more, err := j.more(']'); !more {
			return err
		}
	}
}

// more reads a comma, or the closing bracket end. It reports whether another element
// follows.
func (j *jsonReader) more(end byte) (bool, error) {
	c, err := j.peek()
	switch {
	case err != nil:
		return false, err
	case c == ',':
		j.at++
		return true, nil
	case c == end:
		j.at++
		return false, nil
	}
	return false, j.position().fail(fmt.Errorf("want ',' or %q, got %q", end, c))
}

// maxString is the number of bytes that are kept of a string.
const maxString = 4096

// name reads a member's name. A long name is truncated: it is not one of those used
// here.
func (j *jsonReader) name() ([]byte, error) {
	at := j.position()
	raw, _, err := j.quoted()
	if err != nil {
		return nil, err
	}
	text, err := unquote(raw)
	if err != nil {
		return nil, at.fail(err)
	}
	return text, nil
}

// text reads a string.
func (j *jsonReader) text() (string, error) {
	at := j.position()
	raw, whole, err := j.quoted()
	if err != nil {
		return "", err
	}
	if !whole {
		return "", at.fail(fmt.Errorf("a string of more than %d bytes", maxString))
	}
	text, err := unquote(raw)
	if err != nil {
		return "", at.fail(err)
	}
	return string(text), nil
}

// quoted reads a string and returns the bytes between the quotation marks, escapes
// included. It keeps at most maxString bytes; whole reports whether these are all.
func (j *jsonReader) quoted() (raw []byte, whole bool, err error) { return j.quotedUpTo(maxString) }

// quotedUpTo is quoted with another bound on the bytes kept.
func (j *jsonReader) quotedUpTo(most int) (raw []byte, whole bool, err error) {
	if err := j.expect('"'); err != nil {
		return nil, false, err
	}
	j.token = j.token[:0]
	whole = true
	escaped := false
	for {
		if err := j.fill(); err != nil {
			if err == io.EOF {
				err = j.position().fail(errors.New("the file ends in a string"))
			}
			return nil, false, err
		}
		piece := j.buf[j.at:j.n]
		end := len(piece)
		done := false
		for i, c := range piece {
			if escaped {
				escaped = false
				continue
			}
			if c == '\\' {
				escaped = true
			} else if c == '"' {
				end, done = i, true
				break
			} else if c == '\n' {
				j.at += i
				return nil, false, j.position().fail(errors.New("a line break in a string"))
			}
		}
		if room := most - len(j.token); end > room {
			whole = false
			j.token = append(j.token, piece[:room]...)
		} else {
			j.token = append(j.token, piece[:end]...)
		}
		j.at += end
		if done {
			j.at++
			return j.token, whole, nil
		}
	}
}

// unquote decodes the escapes in a string.
func unquote(raw []byte) ([]byte, error) {
	for _, c := range raw {
		if c == '\\' || c < ' ' || c >= 0x80 {
			var text string
			if err := json.Unmarshal([]byte(`"`+string(raw)+`"`), &text); err != nil && len(raw) != maxString {
				return nil, fmt.Errorf("a bad string, %s", quoted(string(raw)))
			}
			return []byte(text), nil
		}
	}
	return raw, nil
}

// literal reads a number, true, false or null, or any other word that is not a string,
// array or object. The result is valid until the next call.
func (j *jsonReader) literal() ([]byte, error) {
	const most = 1024
	start := j.position()
	j.token = j.token[:0]
	for {
		if err := j.fill(); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		i := j.at
		for i < j.n && !isDelimiter(j.buf[i]) {
			i++
		}
		if len(j.token)+i-j.at > most {
			return nil, start.fail(errors.New("a number of more than 1024 digits"))
		}
		j.token = append(j.token, j.buf[j.at:i]...)
		j.at = i
		if i < j.n {
			break
		}
	}
	if len(j.token) == 0 {
		if j.at < j.n {
			return nil, start.fail(fmt.Errorf("want a value, got %q", j.buf[j.at]))
		}
		return nil, start.fail(errEnds)
	}
	return j.token, nil
}

func isDelimiter(c byte) bool {
	switch c {
	case ',', ':', '[', ']', '{', '}', '"', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// maxNesting is the maximum nesting depth of skipped values.
const maxNesting = 1000

// skip skips a value.
func (j *jsonReader) skip() error {
	var open []byte // the closing brackets still to come
	for {
		c, err := j.peek()
		if err != nil {
			return err
		}
		switch {
		case c == '{' || c == '[':
			if len(open) == maxNesting {
				return j.position().fail(fmt.Errorf("nested deeper than %d", maxNesting))
			}
			open = append(open, c+2) // in ASCII, '}' and ']' are '{' + 2 and '[' + 2
			j.at++
			continue
		case c == '"':
			_, _, err = j.quoted()
		case len(open) > 0 && (c == '}' || c == ']'):
			if open[len(open)-1] != c {
				return j.position().fail(fmt.Errorf("want %q, got %q", open[len(open)-1], c))
			}
			open = open[:len(open)-1]
			j.at++
		case len(open) > 0 && (c == ',' || c == ':'):
			j.at++
			continue
		default:
			_, err = j.literal()
		}
		if err != nil || len(open) == 0 {
			return err
		}
	}
}
