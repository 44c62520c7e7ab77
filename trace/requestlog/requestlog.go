// Package requestlog reads logs of requests to language models in the forms in
// which others publish or write them, and gives the requests of a trace: when each
// came, for how many tokens, and of which session and with which prefix, where the
// log says so.
//
// A log is read as a stream, of any length in bounded memory. Its errors name the
// file, the line and the column. docs/importing.md describes the forms.
package requestlog

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"

	"kvcompress/trace"
)

// Options says how a log is read.
type Options struct {
	Format   string  // the Name of one of Formats; empty to look at the file
	Columns  Columns // of a plain CSV
	TimeUnit Unit    // of the times of a plain CSV or of Mooncake's; 0 for its usual one
	// PrefixBlockTokens is how many tokens a hash of Mooncake's stands for; 0 for 512.
	PrefixBlockTokens int
	// Progress, unless nil, is called now and then with the bytes of the file that
	// are read, and with all of them.
	Progress func(done, total int64)
}

// Log is an open log.
type Log struct {
	Format Format
	Model  string // which served the requests, if the log says so
	// Timed says that the log has times of arrival. If not, all are 0.
	Timed bool
	// Calendar says that arrivals count from 1970 and not from some beginning of the
	// log's own.
	Calendar          bool
	PrefixBlockTokens int // tokens that a prefix hash stands for; 0 if there are none
	// Stats counts what was read so far.
	Stats Stats

	file   string
	source source
	close  func() error
}

// Stats counts what a log held.
type Stats struct {
	Rows      int   // all of them
	Empty     int   // without prompt or without output, and passed over
	Failed    int   // of which the log says that they failed, and passed over
	Reordered int   // that stood below later ones
	FirstNS   int64 // arrival of the first that was yielded, by the log's clock
}

// source gives the rows of a log in the order of the file, and io.EOF after them.
type source interface {
	next() (row, error)
}

// row is one request of a log. Its request has no id yet.
type row struct {
	trace.Request
	line   int
	number int // of the row, from 0
	failed bool
}

// Open opens the log in a file, which may be compressed with gzip. When ctx is done,
// reading ends with its error.
func Open(ctx context.Context, path string, o Options) (*Log, error) {
	f, err := openFile(ctx, path, o.Progress)
	if err != nil {
		return nil, err
	}
	l, err := newLog(f, path, o)
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// newLog finds out the format of f and begins to read it.
func newLog(f *file, path string, o Options) (*Log, error) {
	format, err := findFormat(f, o)
	if err != nil {
		return nil, err
	}
	l := &Log{Format: format, Timed: true, file: path, close: f.Close}
	if o.TimeUnit != 0 && !format.anyUnit {
		return nil, fmt.Errorf("requestlog: the format %s has a time unit of its own", format.Name)
	}
	if o.PrefixBlockTokens != 0 && format.Name != mooncake {
		return nil, fmt.Errorf("requestlog: the format %s has no prefix hashes of a size to state", format.Name)
	}
	if o.Columns != (Columns{}) && format.Name != plain {
		return nil, fmt.Errorf("requestlog: the format %s has columns of its own; columns are of the format %s", format.Name, plain)
	}
	l.source, err = format.open(l, f, o)
	return l, err
}

// Close closes the file.
func (l *Log) Close() error { return l.close() }

// Requests yields the log's requests in order of arrival, and ends with the first
// error. It can be called once. A request's id is the number of its row in the log,
// from 0. Its arrival is by the log's clock.
//
// Requests that stand below later ones are put in order if those are no more than
// 65,536 rows above; else they are an error.
func (l *Log) Requests() iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		var w reorderer
		emit := func() bool {
			r, err := w.pop()
			if err != nil {
				yield(trace.Request{}, &Error{File: l.file, Line: r.line, Err: err})
				return false
			}
			if w.popped == 1 {
				l.Stats.FirstNS = r.ArrivalNS
			}
			r.ID = strconv.Itoa(r.number)
			return yield(r.Request, nil)
		}
		for {
			r, err := l.source.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				yield(trace.Request{}, l.located(err))
				return
			}
			r.number = l.Stats.Rows
			l.Stats.Rows++
			switch {
			case r.failed:
				l.Stats.Failed++
				continue
			case r.PromptTokens == 0 || r.OutputTokens == 0:
				l.Stats.Empty++
				continue
			case r.PromptTokens+r.OutputTokens > trace.MaxTokens:
				yield(trace.Request{}, &Error{File: l.file, Line: r.line, Err: fmt.Errorf("%d prompt and %d output tokens, want at most %d together",
					r.PromptTokens, r.OutputTokens, trace.MaxTokens)})
				return
			}
			if !w.push(r) {
				l.Stats.Reordered++
			}
			if w.full() && !emit() {
				return
			}
		}
		for w.len() > 0 {
			if !emit() {
				return
			}
		}
	}
}

// Error is one thing that is wrong with a log, and where. Parts that do not apply
// are zero.
type Error struct {
	File   string
	Line   int // from 1
	Column int // byte of the line, from 1
	Err    error
}

// Error gives all the parts, as in
//
//	requestlog: azure.csv:17:28: ContextTokens: want a number of tokens, got "x"
func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
		if e.Column > 0 {
			at += ":" + strconv.Itoa(e.Column)
		}
	}
	return "requestlog: " + at + ": " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// located names the file in an error that does not yet.
func (l *Log) located(err error) error { return inFile(l.file, err) }

func inFile(file string, err error) error {
	if e, ok := err.(*Error); ok {
		if e.File == "" {
			e.File = file
		}
		return e
	}
	return &Error{File: file, Err: err}
}
