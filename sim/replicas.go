package sim

import (
	"context"
	"fmt"
	"iter"
	"math"

	"kvcompress/internal/near"
	"kvcompress/internal/words"
	"kvcompress/trace"
)

// Router names the rule by which a router sends requests to replicas of a server.
type Router string

// The routers. If a rule does not decide between replicas, the first is chosen.
const (
	RoundRobin       Router = "round-robin"       // one replica after the other
	LeastOutstanding Router = "least-outstanding" // the replica with the fewest waiting and running requests
	SessionAffinity  Router = "session-affinity"  // the replica that has the request's session or the beginning of its prompt, or else as LeastOutstanding
)

// Routers returns all routers.
func Routers() []Router { return []Router{RoundRobin, LeastOutstanding, SessionAffinity} }

// ParseRouter returns the router of a name.
func ParseRouter(name string) (Router, error) {
	for _, r := range Routers() {
		if string(r) == name {
			return r, nil
		}
	}
	return "", fmt.Errorf("sim: there is no router %q%s: want one of %s", name, near.Hint(name, Routers()), words.List(Routers()))
}

// MaxReplicas bounds the replicas of a projection.
const MaxReplicas = 4096

// ProjectReplicas serves requests on n equal servers of a plan behind a router, which sends each request to
// one of them when it arrives. All servers share a clock. watch returns the Watch of each replica, from 0;
// steps of all replicas are reported in the order in which they begin. A plan's Concurrency is that of all
// replicas together. The result is the sum over the replicas, except that MaxBatch, PeakBlocks and PeakKVs
// are maxima.
//
// One replica gives the same result as [Project].
func ProjectReplicas(ctx context.Context, p *Plan, n int, router Router, requests iter.Seq2[trace.Request, error], watch func(replica int) Watch) (*Projection, error) {
	if n < 1 || n > MaxReplicas {
		return nil, fmt.Errorf("sim: %d replicas: want 1 to %d", n, MaxReplicas)
	}
	if _, err := ParseRouter(string(router)); err != nil {
		return nil, err
	}
	if n == 1 {
		return Project(ctx, p, requests, watch(0))
	}
	return projectCluster(ctx, p, n, router, requests, watch)
}

// projectCluster is ProjectReplicas without the shortcut for one replica.
func projectCluster(ctx context.Context, p *Plan, n int, router Router, requests iter.Seq2[trace.Request, error], watch func(replica int) Watch) (*Projection, error) {
	if p.Concurrency < 0 || p.Concurrency > math.MaxInt32 {
		return nil, fmt.Errorf("sim: concurrency %d: want 1 to %d, or 0 for an open loop", p.Concurrency, math.MaxInt32)
	}
	turns, err := ParseTurns(string(p.Turns))
	if err != nil {
		return nil, err
	}
	c := &cluster{router: router}
	if router == SessionAffinity {
		c.affinity = &affinity{sessions: newRecent[string](remembered), prefixes: newRecent[uint64](remembered)}
	}
	c.source.readFrom(requests)
	defer c.source.close()
	c.source.clients = p.Concurrency
	c.source.keepTurns(turns)
	c.feedback = p.Concurrency > 0 || c.source.turns != nil
	for i := range n {
		run, err := p.start(func(func(trace.Request, error) bool) {}, watch(i))
		if err != nil {
			return nil, err
		}
		run.replica = i
		run.server.source.close()
		run.server.source = source{fed: &feed{}}
		c.replicas = append(c.replicas, &replica{projecting: run})
	}
	err = c.serve(ctx)
	sum := &Projection{}
	for _, r := range c.replicas {
		err = r.end(err)
		sum.merge(r.out)
	}
	return sum, err
}

// cluster simulates replicas behind a router by discrete events: requests arrive, and steps end and begin.
// At the same time first steps end, then requests are routed, and then steps begin. A step may refuse requests
// when it begins; what their clients send then is routed at once, and may begin steps of other replicas.
type cluster struct {
	router   Router
	source   source
	feedback bool // the end of a request may cause the arrival of another
	replicas []*replica
	routed   int
	affinity *affinity // of SessionAffinity; else nil
}

// replica is one server of a cluster.
type replica struct {
	*projecting
	outstanding int   // waiting and running requests
	steps       bool  // a step is running
	until       int64 // time when it ends
}

// serve processes the events in order of time.
func (c *cluster) serve(ctx context.Context) error {
	for now := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, r := range c.replicas {
			if r.steps && r.until <= now {
				r.steps = false
				c.ended(r, &r.server.source.fed.finished, now)
			}
		}
		again := true
		for again { // the refusal of a request may cause the arrival of another
			if err := c.route(now); err != nil {
				return err
			}
			var err error
			if again, err = c.begin(now); err != nil {
				return err
			}
		}
		next, any := c.source.due()
		if !any {
			next = math.MaxInt64
		}
		for _, r := range c.replicas {
			if r.steps {
				next, any = min(next, r.until), true
			}
		}
		if !any {
			return nil
		}
		now = max(now, next)
	}
}

// ended tells the source that requests of a replica end now, with their sessions, which it removes. It returns
// their number.
func (c *cluster) ended(r *replica, sessions *[]string, now int64) int {
	n := len(*sessions)
	for _, session := range *sessions {
		c.source.end(session, now)
	}
	r.outstanding -= n
	*sessions = (*sessions)[:0]
	return n
}

// route sends the requests that have arrived to replicas.
func (c *cluster) route(now int64) error {
	for {
		r, err := c.source.peek(now)
		if err != nil || r == nil || r.ArrivalNS > now {
			return err
		}
		to := c.choose(r)
		c.routed++
		to.outstanding++
		to.server.source.fed.line = append(to.server.source.fed.line, *r)
		c.source.take()
	}
}

// choose returns the replica that a request is sent to.
func (c *cluster) choose(request *trace.Request) *replica {
	switch c.router {
	case RoundRobin:
		return c.replicas[c.routed%len(c.replicas)]
	case SessionAffinity:
		return c.affinity.choose(request, c.least)
	}
	return c.least()
}

// least returns the replica with the fewest waiting and running requests.
func (c *cluster) least() *replica {
	least := c.replicas[0]
	for _, r := range c.replicas[1:] {
		if r.outstanding < least.outstanding {
			least = r
		}
	}
	return least
}

// affinity has the replicas to which the latest sessions and prefixes were sent last.
type affinity struct {
	sessions *recent[string]
	prefixes *recent[uint64] // by a hash of the prefix's hashes
	chain    []uint64        // such hashes of the prefixes of one request
}

// remembered is the number of sessions, and of prefixes, that a router remembers. Without a limit its memory would grow
// with the log. In blocks of 16 tokens it is prefixes of 33 million tokens.
const remembered = 1 << 21

// recent has the replicas to which the latest keys were sent last: those of least keys or more, and of at most twice
// as many.
type recent[K comparable] struct {
	least       int
	now, before map[K]*replica // before has the keys that were sent before those of now; when now is full, it replaces before
}

func newRecent[K comparable](least int) *recent[K] {
	return &recent[K]{least: least, now: map[K]*replica{}, before: map[K]*replica{}}
}

// of returns the replica of a key, nil if there is none or it is forgotten.
func (m *recent[K]) of(key K) *replica {
	if to := m.now[key]; to != nil {
		return to
	}
	return m.before[key]
}

func (m *recent[K]) set(key K, to *replica) {
	if _, known := m.now[key]; !known && len(m.now) == m.least {
		m.now, m.before = m.before, m.now
		clear(m.now)
	}
	m.now[key] = to
}

// choose returns the replica of the request's session, or else the one that has its longest known prefix, of
// at least half of its hashes; otherwise that of another rule. A shorter prefix, such as a system prompt that
// all requests share, would send them all to one replica.
func (a *affinity) choose(r *trace.Request, otherwise func() *replica) *replica {
	a.chain = a.chain[:0]
	hash := uint64(0)
	for _, h := range r.PrefixHashes {
		hash = mix(hash, h)
		a.chain = append(a.chain, hash)
	}
	to := a.sessions.of(r.Session)
	for n := len(a.chain); to == nil && n > 0 && 2*n >= len(a.chain); n-- {
		to = a.prefixes.of(a.chain[n-1])
	}
	if to == nil {
		to = otherwise()
	}
	if r.Session != "" {
		a.sessions.set(r.Session, to)
	}
	for _, hash := range a.chain {
		a.prefixes.set(hash, to)
	}
	return to
}

// begin begins a step of every replica that has requests and runs no step. It reports whether requests may
// arrive now because others were refused.
func (c *cluster) begin(now int64) (again bool, err error) {
	horizon := int64(math.MaxInt64)
	if at, ok := c.source.due(); ok {
		horizon = at
	}
	if c.feedback { // the end of another replica's step may cause a request for this one
		horizon = now
	}
	for _, r := range c.replicas {
		if r.steps || r.outstanding == 0 {
			continue
		}
		r.server.source.fed.horizon = horizon
		more, err := r.next()
		if err != nil {
			return false, err
		}
		r.steps, r.until = more, r.step.End
		if c.ended(r, &r.server.source.fed.refused, now) > 0 {
			again = again || c.feedback
		}
	}
	return again, nil
}

// merge adds the projection of another server over the same time.
func (p *Projection) merge(o *Projection) {
	p.Steps += o.Steps
	p.EndNS = max(p.EndNS, o.EndNS)
	p.MaxBatch = max(p.MaxBatch, o.MaxBatch)
	p.Finished += o.Finished
	p.Refused += o.Refused
	p.Unfinished += o.Unfinished
	p.Preemptions += o.Preemptions
	p.Recomputed += o.Recomputed
	p.Cached += o.Cached
	p.InputTokens += o.InputTokens
	p.Output += o.Output
	p.PeakBlocks = max(p.PeakBlocks, o.PeakBlocks)
	p.PeakKVs = max(p.PeakKVs, o.PeakKVs)
	p.Work.Add(&o.Work)
	p.Products = p.Products.Plus(o.Products)
}
