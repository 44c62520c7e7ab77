package ref

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/trace"
)

// TestLayerByLayer drives one engine with whole requests and another layer by layer with the same Q, K and V,
// and compares their caches and outputs to the bit.
func TestLayerByLayer(t *testing.T) {
	cfg := Default()
	cfg.Shape, cfg.Blocks = kv.Shape{Layers: 3, KVHeads: 2, Group: 2, HeadSize: 16}, 400
	cfg.BlockSize, cfg.Metric.Window, cfg.Compression.MaxCacheTokens, cfg.Compression.ProtectedWindow = 4, 5, 20, 3
	open := func(id kv.SeqID) (trace.Tensors, error) { return hashed{id, cfg.Shape}, nil }
	var outputs []float32
	replayed, err := NewEngine(cfg, open, func(e Event) {
		if e.Stage == StageDecode {
			outputs = append(outputs, e.Parts[0].Floats...)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	live, err := NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func(id kv.SeqID, x trace.Tensor, layer, from, n int) []float32 {
		rows := make([]float32, n*x.Heads(cfg.Shape)*cfg.Shape.HeadSize)
		if err := (hashed{id, cfg.Shape}).Read(rows, x, layer, from, n); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	const n = 40
	for id := range kv.SeqID(2) {
		if err := replayed.Prefill(id, n); err != nil {
			t.Fatal(err)
		}
		p, err := live.BeginPrompt(id, n)
		if err != nil {
			t.Fatal(err)
		}
		for layer := range cfg.Shape.Layers {
			if err := p.Layer(read(id, trace.Q, layer, n-5, 5), read(id, trace.K, layer, 0, n), read(id, trace.V, layer, 0, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Layer(nil, nil, nil); err == nil {
			t.Error("an extra layer is accepted")
		}
		p.End()
	}
	var got []float32
	batch := []kv.SeqID{1, 0}
	for step := range 9 {
		if step == 4 {
			for _, e := range []*Engine{replayed, live} {
				if _, err := e.Compress(1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := replayed.Decode(batch); err != nil {
			t.Fatal(err)
		}
		tokens, err := live.BeginTokens(batch)
		if err != nil {
			t.Fatal(err)
		}
		for layer := range cfg.Shape.Layers {
			rows := func(x trace.Tensor) []float32 {
				return append(read(1, x, layer, n+step, 1), read(0, x, layer, n+step, 1)...)
			}
			q := rows(trace.Q)
			out := make([]float32, len(q))
			if err := tokens.Layer(q, rows(trace.K), rows(trace.V), out); err != nil {
				t.Fatal(err)
			}
			got = append(got, out...)
		}
		tokens.End()
	}
	if !reflect.DeepEqual(got, outputs) {
		t.Error("the outputs differ")
	}
	if !reflect.DeepEqual(live.Cache().Snapshot(), replayed.Cache().Snapshot()) {
		t.Error("the caches differ")
	}
}

// TestLayersRefused checks that input from a model is validated before anything changes.
func TestLayersRefused(t *testing.T) {
	cfg := Default()
	cfg.Shape, cfg.Blocks = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, 3
	e, err := NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var full *kv.ErrNoBlocks
	if _, err := e.BeginPrompt(0, 49); !errors.As(err, &full) {
		t.Errorf("%v, want no blocks", err)
	}
	p, err := e.BeginPrompt(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float32, 16)
	for want, bad := range map[string][]float32{"elements": row[:8], "65504": {1e5, 15: 0}, "in magnitude": {nan32(), 15: 0}} {
		if err := p.Layer(row, bad, row); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if _, err := e.BeginTokens([]kv.SeqID{0, 0}); err == nil {
		t.Error("a sequence twice in a batch is accepted")
	}
	if _, err := e.BeginTokens([]kv.SeqID{7}); err == nil {
		t.Error("an unknown sequence is accepted")
	}
	if _, err := e.BeginTokens(nil); err == nil {
		t.Error("an empty batch is accepted")
	}
}

func nan32() float32 { var zero float32; return zero / zero }
