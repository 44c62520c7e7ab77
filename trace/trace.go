// Package trace reads, writes, checks, synthesizes and records request traces:
// who asked when for how many tokens, and for some of them the Q, K and V that
// a model computed for every token.
package trace

import "kvcompress/dtype"

// FormatVersion is the version of the trace format that this package writes,
// and the only one that it reads.
const FormatVersion = 1

// MaxMagnitude bounds every element of Q, K and V. With it no sum of the
// pipeline can overflow binary32: |q·k| ≤ 256 · 2⁵⁶ · 2⁵⁶ = 2¹²⁰.
const MaxMagnitude = 1 << 56

// Shape is the attention shape of a model.
type Shape struct {
	Layers   int `json:"layers"`    // L
	KVHeads  int `json:"kv_heads"`  // H, KV heads in each layer
	Group    int `json:"group"`     // G, query heads that share a KV head
	HeadSize int `json:"head_size"` // D, elements of one head's query, key or value
}

// QueryHeads returns H·G.
func (s Shape) QueryHeads() int { return s.KVHeads * s.Group }

// Meta is trace.json.
type Meta struct {
	FormatVersion int         `json:"format_version"`
	Name          string      `json:"name,omitempty"`
	Model         string      `json:"model,omitempty"`
	Shape         Shape       `json:"shape"`
	DType         dtype.DType `json:"dtype"` // of the stored tensors: f32, f16 or bf16
	Source        Source      `json:"source"`
	Synth         *Recipe     `json:"synth,omitempty"`
}

// Source says where a trace comes from.
type Source struct {
	Kind        string `json:"kind"` // recorded, synthetic or imported
	Description string `json:"description,omitempty"`
	Licence     string `json:"licence,omitempty"`
}

// Request is one line of requests.jsonl.
type Request struct {
	ID           string   `json:"id"`
	ArrivalNS    int64    `json:"arrival_ns"`
	PromptTokens int      `json:"prompt_tokens"`
	OutputTokens int      `json:"output_tokens"`
	Session      string   `json:"session,omitempty"`
	PrefixHashes []uint64 `json:"prefix_hashes,omitempty"`
}

// CachedTokens returns how many tokens of the request ever enter the cache: all
// of them but the last, which is sampled and never fed back.
func (r Request) CachedTokens() int { return r.PromptTokens + r.OutputTokens - 1 }

// Tensor names one of the three tensors of a request.
type Tensor uint8

// The tensors of a recorded request, in the order in which they are stored.
const (
	Q Tensor = iota // [tokens, L, H·G, D]
	K               // [tokens, L, H, D]
	V               // [tokens, L, H, D]
)

// Tensors gives the Q, K and V of one request, rows on demand, whether they were
// recorded or are synthesized.
type Tensors interface {
	// Tokens returns the number of rows: at least Request.CachedTokens.
	Tokens() int
	// Read fills dst with tensor t of the given layer for tokens from..from+n-1,
	// as [n, heads, D], where heads is H·G for Q and H for K and V. A value that
	// is NaN, infinite or beyond MaxMagnitude is an error that names the request,
	// tensor and index.
	Read(dst []float32, t Tensor, layer, from, n int) error
	Close() error
}
