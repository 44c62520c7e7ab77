package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// headline says what was run, on which cache, and with which compression.
func (p *printer) headline(r *sim.Report) {
	o := &r.Options
	p.printf("%s: %s, %s × %s, block size %d, %s\n", p.opt.Color.bold(name(r)),
		words.Count(len(r.Requests), "request"), words.Count(r.Shape.Layers, "layer"), words.Count(r.Shape.KVHeads, "KV head"),
		o.BlockSize, o.DType)
	p.sentences(asked(o) + " " + measured(o))
	p.sentences(fmt.Sprintf("Cache: %s of %s, %s of keys and values; %s of them stay free on admission.",
		words.Count(o.Blocks, "block"), words.Count(o.BlockSize, "KV"), size(int64(o.Blocks)*blockBytes(r)), percent(o.Limits.Watermark)) + scales(o.KVScale))
}

// scales says with which scales an fp8 cache stores keys and values; "" if it has none.
func scales(s *kv.Scale) string {
	if s == nil {
		return ""
	}
	between := func(x []float32) string {
		if least, most := slices.Min(x), slices.Max(x); least < most {
			return fmt.Sprintf("%g to %g by layer", least, most)
		}
		return fmt.Sprint(x[0])
	}
	return fmt.Sprintf(" Scales: K %s, V %s.", between(s.K), between(s.V))
}

// name returns the report's title.
func name(r *sim.Report) string {
	if r.Trace == "" {
		return "unnamed trace"
	}
	return r.Trace
}

// asked says how much is to be evicted, from where and when.
func asked(o *sim.Options) string {
	c := &o.Compression
	var b strings.Builder
	if o.Method != "" {
		return methodAsked(o)
	}
	switch {
	case c.MaxCacheTokens > 0:
		fmt.Fprintf(&b, "Compression to %s a head on average", words.Count(c.MaxCacheTokens, "KV"))
	case c.Rate > 0:
		fmt.Fprintf(&b, "Compression to %.4g %% of the KVs before the protected window", 100*c.Rate)
	default:
		return "No compression was asked for."
	}
	switch {
	case c.EvenLayers && len(c.ControlLayers) > 0:
		fmt.Fprintf(&b, ", as many blocks from every layer (%s exempt)", numbered("layer", c.ControlLayers))
	case c.EvenLayers:
		b.WriteString(", as many blocks from every layer")
	case c.Uniform:
		b.WriteString(", as many blocks from every head")
	}
	if c.Random {
		fmt.Fprintf(&b, ", at random (seed %d)", c.Seed)
	}
	if c.HeadBias != nil {
		fmt.Fprintf(&b, ", with a bias of weight %g by head and position", c.BiasWeight)
	}
	b.WriteString("; ")
	b.WriteString(spared(c))
	b.WriteString(". It runs ")
	b.WriteString(when(&o.Schedule))
	b.WriteString(".")
	return b.String()
}

// spared says which KVs are never evicted.
func spared(c *ref.Compression) string {
	var kept []string
	if c.ProtectedWindow > 0 {
		kept = append(kept, "the newest "+words.Count(c.ProtectedWindow, "token"))
	}
	if c.Sinks > 0 {
		kept = append(kept, "the oldest "+words.Count(c.Sinks, "token"))
	}
	if kept == nil {
		return "no token is protected"
	}
	return list(kept) + " stay"
}

// methodAsked says what a method other than KV-Compress is to do.
func methodAsked(o *sim.Options) string {
	e, err := ref.FindMethod(o.Method)
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("Compression by %s, which %s", e.Name, e.Does)
	switch c := &o.Compression; {
	case c.MaxCacheTokens > 0:
		s += fmt.Sprintf("; max_cache_tokens %s: %s", words.Number(c.MaxCacheTokens), e.CacheTokens)
	case c.Rate > 0:
		s += fmt.Sprintf("; rate %g: %s", c.Rate, e.Rate)
	}
	for _, key := range slices.Sorted(maps.Keys(o.Set)) {
		s += fmt.Sprintf("; %s %s", key, o.Set[key])
	}
	return s + ". It runs " + when(&o.Schedule) + ", where it has something to do."
}

// when says how often compression runs, and for which sequences.
func when(c *sim.Schedule) string {
	s := "after every prefill"
	switch {
	case c.Interval == 1:
		s += " and every decode step"
	case c.Interval > 1:
		s += fmt.Sprintf(" and every %d decode steps", c.Interval)
	}
	if c.NewTokenLimit > 0 {
		s += fmt.Sprintf(", and when more than %s entered", words.Count(c.NewTokenLimit, "new token"))
	}
	if c.Once {
		s += ", a single time for each sequence"
	}
	if c.MaxKVPerCompression > 0 {
		s += fmt.Sprintf(", for at most %s at a time", words.Count(c.MaxKVPerCompression, "slot"))
	}
	return s
}

// measured says how the attention is measured that eviction decides by.
func measured(o *sim.Options) string {
	if !o.Compression.Enabled() || o.Compression.Random || o.Method != "" {
		return ""
	}
	m := &o.Metric
	what := "squared attention"
	if m.Norm == ref.L1 {
		what = "attention"
	}
	how := "summed"
	if m.Reduction == ref.Avg {
		how = "averaged"
	}
	from := fmt.Sprintf("last %s queries", words.Number(m.Window))
	if m.Window == 1 {
		from = "last query"
	}
	s := fmt.Sprintf("A KV's worth is the %s it receives, %s (%s, %s), from the %s of its prompt on",
		what, how, m.Norm, m.Reduction, from)
	if m.MaxPool > 0 {
		s += fmt.Sprintf(", max-pooled over %d", m.MaxPool)
	}
	if m.Buffer > 0 {
		s += fmt.Sprintf(", from at least %s away", words.Count(m.Buffer, "token"))
	}
	return s + "."
}

// numbered names layers or heads, which are counted from 0: layers 0, 3 and 4.
func numbered(noun string, numbers []int) string {
	items := make([]string, len(numbers))
	for i, n := range numbers {
		items[i] = fmt.Sprint(n)
	}
	if len(items) != 1 {
		noun += "s"
	}
	return noun + " " + list(items)
}
