// Package cost models the memory and the time of serving a model on cards: how the bytes of a card
// are used and how many blocks of KV cache fit, and how long a step takes. The time of a step is a
// sum of terms ([Term]). Most are a factor times the time at a peak of the card, such as its memory
// bandwidth.
//
// The factors are in a [Profile], which [Calibrate] and [CalibrateServing] fit to measurements.
//
// Start with [New], which describes a [Deployment].
package cost

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Deployment is a model on one or more equal cards.
type Deployment struct {
	Model       catalog.Model
	Card        catalog.Card
	TP          int             // tensor parallelism: cards over which every layer is split
	PP          int             // pipeline parallelism: stages, of TP cards each, over which the layers are divided; 0 is 1
	Weights     catalog.Weights // format of the model's matrices
	KV          dtype.DType     // format of keys and values in the cache
	BlockSize   int             // KVs of one block
	Utilization float64         // fraction of the card's memory that the server may use
	MaxTokens   int             // most tokens of one prefill batch, which determine the activations
	MaxSeqs     int             // most sequences that run at a time; the sampler takes memory for each
	MaxModelLen int             // tokens of the longest request; 0 is the model's context
	Engine      Engine          // whose memory profiling is followed; empty: see Server

	// Method is the compression. Only the fields Method, Set, Metric and Compression are used; the
	// zero value is no compression. Set may have [FullShare].
	Method ref.Config

	SortedKVs   int   // most slots that one compression sorts; 0 is no limit
	CardMemory  int64 // bytes of each card; 0 is the catalogue's
	BlocksGiven int   // blocks of one head each; 0 is the number that fits the memory
}

// New returns a deployment with vLLM's defaults: 16-bit keys and values, blocks of
// 16, nine tenths of the memory, 32,768 tokens a batch and 256 sequences at a time.
func New(m catalog.Model, c catalog.Card) Deployment {
	return Deployment{Model: m, Card: c, TP: 1, Weights: m.Weights, KV: dtype.F16, BlockSize: 16, Utilization: 0.9, MaxTokens: 32768, MaxSeqs: 256}
}

// maxSeqs bounds the sequences that run at a time.
const maxSeqs = 1 << 24

// CheckKV returns an error unless a server's KV cache can have the format.
func CheckKV(format dtype.DType) error {
	if !format.Valid() || format == dtype.F32 {
		return fmt.Errorf("KV format %v: want f16, bf16, fp8_e4m3 or fp8_e5m2", format)
	}
	return nil
}

// Validate returns every error of the deployment, joined.
func (d *Deployment) Validate() error {
	errs := []error{d.Model.Validate(), d.Card.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, d.checkParallel()...)
	if !d.Weights.Valid() {
		bad("weights %q: want one of %v", d.Weights, catalog.AllWeights())
	}
	if err := CheckKV(d.KV); err != nil {
		errs = append(errs, err)
	}
	if !slices.Contains(kv.BlockSizes(), d.BlockSize) {
		bad("block size %d: want 1, 2, 4, 8, 16 or 32", d.BlockSize)
	}
	if !(d.Utilization > 0 && d.Utilization <= 1) {
		bad("memory utilisation %v: want a fraction in (0, 1], such as 0.9", d.Utilization)
	}
	if d.MaxTokens < 1 || d.MaxTokens > 1<<24 {
		bad("max_num_batched_tokens %d: want 1 to %d", d.MaxTokens, 1<<24)
	}
	if d.MaxSeqs < 1 || d.MaxSeqs > maxSeqs {
		bad("max_num_seqs %d: want 1 to %d", d.MaxSeqs, maxSeqs)
	}
	if d.MaxModelLen < 0 || d.MaxModelLen > d.Model.MaxLen {
		bad("max_model_len %d: want 1 to %d, the context of %s", d.MaxModelLen, d.Model.MaxLen, d.Model.Name)
	}
	if d.Engine != "" && !d.Engine.Valid() {
		bad("engine %q: want one of %v", d.Engine, Engines())
	}
	if d.CardMemory < 0 || d.CardMemory > 1<<42 {
		bad("%d bytes of a card: want 0 to 2^42 (4 TiB)", d.CardMemory)
	}
	if d.SortedKVs < 0 || d.BlocksGiven < 0 || d.BlocksGiven > sim.MaxLedgerBlocks {
		bad("%d KVs sorted, %d blocks: want neither negative, and at most %d blocks", d.SortedKVs, d.BlocksGiven, sim.MaxLedgerBlocks)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return d.checkMethod()
}
