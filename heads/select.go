package heads

import (
	"fmt"
	"math"
	"slices"
)

// Rule says which KV heads a score selects.
type Rule string

// The rules, each with the number that it takes, over the N scores of all KV heads of
// a model.
const (
	// TopRatio selects the heads whose score equals one of the largest round(N·ratio)
	// scores, rounded half to even: ties may select more. (RazorAttention.)
	TopRatio Rule = "top-ratio"
	// Quantile selects the heads whose score is at least the quantile of all scores,
	// interpolated linearly; none from 1 on, and all up to 0. (DuoAttention's sparsity.
	// Its code first adds noise below 1e-6, so that ties are broken at
	// random; here they stay together.)
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

// quantile returns the q-quantile of ascending values, q from 0 to 1, as numpy's
// default method has it: interpolated between the two values around index (n−1)·q,
// from the nearer of them.
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

// groupMax returns the score of each KV head [L][H]: the largest of its query heads'.
// scores is [L][H·G].
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
