package sim

import (
	"fmt"
	"math"

	"kvcompress/ref"
)

// Counting is how many blocks KV-Compress asks a sequence for, and which KVs it leaves
// alone. The published server counts the token that was just sampled, which has no KV yet,
// as the newest of the sequence: by a rate, and in the protected window.
type Counting string

// The countings. Of a budget of C tokens, K is C rounded up to whole blocks.
const (
	// CountHeld counts the tokens in the cache: see [ref.Config.Count]. Engines do.
	CountHeld Counting = ""
	// CountSampled is that of IsaacRe/vllm-kvcompress since September 2024: as CountHeld,
	// with the sampled token.
	CountSampled Counting = "sampled"
	// CountKVs is that of its commit 463a1a53: ⌊(KVs − K·heads)/B⌋ by a budget, rounded down
	// likewise by a rate, with the sampled token.
	CountKVs Counting = "kvs"
)

// Countings returns all countings.
func Countings() []Counting { return []Counting{CountHeld, CountSampled, CountKVs} }

// CountLike has the ledger count as a version of KV-Compress does. It is an error for other
// methods.
func (l *Ledger) CountLike(c Counting) error {
	switch {
	case c != CountHeld && c != CountSampled && c != CountKVs:
		return fmt.Errorf("sim: there is no counting %q: want one of %q", c, Countings())
	case c != CountHeld && !l.blocks:
		return fmt.Errorf("sim: counting %q is KV-Compress's, and the method is %s", c, l.method.Name())
	}
	l.counting = c
	if l.levels != nil {
		l.levels.countLike(&l.cfg, c)
	}
	return nil
}

// asks returns E, the blocks that KV-Compress asks of a sequence with tokens tokens in the
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
	switch w := ceilDiv(opt.ProtectedWindow, b) * b; {
	case opt.MaxCacheTokens > 0:
		e = max(0, kvs-ceilDiv(opt.MaxCacheTokens, b)*b*heads) / b
	case opt.Rate > 0 && length > w:
		target := int(math.Ceil(float64((length-w)*heads)*opt.Rate)) + w*heads
		e = max(0, kvs-target) / b
	}
	if opt.EvenLayers {
		e -= e % cfg.Shape.Layers
	}
	return e
}

// window returns how many tokens in the cache a protected window protects.
func (c Counting) window(window int) int {
	if c == CountHeld || window == 0 {
		return window
	}
	return window - 1
}
