// Package built makes language models of the Llama architecture whose weights are
// computed and not trained, so that the work of every attention head is known: the ground
// truth for a search of retrieval heads, and a control for compression methods.
//
// A model goes on with what it has seen: after A B … A it says B. In an earlier layer a
// previous-token head tells each token which token stands before it; in a later one an
// induction head finds the token that stands after an earlier copy of the current one.
// Other heads look nearby, at the first token, at copies, or at everything, and change
// nothing of that.
package built

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is the work of a KV head and of its query heads.
type Kind string

// The kinds. What a head reads and writes is in the residual stream: see [Options.Build].
const (
	// Previous attends to the token before. The first layer with such heads writes that
	// token's code where induction and echo heads look for it.
	Previous Kind = "previous"
	// Induction attends to the tokens after earlier copies of the current one, or to the
	// first token of the sequence where there is none, and predicts what it finds.
	Induction Kind = "induction"
	// Echo attends to all copies of the current token, itself included, and reads which
	// token stands before them.
	Echo Kind = "echo"
	// Local attends to the nearest tokens, with a weight that halves about every four
	// tokens at first, and then faster.
	Local Kind = "local"
	// Sink attends to the first token of the sequence, and reads nothing.
	Sink Kind = "sink"
	// Uniform attends to all tokens alike, and reads nothing.
	Uniform Kind = "uniform"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Previous, Induction, Echo, Local, Sink, Uniform} }

// Retrieval reports whether heads of the kind look far back for something that may be
// anywhere.
func (k Kind) Retrieval() bool { return k == Induction || k == Echo }

// Options describe a model.
type Options struct {
	// Heads has the kind of every KV head, [L][H]. All layers have the same number.
	Heads [][]Kind
	Group int // query heads of each KV head, which do the same but for noise; 0 is 2

	Vocab        int // token ids, of which 0 is BOS; 0 is 256
	MaxPositions int // 0 is 4096, at most 8192

	// Noise is added to the weights that make queries, keys and values: so much that their
	// elements have noise of this part of the head's root mean square. It is random but fixed,
	// a function of the token and what the layers before made of it.
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

// The bounds of a model. maxVocab is how many codes of codeSize signs are found apart.
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
		return fmt.Errorf("built: %d positions: want 1 to %d, which keys of slow rotation are good for", o.MaxPositions, maxPositions)
	case !(o.Noise >= 0 && o.Noise <= maxNoise):
		return fmt.Errorf("built: a noise of %v: want 0 to %d", o.Noise, maxNoise)
	}
	first := len(o.Heads[0])
	for l, row := range o.Heads {
		if len(row) == 0 || len(row) > maxKVHeads || len(row) != first {
			return fmt.Errorf("built: layer %d has %d KV heads, and layer 0 has %d: want as many in all, 1 to %d", l, len(row), first, maxKVHeads)
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

// writes returns the layer whose previous-token heads write the code of the token before,
// or the number of layers if there is none.
func (o Options) writes() int {
	for l, row := range o.Heads {
		if slices.Contains(row, Previous) {
			return l
		}
	}
	return len(o.Heads)
}

// after reports whether a layer finds the code of the token before in the residual stream.
func (o Options) after(layer int) bool { return layer > o.writes() }

// count returns how many heads of a kind the layers before the given one have.
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
