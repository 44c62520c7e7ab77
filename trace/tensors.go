package trace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// String returns the tensor's name in a file: q, k or v.
func (t Tensor) String() string {
	switch t {
	case Q:
		return "q"
	case K:
		return "k"
	case V:
		return "v"
	}
	return fmt.Sprintf("Tensor(%d)", uint8(t))
}

// Heads returns the number of heads of t: H·G for Q, H for K and V.
func (t Tensor) Heads(s kv.Shape) int {
	if t == Q {
		return s.QueryHeads()
	}
	return s.KVHeads
}

// row returns the number of elements of t of one token in one layer.
func (t Tensor) row(s kv.Shape) int { return t.Heads(s) * s.HeadSize }

// Tensors opens the tensors of request i; it is an error if the request has none. One result must not be used
// by several goroutines at once, but several results may. Each holds one MiB per tensor and one row in
// memory, so that hundreds can be open. (If the file system cannot read parts of a file, it holds the whole
// file, of at most 64 MiB.)
func (t *Trace) Tensors(i int) (Tensors, error) {
	if i < 0 || i >= len(t.requests) {
		return nil, fmt.Errorf("trace: there is no request %d, only %d requests", i, len(t.requests))
	}
	r := t.requests[i]
	if t.Meta.Synth != nil {
		return newSynthetic(t.Meta, r), nil
	}
	if t.fsys == nil || t.Meta.RequestsOnly() || t.Meta.Source.Kind == Generated {
		return nil, &Error{File: t.name, Request: r.ID, Err: errNoTensors}
	}
	s, err := openStored(t.fsys, t.Meta, r)
	if t.Meta.Source.Kind == Imported && errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{File: t.name, Request: r.ID, Err: errNoTensors}
	}
	if err != nil {
		return nil, t.located(r, err)
	}
	s.fail = func(err error) error { return t.located(r, err) }
	return s, nil
}

var errNoTensors = errors.New("the trace has no tensors of this request")

// located adds the place of r's tensors to an error.
func (t *Trace) located(r Request, err error) error {
	return Error{File: t.path(r.ID + tensorsSuffix), Request: r.ID}.about(err)
}

const (
	wholeFile  = 64 << 20 // largest file that is read as a whole, if the file system cannot read parts
	windowSize = 1 << 20  // bytes of each tensor of any other file in memory
	// If rows of one layer are no farther apart than this, reading the gap between them is faster than a
	// system call for each.
	smallStride = 16 << 10
)

// stored reads the tensors of a safetensors file.
type stored struct {
	file    fs.File
	r       io.ReaderAt
	shape   kv.Shape
	format  dtype.DType
	tokens  int
	tensors [3]storedTensor
	fail    func(error) error
}

// storedTensor is one of the three tensors, and the part of it that is in memory.
type storedTensor struct {
	begin, end int64 // in the file
	window     []byte
	at         int64 // offset of window in the file
	scratch    []byte
}

// openStored opens the file of r and checks everything but the values.
func openStored(fsys fs.FS, meta Meta, r Request) (*stored, error) {
	h, errs := openHeader(fsys, r.ID+tensorsSuffix)
	if len(errs) == 0 {
		errs = expected{meta.Shape, meta.DType, true, r.CachedTokens()}.check(h)
	}
	if len(errs) > 0 {
		h.close()
		return nil, errs[0]
	}
	s := &stored{file: h.file, r: h.r, shape: meta.Shape, format: meta.DType, fail: func(err error) error { return err }}
	for t := Q; t <= V; t++ {
		info, _ := h.tensors.Tensor(t.String())
		s.tokens = int(info.Shape[0])
		s.tensors[t] = storedTensor{begin: info.Begin, end: info.End}
	}
	return s, nil
}

// header is an open tensor file whose header was read.
type header struct {
	file    fs.File
	r       io.ReaderAt
	size    int64
	tensors *safetensors.File
	wrong   map[string]bool // tensors with an error in their description
}

// openHeader opens a tensor file and reads its header. With errors it still returns the file if something in
// it can be read.
func openHeader(fsys fs.FS, name string) (*header, []error) {
	f, err := regular.Open(fsys, name)
	if err != nil {
		return nil, []error{err}
	}
	h := &header{file: f, wrong: make(map[string]bool)}
	errs := h.read(name)
	if h.tensors == nil {
		h.close()
		return nil, errs
	}
	return h, errs
}

func (h *header) read(name string) []error {
	info, err := h.file.Stat()
	if err != nil {
		return []error{regular.Short(err)}
	}
	h.size = info.Size()
	if h.r, err = readerAt(h.file, h.size); err != nil {
		return []error{err}
	}
	var errs []error
	h.tensors, errs = safetensors.Inspect(h.r, h.size, name)
	for _, err := range errs {
		if in := (*safetensors.TensorError)(nil); errors.As(err, &in) {
			h.wrong[in.Tensor] = true
		}
	}
	return errs
}

func (h *header) close() {
	if h != nil {
		h.file.Close()
	}
}

// expected is what trace.json and requests.jsonl say about a tensor file.
type expected struct {
	shape    kv.Shape // zero if unknown
	format   dtype.DType
	formatOK bool // whether the dtype is known
	cached   int  // least number of tokens; 0 if unknown
}

// check returns all differences between a file and the expectation.
func (x expected) check(h *header) []error {
	var errs []error
	for _, name := range h.tensors.Names() {
		if name != Q.String() && name != K.String() && name != V.String() {
			errs = append(errs, fmt.Errorf("a tensor %q in addition to q, k and v", strictjson.Excerpt(name)))
		}
	}
	tokens := int64(-1)
	for t := Q; t <= V; t++ {
		info, ok := h.tensors.Tensor(t.String())
		if !ok {
			if !h.wrong[t.String()] {
				errs = append(errs, &tensorError{t, errors.New("there is no such tensor")})
			}
			continue
		}
		if err := x.checkDType(info.DType); err != nil {
			errs = append(errs, &tensorError{t, err})
		}
		if err := x.checkShape(t, info.Shape); err != nil {
			errs = append(errs, &tensorError{t, err})
			continue
		}
		if n := info.Shape[0]; tokens >= 0 && n != tokens {
			errs = append(errs, &tensorError{t, fmt.Errorf("%d tokens, want %d as in the tensors before", n, tokens)})
		}
		tokens = info.Shape[0]
	}
	return errs
}

func (x expected) checkDType(got safetensors.DType) error {
	if want := safetensors.FromFloat(x.format); x.formatOK && got != want {
		return fmt.Errorf("dtype is %s, want %s as in trace.json", got, want)
	}
	if got != safetensors.F32 && got != safetensors.F16 && got != safetensors.BF16 {
		return fmt.Errorf("dtype is %s, want F32, F16 or BF16", got)
	}
	return nil
}

func (x expected) checkShape(t Tensor, got []int64) error {
	shapeOK := x.shape == (kv.Shape{}) || len(got) == 4 &&
		slices.Equal(got[1:], []int64{int64(x.shape.Layers), int64(t.Heads(x.shape)), int64(x.shape.HeadSize)})
	cached := int64(x.cached)
	tokensOK := x.cached == 0 || len(got) == 4 && (got[0] == cached || got[0] == cached+1)
	s := fmt.Sprintf("%d %d %d]", x.shape.Layers, t.Heads(x.shape), x.shape.HeadSize)
	switch {
	case len(got) == 4 && shapeOK && tokensOK:
		return nil
	case x.shape == (kv.Shape{}) && x.cached == 0:
		return fmt.Errorf("shape is %v, want four dimensions", got)
	case x.shape == (kv.Shape{}):
		return fmt.Errorf("shape is %v, want %d tokens as in requests.jsonl (or %d, with the last)", got, cached, cached+1)
	case x.cached == 0:
		return fmt.Errorf("shape is %v, want [tokens %s as in trace.json", got, s)
	}
	return fmt.Errorf("shape is %v, want [%d %s as in trace.json and requests.jsonl (or %d tokens, with the last)", got, cached, s, cached+1)
}

func (s *stored) Tokens() int { return s.tokens }

func (s *stored) Close() error {
	for t := range s.tensors {
		s.tensors[t].window, s.tensors[t].scratch = nil, nil
	}
	s.r = memory(nil)
	return s.file.Close()
}

func (s *stored) Read(dst []float32, t Tensor, layer, from, n int) error {
	if err := checkRead(s.shape, s.tokens, len(dst), t, layer, from, n); err != nil {
		return s.fail(err)
	}
	var (
		elements = t.row(s.shape)
		row      = int64(elements * s.format.Size())
		stride   = row * int64(s.shape.Layers)
		x        = &s.tensors[t]
		at       = x.begin + int64(from)*stride + int64(layer)*row
	)
	// A reader of one token at a time reads all its layers in turn, so the data around the row is needed
	// next; and rows that are close together need fewer reads this way. Otherwise a row is read by itself.
	through := n == 1 || stride <= smallStride
	for i := range n {
		raw, err := s.bytes(x, at+int64(i)*stride, row, stride, through)
		if err != nil {
			return s.fail(&tensorError{t, err})
		}
		s.format.Decode(dst[i*elements:(i+1)*elements], raw)
	}
	if i, bad := findBad(dst[:n*elements]); bad {
		at := int64(from+i/elements)*int64(s.shape.Layers*elements) + int64(layer*elements+i%elements)
		return s.fail(&tensorError{t, t.violation(s.shape, at, dst[i])})
	}
	return nil
}

// bytes returns size bytes of the file at off, which must be in x. They are valid until the next call.
func (s *stored) bytes(x *storedTensor, off, size, stride int64, through bool) ([]byte, error) {
	if m, ok := s.r.(memory); ok {
		return m[off : off+size], nil // the header was checked against len(m)
	}
	if i := off - x.at; i >= 0 && i+size <= int64(len(x.window)) {
		return x.window[i : i+size], nil
	}
	if !through || stride > windowSize {
		if x.scratch == nil {
			x.scratch = make([]byte, size)
		}
		return x.scratch, readAt(s.r, x.scratch, off)
	}
	if x.window == nil {
		x.window = make([]byte, 0, min(windowSize, x.end-x.begin))
	}
	// As many whole tokens as fit, from the beginning of this one.
	x.at = off - (off-x.begin)%stride
	x.window = x.window[:min(windowSize/stride*stride, x.end-x.at)]
	if err := readAt(s.r, x.window, x.at); err != nil {
		x.window = x.window[:0]
		return nil, err
	}
	return x.window[off-x.at:][:size], nil
}

// Violation is a value that a trace must not have.
type Violation struct {
	Token, Layer, Head, Element int
	Value                       float32
}

// Error returns the value and its place, as in "NaN at token 3, layer 0, head 2, element 5".
func (v *Violation) Error() string {
	return fmt.Sprintf("%s at token %d, layer %d, head %d, element %d", badValue(v.Value), v.Token, v.Layer, v.Head, v.Element)
}

// badValue describes an invalid value.
func badValue(x float32) string {
	switch {
	case x != x:
		return "NaN"
	case math.IsInf(float64(x), 1):
		return "+Inf"
	case math.IsInf(float64(x), -1):
		return "-Inf"
	}
	return fmt.Sprintf("%g, beyond ±2^56,", x)
}

// violation returns the place of element i of t.
func (t Tensor) violation(s kv.Shape, i int64, value float32) *Violation {
	return violation([]int64{0, int64(s.Layers), int64(t.Heads(s)), int64(s.HeadSize)}, i, value)
}

// violation returns the place of element i of a tensor with four dimensions.
func violation(dims []int64, i int64, value float32) *Violation {
	layers, heads, size := dims[1], dims[2], dims[3]
	return &Violation{
		Token:   int(i / size / heads / layers),
		Layer:   int(i / size / heads % layers),
		Head:    int(i / size % heads),
		Element: int(i % size),
		Value:   value,
	}
}

// findBad returns the index of the first value that is NaN, infinite or beyond MaxMagnitude: those whose bits
// without the sign are larger than the bits of MaxMagnitude.
func findBad(values []float32) (int, bool) {
	limit := math.Float32bits(MaxMagnitude)
	for i, x := range values {
		if math.Float32bits(x)&^(1<<31) > limit {
			return i, true
		}
	}
	return 0, false
}

// checkRead returns an error for a Read outside the tensor, or into a dst of the wrong length.
func checkRead(shape kv.Shape, tokens, length int, t Tensor, layer, from, n int) error {
	switch {
	case t > V:
		return fmt.Errorf("there is no tensor %v", t)
	case layer < 0 || layer >= shape.Layers:
		return &tensorError{t, fmt.Errorf("there is no layer %d, only %d layers", layer, shape.Layers)}
	case from < 0 || n < 0 || from > tokens-n:
		return &tensorError{t, fmt.Errorf("there are no tokens %d to %d, only %d tokens", from, from+n, tokens)}
	case length != n*t.row(shape):
		return &tensorError{t, fmt.Errorf("dst has %d elements, want %d", length, n*t.row(shape))}
	}
	return nil
}

// memory is a file in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readerAt returns f or, if it cannot be read in parts and is small, its content.
func readerAt(f fs.File, size int64) (io.ReaderAt, error) {
	if r, ok := f.(io.ReaderAt); ok {
		return r, nil
	}
	if size > wholeFile {
		return nil, fmt.Errorf("the file system cannot read parts of a file, and this one has %d bytes, want at most %d", size, wholeFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err == nil && int64(len(data)) < size {
		err = shortRead(int64(len(data)), nil)
	}
	return memory(data), err
}

func readAt(r io.ReaderAt, p []byte, off int64) error {
	if n, err := r.ReadAt(p, off); n < len(p) {
		return shortRead(off+int64(n), err)
	}
	return nil
}

func shortRead(at int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("at byte %d: %w", at, err)
}
