package sim

import (
	"fmt"
	"math"

	"kvcompress/trace"
)

// source reads requests one ahead.
type source struct {
	pull  func() (trace.Request, error, bool)
	stop  func()
	next  *trace.Request // the one that is read; nil if it has been taken
	one   trace.Request
	taken int
	at    int64 // when the last one arrived
	ended bool

	clients  int // of a closed loop, each with one request at a time; 0 where requests arrive by their own times
	inFlight int // of a closed loop: requests that were taken and have not ended
}

// peek returns the next request, nil if there is none or, in a closed loop at the time
// now, no client is free.
func (s *source) peek(now int64) (*trace.Request, error) {
	if s.next != nil || s.ended || s.clients > 0 && s.inFlight >= s.clients {
		return s.next, nil
	}
	r, err, ok := s.pull()
	if err != nil || !ok {
		s.close()
		return nil, err
	}
	if s.clients > 0 {
		r.ArrivalNS = now
	}
	switch {
	case s.taken == math.MaxInt32:
		err = fmt.Errorf("sim: there are more than %d requests", math.MaxInt32)
	case r.ArrivalNS < s.at:
		err = fmt.Errorf("sim: request %q: arrival_ns is %d, after one of %d: want requests sorted by arrival", r.ID, r.ArrivalNS, s.at)
	case r.PromptTokens < 1 || r.PromptTokens > trace.MaxTokens:
		err = fmt.Errorf("sim: request %q: prompt_tokens %d is not from 1 to %d", r.ID, r.PromptTokens, trace.MaxTokens)
	case r.OutputTokens < 1 || r.OutputTokens > trace.MaxTokens:
		err = fmt.Errorf("sim: request %q: output_tokens %d is not from 1 to %d", r.ID, r.OutputTokens, trace.MaxTokens)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.at = r.ArrivalNS
	s.one = r
	s.next = &s.one
	return s.next, nil
}

// waits reports whether a client of a closed loop has become free since the last peek: its
// next request arrives when the next step begins.
func (s *source) waits() bool { return s.clients > 0 && !s.ended && s.inFlight < s.clients }

// take takes the request that was peeked at.
func (s *source) take() {
	s.next = nil
	s.taken++
	s.inFlight++
}

func (s *source) close() {
	s.ended = true
	if s.stop != nil {
		s.stop()
	}
}
