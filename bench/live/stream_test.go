package live

import (
	"slices"
	"strings"
	"testing"

	"kvcompress/kernels"
	"kvcompress/kernels/ptx"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// streamed streams a prompt through an engine's cache, and returns the logits of its last token,
// recomputed, and of 3 tokens that follow.
func streamed(t *testing.T, e Engine, m *llama.Model, tokens []int) [][]float32 {
	t.Helper()
	s, err := Stream(t.Context(), e, 0, m, tokens, m.NewStepper())
	if err != nil {
		t.Fatal(err)
	}
	return further(t, s)
}

func further(t *testing.T, s *Sequence) (all [][]float32) {
	t.Helper()
	logits, err := s.Recompute()
	for i := range 4 {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Clone(logits))
		if i < 3 {
			logits, err = s.Feed(llama.Likeliest(logits))
		}
	}
	return all
}

func same(a, b [][]float32) bool {
	return slices.EqualFunc(a, b, func(x, y []float32) bool { return slices.Equal(x, y) })
}

// The receptive field of a windowed prefill with C KVs and L layers is the last C·L tokens and
// the sinks: other tokens do not affect the logits.
func TestStreamIsWindowed(t *testing.T) {
	m := model(t)
	const n, capacity = 110, 16 // four layers reach back 64 tokens
	cfg := config(m, "streaming-llm", capacity, n, ref.Settings{"sinks": []byte("2")})
	through := func(change int) [][]float32 {
		e, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens := prompt(n)
		if change >= 0 {
			tokens[change] = 200
		}
		return streamed(t, Reference(e), m, tokens)
	}
	want := through(-1)
	for change, seen := range map[int]bool{1: true, 20: false, 40: false, 100: true} {
		if got := through(change); same(got, want) == seen {
			t.Errorf("token %d: seen %v, want %v", change, !seen, seen)
		}
	}
}

// A sequence on a copy of the cache gives the same logits, and so do both engines.
func TestStreamCopiesAndEngines(t *testing.T) {
	m := model(t)
	const n = 24
	cfg := config(m, "streaming-llm", 8, n, nil)
	engine := func() *ref.Engine {
		e, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first, second := engine(), engine()
	s, err := Stream(t.Context(), Reference(first), 0, m, prompt(n), m.NewStepper())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Restore(first.Cache()); err != nil {
		t.Fatal(err)
	}
	other := s.WithEngine(Reference(second))
	want := further(t, s)
	if got := further(t, other); !same(got, want) {
		t.Error("a copy goes on otherwise")
	}
	if testing.Short() {
		return
	}
	dev := ptx.New(ptx.Options{})
	defer dev.Close()
	e, err := kernels.New(dev, cfg, nil, nil, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if got := streamed(t, CUDA(e), m, prompt(n)); !same(got, want) {
		t.Error("the CUDA engine reads a prompt otherwise")
	}
}

// Methods that observe the prompt, or compress once after it, cannot be streamed.
func TestStreamRefuses(t *testing.T) {
	m := model(t)
	for method, want := range map[string]string{"snapkv": "watches", ref.KVCompress: "watches", "knorm": "once", "streaming-llm-kvpress": "once", "streaming-llm": "empty"} {
		e, err := ref.NewEngine(config(m, method, 64, 20, nil), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens := prompt(20)
		if want == "empty" {
			tokens = nil
		}
		if _, err := Stream(t.Context(), Reference(e), 0, m, tokens, m.NewStepper()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something with %q", method, err, want)
		}
	}
}
