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

	clear(metrics)
	gains := make([]float32, n)
	scores := make([]float32, n)
	var sm softmax
	for g := range group {
		clear(gains)
		for w := range observed {
			query := q[(w*group+g)*headSize:][:headSize]
			t := n - observed + w
			causal := scores[:t+1]
			vec.Dots(causal, query, k, headSize)
			sm.reset()
			for p := 0; p < len(causal); p += Partition {
				part := causal[p:min(p+Partition, len(causal))]
				for i := range part {
					part[i] = float32(part[i] * scale)
				}
				sm.add(part)
			}
			factors := sm.factors()
			for i := range max(0, t-m.Buffer+1) {
				gains[i] += m.gain(float32(causal[i] * factors[i/Partition]))
			}
		}
		if m.Reduction == Avg {
			for i := range gains {
				gains[i] = float32(gains[i] * (float32(i+1) / float32(observed)))
			}
		}
		m.pool(scores, gains)
		for i := range metrics {
			metrics[i] += scores[i]
		}
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
