package sim_test

import (
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/traces"
)

// TestHeldMeter compares the meter, in replays of methods that drop, hide and fold KVs, with
// the lengths of the cache at the sequence's last step.
func TestHeldMeter(t *testing.T) {
	for name, want := range map[string]sim.Holding{
		"gqa/snapkv-published": sim.Gone, "gqa/h2o-mask": sim.Hidden, "gqa/razor": sim.StandIn, "recall/razor-rolling": sim.StandIn, "gqa": sim.Gone,
		"gqa/kivi": sim.HeldQuantized, "recall/minicache": sim.HeldMerged, "gqa/minicache": sim.HeldRetained,
	} {
		b, err := traces.Bundled(name)
		if err != nil {
			t.Fatal(err)
		}
		b.Options.Fill(b.Trace.Meta, b.Trace.Requests())
		method, err := b.Options.NewMethod()
		if err != nil {
			t.Fatal(err)
		}
		meter := sim.NewHeldMeter(0, method)
		var last []int // of each head
		if _, err := sim.Replay(t.Context(), b.Trace, b.Options, sim.Hooks{Event: func(e ref.Event) {
			meter.Observe(e)
			if s := e.Cache.Sequence(kv.SeqID(0)); s != nil && e.Stage == ref.StageDecode {
				last = last[:0]
				for i := range s.Heads {
					last = append(last, s.Heads[i].KVs())
				}
			}
		}}); err != nil {
			t.Fatal(err)
		}
		held := meter.Held()
		if r := b.Trace.Requests()[0]; held.Prompt != r.PromptTokens || held.Tokens != r.CachedTokens() {
			t.Errorf("%s: %d tokens and %d of the prompt, want %d and %d", name, held.Tokens, held.Prompt, r.CachedTokens(), r.PromptTokens)
		}
		seen := 0
		for i, head := range held.Heads {
			kvs := 0
			for _, holding := range head {
				if holding != sim.Gone {
					kvs++
				}
				if holding == want {
					seen++
				}
			}
			if kvs != last[i] || len(head) != held.Tokens {
				t.Errorf("%s: head %d holds %d KVs of %d tokens, the cache had %d of %d", name, i, kvs, len(head), last[i], held.Tokens)
			}
		}
		if seen == 0 {
			t.Errorf("%s: no head has what the method does", name)
		}
	}
}
