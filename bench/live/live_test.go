package live

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"kvcompress/bench/models"
	"kvcompress/dtype"
	"kvcompress/kernels"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

func model(t testing.TB) *llama.Model {
	t.Helper()
	m, err := models.Load("recall-0")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// prompt is n tokens of the model's vocabulary: records among filler.
func prompt(n int) []int {
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = 152 + i*i*7%104
		if i%9 == 3 {
			tokens[i] = 8 + i%56
		}
		if i%9 > 3 && i%9 < 6 {
			tokens[i] = 64 + i*5%64
		}
	}
	tokens[0] = 0
	return tokens
}

// config returns a cache's configuration for a prompt of n tokens and some more.
func config(m *llama.Model, method string, tokens, n int, set ref.Settings) ref.Config {
	cfg := ref.Default()
	rope := m.Config().Rope
	cfg.BlockSize, cfg.Rope = 8, &rope
	cfg.UseMethod(method)
	cfg.Set, cfg.Compression.MaxCacheTokens = set, tokens
	cfg.Shape = cfg.CacheShape(m.Config().Shape())
	if method == ref.KVCompress {
		cfg.Metric.Window, cfg.Compression.ProtectedWindow = 8, 8
	}
	cfg.Blocks = Room(&cfg, n+20)
	return cfg
}

// run reads a prompt, compresses it, and returns the logits of its last token, recomputed, and
// of 6 tokens that follow.
func run(t *testing.T, e Engine, p *Prefill, stepper *llama.Stepper) (all [][]float32, s *Sequence) {
	t.Helper()
	s, err := Begin(e, 0, p, stepper)
	if err != nil {
		t.Fatal(err)
	}
	logits, err := s.Recompute()
	for range 6 {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Clone(logits))
		logits, err = s.Feed(llama.Likeliest(logits))
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(all, slices.Clone(logits)), s
}

// With every method the reference and the CUDA engine give the same logits, to the bit, and
// hold the same number of blocks.
func TestEnginesAgree(t *testing.T) {
	var parsed ptx.Cache
	m := model(t)
	const n = 75
	p, err := Read(t.Context(), m, prompt(n))
	if err != nil {
		t.Fatal(err)
	}
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	for _, c := range []struct {
		method string
		tokens int
		set    ref.Settings
	}{
		{ref.KVCompress, 0, nil},
		{ref.KVCompress, 24, nil},
		{"snapkv", 24, ref.Settings{"window": raw("8")}},
		{"snapkv-published", 24, ref.Settings{"window": raw("8")}},
		{"h2o-mask", 24, nil},
		{"h2o-real-drop", 24, nil},
		{"razor", 24, ref.Settings{"decode": raw(`"rolling"`), "full": raw(`[[1,0],[0,0],[0,1],[1,1]]`)}},
		{"streaming-llm", 24, ref.Settings{"positions": raw(`"cache"`)}},
	} {
		cfg := config(m, c.method, c.tokens, n, c.set)
		e, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, reference := run(t, Reference(e), p, m.NewStepper())
		dev := ptx.New(ptx.Options{Checks: ptx.AllChecks(), Cache: &parsed})
		on, err := kernels.New(dev, cfg, nil, nil, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, device := run(t, CUDA(on), p, m.NewStepper())
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%s: the logits of step %d differ", c.method, i)
			}
		}
		if reference.Blocks() != device.Blocks() || reference.Done != device.Done || reference.Compressions != device.Compressions {
			t.Errorf("%s: the reference holds %d blocks after %+v, the CUDA engine %d after %+v", c.method, reference.Blocks(), reference.Done, device.Blocks(), device.Done)
		}
		if err := on.Close(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Decoding grows the lists of pages beyond those of the prompt, and both engines still agree.
func TestListsGrow(t *testing.T) {
	var parsed ptx.Cache
	m := model(t)
	const n, more = 17, 40
	p, err := Read(t.Context(), m, prompt(n))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, key, value string }{
		{"minicache", "from", "0"},
		{"kivi", "residual", "8"},
	} {
		cfg := config(m, c.method, 0, n+more, ref.Settings{c.key: json.RawMessage(c.value)})
		if c.method == "kivi" {
			cfg.Set["group"] = json.RawMessage("8")
		}
		cfg.BlockSize = 16
		cfg.Blocks = Room(&cfg, n+more+20)
		e, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		dev := ptx.New(ptx.Options{Checks: ptx.AllChecks(), Cache: &parsed})
		on, err := kernels.New(dev, cfg, nil, nil, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var logits [2][]float32
		var sequences [2]*Sequence
		for i, engine := range []Engine{Reference(e), CUDA(on)} {
			s, err := Begin(engine, 0, p, m.NewStepper())
			if err != nil {
				t.Fatal(err)
			}
			sequences[i] = s
			for step := range more {
				if logits[i], err = s.Feed(5 + step%7); err != nil {
					t.Fatalf("%s, step %d: %v", c.method, step, err)
				}
			}
		}
		if !slices.Equal(logits[0], logits[1]) || sequences[0].Done != sequences[1].Done {
			t.Errorf("%s: after %d tokens the engines differ: %+v and %+v", c.method, n+more, sequences[0].Done, sequences[1].Done)
		}
		if err := errors.Join(on.Close(), dev.Close()); err != nil {
			t.Error(err)
		}
	}
}

// With all KVs in a binary32 cache, the logits equal those of a session without a paged cache,
// up to the rounding of another summation order.
func TestFullCache(t *testing.T) {
	m := model(t)
	const n = 60
	tokens := prompt(n + 6)
	p, err := Read(t.Context(), m, tokens[:n])
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(m, ref.KVCompress, 0, n, nil)
	cfg.DType = dtype.F32
	e, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Begin(Reference(e), 0, p, m.NewStepper())
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Recompute()
	if err != nil {
		t.Fatal(err)
	}
	near(t, n, got, p.Logits)
	session := m.NewSession()
	if _, err := session.Feed(tokens[:n], nil); err != nil {
		t.Fatal(err)
	}
	for i, token := range tokens[n:] {
		got, err := s.Feed(token)
		if err != nil {
			t.Fatal(err)
		}
		want, err := session.Feed([]int{token}, nil)
		if err != nil {
			t.Fatal(err)
		}
		near(t, n+i, got, want)
	}
	if s.Len() != n+6 || s.Blocks() != 8*((n+6+7)/8) || s.Compressions != 0 {
		t.Errorf("%d tokens in %d blocks after %d compressions", s.Len(), s.Blocks(), s.Compressions)
	}
}

// near compares logits, of which the largest are about 20, with a tolerance of 97·2⁻²⁴·20: see
// the test of package models.
func near(t *testing.T, token int, got, want []float32) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d < 97*20*0x1p-24) {
			t.Fatalf("token %d: logit %d is %g, want %g", token, i, got[i], want[i])
		}
	}
}

// Extend gives the same prefill as reading the longer prompt, and does not change the shorter.
func TestExtend(t *testing.T) {
	m := model(t)
	tokens := prompt(50)
	whole, err := Read(t.Context(), m, tokens)
	if err != nil {
		t.Fatal(err)
	}
	short, err := Read(t.Context(), m, tokens[:41])
	if err != nil {
		t.Fatal(err)
	}
	long, err := short.Extend(t.Context(), tokens[41:])
	if err != nil {
		t.Fatal(err)
	}
	for l := range whole.k {
		if !slices.Equal(long.q[l], whole.q[l]) || !slices.Equal(long.k[l], whole.k[l]) || !slices.Equal(long.v[l], whole.v[l]) {
			t.Errorf("layer %d of the extended prompt differs", l)
		}
		if row := len(whole.k[l]) / 50; len(short.k[l]) != 41*row {
			t.Errorf("layer %d of the shorter prompt has %d rows", l, len(short.k[l])/row)
		}
	}
	if !slices.Equal(long.Logits, whole.Logits) || !slices.Equal(long.Tokens, tokens) {
		t.Error("the extended prompt's logits or tokens differ")
	}
	other, err := short.Extend(t.Context(), tokens[:1])
	if err != nil {
		t.Fatal(err)
	}
	again, err := Read(t.Context(), m, append(slices.Clone(tokens[:41]), tokens[0]))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(other.Logits, again.Logits) || !slices.Equal(long.k[1], whole.k[1]) {
		t.Error("two prompts that extend one change each other")
	}
}

// A cache of another shape and a cache without enough blocks are errors.
func TestRefused(t *testing.T) {
	m := model(t)
	p, err := Read(t.Context(), m, prompt(20))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ref.Config){
		"shape": func(c *ref.Config) { c.Shape.Layers = 3 },
		"room":  func(c *ref.Config) { c.Blocks = 8 },
	} {
		cfg := config(m, ref.KVCompress, 0, 20, nil)
		change(&cfg)
		e, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Begin(Reference(e), 0, p, m.NewStepper()); err == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
	cfg := config(m, ref.KVCompress, 0, 20, nil)
	cfg.Shape = kv.Shape{Layers: 4, KVHeads: 4, Group: 1, HeadSize: 32}
	if err := p.check(&cfg); err == nil {
		t.Error("a cache of query heads is taken for a method that has none")
	}
}

// BenchmarkFeed is a decode step through a full cache of 512 tokens.
func BenchmarkFeed(b *testing.B) {
	m := model(b)
	const n = 512
	p, err := Read(b.Context(), m, prompt(n))
	if err != nil {
		b.Fatal(err)
	}
	cfg := config(m, ref.KVCompress, 0, n, nil)
	cfg.Blocks *= 8
	e, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	s, err := Begin(Reference(e), 0, p, m.NewStepper())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if s.Len() == n+100 {
			b.StopTimer()
			if err := e.Release(0); err != nil {
				b.Fatal(err)
			}
			if s, err = Begin(Reference(e), 0, p, m.NewStepper()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		if _, err := s.Feed(200); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkRead is a prompt of 512 tokens with full attention.
func BenchmarkRead(b *testing.B) {
	m := model(b)
	for b.Loop() {
		if _, err := Read(b.Context(), m, prompt(512)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(512*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkCopy copies as many bytes as a step of BenchmarkFeed reads: the KVs of 512 tokens and
// the weights, both in f16: the least that a step can take.
func BenchmarkCopy(b *testing.B) {
	s := model(b).Config().Shape()
	kvs := s.Layers * s.KVHeads * 2 * s.HeadSize * 512 * 2
	const weights = 418_656 * 2
	from, to := make([]byte, kvs+weights), make([]byte, kvs+weights)
	b.SetBytes(int64(len(from)))
	for b.Loop() {
		copy(to, from)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}
