package trace

import (
	"fmt"
	"iter"
	"strconv"

	"kvcompress/internal/splitmix"
)

// Load describes requests to generate: how many, how long, and when they arrive.
type Load struct {
	Seed     uint64
	Requests int
	Prompt   Lengths // tokens
	Output   Lengths // tokens
	// Like, unless empty, replaces Prompt and Output: each request has the lengths of one of these.
	Like     []Tokens
	Arrivals Arrivals
}

// Tokens is the length of a request.
type Tokens struct{ Prompt, Output int32 }

// MaxRequests bounds the requests of a Load.
const MaxRequests = 100_000_000

// Check returns the first error of l.
func (l Load) Check() error {
	if l.Requests < 1 || l.Requests > MaxRequests {
		return fmt.Errorf("trace: %d requests, want 1 to %d", l.Requests, MaxRequests)
	}
	if err := l.Arrivals.check(); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	if len(l.Like) > 0 {
		return nil
	}
	for _, x := range []struct {
		name string
		Lengths
	}{{"prompt", l.Prompt}, {"output", l.Output}} {
		if x.Lengths == nil {
			return fmt.Errorf("trace: no %s length", x.name)
		}
		if err := x.check(); err != nil {
			return fmt.Errorf("trace: %s %w", x.name, err)
		}
	}
	return nil
}

// All generates the requests one by one; equal Loads give equal requests on every platform. Their ids are
// their numbers from 0, and the first arrives at 0. After an error it ends.
func (l Load) All() iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		if err := l.Check(); err != nil {
			yield(Request{}, err)
			return
		}
		key := derive(splitmix.Mix(l.Seed), 1)
		c := clock{arrivals: l.Arrivals}
		for i := range l.Requests {
			own := derive(key, uint64(i))
			r := Request{ID: strconv.Itoa(i)}
			if len(l.Like) > 0 {
				like := l.Like[below(derive(own, 3), uint64(len(l.Like)))]
				r.PromptTokens, r.OutputTokens = int(like.Prompt), int(like.Output)
			} else {
				r.PromptTokens, r.OutputTokens = l.Prompt.draw(derive(own, 0)), l.Output.draw(derive(own, 1))
			}
			var err error
			if r.ArrivalNS, err = c.next(derive(own, 2)); err == nil {
				err = r.Check()
			}
			if err != nil {
				err = &Error{Request: r.ID, Err: err}
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Generate returns the requests that All yields.
func (l Load) Generate() ([]Request, error) {
	var requests []Request
	for r, err := range l.All() {
		if err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
	return requests, nil
}
