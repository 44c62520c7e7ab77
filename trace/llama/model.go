// Package llama runs language models of the Llama family on the CPU, in Go, and
// returns the queries, keys and values of every token, as attention with a KV cache
// uses them.
//
// A model comes from a llama2.c checkpoint (one .bin file) or from a Hugging
// Face folder (config.json and safetensors). Weights stay in memory in the
// number format of their file, so a model needs about as much memory as its
// file; the arithmetic is binary32.
//
// Results are the same to the bit on every platform, for every number of processors and
// every number of tokens fed at once. Products are rounded before they are added (no
// fused multiply-add), and exp, sin and cos are defined in ref/NUMERICS.md.
//
// [Load] reads a model. A [Session] runs it over tokens; a [Stepper] runs it layer by layer, with attention
// computed by the caller.
package llama

import (
	"fmt"
	"os"
	"slices"

	"kvcompress/kv"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

// Config describes a model.
type Config struct {
	Dim          int // elements of the hidden state
	HiddenDim    int // hidden elements of the feed-forward layer
	Layers       int
	QueryHeads   int
	KVHeads      int // divides QueryHeads
	HeadSize     int // elements of one head's query, key or value; even
	Vocab        int
	MaxPositions int     // maximum number of tokens of a sequence
	NormEps      float32 // ε of the root mean square norms

	// Rope is the rotary embedding of queries and keys. Its RotarySize is HeadSize.
	Rope trace.Rope

	// Dynamic, if not nil, makes the base of Rope grow with the length of a sequence.
	Dynamic *DynamicRope

	// Windows has the sliding window of each layer in tokens, the query's own included;
	// 0 is full causal attention. nil is 0 for all layers.
	Windows []int

	BOS int   // the token that begins a text, or −1
	EOS []int // the tokens that end a text

	// Format is "llama2.c" or the name of the Hugging Face architecture.
	Format string
}

// Shape returns the attention shape of the model.
func (c Config) Shape() kv.Shape {
	return kv.Shape{
		Layers:   c.Layers,
		KVHeads:  c.KVHeads,
		Group:    c.QueryHeads / c.KVHeads,
		HeadSize: c.HeadSize,
	}
}

// The largest values of a Config's fields: far more than any model has, and small enough that no
// product of the fields in this package overflows an int64.
const (
	maxDim       = 1 << 20
	maxHiddenDim = 1 << 22
	maxLayers    = 1 << 12
	maxHeads     = 1 << 14
	maxHeadSize  = 1 << 12
	maxVocab     = 1 << 22
	maxPositions = 1 << 24 // the largest position that trace.Sincos accepts
)

// validate checks everything that does not need the weights. name returns a
// field's name in the file.
func (c Config) validate(name func(field string) string) error {
	for _, f := range []struct {
		field string
		value int
		max   int
	}{
		{"Dim", c.Dim, maxDim},
		{"HiddenDim", c.HiddenDim, maxHiddenDim},
		{"Layers", c.Layers, maxLayers},
		{"QueryHeads", c.QueryHeads, maxHeads},
		{"KVHeads", c.KVHeads, maxHeads},
		{"HeadSize", c.HeadSize, maxHeadSize},
		{"Vocab", c.Vocab, maxVocab},
		{"MaxPositions", c.MaxPositions, maxPositions},
	} {
		if f.value < 1 || f.value > f.max {
			return fmt.Errorf("%s: %d is not between 1 and %d", name(f.field), f.value, f.max)
		}
	}
	if c.QueryHeads%c.KVHeads != 0 {
		return fmt.Errorf("%s: %d is not a multiple of %s, which is %d",
			name("QueryHeads"), c.QueryHeads, name("KVHeads"), c.KVHeads)
	}
	if c.HeadSize%2 != 0 {
		return fmt.Errorf("%s: %d is odd, but rotary embeddings turn pairs", name("HeadSize"), c.HeadSize)
	}
	if !(c.NormEps >= 0 && c.NormEps < 1) {
		return fmt.Errorf("%s: %g is not between 0 and 1", name("NormEps"), c.NormEps)
	}
	return nil
}

// Model is a model with its weights. It does not change after Load and may be
// used by several sessions at once.
type Model struct {
	cfg     Config
	embed   matrix // [Vocab, Dim]
	layers  []layer
	norm    []float32 // [Dim]
	head    matrix    // [Vocab, Dim]; the same as embed in most small models
	invFreq []float32 // [HeadSize/2], of Rope without dynamic scaling
	unused  []string
}

// layer holds the weights of one layer. Matrices are [outputs, inputs].
type layer struct {
	attnNorm, ffnNorm []float32

	wq, wk, wv, wo matrix
	bq, bk, bv, bo []float32 // nil where the model has none
	qNorm, kNorm   []float32 // [HeadSize], nil where the model has none

	gate, up, down             matrix    // w1, w3 and w2 in llama2.c
	gateBias, upBias, downBias []float32 // nil where the model has none
}

// Config returns the model's description.
func (m *Model) Config() Config { return m.cfg }

// Unused returns the names of the tensors in the model's files that the model does not use,
// sorted. As in Hugging Face's library, they have no effect.
func (m *Model) Unused() []string { return slices.Clone(m.unused) }

// Window returns the sliding window of a layer in tokens, the query's own included, or 0 for
// full causal attention.
func (c Config) Window(layer int) int {
	if c.Windows == nil {
		return 0
	}
	return c.Windows[layer]
}

// Load reads a model: a llama2.c checkpoint if path is a file, a Hugging Face
// folder if it is a folder.
func Load(path string) (*Model, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		m, err := loadFolder(os.DirFS(path))
		if err != nil {
			return nil, fmt.Errorf("llama: %s: %w", path, err)
		}
		return m, nil
	}
	f, err := regular.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("llama: %s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("llama: %w", err)
	}
	return ReadCheckpoint(f, info.Size(), info.Name())
}
