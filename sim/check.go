package sim

import (
	"fmt"
	"iter"

	"kvcompress/kv"
	"kvcompress/trace"
)

// checker checks invariants of a server:
//
//   - time does not run backwards;
//   - allocated and free blocks add up to the cache's;
//   - tokens are conserved: tokens that were computed or found in a prefix cache are those of complete
//     prompts, and each request gets its output;
//   - if batches are reported ([Step.Scheduled]): no batch exceeds max_num_batched_tokens, and each
//     sequence continues where it stopped, or begins after cached tokens, and gets a token when all its
//     tokens are computed;
//   - a sequence is decoded only between its prefill and its end;
//   - every request finishes, is refused or is reported unfinished exactly once.
type checker struct {
	blocks int // of the cache
	budget int // most tokens of a batch; 0 is no limit

	live  map[kv.SeqID]*life
	left  map[kv.SeqID]*life // refused since the last step
	err   error              // the first violation
	clock int64
	index int
	here  int // running sequences
	part  int // tokens of incomplete prompts
}

// RuleError is an invariant that a server violated.
type RuleError struct {
	Step int
	What string
}

func (e *RuleError) Error() string { return fmt.Sprintf("check: step %d: %s", e.Step, e.What) }

// life is the state of a request that has not ended.
type life struct {
	prompt, output int
	generated      int
	computed       int  // tokens computed or cached, if the server reports batches
	here           bool // its prompt is in the cache
	done           bool
}

func newChecker(blocks int) *checker {
	return &checker{blocks: blocks, live: map[kv.SeqID]*life{}, left: map[kv.SeqID]*life{}}
}

// took records a request that joins the queue.
func (c *checker) took(id kv.SeqID, r *trace.Request) {
	if c.live[id] != nil {
		c.fail("request %q has the number of another", r.ID)
	}
	c.live[id] = &life{prompt: r.PromptTokens, output: r.OutputTokens}
}

// done records a result. The next call of step or end returns the error.
func (c *checker) done(r *Result) {
	q := c.live[r.Seq]
	switch {
	case q == nil || q.done:
		c.fail("request %q ends twice", r.ID)
	case r.Error != "":
		c.left[r.Seq] = q
		delete(c.live, r.Seq)
	case r.Finished < 0:
		c.fail("request %q ends and has neither finished nor been refused", r.ID)
	case r.Arrival < 0 || r.Admitted < r.Arrival || r.FirstToken < r.Admitted || r.Finished < r.FirstToken:
		c.fail("request %q arrives at %d ns, is admitted at %d, has its first token at %d and finishes at %d", r.ID, r.Arrival, r.Admitted, r.FirstToken, r.Finished)
	case r.OutputTokens != q.output:
		c.fail("request %q finishes with %d tokens of %d", r.ID, r.OutputTokens, q.output)
	default:
		q.done = true
	}
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = &RuleError{Step: c.index, What: fmt.Sprintf(format, args...)}
	}
}

// step checks a step with its batch.
func (c *checker) step(s *Step) error {
	switch u := s.Usage; {
	case s.Index != c.index || s.Steps < 1:
		c.fail("it is numbered %d and stands for %d", s.Index, s.Steps)
	case s.Start < c.clock || s.End < s.Start:
		c.fail("it runs from %d to %d ns, after one to %d", s.Start, s.End, c.clock)
	case u.Allocated < 0 || u.Free < 0 || u.Allocated+u.Free != c.blocks:
		c.fail("%d blocks are allocated and %d free, of %d", u.Allocated, u.Free, c.blocks)
	case u.KVs < 0 || u.KVs > u.DenseKVs:
		c.fail("%d KVs are held, and %d tokens have entered the heads", u.KVs, u.DenseKVs)
	case len(s.Batch) != s.Sequences:
		c.fail("a batch of %d sequences names %d", s.Sequences, len(s.Batch))
	}
	c.preempted(s)
	for id, q := range c.left {
		if q.here {
			c.fail("sequence %d is refused while it runs", id)
		}
	}
	for _, z := range s.Compression {
		if q := c.known(z.Seq); q == nil || z.Freed < 0 || z.Short > z.Asked || z.Evicted < 0 || z.Moved < 0 {
			c.fail("sequence %d: of %d asked for %d could not be evicted, %d blocks came free, %d KVs were evicted and %d moved", z.Seq, z.Asked, z.Short, z.Freed, z.Evicted, z.Moved)
		}
	}
	clear(c.left)
	c.part += int(s.Work[PrefillTokens]) + s.Cached
	c.scheduled(s)
	decoded := int64(0)
	for _, id := range s.Batch {
		switch q := c.live[id]; {
		case q == nil:
			c.fail("sequence %d gets a token after its end", id)
		case q.here:
			q.generated += s.Steps
			decoded += int64(s.Steps)
		default: // its prompt is complete
			c.part -= q.prompt + q.generated
			q.here = true
			q.generated++
			c.here++
		}
	}
	if decoded != s.Work[DecodeSeqs] {
		c.fail("%d tokens are decoded, of sequences whose prompts are complete %d", s.Work[DecodeSeqs], decoded)
	}
	if c.part < 0 || s.Filling == 0 && c.part > 0 {
		c.fail("%d tokens were computed that belong to no prompt, with %d incomplete prompts", c.part, s.Filling)
	}
	for _, id := range s.Finished {
		if q := c.live[id]; q == nil || !q.here || !q.done || q.generated != q.output {
			c.fail("sequence %d finishes with %+v", id, q)
			continue
		}
		c.here--
		delete(c.live, id)
	}
	if c.here != s.Running {
		c.fail("%d sequences run, and %d are in the cache", s.Running, c.here)
	}
	c.index += s.Steps
	c.clock = s.End
	return c.err
}

// preempted records the sequences that were preempted in a step.
func (c *checker) preempted(s *Step) {
	for _, id := range s.Preempted {
		q := c.known(id)
		if q == nil {
			c.fail("sequence %d is preempted after its end", id)
			continue
		}
		q.computed = 0
		if q.here {
			q.here = false
			c.here--
		}
	}
	c.part -= s.Dropped
}

// idle records an iteration that has nothing to compute, after its preemptions and refusals.
func (c *checker) idle(s *Step) error {
	c.preempted(s)
	clear(c.left)
	return c.err
}

// known returns the state of a sequence that had not ended before this step, nil if there is none.
func (c *checker) known(id kv.SeqID) *life {
	if q := c.live[id]; q != nil {
		return q
	}
	return c.left[id]
}

// scheduled checks the scheduled tokens of a step.
func (c *checker) scheduled(s *Step) {
	if len(s.Scheduled) == 0 {
		return
	}
	total, complete := 0, 0
	for i, p := range s.Scheduled {
		q := c.live[p.Seq]
		if q == nil || p.Tokens < 1 {
			c.fail("sequence %d computes %d tokens, and runs: %t", p.Seq, p.Tokens, q != nil)
			return
		}
		if p.Admitted {
			q.computed = p.Before
		}
		total += p.Tokens
		whole := q.prompt + q.generated
		switch {
		case p.Before != q.computed:
			c.fail("sequence %d continues after %d tokens, but %d are computed", p.Seq, p.Before, q.computed)
		case p.Before+p.Tokens > whole:
			c.fail("sequence %d computes %d tokens after %d, of %d", p.Seq, p.Tokens, p.Before, whole)
		case p.Before+p.Tokens == whole:
			if complete == len(s.Batch) || s.Batch[complete] != p.Seq {
				c.fail("sequence %d, scheduled as number %d, has all %d tokens computed and gets none", p.Seq, i, whole)
				return
			}
			complete++
		}
		q.computed = p.Before + p.Tokens + s.Steps - 1
	}
	if complete != len(s.Batch) {
		c.fail("%d sequences get tokens, and %d have all theirs computed", len(s.Batch), complete)
	}
	if c.budget > 0 && total > c.budget {
		c.fail("a batch of %d tokens is more than max_num_batched_tokens %d", total, c.budget)
	}
}

// end checks the requests that are reported unfinished.
func (c *checker) end(unfinished iter.Seq[Result]) error {
	for r := range unfinished {
		if q := c.live[r.Seq]; q == nil || q.done {
			c.fail("request %q is reported unfinished, and has ended", r.ID)
		}
		delete(c.live, r.Seq)
	}
	if len(c.live) > 0 {
		c.fail("%d requests neither finished, nor were refused, nor are reported unfinished", len(c.live))
	}
	return c.err
}
