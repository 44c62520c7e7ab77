// Package safetensors reads and writes files of named tensors in the safetensors
// format of Hugging Face (https://huggingface.co/docs/safetensors): eight bytes
// with the header's length, a JSON header, and the tensors' bytes.
//
// It is our own because the Go libraries for the format read a file whole and
// believe its header. Here a file is an io.ReaderAt of which ranges are read as
// they are asked for (never mapped into memory, so that a file which shrinks
// meanwhile is an error and not a SIGBUS), and a header is untrusted: everything
// it says is checked against the size of the file before any of it is used.
package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sort"
	"strconv"

	"kvcompress/strictjson"
)

// MaxHeader is the longest header that Open reads, in bytes. The header of a
// model of a thousand tensors takes about a hundred thousand.
const MaxHeader = 16 << 20

// maxDims bounds the dimensions of a tensor.
const maxDims = 64

// prefix is the length of the header's length.
const prefix = 8

// Info describes one tensor of a file.
type Info struct {
	Name  string
	DType DType
	Shape []int64 // row-major, the last dimension contiguous; empty for a scalar
	Begin int64   // where its bytes begin and end in the file
	End   int64
}

// Elements returns the product of the shape.
func (t Info) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes returns the tensor's size in the file.
func (t Info) Bytes() int64 { return t.End - t.Begin }

// File is an open safetensors file. It may be read from several goroutines at
// once if its io.ReaderAt may, as an *os.File may.
type File struct {
	r        io.ReaderAt
	name     string
	tensors  []Info // by position in the file
	index    map[string]int
	metadata map[string]string
}

// Open reads and checks the header of the file r of size bytes. Of several
// errors it returns the first; Check returns them all. name is what errors call
// the file; they have the form "safetensors: NAME: ...".
func Open(r io.ReaderAt, size int64, name string) (*File, error) {
	f, errs := open(r, size, name)
	if len(errs) > 0 {
		return nil, fmt.Errorf("safetensors: %s: %w", name, errs[0])
	}
	return f, nil
}

// Check returns every error of the header of the file r of size bytes, without
// the file's name. It does not look at the tensors' values.
func Check(r io.ReaderAt, size int64) []error {
	_, errs := open(r, size, "")
	return errs
}

// Names returns the names of the tensors in the order of their bytes.
func (f *File) Names() []string {
	names := make([]string, len(f.tensors))
	for i, t := range f.tensors {
		names[i] = t.Name
	}
	return names
}

// Tensor returns the tensor of the given name, and whether there is one.
func (f *File) Tensor(name string) (Info, bool) {
	i, ok := f.index[name]
	if !ok {
		return Info{}, false
	}
	t := f.tensors[i]
	t.Shape = slices.Clone(t.Shape)
	return t, true
}

// Metadata returns the value of a key of the header's __metadata__.
func (f *File) Metadata(key string) (string, bool) {
	v, ok := f.metadata[key]
	return v, ok
}

func open(r io.ReaderAt, size int64, name string) (*File, []error) {
	header, err := readHeader(r, size)
	if err != nil {
		return nil, []error{err}
	}
	f := &File{r: r, name: name}
	base := int64(prefix + len(header))
	errs := f.parse(header, base)
	if len(errs) == 0 {
		errs = f.checkLayout(base, size)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	f.index = make(map[string]int, len(f.tensors))
	for i, t := range f.tensors {
		f.index[t.Name] = i
	}
	return f, nil
}

func readHeader(r io.ReaderAt, size int64) ([]byte, error) {
	if size < prefix {
		return nil, fmt.Errorf("truncated: %d bytes cannot hold the header's length", size)
	}
	var length [prefix]byte
	if err := readFull(r, length[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > MaxHeader {
		return nil, fmt.Errorf("a header of %d bytes, more than %d: not a safetensors file", n, MaxHeader)
	}
	if int64(n) > size-prefix {
		return nil, fmt.Errorf("truncated: the header takes %d bytes, and the file has %d after its length", n, size-prefix)
	}
	header := make([]byte, n) // at most as long as the file is
	if err := readFull(r, header, prefix); err != nil {
		return nil, err
	}
	if n == 0 || header[0] != '{' {
		return nil, errors.New("the header does not begin with '{'")
	}
	return header, nil
}

// parse fills f.tensors, with offsets from the beginning of the file, and
// f.metadata. It goes on after a tensor with errors, to find those of the others.
func (f *File) parse(header []byte, base int64) []error {
	var errs []error
	err := strictjson.Object(header, func(name string, value []byte) error {
		if name == "__metadata__" {
			if err := json.Unmarshal(value, &f.metadata); err != nil {
				errs = append(errs, errors.New("header: __metadata__ is not a map of strings"))
			}
			return nil
		}
		t, err := parseInfo(name, value)
		if err != nil {
			errs = append(errs, fmt.Errorf("tensor %q: %w", name, err))
			return nil
		}
		if t.Begin += base; t.End > 1<<62-base {
			errs = append(errs, fmt.Errorf("tensor %q: data_offsets overflow", name))
			return nil
		}
		t.End += base
		f.tensors = append(f.tensors, t)
		return nil
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("header: %w", err))
	}
	sort.SliceStable(f.tensors, func(i, j int) bool {
		a, b := f.tensors[i], f.tensors[j]
		return a.Begin < b.Begin || a.Begin == b.Begin && a.End < b.End
	})
	return errs
}

// parseInfo reads one tensor's description, with offsets as they are written:
// from the end of the header.
func parseInfo(name string, value []byte) (Info, error) {
	t := Info{Name: name}
	var offsets []int64
	var haveDType, haveShape bool
	err := strictjson.Object(value, func(field string, value []byte) (err error) {
		switch field {
		case "dtype":
			haveDType = true
			err = json.Unmarshal(value, (*string)(&t.DType))
			if err == nil && t.DType.Bits() == 0 {
				err = fmt.Errorf("unknown dtype %q", t.DType)
			}
		case "shape":
			haveShape = true
			t.Shape, err = sizes(value)
		case "data_offsets":
			offsets, err = sizes(value)
		default:
			err = fmt.Errorf("unknown field %q", field)
		}
		if err != nil && (field == "shape" || field == "data_offsets") {
			err = fmt.Errorf("%s: %w", field, err)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	switch {
	case !haveDType:
		return t, errors.New("no dtype")
	case !haveShape:
		return t, errors.New("no shape")
	case len(t.Shape) > maxDims:
		return t, fmt.Errorf("%d dimensions, more than %d", len(t.Shape), maxDims)
	case len(offsets) != 2:
		return t, errors.New("data_offsets are not two numbers")
	}
	t.Begin, t.End = offsets[0], offsets[1]
	if t.Begin > t.End {
		return t, fmt.Errorf("data_offsets [%d, %d] run backwards", t.Begin, t.End)
	}
	want, ok := byteSize(t.DType, t.Shape)
	if !ok {
		return t, fmt.Errorf("shape %v of %s has no size in bytes that fits 62 bits", t.Shape, t.DType)
	}
	if want != t.End-t.Begin {
		return t, fmt.Errorf("shape %v of %s takes %d bytes, and data_offsets [%d, %d] give %d",
			t.Shape, t.DType, want, t.Begin, t.End, t.End-t.Begin)
	}
	return t, nil
}

// sizes parses a JSON array of integers ≥ 0. Its result is no longer than the text.
func sizes(value []byte) ([]int64, error) {
	var numbers []json.Number
	if err := json.Unmarshal(value, &numbers); err != nil || numbers == nil {
		return nil, errors.New("not an array of numbers")
	}
	out := make([]int64, len(numbers))
	for i, s := range numbers {
		n, err := strconv.ParseInt(s.String(), 10, 64)
		if err != nil || n < 0 || n > 1<<62 {
			return nil, fmt.Errorf("%q is not an integer from 0 to 2^62", s)
		}
		out[i] = n
	}
	return out, nil
}

// byteSize returns the bytes that a tensor takes, and whether that is a number of
// whole bytes of at most 62 bits.
func byteSize(t DType, shape []int64) (int64, bool) {
	if slices.Contains(shape, 0) {
		return 0, true
	}
	n := uint64(t.Bits())
	for _, d := range shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return 0, false
		}
		n = lo
	}
	return int64(n / 8), n%8 == 0
}

// checkLayout sees that the tensors, sorted by position, cover the file from base
// to its end, without holes and without overlap.
func (f *File) checkLayout(base, size int64) []error {
	var errs []error
	end, last := base, ""
	for _, t := range f.tensors {
		switch {
		case t.Begin < end:
			errs = append(errs, fmt.Errorf("tensor %q at byte %d overlaps %q, which ends at %d", t.Name, t.Begin, last, end))
		case t.Begin > end:
			errs = append(errs, fmt.Errorf("%d bytes before tensor %q, from byte %d, belong to no tensor", t.Begin-end, t.Name, end))
		}
		if t.End > size {
			errs = append(errs, fmt.Errorf("truncated: tensor %q ends at byte %d, and the file at %d", t.Name, t.End, size))
		}
		if t.End >= end {
			end, last = t.End, t.Name
		}
	}
	if end < size {
		errs = append(errs, fmt.Errorf("%d bytes at the end belong to no tensor", size-end))
	}
	return errs
}

// readFull reads len(p) bytes at off; the end of the file before them is
// io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("at byte %d: %w", off+int64(n), err)
}
