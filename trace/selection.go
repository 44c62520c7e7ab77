package trace

import (
	"fmt"
	"iter"
	"math"
	"time"

	"kvcompress/internal/splitmix"
)

// Selection says which requests of a log are taken, and what is changed of them. It
// works in the order of its fields. The zero Selection takes all of them, and counts
// their arrivals from the first.
type Selection struct {
	// From and To cut out a piece of time, To itself left out, counted from the first
	// request. What is taken counts its arrivals from From. A To of 0 is the end.
	From, To time.Duration
	// Sample is the share of the requests to take; 0 takes all. Each is taken or not
	// on its own, so that the load becomes the lower one of fewer users; but the
	// requests of one session all are, or none.
	Sample float64
	Seed   uint64 // of Sample and Arrivals
	Limit  int    // the most requests to take; 0 takes all
	// MaxPrompt and MaxOutput shorten prompts and outputs to that many tokens; 0 leaves
	// them as they are. A shortened prompt keeps the prefix hashes of its whole blocks
	// of PrefixBlockTokens, and none if those are not known.
	MaxPrompt, MaxOutput int
	PrefixBlockTokens    int
	// Speedup divides the times of arrival; 0 leaves them as they are.
	Speedup float64
	// Arrivals, unless nil, replaces the times of arrival.
	Arrivals *Arrivals
}

// Selected counts what a Selection did.
type Selected struct {
	Seen, Taken                        int
	ShortenedPrompts, ShortenedOutputs int
}

// The bounds of a Speedup.
const (
	MinSpeedup = 1e-6
	MaxSpeedup = 1e6
)

// Check returns the first error of s.
func (s Selection) Check() error {
	switch {
	case s.From < 0:
		return fmt.Errorf("from %v: want a time after the first request", s.From)
	case s.To < 0 || s.To > 0 && s.To <= s.From:
		return fmt.Errorf("from %v to %v: want the end after the beginning", s.From, s.To)
	case !(s.Sample >= 0 && s.Sample <= 1):
		return fmt.Errorf("a sample of %g, want more than 0, up to 1", s.Sample)
	case s.Limit < 0:
		return fmt.Errorf("a limit of %d requests", s.Limit)
	case s.Speedup != 0 && !(s.Speedup >= MinSpeedup && s.Speedup <= MaxSpeedup):
		return fmt.Errorf("a speedup of %g, want %g to %g", s.Speedup, MinSpeedup, MaxSpeedup)
	case s.MaxPrompt < 0 || s.MaxOutput < 0:
		return fmt.Errorf("at most %d tokens: want at least 1", min(s.MaxPrompt, s.MaxOutput))
	case s.Speedup != 0 && s.Arrivals != nil:
		return fmt.Errorf("a speedup of %g, and other times of arrival", s.Speedup)
	}
	if s.Arrivals != nil {
		return s.Arrivals.check()
	}
	return nil
}

// Apply yields the selected requests of those given, which come in order of
// arrival, and counts in done, unless nil, what it does. It reads no further than
// the last that is taken, and ends with the first error.
func (s Selection) Apply(requests iter.Seq2[Request, error], done *Selected) iter.Seq2[Request, error] {
	if done == nil {
		done = new(Selected)
	}
	selected := func(yield func(Request, error) bool) {
		if err := s.Check(); err != nil {
			yield(Request{}, fmt.Errorf("trace: %w", err))
			return
		}
		first := int64(0)
		for r, err := range requests {
			if err != nil {
				yield(Request{}, err)
				return
			}
			if done.Seen == 0 {
				first = r.ArrivalNS
			}
			r.ArrivalNS -= first
			if s.To > 0 && r.ArrivalNS >= int64(s.To) {
				return
			}
			done.Seen++
			if r.ArrivalNS < int64(s.From) || !s.sampled(r, done.Seen) {
				continue
			}
			r.ArrivalNS -= int64(s.From)
			s.shorten(&r, done)
			if s.Speedup != 0 {
				at := math.Floor(float64(r.ArrivalNS) / s.Speedup)
				if at > MaxArrivalNS {
					yield(Request{}, &Error{Request: r.ID, Err: fmt.Errorf("at a speedup of %g it arrives later than a trace can say", s.Speedup)})
					return
				}
				r.ArrivalNS = int64(at)
			}
			done.Taken++
			if !yield(r, nil) || done.Taken == s.Limit {
				return
			}
		}
	}
	if s.Arrivals != nil {
		return s.Arrivals.Retime(s.Seed, selected)
	}
	return selected
}

// sampled decides about the request that is the number-th.
func (s Selection) sampled(r Request, number int) bool {
	if s.Sample == 0 || s.Sample == 1 {
		return true
	}
	key := derive(splitmix.Mix(s.Seed), 4)
	if r.Session != "" {
		return unit(derive(key, hashString(r.Session))) < s.Sample
	}
	return unit(derive(derive(key, 0), uint64(number))) < s.Sample
}

func (s Selection) shorten(r *Request, done *Selected) {
	if s.MaxOutput > 0 && r.OutputTokens > s.MaxOutput {
		r.OutputTokens = s.MaxOutput
		done.ShortenedOutputs++
	}
	if s.MaxPrompt == 0 || r.PromptTokens <= s.MaxPrompt {
		return
	}
	r.PromptTokens = s.MaxPrompt
	done.ShortenedPrompts++
	whole := 0
	if s.PrefixBlockTokens > 0 {
		whole = r.PromptTokens / s.PrefixBlockTokens
	}
	r.PrefixHashes = r.PrefixHashes[:min(whole, len(r.PrefixHashes))]
}
