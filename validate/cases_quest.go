package validate

import (
	"fmt"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
)

// compareQuest compares Quest's page scores and the tokens that a query reads.
func compareQuest(c *methodCase) (CaseResult, error) {
	var (
		heads, tokens, headSize, page, budget, recent int
		selected                                      [][]int32
	)
	if err := (fields{
		"heads": &heads, "tokens": &tokens, "dim": &headSize, "page": &page, "budget": &budget, "recent": &recent, "selected": &selected,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	for _, f := range []struct {
		name              string
		value, least, top int
	}{
		{"heads", heads, 1, maxCaseHeads}, {"tokens", tokens, 1, maxCaseKVs}, {"dim", headSize, 1, kv.MaxHeadSize},
		{"page", page, 1, maxCaseKVs}, {"budget", budget, 1, maxCaseKVs}, {"recent", recent, 0, maxCaseKVs},
	} {
		if f.value < f.least || f.value > f.top {
			return CaseResult{}, fmt.Errorf("%s is %d, want %d to %d", f.name, f.value, f.least, f.top)
		}
	}
	if len(selected) != heads {
		return CaseResult{}, fmt.Errorf("selected tokens of %d heads, want %d", len(selected), heads)
	}
	before := ref.QuestBefore(tokens, budget, recent)
	pages := ceil.Div(before, page)
	q, err := c.floats("q", 1, heads, 1, headSize)
	if err != nil {
		return CaseResult{}, err
	}
	k, err := c.floats("k", 1, heads, tokens, headSize)
	if err != nil {
		return CaseResult{}, err
	}
	want, err := c.floats("page_score", 1, heads, pages)
	if err != nil {
		return CaseResult{}, err
	}
	result := CaseResult{
		Detail:   fmt.Sprintf("%d heads, %d tokens in pages of %d, a budget of %d, %d recent", heads, tokens, page, budget, recent),
		Compared: "the score of every page, and the tokens that the query reads",
		Values:   len(want),
	}
	for h := range heads {
		low, high := ref.QuestBounds(k[h*tokens*headSize:][:before*headSize], headSize, page)
		scores := ref.QuestScores(q[h*headSize:][:headSize], low, high)
		mismatch, far := near(fmt.Sprintf("head %d: page_score", h), scores, want[h*pages:][:pages], tensorTolerance)
		result.addError(far)
		got := ref.QuestSelect(scores, tokens, page, budget, recent)
		result.Values += len(got)
		if w := sorted(selected[h]); mismatch == "" && !slices.Equal(got, w) && !tiedPages(scores, got, w, page, before) {
			mismatch = fmt.Sprintf("head %d: reads %v, %v recorded", h, got, w)
		}
		if result.Mismatch == "" {
			result.Mismatch = mismatch
		}
	}
	return result, nil
}

// tiedPages reports whether two selections differ only in which of several pages with equal scores they
// include. The pages hold before tokens.
func tiedPages(scores []float32, got, want []int32, page, before int) bool {
	only := func(a, b []int32) (of []float32, ok bool) {
		for i, t := range a {
			if _, both := slices.BinarySearch(b, t); both {
				continue
			}
			if t < 0 || int(t) >= before || i > 0 && t == a[i-1] {
				return nil, false
			}
			of = append(of, scores[int(t)/page])
		}
		slices.Sort(of)
		return of, true
	}
	a, okA := only(got, want)
	b, okB := only(want, got)
	return okA && okB && slices.Equal(a, b)
}
