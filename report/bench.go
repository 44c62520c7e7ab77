package report

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"kvcompress/bench"
	"kvcompress/internal/words"
)

// Bench is what a bench came to, to be shown.
type Bench struct {
	*bench.Table
	Rows   []bench.Row // of the plan
	Inputs []Input
	Shown  []bench.Budget // of which the text has all categories
	Footer Footer
}

// BenchText writes the table of methods and budgets for each mode, that of methods and
// categories for the budgets shown, and what is significant.
func BenchText(w io.Writer, b *Bench, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	opt.Width = max(opt.Width, minWidth)
	p := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	for _, text := range benchLead(b) {
		p.sentences(text)
	}
	for _, mode := range b.Plan.Modes {
		p.section(fmt.Sprintf("Score by budget, %s", mode), ": mean over the categories; = not significantly below the best of its column; the least that a method needs where it cannot reach the budget")
		p.table(benchSummary(b, mode))
	}
	for _, mode := range b.Plan.Modes {
		for _, budget := range b.Shown {
			p.section(fmt.Sprintf("Score at %v, %s", budget, mode), ": and as a part of the full cache's")
			p.table(benchCategories(b, mode, budget))
		}
	}
	p.section("Ranking", "")
	for _, r := range b.Rankings {
		if slices.Contains(b.Shown, r.Budget) {
			p.sentences(rankingText(&r))
		}
	}
	p.printf("\n")
	p.sentences(fmt.Sprintf("Digest of every decoded token: %s.", b.Digest))
	if p.err == nil {
		p.err = p.w.Flush()
	}
	if p.err != nil {
		return fmt.Errorf("report: %w", p.err)
	}
	return nil
}

// benchLead says what was run.
func benchLead(b *Bench) []string {
	var lead []string
	if b.Done < b.Plan.Units() {
		lead = append(lead, fmt.Sprintf("PARTIAL: %s of %s contexts are in it.", comma(b.Done), comma(b.Plan.Units())))
	}
	return append(lead, fmt.Sprintf("Contexts of %s tokens, %s for each of %s, in %s: %s. Blocks of %s. A budget is a part of the bytes that the full cache's blocks take on average over the steps of a generation; positions, owners and the method's columns are counted.",
		comma(b.Plan.Length), comma(b.Plan.Prompts), list(b.Plan.Models), words.Count(len(b.Plan.Categories), "category"), count(b.Runs, "generation"), words.Count(b.Plan.BlockSize, "KV")))
}

// benchSummary is the table of methods and budgets of a mode.
func benchSummary(b *Bench, mode bench.Mode) ([]column, [][]string) {
	columns := []column{{"method", left}}
	for _, budget := range b.Plan.Budgets {
		columns = append(columns, column{budget.String(), right}, column{"", left})
	}
	var rows [][]string
	for _, name := range b.order(mode, b.middle()) {
		row := []string{name}
		for _, budget := range b.Plan.Budgets {
			switch r := b.ranked(mode, budget, name); {
			case r != nil && name == bench.Full:
				row = append(row, score(r.Score), "")
			case r != nil:
				row = append(row, score(r.Score), tied(r))
			default:
				row = append(row, b.needs(name, budget), "")
			}
		}
		rows = append(rows, row)
	}
	return columns, rows
}

func tied(r *bench.Ranked) string {
	if r.Tied {
		return "="
	}
	return ""
}

// score writes a score, which is from 0 to 1.
func score(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

// needs says what a method needs that cannot reach a budget.
func (b *Bench) needs(name string, budget bench.Budget) string {
	for _, u := range b.Unmet {
		if u.Row == name && u.Budget == budget && u.Needs > 0 {
			return "needs " + score(u.Needs)
		}
	}
	return "–"
}

// ranked returns a method's place, nil if it has none.
func (b *Bench) ranked(mode bench.Mode, budget bench.Budget, name string) *bench.Ranked {
	for i := range b.Rankings {
		r := &b.Rankings[i]
		if r.Mode != mode || r.Budget != budget {
			continue
		}
		if name == bench.Full {
			return &r.Full
		}
		for j := range r.Rows {
			if r.Rows[j].Row == name {
				return &r.Rows[j]
			}
		}
	}
	return nil
}

// order returns the methods by their score at a budget, the full cache first and those that
// do not reach it last.
func (b *Bench) order(mode bench.Mode, budget bench.Budget) []string {
	names := make([]string, 0, len(b.Rows))
	for _, r := range b.Rows {
		names = append(names, r.Name)
	}
	value := func(name string) float64 {
		switch r := b.ranked(mode, budget, name); {
		case name == bench.Full:
			return 2
		case r != nil:
			return r.Score
		}
		return -1
	}
	slices.SortStableFunc(names, func(a, c string) int {
		switch x, y := value(a), value(c); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return names
}

// middle returns the budget by which tables of all budgets are ordered.
func (b *Bench) middle() bench.Budget { return b.Plan.Budgets[(len(b.Plan.Budgets)-1)/2] }

// benchCategories is the table of methods and categories of a mode at a budget.
func benchCategories(b *Bench, mode bench.Mode, budget bench.Budget) ([]column, [][]string) {
	columns := []column{{"method", left}}
	for _, c := range b.Plan.Categories {
		columns = append(columns, column{strings.ReplaceAll(c, "-", "-\n"), right})
	}
	columns = append(columns, column{"mean", right}, column{"±", right}, column{"of\nfull", right}, column{"diver-\ngence", right}, column{"bytes", right}, column{"peak", right})
	var rows [][]string
	for _, name := range b.order(mode, budget) {
		at := budget
		if name == bench.Full {
			at = 1
		}
		r := b.ranked(mode, budget, name)
		if r == nil {
			continue
		}
		row, divergence, n := []string{name}, 0.0, 0
		for _, category := range b.Plan.Categories {
			c := b.Cell(mode, at, name, category)
			if c == nil {
				row = append(row, "–")
				continue
			}
			row = append(row, score(c.Score))
			divergence, n = divergence+c.Divergence, n+1
		}
		rows = append(rows, append(row, score(r.Score), score((r.High-r.Low)/2), score(r.Relative),
			score(divergence/float64(max(1, n))), strconv.FormatFloat(r.Bytes, 'f', 3, 64), strconv.FormatFloat(r.Peak, 'f', 3, 64)))
	}
	return columns, rows
}

// rankingText says which methods lead, and what is not significant.
func rankingText(r *bench.Ranking) string {
	if len(r.Rows) == 0 {
		return fmt.Sprintf("%s, %v: no method reaches it.", r.Mode, r.Budget)
	}
	var even, below []string
	for i := range r.Rows {
		switch {
		case i == 0:
		case r.Rows[i].Tied:
			even = append(even, r.Rows[i].Row)
		case len(below) < 3:
			below = append(below, fmt.Sprintf("%s (%s)", r.Rows[i].Row, score(r.Rows[i].Score)))
		}
	}
	first := r.Rows[0]
	text := fmt.Sprintf("%s, %v: %s is first with %s, %s of the full cache's", r.Mode, r.Budget, first.Row, score(first.Score), percent(first.Relative))
	if len(even) > 0 {
		text += fmt.Sprintf("; not significantly below it: %s", list(even))
	}
	if len(below) > 0 {
		text += fmt.Sprintf("; then %s", list(below))
	}
	return text + "."
}

// BenchCSV writes a row for each cell.
func BenchCSV(w io.Writer, b *Bench) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"mode", "budget", "method", "category", "n", "score", "low", "high", "relative", "divergence", "bytes", "peak"}}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	for _, c := range b.Cells {
		rows = append(rows, []string{string(c.Mode), c.Budget.String(), c.Row, c.Category, strconv.Itoa(c.N),
			number(c.Score), number(c.Low), number(c.High), number(c.Relative), number(c.Divergence), number(c.Bytes), number(c.Peak)})
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// BenchHTML writes a bench as one self-contained page.
func BenchHTML(w io.Writer, b *Bench) error {
	p := page{Title: "Quality at equal bytes", Lead: benchLead(b), Footer: b.Footer}
	if b.Done < b.Plan.Units() {
		p.Partial, p.Lead = p.Lead[0], p.Lead[1:]
	}
	for i := range b.Rankings {
		p.Lead = append(p.Lead, rankingText(&b.Rankings[i]))
	}
	for _, mode := range b.Plan.Modes {
		p.Sections = append(p.Sections, section{Title: fmt.Sprintf("Score by budget, %s", mode),
			Text:  []string{"Mean over the categories; = is not significantly below the best of its column."},
			Table: newPageTable(benchSummary(b, mode))})
	}
	figures, err := newPageFigures(BenchFigures(b))
	if err != nil {
		return err
	}
	p.Sections = append(p.Sections, section{Title: "Score against bytes", Figures: figures})
	for _, mode := range b.Plan.Modes {
		for _, budget := range b.Plan.Budgets {
			t := newPageTable(benchCategories(b, mode, budget))
			t.Sort = true
			p.Sections = append(p.Sections, section{Title: fmt.Sprintf("Score at %v, %s", budget, mode), Table: t})
		}
	}
	p.Sections = append(p.Sections, section{Title: "Methods", Table: newPageTable(benchRows(b))}, inputsSection(b.Inputs))
	return p.write(w)
}

// benchRows says how each method is run.
func benchRows(b *Bench) ([]column, [][]string) {
	var rows [][]string
	for _, r := range b.Rows {
		rows = append(rows, []string{r.Name, r.Method, r.Fixed, r.Knob})
	}
	return []column{{"method", left}, {"of kvc methods", left}, {"fixed", left}, {"knob", left}}, rows
}

// mostCurves bounds the methods of a figure, so that they are told apart.
const mostCurves = 7

// BenchFigures draws the score against the bytes held, in each mode, over all categories
// and in each: of the methods that are best at the middle budget, and of random eviction.
func BenchFigures(b *Bench) []*Figure {
	var figures []*Figure
	for _, mode := range b.Plan.Modes {
		var names []string
		for _, name := range b.order(mode, b.middle()) {
			if name != bench.Full && len(names) < mostCurves-1 {
				names = append(names, name)
			}
		}
		if !slices.Contains(names, "random") {
			names = append(names, "random")
		}
		figures = append(figures, b.figure(mode, "", names))
		for _, category := range b.Plan.Categories {
			figures = append(figures, b.figure(mode, category, names))
		}
	}
	return figures
}

// figure draws one category, or with "" the mean over all.
func (b *Bench) figure(mode bench.Mode, category string, names []string) *Figure {
	var curves []curve
	for _, name := range names {
		c := curve{name: name, dots: true, line: true}
		for _, budget := range b.Plan.Budgets {
			bytes, value, ok := 0.0, 0.0, false
			if category == "" {
				if r := b.ranked(mode, budget, name); r != nil {
					bytes, value, ok = r.Bytes, r.Score, true
				}
			} else if cell := b.Cell(mode, budget, name, category); cell != nil {
				bytes, value, ok = cell.Bytes, cell.Score, true
			}
			if ok {
				c.points = append(c.points, plotter.XY{X: math.Log2(1 / bytes), Y: value})
			}
		}
		if len(c.points) > 0 {
			curves = append(curves, c)
		}
	}
	what := "all categories"
	if category != "" {
		what = category
	}
	f := newFigure(fileName("quality", string(mode), what), fmt.Sprintf("%s, %s", what, mode), "bytes held, as a part of the full cache's", "score",
		fmt.Sprintf("Score against the bytes held over a generation, %s, %s.", what, mode), curves)
	f.plot.Y.Max = 1.06
	f.plot.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		var ticks []plot.Tick
		for i := math.Ceil(low); i <= high; i++ {
			ticks = append(ticks, plot.Tick{Value: i, Label: bench.Budget(math.Exp2(i)).String()})
		}
		return ticks
	})
	return f
}

// KnobText writes where each method's knob stands at each budget, in each mode, for the
// plan's first model and category.
func KnobText(w io.Writer, b *bench.Bench) error {
	p := &printer{w: bufio.NewWriter(w), opt: TextOptions{Width: defaultWidth}, gap: 2}
	model, category := b.Plan.Models[0], b.Plan.Categories[0]
	for _, mode := range b.Plan.Modes {
		p.section(fmt.Sprintf("Knobs, %s", mode), fmt.Sprintf(": %s, %s; --json has every model and category", model, category))
		columns := []column{{"method", left}, {"fixed", left}}
		for _, budget := range b.Plan.Budgets {
			columns = append(columns, column{budget.String(), left})
		}
		var rows [][]string
		for _, r := range bench.Rows() {
			if r.Name == bench.Full || !slices.Contains(b.Plan.Methods, r.Name) {
				continue
			}
			row := []string{r.Name, r.Fixed}
			for _, budget := range b.Plan.Budgets {
				cell := "–"
				for _, k := range b.Knobs(model) {
					if k.Row != r.Name || k.Budget != budget || k.Mode != mode || k.Category != category {
						continue
					}
					switch {
					case k.Setting != nil && k.Setting.Text != "":
						cell = k.Setting.Text
					case k.Setting != nil:
						cell = "as it is"
					case k.Missed.Needs > 0:
						cell = "needs " + score(k.Missed.Needs)
					}
				}
				row = append(row, cell)
			}
			rows = append(rows, row)
		}
		p.table(columns, rows)
	}
	if p.err == nil {
		p.err = p.w.Flush()
	}
	if p.err != nil {
		return fmt.Errorf("report: %w", p.err)
	}
	return nil
}
