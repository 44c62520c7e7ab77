package sim

import (
	"math/rand/v2"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/ref"
)

// TestSelectionReads compares the closed form with single steps.
func TestSelectionReads(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		s := Selection{Tokens: 1 + rng.IntN(100), Page: 1 + rng.IntN(20)}
		n, steps, b := rng.IntN(200), rng.IntN(200), 1<<rng.IntN(6)
		kvs, blocks := int64(0), int64(0)
		for held := n + 1; held <= n+steps; held++ {
			if held <= s.Tokens {
				kvs += int64(held)
				blocks += int64(ceil.Div(held, b))
			} else {
				kvs += int64(s.Tokens + ceil.Div(held, s.Page))
				blocks += int64(ceil.Div(s.Tokens, b))
			}
		}
		if k, bl := s.reads(n, steps, b); k != kvs || bl != blocks {
			t.Fatalf("%+v, %d KVs, %d steps, blocks of %d: %d KVs in %d blocks, want %d in %d", s, n, steps, b, k, bl, kvs, blocks)
		}
	}
}

// TestSelecting serves with and without skipped steps: the same KVs are held and read.
func TestSelecting(t *testing.T) {
	for seed := range uint64(200) {
		cfg, _, limits, reqs, rates := randomServing(seed)
		cfg.Compression = ref.Compression{}
		var runs [3]served
		for i := range runs {
			ledger, err := NewLedger(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				if err := ledger.Select(Selection{Tokens: 40, Page: 16}); err != nil {
					t.Fatal(err)
				}
			}
			runs[i] = serveOn(t, ledger, cfg, Schedule{}, limits, reqs, rates, i == 2)
		}
		step, skip := runs[1], runs[2]
		if step.work != skip.work || step.clock != skip.clock {
			t.Fatalf("seed %d: %v at %v, by single steps %v at %v", seed, skip.work, skip.clock, step.work, step.clock)
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
}
