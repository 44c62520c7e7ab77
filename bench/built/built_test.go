package built_test

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"kvcompress/bench/built"
	"kvcompress/heads"
	"kvcompress/internal/testsize"
	"kvcompress/trace/llama"
)

// load builds a model, writes its folder and reads it.
func load(t testing.TB, o built.Options) (*built.Model, *llama.Model) {
	t.Helper()
	m, err := o.Build()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	model, err := llama.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m, model
}

// find runs RazorAttention's search, which selects as many heads as there are of each kind.
func find(t testing.TB, o built.Options, model *llama.Model) *heads.Map {
	t.Helper()
	rep := heads.Repetition{Period: 60, Repeats: 4}
	cfg := model.Config()
	prompt, err := rep.Prompt(heads.Draw{BOS: cfg.BOS, First: 1, Last: cfg.Vocab - 1, Distinct: true, Seed: o.Seed})
	if err != nil {
		t.Fatal(err)
	}
	scores, err := heads.FromModel(t.Context(), model.NewSession(), cfg.Shape(), rep, prompt, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := map[built.Kind]float64{}
	for _, row := range o.Heads {
		for _, k := range row {
			count[k]++
		}
	}
	n := float64(len(o.Heads) * len(o.Heads[0]))
	found, err := heads.Razor(scores, cfg.KVHeads,
		heads.RazorOptions{InductionRatio: count[built.Induction] / n, EchoRatio: count[built.Echo] / n}, "")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The search finds the induction and the echo heads, and no others; with noise too.
func TestSearchFindsHeads(t *testing.T) {
	for name, o := range map[string]built.Options{
		"default": built.Default(),
		"noise":   {Heads: built.Default().Heads, Noise: 0.5, Seed: 1},
		"one":     {Heads: [][]built.Kind{{built.Previous}, {built.Induction}}, Group: 1},
		"three layers, two of each": {Group: 2, Seed: 3, Heads: [][]built.Kind{
			{built.Local, built.Previous, built.Echo},
			{built.Induction, built.Previous, built.Sink},
			{built.Uniform, built.Echo, built.Induction},
		}},
	} {
		m, model := load(t, o)
		found := find(t, o, model)
		t.Logf("%s: induction %.3f, echo %.3f", name, found.Scores[0].KV, found.Scores[1].KV)
		if !reflect.DeepEqual(found.Classes, m.Truth.Classes) {
			t.Errorf("%s: found %v, built %v", name, found.Classes, m.Truth.Classes)
		}
		for l, row := range o.Heads {
			for h, kind := range row {
				for i, of := range []built.Kind{built.Induction, built.Echo} {
					s := found.Scores[i].KV[l][h]
					if kind == of && s < 0.5 || kind != of && s > 0.25 {
						t.Errorf("%s: head %d of layer %d, %s, has the score %.3f for %s", name, h, l, kind, s, of)
					}
				}
			}
		}
		if err := m.Truth.Check(); err != nil {
			t.Error(err)
		}
	}
}

// attention returns the weights of the last token's queries, [L][H·G][tokens], of a model
// that is fed tokens.
func attention(t testing.TB, model *llama.Model, tokens []int) [][][]float64 {
	t.Helper()
	cfg := model.Config()
	var q []float32
	var keys [][]float32
	if _, err := model.NewSession().Feed(tokens, func(queries, k, _ []float32) error {
		q = append(q[:0], queries...)
		keys = append(keys, append([]float32(nil), k...))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var all [][][]float64
	for l := range cfg.Layers {
		var layer [][]float64
		for h := range cfg.QueryHeads {
			query := q[(l*cfg.QueryHeads+h)*cfg.HeadSize:][:cfg.HeadSize]
			weights, top := make([]float64, len(tokens)), math.Inf(-1)
			for n, key := range keys {
				key := key[(l*cfg.KVHeads+h*cfg.KVHeads/cfg.QueryHeads)*cfg.HeadSize:]
				for i, x := range query {
					weights[n] += float64(x) * float64(key[i]) / math.Sqrt(float64(cfg.HeadSize))
				}
				top = max(top, weights[n])
			}
			sum := 0.0
			for n := range weights {
				weights[n] = math.Exp(weights[n] - top)
				sum += weights[n]
			}
			for n := range weights {
				weights[n] /= sum
			}
			layer = append(layer, weights)
		}
		all = append(all, layer)
	}
	return all
}

// Every head attends as its kind says, at any position.
func TestHeadsAttend(t *testing.T) {
	first := []built.Kind{built.Previous, built.Sink, built.Echo, built.Local, built.Sink, built.Uniform}
	o := built.Options{Heads: [][]built.Kind{first, built.Kinds()}, Group: 1, Vocab: 512, Seed: 5}
	_, model := load(t, o)
	random := rand.New(rand.NewPCG(9, 9))
	lengths := testsize.Of([]int{40}, []int{40, 250}, []int{40, 500})
	for _, n := range lengths {
		tokens := make([]int, n)
		for i := range tokens[1:] {
			tokens[1+i] = 2 + random.IntN(500)
		}
		tokens[n-1] = 1 // a token that occurs only in these two copies
		first, second := 10, n/2
		for repeated := range 2 {
			if repeated == 1 {
				tokens[first], tokens[second] = 1, 1
			}
			for l, layer := range attention(t, model, tokens) {
				for h, w := range layer {
					sum := func(positions ...int) float64 {
						s := 0.0
						for _, p := range positions {
							s += w[p]
						}
						return s
					}
					var got float64
					kind := o.Heads[l][h]
					switch {
					case kind == built.Previous:
						got = sum(n - 2)
					case kind == built.Sink || kind == built.Induction && repeated == 0:
						got = sum(0)
					case kind == built.Induction:
						got = sum(first+1, second+1)
					case kind == built.Echo && repeated == 0:
						got = sum(n - 1)
					case kind == built.Echo:
						got = sum(first, second, n-1)
					case kind == built.Local:
						for p := max(0, n-24); p < n; p++ {
							got += w[p]
						}
					case kind == built.Uniform:
						for _, x := range w {
							got = max(got, math.Abs(x*float64(n)-1))
						}
						got = 1 - got
					}
					if got < 0.99 {
						t.Errorf("%d tokens, copies %v, layer %d: a head of kind %s has %.4f of its attention where it belongs", n, repeated, l, kind, got)
					}
				}
			}
		}
	}
}

// right returns the fraction of the tokens of a repeated random sequence that a model predicts.
func right(t testing.TB, model *llama.Model, period int) float64 {
	t.Helper()
	random := rand.New(rand.NewPCG(4, 4))
	tokens := []int{0}
	for _, i := range random.Perm(255)[:period] {
		tokens = append(tokens, 1+i)
	}
	session := model.NewSession()
	if _, err := session.Feed(tokens, nil); err != nil {
		t.Fatal(err)
	}
	good := 0
	for i := range period - 1 {
		logits, err := session.Feed(tokens[1+i:2+i], nil)
		if err != nil {
			t.Fatal(err)
		}
		best := 0
		for j, x := range logits {
			if x > logits[best] {
				best = j
			}
		}
		if best == tokens[2+i] {
			good++
		}
	}
	return float64(good) / float64(period-1)
}

// The model predicts a repeated sequence, and with enough noise it does not.
func TestNoise(t *testing.T) {
	if testing.Short() {
		t.Skip("runs models token by token")
	}
	before := 2.0
	for _, c := range []struct{ noise, from, to float64 }{{0, 1, 1}, {0.3, 0.9, 1}, {1, 0.2, 0.6}, {4, 0, 0.2}} {
		o := built.Default()
		o.Noise = c.noise
		_, model := load(t, o)
		got := right(t, model, 80)
		t.Logf("noise %v: %.3f predicted", c.noise, got)
		if got < c.from || got > c.to || got > before {
			t.Errorf("noise %v: %.3f of the tokens are predicted, want %v to %v, and no more than with less noise", c.noise, got, c.from, c.to)
		}
		before = got
	}
}

// The same options give the same bytes on every platform.
func TestBytes(t *testing.T) {
	for noise, want := range map[float64]string{0: "1f3cf82334d7a7ce", 0.25: "83a524227691ed8e"} {
		o := built.Default()
		o.Noise, o.Seed = noise, 7
		m, err := o.Build()
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		_, _ = h.Write(m.Config)
		_, _ = h.Write(m.Weights)
		if got := fmt.Sprintf("%016x", h.Sum64()); got != want {
			t.Errorf("noise %v: the model has the digest %s, want %s", noise, got, want)
		}
	}
}

func TestParseHeads(t *testing.T) {
	got, err := built.ParseHeads("previous, local,sink,uniform; local,induction,sink,echo")
	if err != nil || !reflect.DeepEqual(got, built.Default().Heads) {
		t.Errorf("got %v, %v", got, err)
	}
}

// Options of any text are built or refused.
func FuzzParseHeads(f *testing.F) {
	for _, text := range []string{"previous,local;induction,echo", "sink", ";", "previous;", "induction", " uniform ,uniform"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kinds, err := built.ParseHeads(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "built: ") {
				t.Errorf("error %q does not say whose it is", err)
			}
			return
		}
		if len(kinds)*len(kinds[0]) > 8 {
			return // takes long
		}
		if _, err := (built.Options{Heads: kinds, Group: 1, Vocab: 4}).Build(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func TestErrors(t *testing.T) {
	with := func(change func(*built.Options)) built.Options {
		o := built.Default()
		change(&o)
		return o
	}
	for _, c := range []struct {
		o    built.Options
		want string
	}{
		{built.Options{}, "built: 0 layers: want 1 to 32"},
		{built.Options{Heads: [][]built.Kind{{built.Sink}, {}}}, "built: layer 1 has 0 KV heads"},
		{built.Options{Heads: [][]built.Kind{{built.Sink}, {built.Sink, built.Sink}}}, "built: layer 1 has 2 KV heads, and layer 0 has 1"},
		{built.Options{Heads: [][]built.Kind{{"magic"}}}, `built: head 0 of layer 0: there is no kind "magic"`},
		{built.Options{Heads: [][]built.Kind{{built.Previous, built.Induction}}}, "built: head 1 of layer 0: an induction head needs a previous-token head in an earlier layer"},
		{with(func(o *built.Options) { o.Group = -1 }), "built: -1 query heads"},
		{with(func(o *built.Options) { o.Vocab = 5000 }), "built: a vocabulary of 5000: want 2 to 4096"},
		{with(func(o *built.Options) { o.MaxPositions = 10000 }), "built: 10000 positions"},
		{with(func(o *built.Options) { o.Noise = math.NaN() }), "built: a noise of NaN"},
	} {
		if _, err := c.o.Build(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got error %v, want %q", err, c.want)
		}
	}
	if _, err := built.ParseHeads("previous;;"); err == nil {
		t.Error("an empty layer is no error")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := built.Default().Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Write(dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("got error %v, want that the folder is not empty", err)
	}
}

// Codes can be drawn for the largest vocabulary.
func TestVocabulary(t *testing.T) {
	if testing.Short() {
		t.Skip("draws many codes")
	}
	for seed := range uint64(3) {
		o := built.Options{Heads: [][]built.Kind{{built.Sink}}, Group: 1, Vocab: 4096, Seed: seed}
		if _, err := o.Build(); err != nil {
			t.Error(err)
		}
	}
}
