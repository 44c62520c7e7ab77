package record

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/trace/llama"
)

// Sampling says how the next token is chosen from the logits.
type Sampling struct {
	// Temperature divides the logits. At 0 the most likely token is taken, and of equally likely ones the
	// lowest.
	Temperature float64

	// TopP keeps only the most likely tokens that together have at least this probability (Holtzman et al.,
	// arXiv 1904.09751). 0 and 1 keep all.
	TopP float64

	// Seed determines the random numbers. Each request has its own sequence.
	Seed uint64
}

// Check returns an error that names the first invalid field.
func (s Sampling) Check() error {
	if !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0) {
		return fmt.Errorf("temperature: %g, want a number of at least 0", s.Temperature)
	}
	if !(s.TopP >= 0 && s.TopP <= 1) {
		return fmt.Errorf("top-p: %g, want 0 to 1", s.TopP)
	}
	return nil
}

// sampler chooses a token.
type sampler func(logits []float32) int

// sampler returns the sampler of a request.
func (s Sampling) sampler(request int) sampler {
	if s.Temperature == 0 {
		return llama.Likeliest
	}
	random := rand.New(rand.NewPCG(s.Seed, uint64(request)))
	return func(logits []float32) int {
		return s.pick(s.candidates(logits), random.Float64())
	}
}

// candidate is a token that can be chosen, with its probability up to a common factor.
type candidate struct {
	token  int
	weight float64
}

// candidates returns all tokens, the most likely first.
func (s Sampling) candidates(logits []float32) []candidate {
	top := slices.Max(logits)
	list := make([]candidate, len(logits))
	for i, x := range logits {
		list[i] = candidate{token: i, weight: math.Exp(float64(x-top) / s.Temperature)}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.token, b.token))
	})
	return list
}

// pick chooses a candidate with u, which is uniform in [0, 1).
func (s Sampling) pick(list []candidate, u float64) int {
	var total float64
	for _, c := range list {
		total += c.weight
	}
	if s.TopP > 0 && s.TopP < 1 {
		var kept float64
		for i, c := range list {
			if kept += c.weight; kept >= s.TopP*total {
				list, total = list[:i+1], kept
				break
			}
		}
	}
	rest := u * total
	for _, c := range list {
		if rest -= c.weight; rest < 0 {
			return c.token
		}
	}
	return list[len(list)-1].token // reached only through rounding
}
