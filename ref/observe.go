package ref

import (
	"math"

	"kvcompress/ref/vec"
)

// Observation says which attention an engine observes for a method, and in which of the method's columns it
// stores the resulting score of every KV. With a Scorer, the score does not come from attention weights.
//
// For each query head, a key at position i gains from every observed query at position t with i ≤ t − Buffer:
//
//	a_i = Σ_t P_{t,i}²  (L2)   or   Σ_t P_{t,i}  (L1),   t ascending
//
// Then a_i is scaled, pooled, and reduced over the G query heads of the KV head, as Scale, Pool and Group
// say. NUMERICS.md §10 has the order of every operation.
type Observation struct {
	Column int // index into the method's columns

	Window  int  // observe the prompt's last Window queries; AllQueries for all of them, 0 for none
	Norm    Norm // what an attention weight P adds to a KV's score
	Buffer  int  // a query counts only for keys at least this many positions before it
	Outside bool // keys inside the window score 0 and are not pooled

	Chunk      int // queries of the window that are scaled and pooled together, before the chunks are summed; 0 is all of them
	Scale      Scale
	Pool       Pool
	Group      GroupReduction
	GroupFirst bool // reduce over the group before pooling
	LayerMean  bool // the score of a prompt's KV is finally averaged over the layer's KV heads (TOVA)

	Decode bool // queries of decode steps add P or P², summed over the group

	Scorer Scorer // if not nil, it computes the scores instead of attention
}

// Scorer scores the KVs of a prompt by a rule other than the attention weights of its queries. Those of this
// package are [KeyNorm], [KeyDiff], [LagKV] and [*ExpectedAttention]. An engine that implements a rule itself
// recognizes it by its type.
type Scorer interface {
	// Score writes the n KVs' numbers in the column, for one head of a prompt: [n, Width].
	Score(h *PromptHead, scores []float32)
}

// Queries returns how many of the last queries of a prompt of n tokens are observed; 0 for a nil Observation.
func (o *Observation) Queries(n int) int {
	if o == nil {
		return 0
	}
	return min(o.Window, n)
}

// ofPrompts reports whether a prompt gets scores. It does not if only decode steps are observed.
func (o *Observation) ofPrompts() bool {
	return o != nil && (o.Window > 0 || o.Scorer != nil)
}

// AllQueries as Window observes the whole prompt.
const AllQueries = MaxWindow

// Scale says by what the gains of one query head are multiplied.
type Scale uint8

// The scales. W is the number of observed queries, n that of the prompt's tokens, i the key's position.
const (
	ScaleNone       Scale = iota
	ScaleByPosition       // (i+1)/W, which grows with the position (KV-Compress's avg)
	ScaleByWindow         // 1/W: the mean over the window (kvpress, Ada-SnapKV)
	ScaleByAge            // 1/(n−i): the mean over the queries that see the key (kvpress's ObservedAttention)
)

// Pool is a pooling over the tokens of a prompt, stride 1.
type Pool struct {
	Kind  PoolKind
	Width int // odd
}

// PoolKind says how a pooling combines neighbours.
type PoolKind uint8

// The poolings.
const (
	NoPool  PoolKind = iota
	MaxPool          // the largest
	AvgPool          // their sum, ascending, divided by Width, also at the edges, where padding counts as 0 (SnapKV)
)

// GroupReduction says how the numbers of the G query heads of a KV head become one.
type GroupReduction uint8

// The reductions over a group, g ascending.
const (
	GroupSum GroupReduction = iota
	GroupMean
	GroupMax
	GroupEach // no reduction: the column has G numbers for each KV
)

// PromptHead is one KV head of a prompt, as a Scorer sees it: after rotation, and before keys and values are
// rounded to the cache's format.
type PromptHead struct {
	Layer, Head     int
	Q               []float32 // [W, G, D], the prompt's last W = min(Window, n) queries
	K, V            []float32 // [n, D]
	Group, HeadSize int
}

// Prompt writes the scores of the KVs of one head of a prompt: [n], or [n, G] with GroupEach.
func (o *Observation) Prompt(h *PromptHead, scores []float32) {
	if o.Scorer != nil {
		o.Scorer.Score(h, scores)
		return
	}
	if o.Chunk > 0 {
		o.chunks(h, scores)
		return
	}
	n, group := len(h.K)/h.HeadSize, h.Group
	observed := len(h.Q) / (group * h.HeadSize)
	gains := o.gains(h, h.Q, n-observed)
	scored := n
	if o.Outside {
		scored = n - observed
	}
	for g := range group {
		o.scale(gains[g*n:][:scored], observed, n)
	}

	clear(scores)
	if o.GroupFirst {
		one := make([]float32, scored)
		for g := range group {
			o.reduce(one, gains[g*n:][:scored], g, group)
		}
		o.pool(scores[:scored], one)
		return
	}
	pooled := make([]float32, scored)
	for g := range group {
		o.pool(pooled, gains[g*n:][:scored])
		if o.Group != GroupEach {
			o.reduce(scores[:scored], pooled, g, group)
			continue
		}
		for i, v := range pooled {
			scores[i*group+g] = v
		}
	}
}

// chunks is Prompt with Chunk > 0. Each query head's pooled gains are summed over the chunks, oldest first,
// and then reduced over the group.
func (o *Observation) chunks(h *PromptHead, scores []float32) {
	n, group, row := len(h.K)/h.HeadSize, h.Group, h.Group*h.HeadSize
	first := n - len(h.Q)/row // position of the oldest observed query
	sums, pooled := make([]float32, group*n), make([]float32, n)
	for q := h.Q; len(q) > 0; {
		queries := min(o.Chunk, len(q)/row)
		gains := o.gains(h, q[:queries*row], first)
		for g := range group {
			o.scale(gains[g*n:][:n], queries, n)
			o.pool(pooled, gains[g*n:][:n])
			for i, v := range pooled {
				sums[g*n+i] += v
			}
		}
		first, q = first+queries, q[queries*row:]
	}
	clear(scores)
	for g := range group {
		o.reduce(scores, sums[g*n:][:n], g, group)
	}
}

// Pairs returns how many attention weights an observation computes besides the prompt's own attention, for
// each query head of a prompt of n tokens: W·n for a window of W = min(Window, n) queries, computed as a
// rectangle; n·(n+1)/2, the causal ones, if all queries are observed. It is 0 for nil and with a Scorer.
func (o *Observation) Pairs(n int) int64 {
	if o == nil || o.Scorer != nil {
		return 0
	}
	if o.Window >= AllQueries {
		all, rest := int64(n), int64(max(0, n-o.Window))
		return all*(all+1)/2 - rest*(rest+1)/2
	}
	return int64(min(n, o.Window)) * int64(n)
}

// gains returns a_i of every query head, [G, n], from queries q, [W, G, D], the first of which is at position
// from.
func (o *Observation) gains(h *PromptHead, q []float32, from int) []float32 {
	group, headSize := h.Group, h.HeadSize
	n, observed := len(h.K)/headSize, len(q)/(group*headSize)
	scale := attentionScale(headSize)
	gains := make([]float32, group*n)
	scores := make([]float32, min(observed, together)*group*n) // [together, G, n]
	var sm softmax
	for w := 0; w < observed; w += together {
		queries := min(together, observed-w)
		first := from + w // position of the first query of the batch
		// A few keys at a time, while they are in the L1 cache. Scores at positions after the query's own are
		// computed but not read.
		seen := first + queries
		for i := 0; i < seen; i += tileRows {
			tile := h.K[i*headSize : min(i+tileRows, seen)*headSize]
			vec.DotsGroup(scores[i:], n, q[w*group*headSize:][:queries*group*headSize], tile, queries*group, headSize)
		}
		for i := range queries * group {
			t, g := first+i/group, i%group
			o.observe(gains[g*n:][:n], scores[i*n:][:t+1], scale, &sm)
		}
	}
	return gains
}

// together is the number of positions whose queries are scored in one batch.
const together = 32

// observe adds what the query at position t gives to the keys at 0 to t. dots[:t+1] are their dot products
// with the query, and are overwritten.
func (o *Observation) observe(gains, dots []float32, scale float32, sm *softmax) {
	sm.reset()
	for p := 0; p < len(dots); p += Partition {
		part := dots[p:min(p+Partition, len(dots))]
		for i := range part {
			part[i] = float32(part[i] * scale)
		}
		sm.add(part)
	}
	counted := max(0, len(dots)-o.Buffer)
	for p, factor := range sm.factors() {
		first, last := min(p*Partition, counted), min((p+1)*Partition, counted)
		addGains(o.Norm, gains[first:last], dots[first:last], factor)
	}
}

// scale scales the gains of one query head in a prompt of n tokens.
func (o *Observation) scale(a []float32, observed, n int) {
	switch o.Scale {
	case ScaleByPosition:
		for i := range a {
			a[i] = float32(a[i] * (float32(i+1) / float32(observed)))
		}
	case ScaleByWindow:
		for i := range a {
			a[i] /= float32(observed)
		}
	case ScaleByAge:
		for i := range a {
			a[i] /= float32(n - i)
		}
	}
}

// pool writes the pooled src to dst.
func (o *Observation) pool(dst, src []float32) {
	reach := o.Pool.Width / 2
	switch o.Pool.Kind {
	case MaxPool:
		for i := range src {
			top := src[i]
			for _, v := range src[max(0, i-reach):min(len(src), i+reach+1)] {
				top = max(top, v)
			}
			dst[i] = top
		}
	case AvgPool:
		for i := range src {
			var sum float32
			for _, v := range src[max(0, i-reach):min(len(src), i+reach+1)] {
				sum += v
			}
			dst[i] = sum / float32(o.Pool.Width)
		}
	default:
		copy(dst, src)
	}
}

// reduce adds query head g to the KV head's reduction over its group.
func (o *Observation) reduce(into, head []float32, g, group int) {
	switch {
	case o.Group == GroupMax && g == 0:
		copy(into, head)
	case o.Group == GroupMax:
		for i, v := range head {
			into[i] = max(into[i], v)
		}
	default:
		for i, v := range head {
			into[i] += v
		}
		if o.Group == GroupMean && g == group-1 {
			for i := range into {
				into[i] /= float32(group)
			}
		}
	}
}

// meanOfHeads replaces the numbers of a layer's KV heads, each [n] or [n, width], by their mean: the sum over
// the heads, ascending, divided by the number of heads.
func meanOfHeads(heads [][]float32) {
	for i := range heads[0] {
		var sum float32
		for _, h := range heads {
			sum += h[i]
		}
		mean := sum / float32(len(heads))
		for _, h := range heads {
			h[i] = mean
		}
	}
}

// attentionScale returns 1/√D: the quotient of 1 and the square root, each
// rounded to binary32.
func attentionScale(headSize int) float32 {
	return 1 / float32(math.Sqrt(float64(headSize)))
}
