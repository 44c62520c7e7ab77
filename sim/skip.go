package sim

import "sort"

// mostSkipped bounds how many steps are taken at once, so that no sum overflows.
const mostSkipped = 1 << 12

// quietSteps returns how many decode steps can be taken from here on before
// anything but decoding can happen: until a sequence finishes, a request arrives, a
// compression is due, or the blocks run out. The first step is known to be
// possible.
func (s *Server) quietSteps(step *Step) int {
	batch := s.running.len()
	n := min(mostSkipped, s.running.heap[0].finishAt-s.decodes)
	if due := s.policy.quiet(batch); due < n {
		if s.ledger != nil {
			due = max(due, s.policy.idle(s.ledger, &s.running))
		}
		n = min(n, due)
	}
	if n <= 1 || s.source.waits() {
		return 1
	}
	if free := s.cache.Free() - s.inReserve; s.all.NeedAll(n) > free {
		n = max(1, sort.Search(n, func(i int) bool { return s.all.NeedAll(i+1) > free }))
	}
	due, any := s.source.due() // peeked at in arrive
	if !any {
		return n
	}
	// A request that arrives is seen when the next step begins. So it is the largest
	// number of steps n so that after n−1 it has not arrived yet.
	at := TicksOf(due)
	cost := func(steps int) Ticks {
		var w Work
		w[Steps], w[DecodeSeqs] = int64(steps), int64(steps)*int64(batch)
		w[KVsRead], w[BlocksRead] = s.all.ReadAll(steps)
		w[QuantizedBytesRead] = s.readQuantized(steps)
		w[ExpertsRead] = int64(steps) * s.experts.Read(batch)
		return s.rates.Cost(&w).Plus(s.Products.ticks(&w, steps))
	}
	start := s.clock.Plus(s.rates.Cost(&step.Work)) // a compression comes first
	before := func(steps int) bool { return start.Plus(cost(steps)).Less(at) }
	if n == 1 || before(n-1) {
		return n
	}
	// low steps end before it, high do not. Steps take longer and longer, but by
	// little: so the number is not above that of steps like the first, and near it.
	low, high := 0, n-1
	if first := cost(1); start.Less(at) {
		if gap := at.minus(start); gap.Hi == 0 && first.Hi == 0 && first.Lo > 0 {
			high = int(min(uint64(high), gap.Lo/first.Lo+1))
		}
	}
	for back := 1; high-low > 1; back *= 2 {
		try := max(high-back, low+1)
		if before(try) {
			low = try
			break
		}
		high = try
	}
	return 1 + low + sort.Search(high-low-1, func(i int) bool { return !before(low + i + 1) })
}

// repeat takes at once the steps that are as this one, in which every sequence lost
// what the step before had entered, and then got a token: until a sequence finishes
// or a request arrives.
func (s *Server) repeat(step *Step) {
	n := min(mostSkipped, s.running.heap[0].finishAt-s.decodes)
	if s.source.waits() {
		return
	}
	one := step.Work
	one[Steps], one[ExpertsRead] = 1, s.experts.Read(step.Tokens)
	times := func(n int) Work {
		var w Work
		for f := range w {
			w[f] = one[f] * int64(n)
		}
		return w
	}
	if due, any := s.source.due(); any {
		at := TicksOf(due)
		n = sort.Search(n-1, func(i int) bool { // whether it has arrived after i+1 steps
			w := times(i + 1)
			return !s.clock.Plus(s.rates.Cost(&w)).Plus(s.Products.ticks(&w, i+1)).Less(at)
		}) + 1
	}
	if n <= 1 {
		return
	}
	s.ledger.Repeat(n - 1)
	step.Steps, step.Work, step.Tokens = n, times(n), n*step.Tokens
	s.policy.rounds += n - 1
	for q := s.running.head; q != nil; q = q.next {
		q.round += n - 1
	}
}
