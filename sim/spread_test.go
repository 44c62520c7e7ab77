package sim

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// lose returns what each head loses, one by one.
func lose(t *testing.T, s Spread, blocks, can []int, quotas []ref.Quota) []int {
	t.Helper()
	d := &Demand{DenseUnits: 100, Quotas: quotas}
	for i := range blocks {
		h := Heads{First: i, N: 1, KVs: blocks[i], Units: blocks[i], Can: can[i]}
		if n := len(d.Heads); n > 0 && d.Heads[n-1].Units == h.Units && d.Heads[n-1].Can == h.Can {
			d.Heads[n-1].N++
			continue
		}
		d.Heads = append(d.Heads, h)
	}
	out := s.Spread(nil, d)
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: len(blocks), KVHeads: 1, Group: 1, HeadSize: 8}
	cfg.Blocks = 1
	l, err := NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.checkSpread(out, quotas); err != nil {
		t.Fatalf("%+v: %v", out, err)
	}
	var lost []int
	for _, h := range out {
		for range h.N {
			lost = append(lost, h.Lost)
		}
	}
	return lost
}

func TestEven(t *testing.T) {
	whole := func(n, blocks int) []ref.Quota { return []ref.Quota{{First: 0, Heads: n, Units: blocks}} }
	for _, c := range []struct {
		blocks, can []int
		quotas      []ref.Quota
		want        []int
	}{
		{[]int{5, 5, 5, 5}, []int{4, 4, 4, 4}, whole(4, 8), []int{2, 2, 2, 2}},
		{[]int{5, 5, 5, 5}, []int{4, 4, 4, 4}, whole(4, 6), []int{2, 2, 1, 1}},
		{[]int{5, 5, 5, 5}, []int{4, 4, 4, 4}, whole(4, 100), []int{4, 4, 4, 4}},
		{[]int{5, 5, 5, 5}, []int{4, 4, 4, 4}, whole(4, 0), []int{0, 0, 0, 0}},
		{[]int{9, 5, 5, 2}, []int{9, 4, 4, 2}, whole(4, 4), []int{4, 0, 0, 0}}, // the longest first
		{[]int{9, 5, 5, 2}, []int{9, 4, 4, 2}, whole(4, 6), []int{5, 1, 0, 0}},
		{[]int{9, 5, 5, 2}, []int{3, 4, 4, 2}, whole(4, 6), []int{3, 2, 1, 0}}, // as far as it can
		{[]int{5, 5, 5, 5}, []int{4, 4, 4, 4}, []ref.Quota{{First: 1, Heads: 2, Units: 3}}, []int{0, 2, 1, 0}},
		{[]int{5, 5, 5, 5}, []int{4, 4, 4, 4}, []ref.Quota{{First: 0, Heads: 1, Units: 1}, {First: 2, Heads: 2, Units: 4}}, []int{1, 0, 2, 2}},
	} {
		if got := lose(t, Even(), c.blocks, c.can, c.quotas); !slices.Equal(got, c.want) {
			t.Errorf("%v of %v that can lose %v: got %v, want %v", c.quotas, c.blocks, c.can, got, c.want)
		}
	}
}

// TestSharesRandom checks the contract of a spread on random heads and weights: it frees as
// many blocks as asked for, and no head that could lose more keeps more than a block above its
// share of the level.
func TestSharesRandom(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		n := 1 + rng.IntN(12)
		var blocks, can []int
		weights := make([]int32, n)
		most, common := 1+rng.IntN(40), 1+rng.IntN(40)
		for i := range n {
			b := common
			if rng.IntN(3) == 0 {
				b = rng.IntN(most + 1)
			}
			blocks, can = append(blocks, b), append(can, rng.IntN(b+1))
			weights[i] = 1 + rng.Int32N(weightOne)
		}
		s := &shares{}
		if rng.IntN(2) == 0 {
			s.kept, s.weights = []float64{0.5}, [][]int32{weights}
		}
		lost := lose(t, s, blocks, can, []ref.Quota{{First: 0, Heads: n, Units: rng.IntN(n*most + 2)}})
		level := 0.0 // that no head is below, unless it was
		for i := range n {
			w := 1.0
			if s.weights != nil {
				w = float64(weights[i]) / weightOne
			}
			if lost[i] < can[i] {
				level = max(level, float64(blocks[i]-lost[i]-1)/w)
			}
		}
		for i := range n {
			w := 1.0
			if s.weights != nil {
				w = float64(weights[i]) / weightOne
			}
			if lost[i] > 0 && float64(blocks[i]-lost[i]+1) < math.Floor(level*w) {
				t.Fatalf("seed %d: heads of %v blocks, weights %v, lose %v: head %d is below the level %v", seed, blocks, weights, lost, i, level)
			}
		}
	}
}

func TestReadHeadProfile(t *testing.T) {
	good := `{"format_version": 1, "trace": "t", "shape": {"layers": 1, "kv_heads": 2, "group": 1, "head_size": 8}, "points": [{"kept": 0.5, "compressions": 1, "heads": [[0.25, 0.75]]}]}`
	p, err := ReadHeadProfile(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := p.Write(&text); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadHeadProfile(&text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("%v: %+v is read again as %+v", err, p, again)
	}
	// A model with another number of heads takes the measured heads in turn.
	s, err := p.Spread(kv.Shape{Layers: 2, KVHeads: 4, Group: 1, HeadSize: 8})
	if err != nil {
		t.Fatal(err)
	}
	blocks := []int{12, 12, 12, 12, 12, 12, 12, 12}
	if got, want := lose(t, s, blocks, blocks, []ref.Quota{{First: 0, Heads: 8, Units: 48}}), []int{9, 3, 9, 3, 9, 3, 9, 3}; !slices.Equal(got, want) {
		t.Errorf("heads lose %v, want %v", got, want)
	}
	for _, c := range [][3]string{
		{`"format_version": 1`, `"format_version": 2`, "format_version 2"},
		{`[[0.25, 0.75]]`, `[[0.25]]`, "layer 0: 1 heads"},
		{`[[0.25, 0.75]]`, `[]`, "0 layers"},
		{`0.75`, `1.5`, "head 1 keeps 1.5"},
		{`"kept": 0.5`, `"kept": -1`, "kept -1"},
		{`"trace"`, `"trance"`, "trance"},
	} {
		if _, err := ReadHeadProfile(strings.NewReader(strings.Replace(good, c[0], c[1], 1))); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s for %s: %v, want an error with %q", c[1], c[0], err, c[2])
		}
	}
}

func FuzzReadHeadProfile(f *testing.F) {
	f.Add([]byte(`{"format_version": 1, "shape": {"layers": 1, "kv_heads": 2}, "points": [{"kept": 0.5, "heads": [[0.25, 0.75]]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ReadHeadProfile(bytes.NewReader(in))
		if err != nil {
			return
		}
		if _, err := p.Spread(kv.Shape{Layers: 3, KVHeads: 3, Group: 1, HeadSize: 8}); err != nil {
			t.Error(err)
		}
	})
}
