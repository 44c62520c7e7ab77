package sim

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/internal/ceil"
	"kvcompress/ref"
)

// Counting is the rule by which KV-Compress counts the blocks to evict from a sequence, and the tokens of
// its protected window. The published server counts the token that was just sampled, which has no KV yet,
// as the newest token of the sequence, both for a rate and for the window.
type Counting string

// The countings. K is the budget of C tokens, rounded up to whole blocks.
const (
	// CountHeld counts the tokens in the cache, as engines do: see [ref.Config.Count].
	CountHeld Counting = ""
	// CountSampled is the counting of IsaacRe/vllm-kvcompress since September 2024: CountHeld with the
	// sampled token.
	CountSampled Counting = "sampled"
	// CountKVs is the counting of its commit 463a1a53: with the sampled token, ⌊(KVs − K·heads)/B⌋ for a
	// budget, and rounded down in the same way for a rate.
	CountKVs Counting = "kvs"
)

// Countings returns all countings.
func Countings() []Counting { return []Counting{CountHeld, CountSampled, CountKVs} }

// CountLike sets the counting of a version of KV-Compress. It is an error for other methods, and while the
// ledger has sequences.
func (l *Ledger) CountLike(c Counting) error {
	switch {
	case c != CountHeld && c != CountSampled && c != CountKVs:
		return fmt.Errorf("sim: there is no counting %q: want one of %q", c, Countings())
	case c != CountHeld && !l.blocks:
		return fmt.Errorf("sim: counting %q is KV-Compress's, and the method is %s", c, l.method.Name())
	}
	if c == l.counting {
		return nil
	}
	if l.seqs.len() > 0 {
		return errors.New("sim: the counting cannot be changed while the ledger has sequences")
	}
	l.counting = c
	if l.courses != nil {
		*l.courses = courses{} // its outcomes are of the counting before
	}
	if l.levels != nil {
		l.levels.countLike(&l.cfg, c)
	}
	return nil
}

// asks returns E, the number of blocks that KV-Compress asks of a sequence with this many tokens in the
// cache.
func (c Counting) asks(cfg *ref.Config, tokens, kvs, blocks int) int {
	switch c {
	case CountSampled:
		return cfg.Count(tokens+1, kvs, blocks)
	case CountKVs:
		return countKVs(cfg, tokens+1, kvs)
	default:
		return cfg.Count(tokens, kvs, blocks)
	}
}

func countKVs(cfg *ref.Config, length, kvs int) int {
	b, heads, opt := cfg.BlockSize, cfg.Shape.Heads(), &cfg.Compression
	e := 0
	switch w := ceil.Div(opt.ProtectedWindow, b) * b; {
	case opt.MaxCacheTokens > 0:
		e = max(0, kvs-ceil.Div(opt.MaxCacheTokens, b)*b*heads) / b
	case opt.Rate > 0 && length > w:
		target := int(math.Ceil(float64((length-w)*heads)*opt.Rate)) + w*heads
		e = max(0, kvs-target) / b
	}
	if opt.EvenLayers {
		e -= e % cfg.Shape.Layers
	}
	return e
}

// window returns the number of tokens in the cache that a protected window covers.
func (c Counting) window(window int) int {
	if c == CountHeld || window == 0 {
		return window
	}
	return window - 1
}
