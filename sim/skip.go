package sim

import "sort"

// mostSkipped is the largest number of steps taken at once, so that no sum overflows.
const mostSkipped = 1 << 12

// quietSteps returns the number of decode steps until the next event: a sequence finishes, a
// request arrives, a compression is due, or there are too few free blocks. There are enough
// blocks for the first step.
func (s *Server) quietSteps(step *Step) int {
	batch := s.running.len()
	n := min(mostSkipped, s.running.nextFinish()-s.decodes)
	if due := s.policy.quiet(batch); due < n {
		if s.ledger != nil {
			due = max(due, s.policy.idle(s.ledger, &s.running))
		}
		n = min(n, due)
	}
	if n <= 1 || s.source.released {
		return 1
	}
	if free := s.cache.Free() - s.inReserve; s.all.NeedAll(n) > free {
		n = max(1, sort.Search(n, func(i int) bool { return s.all.NeedAll(i+1) > free }))
	}
	due, any := s.source.due() // arrive has already peeked at the next request
	if !any {
		return n
	}
	// A request that arrives is noticed when the next step begins. So the result is the largest n
	// such that the request has not arrived after n−1 steps.
	start := s.clock
	if step.Work[CompressionSteps] > 0 { // a compression comes first
		start = start.Plus(s.rates.Cost(&step.Work))
	}
	at := TicksOf(due)
	if !start.Less(at) {
		return 1
	}
	gap, each := at.minus(start), s.decodeStep(batch)
	cost := func(steps int) Ticks { // cost of the next steps decode steps
		kvs, blocks := s.all.ReadAll(steps)
		t := each.Times(uint64(steps)).Plus(s.rates.of(KVsRead, kvs))
		t = t.Plus(s.rates.of(BlocksRead, blocks)).Plus(s.rates.of(IndexKeysRead, s.readIndex(steps)))
		return t.Plus(s.rates.of(QuantizedBytesRead, s.readQuantized(steps)))
	}
	// low steps end before the arrival, high steps do not. Each step takes slightly longer than the
	// one before. So n is at most the number of steps as long as the first, and close to it.
	low, high := 0, n
	if first := cost(1); first.Hi == 0 && gap.Hi == 0 && first.Lo > 0 {
		high = int(min(uint64(n), (gap.Lo-1)/first.Lo+1))
	}
	if high == n {
		if n == 1 || cost(n-1).Less(gap) {
			return n
		}
		high = n - 1
	}
	for back := 1; high-low > 1; back *= 2 {
		try := max(high-back, low+1)
		if cost(try).Less(gap) {
			low = try
			break
		}
		high = try
	}
	return 1 + low + sort.Search(high-low-1, func(i int) bool { return !cost(low + i + 1).Less(gap) })
}

// decodeStep returns the time of a decode step of a batch without the time to read KVs.
func (s *Server) decodeStep(batch int) Ticks {
	if batch >= len(s.decodeSteps) {
		s.decodeSteps = append(s.decodeSteps, make([]Ticks, batch+1-len(s.decodeSteps))...)
	}
	known := &s.decodeSteps[batch]
	if *known == (Ticks{}) {
		*known = s.costOfDecode(batch)
	}
	return *known
}

func (s *Server) costOfDecode(batch int) Ticks {
	w := Work{Steps: 1, DecodeSeqs: int64(batch), ExpertsRead: s.experts.Read(batch)}
	t := s.Products.ticks(&w, 1)
	for _, f := range [...]Feature{Steps, DecodeSeqs, ExpertsRead} {
		t = t.Plus(s.rates.of(f, w[f]))
	}
	return t
}

// repeat executes at once the following steps if they equal this one: a compression evicts the
// KVs that the previous step appended, and every sequence gets a token. It stops when a sequence
// finishes or a request arrives.
func (s *Server) repeat(step *Step) {
	n := min(mostSkipped, s.running.nextFinish()-s.decodes)
	if s.source.released {
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
		n = sort.Search(n-1, func(i int) bool { // whether the request has arrived after i+1 steps
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
