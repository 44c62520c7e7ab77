package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// TestPackingPreemptsNobody serves random requests in caches that are nearly full, by methods that take blocks before they
// free any: a compression never takes blocks that the next tokens need, so that no sequence is preempted in a step in which
// compressions took more blocks than they freed.
func TestPackingPreemptsNobody(t *testing.T) {
	for _, method := range []string{"minicache", "kivi", "flexgen", "minicache+kivi"} {
		for _, scheduler := range []Scheduler{KVCompressServer, VLLMV1} {
			t.Run(fmt.Sprintf("%s/%s", method, scheduler), func(t *testing.T) {
				took, preempted := 0, 0
				for seed := range uint64(40) {
					r := rand.New(rand.NewPCG(seed, 77))
					cfg := ref.Default()
					cfg.Shape.Layers, cfg.Shape.KVHeads, cfg.Shape.Group, cfg.Shape.HeadSize = 2, 1+r.IntN(2), 1, 32
					cfg.UseMethod(method)
					cfg.BlockSize, cfg.Blocks = []int{4, 8, 16}[r.IntN(3)], 20+r.IntN(60)
					if method == "kivi" || method == "minicache+kivi" {
						cfg.Set = ref.Settings{"group": json.RawMessage("8"), "residual": json.RawMessage("8")}
					} else if method == "flexgen" {
						cfg.Set = ref.Settings{"group": json.RawMessage("8")}
					}
					ledger, err := NewLedger(&cfg, nil)
					if err != nil {
						t.Fatal(err)
					}
					var requests []trace.Request
					for i := range 12 {
						requests = append(requests, trace.Request{ID: fmt.Sprint(i), ArrivalNS: int64(i) * 1e7, PromptTokens: 1 + r.IntN(40), OutputTokens: 1 + r.IntN(60)})
					}
					limits := DefaultLimits()
					limits.Watermark = 0
					s, err := NewServer(ledger, &cfg, Schedule{Interval: 1 + r.IntN(3), UntilFree: r.IntN(2) == 0}, limits, requests, nil)
					if err != nil {
						t.Fatal(err)
					}
					if scheduler == VLLMV1 {
						if err := s.UseV1(V1{}); err != nil {
							t.Fatal(err)
						}
					}
					for {
						step, err := s.Step()
						if err != nil {
							t.Fatalf("seed %d: %v", seed, err)
						}
						if step == nil {
							break
						}
						net := 0
						for _, c := range step.Compression {
							net += c.Taken - c.Freed
						}
						if net > 0 {
							took++
						}
						if len(step.Preempted) > 0 {
							preempted++
							if net > 0 {
								t.Fatalf("seed %d, step %d: compressions took %d blocks more than came free, and %v were preempted", seed, step.Index, net, step.Preempted)
							}
						}
					}
				}
				if took == 0 || preempted == 0 {
					t.Errorf("%d steps took blocks, %d preempted: want some of both", took, preempted)
				}
			})
		}
	}
}

// TestPackedOnce serves requests that are compressed once, in a cache that is too small for all. A sequence that is preempted
// after its compression is recomputed in full precision, and is not compressed again.
func TestPackedOnce(t *testing.T) {
	cfg := ref.Default()
	cfg.Shape.Layers, cfg.Shape.KVHeads, cfg.Shape.Group, cfg.Shape.HeadSize = 2, 1, 1, 32
	cfg.UseMethod("flexgen")
	cfg.BlockSize, cfg.Blocks = 8, 30
	ledger, err := NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	var requests []trace.Request
	for i := range 6 {
		requests = append(requests, trace.Request{ID: fmt.Sprint(i), PromptTokens: 20, OutputTokens: 40})
	}
	s, err := NewServer(ledger, &cfg, Schedule{Interval: 1, Once: true}, DefaultLimits(), requests, nil)
	if err != nil {
		t.Fatal(err)
	}
	compressed, again := map[kv.SeqID]bool{}, 0
	for {
		step, err := s.Step()
		if err != nil {
			t.Fatal(err)
		}
		if step == nil {
			break
		}
		for _, c := range step.Compression {
			if compressed[c.Seq] {
				t.Fatalf("step %d: sequence %d is compressed again", step.Index, c.Seq)
			}
			compressed[c.Seq] = true
		}
		if step.Kind == Prefill {
			for _, q := range s.admitted {
				if compressed[q.id] {
					again++
					if n := ledger.seqs.of(q.id).packed.sum.pages; n != 0 {
						t.Errorf("sequence %d is recomputed with %d quantized pages", q.id, n)
					}
				}
			}
		}
	}
	if again == 0 {
		t.Error("none was recomputed after its compression")
	}
}
