package validate

import (
	"fmt"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/safetensors"
)

// ownPages describes the segments that heads have in addition to the plain one, with a method that quantizes or merges.
type ownPages struct {
	name      string         // of the tensor that counts their KVs
	segments  int            // maximum number for keys, and for values
	quantized [2][]kv.Format // for keys and for values, in layers that are not merged: the format of each segment, in order
	merged    [2][]kv.Format // likewise in layers that are merged
	merging   ref.Merging    // of a method that merges
}

// ownPagesOf returns those of a configuration's method; nil if all its pages are plain.
func ownPagesOf(cfg *ref.Config) *ownPages {
	m, err := cfg.NewMethod()
	if err != nil || !ref.KeepsAll(m) {
		return nil
	}
	o := &ownPages{}
	if q, ok := m.(ref.Quantizer); ok {
		keys, values := q.Formats()
		o.name, o.segments, o.quantized = "quantized", 1, [2][]kv.Format{{keys}, {values}}
	}
	if m, ok := m.(ref.Merger); ok {
		formats := []kv.Format{m.Directions(), ref.RetainedFormat()}
		o.name, o.segments, o.merged, o.merging = "merged", len(formats), [2][]kv.Format{formats, formats}, m.Merging()
	}
	return o
}

// of returns the formats of a layer's segments, none if it has no such pages, and whether its merged ones are of the deeper
// layer of a pair.
func (o *ownPages) of(layer int) (formats [2][]kv.Format, deep bool) {
	if merged, deep := o.merging.Merges(layer); merged {
		return o.merged, deep
	}
	return o.quantized, false
}

// dims returns the dimensions of an array that has something for each segment: [S, L·H, 2], and of a method that
// merges 2 more.
func (o *ownPages) dims(sequences, heads int, more ...int64) []int64 {
	d := []int64{int64(sequences), int64(heads), 2}
	if o.segments > 1 {
		d = append(d, int64(o.segments))
	}
	return append(d, more...)
}

// pageTensors are what a dump of a method that quantizes or merges has besides those of every state:
//
//	quantized  [S, L·H, 2] I32: how many of the oldest keys, and values, are quantized; or
//	merged     [S, L·H, 2, 2] I32: how many are merged, and how many of those are retained; of a layer that is not merged, how
//	           many are quantized, and 0
//	limits     [S, L·H, 2] F32: of heads that are merged with a deeper one, the distance above which later tokens are retained
//	pages      [S, L·H, 2, pages of the longest list] I32, or [S, L·H, 2, 2, …]: their blocks, and −1 behind them
//
// A head's table begins with the block of the first KV of which K or V is in no such page. The indices of retained
// KVs are in their pages.
func pageTensors(cfg *ref.Config, s *kv.Snapshot) []content {
	own := ownPagesOf(cfg)
	if own == nil {
		return nil
	}
	longest := 0
	var segments []kv.Segment // of all lists, as many of each as there can be
	var limits []float32
	for _, seq := range s.Sequences {
		for i := range seq.Heads {
			for _, list := range [][]kv.Segment{seq.Heads[i].Keys, seq.Heads[i].Values} {
				all := append(slices.Clone(list), make([]kv.Segment, own.segments)...)[:own.segments]
				for _, g := range all {
					longest = max(longest, len(g.Table))
				}
				segments, limits = append(segments, all...), append(limits, all[0].Limit)
			}
		}
	}
	var counts, pages []int32
	for _, g := range segments {
		counts = append(counts, int32(g.Len))
		pages = append(append(pages, g.Table...), slices.Repeat([]int32{-1}, longest-len(g.Table))...)
	}
	n, heads := len(s.Sequences), cfg.Shape.Heads()
	tensors := []content{
		{info(own.name, safetensors.I32, own.dims(n, heads)...), intBytes(counts)},
		{info("pages", safetensors.I32, own.dims(n, heads, int64(longest))...), intBytes(pages)},
	}
	if own.merging.Pairs > 0 {
		tensors = append(tensors, content{info("limits", safetensors.F32, int64(n), int64(heads), 2), floatBytes(limits)})
	}
	return tensors
}

// readPages completes the heads of a snapshot's sequences, whose segments are as if all pages were plain except for their
// tables.
func (r *tensorReader) readPages(cfg *ref.Config, s *kv.Snapshot) error {
	own := ownPagesOf(cfg)
	if own == nil || r.err != nil {
		return r.err
	}
	heads := cfg.Shape.Heads()
	info, ok := r.file.Tensor("pages")
	if want := len(own.dims(0, heads, 0)); !ok || len(info.Shape) != want {
		return fmt.Errorf("dump: %s: no pages of %d dimensions", tensorFile, want)
	}
	longest := int(min(info.Shape[len(info.Shape)-1], kv.MaxBlocks))
	counts := r.int32s(own.name, own.dims(len(s.Sequences), heads)...)
	pages := r.int32s("pages", own.dims(len(s.Sequences), heads, int64(longest))...)
	var limits []float32
	if own.merging.Pairs > 0 {
		limits = r.floats("limits", int64(len(s.Sequences)), int64(heads), 2)
	}
	if r.err != nil {
		return r.err
	}
	for i, seq := range s.Sequences {
		for j := range seq.Heads {
			h := &seq.Heads[j]
			formats, deep := own.of(j / cfg.Shape.KVHeads)
			var packed [2]int // keys and values in such pages
			for part, list := range []*[]kv.Segment{&h.Keys, &h.Values} {
				for k := range own.segments {
					at := ((i*heads+j)*2+part)*own.segments + k
					n := int(counts[at])
					if n == 0 {
						continue
					}
					if n < 0 || n > h.Len || k > len(*list) || k >= len(formats[part]) || n%formats[part][k].Unit() != 0 || cfg.Pages(formats[part][k], n) > longest {
						return fmt.Errorf("dump: %s: sequence %d, head %d of L·H: segment %d of %v has %d of %d KVs, in lists of at most %d pages",
							tensorFile, seq.ID, j, k, kv.Keys+kv.Part(part), n, h.Len, longest)
					}
					f := formats[part][k]
					g := kv.Segment{Format: f, Len: n, Table: slices.Clone(pages[at*longest:][:cfg.Pages(f, n)])}
					if k == 0 {
						packed[part], g.Deep = n, deep
						if limits != nil {
							g.Limit = limits[(i*heads+j)*2+part]
						}
					}
					if f.Kind == kv.Exact {
						g.Index = s.Indices(&cfg.Config, &g)
					}
					*list = append(*list, g)
				}
			}
			first := min(packed[0], packed[1])
			left := min(first/cfg.BlockSize, len(h.Table))
			h.Table = h.Table[:len(h.Table)-left]
			h.First, h.Len, h.Offset = first, h.Len-first, first%cfg.BlockSize
		}
	}
	return nil
}

// consistentPages returns an error if a quantized or merged page of a head belongs to another owner, or if what
// is read of it is beyond ±2⁶¹. It returns how many there are, each once.
func consistentPages(cfg *ref.Config, c *kv.Cache, id kv.SeqID, head int) (int, error) {
	h, n, of := &c.Sequence(id).Heads[head], 0, cfg.Shape.KVHeads
	reader := kv.Reader{Cache: c}
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		for _, g := range h.List(part) {
			owner := head
			if g.Deep {
				owner -= of
			}
			for k, b := range g.Table {
				own := kv.Owner{Seq: id, Layer: int32(owner / of), Head: int32(owner % of), Logical: int32(k), Part: part}
				if c.Owners[b] != own || c.IsFree(int(b)) {
					return n, fmt.Errorf("page %d of %v, block %d, is not its own", k, part, b)
				}
				if !g.Deep {
					n++
				}
			}
		}
		row := make([]float32, cfg.Shape.HeadSize)
		for i := range h.End(part) {
			reader.Read(row, h, part, i)
			if j := slices.IndexFunc(row, beyondRead); j >= 0 {
				return n, fmt.Errorf("%v of KV %d is read with an element %g", part, i, row[j])
			}
		}
	}
	return n, nil
}

// beyondRead reports whether a number is none that is read of such a page: groups reach at most twice as far as what
// enters a cache, and a direction of length 1 times a norm as far as the norm of 256 elements.
func beyondRead(v float32) bool { return !(v >= -0x1p61 && v <= 0x1p61) }
