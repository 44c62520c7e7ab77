package report

import (
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"io"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/sim/cost"
)

// Footer says how a page was made.
type Footer struct {
	Date     string   // as 2006-01-02
	Version  string   // of the program
	Command  string   // the command that makes the page
	expected []string // sentences on where the times are from and the error to expect
}

// Expected returns Times for the page's template.
func (f Footer) Expected() []string { return f.expected }

// page is an HTML page in one file, which loads no other.
type page struct {
	Title    string
	Partial  string // what is missing; empty if nothing is
	Answer   string // a line before everything else
	Lead     []string
	Cards    []Input // the most important figures
	Sections []section
	Footer   Footer
}

// Script is the JavaScript that sorts and filters tables, and marks the row of a bar.
func (p *page) Script() template.JS { return template.JS(pageScript) }

type section struct {
	Title   string
	Text    []string
	Bars    *bars
	Table   *pageTable
	Figures []pageFigure
}

type pageFigure struct {
	Title, Text string
	SVG         template.HTML
	Map         bool // has a colour scale
}

// bars is a chart of horizontal bars that start at 0.
type bars struct {
	Text string // what the chart shows
	List []bar
}

// bar is one bar. Key is the key of its row in the page's table.
type bar struct {
	Key, Name, Text string
	Part            float64 // of the width, in percent
	Bad             bool    // it misses the objectives
	Value           float64
}

// scale sets the widths of the bars. The longest leaves space for its text.
func (b *bars) scale() {
	const longest = 60
	most := 0.0
	for _, x := range b.List {
		most = max(most, x.Value)
	}
	for i := range b.List {
		if x := &b.List[i]; most > 0 {
			x.Part = float64(int(10*longest*x.Value/most)) / 10
		}
	}
}

type pageTable struct {
	Name string // for screen readers
	Head []pageHead
	Rows []pageRow
	Sort bool // sortable by its columns, and filterable if it has many rows
}

type pageHead struct {
	Lines []string
	Left  bool
	Extra bool // left out in print, where it would not fit
}

type pageRow struct {
	Key   string
	Cells []pageCell
}

type pageCell struct {
	Text  string
	Left  bool
	Extra bool
	Head  bool // the row's name
}

//go:embed page.html
var pageHTML string

//go:embed page.js
var pageScript string

func (p *page) write(w io.Writer) error {
	for i := range p.Sections {
		if t := p.Sections[i].Table; t != nil && t.Name == "" {
			t.Name = p.Sections[i].Title
		}
	}
	t, err := template.New("page").Parse(pageHTML)
	if err == nil {
		err = t.Execute(w, p)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// newPageTable returns a table. The first column without an empty cell has the names of the rows.
func newPageTable(columns []column, rows [][]string) *pageTable {
	t := &pageTable{}
	for _, c := range columns {
		t.Head = append(t.Head, pageHead{Lines: strings.Split(c.header, "\n"), Left: c.align == left})
	}
	name := 0
	for name < len(columns) && slices.ContainsFunc(rows, func(row []string) bool { return row[name] == "" }) {
		name++
	}
	for _, row := range rows {
		cells := make([]pageCell, len(row))
		for i, text := range row {
			cells[i] = pageCell{Text: text, Left: columns[i].align == left, Head: i == name}
		}
		t.Rows = append(t.Rows, pageRow{Cells: cells})
	}
	return t
}

// extra marks the columns that are not printed.
func (t *pageTable) extra(gone []bool) {
	for i := range t.Head {
		t.Head[i].Extra = gone[i]
	}
	for _, row := range t.Rows {
		for i := range row.Cells {
			row.Cells[i].Extra = gone[i]
		}
	}
}

func newPageFigures(figures []*Figure) ([]pageFigure, error) {
	var out []pageFigure
	for _, f := range figures {
		svg, err := f.svg(false)
		if err != nil {
			return nil, fmt.Errorf("report: %s: %w", f.Name, err)
		}
		text := string(svg)
		// An SVG inside a page has no XML declaration.
		if at := strings.Index(text, "<svg"); at > 0 {
			text = text[at:]
		}
		text = strings.Replace(text, "<svg", `<svg role="img" aria-label="`+html.EscapeString(f.Title+". "+f.Text)+`"`, 1)
		out = append(out, pageFigure{f.Title, f.Text, template.HTML(text), f.cells != nil})
	}
	return out, nil
}

// inputsSection lists the inputs of a result.
func inputsSection(inputs []Input) section {
	var rows [][]string
	for _, in := range inputs {
		rows = append(rows, []string{in.Name, in.Value})
	}
	return section{Title: "Inputs", Table: newPageTable([]column{{"input", left}, {"value", left}}, rows)}
}

// printWidth is the number of characters in a line of a table on a landscape page.
const printWidth = 150

// SweepHTML writes a sweep as one self-contained page: a summary, its figures, its table and its
// inputs.
func SweepHTML(w io.Writer, s *Sweep) error {
	p := page{Title: fmt.Sprintf("Serving with KV-cache compression: %s", words.Count(s.Points, "projection")), Lead: sweepReading(s), Footer: s.Footer}
	if s.Partial() {
		p.Partial = fmt.Sprintf("%s of %s are there.", words.Number(len(s.Outcomes)), words.Count(s.Points, "projection"))
	}
	p.Footer.expected = sweepTime(s.Outcomes)
	if b := sweepBars(s); b != nil {
		p.Sections = append(p.Sections, section{Title: "Which card", Bars: b})
	}
	figures, err := newPageFigures(SweepFigures(s))
	if err != nil {
		return err
	}
	if len(figures) > 0 {
		p.Sections = append(p.Sections, section{Title: "Plots", Figures: figures})
	}
	t := newSweepTable(s)
	table := section{Title: "All projections", Table: newPageTable(t.columns, t.rows)}
	table.Table.Sort = true
	table.Table.extra(t.gone(printWidth, 2))
	for i := range s.Outcomes {
		table.Table.Rows[i].Key = fmt.Sprint(s.Outcomes[i].Index)
	}
	if t.common != "" {
		table.Text = append(table.Text, t.common)
	}
	p.Sections = append(p.Sections, table, memorySection(s), inputsSection(s.Inputs))
	return p.write(w)
}

// memorySection says where the bytes of a card go, once for each ledger.
func memorySection(s *Sweep) section {
	columns := []column{{"model", left}, {"GPU", left}, {"cards", right}, {"memory", left}, {"compression", left}}
	for _, e := range memoryEntries(&cost.Memory{}) {
		columns = append(columns, column{e.Name, right})
	}
	columns = append(columns, column{"tokens of cache,\nuncompressed", right}, column{"requests of the longest\nlength at once", right})
	var rows [][]string
	seen := map[string]bool{}
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		if o.Error != "" {
			continue
		}
		row := []string{o.Model, o.CardName(), words.Number(o.TP), o.Budget.String(), o.Compression.MethodName()}
		for _, e := range memoryEntries(&o.Memory) {
			row = append(row, e.Value)
		}
		row = append(row, words.Number(o.Memory.Tokens), times(o.Memory.Concurrency))
		if key := strings.Join(row, "\x00"); !seen[key] {
			seen[key] = true
			rows = append(rows, row)
		}
	}
	return section{Title: "Memory of each card", Text: []string{"In GB of 10⁹ bytes."}, Table: newPageTable(columns, rows)}
}
