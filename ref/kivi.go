package ref

import (
	"fmt"
	"slices"

	"kvcompress/kv"
)

// KIVIOptions are the options of the method kivi.
type KIVIOptions struct {
	Bits      int `json:"bits" help:"bits of a code: 1, 2, 3 or 4" values:"1,2,3,4"`
	ValueBits int `json:"value_bits" help:"bits of a value's code; 0: the same as bits" values:"0,1,2,3,4"`
	Group     int `json:"group" help:"tokens of a channel of the keys, and channels of a token of the values, that share a scale and a minimum" values:"2,4,8,16,32"`
	Residual  int `json:"residual" help:"R, a multiple of group: the newest 0 to R−1 keys and the newest R values stay in full precision" values:"8,16,32,64,128"`
}

// FlexGenOptions are the options of the method flexgen.
type FlexGenOptions struct {
	Bits  int `json:"bits" help:"bits of a code: 1, 2, 3 or 4" values:"1,2,3,4"`
	Group int `json:"group" help:"channels of a token that share a scale and a minimum" values:"2,4,8,16,32"`
}

func kiviEntry() Entry {
	e := Entry{
		Name:        "kivi",
		Paper:       "KIVI (Liu et al., arXiv 2402.02750)",
		Watches:     "nothing",
		Does:        "quantizes the oldest keys per channel in groups of tokens, the oldest values per token in groups of channels",
		From:        "the same number from each head",
		When:        "after the prompt, which attends in full precision, and after every step: R keys at a time, one value at a time",
		Reads:       "all held KVs",
		Payload:     "2·D·(bits + 32/group)/8 (f32: 64/group), of the residual 2·D·b + 4 (position)",
		CacheTokens: "not accepted: bits, group and residual set the bytes of a token",
		Rate:        "not accepted",
		HeldAgainst: "jy-yuan/KIVI@876b4d2 (codes, scales and minima to the bit; lengths and outputs step by step)",
		OwnPages:    true,
		Defaults:    func() any { return &KIVIOptions{Bits: 2, Group: 32, Residual: 128} },
	}
	e.New = func(c *Config) (Method, error) {
		o := *e.Defaults().(*KIVIOptions)
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		m, err := newKIVI(e.Name, &o, c)
		if err != nil {
			return nil, e.wrap(err)
		}
		return m, nil
	}
	return e
}

func newKIVI(name string, o *KIVIOptions, c *Config) (kivi, error) {
	bits := o.ValueBits
	if bits == 0 {
		bits = o.Bits
	}
	m := kivi{
		name: name, residual: o.Residual,
		keys:   kv.Format{Kind: kv.PerChannel, Bits: o.Bits, Group: o.Group},
		values: kv.Format{Kind: kv.PerToken, Bits: bits, Group: o.Group},
	}
	if err := m.check(c); err != nil {
		return m, err
	}
	if o.Residual < o.Group || o.Residual > MaxWindow || o.Residual%o.Group != 0 {
		return m, fmt.Errorf("residual is %d: choose a multiple of group, %d, from that to %d", o.Residual, o.Group, MaxWindow)
	}
	return m, nil
}

func flexGenEntry() Entry {
	e := Entry{
		Name:        "flexgen",
		Paper:       "FlexGen's compression of the cache (Sheng et al., arXiv 2303.06865)",
		Watches:     "nothing",
		Does:        "quantizes keys and values per token, in groups of channels",
		From:        "the same number from each head",
		When:        "after the prompt, which attends in full precision, and after every step: a token is exact in its own step",
		Reads:       "all held KVs",
		Payload:     "2·D·(bits + 32/group)/8 (f32: 64/group)",
		CacheTokens: "not accepted: bits and group set the bytes of a token",
		Rate:        "not accepted",
		HeldAgainst: "henryzhongsc/longctx_bench@72204d0 (dequantized values to the bit)",
		OwnPages:    true,
		Defaults:    func() any { return &FlexGenOptions{Bits: 4, Group: 32} },
	}
	e.New = func(c *Config) (Method, error) {
		o := *e.Defaults().(*FlexGenOptions)
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		f := kv.Format{Kind: kv.PerToken, Bits: o.Bits, Group: o.Group}
		m := kivi{name: e.Name, keys: f, values: f}
		if err := m.check(c); err != nil {
			return nil, e.wrap(err)
		}
		return m, nil
	}
	return e
}

// kivi is KIVI; with a residual of 0 and keys per token it is FlexGen. Of T tokens and a residual of R, the
// first T − (T mod R) keys and the first T − R values are quantized. So a group of keys, which spans
// consecutive tokens, is complete when it is quantized.
type kivi struct {
	name         string
	residual     int // R
	keys, values kv.Format
}

// check returns an error if the options are out of bounds, or if the configuration's cache cannot have such
// pages; the error says what would work. Other errors of the configuration are left to [Config.Validate].
func (m kivi) check(c *Config) error {
	for _, f := range []kv.Format{m.keys, m.values} {
		if f.Bits < 1 || f.Bits > 4 {
			return fmt.Errorf("codes of %d bits (bits, value_bits): choose 1, 2, 3 or 4", f.Bits)
		}
	}
	if g := m.keys.Group; g < 1 || g > MaxWindow {
		return fmt.Errorf("groups of %d: choose 1 to %d", g, MaxWindow)
	}
	if c.Compression.MaxCacheTokens > 0 || c.Compression.Rate > 0 {
		return fmt.Errorf("it keeps every token, so it takes neither max_cache_tokens nor rate: its options set the bytes of a token")
	}
	if c.Shape.Check() != nil || !slices.Contains(kv.BlockSizes(), c.BlockSize) || !c.DType.Valid() {
		return nil
	}
	return checkQuantizer(&c.Config, m)
}

func (m kivi) Name() string          { return m.name }
func (m kivi) Columns() []kv.Column  { return nil }
func (m kivi) Observe() *Observation { return nil }
func (m kivi) Asks(c Counts) int     { return quantizerAsks(c, m, 1) }
func (m kivi) Plan(v View) Plan {
	cfg := v.Cache.Config()
	return PlanQuantizer(&cfg, v.Sequence, m)
}
func (m kivi) Formats() (k, v kv.Format) { return m.keys, m.values }

// Quantizes implements [Quantizer].
func (m kivi) Quantizes(tokens int) (keys, values int) {
	if m.residual == 0 {
		return tokens, tokens
	}
	return tokens - tokens%m.residual, max(0, tokens-m.residual)
}

// Protects implements [Protector].
func (m kivi) Protects(c Counts) (sinks, newest int) {
	keys, values := m.Quantizes(c.Tokens)
	return 0, c.Tokens - max(keys, values)
}

// Spec follows the published cache token by token: what remains of the prompt in full precision, and for each
// generated token what is appended and what is then quantized. The oldest positions are quantized, and pages
// are counted one by one.
func (m kivi) Spec(v View) Plan {
	return m.spec(v, func(int) bool { return true })
}

// spec is Spec for the heads of the layers that of selects.
func (m kivi) spec(v View, of func(layer int) bool) Plan {
	s := v.Sequence
	var full, quantized [3]int // by part: how many keys and values are in full precision, and how many are quantized
	if m.residual == 0 {
		quantized[kv.Keys], quantized[kv.Values] = s.Len, s.Len
	} else {
		full[kv.Keys], full[kv.Values] = s.Prompt%m.residual, min(s.Prompt, m.residual)
		quantized[kv.Keys], quantized[kv.Values] = s.Prompt-full[kv.Keys], s.Prompt-full[kv.Values]
		for range s.Len - s.Prompt {
			full[kv.Keys]++
			if full[kv.Keys] == m.residual {
				quantized[kv.Keys] += m.residual
				full[kv.Keys] = 0
			}
			full[kv.Values]++
			if full[kv.Values] > m.residual {
				quantized[kv.Values]++
				full[kv.Values]--
			}
		}
	}
	var p Plan
	cfg := v.Cache.Config()
	used := 0 // blocks that earlier heads have taken and not freed
	for i := range s.Heads {
		h := &s.Heads[i]
		if !of(i / cfg.Shape.KVHeads) {
			continue
		}
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			format := m.keys
			if part == kv.Values {
				format = m.values
			}
			e := Edit{Op: Quantize, Part: part, Head: i}
			pages := 0 // pages of the list
			held := map[int]bool{}
			for _, g := range s.Heads[i].List(part) {
				pages += len(g.Table)
				for k := range g.Len {
					held[g.First+k] = true
				}
			}
			for position := range quantized[part] {
				if held[position] {
					continue
				}
				e.KVs = append(e.KVs, int32(position)) // nothing is evicted, so the position is also the logical index
				if position >= pages*cfg.Capacity(format) {
					pages++
					used++
				}
			}
			if len(e.KVs) > 0 {
				p.Asked += len(e.KVs)
				p.Edits = append(p.Edits, e)
			}
		}
		p.Needs = max(p.Needs, used)
		for b := range h.Table { // a block with all KVs quantized is free for the next head
			if end := (h.First/cfg.BlockSize + b + 1) * cfg.BlockSize; end <= quantized[kv.Keys] && end <= quantized[kv.Values] {
				used--
			}
		}
	}
	p.Takes = used
	return p
}
