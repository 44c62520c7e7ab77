package main

import (
	"context"
	"io"
	"iter"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kvcompress/internal/work"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/trace"
)

// newBar returns a progress bar on w, with the remaining time, for a total number of steps. It
// is shown only on a terminal, and only after a while (patience).
func newBar(w io.Writer, total int64, what string, more ...progressbar.Option) *progressbar.ProgressBar {
	_, tty := terminal(w)
	return progressbar.NewOptions64(total, append([]progressbar.Option{
		progressbar.OptionSetVisibility(tty),
		progressbar.OptionSetWriter(&lateWriter{w: w, from: time.Now().Add(patience)}),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
	}, more...)...)
}

// terminal returns the width of the terminal that w writes to, and whether it is
// one.
func terminal(w io.Writer) (width int, tty bool) {
	if wrapped, ok := w.(interface{ Unwrap() io.Writer }); ok {
		w = wrapped.Unwrap()
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		width = 0
	}
	return width, true
}

// textOptions returns the width and colours of a report on w.
func textOptions(w io.Writer) report.TextOptions {
	width, tty := terminal(w)
	opt := report.TextOptions{Width: width}
	if tty {
		opt.Color = report.ColorOf(os.Getenv)
	}
	return opt
}

// patience is how long a command runs before its progress is worth showing.
const patience = 2 * time.Second

// replayBar shows on a terminal how far a replay is and how long it will take.
type replayBar struct{ bar *progressbar.ProgressBar }

func newReplayBar(w io.Writer, t *trace.Trace) replayBar {
	if _, tty := terminal(w); !tty {
		return replayBar{}
	}
	bar := newBar(w, sim.Rows(t), "rows of KVs", progressbar.OptionShowCount())
	bar.StartWithoutRender()
	return replayBar{bar}
}

// progress is a sim.Hooks.Progress. Errors of the bar are ignored: it cannot always be drawn,
// and rows that are recomputed after a preemption go beyond its end.
func (b replayBar) progress(rows int) {
	if b.bar != nil {
		_ = b.bar.Add(rows)
	}
}

func (b replayBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

// withBar yields requests and shows on a terminal how many of total were yielded; −1 is an
// unknown total.
func withBar(w io.Writer, total int64, requests iter.Seq2[trace.Request, error]) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		bar := newBar(w, total, "requests", progressbar.OptionShowCount())
		defer func() { _ = bar.Clear() }() // fails only if the terminal is gone
		done := 0
		for r, err := range requests {
			if !yield(r, err) {
				return
			}
			if done++; done%4096 == 0 {
				_ = bar.Set(done)
			}
		}
	}
}

// lateWriter drops what is written before a given time. So a progress bar can count from the
// beginning, for a correct estimate, and appear later.
type lateWriter struct {
	w    io.Writer
	from time.Time
}

func (l *lateWriter) Write(p []byte) (int, error) {
	if time.Now().Before(l.from) {
		return len(p), nil
	}
	return l.w.Write(p)
}

// watched returns the command's context, under which finished pieces of work are counted on a
// terminal, and a function that removes the count. what names the pieces.
func watched(cmd *cobra.Command, what string) (ctx context.Context, clear func()) {
	bar := newBar(cmd.ErrOrStderr(), -1, what, progressbar.OptionShowCount())
	return work.Watch(cmd.Context(), func() { _ = bar.Add(1) }), func() { _ = bar.Clear() } // fails only if the terminal is gone
}
