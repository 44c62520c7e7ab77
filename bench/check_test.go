package bench

import (
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
)

// With the models of the default run every category is a valid task at its length, and with
// wide-0 too, in both modes.
func TestCategoriesAreTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("runs benches of some seconds")
	}
	def := DefaultPlan()
	for _, c := range []struct {
		models          []string
		length, prompts int
	}{
		{def.Models, def.Length, testsize.Of(2, 2, 5)},
		{[]string{"wide-0"}, testsize.Of(256, 256, 512), testsize.Of(5, 5, 20)},
	} {
		p := def
		p.Models, p.Length, p.Prompts = c.models, c.length, c.prompts
		p.Methods, p.Budgets = []string{Full, controlRow}, []Budget{controlBudget}
		b := newBench(t, p)
		units := make([]int, p.Units())
		for i := range units {
			units[i] = i
		}
		table := b.NewTable(results(t, b, units))
		if len(table.Checks) != len(p.Categories)*len(p.Modes) {
			t.Errorf("%v: %d checks of %d categories in %d modes", p.Models, len(table.Checks), len(p.Categories), len(p.Modes))
		}
		for _, c := range table.Checks {
			if c.Fails != "" || c.Random == nil || c.N != p.Units() {
				t.Errorf("%v, %d tokens: %s, %s: %+v", p.Models, p.Length, c.Category, c.Mode, c)
			}
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
		{0.89, 0, 0, false, "INVALID TASKS, query-aware: with the full cache less than 0.9 of the answers are exact in needle (0.89). "},
		{1, 0.21, 0.1, false, "INVALID TASKS, query-aware: with random eviction at 1/8 too many of the answers are exact in needle (0.21, want 0.20 at most). "},
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

// Tasks of a file are checked by their scores. Categories with the same fault share a line.
func TestChecksOfFile(t *testing.T) {
	cell := func(row string, budget Budget, category string, score float64) Cell {
		return Cell{Mode: Aware, Budget: budget, Row: row, Category: category, N: 10, Score: score}
	}
	table := &Table{
		Plan: Plan{Modes: []Mode{Aware}, Categories: []string{"single-doc", "few-shot", "code", "summary"}, Texts: &Texts{File: "x.jsonl"}},
		Cells: []Cell{
			cell(Full, 1, "single-doc", 0), cell(controlRow, controlBudget, "single-doc", 0),
			cell(Full, 1, "few-shot", 0), cell(controlRow, controlBudget, "few-shot", 0.1),
			cell(Full, 1, "code", 0.4), cell(controlRow, controlBudget, "code", 0.4),
			cell(Full, 1, "summary", 0.2), cell(controlRow, controlBudget, "summary", 0.1),
		},
	}
	table.checks(nil)
	want := []string{
		"INVALID TASKS, query-aware: with the full cache no answer scores in single-doc (0.00), few-shot (0.00). Their scores say little about a method.",
		"INVALID TASKS, query-aware: with random eviction at 1/8 the score is not below the full cache's in code (0.40, and 0.40). Their scores say little about a method.",
	}
	if got := table.CheckText(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	table.Plan.Categories, table.Checks = []string{"summary"}, nil
	table.checks(nil)
	if got := table.CheckText(); len(got) != 1 || !strings.Contains(got[0], "the full cache scores more than random eviction") {
		t.Errorf("%q", got)
	}
}

// If all n differences have the same sign, p is 2/2ⁿ, the smallest possible, times the number of
// methods that are compared with the first.
func TestPowerText(t *testing.T) {
	for _, c := range []struct {
		contexts, methods int
		want              string // "" is nothing
	}{
		{1, 1, ""},
		{1, 2, "With a single context no interval is known"},
		{5, 2, "With 5 contexts and 2 methods no difference can be significant at 5 %, so = says nothing here: it takes 6 contexts."}, // 1/16
		{6, 2, ""}, // 1/32
		{6, 3, "it takes 7 contexts."},
		{24, 34, ""},
	} {
		table := &Table{Done: c.contexts, Rankings: []Ranking{{Rows: make([]Ranked, c.methods)}}}
		got := strings.Join(table.powerText(), "")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d contexts, %d methods: %q, want %q", c.contexts, c.methods, got, c.want)
		}
	}
}
