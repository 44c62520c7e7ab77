package bench

import "fmt"

// A category is a valid task if the model answers it with the full cache and fails with random
// eviction. Whole answers are counted ([Run.Exact]), since some tokens of an answer are easier
// to guess than others.
const (
	controlRow         = "random"
	controlBudget      = Budget(8)
	leastFull          = 0.9 // exact answers with the full cache, of all
	mostBeyondChance   = 0.1 // exact answers with random eviction, of all, less those of a guess
	notCheckedControls = "random eviction at 1/8 is not among the methods and budgets"
)

// Check says whether a category is a valid task for the models of a plan, in one mode. Full,
// Random and Chance are fractions of the answers that are exact.
type Check struct {
	Mode     Mode     `json:"mode"`
	Category string   `json:"category"`
	N        int      `json:"n"`                // prompts
	Full     float64  `json:"full"`             // with the full cache
	Random   *float64 `json:"random,omitempty"` // with random eviction at 1/8; nil if the plan does not run it
	Chance   float64  `json:"chance"`           // expected of a guess without the context
	Fails    string   `json:"fails,omitempty"`  // why it is not a valid task; "" if it is
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
			c := Check{Mode: mode, Category: category, N: full.N, Full: full.Exact, Chance: chance[cellKey{mode, 1, Full, category}] / float64(full.N)}
			if full.Exact < leastFull {
				c.Fails = fmt.Sprintf("with the full cache %.2f of the answers are exact, want %.1f at least", full.Exact, leastFull)
			}
			if evicted := t.Cell(mode, controlBudget, controlRow, category); evicted != nil && evicted.N > 0 {
				c.Random = &evicted.Exact
				if limit := c.Chance + mostBeyondChance; evicted.Exact > limit && c.Fails == "" {
					c.Fails = fmt.Sprintf("with random eviction at %v %.2f of the answers are exact, want %.2f at most", controlBudget, evicted.Exact, limit)
				}
			}
			t.Checks = append(t.Checks, c)
		}
	}
}

// CheckText returns lines that name the categories that are not valid tasks, or one line that
// says that all are, or that the plan has no random eviction to tell.
func (t *Table) CheckText() []string {
	var lines []string
	unchecked := false
	for _, c := range t.Checks {
		unchecked = unchecked || c.Random == nil
		if c.Fails != "" {
			lines = append(lines, fmt.Sprintf("INVALID TASK: %s, %s: %s. Its scores say little about a method.", c.Category, c.Mode, c.Fails))
		}
	}
	switch {
	case len(t.Checks) == 0:
	case unchecked && t.Plan.Grid != nil: // the heat map of the full cache shows it
	case unchecked:
		lines = append(lines, "That every category is a valid task is checked in part only: "+notCheckedControls+".")
	case len(lines) == 0:
		lines = append(lines, fmt.Sprintf("Every category is a valid task: at least %.1f of its answers are exact with the full cache, and with random eviction at %v at most %.1f more than by chance.", leastFull, controlBudget, mostBeyondChance))
	}
	return lines
}
