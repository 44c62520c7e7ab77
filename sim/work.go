package sim

import (
	"fmt"
	"math"
	"math/bits"
)

// A Feature is a count that the time of an iteration depends on.
type Feature int

// The features. Counts of KVs are over all heads of all layers: a token of an
// uncompressed sequence is L·H KVs.
const (
	WorkSteps            Feature = iota // iterations
	WorkRunning                         // sequences that run, prefilled or decoded
	WorkPrefillSteps                    // iterations in which prompts are prefilled
	WorkPrefillSeqs                     // prompts, or chunks of them
	WorkPrefillTokens                   // tokens of prompts that are computed: not those found in a prefix cache
	WorkPrefillPairs                    // of a token and a token that it attends to, itself among them: Σ n·(n+1)/2 for prompts of n
	WorkMetricPairs                     // of a token and an observed query: Σ min(window, n)·n; 0 without compression
	WorkDecodeSteps                     // iterations in which running sequences are decoded
	WorkDecodeSeqs                      // sequences that are decoded: a token each
	WorkKVsRead                         // KVs that decode attention reads, the newest among them
	WorkBlocksRead                      // blocks that hold them
	WorkCompressionSteps                // iterations that begin with a compression
	WorkCompressions                    // sequences that are compressed
	WorkKVsSorted                       // slots that their blocks have
	WorkBlocksFreed                     // blocks that they lose
	WorkKVsEvicted                      // KVs that they lose
	WorkKVsMoved                        // KVs that move to pack the survivors
	Features             = iota         // how many there are
)

var featureNames = [Features]string{
	"steps", "running", "prefill_steps", "prefill_seqs", "prefill_tokens", "prefill_pairs", "metric_pairs",
	"decode_steps", "decode_seqs", "kvs_read", "blocks_read",
	"compression_steps", "compressions", "kvs_sorted", "blocks_freed", "kvs_evicted", "kvs_moved",
}

// String returns the feature's name, as in "kvs_read".
func (f Feature) String() string {
	if f < 0 || f >= Features {
		return fmt.Sprintf("feature %d", int(f))
	}
	return featureNames[f]
}

// Work is what an iteration, or many of them together, has to do: a count for
// each feature.
type Work [Features]int64

// Add adds the work of other iterations. A sum that does not fit stays at the
// largest that does.
func (w *Work) Add(other *Work) {
	for f, n := range other {
		if n > math.MaxInt64-w[f] {
			w[f] = math.MaxInt64
		} else {
			w[f] += n
		}
	}
}

// TicksPerNS is the fineness of costs and of the serving clock: 2²⁰ ticks are a
// nanosecond.
const TicksPerNS = 1 << tickBits

const tickBits = 20

// Costs is what a unit of each feature takes, in ticks, none below 0. The time of
// an iteration is Σ cost·count, without any rounding: so the time of many
// iterations is that of their work's sum.
type Costs [Features]int64

// Ticks returns a time in nanoseconds as the nearest number of ticks. It is an
// error if a cost cannot be that: below 0, more than an hour, or no number.
func Ticks(ns float64) (int64, error) {
	if !(ns >= 0 && ns <= MaxStepTimeNS) {
		return 0, fmt.Errorf("sim: a cost of %v ns is not from 0 to %v", ns, float64(MaxStepTimeNS))
	}
	return int64(math.Round(ns * TicksPerNS)), nil
}

// Validate returns an error if a cost is negative, or more than an hour.
func (c *Costs) Validate() error {
	for f, ticks := range c {
		if ticks < 0 || ticks > MaxStepTimeNS*TicksPerNS {
			return fmt.Errorf("sim: the cost of %v is %v ns: want 0 to %v", Feature(f), float64(ticks)/TicksPerNS, float64(MaxStepTimeNS))
		}
	}
	return nil
}

// NS returns the time of some work in nanoseconds, rounded down; the largest
// int64 if it is more.
func (c *Costs) NS(w *Work) int64 { return c.of(w).ns() }

// Term returns what one feature adds to the time of some work, in nanoseconds.
func (c *Costs) Term(w *Work, f Feature) float64 {
	return float64(w[f]) * float64(c[f]) / TicksPerNS
}

func (c *Costs) of(w *Work) ticks {
	var sum ticks
	for f, n := range w {
		if n != 0 {
			hi, lo := bits.Mul64(uint64(n), uint64(c[f]))
			sum = sum.plus(ticks{hi, lo})
		}
	}
	return sum
}

// ticks is a time of 128 bits. Sums of it stay at the largest that fits.
type ticks struct{ hi, lo uint64 }

func ticksOf(ns int64) ticks {
	return ticks{uint64(ns) >> (64 - tickBits), uint64(ns) << tickBits}
}

func (t ticks) plus(u ticks) ticks {
	lo, carry := bits.Add64(t.lo, u.lo, 0)
	hi, carry := bits.Add64(t.hi, u.hi, carry)
	if carry != 0 {
		return ticks{math.MaxUint64, math.MaxUint64}
	}
	return ticks{hi, lo}
}

// minus returns t − u, where u is not more than t.
func (t ticks) minus(u ticks) ticks {
	lo, borrow := bits.Sub64(t.lo, u.lo, 0)
	hi, _ := bits.Sub64(t.hi, u.hi, borrow)
	return ticks{hi, lo}
}

func (t ticks) less(u ticks) bool { return t.hi < u.hi || t.hi == u.hi && t.lo < u.lo }

// ns returns the whole nanoseconds, at most the largest int64.
func (t ticks) ns() int64 {
	if t.hi >= 1<<(tickBits-1) {
		return math.MaxInt64
	}
	return int64(t.hi<<(64-tickBits) | t.lo>>tickBits)
}
