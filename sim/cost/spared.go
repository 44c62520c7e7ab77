package cost

import (
	"math"

	"kvcompress/sim"
)

// Spared is the default model of how evicted blocks are spread over heads, used if no profile was
// measured. If the first compression of a sequence leaves a fraction k of its blocks, the fraction 4k²/5
// of the heads never loses any, and the others keep the same number.
//
// Heads that lose nothing matter for the largest batch: their last block is not full after a compression,
// unlike the others', so they need no block for the next token. The published figures of KV-Compress show
// that there are such heads: an H100 decodes 243 sequences at a time with 128 KVs per head and 137 with
// 240, for prompts of 500 tokens, which end in a block of 4 KVs; with equal heads it would be 242 and 136.
// The rule agrees with all published figures.
type Spared struct{}

// ByDemand implements [sim.ByDemand].
func (Spared) ByDemand() {}

// Spares implements [sim.ByLevel].
func (Spared) Spares() bool { return true }

// SparedAtFirst implements [sim.ByLevel].
func (Spared) SparedAtFirst(heads, units, asked int) int {
	kept := max(0, 1-float64(asked)/float64(heads*units))
	return int(math.Ceil(4 * kept * kept / 5 * float64(heads)))
}

// Spread implements [sim.Spread].
func (s Spared) Spread(dst []sim.Heads, d *sim.Demand) []sim.Heads {
	even := sim.Even()
	if len(d.Quotas) != 1 {
		return even.Spread(dst, d)
	}
	part, can := make([]sim.Heads, 0, len(d.Heads)+1), 0
	for _, h := range d.Heads {
		if h.KVs == d.Tokens { // the head has lost nothing yet
			n := h.N
			if len(d.Heads) == 1 {
				n = s.SparedAtFirst(h.N, h.Units, d.Quotas[0].Units)
			}
			if n > 0 {
				spared := h
				spared.N, spared.Can = n, 0
				part = append(part, spared)
				h.First, h.N = h.First+n, h.N-n
			}
		}
		if h.N > 0 {
			part = append(part, h)
			can += h.N * h.Can
		}
	}
	if can < d.Quotas[0].Units {
		return even.Spread(dst, d)
	}
	with := *d
	with.Heads = part
	return even.Spread(dst, &with)
}
