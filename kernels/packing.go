package kernels

import (
	"errors"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// packing is the device state of a method that packs, which means that it moves keys and values to pages of another
// format: it quantizes, merges pairs of layers, or does both in different layers.
type packing struct {
	quantizer ref.Quantizer  // nil if the method does not quantize
	merger    ref.Merger     // nil if it does not merge
	quantized [2][]kv.Format // formats of the segments of keys and of values, in layers that are not merged
	merged    [2][]kv.Format // the same in merged layers
	pages     int            // entries of a page list
	lists     device.Ptr     // [rows, L·H, 2, segments, pages] int32: block numbers

	// Only for a method that merges:
	held   device.Ptr // [rows, L·H, 2] int32: numbers of retained keys and values
	limits device.Ptr // [rows, L·H, 2] float32, of shallower layers: see kv.Segment
}

// packingOf returns the packing of a method; nil if all its pages are plain.
func packingOf(m ref.Method) *packing {
	if !ref.KeepsAll(m) {
		return nil
	}
	z := &packing{}
	if q, ok := m.(ref.Quantizer); ok {
		keys, values := q.Formats()
		z.quantizer, z.quantized = q, [2][]kv.Format{{keys}, {values}}
	}
	if m, ok := m.(ref.Merger); ok {
		formats := []kv.Format{m.Directions(), ref.RetainedFormat()}
		z.merger, z.merged = m, [2][]kv.Format{formats, formats}
	}
	return z
}

// segments returns the largest number of packed segments of a head's keys, or of its values.
func (z *packing) segments() int { return max(len(z.quantized[0]), len(z.merged[0])) }

// partStride returns the number of entries of the page lists of a head's keys, or of its values.
func (z *packing) partStride() int { return z.segments() * z.pages }

// formats returns the formats of the packed segments that the keys, and the values, of a layer's heads can have.
func (z *packing) formats(layer int) [2][]kv.Format {
	if z == nil {
		return [2][]kv.Format{}
	}
	if merged, _ := z.merges(layer); merged {
		return z.merged
	}
	return z.quantized
}

// has reports whether a layer's heads can have packed segments.
func (z *packing) has(layer int) bool { return len(z.formats(layer)[0]) > 0 }

// room returns the number of entries that a page list needs for a sequence of at most tokens tokens.
func (z *packing) room(cfg *kv.Config, tokens int) int {
	n := 1
	for part := range 2 {
		for _, f := range slices.Concat(z.quantized[part], z.merged[part]) {
			n = max(n, cfg.Pages(f, tokens))
		}
	}
	return min(n, cfg.Blocks)
}

// rowLists returns the number of page lists of a row.
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

// moveLists allocates the page lists again for the state's rows. The cache must be empty.
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

// items is the size of an array: n items of size bytes each.
type items struct{ n, size int }

// grown allocates a larger array, copies the items from first on from the old array, fills the rest with fill, and frees
// the old array. On an error before that, the old array is kept and returned. If the old array cannot be freed, the
// device is unusable.
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

// memory returns the allocated arrays.
func (z *packing) memory() []device.Ptr {
	if z == nil {
		return nil
	}
	return []device.Ptr{z.lists, z.held, z.limits}
}

// listsOf returns the address of the page lists of a row, and layerLists that of a layer's lists in row 0.
func (s *state) listsOf(row int) device.Ptr {
	return s.packing.lists + device.Ptr(4*row*s.rowLists()*s.packing.pages)
}
func (s *state) layerLists(layer int) device.Ptr {
	return s.packing.lists + device.Ptr(4*layer*(s.rowLists()/s.cfg.Shape.Layers)*s.packing.pages)
}

// mergesAny reports whether the method merges.
func (z *packing) mergesAny() bool { return z != nil && z.merger != nil }

// merges reports whether a layer is merged with another, and whether it is the deeper one.
func (z *packing) merges(layer int) (merged, deep bool) {
	if !z.mergesAny() {
		return false, false
	}
	return z.merger.Merging().Merges(layer)
}

// pairs returns how many pairs of layers are merged.
func (z *packing) pairs() int {
	if !z.mergesAny() {
		return 0
	}
	return z.merger.Merging().Pairs
}

// packed returns the numbers of packed keys and values of each head of a layer of a sequence.
func (z *packing) packed(s *sequence, layer int) [2]int {
	if merged, _ := z.merges(layer); merged {
		return [2]int{s.merged, s.merged}
	}
	return s.quantized
}

// pairOf returns the index of the pair of heads that a head of a merged layer belongs to.
func (z *packing) pairOf(head, heads int) int {
	return (head/heads-z.merger.Merging().First)/2*heads + head%heads
}

// ownLists returns the packed segments of a head's keys, and of its values.
func ownLists(h *kv.Head) [2][]kv.Segment { return [2][]kv.Segment{h.Keys, h.Values} }

// heads returns a sequence's heads as the host knows them: with formats and lengths, but without block tables and
// indices.
func (e *Engine) heads(s *sequence) []kv.Head {
	all, z, of := make([]kv.Head, len(s.lengths)), e.state.packing, e.cfg.Shape.KVHeads
	for i, n := range s.lengths {
		h := &all[i]
		merged, deep := z.merges(i / of)
		packed, formats, retained := z.packed(s, i/of), z.formats(i/of), [2]int{}
		if merged {
			copy(retained[:], s.retained[2*z.pairOf(i, of):])
		}
		first := min(packed[0], packed[1])
		h.Segment = kv.Segment{First: first, Len: n - first, Offset: first % e.cfg.BlockSize}
		for part, list := range []*[]kv.Segment{&h.Keys, &h.Values} {
			if packed[part] > 0 {
				*list = append(*list, kv.Segment{Format: formats[part][0], Len: packed[part], Deep: deep})
			}
			if retained[part] > 0 {
				*list = append(*list, kv.Segment{Format: formats[part][1], Len: retained[part]})
			}
		}
	}
	return all
}

// headBlocks returns the number of blocks of a head, computed from its lengths. Merged pages count for the shallower layer.
func (e *Engine) headBlocks(h *kv.Head) int {
	n := e.blocksOf(h.Offset + h.Len)
	for _, g := range slices.Concat(h.Keys, h.Values) {
		if !g.Deep {
			n += e.cfg.Pages(g.Format, g.Len)
		}
	}
	return n
}

// freeEntries frees the blocks in entries [from, to) of the tables of the given number of heads from first on. Tables are
// stride entries apart.
func (s *state) freeEntries(tables device.Ptr, first, heads, from, to, stride int) error {
	if from >= to {
		return nil
	}
	return s.launch("quantized.ptx", "free_entries", device.Dim{X: heads, Y: 1, Z: 1}, threads(to-from, 256), 0,
		device.Pointer(tables), device.Pointer(s.free), device.Pointer(s.owners), number(first), number(from), number(to), number(stride))
}

// releasePacked is release for a sequence whose method packs.
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
