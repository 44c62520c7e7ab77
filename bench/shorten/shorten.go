// Package shorten compresses prompts: before prefill it drops tokens of the context, either
// those with the lowest surprisal under the model itself or random ones. The result is a
// shorter prompt, which any cache method can compress further.
//
// The rule is our own, and simpler than the published ones that share its idea (LLMLingua
// ranks with a second model, by sentences and with budgets for each part of a prompt).
//
// [Surprise] or [Random] scores the tokens, and [Keep] drops those with the lowest scores.
package shorten

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/bench/task"
	"kvcompress/ref/vec"
)

// Feeder runs a model over tokens and returns the logits of the next one, as
// *llama.Session does.
type Feeder interface {
	Feed(tokens []int, visit func(q, k, v []float32) error) ([]float32, error)
}

// Surprise returns the surprisal of every token: −log p(token | those before it), in nats, and
// 0 for the first. The model must not have read anything; the tokens are fed one by one. p is a
// softmax in binary32 by the polynomials of ref/NUMERICS.md, summed in binary64, so that equal
// logits give equal results on every platform.
func Surprise(ctx context.Context, model Feeder, tokens []int32) ([]float64, error) {
	surprise := make([]float64, len(tokens))
	var p []float32
	for i, token := range tokens {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if i > 0 {
			if token < 0 || int(token) >= len(p) {
				return nil, fmt.Errorf("shorten: token %d of the context is %d, outside the vocabulary of %d", i, token, len(p))
			}
			surprise[i] = nats(p, int(token))
		}
		if i == len(tokens)-1 {
			break
		}
		logits, err := model.Feed([]int{int(token)}, nil)
		if err != nil {
			return nil, fmt.Errorf("shorten: token %d of the context: %w", i, err)
		}
		p = append(p[:0], logits...)
	}
	return surprise, nil
}

// nats returns −log softmax(logits)[token]. It overwrites the logits.
func nats(logits []float32, token int) float64 {
	top := slices.Max(logits)
	own := float64(logits[token]) - float64(top)
	vec.ExpSub(logits, logits, top)
	sum := 0.0
	for _, e := range logits {
		sum += float64(e)
	}
	return float64(vec.Log(float32(sum))) - own
}

// Random returns random numbers in [0, 1) for n tokens, the same for the same seed: the
// control for [Surprise].
func Random(n int, seed uint64) []float64 {
	random := rand.New(rand.NewPCG(seed, 0))
	scores := make([]float64, n)
	for i := range scores {
		scores[i] = random.Float64()
	}
	return scores
}

// Keep returns the task with its context shortened to a number of tokens: the first, which is
// BOS, and those with the highest scores (of equal scores the earlier), in their order. Question
// and steps do not change. Evidence that has lost a token is removed.
func Keep(t *task.Task, scores []float64, tokens int) (*task.Task, error) {
	n := len(t.Context)
	switch {
	case len(scores) != n:
		return nil, fmt.Errorf("shorten: %d scores for a context of %d tokens", len(scores), n)
	case tokens < 1 || tokens > n:
		return nil, fmt.Errorf("shorten: %d tokens of a context of %d: want 1 to %d", tokens, n, n)
	}
	for i, s := range scores {
		if math.IsNaN(s) {
			return nil, fmt.Errorf("shorten: the score of token %d is not a number", i)
		}
	}
	order := make([]int, n-1)
	for i := range order {
		order[i] = i + 1
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(scores[j], scores[i]) })
	kept := append([]int{0}, order[:tokens-1]...)
	slices.Sort(kept)

	short := *t
	short.Context, short.Evidence = make([]int32, tokens), nil
	at := make([]int, n) // position in the shorter context + 1, or 0
	for i, from := range kept {
		short.Context[i], at[from] = t.Context[from], i+1
	}
	for _, e := range t.Evidence {
		if !slices.Contains(at[e.From:e.To], 0) {
			from := at[e.From] - 1
			short.Evidence = append(short.Evidence, task.Span{From: from, To: from + e.To - e.From})
		}
	}
	return &short, nil
}
