package sim

import (
	"context"
	"math/rand/v2"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// TestSelectionReads compares the closed form with single steps.
func TestSelectionReads(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		s := Selection{Tokens: 1 + rng.IntN(100), Page: rng.IntN(20)}
		n, steps, b := rng.IntN(200), rng.IntN(200), 1<<rng.IntN(6)
		kvs, blocks := int64(0), int64(0)
		for held := n + 1; held <= n+steps; held++ {
			if held <= s.Tokens {
				kvs += int64(held)
				blocks += int64(ceil.Div(held, b))
			} else {
				kvs += int64(s.Tokens)
				if s.Page > 0 {
					kvs += int64(ceil.Div(held, s.Page))
				}
				blocks += int64(ceil.Div(s.Tokens, b))
			}
		}
		if k, bl := s.reads(n, steps, b); k != kvs || bl != blocks {
			t.Fatalf("%+v, %d KVs, %d steps, blocks of %d: %d KVs in %d blocks, want %d in %d", s, n, steps, b, k, bl, kvs, blocks)
		}
	}
}

// TestSelecting serves with and without skipped steps: the same KVs are held and read. An indexer reads a key
// of each.
func TestSelecting(t *testing.T) {
	for seed := range uint64(200) {
		chosen := []Selection{{Tokens: 40, Page: 16}, {Tokens: 40}, {Tokens: 1 << 20}}[seed%3]
		cfg, _, limits, reqs, rates := randomServing(seed)
		cfg.Compression = ref.Compression{}
		var runs [3]served
		for i := range runs {
			ledger, err := NewLedger(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				if err := ledger.Select(chosen); err != nil {
					t.Fatal(err)
				}
			}
			runs[i] = serveOn(t, ledger, cfg, Schedule{}, limits, reqs, rates, i == 2)
		}
		step, skip := runs[1], runs[2]
		if step.work != skip.work || step.clock != skip.clock {
			t.Fatalf("seed %d: %v at %v, by single steps %v at %v", seed, skip.work, skip.clock, step.work, step.clock)
		}
		if keys, kvs := step.work[IndexKeysRead], step.work[KVsRead]; chosen.indexes() && (keys < kvs || chosen.Tokens > 40 && keys != kvs) {
			t.Fatalf("seed %d: %+v: %d index keys and %d KVs are read", seed, chosen, keys, kvs)
		}
		if !chosen.indexes() && step.work[IndexKeysRead] != 0 {
			t.Fatalf("seed %d: %d index keys are read without an indexer", seed, step.work[IndexKeysRead])
		}
		if all := runs[0].work[KVsRead]; runs[0].work[DecodeSeqs] == step.work[DecodeSeqs] && step.work[KVsRead] > all+all/16+step.work[DecodeSeqs]*int64(cfg.Shape.Heads()) {
			t.Fatalf("seed %d: %d KVs are read, and %d without selection", seed, step.work[KVsRead], all)
		}
	}
	cfg, _, _, _, _ := randomServing(1)
	cfg.Compression = ref.Compression{MaxCacheTokens: 10}
	ledger, err := NewLedger(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ledger.Select(Selection{Tokens: 1, Page: 1}) == nil {
		t.Error("a ledger that evicts reads by pages")
	}
	for _, s := range []Selection{{}, {Page: 16}, {Tokens: 1, Page: -1}} {
		if ledger.Select(s) == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}

// TestIndexing works out the work of one request of 100 prompt tokens and 4 output tokens with an indexer that
// chooses 10: the queries of the prompt attend to 1, 2, …, 10, 10, … tokens, and each of three decode steps
// reads 10 KVs and all keys of each head.
func TestIndexing(t *testing.T) {
	for _, scheduler := range []Scheduler{VLLM06, VLLMV1} {
		cfg := ref.Default()
		cfg.Shape, cfg.Blocks, cfg.Compression = kv.Shape{Layers: 3, KVHeads: 1, Group: 1, HeadSize: 8}, 300, ref.Compression{}
		p := &Plan{Scheduler: scheduler, Config: cfg, Limits: Limits{MaxNumBatchedTokens: 1000, MaxNumSeqs: 4}, Select: &Selection{Tokens: 10}}
		done, err := Project(context.Background(), p, each([]trace.Request{{ID: "a", PromptTokens: 100, OutputTokens: 4}}), Watch{})
		if err != nil {
			t.Fatal(err)
		}
		for f, want := range map[Feature]int64{AttentionPairs: 5050, WindowPairs: 55 + 90*10, KVsRead: 3 * 3 * 10, IndexKeysRead: 3 * (101 + 102 + 103)} {
			if got := done.Work[f]; got != want {
				t.Errorf("%s: %d %s, want %d", scheduler, got, f, want)
			}
		}
	}
}
