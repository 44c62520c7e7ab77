package trace

import (
	"fmt"
	"iter"
	"math"
	"time"

	"kvcompress/internal/splitmix"
)

// Selection says which requests of a log to take, and how to change them. Its fields are applied in order.
// The zero Selection takes all requests, and only moves the first arrival to 0.
type Selection struct {
	// From and To select a time range, without To itself, relative to the first request. From becomes time 0.
	// A To of 0 is the end of the log.
	From, To time.Duration
	// Sample is the share of the requests to take; 0 takes all. Requests are chosen independently, as if
	// there were fewer users, but the requests of one session together.
	Sample float64
	Seed   uint64 // of Sample and Arrivals
	Limit  int    // largest number of requests to take; 0 takes all
	// MaxPrompt and MaxOutput limit prompts and outputs to that many tokens; 0 is no limit. A shortened
	// prompt keeps the prefix hashes of its whole blocks of PrefixBlockTokens, and none if the block size is
	// unknown.
	MaxPrompt, MaxOutput int
	PrefixBlockTokens    int
	// Speedup divides the arrival times; 0 does not change them.
	Speedup float64
	// Arrivals, unless nil, replaces the arrival times.
	Arrivals *Arrivals
}

// Selected counts what a Selection did.
type Selected struct {
	Seen, Taken                        int
	ShortenedPrompts, ShortenedOutputs int
}

// Bounds of a Speedup.
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
		return fmt.Errorf("a speedup of %g excludes other arrival times", s.Speedup)
	}
	if s.Arrivals != nil {
		return s.Arrivals.check()
	}
	return nil
}

// Apply yields the selected ones of the given requests, which must be in order of arrival, and counts them in
// done, unless that is nil. It does not read beyond the last request it takes, and ends with the first error.
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
					yield(Request{}, &Error{Request: r.ID, Err: fmt.Errorf("at a speedup of %g it arrives later than a trace can represent", s.Speedup)})
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

// sampled reports whether to take a request, which is the number-th.
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
