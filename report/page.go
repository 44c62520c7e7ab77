package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"kvcompress/sim/cost"
)

// page is one self-contained HTML page: it needs nothing from anywhere else.
type page struct {
	Title    string
	Partial  string // what is missing; empty if nothing is
	Lead     []string
	Cards    []Input // the figures that matter most
	Sections []section
}

type section struct {
	Title   string
	Text    []string
	Table   *pageTable
	Figures []pageFigure
}

type pageFigure struct {
	Title, Text string
	SVG         template.HTML
}

type pageTable struct {
	Head []pageHead
	Rows [][]pageCell
}

type pageHead struct {
	Lines []string
	Left  bool
}

type pageCell struct {
	Text string
	Left bool
}

//go:embed page.html
var pageHTML string

func (p *page) write(w io.Writer) error {
	t, err := template.New("page").Parse(pageHTML)
	if err == nil {
		err = t.Execute(w, p)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func newPageTable(columns []column, rows [][]string) *pageTable {
	t := &pageTable{}
	for _, c := range columns {
		t.Head = append(t.Head, pageHead{strings.Split(c.header, "\n"), c.align == left})
	}
	for _, row := range rows {
		cells := make([]pageCell, len(row))
		for i, text := range row {
			cells[i] = pageCell{text, columns[i].align == left}
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

func newPageFigures(figures []*Figure) ([]pageFigure, error) {
	var out []pageFigure
	for _, f := range figures {
		svg, err := f.svg(false)
		if err != nil {
			return nil, fmt.Errorf("report: %s: %w", f.Name, err)
		}
		text := string(svg)
		// In a page, an SVG has no XML declaration.
		if at := strings.Index(text, "<svg"); at > 0 {
			text = text[at:]
		}
		out = append(out, pageFigure{f.Title, f.Text, template.HTML(text)})
	}
	return out, nil
}

// inputsSection lists what a result follows from.
func inputsSection(inputs []Input) section {
	var rows [][]string
	for _, in := range inputs {
		rows = append(rows, []string{in.Name, in.Value})
	}
	return section{Title: "Inputs", Table: newPageTable([]column{{"input", left}, {"value", left}}, rows)}
}

// SweepHTML writes a sweep as one self-contained page: what it shows in sentences,
// its figures, its table and its inputs.
func SweepHTML(w io.Writer, s *Sweep) error {
	p := page{Title: fmt.Sprintf("Serving with KV-cache compression: %s", count(s.Points, "projection")), Lead: sweepReading(s)}
	if s.Partial() {
		p.Partial = fmt.Sprintf("%s of %s are there.", comma(len(s.Outcomes)), count(s.Points, "projection"))
	}
	figures, err := newPageFigures(SweepFigures(s))
	if err != nil {
		return err
	}
	if len(figures) > 0 {
		p.Sections = append(p.Sections, section{Title: "Plots", Figures: figures})
	}
	columns, rows, common := sweepTable(s)
	table := section{Title: "All projections", Table: newPageTable(columns, rows)}
	if common != "" {
		table.Text = append(table.Text, common)
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
		row := []string{o.Model, o.Card, comma(o.TP), o.Budget.String(), o.Compression.MethodName()}
		for _, e := range memoryEntries(&o.Memory) {
			row = append(row, e.Value)
		}
		row = append(row, comma(o.Memory.Tokens), times(o.Memory.Concurrency))
		if key := strings.Join(row, "\x00"); !seen[key] {
			seen[key] = true
			rows = append(rows, row)
		}
	}
	return section{Title: "Memory of each card", Text: []string{"In GB of 10⁹ bytes."}, Table: newPageTable(columns, rows)}
}
