package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"kvcompress/internal/words"
	"kvcompress/trace/regular"
)

// standardOutput is the writer of results. The first error of a write ends the command, since
// nobody reads the rest.
type standardOutput struct {
	w      io.Writer
	failed func()

	mu  sync.Mutex
	err error
}

// Write writes p unless an earlier write has failed.
func (o *standardOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = fmt.Errorf("standard output: %w", regular.Short(err))
		o.failed()
	}
	return n, o.err
}

// broken returns the first error.
func (o *standardOutput) broken() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Unwrap returns the underlying writer, which may be a terminal.
func (o *standardOutput) Unwrap() io.Writer { return o.w }

// The bounds of a printed error, which may quote a file and so be of any length.
const (
	maxErrorLine  = 900 // bytes
	maxErrorLines = 200
)

// bounded cuts long lines in the middle, and lines after the first maxErrorLines.
func bounded(text string) string {
	lines := strings.Split(text, "\n")
	if n := len(lines); n > maxErrorLines {
		lines = append(lines[:maxErrorLines:maxErrorLines], fmt.Sprintf("… and %d more lines", n-maxErrorLines))
	}
	for i, line := range lines {
		if len(line) <= maxErrorLine {
			continue
		}
		at := maxErrorLine / 2
		for !utf8.RuneStart(line[at]) {
			at--
		}
		end := len(line) - maxErrorLine/2
		for !utf8.RuneStart(line[end]) {
			end++
		}
		lines[i] = fmt.Sprintf("%s … (%s left out) … %s", line[:at], words.Count(end-at, "byte"), line[end:])
	}
	return strings.Join(lines, "\n")
}
