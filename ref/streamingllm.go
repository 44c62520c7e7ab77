package ref

import (
	"fmt"

	"kvcompress/kv"
)

// SinksAndRecent ranks so that each head keeps its first sinks tokens and its newest
// recent(head) KVs, and the middle goes, the oldest first. A head within
// sinks + recent(head) loses nothing; recent(head) < 0 exempts the head.
//
// coming is how many tokens are about to enter. As StreamingLLM's evict_for_space has it,
// a head in which they have no room keeps only recent(head) − coming of the newest, or
// none, so that they fit.
func SinksAndRecent(c Counts, sinks, coming int, recent func(head int) int) Ranking {
	return Ranking{
		Unit:  1,
		Sinks: sinks,
		Key:   ByPosition,
		Quotas: overflow(c.Heads, func(head int) int {
			newest := recent(head)
			if newest < 0 || c.Heads[head]+coming <= sinks+newest {
				return c.Heads[head]
			}
			return sinks + max(0, newest-coming)
		}),
	}
}

// StreamingLLMOptions are the options of the method streaming-llm.
type StreamingLLMOptions struct {
	Sinks int `json:"sinks" help:"first tokens that are kept for good"`
}

// streamingLLM is StreamingLLM (Xiao et al., arXiv 2309.17453): the first sinks tokens
// and the newest C − sinks of each head.
type streamingLLM struct {
	cfg *Config
	opt StreamingLLMOptions
}

func streamingLLMEntry() Entry {
	e := Entry{
		Name:        "streaming-llm",
		Paper:       "StreamingLLM (Xiao et al., arXiv 2309.17453)",
		Watches:     "nothing",
		Does:        "drops all but the first tokens (sinks) and the newest; keys keep the rotation of their token's position",
		From:        "of each head alike",
		When:        "whenever a head holds more than C",
		Reads:       "all that is held",
		Payload:     "2·D·b + 4 (position)",
		CacheTokens: "C: KVs that each head keeps, sinks included",
		Rate:        "C is this part of the prompt, rounded down, and at least the sinks and 1",
		HeldAgainst: "mit-han-lab/streaming-llm@2e50426 (which tokens are held)",
		Defaults:    func() any { return &StreamingLLMOptions{Sinks: 4} },
	}
	e.New = func(c *Config) (Method, error) {
		m := streamingLLM{c, *e.Defaults().(*StreamingLLMOptions)}
		if err := c.Set.Into(&e, &m.opt); err != nil {
			return nil, err
		}
		if err := checkCount(e.Name, "sinks", m.opt.Sinks); err != nil {
			return nil, err
		}
		return m, c.Compression.needs(m.opt.Sinks+1, e.Name, fmt.Sprintf("%d sinks and 1 recent KV", m.opt.Sinks))
	}
	return e
}

// checkCount returns an error unless an option that counts tokens is from 0 to MaxWindow.
func checkCount(method, option string, n int) error {
	if n < 0 || n > MaxWindow {
		return fmt.Errorf("method %s: %s is %d, want 0 to %d", method, option, n, MaxWindow)
	}
	return nil
}

func (m streamingLLM) Name() string          { return "streaming-llm" }
func (m streamingLLM) Columns() []kv.Column  { return nil }
func (m streamingLLM) Observe() *Observation { return nil }

// Rank evicts the middle of every head that holds more than C.
func (m streamingLLM) Rank(c Counts) Ranking {
	recent := max(1, m.cfg.Compression.Capacity(c.Prompt)-m.opt.Sinks)
	return SinksAndRecent(c, m.opt.Sinks, 0, func(int) int { return recent })
}

func (m streamingLLM) Asks(c Counts) int { return m.Rank(c).Asks() }
func (m streamingLLM) Plan(v View) Plan  { return v.drop(m.Rank(v.Counts()), Decide) }
func (m streamingLLM) Spec(v View) Plan  { return v.drop(m.Rank(v.Counts()), Walk) }
