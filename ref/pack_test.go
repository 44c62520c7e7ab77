package ref

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// TestCompressRefused compresses a restored cache whose last head has a value that cannot be quantized or merged: it
// is an error, nothing changes, and no stage is reported. Without that value it compresses.
func TestCompressRefused(t *testing.T) {
	const n = 40
	for name, set := range map[string]string{
		"kivi":           `{"group":8,"residual":8}`,
		"minicache":      `{"from":1,"gamma":0.3}`,
		"minicache+kivi": `{"from":1,"gamma":0.3,"group":8,"residual":8}`,
	} {
		for what, bad := range map[string]float32{"finite|beyond": float32(math.NaN()), "beyond|too wide": math.MaxFloat32} {
			cfg := Config{Config: kv.Config{Shape: kv.Shape{Layers: 3, KVHeads: 2, Group: 1, HeadSize: 16}, BlockSize: 4, Blocks: 400, DType: dtype.F32}}
			cfg.UseMethod(name)
			if err := json.Unmarshal([]byte(set), &cfg.Set); err != nil {
				t.Fatal(err)
			}
			stages := 0
			e, err := NewEngine(cfg, nil, func(Event) { stages++ })
			if err != nil {
				t.Fatal(err)
			}
			p, err := e.BeginPrompt(3, n)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range cfg.Shape.Layers {
				rows := make([]float32, n*cfg.Shape.KVHeads*cfg.Shape.HeadSize)
				for i := range rows {
					rows[i] = rng.Float32() - 0.5
				}
				if err := p.Layer(nil, rows, rows); err != nil {
					t.Fatal(err)
				}
			}
			p.End()
			good := e.Cache().Snapshot()
			last := good.Sequences[0].Heads[len(good.Sequences[0].Heads)-1]
			snap := e.Cache().Snapshot()
			at := last.Slot(n-9, cfg.BlockSize) * cfg.RowBytes() // KIVI quantizes it
			dtype.F32.Encode(snap.Values[at:], []float32{bad, -bad})
			restore := func(s *kv.Snapshot) {
				t.Helper()
				cache, err := s.Cache(cfg.Config, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := e.Restore(cache); err != nil {
					t.Fatal(err)
				}
			}
			restore(snap)
			before := e.Cache().Snapshot()
			stages = 0
			done, err := e.Compress(3)
			if words := strings.Split(what, "|"); err == nil || !strings.Contains(err.Error(), words[0]) && !strings.Contains(err.Error(), words[1]) {
				t.Errorf("%s, %g: %v", name, bad, err)
			}
			if stages > 0 || done != (Compressed{}) {
				t.Errorf("%s, %g: %d stages, %+v", name, bad, stages, done)
			}
			after := e.Cache().Snapshot()
			if !reflect.DeepEqual(after, before) {
				t.Errorf("%s, %g: the cache has changed", name, bad)
			}
			restore(good)
			if done, err := e.Compress(3); err != nil || done.Quantized+done.Merged == 0 || stages != 2 {
				t.Errorf("%s: %+v, %v, %d stages", name, done, err, stages)
			}
		}
	}
}
