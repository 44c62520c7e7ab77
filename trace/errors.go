package trace

import (
	"errors"
	"fmt"
	"strings"

	"kvcompress/safetensors"
)

// Error is one error in a trace, and where it is. Fields that do not apply are zero.
type Error struct {
	File    string // the file, with the path under which the trace was opened
	Line    int    // in requests.jsonl, from 1
	Request string // id
	Tensor  string // q, k or v
	Err     error  // what is wrong, with the index if there is one
}

// Error returns all parts, as in
//
//	trace: run/17.safetensors: request 17: k: NaN at token 3, layer 0, head 2, element 5
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("trace: ")
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	if e.Request != "" {
		fmt.Fprintf(&b, "request %s: ", e.Request)
	}
	if e.Tensor != "" {
		fmt.Fprintf(&b, "%s: ", e.Tensor)
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// about returns e with err as what is wrong, and with the tensor if err names one.
func (e Error) about(err error) *Error {
	e.Err = err
	if in := (*tensorError)(nil); errors.As(err, &in) {
		e.Tensor, e.Err = in.tensor.String(), in.err
	}
	if in := (*safetensors.TensorError)(nil); errors.As(err, &in) {
		e.Tensor, e.Err = in.Tensor, in.Err
	}
	return &e
}

// tensorError is an error in a tensor.
type tensorError struct {
	tensor Tensor
	err    error
}

func (e *tensorError) Error() string { return e.tensor.String() + ": " + e.err.Error() }
func (e *tensorError) Unwrap() error { return e.err }
