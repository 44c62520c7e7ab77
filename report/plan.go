package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"kvcompress/sim/plan"
)

// Plan is the answer to a planner's question, and what it was made from.
type Plan struct {
	Answer     *plan.Answer
	Inputs     []Input
	Candidates int // that were asked for
	Footer     Footer
}

// Partial reports whether candidates are missing.
func (p *Plan) Partial() bool { return len(p.Answer.Candidates) < p.Candidates }

// PlanJSON writes an answer as one indented JSON object: schema_version, partial, answer (the
// headline), caveats, expected_error, inputs, slo, and candidates, the best first, each with
// the names of a sweep's outcome.
func PlanJSON(w io.Writer, p *Plan) error {
	a := p.Answer
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		SchemaVersion int              `json:"schema_version"`
		Partial       bool             `json:"partial"`
		Answer        string           `json:"answer"`
		Meets         bool             `json:"meets"` // some candidate meets the objectives
		Caveats       []string         `json:"caveats,omitempty"`
		Expected      []string         `json:"expected_error"`
		Inputs        []Input          `json:"inputs"`
		SLO           any              `json:"slo"`
		Priced        bool             `json:"priced"`
		OneEngine     bool             `json:"one_engine"` // all candidates are projected on one server
		Candidates    []plan.Candidate `json:"candidates"`
	}{schemaVersion, p.Partial(), a.Headline(), a.Best() != nil, a.Caveats(), a.Expectations(), p.Inputs, a.Question.Objectives, a.Priced, a.OneEngine, a.Candidates})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// planTable is the table of candidates. Its last column is why.
func planTable(a *plan.Answer) (columns []column, rows [][]string) {
	columns = []column{{"candidate", left}, {"cards", right}}
	if a.Priced {
		columns = append(columns, column{"$ a month", right})
	}
	all := make([]*plan.Candidate, len(a.Candidates))
	for i := range a.Candidates {
		all[i] = &a.Candidates[i]
	}
	possible := func(c *plan.Candidate) bool { return c.Error == "" }
	columns = append(columns, column{"requests\nwithin", right})
	type timed struct {
		unit measure
		at   func(*plan.Candidate) float64
	}
	var times []timed
	for _, name := range []string{"ttft", "tpot", "e2e"} {
		at := func(c *plan.Candidate) float64 {
			for _, o := range c.Metrics.Objectives {
				if o.Name == name {
					return o.At
				}
			}
			return -1
		}
		var values []float64
		for _, c := range all {
			if v := at(c); possible(c) && v >= 0 {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			continue
		}
		u := timeUnit(values)
		times = append(times, timed{u, at})
		columns = append(columns, column{fmt.Sprintf("%s %s,\n%s", shortObjective(name), quantileName(a.Question.Objectives.Required()), u.name), right})
	}
	columns = append(columns, column{"why", left})
	for _, c := range all {
		row := []string{a.Name(c), comma(c.Cards)}
		if a.Priced {
			row = append(row, whole(c.USDPerMonth))
		}
		if !possible(c) || c.Alone { // no number of cards is the answer
			for i := range row[1:] {
				row[i+1] = "–"
			}
		}
		if !possible(c) {
			for len(row) < len(columns)-1 {
				row = append(row, "–")
			}
		} else {
			row = append(row, attained(c.Metrics.GoodShare))
			for _, t := range times {
				if v := t.at(c); v > 0 {
					row = append(row, t.unit.text(v))
				} else {
					row = append(row, "–")
				}
			}
		}
		rows = append(rows, append(row, a.Why(c)))
	}
	return columns, rows
}

// quantileName names the quantile that a part of the requests is.
func quantileName(part float64) string {
	return "p" + strconv.FormatFloat(100*part, 'g', 6, 64)
}

// leastWhy is how narrow the column of reasons gets.
const leastWhy = 30

// PlanText writes an answer for a person to read: the answer in the first line, then the
// candidates, and what to expect of the figures.
func PlanText(w io.Writer, p *Plan, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = tableWidth
	}
	a := p.Answer
	out := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	out.printf("%s\n", out.opt.Color.bold(a.Headline()))
	if p.Partial() {
		out.sentences(fmt.Sprintf("Partial: %s of %s are there.", comma(len(a.Candidates)), count(p.Candidates, "candidate")))
	}
	for _, text := range a.Caveats() {
		out.sentences(text)
	}
	out.printf("\n")
	columns, rows := planTable(a)
	out.table(columns, wrapLast(columns, rows, opt.Width, out.gap))
	out.printf("\n")
	for _, text := range a.Expectations() {
		out.sentences("Error to expect on " + text + ".")
	}
	for _, text := range planNotes(a) {
		out.sentences(text)
	}
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("report: %w", out.err)
	}
	return nil
}

// wrapLast breaks the last column so that a table is no wider than width, where it can, into
// rows of their own.
func wrapLast(columns []column, rows [][]string, width, gap int) [][]string {
	last := len(columns) - 1
	taken := 0
	for _, w := range columnWidths(columns[:last], rows) {
		taken += w + gap
	}
	room := max(leastWhy, width-taken)
	var wrapped [][]string
	for _, row := range rows {
		for i, line := range wrap(row[last], room) {
			if i > 0 {
				row = make([]string, len(columns))
			} else {
				row = append([]string(nil), row...)
			}
			row[last] = line
			wrapped = append(wrapped, row)
		}
	}
	return wrapped
}

// planNotes says what is taken for granted because of the methods, once for each.
func planNotes(a *plan.Answer) []string {
	var notes noteList
	for i := range a.Candidates {
		c := &a.Candidates[i]
		notes.add(c.Compression.MethodName(), c.Notes)
	}
	return notes.texts()
}
