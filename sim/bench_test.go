package sim

import (
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// load is n requests of 512 prompt and 128 output tokens that arrive at random, 20 per second.
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

// llama8B is a cache of 20,000 blocks of 16 KVs for the heads of Llama-3.1-8B, with about the
// times of its steps on an H100.
func llama8B() (ref.Config, Limits, *Rates) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}
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

// serveLoad serves a load and reports its speed.
func serveLoad(b *testing.B, p *Plan, requests iter.Seq2[trace.Request, error], watch Watch) {
	b.ReportAllocs()
	b.ResetTimer()
	out, err := Project(b.Context(), p, requests, watch)
	if err != nil {
		b.Fatal(err)
	}
	if out.Finished != b.N {
		b.Fatalf("%d requests of %d finished", out.Finished, b.N)
	}
	b.ReportMetric(float64(out.Steps)/b.Elapsed().Seconds(), "steps/s")
	b.ReportMetric(float64(out.Steps)/float64(b.N), "steps/request")
	b.ReportMetric(float64(out.PeakBlocks)/float64(p.Config.Blocks), "peak")
}

// BenchmarkServer serves requests; an operation is a request, from its arrival to its end.
func BenchmarkServer(b *testing.B) {
	plan := func(change func(*Plan)) *Plan {
		cfg, limits, rates := llama8B()
		p := &Plan{Config: cfg, Limits: limits, Rates: *rates}
		p.Config.Compression = ref.Compression{}
		change(p)
		return p
	}
	compressed := func(p *Plan) {
		p.Config.Compression = ref.Default().Compression
		p.Config.Compression.MaxCacheTokens = 128
		p.Schedule = DefaultSchedule()
	}
	v1 := func(p *Plan) {
		p.Scheduler, p.V1 = VLLMV1, DefaultV1(0)
	}
	method := func(name string) func(*Plan) {
		return func(p *Plan) {
			p.Config.Compression.MaxCacheTokens = 128
			p.Config.UseMethod(name)
			p.Schedule = DefaultSchedule()
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Plan)
		watch  Watch
	}{
		{"skipping", func(*Plan) {}, Watch{}},
		{"every step", func(*Plan) {}, Watch{Step: func(*Step) {}}},
		{"batches", func(*Plan) {}, Watch{Step: func(*Step) {}, Batch: true}},
		{"check", func(p *Plan) { p.Check = true }, Watch{}},
		{"chunked prefill", func(p *Plan) { p.ChunkedPrefill = true }, Watch{}},
		{"vllm-v1", v1, Watch{}},
		{"vllm-v1, every step", v1, Watch{Step: func(*Step) {}}},
		{"vllm-v1, one by one", func(p *Plan) { v1(p); p.V1.plain = true }, Watch{}},
		{"vllm-v1, compressed every step", func(p *Plan) { compressed(p); v1(p); p.V1.Prefixes = false }, Watch{}},
		{"compressed every step", compressed, Watch{}},
		{"compressed once", func(p *Plan) { compressed(p); p.Schedule.Once = true }, Watch{}},
		{"snapkv", method("snapkv"), Watch{}},
		{"streaming-llm", method("streaming-llm"), Watch{}},
		{"streaming-llm, every step", method("streaming-llm"), Watch{Step: func(*Step) {}}},
	} {
		b.Run(c.name, func(b *testing.B) { serveLoad(b, plan(c.change), load(b.N), c.watch) })
	}
}

// BenchmarkTenMillion serves ten million requests in each operation, which takes some seconds.
// peak-MB is the peak memory of the process since its start.
func BenchmarkTenMillion(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes seconds")
	}
	cfg, limits, rates := llama8B()
	cfg.Compression = ref.Compression{}
	for b.Loop() {
		out, err := Project(b.Context(), &Plan{Config: cfg, Limits: limits, Rates: *rates}, load(10_000_000), Watch{})
		if err != nil {
			b.Fatal(err)
		}
		if out.Finished != 10_000_000 {
			b.Fatalf("%d requests finished", out.Finished)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/1e6, "peak-MB")
}

// BenchmarkPrefixes serves requests that share their prefix with many others.
func BenchmarkPrefixes(b *testing.B) {
	cfg, limits, rates := llama8B()
	cfg.Compression = ref.Compression{}
	var hashes [][]uint64
	rng := rand.New(rand.NewPCG(1, 3))
	for range 1000 {
		hashes = append(hashes, []uint64{rng.Uint64N(3), rng.Uint64N(9), rng.Uint64N(9), rng.Uint64(), rng.Uint64(), 1, 2})
	}
	for _, c := range []struct {
		name   string
		change func(*Plan)
	}{
		{"whole prompts", func(p *Plan) { p.PrefixTokens = 64 }},
		{"vllm-v1", func(p *Plan) { p.Scheduler, p.V1 = VLLMV1, DefaultV1(64) }},
	} {
		p := &Plan{Config: cfg, Limits: limits, Rates: *rates}
		c.change(p)
		b.Run(c.name, func(b *testing.B) {
			serveLoad(b, p, func(yield func(trace.Request, error) bool) {
				i := 0
				for r, err := range load(b.N) {
					r.PrefixHashes = hashes[i*i%len(hashes)]
					i++
					if !yield(r, err) {
						return
					}
				}
			}, Watch{})
		})
	}
}

// BenchmarkLedger calls a ledger as a serving loop does.
func BenchmarkLedger(b *testing.B) {
	cfg, _, _ := llama8B()
	cfg.Compression.MaxCacheTokens = 128
	weights := make([]int32, 256)
	for i := range weights {
		weights[i] = int32(weightOne * (1 + i*37%256) / 256)
	}
	for _, s := range []struct {
		name   string
		spread Spread
	}{{"even", Even()}, {"profile", &shares{[]float64{0.5}, [][]int32{weights}}}} {
		b.Run("prefill and release/"+s.name, func(b *testing.B) {
			l := ledgerOf(b, cfg, s.spread, 256)
			for b.Loop() {
				if err := errors.Join(l.Release(0), l.Prefill(0, 512)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decode of 256/"+s.name, func(b *testing.B) {
			l := ledgerOf(b, cfg, s.spread, 256)
			for b.Loop() {
				if err := l.DecodeAll(1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("compression/"+s.name, func(b *testing.B) {
			l := ledgerOf(b, cfg, s.spread, 1)
			for b.Loop() {
				if err := l.DecodeAll(1); err != nil {
					b.Fatal(err)
				}
				if _, err := l.Compress(0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNewLedger makes a ledger that compresses one sequence, as a short projection does.
func BenchmarkNewLedger(b *testing.B) {
	cfg, _, _ := llama8B()
	cfg.Compression.MaxCacheTokens = 128
	for b.Loop() {
		ledgerOf(b, cfg, Even(), 1)
	}
}

// ledgerOf returns a ledger with n compressed sequences.
func ledgerOf(b *testing.B, cfg ref.Config, spread Spread, n int) *Ledger {
	cfg.Blocks = MaxLedgerBlocks
	l, err := NewLedger(&cfg, spread)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if err := l.Prefill(kv.SeqID(i), 512); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Compress(kv.SeqID(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	return l
}
