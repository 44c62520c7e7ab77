package bench

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Table is what the results of a bench come to.
type Table struct {
	Plan     Plan      `json:"plan"`
	Done     int       `json:"units"`     // units that are in it, of Plan.Units
	Runs     int       `json:"runs"`      // generations
	Tokens   int       `json:"tokens"`    // that were computed after prompts
	Digest   string    `json:"digest"`    // of every decoded token
	Cells    []Cell    `json:"cells"`     // by mode, budget, method and category
	Rankings []Ranking `json:"rankings"`  // by mode and budget
	Unmet    []Unmet   `json:"unreached"` // methods that cannot be brought to a budget
}

// Cell is a method at a budget in one category and mode.
type Cell struct {
	Mode     Mode   `json:"mode"`
	Budget   Budget `json:"budget"`
	Row      string `json:"method"`
	Category string `json:"category"`

	N     int     `json:"n"`     // prompts
	Score float64 `json:"score"` // mean, with the limits of a 95 % interval
	Low   float64 `json:"low"`
	High  float64 `json:"high"`

	Relative   float64 `json:"relative"`   // of the full cache's score; 0 where that is 0
	Divergence float64 `json:"divergence"` // mean, in nats
	Bytes      float64 `json:"bytes"`      // part of the full cache's, mean
	Peak       float64 `json:"peak"`
}

// Ranking orders the methods of one mode and budget by their mean score over all
// categories.
type Ranking struct {
	Mode   Mode     `json:"mode"`
	Budget Budget   `json:"budget"`
	Full   Ranked   `json:"full"` // the full cache
	Rows   []Ranked `json:"methods"`
}

// Ranked is a method's place.
type Ranked struct {
	Row      string  `json:"method"`
	Score    float64 `json:"score"` // mean over the categories, with the limits of a 95 % interval
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Relative float64 `json:"relative"` // of the full cache's score
	Bytes    float64 `json:"bytes"`
	Peak     float64 `json:"peak"`

	// Tied reports that the method is not significantly below the first of its ranking: by
	// the differences on the same contexts, at 5 %. With one context nothing is known.
	Tied    bool      `json:"tied"`
	ByModel []float64 `json:"by_model"` // the score with each of the plan's models
}

// Unmet is a method that cannot be brought to a budget.
type Unmet struct {
	Row    string  `json:"method"`
	Budget Budget  `json:"budget"`
	Needs  float64 `json:"needs"` // the least part of the full cache's bytes; 0 if no setting suits
	Why    string  `json:"why,omitempty"`
}

// NewTable sums up results, which may be of a part of the units. Their order does not
// matter.
func (b *Bench) NewTable(results []Result) *Table {
	results = slices.Clone(results)
	slices.SortFunc(results, func(a, b Result) int { return cmp.Compare(a.Unit, b.Unit) })
	t := &Table{Plan: b.Plan, Done: len(results), Digest: digest(results)}
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
	if err != nil { // a plan that was checked
		return t
	}
	for _, mode := range b.Plan.Modes {
		full := at{mode, 1, Full}
		t.cells(cells[full], nil, mode, 1, Full)
		for _, budget := range b.Plan.Budgets {
			ranking := Ranking{Mode: mode, Budget: budget, Full: b.ranked(Full, units[full], units[full])}
			for _, r := range rows {
				if r.Name == Full {
					continue
				}
				key := at{mode, budget, r.Name}
				if len(cells[key]) == 0 {
					continue
				}
				t.cells(cells[key], cells[full], mode, budget, r.Name)
				ranking.Rows = append(ranking.Rows, b.ranked(r.Name, units[key], units[full]))
			}
			slices.SortStableFunc(ranking.Rows, func(a, b Ranked) int { return cmp.Compare(b.Score, a.Score) })
			for i := range ranking.Rows {
				first := at{mode, budget, ranking.Rows[0].Row}
				ranking.Rows[i].Tied = len(results) > 1 && !below(units[at{mode, budget, ranking.Rows[i].Row}], units[first])
			}
			t.Rankings = append(t.Rankings, ranking)
		}
	}
	t.Unmet = b.unmet()
	return t
}

// unitMean is the mean of a method's runs over the categories of one unit.
type unitMean struct {
	unit               int
	model              string
	n                  int
	score, bytes, peak float64 // sums
}

func (u *unitMean) add(r *Run) {
	u.n++
	u.score, u.bytes, u.peak = u.score+r.Score, u.bytes+r.Bytes, u.peak+r.Peak
}

func (u *unitMean) mean() float64 { return u.score / float64(u.n) }

// cells adds the cells of one method at one budget.
func (t *Table) cells(byCategory, full map[string][]Run, mode Mode, budget Budget, row string) {
	for _, category := range t.Plan.Categories {
		runs := byCategory[category]
		if len(runs) == 0 {
			continue
		}
		c := Cell{Mode: mode, Budget: budget, Row: row, Category: category, N: len(runs)}
		n := float64(len(runs))
		for _, r := range runs {
			c.Score, c.Divergence, c.Bytes, c.Peak = c.Score+r.Score/n, c.Divergence+r.Divergence/n, c.Bytes+r.Bytes/n, c.Peak+r.Peak/n
		}
		c.Low, c.High = Wilson(c.Score, len(runs))
		c.Relative = 1
		if row != Full {
			c.Relative = over(c.Score, meanScore(full[category]))
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

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// ranked sums up a method over units.
func (b *Bench) ranked(row string, units, full []unitMean) Ranked {
	r := Ranked{Row: row, ByModel: make([]float64, len(b.Plan.Models))}
	var scores []float64
	for _, u := range units {
		scores = append(scores, u.mean())
		r.Bytes += u.bytes / float64(u.n*len(units))
		r.Peak += u.peak / float64(u.n*len(units))
	}
	r.Score = stat.Mean(scores, nil)
	half := 0.0
	if n := len(scores); n > 1 {
		half = stat.StdDev(scores, nil) / math.Sqrt(float64(n)) * student(n-1)
	}
	r.Low, r.High = max(0, r.Score-half), min(1, r.Score+half)
	whole := 0.0
	for _, u := range full {
		whole += u.mean() / float64(len(full))
	}
	r.Relative = over(r.Score, whole)
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

// below reports whether a method's unit means are significantly below another's, on the
// same units: by a paired t-test at 5 %, of both sides.
func below(units, other []unitMean) bool {
	var differences []float64
	for i := range min(len(units), len(other)) {
		differences = append(differences, other[i].mean()-units[i].mean())
	}
	n := len(differences)
	if n < 2 {
		return false
	}
	mean, deviation := stat.MeanStdDev(differences, nil)
	return mean > deviation/math.Sqrt(float64(n))*student(n-1)
}

// Wilson returns Wilson's 95 % interval around the mean of n scores from 0 to 1, whose
// variance is at most that of as many scores of 0 or 1 with their mean.
func Wilson(mean float64, n int) (low, high float64) {
	const z = 1.959963984540054
	k := float64(n)
	middle := (mean + z*z/(2*k)) / (1 + z*z/k)
	half := z / (1 + z*z/k) * math.Sqrt(mean*(1-mean)/k+z*z/(4*k*k))
	return max(0, middle-half), min(1, middle+half)
}

// unmet lists the methods that miss a budget, with the least that they need in any category,
// mode and model.
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
			} else if k.Missed.Needs > 0 && k.Missed.Needs < list[i].Needs {
				list[i].Needs = k.Missed.Needs
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Unmet) int { return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Budget, b.Budget)) })
	return list
}

// digest is of every decoded token of results in the order of their units.
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
