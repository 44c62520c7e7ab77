// Package cost says what serving a model on a card takes: which bytes of the card
// go where and how many blocks of KV cache remain, and how long a step takes, as a
// sum of terms that each have a name, a peak of the card and a measured efficiency.
//
// The efficiencies are in a [Profile], which [Calibrate] fits to measurements.
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
	TP          int             // tensor parallelism: cards that each hold a part of every layer
	PP          int             // pipeline parallelism: groups of cards that each hold some layers; 0 is 1
	Weights     catalog.Weights // format of the model's matrices
	KV          dtype.DType     // format of keys and values in the cache
	BlockSize   int             // KVs of one block
	Utilization float64         // part of the card's memory that the server may take
	MaxTokens   int             // of one prefill batch: activations are as large as it takes
	MaxSeqs     int             // sequences that run at a time: the sampler takes memory for each
	MaxModelLen int             // tokens of the longest request; 0 is the model's context
	Engine      Engine          // which measures the memory; empty is as Server says

	// Method says how the cache is compressed: of it the fields Method, Set, Metric and
	// Compression count, and the zero value compresses nothing. Set may have [FullShare].
	Method ref.Config

	SortedKVs   int   // slots that one compression sorts at most; 0 is no limit
	CardMemory  int64 // bytes of each card in all; 0 is what the catalogue says
	BlocksGiven int   // blocks of one head each; 0 is as many as the memory holds
}

// New returns a deployment with vLLM's defaults: 16-bit keys and values, blocks of
// 16, nine tenths of the memory, 32,768 tokens a batch and 256 sequences at a time.
func New(m catalog.Model, c catalog.Card) Deployment {
	return Deployment{Model: m, Card: c, TP: 1, Weights: m.Weights, KV: dtype.F16, BlockSize: 16, Utilization: 0.9, MaxTokens: 32768, MaxSeqs: 256}
}

// maxSeqs bounds the sequences that run at a time.
const maxSeqs = 1 << 24

// Validate returns every error of the deployment, joined.
func (d *Deployment) Validate() error {
	errs := []error{d.Model.Validate(), d.Card.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, d.checkParallel()...)
	if !d.Weights.Valid() {
		bad("weights %q are none of %v", d.Weights, catalog.AllWeights())
	}
	if !d.KV.Valid() || d.KV == dtype.F32 {
		bad("KV format %v is not f16, bf16, fp8_e4m3 or fp8_e5m2", d.KV)
	}
	if !slices.Contains(kv.BlockSizes(), d.BlockSize) {
		bad("block size %d is not 1, 2, 4, 8, 16 or 32", d.BlockSize)
	}
	if !(d.Utilization > 0 && d.Utilization <= 1) {
		bad("memory utilisation %v is not in (0, 1]: 0.9 is usual", d.Utilization)
	}
	if d.MaxTokens < 1 || d.MaxTokens > 1<<24 {
		bad("%d tokens in a batch are not from 1 to %d", d.MaxTokens, 1<<24)
	}
	if d.MaxSeqs < 1 || d.MaxSeqs > maxSeqs {
		bad("%d sequences at a time are not from 1 to %d", d.MaxSeqs, maxSeqs)
	}
	if d.MaxModelLen < 0 || d.MaxModelLen > d.Model.MaxLen {
		bad("a max_model_len of %d tokens is not from 1 to the %d of the context of %s", d.MaxModelLen, d.Model.MaxLen, d.Model.Name)
	}
	if d.Engine != "" && !d.Engine.Valid() {
		bad("engine %q is none of %v", d.Engine, Engines())
	}
	if d.CardMemory < 0 || d.CardMemory > 1<<42 {
		bad("%d bytes of a card are not from 0 to 2^42 (4 TiB)", d.CardMemory)
	}
	if d.SortedKVs < 0 || d.BlocksGiven < 0 || d.BlocksGiven > sim.MaxLedgerBlocks {
		bad("%d KVs sorted, %d blocks: want neither negative, and at most %d blocks", d.SortedKVs, d.BlocksGiven, sim.MaxLedgerBlocks)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return d.checkMethod()
}
