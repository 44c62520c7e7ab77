package validate

import (
	"encoding/json"
	"maps"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// maxShrinks bounds the number of smaller pipelines that Shrink tries.
const maxShrinks = 1000

// Shrink repeatedly replaces the pipeline by a smaller or simpler one that still fails, until no part can be
// removed, reduced or simplified. fails reports whether a pipeline fails.
func (p Pipeline) Shrink(fails func(Pipeline) bool) Pipeline {
	tries := 0
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range p.smaller() {
			cfg := candidate.config()
			if cfg.Validate() != nil {
				continue
			}
			if tries++; tries > maxShrinks {
				return p
			}
			if fails(candidate) {
				p, smaller = candidate, true
				break
			}
		}
	}
	return p
}

// smaller returns pipelines that are smaller than this one, the largest reductions first.
func (p Pipeline) smaller() []Pipeline {
	var out []Pipeline
	with := func(change func(*Pipeline)) {
		c := p
		c.Operations = slices.Clone(p.Operations)
		c.Inputs.Tokens = slices.Clone(p.Inputs.Tokens)
		change(&c)
		out = append(out, c)
	}
	ops := len(p.Operations)
	for n := (ops + 1) / 2; n >= 1; n /= 2 { // from the end, since nothing depends on the last operations
		for first := ops - n; first >= 0; first -= n {
			if n < ops {
				with(func(c *Pipeline) { c.Operations = slices.Delete(c.Operations, first, first+n) })
			}
		}
	}
	for i, op := range p.Operations {
		for _, n := range []int{1, op.Tokens / 2, op.Tokens - 1} {
			if op.Kind == OpPrefill && n >= 1 && n < op.Tokens {
				with(func(c *Pipeline) { c.Operations[i].Tokens = n })
			}
		}
		for j := range op.Sequences {
			if len(op.Sequences) > 1 {
				with(func(c *Pipeline) {
					c.Operations[i].Sequences = slices.Delete(slices.Clone(op.Sequences), j, j+1)
				})
			}
		}
	}
	for _, n := range p.smallerNumbers() {
		for _, value := range []int{n.least, n.value / 2, n.value - 1} {
			if value >= n.least && value < n.value {
				with(func(c *Pipeline) { n.set(c, value) })
			}
		}
	}
	for i := range p.Own {
		with(func(c *Pipeline) { c.Own = slices.Delete(slices.Clone(p.Own), i, i+1) })
	}
	for _, plain := range p.plainer() {
		with(plain)
	}
	return out
}

// number is a number in a pipeline that may be reduced.
type number struct {
	value, least int
	set          func(*Pipeline, int)
}

func (p Pipeline) smallerNumbers() []number {
	s, m, c := p.Shape, p.Config.Metric, p.Config.Compression
	numbers := []number{
		{s.Layers, 1, func(p *Pipeline, n int) { p.Shape.Layers = n; p.fitShape() }},
		{s.KVHeads, 1, func(p *Pipeline, n int) { p.Shape.KVHeads = n; p.fitShape() }},
		{s.Group, 1, func(p *Pipeline, n int) { p.Shape.Group = n }},
		{s.HeadSize / 8, 1, func(p *Pipeline, n int) { p.Shape.HeadSize = 8 * n; p.fitShape() }},
		{m.Window, 1, func(p *Pipeline, n int) { p.Config.Metric.Window = n }},
		{m.Buffer, 0, func(p *Pipeline, n int) { p.Config.Metric.Buffer = n }},
		{c.ProtectedWindow, 0, func(p *Pipeline, n int) { p.Config.Compression.ProtectedWindow = n }},
		{c.Sinks, 0, func(p *Pipeline, n int) { p.Config.Compression.Sinks = n }},
		{c.MaxCacheTokens, 1, func(p *Pipeline, n int) { p.Config.Compression.MaxCacheTokens = n }},
		{p.Config.Blocks, 1, func(p *Pipeline, n int) { p.Config.Blocks = n }},
	}
	for i, n := range p.Inputs.Tokens {
		numbers = append(numbers, number{n, 1, func(p *Pipeline, n int) { p.Inputs.Tokens[i] = n }})
	}
	return append(numbers, p.smallerSettings()...)
}

// fitShape cuts the head bias, the control layers, maps of heads, scales and the rotary embedding to the
// shape.
func (p *Pipeline) fitShape() {
	if s := p.Config.KVScale; s != nil {
		p.Config.KVScale = &kv.Scale{K: s.K[:min(len(s.K), p.Shape.Layers)], V: s.V[:min(len(s.V), p.Shape.Layers)]}
	}
	if p.Rope != nil {
		cut := *p.Rope
		cut.RotarySize = min(cut.RotarySize, p.Shape.HeadSize)
		p.Rope = &cut
	}
	for key, value := range p.Config.Set {
		var full [][]int
		if json.Unmarshal(value, &full) != nil || len(full) < p.Shape.Layers {
			continue
		}
		full = full[:p.Shape.Layers]
		for l, heads := range full {
			full[l] = heads[:min(len(heads), p.Shape.KVHeads)]
		}
		p.set(key, full)
	}
	c := &p.Config.Compression
	if b := c.HeadBias; b != nil && len(b.Bias) >= p.Shape.Layers {
		cut := &ref.HeadBias{Bins: b.Bins}
		for _, heads := range b.Bias[:p.Shape.Layers] {
			cut.Bias = append(cut.Bias, heads[:min(len(heads), p.Shape.KVHeads)])
		}
		c.HeadBias = cut
	}
	c.ControlLayers = slices.DeleteFunc(slices.Clone(c.ControlLayers), func(l int) bool { return l >= p.Shape.Layers })
}

// set sets one of the method's options; nil resets it to the default.
func (p *Pipeline) set(key string, value any) {
	p.Config.Set = maps.Clone(p.Config.Set)
	delete(p.Config.Set, key)
	if p.Config.Set == nil {
		p.Config.Set = ref.Settings{}
	}
	if text, err := json.Marshal(value); err == nil && value != nil {
		p.Config.Set[key] = text
	}
}

// smallerSettings returns the method's integer options.
func (p Pipeline) smallerSettings() []number {
	var numbers []number
	for _, key := range slices.Sorted(maps.Keys(p.Config.Set)) {
		var n int
		if json.Unmarshal(p.Config.Set[key], &n) == nil {
			numbers = append(numbers, number{n, 0, func(p *Pipeline, n int) { p.set(key, n) }})
		}
	}
	return numbers
}

// plainer returns changes that turn options off.
func (p Pipeline) plainer() []func(*Pipeline) {
	m, c := p.Config.Metric, p.Config.Compression
	var changes []func(*Pipeline)
	where := func(is bool, change func(*Pipeline)) {
		if is {
			changes = append(changes, change)
		}
	}
	where(p.Before > 0, func(p *Pipeline) { p.Before = 0 })
	where(p.BeforeRows > 0, func(p *Pipeline) { p.BeforeRows = 0 })
	where(c.HeadBias != nil, func(p *Pipeline) { p.Config.Compression.HeadBias, p.Config.Compression.BiasWeight = nil, 0 })
	where(c.Random, func(p *Pipeline) { p.Config.Compression.Random = false })
	where(c.EvenLayers, func(p *Pipeline) { p.Config.Compression.EvenLayers, p.Config.Compression.ControlLayers = false, nil })
	where(len(c.ControlLayers) > 0, func(p *Pipeline) { p.Config.Compression.ControlLayers = nil })
	where(c.Uniform, func(p *Pipeline) { p.Config.Compression.Uniform = false })
	where(c.Seed != 0 && !c.Random, func(p *Pipeline) { p.Config.Compression.Seed = 0 })
	where(m.PrefillOnly, func(p *Pipeline) { p.Config.Metric.PrefillOnly = false })
	where(m.MaxPool != 0, func(p *Pipeline) { p.Config.Metric.MaxPool = 0 })
	for _, key := range slices.Sorted(maps.Keys(p.Config.Set)) {
		where(true, func(p *Pipeline) { p.set(key, nil) })
		where(p.Config.Set[key][0] == '[', func(p *Pipeline) { p.set(key, "none") }) // a map of heads
	}
	where(p.Rope != nil, func(p *Pipeline) { p.Rope = nil })
	isKVCompress := p.Config.Method == ""
	where(isKVCompress && m.Reduction != ref.Sum, func(p *Pipeline) { p.Config.Metric.Reduction = ref.Sum })
	where(isKVCompress && m.Norm != ref.L1, func(p *Pipeline) { p.Config.Metric.Norm = ref.L1 })
	where(p.Config.KVScale != nil, func(p *Pipeline) { p.Config.KVScale = nil })
	where(p.Config.DType != dtype.F32, func(p *Pipeline) { p.Config.DType, p.Config.KVScale = dtype.F32, nil })
	where(p.Config.BlockSize > 1, func(p *Pipeline) { p.Config.BlockSize /= 2 })
	where(p.Config.BlockSize > 1, halve)
	where(!p.Inputs.Integers, func(p *Pipeline) { p.Inputs.Integers = true })
	where(p.Inputs.Mirror, func(p *Pipeline) { p.Inputs.Mirror = false })
	where(p.Inputs.Grid, func(p *Pipeline) { p.Inputs.Grid = false })
	where(p.Inputs.Edges, func(p *Pipeline) { p.Inputs.Edges = false })
	where(!p.Inputs.Integers && p.Inputs.Scale != 1, func(p *Pipeline) { p.Inputs.Scale = 1 })
	where(p.Inputs.Seed != 0, func(p *Pipeline) { p.Inputs.Seed = 0 })
	return changes
}

// halve halves the block size, and all numbers measured in blocks with it.
func halve(p *Pipeline) {
	half := func(n *int) { *n = (*n + 1) / 2 }
	half(&p.Config.BlockSize)
	half(&p.Config.Compression.MaxCacheTokens)
	for i := range p.Inputs.Tokens {
		half(&p.Inputs.Tokens[i])
	}
	for i := range p.Operations {
		half(&p.Operations[i].Tokens)
	}
}
