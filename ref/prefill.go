package ref

// PrefillMetrics computes the first metric of every KV of one head from the
// last queries of the prompt (the paper's §4; SnapKV's observation window).
//
// q is [W, G, D]: the G query heads' queries at the last W = min(window,
// n) positions of the prompt. k is [n, D], as the model computed it and before it
// is rounded to the cache's format. metrics is [n] and is overwritten.
//
// It is [Observation.Prompt]: with reduction avg, a_i becomes a_i · ((i+1)/W); then it
// becomes the largest of its max_pool neighbours, and the metric is the sum over the G
// query heads.
func (m *Metric) PrefillMetrics(metrics, q, k []float32, group, headSize int) {
	m.Observation().Prompt(&PromptHead{Q: q, K: k, Group: group, HeadSize: headSize}, metrics)
}

// Observation returns what an engine watches for the metric: the prompt's last queries
// and, unless it is of the prefill only, all queries of decode steps, into the first column.
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
