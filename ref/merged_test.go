package ref_test

import (
	"fmt"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/quant"
	"kvcompress/trace"
)

// packs reports whether an edit moves keys or values into pages of another format.
func packs(e *ref.Edit) bool { return e.Op == ref.Quantize || e.Op == ref.Merge }

// retainedByCount checks that a plan retains the number of tokens that the method's Retains says, and the
// same tokens in both layers.
func retainedByCount(m ref.Merger, p *ref.Plan, c ref.Counts) error {
	of := map[[2]int]ref.Edit{}
	for _, e := range p.Edits {
		if e.Op != ref.Merge {
			continue
		}
		want, known := m.Retains(c.Tokens)
		if e.KVs[0] > 0 { // some are already merged
			want = 0
		}
		if known && len(e.Retained) != want {
			return fmt.Errorf("head %d retains %d of %v of %d tokens, its count says %d", e.Head, len(e.Retained), e.Part, c.Tokens, want)
		}
		for _, k := range e.Retained {
			if !slices.Contains(e.KVs, k) {
				return fmt.Errorf("head %d retains KV %d and does not merge it", e.Head, k)
			}
		}
		of[[2]int{e.Head, int(e.Part)}] = e
	}
	for _, e := range p.Edits {
		if e.Op != ref.Merge {
			continue
		}
		other, ok := of[[2]int{e.With, int(e.Part)}]
		if !ok || other.With != e.Head || !slices.Equal(other.KVs, e.KVs) || !slices.Equal(other.Retained, e.Retained) || other.Limit != e.Limit {
			return fmt.Errorf("head %d is merged with head %d by %+v, and that one by %+v", e.Head, e.With, e, other)
		}
	}
	return nil
}

// mergedPages returns how many blocks a head must hold, with merged pages counted in the shallower layer
// only, and the bytes of their contents.
func (s *scenario) mergedPages(id kv.SeqID, head int, m ref.Merger) (blocks int, payload int64) {
	n, packed, kept := s.model.heads[id][head].held, s.model.packed[id][head], s.model.kept[id][head]
	row := s.cfg.RowBytes()
	direction := row
	if f := m.Directions(); f.Bits > 0 {
		direction = s.cfg.Shape.HeadSize*f.Bits/8 + 2*s.cfg.Shape.HeadSize/f.Group*s.cfg.DType.Size()
	}
	blocks = ceil.Div(n, s.cfg.BlockSize) - min(packed[kv.Keys], packed[kv.Values])/s.cfg.BlockSize
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		payload += int64((n-packed[part])*row + len(kept[part])*(row+4))
		blocks += ceil.Div(len(kept[part]), s.cfg.PageBytes()/(row+4))
		if _, deep := m.Merging().Merges(head / s.cfg.Shape.KVHeads); !deep {
			payload += int64(packed[part] * (direction + 8))
			blocks += ceil.Div(packed[part], s.cfg.PageBytes()/(direction+8))
		}
	}
	return blocks, payload
}

// checkMerged compares a head's merged and retained keys and values, as read, with package merge applied to
// the inputs, and checks that both heads of a pair read the same pages.
func (s *scenario) checkMerged(q *kv.Sequence, head int, m ref.Merger) error {
	cache, shape, d := s.engine.Cache(), s.cfg.Shape, s.cfg.Shape.HeadSize
	h := &q.Heads[head]
	_, deep := m.Merging().Merges(head / shape.KVHeads)
	with := head + shape.KVHeads
	if deep {
		with = head - shape.KVHeads
	}
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		n, kept := s.model.packed[q.ID][head][part], s.model.kept[q.ID][head][part]
		list := h.List(part)
		if h.End(part) != n {
			return fmt.Errorf("%d of %v are merged, %d should be", h.End(part), part, n)
		}
		if n == 0 {
			continue
		}
		other := q.Heads[with].List(part)
		if list[0].Deep != deep || !slices.Equal(list[0].Table, other[0].Table) {
			return fmt.Errorf("its merged %v are in blocks %v, and those of head %d in %v", part, list[0].Table, with, other[0].Table)
		}
		if len(kept) > 0 != (len(list) > 1) || len(kept) > 0 && !slices.Equal(list[1].Index, kept) {
			return fmt.Errorf("of %v %v should be retained, it has %+v", part, kept, list[1:])
		}
		tensor := trace.K
		if part == kv.Values {
			tensor = trace.V
		}
		read := func(head int) []float32 {
			stored := s.stored(inputs{q.ID, tensor, head / shape.KVHeads})
			x := make([]float32, n*d)
			for i := range n {
				s.cfg.DType.Decode(x[i*d:][:d], stored[(i*shape.KVHeads+head%shape.KVHeads)*s.cfg.RowBytes():][:s.cfg.RowBytes()])
			}
			return x
		}
		mine := read(head)
		x, y := read(max(head, with)), read(min(head, with))
		all, err := m.Merging().Slerp.Spec(x, y, d)
		if err != nil {
			return err
		}
		norms := all.Shallow
		if deep {
			norms = all.Deep
		}
		got, reader := make([]float32, n*d), kv.Reader{Cache: cache}
		reader.Read(got, h, part, 0)
		directions, err := s.directions(m.Directions(), all.Directions)
		if err != nil {
			return err
		}
		for i := range n {
			direction := directions[i*d:][:d]
			exact := slices.Contains(kept, int32(i))
			for j, e := range direction {
				want := float32(e * norms[i])
				if exact {
					want = mine[i*d+j]
				}
				if !sameBits(got[i*d+j], want) {
					return fmt.Errorf("element %d of %v of token %d (retained: %t) is %g, merged it is %g", j, part, i, exact, got[i*d+j], want)
				}
			}
		}
	}
	return nil
}

// directions returns directions as read back: rounded to the cache's type, or with bits in quantized groups
// of channels.
func (s *scenario) directions(f kv.Format, x []float32) ([]float32, error) {
	stored, rounded := make([]byte, len(x)*s.cfg.DType.Size()), make([]float32, len(x))
	s.cfg.DType.Encode(stored, x)
	s.cfg.DType.Decode(rounded, stored)
	if f.Bits == 0 {
		return rounded, nil
	}
	g, a := quant.Groups{Bits: f.Bits, Size: f.Group, Type: s.cfg.DType}, quant.Values(1, len(x)/s.cfg.Shape.HeadSize, s.cfg.Shape.HeadSize)
	q, err := g.Quantize(a, rounded)
	if err != nil {
		return nil, err
	}
	return g.Dequantize(a, q)
}
