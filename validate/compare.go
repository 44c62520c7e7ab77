package validate

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"kvcompress/ref"
)

// comparison compares what two engines report of a stage. Equal values are compared
// in long rows; only of a row that differs is each value looked at.
//
// What is compared, and counts as one value each: of every sequence in the cache its
// number of tokens; of every head its context length and each entry of its block
// table; of every KV its position, its metric, and each element of its key and of its
// value; of every block whether it is free and who owns it; each element of the
// attention outputs; of a decision the blocks asked for and evicted, the blocks that
// each head loses, and each KV that falls; each move. The contents of a head whose
// table or length differs are not compared.
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
	Tolerated int    `json:"values_tolerated,omitempty"` // of them, that have other bits and agree by the tolerance
	MaxULPs   uint64 `json:"max_ulp,omitempty"`          // how far the farthest of those are off
}

// Add takes in what was compared elsewhere.
func (t *Tally) Add(other Tally) {
	t.Values += other.Values
	t.Tolerated += other.Tolerated
	t.MaxULPs = max(t.MaxULPs, other.MaxULPs)
}

// events compares two reports of one stage.
func (c *comparison) events(want, got ref.Event) {
	if want.Stage != got.Stage || !slices.Equal(want.Seqs, got.Seqs) {
		c.differ("stage", nowhere, stageText(want), stageText(got))
		return
	}
	switch want.Stage {
	case ref.StageDecide:
		if got.Decision == nil {
			c.differ("decision", nowhere, "one", "none")
		} else {
			c.decisions(want.Seqs[0], want.Decision, got.Decision)
		}
	case ref.StageMove:
		c.moves(want.Seqs[0], want.Moves, got.Moves)
	}
	if c.readable(want.Cache, got.Cache) {
		c.caches(want, got)
	}
}

func stageText(e ref.Event) string { return fmt.Sprintf("%s of %s", e.Stage, sequences(e.Seqs)) }

func (c *comparison) readable(want, got *ref.Cache) bool {
	switch {
	case got == nil:
		c.differ("cache", nowhere, "one", "none")
	case got.Blocks() != want.Blocks():
		c.differ("blocks of the cache", nowhere, fmt.Sprint(want.Blocks()), fmt.Sprint(got.Blocks()))
	case got.Shape() != want.Shape():
		c.differ("shape of the cache", nowhere, fmt.Sprint(want.Shape()), fmt.Sprint(got.Shape()))
	default:
		return true
	}
	return false
}

// decisions compares what two decisions about one sequence say.
func (c *comparison) decisions(id ref.SeqID, want, got *ref.Decision) {
	at := nowhere
	at.Sequence = id
	c.ints("blocks asked for", at, want.Asked, got.Asked)
	c.ints("blocks evicted", at, want.Evicted, got.Evicted)
	if len(want.Heads) != len(got.Heads) {
		c.differ("heads of the decision", at, fmt.Sprint(len(want.Heads)), fmt.Sprint(len(got.Heads)))
		return
	}
	for i := range want.Heads {
		at := c.head(id, i)
		a, b := &want.Heads[i], &got.Heads[i]
		c.ints("blocks that the head loses", at, a.Blocks, b.Blocks)
		c.int32s("evicted KV", at, a.KVs, b.KVs)
	}
}

func (c *comparison) moves(id ref.SeqID, want, got []ref.Move) {
	c.Values += len(want)
	if slices.Equal(want, got) {
		return
	}
	at := nowhere
	at.Sequence = id
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			at.Index = i
			c.differ("move", at, moveText(want[i]), moveText(got[i]))
		}
	}
	at.Index = -1
	c.lengths("move", at, len(want), len(got))
}

func moveText(m ref.Move) string { return fmt.Sprintf("slot %d to %d", m.Source, m.Destination) }

// pair is one head of one sequence in both engines. Its contents can be compared.
type pair struct {
	at        Place // sequence, layer and head
	want, got *ref.Head
}

// caches compares everything that the cache holds, part by part, in the order in
// which the parts depend on each other.
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
	c.outputs(want, got)
	for _, p := range heads {
		c.runs(p, func(at Place, a, b, n int) {
			c.metrics(at, want.Cache.Metrics[a:a+n], got.Cache.Metrics[b:b+n])
		})
	}
}

// step is the place of the i-th KV of a run.
func step(at Place, i int) Place {
	at.Index += i
	at.Slot += i
	return at
}

// tables compares which sequences there are, their lengths, and the lengths and
// block tables of their heads. It returns the heads for which both are equal, and
// can be read.
func (c *comparison) tables(want, got *ref.Cache) []pair {
	wantIDs, gotIDs := want.Sequences(), got.Sequences()
	if !slices.Equal(wantIDs, gotIDs) {
		c.differ("sequences in the cache", nowhere, fmt.Sprint(wantIDs), fmt.Sprint(gotIDs))
	}
	var heads []pair
	for _, id := range wantIDs {
		a, b := want.Sequence(id), got.Sequence(id)
		if b == nil {
			continue
		}
		at := nowhere
		at.Sequence = id
		c.ints("tokens of the sequence", at, a.Len, b.Len)
		for i := range a.Heads {
			p := pair{c.head(id, i), &a.Heads[i], &b.Heads[i]}
			differ := c.count()
			c.ints("context length", p.at, p.want.Len, p.got.Len)
			c.int32s("block table entry", p.at, p.want.Table, p.got.Table)
			if c.count() == differ {
				heads = append(heads, p)
			}
		}
	}
	return heads
}

// head is the place of the i-th of a sequence's L·H heads.
func (c *comparison) head(id ref.SeqID, i int) Place {
	at := nowhere
	at.Sequence, at.Layer, at.Head = id, i/c.cfg.Shape.KVHeads, i%c.cfg.Shape.KVHeads
	return at
}

// runs calls f for the KVs of each block of a head: the place of the first, its slot
// in either cache, and how many they are.
func (c *comparison) runs(p pair, f func(at Place, want, got, n int)) {
	size := c.cfg.BlockSize
	for first := 0; first < p.want.Len; first += size {
		a, b := p.want.Slot(first, size), p.got.Slot(first, size)
		at := p.at
		at.Index, at.Slot = first, a
		f(at, a, b, min(size, p.want.Len-first))
	}
}

func (c *comparison) blocks(want, got *ref.Cache) {
	c.Values += 2 * want.Blocks()
	at := nowhere
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

func ownerText(o ref.Owner) string {
	if o == (ref.Owner{Seq: ref.NoSeq}) {
		return "nobody"
	}
	return fmt.Sprintf("sequence %d, layer %d, head %d, logical block %d", o.Seq, o.Layer, o.Head, o.Logical)
}

// outputs compares attention outputs: [L, sequences, H·G, D].
func (c *comparison) outputs(want, got ref.Event) {
	c.Values += len(want.Outputs)
	if len(want.Outputs) != len(got.Outputs) {
		c.lengths("output", nowhere, len(want.Outputs), len(got.Outputs))
		return
	}
	queries, size := c.cfg.Shape.QueryHeads(), c.cfg.Shape.HeadSize
	for i, w := range want.Outputs {
		g := got.Outputs[i]
		if math.Float32bits(w) == math.Float32bits(g) || c.near(w, g) {
			continue
		}
		row := i / size
		at := nowhere
		at.Element, at.Head = i%size, row%queries
		at.Sequence = want.Seqs[row/queries%len(want.Seqs)]
		at.Layer = row / queries / len(want.Seqs)
		c.float("output", at, w, g)
	}
}

func (c *comparison) metrics(at Place, want, got []float32) {
	c.Values += len(want)
	for i, w := range want {
		if g := got[i]; math.Float32bits(w) != math.Float32bits(g) && !c.near(w, g) {
			c.float("metric", step(at, i), w, g)
		}
	}
}

// near reports whether two floats of different bits are near enough.
func (c *comparison) near(want, got float32) bool {
	if c.tolerance.exact() || !c.tolerance.allows(want, got) {
		return false
	}
	c.Tolerated++
	c.MaxULPs = max(c.MaxULPs, distance(want, got))
	return true
}

func (c *comparison) float(what string, at Place, want, got float32) {
	if c.differ(what, at, "", "") {
		c.first.Want, c.first.Got, c.first.ULPs = float32Text(want), float32Text(got), distance(want, got)
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
			w, a, x := element(c.cfg.DType, want, i)
			g, b, y := element(c.cfg.DType, got, i)
			c.first.Want, c.first.Got = w, g
			if a == a && b == b {
				c.first.ULPs = stepsBetween(x, y, 8*size)
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

// lengths notes that two lists are not as long as each other.
func (c *comparison) lengths(what string, at Place, want, got int) {
	if want != got {
		c.differ("length of the list: "+what, at, fmt.Sprint(want), fmt.Sprint(got))
	}
}

// differ notes a value that differs, and reports whether it is the first.
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

// divergence returns the first value that differs, with how many more do; nil if
// all agree.
func (c *comparison) divergence() *Divergence {
	if c.first == nil {
		return nil
	}
	c.first.Parts = c.parts
	c.first.More = c.count() - 1
	return c.first
}
