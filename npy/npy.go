// Package npy reads and writes the header of NumPy's .npy files
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). The caller
// reads and writes the array's bytes, which follow the header.
//
// A header is untrusted: reading one allocates a bounded amount of memory, and anything
// malformed is an error. The Go library for the format reads whole arrays into slices
// of Go's types, so it has no float16.
//
// Start with [ReadHeader] and [AppendHeader].
package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

// Header describes an array whose elements follow in C order, the last dimension
// contiguous.
type Header struct {
	Type  string  // NumPy's type string: "<f4", "|u1"
	Shape []int64 // empty for a scalar
}

const (
	magic     = "\x93NUMPY"
	maxHeader = 64 << 10 // bytes of the text; NumPy writes about a hundred
	maxDims   = 64       // as in NumPy 2
	alignment = 64       // of the array's bytes in the file
)

// Count returns the number of elements, and false if it overflows.
func (h Header) Count() (int64, bool) {
	n := uint64(1)
	for _, d := range h.Shape {
		if d == 0 {
			return 0, true
		}
	}
	for _, d := range h.Shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if d < 0 || hi != 0 || lo>>63 != 0 {
			return 0, false
		}
		n = lo
	}
	return int64(n), true
}

// ReadHeader reads a file's header, of format version 1, 2 or 3, and leaves r at the
// first element. Structured types, and Fortran order with more than one dimension, are
// errors.
func ReadHeader(r io.Reader) (Header, error) {
	text, err := readText(r)
	if err != nil {
		return Header{}, fmt.Errorf("npy: %w", err)
	}
	h, err := parse(text)
	if err != nil {
		return Header{}, fmt.Errorf("npy: header: %w", err)
	}
	return h, nil
}

func readText(r io.Reader) (string, error) {
	var start [len(magic) + 2]byte
	if _, err := io.ReadFull(r, start[:]); err != nil || string(start[:len(magic)]) != magic {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
		return "", errors.New("it is not a .npy file: it does not begin with \\x93NUMPY")
	}
	length := make([]byte, 4)
	switch major := start[len(magic)]; major {
	case 1:
		length = length[:2]
	case 2, 3:
	default:
		return "", fmt.Errorf("format version %d.%d; 1 to 3 are known", major, start[len(magic)+1])
	}
	if _, err := io.ReadFull(r, length); err != nil {
		return "", truncated(err)
	}
	n := uint32(binary.LittleEndian.Uint16(length))
	if len(length) == 4 {
		n = binary.LittleEndian.Uint32(length)
	}
	if n > maxHeader {
		return "", fmt.Errorf("a header of %d bytes, more than %d", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", truncated(err)
	}
	return string(text), nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends in its header")
	}
	return err
}

// AppendHeader appends a header of format version 1 to dst and returns it. The header's
// length is a multiple of 64 bytes.
func AppendHeader(dst []byte, h Header) ([]byte, error) {
	if strings.ContainsAny(h.Type, "'\\") || len(h.Shape) > maxDims {
		return dst, fmt.Errorf("npy: type %q, %d dimensions", h.Type, len(h.Shape))
	}
	var shape strings.Builder
	for _, d := range h.Shape {
		if d < 0 {
			return dst, fmt.Errorf("npy: shape %v has a negative dimension", h.Shape)
		}
		fmt.Fprintf(&shape, "%d, ", d)
	}
	list := shape.String()
	if len(h.Shape) == 1 {
		list = strings.TrimSuffix(list, " ") // (3,): NumPy's own spelling
	} else {
		list = strings.TrimSuffix(list, ", ")
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", h.Type, list)
	const before = len(magic) + 2 + 2
	padded := (before+len(text)+1+alignment-1)/alignment*alignment - before
	dst = append(dst, magic...)
	dst = append(dst, 1, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(padded))
	return append(dst, text+strings.Repeat(" ", padded-len(text)-1)+"\n"...), nil
}

// parse reads the header's text: a Python dictionary with the keys descr,
// fortran_order and shape.
func parse(text string) (Header, error) {
	var h Header
	var fortran bool
	s := scanner{text}
	if !s.take("{") {
		return h, errors.New("it is not a dictionary")
	}
	seen := map[string]bool{}
	for !s.take("}") {
		key, err := s.quoted()
		if err != nil {
			return h, err
		}
		if seen[key] {
			return h, fmt.Errorf("%s twice", key)
		}
		seen[key] = true
		if !s.take(":") {
			return h, fmt.Errorf("no colon after %s", key)
		}
		switch key {
		case "descr":
			h.Type, err = s.quoted()
		case "fortran_order":
			fortran, err = s.truth()
		case "shape":
			h.Shape, err = s.tuple()
		default:
			err = fmt.Errorf("it has a %.20q", key)
		}
		if err != nil {
			return h, fmt.Errorf("%s: %w", key, err)
		}
		if !s.take(",") && !s.sees("}") {
			return h, fmt.Errorf("no comma after %s", key)
		}
	}
	if rest := strings.Trim(s.rest, " \n"); rest != "" {
		return h, fmt.Errorf("%.20q after the dictionary", rest)
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return h, fmt.Errorf("it has no %s", key)
		}
	}
	if fortran && len(h.Shape) > 1 {
		return h, errors.New("the array is in Fortran order: save numpy.ascontiguousarray of it")
	}
	return h, nil
}

// scanner reads the Python literals that a header has: strings, True and False, tuples.
type scanner struct{ rest string }

func (s *scanner) sees(token string) bool {
	s.rest = strings.TrimLeft(s.rest, " \n")
	return strings.HasPrefix(s.rest, token)
}

func (s *scanner) take(token string) bool {
	if !s.sees(token) {
		return false
	}
	s.rest = s.rest[len(token):]
	return true
}

func (s *scanner) quoted() (string, error) {
	if s.sees("[") {
		return "", errors.New("an array of records is not supported")
	}
	for _, quote := range []string{"'", `"`} {
		if !s.take(quote) {
			continue
		}
		text, rest, ok := strings.Cut(s.rest, quote)
		if !ok || len(text) > 32 || strings.Contains(text, `\`) {
			return "", errors.New("a string that is too long or does not end")
		}
		s.rest = rest
		return text, nil
	}
	return "", fmt.Errorf("want a string, not %.20q", s.rest)
}

func (s *scanner) truth() (bool, error) {
	switch {
	case s.take("True"):
		return true, nil
	case s.take("False"):
		return false, nil
	}
	return false, fmt.Errorf("want True or False, not %.20q", s.rest)
}

func (s *scanner) tuple() ([]int64, error) {
	if !s.take("(") {
		return nil, fmt.Errorf("want a tuple, not %.20q", s.rest)
	}
	shape := []int64{}
	for !s.take(")") {
		digits := 0
		s.sees("")
		for digits < len(s.rest) && s.rest[digits] >= '0' && s.rest[digits] <= '9' {
			digits++
		}
		d, err := strconv.ParseInt(s.rest[:digits], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("want a number of at most 63 bits, not %.20q", s.rest)
		}
		s.rest = strings.TrimPrefix(s.rest[digits:], "L") // of Python 2
		if shape = append(shape, d); len(shape) > maxDims {
			return nil, fmt.Errorf("more than %d dimensions", maxDims)
		}
		if !s.take(",") && !s.sees(")") {
			return nil, fmt.Errorf("want a comma, not %.20q", s.rest)
		}
	}
	return shape, nil
}
