package sim

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Server serves requests on one cache. Its fields are set before the first step.
type Server struct {
	ByHead bool          // report in each step what every head holds
	Batch  bool          // report in each step the sequences of its batch; always done if the cache is not an AllAtOnce
	Skip   bool          // take several decode steps at once if nothing happens between them and the cache is an AllAtOnce
	Done   func(*Result) // called with each request's result when it ends; valid during the call

	Products Products // time of iterations beyond the rates; nil for none

	cache   Cache
	all     AllAtOnce // the cache, if it is one
	ledger  *Ledger   // the cache, if it is one
	cfg     ref.Config
	limits  Limits
	policy  policy
	rates   Rates
	experts Experts // of a mixture of experts

	took    func(kv.SeqID, *trace.Request) // called when a request joins the queue; may be nil
	source  source
	results []Result         // nil if they are not kept
	waiting queue[*sequence] // in order of arrival, with preempted sequences in front
	running runningList
	rules   rules
	clock   Ticks // since the beginning of the trace
	steps   int
	decodes int // steps in which all running sequences got a token

	decodeSteps []Ticks // by number of sequences, known times of decode steps: see decodeStep
	inReserve   int     // free blocks that a decode step wants beyond those that it takes: see quietSteps
	admissions  int
	spare       []*sequence // ended sequences, for reuse
	admitted    []*sequence // sequences whose prefill ends with this step
}

// AllAtOnce is a cache in which decode steps of all sequences take the same time for any number of
// sequences and steps.
type AllAtOnce interface {
	Cache
	// NeedAll returns the number of blocks that the next decode steps of all sequences take. ReadAll
	// returns the numbers of KVs and blocks that their attention reads, summed over the steps.
	NeedAll(steps int) int
	ReadAll(steps int) (kvs, blocks int64)
	// DecodeAll adds steps tokens to each sequence.
	DecodeAll(steps int) error
}

// Result says how a request was served. Times are in ns on the serving clock, −1 if the event has not
// happened.
type Result struct {
	Seq          kv.SeqID `json:"-"` // its number in steps
	ID           string   `json:"id"`
	Replica      int      `json:"replica"` // the replica that served it, of several
	Arrival      int64    `json:"arrival_ns"`
	Admitted     int64    `json:"admitted_ns"`    // beginning of its first prefill
	FirstToken   int64    `json:"first_token_ns"` // end of its first prefill
	Finished     int64    `json:"finished_ns"`
	PromptTokens int      `json:"prompt_tokens"`
	Asked        int      `json:"-"`             // output tokens that the request asks for
	Cached       int      `json:"cached_tokens"` // tokens found in the prefix cache, those of recomputations included
	OutputTokens int      `json:"output_tokens"` // generated so far
	Preemptions  int      `json:"preemptions"`
	Recomputed   int      `json:"recomputed_tokens"` // prefilled again after preemptions
	Error        string   `json:"error,omitempty"`   // why it was refused
}

// begin sets the result of a request that has not arrived.
func (s *Result) begin(seq int, r *trace.Request) {
	*s = Result{}
	s.Seq, s.ID, s.Arrival, s.PromptTokens, s.Asked = kv.SeqID(seq), r.ID, r.ArrivalNS, r.PromptTokens, r.OutputTokens
	s.Admitted, s.FirstToken, s.Finished = -1, -1, -1
}

// NewServer returns a server for requests that are sorted by arrival. The cache must have the
// configuration cfg. The server keeps all results. rates are the costs of its steps; nil is 10 ms for each
// step. The scheduler is that of KV-Compress's server, unless UseVLLM06, ChunkPrefills or UseV1 is called.
func NewServer(cache Cache, cfg *ref.Config, schedule Schedule, limits Limits, requests []trace.Request, rates *Rates) (*Server, error) {
	s, err := newServer(cache, cfg, schedule, limits, rates)
	if err != nil {
		return nil, err
	}
	if len(requests) > math.MaxInt32 {
		return nil, fmt.Errorf("sim: %d requests: want at most %d", len(requests), math.MaxInt32)
	}
	i := 0
	s.source.pull = func() (*trace.Request, error) {
		if i == len(requests) {
			return nil, nil
		}
		i++
		return &requests[i-1], nil
	}
	s.results = make([]Result, len(requests))
	for i := range requests {
		s.results[i].begin(i, &requests[i])
	}
	return s, nil
}

// NewStream is NewServer for requests that are read as they arrive, some dozens ahead. It keeps only
// requests that have not ended; set Done to get results. Close ends the reading.
func NewStream(cache Cache, cfg *ref.Config, schedule Schedule, limits Limits, requests iter.Seq2[trace.Request, error], rates *Rates) (*Server, error) {
	s, err := newServer(cache, cfg, schedule, limits, rates)
	if err != nil {
		return nil, err
	}
	s.source.readFrom(requests)
	return s, nil
}

// configured is a cache that knows its configuration, such as an engine or a ledger.
type configured interface{ Config() ref.Config }

func newServer(cache Cache, cfg *ref.Config, schedule Schedule, limits Limits, rates *Rates) (*Server, error) {
	if err := errors.Join(schedule.Validate(), limits.Validate()); err != nil {
		return nil, err
	}
	if c, ok := cache.(configured); ok {
		if own := c.Config(); !reflect.DeepEqual(own, *cfg) {
			return nil, fmt.Errorf("sim: the server's configuration is %v, and its cache's is %v", *cfg, own)
		}
	}
	if rates == nil {
		rates = FixedStepTime(10e6)
	}
	s := &Server{
		cache:  cache,
		cfg:    *cfg,
		limits: limits,
		policy: newPolicy(cfg, schedule),
		rates:  *rates,
	}
	s.all, _ = cache.(AllAtOnce)
	s.ledger, _ = cache.(*Ledger)
	s.rules = &kvCompress{Server: s}
	return s, nil
}

// CloseLoop makes n clients send the requests, in their order: a client sends the next request as soon as
// its previous one has ended. One that is refused ends then, at the beginning of a step. Arrival times are
// ignored.
func (s *Server) CloseLoop(n int) error {
	if n < 1 || n > math.MaxInt32 {
		return fmt.Errorf("sim: concurrency %d: want 1 to %d", n, math.MaxInt32)
	}
	s.source.clients = n
	return nil
}

// Close ends the reading of requests.
func (s *Server) Close() { s.source.close() }

// Results returns the results of the requests so far, in their order, for a server made by NewServer; else
// nil.
func (s *Server) Results() []Result {
	if s.results != nil {
		for r := range s.Unfinished() {
			s.results[r.Seq] = r
		}
	}
	return s.results
}

// Unfinished yields the requests that have arrived and neither finished nor been refused.
func (s *Server) Unfinished() iter.Seq[Result] {
	return func(yield func(Result) bool) {
		for q := s.running.head; q != nil; q = q.next {
			r := q.result
			r.OutputTokens = s.generated(q)
			if !yield(r) {
				return
			}
		}
		for _, q := range s.rules.filling() {
			if !yield(q.result) {
				return
			}
		}
		for i := range s.waiting.n {
			if !yield((*s.waiting.at(i)).result) {
				return
			}
		}
	}
}

// Queues returns the running sequences in the order of admission, and the waiting ones in the order of the
// queue.
func (s *Server) Queues() (running, waiting []kv.SeqID) {
	order := slices.Clone(s.rules.filling())
	for q := s.running.head; q != nil; q = q.next {
		order = append(order, q)
	}
	slices.SortStableFunc(order, func(a, b *sequence) int { return cmp.Compare(a.order, b.order) })
	for _, q := range order {
		running = append(running, q.id)
	}
	for i := range s.waiting.n {
		waiting = append(waiting, (*s.waiting.at(i)).id)
	}
	return running, waiting
}

// Step runs one iteration. It returns nil when every request has finished or
// was refused.
func (s *Server) Step() (*Step, error) {
	step := &Step{Batch: []kv.SeqID{}}
	if more, err := s.Next(step); err != nil || !more {
		return nil, err
	}
	return step, nil
}

// Next runs one iteration, or several equal ones at once if Skip is set. It sets step, and reuses its
// slices. It returns false when every request has finished or was refused.
func (s *Server) Next(step *Step) (bool, error) {
	step.reset(s.steps, s.clock.NS())
	if err := s.arrive(); err != nil {
		return false, err
	}
	if more, err := s.rules.iterate(step); !more || err != nil {
		return false, err
	}
	step.Waiting = s.waiting.n
	if s.source.released { // requests were refused: see source.end
		if err := s.arrive(); err != nil {
			return false, err
		}
	}
	step.Usage = s.cache.Usage()
	step.Peak = max(step.Peak, step.Usage.Allocated)
	if s.ByHead {
		heads := s.cache.HeadUsage()
		step.Heads = &heads
	}
	if err := s.advance(step); err != nil {
		return false, err
	}
	return true, s.finish(step)
}

// sleep advances the clock to the next arrival. It is called when no sequence runs: then the cache is
// empty, and sequences that could not be admitted have been refused. It returns false if there are no more
// requests.
func (s *Server) sleep(step *Step) (bool, error) {
	if s.waiting.n > 0 {
		return false, fmt.Errorf("sim: step %d: request %q fits an empty cache and is not admitted to one of %d free blocks",
			s.steps, s.waiting.front().result.ID, s.cache.Free())
	}
	next, err := s.source.peek(s.clock.NS())
	if next == nil || err != nil {
		return false, err
	}
	if at := TicksOf(next.ArrivalNS); s.clock.Less(at) {
		s.clock = at
	}
	step.Start = s.clock.NS()
	return true, s.arrive()
}

// arrive appends the requests that have arrived to the queue.
func (s *Server) arrive() error {
	now := s.clock.NS()
	for {
		r, err := s.source.peek(now)
		if err != nil || r == nil || r.ArrivalNS > now {
			return err
		}
		q := s.newSequence()
		q.id, q.prompt, q.output, q.generated = kv.SeqID(s.source.taken), r.PromptTokens, r.OutputTokens, 0
		q.hashes, q.cached, q.attempted, q.round = nil, 0, false, 0
		if s.ledger != nil && s.ledger.prefixes != nil {
			q.hashes = r.PrefixHashes[:min(len(r.PrefixHashes), r.PromptTokens/s.ledger.prefixes.tokens)]
		}
		q.session = r.Session
		q.result.begin(s.source.taken, r)
		if err := s.followOwn(q, r.Compression); err != nil {
			return fmt.Errorf("sim: request %q: %w", r.ID, err)
		}
		if s.took != nil {
			s.took(q.id, r)
		}
		s.rules.arrived(q, r)
		s.waiting.pushBack(q)
		s.source.take()
	}
}

func (s *Server) newSequence() *sequence {
	if n := len(s.spare); n > 0 {
		q := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return q
	}
	return &sequence{}
}

// generated returns the number of output tokens of a running sequence.
func (s *Server) generated(q *sequence) int { return q.output - (q.finishAt - s.decodes) }

// end reports the result of a sequence and frees it for reuse.
func (s *Server) end(q *sequence) {
	switch fed := s.source.fed; {
	case fed == nil:
		s.source.end(q.session, s.clock.NS())
	case q.result.Error != "":
		fed.refused = append(fed.refused, q.session)
	default:
		fed.finished = append(fed.finished, q.session)
	}
	if s.results != nil {
		s.results[q.id] = q.result
	}
	if s.Done != nil {
		s.Done(&q.result)
	}
	s.spare = append(s.spare, q)
}

// advance ends the iteration: it advances the clock, and sets the time of the first token of prefilled
// sequences.
func (s *Server) advance(step *Step) error {
	step.Work[Steps] = int64(step.Steps)
	if s.experts.Total > 0 {
		step.Work[ExpertsRead] = int64(step.Steps) * s.experts.Read(step.Tokens/step.Steps)
	}
	step.Products = s.Products.ticks(&step.Work, step.Steps)
	took := s.rates.Cost(&step.Work).Plus(step.Products)
	s.clock = s.clock.Plus(took)
	step.End = s.clock.NS()
	if step.End == math.MaxInt64 {
		return fmt.Errorf("sim: step %d: the clock ends at %d ns, and this step of %d ns begins at %d", step.Index, step.End, took.NS(), step.Start)
	}
	s.steps += step.Steps
	s.policy.entered(step)
	for _, q := range s.admitted {
		if q.result.FirstToken < 0 {
			q.result.FirstToken = step.End
		}
	}
	return nil
}

// finish releases the sequences that have all their output tokens.
func (s *Server) finish(step *Step) error {
	for s.running.len() > 0 && s.running.nextFinish() <= s.decodes {
		q := s.running.first()
		if err := s.rules.release(q); err != nil {
			return fmt.Errorf("sim: step %d: %w", step.Index, err)
		}
		q.result.Finished = step.End
		q.result.OutputTokens = s.generated(q)
		step.Finished = append(step.Finished, q.id)
		if q.startedAt == step.Index {
			step.Single++
		}
		s.running.remove(q)
		s.end(q)
	}
	if len(step.Finished) > 0 {
		s.rules.finished()
	}
	step.Running = s.running.len()
	return nil
}
