package validate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
)

// evictionCase is one recorded eviction decision. Metrics are in logical order.
type evictionCase struct {
	Layers, KVHeads, BlockSize      int
	SequenceLength                  int
	ProtectedWindow, AttentionSinks int
	MetricReduction                 ref.Reduction
	BlocksToEvict                   int
	Heads                           []evictionHead

	// Optional members: how the blocks are divided among the heads, and what is added to a KV's cost.
	EvenLayers, Uniform bool
	ControlLayers       []int
	HeadBias            *ref.HeadBias
	BiasWeight          float32 // 1 if a head bias is given without a weight
}

type evictionHead struct {
	Layer, Head   int
	Blocks        []int32
	Positions     []int32
	Metrics       floats
	EvictedBlocks int
	Evicted       []int32
	Moves         [][]int32 // destination and source of each
}

func (c *evictionCase) fields(heads *[]json.RawMessage) fields {
	return fields{
		"layers": &c.Layers, "kv_heads": &c.KVHeads, "block_size": &c.BlockSize,
		"sequence_length": &c.SequenceLength, "protected_window": &c.ProtectedWindow, "attention_sinks": &c.AttentionSinks,
		"metric_reduction": &c.MetricReduction, "blocks_to_evict": &c.BlocksToEvict, "heads": heads,
	}
}

func (c *evictionCase) optional() fields {
	return fields{
		"even_layers": &c.EvenLayers, "uniform": &c.Uniform, "control_layers": &c.ControlLayers,
		"head_bias": &c.HeadBias, "bias_weight": &c.BiasWeight,
	}
}

func (h *evictionHead) fields() fields {
	return fields{
		"layer": &h.Layer, "head": &h.Head, "blocks": &h.Blocks, "positions": &h.Positions, "metrics": &h.Metrics,
		"evicted_blocks": &h.EvictedBlocks, "evicted": &h.Evicted, "moves": &h.Moves,
	}
}

func readEviction(found map[string][]byte) (*evictionCase, error) {
	var c evictionCase
	var heads []json.RawMessage
	if err := c.fields(&heads).decode(found); err != nil {
		return nil, err
	}
	c.BiasWeight = 1
	if err := c.optional().optional(found); err != nil {
		return nil, err
	}
	c.Heads = make([]evictionHead, len(heads))
	for i, raw := range heads {
		found, err := members(raw)
		if err == nil {
			err = c.Heads[i].fields().decode(found)
		}
		if err != nil {
			return nil, fmt.Errorf("heads[%d]: %w", i, err)
		}
	}
	return &c, c.check()
}

// check sorts the heads by (layer, head) and returns an error if the case is inconsistent.
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
	if err := c.config().Compression.Validate(c.config().Shape); err != nil {
		return err
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
			return fmt.Errorf("%s: %d positions, %d metrics and %d blocks of %d are inconsistent", where, len(h.Positions), len(h.Metrics), len(h.Blocks), c.BlockSize)
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
		held := map[int32]bool{}
		for j, p := range h.Positions {
			if p < 0 || int(p) >= c.SequenceLength || held[p] {
				return fmt.Errorf("%s: positions[%d] = %d is not from 0 to %d, or occurs twice", where, j, p, c.SequenceLength-1)
			}
			held[p] = true
		}
		for j, m := range h.Moves {
			if len(m) != 2 {
				return fmt.Errorf("%s: moves[%d] has %d numbers, not a destination and a source", where, j, len(m))
			}
		}
	}
	return nil
}

// replay decides the case with Decide and with Walk and compares both with the recording.
func (c *evictionCase) replay() CaseResult {
	result := CaseResult{
		Kind:     KindEviction,
		Compared: "blocks and KVs evicted of every head, and the moves that follow",
		Detail: fmt.Sprintf("%d×%d heads, block size %d, length %d, window %d, sinks %d, %s, %s%s",
			c.Layers, c.KVHeads, c.BlockSize, c.SequenceLength, c.ProtectedWindow, c.AttentionSinks, c.MetricReduction, words.Count(c.BlocksToEvict, "block"), c.spread()),
	}
	p := c.problem()
	decision := ref.Decide(p)
	if walked := ref.Walk(p); !walked.Equal(&decision) {
		result.Mismatch = "Decide and Walk disagree with each other"
		return result
	}
	result.Blocks, result.KVs, result.Moves = new(int), new(int), new(int)
	for i := range c.Heads {
		want, got := &c.Heads[i], &decision.Heads[i]
		moves := kv.Moves(nil, &kv.Head{Segment: kv.Segment{Table: want.Blocks, Len: len(want.Positions)}}, c.BlockSize, got.KVs)
		*result.Blocks += got.Units
		*result.KVs += len(got.KVs)
		*result.Moves += len(moves)
		result.Values += 1 + len(want.Evicted) + 2*len(want.Moves)
		if result.Mismatch == "" {
			result.Mismatch = want.compare(got, moves)
		}
	}
	return result
}

// spread describes the optional members.
func (c *evictionCase) spread() string {
	text := ""
	switch {
	case c.EvenLayers && len(c.ControlLayers) > 0:
		text = fmt.Sprintf(", evenly from all layers but %v", c.ControlLayers)
	case c.EvenLayers:
		text = ", evenly from all layers"
	case c.Uniform:
		text = ", evenly from all heads"
	}
	if c.HeadBias != nil {
		text += fmt.Sprintf(", a bias of weight %g", c.BiasWeight)
	}
	return text
}

// config returns the decision's options.
func (c *evictionCase) config() *ref.Config {
	return &ref.Config{
		Config: kv.Config{Shape: kv.Shape{Layers: c.Layers, KVHeads: c.KVHeads, Group: 1}},
		Compression: ref.Compression{
			EvenLayers: c.EvenLayers, Uniform: c.Uniform, ControlLayers: c.ControlLayers,
			HeadBias: c.HeadBias, BiasWeight: c.BiasWeight,
		},
	}
}

// problem lays the case out in as few slots as it needs: blocks are renumbered in the order of the file, so
// that the memory does not depend on their original numbers.
func (c *evictionCase) problem() *ref.Problem {
	p := &ref.Problem{
		Length:    c.SequenceLength,
		KVHeads:   c.KVHeads,
		BlockSize: c.BlockSize,
		Heads:     make([]kv.Head, len(c.Heads)),
		Ranking: ref.Ranking{
			Unit: c.BlockSize, Sinks: c.AttentionSinks, Window: c.ProtectedWindow, Average: c.MetricReduction == ref.Avg,
			Bias: c.HeadBias, Weight: c.BiasWeight, Quotas: c.config().Quotas(c.BlocksToEvict),
		},
	}
	for i := range c.Heads {
		h := &c.Heads[i]
		table := make([]int32, len(h.Blocks))
		for b := range table {
			table[b] = int32(len(p.Scores)/c.BlockSize + b)
		}
		p.Heads[i] = kv.Head{Segment: kv.Segment{Table: table, Len: len(h.Positions)}}
		empty := len(h.Blocks)*c.BlockSize - len(h.Positions) // unused slots of the last block
		p.Scores = append(append(p.Scores, h.Metrics...), make([]float32, empty)...)
		p.Positions = append(append(p.Positions, h.Positions...), make([]int32, empty)...)
	}
	return p
}

// compare describes how a head's decision differs from the recording, or returns "".
func (h *evictionHead) compare(got *ref.HeadEviction, moves []kv.Move) string {
	where := fmt.Sprintf("layer %d, head %d", h.Layer, h.Head)
	if got.Units != h.EvictedBlocks {
		return fmt.Sprintf("%s: %d blocks evicted, %d recorded", where, got.Units, h.EvictedBlocks)
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
