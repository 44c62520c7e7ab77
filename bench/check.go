package bench

import (
	"fmt"
	"strings"

	"kvcompress/bench/stat"
)

// A category is a valid task if the model answers it with the full cache and fails with random
// eviction. Whole answers are counted ([Run.Exact]), since some tokens of an answer are easier
// to guess than others. Answers to the tasks of a file are rarely exact, and the score of a guess is
// unknown: for them the mean score with the full cache has to be above that with random eviction.
const (
	controlRow         = "random"
	controlBudget      = Budget(8)
	leastFull          = 0.9 // exact answers with the full cache, of all
	mostBeyondChance   = 0.1 // exact answers with random eviction, of all, less those of a guess
	notCheckedControls = "random eviction at 1/8 is not among the methods and budgets"
)

// Check says whether a category is a valid task for the models of a plan, in one mode. Full, Random
// and Chance are fractions of exact answers. For the tasks of a file, Full and Random are mean scores
// instead, and Chance is 0.
type Check struct {
	Mode     Mode     `json:"mode"`
	Category string   `json:"category"`
	N        int      `json:"n"`                // prompts
	Full     float64  `json:"full"`             // with the full cache
	Random   *float64 `json:"random,omitempty"` // with random eviction at 1/8; nil if the plan does not run it
	Chance   float64  `json:"chance"`           // expected of a guess without the context
	Fails    string   `json:"fails,omitempty"`  // why it is not a valid task; "" if it is

	rule, figures string // the parts of Fails: what is wrong, and by how much here
}

// checks checks every category that has results. chance is the sum of [Run.Chance] over the
// prompts of each cell of the full cache.
func (t *Table) checks(chance map[cellKey]float64) {
	for _, mode := range t.Plan.Modes {
		for _, category := range t.Plan.Categories {
			full := t.Cell(mode, 1, Full, category)
			if full == nil || full.N == 0 {
				continue
			}
			evicted := t.Cell(mode, controlBudget, controlRow, category)
			if evicted != nil && evicted.N == 0 {
				evicted = nil
			}
			c := Check{Mode: mode, Category: category, N: full.N}
			if t.Plan.ofFile() {
				c.byScore(full, evicted)
			} else {
				c.Chance = chance[cellKey{mode, 1, Full, category}] / float64(full.N)
				c.byExact(full, evicted)
			}
			if c.rule != "" {
				c.Fails = c.rule + ": " + c.figures
			}
			t.Checks = append(t.Checks, c)
		}
	}
}

// byExact checks a category by its exact answers. evicted is the cell of random eviction; nil if
// there is none.
func (c *Check) byExact(full, evicted *Cell) {
	c.Full = full.Exact
	if evicted != nil {
		c.Random = &evicted.Exact
	}
	switch limit := c.Chance + mostBeyondChance; {
	case c.Full < leastFull:
		c.rule = fmt.Sprintf("with the full cache less than %.1f of the answers are exact", leastFull)
		c.figures = fmt.Sprintf("%.2f", c.Full)
	case evicted != nil && evicted.Exact > limit:
		c.rule = fmt.Sprintf("with random eviction at %v too many of the answers are exact", controlBudget)
		c.figures = fmt.Sprintf("%.2f, want %.2f at most", evicted.Exact, limit)
	}
}

// byScore checks a category by its mean scores.
func (c *Check) byScore(full, evicted *Cell) {
	c.Full = full.Score
	if evicted != nil {
		c.Random = &evicted.Score
	}
	switch {
	case c.Full == 0:
		c.rule, c.figures = "with the full cache no answer scores", "0.00"
	case evicted != nil && evicted.Score >= c.Full:
		c.rule = fmt.Sprintf("with random eviction at %v the score is not below the full cache's", controlBudget)
		c.figures = fmt.Sprintf("%.2f, and %.2f", evicted.Score, c.Full)
	}
}

// CheckText returns a line for each mode and reason that names the categories that are not valid
// tasks, or one line that says that all are valid, or that the plan lacks the random eviction to check it; and
// a line that says that no difference between methods can be significant.
func (t *Table) CheckText() []string {
	var lines []string
	unchecked := false
	type reason struct {
		mode Mode
		rule string
	}
	var order []reason
	failed := map[reason][]string{}
	for _, c := range t.Checks {
		unchecked = unchecked || c.Random == nil
		if c.rule == "" {
			continue
		}
		r := reason{c.Mode, c.rule}
		if failed[r] == nil {
			order = append(order, r)
		}
		failed[r] = append(failed[r], fmt.Sprintf("%s (%s)", c.Category, c.figures))
	}
	for _, r := range order {
		lines = append(lines, fmt.Sprintf("INVALID TASKS, %s: %s in %s. Their scores say little about a method.", r.mode, r.rule, strings.Join(failed[r], ", ")))
	}
	switch {
	case len(t.Checks) == 0:
	case unchecked && t.Plan.Grid != nil: // the heat map of the full cache shows it
	case unchecked:
		lines = append(lines, "That every category is a valid task is checked in part only: "+notCheckedControls+".")
	case len(lines) > 0:
	case t.Plan.ofFile():
		lines = append(lines, fmt.Sprintf("In every category the full cache scores more than random eviction at %v.", controlBudget))
	default:
		lines = append(lines, fmt.Sprintf("Every category is a valid task: at least %.1f of its answers are exact with the full cache, and with random eviction at %v at most %.1f more than by chance.", leastFull, controlBudget, mostBeyondChance))
	}
	return append(lines, t.powerText()...)
}

// powerText says which test of a difference the contexts are too few for; nothing if they are
// enough.
func (t *Table) powerText() []string {
	methods := 0 // compared with the first
	for _, r := range t.Rankings {
		methods = max(methods, len(r.Rows)-1)
	}
	least := func(contexts int) float64 { return stat.LeastP(contexts) * float64(methods) }
	switch {
	case methods == 0:
		return nil
	case t.Done == 1:
		return []string{"With a single context no interval is known, and no difference between methods can be tested."}
	case least(t.Done) < significant:
		return nil
	}
	enough := t.Done
	for least(enough) >= significant {
		enough++
	}
	return []string{fmt.Sprintf("With %d contexts and %d methods no difference can be significant at 5 %%, so = says nothing here: it takes %d contexts.", t.Done, methods+1, enough)}
}
