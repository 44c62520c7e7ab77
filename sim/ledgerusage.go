package sim

import (
	"fmt"

	"kvcompress/kv"
)

// Lengths appends the number of KVs of each head of a sequence, in (layer, head) order.
func (l *Ledger) Lengths(to []int, id kv.SeqID) []int {
	if a := l.seqs.of(id); a != nil {
		for _, r := range a.heads() {
			for range r.heads {
				to = append(to, l.length(a, r))
			}
		}
	}
	return to
}

// Usage returns the usage of the cache.
func (l *Ledger) Usage() kv.Usage {
	kvs, blocks := l.windows.held(l.cfg.BlockSize)
	states := l.fixed * l.seqs.len()
	allocated := l.cfg.Blocks - l.Free()
	slots, plain := (allocated-states)*l.cfg.BlockSize, l.kvs+kvs
	slots -= l.packing.pages * l.cfg.BlockSize
	plain -= l.packing.gone
	return kv.Usage{
		KVs:         l.kvs + kvs,
		DenseKVs:    l.denseKVs + kvs,
		DenseBlocks: l.denseBlocks + blocks + states,
		Allocated:   allocated,
		Free:        l.Free(),
		Wasted:      slots - plain,
		Payload:     l.payload(),
	}
}

// HeadUsage returns the numbers of KVs and blocks of each head; nothing with a layout.
func (l *Ledger) HeadUsage() kv.HeadUsage {
	if l.full != l.heads || l.windows.heads > 0 {
		return kv.HeadUsage{}
	}
	kvs, blocks := make([]int, l.heads), make([]int, l.heads)
	for a := range l.seqs.all() {
		head := 0
		for _, r := range a.heads() {
			n := l.length(a, r)
			for range r.heads {
				kvs[head] += n
				blocks[head] += l.blocksOf(n)
				if a.packed.sum.seqs > 0 {
					own := l.packer.of(l, &a.packed, head)
					blocks[head] += own.pages - own.left
				}
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

// audit recomputes all sums and returns an error if one is wrong.
func (l *Ledger) audit() error {
	var want Ledger
	used, windowKVs, windowBlocks := 0, 0, 0
	for a := range l.seqs.all() {
		if a.reserved {
			used += l.PrefillNeed(a.tokens) - a.shared
			continue
		}
		kvs, blocks := l.holds(a)
		n := l.windows.window(a.tokens + l.steps)
		windowKVs += l.windows.heads * n
		windowBlocks += l.windows.heads * l.blocksOf(n)
		want.kvs += kvs
		want.tables += blocks - l.fixed
		used += blocks - a.shared
		want.growing += l.full
		want.denseKVs += l.full * (a.tokens + l.steps)
		want.denseBlocks += l.full * l.blocksOf(a.tokens+l.steps)
	}
	if p := l.prefixes; p != nil {
		used += (len(p.cached) - p.idle) * p.blocks
		if p.idle*p.blocks > l.Free() {
			return fmt.Errorf("sim: audit: %d unused prefix blocks of %d blocks each, and only %d blocks are free", p.idle, p.blocks, l.Free())
		}
	}
	if l.pool != nil {
		used = 0
	}
	if kvs, blocks := l.windows.held(l.cfg.BlockSize); kvs != windowKVs || blocks != windowBlocks {
		return fmt.Errorf("sim: audit: windows hold %d KVs in %d blocks; recomputed %d and %d", kvs, blocks, windowKVs, windowBlocks)
	}
	if l.used != used || l.kvs+windowKVs != want.kvs || l.tables+windowBlocks != want.tables || l.growing != want.growing || l.denseKVs != want.denseKVs || l.denseBlocks != want.denseBlocks {
		return fmt.Errorf("sim: audit: the ledger has %d blocks, %d in tables, %d KVs, %d heads, %d and %d dense; recomputed %d, %d, %d, %d, %d, %d",
			l.used, l.tables+windowBlocks, l.kvs+windowKVs, l.growing, l.denseKVs, l.denseBlocks, used, want.tables, want.kvs, want.growing, want.denseKVs, want.denseBlocks)
	}
	return nil
}
