package validate

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// comparison compares what two engines report at a stage. Whole rows are compared first; only in rows that
// differ is each value compared.
//
// Each of these counts as one value: each element of the event's parts; the number of tokens of every
// sequence in the cache; of every head its context length, each entry of its block tables, and each byte of
// its quantized and merged segments; of every KV its position, its numbers in each column, and each element
// of its key and value; of every block whether it is free, and its owner. If a head's table or length
// differs, its contents are not compared. The comparison has no code for particular methods.
type comparison struct {
	cfg       *ref.Config
	tolerance Tolerance
	sides     [2]string

	Tally
	first *Divergence
	parts []Part
}

// Tally counts what was compared.
type Tally struct {
	Values    int    `json:"values_compared"`
	Tolerated int    `json:"values_tolerated,omitempty"` // of these: values with other bits, within the tolerance
	MaxULPs   uint64 `json:"max_ulp,omitempty"`          // largest distance of a tolerated value
}

// Add adds another tally.
func (t *Tally) Add(other Tally) {
	t.Values += other.Values
	t.Tolerated += other.Tolerated
	t.MaxULPs = max(t.MaxULPs, other.MaxULPs)
}

// events compares two reports of one stage.
func (c *comparison) events(want, got ref.Event) {
	if want.Stage != got.Stage || !slices.Equal(want.Seqs, got.Seqs) {
		c.differ("stage", Nowhere, stageText(want), stageText(got))
		return
	}
	if !c.sameParts(want, got) {
		return
	}
	c.eventParts(want, got, func(p *ref.Part) bool { return p.Floats == nil }) // the cache follows from them, so they come first
	if c.readable(want.Cache, got.Cache) {
		c.caches(want, got)
	}
}

// sameParts compares which parts two events have.
func (c *comparison) sameParts(want, got ref.Event) bool {
	if len(want.Parts) != len(got.Parts) {
		c.differ("parts of the stage", Nowhere, fmt.Sprint(len(want.Parts)), fmt.Sprint(len(got.Parts)))
		return false
	}
	for i := range want.Parts {
		if a, b := &want.Parts[i], &got.Parts[i]; a.Name != b.Name || a.Head != b.Head {
			c.differ("part of the stage", Nowhere, a.Name, b.Name)
			return false
		}
	}
	return true
}

// eventParts compares the parts for which take returns true. The two events have the same parts.
func (c *comparison) eventParts(want, got ref.Event, take func(*ref.Part) bool) {
	for i := range want.Parts {
		if take(&want.Parts[i]) {
			c.part(want.Seqs, &want.Parts[i], &got.Parts[i])
		}
	}
}

// part compares one part of two events. seqs are the event's sequences.
func (c *comparison) part(seqs []kv.SeqID, want, got *ref.Part) {
	c.Values += want.Elements()
	at := Nowhere
	if want.Head >= 0 {
		at = c.head(seqs[0], want.Head)
	} else if len(seqs) == 1 {
		at.Sequence = seqs[0]
	}
	for i := range min(len(want.Ints), len(got.Ints)) {
		if want.Ints[i] != got.Ints[i] {
			c.differ(want.Value, elementOf(at, seqs, want.Dims, i), fmt.Sprint(want.Ints[i]), fmt.Sprint(got.Ints[i]))
		}
	}
	for i := range min(len(want.Floats), len(got.Floats)) {
		w, g := want.Floats[i], got.Floats[i]
		if math.Float32bits(w) != math.Float32bits(g) && !c.near(w, g) {
			c.float(want.Value, elementOf(at, seqs, want.Dims, i), w, g)
		}
	}
	c.lengths(want.Value, at, want.Elements(), got.Elements())
}

// elementOf returns the place of element i of a part.
func elementOf(at Place, seqs []kv.SeqID, dims []ref.Dim, i int) Place {
	for d := len(dims) - 1; d >= 0; d-- {
		n := max(1, dims[d].N)
		index := i % n
		i /= n
		switch dims[d].Axis {
		case ref.AxisLayer:
			at.Layer = index
		case ref.AxisSequence:
			at.Sequence = seqs[index]
		case ref.AxisQueryHead:
			at.Head = index
		case ref.AxisElement:
			at.Element = index
		case ref.AxisIndex:
			at.Index = index
		}
	}
	return at
}

func stageText(e ref.Event) string { return fmt.Sprintf("%s of %s", e.Stage, sequences(e.Seqs)) }

func (c *comparison) readable(want, got *kv.Cache) bool {
	switch {
	case got == nil:
		c.differ("cache", Nowhere, "one", "none")
	case got.Blocks() != want.Blocks():
		c.differ("blocks of the cache", Nowhere, fmt.Sprint(want.Blocks()), fmt.Sprint(got.Blocks()))
	case got.Shape() != want.Shape():
		c.differ("shape of the cache", Nowhere, fmt.Sprint(want.Shape()), fmt.Sprint(got.Shape()))
	case !slices.Equal(got.Columns(), want.Columns()):
		c.differ("columns of the cache", Nowhere, fmt.Sprint(want.Columns()), fmt.Sprint(got.Columns()))
	default:
		return true
	}
	return false
}

// pair is one head of one sequence in both engines, with equal tables and lengths.
type pair struct {
	at        Place // sequence, layer and head
	want, got *kv.Head
}

// caches compares everything in the caches, in an order in which later parts depend on earlier ones.
func (c *comparison) caches(want, got ref.Event) {
	heads := c.tables(want.Cache, got.Cache)
	c.blocks(want.Cache, got.Cache)
	for _, p := range heads {
		c.runs(p, func(at Place, a, b, n int) {
			c.run("position", at, want.Cache.Positions[a:a+n], got.Cache.Positions[b:b+n])
		})
	}
	for _, p := range heads {
		c.runs(p, func(at Place, a, b, n int) {
			for i := range n {
				c.row("key", step(at, i), want.Cache.Key(a+i), got.Cache.Key(b+i))
			}
		})
	}
	for _, p := range heads {
		c.runs(p, func(at Place, a, b, n int) {
			for i := range n {
				c.row("value", step(at, i), want.Cache.Value(a+i), got.Cache.Value(b+i))
			}
		})
	}
	for _, p := range heads {
		c.units(p, want.Cache, got.Cache)
	}
	c.eventParts(want, got, func(p *ref.Part) bool { return p.Floats != nil })
	for i, column := range want.Cache.Columns() {
		a, b := want.Cache.Data[i], got.Cache.Data[i]
		for _, p := range heads {
			c.runs(p, func(at Place, x, y, n int) {
				c.column(column, at, a[x*column.Width:][:n*column.Width], b[y*column.Width:][:n*column.Width])
			})
		}
	}
}

// step returns the place of the i-th KV after at.
func step(at Place, i int) Place {
	at.Index += i
	at.Slot += i
	return at
}

// tables compares which sequences exist, their lengths, and the lengths and block tables of their heads. It
// returns the heads for which all of these are equal and readable.
func (c *comparison) tables(want, got *kv.Cache) []pair {
	wantIDs, gotIDs := want.Sequences(), got.Sequences()
	if !slices.Equal(wantIDs, gotIDs) {
		c.differ("sequences in the cache", Nowhere, fmt.Sprint(wantIDs), fmt.Sprint(gotIDs))
	}
	var heads []pair
	for _, id := range wantIDs {
		a, b := want.Sequence(id), got.Sequence(id)
		if b == nil {
			continue
		}
		at := Nowhere
		at.Sequence = id
		c.ints("tokens of the sequence", at, a.Len, b.Len)
		for i := range a.Heads {
			p := pair{c.head(id, i), &a.Heads[i], &b.Heads[i]}
			differ := c.count()
			c.ints("context length", p.at, p.want.Len, p.got.Len)
			c.int32s("block table entry", p.at, p.want.Table, p.got.Table)
			c.segments(p)
			if c.count() == differ {
				heads = append(heads, p)
			}
		}
	}
	return heads
}

// segments compares a head's quantized and merged segments, and where its plain segment begins.
func (c *comparison) segments(p pair) {
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		want, got := p.want.List(part), p.got.List(part)
		c.lengths("segments of "+part.String(), p.at, len(want), len(got))
		for i := range min(len(want), len(got)) {
			c.ints("KVs of a segment", p.at, want[i].Len, got[i].Len)
			c.ints("first KV of a segment", p.at, want[i].First, got[i].First)
			c.int32s("index of a segment", p.at, want[i].Index, got[i].Index)
			c.int32s("block table entry of a segment", p.at, want[i].Table, got[i].Table)
			if want[i].Format != got[i].Format {
				c.differ("format of a segment", p.at, fmt.Sprint(want[i].Format), fmt.Sprint(got[i].Format))
			}
			if want[i].Deep != got[i].Deep {
				c.differ("layer of a segment, deeper", p.at, fmt.Sprint(want[i].Deep), fmt.Sprint(got[i].Deep))
			}
			if w, g := want[i].Limit, got[i].Limit; math.Float32bits(w) != math.Float32bits(g) {
				c.differ("limit of a merged segment", p.at, fmt.Sprint(w), fmt.Sprint(g))
			}
		}
	}
	if p.want.First != p.got.First {
		c.differ("first KV of the plain segment", p.at, fmt.Sprint(p.want.First), fmt.Sprint(p.got.First))
	}
}

// units compares the stored bytes of quantized and merged segments, unit by unit.
func (c *comparison) units(p pair, want, got *kv.Cache) {
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		for i := range p.want.List(part) {
			w, g := &p.want.List(part)[i], &p.got.List(part)[i]
			var units [][]byte
			got.Units(g, func(_ int, unit []byte) { units = append(units, unit) })
			want.Units(w, func(first int, unit []byte) {
				at := p.at
				at.Index = w.First + first
				c.bytes("byte of "+inPages(w.Format.Kind)+" "+part.String(), at, unit, units[first/w.Format.Unit()])
			})
		}
	}
}

// inPages names the contents of pages of a kind.
func inPages(kind kv.Kind) string {
	switch kind {
	case kv.Merged:
		return "merged"
	case kv.Exact:
		return "retained"
	default:
		return "quantized"
	}
}

// bytes compares bytes that are not elements of a number format.
func (c *comparison) bytes(what string, at Place, want, got []byte) {
	c.Values += len(want)
	if bytes.Equal(want, got) {
		return
	}
	for i := range want {
		if want[i] != got[i] {
			at.Element = i
			c.differ(what, at, fmt.Sprintf("%02x", want[i]), fmt.Sprintf("%02x", got[i]))
		}
	}
}

// head returns the place of the i-th of a sequence's L·H heads.
func (c *comparison) head(id kv.SeqID, i int) Place {
	at := Nowhere
	at.Sequence, at.Layer, at.Head = id, i/c.cfg.Shape.KVHeads, i%c.cfg.Shape.KVHeads
	return at
}

// runs calls f for the KVs of each block of a head, with the place of the first KV, its slot in either cache,
// and the number of KVs.
func (c *comparison) runs(p pair, f func(at Place, want, got, n int)) {
	size := c.cfg.BlockSize
	for first, n := 0, 0; first < p.want.Len; first += n {
		n = min(size-(p.want.Offset+first)%size, p.want.Len-first)
		a, b := p.want.Slot(first, size), p.got.Slot(first, size)
		at := p.at
		at.Index, at.Slot = p.want.First+first, a
		f(at, a, b, n)
	}
}

func (c *comparison) blocks(want, got *kv.Cache) {
	c.Values += 2 * want.Blocks()
	at := Nowhere
	for b := range want.Blocks() {
		if x, y := want.IsFree(b), got.IsFree(b); x != y {
			at.Index = b
			c.differ("block is free", at, fmt.Sprint(x), fmt.Sprint(y))
		}
	}
	if slices.Equal(want.Owners, got.Owners) {
		return
	}
	for b := range want.Owners {
		if want.Owners[b] != got.Owners[b] {
			at.Index = b
			c.differ("owner of the block", at, ownerText(want.Owners[b]), ownerText(got.Owners[b]))
		}
	}
}

func ownerText(o kv.Owner) string {
	if o == (kv.Owner{Seq: kv.NoSeq}) {
		return "nobody"
	}
	text := fmt.Sprintf("sequence %d, layer %d, head %d, logical block %d", o.Seq, o.Layer, o.Head, o.Logical)
	if o.Part != kv.Both {
		text += " of " + o.Part.String() + " alone"
	}
	return text
}

// column compares the numbers of consecutive KVs in a column.
func (c *comparison) column(column kv.Column, at Place, want, got []float32) {
	c.Values += len(want)
	for i, w := range want {
		if g := got[i]; math.Float32bits(w) != math.Float32bits(g) && !c.near(w, g) {
			at := step(at, i/column.Width)
			if column.Width > 1 {
				at.Element = i % column.Width
			}
			c.float(column.Value, at, w, g)
		}
	}
}

// near reports whether two floats with different bits are within the tolerance.
func (c *comparison) near(want, got float32) bool {
	if c.tolerance.Exact() || !c.tolerance.Allows(want, got) {
		return false
	}
	c.Tolerated++
	c.MaxULPs = max(c.MaxULPs, Distance(want, got))
	return true
}

func (c *comparison) float(what string, at Place, want, got float32) {
	if c.differ(what, at, "", "") {
		c.first.Want, c.first.Got, c.first.ULPs = Float32Text(want), Float32Text(got), Distance(want, got)
	}
}

// row compares the stored bytes of one key or value.
func (c *comparison) row(what string, at Place, want, got []byte) {
	size := c.cfg.DType.Size()
	c.Values += len(want) / size
	if bytes.Equal(want, got) {
		return
	}
	for i := range len(want) / size {
		if bytes.Equal(want[i*size:][:size], got[i*size:][:size]) {
			continue
		}
		at.Element = i
		if c.differ(what, at, "", "") {
			w, a, x := Element(c.cfg.DType, want, i)
			g, b, y := Element(c.cfg.DType, got, i)
			c.first.Want, c.first.Got = w, g
			if a == a && b == b {
				c.first.ULPs = StepsBetween(x, y, 8*size)
			}
		}
	}
}

// run compares integers of consecutive KVs.
func (c *comparison) run(what string, at Place, want, got []int32) {
	c.Values += len(want)
	if slices.Equal(want, got) {
		return
	}
	for i := range want {
		if want[i] != got[i] {
			c.differ(what, step(at, i), fmt.Sprint(want[i]), fmt.Sprint(got[i]))
		}
	}
}

func (c *comparison) ints(what string, at Place, want, got int) {
	c.Values++
	if want != got {
		c.differ(what, at, fmt.Sprint(want), fmt.Sprint(got))
	}
}

// int32s compares lists, entry by entry, and their lengths.
func (c *comparison) int32s(what string, at Place, want, got []int32) {
	c.Values += len(want)
	if slices.Equal(want, got) {
		return
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			at.Index = i
			c.differ(what, at, fmt.Sprint(want[i]), fmt.Sprint(got[i]))
		}
	}
	at.Index = -1
	c.lengths(what, at, len(want), len(got))
}

// lengths records that two lists differ in length.
func (c *comparison) lengths(what string, at Place, want, got int) {
	if want != got {
		c.differ("length of the list: "+what, at, fmt.Sprint(want), fmt.Sprint(got))
	}
}

// differ records a value that differs, and reports whether it is the first.
func (c *comparison) differ(what string, at Place, want, got string) bool {
	i := slices.IndexFunc(c.parts, func(p Part) bool { return p.What == what })
	if i < 0 {
		i = len(c.parts)
		c.parts = append(c.parts, Part{What: what})
	}
	c.parts[i].Values++
	if c.first != nil {
		return false
	}
	c.first = &Divergence{Sides: c.sides, What: what, Place: at, Want: want, Got: got}
	return true
}

// count returns how many values differ.
func (c *comparison) count() int {
	n := 0
	for _, p := range c.parts {
		n += p.Values
	}
	return n
}

// divergence returns the first value that differs and the number of others; nil if all agree.
func (c *comparison) divergence() *Divergence {
	if c.first == nil {
		return nil
	}
	c.first.Parts = c.parts
	c.first.More = c.count() - 1
	return c.first
}
