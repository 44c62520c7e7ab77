package sim

import (
	"math"

	"kvcompress/ref"
)

// asking is [Counting.asks] of all heads together, with everything worked out that is the same of
// all sequences.
type asking struct {
	keep    int     // blocks that a sequence keeps, or KVs where these are counted; 0 without a budget of tokens
	rate    float64 // of the KVs outside the window that are kept; 0 for all
	heads   int
	window  int  // tokens, in whole blocks
	shift   uint // log2 B
	sampled int  // tokens that count and have no KV yet
	kvs     bool // KVs are counted, and rounded down to blocks
}

func newAsking(cfg *ref.Config, c Counting) asking {
	opt, b := &cfg.Compression, cfg.BlockSize
	a := asking{heads: cfg.Shape.Heads(), window: ceilDiv(opt.ProtectedWindow, b) * b, kvs: c == CountKVs}
	for 1<<a.shift < b {
		a.shift++
	}
	if c != CountHeld {
		a.sampled = 1
	}
	switch {
	case opt.MaxCacheTokens == 0:
		a.rate = opt.Rate
	case a.kvs:
		a.keep = ceilDiv(opt.MaxCacheTokens, b) * b * a.heads
	default:
		a.keep = ceilDiv(opt.MaxCacheTokens, b) * a.heads
	}
	return a
}

// of returns the blocks that a sequence is asked for which has tokens in the cache, and holds
// kvs KVs in blocks blocks.
func (a *asking) of(tokens, kvs, blocks int) int {
	over := 0 // KVs above what is kept
	switch {
	case a.keep > 0 && !a.kvs:
		return max(0, blocks-a.keep)
	case a.keep > 0:
		over = kvs - a.keep
	case a.rate > 0 && tokens+a.sampled > a.window:
		outside := (tokens + a.sampled - a.window) * a.heads
		over = kvs - int(math.Ceil(float64(outside)*a.rate)) - a.window*a.heads
	}
	if !a.kvs {
		over += 1<<(a.shift&63) - 1
	}
	return max(0, over) >> (a.shift & 63)
}
