package ref

import (
	"fmt"
	"math"

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
	Sinks     int           `json:"sinks" help:"first tokens that are kept for good"`
	Positions PositionsRead `json:"positions" help:"at which positions keys are read: token, where they were, or cache, as if the evicted had never been"`
}

// PositionsRead says at which positions keys are read.
type PositionsRead string

// The positions.
const (
	TokenPositions PositionsRead = "token" // a key keeps the rotation of its token's position
	CachePositions PositionsRead = "cache" // it is turned to its rank among the held, as published
)

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
		Does:        "drops the middle: all but the first tokens (sinks) and the newest; with positions=cache keys are turned to where they lie in the cache",
		From:        "of each head alike",
		When:        "whenever a head holds more than C",
		Reads:       "all that is held",
		Payload:     "2·D·b + 4 (position)",
		CacheTokens: "C, the KVs that each head keeps, sinks included",
		Rate:        "C is this part of the prompt, rounded down, and at least the sinks and 1",
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

// check returns an error if keys cannot be read there: to turn them takes their rotary
// embedding.
func (p PositionsRead) check(method string, c *Config) error {
	switch {
	case p == TokenPositions:
		return nil
	case p != CachePositions:
		return fmt.Errorf("method %s: positions is %q, want %s or %s", method, p, TokenPositions, CachePositions)
	case c.Rope == nil:
		return fmt.Errorf(`method %s: positions=cache turns keys, and nothing says what rotary embedding they carry: state "rope" in trace.json, or set positions=token`, method)
	case c.Rope.RotarySize > c.Shape.HeadSize:
		return fmt.Errorf("method %s: the rotary embedding turns %d elements of a head that has %d", method, c.Rope.RotarySize, c.Shape.HeadSize)
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

// Rank evicts the middle of every head that holds more than C.
func (m streamingLLM) Rank(c Counts) Ranking {
	if !m.cfg.Compression.Enabled() {
		return Ranking{Unit: 1, Key: ByPosition}
	}
	recent := m.cfg.Compression.capacity(c.Prompt, m.opt.Sinks+1) - m.opt.Sinks
	return SinksAndRecent(c, m.opt.Sinks, 0, func(int) int { return recent })
}

func (m streamingLLM) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet is until a head holds more than C.
func (m streamingLLM) Quiet(c Counts) int {
	if !m.cfg.Compression.Enabled() {
		return math.MaxInt
	}
	return c.belowCapacity(m.cfg.Compression.capacity(c.Prompt, m.opt.Sinks+1))
}
func (m streamingLLM) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m streamingLLM) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }
