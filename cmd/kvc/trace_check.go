package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

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
		Long: `Check reads all of a trace, its tensors too, and prints each error with its file,
line or tensor, and index. Of errors of one sort it prints ten and counts the
others. Exit code 1 if there is any.`,
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
	for _, name := range names {
		files, dir, err := traces.Find(name)
		if err != nil {
			return err
		}
		result := traceCheck{Trace: name, Errors: []traceError{}}
		bar := &bytesBar{w: cmd.ErrOrStderr(), what: name}
		for err := range trace.Check(cmd.Context(), files, cmp.Or(dir, name), bar.set) {
			var e *trace.Error
			if !errors.As(err, &e) { // cancelled
				bar.clear()
				return err
			}
			result.Errors = append(result.Errors, traceError{e.File, e.Line, e.Request, e.Tensor, e.Err.Error()})
			if !asJSON {
				bar.clear()
				fmt.Fprintln(out, err)
			}
		}
		bar.clear()
		total += len(result.Errors)
		if result.OK = len(result.Errors) == 0; !result.OK {
			broken++
		} else if !asJSON {
			fmt.Fprintf(out, "%s: no errors\n", name)
		}
		results = append(results, result)
	}
	if asJSON {
		if err := printJSON(out, results); err != nil {
			return err
		}
	}
	if broken > 0 {
		return failure{fmt.Errorf("%d errors in %d of %d traces", total, broken, len(names))}
	}
	return nil
}

// bytesBar shows how far a check is.
type bytesBar struct {
	w    io.Writer
	what string
	bar  *progressbar.ProgressBar
}

// set may be called with ever the same total only. A bar that cannot be drawn is
// no reason to stop.
func (b *bytesBar) set(done, total int64) {
	if b.bar == nil {
		b.bar = newBar(b.w, total, b.what, progressbar.OptionShowBytes(true))
	}
	_ = b.bar.Set64(min(done, total))
}

func (b *bytesBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
