// Package sim simulates the serving loop of an LLM server: requests arrive, a scheduler forms batches on a
// KV cache with a number of blocks, compresses sequences, and preempts them when blocks are lacking.
//
// The scheduler sees the cache only as blocks, through [Cache]. The cache may be an engine, on which a
// recorded trace is replayed with real tensors ([Replay]). Or it may be a [Ledger], which only counts
// blocks, as an engine does. With [Rates], the costs of steps, it projects the latencies and throughput of
// serving requests ([Project]).
//
// The schedulers ([Scheduler]) are those of KV-Compress's server, of vLLM 0.6 and of vLLM's V1 engine.
package sim

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Cache is the KV cache as the scheduler sees it.
type Cache interface {
	// Blocks returns the total number of blocks, Free the number of free blocks.
	Blocks() int
	Free() int

	// PrefillNeed returns the number of blocks that a prefill of n tokens takes, DecodeNeed the number
	// that a running sequence's next token takes, Held the number that a sequence holds.
	PrefillNeed(n int) int
	DecodeNeed(id kv.SeqID) int
	Held(id kv.SeqID) int

	// Configure sets the compression options of a single sequence, from before its prefill until its
	// release.
	Configure(id kv.SeqID, own *trace.Compression) error

	// Prefill adds a sequence of n tokens, Decode adds a token to each sequence of a batch.
	Prefill(id kv.SeqID, n int) error
	Decode(batch []kv.SeqID) error

	// Count returns how much Compress would ask a sequence for, in the method's unit: blocks or KVs.
	// Compress compresses a sequence.
	Count(id kv.SeqID) int
	Compress(id kv.SeqID) (ref.Compressed, error)

	// Release removes a sequence and frees its blocks.
	Release(id kv.SeqID) error

	// Usage returns the usage of the cache, HeadUsage that of each head.
	Usage() kv.Usage
	HeadUsage() kv.HeadUsage
}

// Limits bound a batch, under vLLM's names.
type Limits struct {
	MaxNumSeqs          int     `json:"max_num_seqs"`            // most sequences that run at a time
	MaxNumBatchedTokens int     `json:"max_num_batched_tokens"`  // most tokens of one prefill batch
	Watermark           float64 `json:"watermark"`               // fraction of the blocks that stays free when a request is admitted
	MaxModelLen         int     `json:"max_model_len,omitempty"` // most tokens of a request, prompt and output; 0 is no limit

	// DropOutgrown refuses a preempted sequence that has more tokens than max_num_batched_tokens, as vLLM
	// 0.6 does. Otherwise it is recomputed in a batch of its own.
	DropOutgrown bool `json:"drop_outgrown,omitempty"`

	// KeepUnservable admits requests that can never be served again and again, as vLLM does, and requests
	// whose prompt and output together exceed MaxModelLen. Otherwise they are refused, with the reason.
	KeepUnservable bool `json:"keep_unservable,omitempty"`

	// HoldAfterPreemption admits no request after a preemption until a sequence finishes. vLLM 0.6 has no
	// such rule.
	HoldAfterPreemption bool `json:"hold_after_preemption,omitempty"`
}

// bound is a limit of tokens and its name.
type bound struct {
	tokens int
	name   string
}

// longestContext returns the most tokens of a sequence, longestPrompt the most tokens of a prompt that is
// prefilled as a whole.
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

// DefaultLimits returns vLLM 0.6's default limits. For tokens in a batch, where vLLM uses the model's
// longest context, it has 32,768.
func DefaultLimits() Limits {
	return Limits{MaxNumSeqs: 256, MaxNumBatchedTokens: 1 << 15, Watermark: 0.01}
}

// Validate returns every error of the limits, joined.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxNumSeqs < 1 || l.MaxNumSeqs > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("limits: max_num_seqs %d: want 1 to %d; vLLM's default is 256", l.MaxNumSeqs, math.MaxInt32))
	}
	if l.MaxNumBatchedTokens < 1 || l.MaxNumBatchedTokens > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("limits: max_num_batched_tokens %d: want 1 to %d; 2,048 to 32,768 are usual", l.MaxNumBatchedTokens, math.MaxInt32))
	}
	if l.MaxModelLen < 0 || l.MaxModelLen > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("limits: max_model_len %d: want 1 to %d, or 0 for no limit", l.MaxModelLen, math.MaxInt32))
	}
	if math.IsNaN(l.Watermark) || l.Watermark < 0 || l.Watermark >= 1 {
		errs = append(errs, fmt.Errorf("limits: watermark %v: want a fraction in [0, 1); vLLM's default is 0.01", l.Watermark))
	}
	return errors.Join(errs...)
}

// watermark returns the number of blocks, of n, that stay free when a request is admitted.
func (l Limits) watermark(n int) int { return int(l.Watermark * float64(n)) }

// Kind is the kind of an iteration.
type Kind string

// The kinds of iteration.
const (
	Prefill Kind = "prefill" // prompts were prefilled
	Decode  Kind = "decode"  // every running sequence got a token
	Mixed   Kind = "mixed"   // both, with chunked prefill
)

// Step is one iteration.
type Step struct {
	Index int   `json:"step"`
	Start int64 `json:"start_ns"` // Start and End are on the serving clock, which starts with the trace's
	End   int64 `json:"end_ns"`
	Kind  Kind  `json:"kind"`

	// Steps is the number of equal iterations that it stands for, more than one only if the server skips.
	// Tokens and Work are sums over them; the other fields are as after the last.
	Steps     int  `json:"-"`
	Sequences int  `json:"-"` // sequences in the batch, each of which got a token in every iteration
	Filling   int  `json:"-"` // with chunked prefill: incomplete prompts
	Single    int  `json:"-"` // sequences whose prompt this step completes and that finish with its token
	Dropped   int  `json:"-"` // with chunked prefill: tokens of incomplete prompts that were lost by preemption
	Cached    int  `json:"-"` // tokens of admitted prompts found in the prefix cache
	Work      Work `json:"-"`

	Products Ticks          `json:"-"` // the part of the time that is not linear in the work
	Refused  []kv.SeqID     `json:"-"` // requests that can never be served
	Server   KVCompressStep `json:"-"` // decisions of KV-Compress's server

	Batch       []kv.SeqID    `json:"batch"`                 // sequences that were prefilled or decoded
	Scheduled   []Scheduled   `json:"-"`                     // if batches are reported: the tokens that each sequence computes, in the scheduler's order
	Tokens      int           `json:"tokens"`                // tokens that were computed and entered the cache
	Compression []Compression `json:"compression,omitempty"` // compressions before the batch; from a server that skips only if batches are reported
	Preempted   []kv.SeqID    `json:"preempted,omitempty"`
	Finished    []kv.SeqID    `json:"finished,omitempty"`

	Usage   kv.Usage      `json:"usage"`           // after the batch, before finished sequences were released
	Peak    int           `json:"-"`               // most blocks in use after a batch of these steps: with windows they rise and fall
	Heads   *kv.HeadUsage `json:"heads,omitempty"` // at the same time, if Server.ByHead is set
	Running int           `json:"running"`         // after the step
	Waiting int           `json:"waiting"`         // after the step; requests that arrive during it are not counted
}

// reset clears the step and sets its index and start. It keeps the memory of slices.
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
	Tokens   int  // tokens that it computes
	Before   int  // its tokens that were computed or cached before
	Admitted bool // it is admitted in this iteration
}

// Compression is one sequence's part of a step's compression.
type Compression struct {
	Seq       kv.SeqID `json:"seq"`
	Asked     int      `json:"asked"`     // in the method's unit: blocks or KVs
	Short     int      `json:"short"`     // asked for and neither evicted nor hidden
	Taken     int      `json:"taken"`     // blocks
	Freed     int      `json:"freed"`     // blocks
	Evicted   int      `json:"evicted"`   // KVs
	Hidden    int      `json:"hidden"`    // KVs, until the sequence's next compression
	Quantized int      `json:"quantized"` // keys and values, each counted by itself
	Merged    int      `json:"merged"`    // likewise
	Moved     int      `json:"moved"`     // KVs
}
