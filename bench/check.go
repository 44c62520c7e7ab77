package bench

import "fmt"

// A category is a task if the full cache answers it and random eviction does not. What is
// answered is counted by whole answers ([Run.Exact]): some tokens of an answer are easier to
// guess than others.
const (
	controlRow         = "random"
	controlBudget      = Budget(8)
	leastFull          = 0.9 // of the answers
	mostBeyondChance   = 0.1
	notCheckedControls = "random eviction at 1/8 is not among the methods and budgets"
)

// Check says whether a category is a task for the models of a plan, in one mode.
type Check struct {
	Mode     Mode     `json:"mode"`
	Category string   `json:"category"`
	N        int      `json:"n"`                // prompts
	Full     float64  `json:"full"`             // part of the answers that are exact with the full cache
	Random   *float64 `json:"random,omitempty"` // with random eviction at 1/8; nil if the plan has not that
	Chance   float64  `json:"chance"`           // of a guess without the context
	Fails    string   `json:"fails,omitempty"`  // why it is no task
}

// checks tells of every category that has results whether it is a task. chance has the sums
// of the prompts' chances, by the full cache's cells.
func (t *Table) checks(chance map[place]float64) {
	for _, mode := range t.Plan.Modes {
		for _, category := range t.Plan.Categories {
			full := t.Cell(mode, 1, Full, category)
			if full == nil || full.N == 0 {
				continue
			}
			c := Check{Mode: mode, Category: category, N: full.N, Full: full.Exact, Chance: chance[place{mode, 1, Full, category}] / float64(full.N)}
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

// CheckText says of which categories the table is worth reading.
func (t *Table) CheckText() []string {
	var lines []string
	unchecked := false
	for _, c := range t.Checks {
		unchecked = unchecked || c.Random == nil
		if c.Fails != "" {
			lines = append(lines, fmt.Sprintf("NO TASK: %s, %s: %s. Its scores tell little of a method.", c.Category, c.Mode, c.Fails))
		}
	}
	switch {
	case len(t.Checks) == 0:
	case unchecked && t.Plan.Grid != nil: // a map is read by itself
	case unchecked:
		lines = append(lines, "Whether every category is a task is checked in part: "+notCheckedControls+".")
	case len(lines) == 0:
		lines = append(lines, fmt.Sprintf("Every category is a task: of its answers the full cache has %.1f at least exactly, and random eviction at %v at most %.1f more than chance.", leastFull, controlBudget, mostBeyondChance))
	}
	return lines
}
