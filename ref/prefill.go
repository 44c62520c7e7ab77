package ref

import (
	"math"

	"kvcompress/ref/vec"
)

// PrefillMetrics computes the first metric of every KV of one head from the
// last queries of the prompt (the paper's §4; SnapKV's observation window).
//
// q is [W, G, D]: the G query heads' queries at the last W = min(window, n)
// positions of the prompt. k is [n, D], as the model computed it and before it
// is rounded to the cache's format. metrics is [n] and is overwritten.
//
// For each query head, a key at position i gains from every observed query at
// position t with i ≤ t − buffer:
//
//	a_i = Σ_t P_{t,i}²  (L2)   or   Σ_t P_{t,i}  (L1),   t ascending
//
// With reduction avg, a_i becomes a_i · ((i+1)/W). Then a_i becomes the largest
// of its max_pool neighbours, and the metric is the sum over the G query heads.
func (m *Metric) PrefillMetrics(metrics, q, k []float32, group, headSize int) {
	n := len(k) / headSize
	observed := len(q) / (group * headSize)
	scale := attentionScale(headSize)

	gains := make([]float32, group*n)                          // [G, n] a_i
	scores := make([]float32, min(observed, together)*group*n) // [together, G, n]
	var sm softmax
	for w := 0; w < observed; w += together {
		queries := min(together, observed-w)
		first := n - observed + w // position of the first of them
		// A few keys at a time, while they are near. The scores past a query's own
		// position are never looked at.
		seen := first + queries
		for i := 0; i < seen; i += tileRows {
			tile := k[i*headSize : min(i+tileRows, seen)*headSize]
			vec.DotsGroup(scores[i:], n, q[w*group*headSize:][:queries*group*headSize], tile, queries*group, headSize)
		}
		for i := range queries * group {
			t, g := first+i/group, i%group
			m.observe(gains[g*n:][:n], scores[i*n:][:t+1], scale, &sm)
		}
	}

	clear(metrics)
	pooled := make([]float32, n)
	for g := range group {
		a := gains[g*n:][:n]
		if m.Reduction == Avg {
			for i := range a {
				a[i] = float32(a[i] * (float32(i+1) / float32(observed)))
			}
		}
		m.pool(pooled, a)
		for i, gain := range pooled {
			metrics[i] += gain
		}
	}
}

// together is how many positions' queries are scored at once.
const together = 32

// observe adds what the query at position t gives to the keys at 0 to t, whose
// dot products with it are dots[:t+1]; dots is overwritten.
func (m *Metric) observe(gains, dots []float32, scale float32, sm *softmax) {
	sm.reset()
	for p := 0; p < len(dots); p += Partition {
		part := dots[p:min(p+Partition, len(dots))]
		for i := range part {
			part[i] = float32(part[i] * scale)
		}
		sm.add(part)
	}
	counted := max(0, len(dots)-m.Buffer)
	for p, factor := range sm.factors() {
		first, last := min(p*Partition, counted), min((p+1)*Partition, counted)
		m.addGains(gains[first:last], dots[first:last], factor)
	}
}

// pool writes to dst the largest of the max_pool neighbours of each element, or
// the element itself if pooling is off.
func (m *Metric) pool(dst, src []float32) {
	reach := m.MaxPool / 2
	for i := range src {
		top := src[i]
		for _, v := range src[max(0, i-reach):min(len(src), i+reach+1)] {
			top = max(top, v)
		}
		dst[i] = top
	}
}

// attentionScale returns 1/√D: the quotient of 1 and the square root, each
// rounded to binary32.
func attentionScale(headSize int) float32 {
	return 1 / float32(math.Sqrt(float64(headSize)))
}
