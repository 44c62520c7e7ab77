package ref

import (
	"fmt"

	"kvcompress/kv"
)

// SinksAndRecent returns a ranking that keeps the first sinks tokens and the newest recent(head) of each
// head, and evicts the others, oldest first. recent(head) < 0 exempts the head.
//
// coming is the number of tokens about to enter. As in StreamingLLM's evict_for_space, a head without room
// for them keeps only the newest recent(head) − coming, at least 0, so that they fit.
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
	Sinks     int           `json:"sinks" help:"first tokens, which are always kept"`
	Positions PositionsRead `json:"positions" help:"at which positions keys are read: token (the original ones) or cache (consecutive, as if the evicted tokens had never existed)"`
}

// PositionsRead says at which positions keys are read.
type PositionsRead string

// The positions.
const (
	TokenPositions PositionsRead = "token" // a key keeps the rotation of its token's position
	CachePositions PositionsRead = "cache" // a key is rotated to its rank among the held tokens, as published
)

// streamingLLM is StreamingLLM (Xiao et al., arXiv 2309.17453): each head keeps its first sinks tokens and
// its newest C − sinks.
type streamingLLM struct {
	cfg *Config
	opt StreamingLLMOptions
}

func streamingLLMEntry() Entry {
	e := Entry{
		Name:        "streaming-llm",
		Paper:       "StreamingLLM (Xiao et al., arXiv 2309.17453)",
		Watches:     "nothing",
		Does:        "drops the middle: all but the first tokens (sinks) and the newest; with positions=cache keys are rotated to their positions in the cache",
		From:        "the same number from each head",
		When:        "whenever a head holds more than C",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 4 (position)",
		CacheTokens: "C, the KVs that each head keeps, sinks included",
		Rate:        "C is this fraction of the prompt, rounded down, and at least the sinks and 1",
		HeldAgainst: "mit-han-lab/streaming-llm@2e50426 (which tokens are held)",
		Defaults:    func() any { return &StreamingLLMOptions{Sinks: 4, Positions: TokenPositions} },
	}
	e.New = func(c *Config) (Method, error) {
		m := streamingLLM{c, *e.Defaults().(*StreamingLLMOptions)}
		if err := c.Set.Into(&e, &m.opt); err != nil {
			return nil, err
		}
		if err := checkCount(e.Name, "sinks", m.opt.Sinks); err != nil {
			return nil, err
		}
		if err := m.opt.Positions.check(e.Name, c); err != nil {
			return nil, err
		}
		return m, c.Compression.needs(m.opt.Sinks+1, e.Name, fmt.Sprintf("%d sinks and 1 recent KV", m.opt.Sinks))
	}
	return e
}

// check returns an error if keys cannot be read at these positions: rotating them needs their rotary
// embedding.
func (p PositionsRead) check(method string, c *Config) error {
	switch {
	case p == TokenPositions:
		return nil
	case p != CachePositions:
		return fmt.Errorf("method %s: positions is %q, want %s or %s", method, p, TokenPositions, CachePositions)
	case c.Rope == nil:
		return fmt.Errorf(`method %s: positions=cache rotates keys, and the trace does not state their rotary embedding: state "rope" in trace.json, or set positions=token`, method)
	case c.Rope.RotarySize > c.Shape.HeadSize:
		return fmt.Errorf("method %s: the rotary embedding rotates %d elements of a head of %d", method, c.Rope.RotarySize, c.Shape.HeadSize)
	}
	if err := c.Rope.Check(); err != nil {
		return fmt.Errorf("method %s: %w", method, err)
	}
	return nil
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

func (m streamingLLM) ByCachePosition() bool { return m.opt.Positions == CachePositions }

// Rank evicts the tokens between sinks and newest of every head that holds more than C.
func (m streamingLLM) Rank(c Counts) Ranking {
	if !m.cfg.Compression.Enabled() {
		return Ranking{Unit: 1, Key: ByPosition}
	}
	recent := m.cfg.Compression.capacity(c.Prompt, m.opt.Sinks+1) - m.opt.Sinks
	return SinksAndRecent(c, m.opt.Sinks, 0, func(int) int { return recent })
}

func (m streamingLLM) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns how many tokens can enter before a head holds more than C.
func (m streamingLLM) Quiet(c Counts) int { return c.belowCapacity(&m.cfg.Compression, m.opt.Sinks+1) }
func (m streamingLLM) Plan(v View) Plan   { return v.drop(m.Rank(v.Counts()), Decide) }
func (m streamingLLM) Spec(v View) Plan   { return v.drop(m.Rank(v.Counts()), Walk) }
