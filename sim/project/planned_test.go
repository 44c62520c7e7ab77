package project

import (
	"context"
	"iter"
	"strings"
	"testing"

	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/trace"
)

// one projects a single request.
func one(t *testing.T, model string, method ref.Config, prompt, output int) *Result {
	t.Helper()
	m, err := catalog.FindModel(model)
	if err != nil {
		t.Fatal(err)
	}
	card, err := catalog.FindCard("h100")
	if err != nil {
		t.Fatal(err)
	}
	d := cost.New(m, card)
	d.Method = method
	var requests iter.Seq2[trace.Request, error] = func(yield func(trace.Request, error) bool) {
		yield(trace.Request{ID: "a", PromptTokens: prompt, OutputTokens: output}, nil)
	}
	r, err := Run(context.Background(), Config{Deployment: d, Limits: sim.DefaultLimits(), Check: true}, requests)
	if err != nil {
		t.Fatalf("%s, %s: %v", model, method.Method, err)
	}
	return r
}

// fitOf returns the default fit to a card under KV-Compress's server.
func fitOf(name string) *cost.Fit {
	card, err := catalog.FindCard(name)
	if err != nil {
		panic(err)
	}
	f := cost.DefaultProfile().For(&card, sim.KVCompressServer)
	return &f
}

// seconds returns the time of a term in a run, at the card's peak.
func seconds(r *Result, term string) float64 {
	for _, s := range r.Time {
		if s.Term == term {
			return s.Seconds / fitOf("h100").Factors[term]
		}
	}
	return 0
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(got > want*(1-1e-9) && got < want*(1+1e-9)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestInfLLM compares one request of 10,000 prompt and 11 output tokens with values worked out by
// hand: a prefill and ten decode steps. Of 4,000 tokens a head has int(84) first, ⌊1,296/128⌋ blocks of 128
// looked up, and 2,636 of the newest.
func TestInfLLM(t *testing.T) {
	method := ref.Config{Method: "infllm", Compression: ref.Compression{MaxCacheTokens: 4000}}
	r := one(t, "llama-3.1-8b", method, 10_000, 11)
	const heads, held, looked = 256, 4000, 1280
	const keys = 1024 / 2 / 128 // heads' worth of representatives: a key for each query head and block
	reads := 10.0 * heads * held
	for n := 10_001; n <= 10_010; n++ {
		reads += keys * float64(n)
	}
	near(t, "reading", seconds(r, "kv"), reads*512/3350e9)
	near(t, "fetching", seconds(r, "host"), 10*heads*looked*512/64e9)
	pairs := 0.0
	for n := 1; n <= 10_000; n++ {
		pairs += float64(min(n, held))
	}
	near(t, "attention", seconds(r, "attention"), pairs*4*32*32*128/989e12)
	blocks := heads*held/16 + keys*((10_010+15)/16)
	near(t, "blocks", r.Metrics.KVUsage.Max*float64(r.Memory.Blocks), float64(blocks))

	method.Set = ref.Settings{"missed": []byte("0.25")}
	near(t, "fetching a quarter", seconds(one(t, "llama-3.1-8b", method, 10_000, 11), "host"), 10*heads*looked*512/64e9/4)
}

// TestPromptCompression compares a request of 999 tokens, of which half are kept, rounded up, with
// values worked out by hand.
func TestPromptCompression(t *testing.T) {
	method := ref.Config{Method: "llmlingua2", Compression: ref.Compression{Rate: 0.5}}
	for _, model := range []string{"llama-3.1-8b", "mamba-2.8b", "gemma-3-4b"} {
		r, plain := one(t, model, method, 999, 5), one(t, model, ref.Config{}, 500, 5)
		near(t, model+": compressing", seconds(r, "prompt_compression"), 1000*2*301.99e6/989e12)
		near(t, model+": the prompt", seconds(r, "gemm"), seconds(plain, "gemm"))
		near(t, model+": reading", seconds(r, "kv"), seconds(plain, "kv"))
		if r.Metrics.PromptTokens != 999 || plain.Metrics.PromptTokens != 500 {
			t.Errorf("%s: %d and %d input tokens, want those before compression", model, r.Metrics.PromptTokens, plain.Metrics.PromptTokens)
		}
		if got := plain.Memory.KV - r.Memory.KV; got < 2*559_890_000-int64(r.Memory.BlockKV) || r.Memory.Compressor != 2*559_890_000 {
			t.Errorf("%s: the compressor takes %d bytes, and %d of the cache", model, r.Memory.Compressor, got)
		}
	}
}

// TestPlannedErrors checks plans that cannot be made.
func TestPlannedErrors(t *testing.T) {
	for _, c := range []struct {
		model, want string
		method      ref.Config
	}{
		{"llama-3.1-8b", "it needs max_cache_tokens", ref.Config{Method: "infllm"}},
		{"llama-3.1-8b", "no rate", ref.Config{Method: "infllm", Compression: ref.Compression{Rate: 0.5}}},
		{"llama-3.1-8b", "missed is 2", ref.Config{Method: "infllm", Compression: ref.Compression{MaxCacheTokens: 9}, Set: ref.Settings{"missed": []byte("2")}}},
		{"gemma-3-4b", "windows or states", ref.Config{Method: "infllm", Compression: ref.Compression{MaxCacheTokens: 900}}},
		{"deepseek-v3", "latent", ref.Config{Method: "quest", Compression: ref.Compression{MaxCacheTokens: 900}}},
		{"llama-3.1-8b", "it needs a rate", ref.Config{Method: "llmlingua2"}},
		{"llama-3.1-8b", "no max_cache_tokens", ref.Config{Method: "llmlingua2", Compression: ref.Compression{MaxCacheTokens: 9}}},
	} {
		m, err := catalog.FindModel(c.model)
		if err != nil {
			t.Fatal(err)
		}
		card, err := catalog.FindCard("h200")
		if err != nil {
			t.Fatal(err)
		}
		d := cost.New(m, card)
		d.Method = c.method
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %s: %v, want an error with %q", c.model, c.method.Method, err, c.want)
		}
	}
}

// TestWindowsByHand compares requests on windows and experts with values worked out by hand: 5,000
// tokens of Mistral v0.1, and one token a step of Mixtral, which reads two experts of a layer.
func TestWindowsByHand(t *testing.T) {
	r := one(t, "mistral-7b-v0.1", ref.Config{}, 5000, 11)
	near(t, "reading", seconds(r, "kv"), 10*256*4096*512/3350e9)
	near(t, "blocks", r.Metrics.KVUsage.Max*float64(r.Memory.Blocks), 65_536)

	m, err := catalog.FindModel("mixtral-8x7b")
	if err != nil {
		t.Fatal(err)
	}
	card, err := catalog.FindCard("b200")
	if err != nil {
		t.Fatal(err)
	}
	d := cost.New(m, card)
	var requests iter.Seq2[trace.Request, error] = func(yield func(trace.Request, error) bool) {
		yield(trace.Request{ID: "a", PromptTokens: 1, OutputTokens: 11}, nil)
	}
	r, err = Run(context.Background(), Config{Deployment: d, Limits: sim.DefaultLimits()}, requests)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, s := range r.Time {
		got[s.Term] = s.Seconds / fitOf("b200").Factors[s.Term]
	}
	near(t, "weights of eleven steps", got["weights"], 11*float64(m.StepBytes(m.Weights))/7700e9)
	near(t, "experts of eleven steps", got["expert_weights"], 11*2*float64(m.ExpertBytes(m.Weights))/7700e9)
}
