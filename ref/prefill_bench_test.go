package ref

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkPrefillMetrics is one KV head of Llama-3.1-8B's shape at a prompt of
// 6,000 tokens, observed by its last 32 queries of 4 heads.
func BenchmarkPrefillMetrics(b *testing.B) {
	const n, d, group, window = 6000, 128, 4, 32
	rng := rand.New(rand.NewPCG(1, 12))
	q, k := make([]float32, window*group*d), make([]float32, n*d)
	for _, x := range [][]float32{q, k} {
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
	}
	m := Default().Metric
	metrics := make([]float32, n)
	b.ReportAllocs()
	for b.Loop() {
		m.PrefillMetrics(metrics, q, k, group, d)
	}
	b.ReportMetric(float64(n*d*group*window)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GMAC/s")
}
