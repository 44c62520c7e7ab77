package requestlog

import (
	"fmt"
	"strconv"

	"kvcompress/strictjson"
)

// whatever reads the beginning of an unexpected value, to show it in an error.
func (j *jsonReader) whatever() string {
	switch c, _ := j.peek(); c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		raw, _, _ := j.quoted()
		return strconv.Quote(strictjson.Excerpt(string(raw)))
	}
	text, _ := j.literal()
	return strictjson.Excerpt(string(text))
}

// number reads a number and returns its text.
func (j *jsonReader) number(what string) ([]byte, error) {
	c, err := j.peek()
	if err != nil {
		return nil, err
	}
	at := j.position()
	if c != '-' && (c < '0' || c > '9') {
		return nil, at.fail(fmt.Errorf("want %s, got %s", what, j.whatever()))
	}
	return j.literal()
}

// tokens reads a number of tokens.
func (j *jsonReader) tokens() (int, error) {
	at, err := j.start()
	if err != nil {
		return 0, err
	}
	text, err := j.number("a number of tokens")
	if err != nil {
		return 0, err
	}
	n, err := parseTokens(string(text))
	if err != nil {
		return 0, at.fail(err)
	}
	return n, nil
}

// time reads a time in the given unit.
func (j *jsonReader) time(unit Unit) (int64, error) {
	at, err := j.start()
	if err != nil {
		return 0, err
	}
	text, err := j.number("a time")
	if err != nil {
		return 0, err
	}
	t, err := parseTime(string(text), unit)
	if err != nil {
		return 0, at.fail(err)
	}
	return t, nil
}

// hash reads an integer of 64 bits.
func (j *jsonReader) hash() (uint64, error) {
	at, err := j.start()
	if err != nil {
		return 0, err
	}
	text, err := j.number("an integer from 0 to 2^64-1")
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	for i, c := range text {
		d := uint64(c - '0')
		if d > 9 || i > 0 && text[0] == '0' || n > (1<<64-1-d)/10 {
			return 0, at.fail(fmt.Errorf("want an integer from 0 to 2^64-1, got %s", strictjson.Excerpt(string(text))))
		}
		n = 10*n + d
	}
	return n, nil
}

// start skips white space and returns the position of the value.
func (j *jsonReader) start() (position, error) {
	_, err := j.peek()
	return j.position(), err
}

// integer reads an integer that may be negative.
func (j *jsonReader) integer() (int64, error) {
	at, err := j.start()
	if err != nil {
		return 0, err
	}
	text, err := j.number("an integer")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, at.fail(fmt.Errorf("want an integer, got %s", strictjson.Excerpt(string(text))))
	}
	return n, nil
}
