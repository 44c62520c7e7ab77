package sim

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
)

// V1 configures the scheduler of vLLM's V1 engine. Names in parentheses are vLLM's.
type V1 struct {
	LongPrefill    int  // tokens of a prompt in one iteration, at most; 0 is no limit (long_prefill_token_threshold)
	MaxModelLen    int  // tokens of a sequence, at most; 0 is no limit (max_model_len)
	WholePrompts   bool // a prompt that the rest of a batch has no room for waits (enable_chunked_prefill=False)
	ReserveFull    bool // a request is admitted when its whole prompt fits (scheduler_reserve_full_isl, of 0.20)
	Prefixes       bool // blocks are shared (enable_prefix_caching)
	PrefixTokens   int  // that each prefix hash of a request stands for; 0 if requests have none that count
	BlockedHead    bool // a request that can never fit blocks those behind it, as in vLLM; else it is refused
	StalePreempted bool // a preempted request keeps the tokens that it was given in the iteration that preempts it, as with priorities in 0.11

	Priority func(kv.SeqID) int     // of a request, smaller first (policy=priority); nil is first come, first served
	Content  func(kv.SeqID) Content // of a request, with prefix caching; nil is what its prefix hashes say

	plain bool // each sequence is scheduled, and each block kept, one by one
}

// Validate returns every error of the configuration, joined.
func (c *V1) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"long_prefill_token_threshold", c.LongPrefill}, {"max_model_len", c.MaxModelLen}, {"tokens of a prefix hash", c.PrefixTokens},
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

// UseV1 has the server schedule as vLLM's V1 engine does, on a ledger of V1Blocks blocks. It
// is called before the first step.
func (s *Server) UseV1(c V1) error {
	switch {
	case s.ledger == nil:
		return fmt.Errorf("sim: vllm-v1: only a ledger has it; engines prefill whole prompts")
	case s.ledger.Blocks() < s.ledger.heads || s.ledger.Blocks()%s.ledger.heads != 0:
		return fmt.Errorf("sim: vllm-v1: %d blocks are not whole blocks of %d heads, one at least beside the null block", s.ledger.Blocks(), s.ledger.heads)
	case c.Prefixes && s.policy.enabled:
		return fmt.Errorf("sim: prefix caching and compression exclude each other: a compressed sequence keeps KVs of its own choice, in blocks that no other can share")
	case c.Prefixes && c.Content == nil && c.PrefixTokens > 0 && c.PrefixTokens%s.ledger.cfg.BlockSize != 0:
		return fmt.Errorf("sim: prefix caching: a prefix hash stands for %d tokens, which are not whole blocks of %d", c.PrefixTokens, s.ledger.cfg.BlockSize)
	case s.ledger.prefixes != nil:
		return fmt.Errorf("sim: vllm-v1 shares blocks by itself, not by the ledger's prefix caching")
	}
	if err := c.Validate(); err != nil {
		return err
	}
	c.plain = c.plain || c.Content != nil || c.Priority != nil
	v := &vllmV1{Server: s, V1: c, heads: s.ledger.heads}
	if c.Prefixes {
		v.pool = newBlockPool(s.ledger.Blocks()/v.heads, s.ledger.cfg.BlockSize)
	}
	s.rules = v
	return nil
}
