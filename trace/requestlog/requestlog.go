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
	Format   string // the Name of one of Formats; empty to look at the file
	Fields   Fields // of a plain CSV or JSON; of TraceV2, the column of the arrival
	TimeUnit Unit   // of the times of plain logs or of Mooncake's; 0 for the usual one
	// PrefixBlockTokens is how many tokens a hash of Mooncake's, or of plain JSON,
	// stands for; 0 for the usual number.
	PrefixBlockTokens int
	// Run is which run is taken of a file that holds several, from 1; 0 for the only one.
	Run int
	// Retimed says that the arrivals will be replaced, so that they may be missing.
	Retimed bool

	// Tokenizer counts the tokens of texts where a log has no numbers of tokens. If it is
	// nil, they are estimated at BytesPerToken bytes of UTF-8 each; 0 is 4.
	Tokenizer     Tokenizer
	BytesPerToken float64
	// PromptTokens and OutputTokens are the lengths of prompts and outputs of which the
	// log says none; 0 makes those an error.
	PromptTokens, OutputTokens int

	// Progress, unless nil, is called now and then with the bytes of the file that
	// are read, and with all of them.
	Progress func(done, total int64)
}

// Tokenizer turns text into tokens, as [kvcompress/trace/tokenizer.Tokenizer] does.
type Tokenizer interface {
	Encode(text string) ([]int, error)
}

// check refuses what is out of bounds.
func (o Options) check() error {
	switch {
	case o.BytesPerToken != 0 && !(o.BytesPerToken >= MinBytesPerToken && o.BytesPerToken <= MaxBytesPerToken):
		return fmt.Errorf("requestlog: %g bytes a token, want %g to %d", o.BytesPerToken, MinBytesPerToken, MaxBytesPerToken)
	case o.PromptTokens < 0 || o.OutputTokens < 0 || o.PromptTokens > trace.MaxTokens || o.OutputTokens > trace.MaxTokens:
		return fmt.Errorf("requestlog: prompts of %d and outputs of %d tokens, want up to %d", o.PromptTokens, o.OutputTokens, trace.MaxTokens)
	case o.Run < 0:
		return fmt.Errorf("requestlog: run %d, want 1 or more", o.Run)
	}
	return nil
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

	file     string
	o        Options
	calendar calendar
	// byMeasured says by which of its times a TraceV2 is read.
	byMeasured string
	source     source
	close      func() error
}

// Stats counts what a log held.
type Stats struct {
	Rows      int   // all of them
	Empty     int   // without prompt or without output, and passed over
	Failed    int   // of which the log says that they failed, and passed over
	Reordered int   // that stood below later ones
	FirstNS   int64 // arrival of the first that was yielded, by the log's clock

	Estimated int // whose tokens were estimated from the length of a text
	Tokenized int // whose tokens were counted by the tokenizer
	Maxima    int // whose output is the most that was asked for
	Other     int // with parts that are no text, which were not counted
	Assumed   int // that were given a length by PromptTokens or OutputTokens
	Delayed   int // turns that come after a time from the end of the one before
	Orphans   int // turns of a conversation whose turn before was not found
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
	// The log says no length of the prompt, or of the output.
	noPrompt, noOutput bool
	how                how
}

// how says which assumptions were made about a row, as bits.
type how uint8

const (
	estimated how = 1 << iota // of which Stats has the meanings
	tokenized
	maximum
	other
	delayed
	orphan
)

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
	if err := o.check(); err != nil {
		return nil, err
	}
	format, err := findFormat(f, o)
	if err != nil {
		return nil, err
	}
	l := &Log{Format: format, Timed: true, file: path, o: o, close: f.Close}
	if o.TimeUnit != 0 && !format.anyUnit {
		return nil, fmt.Errorf("requestlog: the format %s has a time unit of its own", format.Name)
	}
	if o.PrefixBlockTokens != 0 && !format.anyBlock {
		return nil, fmt.Errorf("requestlog: the format %s has no prefix hashes of a size to state", format.Name)
	}
	if o.Run != 0 && !format.runs {
		return nil, fmt.Errorf("requestlog: a file of the format %s holds one run", format.Name)
	}
	if o.Fields != (Fields{}) && format.Name != plainCSV && format.Name != plainJSON && (format.Name != traceV2Name || o.Fields != (Fields{Arrival: o.Fields.Arrival})) {
		return nil, fmt.Errorf("requestlog: the format %s has fields of its own; to name them is for the formats %s and %s", format.Name, plainCSV, plainJSON)
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
			l.assume(&r)
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
			// Without times there is nothing to put in order.
			if (w.full() || !l.Timed) && !emit() {
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

// assume gives a row the lengths that the log lacks, and counts the assumptions.
func (l *Log) assume(r *row) {
	if r.noPrompt {
		r.PromptTokens = l.o.PromptTokens
	}
	if r.noOutput {
		r.OutputTokens = l.o.OutputTokens
	}
	if r.failed {
		return
	}
	if r.noPrompt || r.noOutput {
		l.Stats.Assumed++
	}
	if r.how == 0 {
		return
	}
	for bit, n := range map[how]*int{
		estimated: &l.Stats.Estimated, tokenized: &l.Stats.Tokenized, maximum: &l.Stats.Maxima,
		other: &l.Stats.Other, delayed: &l.Stats.Delayed, orphan: &l.Stats.Orphans,
	} {
		if r.how&bit != 0 {
			*n++
		}
	}
}

// Notes returns the assumptions that were made about the requests read so far, such as
// estimated lengths: a sentence each.
func (l *Log) Notes() []string {
	var notes []string
	add := func(n int, format string, args ...any) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("in %d of %d rows, "+format, append([]any{n, l.Stats.Rows}, args...)...))
		}
	}
	s := l.Stats
	per := l.o.BytesPerToken
	if per == 0 {
		per = usualBytesPerToken
	}
	add(s.Estimated, "tokens are estimated from texts, at %g bytes (characters of English) a token; --tokenizer counts them", per)
	add(s.Tokenized, "tokens of texts are counted with the tokenizer, without those of a chat template")
	add(s.Maxima, "the output is max_tokens, an upper bound")
	add(s.Other, "images and other parts that are not text are not counted")
	add(s.Assumed, "the log has no length, and --prompt-tokens or --output-tokens gave it")
	add(s.Delayed, "the arrival is a delay after the end of the turn before; when that ends is unknown, so the delay counts from its arrival")
	add(s.Orphans, "the turn before was not found, so a session begins there")
	if l.byMeasured != "" {
		notes = append(notes, l.byMeasured)
	}
	if note := l.calendar.note(); note != "" {
		notes = append(notes, note)
	}
	return notes
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
