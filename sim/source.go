package sim

import (
	"container/heap"
	"fmt"
	"iter"
	"math"

	"kvcompress/trace"
)

// source yields the requests of a server in the order in which they arrive.
type source struct {
	pull  func() (*trace.Request, error) // reads a request, valid until the next call; nil after the last
	stop  func()
	next  *trace.Request // the request that arrives next; nil if none is known
	one   trace.Request
	taken int   // number of requests that arrived
	read  int64 // arrival time of the last request that was read
	ended bool

	clients  int          // clients of a closed loop, each with one request at a time; 0: requests arrive at their recorded times
	inFlight int          // in a closed loop: requests that have arrived and not ended
	free     queue[int64] // in a closed loop: for each idle client that has had a request, the time when it ended
	released bool         // a request has ended since the last peek, and so another may arrive

	turns *turns // if turns of a session wait for the previous one; else nil
	fed   *feed  // for a replica; else nil
}

// feed has the requests that a router has sent to a replica.
type feed struct {
	line    []trace.Request
	horizon int64 // time before which no request is sent to the replica

	// The sessions of requests that ended: refused at the step's beginning, or finished at its end. A request without
	// a session is "".
	refused, finished []string
}

// readAhead is the number of requests that are read at once, since switching to the reader and back takes as
// long as a few steps.
const readAhead = 64

// readFrom reads requests from an iterator, in batches. An error is returned after the requests before it.
func (s *source) readFrom(requests iter.Seq2[trace.Request, error]) {
	type read struct {
		trace.Request
		err error
	}
	var batch []read // the latest batch; taken counts those that were returned
	taken := 0
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		for r, err := range requests {
			if batch = append(batch, read{r, err}); len(batch) < readAhead && err == nil {
				continue
			}
			if !yield(struct{}{}) {
				return
			}
		}
		if len(batch) > 0 {
			yield(struct{}{})
		}
	})
	s.stop = stop
	s.pull = func() (*trace.Request, error) {
		if taken == len(batch) {
			batch, taken = batch[:0], 0
			if _, ok := next(); !ok {
				return nil, nil
			}
		}
		taken++
		r := &batch[taken-1]
		return &r.Request, r.err
	}
}

// peek returns the request that arrives next. It returns nil if there is none, or if no client of a closed
// loop is free.
func (s *source) peek(now int64) (*trace.Request, error) {
	s.released = false
	switch {
	case s.fed != nil:
		return s.feed(), nil
	case s.clients > 0 && s.inFlight >= s.clients:
		return nil, nil
	case s.turns != nil:
		return s.peekTurn(now)
	case s.next != nil || s.ended:
		return s.next, nil
	}
	if ok, err := s.advance(now); !ok {
		return nil, err
	}
	s.next = &s.one
	return s.next, nil
}

// feed returns the first request that the router sent.
func (s *source) feed() *trace.Request {
	if s.next == nil && len(s.fed.line) > 0 {
		s.one = s.fed.line[0]
		s.fed.line = s.fed.line[1:]
		s.next = &s.one
	}
	return s.next
}

// advance reads and checks a request. In a closed loop it arrives now.
func (s *source) advance(now int64) (bool, error) {
	r, err := s.pull()
	if err != nil || r == nil {
		s.close()
		return false, err
	}
	switch {
	case s.taken == math.MaxInt32:
		err = fmt.Errorf("sim: there are more than %d requests", math.MaxInt32)
	case s.clients == 0 && r.ArrivalNS < s.read:
		err = fmt.Errorf("sim: request %q: arrival_ns is %d, after one of %d: want requests sorted by arrival", r.ID, r.ArrivalNS, s.read)
	case r.PromptTokens < 1 || r.PromptTokens > trace.MaxTokens:
		err = fmt.Errorf("sim: request %q: prompt_tokens %d: want 1 to %d", r.ID, r.PromptTokens, trace.MaxTokens)
	case r.OutputTokens < 1 || r.OutputTokens > trace.MaxTokens:
		err = fmt.Errorf("sim: request %q: output_tokens %d: want 1 to %d", r.ID, r.OutputTokens, trace.MaxTokens)
	}
	if err != nil {
		s.close()
		return false, err
	}
	s.read = r.ArrivalNS
	s.one = *r
	if s.clients > 0 && s.turns == nil {
		s.one.ArrivalNS = now
	}
	return true, nil
}

// due returns the earliest time when the next request may arrive; false if none arrives before another ends.
func (s *source) due() (at int64, ok bool) {
	switch {
	case s.next != nil:
		return s.next.ArrivalNS, true
	case s.fed != nil:
		return s.fed.horizon, s.fed.horizon < math.MaxInt64
	}
	return 0, false
}

// freed returns the time when the client became free that sends the next request of a closed loop: the one that
// has been free longest.
func (s *source) freed() int64 {
	if s.free.n == 0 || s.taken < s.clients { // it never had a request
		return 0
	}
	return s.free.front()
}

// take removes the request that peek returned.
func (s *source) take() {
	if s.turns != nil {
		heap.Pop(s.turns)
	}
	if s.free.n > 0 && s.taken >= s.clients {
		s.free.pop()
	}
	s.next = nil
	s.taken++
	s.inFlight++
}

// end records the end of a request of a session, "" if it has none. Its client may send another from now on,
// and the session's next turn is released.
//
// A request that is refused ends when it would be admitted, at the beginning of a step. Its client learns of it
// then and not when the step ends, as with a real server: what it sends next arrives, or its time to think
// begins, when the step begins. That step's batch has been formed by then.
//
// So a server, or the router of a replica, peeks twice in a step: after the refusals and, since other requests
// end with the step, after it.
func (s *source) end(session string, now int64) {
	s.inFlight--
	if s.clients > 0 {
		s.free.pushBack(now)
	}
	if s.turns != nil && session != "" {
		s.turns.end(session, now)
	}
	s.released = s.clients > 0 || s.turns != nil
}

func (s *source) close() {
	s.ended = true
	if s.stop != nil {
		s.stop()
	}
}
