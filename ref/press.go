package ref

import (
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/ref/vec"
)

// scorer is a method in the form of kvpress (NVIDIA/kvpress@8bb29b9): after the prompt, each head keeps the
// KVs of the highest scores. All generated tokens are kept.
type scorer struct {
	name        string
	cfg         *Config
	observation *Observation // computes the scores; nil to evict the oldest
	sinks       int          // oldest tokens, which score higher than all others
	window      int          // newest tokens, likewise
	heads       headBudget
}

// headBudget says how a layer's budget is divided among its heads. Every scorer has these options.
type headBudget struct {
	Adaptive bool    `json:"adaptive" help:"evict the lowest scores of a layer, whichever head they are in, instead of the same number from each head (AdaKV)"`
	Floor    float64 `json:"floor" help:"with adaptive: a head keeps at least this fraction of what it would keep without it, from 0 to 1"`
}

func defaultHeadBudget() headBudget { return headBudget{Floor: 0.2} }

func (b headBudget) check(name string) error {
	if !(b.Floor >= 0 && b.Floor <= 1) {
		return fmt.Errorf("method %s: floor %g is not from 0 to 1", name, b.Floor)
	}
	return nil
}

func (m *scorer) Name() string { return m.name }

// Columns declares the score of every KV.
func (m *scorer) Columns() []kv.Column {
	if m.observation == nil {
		return nil
	}
	return []kv.Column{{Name: "scores", Value: "score", Width: 1}}
}

func (m *scorer) Observe() *Observation { return m.observation }

// Rank evicts, once after the prompt, all KVs of each head but those that it may keep. With Adaptive the
// quota is per layer, with a floor for each head. If the budget has no room for both sinks and window, sinks
// go first.
func (m *scorer) Rank(c Counts) Ranking {
	keep := m.cfg.Compression.Kept(c.Prompt)
	r := Ranking{Unit: 1, Sinks: min(m.sinks, keep)}
	r.Window = min(m.window, keep-r.Sinks)
	if m.observation == nil {
		r.Key = ByPosition
	}
	lost := c.Prompt - keep
	if !c.Whole() || lost == 0 {
		return r
	}
	run := 1 // number of heads that share a quota
	if m.heads.Adaptive {
		run = m.cfg.Shape.KVHeads
		r.Keep = int(float64(keep) * m.heads.Floor)
	}
	for first := 0; first < len(c.Heads); first += run {
		r.Quotas = append(r.Quotas, Quota{First: first, Heads: run, Units: run * lost})
	}
	return r
}

// Kept returns how many of n KVs a head keeps on average under a scorer of kvpress: min(n, MaxCacheTokens),
// or ⌊n·Rate⌋, or n if neither is set.
func (c *Compression) Kept(n int) int {
	switch {
	case c.MaxCacheTokens > 0:
		return min(c.MaxCacheTokens, n)
	case c.Rate > 0:
		return int(float64(n) * c.Rate)
	}
	return n
}

func (m *scorer) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns math.MaxInt: the method compresses once, after the prompt.
func (m *scorer) Quiet(Counts) int { return math.MaxInt }
func (m *scorer) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m *scorer) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }

// scorerEntry returns a scorer's row, with what all scorers have in common.
func scorerEntry(name, paper, observes, does string) Entry {
	return Entry{
		Name:        name,
		Paper:       paper,
		Watches:     observes,
		Does:        does,
		From:        "the same number from each head; adaptive: a layer's heads together, with a floor for each",
		When:        "once after the prompt",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 8 (score and position)",
		CacheTokens: "KVs of the prompt that each head keeps; adaptive: on average over a layer's heads",
		Rate:        "fraction of the prompt's KVs that each head keeps, rounded down; kvpress's 1 − compression_ratio",
		HeldAgainst: "NVIDIA/kvpress@8bb29b9 (scores and kept tokens)",
	}
}

// plainScorer completes the row of a scorer without options of its own.
func plainScorer(e Entry, observation Observation, window int) Entry {
	e.Defaults = func() any { return &struct{ headBudget }{defaultHeadBudget()} }
	e.New = func(c *Config) (Method, error) {
		o := struct{ headBudget }{defaultHeadBudget()}
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		observation := observation // each method has its own
		return &scorer{name: e.Name, cfg: c, observation: &observation, window: window, heads: o.headBudget}, o.check(e.Name)
	}
	return e
}

// snapKVPressEntry is SnapKV as in kvpress: the mean over the window, average pooling, then the mean over the
// group.
func snapKVPressEntry() Entry {
	e := scorerEntry("snapkv-kvpress", "SnapKV (Li et al., arXiv 2404.14469), as in kvpress",
		"the prompt's last window queries: P, averaged over them, average-pooled, averaged over the group",
		"drops the KVs before the window that receive the least attention")
	type options struct {
		Window int `json:"window" help:"number of newest tokens: they are kept, and their queries are observed"`
		Kernel int `json:"kernel" help:"width of the average pooling over tokens, odd"`
		headBudget
	}
	defaults := options{Window: 64, Kernel: 5, headBudget: defaultHeadBudget()}
	e.Defaults = func() any { o := defaults; return &o }
	e.New = func(c *Config) (Method, error) {
		o := defaults
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		if o.Window < 1 || o.Window > MaxWindow {
			return nil, fmt.Errorf("method %s: window %d is not from 1 to %d", e.Name, o.Window, MaxWindow)
		}
		if o.Kernel < 1 || o.Kernel > MaxPoolWidth || o.Kernel%2 == 0 {
			return nil, fmt.Errorf("method %s: kernel %d is not an odd width from 1 to %d", e.Name, o.Kernel, MaxPoolWidth)
		}
		observation := &Observation{Window: o.Window, Norm: L1, Outside: true, Scale: ScaleByWindow, Pool: Pool{AvgPool, o.Kernel}, Group: GroupMean}
		return &scorer{name: e.Name, cfg: c, observation: observation, window: o.Window, heads: o.headBudget}, o.check(e.Name)
	}
	return e
}

// streamingLLMPressEntry is StreamingLLM as in kvpress: once, after the prompt, it keeps sinks and the newest
// tokens. Keys keep the rotation of their positions.
func streamingLLMPressEntry() Entry {
	e := scorerEntry("streaming-llm-kvpress", "StreamingLLM (Xiao et al., arXiv 2309.17453), as in kvpress",
		"nothing", "drops the tokens after the sinks, the oldest first")
	e.Payload = "2·D·b + 4 (position)"
	type options struct {
		Sinks int `json:"sinks" help:"oldest tokens, which are kept"`
		headBudget
	}
	defaults := options{Sinks: 4, headBudget: defaultHeadBudget()}
	e.Defaults = func() any { o := defaults; return &o }
	e.New = func(c *Config) (Method, error) {
		o := defaults
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		if err := checkSinks(e.Name, o.Sinks); err != nil {
			return nil, err
		}
		return &scorer{name: e.Name, cfg: c, sinks: o.Sinks, heads: o.headBudget}, o.check(e.Name)
	}
	return e
}

func checkSinks(name string, sinks int) error {
	if sinks < 0 || sinks > MaxWindow {
		return fmt.Errorf("method %s: sinks %d is not from 0 to %d", name, sinks, MaxWindow)
	}
	return nil
}

// tovaEntry is TOVA as in kvpress. A KV's score is the attention weight that the prompt's last query gives
// it, averaged over all query heads of the layer, so that all heads of a layer keep the same tokens. The last
// token is kept.
func tovaEntry() Entry {
	return plainScorer(scorerEntry("tova", "TOVA (Oren et al., arXiv 2401.06104)",
		"the prompt's last query: P, averaged over all query heads of the layer",
		"drops the KVs that the last query attends to least, the same tokens in all heads of a layer"),
		Observation{Window: 1, Norm: L1, Group: GroupMean, LayerMean: true}, 1)
}

// observedAttentionEntry is kvpress's ObservedAttention, H2O applied once. The score is the mean attention
// weight over the queries that attend to the KV, averaged over the group.
func observedAttentionEntry() Entry {
	return plainScorer(scorerEntry("observed-attention", "ObservedAttention of kvpress; related to H2O (Zhang et al., arXiv 2306.14048)",
		"all queries of the prompt: P, averaged over the queries that attend to the KV and over the group",
		"drops the KVs with the smallest mean attention"),
		Observation{Window: AllQueries, Norm: L1, Scale: ScaleByAge, Group: GroupMean}, 0)
}

// knormEntry scores a KV by −‖k‖: keys of small norm receive much attention.
func knormEntry() Entry {
	return plainScorer(scorerEntry("knorm", "Knorm (Devoto et al., arXiv 2406.11430)",
		"no attention: the norm of each key",
		"drops the KVs with the longest keys"),
		Observation{Scorer: KeyNorm{}}, 0)
}

// KeyNorm is the [Scorer] of Knorm.
type KeyNorm struct{}

// Score writes −√(k·k), with 0 as +0. The product is summed as in NUMERICS.md §3.
func (KeyNorm) Score(h *PromptHead, scores []float32) {
	for i := range scores {
		scores[i] = 0 - norm(h.row(h.K, i))
	}
}

// keyDiffEntry scores a KV by how much its key differs from the head's mean direction.
func keyDiffEntry() Entry {
	return plainScorer(scorerEntry("keydiff", "KeyDiff (Park et al., arXiv 2504.15364)",
		"no attention: the cosine between each key and the mean of the head's unit keys",
		"drops the KVs with the most similar keys"),
		Observation{Scorer: KeyDiff{}}, 0)
}

// Lower bounds of the norms that KeyDiff divides by, those of PyTorch's normalize and cosine_similarity: a
// zero key has cosine 0.
const (
	leastNorm       = 1e-12
	leastCosineNorm = 1e-8
)

// KeyDiff is the [Scorer] of KeyDiff.
type KeyDiff struct{}

// Score writes −cos(k_i, a), with 0 as +0, where a = (1/n) Σ_i k_i/‖k_i‖ is a mean over tokens (NUMERICS.md
// §11).
func (KeyDiff) Score(h *PromptHead, scores []float32) {
	d := h.HeadSize
	unit := make([]float32, len(h.K))
	for i := range scores {
		k, u := h.row(h.K, i), h.row(unit, i)
		length := max(norm(k), leastNorm)
		for j := range k {
			u[j] = k[j] / length
		}
	}
	anchor := meanOfTokens(unit, d)
	length := max(norm(anchor), leastCosineNorm)
	for i := range scores {
		k := h.row(h.K, i)
		scores[i] = 0 - dot(k, anchor)/float32(max(norm(k), leastCosineNorm)*length)
	}
}

// row returns row i of one head's rows, [n, D].
func (h *PromptHead) row(rows []float32, i int) []float32 {
	return rows[i*h.HeadSize:][:h.HeadSize]
}

// dot returns the dot product of two vectors, summed as in NUMERICS.md §3.
func dot(a, b []float32) float32 {
	var sum [1]float32
	vec.Dots(sum[:], a, b, len(a))
	return sum[0]
}

// norm returns √(x·x).
func norm(x []float32) float32 { return sqrt(dot(x, x)) }

// meanOfTokens returns the mean over the tokens of rows, [n, width]: [width]. Rows are summed within
// partitions of 128, ascending, then the partial sums, ascending; the total is divided by n.
func meanOfTokens(rows []float32, width int) []float32 {
	n := len(rows) / width
	total := make([]float32, width)
	part := make([]float32, width)
	for first := 0; first < n; first += Partition {
		clear(part)
		for i := first; i < min(first+Partition, n); i++ {
			for j, x := range rows[i*width:][:width] {
				part[j] += x
			}
		}
		for j, x := range part {
			total[j] += x
		}
	}
	for j := range total {
		total[j] /= float32(n)
	}
	return total
}

// softmaxOf replaces scores by their softmax, P of NUMERICS.md §4.
func softmaxOf(scores []float32) {
	var sm softmax
	for p := 0; p < len(scores); p += Partition {
		sm.add(scores[p:min(p+Partition, len(scores))])
	}
	for p, factor := range sm.factors() {
		part := scores[p*Partition : min((p+1)*Partition, len(scores))]
		for i, e := range part {
			part[i] = float32(e * factor)
		}
	}
}
