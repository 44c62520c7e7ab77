package sim

import (
	"fmt"
	"iter"

	"kvcompress/kv"
	"kvcompress/trace"
)

// checker sees that a server keeps to its own rules:
//
//   - time never runs back;
//   - no block is beyond the budget;
//   - tokens are conserved: what is computed, or found in a prefix cache, is what the
//     prompts need that are complete, and each request gets the output it asks for;
//   - of a server that says who computes what: no batch exceeds its tokens, each sequence
//     continues where it was, or begins after cached tokens, and gets a token when all its
//     tokens are computed;
//   - a sequence is not decoded before its prefill, nor after its end;
//   - every request finishes, is refused or is reported unfinished, once.
type checker struct {
	blocks int // that the cache has
	budget int // tokens of a batch; 0 is no limit

	live  map[kv.SeqID]*life
	left  map[kv.SeqID]*life // refused since the last step
	err   error
	clock int64
	index int
	here  int // sequences that run
	part  int // tokens of prompts that are not complete
}

// RuleError is a rule that a server did not keep to.
type RuleError struct {
	Step int
	What string
}

func (e *RuleError) Error() string { return fmt.Sprintf("check: step %d: %s", e.Step, e.What) }

// life is what is known of a request that has not ended.
type life struct {
	prompt, output int
	generated      int
	computed       int  // tokens, or cached, where the server says so
	here           bool // its prompt is in the cache
	done           bool
}

func newChecker(blocks int) *checker {
	return &checker{blocks: blocks, live: map[kv.SeqID]*life{}, left: map[kv.SeqID]*life{}}
}

// took takes in a request that joins the queue.
func (c *checker) took(id kv.SeqID, r *trace.Request) {
	if c.live[id] != nil {
		c.fail("request %q has the number of another", r.ID)
	}
	c.live[id] = &life{prompt: r.PromptTokens, output: r.OutputTokens}
}

// done takes in a result. What is wrong is said by the next call of step or end.
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

// step takes in a step, with its batch.
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
		c.fail("%d tokens more were computed than %d incomplete prompts can have", c.part, s.Filling)
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

// preempted takes in who was sent back to the queue in a step.
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

// idle takes in an iteration that found nothing to compute, after it had preempted and
// refused what was there.
func (c *checker) idle(s *Step) error {
	c.preempted(s)
	clear(c.left)
	return c.err
}

// known returns what is known of a sequence that has not ended before this step.
func (c *checker) known(id kv.SeqID) *life {
	if q := c.live[id]; q != nil {
		return q
	}
	return c.left[id]
}

// scheduled takes in who computes what in a step.
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
			c.fail("sequence %d goes on after %d tokens, and %d are computed", p.Seq, p.Before, q.computed)
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

// end takes in the requests that are reported unfinished.
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
