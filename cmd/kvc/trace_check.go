package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

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
		fsys, path, err := traceFiles(name)
		if err != nil {
			return err
		}
		result := traceCheck{Trace: name, Errors: []traceError{}}
		bar := &slowBar{w: cmd.ErrOrStderr(), what: name, start: time.Now()}
		for err := range trace.Check(cmd.Context(), fsys, path, bar.set) {
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

// traceFiles returns the files of a trace in a folder or of a bundled one, without
// opening it as a trace, and the path that errors shall give them.
func traceFiles(name string) (fs.FS, string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return os.DirFS(name), name, nil
	} else if err == nil {
		return nil, "", fmt.Errorf("%s is not a folder", name)
	}
	b, err := traces.Open(name)
	if err != nil {
		return nil, "", err
	}
	return b.FS, name, nil
}

// slowBar is a progress bar over bytes that shows, on a terminal, once two seconds
// have gone by.
type slowBar struct {
	w     io.Writer
	what  string
	start time.Time
	bar   *progressbar.ProgressBar
}

// set may be called with ever the same total only.
func (b *slowBar) set(done, total int64) {
	if b.bar == nil {
		// The bar is there from the beginning, or it would not know how quick it was.
		file, ok := b.w.(*os.File)
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(late{b.w, b.start.Add(2 * time.Second)}),
			progressbar.OptionSetVisibility(ok && term.IsTerminal(int(file.Fd()))),
			progressbar.OptionSetDescription(b.what),
			progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	_ = b.bar.Set64(min(done, total)) // a bar that cannot be drawn is no error
}

func (b *slowBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

// late drops what is written before a time.
type late struct {
	io.Writer
	from time.Time
}

func (l late) Write(p []byte) (int, error) {
	if time.Now().Before(l.from) {
		return len(p), nil
	}
	return l.Writer.Write(p)
}
