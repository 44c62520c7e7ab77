package sim

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/ref"
	"kvcompress/trace"
)

// load is n requests of 512 tokens in and 128 out that arrive at random, 20 a
// second.
func load(n int) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		rng := rand.New(rand.NewPCG(1, 2))
		at := 0.0
		for range n {
			at += -math.Log(1-rng.Float64()) / 20
			if !yield(trace.Request{ID: "r", ArrivalNS: int64(at * 1e9), PromptTokens: 512, OutputTokens: 128}, nil) {
				return
			}
		}
	}
}

// llama8B is a cache of 20,000 blocks of 16 tokens for the heads of Llama-3.1-8B,
// and about what its steps take on an H100.
func llama8B() (ref.Config, Limits, *Rates) {
	cfg := ref.Default()
	cfg.Shape = trace.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}
	cfg.Blocks = 20000 * 32 * 8
	var r Rates
	for f, ns := range map[Feature]float64{Steps: 5.2e6, PrefillTokens: 20e3, AttentionPairs: 0.6, DecodeSeqs: 30e3, KVsRead: 0.18, BlocksRead: 0.01,
		CompressionSteps: 1e5, CompressedSeqs: 1e4, KVsSorted: 0.2, KVsMoved: 0.4, BlocksFreed: 1} {
		if err := r.SetNS(f, ns); err != nil {
			panic(err)
		}
	}
	return cfg, Limits{MaxNumSeqs: 256, MaxNumBatchedTokens: 2048, Watermark: 0.01}, &r
}

func BenchmarkServer(b *testing.B) {
	for _, skip := range []bool{true, false} {
		b.Run(fmt.Sprintf("skip=%v", skip), func(b *testing.B) {
			cfg, limits, rates := llama8B()
			ledger, err := NewLedger(&cfg, nil)
			if err != nil {
				b.Fatal(err)
			}
			s, err := NewStream(ledger, &cfg, limits, load(b.N), rates)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			s.Skip = skip
			done := 0
			s.Done = func(*Result) { done++ }
			b.ReportAllocs()
			b.ResetTimer()
			var step Step
			calls := 0
			for {
				more, err := s.Next(&step)
				if err != nil {
					b.Fatal(err)
				}
				if !more {
					break
				}
				calls++
			}
			if done != b.N {
				b.Fatalf("%d requests of %d", done, b.N)
			}
			b.ReportMetric(float64(s.steps)/b.Elapsed().Seconds(), "steps/s")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64(s.steps)/float64(b.N), "steps/request")
			b.ReportMetric(float64(calls)/float64(b.N), "calls/request")
		})
	}
}
