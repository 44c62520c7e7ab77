package trace

import (
	"errors"
	"fmt"
	"io"

	"kvcompress/safetensors"
)

// RequestWriter writes the tensors of one request token by token, with one token in memory. The number of
// tokens need not be known in advance. Begin returns a RequestWriter.
type RequestWriter struct {
	w      *Writer
	id     string
	tokens int
	// Q is written to the request's file, after space for the header; K and V are first written to files of
	// their own.
	parts [3]*tempFile
	buf   []byte
	back  []float32
	err   error // if not nil, nothing more can be appended
}

// Suffixes of the temporary files of K and V.
const (
	keysSuffix   = ".k"
	valuesSuffix = ".v"
)

// ErrTooLarge is in the error for a value that overflows the trace's dtype.
var ErrTooLarge = errors.New("too large for")

var errFinished = errors.New("trace: the request is finished or aborted")

// Begin begins to record the tensors of the request id. Several requests can be recorded at a time. It is an
// error in a trace of kind Synthetic or Generated, or without a shape.
func (w *Writer) Begin(id string) (*RequestWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch dup := w.seen.ids.has(id); {
	case w.closed:
		return nil, errClosed
	case storesNone(w.meta.Source.Kind):
		return nil, w.errorf(id, fmt.Errorf("a %s trace stores no tensors", w.meta.Source.Kind))
	case w.meta.RequestsOnly():
		return nil, w.errorf(id, errShapeless)
	case checkID(id) != nil:
		return nil, w.errorf("", checkID(id))
	case dup || w.begun[id]:
		return nil, w.errorf(id, errors.New("there already is a request with this id"))
	}
	rw := &RequestWriter{w: w, id: id}
	for i, name := range []string{id + tensorsSuffix, id + keysSuffix, id + valuesSuffix} {
		var err error
		if rw.parts[i], err = createTemp(w.dir, name); err != nil {
			rw.discard()
			return nil, err
		}
	}
	// Space for the header, which Finish writes.
	if _, err := rw.parts[Q].Write(make([]byte, rw.headerSize())); err != nil {
		rw.discard()
		return nil, err
	}
	w.begun[id] = true
	return rw, nil
}

// headerSize returns the size of the space for the header: enough for any number of tokens.
func (rw *RequestWriter) headerSize() int {
	h, err := rw.header(MaxTokens, 0)
	if err != nil {
		return 0 // Finish then fails with the same error
	}
	return len(h)
}

func (rw *RequestWriter) header(tokens, pad int) ([]byte, error) {
	s := rw.w.meta.Shape
	var infos []safetensors.Info
	for t := Q; t <= V; t++ {
		infos = append(infos, safetensors.Info{
			Name:  t.String(),
			DType: safetensors.FromFloat(rw.w.meta.DType),
			Shape: []int64{int64(tokens), int64(s.Layers), int64(t.Heads(s)), int64(s.HeadSize)},
		})
	}
	return safetensors.AppendHeader(nil, infos, pad)
}

// Append appends one token: q as [L, H·G, D], k and v as [L, H, D]. Values are rounded to the trace's dtype.
// If one is then NaN, infinite or beyond MaxMagnitude, Append returns an error, and the request can only be
// aborted.
func (rw *RequestWriter) Append(q, k, v []float32) error {
	if rw.err != nil {
		return rw.err
	}
	if rw.tokens == MaxTokens {
		return rw.fail(fmt.Errorf("more than %d tokens", MaxTokens))
	}
	for t, values := range [...][]float32{q, k, v} {
		if err := rw.append(Tensor(t), values); err != nil {
			return rw.fail(err)
		}
	}
	rw.tokens++
	return nil
}

func (rw *RequestWriter) append(t Tensor, values []float32) error {
	s, format := rw.w.meta.Shape, rw.w.meta.DType
	n := s.Layers * t.row(s)
	if len(values) != n {
		return &tensorError{t, fmt.Errorf("%d elements, want %d layers × %d heads × %d = %d", len(values), s.Layers, t.Heads(s), s.HeadSize, n)}
	}
	if len(rw.buf) < n*format.Size() {
		rw.buf, rw.back = make([]byte, n*format.Size()), make([]float32, n)
	}
	raw, back := rw.buf[:n*format.Size()], rw.back[:n]
	format.Encode(raw, values)
	format.Decode(back, raw) // to find values that overflowed f16
	if i, bad := findBad(back); bad {
		v := t.violation(s, int64(rw.tokens)*int64(n)+int64(i), back[i])
		if _, bad := findBad(values[i : i+1]); !bad {
			return &tensorError{t, fmt.Errorf("%g at token %d, layer %d, head %d, element %d is %w %s",
				values[i], v.Token, v.Layer, v.Head, v.Element, ErrTooLarge, format)}
		}
		return &tensorError{t, v}
	}
	_, err := rw.parts[t].Write(raw)
	return err
}

func (rw *RequestWriter) fail(err error) error {
	rw.err = Error{File: rw.parts[Q].f.Path(), Request: rw.id}.about(err)
	return rw.err
}

// Finish completes the request's file and adds the request to the trace. r.ID must be the id given to Begin;
// r.CachedTokens() tokens must have been appended, or one more. After an error the request can only be
// aborted.
func (rw *RequestWriter) Finish(r Request) error {
	if rw.err != nil {
		return rw.err
	}
	if r.ID != rw.id {
		return rw.fail(fmt.Errorf("the request was begun as %q, but finished as %q", rw.id, r.ID))
	}
	if err := r.Check(); err != nil {
		return rw.fail(err)
	}
	if n := r.CachedTokens(); rw.tokens != n && rw.tokens != n+1 {
		return rw.fail(fmt.Errorf("%d tokens were appended, want prompt_tokens + output_tokens - 1 = %d (or one more)", rw.tokens, n))
	}
	if err := rw.join(); err != nil {
		return rw.fail(err)
	}
	rw.w.mu.Lock()
	defer rw.w.mu.Unlock()
	if err := rw.w.admit(r); err != nil {
		rw.err = err
		return err
	}
	if err := rw.parts[Q].close(); err != nil {
		return rw.fail(err)
	}
	if err := rw.w.add(r); err != nil {
		rw.err = err
		return err
	}
	rw.w.tensors = append(rw.w.tensors, rw.parts[Q])
	delete(rw.w.begun, rw.id)
	rw.parts[Q] = nil
	rw.discard()
	rw.err = errFinished
	return nil
}

// join puts the header before Q, and K and V after it.
func (rw *RequestWriter) join() error {
	header, err := rw.header(rw.tokens, rw.headerSize()-8)
	if err != nil {
		return err
	}
	q := rw.parts[Q]
	for _, part := range rw.parts[K:] {
		if err := part.Flush(); err != nil {
			return err
		}
		if _, err := part.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(q.Writer, part.f); err != nil {
			return err
		}
	}
	if err := q.Flush(); err != nil {
		return err
	}
	_, err = q.f.WriteAt(header, 0)
	return err
}

// Abort discards the request as if it had never begun. After a successful Finish it does nothing.
func (rw *RequestWriter) Abort() {
	if rw.err == errFinished {
		return
	}
	rw.err = errFinished
	rw.discard()
	rw.w.mu.Lock()
	defer rw.w.mu.Unlock()
	delete(rw.w.begun, rw.id)
}

func (rw *RequestWriter) discard() {
	for _, part := range rw.parts {
		if part != nil {
			part.discard()
		}
	}
}
