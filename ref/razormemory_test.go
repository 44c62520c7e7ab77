package ref

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// TestRazorMemory compares the closed form with what the engine holds, after a prompt's compression and, with
// decode=rolling, after every token.
func TestRazorMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config, *Razor)
	}{
		{"static", func(*Config, *Razor) {}},
		{"no threshold", func(_ *Config, o *Razor) { o.Threshold = 0 }},
		{"rate", func(c *Config, o *Razor) { o.Threshold = 7; c.Compression.Rate = 0.3 }},
		{"capacity", func(c *Config, o *Razor) { c.Compression.MaxCacheTokens = 21 }},
		{"golden-stick", func(_ *Config, o *Razor) { o.Variant, o.Capacity = RazorGoldenStick, 33 }},
		{"no stand-in", func(_ *Config, o *Razor) { o.StandIn = false }},
		{"rolling", func(_ *Config, o *Razor) { o.Decode = RazorRolling }},
		{"rolling, no threshold", func(_ *Config, o *Razor) { o.Decode, o.Threshold = RazorRolling, 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := DefaultRazor()
			o.Sinks, o.Threshold, o.Full = 3, 20, FullHeads{{0, 1, 0}, {0, 0, 1}}
			cfg := Config{Method: "razor"}
			cfg.Config = kv.Config{Shape: kv.Shape{Layers: 2, KVHeads: 3, Group: 1, HeadSize: 8}, BlockSize: 8, Blocks: 6 * 40, DType: dtype.F16}
			c.change(&cfg, &o)
			var err error
			if cfg.Set, err = settingsOf(o); err != nil {
				t.Fatal(err)
			}
			for prompt := 1; prompt < 250; prompt += 1 + prompt/8 {
				e, err := NewEngine(cfg, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				zeros := make([]float32, prompt*3*8)
				p, err := e.BeginPrompt(0, prompt)
				for range 2 {
					if err == nil {
						err = p.Layer(nil, zeros, zeros)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				p.End()
				steps := 0
				if o.Decode == RazorRolling {
					steps = 30
				}
				for step := range steps + 1 {
					if step > 0 {
						tokens, err := e.BeginTokens([]kv.SeqID{0})
						if err != nil {
							t.Fatal(err)
						}
						out := make([]float32, 24)
						for range 2 {
							if err := tokens.Layer(zeros[:24], zeros[:24], zeros[:24], out); err != nil {
								t.Fatal(err)
							}
						}
						tokens.End()
					}
					if _, err := e.Compress(0); err != nil {
						t.Fatal(err)
					}
					m, err := cfg.RazorMemory(prompt + step)
					if err != nil {
						t.Fatal(err)
					}
					u := e.Usage()
					if u.KVs != m.KVs || u.Allocated != m.Blocks || u.DenseKVs != m.DenseKVs || u.DenseBlocks != m.DenseBlocks {
						t.Fatalf("%d tokens and %d more: the engine has %+v, the closed form %+v", prompt, step, u, m)
					}
				}
			}
		})
	}
}

// razorTable is the setting of the table in docs/methods/razor.md: Llama-3.1-8B's shape, f16, pages of 16,
// and the most heads that the published ratios select: 36 for induction and 3 for echo.
func razorTable(t *testing.T, decode RazorDecode) *Config {
	o := DefaultRazor()
	o.Decode = decode
	for l := range 32 {
		o.Full = append(o.Full, make([]int, 8))
		for h := range 8 {
			if l*8+h < 36+3 {
				o.Full[l][h] = 1
			}
		}
	}
	cfg := &Config{Method: "razor"}
	cfg.Config = kv.Config{Shape: kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}, BlockSize: 16, Blocks: 1, DType: dtype.F16}
	var err error
	if cfg.Set, err = settingsOf(o); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestRazorTable compares the table in docs/methods/razor.md, and the formulas below it, with the closed
// form.
func TestRazorTable(t *testing.T) {
	text, err := os.ReadFile("../docs/methods/razor.md")
	if err != nil {
		t.Fatal(err)
	}
	static, rolling := razorTable(t, RazorStatic), razorTable(t, RazorRolling)
	for _, n := range []int{1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 20000, 32 << 10, 64 << 10, 128 << 10} {
		s, err := static.RazorMemory(n)
		if err != nil {
			t.Fatal(err)
		}
		r, err := rolling.RazorMemory(n)
		if err != nil {
			t.Fatal(err)
		}
		row := fmt.Sprintf("| %d | %d | %.1f | %.1f | %.1f | %.1f |", n, s.Recent,
			100*float64(s.Payload)/float64(s.DensePayload), 100*float64(s.Blocks)/float64(s.DenseBlocks),
			100*float64(s.Bytes)/float64(s.DenseBytes), 100*float64(r.Bytes)/float64(r.DenseBytes))
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/methods/razor.md has no row %s", row)
		}

		// ρ + (1−ρ)·max(S0, ⌈N/C⌉)/N, plus N0 + 1 entries and one weight for each head.
		const rho = 39. / 256
		limit := rho + (1-rho)*min(1, float64(max(4000, (n+4)/5))/float64(n))
		if got := float64(s.Payload) / float64(s.DensePayload); got < limit-1e-12 || got > limit+(1-rho)*(4+1+0.01)/float64(n) {
			t.Errorf("%d tokens: %g of the payload, the closed form says %g", n, got, limit)
		}
	}
}
