package requestlog

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"kvcompress/internal/extsort"
	"kvcompress/internal/output"
)

// The amount of a list of unknown length that is held in memory; the rest is on disk.
const (
	columnBytes = 1 << 20
	sortedRows  = 1 << 17
)

// column is a list of integers of the same width. All but its tail may be on disk.
type column struct {
	width int // bytes, 1, 4 or 8
	n     int
	tail  []byte
	file  *output.Scratch // the numbers before the tail; nil while there are none
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

// reader returns a reader of all the numbers.
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
		return 0, fmt.Errorf("a temporary file cannot be read: %w", err)
	}
	return int64(binary.LittleEndian.Uint64(raw[:])), nil
}

// spooled is a row that is not sorted yet.
type spooled struct {
	arrival        int64 // ns
	prompt, output int32
	failed         bool
}

// byArrival sorts rows by arrival, stably.
var byArrival = extsort.Format[spooled]{
	Sort: func(rows []spooled) {
		slices.SortStableFunc(rows, func(a, b spooled) int { return cmp.Compare(a.arrival, b.arrival) })
	},
	Less: func(a, b spooled) bool { return a.arrival < b.arrival },
	Size: 17,
	Put: func(raw []byte, r spooled) {
		binary.LittleEndian.PutUint64(raw, uint64(r.arrival))
		binary.LittleEndian.PutUint32(raw[8:], uint32(r.prompt))
		binary.LittleEndian.PutUint32(raw[12:], uint32(r.output))
		raw[16] = 0
		if r.failed {
			raw[16] = 1
		}
	},
	Get: func(raw []byte) spooled {
		return spooled{
			arrival: int64(binary.LittleEndian.Uint64(raw)),
			prompt:  int32(binary.LittleEndian.Uint32(raw[8:])), output: int32(binary.LittleEndian.Uint32(raw[12:])),
			failed: raw[16] != 0,
		}
	},
}
