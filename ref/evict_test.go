package ref

import (
	"kvcompress/internal/ceil"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// randomProblem returns a decision over heads of uneven lengths, with few distinct metrics, so that ties are
// common.
func randomProblem(rng *rand.Rand) *Problem {
	layers, heads := 1+rng.IntN(4), 1+rng.IntN(4)
	b := 1 << rng.IntN(6)
	length := 1 + rng.IntN(12*b)
	cfg := Config{Config: kv.Config{BlockSize: b}}
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
		Seq: kv.SeqID(rng.IntN(5)), Length: length, KVHeads: heads, BlockSize: b,
		Heads: make([]kv.Head, layers*heads),
	}
	var blocks []int32
	for i := range p.Heads {
		h := &p.Heads[i]
		h.Len = rng.IntN(length + 1)
		for range ceil.Div(h.Len, b) {
			h.Table = append(h.Table, int32(len(blocks)))
			blocks = append(blocks, int32(len(blocks)))
		}
	}
	rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	p.Scores = make([]float32, len(blocks)*b)
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
			p.Scores[slot] = float32(rng.IntN(values)) / 7
		}
	}
	p.Ranking = Ranking{
		Unit: b, Sinks: opt.Sinks, Window: opt.ProtectedWindow, Average: rng.IntN(2) == 0,
		Bias: opt.HeadBias, Weight: opt.BiasWeight, Seed: opt.Seed,
	}
	if opt.Random {
		p.Key = ByHash
	}
	units := len(blocks)
	if rng.IntN(3) == 0 { // a method that counts KVs
		p.Unit = 1
		p.Key = Key(rng.IntN(3))
		units *= b
	}
	p.Quotas = cfg.Quotas(rng.IntN(units + 2))
	if rng.IntN(4) == 0 {
		p.Refine = func(lost []int) []Quota {
			quotas := make([]Quota, len(lost))
			for i, n := range lost {
				quotas[i] = Quota{i, 1, n - n/3}
			}
			return quotas
		}
	}
	return p
}

// TestDecideIsWalk compares Decide with its specification.
func TestDecideIsWalk(t *testing.T) {
	rounds := testsize.Of(1500, 4000, 20_000)
	for seed := range rounds {
		p := randomProblem(rand.New(rand.NewPCG(uint64(seed), 1)))
		want, got := Walk(p), Decide(p)
		if !want.Equal(&got) {
			t.Fatalf("seed %d: Decide differs from Walk (-walk +decide):\n%s", seed, cmp.Diff(want, got, cmpopts.EquateEmpty()))
		}
		checkDecision(t, p, &got)
	}
}

// checkDecision checks the paper's properties of a decision.
func checkDecision(t *testing.T, p *Problem, d *Decision) {
	t.Helper()
	total := 0
	for i, lost := range d.Heads {
		total += lost.Units
		if lost.Units == 0 {
			if len(lost.KVs) != 0 {
				t.Fatalf("head %d loses %d KVs and no block", i, len(lost.KVs))
			}
			continue
		}
		if want := p.lastUnit(i) + (lost.Units-1)*p.Unit; len(lost.KVs) != want {
			t.Fatalf("head %d loses %d blocks and %d KVs, not %d", i, lost.Units, len(lost.KVs), want)
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
		t.Fatalf("%d blocks are evicted, %d are reported, %d were asked for", total, d.Evicted, d.Asked)
	}
}

// llamaProblem is one Llama-3.1-8B sequence of 6,000 tokens, compressed to 752: of its 1,536,000 KVs in
// 96,000 blocks, 83,968 blocks are evicted.
func llamaProblem() *Problem {
	cfg := Default()
	cfg.Shape.Layers, cfg.Shape.KVHeads = 32, 8
	cfg.Compression.MaxCacheTokens = 752
	const n = 6000
	rng := rand.New(rand.NewPCG(1, 1))
	p := &Problem{
		Ranking: kvCompress{&cfg}.Rank(Counts{Prompt: n, Tokens: n, Heads: slices.Repeat([]int{n}, 256)}),
		Length:  n, KVHeads: 8, BlockSize: 16,
		Heads: make([]kv.Head, 256), Scores: make([]float32, 256*n), Positions: make([]int32, 256*n),
	}
	for i := range p.Scores {
		p.Scores[i] = float32(rng.ExpFloat64()) * 1e-3
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
	return p
}

// BenchmarkDecide makes the decision that takes the published Python 1.2 s.
func BenchmarkDecide(b *testing.B) {
	p := llamaProblem()
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(p); d.Evicted != 83968 {
			b.Fatalf("%d blocks are evicted", d.Evicted)
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
			b.Fatalf("%d blocks are evicted", d.Evicted)
		}
	}
}
