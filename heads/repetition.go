// Package heads finds the retrieval heads of a model and writes them as a map, which compression methods
// read.
//
// A retrieval head attends to relevant tokens at any distance. Methods such as RazorAttention and
// DuoAttention keep all KVs of these heads; of the other heads, the streaming heads, they keep only the sinks
// and a window of the newest KVs. A map comes from one of three sources:
//
//   - RazorAttention's search: the prompt repeats a sequence of random tokens, and the scores of a head are its
//     attention to the earlier copies of the query's token (echo) and to the tokens after them (induction). See
//     [FromTensors], [FromModel] and [Razor];
//   - DuoAttention's trained gates, see [Gates];
//   - Retrieval_Head's scores of query heads, see [Retrieval].
package heads

import (
	"fmt"
	"math/rand/v2"

	"kvcompress/trace"
)

// Repetition is the form of the search's prompt: one BOS token, then Repeats times a sequence of Period
// tokens.
//
// Token 0 is BOS. Token 1+i, for i from 0 to Repeats·Period−1, is the same as token 1+i−c·Period for every c
// with i−c·Period ≥ 0.
type Repetition struct {
	Period  int // n, length of the sequence
	Repeats int // R, at least 2
}

// Published returns the repetition of RazorAttention's published search: 4 times
// 2500 tokens.
func Published() Repetition { return Repetition{Period: 2500, Repeats: 4} }

// Tokens returns the length of the prompt, 1 + R·n.
func (r Repetition) Tokens() int { return 1 + r.Period*r.Repeats }

// Check returns an error unless the sequence has at least one token, is repeated at least twice, and the
// prompt is no longer than a request may be.
func (r Repetition) Check() error {
	switch {
	case r.Period < 1:
		return fmt.Errorf("heads: a period of %d tokens: want at least 1", r.Period)
	case r.Repeats < 2:
		return fmt.Errorf("heads: %d repeats: want at least 2, since the first is not scored", r.Repeats)
	case r.Period > (trace.MaxTokens-1)/r.Repeats:
		return fmt.Errorf("heads: %d repeats of %d tokens are more than the %d tokens that a request may have", r.Repeats, r.Period, trace.MaxTokens)
	}
	return nil
}

// scored returns the number of scored queries, (R−1)·n: all but BOS and the first period.
func (r Repetition) scored() int { return (r.Repeats - 1) * r.Period }

// copies returns how many earlier copies the token at position t has: the largest c for which t−c·n ≥ 1.
func (r Repetition) copies(t int) int { return (t - 1) / r.Period }

// Draw says how the tokens of the repeated sequence are drawn.
type Draw struct {
	BOS         int  // the first token of the prompt, which is never drawn
	First, Last int  // range of token ids, both included
	Distinct    bool // without replacement; the published search draws with replacement
	Seed        uint64
}

// PublishedIDs returns the range of ids from which the published search draws: 10000 to 10000+n, or the whole
// vocabulary if it is smaller than that.
func (r Repetition) PublishedIDs(vocab int) (first, last int) {
	const begin = 10_000
	if vocab > begin+r.Period {
		return begin, begin + r.Period
	}
	return 0, vocab - 1
}

// Prompt draws the tokens of a prompt: d.BOS, then one random sequence R times. The same arguments give the
// same tokens on every platform.
//
// With replacement, n draws from n+1 ids miss about 37 % of the ids and repeat others within the period,
// which spreads attention over wrong copies. Distinct ids avoid this; it is an error if there are fewer than
// n.
func (r Repetition) Prompt(d Draw) ([]int, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if d.First < 0 || d.Last < d.First {
		return nil, fmt.Errorf("heads: ids %d to %d: want a range that begins at 0 or above", d.First, d.Last)
	}
	ids := d.Last - d.First + 1
	if d.First <= d.BOS && d.BOS <= d.Last {
		ids--
	}
	switch {
	case ids == 0:
		return nil, fmt.Errorf("heads: ids %d to %d have no token other than BOS", d.First, d.Last)
	case d.Distinct && ids < r.Period:
		return nil, fmt.Errorf("heads: %d ids are too few for %d distinct tokens: want a shorter period, more ids, or ids with replacement", ids, r.Period)
	}
	random := rand.New(rand.NewPCG(d.Seed, 0))
	var order []int
	if d.Distinct {
		order = random.Perm(ids)
	}
	prompt := make([]int, 1, r.Tokens())
	prompt[0] = d.BOS
	for i := range r.Period {
		var id int
		if d.Distinct {
			id = d.First + order[i]
		} else {
			id = d.First + random.IntN(ids)
		}
		if d.First <= d.BOS && d.BOS <= id {
			id++ // skip BOS
		}
		prompt = append(prompt, id)
	}
	for i := r.Period; i < r.Period*r.Repeats; i++ {
		prompt = append(prompt, prompt[1+i-r.Period])
	}
	return prompt, nil
}
