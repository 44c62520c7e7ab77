// Package trace reads, writes, checks, synthesizes and records request traces: when requests arrive, how many
// tokens they have, and for some requests the Q, K and V that a model computed for every token.
//
// [Open] reads a trace, [Create] writes one, [Load] generates requests, and [Check] lists every error of a
// trace. docs/trace-format.md describes the files.
package trace

import (
	"encoding/json"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// FormatVersion is the version of the trace format that this package writes,
// and the only one that it reads.
const FormatVersion = 1

// MaxMagnitude bounds every element of Q, K and V, so that no sum overflows binary32: |q·k| ≤ 256 · 2⁵⁶ · 2⁵⁶
// = 2¹²⁰.
const MaxMagnitude = 1 << 56

// Meta is trace.json. If Shape is zero, which only imported and generated traces may have, the trace has
// requests only, and DType has no meaning.
type Meta struct {
	FormatVersion int         `json:"format_version"`
	Name          string      `json:"name,omitempty"`
	Model         string      `json:"model,omitempty"`
	Shape         kv.Shape    `json:"shape"`
	DType         dtype.DType `json:"dtype"` // of the stored tensors: f32, f16 or bf16
	// Rope is the rotary embedding of Q and K; nil if there is none or it is unknown.
	Rope   *Rope   `json:"rope,omitempty"`
	Source Source  `json:"source"`
	Synth  *Recipe `json:"synth,omitempty"`
	// PrefixBlockTokens is how many tokens of a prompt each of the PrefixHashes is for; 0 if unknown.
	PrefixBlockTokens int `json:"prefix_block_tokens,omitempty"`
}

// RequestsOnly reports whether the trace has no shape, and therefore no tensors.
func (m Meta) RequestsOnly() bool { return m.Shape == kv.Shape{} }

// MarshalJSON returns trace.json; without shape and dtype if the trace has requests only.
func (m Meta) MarshalJSON() ([]byte, error) {
	type plain Meta // without this method
	if !m.RequestsOnly() {
		return json.Marshal(plain(m))
	}
	return json.Marshal(struct {
		plain
		Shape *kv.Shape    `json:"shape,omitempty"`
		DType *dtype.DType `json:"dtype,omitempty"`
	}{plain: plain(m)})
}

// Source says where a trace comes from.
type Source struct {
	Kind        string `json:"kind"` // recorded, synthetic, imported or generated
	Description string `json:"description,omitempty"`
	Licence     string `json:"licence,omitempty"`
}

// Request is one line of requests.jsonl.
type Request struct {
	ID           string `json:"id"`
	ArrivalNS    int64  `json:"arrival_ns"`
	PromptTokens int    `json:"prompt_tokens"`
	OutputTokens int    `json:"output_tokens"`
	Session      string `json:"session,omitempty"`
	// PrefixHashes has a hash for each of the first blocks of the prompt: if the hashes of two requests are
	// equal up to some block, their prompts are equal up to there. A block without a hash is shared with no
	// other request.
	PrefixHashes []uint64 `json:"prefix_hashes,omitempty"`
	// Compression has the request's own compression options; nil if there are none.
	Compression *Compression `json:"compression,omitempty"`
}

// CachedTokens returns how many tokens of the request enter the cache: all but the last, which is sampled but
// not fed back.
func (r Request) CachedTokens() int { return r.PromptTokens + r.OutputTokens - 1 }

// Tensor is one of the three tensors of a request.
type Tensor uint8

// The tensors of a recorded request, in the order in which they are stored.
const (
	Q Tensor = iota // [tokens, L, H·G, D]
	K               // [tokens, L, H, D]
	V               // [tokens, L, H, D]
)

// Tensors reads rows of Q, K and V of one request, whether recorded or synthetic.
type Tensors interface {
	// Tokens returns the number of rows: at least Request.CachedTokens.
	Tokens() int
	// Read fills dst with tensor t of the given layer for tokens from..from+n-1, as [n, heads, D], where
	// heads is H·G for Q and H for K and V. If a value is NaN, infinite or beyond MaxMagnitude, the error
	// names the request, tensor and index.
	Read(dst []float32, t Tensor, layer, from, n int) error
	Close() error
}
