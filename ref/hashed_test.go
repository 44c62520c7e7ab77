package ref

import (
	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/trace"
)

const maxTokens = 150 // of a sequence in a scenario: more than one partition

// hashed is a source of tensors in which every element is a hash of its indices.
type hashed struct {
	seq   kv.SeqID
	shape kv.Shape
}

func (h hashed) Tokens() int  { return maxTokens }
func (h hashed) Close() error { return nil }

func (h hashed) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	row := len(dst) / n
	for i := range dst {
		dst[i] = h.at(t, layer, from+i/row, i%row)
	}
	return nil
}

func (h hashed) at(t trace.Tensor, layer, token, i int) float32 {
	x := splitmix.Next(uint64(h.seq)<<48 ^ uint64(t)<<40 ^ uint64(layer)<<32 ^ uint64(token)<<16 ^ uint64(i))
	return float32(int32(x>>32)) / (1 << 30)
}

// NewHashed and MaxTokens are for the package's external tests.
func NewHashed(id kv.SeqID, shape kv.Shape) trace.Tensors { return hashed{id, shape} }

const MaxTokens = maxTokens
