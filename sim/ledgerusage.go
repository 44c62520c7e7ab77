package sim

import (
	"fmt"

	"kvcompress/kv"
)

// Lengths appends how many KVs each head of a sequence holds, in (layer, head)
// order.
func (l *Ledger) Lengths(to []int, id kv.SeqID) []int {
	if a := l.seqs[id]; a != nil {
		for _, r := range a.runs {
			for range r.heads {
				to = append(to, l.length(r))
			}
		}
	}
	return to
}

// Usage says how the cache is filled.
func (l *Ledger) Usage() kv.Usage {
	return kv.Usage{
		KVs:         l.kvs,
		DenseKVs:    l.denseKVs,
		DenseBlocks: l.denseBlocks,
		Allocated:   l.used,
		Free:        l.Free(),
		Wasted:      l.used*l.cfg.BlockSize - l.kvs,
	}
}

// HeadUsage says how many KVs and blocks each head has.
func (l *Ledger) HeadUsage() kv.HeadUsage {
	kvs, blocks := make([]int, l.heads), make([]int, l.heads)
	for _, a := range l.seqs {
		head := 0
		for _, r := range a.runs {
			n := l.length(r)
			for range r.heads {
				kvs[head] += n
				blocks[head] += l.blocksOf(n)
				head++
			}
		}
	}
	var u kv.HeadUsage
	for first := 0; first < l.heads; first += l.cfg.Shape.KVHeads {
		end := first + l.cfg.Shape.KVHeads
		u.KVs = append(u.KVs, kvs[first:end:end])
		u.Blocks = append(u.Blocks, blocks[first:end:end])
	}
	return u
}

// audit counts everything anew and returns an error where a sum is wrong.
func (l *Ledger) audit() error {
	var want Ledger
	used := -l.shared
	for _, a := range l.seqs {
		if a.reserved {
			used += l.heads*l.blocksOf(a.tokens) - a.shared
			continue
		}
		kvs, blocks := l.holds(a)
		want.kvs += kvs
		want.tables += blocks
		used += blocks - a.shared
		want.growing += l.heads
		want.denseKVs += l.heads * (a.tokens + l.steps)
		want.denseBlocks += l.heads * l.blocksOf(a.tokens+l.steps)
	}
	if p := l.prefixes; p != nil {
		used += (len(p.parts) - p.idle) * p.blocks
		if p.idle*p.blocks > l.Free() {
			return fmt.Errorf("sim: audit: %d unused parts of prefixes of %d blocks, and %d are free", p.idle, p.blocks, l.Free())
		}
	}
	if l.used != used || l.kvs != want.kvs || l.tables != want.tables || l.growing != want.growing || l.denseKVs != want.denseKVs || l.denseBlocks != want.denseBlocks {
		return fmt.Errorf("sim: audit: the ledger has %d blocks, %d in tables, %d KVs, %d heads, %d and %d dense; counted anew %d, %d, %d, %d, %d, %d",
			l.used, l.tables, l.kvs, l.growing, l.denseKVs, l.denseBlocks, used, want.tables, want.kvs, want.growing, want.denseKVs, want.denseBlocks)
	}
	return nil
}
