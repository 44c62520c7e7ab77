package kv

import "kvcompress/internal/ceil"

// Usage is how full a cache is at one moment.
type Usage struct {
	KVs         int `json:"kvs"`          // in the cache
	DenseKVs    int `json:"dense_kvs"`    // in an uncompressed cache: Σ tokens·L·H
	DenseBlocks int `json:"dense_blocks"` // in an uncompressed cache: Σ ⌈tokens/B⌉·L·H
	Allocated   int `json:"blocks_allocated"`
	Free        int `json:"blocks_free"`
	Wasted      int `json:"slots_wasted"` // unused slots in allocated plain pages

	// Payload is the bytes of K and V that are read, in their formats, with scales and minima. It is 0 if all
	// pages are plain, since then every KV has the same size.
	Payload int64 `json:"payload_bytes,omitempty"`
}

// Usage counts the cache's KVs, blocks and empty slots.
func (c *Cache) Usage() Usage {
	u := Usage{Allocated: c.Blocks() - c.Free(), Free: c.Free()}
	for _, s := range c.seqs {
		u.KVs += s.KVs()
		u.DenseKVs += s.Len * len(s.Heads)
		u.DenseBlocks += ceil.Div(s.Len, c.cfg.BlockSize) * len(s.Heads)
	}
	quantized := false
	for _, s := range c.seqs {
		for i := range s.Heads {
			h := &s.Heads[i]
			u.Wasted += len(h.Table)*c.cfg.BlockSize - h.Len
			u.Payload += c.cfg.HeadPayload(h)
			quantized = quantized || len(h.Keys)+len(h.Values) > 0
		}
	}
	if !quantized {
		u.Payload = 0
	}
	return u
}

// HeadPayload returns the bytes of K and V of a head that are read, in their formats. It uses only the
// lengths of the head's segments.
func (c *Config) HeadPayload(h *Head) int64 {
	n := int64(h.KVs()-h.End(Keys)+h.KVs()-h.End(Values)) * int64(c.RowBytes())
	for _, p := range []Part{Keys, Values} {
		for i := range h.List(p) {
			g := &h.List(p)[i]
			if g.Deep {
				continue
			}
			n += int64(g.Len/g.Format.Unit()) * int64(c.UnitBytes(g.Format))
		}
	}
	return n
}

// HeadUsage is the total of each head over all sequences, [L][H].
type HeadUsage struct {
	KVs    [][]int `json:"kvs"`
	Blocks [][]int `json:"blocks"`
}

// HeadUsage counts the KVs and blocks of each head.
func (c *Cache) HeadUsage() HeadUsage {
	u := HeadUsage{make([][]int, c.cfg.Shape.Layers), make([][]int, c.cfg.Shape.Layers)}
	for l := range u.KVs {
		u.KVs[l], u.Blocks[l] = make([]int, c.cfg.Shape.KVHeads), make([]int, c.cfg.Shape.KVHeads)
	}
	for _, s := range c.seqs {
		for i := range s.Heads {
			layer, head := i/c.cfg.Shape.KVHeads, i%c.cfg.Shape.KVHeads
			u.KVs[layer][head] += s.Heads[i].KVs()
			u.Blocks[layer][head] += s.Heads[i].Blocks()
		}
	}
	return u
}
