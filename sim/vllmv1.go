package sim

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
)

// V1 configures the scheduler of vLLM's V1 engine, beside its Limits. Names in JSON are
// vLLM's.
type V1 struct {
	LongPrefill  int  `json:"long_prefill_token_threshold,omitempty"` // tokens of a prompt in one iteration, at most; 0 is no limit
	WholePrompts bool `json:"disable_chunked_prefill,omitempty"`      // a prompt that the rest of a batch has no room for waits
	ReserveFull  bool `json:"scheduler_reserve_full_isl"`             // a request is admitted when its whole prompt fits, as from 0.20 on
	Prefixes     bool `json:"enable_prefix_caching"`                  // blocks are shared
	PrefixTokens int  `json:"prefix_block_tokens,omitempty"`          // that each prefix hash of a request stands for; 0 if they do not count

	// BlockedHead has a request that can never fit block those behind it, and one that is
	// longer than MaxModelLen end there, as in vLLM's scheduler; else they are refused.
	BlockedHead bool `json:"-"`

	// StalePreempted has a preempted request keep the tokens that it was given in the
	// iteration that preempts it, as vLLM 0.11 does where requests have priorities.
	StalePreempted bool `json:"-"`

	Priority func(kv.SeqID) int     `json:"-"` // of a request, smaller first; nil is first come, first served
	Content  func(kv.SeqID) Content `json:"-"` // of a request, with prefix caching; nil is what its prefix hashes say

	received bool // requests arrive with the KVs of their prompts, but for the last token's
	plain    bool // each sequence is scheduled, and each block kept, one by one
}

// DefaultV1 is vLLM's, from 0.20 on, for requests whose prefix hashes stand for prefixTokens
// tokens each; 0 if they have none.
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
			errs = append(errs, fmt.Errorf("vllm-v1: %s %d is not from 0 to %d", f.name, f.value, math.MaxInt32))
		}
	}
	return errors.Join(errs...)
}

// V1Blocks returns how many blocks of a configuration V1 has for sequences: whole blocks of
// all heads, without the null block, which is never used.
func V1Blocks(cfg *ref.Config) int {
	heads := max(1, cfg.Shape.Layers*cfg.Shape.KVHeads)
	return max(0, cfg.Blocks/heads-1) * heads
}

// UseV1 has the server schedule as vLLM's V1 engine does, on a ledger of V1Blocks blocks.
// It is called before the first step.
func (s *Server) UseV1(c V1) error {
	switch {
	case s.ledger == nil:
		return fmt.Errorf("sim: vllm-v1: only a ledger has it; engines prefill whole prompts")
	case c.Prefixes && !s.ledger.alike():
		return fmt.Errorf("sim: prefix caching is not modelled where layers have windows or states, which are not there for a prefix of any length: without --enable-prefix-caching, prompts that begin alike are all computed, and times are those at most")
	case c.Prefixes && s.ledger.Blocks()%s.ledger.heads != 0:
		return fmt.Errorf("sim: vllm-v1: %d blocks are not whole blocks of %d heads: see V1Blocks", s.ledger.Blocks(), s.ledger.heads)
	case c.Prefixes && s.policy.enabled:
		return fmt.Errorf("sim: prefix caching and compression exclude each other: a compressed sequence keeps KVs of its own choice, in blocks that no other can share")
	case c.Prefixes && c.Content == nil && c.PrefixTokens > 0 && c.PrefixTokens%s.ledger.cfg.BlockSize != 0 && s.ledger.cfg.BlockSize%c.PrefixTokens != 0:
		return fmt.Errorf("sim: prefix caching: a prefix hash stands for %d tokens, and a block has %d: want one to be a multiple of the other", c.PrefixTokens, s.ledger.cfg.BlockSize)
	case s.ledger.prefixes != nil:
		return fmt.Errorf("sim: vllm-v1 shares blocks by itself, not by the ledger's prefix caching")
	}
	if err := c.Validate(); err != nil {
		return err
	}
	c.plain = c.plain || c.Content != nil || c.Priority != nil
	v := &vllmV1{Server: s, V1: c, heads: s.ledger.heads}
	if c.Prefixes {
		v.pool = newBlockPool(s.ledger.Blocks()/v.heads, s.ledger.cfg.BlockSize, c.PrefixTokens)
	}
	s.rules = v
	return nil
}
