package report

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/sim"
)

// column is one column of a table. A header of two lines has a newline in it.
type column struct {
	header string
	align  tw.Align
}

const (
	left  = tw.AlignLeft
	right = tw.AlignRight
)

// table writes rows below their headers, without rules and without trailing spaces.
func (p *printer) table(columns []column, rows [][]string) {
	headers, aligns := make([]string, len(columns)), make([]tw.Align, len(columns))
	lines := 1
	for _, c := range columns {
		lines = max(lines, 1+strings.Count(c.header, "\n"))
	}
	for i, c := range columns {
		// A header of one line is at the bottom, next to the column's values.
		headers[i] = strings.Repeat("\n", lines-1-strings.Count(c.header, "\n")) + c.header
		aligns[i] = c.align
	}
	var out bytes.Buffer
	t := tablewriter.NewTable(&out,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Settings: tw.Settings{
				Lines:      tw.LinesNone,
				Separators: tw.SeparatorsNone,
			},
		})),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignmentConfig(tw.CellAlignment{PerColumn: aligns}),
		tablewriter.WithRowAlignmentConfig(tw.CellAlignment{PerColumn: aligns}),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithTrimLine(tw.Off),
		tablewriter.WithPadding(tw.Padding{Left: "", Right: strings.Repeat(" ", p.gap), Overwrite: true}),
	)
	t.Header(headers)
	if err := t.Bulk(rows); err != nil && p.err == nil {
		p.err = err
	}
	if err := t.Render(); err != nil && p.err == nil {
		p.err = err
	}
	for line := range strings.Lines(out.String()) {
		p.printf("%s\n", strings.TrimRight(line, " \n"))
	}
}

// ledger writes the memory ledger: a row for each step, or for a selection of steps.
func (p *printer) ledger(r *sim.Report, ledger []entry) {
	n := p.opt.Steps
	if n < 0 {
		n = len(ledger)
	}
	chosen := pick(len(ledger), n, telling(ledger)...)
	rows := make([][]string, len(chosen))
	for i, at := range chosen {
		e := &ledger[at]
		rows[i] = []string{
			words.Number(e.Index), p.ms(e.Start), string(e.Kind), words.Number(len(e.Batch)), words.Number(e.Tokens),
			words.Number(e.Usage.KVs), words.Number(e.Usage.DenseKVs),
			words.Number(e.Usage.Allocated), words.Number(e.Usage.Free), some(e.Usage.Wasted),
			shortSize(e.metadataBytes), some(e.evicted), some(e.freed), shortSize(e.bytesMoved), events(r, e),
		}
	}
	p.section("Memory ledger", ": the cache after each step; dense is what it would hold uncompressed")
	p.table([]column{
		{"step", right}, {"ms", right}, {"kind", left}, {"batch", right}, {"tokens", right},
		{"KVs\nheld", right}, {"KVs\ndense", right},
		{"blocks\nused", right}, {"blocks\nfree", right}, {"slots\nwasted", right},
		{"bytes of\nmetadata", right}, {"KVs\nevicted", right}, {"blocks\nfreed", right}, {"bytes\nmoved", right}, {"requests", left},
	}, rows)
	if more := len(ledger) - len(chosen); more > 0 {
		p.printf("… %s more (--steps all shows them)\n", words.Count(more, "step"))
	}
}

// telling returns the classes of steps that a shortened ledger should have, the most important
// first.
func telling(ledger []entry) [][]int {
	var preempted, prefills, finished, short, freed []int
	peak := 0
	for i := range ledger {
		e := &ledger[i]
		if e.Usage.Allocated > ledger[peak].Usage.Allocated {
			peak = i
		}
		if len(e.Preempted) > 0 {
			preempted = append(preempted, i)
		}
		if e.Kind == sim.Prefill {
			prefills = append(prefills, i)
		}
		if len(e.Finished) > 0 {
			finished = append(finished, i)
		}
		if e.short > 0 {
			short = append(short, i)
		}
		if e.freed > 0 {
			freed = append(freed, i)
		}
	}
	slices.SortStableFunc(freed, func(a, b int) int { return cmp.Compare(ledger[b].freed, ledger[a].freed) })
	const largest = 6
	freed = freed[:min(largest, len(freed))]
	return [][]int{{peak}, preempted, freed, prefills, finished, short}
}

// events lists the requests that started and ended in a step.
func events(r *sim.Report, e *entry) string {
	var said []string
	say := func(what string, ids []kv.SeqID) {
		if len(ids) == 0 {
			return
		}
		const most = 3
		names := make([]string, 0, most)
		for _, id := range ids[:min(most, len(ids))] {
			names = append(names, r.Requests[id].ID)
		}
		s := what + " " + strings.Join(names, ", ")
		if more := len(ids) - most; more > 0 {
			s += fmt.Sprintf(" +%d", more)
		}
		said = append(said, s)
	}
	say("preempted", e.Preempted)
	if e.Kind == sim.Prefill {
		say("admitted", e.Batch)
	}
	say("finished", e.Finished)
	if e.short > 0 {
		said = append(said, fmt.Sprintf("%s short", words.Count(e.short, e.unit)))
	}
	return strings.Join(said, "; ")
}

// maxRequests is the largest number of rows in the table of requests; a trace may have thousands.
const maxRequests = 40

// requests writes a row for each request: its lengths, latencies and final state.
func (p *printer) requests(r *sim.Report) {
	var refusals, preempted []int
	for i := range r.Requests {
		switch q := &r.Requests[i]; {
		case q.Error != "":
			refusals = append(refusals, i)
		case q.Preemptions > 0:
			preempted = append(preempted, i)
		}
	}
	chosen := pick(len(r.Requests), maxRequests, refusals, preempted)
	rows := make([][]string, len(chosen))
	for i, at := range chosen {
		q := &r.Requests[at]
		l := newLatencies(q)
		rows[i] = []string{
			q.ID, p.ms(q.Arrival), words.Number(q.PromptTokens), words.Number(q.OutputTokens),
			p.ms(l.ttft), p.ms(l.tpot), p.ms(l.e2e), some(q.Preemptions), state(q),
		}
	}
	p.section("Requests", ": tokens, and times in ms")
	p.table([]column{
		{"request", left}, {"arrival", right}, {"prompt", right}, {"output", right},
		{"TTFT", right}, {"TPOT", right}, {"E2E", right}, {"preempted", right}, {"state", left},
	}, rows)
	if more := len(r.Requests) - len(chosen); more > 0 {
		p.printf("… %s more (--json has them)\n", words.Count(more, "request"))
	}
	for _, i := range thin(refusals, maxRequests/2) {
		p.sentences(fmt.Sprintf("Refused %s: %s.", r.Requests[i].ID, r.Requests[i].Error))
	}
}

// byHead writes a row for each head of each layer.
func (p *printer) byHead(r *sim.Report) {
	columns := []column{
		{"layer", right}, {"head", right}, {"KVs\nentered", right}, {"KVs\nevicted", right}, {"KVs\nkept", right},
	}
	peak := headsAtPeak(r)
	if peak != nil {
		columns = append(columns, column{"blocks\nat peak", right})
	}
	columns = append(columns, column{"part\nkept", right}, column{"", left})

	kept := r.Heads.Kept()
	var rows [][]string
	for l, heads := range r.Heads.Entered {
		for h, entered := range heads {
			evicted := r.Heads.Evicted[l][h]
			row := []string{fmt.Sprint(l), fmt.Sprint(h), words.Number(entered), some(evicted), words.Number(entered - evicted)}
			if peak != nil {
				row = append(row, words.Number(peak.Blocks[l][h]))
			}
			rows = append(rows, append(row, percent(kept[l][h]), Bar(kept[l][h])))
		}
	}
	p.section("By layer and head", ": over all requests")
	p.table(columns, rows)
}

// headsAtPeak returns what the heads held when the cache was fullest, or nil if the replay did
// not record it.
func headsAtPeak(r *sim.Report) *kv.HeadUsage {
	peak := 0
	for i := range r.Steps {
		if r.Steps[i].Usage.Allocated > r.Steps[peak].Usage.Allocated {
			peak = i
		}
	}
	if len(r.Steps) == 0 {
		return nil
	}
	return r.Steps[peak].Heads
}

// Bar returns a bar for a fraction: 20 characters for 1, in steps of an eighth.
func Bar(part float64) string {
	const eighths = 20 * 8
	n := int(part*eighths + 0.5)
	s := strings.Repeat("█", n/8)
	if n%8 > 0 {
		s += string('█' + rune(8-n%8))
	}
	return s
}
