package kv

import (
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/internal/ceil"
)

// TestMovesPack checks stage 3 against its own sentence: after the moves, the
// first m logical slots hold exactly the survivors.
func TestMovesPack(t *testing.T) {
	for seed := range 2000 {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		b := 1 << rng.IntN(6)
		n := 1 + rng.IntN(8*b)
		h := &Head{Segment: Segment{Len: n}}
		for _, block := range rng.Perm(ceil.Div(n, b)) {
			h.Table = append(h.Table, int32(block))
		}
		var evicted []int32
		for i := range n {
			if rng.IntN(3) == 0 {
				evicted = append(evicted, int32(i))
			}
		}
		content := map[int32]int32{} // slot → logical index of the KV in it
		slot := func(logical int) int32 { return h.Table[logical/b]*int32(b) + int32(logical%b) }
		for i := range n {
			content[slot(i)] = int32(i)
		}
		for _, mv := range Moves(nil, h, b, evicted) {
			content[mv.Destination] = content[mv.Source]
		}
		var kept []int32
		for i := range n - len(evicted) {
			kept = append(kept, content[slot(i)])
		}
		slices.Sort(kept)
		var want []int32
		for i := range n {
			if !slices.Contains(evicted, int32(i)) {
				want = append(want, int32(i))
			}
		}
		if !slices.Equal(kept, want) {
			t.Fatalf("seed %d: kept %v, want %v", seed, kept, want)
		}
	}
}

// TestMovesOrder pins the pairing on an example that can be followed by eye.
func TestMovesOrder(t *testing.T) {
	h := &Head{Segment: Segment{Table: []int32{5, 0, 2}, Len: 10}} // B = 4: logical 0-3, 4-7, 8-9
	got := Moves(nil, h, 4, []int32{1, 2, 4, 5, 7, 9})
	// m = 4: holes 1 and 2 below it; survivors from it on, descending: 8, 6.
	want := []Move{{5*4 + 1, 2*4 + 0}, {5*4 + 2, 0*4 + 2}}
	if !slices.Equal(got, want) {
		t.Errorf("moves %v, want %v", got, want)
	}
}
