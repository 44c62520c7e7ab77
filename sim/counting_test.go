package sim

import (
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// TestCountLike checks that a counting cannot be changed under sequences, and that compressions follow a new
// one although those of the same prompts are known by the old one.
func TestCountLike(t *testing.T) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks = 16, 1<<16
	cfg.Compression = ref.Compression{Rate: 0.5, ProtectedWindow: 20}
	l, err := NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[Counting]int{}
	for _, counting := range Countings() {
		if err := l.CountLike(counting); err != nil {
			t.Fatal(err)
		}
		for id := range kv.SeqID(4) {
			if err := l.Prefill(id, 100); err != nil {
				t.Fatal(err)
			}
			count := l.Count(id)
			_, done, err := l.compressWithin(id, l.seqs.of(id), l.Blocks())
			if err != nil || done == nil || done.Asked != count {
				t.Fatalf("counting %q, sequence %d: %+v, %v, want %d asked for", counting, id, done, err, count)
			}
			asked[counting] = count
		}
		for _, other := range Countings() {
			if err := l.CountLike(other); (err == nil) != (other == counting) {
				t.Errorf("from counting %q to %q under sequences: %v", counting, other, err)
			}
		}
		for id := range kv.SeqID(4) {
			if err := l.Release(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if asked[CountHeld] == asked[CountKVs] {
		t.Errorf("countings ask for the same: %v", asked)
	}
}
