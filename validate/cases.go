// Package validate compares: engines with each other, engines with golden
// results, and engines with what other implementations decided.
package validate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"kvcompress/ref"
)

// The kinds of recorded case.
const (
	KindEviction = "eviction"
	KindMetrics  = "prefill_metrics"
)

// CaseResult is what became of one case of a file of recorded decisions.
type CaseResult struct {
	Case     int     `json:"case"`
	Kind     string  `json:"kind"`   // KindEviction or KindMetrics
	Detail   string  `json:"detail"` // what the case is
	Values   int     `json:"values_compared"`
	Blocks   int     `json:"blocks,omitempty"` // evicted
	KVs      int     `json:"kvs,omitempty"`    // evicted
	Moves    int     `json:"moves,omitempty"`
	MaxError float64 `json:"max_relative_error,omitempty"` // prefill_metrics
	Mismatch string  `json:"mismatch,omitempty"`           // the first; empty if all agree
}

// PrefillTolerance is the relative error up to which prefill metrics agree with
// a recording. The recordings are of binary32 sums in another order; 1e-5 is
// what their source states.
const PrefillTolerance = 1e-5

// Bounds on a file of cases.
const (
	maxCasesBytes = 1 << 30
	maxCaseHeads  = 1 << 16
)

// evictionCase is one recorded eviction decision. Metrics are in logical order.
type evictionCase struct {
	Layers          int            `json:"layers"`
	KVHeads         int            `json:"kv_heads"`
	BlockSize       int            `json:"block_size"`
	SequenceLength  int            `json:"sequence_length"`
	ProtectedWindow int            `json:"protected_window"`
	AttentionSinks  int            `json:"attention_sinks"`
	MetricReduction ref.Reduction  `json:"metric_reduction"`
	BlocksToEvict   int            `json:"blocks_to_evict"`
	Heads           []evictionHead `json:"heads"`
}

type evictionHead struct {
	Layer         int        `json:"layer"`
	Head          int        `json:"head"`
	Blocks        []int32    `json:"blocks"`
	Positions     []int32    `json:"positions"`
	Metrics       []float32  `json:"metrics"`
	EvictedBlocks int        `json:"evicted_blocks"`
	Evicted       []int32    `json:"evicted"`
	Moves         [][2]int32 `json:"moves"` // destination, source
}

// metricsCase is one recorded set of prefill metrics.
type metricsCase struct {
	KVHeads int       `json:"kv_heads"`
	Group   int       `json:"group"`
	HeadDim int       `json:"head_dim"`
	Tokens  int       `json:"tokens"`
	Window  int       `json:"window"`
	Buffer  int       `json:"buffer"`
	Norm    ref.Norm  `json:"norm"`
	MaxPool int       `json:"max_pool"`
	Q       []float32 `json:"q"`       // [window, kv_heads·group, head_dim]
	K       []float32 `json:"k"`       // [tokens, kv_heads, head_dim]
	Metrics []float32 `json:"metrics"` // [tokens, kv_heads]
}

// Cases replays recorded decisions of another implementation: a JSON array of
// eviction decisions or of prefill metrics. An error means that the file could
// not be read; a disagreement is in the results.
func Cases(r io.Reader) ([]CaseResult, error) {
	dec := json.NewDecoder(io.LimitReader(r, maxCasesBytes))
	if t, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	} else if t != json.Delim('[') {
		return nil, fmt.Errorf("cases: an array of cases is expected, not %v", t)
	}
	var results []CaseResult
	for n := 0; dec.More(); n++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fmt.Errorf("cases: case %d: %w", n, err)
		}
		result, err := replayCase(raw)
		if err != nil {
			return nil, fmt.Errorf("cases: case %d: %w", n, err)
		}
		result.Case = n
		results = append(results, result)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if len(results) == 0 {
		return nil, errors.New("cases: the file has none")
	}
	return results, nil
}

func replayCase(raw []byte) (CaseResult, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return CaseResult{}, err
	}
	switch {
	case keys["heads"] != nil:
		var c evictionCase
		if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&c); err != nil {
			return CaseResult{}, err
		}
		return c.replay()
	case keys["q"] != nil && keys["k"] != nil:
		var c metricsCase
		if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&c); err != nil {
			return CaseResult{}, err
		}
		return c.replay()
	default:
		return CaseResult{}, errors.New(`neither "heads" (an eviction) nor "q" and "k" (prefill metrics) is given`)
	}
}

// check brings the heads into (layer, head) order and refuses what no decision
// can be made of.
func (c *evictionCase) check() error {
	n := len(c.Heads)
	switch {
	case c.Layers < 1 || c.KVHeads < 1 || c.Layers > maxCaseHeads || c.KVHeads > maxCaseHeads || n != c.Layers*c.KVHeads || n > maxCaseHeads:
		return fmt.Errorf("%d heads are given for %d layers of %d KV heads", n, c.Layers, c.KVHeads)
	case c.BlockSize < 1 || c.BlockSize > 1<<10:
		return fmt.Errorf("block_size %d is not from 1 to 1024", c.BlockSize)
	case c.SequenceLength < 1 || c.SequenceLength > math.MaxInt32:
		return fmt.Errorf("sequence_length %d is not from 1 to %d", c.SequenceLength, math.MaxInt32)
	case c.ProtectedWindow < 0 || c.AttentionSinks < 0 || c.BlocksToEvict < 0:
		return fmt.Errorf("protected_window %d, attention_sinks %d and blocks_to_evict %d must not be negative", c.ProtectedWindow, c.AttentionSinks, c.BlocksToEvict)
	case c.MetricReduction != ref.Sum && c.MetricReduction != ref.Avg:
		return fmt.Errorf("metric_reduction %q is neither sum nor avg", c.MetricReduction)
	}
	slices.SortStableFunc(c.Heads, func(a, b evictionHead) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Head, b.Head))
	})
	owned := map[int32]bool{}
	for i := range c.Heads {
		h := &c.Heads[i]
		where := fmt.Sprintf("layer %d, head %d", h.Layer, h.Head)
		if h.Layer != i/c.KVHeads || h.Head != i%c.KVHeads {
			return fmt.Errorf("%s is out of range or given twice: layer %d, head %d is missing", where, i/c.KVHeads, i%c.KVHeads)
		}
		if len(h.Metrics) != len(h.Positions) || len(h.Blocks) != (len(h.Positions)+c.BlockSize-1)/c.BlockSize {
			return fmt.Errorf("%s: %d positions, %d metrics and %d blocks of %d do not fit", where, len(h.Positions), len(h.Metrics), len(h.Blocks), c.BlockSize)
		}
		for j, b := range h.Blocks {
			if most := math.MaxInt32/c.BlockSize - 1; b < 0 || int(b) > most {
				return fmt.Errorf("%s: blocks[%d] = %d is not from 0 to %d", where, j, b, most)
			}
			if owned[b] {
				return fmt.Errorf("%s: blocks[%d] = %d is listed twice", where, j, b)
			}
			owned[b] = true
		}
		for j, p := range h.Positions {
			if p < 0 || int(p) >= c.SequenceLength {
				return fmt.Errorf("%s: positions[%d] = %d is not from 0 to %d", where, j, p, c.SequenceLength-1)
			}
		}
	}
	return nil
}

// replay decides the case with Decide and with Walk and holds both against the
// recording.
func (c *evictionCase) replay() (CaseResult, error) {
	if err := c.check(); err != nil {
		return CaseResult{}, err
	}
	result := CaseResult{
		Kind: KindEviction,
		Detail: fmt.Sprintf("%d×%d heads, block size %d, length %d, window %d, sinks %d, %s, %d blocks",
			c.Layers, c.KVHeads, c.BlockSize, c.SequenceLength, c.ProtectedWindow, c.AttentionSinks, c.MetricReduction, c.BlocksToEvict),
	}
	p := c.problem()
	decision := ref.Decide(p)
	if walked := ref.Walk(p); !walked.Equal(&decision) {
		result.Mismatch = "Decide and Walk disagree with each other"
		return result, nil
	}
	for i := range c.Heads {
		want, got := &c.Heads[i], &decision.Heads[i]
		moves := ref.Moves(nil, &ref.Head{Table: want.Blocks, Len: len(want.Positions)}, c.BlockSize, got.KVs)
		result.Blocks += got.Blocks
		result.KVs += len(got.KVs)
		result.Moves += len(moves)
		result.Values += 1 + len(want.Evicted) + 2*len(want.Moves)
		if result.Mismatch == "" {
			result.Mismatch = want.compare(got, moves)
		}
	}
	return result, nil
}

// problem lays the case out in as many slots as it has: its blocks are numbered
// anew, in the order in which the file lists them, so that the memory does not
// depend on their numbers.
func (c *evictionCase) problem() *ref.Problem {
	p := &ref.Problem{
		Length:    c.SequenceLength,
		KVHeads:   c.KVHeads,
		BlockSize: c.BlockSize,
		Heads:     make([]ref.Head, len(c.Heads)),
		Reduction: c.MetricReduction,
		Options:   &ref.Compression{ProtectedWindow: c.ProtectedWindow, Sinks: c.AttentionSinks},
		Quotas:    []ref.Quota{{First: 0, Heads: len(c.Heads), Blocks: c.BlocksToEvict}},
	}
	for i := range c.Heads {
		h := &c.Heads[i]
		table := make([]int32, len(h.Blocks))
		for b := range table {
			table[b] = int32(len(p.Metrics)/c.BlockSize + b)
		}
		p.Heads[i] = ref.Head{Table: table, Len: len(h.Positions)}
		empty := len(h.Blocks)*c.BlockSize - len(h.Positions) // slots at the end of the last block
		p.Metrics = append(append(p.Metrics, h.Metrics...), make([]float32, empty)...)
		p.Positions = append(append(p.Positions, h.Positions...), make([]int32, empty)...)
	}
	return p
}

// compare says how a head's decision differs from the recording, or nothing.
func (h *evictionHead) compare(got *ref.HeadEviction, moves []ref.Move) string {
	where := fmt.Sprintf("layer %d, head %d", h.Layer, h.Head)
	if got.Blocks != h.EvictedBlocks {
		return fmt.Sprintf("%s: %d blocks evicted, %d recorded", where, got.Blocks, h.EvictedBlocks)
	}
	if !slices.Equal(got.KVs, h.Evicted) {
		return fmt.Sprintf("%s: KVs evicted: %s", where, firstDifference(got.KVs, h.Evicted))
	}
	var flat, recorded []int32
	for _, m := range moves {
		flat = append(flat, m.Destination, m.Source)
	}
	for _, m := range h.Moves {
		recorded = append(recorded, m[0], m[1])
	}
	if !slices.Equal(flat, recorded) {
		return fmt.Sprintf("%s: moves, as destination and source in turn: %s", where, firstDifference(flat, recorded))
	}
	return ""
}

func firstDifference(got, want []int32) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("[%d] is %d, %d recorded", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d, %d recorded", len(got), len(want))
}

func (c *metricsCase) check() error {
	const most = 1 << 20
	for _, f := range []struct {
		name  string
		value int
	}{{"kv_heads", c.KVHeads}, {"group", c.Group}, {"head_dim", c.HeadDim}, {"tokens", c.Tokens}, {"window", c.Window}} {
		if f.value < 1 || f.value > most {
			return fmt.Errorf("%s %d is not from 1 to %d", f.name, f.value, most)
		}
	}
	m := c.metric()
	if err := m.Validate(); err != nil {
		return err
	}
	if c.HeadDim%8 != 0 || c.HeadDim > 256 {
		return fmt.Errorf("head_dim %d is not a multiple of 8 up to 256", c.HeadDim)
	}
	observed := min(c.Window, c.Tokens)
	for _, f := range []struct {
		name   string
		values []float32
		want   float64 // a float64, so that absurd shapes do not wrap around
	}{
		{"q", c.Q, float64(observed) * float64(c.KVHeads) * float64(c.Group) * float64(c.HeadDim)},
		{"k", c.K, float64(c.Tokens) * float64(c.KVHeads) * float64(c.HeadDim)},
		{"metrics", c.Metrics, float64(c.Tokens) * float64(c.KVHeads)},
	} {
		if float64(len(f.values)) != f.want {
			return fmt.Errorf("%s has %d numbers, its shape has %.0f", f.name, len(f.values), f.want)
		}
	}
	return nil
}

func (c *metricsCase) metric() ref.Metric {
	return ref.Metric{Norm: c.Norm, Reduction: ref.Sum, MaxPool: c.MaxPool, Window: c.Window, Buffer: c.Buffer}
}

func (c *metricsCase) replay() (CaseResult, error) {
	if err := c.check(); err != nil {
		return CaseResult{}, err
	}
	m := c.metric()
	result := CaseResult{
		Kind: KindMetrics,
		Detail: fmt.Sprintf("%d KV heads × %d queries × %d, %d tokens, window %d, buffer %d, %s, max-pool %d",
			c.KVHeads, c.Group, c.HeadDim, c.Tokens, c.Window, c.Buffer, c.Norm, c.MaxPool),
		Values: len(c.Metrics),
	}
	d, observed := c.HeadDim, min(c.Window, c.Tokens)
	q, k, got := make([]float32, observed*c.Group*d), make([]float32, c.Tokens*d), make([]float32, c.Tokens)
	for head := range c.KVHeads {
		for w := range observed {
			copy(q[w*c.Group*d:][:c.Group*d], c.Q[(w*c.KVHeads+head)*c.Group*d:])
		}
		for i := range c.Tokens {
			copy(k[i*d:][:d], c.K[(i*c.KVHeads+head)*d:])
		}
		m.PrefillMetrics(got, q, k, c.Group, d)
		for i, g := range got {
			want := float64(c.Metrics[i*c.KVHeads+head])
			relative := math.Abs(float64(g) - want)
			if want != 0 {
				relative /= math.Abs(want)
			}
			result.MaxError = max(result.MaxError, relative)
			if !(relative <= PrefillTolerance) && result.Mismatch == "" {
				result.Mismatch = fmt.Sprintf("token %d, KV head %d: %g, %g recorded", i, head, g, want)
			}
		}
	}
	return result, nil
}
