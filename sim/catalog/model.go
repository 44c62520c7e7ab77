package catalog

import (
	"errors"
	"fmt"

	"kvcompress/kv"
)

// Model is a decoder of the Llama family: what its size, memory and time follow
// from.
type Model struct {
	Name         string
	Aliases      []string // other names that it is known by
	Shape        kv.Shape // layers, KV heads, query heads per KV head, head size
	Hidden       int
	Intermediate int // of the gated MLP
	Vocab        int
	Tied         bool    // the output matrix is the embedding table
	QKVBias      bool    // as in Qwen2
	MaxLen       int     // longest context, tokens
	Weights      Weights // format that the weights are published in
	Source       string
}

func (m *Model) is(name string) bool {
	if key(m.Name) == key(name) {
		return true
	}
	for _, a := range m.Aliases {
		if key(a) == key(name) {
			return true
		}
	}
	return false
}

// QueryHeads returns the query heads of a layer.
func (m *Model) QueryHeads() int { return m.Shape.KVHeads * m.Shape.Group }

// Linear returns the parameters of the layers' matrices, which are what a format
// of fewer bits shrinks.
func (m *Model) Linear() int64 {
	h, d := int64(m.Hidden), int64(m.Shape.HeadSize)
	q, kv := int64(m.QueryHeads())*d, int64(m.Shape.KVHeads)*d
	return int64(m.Shape.Layers) * (2*h*q + 2*h*kv + 3*h*int64(m.Intermediate))
}

// Embedding returns the parameters of one table of the vocabulary.
func (m *Model) Embedding() int64 { return int64(m.Vocab) * int64(m.Hidden) }

// Params returns all parameters.
func (m *Model) Params() int64 {
	tables := 2 * m.Embedding()
	if m.Tied {
		tables = m.Embedding()
	}
	return m.Linear() + tables + m.small()
}

// small returns the parameters of norms and biases.
func (m *Model) small() int64 {
	n := int64(2*m.Shape.Layers+1) * int64(m.Hidden)
	if m.QKVBias {
		n += int64(m.Shape.Layers) * int64(m.QueryHeads()+2*m.Shape.KVHeads) * int64(m.Shape.HeadSize)
	}
	return n
}

// Bytes returns the bytes of the weights, with the layers' matrices in the given
// format and all else in 16 bits, as published checkpoints have it.
func (m *Model) Bytes(w Weights) int64 {
	return m.Linear()*int64(w.Bits())/8 + 2*(m.Params()-m.Linear())
}

// Bounds on a model.
const (
	maxLayers = 1 << 10
	maxWidth  = 1 << 20 // of a layer, in any direction
	maxVocab  = 1 << 24
)

// Validate returns every error of the model, joined.
func (m *Model) Validate() error {
	var errs []error
	within := func(name string, n, bound int) {
		if n < 1 || n > bound {
			errs = append(errs, fmt.Errorf("%s is %d, want 1 to %d", name, n, bound))
		}
	}
	within("num_hidden_layers", m.Shape.Layers, maxLayers)
	within("num_key_value_heads", m.Shape.KVHeads, 1<<10)
	within("query heads per KV head", m.Shape.Group, 1<<10)
	within("hidden_size", m.Hidden, maxWidth)
	within("intermediate_size", m.Intermediate, maxWidth)
	within("vocab_size", m.Vocab, maxVocab)
	within("max_position_embeddings", m.MaxLen, 1<<30)
	if d := m.Shape.HeadSize; d < 8 || d > 256 || d%8 != 0 {
		errs = append(errs, fmt.Errorf("head size %d is not a multiple of 8 from 8 to 256", d))
	}
	return errors.Join(errs...)
}

// Weights is a format of a model's matrices.
type Weights string

// The formats. Activations are in 16 bits, and with FP8 and INT8 in 8 for the
// product.
const (
	F16  Weights = "f16"
	BF16 Weights = "bf16"
	FP8  Weights = "fp8"
	INT8 Weights = "int8"
	INT4 Weights = "int4" // weights only: the product is in 16 bits
)

// AllWeights returns the formats.
func AllWeights() []Weights { return []Weights{BF16, F16, FP8, INT8, INT4} }

// Valid reports whether the format is one of those above.
func (w Weights) Valid() bool { return w.Bits() != 0 }

// Bits returns the bits of one weight, 0 for an unknown format.
func (w Weights) Bits() int {
	switch w {
	case F16, BF16:
		return 16
	case FP8, INT8:
		return 8
	case INT4:
		return 4
	}
	return 0
}

// QuantizesActivations reports whether the product takes its input in 8 bits.
func (w Weights) QuantizesActivations() bool { return w == FP8 || w == INT8 }
