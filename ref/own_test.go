package ref

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/trace"
)

// TestOwnOptions runs sequences with different options in one engine, and each in an engine of its own whose
// run has the same options. What a sequence holds, and its outputs, must be the same to the bit.
func TestOwnOptions(t *testing.T) {
	evicted := map[string]int{}
	for seed := range testsize.Of[uint64](10, 30, 60) {
		rng := rand.New(rand.NewPCG(seed, 17))
		cfg := Default()
		cfg.Shape = kv.Shape{Layers: 1 + rng.IntN(2), KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(2), HeadSize: 8}
		cfg.BlockSize, cfg.Blocks, cfg.DType = []int{1, 4, 16}[rng.IntN(3)], 4000, dtype.F32
		method := []string{KVCompress, KVCompress, KVCompress, "h2o-real-drop", "h2o-mask", "streaming-llm", "snapkv"}[rng.IntN(7)]
		cfg.UseMethod(method)
		cfg.Compression.MaxCacheTokens = 40
		if method == KVCompress {
			cfg.Metric.Window, cfg.Metric.Buffer = 1+rng.IntN(40), rng.IntN(6)
			cfg.Compression.ProtectedWindow = rng.IntN(12)
		}
		requests := []*trace.Compression{nil}
		for range 2 {
			own := &trace.Compression{MaxCacheTokens: new(34 + rng.IntN(40))}
			if method == KVCompress {
				own.ProtectedWindow, own.Buffer = new(rng.IntN(20)), new(rng.IntN(20))
				if rng.IntN(2) == 0 {
					own.MaxCacheTokens, own.Rate = nil, new(0.1+rng.Float64()/2)
				}
			}
			requests = append(requests, own)
		}
		together := newOwnRun(t, cfg)
		var alone []*ownRun
		for id, own := range requests {
			with, err := cfg.With(own)
			if err != nil {
				t.Fatal(err)
			}
			alone = append(alone, newOwnRun(t, with))
			if own != nil {
				if err := together.Configure(kv.SeqID(id), own); err != nil {
					t.Fatal(err)
				}
			}
		}
		both := func(ids []kv.SeqID, do func(e *ownRun, ids []kv.SeqID) error) {
			if err := do(together, ids); err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if err := do(alone[id], []kv.SeqID{id}); err != nil {
					t.Fatal(err)
				}
				want, got := alone[id].holds(id), together.holds(id)
				for i := range max(len(want), len(got)) {
					if i >= len(want) || i >= len(got) || !reflect.DeepEqual(want[i], got[i]) {
						t.Fatalf("seed %d: method %s: sequence %d, with %+v, holds %d values, alone %d; number %d differs", seed, method, id, requests[id], len(got), len(want), i)
					}
				}
				if a, b := together.Count(id), alone[id].Count(id); a != b {
					t.Fatalf("seed %d: sequence %d: asks for %d, alone %d", seed, id, a, b)
				}
			}
		}
		for id := range requests {
			n := 60 + rng.IntN(60)
			both([]kv.SeqID{kv.SeqID(id)}, func(e *ownRun, ids []kv.SeqID) error { return e.Prefill(ids[0], n) })
		}
		for range 30 {
			if rng.IntN(3) == 0 {
				both([]kv.SeqID{kv.SeqID(rng.IntN(3))}, func(e *ownRun, ids []kv.SeqID) error {
					c, err := e.Compress(ids[0])
					evicted[method] += c.Evicted
					return err
				})
			} else {
				both([]kv.SeqID{0, 1, 2}, func(e *ownRun, ids []kv.SeqID) error { return e.Decode(ids) })
			}
		}

		// Released, a sequence follows the run's options.
		both([]kv.SeqID{1}, func(e *ownRun, ids []kv.SeqID) error { return e.Release(ids[0]) })
		alone[1] = newOwnRun(t, cfg)
		both([]kv.SeqID{1}, func(e *ownRun, ids []kv.SeqID) error { return e.Prefill(1, 90) })
		both([]kv.SeqID{1}, func(e *ownRun, ids []kv.SeqID) error { _, err := e.Compress(1); return err })
	}
	for _, method := range []string{KVCompress, "h2o-real-drop", "streaming-llm", "snapkv"} {
		if evicted[method] == 0 {
			t.Errorf("method %s evicted nothing", method)
		}
	}
}

// ownRun is an engine that keeps the outputs of its last decode step.
type ownRun struct {
	*Engine
	outputs map[kv.SeqID][]float32
}

func newOwnRun(t *testing.T, cfg Config) *ownRun {
	t.Helper()
	r := &ownRun{outputs: map[kv.SeqID][]float32{}}
	engine, err := NewEngine(cfg, func(id kv.SeqID) (trace.Tensors, error) { return hashed{id, cfg.Shape}, nil }, func(e Event) {
		if e.Stage != StageDecode {
			delete(r.outputs, e.Seqs[0])
			return
		}
		part, size := e.Parts[0], cfg.Shape.QueryHeads()*cfg.Shape.HeadSize
		for i, id := range e.Seqs {
			r.outputs[id] = nil
			for l := range cfg.Shape.Layers {
				r.outputs[id] = append(r.outputs[id], part.Floats[(l*len(e.Seqs)+i)*size:][:size]...)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Engine = engine
	return r
}

// holds returns what a sequence holds, head by head and in logical order, and its outputs.
func (r *ownRun) holds(id kv.SeqID) []any {
	s := r.Cache().Sequence(id)
	if s == nil {
		return nil
	}
	all := []any{r.outputs[id]}
	for i := range s.Heads {
		for logical := range s.Heads[i].Len {
			slot := r.Cache().Slot(&s.Heads[i], logical)
			all = append(all, r.Cache().Positions[slot], string(r.Cache().Key(slot)), string(r.Cache().Value(slot)))
			for j, c := range r.Cache().Columns() {
				all = append(all, slices.Clone(r.Cache().Data[j][slot*c.Width:][:c.Width]))
			}
		}
	}
	return all
}

// TestWith lists how a request's options change the run's, and which are refused.
func TestWith(t *testing.T) {
	budget := func(c Config) string {
		return fmt.Sprint(c.Compression.MaxCacheTokens, " ", c.Compression.Rate, " ", c.Compression.ProtectedWindow, " ", c.Metric.Buffer)
	}
	for _, c := range []struct {
		name, method string
		own          *trace.Compression
		want, err    string
	}{
		{"none", KVCompress, nil, "64 0 32 0", ""},
		{"tokens", KVCompress, &trace.Compression{MaxCacheTokens: new(7)}, "7 0 32 0", ""},
		{"rate", KVCompress, &trace.Compression{Rate: new(0.5)}, "0 0.5 32 0", ""},
		{"all else", KVCompress, &trace.Compression{ProtectedWindow: new(0), Buffer: new(9), CompressOnce: new(true)}, "64 0 0 9", ""},
		{"nothing", KVCompress, &trace.Compression{}, "", "compression: it has no option"},
		{"two budgets", KVCompress, &trace.Compression{MaxCacheTokens: new(7), Rate: new(0.5)}, "", "exclude each other"},
		{"tokens of another method", "snapkv", &trace.Compression{MaxCacheTokens: new(70)}, "70 0 0 0", ""},
		{"window of another method", "snapkv", &trace.Compression{ProtectedWindow: new(7)}, "", "protected_window and buffer are options of kv-compress"},
		{"buffer of another method", "h2o-mask", &trace.Compression{Buffer: new(7)}, "", "protected_window and buffer are options of kv-compress"},
		{"too few for the method", "snapkv", &trace.Compression{MaxCacheTokens: new(3)}, "", "max_cache_tokens 3 includes the window"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Default()
			cfg.Shape, cfg.Blocks = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, 100
			cfg.Compression.MaxCacheTokens = 64
			cfg.UseMethod(c.method)
			with, err := cfg.With(c.own)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if got := budget(with); err != nil || got != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}
