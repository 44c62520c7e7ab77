// Package sim is the serving loop: requests arrive, a scheduler forms batches of
// them on one KV cache of N blocks, compresses, and preempts where it must.
//
// The scheduler sees the cache only as blocks, through [Cache]. With an engine
// behind it, it replays a recorded trace with real tensors; what the engine does
// inside its blocks does not concern it. With a [Ledger] behind it, which counts
// blocks as an engine does, and [Rates] that say what its steps take, it projects
// what serving requests would be like: see [Project].
//
// Whose rules a server follows is its [Scheduler]: that of KV-Compress's server, of vLLM
// 0.6, or of vLLM's V1 engine.
package sim

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Cache is what the scheduler knows of a KV cache.
type Cache interface {
	// Blocks and Free return the number of blocks in all, and of free ones.
	Blocks() int
	Free() int

	// PrefillNeed returns the blocks that a prefill of n tokens takes, DecodeNeed
	// those that a running sequence's next token takes, Held those it has.
	PrefillNeed(n int) int
	DecodeNeed(id kv.SeqID) int
	Held(id kv.SeqID) int

	// Configure has a sequence that is about to be prefilled follow options of its own,
	// until it is released.
	Configure(id kv.SeqID, own *trace.Compression) error

	// Prefill enters the first n tokens of a sequence, Decode one more token of
	// every sequence of a batch.
	Prefill(id kv.SeqID, n int) error
	Decode(batch []kv.SeqID) error

	// Count returns how many blocks Compress would ask a sequence for.
	Count(id kv.SeqID) int
	Compress(id kv.SeqID) (ref.Compressed, error)

	// Release frees all that a sequence holds.
	Release(id kv.SeqID) error

	// Usage says how the cache is filled, HeadUsage by which heads.
	Usage() kv.Usage
	HeadUsage() kv.HeadUsage
}

// Limits bound a batch, under vLLM's names.
type Limits struct {
	MaxNumSeqs          int     `json:"max_num_seqs"`            // sequences that run at a time
	MaxNumBatchedTokens int     `json:"max_num_batched_tokens"`  // tokens of one prefill batch
	Watermark           float64 `json:"watermark"`               // part of the blocks that an admission leaves free
	MaxModelLen         int     `json:"max_model_len,omitempty"` // tokens of a request, prompt and output; 0 is no limit

	// DropOutgrown refuses a preempted sequence that has outgrown max_num_batched_tokens, as
	// vLLM 0.6 does; else it is recomputed in a batch of its own.
	DropOutgrown bool `json:"drop_outgrown,omitempty"`

	// KeepUnservable admits again and again what can never be served, as vLLM does, and a
	// request that comes to more than MaxModelLen with its output; else it is refused, with
	// the reason.
	KeepUnservable bool `json:"keep_unservable,omitempty"`

	// HoldAfterPreemption admits nobody after a preemption until a sequence finishes: a rule
	// that vLLM 0.6 does not have.
	HoldAfterPreemption bool `json:"hold_after_preemption,omitempty"`
}

// bound is a limit of tokens and its name.
type bound struct {
	tokens int
	name   string
}

// longestContext returns the tokens that a sequence may have, longestPrompt those of a
// prompt that is prefilled as a whole.
func (l *Limits) longestContext() bound {
	if l.MaxModelLen > 0 {
		return bound{l.MaxModelLen, "max_model_len"}
	}
	return bound{math.MaxInt, ""}
}

func (l *Limits) longestPrompt() bound {
	if b := l.longestContext(); b.tokens <= l.MaxNumBatchedTokens {
		return b
	}
	return bound{l.MaxNumBatchedTokens, "max_num_batched_tokens"}
}

// DefaultLimits are vLLM 0.6's for sequences and watermark; for tokens in a batch,
// which it takes from the model's longest context, they are 32,768.
func DefaultLimits() Limits {
	return Limits{MaxNumSeqs: 256, MaxNumBatchedTokens: 1 << 15, Watermark: 0.01}
}

// Validate returns every error of the limits, joined.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxNumSeqs < 1 || l.MaxNumSeqs > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("limits: max_num_seqs %d is not from 1 to %d; vLLM has 256", l.MaxNumSeqs, math.MaxInt32))
	}
	if l.MaxNumBatchedTokens < 1 || l.MaxNumBatchedTokens > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("limits: max_num_batched_tokens %d is not from 1 to %d; 2,048 to 32,768 are usual", l.MaxNumBatchedTokens, math.MaxInt32))
	}
	if l.MaxModelLen < 0 || l.MaxModelLen > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("limits: max_model_len %d is not from 1 to %d, or 0 for no limit", l.MaxModelLen, math.MaxInt32))
	}
	if math.IsNaN(l.Watermark) || l.Watermark < 0 || l.Watermark >= 1 {
		errs = append(errs, fmt.Errorf("limits: watermark %v is not in [0, 1); vLLM has 0.01", l.Watermark))
	}
	return errors.Join(errs...)
}

// watermark returns the blocks that an admission leaves free of n.
func (l Limits) watermark(n int) int { return int(l.Watermark * float64(n)) }

// Kind is what an iteration did.
type Kind string

// The kinds of iteration.
const (
	Prefill Kind = "prefill" // prompts entered
	Decode  Kind = "decode"  // every running sequence got a token
	Mixed   Kind = "mixed"   // both, with chunked prefill
)

// Step is one iteration.
type Step struct {
	Index int   `json:"step"`
	Start int64 `json:"start_ns"` // and End: on the serving clock, which starts with the trace's
	End   int64 `json:"end_ns"`
	Kind  Kind  `json:"kind"`

	// Steps is how many iterations it stands for: more than one where a server skips.
	// Then Tokens and Work are of all of them, and the rest is as the last leaves it.
	Steps     int  `json:"-"`
	Sequences int  `json:"-"` // in the batch: each has got a token in every iteration
	Filling   int  `json:"-"` // with chunked prefill: prompts of which a part is still to be computed
	Single    int  `json:"-"` // sequences in the batch whose prompt this step completes, and which end with the token that it gives them
	Dropped   int  `json:"-"` // likewise: tokens of such prompts that were there and are lost: they were preempted
	Cached    int  `json:"-"` // tokens of admitted prompts that a prefix cache had
	Work      Work `json:"-"`

	Products Ticks          `json:"-"` // of its time, what is not linear in the work
	Refused  []kv.SeqID     `json:"-"` // that can never be served
	Server   KVCompressStep `json:"-"` // of KV-Compress's server

	Batch       []kv.SeqID    `json:"batch"`                 // prefilled, or decoded
	Scheduled   []Scheduled   `json:"-"`                     // where batches are told of: who computes how many tokens, in the scheduler's order
	Tokens      int           `json:"tokens"`                // that were computed and entered the cache
	Compression []Compression `json:"compression,omitempty"` // before the batch ran; of a server that skips, with Batch only
	Preempted   []kv.SeqID    `json:"preempted,omitempty"`
	Finished    []kv.SeqID    `json:"finished,omitempty"`

	Usage   kv.Usage      `json:"usage"`           // after the batch ran, before the finished left
	Heads   *kv.HeadUsage `json:"heads,omitempty"` // at the same moment, where it is asked for
	Running int           `json:"running"`         // and Waiting: after the step
	Waiting int           `json:"waiting"`
}

// reset makes the step an iteration of which nothing is known but its index and start. Its
// slices are used again.
func (s *Step) reset(index int, start int64) {
	refused, batch, scheduled := s.Refused[:0], s.Batch[:0], s.Scheduled[:0]
	compression, preempted, finished := s.Compression[:0], s.Preempted[:0], s.Finished[:0]
	*s = Step{}
	s.Index, s.Start, s.Steps = index, start, 1
	s.Refused, s.Batch, s.Scheduled = refused, batch, scheduled
	s.Compression, s.Preempted, s.Finished = compression, preempted, finished
}

// Scheduled is a sequence's part of a batch.
type Scheduled struct {
	Seq      kv.SeqID
	Tokens   int  // that it computes
	Before   int  // its tokens that were computed or cached before
	Admitted bool // it did not run before
}

// Compression is one sequence's part of a step's compression.
type Compression struct {
	Seq       kv.SeqID `json:"seq"`
	Asked     int      `json:"asked"`     // in the method's unit: blocks or KVs
	Short     int      `json:"short"`     // of them, that could not be evicted, or hidden
	Taken     int      `json:"taken"`     // blocks
	Freed     int      `json:"freed"`     // blocks
	Evicted   int      `json:"evicted"`   // KVs
	Hidden    int      `json:"hidden"`    // KVs, until the sequence's next compression
	Quantized int      `json:"quantized"` // keys and values, each counted by itself
	Merged    int      `json:"merged"`    // likewise
	Moved     int      `json:"moved"`     // KVs
}
