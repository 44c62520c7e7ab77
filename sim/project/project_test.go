package project

import (
	"context"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strings"
	"testing"

	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/trace"
)

func config(t testing.TB, model, card string) Config {
	t.Helper()
	m, err := catalog.FindModel(model)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.FindCard(card)
	if err != nil {
		t.Fatal(err)
	}
	d := cost.New(m, c)
	d.MaxTokens = 8192
	return Config{Deployment: d, Limits: sim.Limits{MaxNumSeqs: 256, Watermark: 0.01}}
}

// equal returns n requests of the same size, with the given number of nanoseconds between
// arrivals.
func equal(n int, every int64, prompt, output int) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		for i := range n {
			if !yield(trace.Request{ID: fmt.Sprint(i), ArrivalNS: int64(i) * every, PromptTokens: prompt, OutputTokens: output}, nil) {
				return
			}
		}
	}
}

// TestOneRequest compares a single request with its work by hand: a prefill of 100
// tokens and 9 decode steps that read 101 to 109 KVs of each of the 256 heads.
func TestOneRequest(t *testing.T) {
	c := config(t, "llama-3.1-8b", "l4")
	r, err := Run(context.Background(), c, equal(1, 0, 100, 10))
	if err != nil {
		t.Fatal(err)
	}
	rates, _, err := c.Deployment.Costs(&cost.Fit{Factors: cost.DefaultFactors()})
	if err != nil {
		t.Fatal(err)
	}
	prefill := sim.Work{sim.Steps: 1, sim.PrefillSteps: 1, sim.PrefillSeqs: 1, sim.PrefillTokens: 100, sim.AttentionPairs: 5050}
	decode := sim.Work{sim.Steps: 9, sim.DecodeSeqs: 9, sim.KVsRead: 256 * 9 * 105, sim.BlocksRead: 256 * 9 * 7}
	ttft := rates.Cost(&prefill)
	e2e := ttft.Plus(rates.Cost(&decode))
	if got := r.Metrics.TTFT.Mean; math.Abs(got-float64(ttft.NS())/1e9) > 1e-12 {
		t.Errorf("the first token after %v s, want %v", got, ttft.Seconds())
	}
	if got := r.Metrics.E2E.Mean; math.Abs(got-float64(e2e.NS())/1e9) > 1e-12 {
		t.Errorf("the last token after %v s, want %v", got, e2e.Seconds())
	}
	if r.Bound.Nothing != 1 || !strings.HasPrefix(r.Reading, "Bound by the load") {
		t.Errorf("%+v: %s", r.Bound, r.Reading)
	}
}

func TestReading(t *testing.T) {
	compress := func(c *Config) {
		c.Deployment.Method.Compression = ref.Compression{MaxCacheTokens: 1024, ProtectedWindow: 32}
		c.Schedule = sim.DefaultSchedule()
	}
	for _, c := range []struct {
		name           string
		change         func(*Config)
		every          int64
		prompt, output int
		want           string
	}{
		{"few", func(*Config) {}, 60e9, 500, 200, "Bound by the load"},
		{"long outputs", func(*Config) {}, 0, 4000, 1000, "Memory-bound: the batch stops at "},
		{"long outputs, compressed", compress, 0, 4000, 1000, "compression frees no more"},
		{"long prompts", compress, 0, 4000, 50, "Compute-bound"},
		{"longer than the context", func(c *Config) { c.Deployment.Model.MaxLen = 700 }, 60e9, 501, 200, "exceed max_model_len 700. 100 requests are longer than the 700 tokens of the model's context."},
		{"as long as the context", func(c *Config) { c.Deployment.Model.MaxLen = 700 }, 60e9, 500, 200, "Bound by the load"},
		{"a small limit", func(c *Config) { c.Limits.MaxNumSeqs = 4 }, 0, 500, 200, "Bound by max_num_seqs: 4 "},
		{"a small cache beside a large batch", func(c *Config) { c.Deployment.MaxTokens = 32768 }, 60e9, 20_000, 200,
			" 3.62 GB of the card are reserved for a prefill of max_num_batched_tokens 32,768: a smaller one leaves more to the cache, but has to hold the longest prompt."},
		{"too long", func(*Config) {}, 0, 9000, 200, "Nothing is served: of 100 requests, 100 are refused, the first because a prompt of 9,000 tokens exceeds"},
	} {
		cfg := config(t, "llama-3.1-8b", "l4")
		c.change(&cfg)
		r, err := Run(context.Background(), cfg, equal(100, c.every, c.prompt, c.output))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !strings.Contains(r.Reading, c.want) {
			t.Errorf("%s: %s: want %q", c.name, r.Reading, c.want)
		}
	}
}

// TestSame checks that repeated projections are equal, and that the parts of the time add up
// to the whole.
func TestSame(t *testing.T) {
	cfg := config(t, "llama-3.1-8b", "l4")
	cfg.Deployment.Method.Compression = ref.Compression{MaxCacheTokens: 256, ProtectedWindow: 32}
	cfg.Schedule = sim.Schedule{Interval: 1, MaxKVPerCompression: 5e6}
	a, err := Run(context.Background(), cfg, equal(300, 1e8, 2000, 50))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Run(context.Background(), cfg, equal(300, 1e8, 2000, 50))
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%v\n%+v\n%+v", err, a, b)
	}
	seconds := 0.0
	for _, s := range a.Time {
		seconds += s.Seconds
	}
	if busy := a.Metrics.Busy * a.Metrics.Duration; math.Abs(seconds/busy-1) > 1e-6 {
		t.Errorf("the terms take %v s, the steps %v", seconds, busy)
	}
}

func TestStopped(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	cfg := config(t, "llama-3.1-8b", "l4")
	n := 0
	cfg.Step = func(*sim.Step) {
		if n++; n == 300 {
			stop()
		}
	}
	r, err := Run(ctx, cfg, equal(1000, 1e9, 500, 500))
	if err == nil || r == nil || !r.Partial || r.Metrics.Unfinished == 0 {
		t.Errorf("%v, %+v", err, r)
	}
}
