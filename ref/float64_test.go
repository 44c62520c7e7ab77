package ref

import (
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
)

// unit is the unit roundoff of binary32.
const unit = 1.0 / (1 << 24)

// weightBound returns the bound of NUMERICS.md §8 on the relative error of an attention weight against
// float64: d is the head size, magnitude the largest Σ|q_i·k_i|/√D, score the largest |s|, n the number of
// KVs.
func weightBound(d int, magnitude, score float64, n int) float64 {
	partitions := float64(ceil.Div(n, Partition))
	dot := (float64(ceil.Div(d, 32)) + 9) * magnitude // absolute error of a score
	return 1.01 * unit * (2*dot + 8*score + 30 + 2*partitions)
}

// exactAttention is attention in float64: weights [G][n] and outputs [G][D].
func exactAttention(q, k, v []float32, group, d int) (weights, out [][]float64, magnitude, score float64) {
	n := len(k) / d
	for g := range group {
		s := make([]float64, n)
		top := math.Inf(-1)
		for i := range n {
			var dot, abs float64
			for j := range d {
				product := float64(q[g*d+j]) * float64(k[i*d+j])
				dot += product
				abs += math.Abs(product)
			}
			s[i] = dot / math.Sqrt(float64(d))
			top = max(top, s[i])
			score = max(score, math.Abs(s[i]))
			magnitude = max(magnitude, abs/math.Sqrt(float64(d)))
		}
		var z float64
		for i := range s {
			s[i] = math.Exp(s[i] - top)
			z += s[i]
		}
		o := make([]float64, d)
		for i := range s {
			s[i] /= z
			for j := range d {
				o[j] += s[i] * float64(v[i*d+j])
			}
		}
		weights = append(weights, s)
		out = append(out, o)
	}
	return weights, out, magnitude, score
}

// TestAttentionNearFloat64 measures the error of decode attention and its metrics against float64, and
// compares it with the bound that NUMERICS.md derives.
func TestAttentionNearFloat64(t *testing.T) {
	var worstWeight, worstOut, worstMetric float64 // as fractions of their bounds
	for seed := range 60 {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		d := 8 * (1 + rng.IntN(32))
		group := 1 + rng.IntN(8)
		n := 1 + rng.IntN(700)
		strength := []float64{0.1, 1, 3}[rng.IntN(3)]
		cfg := Default()
		cfg.DType = dtype.F32
		cfg.BlockSize = 1 << rng.IntN(6)
		cfg.Shape.Layers, cfg.Shape.KVHeads, cfg.Shape.Group, cfg.Shape.HeadSize = 1, 1, group, d
		cfg.Blocks = ceil.Div(n, cfg.BlockSize) + 3

		normal := func(n int) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64() * strength)
			}
			return x
		}
		q, k, v := normal(group*d), normal(n*d), normal(n*d)
		c := kv.NewCache(cfg.Config, cfg.Columns())
		s, err := c.Add(0, n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			c.Store(c.Slot(&s.Heads[0], i), k[i*d:][:d], v[i*d:][:d])
		}
		var a attention
		out := make([]float32, group*d)
		a.attend(c, &s.Heads[0], q, out, group)
		a.record(c, &s.Heads[0], cfg.Metric.Observation(), n-1, group)

		weights, exact, magnitude, score := exactAttention(q, k, v, group, d)
		bound := weightBound(d, magnitude, score, n)
		const tiny = 1e-37 // below this, underflow dominates rounding
		for i := range n {
			var metric float64
			for g := range group {
				got := float64(a.weights[g*n+i] * a.soft[g].factor[i/Partition])
				worstWeight = max(worstWeight, (math.Abs(got-weights[g][i])-tiny)/weights[g][i]/bound)
				metric += weights[g][i] * weights[g][i]
			}
			got := float64(c.Data[0][c.Slot(&s.Heads[0], i)])
			worstMetric = max(worstMetric, (math.Abs(got-metric)-tiny)/metric/(2*bound+float64(group+2)*unit))
		}
		for g := range group {
			for j := range d {
				var abs float64
				for i := range n {
					abs += weights[g][i] * math.Abs(float64(v[i*d+j]))
				}
				limit := bound + 1.01*unit*float64(Partition+3+ceil.Div(n, Partition))
				worstOut = max(worstOut, math.Abs(float64(out[g*d+j])-exact[g][j])/abs/limit)
			}
		}
	}
	t.Logf("largest distance from float64, as part of its bound: weights %.2f, outputs %.2f, metrics %.2f", worstWeight, worstOut, worstMetric)
	if worstWeight > 1 || worstOut > 1 || worstMetric > 1 {
		t.Error("the bound of NUMERICS.md does not hold")
	}
}

// TestPrefillMetricsNearFloat64 does the same for the metrics of a prompt, with every combination of the
// options, against a model that follows the specification sentence by sentence.
func TestPrefillMetricsNearFloat64(t *testing.T) {
	worst := 0.0
	for seed := range 120 {
		rng := rand.New(rand.NewPCG(uint64(seed), 4))
		d := 8 * (1 + rng.IntN(16))
		group := 1 + rng.IntN(4)
		n := 1 + rng.IntN(300)
		m := Metric{
			Norm: []Norm{L1, L2}[rng.IntN(2)], Reduction: []Reduction{Sum, Avg}[rng.IntN(2)],
			MaxPool: []int{0, 7, 3}[rng.IntN(3)], Window: 1 + rng.IntN(40), Buffer: rng.IntN(12),
		}
		w := min(m.Window, n)
		q, k := make([]float32, w*group*d), make([]float32, n*d)
		for _, x := range [][]float32{q, k} {
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
		}
		got := make([]float32, n)
		m.PrefillMetrics(got, q, k, group, d)

		want := make([]float64, n)
		var bound float64
		for g := range group {
			gains := make([]float64, n)
			for i := range w {
				at := n - w + i
				weights, _, magnitude, score := exactAttention(q[(i*group+g)*d:][:d], k[:(at+1)*d], k[:(at+1)*d], 1, d)
				bound = max(bound, 2*weightBound(d, magnitude, score, at+1)+float64(w+group+8)*unit)
				for key, p := range weights[0] {
					if key <= at-m.Buffer {
						if m.Norm == L2 {
							p *= p
						}
						gains[key] += p
					}
				}
			}
			for i := range gains {
				if m.Reduction == Avg {
					gains[i] *= float64(i+1) / float64(w)
				}
			}
			for i := range gains {
				top := math.Inf(-1)
				for j := i - m.MaxPool/2; j <= i+m.MaxPool/2; j++ {
					if j >= 0 && j < n {
						top = max(top, gains[j])
					}
				}
				want[i] += top
			}
		}
		for i := range want {
			if want[i] == 0 && got[i] == 0 {
				continue
			}
			relative := math.Abs(float64(got[i])-want[i]) / want[i] / bound
			if worst = max(worst, relative); relative > 1 {
				t.Fatalf("seed %d: metric %d is %g, float64 has %g", seed, i, got[i], want[i])
			}
		}
	}
	t.Logf("largest distance from float64, as part of its bound: %.2f", worst)
}
