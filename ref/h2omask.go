package ref

import (
	"slices"

	"kvcompress/internal/work"
	"kvcompress/kv"
)

// H2OMaskOptions are the options of the method h2o-mask.
type H2OMaskOptions struct {
	Heavy     float64 `json:"heavy" help:"fraction of C for heavy hitters; the rest is for the newest tokens"`
	Published bool    `json:"published" help:"hide what the published code hides: also the oldest of the recent tokens, and if there are none, the next token from its own query"`
}

// h2oMask is H2O's mask (utils_hh of its code). It selects as h2o-real-drop does, but hides KVs instead of
// evicting them.
type h2oMask struct {
	cfg *Config
	opt H2OMaskOptions
}

func h2oMaskEntry() Entry {
	e := Entry{
		Name:        "h2o-mask",
		Paper:       "H2O (Zhang et al., arXiv 2306.14048), as its accuracy is measured",
		Watches:     "all queries of the prompt and of decode: the sum of P, over the group too",
		Does:        "hides the KVs with the lowest sums of attention, except the newest; frees nothing",
		From:        "the same number from each head",
		When:        "after every step in which a head holds more than C",
		Reads:       "C KVs and the query's own",
		Payload:     "2·D·b + 12 (score, hidden and position), of every token",
		CacheTokens: "C, the KVs of each head that a query reads in addition to its own: heavy hitters plus newest",
		Rate:        "C is this fraction of the prompt, rounded down, and at least 1",
		HeldAgainst: "FMInference/H2O@ac75c2a (what each query may see, outputs), by the option published",
		Defaults:    func() any { return &H2OMaskOptions{Heavy: 0.5} },
	}
	e.New = func(c *Config) (Method, error) {
		m := h2oMask{c, *e.Defaults().(*H2OMaskOptions)}
		if err := c.Set.Into(&e, &m.opt); err != nil {
			return nil, err
		}
		return m, checkHeavy(e.Name, m.opt.Heavy)
	}
	return e
}

func (m h2oMask) Name() string { return "h2o-mask" }

// Columns declares the score of every KV and whether it is hidden.
func (m h2oMask) Columns() []kv.Column {
	return []kv.Column{
		{Name: "scores", Value: "score", Width: 1},
		{Name: "hidden", Value: "hidden flag", Width: 1},
	}
}

func (m h2oMask) Hidden() int { return 1 }

// Observe sums P over all queries; a hidden KV receives nothing.
func (m h2oMask) Observe() *Observation {
	return &Observation{Window: AllQueries, Norm: L1, Decode: true}
}

// budget returns how many heavy hitters and how many recent KVs a query may read; limited is false if there
// is no limit.
func (m h2oMask) budget(prompt int) (hitters, recent int, limited bool) {
	if !m.cfg.Compression.Enabled() {
		return 0, 0, false
	}
	hitters, recent = h2oBudget(m.cfg.Compression.capacity(prompt, 1), m.opt.Heavy)
	return hitters, recent, true
}

// HidesNew is true only in the published code's case of a budget without recent KVs.
func (m h2oMask) HidesNew(prompt, held int) bool {
	hitters, recent, limited := m.budget(prompt)
	return m.opt.Published && limited && recent == 0 && held > hitters
}

// Asks returns how many KVs to hide.
func (m h2oMask) Asks(c Counts) int {
	hitters, recent, limited := m.budget(c.Prompt)
	asks := 0
	for _, n := range c.Heads {
		if limited && n > hitters+recent {
			asks += n - hitters - m.seen(recent)
		}
	}
	return asks
}

// seen returns how many of the newest KVs stay visible for a budget of recent KVs. In the published code that
// budget includes the next query's own KV.
func (m h2oMask) seen(recent int) int {
	if m.opt.Published {
		return max(0, recent-1)
	}
	return recent
}

// Protects implements [Protector].
func (m h2oMask) Protects(c Counts) (sinks, newest int) {
	_, recent, _ := m.budget(c.Prompt)
	return 0, m.seen(recent)
}

// Quiet returns how many tokens can enter before a head holds more than C.
func (m h2oMask) Quiet(c Counts) int { return c.belowCapacity(&m.cfg.Compression, 1) }

func (m h2oMask) Plan(v View) Plan { return m.plan(v, lowest) }
func (m h2oMask) Spec(v View) Plan { return m.plan(v, lowestSorted) }

// plan hides, in each head with more than C KVs, all but the newest and the heavy hitters, which are the
// highest scores among the others. Nothing is freed, so a KV's logical index is its position.
//
// A hidden KV stays hidden: it receives no attention, and the published code resets its score. There is one
// exception, in the published code: the KV that was hidden as the oldest of the recent ones can become
// visible at the next step if it is then a heavy hitter.
func (m h2oMask) plan(v View, lowest func(keys []uint32, n int) []int32) Plan {
	counts := v.Counts()
	p := Plan{Asked: m.Asks(counts)}
	if p.Asked == 0 {
		return p
	}
	hitters, recent, _ := m.budget(counts.Prompt)
	p.Edits = make([]Edit, len(v.Sequence.Heads))
	work.Each(work.Workers(len(p.Edits)), len(p.Edits), func(_, head int) {
		h := &v.Sequence.Heads[head]
		keys := m.keys(v.Cache, h, recent)
		hide := lowest(keys, max(0, len(keys)-hitters))
		for i := len(keys); i < h.Len-m.seen(recent); i++ {
			hide = append(hide, int32(i))
		}
		slices.Sort(hide)
		p.Edits[head] = Edit{Op: Mask, Head: head, KVs: hide}
	})
	return p
}

// Hiding implements [Masker]. Where the published code hides the newest KV because the budget has no recent
// KVs, it does not remember that the KV was hidden.
func (m h2oMask) Hiding(c Counts) Hiding {
	if m.Asks(c) == 0 {
		return Hiding{Ranking: Ranking{Unit: 1}}
	}
	hitters, recent, _ := m.budget(c.Prompt)
	h := Hiding{
		Ranking: Ranking{Unit: 1, Window: recent, Key: ByScore},
		Stay:    c.Tokens - recent,
		Also:    recent - m.seen(recent),
	}
	switch {
	case m.opt.Published && recent == 0:
		h.Stay = 0
	case m.opt.Published:
		h.Stay--
	}
	for i, n := range c.Heads {
		h.Quotas = append(h.Quotas, Quota{First: i, Heads: 1, Units: max(0, n-recent-hitters)})
	}
	return h
}

// keys returns sort keys of all KVs of a head except the recent ones. They ascend with the score; a KV that
// stays hidden has key 0.
func (m h2oMask) keys(c *kv.Cache, h *kv.Head, recent int) []uint32 {
	keys := make([]uint32, h.Len-recent)
	for i := range keys {
		slot := c.Slot(h, i)
		hidden := c.Data[m.Hidden()][slot] != 0
		if m.opt.Published && (recent == 0 || i == len(keys)-1) {
			hidden = false
		}
		if !hidden {
			keys[i] = orderedBits(c.Data[0][slot] + 0)
		}
	}
	return keys
}
