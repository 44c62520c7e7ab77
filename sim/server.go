package sim

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/ref"
	"kvcompress/trace"
)

// Server serves the requests of a trace on one cache.
type Server struct {
	ByHead bool // have each step say what every head holds

	cache    Cache
	limits   Limits
	policy   policy
	stepTime StepTime

	requests []trace.Request
	results  []Result
	arrived  int         // requests before it have arrived
	waiting  []*sequence // first come first; preempted ones ahead
	running  []*sequence // in the order of admission
	hold     bool        // no prefill until a sequence finishes: one was preempted
	clock    int64
	steps    int
}

// sequence is a request between its arrival and its end.
type sequence struct {
	id               ref.SeqID
	prompt, output   int // tokens
	generated        int // of the output
	sinceCompression int // steps
	compressed       bool
}

// Result is what became of a request. Times are on the serving clock; a time
// that never came is −1.
type Result struct {
	ID           string `json:"id"`
	Arrival      int64  `json:"arrival_ns"`
	Admitted     int64  `json:"admitted_ns"`    // its first prefill began
	FirstToken   int64  `json:"first_token_ns"` // its first prefill ended
	Finished     int64  `json:"finished_ns"`
	PromptTokens int    `json:"prompt_tokens"`
	OutputTokens int    `json:"output_tokens"` // generated
	Preemptions  int    `json:"preemptions"`
	Recomputed   int    `json:"recomputed_tokens"` // prefilled again after preemptions
	Error        string `json:"error,omitempty"`   // why it was refused
}

// NewServer returns a server of requests, sorted by arrival, on a cache of
// blocks of cfg's size. stepTime is nil for 10 ms an iteration.
func NewServer(cache Cache, cfg *ref.Config, limits Limits, requests []trace.Request, stepTime StepTime) (*Server, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if len(requests) > math.MaxInt32 {
		return nil, fmt.Errorf("sim: %d requests are more than %d", len(requests), math.MaxInt32)
	}
	if stepTime == nil {
		stepTime = FixedStepTime(10e6)
	}
	s := &Server{
		cache:    cache,
		limits:   limits,
		policy:   policy{opt: &cfg.Compression, blockSize: cfg.BlockSize},
		stepTime: stepTime,
		requests: requests,
		results:  make([]Result, len(requests)),
	}
	for i, r := range requests {
		s.results[i] = Result{ID: r.ID, Arrival: r.ArrivalNS, Admitted: -1, FirstToken: -1, Finished: -1, PromptTokens: r.PromptTokens}
	}
	return s, nil
}

// Results returns what has become of the requests so far, in their order.
func (s *Server) Results() []Result { return s.results }

// Step runs one iteration. It returns nil when every request has finished or
// was refused.
func (s *Server) Step() (*Step, error) {
	s.arrive()
	step := &Step{Index: s.steps, Start: s.clock, Batch: []ref.SeqID{}}
	if s.policy.due() {
		if _, err := s.compress(step); err != nil {
			return nil, err
		}
	}
	admitted := s.admit()
	for len(admitted) == 0 && len(s.running) == 0 {
		// Nothing runs, so the cache is empty and whoever could not be admitted was
		// refused: time passes until the next request arrives.
		if len(s.waiting) > 0 {
			return nil, fmt.Errorf("sim: step %d: request %q fits an empty cache and is not admitted to one of %d free blocks",
				s.steps, s.requests[s.waiting[0].id].ID, s.cache.Free())
		}
		if s.arrived == len(s.requests) {
			return nil, nil
		}
		s.clock = max(s.clock, s.requests[s.arrived].ArrivalNS)
		s.arrive()
		step.Start = s.clock
		admitted = s.admit()
	}
	var err error
	if len(admitted) > 0 {
		err = s.prefill(step, admitted)
	} else {
		err = s.decode(step)
	}
	if err != nil {
		return nil, err
	}
	step.Usage = s.cache.Usage()
	if s.ByHead {
		heads := s.cache.HeadUsage()
		step.Heads = &heads
	}
	if err := s.finish(step); err != nil {
		return nil, err
	}
	return step, nil
}

// arrive moves the requests whose time has come to the end of the queue.
func (s *Server) arrive() {
	for ; s.arrived < len(s.requests) && s.requests[s.arrived].ArrivalNS <= s.clock; s.arrived++ {
		r := s.requests[s.arrived]
		s.waiting = append(s.waiting, &sequence{id: ref.SeqID(s.arrived), prompt: r.PromptTokens, output: r.OutputTokens})
	}
}

// admit takes from the queue what is to be prefilled now: first come first,
// while the blocks, less the watermark, and the limits of a batch allow it.
func (s *Server) admit() []*sequence {
	if s.hold {
		return nil
	}
	var batch []*sequence
	free, tokens := s.cache.Free(), 0
	watermark := s.limits.watermark(s.cache.Blocks())
	for len(s.waiting) > 0 {
		q := s.waiting[0]
		n := q.prompt + q.generated
		need := s.cache.PrefillNeed(n)
		if why := s.neverFits(q, need, watermark); why != "" {
			s.results[q.id].Error = why
			s.waiting = s.waiting[1:]
			continue
		}
		// What a preempted sequence has generated may take it beyond the limit of a
		// batch: then it is recomputed in a batch of its own.
		tooMany := tokens+n > s.limits.MaxNumBatchedTokens && (tokens > 0 || q.generated == 0)
		if free-need < watermark || len(s.running)+len(batch) >= s.limits.MaxNumSeqs || tooMany {
			break
		}
		free -= need
		tokens += n
		batch = append(batch, q)
		s.waiting = s.waiting[1:]
	}
	return batch
}

// neverFits says why a sequence whose prefill needs so many blocks could not be
// admitted to an empty cache, or nothing if it could.
func (s *Server) neverFits(q *sequence, need, watermark int) string {
	switch room := s.cache.Blocks() - watermark; {
	case q.prompt > s.limits.MaxNumBatchedTokens:
		return fmt.Sprintf("a prompt of %d tokens exceeds max_num_batched_tokens %d", q.prompt, s.limits.MaxNumBatchedTokens)
	case need <= room:
		return ""
	case q.generated > 0:
		return fmt.Sprintf("it was preempted with %d prompt and %d generated tokens, and to recompute them needs %d blocks: the cache has %d beyond its watermark",
			q.prompt, q.generated, need, room)
	default:
		return fmt.Sprintf("a prompt of %d tokens needs %d blocks: the cache has %d beyond its watermark", q.prompt, need, room)
	}
}

// prefill runs the admitted prompts. Each gives its sequence a token.
func (s *Server) prefill(step *Step, admitted []*sequence) error {
	step.Kind = Prefill
	for _, q := range admitted {
		n := q.prompt + q.generated
		if err := s.cache.Prefill(q.id, n); err != nil {
			return fmt.Errorf("sim: step %d: request %q: %w", step.Index, s.requests[q.id].ID, err)
		}
		step.Batch = append(step.Batch, q.id)
		step.Tokens += n
		r := &s.results[q.id]
		if q.generated > 0 {
			r.Recomputed += n
		} else {
			r.Admitted = step.Start
		}
	}
	s.running = append(s.running, admitted...)
	return s.advance(step, admitted)
}

// decode runs one token of every running sequence. Where the blocks are not
// there, it compresses first, and then preempts the latest until they are.
func (s *Server) decode(step *Step) error {
	step.Kind = Decode
	for s.need() > s.cache.Free() && s.policy.opt.Enabled() {
		if freed, err := s.compress(step); err != nil {
			return err
		} else if freed == 0 {
			break
		}
	}
	for s.need() > s.cache.Free() {
		if err := s.preempt(step); err != nil {
			return err
		}
	}
	if len(s.running) > 0 {
		for _, q := range s.running {
			step.Batch = append(step.Batch, q.id)
		}
		step.Tokens = len(s.running)
		if err := s.cache.Decode(step.Batch); err != nil {
			return fmt.Errorf("sim: step %d: %w", step.Index, err)
		}
	}
	return s.advance(step, s.running)
}

// need returns the blocks that a decode step of all running sequences takes.
func (s *Server) need() int {
	n := 0
	for _, q := range s.running {
		n += s.cache.DecodeNeed(q.id)
	}
	return n
}

// preempt sends the latest running sequence back to the head of the queue, to
// be recomputed, and holds all prefills until a sequence finishes.
func (s *Server) preempt(step *Step) error {
	q := s.running[len(s.running)-1]
	s.running = s.running[:len(s.running)-1]
	if err := s.cache.Release(q.id); err != nil {
		return err
	}
	q.compressed, q.sinceCompression = false, 0
	s.waiting = slices.Insert(s.waiting, 0, q)
	s.results[q.id].Preemptions++
	s.hold = len(s.running) > 0 // with nobody left to finish, nobody is waited for
	step.Preempted = append(step.Preempted, q.id)
	return nil
}

// compress runs a compression of the running sequences, and returns how many
// blocks came free.
func (s *Server) compress(step *Step) (freed int, err error) {
	done, err := s.policy.run(s.cache, s.running)
	for _, c := range done {
		freed += c.Freed
	}
	step.Compression = append(step.Compression, done...)
	if err != nil {
		return freed, fmt.Errorf("sim: step %d: %w", step.Index, err)
	}
	return freed, nil
}

// advance ends the iteration: the clock moves on and every sequence of the
// batch has generated a token.
func (s *Server) advance(step *Step, batch []*sequence) error {
	took := max(0, s.stepTime(step))
	if took > math.MaxInt64-s.clock {
		return fmt.Errorf("sim: step %d: the clock ends at %d ns, and a step of %d ns begins at %d", step.Index, int64(math.MaxInt64), took, s.clock)
	}
	s.clock += took
	step.End = s.clock
	s.steps++
	s.policy.entered(step)
	for _, q := range s.running {
		q.sinceCompression++
	}
	for _, q := range batch {
		q.generated++
		r := &s.results[q.id]
		r.OutputTokens = q.generated
		if r.FirstToken < 0 {
			r.FirstToken = s.clock
		}
	}
	return nil
}

// finish releases the sequences that have generated all their tokens.
func (s *Server) finish(step *Step) error {
	kept := s.running[:0]
	for _, q := range s.running {
		if q.generated < q.output {
			kept = append(kept, q)
			continue
		}
		if err := s.cache.Release(q.id); err != nil {
			return fmt.Errorf("sim: step %d: %w", step.Index, err)
		}
		s.results[q.id].Finished = step.End
		step.Finished = append(step.Finished, q.id)
		s.hold = false
	}
	clear(s.running[len(kept):])
	s.running = kept
	step.Running, step.Waiting = len(s.running), len(s.waiting)
	return nil
}
