package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
	"kvcompress/trace/llama"
)

const (
	vocab     = 50
	positions = 40
)

// randomModel returns a small model of random weights: 2 layers, 4 query and 2 KV
// heads of size 8.
func randomModel(t testing.TB) *llama.Model {
	t.Helper()
	const dim, hidden, layers, heads, kvHeads = 32, 48, 2, 4, 2
	const weights = vocab*dim + layers*(2*dim+2*dim*dim+2*dim*dim*kvHeads/heads+3*dim*hidden) + dim + positions*dim/heads
	var data []byte
	for _, x := range []uint32{dim, hidden, layers, heads, kvHeads, vocab, positions} {
		data = binary.LittleEndian.AppendUint32(data, x)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range weights {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(random.NormFloat64())*0.3))
	}
	m, err := llama.ReadCheckpoint(bytes.NewReader(data), int64(len(data)), "random.bin")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func prompts() []Prompt {
	return []Prompt{
		{ID: "a", Tokens: []int{1, 2, 3}, ArrivalNS: 0, MaxOutput: 10},
		{ID: "b", Tokens: []int{1}, ArrivalNS: 5e6, MaxOutput: 1},
		{ID: "c", Tokens: []int{1, 7, 7, 9, 30}, ArrivalNS: 5e6, MaxOutput: 1000},
	}
}

// record records into a new folder.
func record(t testing.TB, ps []Prompt, opts Options) (dir string, results []Result) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "trace")
	opts.OnRequest = func(r Result) error { results = append(results, r); return nil }
	if err := Record(t.Context(), dir, randomModel(t), ps, opts); err != nil {
		t.Fatal(err)
	}
	return dir, results
}

func TestRecord(t *testing.T) {
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16} {
		t.Run(format.String(), func(t *testing.T) {
			fed := 0
			dir, results := record(t, prompts(), Options{
				Name: "n", Model: "m", DType: format, Description: "d", Licence: "l", OnToken: func() { fed++ },
			})
			tr, err := trace.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			wantMeta := trace.Meta{
				FormatVersion: trace.FormatVersion, Name: "n", Model: "m", DType: format,
				Shape:  kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 8},
				Rope:   &trace.Rope{Base: 10000, RotarySize: 8, Pairing: trace.Interleaved},
				Source: trace.Source{Kind: trace.Recorded, Description: "d", Licence: "l"},
			}
			if diff := cmp.Diff(wantMeta, tr.Meta); diff != "" {
				t.Errorf("meta (-want +got):\n%s", diff)
			}
			wantRequests := []trace.Request{
				{ID: "a", ArrivalNS: 0, PromptTokens: 3, OutputTokens: 10},
				{ID: "b", ArrivalNS: 5e6, PromptTokens: 1, OutputTokens: 1},
				{ID: "c", ArrivalNS: 5e6, PromptTokens: 5, OutputTokens: positions - 5 + 1},
			}
			if diff := cmp.Diff(wantRequests, tr.Requests()); diff != "" {
				t.Fatalf("requests (-want +got):\n%s", diff)
			}
			if want := 12 + 1 + positions; fed != want {
				t.Errorf("%d tokens were fed, want %d", fed, want)
			}
			if got, want := []End{results[0].End, results[1].End, results[2].End}, []End{AtMaxOutput, AtMaxOutput, AtMaxPositions}; !slices.Equal(got, want) {
				t.Errorf("ends %v, want %v", got, want)
			}
			for i, r := range results {
				checkTensors(t, tr, i, r, format)
			}
		})
	}
}

// checkTensors feeds the request's tokens to the model again, and compares the computed tensors
// with the stored ones.
func checkTensors(t *testing.T, tr *trace.Trace, i int, r Result, format dtype.DType) {
	t.Helper()
	stored, err := tr.Tensors(i)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	fed := slices.Concat(r.Prompt.Tokens, r.Output[:len(r.Output)-1])
	if stored.Tokens() != len(fed) {
		t.Fatalf("request %d has %d rows, want %d", i, stored.Tokens(), len(fed))
	}
	shape := tr.Meta.Shape
	token := 0
	_, err = randomModel(t).NewSession().Feed(fed, func(q, k, v []float32) error {
		for name, values := range [][]float32{trace.Q: q, trace.K: k, trace.V: v} {
			row := len(values) / shape.Layers
			for l := range shape.Layers {
				got := make([]float32, row)
				if err := stored.Read(got, trace.Tensor(name), l, token, 1); err != nil {
					return err
				}
				want, raw := make([]float32, row), make([]byte, row*format.Size())
				format.Encode(raw, values[l*row:(l+1)*row])
				format.Decode(want, raw)
				if !slices.Equal(got, want) {
					t.Errorf("request %d, token %d, layer %d, tensor %d differs", i, token, l, name)
				}
			}
		}
		token++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A stop token is the last token of the output.
func TestStop(t *testing.T) {
	ps := prompts()[:1]
	_, free := record(t, ps, Options{})
	stop := free[0].Output[4]
	first := slices.Index(free[0].Output, stop)
	_, stopped := record(t, ps, Options{Stop: []int{stop}})
	if diff := cmp.Diff(free[0].Output[:first+1], stopped[0].Output); diff != "" || stopped[0].End != AtStop {
		t.Errorf("%v (-want +got):\n%s", stopped[0].End, diff)
	}
}

// The same arguments give the same bytes; another seed gives another text.
func TestDeterminism(t *testing.T) {
	files := func(sampling Sampling) map[string]string {
		dir, _ := record(t, prompts(), Options{DType: dtype.F16, Sampling: sampling})
		all := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name()] = string(data)
		}
		return all
	}
	warm := Sampling{Temperature: 0.9, TopP: 0.95, Seed: 7}
	if first, second := files(warm), files(warm); !cmp.Equal(first, second) || len(first) != 5 {
		t.Errorf("two recordings of %d and %d files differ", len(first), len(second))
	}
	other := warm
	other.Seed = 8
	if cmp.Equal(files(warm), files(other)) {
		t.Error("another seed gives the same trace")
	}
}

func TestRecordErrors(t *testing.T) {
	one := func(p Prompt) []Prompt { return []Prompt{p} }
	for _, c := range []struct {
		name    string
		prompts []Prompt
		opts    Options
		want    string
	}{
		{"none", nil, Options{}, "there are no prompts"},
		{"no tokens", one(Prompt{ID: "a", MaxOutput: 1}), Options{}, "request a: the prompt has no tokens"},
		{"long prompt", one(Prompt{ID: "a", Tokens: make([]int, positions+1), MaxOutput: 1}), Options{}, "request a: the prompt has 41 tokens"},
		{"no output", one(Prompt{ID: "a", Tokens: []int{1}}), Options{}, "request a: 0 output tokens"},
		{"unknown token", one(Prompt{ID: "a", Tokens: []int{1, 50}, MaxOutput: 1}), Options{}, "request a: token 1 of the prompt: 50"},
		{"before time", one(Prompt{ID: "a", Tokens: []int{1}, MaxOutput: 1, ArrivalNS: -1}), Options{}, "request a: the request arrives before time 0"},
		{"out of order", []Prompt{{ID: "a", Tokens: []int{1}, MaxOutput: 1, ArrivalNS: 2}, {ID: "b", Tokens: []int{1}, MaxOutput: 1, ArrivalNS: 1}}, Options{}, "request b: the request arrives before"},
		{"same id", []Prompt{{ID: "a", Tokens: []int{1}, MaxOutput: 1}, {ID: "a", Tokens: []int{1}, MaxOutput: 1}}, Options{}, "request a: another"},
		{"id that is a path", one(Prompt{ID: "../a", Tokens: []int{1}, MaxOutput: 1}), Options{}, "../a"},
		{"temperature", prompts(), Options{Sampling: Sampling{Temperature: math.NaN()}}, "temperature"},
		{"top-p", prompts(), Options{Sampling: Sampling{TopP: 1.5}}, "top-p: 1.5"},
		{"dtype", prompts(), Options{DType: dtype.E4M3}, "dtype"},
		{"fails later", prompts(), Options{OnRequest: func(r Result) error { return errors.New("no more") }}, "no more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "trace")
			err := Record(t.Context(), dir, randomModel(t), c.prompts, c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "trace.json")); err == nil {
				t.Error("it left a trace.json")
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fed := 0
	err := Record(ctx, t.TempDir(), randomModel(t), prompts(), Options{OnToken: func() {
		if fed++; fed == 5 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || fed != 5 {
		t.Errorf("%v after %d tokens", err, fed)
	}
}
