// Package built makes language models of the Llama architecture with weights that are
// constructed instead of trained, so that the function of every attention head is known. They
// are the ground truth for the search of retrieval heads and a control for compression methods.
//
// A model repeats what it has seen: after A B … A it predicts B. A previous-token head in an
// earlier layer writes to each token which token stands before it. An induction head in a later
// layer finds the token that stands after an earlier copy of the current one. Other heads attend
// to nearby tokens, to the first token, to copies, or to all tokens, and do not affect the
// prediction.
//
// Start with [Options.Build].
package built

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is the function of a KV head and of its query heads.
type Kind string

// The kinds. Heads read from and write to the residual stream: see [Options.Build].
const (
	// Previous attends to the previous token. The heads of the first layer that has such heads
	// write that token's code to the residual stream, where induction and echo heads read it.
	Previous Kind = "previous"
	// Induction attends to the tokens after earlier copies of the current one, or to the
	// first token of the sequence where there is none, and predicts what it finds.
	Induction Kind = "induction"
	// Echo attends to all copies of the current token, itself included, and reads the code of
	// the token before each.
	Echo Kind = "echo"
	// Local attends to the nearest tokens. Its weight halves about every four tokens at first,
	// and then faster.
	Local Kind = "local"
	// Sink attends to the first token of the sequence, and reads nothing.
	Sink Kind = "sink"
	// Uniform attends to all tokens equally, and reads nothing.
	Uniform Kind = "uniform"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Previous, Induction, Echo, Local, Sink, Uniform} }

// Retrieval reports whether heads of the kind are retrieval heads: they attend to matching
// tokens anywhere in the context.
func (k Kind) Retrieval() bool { return k == Induction || k == Echo }

// Options describe a model.
type Options struct {
	// Heads has the kind of every KV head, [L][H]. All layers have the same number.
	Heads [][]Kind
	Group int // query heads of each KV head, equal up to noise; 0 is 2

	Vocab        int // token ids, of which 0 is BOS; 0 is 256
	MaxPositions int // 0 is 4096, at most 8192

	// Noise is the standard deviation of the noise in elements of queries, keys and values, as a
	// fraction of the head's root mean square. Random numbers are added to the weights, so the
	// noise of a model is fixed: a function of the input of the layer.
	Noise float64
	Seed  uint64 // decides the tokens' codes and the noise
}

// Default returns a model of two layers of four KV heads, with an induction and an echo
// head in the second.
func Default() Options {
	return Options{Heads: [][]Kind{
		{Previous, Local, Sink, Uniform},
		{Local, Induction, Sink, Echo},
	}}
}

// ParseHeads reads the kinds of a model's KV heads: commas between the heads of a
// layer, and semicolons between layers.
func ParseHeads(text string) ([][]Kind, error) {
	var all [][]Kind
	for layer := range strings.SplitSeq(text, ";") {
		var row []Kind
		for name := range strings.SplitSeq(layer, ",") {
			row = append(row, Kind(strings.TrimSpace(name)))
		}
		all = append(all, row)
	}
	return all, Options{Heads: all}.Check()
}

// The bounds of a model. maxVocab is the number of codes that can be drawn with at most
// maxOverlap.
const (
	maxLayers    = 32
	maxKVHeads   = 64
	maxGroup     = 16
	maxVocab     = 4096
	maxPositions = 8192
	maxNoise     = 100
)

func (o Options) withDefaults() Options {
	for value, byDefault := range map[*int]int{&o.Group: 2, &o.Vocab: 256, &o.MaxPositions: 4096} {
		if *value == 0 {
			*value = byDefault
		}
	}
	return o
}

// Check returns an error that says which option is wrong.
func (o Options) Check() error {
	o = o.withDefaults()
	switch {
	case len(o.Heads) == 0 || len(o.Heads) > maxLayers:
		return fmt.Errorf("built: %d layers: want 1 to %d", len(o.Heads), maxLayers)
	case o.Group < 1 || o.Group > maxGroup:
		return fmt.Errorf("built: %d query heads of a KV head: want 1 to %d", o.Group, maxGroup)
	case o.Vocab < 2 || o.Vocab > maxVocab:
		return fmt.Errorf("built: a vocabulary of %d: want 2 to %d", o.Vocab, maxVocab)
	case o.MaxPositions < 1 || o.MaxPositions > maxPositions:
		return fmt.Errorf("built: %d positions: want 1 to %d: beyond, the slowest RoPE pairs turn too far", o.MaxPositions, maxPositions)
	case !(o.Noise >= 0 && o.Noise <= maxNoise):
		return fmt.Errorf("built: a noise of %v: want 0 to %d", o.Noise, maxNoise)
	}
	first := len(o.Heads[0])
	for l, row := range o.Heads {
		if len(row) == 0 || len(row) > maxKVHeads || len(row) != first {
			return fmt.Errorf("built: layer %d has %d KV heads, and layer 0 has %d: want the same number in all layers, 1 to %d", l, len(row), first, maxKVHeads)
		}
		for h, k := range row {
			if !slices.Contains(Kinds(), k) {
				return fmt.Errorf("built: head %d of layer %d: there is no kind %q: want one of %v", h, l, k, Kinds())
			}
			if k == Induction && !o.after(l) {
				return fmt.Errorf("built: head %d of layer %d: an induction head needs a previous-token head in an earlier layer", h, l)
			}
		}
	}
	return nil
}

// writes returns the layer whose previous-token heads write the code of the previous token, or
// the number of layers if there is none.
func (o Options) writes() int {
	for l, row := range o.Heads {
		if slices.Contains(row, Previous) {
			return l
		}
	}
	return len(o.Heads)
}

// after reports whether the residual stream before a layer has the code of the previous token.
func (o Options) after(layer int) bool { return layer > o.writes() }

// count returns the number of KV heads of a kind in the first layers.
func (o Options) count(k Kind, layers int) int {
	n := 0
	for _, row := range o.Heads[:layers] {
		for _, x := range row {
			if x == k {
				n++
			}
		}
	}
	return n
}
