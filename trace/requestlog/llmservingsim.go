package requestlog

import (
	"errors"
	"fmt"

	"kvcompress/trace"
)

// servingSim reads the workloads of https://github.com/casys-kaist/LLMServingSim
// (docs/docs/workloads/jsonl-format.md): each line is a request with input_toks,
// output_toks and arrival_time_ns, or a session with sub_requests. Each sub-request
// arrives tool_duration_ns after the end of the previous one. Prefix hashes are computed
// from input_tok_ids, if the log has them. The requests.jsonl written by its benchmark of
// vLLM, with arrival_time in seconds, is read too.
type servingSim struct {
	objects
	l     *Log
	ids   *text // hashes tokens
	queue []row // requests of the current line
	call  row   // the current request
	seen  map[string]bool
	nIDs  int
	wait  int64 // ns, after the current request
}

func openServingSim(l *Log, f *file, o Options) (source, error) {
	j := newJSONReader(f)
	l.PrefixBlockTokens = textBlock
	s := &servingSim{objects: objects{j: j}, l: l, ids: newText(j, Options{}), seen: make(map[string]bool)}
	return s, nil
}

func (s *servingSim) next() (row, error) {
	for len(s.queue) == 0 {
		if err := s.objects.next(s.line); err != nil {
			return row{}, err
		}
	}
	r := s.queue[0]
	s.queue = s.queue[1:]
	return r, nil
}

// line reads a line, a request or a session.
func (s *servingSim) line(at position) error {
	s.queue = nil
	var session string
	var arrival int64
	var waits []int64
	sessions, timed := false, false
	s.begin()
	err := s.j.object(func(name []byte) error {
		switch n := string(name); n {
		case "session_id":
			if null, err := s.j.null(); null || err != nil {
				return err
			}
			var err error
			session, err = s.j.label()
			return inMember("session_id", err)
		case "arrival_time_ns":
			var err error
			arrival, err = s.j.time(Nanosecond)
			timed = true
			return inMember(n, err)
		case "arrival_time": // in the benchmark's results: seconds since 1970
			var err error
			arrival, err = s.j.time(Second)
			timed, s.l.Calendar = true, true
			return inMember(n, err)
		case "sub_requests":
			sessions = true
			return s.j.array(func() error {
				at := s.j.position()
				if len(s.queue) == maxConversation {
					return at.fail(fmt.Errorf("a session of more than %d requests", maxConversation))
				}
				s.begin()
				if err := s.j.object(s.member); err != nil {
					return err
				}
				waits = append(waits, s.wait)
				return s.end(at)
			})
		default:
			return s.member(name)
		}
	})
	if err != nil {
		return err
	}
	if !sessions {
		if err := s.end(at); err != nil {
			return err
		}
		waits = []int64{0}
	}
	if !timed {
		return at.fail(errors.New("arrival_time_ns is missing"))
	}
	for i := range s.queue {
		r := &s.queue[i]
		r.Session, r.ArrivalNS = session, arrival
		if waits[i] > trace.MaxArrivalNS-arrival {
			return at.fail(errors.New("tool_duration_ns: the next request comes later than a trace can represent"))
		}
		if arrival += waits[i]; i > 0 {
			r.how |= delayed
		}
	}
	return nil
}

// begin resets the state for a new request.
func (s *servingSim) begin() {
	s.call, s.wait, s.nIDs = row{}, 0, -1
	clear(s.seen)
	s.ids.reset()
}

// member reads a member of a request.
func (s *servingSim) member(name []byte) (err error) {
	n := string(name)
	if s.seen[n] {
		return s.j.position().fail(fmt.Errorf("%s occurs twice", n))
	}
	switch n {
	case "input_toks":
		s.call.PromptTokens, err = s.j.tokens()
	case "output_toks":
		s.call.OutputTokens, err = s.j.tokens()
	case "tool_duration_ns":
		s.wait, err = s.j.time(Nanosecond)
	case "input_tok_ids":
		if null, err := s.j.null(); null || err != nil {
			return err
		}
		s.nIDs = 0
		err = s.j.array(func() error {
			at := s.j.position()
			if s.nIDs++; s.nIDs > trace.MaxTokens {
				return at.fail(fmt.Errorf("more than %d tokens", trace.MaxTokens))
			}
			id, err := s.j.hash()
			s.ids.token(id)
			return err
		})
	default:
		return s.j.skip()
	}
	s.seen[n] = true
	return inMember(n, err)
}

// end completes a request.
func (s *servingSim) end(at position) error {
	for _, name := range []string{"input_toks", "output_toks"} {
		if !s.seen[name] {
			return at.fail(fmt.Errorf("%s is missing", name))
		}
	}
	if s.nIDs >= 0 && s.nIDs != s.call.PromptTokens {
		return at.fail(fmt.Errorf("%d input_tok_ids, and input_toks is %d", s.nIDs, s.call.PromptTokens))
	}
	s.call.line = at.line
	s.call.PrefixHashes = s.ids.hashes
	s.queue = append(s.queue, s.call)
	return nil
}
