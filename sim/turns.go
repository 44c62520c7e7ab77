package sim

import (
	"container/heap"
	"fmt"
	"math"

	"kvcompress/trace"
)

// Turns is the rule by which the turns of a session after the first arrive.
type Turns string

// The rules.
const (
	TurnsAsRecorded Turns = "as-recorded" // at their recorded times, even if the previous turn has not ended
	TurnsWait       Turns = "wait"        // at their recorded times, but not before the previous turn has ended
	TurnsThink      Turns = "think"       // after the end of the previous turn, by the recorded time between the two arrivals
)

// AllTurns returns all rules.
func AllTurns() []Turns { return []Turns{TurnsAsRecorded, TurnsWait, TurnsThink} }

// ParseTurns returns the rule of a name; the empty one is TurnsAsRecorded.
func ParseTurns(name string) (Turns, error) {
	if name == "" {
		return TurnsAsRecorded, nil
	}
	for _, t := range AllTurns() {
		if string(t) == name {
			return t, nil
		}
	}
	return "", fmt.Errorf("sim: there is no rule %q for the turns of a session: want one of %v", name, AllTurns())
}

// turns computes the arrival times of the turns of sessions, which depend on the end of the previous turn.
type turns struct {
	rule     Turns
	closed   bool // a closed loop: recorded times matter only for TurnsThink
	sessions map[string]*session
	ready    []turn // turns whose arrival time is known, as a heap with the earliest first
	read     int    // number of turns read
}

// turn is a request with its recorded arrival time, or once it is ready with its actual one.
type turn struct {
	trace.Request
	order int // order in which it was read, for equal arrival times
}

// session is the state of a session.
type session struct {
	open bool   // a turn is in flight or ready
	held []turn // turns that wait for the previous one
	own  int64  // recorded arrival of the latest turn that is not held
	end  int64  // end of the latest turn
}

// KeepTurns sets the rule by which the turns of sessions arrive. It is called before the first step, and
// after CloseLoop. Turns that are read before the previous turn has ended are kept in memory, and for each
// session the end of its latest turn.
func (s *Server) KeepTurns(rule Turns) error {
	rule, err := ParseTurns(string(rule))
	if err == nil {
		s.source.keepTurns(rule)
	}
	return err
}

func (s *source) keepTurns(rule Turns) {
	if rule != TurnsAsRecorded && rule != "" {
		s.turns = &turns{rule: rule, closed: s.clients > 0, sessions: map[string]*session{}}
	}
}

// peekTurn is peek if turns wait for others. It reads requests until no unread request can arrive before the
// first that is ready: no turn arrives before its recorded time. In a closed loop it reads until a request can
// be sent.
func (s *source) peekTurn(now int64) (*trace.Request, error) {
	t := s.turns
	s.next = nil
	for !s.ended {
		until := s.read
		if t.closed {
			until = now
		}
		if len(t.ready) > 0 && t.ready[0].ArrivalNS <= until {
			break
		}
		switch ok, err := s.advance(now); {
		case err != nil:
			return nil, err
		case ok:
			t.enter(s.one, now)
		}
	}
	if len(t.ready) > 0 {
		s.one = t.ready[0].Request
		if t.closed {
			s.one.ArrivalNS = max(s.one.ArrivalNS, s.freed())
		}
		s.next = &s.one
	}
	return s.next, nil
}

// enter adds a request that was read.
func (t *turns) enter(r trace.Request, now int64) {
	one := turn{r, t.read}
	t.read++
	if r.Session != "" {
		s := t.sessions[r.Session]
		switch {
		case s == nil:
			t.sessions[r.Session] = &session{open: true, own: r.ArrivalNS}
		case s.open:
			s.held = append(s.held, one)
			return
		default:
			t.follow(s, one)
			return
		}
	}
	if t.closed {
		one.ArrivalNS = now
	}
	heap.Push(t, one)
}

// follow makes a turn ready after the end of the previous one.
func (t *turns) follow(s *session, one turn) {
	own := one.ArrivalNS
	switch {
	case t.rule == TurnsThink:
		one.ArrivalNS = s.end + min(max(0, own-s.own), math.MaxInt64-s.end)
	case t.closed:
		one.ArrivalNS = s.end
	default:
		one.ArrivalNS = max(own, s.end)
	}
	s.open, s.own = true, own
	heap.Push(t, one)
}

// end records the end of a turn of a session.
func (t *turns) end(name string, now int64) {
	s := t.sessions[name]
	s.open, s.end = false, now
	if len(s.held) > 0 {
		one := s.held[0]
		s.held = s.held[1:]
		t.follow(s, one)
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (t *turns) Len() int { return len(t.ready) }

func (t *turns) Less(i, j int) bool {
	a, b := &t.ready[i], &t.ready[j]
	return a.ArrivalNS < b.ArrivalNS || a.ArrivalNS == b.ArrivalNS && a.order < b.order
}

func (t *turns) Swap(i, j int) { t.ready[i], t.ready[j] = t.ready[j], t.ready[i] }

func (t *turns) Push(x any) { t.ready = append(t.ready, x.(turn)) }

func (t *turns) Pop() any {
	last := t.ready[len(t.ready)-1]
	t.ready = t.ready[:len(t.ready)-1]
	return last
}
