package sim

import (
	"fmt"
	"math"
	"math/bits"
)

// Feature is a kind of work of a step.
type Feature int

// The features of a step. Heads are the KV heads of all layers.
const (
	Steps              Feature = iota // iterations
	PrefillSteps                      // iterations that prefill
	CompressionSteps                  // iterations that compress at least one sequence
	PrefillSeqs                       // sequences prefilled
	PrefillTokens                     // tokens prefilled
	AttentionPairs                    // (query, key) pairs of prefills: Σ n(n+1)/2, less those of a cached prefix
	WindowPairs                       // those of them in a layer whose queries attend to a bounded number of tokens: with a sliding window, or with an indexer
	ExpertsRead                       // experts of a layer that steps read, in units of 1/ExpertUnit: see Experts.Read
	MetricPairs                       // pairs from which prefills collect metrics: see ref.Observation.Pairs
	DecodeSeqs                        // sequences decoded
	KVsRead                           // KVs that decode attention reads, over all heads
	BlocksRead                        // blocks of these KVs
	CompressedSeqs                    // sequences compressed
	KVsSorted                         // slots of all their blocks, if the method ranks KVs
	KVsEvicted                        // by compression
	KVsMoved                          // by compression
	BlocksFreed                       // by compression
	QuantizedBytesRead                // bytes that decode attention reads of KVs with a quantized or merged key or value, which KVsRead does not count
	Quantized                         // keys and values that compression quantizes
	Merged                            // keys and values that compression merges
	IndexKeysRead                     // keys of an indexer that decode steps read, over all heads: see Selection
	NumFeatures
)

var featureNames = [NumFeatures]string{
	"steps", "prefill_steps", "compression_steps", "prefill_seqs", "prefill_tokens", "attention_pairs", "window_pairs", "experts_read", "metric_pairs",
	"decode_seqs", "kvs_read", "blocks_read", "compressed_seqs", "kvs_sorted", "kvs_evicted", "kvs_moved", "blocks_freed",
	"quantized_bytes_read", "quantized", "merged", "index_keys_read",
}

// String returns the feature's name in tables and JSON.
func (f Feature) String() string {
	if f < 0 || f >= NumFeatures {
		return fmt.Sprintf("Feature(%d)", int(f))
	}
	return featureNames[f]
}

// Work is the amount of each feature in a step or a run.
type Work [NumFeatures]int64

// Add adds the work of o. Sums saturate at the largest int64.
func (w *Work) Add(o *Work) {
	for f, n := range o {
		if n > math.MaxInt64-w[f] {
			w[f] = math.MaxInt64
		} else {
			w[f] += n
		}
	}
}

// TicksPerNS is the number of ticks in a nanosecond. Costs are whole ticks, so that sums over many steps are
// exact and do not depend on the order of summation.
const TicksPerNS = 1 << tickBits

const tickBits = 22

// Rates has the cost of one unit of each feature, in ticks. The cost of a step is linear in its work.
type Rates [NumFeatures]uint64

// SetNS sets the rate of a feature in nanoseconds, from 0 to an hour.
func (r *Rates) SetNS(f Feature, ns float64) error {
	if !(ns >= 0 && ns <= MaxStepTimeNS) {
		return fmt.Errorf("sim: a unit of %s would take %v ns, want 0 to %v", f, ns, float64(MaxStepTimeNS))
	}
	r[f] = uint64(math.Round(float64(ns * TicksPerNS)))
	return nil
}

// Validate returns an error if a rate is more than an hour.
func (r *Rates) Validate() error {
	for f, ticks := range r {
		if ticks > MaxStepTimeNS*TicksPerNS {
			return fmt.Errorf("sim: a unit of %s would take %v ns, want 0 to %v", Feature(f), float64(ticks)/TicksPerNS, float64(MaxStepTimeNS))
		}
	}
	return nil
}

// Ticks is a duration in ticks, as a 128-bit number.
type Ticks struct{ Hi, Lo uint64 }

// Cost returns the cost of work.
func (r *Rates) Cost(w *Work) Ticks {
	var t Ticks
	for f, n := range w {
		if n > 0 {
			hi, lo := bits.Mul64(uint64(n), r[f])
			t = t.Plus(Ticks{hi, lo})
		}
	}
	return t
}

// of returns the cost of n units of a feature.
func (r *Rates) of(f Feature, n int64) Ticks {
	hi, lo := bits.Mul64(uint64(n), r[f])
	return Ticks{hi, lo}
}

// TicksOf converts nanoseconds, at least 0, to ticks.
func TicksOf(ns int64) Ticks {
	return Ticks{uint64(ns) >> (64 - tickBits), uint64(ns) << tickBits}
}

// Plus returns t + o, or the longest duration on overflow.
func (t Ticks) Plus(o Ticks) Ticks {
	lo, carry := bits.Add64(t.Lo, o.Lo, 0)
	hi, carry := bits.Add64(t.Hi, o.Hi, carry)
	if carry != 0 {
		return Ticks{math.MaxUint64, math.MaxUint64}
	}
	return Ticks{hi, lo}
}

// minus returns t − o; o must not be longer than t.
func (t Ticks) minus(o Ticks) Ticks {
	lo, borrow := bits.Sub64(t.Lo, o.Lo, 0)
	hi, _ := bits.Sub64(t.Hi, o.Hi, borrow)
	return Ticks{hi, lo}
}

// Times returns n·t, or the longest duration on overflow.
func (t Ticks) Times(n uint64) Ticks {
	hi, lo := bits.Mul64(t.Lo, n)
	over, high := bits.Mul64(t.Hi, n)
	hi, carry := bits.Add64(hi, high, 0)
	if over != 0 || carry != 0 {
		return Ticks{math.MaxUint64, math.MaxUint64}
	}
	return Ticks{hi, lo}
}

// Less reports whether t is shorter than o.
func (t Ticks) Less(o Ticks) bool { return t.Hi < o.Hi || t.Hi == o.Hi && t.Lo < o.Lo }

// NS returns the duration in whole nanoseconds, rounded down, and at most MaxInt64.
func (t Ticks) NS() int64 {
	if t.Hi>>(tickBits-1) != 0 {
		return math.MaxInt64
	}
	return int64(t.Hi<<(64-tickBits) | t.Lo>>tickBits)
}

// Seconds returns the duration in seconds, rounded.
func (t Ticks) Seconds() float64 {
	return (float64(t.Hi)*0x1p64 + float64(t.Lo)) / (TicksPerNS * 1e9)
}

// Products returns the part of an iteration's time, in nanoseconds, that is not linear in its work: the matrix
// products of prefilled tokens and decoding sequences, which overlap with the reading of weights. It depends
// only on the two numbers, and must be from 0 to MaxStepTimeNS.
type Products func(prefilled, decoded int64) float64

// ticks returns the products of equal iterations with total work w.
func (p Products) ticks(w *Work, iterations int) Ticks {
	if p == nil || iterations == 0 {
		return Ticks{}
	}
	n := int64(iterations)
	ns := p(w[PrefillTokens]/n, w[DecodeSeqs]/n)
	if !(ns > 0) {
		return Ticks{}
	}
	hi, lo := bits.Mul64(uint64(math.Round(float64(min(ns, MaxStepTimeNS)*TicksPerNS))), uint64(n))
	return Ticks{hi, lo}
}

// FixedStepTime makes every iteration take ns nanoseconds, at most MaxStepTimeNS.
func FixedStepTime(ns int64) *Rates { return &Rates{Steps: uint64(ns) * TicksPerNS} }
