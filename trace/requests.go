package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"kvcompress/strictjson"
)

// ScanRequests reads requests.jsonl from r, with only one line in memory. It yields each request, or an
// *Error for each error in a line: no JSON, a value of the wrong type or out of bounds, an arrival before
// that of the previous request. After such an error it continues with the next line; after an error of r it
// ends. It skips blank lines. name is the file's name in errors. It does not find duplicate ids, which would
// need memory for every id: Open and Check do.
func ScanRequests(r io.Reader, name string) iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		for l := range scanLines(r) {
			if len(l.errs) == 0 {
				if !yield(l.req, nil) {
					return
				}
				continue
			}
			for _, err := range l.errs {
				if !yield(Request{}, &Error{File: name, Line: l.number, Request: l.req.ID, Err: err}) {
					return
				}
			}
		}
	}
}

// line is the content of one line of requests.jsonl. If there are errs, req has what could be read, and its
// ID is empty unless it is valid.
type line struct {
	number int
	req    Request
	errs   []error
}

func scanLines(r io.Reader) iter.Seq[line] {
	return func(yield func(line) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		var buf []byte
		previous := int64(0)
		for number := 1; ; number++ {
			text, err := readLine(in, buf[:0])
			buf = text
			if len(bytes.TrimSpace(text)) > 0 {
				l := line{number: number}
				if errors.Is(err, errLongLine) {
					l.errs, err = []error{err}, nil
				} else {
					var timed bool
					if l.req, timed = parseWritten(text); !timed {
						l.req, timed, l.errs = parseRequest(text)
					}
					if timed {
						if l.req.ArrivalNS < previous {
							l.errs = append(l.errs, &unsortedError{l.req.ArrivalNS, previous})
						}
						previous = l.req.ArrivalNS
					}
				}
				if !yield(l) {
					return
				}
			}
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(line{number: number, errs: []error{err}})
				return
			}
		}
	}
}

var errLongLine = fmt.Errorf("the line is longer than %d bytes", MaxLineBytes)

type unsortedError struct{ at, before int64 }

func (e *unsortedError) Error() string {
	return fmt.Sprintf("arrival_ns is %d, before the %d of the request above: want the lines sorted by arrival", e.at, e.before)
}

// readLine appends the next line to buf. It returns io.EOF with the last line. For a line that is too long it
// returns errLongLine with its beginning, and skips the rest.
func readLine(in *bufio.Reader, buf []byte) ([]byte, error) {
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if len(buf)+len(part) > MaxLineBytes {
			long = true
		}
		if !long {
			buf = append(buf, part...)
		} else if len(buf) == 0 {
			buf = append(buf, '?') // so that the line does not look blank
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long:
			// The next call meets the end of the file again.
			return buf, errLongLine
		default:
			return buf, err
		}
	}
}

// parseRequest reads one line and returns all its errors, and whether the arrival is valid.
func parseRequest(text []byte) (r Request, timed bool, errs []error) {
	// What is missing or unreadable has a valid value in judged: its zero would cause a second error for the
	// same mistake.
	judged := Request{ID: "unread", ArrivalNS: 0, PromptTokens: 1, OutputTokens: 1}
	have := make(map[string]bool, 4)
	err := strictjson.Object(text, func(name string, value []byte) error {
		have[name] = true
		var err error
		switch name {
		case "id":
			if err = parseString(&r.ID, value); err == nil {
				judged.ID = r.ID
			}
		case "arrival_ns":
			if r.ArrivalNS, err = parseInt(value); err == nil {
				judged.ArrivalNS = r.ArrivalNS
				timed = r.ArrivalNS >= 0 && r.ArrivalNS <= MaxArrivalNS
			}
		case "prompt_tokens":
			if r.PromptTokens, err = parseTokens(value); err == nil {
				judged.PromptTokens = r.PromptTokens
			}
		case "output_tokens":
			if r.OutputTokens, err = parseTokens(value); err == nil {
				judged.OutputTokens = r.OutputTokens
			}
		case "session":
			if string(value) != "null" {
				err = parseString(&r.Session, value)
				judged.Session = r.Session
			}
		case "prefix_hashes":
			// encoding/json reads a null in an array of numbers as 0.
			if json.Unmarshal(value, &r.PrefixHashes) != nil || value[0] == '[' && bytes.Contains(value, []byte("null")) {
				err = errors.New("want an array of integers from 0 to 2^64-1")
			}
		case "compression":
			if r.Compression, err = parseCompression(value); err == nil {
				judged.Compression = r.Compression
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		return nil
	})
	switch {
	case err != nil && len(have) == 0:
		return Request{}, false, []error{err}
	case err != nil: // duplicate name
		errs = append(errs, err)
	}
	for _, name := range []string{"id", "arrival_ns", "prompt_tokens", "output_tokens"} {
		if !have[name] {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	errs = append(errs, judged.problems()...)
	if checkID(r.ID) != nil {
		r.ID = ""
	}
	return r, timed, errs
}

func parseString(dst *string, value []byte) error {
	if value[0] != '"' {
		return fmt.Errorf("want a string, got %s", strictjson.Excerpt(value))
	}
	if plain := value[1 : len(value)-1]; bytes.IndexByte(plain, '\\') < 0 && isASCII(plain) {
		*dst = string(plain)
		return nil
	}
	return json.Unmarshal(value, dst)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

func parseInt(value []byte) (int64, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("want an integer of 64 bits, got %s", strictjson.Excerpt(value))
	}
	return n, nil
}

// parseTokens returns an error for numbers that an int of 32 bits does not hold.
func parseTokens(value []byte) (int, error) {
	n, err := parseInt(value)
	if err == nil && int64(int32(n)) != n {
		err = fmt.Errorf("%d is out of bounds, want 1 to %d", n, MaxTokens)
	}
	return int(n), err
}
