package ref

import (
	"fmt"
	"math"

	"kvcompress/kv"
)

// DuoAttentionOptions are the options of the method duo-attention.
type DuoAttentionOptions struct {
	Full   FullHeads `json:"full" help:"full heads: for each layer a list with 1 for each KV head that keeps everything and 0 for others; or the word none; --set map=FILE reads a map made by kvc heads"`
	Sinks  int       `json:"sinks" help:"first tokens that a streaming head keeps (64 in the published deployment example)"`
	Recent int       `json:"recent" help:"newest tokens that a streaming head keeps if neither max_cache_tokens nor rate is set"`
}

// duoAttention is DuoAttention (Xiao et al., arXiv 2410.10819) with any map of heads. A full head keeps
// everything, a streaming head its sinks and its newest tokens.
type duoAttention struct {
	cfg  *Config
	opt  DuoAttentionOptions
	full []bool // [L·H]
}

func duoAttentionEntry() Entry {
	e := Entry{
		Name:        "duo-attention",
		Paper:       "DuoAttention (Xiao et al., arXiv 2410.10819)",
		Watches:     "nothing; which heads are full is decided once for a model",
		Does:        "drops the middle of streaming heads: all but the first tokens (sinks) and the newest",
		From:        "the same number from each streaming head; full heads keep everything",
		When:        "whenever a streaming head holds more than its share",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 4 (position)",
		CacheTokens: "KVs that a streaming head keeps, sinks included; without it and rate, sinks + recent",
		Rate:        "a streaming head keeps this fraction of the prompt, rounded down, and at least the sinks and 1",
		HeldAgainst: "mit-han-lab/duo-attention@fe93c31 (which heads are full)",
		Defaults:    func() any { return &DuoAttentionOptions{Sinks: 128, Recent: 256} },
	}
	e.New = func(c *Config) (Method, error) {
		m := duoAttention{cfg: c, opt: *e.Defaults().(*DuoAttentionOptions)}
		if err := c.Set.Into(&e, &m.opt); err != nil {
			return nil, err
		}
		for _, o := range []struct {
			name  string
			value int
		}{{"sinks", m.opt.Sinks}, {"recent", m.opt.Recent}} {
			if err := checkCount(e.Name, o.name, o.value); err != nil {
				return nil, err
			}
		}
		var err error
		if m.full, err = m.opt.Full.heads(c.Shape); err != nil {
			return nil, fmt.Errorf("method %s: %w", e.Name, err)
		}
		return m, c.Compression.needs(m.opt.Sinks+1, e.Name, fmt.Sprintf("%d sinks and 1 recent KV", m.opt.Sinks))
	}
	return e
}

func (m duoAttention) Name() string          { return "duo-attention" }
func (m duoAttention) Columns() []kv.Column  { return nil }
func (m duoAttention) Observe() *Observation { return nil }

// Rank evicts the middle of the streaming heads.
func (m duoAttention) Rank(c Counts) Ranking {
	recent := m.recent(c.Prompt)
	return SinksAndRecent(c, m.opt.Sinks, 0, func(head int) int {
		if m.full[head] {
			return -1
		}
		return recent
	})
}

// recent returns how many of the newest tokens a streaming head keeps.
func (m duoAttention) recent(prompt int) int {
	if !m.cfg.Compression.Enabled() {
		return m.opt.Recent
	}
	return m.cfg.Compression.capacity(prompt, m.opt.Sinks+1) - m.opt.Sinks
}

func (m duoAttention) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns how many tokens can enter before a streaming head exceeds its capacity.
func (m duoAttention) Quiet(c Counts) int {
	quiet := math.MaxInt
	for head, n := range c.Heads {
		if !m.full[head] {
			quiet = min(quiet, max(0, m.opt.Sinks+m.recent(c.Prompt)-n))
		}
	}
	return quiet
}
func (m duoAttention) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m duoAttention) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }
