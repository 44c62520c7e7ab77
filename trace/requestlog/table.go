package requestlog

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/trace"
)

// maxRecord is the largest size in bytes of a CSV record, which is held in memory.
const maxRecord = 1 << 20

var errLongRecord = fmt.Errorf("a record of more than %d bytes; is a quotation mark missing?", maxRecord)

// table reads a CSV with a header, record by record.
type table struct {
	csv    *csv.Reader
	limit  *recordLimit
	header []string
	record []string
	line   int
}

// recordLimit is a reader that fails when a record is too long.
type recordLimit struct {
	r    io.Reader
	left int
}

func (l *recordLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLongRecord
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

func newTable(f *file) (*table, error) {
	t := &table{limit: &recordLimit{r: f}}
	t.csv = csv.NewReader(t.limit)
	t.csv.Comma = delimiter(f.head())
	t.csv.ReuseRecord = true
	if err := t.next(); err != nil {
		return nil, err
	}
	for _, name := range t.record {
		t.header = append(t.header, strings.TrimSpace(strings.Clone(name)))
	}
	return t, nil
}

// next reads the next record. It returns io.EOF after the last.
func (t *table) next() error {
	t.limit.left = maxRecord + headSize // the CSV reader reads ahead by up to headSize
	record, err := t.csv.Read()
	if err != nil {
		return t.located(record, err)
	}
	t.record = record
	t.line, _ = t.csv.FieldPos(0)
	return nil
}

// located adds the line and column to an error of the CSV reader.
func (t *table) located(record []string, err error) error {
	var syntax *csv.ParseError
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		line, _ := t.csv.FieldPos(0)
		return &Error{Line: line, Column: 1, Err: fmt.Errorf("%s, want the %d of the header", words.Count(len(record), "field"), t.csv.FieldsPerRecord)}
	case errors.As(err, &syntax):
		return &Error{Line: syntax.Line, Column: syntax.Column, Err: syntax.Err}
	case errors.Is(err, errLongRecord):
		return &Error{Line: t.line + 1, Err: err}
	}
	return err
}

// field is the index of a column, or -1 if the CSV does not have it.
type field int

// optional finds a column.
func (t *table) optional(name string) field { return field(find(t.header, name)) }

// columns finds columns; a missing one is an error.
func (t *table) columns(names ...string) ([]field, error) {
	fields := make([]field, len(names))
	for i, name := range names {
		if fields[i] = t.optional(name); fields[i] < 0 {
			return nil, &Error{Line: t.line, Err: fmt.Errorf("there is no column %q, only %s", name, list(t.header))}
		}
	}
	return fields, t.unique(names...)
}

// unique returns an error if the CSV has two columns of one of these names.
func (t *table) unique(names ...string) error {
	for _, name := range names {
		f := t.optional(name)
		if f >= 0 && slices.Contains(t.header[f+1:], t.header[f]) {
			return &Error{Line: t.line, Err: fmt.Errorf("there are two columns %q", name)}
		}
	}
	return nil
}

// text returns a field of the record, or "" if there is no such column.
func (t *table) text(f field) string {
	if f < 0 {
		return ""
	}
	return strings.TrimSpace(t.record[f])
}

// fail adds the line, column and column name to an error about a field.
func (t *table) fail(f field, err error) error {
	line, column := t.csv.FieldPos(int(f))
	return &Error{Line: line, Column: column, Err: fmt.Errorf("%s: %w", t.header[f], err)}
}

func (t *table) tokens(f field) (int, error) {
	n, err := parseTokens(t.text(f))
	if err != nil {
		return 0, t.fail(f, err)
	}
	return n, nil
}

func (t *table) time(f field, unit Unit) (int64, error) {
	at, err := parseTime(t.text(f), unit)
	if err != nil {
		return 0, t.fail(f, err)
	}
	return at, nil
}

// timestamps returns a function that reads a field with a date and time.
func (l *Log) timestamps(t *table) func(field) (int64, error) {
	return func(f field) (int64, error) {
		at, err := l.calendar.parse(t.text(f), t.line)
		if err != nil {
			return 0, t.fail(f, err)
		}
		return at, nil
	}
}

// session returns the session of a record. The result is a copy, so it does not keep the
// record alive.
func (t *table) session(f field) (string, error) {
	s := t.text(f)
	if len(s) > trace.MaxSession {
		return "", t.fail(f, fmt.Errorf("%d bytes, want at most %d", len(s), trace.MaxSession))
	}
	return strings.Clone(s), nil
}
