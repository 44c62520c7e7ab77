// Package report presents results: of a replay ([Text], [JSON], [HeatMap]), a projection
// ([ProjectionHTML]), a sweep ([SweepText] and others), a plan ([PlanText] and others), a bench
// ([BenchText] and others) and a search for retrieval heads ([HeadMapText], [HeadMapPlot]). All
// forms of a result have the same content. A replay's report compares the memory of each step
// with that of an uncompressed cache, and has the latencies and final state of each request and
// the fraction of its KVs that each head kept. Equal results give equal bytes.
package report

import (
	"bufio"
	"fmt"
	"io"

	"kvcompress/sim"
)

// TextOptions select what Text prints, and for which terminal.
type TextOptions struct {
	Steps  int   // maximum rows of the memory ledger; 0 is 30, negative is no limit
	ByHead bool  // whether to add a table with a row for each head
	Width  int   // columns of the terminal; 0 is 100
	Color  Color // colours of the terminal
}

const (
	defaultSteps = 30
	defaultWidth = 100
	minWidth     = 40
	roomyWidth   = 120 // the ledger fits this width with two spaces between columns
)

// Text writes a report as text: what was run with which compression, the memory ledger, the
// requests, the fraction of its KVs that each head kept, and a summary.
func Text(w io.Writer, r *sim.Report, opt TextOptions) error {
	gap := 2
	if opt.Width > 0 && opt.Width < roomyWidth {
		gap = 1
	}
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	opt.Width = max(opt.Width, minWidth)
	if opt.Steps == 0 {
		opt.Steps = defaultSteps
	}
	out := &printer{w: bufio.NewWriter(w), opt: opt, gap: gap, decimals: timeDecimals(r)}
	ledger := newLedger(r)

	out.headline(r)
	if len(r.Steps) > 0 {
		out.ledger(r, ledger)
	}
	out.requests(r)
	if r.Totals.KVsEvicted > 0 || r.Options.Compresses() {
		out.heat(r)
	}
	if opt.ByHead {
		out.byHead(r)
	}
	out.summary(r, ledger)
	return out.end()
}

// printer writes the sections of a text report and keeps the first error.
type printer struct {
	w        *bufio.Writer
	opt      TextOptions
	gap      int // spaces between the columns of a table
	decimals int // decimals of a time in milliseconds
	err      error
}

// end writes what is buffered and returns the first error.
func (p *printer) end() error {
	if p.err == nil {
		p.err = p.w.Flush()
	}
	if p.err != nil {
		return fmt.Errorf("report: %w", p.err)
	}
	return nil
}

func (p *printer) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format, args...); err != nil && p.err == nil {
		p.err = err
	}
}

// section begins a section. more follows the title in plain type.
func (p *printer) section(title, more string) {
	p.printf("\n%s%s\n", p.opt.Color.bold(title), more)
}

// sentences writes a paragraph, wrapped to the terminal's width.
func (p *printer) sentences(text string) {
	for _, line := range wrap(text, min(p.opt.Width, defaultWidth)) {
		p.printf("%s\n", line)
	}
}

// Partial reports whether the replay ended early: some request neither finished nor was refused.
func Partial(r *sim.Report) bool {
	for i := range r.Requests {
		if state(&r.Requests[i]) == unfinished {
			return true
		}
	}
	return false
}

// The states of a request at the end of a replay.
const (
	finished   = "finished"
	refused    = "refused"
	unfinished = "unfinished"
)

func state(r *sim.Result) string {
	switch {
	case r.Error != "":
		return refused
	case r.Finished >= 0:
		return finished
	}
	return unfinished
}
