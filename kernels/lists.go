package kernels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
)

// eachList calls f for each packed segment of the heads, with the index in a row of the first entry of its page list. A
// head of a deeper layer has the merged pages of the same head in the layer before.
func (e *Engine) eachList(heads []kv.Head, f func(g *kv.Segment, at int)) {
	z, segments, of := e.state.packing, e.state.packing.segments(), e.cfg.Shape.KVHeads
	for i := range heads {
		for part, list := range ownLists(&heads[i]) {
			for k := range min(len(list), segments) {
				head := i
				if list[k].Deep {
					head -= of
				}
				f(&list[k], ((head*2+part)*segments+k)*z.pages)
			}
		}
	}
}

// readLists completes the heads of a sequence that were read from the device: it sets their packed segments with
// page tables, and the beginning of the plain segment.
func (e *Engine) readLists(known *sequence, heads []kv.Head) error {
	s, z := e.state, e.state.packing
	lists, err := download[int32](s, s.listsOf(known.row), s.rowLists()*z.pages)
	if err != nil {
		return err
	}
	s.hostBlocks(lists)
	for i, host := range e.heads(known) {
		h := &heads[i]
		left := min(host.First/e.cfg.BlockSize, len(h.Table))
		h.Segment = kv.Segment{Table: h.Table[left:], First: host.First, Len: h.Len - host.First, Offset: host.Offset}
		h.Keys, h.Values = host.Keys, host.Values
	}
	e.eachList(heads, func(g *kv.Segment, at int) {
		g.Table = slices.Clone(lists[at:][:min(e.cfg.Pages(g.Format, g.Len), z.pages)])
	})
	if z.merger == nil {
		return nil
	}
	limits, err := download[float32](s, s.limitsOf(known.row), 2*len(heads))
	if err != nil {
		return err
	}
	for i := range heads {
		for part, list := range ownLists(&heads[i]) {
			if len(list) > 0 && list[0].Format.Kind == kv.Merged && !list[0].Deep {
				list[0].Limit = limits[2*i+part]
			}
		}
	}
	return nil
}

// restoreLists restores the packed segments of a sequence.
func (e *Engine) restoreLists(c *kv.Cache, known *sequence, seq *kv.Sequence) error {
	z, of := e.state.packing, e.cfg.Shape.KVHeads
	known.retained = make([]int, 2*z.pairs()*of)
	for i := len(seq.Heads) - 1; i >= 0; i-- { // the first quantized and the first merged head set the counts for all
		h := &seq.Heads[i]
		if merged, _ := z.merges(i / of); merged {
			known.merged = h.End(kv.Keys)
		} else if z.has(i / of) {
			known.quantized = [2]int{h.End(kv.Keys), h.End(kv.Values)}
		}
	}
	for i := range seq.Heads {
		if err := e.restoreHead(c, known, seq, i); err != nil {
			return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H: %w", seq.ID, i, err)
		}
	}
	return nil
}

// restoreHead restores the packed segments of head i of a sequence. The heads before it are restored already.
func (e *Engine) restoreHead(c *kv.Cache, known *sequence, seq *kv.Sequence, i int) error {
	z, of, h := e.state.packing, e.cfg.Shape.KVHeads, &seq.Heads[i]
	if !z.has(i / of) {
		if len(h.Keys)+len(h.Values) > 0 {
			return errors.New("it has pages of their own, where the method has none")
		}
		return nil
	}
	merged, deep := z.merges(i / of)
	packed := [2]int{h.End(kv.Keys), h.End(kv.Values)}
	if packed != z.packed(known, i/of) || h.First != min(packed[0], packed[1]) {
		return fmt.Errorf("%d keys and %d values are in pages of their own, and the plain segment begins with %d: the kernels have all heads alike", packed[0], packed[1], h.First)
	}
	for part, list := range ownLists(h) {
		if err := checkList(c, list, z.formats(i / of)[part], packed[part], deep); err != nil {
			return err
		}
		if !merged {
			continue
		}
		retained, pair := 0, 2*z.pairOf(i, of)+part
		if len(list) > 1 {
			retained = list[1].Len
		}
		if !deep {
			known.retained[pair] = retained
			continue
		}
		with := ownLists(&seq.Heads[i-of])[part]
		if retained != known.retained[pair] || len(list) > 0 && !slices.Equal(list[0].Table, with[0].Table) || len(list) > 1 && !slices.Equal(list[1].Index, with[1].Index) {
			return errors.New("it has other merged pages, or retains other KVs, than the head of the shallower layer")
		}
	}
	return nil
}

// checkList returns an error if the segments of a head's keys, or values, are not as the kernels make them: segment k
// has formats[k], and the first has packed KVs.
func checkList(c *kv.Cache, list []kv.Segment, formats []kv.Format, packed int, deep bool) error {
	if len(list) > len(formats) {
		return fmt.Errorf("%d segments of a part, want at most %d", len(list), len(formats))
	}
	for k := range list {
		g := &list[k]
		if g.Format != formats[k] || g.First != 0 || g.Len < 1 || (g.Index != nil) != (k > 0) || g.Deep != (deep && k == 0) || k == 0 && g.Len != packed {
			return fmt.Errorf("segment %d of a part has format %+v, first KV %d, length %d", k, g.Format, g.First, g.Len)
		}
		wrong := false
		if k > 0 {
			c.Units(g, func(first int, unit []byte) {
				wrong = wrong || int32(binary.LittleEndian.Uint32(unit)) != g.Index[first]
			})
		}
		if wrong {
			return errors.New("indices in a page are not those of the segment")
		}
	}
	return nil
}

// writeLists writes the page lists of a sequence to the device, with −1 after the end of each list. If the method merges,
// it also writes the segments' limits and the numbers of retained KVs.
func (e *Engine) writeLists(seq *kv.Sequence) error {
	s, z, row := e.state, e.state.packing, e.seqs[seq.ID].row
	lists := slices.Repeat([]int32{-1}, s.rowLists()*z.pages)
	e.eachList(seq.Heads, func(g *kv.Segment, at int) { copy(lists[at:][:z.pages], g.Table) })
	s.deviceBlocks(lists)
	if err := s.dev.Write(s.listsOf(row), encode(lists)); err != nil || z.merger == nil {
		return err
	}
	limits := make([]float32, 2*len(seq.Heads))
	for i := range seq.Heads {
		for part, list := range ownLists(&seq.Heads[i]) {
			if len(list) > 0 {
				limits[2*i+part] = list[0].Limit
			}
		}
	}
	if err := s.dev.Write(s.limitsOf(row), encode(limits)); err != nil {
		return err
	}
	return e.writeHeld(e.seqs[seq.ID])
}

// plainOf returns copies of sequences without their packed segments.
func plainOf(seqs []*kv.Sequence) []*kv.Sequence {
	plain := make([]*kv.Sequence, len(seqs))
	for i, s := range seqs {
		p := *s
		p.Heads = slices.Clone(s.Heads)
		for j := range p.Heads {
			p.Heads[j].Keys, p.Heads[j].Values = nil, nil
		}
		plain[i] = &p
	}
	return plain
}

// eachPage calls f for each page of the sequences' packed segments whose block is valid, with the number of bytes that
// its units use. A page that layers share is visited once.
func (e *Engine) eachPage(seqs []*kv.Sequence, f func(block, used int) error) error {
	for _, s := range seqs {
		for i := range s.Heads {
			for _, g := range slices.Concat(s.Heads[i].Keys, s.Heads[i].Values) {
				each, units := e.cfg.Capacity(g.Format)/g.Format.Unit(), g.Len/g.Format.Unit()
				for j, block := range g.Table {
					if g.Deep || block < 0 || int(block) >= e.cfg.Blocks {
						continue
					}
					if err := f(int(block), min(each, units-j*each)*e.cfg.UnitBytes(g.Format)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// readPages reads the used bytes of the pages of a snapshot's packed segments, and the indices of retained KVs.
func (e *Engine) readPages(snap *kv.Snapshot) error {
	half := e.cfg.PageBytes() / 2
	err := e.eachPage(snap.Sequences, func(block, used int) error {
		at := device.Ptr((e.state.first + block) * half)
		if err := e.state.dev.Read(snap.Keys[block*half:][:min(used, half)], e.state.keys+at); err != nil || used <= half {
			return err
		}
		return e.state.dev.Read(snap.Values[block*half:][:used-half], e.state.values+at)
	})
	for _, s := range snap.Sequences {
		for i := range s.Heads {
			for _, list := range ownLists(&s.Heads[i]) {
				for k := range list {
					if list[k].Format.Kind == kv.Exact {
						list[k].Index = snap.Indices(&e.cfg.Config, &list[k])
					}
				}
			}
		}
	}
	return err
}

// poisonPages overwrites the unused bytes of the pages of packed segments.
func (e *Engine) poisonPages(seqs []*kv.Sequence) error {
	half := e.cfg.PageBytes() / 2
	fill := func(of device.Ptr, block, used int) error {
		if used >= half {
			return nil
		}
		return e.state.dev.Fill(of+device.Ptr((e.state.first+block)*half+used), 0xff, int64(half-used))
	}
	return e.eachPage(seqs, func(block, used int) error {
		if err := fill(e.state.keys, block, used); err != nil {
			return err
		}
		return fill(e.state.values, block, max(0, used-half))
	})
}
