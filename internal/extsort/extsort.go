// Package extsort sorts rows that may not fit in memory: it keeps one run of rows in memory, writes sorted
// runs to a temporary file, and merges the runs when they are read.
package extsort

import (
	"bufio"
	"fmt"
	"io"

	"kvcompress/internal/output"
)

// Format is the order of rows, and their encoding on disk.
type Format[T any] struct {
	Sort func(rows []T)     // sorts rows by Less; stably if equal rows must keep their order
	Less func(a, b T) bool  // a comes before b
	Size int                // bytes of a row on disk
	Put  func([]byte, T)    // encodes a row in Size bytes
	Get  func(raw []byte) T // decodes a row
}

// Sorter collects rows, with at most maxRows of them in memory. The caller closes it.
type Sorter[T any] struct {
	format  Format[T]
	maxRows int
	run     []T // rows in memory, the last ones added
	runs    int // on disk, of maxRows rows each
	file    *output.Scratch
}

// New returns a Sorter without rows.
func New[T any](format Format[T], maxRows int) *Sorter[T] {
	return &Sorter[T]{format: format, maxRows: maxRows}
}

// Len returns the number of rows.
func (s *Sorter[T]) Len() int { return s.runs*s.maxRows + len(s.run) }

// Add adds a row. It fails if the temporary file cannot be written.
func (s *Sorter[T]) Add(row T) error {
	if len(s.run) == s.maxRows {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.run = append(s.run, row)
	return nil
}

// spill writes the run to disk.
func (s *Sorter[T]) spill() (err error) {
	if s.file == nil {
		if s.file, err = output.NewScratch(); err != nil {
			return err
		}
	}
	s.format.Sort(s.run)
	out := bufio.NewWriterSize(s.file, 64<<10)
	raw := make([]byte, s.format.Size)
	for _, row := range s.run {
		s.format.Put(raw, row)
		if _, err := out.Write(raw); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	s.runs++
	s.run = s.run[:0]
	return nil
}

// Close removes the temporary file.
func (s *Sorter[T]) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Sorted returns a reader of all rows in order. Equal rows come in the order of their runs. No row may be
// added while the reader is in use.
func (s *Sorter[T]) Sorted() (*Reader[T], error) {
	s.format.Sort(s.run)
	r := &Reader[T]{format: &s.format}
	for i := range s.runs {
		size := int64(s.maxRows * s.format.Size)
		part := io.NewSectionReader(s.file, int64(i)*size, size)
		r.heads = append(r.heads, head[T]{run: i, left: s.maxRows, in: bufio.NewReaderSize(part, 16<<10)})
	}
	if len(s.run) > 0 {
		r.heads = append(r.heads, head[T]{run: s.runs, left: len(s.run), rest: s.run})
	}
	for i := range r.heads {
		if err := r.heads[i].advance(&s.format); err != nil {
			return nil, err
		}
	}
	for i := len(r.heads)/2 - 1; i >= 0; i-- {
		r.siftDown(i)
	}
	return r, nil
}

// Reader reads the rows of a [Sorter] in order.
type Reader[T any] struct {
	format *Format[T]
	heads  []head[T] // a heap ordered by first
}

// Next returns the next row, or io.EOF after the last one.
func (r *Reader[T]) Next() (T, error) {
	if len(r.heads) == 0 {
		var none T
		return none, io.EOF
	}
	first := r.heads[0].first
	if r.heads[0].left > 0 {
		if err := r.heads[0].advance(r.format); err != nil {
			return first, err
		}
	} else {
		last := len(r.heads) - 1
		r.heads[0] = r.heads[last]
		r.heads = r.heads[:last]
	}
	r.siftDown(0)
	return first, nil
}

// siftDown moves head i down the heap until no child comes before it.
func (r *Reader[T]) siftDown(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(r.heads); child++ {
			if r.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		r.heads[i], r.heads[least] = r.heads[least], r.heads[i]
		i = least
	}
}

func (r *Reader[T]) before(i, k int) bool {
	a, b := &r.heads[i], &r.heads[k]
	if r.format.Less(a.first, b.first) {
		return true
	}
	return a.run < b.run && !r.format.Less(b.first, a.first)
}

// head is the unread part of a run.
type head[T any] struct {
	run   int
	first T
	left  int           // rows after first
	rest  []T           // those rows, if the run is in memory
	in    *bufio.Reader // those rows, if the run is on disk
}

// advance reads the next row, which must exist, into first.
func (h *head[T]) advance(f *Format[T]) error {
	h.left--
	if h.in == nil {
		h.first, h.rest = h.rest[0], h.rest[1:]
		return nil
	}
	raw, err := h.in.Peek(f.Size)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("a temporary file cannot be read: %w", err)
	}
	h.first = f.Get(raw)
	_, err = h.in.Discard(f.Size)
	return err
}
