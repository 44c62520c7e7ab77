package ref

import (
	"slices"

	"kvcompress/kv"
)

// Method is a way of compressing a KV cache: what it watches, and what it decides. It
// decides; the engine acts. A method has no state of its own: all that it remembers of
// a KV is in the columns that it declares, so that the same cache always gives the
// same plan.
type Method interface {
	// Name is the method's name, as --method takes it.
	Name() string

	// Columns declares what the method keeps of every KV beside K, V and position.
	Columns() []kv.Column

	// Observe says which attention the method watches; nil is none.
	Observe() *Observation

	// Asks returns what a compression of a sequence would ask for now, in the method's
	// unit: blocks or KVs. 0 is nothing to do.
	Asks(Counts) int

	// Plan returns what a compression does to a sequence. Spec is its specification:
	// it returns the same, written to be read, and slower.
	Plan(v View) Plan
	Spec(v View) Plan
}

// Dropper is a method that does nothing but drop KVs: its plan follows from a ranking, on
// any engine.
type Dropper interface {
	Method

	// Rank says which KVs go. It depends on counts alone; what the KVs hold decides in the
	// columns.
	Rank(Counts) Ranking
}

// Counter is a method whose effect on lengths follows from lengths alone, and which is no
// Dropper.
type Counter interface {
	Method

	// Evicts returns how many KVs fewer each head holds after a compression: [L·H].
	Evicts(Counts) []int
}

// Quantizer is a method that quantizes the oldest KVs of every head alike, and does nothing
// else. It declares no columns and watches nothing. What its plans ask for is how many keys and
// values they quantize, each counted by itself.
type Quantizer interface {
	Method

	// Formats returns how quantized keys and values lie in pages.
	Formats() (keys, values kv.Format)

	// Quantizes returns how many of the oldest keys, and of the oldest values, of each head are quantized
	// after a compression of a sequence that has had tokens tokens: whole units of the formats.
	Quantizes(tokens int) (keys, values int)
}

// Merger is a method that merges the keys, and the values, of pairs of layers, and does nothing else. One that is a
// [Quantizer] too quantizes those of the other layers. It declares no columns and watches nothing. A compression merges all that is not merged yet. What its plans ask for is
// how many keys and values they merge, each counted by itself.
type Merger interface {
	Method

	// Merging says which layers are merged, and how; Directions in which format merged keys, and values, lie in pages.
	Merging() Merging
	Directions() kv.Format

	// Retention says which tokens are retained.
	Retention() Retention

	// Retains returns how many keys, and how many values, of each head are retained when the
	// first merge has that many tokens, if none is retained later; known is false if keys and
	// values decide how many.
	Retains(tokens int) (kvs int, known bool)
}

// KeepsAll reports whether a method keeps every KV, in pages of its own: each head then holds
// as many as tokens have entered.
func KeepsAll(m Method) bool {
	switch m.(type) {
	case Quantizer, Merger:
		return true
	}
	return false
}

// Protector is a method, no Dropper, that leaves some tokens alone. Of a Dropper the ranking
// says which.
type Protector interface {
	Method

	// Protects returns how many of a sequence's oldest and of its newest tokens are in no
	// edit of a plan made now.
	Protects(Counts) (sinks, newest int)
}

// UnsupportedError says why an engine does not run a method: an engine under test one that
// the reference runs, or any engine one that is only planned.
type UnsupportedError struct{ Err error }

func (e *UnsupportedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// Patient is a method that can say for how long it will ask for nothing, so that a serving
// loop need not ask after every token. One that is a Dropper ranks, once a token was
// generated, by the prompt's length and the heads' lengths alone.
type Patient interface {
	Method

	// Quiet returns a number of tokens that can enter a sequence, one after another, so
	// that Asks is 0 after each of them. math.MaxInt says that it is 0 for good.
	Quiet(Counts) int
}

// Counts are the lengths of one sequence: all that the size of a compression depends on.
type Counts struct {
	Prompt int   // tokens that entered as the prompt
	Tokens int   // that have entered, the prompt's included
	Heads  []int // [L·H] KVs that each head holds

	// Of a [Quantizer] or a [Merger]: how many of each head's oldest keys and values are quantized, or merged, [L·H];
	// nil for none.
	Keys, Values []int
}

// Whole reports whether no token was generated yet, and no head has lost a KV: methods
// that act once, after the prompt, act then.
func (c *Counts) Whole() bool {
	if c.Tokens != c.Prompt {
		return false
	}
	for _, n := range c.Heads {
		if n != c.Tokens {
			return false
		}
	}
	return true
}

// belowCapacity returns how many tokens can enter until a head holds more than capacity.
func (c *Counts) belowCapacity(capacity int) int { return max(0, capacity-slices.Max(c.Heads)) }

// Asks returns the units that the ranking's quotas ask for.
func (r Ranking) Asks() int { return asked(r.Quotas) }

// View is what a method may see of a sequence: lengths, tables, positions, columns,
// and keys and values as they are stored. It is for reading.
type View struct {
	Cache    *kv.Cache
	Sequence *kv.Sequence
}

// Counts returns the sequence's lengths.
func (v View) Counts() Counts {
	c := Counts{Prompt: v.Sequence.Prompt, Tokens: v.Sequence.Len, Heads: make([]int, len(v.Sequence.Heads))}
	for i := range c.Heads {
		h := &v.Sequence.Heads[i]
		c.Heads[i] = h.KVs()
		if len(h.Keys)+len(h.Values) == 0 {
			continue
		}
		if c.Keys == nil {
			c.Keys, c.Values = make([]int, len(c.Heads)), make([]int, len(c.Heads))
		}
		c.Keys[i], c.Values[i] = h.End(kv.Keys), h.End(kv.Values)
	}
	return c
}

// drop returns the plan of a ranking, decided by Decide or by Walk.
func (v View) drop(r Ranking, decide func(*Problem) Decision) Plan {
	if r.Asks() == 0 {
		return Plan{}
	}
	d := decide(r.Problem(v.Cache, v.Sequence))
	return d.Plan()
}

// Plan returns the decision as a plan.
func (d *Decision) Plan() Plan {
	p := Plan{Asked: d.Asked}
	for i, h := range d.Heads {
		if len(h.KVs) > 0 {
			p.Edits = append(p.Edits, Edit{Op: Drop, Head: i, KVs: h.KVs})
		}
	}
	return p
}

// Plan is what a compression of one sequence does.
type Plan struct {
	Asked int    // what was asked for, in the method's unit
	Needs int    // free blocks without which the edits cannot be carried out, head by head: see Rounds
	Takes int    // blocks that it takes beyond those that come free; below 0 where more come free
	Edits []Edit // by head, ascending; at most one for each head, operation and part, of different KVs
}

// Edit is one change of the KVs of one head.
type Edit struct {
	Op   Op
	Part kv.Part // Quantize, Merge: of Keys or of Values; else Both
	Head int     // layer·H + head
	With int     // of an edit of two layers' heads: the other head; else 0
	KVs  []int32 // logical indices, ascending
	Into int32   // StandIn: the logical index of the stand-in that takes them in, or None

	Retained []int32 // Merge: those of the KVs that stay beside as they are
	Limit    float32 // Merge: the distance above which a later one is retained
}

// None is no index: of a KV, of a column.
const None = -1

// Op is what an edit does.
type Op uint8

// The operations.
const (
	Drop     Op = iota // the KVs are gone; the survivors are packed
	Mask               // the KVs, and no others of the head, are hidden from queries until the next plan
	StandIn            // the KVs are folded into one that stands for them: see StandIns
	Quantize           // the keys, or the values, of consecutive KVs become codes in pages of their own: see Quantizer
	Merge              // the keys, or the values, of consecutive KVs get a direction in common with another layer's; there is an edit for both heads: see Merger
)

// packs reports whether the edit moves keys or values into pages of another format.
func (e *Edit) packs() bool { return e.Op == Quantize || e.Op == Merge }

// gone returns the KVs whose slots the edit empties. A new stand-in takes the slot of the
// lowest KV.
func (e *Edit) gone() []int32 {
	switch {
	case e.Op == Mask, e.packs():
		return nil
	case e.Op == StandIn && e.Into == None:
		return e.KVs[1:]
	default:
		return e.KVs
	}
}

// Gone returns, for each of the sequence's heads, the KVs whose slots come free: logical
// indices, ascending. The slice has one element for each head.
func (p *Plan) Gone(heads int) [][]int32 {
	gone := make([][]int32, heads)
	for i := range p.Edits {
		e := &p.Edits[i]
		if gone[e.Head] == nil {
			gone[e.Head] = e.gone()
			continue
		}
		gone[e.Head] = slices.Concat(gone[e.Head], e.gone())
		slices.Sort(gone[e.Head])
	}
	return gone
}

// Need returns the free blocks without which the plan is not carried out, where the next token of every sequence in
// the cache takes next blocks together. A plan that takes more blocks than come free leaves those for the tokens:
// else it would have a sequence preempted, maybe its own.
func (p *Plan) Need(next int) int {
	if p.Takes <= 0 {
		return p.Needs
	}
	return max(p.Needs, p.Takes+next)
}

// KVs returns how many slots the plan empties: KVs that are dropped, or folded into others.
func (p *Plan) KVs() int {
	n := 0
	for i := range p.Edits {
		n += len(p.Edits[i].gone())
	}
	return n
}

// Hidden returns how many KVs the plan hides.
func (p *Plan) Hidden() int {
	n := 0
	for i := range p.Edits {
		if e := &p.Edits[i]; e.Op == Mask {
			n += len(e.KVs)
		}
	}
	return n
}

// Quantized returns how many keys and values the plan quantizes.
func (p *Plan) Quantized() int {
	n := 0
	for i := range p.Edits {
		if e := &p.Edits[i]; e.Op == Quantize {
			n += len(e.KVs)
		}
	}
	return n
}

// Merged returns how many keys and values the plan merges.
func (p *Plan) Merged() int {
	n := 0
	for i := range p.Edits {
		if e := &p.Edits[i]; e.Op == Merge {
			n += len(e.KVs)
		}
	}
	return n
}

// Rounds carries out a plan that takes blocks, some heads (or pairs of heads) at a time:
// round does those numbered first to last − 1, which take all their blocks before any come
// free. taken and freed are the blocks of each, free the free blocks before. A round has as
// many heads as there are free blocks for. Rounds returns false if there are too few for
// one; with free ≥ Needs there never are.
func Rounds(taken, freed []int, free int, round func(first, last int) error) (bool, error) {
	for first := 0; first < len(taken); {
		last, after := first, free
		for last < len(taken) && taken[last] <= free {
			free -= taken[last]
			after += freed[last] - taken[last]
			last++
		}
		if last == first {
			return false, nil
		}
		if err := round(first, last); err != nil {
			return true, err
		}
		first, free = last, after
	}
	return true, nil
}

// needs returns the fewest free blocks with which Rounds carries out everything, and how many it takes beyond those
// that come free.
func needs(taken, freed []int) (most, takes int) {
	for i := range taken {
		most = max(most, takes+taken[i])
		takes += taken[i] - freed[i]
	}
	return most, takes
}

// Then returns the plan that carries out p first, and then another of other heads of the same sequence.
func (p *Plan) Then(other *Plan) Plan {
	both := Plan{
		Asked: p.Asked + other.Asked,
		Needs: max(p.Needs, p.Takes+other.Needs),
		Takes: p.Takes + other.Takes,
		Edits: slices.Concat(p.Edits, other.Edits),
	}
	slices.SortStableFunc(both.Edits, func(a, b Edit) int { return a.Head - b.Head })
	return both
}

// Freed returns how many blocks of blockSize KVs the plan frees of the heads of the
// sequence for which it was made.
func (p *Plan) Freed(heads []kv.Head, blockSize int) int {
	n := 0
	for i, gone := range p.Gone(len(heads)) {
		held := heads[i].KVs()
		n += ceilDiv(held, blockSize) - ceilDiv(held-len(gone), blockSize)
	}
	for i, more := range p.packed(len(heads)) {
		n += leaves(&heads[i], more, blockSize)
	}
	return n
}

// packed returns how many keys and values of each head the plan quantizes or merges, by kv.Part; nil for
// none.
func (p *Plan) packed(heads int) [][3]int {
	var more [][3]int
	for i := range p.Edits {
		if e := &p.Edits[i]; e.packs() {
			if more == nil {
				more = make([][3]int, heads)
			}
			more[e.Head][e.Part] += len(e.KVs)
		}
	}
	return more
}

// leaves returns how many plain blocks come free of a head when more of its keys and values
// are quantized or merged.
func leaves(h *kv.Head, more [3]int, blockSize int) int {
	first := min(h.End(kv.Keys)+more[kv.Keys], h.End(kv.Values)+more[kv.Values])
	return max(0, first/blockSize-h.First/blockSize)
}
