package ref

import (
	"slices"

	"kvcompress/kv"
)

// Stage names a point of the pipeline at which the engine's state is defined to
// the bit, and at which engines are compared.
type Stage string

// The stages, in the order in which one sequence passes them.
const (
	StagePrefill Stage = "prefill" // a prompt and its columns are in the cache
	StageDecode  Stage = "decode"  // a batch has one more token; its attention outputs and columns are known
	StageDecide  Stage = "decide"  // the plan of a compression is known
	StageMove    Stage = "move"    // the remaining KVs are packed and the empty blocks freed
	StageRelease Stage = "release" // a finished sequence's blocks have been freed
)

// Stages returns the stages, in the order in which one sequence passes them.
func Stages() []Stage {
	return []Stage{StagePrefill, StageDecode, StageDecide, StageMove, StageRelease}
}

// Event is what an engine reports after a stage. It is valid only during the call.
type Event struct {
	Stage Stage
	Seqs  []kv.SeqID
	Cache *kv.Cache // after the stage, for reading only
	Plan  *Plan     // only at StageDecide
	Parts []Part    // the stage's results outside the cache
}

// Part is a named array of an event. Digests, comparisons and dumps iterate over parts, and so need no code
// for any method. Either Ints or Floats holds the elements, row-major.
type Part struct {
	Name   string // of the array, as in digests: "outputs", "evicted"
	Value  string // name of one element in messages: "output", "evicted KV"
	Head   int    // layer·H + head, or −1 if the array covers all heads
	Dims   []Dim
	Ints   []int32
	Floats []float32
}

// Dim is one dimension of a part.
type Dim struct {
	Axis Axis
	N    int
}

// Axis says what an index counts.
type Axis uint8

// The axes of parts.
const (
	AxisIndex     Axis = iota // position in a list of KVs or moves
	AxisLayer                 // L
	AxisSequence              // the event's sequences
	AxisQueryHead             // H·G
	AxisElement               // D, or the fields of one entry
)

// Elements returns how many elements the part has.
func (p *Part) Elements() int { return len(p.Ints) + len(p.Floats) }

// OutputsPart is the attention outputs of a decode step: [L, sequences, H·G, D].
func OutputsPart(outputs []float32, shape kv.Shape, sequences int) Part {
	return Part{Name: "outputs", Value: "output", Head: -1, Floats: outputs, Dims: []Dim{
		{AxisLayer, shape.Layers}, {AxisSequence, sequences}, {AxisQueryHead, shape.QueryHeads()}, {AxisElement, shape.HeadSize},
	}}
}

// MovesPart is the moves of a compression, of all heads in (layer, head) order: [moves, 2], the destination
// and source slot of each.
func MovesPart(moves []kv.Move) Part {
	slots := make([]int32, 0, 2*len(moves))
	for _, m := range moves {
		slots = append(slots, m.Destination, m.Source)
	}
	return Part{Name: "moves", Value: "slot of the move", Head: -1, Ints: slots, Dims: []Dim{{AxisIndex, len(moves)}, {AxisElement, 2}}}
}

// Parts returns the plan as parts: the amount asked for, the blocks needed, and for each head the KVs whose
// slots become free. Edits of other kinds add parts for their heads: hidden KVs, KVs folded into a stand-in and
// its index, quantized keys and values, merged keys and values, which of them are retained, and their distances.
func (p *Plan) Parts(heads int) []Part {
	one := func(name, value string, n int) Part {
		return Part{Name: name, Value: value, Head: -1, Ints: []int32{int32(n)}}
	}
	parts := []Part{one("asked", "amount asked for", p.Asked), one("needs", "blocks needed first", p.Needs)}
	var far []Part
	distances := func(name, value string, e *Edit) { // the edits of a pair have the same
		if e.Head < e.With && len(e.Distances) > 0 {
			far = append(far, Part{Name: name, Value: value, Head: e.Head, Floats: e.Distances, Dims: []Dim{{AxisIndex, len(e.Distances)}}})
		}
	}
	list := func(name, value string, head int, kvs []int32) Part {
		return Part{Name: name, Value: value, Head: head, Ints: kvs, Dims: []Dim{{AxisIndex, len(kvs)}}}
	}
	for i, gone := range p.Gone(heads) {
		parts = append(parts, list("evicted", "evicted KV", i, gone))
	}
	var hidden, folded, into, keys, values, retained, retainedValues []Part
	for i := range p.Edits {
		e := &p.Edits[i]
		switch e.Op {
		case Mask:
			hidden = append(hidden, list("hidden", "hidden KV", e.Head, e.KVs))
		case StandIn:
			folded = append(folded, list("folded", "folded KV", e.Head, e.KVs))
			into = append(into, list("into", "stand-in", e.Head, []int32{e.Into}))
		case Quantize:
			if e.Part == kv.Keys {
				keys = append(keys, list("quantized_keys", "quantized key", e.Head, e.KVs))
			} else {
				values = append(values, list("quantized_values", "quantized value", e.Head, e.KVs))
			}
		case Merge:
			if e.Part == kv.Keys {
				keys = append(keys, list("merged_keys", "merged key", e.Head, e.KVs))
				retained = append(retained, list("retained_keys", "retained key", e.Head, e.Retained))
				distances("distances_keys", "distance of keys", e)
			} else {
				values = append(values, list("merged_values", "merged value", e.Head, e.KVs))
				retainedValues = append(retainedValues, list("retained_values", "retained value", e.Head, e.Retained))
				distances("distances_values", "distance of values", e)
			}
		}
	}
	return slices.Concat(parts, hidden, folded, into, keys, values, retained, retainedValues, far)
}
