package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/trace"
	"kvcompress/trace/requestlog"
	"kvcompress/traces"
)

// requestSource is a log or a trace from which requests are read.
type requestSource struct {
	name     string
	format   string     // name of the format
	meta     trace.Meta // zero for a log
	requests iter.Seq2[trace.Request, error]
	log      *requestlog.Log // nil for a trace
}

// openRequests opens a log, the folder of a trace or a bundled trace.
func openRequests(ctx context.Context, name string, o requestlog.Options) (*requestSource, error) {
	files, dir, err := traces.Find(name)
	if err == nil {
		if o.Format != "" && o.Format != "trace" {
			return nil, usagef("%s is a trace, and not of the format %s", name, o.Format)
		}
		meta, requests, err := trace.Stream(files, dir)
		if err != nil {
			return nil, err
		}
		return &requestSource{name: folderName(name), format: "trace", meta: meta, requests: requests}, nil
	}
	log, err := requestlog.Open(ctx, name, o)
	var inFile *requestlog.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usagef("%s is neither a file, nor the folder of a trace, nor one of the bundled: %s", name, strings.Join(traces.Names(), ", "))
	case err != nil && !errors.As(err, &inFile):
		return nil, usageError{err}
	case err != nil:
		return nil, err
	}
	return &requestSource{
		name: filepath.Base(name), format: log.Format.Name + ": " + log.Format.Title,
		requests: log.Requests(), log: log,
	}, nil
}

// openKnownRequests opens requests by their path alone. For a log that needs options, the error
// names the command that has them.
func openKnownRequests(cmd *cobra.Command, name string) (*requestSource, error) {
	source, err := openRequests(cmd.Context(), name, requestlog.Options{})
	if unknown := (*requestlog.UnknownFormatError)(nil); errors.As(err, &unknown) {
		return nil, fmt.Errorf("%w\ngive --fields or --format to kvc trace import, which makes a trace from the log", err)
	}
	if err == nil && source.log != nil {
		source.requests = noted(source, cmd.ErrOrStderr())
	}
	return source, err
}

// noted yields the requests of a log, and then writes to w the assumptions that were made.
func noted(source *requestSource, w io.Writer) iter.Seq2[trace.Request, error] {
	requests := source.requests
	return func(yield func(trace.Request, error) bool) {
		for r, err := range requests {
			if !yield(r, err) {
				break
			}
		}
		notes := source.log.Notes()
		if s := &source.log.Stats; s.Empty+s.Failed > 0 {
			notes = append(notes, leftOut(s))
		}
		if !source.log.Timed {
			notes = append(notes, "there are no times of arrival, so all come at once; kvc trace import --arrivals gives them times")
		}
		for _, note := range notes {
			fmt.Fprintf(w, "%s: note: %s\n", printableLine(source.name), printableLine(note))
		}
	}
}

// leftOut returns the numbers of rows of a log that were skipped, in words.
func leftOut(s *requestlog.Stats) string {
	return fmt.Sprintf("of %s, %s without prompt or output tokens and %s that failed are left out", words.Count(s.Rows, "row"), words.Number(s.Empty), words.Number(s.Failed))
}

// none is the error of a source without requests.
func (s *requestSource) none() error {
	if s.log != nil && s.log.Stats.Empty+s.log.Stats.Failed > 0 {
		return fmt.Errorf("%s has no requests: %s", s.name, leftOut(&s.log.Stats))
	}
	return fmt.Errorf("%s has no requests", s.name)
}

// modelName returns the name of the model that served the requests, "" if it is unknown. In a
// log it may be known only after the first request.
func (s *requestSource) modelName() string {
	if s.log != nil {
		return s.log.Model
	}
	return s.meta.Model
}

// prefixBlock returns how many tokens a prefix hash stands for.
func (s *requestSource) prefixBlock() int {
	if s.log != nil {
		return s.log.PrefixBlockTokens
	}
	return s.meta.PrefixBlockTokens
}

func (s *requestSource) close() {
	if s.log != nil {
		s.log.Close()
	}
}

// writtenRequests is a summary of the written requests, as --json prints it.
type writtenRequests struct {
	Trace        string  `json:"trace"`
	Requests     int     `json:"requests"`
	PromptTokens int64   `json:"prompt_tokens"`
	OutputTokens int64   `json:"output_tokens"`
	FirstNS      int64   `json:"first_ns"`
	LastNS       int64   `json:"last_ns"`
	PerSecond    float64 `json:"per_second,omitempty"` // 0 if all arrive at once
}

// errNoRequests is the error of writeRequests if there is no request.
var errNoRequests = errors.New("no request is left: nothing is written")

// writeRequests writes a trace without tensors. meta is asked when the first request
// is there.
func writeRequests(ctx context.Context, dir string, meta func() trace.Meta, requests iter.Seq2[trace.Request, error]) (writtenRequests, error) {
	done := writtenRequests{Trace: dir}
	if err := trace.CheckFree(dir); err != nil {
		if errors.Is(err, trace.ErrTaken) {
			err = usageError{err}
		}
		return done, err
	}
	var w *trace.Writer
	for r, err := range requests {
		if err == nil && done.Requests%1024 == 0 {
			err = ctx.Err()
		}
		if err == nil && w == nil {
			if w, err = trace.Create(dir, meta()); err == nil {
				defer w.Abort()
				done.FirstNS = r.ArrivalNS
			}
		}
		if err == nil {
			err = w.Add(r)
		}
		if errors.Is(err, context.Canceled) {
			return done, interrupted(err, "nothing is left in "+dir)
		}
		if err != nil {
			return done, err
		}
		done.Requests++
		done.PromptTokens += int64(r.PromptTokens)
		done.OutputTokens += int64(r.OutputTokens)
		done.LastNS = r.ArrivalNS
	}
	if w == nil {
		return done, errNoRequests
	}
	if span := done.LastNS - done.FirstNS; span > 0 {
		done.PerSecond = math.Round(float64(done.Requests-1)/(float64(span)/1e9)*1e6) / 1e6
	}
	return done, w.Close()
}

// String returns a summary in one line.
func (d writtenRequests) String() string {
	when := fmt.Sprintf("over %v, %.4g a second", roundDuration(time.Duration(d.LastNS-d.FirstNS)), d.PerSecond)
	if d.LastNS == d.FirstNS {
		when = "all at once"
	}
	return fmt.Sprintf("%s: %s %s; %s prompt and %s output tokens", d.Trace, words.Count(d.Requests, "request"), when, words.Number(d.PromptTokens), words.Number(d.OutputTokens))
}

// givenFlags returns the flags of a command line, except some, as they would be typed. Paths are
// reduced to their last element.
func givenFlags(cmd *cobra.Command, but ...string) string {
	var b strings.Builder
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if slices.Contains(but, flag.Name) {
			return
		}
		for _, value := range flagValues(flag) {
			if flag.Name == "like" || flag.Name == "tokenizer" {
				value = folderName(value)
			}
			b.WriteString(" --" + flag.Name + " " + shellWord(value))
		}
	})
	return b.String()
}
