package ref

import (
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
)

// Method is a way of compressing a KV cache: what it observes and what it decides. The engine carries out the
// decision. A method has no state: all that it remembers of a KV is in the columns that it declares, so the
// same cache always gives the same plan.
type Method interface {
	// Name is the method's name, as --method takes it.
	Name() string

	// Columns declares what is stored for every KV besides K, V and position.
	Columns() []kv.Column

	// Observe says which attention the method observes; nil is none.
	Observe() *Observation

	// Asks returns how much a compression of a sequence would ask for now, in the method's unit (blocks or
	// KVs); 0 if there is nothing to compress.
	Asks(Counts) int

	// Plan returns the plan of a compression. Spec is its specification: it returns the same plan, written
	// for reading rather than speed.
	Plan(v View) Plan
	Spec(v View) Plan
}

// Dropper is a method that only evicts KVs: on every engine its plan follows from a ranking.
type Dropper interface {
	Method

	// Rank says which KVs are evicted. It depends on Counts alone; scores are read from the columns later.
	Rank(Counts) Ranking
}

// Counter is a method other than a Dropper whose effect on lengths depends on lengths alone.
type Counter interface {
	Method

	// Evicts returns how many KVs each head loses by a compression: [L·H].
	Evicts(Counts) []int
}

// Quantizer is a method that quantizes the oldest KVs, the same number in every head, and does nothing else.
// It declares no columns and observes nothing. Asks counts the keys plus the values to quantize.
type Quantizer interface {
	Method

	// Formats returns the page formats of quantized keys and values.
	Formats() (keys, values kv.Format)

	// Quantizes returns how many of each head's oldest keys and values are quantized after a compression of a
	// sequence of tokens tokens, generated ones included: whole units of the formats.
	Quantizes(tokens int) (keys, values int)
}

// Merger is a method that merges the keys, and the values, of pairs of layers, and does nothing else. A
// Merger that is also a [Quantizer] quantizes those of the other layers. It declares no columns and observes
// nothing. A compression merges everything that is not merged yet. Asks counts the keys plus the values to
// merge.
type Merger interface {
	Method

	// Merging says which layers are merged, and how. Directions returns the page format of merged keys and
	// values.
	Merging() Merging
	Directions() kv.Format

	// Retention says which tokens are retained.
	Retention() Retention

	// Retains returns how many keys, and how many values, of each head are retained if the first merge has
	// that many tokens and none is retained later. known is false if the number depends on keys and values.
	Retains(tokens int) (kvs int, known bool)
}

// KeepsAll reports whether a method keeps every KV, in page formats of its own. Each head then holds as many
// KVs as the sequence has tokens.
func KeepsAll(m Method) bool {
	switch m.(type) {
	case Quantizer, Merger:
		return true
	}
	return false
}

// Protector is a method other than a Dropper that leaves some tokens alone. (A Dropper's ranking says which
// tokens it protects.)
type Protector interface {
	Method

	// Protects returns how many of a sequence's oldest and newest tokens are in no edit of a plan made now.
	Protects(Counts) (sinks, newest int)
}

// UnsupportedError says why an engine does not run a method: either only the reference runs it, or no engine
// does and it can only be planned (kvc sim, kvc sweep).
type UnsupportedError struct{ Err error }

func (e *UnsupportedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// Patient is a method that can say for how many tokens it will ask for nothing, so that a serving loop need
// not ask after every token. If it is also a Dropper, then after the first generated token its ranking
// depends only on the lengths of the prompt and the heads.
type Patient interface {
	Method

	// Quiet returns a number of tokens that can enter a sequence, one after another, with Asks being 0 after
	// each. math.MaxInt means that Asks stays 0.
	Quiet(Counts) int
}

// Counts are the lengths of one sequence. The size of a compression depends on nothing else.
type Counts struct {
	Prompt int   // tokens of the prompt
	Tokens int   // all tokens, the prompt's included
	Heads  []int // [L·H] KVs that each head holds

	// For a [Quantizer] or [Merger]: how many of each head's oldest keys and values are quantized or merged,
	// [L·H]; nil for none.
	Keys, Values []int
}

// Whole reports whether no token has been generated and no head has lost a KV. Methods that compress once,
// after the prompt, do so then.
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

// belowCapacity returns how many tokens can enter before a head holds more KVs than its capacity, which is at
// least `least` with a rate. Without compression there is no capacity.
func (c *Counts) belowCapacity(o *Compression, least int) int {
	if !o.Enabled() {
		return math.MaxInt
	}
	return max(0, o.capacity(c.Prompt, least)-slices.Max(c.Heads))
}

// Asks returns the number of units that the ranking's quotas ask for.
func (r Ranking) Asks() int { return asked(r.Quotas) }

// View is what a method may see of a sequence: lengths, block tables, positions, columns, and the stored keys
// and values. It is for reading only.
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

// Plan is what one compression of a sequence does.
type Plan struct {
	Asked int    // amount asked for, in the method's unit
	Needs int    // free blocks that the edits need at least, when carried out in rounds: see Rounds
	Takes int    // blocks taken minus blocks freed; negative if more are freed
	Edits []Edit // ascending by head; for each head, operation and part at most one, with different KVs
}

// Edit is one change to KVs of one head.
type Edit struct {
	Op   Op
	Part kv.Part // Quantize, Merge: Keys or Values; else Both
	Head int     // layer·H + head
	With int     // Merge: the other layer's head; else 0
	KVs  []int32 // logical indices, ascending
	Into int32   // StandIn: logical index of the stand-in that the KVs are folded into, or None for a new one

	Retained  []int32   // Merge: which of KVs are retained, so stored unmerged too
	Limit     float32   // Merge: a token merged later is retained if its distance is above this
	Distances []float32 // Merge: of each of KVs between the two layers, where that decides which are retained; an engine without an observer may leave it out
}

// None is an index that means none: no KV, no column.
const None = -1

// Op is what an edit does.
type Op uint8

// The operations.
const (
	Drop     Op = iota // the KVs are evicted; the others are packed
	Mask               // exactly these KVs of the head are hidden from queries until the next plan
	StandIn            // the KVs are folded into one entry that represents them: see StandIns
	Quantize           // keys or values of consecutive KVs are quantized into pages of their own: see Quantizer
	Merge              // keys or values of consecutive KVs get a common direction with another layer's; both heads have an edit: see Merger
)

// packs reports whether the edit moves keys or values into pages of another format.
func (e *Edit) packs() bool { return e.Op == Quantize || e.Op == Merge }

// gone returns the KVs whose slots the edit empties. A new stand-in occupies the slot of the edit's first KV.
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

// Gone returns, for each of the sequence's heads, the logical indices of the KVs whose slots become free,
// ascending.
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

// Need returns how many free blocks the plan needs to be carried out. next is the number of blocks that the
// next token of all sequences in the cache takes. A plan that takes more blocks than it frees must leave
// those next blocks free: otherwise the next step would preempt a sequence, maybe this one.
func (p *Plan) Need(next int) int {
	if p.Takes <= 0 {
		return p.Needs
	}
	return max(p.Needs, p.Takes+next)
}

// KVs returns how many slots the plan empties: evicted KVs, and KVs folded into stand-ins.
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

// Rounds carries out a plan that takes blocks, in rounds of several heads (or pairs of heads). round handles
// items first to last − 1: all of them take their blocks before any block of the round is freed. taken and
// freed are the blocks of each item, free the number of free blocks at the start. A round has as many items
// as fit into the free blocks. Rounds returns false if not even one fits, which cannot happen if free ≥
// Needs.
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

// needs returns the smallest number of free blocks with which Rounds succeeds, and the blocks taken minus
// those freed.
func needs(taken, freed []int) (most, takes int) {
	for i := range taken {
		most = max(most, takes+taken[i])
		takes += taken[i] - freed[i]
	}
	return most, takes
}

// Then returns a plan that carries out p and then other, which edits other heads of the same sequence.
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

// Freed returns how many blocks of blockSize KVs the plan frees. heads are those of the sequence before it.
func (p *Plan) Freed(heads []kv.Head, blockSize int) int {
	n := 0
	for i, gone := range p.Gone(len(heads)) {
		held := heads[i].KVs()
		n += ceil.Div(held, blockSize) - ceil.Div(held-len(gone), blockSize)
	}
	for i, more := range p.packed(len(heads)) {
		n += leaves(&heads[i], more, blockSize)
	}
	return n
}

// packed returns how many keys and values of each head the plan quantizes or merges, indexed by kv.Part; nil
// for none.
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

// leaves returns how many plain blocks of a head become free when more of its keys and values are quantized
// or merged.
func leaves(h *kv.Head, more [3]int, blockSize int) int {
	first := min(h.End(kv.Keys)+more[kv.Keys], h.End(kv.Values)+more[kv.Values])
	return max(0, first/blockSize-h.First/blockSize)
}
