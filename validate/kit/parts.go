package kit

import (
	"encoding/binary"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Names of the parts that are neither an event's own nor columns.
const (
	kvCountsPart    = "kv_counts"    // [S, L, H]: context lengths
	blockCountsPart = "block_counts" // [S, L, H]
	tablesPart      = "tables"       // [blocks of all heads]
	positionsPart   = "positions"    // [KVs of all heads]
	keysPart        = "keys"         // [KVs of all heads, D]; for a decode [S, L, H, D], the newest token's
	valuesPart      = "values"
	packedKeysPart  = "packed_keys" // [keys of all heads in quantized or merged pages, D], as read; packed_keys_counts has their number
	packedValuePart = "packed_values"
	ownersPart      = "owners" // [N, 4]: sequence, or −1 for a free block; layer, head, logical block
	countsSuffix    = "_counts"
)

// content is a part and a function that writes its elements, little-endian.
type content struct {
	Part
	append func(dst []byte) []byte
}

// stageParts returns the parts of an event, in order of dependency: the event's own integers, tables,
// positions, keys, values, the event's floats, and the columns. If heads differ in length, the entries of all
// heads are concatenated in (sequence, layer, head) order and by logical index, and a part of counts precedes
// them. The parts are those of a golden result's digests. They can be written only during the event.
func stageParts(e ref.Event) []content {
	parts := eventParts(e, func(p *ref.Part) bool { return p.Floats == nil })
	switch e.Stage {
	case ref.StageDecide:
		return parts
	case ref.StageRelease:
		return append(parts, owners(e.Cache))
	}
	h := headsOf(e)
	parts = append(parts, h.tables()...)
	parts = append(parts, h.counts(kvCountsPart, "context length", func(h *kv.Head) int { return h.Len }),
		h.columnar(positionsPart, "position", i32, 0, func(dst []byte, slot int) []byte {
			return appendInts(dst, e.Cache.Positions[slot])
		}))
	if e.Stage == ref.StageDecode {
		parts = append(parts, h.newest(keysPart, "key", e.Cache.Key), h.newest(valuesPart, "value", e.Cache.Value))
	} else {
		d := e.Cache.Shape().HeadSize
		parts = append(parts,
			h.columnar(keysPart, "key", h.format(), d, func(dst []byte, slot int) []byte { return append(dst, e.Cache.Key(slot)...) }),
			h.columnar(valuesPart, "value", h.format(), d, func(dst []byte, slot int) []byte { return append(dst, e.Cache.Value(slot)...) }))
		if h.packs() {
			parts = append(parts, h.packed(packedKeysPart, "key that is read from quantized or merged pages", kv.Keys)...)
			parts = append(parts, h.packed(packedValuePart, "value that is read from quantized or merged pages", kv.Values)...)
		}
	}
	parts = append(parts, eventParts(e, func(p *ref.Part) bool { return p.Floats != nil })...)
	for i, column := range e.Cache.Columns() {
		data, width := e.Cache.Data[i], column.Width
		row := width
		if width == 1 {
			row = 0
		}
		parts = append(parts, h.columnar(column.Name, column.Value, "f32", row, func(dst []byte, slot int) []byte {
			return appendFloats(dst, data[slot*width:][:width]...)
		}))
	}
	return parts
}

// eventParts returns the parts of an event for which take is true. Parts of single heads with the same name
// become one, preceded by the number of entries of each head.
func eventParts(e ref.Event, take func(*ref.Part) bool) []content {
	var out []content
	for i := 0; i < len(e.Parts); {
		p := &e.Parts[i]
		last := i + 1
		for last < len(e.Parts) && e.Parts[last].Name == p.Name {
			last++
		}
		same := e.Parts[i:last]
		i = last
		switch {
		case !take(p):
		case p.Head >= 0:
			out = append(out, headLists(e.Cache.Shape(), same)...)
		default:
			out = append(out, content{Part{Name: p.Name, Value: p.Value, DType: partDType(p), Dims: dimsOf(p)}, func(dst []byte) []byte {
				return appendFloats(appendInts(dst, p.Ints...), p.Floats...)
			}})
		}
	}
	return out
}

func partDType(p *ref.Part) string {
	if p.Floats != nil {
		return "f32"
	}
	return i32
}

func dimsOf(p *ref.Part) []Dim {
	dims := make([]Dim, len(p.Dims))
	for i, d := range p.Dims {
		dims[i] = Dim{axes[d.Axis], int64(d.N)}
	}
	return dims
}

// headLists concatenates lists of the same name, each of one head of a sequence, into one part, preceded by
// its counts. A head may have several lists or none.
func headLists(shape kv.Shape, lists []ref.Part) []content {
	byHead := make([][]int32, shape.Heads())
	counts := make([]int32, shape.Heads())
	total := 0
	for i := range lists {
		p := &lists[i]
		byHead[p.Head] = append(byHead[p.Head], p.Ints...)
		counts[p.Head] += int32(len(p.Ints))
		total += len(p.Ints)
	}
	name, value := lists[0].Name, lists[0].Value
	return []content{
		{Part{Name: name + countsSuffix, Value: "length of the list: " + value, DType: i32, Dims: []Dim{
			{AxisLayer, int64(shape.Layers)}, {AxisHead, int64(shape.KVHeads)},
		}}, func(dst []byte) []byte { return appendInts(dst, counts...) }},
		{Part{Name: name, Value: value, DType: i32, Dims: []Dim{{AxisIndex, int64(total)}}, Counts: name + countsSuffix}, func(dst []byte) []byte {
			for _, list := range byHead {
				dst = appendInts(dst, list...)
			}
			return dst
		}},
	}
}

// heads are the heads of an event's sequences.
type heads struct {
	cache     *kv.Cache
	sequences []*kv.Sequence
}

func headsOf(e ref.Event) heads {
	h := heads{cache: e.Cache}
	for _, id := range e.Seqs {
		h.sequences = append(h.sequences, e.Cache.Sequence(id))
	}
	return h
}

// format returns the name of the cache's format.
func (h heads) format() string { return h.cache.Config().DType.String() }

// each calls f for each head, in (sequence, layer, head) order.
func (h heads) each(f func(*kv.Head)) {
	for _, s := range h.sequences {
		for i := range s.Heads {
			f(&s.Heads[i])
		}
	}
}

// perHead returns the dimensions of an array with one entry for each head.
func (h heads) perHead() []Dim {
	shape := h.cache.Shape()
	return []Dim{{AxisSequence, int64(len(h.sequences))}, {AxisLayer, int64(shape.Layers)}, {AxisHead, int64(shape.KVHeads)}}
}

// counts returns a part with one number for each head.
func (h heads) counts(name, value string, of func(*kv.Head) int) content {
	return content{Part{Name: name, Value: value, DType: i32, Dims: h.perHead()}, func(dst []byte) []byte {
		h.each(func(head *kv.Head) { dst = appendInts(dst, int32(of(head))) })
		return dst
	}}
}

// tables returns the block tables of all heads.
func (h heads) tables() []content {
	blocks := func(head *kv.Head) int { return len(head.Table) }
	total := 0
	h.each(func(head *kv.Head) { total += blocks(head) })
	return []content{
		h.counts(blockCountsPart, "length of the list: block table entry", blocks),
		{Part{Name: tablesPart, Value: "block table entry", DType: i32, Dims: []Dim{{AxisIndex, int64(total)}}, Counts: blockCountsPart}, func(dst []byte) []byte {
			h.each(func(head *kv.Head) { dst = appendInts(dst, head.Table...) })
			return dst
		}},
	}
}

// columnar returns what the slots of all KVs of all heads hold: one number, or with row > 0 row numbers.
func (h heads) columnar(name, value, format string, row int, of func(dst []byte, slot int) []byte) content {
	total := 0
	h.each(func(head *kv.Head) { total += head.Len })
	dims := []Dim{{AxisIndex, int64(total)}}
	if row > 0 {
		dims = append(dims, Dim{AxisElement, int64(row)})
	}
	return content{Part{Name: name, Value: value, DType: format, Dims: dims, Counts: kvCountsPart}, func(dst []byte) []byte {
		h.each(func(head *kv.Head) {
			for i := range head.Len {
				dst = of(dst, h.cache.Slot(head, head.First+i))
			}
		})
		return dst
	}}
}

// packs reports whether a head has keys or values in quantized or merged pages.
func (h heads) packs() bool {
	packs := false
	h.each(func(head *kv.Head) { packs = packs || len(head.Keys)+len(head.Values) > 0 })
	return packs
}

// packed returns the keys or values of all heads that are in quantized or merged pages, as read, in logical
// order, preceded by their counts.
func (h heads) packed(name, value string, part kv.Part) []content {
	total, d := 0, h.cache.Shape().HeadSize
	h.each(func(head *kv.Head) { total += head.End(part) })
	dims := []Dim{{AxisIndex, int64(total)}, {AxisElement, int64(d)}}
	return []content{
		h.counts(name+countsSuffix, "how many there are: "+value, func(head *kv.Head) int { return head.End(part) }),
		{Part{Name: name, Value: value, DType: "f32", Dims: dims, Counts: name + countsSuffix}, func(dst []byte) []byte {
			reader := kv.Reader{Cache: h.cache}
			h.each(func(head *kv.Head) {
				rows := make([]float32, head.End(part)*d)
				reader.Read(rows, head, part, 0)
				dst = appendFloats(dst, rows...)
			})
			return dst
		}},
	}
}

// newest returns the key or value of the newest token in each head.
func (h heads) newest(name, value string, of func(slot int) []byte) content {
	dims := append(h.perHead(), Dim{AxisElement, int64(h.cache.Shape().HeadSize)})
	return content{Part{Name: name, Value: value, DType: h.format(), Dims: dims}, func(dst []byte) []byte {
		h.each(func(head *kv.Head) { dst = append(dst, of(h.cache.Slot(head, head.KVs()-1))...) })
		return dst
	}}
}

// owners returns the owner of each block.
func owners(cache *kv.Cache) content {
	return content{Part{Name: ownersPart, Value: "owner of the block", DType: i32, Dims: []Dim{
		{AxisIndex, int64(cache.Blocks())}, {AxisElement, 4},
	}}, func(dst []byte) []byte {
		for _, o := range cache.Owners {
			n := o.Ints()
			dst = appendInts(dst, n[:]...)
		}
		return dst
	}}
}

func appendInts(dst []byte, values ...int32) []byte {
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
	}
	return dst
}

func appendFloats(dst []byte, values ...float32) []byte {
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}
