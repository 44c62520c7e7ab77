package bench

import "fmt"

// Grid is a needle-in-a-haystack test: for each length and depth, [Plan.Prompts] contexts of
// that length with a passkey at that depth, for each model.
type Grid struct {
	Lengths []int `json:"lengths"` // tokens of the contexts, ascending
	Depths  int   `json:"depths"`  // number of depths, evenly from 0, the beginning of the context, to 1, its end
	Digits  []int `json:"digits"`  // of the passkeys: the i-th at a length and depth has Digits[i mod len(Digits)]
}

// The bounds of a grid.
const (
	maxGridSide = 100
	maxDigits   = 16 // in the recall vocabulary
)

// DefaultNeedlePlan is 10 lengths × 10 depths × 3 passkeys of 5, 6 and 7 digits, for one
// bundled model and some methods at 1/4.
func DefaultNeedlePlan() Plan {
	p := DefaultPlan()
	p.Models, p.Categories, p.Prompts, p.Length = p.Models[:1], []string{"needle"}, 3, 0
	p.Methods, p.Budgets = []string{Full, "kv-compress", "random", "razor", "snapkv", "streaming-llm"}, []Budget{4}
	p.Grid = &Grid{Depths: 10, Digits: []int{5, 6, 7}}
	for length := 128; length <= 1280; length += 128 {
		p.Grid.Lengths = append(p.Grid.Lengths, length)
	}
	return p
}

// check returns every error of the grid. mostDigits bounds the digits of a passkey.
func (g *Grid) check(mostDigits int) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("bench: "+format, args...)) }
	if len(g.Lengths) == 0 || len(g.Lengths) > maxGridSide {
		bad("%d lengths: want 1 to %d", len(g.Lengths), maxGridSide)
	}
	for i, n := range g.Lengths {
		if n < minLength || n > MaxLength || i > 0 && n <= g.Lengths[i-1] {
			bad("lengths %v: want different ones from %d to %d tokens, the shortest first", g.Lengths, minLength, MaxLength)
			break
		}
	}
	if g.Depths < 1 || g.Depths > maxGridSide {
		bad("%d depths: want 1 to %d", g.Depths, maxGridSide)
	}
	if len(g.Digits) == 0 || len(g.Digits) > mostDigits {
		bad("%d passkey lengths: want 1 to %d", len(g.Digits), mostDigits)
	}
	for _, n := range g.Digits {
		if n < 1 || n > mostDigits {
			bad("passkeys of %d digits: want 1 to %d", n, mostDigits)
		}
	}
	return errs
}

// Depth returns the i-th depth, from 0 to 1; 0.5 if there is but one.
func (g *Grid) Depth(i int) float64 {
	if g.Depths == 1 {
		return 0.5
	}
	return float64(i) / float64(g.Depths-1)
}

// Heat is a heat map: the scores of a method on a grid, in one mode at one budget.
type Heat struct {
	Mode   Mode        `json:"mode"`
	Budget Budget      `json:"budget"`
	Row    string      `json:"method"`
	N      [][]int     `json:"n"`     // prompts, by length and depth
	Score  [][]float64 `json:"score"` // mean; 0 where there is no prompt
}

// heats adds the heat maps of the results, one for each cell.
func (t *Table) heats(b *Bench, results []Result) {
	g := t.Plan.Grid
	index := map[cellKey]int{}
	for _, c := range t.Cells {
		h := Heat{Mode: c.Mode, Budget: c.Budget, Row: c.Row}
		for range g.Lengths {
			h.N, h.Score = append(h.N, make([]int, g.Depths)), append(h.Score, make([]float64, g.Depths))
		}
		index[cellKey{c.Mode, c.Budget, c.Row, c.Category}] = len(t.Heats)
		t.Heats = append(t.Heats, h)
	}
	for _, r := range results {
		at := t.Plan.unit(r.Unit)
		for _, run := range r.Runs {
			if i, ok := index[cellKey{run.Mode, run.Budget, run.Row, run.Category}]; ok {
				t.Heats[i].N[at.length][at.depth]++
				t.Heats[i].Score[at.length][at.depth] += run.Score
			}
		}
	}
	for _, h := range t.Heats {
		for l := range h.Score {
			for d := range h.Score[l] {
				h.Score[l][d] = ratio(h.Score[l][d], float64(h.N[l][d]))
			}
		}
	}
}
