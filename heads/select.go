package heads

import (
	"fmt"
	"math"
	"slices"
)

// Rule says how a score selects KV heads.
type Rule string

// The rules. Each takes a number, and is applied to the scores of all N KV heads of a model.
const (
	// TopRatio selects the heads whose score is at least the k-th largest, where k is round(N·ratio), half to
	// even: ties may select more. (RazorAttention.)
	TopRatio Rule = "top-ratio"
	// Quantile selects the heads whose score is at least the given quantile of all scores, interpolated
	// linearly; none if the number is 1 or more, all if it is 0 or less. (DuoAttention's sparsity. Its code
	// first adds noise below 1e-6, which breaks ties at random; here heads with equal scores are selected
	// together.)
	Quantile Rule = "quantile"
	// Above selects the heads whose score is larger than the number. (Retrieval_Head.)
	Above Rule = "above"
)

func (r Rule) check(x float64) error {
	switch {
	case r != TopRatio && r != Quantile && r != Above:
		return fmt.Errorf("rule %q: want %s, %s or %s", r, TopRatio, Quantile, Above)
	case math.IsNaN(x) || math.IsInf(x, 0):
		return fmt.Errorf("%s %v: want a finite number", r, x)
	case r != Above && !(x >= 0 && x <= 1):
		return fmt.Errorf("%s %v: want 0 to 1", r, x)
	}
	return nil
}

// selects returns which of the scores [L][H] the rule selects.
func (r Rule) selects(scores [][]float64, x float64) [][]bool {
	sorted := slices.Concat(scores...)
	slices.Sort(sorted)
	var selected func(v float64) bool
	switch r {
	case TopRatio:
		quota := int(math.RoundToEven(float64(len(sorted)) * x))
		selected = func(v float64) bool { return quota > 0 && v >= sorted[len(sorted)-quota] }
	case Quantile:
		limit := quantile(sorted, x)
		selected = func(v float64) bool { return x <= 0 || x < 1 && v >= limit }
	case Above:
		selected = func(v float64) bool { return v > x }
	}
	all := make([][]bool, len(scores))
	for l, row := range scores {
		all[l] = make([]bool, len(row))
		for h, v := range row {
			all[l][h] = selected(v)
		}
	}
	return all
}

// quantile returns the q-quantile of ascending values, for q from 0 to 1, with numpy's default method:
// interpolated between the two values around index (n−1)·q, starting from the nearer one.
func quantile(sorted []float64, q float64) float64 {
	at := float64(len(sorted)-1) * q
	low := int(at)
	t := at - float64(low)
	a, b := sorted[low], sorted[min(low+1, len(sorted)-1)]
	if t >= 0.5 {
		return b - float64((b-a)*(1-t))
	}
	return a + float64((b-a)*t)
}

// groupMax returns the score of each KV head [L][H]: the largest score of its query heads, from scores
// [L][H·G].
func groupMax(scores [][]float64, kvHeads int) [][]float64 {
	groups := make([][]float64, len(scores))
	for l, row := range scores {
		group := len(row) / kvHeads
		for h := range kvHeads {
			groups[l] = append(groups[l], slices.Max(row[h*group:(h+1)*group]))
		}
	}
	return groups
}
