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

// Heads returns the third dimension of t: H·G of Q, and H of K and V.
func (t Tensor) Heads(s kv.Shape) int {
	if t == Q {
		return s.QueryHeads()
	}
	return s.KVHeads
}

// row returns the elements of t of one token in one layer.
func (t Tensor) row(s kv.Shape) int { return t.Heads(s) * s.HeadSize }

// Tensors opens the tensors of request i. A request without any is an error that
// says so. The result is for one goroutine at a time; those of different calls may
// be used at once. It holds a MiB of each tensor and a row: requests run by the
// hundred, each with its tensors open. (Of a file system that cannot read a part
// of a file it holds the file, of at most 64 MiB.)
func (t *Trace) Tensors(i int) (Tensors, error) {
	if i < 0 || i >= len(t.requests) {
		return nil, fmt.Errorf("trace: there is no request number %d, only %d", i, len(t.requests))
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

var errNoTensors = errors.New("the trace holds no tensors of it")

// located completes an error about the tensors of r.
func (t *Trace) located(r Request, err error) error {
	return Error{File: t.path(r.ID + tensorsSuffix), Request: r.ID}.about(err)
}

const (
	wholeFile  = 64 << 20 // of a file system that cannot read parts, a file up to this size is held
	windowSize = 1 << 20  // what of each tensor of any other file is held
	// Up to this distance between the rows of one layer, reading what lies between
	// them is quicker than a system call for each.
	smallStride = 16 << 10
)

// stored gives the tensors of a safetensors file.
type stored struct {
	file    fs.File
	r       io.ReaderAt
	shape   kv.Shape
	format  dtype.DType
	tokens  int
	tensors [3]storedTensor
	fail    func(error) error
}

// storedTensor is one of the three tensors, and the range of it that is in memory.
type storedTensor struct {
	begin, end int64 // in the file
	window     []byte
	at         int64 // of window, in the file
	scratch    []byte
}

// openStored opens the file of r and checks all of it but the values.
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

// header is an open file of tensors of which the header was read.
type header struct {
	file    fs.File
	r       io.ReaderAt
	size    int64
	tensors *safetensors.File
	wrong   map[string]bool // tensors of whose description something is wrong
}

// openHeader opens a file of tensors and reads its header. After errors it returns
// the file if there is something to be read in it.
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

// expected is what trace.json and requests.jsonl say of a file of tensors.
type expected struct {
	shape    kv.Shape // zero if it is not known
	format   dtype.DType
	formatOK bool // whether that is known
	cached   int  // tokens at least; 0 if it is not known
}

// check returns every difference between a file and what is expected.
func (x expected) check(h *header) []error {
	var errs []error
	for _, name := range h.tensors.Names() {
		if name != Q.String() && name != K.String() && name != V.String() {
			errs = append(errs, fmt.Errorf("a tensor %q beside q, k and v", strictjson.Excerpt(name)))
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
			errs = append(errs, &tensorError{t, fmt.Errorf("%d tokens, and %d in the tensors before", n, tokens)})
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
		return fmt.Errorf("shape is %v, want %d tokens by requests.jsonl (or %d, with the last)", got, cached, cached+1)
	case x.cached == 0:
		return fmt.Errorf("shape is %v, want [tokens %s by trace.json", got, s)
	}
	return fmt.Errorf("shape is %v, want [%d %s by trace.json and requests.jsonl (or %d tokens, with the last)", got, cached, s, cached+1)
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
	// One token at a time means all its layers in turn, so what lies around the
	// row will be asked for next; and rows that lie close together are had with
	// fewer reads. Otherwise a row is read alone.
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

// bytes returns size bytes of the file at off, which x holds. They stay valid until
// the next call.
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
	// From the beginning of the token, as many whole tokens as fit.
	x.at = off - (off-x.begin)%stride
	x.window = x.window[:min(windowSize/stride*stride, x.end-x.at)]
	if err := readAt(s.r, x.window, x.at); err != nil {
		x.window = x.window[:0]
		return nil, err
	}
	return x.window[off-x.at:][:size], nil
}

// Violation is a value that no trace may hold.
type Violation struct {
	Token, Layer, Head, Element int
	Value                       float32
}

// Error says what the value is and where, as in "NaN at token 3, layer 0, head 2,
// element 5".
func (v *Violation) Error() string {
	return fmt.Sprintf("%s at token %d, layer %d, head %d, element %d", badValue(v.Value), v.Token, v.Layer, v.Head, v.Element)
}

// badValue says what is bad about a value.
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

// violation says where the element i of t is.
func (t Tensor) violation(s kv.Shape, i int64, value float32) *Violation {
	return violation([]int64{0, int64(s.Layers), int64(t.Heads(s)), int64(s.HeadSize)}, i, value)
}

// violation says where the element i of a tensor of four dimensions is.
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

// findBad returns the index of the first value that is NaN, infinite or beyond
// MaxMagnitude. Such values, and no others, have larger bits than it, sign aside.
func findBad(values []float32) (int, bool) {
	limit := math.Float32bits(MaxMagnitude)
	for i, x := range values {
		if math.Float32bits(x)&^(1<<31) > limit {
			return i, true
		}
	}
	return 0, false
}

// checkRead refuses a Read outside the tensor, or into a dst of another length.
func checkRead(shape kv.Shape, tokens, length int, t Tensor, layer, from, n int) error {
	switch {
	case t > V:
		return fmt.Errorf("there is no tensor %v", t)
	case layer < 0 || layer >= shape.Layers:
		return &tensorError{t, fmt.Errorf("there is no layer %d, only %d", layer, shape.Layers)}
	case from < 0 || n < 0 || from > tokens-n:
		return &tensorError{t, fmt.Errorf("there are no tokens %d to %d, only %d", from, from+n, tokens)}
	case length != n*t.row(shape):
		return &tensorError{t, fmt.Errorf("dst has %d elements, want %d", length, n*t.row(shape))}
	}
	return nil
}

// memory is a file that is held in memory.
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

// readerAt returns f, or all of it if it cannot be read in parts and is small.
func readerAt(f fs.File, size int64) (io.ReaderAt, error) {
	if r, ok := f.(io.ReaderAt); ok {
		return r, nil
	}
	if size > wholeFile {
		return nil, fmt.Errorf("%d bytes in a file system that cannot read parts of a file, want at most %d", size, wholeFile)
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
