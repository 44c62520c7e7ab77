package ref

import (
	"kvcompress/internal/ceil"
	"kvcompress/kv"
)

// kvCompress is KV-Compress (Rehg, arXiv 2410.00161). [Config.Count] and [Config.Quotas] say how many blocks
// to evict, the ranking which KVs.
type kvCompress struct{ cfg *Config }

func (m kvCompress) Name() string { return KVCompress }

// Columns declares the metric of every KV.
func (m kvCompress) Columns() []kv.Column {
	return []kv.Column{{Name: "metrics", Value: "metric", Width: 1}}
}

// Observe observes the prompt's last queries, and every query of decode steps.
func (m kvCompress) Observe() *Observation { return m.cfg.Metric.Observation() }

// Rank asks for the blocks that stage 1 counts, as far as they can be divided among the heads.
func (m kvCompress) Rank(c Counts) Ranking {
	kvs, blocks := 0, 0
	for _, n := range c.Heads {
		kvs += n
		blocks += ceil.Div(n, m.cfg.BlockSize)
	}
	opt := &m.cfg.Compression
	r := Ranking{
		Unit:    m.cfg.BlockSize,
		Sinks:   opt.Sinks,
		Window:  opt.ProtectedWindow,
		Average: m.cfg.Metric.Reduction == Avg,
		Bias:    opt.HeadBias,
		Weight:  opt.BiasWeight,
		Seed:    opt.Seed,
		Quotas:  m.cfg.Quotas(m.cfg.Count(c.Tokens, kvs, blocks)),
	}
	if opt.Random {
		r.Key = ByHash
	}
	return r
}

func (m kvCompress) Asks(c Counts) int { return m.Rank(c).Asks() }
func (m kvCompress) Plan(v View) Plan  { return v.drop(m.Rank(v.Counts()), Decide) }
func (m kvCompress) Spec(v View) Plan  { return v.drop(m.Rank(v.Counts()), Walk) }
