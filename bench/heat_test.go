package bench

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// shortGrid is a plan of 2 lengths and 3 depths.
func shortGrid() Plan {
	p := DefaultNeedlePlan()
	p.Methods, p.Prompts = []string{Full, "streaming-llm"}, 2
	p.Grid = &Grid{Lengths: []int{128, 160}, Depths: 3, Digits: []int{5, 7}}
	return p
}

// The passkeys of each length and depth of a grid are at that depth and have the planned
// digits. The mean of a heat map is the score of its cell. A sliding window finds passkeys at
// the end of a context and none in its middle.
func TestGrid(t *testing.T) {
	p := shortGrid()
	b := newBench(t, p)
	var units []int
	seen := map[string]int{}
	for i := range p.Units() {
		units = append(units, i)
		u := p.unit(i)
		of := u.options
		of.Category = "needle"
		task, err := of.Generate()
		if err != nil {
			t.Fatal(err)
		}
		seen[fmt.Sprintf("%d tokens, depth %v, %d digits", len(task.Context), *u.options.Depth, len(task.Answer()))]++
		if at := float64(task.Evidence[0].From) / float64(len(task.Context)); math.Abs(at-p.Grid.Depth(u.depth)) > 0.1 {
			t.Errorf("unit %d: the passkey is at %v, want about %v", i, at, p.Grid.Depth(u.depth))
		}
	}
	if len(seen) != 12 || p.Units() != 12 {
		t.Errorf("%d units, of which there are %v", p.Units(), seen)
	}
	table := b.NewTable(results(t, b, units))
	if len(table.Heats) != 4 || table.Partial {
		t.Fatalf("%d maps, partial %v", len(table.Heats), table.Partial)
	}
	for _, h := range table.Heats {
		sum := 0.0
		for l := range h.Score {
			for d, v := range h.Score[l] {
				if sum += v; h.N[l][d] != 2 {
					t.Errorf("%s: %d passkeys at length %d, depth %d", h.Row, h.N[l][d], l, d)
				}
			}
			if h.Row == "streaming-llm" && (h.Score[l][2] < 0.9 || h.Score[l][1] > 0.5) {
				t.Errorf("%s, %s: %v by depth", h.Row, h.Mode, h.Score[l])
			}
		}
		c := table.Cell(h.Mode, h.Budget, h.Row, "needle")
		if math.Abs(c.Score-sum/6) > 1e-9 || c.N != 12 || c.Missing != 0 || h.Row != Full && c.Bytes > 0.25 {
			t.Errorf("%s: %+v, and its map %v", h.Row, c, h.Score)
		}
	}
	part := b.NewTable(nil)
	if c := part.Cell(Aware, 4, "streaming-llm", "needle"); !part.Partial || c == nil || c.Missing != 12 || part.Heats[1].N[0][0] != 0 {
		t.Errorf("of no results: %+v", c)
	}
}

func TestGridCheck(t *testing.T) {
	for want, change := range map[string]func(*Plan){
		"0 lengths":              func(p *Plan) { p.Grid.Lengths = nil },
		"lengths [128 128]":      func(p *Plan) { p.Grid.Lengths = []int{128, 128} },
		"lengths [63]":           func(p *Plan) { p.Grid.Lengths = []int{63} },
		"0 depths":               func(p *Plan) { p.Grid.Depths = 0 },
		"101 depths":             func(p *Plan) { p.Grid.Depths = 101 },
		"0 passkey lengths":      func(p *Plan) { p.Grid.Digits = nil },
		"passkeys of 17 digits":  func(p *Plan) { p.Grid.Digits = []int{17} },
		"needle as its only":     func(p *Plan) { p.Categories = []string{"code"} },
		"has lengths of its own": func(p *Plan) { p.Length = 512 },
	} {
		p := DefaultNeedlePlan()
		change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something with %q", err, want)
		}
	}
	p := DefaultNeedlePlan()
	if err := p.Check(); err != nil || p.Units() != 300 {
		t.Errorf("%d units, %v", p.Units(), err)
	}
	p.Models = make([]string, 50)
	if p.Prompts = MaxPrompts; p.Check() == nil || !strings.Contains(p.Check().Error(), "500000000 contexts") {
		t.Errorf("%v of far too many contexts", p.Check())
	}
}
