package validate

import (
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// metricsCase is one recorded set of prefill metrics.
type metricsCase struct {
	KVHeads, Group, HeadDim int
	Tokens, Window, Buffer  int
	Norm                    ref.Norm
	Reduction               ref.Reduction // "metric_reduction"; sum by default
	MaxPool                 int
	Chunk                   int       // 0 by default
	Q                       []float32 // [window, kv_heads·group, head_dim]
	K                       []float32 // [tokens, kv_heads, head_dim]
	Metrics                 []float32 // [tokens, kv_heads]
}

func (c *metricsCase) fields() fields {
	return fields{
		"kv_heads": &c.KVHeads, "group": &c.Group, "head_dim": &c.HeadDim, "tokens": &c.Tokens,
		"window": &c.Window, "buffer": &c.Buffer, "norm": &c.Norm, "max_pool": &c.MaxPool,
		"q": &c.Q, "k": &c.K, "metrics": &c.Metrics,
	}
}

func readMetrics(found map[string][]byte) (*metricsCase, error) {
	c := metricsCase{Reduction: ref.Sum}
	if err := c.fields().decode(found); err != nil {
		return nil, err
	}
	if err := (fields{"metric_reduction": &c.Reduction, "chunk": &c.Chunk}).optional(found); err != nil {
		return nil, err
	}
	return &c, c.check()
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
		want   float64 // a float64, so that huge dimensions do not overflow
	}{
		{"q", c.Q, float64(observed) * float64(c.KVHeads) * float64(c.Group) * float64(c.HeadDim)},
		{"k", c.K, float64(c.Tokens) * float64(c.KVHeads) * float64(c.HeadDim)},
		{"metrics", c.Metrics, float64(c.Tokens) * float64(c.KVHeads)},
	} {
		if float64(len(f.values)) != f.want {
			return fmt.Errorf("%s has %d numbers, its shape has %.0f", f.name, len(f.values), f.want)
		}
		for i, v := range f.values {
			if !(v >= -trace.MaxMagnitude && v <= trace.MaxMagnitude) {
				return fmt.Errorf("%s[%d] = %g is beyond ±2⁵⁶", f.name, i, v)
			}
		}
	}
	cfg := ref.Config{Metric: m}
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: c.KVHeads, Group: c.Group, HeadSize: c.HeadDim}
	return cfg.PrefillFits(c.Tokens)
}

func (c *metricsCase) metric() ref.Metric {
	return ref.Metric{Norm: c.Norm, Reduction: c.Reduction, MaxPool: c.MaxPool, Window: c.Window, Buffer: c.Buffer, Chunk: c.Chunk}
}

func (c *metricsCase) replay() CaseResult {
	m := c.metric()
	result := CaseResult{
		Kind: KindMetrics,
		Detail: fmt.Sprintf("%d KV heads × %d queries × %d, %d tokens, window %d, buffer %d, %s, %s, max-pool %d",
			c.KVHeads, c.Group, c.HeadDim, c.Tokens, c.Window, c.Buffer, c.Norm, c.Reduction, c.MaxPool),
		Compared: "the metric of every KV",
		Values:   len(c.Metrics),
	}
	if c.Chunk > 0 {
		result.Detail += fmt.Sprintf(", chunks of %d", c.Chunk)
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
			const normal = 0x1p-126 // smallest normal number: below it, relative errors are larger
			relative := math.Abs(float64(g)-want) / max(math.Abs(want), normal)
			result.MaxError = max(result.MaxError, relative)
			if !(relative <= PrefillTolerance) && result.Mismatch == "" {
				result.Mismatch = fmt.Sprintf("token %d, KV head %d: %g, %g recorded", i, head, g, want)
			}
		}
	}
	return result
}
