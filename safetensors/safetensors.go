// Package safetensors reads and writes files of named tensors in the safetensors
// format of Hugging Face (https://huggingface.co/docs/safetensors): eight bytes
// with the header's length, a JSON header, and the tensors' bytes.
//
// A header is untrusted: everything in it is checked against the size of the file before
// it is used. A file is an io.ReaderAt of which only the wanted ranges are read. It is not
// mapped into memory, so a file that shrinks while it is read gives an error and not a
// SIGBUS. (The Go libraries for the format read the whole file and trust its header.)
//
// [Open] reads the header of a file; [AppendHeader] writes one.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sort"
	"strconv"

	"kvcompress/strictjson"
)

// MaxHeader is the longest header that Open reads, in bytes: as much as Hugging Face's
// library reads. The header of a model of a thousand tensors takes about a hundred thousand.
const MaxHeader = 100_000_000

// Bounds on a header, so that parsing it takes only a few times its size in memory.
const (
	maxTensors   = 1 << 17 // and names in its __metadata__
	maxDims      = 64      // of a tensor
	maxDigits    = 20      // of a number
	maxDTypeText = 16      // with the quotes
)

// prefix is the number of bytes in which the header's length is stored.
const prefix = 8

// Info describes one tensor of a file.
type Info struct {
	Name  string
	DType DType
	Shape []int64 // row-major, the last dimension contiguous; empty for a scalar
	Begin int64   // where its bytes begin and end in the file
	End   int64
}

// Bytes returns the tensor's size in the file.
func (t Info) Bytes() int64 { return t.End - t.Begin }

// File is an open safetensors file. It may be read from several goroutines at
// once if its io.ReaderAt may, as an *os.File may.
type File struct {
	r       io.ReaderAt
	name    string
	tensors []Info // by position in the file
	index   map[string]int
}

// TensorError is an error about one tensor.
type TensorError struct {
	Tensor string // its name, or the beginning of a long one
	Err    error
}

func (e *TensorError) Error() string { return fmt.Sprintf("tensor %q: %v", e.Tensor, e.Err) }

// Unwrap returns e.Err.
func (e *TensorError) Unwrap() error { return e.Err }

// Open reads and checks the header of the file r of size bytes. Of several errors
// it returns the first; Inspect returns them all. name is what errors call the
// file; they have the form "safetensors: NAME: ...".
func Open(r io.ReaderAt, size int64, name string) (*File, error) {
	f, errs := Inspect(r, size, name)
	if len(errs) > 0 {
		return nil, fmt.Errorf("safetensors: %s: %w", name, errs[0])
	}
	return f, nil
}

// Inspect is like Open, but does not stop at an error. It returns a File with the valid
// tensors, and up to a hundred errors, without the file's name. An error about one tensor is a
// *TensorError. The File is nil if the header cannot be parsed at all.
func Inspect(r io.ReaderAt, size int64, name string) (*File, []error) {
	header, err := readHeader(r, size)
	if err != nil {
		return nil, []error{err}
	}
	f := &File{r: r, name: name}
	base := int64(prefix + len(header))
	errs, err := f.parse(header, base)
	if err != nil {
		return nil, append(errs.list(), err)
	}
	// A tensor with an error is not listed, and its bytes would look like a hole: holes are
	// looked for only if there was no error.
	f.checkLayout(base, size, errs, errs.n == 0)
	f.tensors = slices.DeleteFunc(f.tensors, func(t Info) bool { return t.End > size })
	f.index = make(map[string]int, len(f.tensors))
	for i, t := range f.tensors {
		f.index[t.Name] = i
	}
	return f, errs.list()
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

// problems collects errors, maxErrors at most.
type problems struct {
	errs []error
	n    int
}

// maxErrors bounds the errors that are collected of a header.
const maxErrors = 100

func (p *problems) add(tensor, format string, args ...any) {
	if p.n++; p.n <= maxErrors {
		p.errs = append(p.errs, &TensorError{strictjson.Excerpt(tensor), fmt.Errorf(format, args...)})
	}
}

func (p *problems) addHeader(err error) {
	if p.n++; p.n <= maxErrors {
		p.errs = append(p.errs, fmt.Errorf("header: %w", err))
	}
}

func (p *problems) list() []error {
	if p.n > maxErrors {
		return append(p.errs, fmt.Errorf("header: %d more errors", p.n-maxErrors))
	}
	return p.errs
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

// parse fills f.tensors, with offsets from the beginning of the file. A tensor with an
// error is left out and the rest parsed; err is set if the header cannot be parsed at all.
func (f *File) parse(header []byte, base int64) (errs *problems, err error) {
	errs = new(problems)
	count := 0
	err = strictjson.Object(header, func(name string, value []byte) error {
		if name == "__metadata__" {
			if err := checkMetadata(value); err != nil {
				errs.addHeader(err)
			}
			return nil
		}
		if count++; count > maxTensors {
			return fmt.Errorf("more than %d tensors", maxTensors)
		}
		t, err := parseInfo(name, value)
		switch {
		case err != nil:
			errs.add(name, "%w", err)
		case t.End > 1<<62-base:
			errs.add(name, "data_offsets overflow")
		default:
			t.Begin, t.End = t.Begin+base, t.End+base
			f.tensors = append(f.tensors, t)
		}
		return nil
	})
	switch {
	case err == nil:
	case count == 0 || count > maxTensors:
		return errs, fmt.Errorf("header: %w", err)
	default: // a name occurs twice
		errs.addHeader(err)
	}
	sort.SliceStable(f.tensors, func(i, j int) bool {
		a, b := f.tensors[i], f.tensors[j]
		return a.Begin < b.Begin || a.Begin == b.Begin && a.End < b.End
	})
	return errs, nil
}

// checkMetadata checks that __metadata__ is null or an object of strings.
func checkMetadata(value []byte) error {
	errNoMap := errors.New("__metadata__ is not an object of strings")
	if string(value) == "null" {
		return nil
	}
	if value[0] != '{' {
		return errNoMap
	}
	count := 0
	err := strictjson.Object(value, func(_ string, value []byte) error {
		if count++; count > maxTensors {
			return fmt.Errorf("more than %d names", maxTensors)
		}
		if value[0] != '"' {
			return errNoMap
		}
		return nil
	})
	if err != nil && err != errNoMap {
		return fmt.Errorf("__metadata__: %w", err)
	}
	return err
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
			if len(value) <= maxDTypeText && value[0] == '"' {
				t.DType = DType(value[1 : len(value)-1])
			}
			if t.DType == "" {
				err = fmt.Errorf("unknown dtype %s", strictjson.Excerpt(value))
			}
		case "shape":
			haveShape = true
			if t.Shape, err = sizes(value, maxDims); err != nil {
				err = fmt.Errorf("shape: %w", err)
			}
		case "data_offsets":
			if offsets, err = sizes(value, 2); err != nil {
				err = fmt.Errorf("data_offsets: %w", err)
			}
		default:
			err = fmt.Errorf("unknown field %q", strictjson.Excerpt(field))
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
	case len(offsets) != 2:
		return t, errors.New("data_offsets are not two numbers")
	}
	t.Begin, t.End = offsets[0], offsets[1]
	if t.Begin > t.End {
		return t, fmt.Errorf("data_offsets [%d, %d] run backwards", t.Begin, t.End)
	}
	if t.DType.Bits() == 0 {
		return t, nil // a format that came later: how long it is, its offsets say
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

// sizes reads an array of at most the given number of integers ≥ 0, from valid
// JSON without space around it.
func sizes(value []byte, most int) ([]int64, error) {
	if value[0] != '[' {
		return nil, errors.New("not an array of numbers")
	}
	out := []int64{}
	rest := bytes.TrimSpace(value[1 : len(value)-1])
	for more := len(rest) > 0; more; {
		if len(out) == most {
			return nil, fmt.Errorf("more than %d numbers", most)
		}
		var text []byte
		text, rest, more = bytes.Cut(rest, []byte(","))
		text = bytes.TrimSpace(text)
		n, err := int64(0), error(nil)
		if len(text) <= maxDigits {
			n, err = strconv.ParseInt(string(text), 10, 64)
		}
		if len(text) > maxDigits || err != nil || n < 0 || n > 1<<62 {
			return nil, fmt.Errorf("%q is not an integer from 0 to 2^62", strictjson.Excerpt(text))
		}
		out = append(out, n)
	}
	return out, nil
}

// byteSize returns the bytes of a tensor, and false if its bits are no multiple of eight or
// the number needs more than 62 bits.
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

// checkLayout checks that the tensors, sorted by offset, lie within the file and do not
// overlap, and if all is set, that they leave no hole between base and the end of the file.
func (f *File) checkLayout(base, size int64, errs *problems, all bool) {
	end, last := base, ""
	for _, t := range f.tensors {
		switch {
		case t.Begin < end:
			errs.add(t.Name, "it begins at byte %d and overlaps %q, which ends at %d", t.Begin, strictjson.Excerpt(last), end)
		case t.Begin > end && all:
			errs.add(t.Name, "%d bytes before it, from byte %d, belong to no tensor", t.Begin-end, end)
		}
		if t.End > size {
			errs.add(t.Name, "truncated: it ends at byte %d, and the file at %d", t.End, size)
		}
		if t.End >= end {
			end, last = t.End, t.Name
		}
	}
	if end < size && all {
		errs.addHeader(fmt.Errorf("%d bytes at the end belong to no tensor", size-end))
	}
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
