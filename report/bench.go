package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"kvcompress/bench"
	"kvcompress/internal/words"
	"kvcompress/report/export"
)

// Bench is the results of a bench, with the inputs and footer of its reports.
type Bench struct {
	*bench.Table
	Rows   []bench.Row // of the plan
	Inputs []Input
	Shown  []bench.Budget // budgets for which the text has a table of all categories
	Of     *bench.Bench   // the bench whose knobs the page lists; nil: none
	Footer Footer

	// Relative makes tables show fractions of the full cache's score instead of scores.
	Relative bool
}

// value formats a score, or with Relative the fraction of the full cache's score.
func (b *Bench) value(v float64, relative *float64) string {
	if b.Relative {
		return scoreOrDash(relative)
	}
	return score(v)
}

// scoreOrDash formats a score or a fraction of one, and nil as a dash.
func scoreOrDash(v *float64) string {
	if v == nil {
		return "–"
	}
	return score(*v)
}

// what names the quantity that the tables show.
func (b *Bench) what() string {
	if b.Relative {
		return "Part of the full cache's score"
	}
	return "Score"
}

// BenchText writes, for each mode, a table of methods by budgets, a table of methods by
// categories for each budget of b.Shown, and which differences are significant.
func BenchText(w io.Writer, b *Bench, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	opt.Width = max(opt.Width, minWidth)
	p := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	for _, text := range benchLead(b) {
		p.sentences(text)
	}
	for _, text := range b.CheckText() {
		p.sentences(text)
	}
	for _, mode := range b.Plan.Modes {
		p.section(fmt.Sprintf("%s by budget, %s", b.what(), mode), ": mean over the "+b.over()+"; = not significantly below the best of its column; the least that a method needs where it cannot reach the budget")
		p.table(benchSummary(b, mode))
	}
	for i, text := range append(b.unscored(), b.hosted()...) {
		if i == 0 {
			p.printf("\n")
		}
		p.sentences(text)
	}
	for _, mode := range b.Plan.Modes {
		for _, budget := range b.Shown {
			p.section(fmt.Sprintf("%s at %v, %s", b.what(), budget, mode), "; ± is half of the 95 % interval of the mean score; bytes and peak are parts of the full cache's mean")
			p.table(benchCategories(b, mode, budget))
		}
	}
	for i := range b.Heats {
		if h := &b.Heats[i]; h.Row == bench.Full || slices.Contains(b.Shown, h.Budget) {
			p.section("Needle, "+heatTitle(h), ": the part of passkeys that is found, by depth and by the tokens of the context")
			p.table(heatTable(b.Plan.Grid, h))
		}
	}
	p.section("Ranking", "")
	for _, r := range b.Rankings {
		if slices.Contains(b.Shown, r.Budget) {
			p.sentences(rankingText(&r))
		}
	}
	for _, r := range b.Rankings {
		if slices.Contains(b.Shown, r.Budget) && len(r.Rows) > 0 {
			p.section(fmt.Sprintf("Ranking at %v, %s", r.Budget, r.Mode), ": "+rankingNote(b))
			p.table(benchRanking(b, &r))
		}
	}
	p.printf("\n")
	p.sentences(fmt.Sprintf("Digest of every decoded token: %s.", b.Digest))
	return p.end()
}

// benchLead returns the sentences that say what was run.
func benchLead(b *Bench) []string {
	var lead []string
	if b.Done < b.Plan.Units() {
		lead = append(lead, fmt.Sprintf("PARTIAL: %s of %s contexts are in it.", words.Number(b.Done), words.Number(b.Plan.Units())))
	}
	if g := b.Plan.Grid; g != nil {
		return append(lead, fmt.Sprintf("Needle in a haystack: contexts of %s from %s to %s tokens, passkeys at %s, %s for each of %s: %s. Blocks of %s. A budget is a part of the bytes that the full cache's blocks take on average over the steps of a generation.",
			words.Count(len(g.Lengths), "length"), words.Number(g.Lengths[0]), words.Number(g.Lengths[len(g.Lengths)-1]), words.Count(g.Depths, "depth"), words.Number(b.Plan.Prompts), list(b.Plan.Models), words.Count(b.Runs, "generation"), words.Count(b.Plan.BlockSize, "KV")))
	}
	what := fmt.Sprintf("Contexts of %s tokens, %s", words.Number(b.Plan.Length), words.Number(b.Plan.Prompts))
	if t := b.Plan.Texts; t != nil && t.File != "" {
		what = fmt.Sprintf("Tasks of %s, %s, in prompts of %s tokens at most,", filepath.Base(t.File), words.Number(b.Plan.Prompts), words.Number(b.Plan.Length))
	}
	categories := words.Count(len(b.Plan.Categories), "category")
	return append(lead, fmt.Sprintf("%s for each of %s, in %s: %s. Blocks of %s. A budget is a part of the bytes that the full cache's blocks take on average over the steps of a generation; positions, owners and the method's columns are counted.",
		what, list(b.Plan.Models), categories, words.Count(b.Runs, "generation"), words.Count(b.Plan.BlockSize, "KV")))
}

// over names what an overall score is the mean over.
func (b *Bench) over() string {
	switch t := b.Plan.Texts; {
	case b.Plan.Grid != nil:
		return "lengths and depths"
	case t != nil && t.File != "":
		return "tasks"
	}
	return "categories"
}

// benchSummary is a mode's table of methods by budgets.
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
				row = append(row, b.value(r.Score, r.Relative), "")
			case r != nil:
				row = append(row, b.value(r.Score, r.Relative), tied(r))
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

// score formats a score, which is from 0 to 1.
func score(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

// needsText formats the smallest budget that a method can reach, a fraction of the full cache, with
// enough digits to differ from the budgets of the plan.
func needsText(part float64) string {
	if part < 0.1 {
		return fmt.Sprintf("needs %.3f", part)
	}
	return "needs " + score(part)
}

// needs returns the smallest budget that a method needs, if it cannot reach the given one; else a
// dash.
func (b *Bench) needs(name string, budget bench.Budget) string {
	for _, u := range b.Unmet {
		if u.Row == name && u.Budget == budget && u.Needs > 0 {
			return needsText(u.Needs)
		}
	}
	return "–"
}

// unscored says why methods have no score at a budget, for reasons other than a budget that is
// too small. Methods with the same reason share a sentence.
func (b *Bench) unscored() []string {
	type method struct{ name, why string }
	var methods []method
	budgets := map[method][]string{}
	for _, u := range b.Unmet {
		if u.Why == "" {
			continue
		}
		m := method{u.Row, u.Why}
		if budgets[m] == nil {
			methods = append(methods, m)
		}
		budgets[m] = append(budgets[m], u.Budget.String())
	}
	type reason struct{ at, why string }
	var order []reason
	names := map[reason][]string{}
	for _, m := range methods {
		r := reason{why: m.why}
		if len(budgets[m]) < len(b.Plan.Budgets) {
			r.at = " at " + list(budgets[m])
		}
		if names[r] == nil {
			order = append(order, r)
		}
		names[r] = append(names[r], m.name)
	}
	var lines []string
	for _, r := range order {
		lines = append(lines, fmt.Sprintf("No score for %s%s: %s.", list(names[r]), r.at, r.why))
	}
	return lines
}

// hosted says how many bytes methods hold in the host's memory, in addition to those of the budget.
func (b *Bench) hosted() []string {
	var lines []string
	for _, row := range b.Rows {
		least, most := math.Inf(1), 0.0
		for i := range b.Rankings {
			r := &b.Rankings[i]
			if ranked := b.ranked(r.Mode, r.Budget, row.Name); ranked != nil {
				least, most = min(least, ranked.Host), max(most, ranked.Host)
			}
		}
		if most > 0 {
			part := score(least)
			if score(most) != part {
				part += " to " + score(most)
			}
			lines = append(lines, fmt.Sprintf("%s also holds %s of the full cache's bytes in the host's memory, which no budget counts.", row.Name, part))
		}
	}
	return lines
}

// ranked returns a method's entry in a ranking, or nil.
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

// order returns the methods by their score at a budget: the full cache first, methods that do not
// reach the budget last.
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

// middle returns the budget that determines the order of methods in tables of all budgets.
func (b *Bench) middle() bench.Budget { return b.Plan.Budgets[(len(b.Plan.Budgets)-1)/2] }

// benchCategories is a mode's table of methods by categories at a budget.
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
			row = append(row, b.value(c.Score, c.Relative))
			divergence, n = divergence+c.Divergence, n+1
		}
		half := "–"
		if r.Low != nil && r.High != nil {
			half = score((*r.High - *r.Low) / 2)
		}
		rows = append(rows, append(row, b.value(r.Score, r.Relative), half, scoreOrDash(r.Relative),
			score(divergence/float64(max(1, n))), strconv.FormatFloat(r.Bytes, 'f', 3, 64), strconv.FormatFloat(r.Peak, 'f', 3, 64)))
	}
	return columns, rows
}

// rankingText names the best methods, and those whose difference from the first is not
// significant.
func rankingText(r *bench.Ranking) string {
	if len(r.Rows) == 0 {
		return fmt.Sprintf("%s, %v: no method reaches it.", r.Mode, r.Budget)
	}
	if r.Rows[0].Score == 0 {
		return fmt.Sprintf("%s, %v: no method scores.", r.Mode, r.Budget)
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
	text := fmt.Sprintf("%s, %v: %s is first with %s", r.Mode, r.Budget, first.Row, score(first.Score))
	if first.Relative != nil {
		text += fmt.Sprintf(", %s of the full cache's", percent(*first.Relative))
	}
	if len(even) > 0 {
		text += fmt.Sprintf("; not significantly below it: %s", list(even))
	}
	if len(below) > 0 {
		text += fmt.Sprintf("; then %s", list(below))
	}
	return text + "."
}

// rankingNote explains the columns of the rankings.
func rankingNote(b *Bench) string {
	if len(b.Plan.Models) > 1 {
		return rankingTest + "; next to it the score with each model"
	}
	return rankingTest
}

const rankingTest = "p is of the difference from the first, by a paired randomization test on the same contexts, adjusted by Holm's method; = is not significant at 5 %"

// benchRanking is a ranking as a table: which methods score less than the first, the p-value of
// the difference, and the score with each model.
func benchRanking(b *Bench, r *bench.Ranking) ([]column, [][]string) {
	columns := []column{{"place", right}, {"method", left}, {"score", right}, {"low", right}, {"high", right}, {"p", right}, {"below\nthe first", left}}
	models := b.Plan.Models
	if len(models) > 1 {
		for _, name := range models {
			columns = append(columns, column{name, right})
		}
	}
	var rows [][]string
	for i := range r.Rows {
		m := &r.Rows[i]
		p, below := "–", "yes"
		switch {
		case i == 0:
			below = "–"
		case m.P == nil:
			below = "unknown"
		case *m.P < 0.001:
			p = "< 0.001"
		default:
			p = strconv.FormatFloat(*m.P, 'f', 3, 64)
		}
		if i > 0 && m.Tied {
			below = "="
		}
		row := []string{strconv.Itoa(i + 1), m.Row, score(m.Score), scoreOrDash(m.Low), scoreOrDash(m.High), p, below}
		if len(models) > 1 {
			for _, v := range m.ByModel {
				row = append(row, score(v))
			}
		}
		rows = append(rows, row)
	}
	return columns, rows
}

// BenchCSV writes a row for each cell of a bench, or for each place of its grid, as CSV: see
// package export.
func BenchCSV(w io.Writer, b *Bench) error { return export.Bench(w, ".csv", b.Table) }

// BenchParquet writes the same rows as Parquet.
func BenchParquet(w io.Writer, b *Bench) error { return export.Bench(w, ".parquet", b.Table) }

// BenchHTML writes a bench as one self-contained page.
func BenchHTML(w io.Writer, b *Bench) error {
	p := page{Title: "Quality at equal bytes", Lead: benchLead(b), Footer: b.Footer}
	if b.Done < b.Plan.Units() {
		p.Partial, p.Lead = p.Lead[0], p.Lead[1:]
	}
	p.Lead = append(p.Lead, b.CheckText()...)
	for _, mode := range b.Plan.Modes {
		t := newPageTable(benchSummary(b, mode))
		for i := range t.Head {
			if t.Head[i].Lines[0] == "" {
				t.Head[i].Lines[0] = "=" // screen readers skip an empty heading
			}
		}
		p.Sections = append(p.Sections, section{Title: fmt.Sprintf("Score by budget, %s", mode),
			Text:  []string{"Mean over the " + b.over() + "; = is not significantly below the best of its column; the least that a method needs where it cannot reach the budget."},
			Table: t})
	}
	if lines := b.unscored(); len(lines) > 0 {
		p.Sections = append(p.Sections, section{Title: "Without a score", Text: lines})
	}
	if lines := b.hosted(); len(lines) > 0 {
		p.Sections = append(p.Sections, section{Title: "In the host's memory", Text: lines})
	}
	for _, mode := range b.Plan.Modes {
		for _, budget := range b.Plan.Budgets {
			var maps []*Figure
			for _, h := range b.heats(mode, budget) {
				f, err := heatFigure(b.Plan.Grid, h)
				if err != nil {
					return fmt.Errorf("report: %w", err)
				}
				maps = append(maps, f)
			}
			if len(maps) == 0 {
				continue
			}
			figures, err := newPageFigures(maps)
			if err != nil {
				return err
			}
			p.Sections = append(p.Sections, section{Title: fmt.Sprintf("Needle at %v, %s", budget, mode), Figures: figures})
		}
	}
	figures, err := newPageFigures(benchCurves(b))
	if err != nil {
		return err
	}
	p.Sections = append(p.Sections, section{Title: "Score against bytes", Figures: figures})
	relative := *b
	relative.Relative = true
	for _, of := range []*Bench{b, &relative} {
		for _, mode := range b.Plan.Modes {
			for _, budget := range b.Plan.Budgets {
				t := newPageTable(benchCategories(of, mode, budget))
				t.Sort = true
				p.Sections = append(p.Sections, section{Title: fmt.Sprintf("%s at %v, %s", of.what(), budget, mode), Table: t})
			}
		}
	}
	for i := range b.Rankings {
		r := &b.Rankings[i]
		if len(r.Rows) > 0 {
			p.Sections = append(p.Sections, section{Title: fmt.Sprintf("Ranking at %v, %s", r.Budget, r.Mode),
				Text: []string{rankingText(r), strings.ToUpper(rankingNote(b)[:1]) + rankingNote(b)[1:] + "."}, Table: newPageTable(benchRanking(b, r))})
		}
	}
	p.Sections = append(p.Sections, section{Title: "Methods", Table: newPageTable(benchRows(b))})
	if b.Of != nil {
		for _, mode := range b.Plan.Modes {
			p.Sections = append(p.Sections, section{Title: fmt.Sprintf("Knobs, %s", mode),
				Text: []string{fmt.Sprintf("The setting of each method's knob for each budget, with %s.", knobsOf(b.Of))}, Table: newPageTable(knobTable(b.Of, mode))})
		}
	}
	p.Sections = append(p.Sections, inputsSection(b.Inputs))
	return p.write(w)
}

// benchRows lists how each method is run.
func benchRows(b *Bench) ([]column, [][]string) {
	var rows [][]string
	for _, r := range b.Rows {
		rows = append(rows, []string{r.Name, r.Method, r.Fixed, r.Knob})
	}
	return []column{{"method", left}, {"of kvc methods", left}, {"fixed", left}, {"knob", left}}, rows
}

// mostCurves is the largest number of methods in a figure; more curves could not be told apart.
const mostCurves = 7

// BenchFigures draws the score against the bytes held and, if the plan has a grid, the heat maps.
func BenchFigures(b *Bench) ([]*Figure, error) {
	maps, err := heatFigures(b)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return append(maps, benchCurves(b)...), nil
}

// benchCurves draws the score against the bytes held, for each mode, over all categories and for
// each category. It shows the best methods at the middle budget, and random eviction.
func benchCurves(b *Bench) []*Figure {
	var figures []*Figure
	for _, mode := range b.Plan.Modes {
		var names []string
		for _, name := range b.order(mode, b.middle()) {
			if name != bench.Full && len(names) < mostCurves-1 {
				names = append(names, name)
			}
		}
		if !slices.Contains(names, "random") && slices.ContainsFunc(b.Rows, func(r bench.Row) bool { return r.Name == "random" }) {
			names = append(names, "random")
		}
		figures = append(figures, b.figure(mode, "", names))
		if len(b.Plan.Categories) == 1 {
			continue // "" is the mean of the others
		}
		for _, category := range b.Plan.Categories {
			figures = append(figures, b.figure(mode, category, names))
		}
	}
	return figures
}

// figure draws one category, or for "" the mean over all.
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
			} else if cell := b.Cell(mode, budget, name, category); cell != nil && cell.N > 0 {
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

// KnobText writes the value of each method's knob at each budget and in each mode, for the plan's
// first model and category.
func KnobText(w io.Writer, b *bench.Bench) error {
	p := &printer{w: bufio.NewWriter(w), opt: TextOptions{Width: defaultWidth}, gap: 2}
	for _, mode := range b.Plan.Modes {
		p.section(fmt.Sprintf("Knobs, %s", mode), fmt.Sprintf(": %s; --json has every model and category", knobsOf(b)))
		p.table(knobTable(b, mode))
	}
	return p.end()
}

// knobsOf names the model, category and length that a table's knobs are for.
func knobsOf(b *bench.Bench) string {
	of := b.Plan.Models[0] + ", " + b.Plan.Categories[0]
	if g := b.Plan.Grid; g != nil {
		of += fmt.Sprintf(" of %s in %s tokens", words.Count(g.Digits[0], "digit"), words.Number(g.Lengths[0]))
	}
	return of
}

// knobTable is a mode's table of knobs for the plan's first model, category and length.
func knobTable(b *bench.Bench, mode bench.Mode) ([]column, [][]string) {
	columns := []column{{"method", left}, {"fixed", left}}
	for _, budget := range b.Plan.Budgets {
		columns = append(columns, column{budget.String(), left})
	}
	cells := map[string]string{}
	at := func(row string, budget bench.Budget) string { return row + " " + budget.String() }
	for _, k := range b.Knobs(b.Plan.Models[0]) {
		name := at(k.Row, k.Budget)
		if _, known := cells[name]; known || k.Mode != mode || k.Category != b.Plan.Categories[0] {
			continue
		}
		switch {
		case k.Setting != nil && k.Setting.Text != "":
			cells[name] = k.Setting.Text
		case k.Setting != nil:
			cells[name] = "as it is"
		case k.Missed.Needs > 0:
			cells[name] = needsText(k.Missed.Needs)
		default:
			cells[name] = "–"
		}
	}
	var rows [][]string
	for _, r := range bench.Rows() {
		if r.Name == bench.Full || !slices.Contains(b.Plan.Methods, r.Name) {
			continue
		}
		row := []string{r.Name, r.Fixed}
		for _, budget := range b.Plan.Budgets {
			row = append(row, cells[at(r.Name, budget)])
		}
		rows = append(rows, row)
	}
	return columns, rows
}
