package ref

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// randomProblem returns a decision over heads of uneven lengths, with metrics
// of few enough values that ties are common.
func randomProblem(rng *rand.Rand) *Problem {
	layers, heads := 1+rng.IntN(4), 1+rng.IntN(4)
	b := 1 << rng.IntN(6)
	length := 1 + rng.IntN(12*b)
	cfg := Config{BlockSize: b}
	cfg.Shape.Layers, cfg.Shape.KVHeads = layers, heads
	opt := &cfg.Compression
	opt.ProtectedWindow = rng.IntN(length + 1)
	if rng.IntN(2) == 0 {
		opt.ProtectedWindow = rng.IntN(min(length, 4) + 1)
	}
	opt.Sinks = rng.IntN(4)
	opt.Seed = rng.Uint64()
	switch rng.IntN(4) {
	case 0:
		opt.EvenLayers = true
		if rng.IntN(2) == 0 {
			opt.ControlLayers = []int{rng.IntN(layers)}
		}
	case 1:
		opt.Uniform = true
	case 2:
		opt.Random = true
	}
	if rng.IntN(3) == 0 {
		opt.BiasWeight = rng.Float32()*2 - 1
		opt.HeadBias = &HeadBias{Bins: []int32{0, int32(1 + rng.IntN(length))}}
		for range layers {
			layer := make([][]float32, heads)
			for h := range layer {
				layer[h] = []float32{rng.Float32(), -rng.Float32()}
			}
			opt.HeadBias.Bias = append(opt.HeadBias.Bias, layer)
		}
	}
	p := &Problem{
		Seq: SeqID(rng.IntN(5)), Length: length, KVHeads: heads, BlockSize: b,
		Reduction: []Reduction{Sum, Avg}[rng.IntN(2)],
		Options:   opt,
		Heads:     make([]Head, layers*heads),
	}
	var blocks []int32
	for i := range p.Heads {
		h := &p.Heads[i]
		h.Len = rng.IntN(length + 1)
		for range ceilDiv(h.Len, b) {
			h.Table = append(h.Table, int32(len(blocks)))
			blocks = append(blocks, int32(len(blocks)))
		}
	}
	rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	p.Metrics = make([]float32, len(blocks)*b)
	p.Positions = make([]int32, len(blocks)*b)
	values := 1 + rng.IntN(50)
	for i := range p.Heads {
		h := &p.Heads[i]
		for j := range h.Table {
			h.Table[j] = blocks[h.Table[j]]
		}
		positions := rng.Perm(length)
		for logical := range h.Len {
			slot := int(h.Table[logical/b])*b + logical%b
			p.Positions[slot] = int32(positions[logical])
			p.Metrics[slot] = float32(rng.IntN(values)) / 7
		}
	}
	p.Quotas = cfg.Quotas(rng.IntN(len(blocks) + 2))
	return p
}

// TestDecideIsWalk holds the quick decision against the specification.
func TestDecideIsWalk(t *testing.T) {
	rounds := 20000
	if testing.Short() {
		rounds = 4000
	}
	for seed := range rounds {
		p := randomProblem(rand.New(rand.NewPCG(uint64(seed), 1)))
		want, got := Walk(p), Decide(p)
		if !want.Equal(&got) {
			t.Fatalf("seed %d: Decide differs from Walk (-walk +decide):\n%s", seed, cmp.Diff(want, got, cmpopts.EquateEmpty()))
		}
		checkDecision(t, p, &got)
	}
}

// checkDecision checks what the paper promises of any decision.
func checkDecision(t *testing.T, p *Problem, d *Decision) {
	t.Helper()
	total := 0
	for i, lost := range d.Heads {
		total += lost.Blocks
		if lost.Blocks == 0 {
			if len(lost.KVs) != 0 {
				t.Fatalf("head %d loses %d KVs and no block", i, len(lost.KVs))
			}
			continue
		}
		if want := p.lastBlock(i) + (lost.Blocks-1)*p.BlockSize; len(lost.KVs) != want {
			t.Fatalf("head %d loses %d blocks and %d KVs, not %d", i, lost.Blocks, len(lost.KVs), want)
		}
		if !slices.IsSorted(lost.KVs) {
			t.Fatalf("head %d: the evicted do not ascend", i)
		}
		gone := map[int32]bool{}
		for _, kv := range lost.KVs {
			gone[kv] = true
		}
		dearestGone, cheapestKept := float32(math.Inf(-1)), float32(math.Inf(1))
		for _, kv := range p.appendCandidates(nil, i) {
			if gone[kv.logical] {
				dearestGone = max(dearestGone, kv.cost)
				delete(gone, kv.logical)
			} else {
				cheapestKept = min(cheapestKept, kv.cost)
			}
		}
		if len(gone) > 0 {
			t.Fatalf("head %d loses protected KVs: %v", i, gone)
		}
		if cheapestKept < dearestGone {
			t.Fatalf("head %d keeps a KV at cost %g and loses one at %g", i, cheapestKept, dearestGone)
		}
	}
	if total != d.Evicted || d.Evicted > d.Asked {
		t.Fatalf("%d blocks fall, %d are reported, %d were asked for", total, d.Evicted, d.Asked)
	}
}

// TestMovesPack checks stage 3 against its own sentence: after the moves, the
// first m logical slots hold exactly the survivors.
func TestMovesPack(t *testing.T) {
	for seed := range 2000 {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		b := 1 << rng.IntN(6)
		n := 1 + rng.IntN(8*b)
		h := &Head{Len: n}
		for _, block := range rng.Perm(ceilDiv(n, b)) {
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
	h := &Head{Table: []int32{5, 0, 2}, Len: 10} // B = 4: logical 0-3, 4-7, 8-9
	got := Moves(nil, h, 4, []int32{1, 2, 4, 5, 7, 9})
	// m = 4: holes 1 and 2 below it; survivors from it on, descending: 8, 6.
	want := []Move{{5*4 + 1, 2*4 + 0}, {5*4 + 2, 0*4 + 2}}
	if !slices.Equal(got, want) {
		t.Errorf("moves %v, want %v", got, want)
	}
}

// llamaProblem is one Llama-3.1-8B sequence of 6,000 tokens that is compressed
// to 752 tokens: 1,536,000 KVs, of whose 96,000 blocks 83,968 fall.
func llamaProblem() *Problem {
	cfg := Default()
	cfg.Shape.Layers, cfg.Shape.KVHeads = 32, 8
	cfg.Compression.MaxCacheTokens = 752
	const n = 6000
	rng := rand.New(rand.NewPCG(1, 1))
	p := &Problem{
		Length: n, KVHeads: 8, BlockSize: 16, Reduction: Sum, Options: &cfg.Compression,
		Heads: make([]Head, 256), Metrics: make([]float32, 256*n), Positions: make([]int32, 256*n),
	}
	for i := range p.Metrics {
		p.Metrics[i] = float32(rng.ExpFloat64()) * 1e-3
	}
	blocks := rng.Perm(256 * n / 16)
	for i := range p.Heads {
		h := &p.Heads[i]
		h.Len = n
		for j := range n / 16 {
			block := blocks[i*n/16+j]
			h.Table = append(h.Table, int32(block))
			for o := range 16 {
				p.Positions[block*16+o] = int32(j*16 + o)
			}
		}
	}
	p.Quotas = cfg.Quotas(cfg.Count(n, 256*n, 256*n/16))
	return p
}

// BenchmarkDecide is the decision that the published Python takes 1.2 s for.
func BenchmarkDecide(b *testing.B) {
	p := llamaProblem()
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(p); d.Evicted != 83968 {
			b.Fatalf("%d blocks fall", d.Evicted)
		}
	}
	b.ReportMetric(float64(256*6000)/b.Elapsed().Seconds()*float64(b.N)/1e6, "MKV/s")
}

// BenchmarkWalk is the same decision by the specification.
func BenchmarkWalk(b *testing.B) {
	p := llamaProblem()
	b.ReportAllocs()
	for b.Loop() {
		if d := Walk(p); d.Evicted != 83968 {
			b.Fatalf("%d blocks fall", d.Evicted)
		}
	}
}
