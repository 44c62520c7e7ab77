package validate

import (
	"slices"
	"testing"

	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/traces"
)

// TestRepeats replays a trace with a method that caches K and V for each query head. It must hold G times as
// many KVs, compute the same outputs to the bit until something is evicted, and then keep its capacity in
// every query head.
func TestRepeats(t *testing.T) {
	b, err := traces.Open("block-size-1")
	if err != nil {
		t.Fatal(err)
	}
	replay := func(method string, capacity int) (outputs []float32, prefilled, fewest int) {
		opt := b.Options
		opt.UseMethod(method)
		opt.Blocks = 0
		opt.Set = ref.Settings{}
		opt.Compression = ref.Compression{MaxCacheTokens: capacity}
		if method != ref.KVCompress {
			opt.Set.Set("window", "4")
		}
		fewest = 1 << 30
		_, err := sim.Replay(t.Context(), b.Trace, opt, sim.Hooks{Event: func(e ref.Event) {
			switch e.Stage {
			case ref.StagePrefill:
				prefilled += e.Cache.Sequence(e.Seqs[0]).KVs()
			case ref.StageDecode:
				outputs = append(outputs, e.Parts[0].Floats...)
			case ref.StageMove:
				for i := range e.Cache.Sequence(e.Seqs[0]).Heads {
					fewest = min(fewest, e.Cache.Sequence(e.Seqs[0]).Heads[i].Len)
				}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		return outputs, prefilled, fewest
	}
	want, once, _ := replay(ref.KVCompress, 0)
	got, repeated, _ := replay("snapkv-published", 0)
	if group := b.Trace.Meta.Shape.Group; group < 2 || repeated != group*once {
		t.Errorf("%d KVs are prefilled, %d with a copy for each of %d query heads", once, repeated, group)
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Error("outputs differ, though nothing is evicted")
	}
	if _, _, fewest := replay("snapkv-published", 9); fewest != 9 {
		t.Errorf("after a compression, a head keeps %d KVs, want 9", fewest)
	}
}
