package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// setting is a method of the table with options.
func setting(cfg *ref.Config, method string, options map[string]any) error {
	cfg.UseMethod(method)
	cfg.Set = ref.Settings{}
	for name, value := range options {
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		cfg.Set[name] = raw
	}
	return nil
}

// randomRazor draws options, and what replaces them.
func randomRazor(rng *rand.Rand, cfg *ref.Config) error {
	options := map[string]any{
		"variant": oneOf(rng, ref.RazorPaper, ref.RazorPaper, ref.RazorGoldenStick), "decode": ref.RazorStatic,
		"sinks": oneOf(rng, 0, 1, 4, 20), "threshold": oneOf(rng, 0, 1, 3, 20), "ratio": oneOf(rng, 1.5, 3, 5, 40), "stand_in": rng.IntN(6) > 0,
		"capacity": 22 + rng.IntN(80), "full": "none",
	}
	if options["variant"] == ref.RazorPaper && rng.IntN(3) > 0 {
		options["decode"] = ref.RazorRolling
	}
	switch rng.IntN(5) {
	case 0:
		cfg.Compression.MaxCacheTokens = 22 + rng.IntN(40)
	case 1:
		if options["variant"] == ref.RazorPaper {
			cfg.Compression.Rate = oneOf(rng, 0.1, 0.5)
		}
	}
	if rng.IntN(3) == 0 {
		var full [][]int
		for range cfg.Shape.Layers {
			var layer []int
			for range cfg.Shape.KVHeads {
				layer = append(layer, rng.IntN(2))
			}
			full = append(full, layer)
		}
		options["full"] = full
	}
	return setting(cfg, "razor", options)
}

// randomMask draws a budget and which KVs are hidden for it.
func randomMask(rng *rand.Rand, cfg *ref.Config) error {
	cfg.Compression.MaxCacheTokens = oneOf(rng, 1, 2, 5, 30, 130)
	return setting(cfg, "h2o-mask", map[string]any{"heavy": oneOf(rng, 0.0, 0.3, 0.5, 1.0), "published": rng.IntN(2) == 0})
}

// randomPositions draws a rotary embedding and a budget of which the middle is evicted.
func randomPositions(rng *rand.Rand, cfg *ref.Config) error {
	cfg.Rope = &trace.Rope{
		Base:       oneOf(rng, 1, 100, 10_000.0, 500_000),
		RotarySize: 2 * (1 + rng.IntN(cfg.Shape.HeadSize/2)),
		Pairing:    oneOf(rng, trace.Half, trace.Interleaved),
	}
	cfg.Compression.MaxCacheTokens = oneOf(rng, 21, 30, 64, 140)
	return setting(cfg, "streaming-llm", map[string]any{"sinks": oneOf(rng, 0, 1, 4, 20), "positions": ref.CachePositions})
}

// TestEdits runs the methods that do more than drop KVs, or read them otherwise, on both
// engines: with options of all kinds, in all formats and block sizes, at awkward lengths.
func TestEdits(t *testing.T) {
	cases := testsize.Of(5, 16, 150)
	for _, tt := range []struct {
		name string
		draw func(*rand.Rand, *ref.Config) error
	}{
		{"razor", randomRazor}, {"h2o-mask", randomMask}, {"streaming-llm", randomPositions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edited := 0
			for seed := range uint64(cases) {
				rng := rand.New(rand.NewPCG(seed, 47))
				cfg := ref.Config{Config: randomCache(rng)}
				if err := tt.draw(rng, &cfg); err != nil {
					t.Fatal(err)
				}
				cfg.KVScale = draw.Scale(rng, cfg.DType, cfg.Shape.Layers)
				if err := run(t, rng, seed, cfg, &edited); err != nil {
					t.Fatalf("seed %d: %+v\n%v", seed, cfg, err)
				}
			}
			if edited < cases {
				t.Errorf("%d KVs in %d cases alone were evicted, folded or hidden", edited, cases)
			}
		})
	}
}

func run(t *testing.T, rng *rand.Rand, seed uint64, cfg ref.Config, edited *int) error {
	method, err := cfg.NewMethod()
	if err != nil {
		return err
	}
	c, err := newMethodCase(rng, checked(t, seed), cfg, method)
	if err != nil {
		return err
	}
	n, err := c.run(rng)
	if err != nil {
		return fmt.Errorf("prompts %v: %w", c.lengths, err)
	}
	*edited += n
	return errors.Join(c.engine.Close(), c.reference.Close())
}

// TestWeights attends to entries of weights of all magnitudes: what ln makes of them.
func TestWeights(t *testing.T) {
	const n = 2000
	cfg := ref.Config{Config: kv.Config{BlockSize: 32, Blocks: n/32 + 2, Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}}}
	if err := setting(&cfg, "razor", map[string]any{"full": "none"}); err != nil {
		t.Fatal(err)
	}
	open := func(id kv.SeqID) (trace.Tensors, error) { return noise{id, n + 1, 8, 1}, nil }
	var want, got []stage
	reference, err := ref.NewEngine(cfg, open, stagesInto(&want))
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(checked(t, 2), cfg, open, stagesInto(&got), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := reference.Prefill(0, n); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 53))
	for i := range n {
		reference.Cache().Data[0][i] = float32(1 + rng.IntN(1<<rng.IntN(25)))
	}
	if err := e.Restore(reference.Cache()); err != nil {
		t.Fatal(err)
	}
	want = want[:0]
	batch := []kv.SeqID{0}
	if err := errors.Join(reference.Decode(batch), e.Decode(batch)); err != nil {
		t.Fatal(err)
	}
	if err := want[0].differ(&got[0]); err != nil {
		t.Error(err)
	}
	if err := errors.Join(e.Close(), reference.Close()); err != nil {
		t.Error(err)
	}
}

// counted are tokens whose queries and keys are 0, so that each KV receives as much
// attention as others, and whose values are 1, 2, 4, 8, …
type counted struct{}

func (counted) Tokens() int  { return 5 }
func (counted) Close() error { return nil }
func (counted) Read(dst []float32, t trace.Tensor, layer, from, count int) error {
	clear(dst)
	if t == trace.V {
		row := len(dst) / count
		for i := range dst {
			dst[i] = float32(int(1) << (from + i/row))
		}
	}
	return nil
}

// TestStandInByHand checks a stand-in whose means, weight and effect were computed by hand.
func TestStandInByHand(t *testing.T) {
	cfg := ref.Config{Config: kv.Config{BlockSize: 2, Blocks: 3, DType: dtype.F16, Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}}}
	if err := setting(&cfg, "razor", map[string]any{"sinks": 1, "threshold": 1, "ratio": 1000, "decode": ref.RazorRolling, "full": "none"}); err != nil {
		t.Fatal(err)
	}
	var stages []stage
	e, err := New(checked(t, 1), cfg, func(kv.SeqID) (trace.Tensors, error) { return counted{}, nil }, stagesInto(&stages), Options{})
	if err != nil {
		t.Fatal(err)
	}
	held := func(what string, slot, position int, value, weight float32) {
		t.Helper()
		cache, err := e.Cache()
		if err != nil {
			t.Fatal(err)
		}
		row := make([]float32, 8)
		cfg.DType.Decode(row, cache.ValueRows(slot, 1))
		if row[0] != value || row[7] != value || cache.Data[0][slot] != weight || cache.Positions[slot] != int32(position) {
			t.Errorf("%s is %v of weight %v at position %d, want %v of %v at %d", what, row, cache.Data[0][slot], cache.Positions[slot], value, weight, position)
		}
	}
	output := func(want float64) {
		t.Helper()
		got := math.Float32frombits(stages[len(stages)-1].Bits[0][3])
		if math.Abs(float64(got)-want) > 1e-6*want {
			t.Errorf("the output is %v, want %v", got, want)
		}
	}
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	step(e.Prefill(0, 4)) // values 1, 2, 4, 8
	done, err := e.Compress(0)
	step(err)
	if want := (ref.Compressed{Asked: 1, Freed: 0, Evicted: 1, Moved: 1}); done != want {
		t.Errorf("%+v, want %+v", done, want)
	}
	held("the sink", 0, 0, 1, 1)
	held("the stand-in for 2 and 4", 1, 1, 3, 2)
	held("the newest", 2, 3, 8, 1)

	step(e.Decode([]kv.SeqID{0})) // 16
	output((1 + 2*3 + 8 + 16) / 5.0)
	_, err = e.Compress(0) // 8 is folded: the mean of 3, 3 and 8 is 14/3, which f16 has not
	step(err)
	held("the stand-in for three", 1, 1, 4.66796875, 3)
	cache, err := e.Cache()
	step(err)
	if mean := cache.Data[2][8]; mean != float32(3+5/3.0) {
		t.Errorf("the exact mean is %v", mean)
	}
	step(e.Close())
}
