package sim

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
)

// V1 has the options of the scheduler of vLLM's V1 engine that are not in Limits. Names in JSON are vLLM's.
type V1 struct {
	LongPrefill  int  `json:"long_prefill_token_threshold,omitempty"` // most tokens of a prompt in one iteration; 0 is no limit
	WholePrompts bool `json:"disable_chunked_prefill,omitempty"`      // a prompt waits until the whole of it fits the rest of a batch
	ReserveFull  bool `json:"scheduler_reserve_full_isl"`             // a request is admitted only when its whole prompt fits, as in vLLM 0.20 and later
	Prefixes     bool `json:"enable_prefix_caching"`                  // blocks are shared
	PrefixTokens int  `json:"prefix_block_tokens,omitempty"`          // tokens of each prefix hash of a request; 0: prefix hashes are ignored

	// BlockedHead makes a request that can never fit block those behind it, and cuts a request at
	// MaxModelLen, as in vLLM's scheduler. Otherwise such requests are refused.
	BlockedHead bool `json:"-"`

	// StalePreempted makes a preempted request keep the tokens that it was given in the iteration that
	// preempts it, as in vLLM 0.11 with priorities.
	StalePreempted bool `json:"-"`

	Priority func(kv.SeqID) int     `json:"-"` // of a request, smaller first; nil: in order of arrival
	Content  func(kv.SeqID) Content `json:"-"` // of a request, for prefix caching; nil: it follows from the prefix hashes

	received bool // requests arrive with the KVs of their prompts, except the last token's
	plain    bool // schedule each sequence and keep each block individually
}

// DefaultV1 returns the defaults of vLLM 0.20 and later, for requests whose prefix hashes stand for
// prefixTokens tokens each; 0 if they have none.
func DefaultV1(prefixTokens int) V1 {
	return V1{ReserveFull: true, Prefixes: true, PrefixTokens: prefixTokens}
}

// Validate returns every error of the configuration, joined.
func (c *V1) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"long_prefill_token_threshold", c.LongPrefill}, {"prefix_block_tokens", c.PrefixTokens},
	} {
		if f.value < 0 || f.value > math.MaxInt32 {
			errs = append(errs, fmt.Errorf("vllm-v1: %s %d: want 0 to %d", f.name, f.value, math.MaxInt32))
		}
	}
	return errors.Join(errs...)
}

// V1Blocks returns the number of a configuration's blocks that V1 uses for sequences: whole blocks of a group of
// layers, without the null block, which is never used. layout may be nil; all blocks of a layout without groups
// are used.
func V1Blocks(cfg *ref.Config, layout *Layout) int {
	unit := max(1, cfg.Shape.Layers*cfg.Shape.KVHeads)
	if layout != nil {
		if unit = layout.Group; unit == 0 {
			return cfg.Blocks
		}
	}
	return max(0, cfg.Blocks/unit-1) * unit
}

// UseV1 selects the scheduler of vLLM's V1 engine, on a ledger of V1Blocks blocks. It is called before the first
// step.
func (s *Server) UseV1(c V1) error {
	pooled := c.Prefixes || s.ledger != nil && s.ledger.windows.heads > 0 && len(s.ledger.groups) > 0
	switch {
	case s.ledger == nil:
		return fmt.Errorf("sim: vllm-v1 needs a ledger: engines prefill whole prompts")
	case c.Prefixes && len(s.ledger.groups) == 0:
		return fmt.Errorf("sim: prefix caching is not modelled for layers with states, which hold no beginning of a prompt: leave --enable-prefix-caching out; all prompts are then computed whole, and times are upper bounds")
	case pooled && s.ledger.Blocks()%s.ledger.unit != 0:
		return fmt.Errorf("sim: vllm-v1: %d blocks are not whole blocks of %d heads: see V1Blocks", s.ledger.Blocks(), s.ledger.unit)
	case c.Prefixes && s.policy.enabled:
		return fmt.Errorf("sim: prefix caching and compression exclude each other: the blocks of a compressed sequence have other KVs than those of a sequence with the same prefix")
	case c.Prefixes && c.Content == nil && c.PrefixTokens > 0 && c.PrefixTokens%s.ledger.cfg.BlockSize != 0 && s.ledger.cfg.BlockSize%c.PrefixTokens != 0:
		return fmt.Errorf("sim: prefix caching: a prefix hash covers %d tokens, and a block has %d: want one to be a multiple of the other", c.PrefixTokens, s.ledger.cfg.BlockSize)
	case s.ledger.prefixes != nil:
		return fmt.Errorf("sim: vllm-v1 has prefix caching of its own, and the ledger's is turned on")
	}
	if err := c.Validate(); err != nil {
		return err
	}
	c.plain = c.plain || c.Content != nil || c.Priority != nil
	v := &vllmV1{Server: s, V1: c}
	if pooled {
		v.pool = newBlockPool(s.ledger.Blocks()/s.ledger.unit, s.ledger.cfg.BlockSize, c.PrefixTokens, s.ledger.groups)
		s.ledger.pool = v.pool
	}
	s.rules = v
	return nil
}
