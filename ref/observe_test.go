package ref

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
)

// specObservation is NUMERICS.md §10 line by line, for one KV head of a prompt: q is [W, G, D], k is [n][D].
// The result is [n], or [n, G] without a reduction over the group.
func specObservation(o *Observation, q []float32, k [][]float32, group int) []float32 {
	n, d := len(k), len(k[0])
	w := len(q) / (group * d)
	scored := n
	if o.Outside {
		scored = n - w
	}
	a := make([][]float32, group) // gains, scaled
	for g := range group {
		a[g] = make([]float32, n)
		for j := range w {
			t := n - w + j
			weights, _ := specAttention(q[(j*group+g)*d:][:d], k[:t+1], k[:t+1])
			for i := 0; i <= t-o.Buffer; i++ {
				gain := weights[i]
				if o.Norm == L2 {
					gain = float32(gain * gain)
				}
				a[g][i] = a[g][i] + gain
			}
		}
		a[g] = a[g][:scored]
		for i := range a[g] {
			switch o.Scale {
			case ScaleByPosition:
				factor := float32(i+1) / float32(w)
				a[g][i] = float32(a[g][i] * factor)
			case ScaleByWindow:
				a[g][i] = a[g][i] / float32(w)
			case ScaleByAge:
				a[g][i] = a[g][i] / float32(n-i)
			}
		}
	}
	pool := func(x []float32) []float32 {
		if o.Pool.Kind == NoPool {
			return x
		}
		y := make([]float32, len(x))
		for i := range x {
			var sum float32
			top := x[i]
			for j := i - o.Pool.Width/2; j <= i+o.Pool.Width/2; j++ {
				if j >= 0 && j < len(x) {
					sum = sum + x[j]
					top = max(top, x[j])
				}
			}
			y[i] = top
			if o.Pool.Kind == AvgPool {
				y[i] = sum / float32(o.Pool.Width)
			}
		}
		return y
	}
	reduce := func(a [][]float32) []float32 {
		y := make([]float32, scored)
		for i := range y {
			top := a[0][i]
			for g := range group {
				y[i] = y[i] + a[g][i]
				top = max(top, a[g][i])
			}
			switch o.Group {
			case GroupMean:
				y[i] = y[i] / float32(group)
			case GroupMax:
				y[i] = top
			}
		}
		return y
	}
	if o.GroupFirst {
		return append(pool(reduce(a)), make([]float32, n-scored)...)
	}
	for g := range a {
		a[g] = pool(a[g])
	}
	if o.Group != GroupEach {
		return append(reduce(a), make([]float32, n-scored)...)
	}
	each := make([]float32, n*group)
	for g := range a {
		for i, v := range a[g] {
			each[i*group+g] = v
		}
	}
	return each
}

// randomFloats returns n normal numbers.
func randomFloats(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// matrix cuts x into rows of d.
func matrix(x []float32, d int) [][]float32 {
	var rows [][]float32
	for i := 0; i < len(x); i += d {
		rows = append(rows, x[i:][:d])
	}
	return rows
}

// TestObservationFollowsSpec compares an observation's scores with NUMERICS.md, to the bit, in all variants.
func TestObservationFollowsSpec(t *testing.T) {
	for seed := range testsize.Of(50, 150, 400) {
		rng := rand.New(rand.NewPCG(uint64(seed), 12))
		d, group := 8*(1+rng.IntN(20)), 1+rng.IntN(4)
		n := []int{1, 2, 5, 31, 33, 40, 128, 129, 140}[rng.IntN(9)]
		o := &Observation{
			Window:     []int{1, 2, 7, 32, 33, AllQueries}[rng.IntN(6)],
			Norm:       []Norm{L1, L2}[rng.IntN(2)],
			Buffer:     []int{0, 0, 1, 3}[rng.IntN(4)],
			Outside:    rng.IntN(2) == 0,
			Scale:      Scale(rng.IntN(4)),
			Pool:       Pool{PoolKind(rng.IntN(3)), 1 + 2*rng.IntN(4)},
			Group:      GroupReduction(rng.IntN(4)),
			GroupFirst: rng.IntN(2) == 0,
		}
		if o.Group == GroupEach {
			o.GroupFirst = false // no reduction
		}
		w := min(o.Window, n)
		q, k := randomFloats(rng, w*group*d), randomFloats(rng, n*d)
		want := specObservation(o, q, matrix(k, d), group)
		got := make([]float32, len(want))
		for i := range got {
			got[i] = float32(math.NaN()) // every number must be overwritten
		}
		o.Prompt(&PromptHead{Q: q, K: k, Group: group, HeadSize: d}, got)
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Fatalf("seed %d, %+v: n %d, G %d, D %d: number %d is %g, the page says %g", seed, *o, n, group, d, i, got[i], want[i])
			}
		}
	}
}

// TestChunks compares a window that is pooled in chunks with observations of the prompts that end with each
// chunk, pooled and summed here, to the bit.
func TestChunks(t *testing.T) {
	for seed := range 50 {
		rng := rand.New(rand.NewPCG(uint64(seed), 13))
		d, group, n := 8*(1+rng.IntN(4)), 1+rng.IntN(3), 1+rng.IntN(90)
		o := &Observation{
			Window: 1 + rng.IntN(40), Norm: []Norm{L1, L2}[rng.IntN(2)], Buffer: rng.IntN(3),
			Chunk: 1 + rng.IntN(12), Scale: Scale(rng.IntN(2)), Pool: Pool{MaxPool, 1 + 2*rng.IntN(4)},
		}
		w := min(o.Window, n)
		q, k := randomFloats(rng, w*group*d), randomFloats(rng, n*d)
		each := *o
		each.Chunk, each.Pool, each.Group = 0, Pool{}, GroupEach
		sums := make([]float32, n*group)
		for from := 0; from < w; from += o.Chunk {
			to := min(from+o.Chunk, w)
			end := n - w + to // tokens of the prompt that ends with this chunk
			gains := specObservation(&each, q[from*group*d:to*group*d], matrix(k[:end*d], d), group)
			gains = append(gains, make([]float32, (n-end)*group)...)
			for i := range n {
				for g := range group {
					top := gains[i*group+g]
					for j := max(0, i-o.Pool.Width/2); j <= min(n-1, i+o.Pool.Width/2); j++ {
						top = max(top, gains[j*group+g])
					}
					sums[i*group+g] = sums[i*group+g] + top
				}
			}
		}
		got := make([]float32, n)
		o.Prompt(&PromptHead{Q: q, K: k, Group: group, HeadSize: d}, got)
		for i := range got {
			var want float32
			for g := range group {
				want = want + sums[i*group+g]
			}
			if math.Float32bits(got[i]) != math.Float32bits(want) {
				t.Fatalf("seed %d, %+v: n %d, G %d, D %d: number %d is %g, want %g", seed, *o, n, group, d, i, got[i], want)
			}
		}
	}
}

// TestPrefillOnly decodes with PrefillOnly: KVs of the prompt keep their first metric, those of generated
// tokens have 0, and outputs do not change.
func TestPrefillOnly(t *testing.T) {
	cfg := Default()
	cfg.Shape, cfg.Blocks, cfg.BlockSize = kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 8}, 200, 4
	with := cfg
	cfg.Metric.PrefillOnly = true
	both := []*ownRun{newOwnRun(t, cfg), newOwnRun(t, with)}
	metrics := func(e *ownRun) (all []float32) {
		s := e.Cache().Sequence(0)
		for i := range s.Heads {
			for logical := range s.Heads[i].Len {
				all = append(all, e.Cache().Data[0][e.Cache().Slot(&s.Heads[i], logical)])
			}
		}
		return all
	}
	var first []float32
	for _, e := range both {
		if err := e.Prefill(0, 40); err != nil {
			t.Fatal(err)
		}
		first = metrics(e)
		for range 9 {
			if err := e.Decode([]kv.SeqID{0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(both[0].outputs[0], both[1].outputs[0]) {
		t.Error("the outputs differ")
	}
	now, always := metrics(both[0]), metrics(both[1])
	for head := range 4 {
		want := append(slices.Clone(first[head*40:][:40]), make([]float32, 9)...)
		if got := now[head*49:][:49]; !slices.Equal(got, want) {
			t.Errorf("head %d: metrics %v, want %v", head, got, want)
		}
	}
	if slices.Equal(now, always) {
		t.Error("decode steps add nothing to the metric of prefill and decode")
	}
}
