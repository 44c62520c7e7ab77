package requestlog

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"kvcompress/internal/output"
)

// What is held in memory of a list whose length is not known: the rest is on disk.
const (
	columnBytes = 1 << 20
	sortedRows  = 1 << 17
)

// column is a list of numbers of the same width.
type column struct {
	width int // bytes, 1, 4 or 8
	n     int
	tail  []byte
	file  *output.Scratch // of what is before the tail; nil while all is there
}

func (c *column) append(v int64) error {
	if len(c.tail)+c.width > columnBytes {
		if c.file == nil {
			var err error
			if c.file, err = output.NewScratch(); err != nil {
				return err
			}
		}
		if _, err := c.file.Write(c.tail); err != nil {
			return err
		}
		c.tail = c.tail[:0]
	}
	var raw [8]byte
	binary.LittleEndian.PutUint64(raw[:], uint64(v))
	c.tail = append(c.tail, raw[:c.width]...)
	c.n++
	return nil
}

// reader reads the numbers from the first one on.
func (c *column) reader() *columnReader {
	r := &columnReader{width: c.width, in: bufio.NewReaderSize(bytes.NewReader(c.tail), 16)}
	if c.file != nil {
		size := int64(c.n*c.width - len(c.tail))
		r.in = bufio.NewReaderSize(io.MultiReader(io.NewSectionReader(c.file, 0, size), bytes.NewReader(c.tail)), 64<<10)
	}
	return r
}

func (c *column) close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

type columnReader struct {
	width int
	in    *bufio.Reader
}

func (r *columnReader) next() (int64, error) {
	var raw [8]byte
	if _, err := io.ReadFull(r.in, raw[:r.width]); err != nil {
		return 0, fmt.Errorf("what was written to disk cannot be read: %w", err)
	}
	return int64(binary.LittleEndian.Uint64(raw[:])), nil
}

// spooled is a row whose place is still to be found.
type spooled struct {
	arrival        int64 // ns
	prompt, output int32
	failed         bool
}

// sorter sorts rows by arrival, stably: in runs that fit memory, which are merged from disk.
type sorter struct {
	rows []spooled
	file *output.Scratch
	ends []int64 // of the runs in the file, in bytes
}

const spooledBytes = 17

func (s *sorter) add(r spooled) error {
	if len(s.rows) == sortedRows {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.rows = append(s.rows, r)
	return nil
}

func (s *sorter) sort() {
	slices.SortStableFunc(s.rows, func(a, b spooled) int { return cmp.Compare(a.arrival, b.arrival) })
}

// spill writes a run.
func (s *sorter) spill() (err error) {
	if s.file == nil {
		if s.file, err = output.NewScratch(); err != nil {
			return err
		}
	}
	s.sort()
	raw := make([]byte, 0, len(s.rows)*spooledBytes)
	for _, r := range s.rows {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(r.arrival))
		raw = binary.LittleEndian.AppendUint32(raw, uint32(r.prompt))
		raw = binary.LittleEndian.AppendUint32(raw, uint32(r.output))
		if r.failed {
			raw = append(raw, 1)
		} else {
			raw = append(raw, 0)
		}
	}
	if _, err := s.file.Write(raw); err != nil {
		return err
	}
	end := int64(len(raw))
	if n := len(s.ends); n > 0 {
		end += s.ends[n-1]
	}
	s.ends, s.rows = append(s.ends, end), s.rows[:0]
	return nil
}

// sorted returns what gives the rows in order, and io.EOF after them.
func (s *sorter) sorted() (next func() (spooled, error), err error) {
	s.sort()
	if len(s.ends) == 0 {
		i := -1
		return func() (spooled, error) {
			if i++; i == len(s.rows) {
				i--
				return spooled{}, io.EOF
			}
			return s.rows[i], nil
		}, nil
	}
	var runs mergedRuns
	begin := int64(0)
	for number, end := range s.ends {
		run := &sortedRun{number: number, in: bufio.NewReaderSize(io.NewSectionReader(s.file, begin, end-begin), 16<<10)}
		if err := run.advance(); err != nil {
			return nil, err
		}
		runs = append(runs, run)
		begin = end
	}
	if len(s.rows) > 0 {
		runs = append(runs, &sortedRun{number: len(s.ends), first: s.rows[0], rest: s.rows[1:]})
	}
	heap.Init(&runs)
	return func() (spooled, error) {
		if len(runs) == 0 {
			return spooled{}, io.EOF
		}
		first := runs[0].first
		switch err := runs[0].advance(); {
		case err == io.EOF:
			heap.Pop(&runs)
		case err != nil:
			return spooled{}, err
		default:
			heap.Fix(&runs, 0)
		}
		return first, nil
	}, nil
}

func (s *sorter) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// sortedRun is what is left of a run: on disk, or of the last one in memory.
type sortedRun struct {
	number int
	first  spooled
	in     *bufio.Reader
	rest   []spooled
}

func (r *sortedRun) advance() error {
	if r.in == nil {
		if len(r.rest) == 0 {
			return io.EOF
		}
		r.first, r.rest = r.rest[0], r.rest[1:]
		return nil
	}
	var raw [spooledBytes]byte
	switch _, err := io.ReadFull(r.in, raw[:]); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return fmt.Errorf("what was written to disk cannot be read: %w", err)
	}
	r.first = spooled{
		arrival: int64(binary.LittleEndian.Uint64(raw[0:])),
		prompt:  int32(binary.LittleEndian.Uint32(raw[8:])), output: int32(binary.LittleEndian.Uint32(raw[12:])),
		failed: raw[16] != 0,
	}
	return nil
}

// mergedRuns is a heap of runs by their first rows; of equal ones the earlier run is first.
type mergedRuns []*sortedRun

func (m mergedRuns) Len() int { return len(m) }

func (m mergedRuns) Less(i, j int) bool {
	if a, b := m[i].first.arrival, m[j].first.arrival; a != b {
		return a < b
	}
	return m[i].number < m[j].number
}

func (m mergedRuns) Swap(i, j int) { m[i], m[j] = m[j], m[i] }

func (m *mergedRuns) Push(x any) { *m = append(*m, x.(*sortedRun)) }

func (m *mergedRuns) Pop() any {
	last := len(*m) - 1
	run := (*m)[last]
	*m = (*m)[:last]
	return run
}
