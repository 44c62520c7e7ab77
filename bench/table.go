package bench

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	gonum "gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"kvcompress/bench/stat"
)

// Table is the results of a bench, summed up.
type Table struct {
	Plan     Plan      `json:"plan"`
	Done     int       `json:"units"`          // units in the table, of Plan.Units
	Partial  bool      `json:"partial"`        // units are missing: see [Cell.Missing]
	Runs     int       `json:"runs"`           // generations
	Tokens   int       `json:"tokens"`         // computed after prompts
	Digest   string    `json:"digest"`         // SHA-256 of every decoded token
	Cells    []Cell    `json:"cells"`          // by mode, budget, method and category
	Rankings []Ranking `json:"rankings"`       // by mode and budget
	Checks   []Check   `json:"checks"`         // whether each category is a valid task, by mode
	Heats    []Heat    `json:"heat,omitempty"` // of a plan with a grid
	Unmet    []Unmet   `json:"unreached"`      // methods that cannot be brought to a budget
}

// Cell is a method at a budget in one category and mode.
type Cell struct {
	Mode     Mode   `json:"mode"`
	Budget   Budget `json:"budget"`
	Row      string `json:"method"`
	Category string `json:"category"`

	N       int     `json:"n"`       // prompts
	Missing int     `json:"missing"` // prompts of the plan that are not in N
	Score   float64 `json:"score"`   // mean of [Run.Score]; 0 if N is 0
	Low     float64 `json:"low"`     // lower and upper limit of the score's 95 % interval
	High    float64 `json:"high"`

	Exact      float64  `json:"exact"`              // fraction of the prompts with a fully right answer
	Relative   *float64 `json:"relative,omitempty"` // of the full cache's score; nil where that is 0
	Divergence float64  `json:"divergence"`         // mean of [Run.Divergence], in nats
	Bytes      float64  `json:"bytes"`              // mean of [Run.Bytes], a fraction of the full cache's
	Peak       float64  `json:"peak"`               // mean of [Run.Peak], likewise
	Host       float64  `json:"host"`               // mean of [Run.Host], likewise
}

// MarshalJSON leaves out the figures of a cell without prompts.
func (c *Cell) MarshalJSON() ([]byte, error) {
	type cell Cell
	if c.N > 0 {
		return json.Marshal((*cell)(c))
	}
	return json.Marshal(struct {
		Mode     Mode   `json:"mode"`
		Budget   Budget `json:"budget"`
		Row      string `json:"method"`
		Category string `json:"category"`
		N        int    `json:"n"`
		Missing  int    `json:"missing"` // prompts of the plan that are not in N
	}{c.Mode, c.Budget, c.Row, c.Category, c.N, c.Missing})
}

// Ranking orders the methods of one mode and budget by their mean score over all
// categories.
type Ranking struct {
	Mode   Mode     `json:"mode"`
	Budget Budget   `json:"budget"`
	Full   Ranked   `json:"full"` // the full cache
	Rows   []Ranked `json:"methods"`
}

// Ranked is a method of a ranking.
type Ranked struct {
	Row      string   `json:"method"`
	Score    float64  `json:"score"`              // mean over the categories
	Low      *float64 `json:"low,omitempty"`      // lower and upper limit of the score's 95 % interval (Student's, over contexts);
	High     *float64 `json:"high,omitempty"`     // nil with a single context
	Relative *float64 `json:"relative,omitempty"` // of the full cache's score; nil where that is 0
	Bytes    float64  `json:"bytes"`              // means over the categories, as in [Cell]
	Peak     float64  `json:"peak"`
	Host     float64  `json:"host"`

	// P is the p-value of the paired randomization test of the method against the first of its
	// ranking on the same contexts, adjusted by Holm's method over the ranking. Tied says that P
	// is at least 5 %: the method is not significantly below the first. With a single context
	// there is no test, P is nil and Tied false.
	P       *float64  `json:"p,omitempty"`
	Tied    bool      `json:"tied"`
	ByModel []float64 `json:"by_model"` // the score with each of the plan's models
}

// Unmet is a method that cannot be brought to a budget.
type Unmet struct {
	Row    string  `json:"method"`
	Budget Budget  `json:"budget"`
	Needs  float64 `json:"needs"` // the least fraction of the full cache's bytes that it needs; 0 if unknown
	Why    string  `json:"why,omitempty"`
}

// NewTable sums up the results of all or some of the units, in any order.
func (b *Bench) NewTable(results []Result) *Table {
	results = slices.Clone(results)
	slices.SortFunc(results, func(a, b Result) int { return cmp.Compare(a.Unit, b.Unit) })
	t := &Table{Plan: b.Plan, Done: len(results), Partial: len(results) < b.Plan.Units(), Digest: digest(results)}
	chance := map[cellKey]float64{}
	type at struct {
		mode   Mode
		budget Budget
		row    string
	}
	cells := map[at]map[string][]Run{}
	units := map[at][]unitMean{}
	for _, r := range results {
		sums := map[at]*unitMean{}
		for _, run := range r.Runs {
			key := at{run.Mode, run.Budget, run.Row}
			if cells[key] == nil {
				cells[key] = map[string][]Run{}
			}
			cells[key][run.Category] = append(cells[key][run.Category], run)
			if run.Row == Full {
				chance[cellKey{run.Mode, run.Budget, run.Row, run.Category}] += run.Chance
			}
			if sums[key] == nil {
				sums[key] = &unitMean{unit: r.Unit, model: r.Model}
			}
			sums[key].add(&run)
			t.Runs++
			t.Tokens += run.Steps
		}
		for key, sum := range sums {
			units[key] = append(units[key], *sum)
		}
	}
	rows, err := FindRows(b.Plan.Methods)
	if err != nil { // cannot happen: New has checked the plan
		return t
	}
	planned := b.planned()
	if b.texts != nil {
		planned = map[cellKey]int{}
		for key := range cells {
			// Texts differ in length: a method that reaches the budget for some of them only
			// cannot be compared with the others.
			all := runsOf(units[at{key.mode, 1, Full}])
			unreached := all - runsOf(units[key])
			if unreached > 0 {
				t.Unmet = append(t.Unmet, Unmet{Row: key.row, Budget: key.budget, Why: fmt.Sprintf("it reaches it for %d of %d tasks, %s", all-unreached, all, key.mode)})
				if b.Plan.Grid == nil { // a heat map shows the places where the budget is reached
					delete(cells, key)
					continue
				}
			}
			for category, n := range b.texts.planned(&b.Plan) {
				planned[cellKey{key.mode, key.budget, key.row, category}] = n - unreached
			}
		}
	}
	for _, mode := range b.Plan.Modes {
		full := at{mode, 1, Full}
		t.cells(planned, cells[full], nil, mode, 1, Full)
		for _, budget := range b.Plan.Budgets {
			ranking := Ranking{Mode: mode, Budget: budget, Full: b.ranked(Full, units[full], units[full])}
			for _, r := range rows {
				if r.Name == Full {
					continue
				}
				key := at{mode, budget, r.Name}
				t.cells(planned, cells[key], cells[full], mode, budget, r.Name)
				if len(cells[key]) == 0 || runsOf(units[key]) < runsOf(units[full]) {
					continue // it reaches the budget at some lengths or in some categories only, and a mean over these cannot be compared
				}
				ranking.Rows = append(ranking.Rows, b.ranked(r.Name, units[key], units[full]))
			}
			slices.SortStableFunc(ranking.Rows, func(a, b Ranked) int { return cmp.Compare(b.Score, a.Score) })
			if len(results) == 0 {
				continue
			}
			if len(results) > 1 {
				ranking.compare(func(row string) []unitMean { return units[at{mode, budget, row}] })
			}
			t.Rankings = append(t.Rankings, ranking)
		}
	}
	t.checks(chance)
	if t.Plan.Grid != nil {
		t.heats(b, results)
	}
	t.Unmet = sortedUnmet(append(t.Unmet, b.unmet()...))
	return t
}

// unitMean is the mean of a method's runs over the categories of one unit.
type unitMean struct {
	unit                     int
	model                    string
	n                        int
	score, bytes, peak, host float64 // sums
}

func (u *unitMean) add(r *Run) {
	u.n++
	u.score, u.bytes, u.peak, u.host = u.score+r.Score, u.bytes+r.Bytes, u.peak+r.Peak, u.host+r.Host
}

// runsOf returns the number of runs of units.
func runsOf(units []unitMean) int {
	n := 0
	for i := range units {
		n += units[i].n
	}
	return n
}

func (u *unitMean) mean() float64 { return u.score / float64(u.n) }

// cellKey identifies a cell of a table.
type cellKey struct {
	mode          Mode
	budget        Budget
	row, category string
}

// planned returns the number of prompts of each cell when all units are done.
func (b *Bench) planned() map[cellKey]int {
	planned := map[cellKey]int{}
	for _, name := range b.Plan.Models {
		for _, k := range b.knobs[name].all {
			if k.Setting != nil {
				planned[cellKey{k.Mode, k.Budget, k.Row, k.Category}] += b.Plan.unitsWithDigits(k.Digits)
			}
		}
	}
	return planned
}

// cells adds the cells of one method at one budget.
func (t *Table) cells(planned map[cellKey]int, byCategory, full map[string][]Run, mode Mode, budget Budget, row string) {
	for _, category := range t.Plan.Categories {
		runs, all := byCategory[category], planned[cellKey{mode, budget, row, category}]
		if all == 0 {
			continue
		}
		c := Cell{Mode: mode, Budget: budget, Row: row, Category: category, N: len(runs), Missing: all - len(runs)}
		n := float64(len(runs))
		for _, r := range runs {
			if r.Exact {
				c.Exact++
			}
			c.Score, c.Divergence, c.Bytes, c.Peak, c.Host = c.Score+r.Score, c.Divergence+r.Divergence, c.Bytes+r.Bytes, c.Peak+r.Peak, c.Host+r.Host
		}
		for _, sum := range []*float64{&c.Score, &c.Exact, &c.Divergence, &c.Bytes, &c.Peak, &c.Host} {
			*sum = ratio(*sum, n)
		}
		scores := make([]float64, len(runs))
		for i, r := range runs {
			scores[i] = r.Score
		}
		if interval, err := stat.Mean(scores); err == nil { // an error means that there are no scores
			c.Low, c.High = interval.Low, interval.High
		}
		if c.N > 0 {
			c.Relative = partOf(c.Score, meanScore(full[category]))
		}
		t.Cells = append(t.Cells, c)
	}
}

func meanScore(runs []Run) float64 {
	sum := 0.0
	for _, r := range runs {
		sum += r.Score
	}
	return sum / float64(max(1, len(runs)))
}

// partOf returns which part of the full cache's score a score is; nil where that is 0.
func partOf(score, full float64) *float64 {
	if full == 0 {
		return nil
	}
	return new(score / full)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// ranked sums up a method over units. full has the full cache's.
func (b *Bench) ranked(row string, units, full []unitMean) Ranked {
	r := Ranked{Row: row, ByModel: make([]float64, len(b.Plan.Models))}
	if len(units) == 0 {
		return r
	}
	var scores []float64
	for _, u := range units {
		scores = append(scores, u.mean())
		r.Bytes += u.bytes / float64(u.n*len(units))
		r.Peak += u.peak / float64(u.n*len(units))
		r.Host += u.host / float64(u.n*len(units))
	}
	r.Score = gonum.Mean(scores, nil)
	if n := len(scores); n > 1 {
		half := gonum.StdDev(scores, nil) / math.Sqrt(float64(n)) * student(n-1)
		r.Low, r.High = new(max(0, r.Score-half)), new(min(1, r.Score+half))
	}
	whole := 0.0
	for _, u := range full {
		whole += u.mean() / float64(len(full))
	}
	r.Relative = partOf(r.Score, whole)
	for i, name := range b.Plan.Models {
		n := 0
		for _, u := range units {
			if u.model == name {
				n++
				r.ByModel[i] += u.mean()
			}
		}
		r.ByModel[i] /= float64(max(1, n))
	}
	return r
}

// student returns the 97.5 % quantile of Student's t with n degrees of freedom.
func student(n int) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n)}.Quantile(0.975)
}

// significant is the probability below which a difference is significant.
const significant = 0.05

// compare tests each method of a ranking against the first: see [Ranked.P]. of returns a
// method's means over the categories, by unit.
func (r *Ranking) compare(of func(row string) []unitMean) {
	if len(r.Rows) == 0 {
		return
	}
	means := func(row string) []float64 {
		var list []float64
		for _, u := range of(row) {
			list = append(list, u.mean())
		}
		return list
	}
	first := means(r.Rows[0].Row)
	p := make([]float64, 0, len(r.Rows)-1)
	for _, row := range r.Rows[1:] {
		_, one, err := stat.Paired(first, means(row.Row))
		if err != nil { // cannot happen: every method has the same units
			one = 1
		}
		p = append(p, one)
	}
	r.Rows[0].P, r.Rows[0].Tied = new(1.0), true
	for i, one := range stat.Holm(p) {
		row := &r.Rows[i+1]
		row.P, row.Tied = new(one), one >= significant
	}
}

// unmet lists the methods that miss a budget. Needs is the maximum over the categories, modes,
// models and lengths that miss it: with as much, they would all reach it.
func (b *Bench) unmet() []Unmet {
	var list []Unmet
	for _, name := range b.Plan.Models {
		for _, k := range b.knobs[name].all {
			if k.Missed == nil {
				continue
			}
			i := slices.IndexFunc(list, func(u Unmet) bool { return u.Row == k.Row && u.Budget == k.Budget })
			if i < 0 {
				list = append(list, Unmet{k.Row, k.Budget, k.Missed.Needs, k.Missed.Why})
			} else {
				list[i].Needs = max(list[i].Needs, k.Missed.Needs)
			}
		}
	}
	return list
}

func sortedUnmet(list []Unmet) []Unmet {
	slices.SortStableFunc(list, func(a, b Unmet) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Budget, b.Budget), cmp.Compare(a.Why, b.Why))
	})
	return list
}

// digest returns the SHA-256 of every decoded token. results are in the order of their units.
func digest(results []Result) string {
	h := sha256.New()
	for _, r := range results {
		fmt.Fprintf(h, "%d %s %d\n", r.Unit, r.Model, r.Seed)
		for _, run := range r.Runs {
			fmt.Fprintf(h, "%s %v %s %s %v\n", run.Row, run.Budget, run.Mode, run.Category, run.Answer)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Cell returns a cell, nil if there is none.
func (t *Table) Cell(mode Mode, budget Budget, row, category string) *Cell {
	for i := range t.Cells {
		if c := &t.Cells[i]; c.Mode == mode && c.Budget == budget && c.Row == row && c.Category == category {
			return c
		}
	}
	return nil
}
