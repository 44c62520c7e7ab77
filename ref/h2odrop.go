package ref

import (
	"fmt"
	"math"

	"kvcompress/kv"
)

// H2OOptions are the options of the method h2o-real-drop.
type H2OOptions struct {
	Heavy     float64 `json:"heavy" help:"fraction of C for heavy hitters; the rest is for the newest tokens"`
	QueryHead bool    `json:"query-head" help:"store a score for each query head of a group, and evict by their sum"`
}

// h2oBudget splits a capacity of C KVs per head into heavy hitters, C·heavy rounded half to even, and recent
// KVs, the rest.
func h2oBudget(capacity int, heavy float64) (hitters, recent int) {
	hitters = int(math.RoundToEven(float64(capacity) * heavy))
	return hitters, capacity - hitters
}

// checkHeavy returns an error unless heavy is from 0 to 1.
func checkHeavy(method string, heavy float64) error {
	if !(heavy >= 0 && heavy <= 1) {
		return fmt.Errorf("method %s: heavy is %v, want a part of C from 0 to 1", method, heavy)
	}
	return nil
}

// h2oDrop is H2O's real_drop (Zhang et al., arXiv 2306.14048; utils_real_drop of its code). A KV's score is
// the sum of all attention it has received. A head with more than C KVs evicts the lowest scores, but never
// the newest tokens.
type h2oDrop struct {
	cfg *Config
	opt H2OOptions
}

func h2oDropEntry() Entry {
	e := Entry{
		Name:        "h2o-real-drop",
		Paper:       "H2O (Zhang et al., arXiv 2306.14048), real_drop",
		Watches:     "all queries of the prompt and of decode: the sum of P, over the group too",
		Does:        "drops the KVs with the lowest sums of attention, except the newest",
		From:        "the same number from each head",
		When:        "after every step in which a head holds more than C",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 8 (score and position); with query-head 2·D·b + 4·G + 4",
		CacheTokens: "C, the KVs that each head keeps: heavy hitters plus newest",
		Rate:        "C is this fraction of the prompt, rounded down, and at least 1",
		HeldAgainst: "FMInference/H2O@ac75c2a (kept tokens and scores, step by step)",
		Defaults:    func() any { return &H2OOptions{Heavy: 0.5} },
	}
	e.New = func(c *Config) (Method, error) {
		m := h2oDrop{c, *e.Defaults().(*H2OOptions)}
		if err := c.Set.Into(&e, &m.opt); err != nil {
			return nil, err
		}
		return m, checkHeavy(e.Name, m.opt.Heavy)
	}
	return e
}

func (m h2oDrop) Name() string { return "h2o-real-drop" }

// Columns declares the score of every KV: one number, or with query-head one for each query head.
func (m h2oDrop) Columns() []kv.Column {
	return []kv.Column{{Name: "scores", Value: "score", Width: m.width()}}
}

func (m h2oDrop) width() int {
	if m.opt.QueryHead {
		return m.cfg.Shape.Group
	}
	return 1
}

// Observe sums P over all queries that attend to a KV.
func (m h2oDrop) Observe() *Observation {
	o := &Observation{Window: AllQueries, Norm: L1, Decode: true}
	if m.opt.QueryHead {
		o.Group = GroupEach
	}
	return o
}

// Rank evicts the lowest scores of each head, except the newest KVs, down to C KVs.
func (m h2oDrop) Rank(c Counts) Ranking {
	r := Ranking{Unit: 1, Key: ByScore, Width: m.width()}
	if m.cfg.Compression.Enabled() {
		capacity := m.cfg.Compression.capacity(c.Prompt, 1)
		_, r.Window = h2oBudget(capacity, m.opt.Heavy)
		r.Quotas = overflow(c.Heads, func(int) int { return capacity })
	}
	return r
}

func (m h2oDrop) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns how many tokens can enter before a head holds more than C.
func (m h2oDrop) Quiet(c Counts) int { return c.belowCapacity(&m.cfg.Compression, 1) }
func (m h2oDrop) Plan(v View) Plan   { return v.drop(m.Rank(v.Counts()), Decide) }
func (m h2oDrop) Spec(v View) Plan   { return v.drop(m.Rank(v.Counts()), Walk) }
