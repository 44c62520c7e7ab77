package sim

import (
	"math"
	"math/bits"

	"kvcompress/ref"
)

// asking is [Counting.asks] of all heads together, with everything worked out beforehand that does
// not depend on the sequence.
type asking struct {
	blocks  bool  // blocks are counted, and not KVs
	keep    int   // blocks that a sequence keeps, where they are counted
	kept    []int // KVs that a sequence keeps, by its tokens, as far as that is worked out
	up      int   // KVs that are added before they are rounded down to blocks
	shift   uint  // log2 B
	cfg     ref.Config
	sampled int // tokens that count and have no KV yet
}

// mostKept bounds asking.kept.
const mostKept = 1 << 16

func newAsking(cfg *ref.Config, c Counting) asking {
	a := asking{cfg: *cfg, shift: uint(bits.TrailingZeros(uint(cfg.BlockSize)))}
	if c != CountHeld {
		a.sampled = 1
	}
	if c != CountKVs {
		a.blocks, a.up = cfg.Compression.MaxCacheTokens > 0, cfg.BlockSize-1
		a.keep = ceilDiv(cfg.Compression.MaxCacheTokens, cfg.BlockSize) * cfg.Shape.Heads()
	}
	return a
}

// of returns the blocks that a sequence is asked for which has tokens in the cache, and holds
// kvs KVs in blocks blocks.
func (a *asking) of(tokens, kvs, blocks int) int {
	if a.blocks {
		return max(0, blocks-a.keep)
	}
	if tokens >= len(a.kept) {
		return a.beyond(tokens, kvs)
	}
	return max(0, kvs-a.kept[tokens]+a.up) >> (a.shift & 63)
}

// beyond is of where it is not worked out yet what a sequence keeps.
func (a *asking) beyond(tokens, kvs int) int {
	for n := min(2*tokens+1, mostKept); len(a.kept) < n; {
		a.kept = append(a.kept, a.keeps(len(a.kept)))
	}
	return max(0, kvs-a.keeps(tokens)+a.up) >> (a.shift & 63)
}

// keeps returns the KVs that a sequence of tokens keeps.
func (a *asking) keeps(tokens int) int {
	opt, b, heads := &a.cfg.Compression, a.cfg.BlockSize, a.cfg.Shape.Heads()
	outside := tokens + a.sampled - ceilDiv(opt.ProtectedWindow, b)*b
	switch {
	case opt.MaxCacheTokens > 0:
		return ceilDiv(opt.MaxCacheTokens, b) * b * heads
	case opt.Rate == 0 || outside <= 0:
		return math.MaxInt / 2 // all
	}
	return int(math.Ceil(float64(outside*heads)*opt.Rate)) + (tokens+a.sampled-outside)*heads
}
