package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// newBar returns a bar that shows on w, if that is a terminal, how many of total
// steps are done and how long the rest will take. It appears after a while: what is
// done by then is not worth showing.
func newBar(w io.Writer, total int, what string) *progressbar.ProgressBar {
	_, tty := terminal(w)
	return progressbar.NewOptions(total,
		progressbar.OptionSetVisibility(tty),
		progressbar.OptionSetWriter(&lateWriter{w: w, from: time.Now().Add(patience)}),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}
