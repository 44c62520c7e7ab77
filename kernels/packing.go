package kernels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// packing is what the kernels of a method work with that moves keys and values into pages of their own: one that
// quantizes, or one that merges.
type packing struct {
	quantizer ref.Quantizer
	merger    ref.Merger     // if the method quantizes, nil
	formats   [2][]kv.Format // of keys, of values: a segment's each
	pages     int            // that a list has room for
	lists     device.Ptr     // [rows, L·H, 2, segments, pages] blocks

	// Of a method that merges:
	held   device.Ptr // [rows, L·H, 2] int32: keys and values that are retained
	limits device.Ptr // [rows, L·H, 2] float32, of shallower layers: see kv.Segment
}

// packingOf returns what a method has of it; nil if all its pages are plain.
func packingOf(m ref.Method) *packing {
	switch m := m.(type) {
	case ref.Quantizer:
		keys, values := m.Formats()
		return &packing{quantizer: m, formats: [2][]kv.Format{{keys}, {values}}}
	case ref.Merger:
		formats := []kv.Format{m.Directions(), ref.RetainedFormat()}
		return &packing{merger: m, formats: [2][]kv.Format{formats, formats}}
	}
	return nil
}

// segments returns how many segments the keys, or the values, of a head have at most.
func (z *packing) segments() int { return len(z.formats[0]) }

// room returns how many pages a list can hold for a sequence of at most tokens tokens.
func (z *packing) room(cfg *kv.Config, tokens int) int {
	n := 1
	for _, f := range slices.Concat(z.formats[0], z.formats[1]) {
		n = max(n, cfg.Pages(f, tokens))
	}
	return min(n, cfg.Blocks)
}

// rowLists returns how many lists a row has.
func (s *state) rowLists() int { return 2 * s.packing.segments() * s.heads() }

// reserveLists grows the page lists to rows rows, each for a sequence of at most tokens tokens.
func (s *state) reserveLists(rows, tokens int) error {
	z := s.packing
	if z == nil {
		return nil
	}
	pages, had := max(z.pages, z.room(&s.cfg.Config, tokens)), 0
	if z.lists != 0 {
		had = s.rows
	}
	rows = max(rows, s.rows)
	if rows == had && pages == z.pages {
		return nil
	}
	all := s.rowLists()
	first := s.firstRow
	lists, err := s.grown("pages of their own", z.lists, 0xff, first*all, items{had * all, 4 * z.pages}, items{rows * all, 4 * pages})
	if err != nil {
		return err
	}
	z.lists, z.pages = lists, pages
	if z.merger == nil {
		return nil
	}
	each := 8 * s.heads()
	if z.held, err = s.grown("retained KVs", z.held, 0, first, items{had, each}, items{rows, each}); err != nil {
		return err
	}
	z.limits, err = s.grown("limits of distances", z.limits, 0, first, items{had, each}, items{rows, each})
	return err
}

// moveLists makes the page lists anew, when no sequence is in the cache, for the state's rows.
func (s *state) moveLists() error {
	z := s.packing
	if z == nil {
		return nil
	}
	for _, p := range []*device.Ptr{&z.lists, &z.held, &z.limits} {
		if *p == 0 {
			continue
		}
		if err := s.dev.Free(*p); err != nil {
			return err
		}
		*p = 0
	}
	z.pages = 0
	return s.reserveLists(s.rows, s.maxBlocks*s.cfg.BlockSize)
}

// items is the extent of an array: n items of size bytes.
type items struct{ n, size int }

// grown returns an array that has the items of an old one from first on, which it frees, and is filled beyond them. If
// the array cannot be made, the old one stays; if the old one cannot be freed, the device is of no more use.
func (s *state) grown(name string, old device.Ptr, fill byte, first int, was, now items) (device.Ptr, error) {
	p, err := s.dev.Alloc(name, int64(now.n)*int64(now.size))
	if err != nil {
		return old, err
	}
	err = s.dev.Fill(p+device.Ptr(first*now.size), fill, int64(now.n-first)*int64(now.size))
	for i := first; i < was.n && err == nil; i++ {
		err = s.dev.Copy(p+device.Ptr(i*now.size), old+device.Ptr(i*was.size), int64(was.size))
	}
	if err != nil {
		return old, errors.Join(err, s.dev.Free(p))
	}
	if old == 0 {
		return p, nil
	}
	return p, s.dev.Free(old)
}

// memory returns what has been allocated.
func (z *packing) memory() []device.Ptr {
	if z == nil {
		return nil
	}
	return []device.Ptr{z.lists, z.held, z.limits}
}

// listsOf is where the lists of a row begin, and layerLists those of a layer in row 0.
func (s *state) listsOf(row int) device.Ptr {
	return s.packing.lists + device.Ptr(4*row*s.rowLists()*s.packing.pages)
}
func (s *state) layerLists(layer int) device.Ptr {
	return s.packing.lists + device.Ptr(4*layer*(s.rowLists()/s.cfg.Shape.Layers)*s.packing.pages)
}

// merges reports whether a layer is merged with another, and whether it is the deeper one.
func (z *packing) merges(layer int) (merged, deep bool) {
	if z == nil || z.merger == nil {
		return false, false
	}
	return z.merger.Merging().Merges(layer)
}

// pairOf returns the number of the pair of heads that a head of a merged layer belongs to.
func (z *packing) pairOf(head, heads int) int {
	return (head/heads-z.merger.Merging().First)/2*heads + head%heads
}

// ownLists returns the segments of a head's keys, and of its values, in pages of their own.
func ownLists(h *kv.Head) [2][]kv.Segment { return [2][]kv.Segment{h.Keys, h.Values} }

// heads returns what the host knows of a sequence's heads: formats and lengths, and neither tables nor
// indices.
func (e *Engine) heads(s *sequence) []kv.Head {
	all, z, of := make([]kv.Head, len(s.lengths)), e.state.packing, e.cfg.Shape.KVHeads
	for i, n := range s.lengths {
		h := &all[i]
		packed, retained, deep := s.packed, [2]int{}, false
		if z == nil || z.merger != nil {
			merged := false
			if merged, deep = z.merges(i / of); !merged {
				packed = [2]int{}
			} else {
				copy(retained[:], s.retained[2*z.pairOf(i, of):])
			}
		}
		first := min(packed[0], packed[1])
		h.Segment = kv.Segment{First: first, Len: n - first, Offset: first % e.cfg.BlockSize}
		for part, list := range []*[]kv.Segment{&h.Keys, &h.Values} {
			if packed[part] > 0 {
				*list = append(*list, kv.Segment{Format: z.formats[part][0], Len: packed[part], Deep: deep})
			}
			if retained[part] > 0 {
				*list = append(*list, kv.Segment{Format: z.formats[part][1], Len: retained[part]})
			}
		}
	}
	return all
}

// headBlocks returns the blocks of a head of which lengths are known.
func (e *Engine) headBlocks(h *kv.Head) int {
	n := e.blocksOf(h.Offset + h.Len)
	for _, g := range slices.Concat(h.Keys, h.Values) {
		if !g.Deep {
			n += e.cfg.Pages(g.Format, g.Len)
		}
	}
	return n
}

// freeEntries frees the blocks of entries from to to−1 of heads' tables, which lie stride entries apart.
func (s *state) freeEntries(tables device.Ptr, first, heads, from, to, stride int) error {
	if from >= to {
		return nil
	}
	return s.launch("quantized.ptx", "free_entries", device.Dim{X: heads, Y: 1, Z: 1}, threads(to-from, 256), 0,
		device.Pointer(tables), device.Pointer(s.free), device.Pointer(s.owners), number(first), number(from), number(to), number(stride))
}

// releasePacked is release of a sequence whose method has pages of their own.
func (e *Engine) releasePacked(seq *sequence) error {
	s, most := e.state, 0
	heads := e.heads(seq)
	for i := range heads {
		for _, g := range slices.Concat(heads[i].Keys, heads[i].Values) {
			most = max(most, e.cfg.Pages(g.Format, g.Len))
		}
	}
	if err := s.freeEntries(s.tablesOf(seq.row), 0, len(heads), 0, e.blocksOf(seq.tokens), s.maxBlocks); err != nil {
		return err
	}
	if err := s.freeEntries(s.listsOf(seq.row), 0, s.rowLists(), 0, most, s.packing.pages); err != nil {
		return err
	}
	return s.dev.Fill(s.lengthsOf(seq.row), 0, 4*int64(len(heads)))
}

// eachList calls f for each list that a row has, with the segment of the head that it is of, or nil, and where the list's
// entries are. A deeper layer's merged pages are those of the head H before.
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

// readLists completes the heads of a sequence as they are read back: what is in pages of their own, in
// which, and where the plain segment begins.
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
			if len(list) > 0 && !list[0].Deep {
				list[0].Limit = limits[2*i+part]
			}
		}
	}
	return nil
}

// restoreLists takes over what is in pages of their own of a sequence.
func (e *Engine) restoreLists(c *kv.Cache, known *sequence, seq *kv.Sequence) error {
	z, of := e.state.packing, e.cfg.Shape.KVHeads
	if z != nil && z.merger != nil {
		known.retained = make([]int, 2*z.merger.Merging().Pairs*of)
	}
	found := false // a head that says how many KVs are in pages of their own
	for i := range seq.Heads {
		h := &seq.Heads[i]
		bad := func(format string, args ...any) error {
			return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H: "+format, append([]any{seq.ID, i}, args...)...)
		}
		merged, deep := z.merges(i / of)
		if z == nil || z.merger != nil && !merged {
			if len(h.Keys)+len(h.Values) > 0 {
				return bad("it has pages of their own, where the method has none")
			}
			continue
		}
		packed := [2]int{h.End(kv.Keys), h.End(kv.Values)}
		if !found {
			found, known.packed = true, packed
		}
		if packed != known.packed || merged && packed[0] != packed[1] || h.First != min(packed[0], packed[1]) {
			return bad("%d keys and %d values are in pages of their own, and the plain segment begins with %d: the kernels have all heads alike", packed[0], packed[1], h.First)
		}
		for part, list := range ownLists(h) {
			if len(list) > z.segments() {
				return bad("%d segments of a part, want at most %d", len(list), z.segments())
			}
			for k := range list {
				g := &list[k]
				if g.Format != z.formats[part][k] || g.First != 0 || g.Len < 1 || (g.Index != nil) != (k > 0) || g.Deep != (deep && k == 0) || k == 0 && g.Len != packed[part] {
					return bad("segment %d of a part has format %+v, first KV %d, length %d", k, g.Format, g.First, g.Len)
				}
				wrong := false
				if k > 0 {
					c.Units(g, func(first int, unit []byte) {
						wrong = wrong || int32(binary.LittleEndian.Uint32(unit)) != g.Index[first]
					})
				}
				if wrong {
					return bad("indices in a page are not those of the segment")
				}
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
			other := &seq.Heads[i-of]
			with := ownLists(other)[part]
			if retained != known.retained[pair] || len(list) > 0 && !slices.Equal(list[0].Table, with[0].Table) || len(list) > 1 && !slices.Equal(list[1].Index, with[1].Index) {
				return bad("it has other merged pages, or retains other KVs, than the head of the shallower layer")
			}
		}
	}
	return nil
}

// writeLists writes the lists of a sequence, and −1 past the end of each, and what else its segments say.
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

// plainOf returns sequences without what is in pages of their own.
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

// eachPage calls f for each page of sequences that is not plain, as far as there is such a block, with the
// bytes of it that units are in.
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

// readPages reads the pages of a snapshot's sequences that are not plain, as far as units are in them, and the indices
// of KVs that are retained.
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

// poisonPages overwrites the bytes of pages that are not plain and that no unit is in.
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
