package ref

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kvcompress/ref/vec"
)

// LagKV is the [Scorer] of LagKV.
type LagKV struct {
	Sinks int  `json:"sinks" help:"oldest tokens, which get the highest score"`
	Lag   int  `json:"lag" help:"tokens per partition; each partition is scored against the next, the last is kept"`
	Cross bool `json:"cross" help:"compare scores across partitions, instead of ranks within each partition"`
}

// lagKVOptions are the options of lagkv.
type lagKVOptions struct {
	LagKV
	headBudget
}

// lagKVEntry is LagKV as in kvpress. After the sinks the prompt is cut into partitions of lag tokens. Each is
// scored against the range of the next partition. The tokens after the last partition that has a next one
// score highest.
func lagKVEntry() Entry {
	e := scorerEntry("lagkv", "LagKV (Liang et al., arXiv 2504.04704)",
		"no attention: keys and values of each partition, relative to the range of the next partition",
		"drops the KVs of each partition that vary least by that measure")
	defaults := lagKVOptions{LagKV{Sinks: 4, Lag: 128}, defaultHeadBudget()}
	e.Defaults = func() any { o := defaults; return &o }
	e.New = func(c *Config) (Method, error) {
		o := defaults
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		if err := checkSinks(e.Name, o.Sinks); err != nil {
			return nil, err
		}
		if o.Lag < 1 || o.Lag > MaxWindow {
			return nil, fmt.Errorf("method %s: lag %d is not from 1 to %d", e.Name, o.Lag, MaxWindow)
		}
		return &scorer{name: e.Name, cfg: c, observation: &Observation{Scorer: o.LagKV}, heads: o.headBudget}, o.check(e.Name)
	}
	return e
}

// Score writes, for the tokens of every partition that has a next one,
//
//	s = (softmax_i(σ_i of K) + softmax_i(σ_i of V)) / 2
//
// or, unless Cross is set, the rank of s in the partition divided by lag: smallest first, ties in order of
// position. Sinks and the tokens after those partitions score 1. A prompt too short for two partitions scores
// (i − sinks)/(n − sinks), so its newest tokens are kept.
func (o LagKV) Score(h *PromptHead, scores []float32) {
	n := len(scores)
	for i := range scores {
		scores[i] = 1
	}
	if n < o.Sinks+2*o.Lag {
		for i := o.Sinks; i < n; i++ {
			scores[i] = float32(i-o.Sinks) / float32(n-o.Sinks)
		}
		return
	}
	of := func(rows []float32, first int) []float32 {
		size := o.Lag * h.HeadSize
		here := rows[first*h.HeadSize:]
		return variation(here[:size], here[size:][:size], h.HeadSize)
	}
	for first := o.Sinks; first+2*o.Lag <= n; first += o.Lag {
		part := scores[first:][:o.Lag]
		k, v := of(h.K, first), of(h.V, first)
		for i := range part {
			part[i] = (k[i] + v[i]) / 2
		}
		if !o.Cross {
			ranks(part)
		}
	}
}

// mostVariation bounds the magnitude of an element relative to the range of the next partition.
const mostVariation = 1 << 40

// variation returns the softmax of σ_i over the rows x_i of one partition, [lag, d], where σ_i is the
// standard deviation, with divisor d−1, of the elements of
//
//	(x_i − min) / (max − min)
//
// and min and max are those of each element over the rows of next, [lag, d]. An element is 0 if min = max,
// and clamped to magnitude mostVariation. Sums are those of NUMERICS.md §3.
func variation(x, next []float32, d int) []float32 {
	low, high := slices.Clone(next[:d]), slices.Clone(next[:d])
	for i := d; i < len(next); i += d {
		for j, y := range next[i:][:d] {
			low[j], high[j] = min(low[j], y), max(high[j], y)
		}
	}
	sigmas := make([]float32, len(x)/d)
	y := make([]float32, d)
	for i := range sigmas {
		for j, v := range x[i*d:][:d] {
			y[j] = 0
			if r := high[j] - low[j]; r > 0 {
				y[j] = max(-mostVariation, min(mostVariation, (v-low[j])/r))
			}
		}
		mean := vec.Sum(y) / float32(d)
		for j := range y {
			y[j] -= mean
		}
		sigmas[i] = sqrt(dot(y, y) / float32(d-1))
	}
	softmaxOf(sigmas)
	return sigmas
}

// ranks replaces each number by its rank divided by the count: how many numbers are smaller, or equal and
// before it.
func ranks(x []float32) {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	for rank, i := range order {
		x[i] = float32(rank) / float32(len(x))
	}
}

// sqrt returns the square root, rounded to binary32.
func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
