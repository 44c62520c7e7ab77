package validate

import (
	"fmt"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/safetensors"
)

// quantizer returns the method of a configuration if it quantizes, or nil.
func quantizer(cfg *ref.Config) ref.Quantizer {
	m, err := cfg.NewMethod()
	if err != nil {
		return nil
	}
	q, _ := m.(ref.Quantizer)
	return q
}

// quantizedTensors are what a dump of a method that quantizes has beside those of every state:
//
//	quantized  [S, L·H, 2] I32: how many of the oldest keys, and values, are quantized
//	pages      [S, L·H, 2, pages of the longest list] I32: their blocks, and −1 behind them
//
// A head's table begins with the block of the first KV of which K or V is not quantized.
func quantizedTensors(cfg *ref.Config, s *kv.Snapshot) []content {
	if quantizer(cfg) == nil {
		return nil
	}
	heads, longest := cfg.Shape.Heads(), 0
	lists := func(h *kv.Head) [2][]kv.Segment { return [2][]kv.Segment{h.Keys, h.Values} }
	for _, seq := range s.Sequences {
		for i := range seq.Heads {
			for _, list := range lists(&seq.Heads[i]) {
				for _, g := range list {
					longest = max(longest, len(g.Table))
				}
			}
		}
	}
	var counts, pages []int32
	for _, seq := range s.Sequences {
		for i := range seq.Heads {
			for _, list := range lists(&seq.Heads[i]) {
				var g kv.Segment
				if len(list) > 0 {
					g = list[0]
				}
				counts = append(counts, int32(g.Len))
				pages = append(append(pages, g.Table...), slices.Repeat([]int32{-1}, longest-len(g.Table))...)
			}
		}
	}
	n := int64(len(s.Sequences))
	return []content{
		{info("quantized", safetensors.I32, n, int64(heads), 2), intBytes(counts)},
		{info("pages", safetensors.I32, n, int64(heads), 2, int64(longest)), intBytes(pages)},
	}
}

// readQuantized completes the heads of sequences, whose segments are as if nothing were
// quantized but for their tables.
func (r *tensorReader) readQuantized(cfg *ref.Config, seqs []*kv.Sequence) error {
	q := quantizer(cfg)
	if q == nil {
		return r.err
	}
	heads := int64(cfg.Shape.Heads())
	info, ok := r.file.Tensor("pages")
	if r.err == nil && (!ok || len(info.Shape) != 4) {
		return fmt.Errorf("dump: %s: no pages of four dimensions", tensorFile)
	}
	if r.err != nil {
		return r.err
	}
	longest := int(min(info.Shape[3], kv.MaxBlocks))
	counts := r.int32s("quantized", int64(len(seqs)), heads, 2)
	pages := r.int32s("pages", int64(len(seqs)), heads, 2, int64(longest))
	if r.err != nil {
		return r.err
	}
	var formats [2]kv.Format
	formats[0], formats[1] = q.Formats()
	for i, seq := range seqs {
		for j := range seq.Heads {
			h := &seq.Heads[j]
			at := 2 * (i*int(heads) + j)
			bad := func() error {
				return fmt.Errorf("dump: %s: sequence %d, head %d of L·H: %d keys and %d values of %d KVs are quantized, in lists of at most %d pages", tensorFile, seq.ID, j, counts[at], counts[at+1], h.Len, longest)
			}
			for part := range 2 {
				n := int(counts[at+part])
				if n < 0 || n > h.Len || n%formats[part].Unit() != 0 || cfg.Pages(formats[part], n) > longest {
					return bad()
				}
				if n == 0 {
					continue
				}
				list := pages[(at+part)*longest:][:cfg.Pages(formats[part], n)]
				g := []kv.Segment{{Format: formats[part], Len: n, Table: slices.Clone(list)}}
				if part == 0 {
					h.Keys = g
				} else {
					h.Values = g
				}
			}
			first := int(min(counts[at], counts[at+1]))
			left := first / cfg.BlockSize
			if left > len(h.Table) {
				return bad()
			}
			h.Table = h.Table[:len(h.Table)-left]
			h.First, h.Len, h.Offset = first, h.Len-first, first%cfg.BlockSize
		}
	}
	return nil
}

// consistentPages returns an error if a quantized page of a head is not its own, or if what
// is read of it is beyond ±2⁵⁶. It returns how many there are.
func consistentPages(cfg *ref.Config, c *kv.Cache, id kv.SeqID, head int) (int, error) {
	h, n := &c.Sequence(id).Heads[head], 0
	reader := kv.Reader{Cache: c}
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		for _, g := range h.List(part) {
			for k, b := range g.Table {
				own := kv.Owner{Seq: id, Layer: int32(head / cfg.Shape.KVHeads), Head: int32(head % cfg.Shape.KVHeads), Logical: int32(k), Part: part}
				if c.Owners[b] != own || c.IsFree(int(b)) {
					return n, fmt.Errorf("page %d of %v, block %d, is not its own", k, part, b)
				}
				n++
			}
		}
		row := make([]float32, cfg.Shape.HeadSize)
		for i := range h.End(part) {
			reader.Read(row, h, part, i)
			if j := slices.IndexFunc(row, beyondRead); j >= 0 {
				return n, fmt.Errorf("quantized %v of KV %d has an element %g", part, i, row[j])
			}
		}
	}
	return n, nil
}

// beyondRead reports whether a number is none that a code is read as: groups reach at most twice
// as far as what enters a cache.
func beyondRead(v float32) bool { return !(v >= -0x1p58 && v <= 0x1p58) }
