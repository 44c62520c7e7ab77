package requestlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"kvcompress/trace"
)

// walk reads an object. It calls visit with the path of each member, for example
// usage.prompt_tokens, while the reader is at the value. visit reports whether it has
// read the value. If not, walk descends into it if it is an object, and else skips it.
func (j *jsonReader) walk(visit func(path []byte) (bool, error)) error {
	w := walker{j: j, path: j.path[:0], visit: visit}
	j.path = nil // visit may call walk, too
	err := w.object(0, 0)
	j.path = w.path
	return err
}

type walker struct {
	j     *jsonReader
	path  []byte
	visit func(path []byte) (bool, error)
}

// object reads an object. Its path is the first at bytes of w.path.
func (w *walker) object(at, depth int) error {
	if depth == maxNesting {
		return w.j.position().fail(fmt.Errorf("nested deeper than %d", maxNesting))
	}
	return w.j.object(func(name []byte) error {
		w.path = append(w.path[:at], name...)
		read, err := w.visit(w.path)
		if read || err != nil {
			return err
		}
		if c, err := w.j.peek(); err != nil || c != '{' {
			return cmpOr(err, w.j.skip)
		}
		w.path = append(w.path, '.')
		return w.object(len(w.path), depth+1)
	})
}

// cmpOr returns err if it is not nil, and else f().
func cmpOr(err error, f func() error) error {
	if err != nil {
		return err
	}
	return f()
}

// objects reads the objects of a file: either one after the other, as in JSON Lines, or
// as the elements of a single array.
type objects struct {
	j       *jsonReader
	started bool
	inArray bool
}

// next calls read with the position of the next object; read reads it. next returns
// io.EOF after the last object.
func (o *objects) next(read func(at position) error) error {
	c, err := o.j.space()
	switch {
	case err == io.EOF && o.inArray:
		return o.j.position().fail(errEnds)
	case err != nil:
		return err
	case !o.started && c == '[':
		o.inArray = true
		o.j.at++
		if c, err := o.j.peek(); err != nil {
			return err
		} else if c == ']' {
			o.j.at++
			return o.end()
		}
	case o.started && o.inArray:
		if more, err := o.j.more(']'); err != nil {
			return err
		} else if !more {
			return o.end()
		}
	}
	o.started = true
	if _, err := o.j.peek(); err != nil {
		return err
	}
	return read(o.j.position())
}

// end returns an error if anything follows the array, and else io.EOF.
func (o *objects) end() error {
	o.inArray = false
	c, err := o.j.space()
	if err != nil {
		return err // io.EOF is expected
	}
	return o.j.position().fail(fmt.Errorf("%q after the end of the array", c))
}

// maxText is the largest size in bytes of a text whose tokens are counted.
const maxText = 16 << 20

// longText reads a string of up to maxText bytes. It is valid until the next call.
func (j *jsonReader) longText() ([]byte, error) {
	at := j.position()
	raw, whole, err := j.quotedUpTo(maxText)
	if err != nil {
		return nil, err
	}
	if !whole {
		return nil, at.fail(fmt.Errorf("a text of more than %d bytes", maxText))
	}
	text, err := unquote(raw)
	if err != nil {
		return nil, at.fail(err)
	}
	return text, nil
}

// null reads a null if the next value is one, and reports whether it is.
func (j *jsonReader) null() (bool, error) {
	c, err := j.peek()
	if err != nil || c != 'n' {
		return false, err
	}
	at := j.position()
	text, err := j.literal()
	if err == nil && string(text) != "null" {
		err = at.fail(fmt.Errorf("want a value, got %s", quoted(string(text))))
	}
	return true, err
}

// label reads an identifier such as a session's: a string or a number.
func (j *jsonReader) label() (string, error) {
	c, err := j.peek()
	if err != nil {
		return "", err
	}
	at := j.position()
	var s string
	switch c {
	case '"':
		if s, err = j.text(); err != nil {
			return "", err
		}
	case '[', '{':
		return "", at.fail(fmt.Errorf("want a text or a number, got %s", j.whatever()))
	default:
		text, err := j.literal()
		if err != nil {
			return "", err
		}
		s = string(text)
	}
	if len(s) > trace.MaxSession {
		return "", at.fail(fmt.Errorf("%d bytes, want at most %d", len(s), trace.MaxSession))
	}
	return s, nil
}

// pathsOf returns the paths of the members in the values at the beginning of a JSON
// text. Elements of an array have the path of the array.
func pathsOf(head []byte) map[string]bool {
	p := pathFinder{j: newJSONReader(bytes.NewReader(head)), found: make(map[string]bool)}
	for p.value("", 0) == nil {
	}
	return p.found
}

type pathFinder struct {
	j     *jsonReader
	found map[string]bool
}

// Bounds of pathsOf.
const (
	maxPaths     = 4096
	maxPathBytes = 256
	maxPathDepth = 8
)

func (p *pathFinder) value(prefix string, depth int) error {
	c, err := p.j.peek()
	switch {
	case err != nil:
		return err
	case len(p.found) >= maxPaths:
		return errors.New("enough")
	case c == '{' && depth < maxPathDepth:
		return p.j.object(func(name []byte) error {
			path := prefix + string(name)
			if len(path) > maxPathBytes {
				return p.j.skip()
			}
			p.found[path] = true
			return p.value(path+".", depth+1)
		})
	case c == '[' && depth < maxPathDepth:
		return p.j.array(func() error { return p.value(prefix, depth+1) })
	}
	return p.j.skip()
}
