package llama_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"kvcompress/trace/llama"
)

// sharedModel returns the path of a file in shared/data/model, beside the repository and not part
// of it.
func sharedModel(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "model", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s in shared/data/model beside the repository", name)
	}
	return path
}

func load(t testing.TB, path string) *llama.Model {
	t.Helper()
	m, err := llama.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// greedy feeds tokens, generates n tokens greedily, and returns the generated tokens.
func greedy(t testing.TB, m *llama.Model, tokens []int, n int) []int {
	t.Helper()
	s := m.NewSession()
	var out []int
	for len(out) < n {
		logits, err := s.Feed(tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		best := llama.Likeliest(logits)
		out = append(out, best)
		tokens = out[len(out)-1:]
	}
	return out
}

// checkpoint has the parts of a llama2.c checkpoint.
type checkpoint struct {
	dim, hidden, layers, heads, kvHeads, vocab, positions int

	embed, attnNorm, wq, wk, wv, wo, ffnNorm, w1, w2, w3, norm, classifier []float32
}

func (c *checkpoint) headSize() int { return c.dim / c.heads }
func (c *checkpoint) kvDim() int    { return c.kvHeads * c.headSize() }

// tensors lists the weights with their lengths in the order of the file. The
// sines and cosines are nil.
func (c *checkpoint) tensors() []struct {
	to  *[]float32
	len int
} {
	return []struct {
		to  *[]float32
		len int
	}{
		{&c.embed, c.vocab * c.dim},
		{&c.attnNorm, c.layers * c.dim},
		{&c.wq, c.layers * c.dim * c.dim},
		{&c.wk, c.layers * c.kvDim() * c.dim},
		{&c.wv, c.layers * c.kvDim() * c.dim},
		{&c.wo, c.layers * c.dim * c.dim},
		{&c.ffnNorm, c.layers * c.dim},
		{&c.w1, c.layers * c.hidden * c.dim},
		{&c.w2, c.layers * c.dim * c.hidden},
		{&c.w3, c.layers * c.hidden * c.dim},
		{&c.norm, c.dim},
		{nil, c.positions * c.headSize()},
	}
}

// parse reads a checkpoint without a separate classifier.
func parseCheckpoint(t testing.TB, data []byte) *checkpoint {
	t.Helper()
	var h [7]int
	for i := range h {
		h[i] = int(int32(binary.LittleEndian.Uint32(data[4*i:])))
	}
	c := &checkpoint{dim: h[0], hidden: h[1], layers: h[2], heads: h[3], kvHeads: h[4], vocab: h[5], positions: h[6]}
	data = data[28:]
	for _, w := range c.tensors() {
		if w.to != nil {
			*w.to = make([]float32, w.len)
			for i := range *w.to {
				(*w.to)[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
			}
		}
		data = data[4*w.len:]
	}
	return c
}

// file returns the bytes of a checkpoint, with the classifier if it has one.
func (c *checkpoint) file() []byte {
	vocab := c.vocab
	if c.classifier != nil {
		vocab = -vocab
	}
	var data []byte
	for _, x := range []int{c.dim, c.hidden, c.layers, c.heads, c.kvHeads, vocab, c.positions} {
		data = binary.LittleEndian.AppendUint32(data, uint32(int32(x)))
	}
	put := func(values []float32) {
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	for _, w := range c.tensors() {
		if w.to == nil {
			put(make([]float32, w.len))
			continue
		}
		put(*w.to)
	}
	put(c.classifier)
	return data
}
