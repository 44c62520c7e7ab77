package ref

import (
	"fmt"
	"slices"

	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// ExpectedAttention is the [Scorer] of Expected Attention (Devoto et al., arXiv 2510.00636), as in kvpress.
// The score is the attention weight that a KV would receive from a query in the near future, drawn from the
// normal distribution of the prompt's queries, times the norm of the KV's value.
type ExpectedAttention struct {
	expectedAttentionOptions
	turned trace.Rope
	freqs  []float32 // inverse frequencies of the rotated pairs; empty for none
}

type expectedAttentionOptions struct {
	Sinks      int     `json:"sinks" help:"oldest tokens: always kept, and their queries are ignored"`
	Future     int     `json:"future" help:"positions after the prompt over which the rotation is averaged"`
	Covariance bool    `json:"covariance" help:"use the covariance of the queries, not only their mean"`
	ValueNorm  bool    `json:"value_norm" help:"multiply weights by the norm of the value"`
	Epsilon    float32 `json:"epsilon" help:"added to weights before value_norm, from 0 to 1"`
	Rope       string  `json:"rope" help:"trace: the rotary embedding stated in trace.json; none: the model has none"`
	headBudget
}

// The values of the option rope.
const (
	ropeOfTrace = "trace"
	ropeNone    = "none"
)

const maxFuture = 1 << 16

func expectedAttentionEntry() Entry {
	e := scorerEntry("expected-attention", "Expected Attention (Devoto et al., arXiv 2510.00636)",
		"no attention weights: mean and covariance of the prompt's queries before rotation; keys, values",
		"drops the KVs with the smallest expected attention weight times value norm")
	defaults := expectedAttentionOptions{Sinks: 4, Future: 512, Covariance: true, ValueNorm: true, Rope: ropeOfTrace, headBudget: defaultHeadBudget()}
	e.Defaults = func() any { o := defaults; return &o }
	e.New = func(c *Config) (Method, error) {
		o := ExpectedAttention{expectedAttentionOptions: defaults}
		if err := c.Set.Into(&e, &o.expectedAttentionOptions); err != nil {
			return nil, err
		}
		if err := checkSinks(e.Name, o.Sinks); err != nil {
			return nil, err
		}
		if err := o.prepare(c); err != nil {
			return nil, fmt.Errorf("method %s: %w", e.Name, err)
		}
		observation := &Observation{Window: AllQueries, Scorer: &o}
		return &scorer{name: e.Name, cfg: c, observation: observation, sinks: o.Sinks, heads: o.headBudget}, o.check(e.Name)
	}
	return e
}

// prepare checks the options and looks up the rotary embedding.
func (o *ExpectedAttention) prepare(c *Config) error {
	switch {
	case o.Future < 1 || o.Future > maxFuture:
		return fmt.Errorf("future %d is not from 1 to %d", o.Future, maxFuture)
	case !(o.Epsilon >= 0 && o.Epsilon <= 1):
		return fmt.Errorf("epsilon %g is not from 0 to 1", o.Epsilon)
	case o.Rope == ropeNone:
		return nil
	case o.Rope != ropeOfTrace:
		return fmt.Errorf("rope is %q, want %s or %s", o.Rope, ropeOfTrace, ropeNone)
	case c.Rope == nil:
		return fmt.Errorf("it removes the rotation of queries, and the trace does not state their rotary embedding: give \"rope\" in its trace.json, or, for a model that has none, --set rope=%s", ropeNone)
	case c.Rope.RotarySize > c.Shape.HeadSize:
		return fmt.Errorf("the trace's rotary embedding rotates %d elements of a head of %d", c.Rope.RotarySize, c.Shape.HeadSize)
	}
	if err := c.Rope.Check(); err != nil {
		return err
	}
	o.turned, o.freqs = *c.Rope, c.Rope.InverseFrequencies()
	return nil
}

// mostElement bounds the magnitude of query and key elements in the score, so that no sum of products of four
// of them is infinite. It is far above the largest f16.
const mostElement = 1 << 24

// Score writes, for every token i after the sinks,
//
//	(mean_g P_{g,i} + ε)·‖v_i‖     P_g = softmax_i( μ_g·κ_i/√D + κ_iᵀ Σ_g κ_i/(2D) )
//
// where μ_g and Σ_g are the mean and covariance of the queries of query head g before rotation, and κ_i = R̄ᵀ
// k_i with R̄ the mean of the rotation matrices at the next positions. μ·R̄ᵀk is R̄μ·k: the product of the
// mean query, rotated by R̄, with the key. Sinks score 0.
func (o *ExpectedAttention) Score(h *PromptHead, scores []float32) {
	clear(scores)
	d, group, n := h.HeadSize, h.Group, len(scores)
	sinks := min(o.Sinks, n)
	scores = scores[sinks:]
	if len(scores) == 0 {
		return
	}
	queries := o.unrotatedQueries(h, n)
	means := meanOfTokens(queries, group*d)
	for i := range queries {
		queries[i] -= means[i%len(means)]
	}

	keys := o.futureKeys(h.K[sinks*d:], d, n)
	scale := attentionScale(d)
	logits := make([]float32, len(scores))
	y := make([]float32, d)
	for g := range group {
		mean := means[g*d:][:d]
		var cov []float32
		if o.Covariance {
			cov = covariance(queries, g, group, d)
		}
		for i := range logits {
			k := keys[i*d:][:d]
			logits[i] = float32(dot(mean, k) * scale)
			if o.Covariance {
				vec.Dots(y, k, cov, d)
				logits[i] += dot(k, y) / float32(2*d)
			}
		}
		softmaxOf(logits)
		for i, p := range logits {
			scores[i] += p
		}
	}
	for i := range scores {
		scores[i] /= float32(group)
		if o.ValueNorm {
			scores[i] = float32((scores[i] + o.Epsilon) * norm(h.row(h.V, sinks+i)))
		}
	}
}

// unrotatedQueries returns the queries of the prompt's tokens after the sinks with their rotation removed:
// [tokens, G, D].
func (o *ExpectedAttention) unrotatedQueries(h *PromptHead, n int) []float32 {
	row := h.Group * h.HeadSize
	first := n - len(h.Q)/row // position of the first query
	skip := max(0, min(o.Sinks, n)-first)
	queries := clamped(h.Q[skip*row:])
	for t := 0; t < len(queries)/row; t++ {
		cos, sin := o.Angles(first + skip + t)
		for g := range h.Group {
			o.back(queries[t*row+g*h.HeadSize:][:h.HeadSize], cos, sin)
		}
	}
	return queries
}

// futureKeys returns R̄ᵀ k of keys [tokens, D] of a prompt of n tokens.
func (o *ExpectedAttention) futureKeys(keys []float32, d, n int) []float32 {
	cos, sin := o.FutureAngles(n)
	keys = clamped(keys)
	for i := 0; i < len(keys); i += d {
		o.back(keys[i:][:d], cos, sin)
	}
	return keys
}

// Angles returns the cosines and sines of the rotation at a position, [pairs] each.
func (o *ExpectedAttention) Angles(position int) (cos, sin []float32) {
	cos, sin = make([]float32, len(o.freqs)), make([]float32, len(o.freqs))
	trace.Angles(cos, sin, o.freqs, position)
	return cos, sin
}

// FutureAngles returns the cosines and sines of R̄, [pairs] each: their means over positions n to n+Future−1,
// summed in ascending order.
func (o *ExpectedAttention) FutureAngles(n int) (cos, sin []float32) {
	cos, sin = make([]float32, len(o.freqs)), make([]float32, len(o.freqs))
	for p := n; p < n+o.Future; p++ {
		c, s := o.Angles(p)
		for i := range c {
			cos[i] += c[i]
			sin[i] += s[i]
		}
	}
	for i := range cos {
		cos[i] /= float32(o.Future)
		sin[i] /= float32(o.Future)
	}
	return cos, sin
}

// Pairs returns how many pairs of a head's elements are rotated, 0 for a model without rotary embedding. Pair
// i is elements i·step and i·step + partner.
func (o *ExpectedAttention) Pairs() (n, step, partner int) {
	step, partner = o.turned.Strides()
	return len(o.freqs), step, partner
}

// back multiplies x by the transpose of the rotation with the given cosines and sines.
func (o *ExpectedAttention) back(x, cos, sin []float32) {
	_, step, partner := o.Pairs()
	for i := range cos {
		a, b := &x[i*step], &x[i*step+partner]
		*a, *b = trace.RotatePair(*a, *b, cos[i], -sin[i])
	}
}

// clamped returns a copy of x with every element clamped to magnitude mostElement.
func clamped(x []float32) []float32 {
	x = slices.Clone(x)
	for i, v := range x {
		x[i] = max(-mostElement, min(mostElement, v))
	}
	return x
}

// covariance returns (1/n) Σ_t c_t c_tᵀ, [D, D], where c_t are the centred queries of query head g in rows
// [n, G, D]. Products are summed within partitions of 128 tokens, ascending, then the partial sums,
// ascending.
func covariance(rows []float32, g, group, d int) []float32 {
	n := len(rows) / (group * d)
	total, part := make([]float32, d*d), make([]float32, d*d)
	c, transposed := make([]float32, Partition*d), make([]float32, Partition*d)
	for first := 0; first < n; first += Partition {
		tokens := min(Partition, n-first)
		for t := range tokens {
			row := rows[((first+t)*group+g)*d:][:d]
			copy(c[t*d:], row)
			for i, x := range row {
				transposed[i*tokens+t] = x
			}
		}
		clear(part)
		vec.Accumulate(part, transposed[:d*tokens], tokens, c[:tokens*d], d, d)
		for i, x := range part {
			total[i] += x
		}
	}
	for i := range total {
		total[i] /= float32(n)
	}
	return total
}
