package bench

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/ref"
	"kvcompress/strictjson"
	"kvcompress/trace"
)

// Quality is the quality of methods as a bench measured it: which fraction of the full cache's
// score is kept at which fraction of its bytes. It holds for the models, lengths and tasks of
// that bench only.
type Quality struct {
	table *Table
	mode  Mode // "": for each method the mode with the lower score
}

// maxQualityBytes bounds what ReadQuality reads.
const maxQualityBytes = 64 << 20

// ReadQuality reads the output of kvc bench --json. If mode is not "", only its results count;
// else for each method those of the mode in which it keeps less of the full cache's score.
func ReadQuality(r io.Reader, mode Mode) (*Quality, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxQualityBytes+1))
	if err != nil {
		return nil, fmt.Errorf("bench: quality: %w", err)
	}
	if len(text) > maxQualityBytes {
		return nil, fmt.Errorf("bench: quality: more than %d MiB", maxQualityBytes>>20)
	}
	q := &Quality{table: &Table{}, mode: mode}
	if err := strictjson.Known(text, q.table); err != nil {
		return nil, fmt.Errorf("bench: quality: %w: want the output of kvc bench --json", err)
	}
	if len(q.table.Rankings) == 0 || len(q.table.Plan.Models) == 0 {
		return nil, errors.New("bench: quality: it has no rankings: want the output of kvc bench --json")
	}
	all := q.table.Plan.Units()
	if q.table.Done > all {
		return nil, fmt.Errorf("bench: quality: it has %d contexts, and its plan %d: want the output of kvc bench --json as it was printed", q.table.Done, all)
	}
	if q.table.Partial || q.table.Done < all {
		return nil, fmt.Errorf("bench: quality: it is partial (%d of %d contexts), since its bench was interrupted, and scores may still change: "+
			"let kvc bench finish (with -o it continues where it was interrupted)", q.table.Done, all)
	}
	if g := q.table.Plan.Grid; g != nil && len(g.Lengths) == 0 {
		return nil, errors.New("bench: quality: its grid has no lengths")
	}
	if valid, all := q.valid(); all > 0 && valid == 0 {
		return nil, errors.New("bench: quality: none of its categories is a valid task: its model does not answer them with the full cache, or still does with random eviction, so the bench cannot say what is lost")
	}
	modes := 0
	for _, r := range q.table.Rankings {
		if mode == "" || r.Mode == mode {
			modes++
		}
		for _, row := range r.Rows {
			if row.Relative == nil {
				return nil, fmt.Errorf("bench: quality: %.40q at %v has no part of the full cache's score, which is %v", row.Row, r.Budget, r.Full.Score)
			}
			if !(*row.Relative >= 0 && *row.Relative < 100) || !(row.Bytes > 0 && row.Bytes < 100) {
				return nil, fmt.Errorf("bench: quality: %.40q at %v has %v of the full cache's score with %v of its bytes", row.Row, r.Budget, *row.Relative, row.Bytes)
			}
		}
	}
	if modes == 0 {
		return nil, fmt.Errorf("bench: quality: it has no results for the mode %q", mode)
	}
	return q, nil
}

// Of names the models, the tasks, the length of the contexts and the mode, and says how many
// categories are not valid tasks.
func (q *Quality) Of() string {
	p := &q.table.Plan
	mode := string(q.mode)
	if mode == "" {
		mode = "in the worse of its modes"
	}
	if valid, all := q.valid(); valid < all {
		mode += fmt.Sprintf(" (%d of %d categories are not valid tasks)", all-valid, all)
	}
	models := strings.Join(p.Models, " and ")
	switch g := p.Grid; {
	case g != nil:
		return fmt.Sprintf("%s on needles in %d to %d tokens, %s", models, g.Lengths[0], g.Lengths[len(g.Lengths)-1], mode)
	case p.ofFile():
		return fmt.Sprintf("%s on %s in at most %d tokens, %s", models, filepath.Base(p.Texts.File), p.Length, mode)
	}
	return fmt.Sprintf("%s at %d tokens, %s", models, p.Length, mode)
}

// valid returns how many of the checked categories are valid tasks, in the modes that count.
func (q *Quality) valid() (valid, all int) {
	for _, c := range q.table.Checks {
		if q.mode != "" && c.Mode != q.mode {
			continue
		}
		if all++; c.Fails == "" {
			valid++
		}
	}
	return valid, all
}

// Methods returns the methods that the bench has results of, in the order of [Rows], with the
// budgets of each, the largest first. Rows whose name is not that of their method (such as
// kv-compress+fp8 or razor-wrong-heads) are left out.
func (q *Quality) Methods() []MethodBudgets {
	return methodBudgets(func(r *Row) (budgets []Budget, found bool) {
		for _, ranking := range q.table.Rankings {
			has := slices.ContainsFunc(ranking.Rows, func(row Ranked) bool { return row.Row == r.Name })
			if has && !slices.Contains(budgets, ranking.Budget) {
				budgets = append(budgets, ranking.Budget)
			}
		}
		return budgets, len(budgets) > 0
	})
}

// methodBudgets returns the methods that find has results of, in the order of [Rows], with the
// budgets that find returns, the largest first. Rows whose name is not that of their method are
// left out.
func methodBudgets(find func(r *Row) (budgets []Budget, found bool)) []MethodBudgets {
	var list []MethodBudgets
	for _, r := range Rows() {
		if r.Name != r.Method {
			continue
		}
		if budgets, found := find(&r); found {
			slices.Sort(budgets)
			list = append(list, MethodBudgets{Method: r.Method, Budgets: budgets, ByBudget: r.byBudget()})
		}
	}
	return list
}

// MethodBudgets are the budgets at which a bench has results of a method.
type MethodBudgets struct {
	Method   string
	Budgets  []Budget
	ByBudget bool // max_cache_tokens or rate brings the method to a budget
}

// At returns the fraction of the full cache's score that the method keeps when it holds a
// fraction part of the full cache's bytes. It is that of the bench's result with the most bytes
// within part. It is an error if the bench has none.
func (q *Quality) At(method string, part float64) (float64, error) {
	kept, found := 0.0, false
	for _, mode := range Modes() {
		best := (*Ranked)(nil)
		for i := range q.table.Rankings {
			r := &q.table.Rankings[i]
			if r.Mode != mode || q.mode != "" && q.mode != mode {
				continue
			}
			for j := range r.Rows {
				row := &r.Rows[j]
				if row.Row == method && row.Bytes <= part && (best == nil || row.Bytes > best.Bytes) {
					best = row
				}
			}
		}
		if best != nil && (!found || *best.Relative < kept) {
			kept, found = *best.Relative, true
		}
	}
	if !found {
		return 0, fmt.Errorf("the bench of %s has no result of %s with at most %.2f of the full cache's bytes", q.Of(), method, part)
	}
	return kept, nil
}

// HeldPart returns the fraction of the full cache's bytes that a method holds on average over
// the steps of a request of prompt and output tokens, counted with a ledger. The configuration
// needs a shape, block size, format and method. The full cache has the same block size and
// format.
func HeldPart(cfg ref.Config, prompt, output int) (float64, error) {
	cfg.Blocks = 1
	if cfg.Method == "" && cfg.Metric == (ref.Metric{}) {
		cfg.Metric = ref.Default().Metric
	}
	if cfg.Rope == nil { // some methods need one, and lengths do not depend on it
		cfg.Rope = &trace.Rope{Base: 10000, RotarySize: cfg.Shape.HeadSize, Pairing: trace.Half}
	}
	dense := cfg.Config.BlockBytes(nil)
	c := request{prompt: prompt, fed: output - 1, recompute: true}
	full := float64(dense) * denseBlocks(cfg.Shape.Heads(), cfg.BlockSize, c)
	cfg.Shape = cfg.CacheShape(cfg.Shape)
	bytes, err := heldBytes(cfg, c)
	return bytes / full, err
}
