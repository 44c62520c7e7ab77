package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/trace"
	"kvcompress/traces"
)

// traceCheck is what `kvc trace check --json` prints of one trace.
type traceCheck struct {
	Trace  string       `json:"trace"`
	OK     bool         `json:"ok"`
	Errors []traceError `json:"errors"`
}

type traceError struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Request string `json:"request,omitempty"`
	Tensor  string `json:"tensor,omitempty"`
	Error   string `json:"error"`
}

func newTraceCheckCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check TRACE…",
		Short: "Find every error of a trace",
		Long: `Check reads a whole trace, tensors included, and prints each error with its file, line or
tensor, and index. It prints ten errors of each kind and counts the others. Exit code 1
if there is any error, and 2 if the only error is that a named trace does not exist.`,
		Example: `  kvc trace check six-stories
  kvc trace check ./my-trace ./other-trace
  kvc trace check ./my-trace --json | jq '.[].errors[].file'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeTraces,
		RunE: func(cmd *cobra.Command, args []string) error {
			return checkTraces(cmd, args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return cmd
}

func checkTraces(cmd *cobra.Command, names []string, asJSON bool) error {
	out := cmd.OutOrStdout()
	results := make([]traceCheck, 0, len(names))
	broken, total := 0, 0
	var notFound, interrupted error
	for i, name := range names {
		files, dir, err := traces.Find(name)
		if err != nil {
			notFound = errors.Join(notFound, err)
			results = append(results, traceCheck{Trace: name, Errors: []traceError{{File: name, Error: err.Error()}}})
			continue
		}
		result, err := checkTrace(cmd, name, files, dir, asJSON)
		if err != nil {
			interrupted = fmt.Errorf("interrupted: %d of %s checked", i, words.Count(len(names), "trace"))
			break
		}
		total += len(result.Errors)
		if !result.OK {
			broken++
		}
		results = append(results, result)
	}
	if asJSON {
		if err := printJSON(out, results); err != nil {
			return err
		}
	}
	switch {
	case interrupted != nil:
		return errors.Join(interrupted, notFound)
	case broken > 0:
		return failure{errors.Join(fmt.Errorf("%s in %d of %s", words.Count(total, "error"), broken, words.Count(len(names), "trace")), notFound)}
	case notFound != nil:
		return usageError{notFound}
	}
	return nil
}

// checkTrace checks one trace. It returns an error only if the check was interrupted.
func checkTrace(cmd *cobra.Command, name string, files fs.FS, dir string, asJSON bool) (traceCheck, error) {
	out := cmd.OutOrStdout()
	result := traceCheck{Trace: name, Errors: []traceError{}}
	bar := newBytesBar(cmd.ErrOrStderr(), name)
	for err := range trace.Check(cmd.Context(), files, cmp.Or(dir, name), bar.set) {
		var e *trace.Error
		if !errors.As(err, &e) {
			bar.clear()
			return result, err
		}
		result.Errors = append(result.Errors, traceError{e.File, e.Line, e.Request, e.Tensor, e.Err.Error()})
		if !asJSON {
			bar.clear()
			fmt.Fprintln(out, bounded(printableLine(err.Error())))
		}
	}
	bar.clear()
	if result.OK = len(result.Errors) == 0; result.OK && !asJSON {
		fmt.Fprintf(out, "%s: no errors\n", name)
	}
	return result, nil
}

// bytesBar shows the progress of a check.
type bytesBar struct {
	bar  *progressbar.ProgressBar // nil where there is no terminal
	max  int64
	last time.Time // when it was last set
}

// newBytesBar returns a bar whose clock starts now.
func newBytesBar(w io.Writer, what string) *bytesBar {
	if _, tty := terminal(w); !tty {
		return &bytesBar{}
	}
	b := &bytesBar{bar: newBar(w, 1, printableLine(what), progressbar.OptionShowBytes(true))}
	b.bar.StartWithoutRender()
	return b
}

// set is called for every piece that is read; it draws the bar only now and then. Errors of the
// bar are ignored.
func (b *bytesBar) set(done, total int64) {
	if b.bar == nil {
		return
	}
	if total != b.max {
		b.max = total
		b.bar.ChangeMax64(total)
	}
	if now := time.Now(); now.Sub(b.last) >= 100*time.Millisecond {
		b.last = now
		_ = b.bar.Set64(min(done, total))
	}
}

func (b *bytesBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
