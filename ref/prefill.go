package ref

// PrefillMetrics computes the first metric of every KV of one head from the prompt's last queries (the
// paper's §4; SnapKV's observation window).
//
// q is [W, G, D]: the queries of the G query heads at the last W = min(window, n) positions of the prompt. k
// is [n, D], before it is rounded to the cache's format. metrics is [n] and is overwritten.
//
// It is [Observation.Prompt]: with reduction avg, a_i is multiplied by (i+1)/W; then it becomes the maximum
// of its max_pool neighbours; the metric is the sum over the G query heads.
func (m *Metric) PrefillMetrics(metrics, q, k []float32, group, headSize int) {
	m.Observation().Prompt(&PromptHead{Q: q, K: k, Group: group, HeadSize: headSize}, metrics)
}

// Observation returns what an engine observes for the metric, into the first column: the prompt's last
// queries and, unless PrefillOnly is set, all queries of decode steps.
func (m *Metric) Observation() *Observation {
	o := &Observation{Window: m.Window, Norm: m.Norm, Buffer: m.Buffer, Decode: !m.PrefillOnly}
	if m.Reduction == Avg {
		o.Scale = ScaleByPosition
	}
	if m.Chunk < m.Window {
		o.Chunk = m.Chunk
	}
	if m.MaxPool > 0 {
		o.Pool = Pool{MaxPool, m.MaxPool}
	}
	return o
}
