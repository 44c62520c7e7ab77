package ref

import (
	"fmt"
	"math"

	"kvcompress/kv"
)

// H2O (Zhang et al., arXiv 2306.14048) as most comparisons run it (Zefan-Cai/KVCache-Factory@c97f9d7): once,
// after the prompt, every head keeps max_cache_tokens KVs: its last window tokens, and of the others those
// with the highest attention from all of the prompt's queries,
//
//	s_i = Σ_t P_{t,i}      over all t ≥ i
//
// The sum favours early tokens, which more queries attend to.
type h2oPrefill struct {
	cfg         *Config
	observation *Observation
	window      int // newest tokens, which are kept; all queries are observed
}

type h2oPrefillOptions struct {
	Window int    `json:"window" help:"number of the prompt's last tokens, which are kept"`
	Group  string `json:"group" help:"reduction over the query heads of a KV head: sum, mean or max"`
}

func h2oPrefillEntry() Entry {
	e := Entry{
		Name:        "h2o-prefill",
		Paper:       "H2O (Zhang et al., arXiv 2306.14048), once after the prompt",
		Watches:     "all queries of the prompt: P, summed, reduced over the group",
		Does:        "drops the KVs before the window that receive the least attention",
		From:        "the same number from each head",
		When:        "once after the prompt",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 8 (score and position)",
		CacheTokens: "KVs that every head keeps of a prompt, the window included",
		Rate:        "fraction of a prompt's KVs to keep, window included, and at least the window",
		HeldAgainst: "Zefan-Cai/KVCache-Factory@c97f9d7",
		Defaults:    func() any { return &h2oPrefillOptions{Window: 8, Group: "sum"} },
	}
	e.New = func(c *Config) (Method, error) {
		opt := e.Defaults().(*h2oPrefillOptions)
		if err := c.Set.Into(&e, opt); err != nil {
			return nil, err
		}
		group, err := groupReduction(opt.Group)
		if err == nil {
			err = c.Compression.checkCapacity(opt.Window)
		}
		if opt.Window < 0 || opt.Window > MaxWindow {
			err = fmt.Errorf("window %d is not from 0 to %d", opt.Window, MaxWindow)
		}
		if err != nil {
			return nil, e.wrap(err)
		}
		return h2oPrefill{c, &Observation{Window: AllQueries, Norm: L1, Group: group}, opt.Window}, nil
	}
	return e
}

func (m h2oPrefill) Name() string          { return "h2o-prefill" }
func (m h2oPrefill) Columns() []kv.Column  { return scoreColumn() }
func (m h2oPrefill) Observe() *Observation { return m.observation }

func (m h2oPrefill) Rank(c Counts) Ranking {
	past := m.cfg.Compression.capacity(c.Prompt, m.window) - m.window
	return c.keepPast(m.window, func(int) int { return past })
}

func (m h2oPrefill) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns math.MaxInt: the method compresses once, after the prompt.
func (m h2oPrefill) Quiet(Counts) int { return math.MaxInt }
func (m h2oPrefill) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m h2oPrefill) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }
