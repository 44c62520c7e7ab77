package bench

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// longctxBench is what longctx_bench (Yuan et al., arXiv 2407.01527; henryzhongsc/longctx_bench
// at 72204d0, visualization/longbench_radar/longbench_results.py) measured on LongBench.
//
//go:embed published/longctx_bench.csv
var longctxBench string

// publishedMethods are the methods of longctx_bench's table, by the prefix of their names
// there, and the same methods' names here. After the prefix comes the number of bits, or the
// factor by which the budget is smaller. H2O is left out: its scores are of masks, which free nothing, and
// so of no number of bytes.
var publishedMethods = []struct{ prefix, method string }{
	{"KIVI-", "kivi"},
	{"Flexgen-", "flexgen"},
	{"StreamLLM ", "streaming-llm"},
	{"InfLLM ", "infllm"},
	{"LLMLingua2 ", "llmlingua2"},
}

// Published is the quality of a model in a published table. It is that of the table's tasks,
// and of the settings that were published.
type Published struct {
	model string
	rows  []publishedRow
}

type publishedRow struct {
	method string
	bytes  float64 // part of the full cache's
	kept   float64 // part of the baseline's score
}

// PublishedQuality returns the quality of a model in longctx_bench's table: parts of the
// baseline's mean over LongBench's six categories, with the question in the prompt. The error
// for an unknown model lists the known ones.
func PublishedQuality(model string) (*Published, error) {
	table, err := csv.NewReader(strings.NewReader(longctxBench)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("bench: longctx_bench's table: %w", err)
	}
	const named, method, mean = 1, 2, 9 // columns
	baseline := 0.0
	var models []string // with a baseline and a compressed row
	for _, row := range table[1:] {
		if strings.HasPrefix(row[0], "Quant-") && row[method] == "Baseline" {
			models = append(models, row[named])
			if row[named] == model {
				if baseline, err = strconv.ParseFloat(row[mean], 64); err != nil {
					return nil, fmt.Errorf("bench: longctx_bench's table: %w", err)
				}
			}
		}
	}
	if baseline == 0 {
		return nil, fmt.Errorf("bench: longctx_bench's table has no model %.40q: it has %s", model, strings.Join(models, ", "))
	}
	q := &Published{model: model}
	for _, row := range table[1:] {
		i := slices.IndexFunc(publishedMethods, func(m struct{ prefix, method string }) bool { return strings.HasPrefix(row[method], m.prefix) })
		if row[named] != model || i < 0 {
			continue
		}
		m := publishedMethods[i]
		bytes, err := publishedBytes(strings.TrimPrefix(row[method], m.prefix))
		if err != nil {
			return nil, fmt.Errorf("bench: longctx_bench's table: %s: %w", row[method], err)
		}
		score, err := strconv.ParseFloat(row[mean], 64)
		if err != nil {
			return nil, fmt.Errorf("bench: longctx_bench's table: %w", err)
		}
		q.rows = append(q.rows, publishedRow{m.method, bytes, score / baseline})
	}
	return q, nil
}

// publishedBytes returns the part of a 16-bit cache's bytes of "4bit", whose groups of 32
// elements have a scale and a minimum of 16 bits each (bits + 32/32 of 16), or of a budget "4x".
func publishedBytes(what string) (float64, error) {
	if n, ok := strings.CutSuffix(what, "bit"); ok {
		bits, err := strconv.Atoi(n)
		return float64(bits+1) / 16, err
	}
	n, _ := strings.CutSuffix(what, "x")
	factor, err := strconv.Atoi(n)
	return 1 / float64(max(1, factor)), err
}

// Of says whose quality it is.
func (q *Published) Of() string {
	return q.model + " in the published table of longctx_bench (LongBench, mean of six categories)"
}

// Methods returns the methods of the bench that the table has results of, in its order, and
// the budgets of each, the largest first.
func (q *Published) Methods() []MethodBudgets {
	return methodBudgets(func(r *Row) (budgets []Budget, found bool) {
		for _, row := range q.rows {
			if row.method != r.Name {
				continue
			}
			found = true
			if r.byBudget() {
				budgets = append(budgets, Budget(math.Round(1/row.bytes)))
			}
		}
		return budgets, found
	})
}

// At returns which part of the baseline's score is kept under a method that holds a part of the
// full cache's bytes: that of the row with most bytes within the part. The error says that the
// table has none.
func (q *Published) At(method string, part float64) (float64, error) {
	best := (*publishedRow)(nil)
	for i := range q.rows {
		r := &q.rows[i]
		if r.method == method && r.bytes <= part && (best == nil || r.bytes > best.bytes) {
			best = r
		}
	}
	switch {
	case best != nil:
		return best.kept, nil
	case strings.HasPrefix(method, "h2o-"):
		return 0, fmt.Errorf("the published table of longctx_bench has H2O as a mask, which frees nothing, and so at no number of bytes")
	}
	return 0, fmt.Errorf("the published table of longctx_bench has nothing of %s with %s and at most %.2f of the full cache's bytes", method, q.model, part)
}
