package ref

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/trace"
)

// TestPatient generates tokens after random prompts. Every Patient method must ask for nothing for as long as
// Quiet says, and must ask later. The ranking of a Patient Dropper must not depend on the number of tokens.
func TestPatient(t *testing.T) {
	for _, e := range Methods() {
		asked, waited := 0, 0
		for seed := range uint64(200) {
			rng := rand.New(rand.NewPCG(seed, 11))
			cfg := patientConfig(e.Name, rng)
			method, err := cfg.NewMethod()
			if err != nil {
				break // quest, which no engine runs
			}
			m, ok := method.(Patient)
			if !ok { // methods with pages of their own ask after every token
				break
			}
			prompt := 1 + rng.IntN(120)
			c := Counts{Prompt: prompt, Tokens: prompt, Heads: slices.Repeat([]int{prompt}, cfg.Shape.Heads())}
			until := 0
			for range 150 {
				if asks := m.Asks(c); asks > 0 {
					asked++
					if c.Tokens < until {
						t.Fatalf("%s, seed %d: with %d tokens, heads %v, it asks for %d: it said that it would not before %d", e.Name, seed, c.Tokens, c.Heads, asks, until)
					}
					compressCounts(m, &c)
				} else if quiet := m.Quiet(c); quiet > 0 {
					waited++
					until = max(until, c.Tokens+min(quiet, math.MaxInt32)+1)
				}
				if d, ok := method.(Dropper); ok && c.Tokens > c.Prompt {
					later := c
					later.Tokens += 1 + rng.IntN(50)
					a, b := d.Rank(c), d.Rank(later)
					if !slices.Equal(a.Quotas, b.Quotas) || a.Sinks != b.Sinks || a.Window != b.Window || a.Unit != b.Unit {
						t.Fatalf("%s, seed %d: after %d tokens more it ranks by %+v, not %+v", e.Name, seed, later.Tokens-c.Tokens, b, a)
					}
				}
				c.Tokens++
				for i := range c.Heads {
					c.Heads[i]++
				}
			}
		}
		if e.Name != KVCompress && !e.Planned && !e.OwnPages && (asked == 0 || waited == 0) {
			t.Errorf("%s: it asked %d times and waited %d times: the counts test nothing", e.Name, asked, waited)
		}
	}
}

// patientConfig is a small configuration of a method with a random budget.
func patientConfig(name string, rng *rand.Rand) *Config {
	cfg := Default()
	cfg.Shape, cfg.Blocks = kv.Shape{Layers: 2, KVHeads: 3, Group: 1, HeadSize: 8}, 1
	cfg.Rope = &trace.Rope{Base: 10000, RotarySize: 8, Pairing: trace.Half}
	cfg.UseMethod(name)
	switch name {
	case "duo-attention":
		cfg.Set = set("full", "[[0,1,0],[1,0,0]]")
	case "razor":
		cfg.Set = set("full", "[[0,1,0],[1,0,0]]")
		cfg.Set["threshold"] = []byte("20")
		if rng.IntN(2) == 0 {
			cfg.Set["decode"] = []byte(`"rolling"`)
		}
	}
	if rng.IntN(2) == 0 {
		cfg.Compression.Rate = float64(1+rng.IntN(9)) / 10
	} else {
		cfg.Compression.MaxCacheTokens = 130 + rng.IntN(50)
		if rng.IntN(2) == 0 && (name == "random" || name == "streaming-llm" || name == "razor") {
			cfg.Compression.MaxCacheTokens -= 100
		}
	}
	return &cfg
}

// compressCounts removes what a method asks for from the heads' lengths, evenly over the heads of each quota.
func compressCounts(m Method, c *Counts) {
	switch m := m.(type) {
	case Counter:
		for i, n := range m.Evicts(*c) {
			c.Heads[i] -= n
		}
	case Dropper:
		r := m.Rank(*c)
		quotas := r.Quotas
		if r.Refine != nil {
			lost := make([]int, len(c.Heads))
			for _, q := range quotas {
				for i := range q.Heads {
					lost[q.First+i] = q.Units / q.Heads
				}
			}
			quotas = r.Refine(lost)
		}
		for _, q := range quotas {
			for i := range q.Heads {
				c.Heads[q.First+i] -= q.Units / q.Heads
			}
		}
	}
}

func TestPairs(t *testing.T) {
	for _, test := range []struct {
		o    *Observation
		n    int
		want int64
	}{
		{nil, 100, 0},
		{&Observation{Window: 32}, 10, 100},
		{&Observation{Window: 32}, 100, 3200},
		{&Observation{Window: AllQueries}, 100, 5050},
		{&Observation{Window: AllQueries}, AllQueries + 2, int64(AllQueries+2)*(AllQueries+3)/2 - 3},
		{&Observation{Window: AllQueries, Scorer: KeyNorm{}}, 100, 0},
	} {
		if got := test.o.Pairs(test.n); got != test.want {
			t.Errorf("%+v, %d tokens: %d pairs, want %d", test.o, test.n, got, test.want)
		}
	}
}
