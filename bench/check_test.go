package bench

import (
	"strings"
	"testing"
)

// With both bundled models every category is a valid task at the default length, in both modes.
func TestCategoriesAreTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a bench of some seconds")
	}
	p := DefaultPlan()
	p.Prompts, p.Methods, p.Budgets = 5, []string{Full, controlRow}, []Budget{controlBudget}
	b := newBench(t, p)
	table := b.NewTable(results(t, b, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}))
	if len(table.Checks) != len(p.Categories)*len(p.Modes) {
		t.Errorf("%d checks of %d categories in %d modes", len(table.Checks), len(p.Categories), len(p.Modes))
	}
	for _, c := range table.Checks {
		if c.Fails != "" || c.Random == nil || c.N != 10 {
			t.Errorf("%s, %s: %+v", c.Category, c.Mode, c)
		}
	}
}

// A category that fails with the full cache, or is answered with random eviction, is reported
// as an invalid task.
func TestChecks(t *testing.T) {
	cell := func(row string, budget Budget, exact float64) Cell {
		return Cell{Mode: Aware, Budget: budget, Row: row, Category: "needle", N: 10, Exact: exact}
	}
	for _, c := range []struct {
		full, random, chance float64
		without              bool
		want                 string
	}{
		{1, 0, 0, false, "Every category is a valid task"},
		{0.9, 0.2, 0.1, false, "Every category is a valid task"},
		{0.89, 0, 0, false, "INVALID TASK: needle, query-aware: with the full cache 0.89"},
		{1, 0.21, 0.1, false, "INVALID TASK: needle, query-aware: with random eviction at 1/8 0.21 of the answers are exact, want 0.20 at most"},
		{1, 0, 0, true, "random eviction at 1/8 is not among"},
	} {
		table := &Table{Plan: Plan{Modes: []Mode{Aware}, Categories: []string{"needle", "code"}}, Cells: []Cell{cell(Full, 1, c.full)}}
		if !c.without {
			table.Cells = append(table.Cells, cell(controlRow, controlBudget, c.random))
		}
		table.checks(map[cellKey]float64{{Aware, 1, Full, "needle"}: 10 * c.chance})
		if text := table.CheckText(); len(table.Checks) != 1 || len(text) != 1 || !strings.Contains(text[0], c.want) {
			t.Errorf("%+v: %+v says %q", c, table.Checks, text)
		}
	}
}
