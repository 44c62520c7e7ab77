package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"kvcompress/internal/words"
	"kvcompress/sim/plan"
	"kvcompress/sim/sweep"
)

// Plan is the answer to a planner's question, and its inputs.
type Plan struct {
	Answer     *plan.Answer
	Inputs     []Input
	Candidates int // the objectives
	Footer     Footer
}

// Partial reports whether candidates are missing.
func (p *Plan) Partial() bool { return len(p.Answer.Candidates) < p.Candidates }

// PlanJSON writes an answer as one indented JSON object: schema_version, partial, answer (the
// headline), caveats, time (where the times are from, and the error to expect of them), inputs, slo, and candidates, the best first, each with
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
		Time          []string         `json:"time"`
		Inputs        []Input          `json:"inputs"`
		SLO           any              `json:"slo"`
		Priced        bool             `json:"priced"`
		OneEngine     bool             `json:"one_engine"` // all candidates are projected on one server
		Candidates    []plan.Candidate `json:"candidates"`
	}{schemaVersion, p.Partial(), a.Headline(), a.Best() != nil, a.Caveats(), planTime(a), p.Inputs, a.Question.Objectives, a.Priced, a.OneEngine, a.Candidates})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// planColumn is one column of a plan's table.
type planColumn struct {
	header   string
	left     bool
	possible bool // it applies only to candidates that can be projected
	number   bool // it applies only if the answer is a number of replicas
	cell     func(*plan.Candidate) string
}

// ifServed returns a cell that is "–" for a candidate that serves nothing.
func ifServed(cell func(*plan.Candidate) string) func(*plan.Candidate) string {
	return func(c *plan.Candidate) string {
		if !c.Serves() {
			return "–"
		}
		return cell(c)
	}
}

func planColumns(a *plan.Answer) []planColumn {
	columns := []planColumn{
		{"replicas", false, true, false, func(c *plan.Candidate) string {
			switch {
			case !c.Serves():
				return "–"
			case c.Alone:
				return "any"
			}
			if c.Disaggregated() {
				return words.Number(c.Prefill) + " + " + words.Number(c.Decode)
			}
			return words.Number(c.Servers())
		}},
		{"of", true, false, false, func(c *plan.Candidate) string {
			of := c.One()
			if c.Disaggregated() && (c.Error != "" || c.Alone) { // then the replicas do not show it
				of += ", disaggregated"
			}
			return of
		}},
		{"compression", true, false, false, func(c *plan.Candidate) string { return c.Compression.String() }},
	}
	for _, other := range []struct {
		of     plan.Aspect
		header string
		cell   func(*plan.Candidate) string
	}{
		{plan.Memory, "memory", func(c *plan.Candidate) string { return c.Budget.String() }},
		{plan.BatchLimit, "batch\nlimit", func(c *plan.Candidate) string { return words.Number(c.MaxNumSeqs) }},
		{plan.Engine, "engine", func(c *plan.Candidate) string { return string(c.Scheduler) }},
	} {
		if a.Differ(other.of) {
			columns = append(columns, planColumn{other.header, true, false, false, other.cell})
		}
	}
	if a.Priced {
		columns = append(columns, planColumn{"$ a\nmonth", false, true, true, ifServed(func(c *plan.Candidate) string { return whole(c.USDPerMonth) })})
	} else {
		columns = append(columns, planColumn{"cards", false, true, true, ifServed(func(c *plan.Candidate) string { return words.Number(c.Cards) })})
	}
	if !a.Question.Objectives.Set() {
		return columns
	}
	columns = append(columns, planColumn{"requests\nwithin", false, true, false, func(c *plan.Candidate) string { return words.ShareColumn(c.Metrics.GoodShare) }})
	for _, name := range []string{"ttft", "tpot", "e2e"} {
		at := func(c *plan.Candidate) float64 {
			for _, o := range c.Metrics.Objectives {
				if o.Name == name {
					return o.At
				}
			}
			return 0
		}
		var values []float64
		for i := range a.Candidates {
			values = append(values, at(&a.Candidates[i]))
		}
		if u := timeUnit(values, 2); len(positive(values)) > 0 {
			columns = append(columns, planColumn{
				fmt.Sprintf("%s\n%s, %s", shortObjective(name), quantileName(a.Question.Objectives.Required()), u.name), false, true, false,
				func(c *plan.Candidate) string {
					if at(c) == 0 {
						return "–"
					}
					return u.text(at(c))
				},
			})
		}
	}
	return columns
}

// planTable is the table of candidates. Its last column has the reasons.
func planTable(a *plan.Answer) (columns []column, rows [][]string) {
	all := planColumns(a)
	for _, c := range all {
		align := right
		if c.left {
			align = left
		}
		columns = append(columns, column{c.header, align})
	}
	columns = append(columns, column{"why", left})
	for i := range a.Candidates {
		c := &a.Candidates[i]
		var row []string
		for _, col := range all {
			if col.possible && c.Error != "" || col.number && c.Alone {
				row = append(row, "–")
			} else {
				row = append(row, col.cell(c))
			}
		}
		rows = append(rows, append(row, a.Why(c)))
	}
	return columns, rows
}

// quantileName returns the name of the quantile for a fraction of the requests.
func quantileName(part float64) string {
	return "p" + strconv.FormatFloat(100*part, 'g', 6, 64)
}

// leastWhy is the smallest width of the column of reasons. If there is less space, they are
// listed below the table.
const leastWhy = 20

// PlanText writes an answer as text: the answer in the first line, then the candidates, and the
// errors to expect.
func PlanText(w io.Writer, p *Plan, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = tableWidth
	}
	a := p.Answer
	out := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	out.printf("%s\n", out.opt.Color.bold(a.Headline()))
	if p.Partial() {
		out.sentences(fmt.Sprintf("Partial: %s of %s are there.", words.Number(len(a.Candidates)), words.Count(p.Candidates, "candidate")))
	}
	for _, text := range a.Caveats() {
		out.sentences(text)
	}
	out.printf("\n")
	columns, rows := planTable(a)
	wrapped, below := wrapLast(columns, rows, opt.Width, out.gap)
	out.table(columns, wrapped)
	out.printf("\n")
	for _, text := range below {
		out.sentences(text)
	}
	for _, text := range planTime(a) {
		out.sentences(text)
	}
	for _, text := range planNotes(a) {
		out.sentences(text)
	}
	return out.end()
}

// wrapLast wraps the last column into several rows so that the table is no wider than width. If
// that leaves too little space for the column, it has numbers instead, and their texts are
// returned.
func wrapLast(columns []column, rows [][]string, width, gap int) (wrapped [][]string, below []string) {
	last := len(columns) - 1
	room := width
	for _, w := range columnWidths(columns[:last], rows) {
		room -= w + gap
	}
	numbers := map[string]int{}
	for _, row := range rows {
		text := row[last]
		if room < leastWhy {
			if numbers[text] == 0 {
				numbers[text] = len(numbers) + 1
				below = append(below, fmt.Sprintf("(%d) %s", numbers[text], text))
			}
			text = fmt.Sprintf("(%d)", numbers[text])
		}
		for i, line := range wrap(text, max(leastWhy, room)) {
			if i == 0 {
				row = append([]string(nil), row...)
			} else {
				row = make([]string, len(columns))
			}
			row[last] = line
			wrapped = append(wrapped, row)
		}
	}
	return wrapped, below
}

// planTime says where the times on each card are from, and the error to expect.
func planTime(a *plan.Answer) []string {
	outcomes := make([]sweep.Outcome, len(a.Candidates))
	for i := range a.Candidates {
		outcomes[i] = a.Candidates[i].Outcome
	}
	return sweepTime(outcomes)
}

// planNotes lists the assumptions about the methods, each once.
func planNotes(a *plan.Answer) []string {
	var notes noteList
	for i := range a.Candidates {
		c := &a.Candidates[i]
		notes.add(c.Compression.MethodName(), c.Notes)
	}
	return notes.texts()
}
