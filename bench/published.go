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

// publishedMethods maps the prefixes of names in longctx_bench's table to the names of methods
// here. After the prefix comes the number of bits, or the factor by which the cache is smaller.
// H2O is left out: its published scores are those of a mask, which frees no bytes.
var publishedMethods = []struct{ prefix, method string }{
	{"KIVI-", "kivi"},
	{"Flexgen-", "flexgen"},
	{"StreamLLM ", "streaming-llm"},
	{"InfLLM ", "infllm"},
	{"LLMLingua2 ", "llmlingua2"},
}

// Published is the quality of a model in a published table, measured on the table's tasks with
// the published settings.
type Published struct {
	model string
	rows  []publishedRow
}

type publishedRow struct {
	method string
	bytes  float64 // fraction of the full cache's
	kept   float64 // fraction of the baseline's score
}

// PublishedQuality returns the quality of a model in longctx_bench's table: the mean over
// LongBench's six categories as a fraction of the baseline's, with the question in the prompt.
// The error for an unknown model lists the known ones.
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

// publishedBytes returns the fraction of a 16-bit cache's bytes that a setting takes: 1/4 for
// "4x". "4bit" takes (4 + 1)/16, since each group of 32 elements has a scale and a minimum of
// 16 bits each, which is one more bit for each element.
func publishedBytes(what string) (float64, error) {
	if n, ok := strings.CutSuffix(what, "bit"); ok {
		bits, err := strconv.Atoi(n)
		return float64(bits+1) / 16, err
	}
	n, _ := strings.CutSuffix(what, "x")
	factor, err := strconv.Atoi(n)
	return 1 / float64(max(1, factor)), err
}

// Of names the model and the table.
func (q *Published) Of() string {
	return q.model + " in the published table of longctx_bench (LongBench, mean of six categories)"
}

// Methods returns the methods that the table has results of, in the order of [Rows], with the
// budgets of each, the largest first.
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

// At returns the fraction of the baseline's score that the method keeps when it holds a
// fraction part of the full cache's bytes. It is that of the method's published setting with
// the most bytes within part. It is an error if the table has none.
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
		return 0, fmt.Errorf("the published table of longctx_bench has H2O only as a mask, which frees no bytes")
	}
	return 0, fmt.Errorf("the published table of longctx_bench has no result of %s with %s and at most %.2f of the full cache's bytes", method, q.model, part)
}
