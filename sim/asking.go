package sim

import (
	"math"
	"math/bits"

	"kvcompress/internal/ceil"
	"kvcompress/ref"
)

// asking computes [Counting.asks] for all heads together. It precomputes all that does not depend on
// the sequence.
type asking struct {
	blocks  bool  // blocks are counted, not KVs
	keep    int   // blocks that a sequence keeps, if blocks are counted
	kept    []int // KVs that a sequence keeps, by its number of tokens, as far as computed
	up      int   // added to a number of KVs before it is rounded down to blocks
	shift   uint  // log2 B
	cfg     ref.Config
	sampled int // counted tokens that have no KV yet
}

// mostKept is the maximum length of asking.kept.
const mostKept = 1 << 16

func newAsking(cfg *ref.Config, c Counting) asking {
	a := asking{cfg: *cfg, shift: uint(bits.TrailingZeros(uint(cfg.BlockSize)))}
	if c != CountHeld {
		a.sampled = 1
	}
	if c != CountKVs {
		a.blocks, a.up = cfg.Compression.MaxCacheTokens > 0, cfg.BlockSize-1
		a.keep = ceil.Div(cfg.Compression.MaxCacheTokens, cfg.BlockSize) * cfg.Shape.Heads()
	}
	return a
}

// of returns the number of blocks that a sequence is asked for. The sequence has tokens tokens in
// the cache, and holds kvs KVs in blocks blocks.
func (a *asking) of(tokens, kvs, blocks int) int {
	if a.blocks {
		return max(0, blocks-a.keep)
	}
	if tokens >= len(a.kept) {
		return a.beyond(tokens, kvs)
	}
	return max(0, kvs-a.kept[tokens]+a.up) >> (a.shift & 63)
}

// beyond is of for a number of tokens that kept does not contain yet.
func (a *asking) beyond(tokens, kvs int) int {
	for n := min(2*tokens+1, mostKept); len(a.kept) < n; {
		a.kept = append(a.kept, a.keeps(len(a.kept)))
	}
	return max(0, kvs-a.keeps(tokens)+a.up) >> (a.shift & 63)
}

// keeps returns the number of KVs that a sequence of tokens tokens keeps.
func (a *asking) keeps(tokens int) int {
	opt, b, heads := &a.cfg.Compression, a.cfg.BlockSize, a.cfg.Shape.Heads()
	outside := tokens + a.sampled - ceil.Div(opt.ProtectedWindow, b)*b
	switch {
	case opt.MaxCacheTokens > 0:
		return ceil.Div(opt.MaxCacheTokens, b) * b * heads
	case opt.Rate == 0 || outside <= 0:
		return math.MaxInt / 2 // all
	}
	return int(math.Ceil(float64(outside*heads)*opt.Rate)) + (tokens+a.sampled-outside)*heads
}
