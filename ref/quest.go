package ref

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/internal/ceil"
)

// QuestOptions are the options of Quest, which is only planned.
type QuestOptions struct {
	Page   int  `json:"page" help:"tokens of a page"`
	Shared bool `json:"shared" help:"assume that the query heads of a KV head read the same pages; false, as published: each reads its own, all different"`
}

// QuestReads returns how many KVs of a KV head a decode step reads at most: MaxCacheTokens for each query
// head, or with Shared for all G query heads together; and the tokens of a page.
func (c *Config) QuestReads() (tokens, page int, err error) {
	e := questEntry()
	o := *e.Defaults().(*QuestOptions)
	if err := c.Set.Into(&e, &o); err != nil {
		return 0, 0, err
	}
	switch {
	case c.Compression.Rate > 0:
		return 0, 0, e.wrap(errors.New("it takes no rate: max_cache_tokens is the number of tokens that a query reads"))
	case o.Page < 1 || o.Page > MaxWindow:
		return 0, 0, e.wrap(fmt.Errorf("page is %d, want 1 to %d", o.Page, MaxWindow))
	case c.Compression.MaxCacheTokens < 1:
		return 0, 0, e.wrap(errors.New("it needs max_cache_tokens, the number of tokens that a query reads"))
	}
	tokens = c.Compression.MaxCacheTokens
	if !o.Shared {
		tokens *= c.Shape.Group
	}
	return tokens, o.Page, nil
}

// questEntry is the row of Quest (Tang et al., arXiv 2406.10774). It only selects what each query reads:
// there is no plan for an engine to carry out.
func questEntry() Entry {
	return Entry{
		Name:        "quest",
		Paper:       "Quest (Tang et al., arXiv 2406.10774)",
		Watches:     "each decode query, against the bounds of the keys of every page",
		Does:        "frees nothing: it needs more memory, for the bounds",
		From:        "the same number from each query head",
		When:        "at every decode step",
		Reads:       "the pages with the highest bound on q·k, and the newest tokens",
		Payload:     "2·D·b·(1 + 1/page), of every token",
		CacheTokens: "tokens that a query reads",
		Rate:        "none",
		HeldAgainst: "Zefan-Cai/KVCache-Factory@c97f9d7 (page scores, selected tokens)",
		Planned:     true,
		Defaults:    func() any { return &QuestOptions{Page: 16} },
		New: func(*Config) (Method, error) {
			return nil, &UnsupportedError{errors.New("method quest cannot run: it frees nothing, and no engine attends to selected pages; kvc validate --cases checks its selection")}
		},
	}
}

// QuestBounds returns the minimum and maximum of each element over the keys of each page: keys is [n, D], low
// and high are [⌈n/page⌉, D]. The last page may be partly filled.
func QuestBounds(keys []float32, headSize, page int) (low, high []float32) {
	pages := ceil.Div(len(keys)/headSize, page)
	low, high = make([]float32, pages*headSize), make([]float32, pages*headSize)
	for i, k := range keys {
		token, e := i/headSize, i%headSize
		at := token/page*headSize + e
		if token%page == 0 {
			low[at], high[at] = k, k
		}
		low[at], high[at] = min(low[at], k), max(high[at], k)
	}
	return low, high
}

// QuestScores returns an upper bound on q·k over the keys of each page, [⌈n/page⌉], for one query head: q is
// [D], low and high are [⌈n/page⌉, D].
//
//	score = Σ_e max(q_e·low_e, q_e·high_e)    e ascending
//
// For a positive q_e the maximum key element gives the larger product, for a negative one the minimum.
// Rounding is monotonic, so the bound also holds for rounded products.
func QuestScores(q, low, high []float32) []float32 {
	d := len(q)
	scores := make([]float32, len(low)/d)
	for p := range scores {
		var sum float32
		for e, x := range q {
			bound := high[p*d+e]
			if x < 0 {
				bound = low[p*d+e]
			}
			sum += float32(x * bound)
		}
		scores[p] = sum
	}
	return scores
}

// questScoresPlain is the specification of QuestBounds and QuestScores, from the keys.
func questScoresPlain(q, keys []float32, page int) []float32 {
	d := len(q)
	n := len(keys) / d
	scores := make([]float32, ceil.Div(n, page))
	for p := range scores {
		for e := range q {
			bound := float32(math.Inf(-1))
			for i := p * page; i < min(n, (p+1)*page); i++ {
				bound = max(bound, float32(q[e]*keys[i*d+e]))
			}
			scores[p] += bound
		}
	}
	return scores
}

// QuestBefore returns how many of n tokens precede the newest, which are always read. Pages cover only these.
func QuestBefore(n, budget, recent int) int { return n - min(n, budget, recent) }

// QuestSelect returns which of n tokens a query reads, ascending: the newest, and with the rest of the budget
// tokens of the pages with the highest scores, ties to the earlier page. Pages cover the first [QuestBefore]
// tokens. If the last page is partly filled, one more page than fills the budget is selected; the budget then
// goes to the first tokens of all selected pages. If the budget has room for all tokens, all are read.
func QuestSelect(scores []float32, n, page, budget, recent int) []int32 {
	return questSelect(scores, n, page, budget, recent, lowest)
}

func questSelect(scores []float32, n, page, budget, recent int, lowest func([]uint32, int) []int32) []int32 {
	before := QuestBefore(n, budget, recent)
	left := budget - (n - before)
	if budget >= n {
		left = before
	}
	pages := ceil.Div(left, page)
	if before%page != 0 && left > 0 {
		pages++
	}
	read := make([]bool, len(scores))
	keys := make([]uint32, len(scores))
	for i, s := range scores {
		keys[i] = ^orderedBits(s + 0)
	}
	for _, p := range lowest(keys, min(pages, len(scores))) {
		read[p] = true
	}
	var selected []int32
	for i := 0; i < before && len(selected) < left; i++ {
		if read[i/page] {
			selected = append(selected, int32(i))
		}
	}
	for i := before; i < n; i++ {
		selected = append(selected, int32(i))
	}
	return selected
}
