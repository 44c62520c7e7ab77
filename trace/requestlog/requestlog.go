// Package requestlog reads request logs of language model servers in the formats of
// published traces and benchmark tools, and converts them to the requests of a trace:
// arrival time, numbers of tokens and, if the log has them, session and prefix hashes.
//
// A log of any length is read as a stream, in bounded memory. Errors name the file, the
// line and the column. docs/importing.md describes the formats.
//
// Start with [Open].
package requestlog

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"

	"kvcompress/trace"
)

// Options are the options of reading a log.
type Options struct {
	Format   string // the Name of one of Formats; empty to detect it
	Fields   Fields // of a plain CSV or JSON; for TraceV2, only the arrival column
	TimeUnit Unit   // of the times in plain and Mooncake logs; 0 for the format's usual unit
	// PrefixBlockTokens is the number of tokens per prefix hash in Mooncake and plain
	// JSON logs; 0 for the format's usual number.
	PrefixBlockTokens int
	// Run selects a run of a file with several runs, from 1; 0 for the only one.
	Run int
	// Retimed says that the caller replaces the arrivals, so the log may lack them.
	Retimed bool

	// Tokenizer counts the tokens of texts if a log has no numbers of tokens. If it is
	// nil, numbers of tokens are estimated, at BytesPerToken bytes of UTF-8 per token;
	// 0 is 4.
	Tokenizer     Tokenizer
	BytesPerToken float64
	// PromptTokens and OutputTokens are used if the log does not have the length of a
	// prompt or an output; 0 makes such rows an error.
	PromptTokens, OutputTokens int

	// Progress, if not nil, is called from time to time with the number of bytes of the
	// file read so far, and the size of the file.
	Progress func(done, total int64)
}

// Tokenizer turns text into tokens, as [kvcompress/trace/tokenizer.Tokenizer] does.
type Tokenizer interface {
	Encode(text string) ([]int, error)
}

// check returns an error if an option is out of bounds.
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
	Model  string // that served the requests; "" if the log does not name it
	// Timed says that the log has arrival times. If not, all are 0.
	Timed bool
	// Calendar says that arrivals count from 1970. If not, they count from an origin of
	// the log's own.
	Calendar          bool
	PrefixBlockTokens int // tokens per prefix hash; 0 if the log has no hashes
	// Stats counts the rows read so far.
	Stats Stats

	file     string
	o        Options
	calendar calendar
	// byMeasured is the note about a TraceV2 with requests sent later than intended; or "".
	byMeasured string
	source     source
	close      func() error
}

// Stats counts the rows of a log by kind.
type Stats struct {
	Rows      int   // all of them
	Empty     int   // skipped because they have no prompt or no output
	Failed    int   // skipped because the log marks them as failed
	Reordered int   // that were after a row with a later arrival
	FirstNS   int64 // arrival of the first request yielded, by the log's clock

	Estimated int // with tokens estimated from the length of a text
	Tokenized int // with tokens counted by the tokenizer
	Maxima    int // with the requested maximum as length of the output
	Other     int // with parts other than text, which were not counted
	Assumed   int // with a length from PromptTokens or OutputTokens
	Delayed   int // turns that arrive a given time after the end of the previous turn
	Orphans   int // turns of a conversation whose previous turn was not found
}

// source gives the rows of a log in the order of the file, and io.EOF after them.
type source interface {
	next() (row, error)
}

// row is one row of a log. Its request has no id yet.
type row struct {
	trace.Request
	line   int
	number int // of the row, from 0
	failed bool
	// The log does not have the length of the prompt, or of the output.
	noPrompt, noOutput bool
	how                how
}

// how is a set of bits: how the lengths of a row were obtained.
type how uint8

const (
	estimated how = 1 << iota // each is counted by a field of Stats
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

// newLog detects the format of f and begins to read it.
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
// Requests that are out of order in the log are sorted within a window of 65,536 rows;
// a request that is farther out of order is an error.
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

// assume sets the lengths that the log lacks to those of the options, and counts the
// assumptions.
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

// Notes returns the assumptions made about the requests read so far, such as estimated
// lengths, one sentence for each.
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

// Error is an error in a log, and where it is. Fields that do not apply are zero.
type Error struct {
	File   string
	Line   int // from 1
	Column int // byte of the line, from 1
	Err    error
}

// Error returns the place and the error, for example
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

// located adds the file's name to an error that lacks it.
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
