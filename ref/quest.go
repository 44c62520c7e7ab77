package ref

import (
	"errors"
	"fmt"
	"math"
)

// QuestOptions are the options of Quest, which is planned and not run.
type QuestOptions struct {
	Page   int  `json:"page" help:"tokens of a page"`
	Shared bool `json:"shared" help:"the query heads of a KV head are taken to read the same pages; false, as published: each reads its own, and they are taken to differ"`
}

// QuestReads returns what a decode step reads of a KV head's cache: at most tokens KVs,
// which are MaxCacheTokens for each query head, or for all G of them where they share.
func (c *Config) QuestReads() (tokens, page int, err error) {
	e := questEntry()
	o := *e.Defaults().(*QuestOptions)
	if err := c.Set.Into(&e, &o); err != nil {
		return 0, 0, err
	}
	switch {
	case c.Compression.Rate > 0:
		return 0, 0, e.wrap(errors.New("it has no rate: max_cache_tokens is what a query reads"))
	case o.Page < 1 || o.Page > MaxWindow:
		return 0, 0, e.wrap(fmt.Errorf("page is %d, want 1 to %d", o.Page, MaxWindow))
	case c.Compression.MaxCacheTokens < 1:
		return 0, 0, e.wrap(errors.New("it reads everything without max_cache_tokens: say how many tokens a query reads"))
	}
	tokens = c.Compression.MaxCacheTokens
	if !o.Shared {
		tokens *= c.Shape.Group
	}
	return tokens, o.Page, nil
}

// questEntry is the row of Quest (Tang et al., arXiv 2406.10774). It only selects what a
// query reads, anew for each query: there is no plan that an engine could carry out.
func questEntry() Entry {
	return Entry{
		Name:        "quest",
		Paper:       "Quest (Tang et al., arXiv 2406.10774)",
		Watches:     "each decode query, against the bounds of the keys of every page",
		Does:        "frees nothing: it needs more memory, for the bounds",
		From:        "of each query head alike",
		When:        "at every decode step",
		Reads:       "the pages with the highest bound on q·k, and the newest tokens",
		Payload:     "2·D·b·(1 + 1/page), of every token",
		CacheTokens: "tokens that a query reads",
		Rate:        "none",
		HeldAgainst: "Zefan-Cai/KVCache-Factory@c97f9d7 (page scores, selected tokens)",
		Planned:     true,
		Defaults:    func() any { return &QuestOptions{Page: 16} },
		New: func(*Config) (Method, error) {
			return nil, &UnsupportedError{errors.New("method quest cannot run: it frees nothing, and no engine reads by pages; its selection is compared with kvc validate --cases")}
		},
	}
}

// QuestBounds returns the minima and the maxima of each element of the keys of each page:
// keys is [n, D], low and high are [⌈n/page⌉, D]. The last page may be partly filled.
func QuestBounds(keys []float32, headSize, page int) (low, high []float32) {
	pages := ceilDiv(len(keys)/headSize, page)
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

// QuestScores returns an upper bound on q·k over the keys of each page, [⌈n/page⌉], for
// one query head: q is [D], low and high are [⌈n/page⌉, D].
//
//	score = Σ_e max(q_e·low_e, q_e·high_e)    e ascending
//
// A positive q_e meets the larger product in the maximum, a negative one in the minimum:
// rounding keeps the order of the products.
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
	scores := make([]float32, ceilDiv(n, page))
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

// QuestBefore returns how many of n tokens lie before the newest, which are always read:
// the pages are of those.
func QuestBefore(n, budget, recent int) int { return n - min(n, budget, recent) }

// QuestSelect returns which of n tokens a query reads, ascending: the newest, and with
// what they leave of the budget those of the pages with the highest scores, which are of
// the first [QuestBefore] tokens. There is one page more than fills it if the last page is
// partly filled; of the tokens of all these pages, the first are read. Of equal scores the
// earlier page is taken. All tokens are read if the budget has room for them.
func QuestSelect(scores []float32, n, page, budget, recent int) []int32 {
	return questSelect(scores, n, page, budget, recent, lowest)
}

func questSelect(scores []float32, n, page, budget, recent int, lowest func([]uint32, int) []int32) []int32 {
	before := QuestBefore(n, budget, recent)
	left := budget - (n - before)
	if budget >= n {
		left = before
	}
	pages := ceilDiv(left, page)
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
