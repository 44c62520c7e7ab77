// Package stats computes serving metrics: distributions of TTFT, TPOT, inter-token and
// end-to-end latency, throughput, goodput, and over time the requests that run and wait and
// the KV cache in use. It takes in requests and steps one by one and keeps none of them, so
// that a million requests need no more memory than a thousand. The same requests and steps
// give the same summary, to the bit.
//
// Names are those of vLLM's Prometheus metrics without their prefix, where it has
// one for the thing (vLLM, docs/design/metrics.md), and of its serving benchmark.
package stats

import "kvcompress/sim"

// Step is what statistics take in of an iteration of the server. Times are in
// nanoseconds on the serving clock.
type Step struct {
	Start, End int64
	Steps      int64 // iterations that it stands for: see sim.Step
	Batch      int64 // sequences that got a token, in each iteration
	New        int64 // of them those that a prefill has given theirs
	Prompt     int64 // tokens prefilled, those of recomputation included
	Generated  int64 // tokens
	Running    int64 // sequences, in this step
	Waiting    int64 // sequences, in this step
	Blocks     int64 // allocated, at its end
	MeanBlocks int64 // on average, where it stands for several; else 0
	Finished   int64 // sequences, by this step
	Single     int64 // of New, those that this token finishes
	Preempted  int64 // sequences, by this step
}

// FromStep returns what statistics take in of a step of [sim.Server].
func FromStep(s *sim.Step) Step {
	e := Step{
		Start: s.Start, End: s.End,
		Steps: int64(s.Steps),
		Batch: int64(s.Sequences), Generated: int64(s.Sequences) * int64(s.Steps),
		Running: int64(s.Running + len(s.Finished)), Waiting: int64(s.Waiting),
		Blocks: int64(s.Usage.Allocated), Finished: int64(len(s.Finished)), Single: int64(s.Single), Preempted: int64(len(s.Preempted)),
	}
	e.Prompt = s.Work[sim.PrefillTokens]
	e.New = max(0, e.Batch-s.Work[sim.DecodeSeqs]/max(1, e.Steps))
	if s.Steps > 1 {
		e.MeanBlocks = s.Work[sim.BlocksRead] / int64(s.Steps)
	}
	return e
}

// Times are the latencies of one finished request, in nanoseconds.
type Times struct {
	Queue int64 // from arrival to the beginning of its first prefill
	TTFT  int64 // from arrival to the first token
	TPOT  int64 // from one token to the next, on average; −1 if there is one only
	E2E   int64 // from arrival to the last token
}

// TimesOf returns the latencies of a request, and whether it finished.
func TimesOf(r *sim.Result) (Times, bool) {
	if r.Finished < 0 {
		return Times{}, false
	}
	t := Times{Queue: r.Admitted - r.Arrival, TTFT: r.FirstToken - r.Arrival, TPOT: -1, E2E: r.Finished - r.Arrival}
	if r.OutputTokens > 1 {
		t.TPOT = (r.Finished - r.FirstToken) / int64(r.OutputTokens-1)
	}
	return t, true
}

// Run gathers what a run did. Its zero value, with the objectives set, is ready.
type Run struct {
	SLO    SLO
	Blocks int64 // of the cache

	// Client is what clients and the API add to each request's time to first token, and so to
	// its time end to end, in nanoseconds: the server's clock does not have it.
	Client int64

	ttft, tpot, itl, e2e, queue Sketch
	timeline                    Timeline
	s                           Summary
	begin, end                  int64
	busy                        int64
	requests, good              int64
	keep                        [objectives]int64 // requests that keep each objective
	single                      int64             // finished requests with one token, which have no time per output token
	servers                     int64             // that were merged beside this one
	arrivalFirst, arrivalLast   int64
	lastDecode                  int64
	fresh                       []freshSeqs // prefilled since the last decode step
	freshSeqs                   int64
}

// freshSeqs are sequences that have had their first token of a prefill, and wait
// for the next.
type freshSeqs struct{ at, n int64 }

// Request counts a request that has ended.
func (r *Run) Request(q *sim.Result) {
	if r.requests == 0 || q.Arrival < r.arrivalFirst {
		r.arrivalFirst = q.Arrival
	}
	r.arrivalLast = max(r.arrivalLast, q.Arrival)
	r.requests++
	r.s.Recomputed += int64(q.Recomputed)
	r.s.Cached += int64(q.Cached)
	if q.Preemptions > 0 {
		r.s.PreemptedRequests++
	}
	t, finished := TimesOf(q)
	switch {
	case q.Error != "":
		r.s.Refused++
	case !finished:
		r.s.Unfinished++
	}
	if !finished {
		return
	}
	t.TTFT += r.Client
	t.E2E += r.Client
	r.s.Finished++
	r.s.PromptTokens += int64(q.PromptTokens)
	r.s.GenerationTokens += int64(q.OutputTokens)
	r.queue.Add(t.Queue, 1)
	r.ttft.Add(t.TTFT, 1)
	r.e2e.Add(t.E2E, 1)
	if t.TPOT >= 0 {
		r.tpot.Add(t.TPOT, 1)
	} else {
		r.single++
	}
	r.keeps(t)
}

// Step takes in an iteration. They come in the order of time.
func (r *Run) Step(s *Step) {
	if r.s.Steps == 0 {
		r.begin = s.Start
	}
	r.end = max(r.end, s.End)
	r.busy += s.End - s.Start
	r.s.Steps += s.Steps
	r.s.Preemptions += s.Preempted
	r.s.MaxBatch = max(r.s.MaxBatch, s.Batch)
	if s.Prompt > 0 {
		r.s.PrefillSteps++
	}
	if decoded := s.Batch - s.New; decoded > 0 {
		r.s.MaxDecodeBatch = max(r.s.MaxDecodeBatch, decoded)
		r.gaps(s, decoded)
	}
	if s.New > 0 {
		n := s.New - s.Single
		r.fresh = append(r.fresh, freshSeqs{s.End, n})
		r.freshSeqs += n
	}
	r.timeline.Add(s)
}

// gaps enters the time between tokens that a decode step ends: of those that had
// theirs from the last decode step, and of those that a prefill has given one since.
// Preemption takes the latest first, so what is missing is missing from these; what
// a sequence waited to be recomputed is not a gap here, but is in its TPOT. Of steps
// that were taken at once, all are as long as they are on average.
func (r *Run) gaps(s *Step, decoded int64) {
	each := (s.End - s.Start) / max(1, s.Steps)
	r.itl.Add(each, decoded*(s.Steps-1))
	first := s.Start + each
	old := max(0, decoded-r.freshSeqs)
	r.itl.Add(first-r.lastDecode, old)
	left := decoded - old
	for _, f := range r.fresh {
		n := min(f.n, left)
		r.itl.Add(first-f.at, n)
		left -= n
	}
	r.fresh, r.freshSeqs = r.fresh[:0], 0
	r.lastDecode = s.End
}

// Summary is what a run comes to. Times are in seconds.
type Summary struct {
	Duration     float64 `json:"duration"` // from the first arrival to the last token
	Busy         float64 `json:"busy"`     // part of it that was in steps
	Finished     int64   `json:"completed"`
	Refused      int64   `json:"refused"`
	Unfinished   int64   `json:"unfinished"`
	Steps        int64   `json:"steps"`
	PrefillSteps int64   `json:"prefill_steps"`

	PromptTokens      int64 `json:"prompt_tokens"`     // of the finished
	GenerationTokens  int64 `json:"generation_tokens"` // of the finished
	Recomputed        int64 `json:"recomputed_tokens"` // prefilled again after preemptions
	Cached            int64 `json:"cached_tokens"`     // of prompts, that a prefix cache had
	Preemptions       int64 `json:"num_preemptions"`
	PreemptedRequests int64 `json:"preempted_requests"`
	MaxBatch          int64 `json:"max_batch"`
	MaxDecodeBatch    int64 `json:"max_decode_batch"`

	OfferedRate       float64 `json:"offered_request_rate"` // requests per second, as they came; 0 if all came at once
	RequestThroughput float64 `json:"request_throughput"`   // this and the following: per second of Duration
	InputThroughput   float64 `json:"input_throughput"`     // tokens
	OutputThroughput  float64 `json:"output_throughput"`    // tokens
	TotalThroughput   float64 `json:"total_token_throughput"`
	Goodput           float64 `json:"request_goodput"` // requests that keep the objectives
	GoodShare         float64 `json:"slo_attainment"`  // part of all requests that keep them

	Objectives []Objective `json:"objectives,omitempty"` // each by itself

	TTFT  Latency `json:"time_to_first_token_seconds"`
	TPOT  Latency `json:"request_time_per_output_token_seconds"`
	ITL   Latency `json:"inter_token_latency_seconds"`
	E2E   Latency `json:"e2e_request_latency_seconds"`
	Queue Latency `json:"request_queue_time_seconds"`

	Running   Level `json:"num_requests_running"` // means over Duration
	Waiting   Level `json:"num_requests_waiting"`
	BatchSize Level `json:"batch_size"`
	KVUsage   Usage `json:"kv_cache_usage_perc"` // part of the blocks, from 0 to 1
}

// Usage is which part of a cache was allocated.
type Usage struct {
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"`
}

// Summary returns what the run has come to so far.
func (r *Run) Summary() Summary {
	s := r.s
	begin := r.begin
	if r.requests > 0 {
		begin = min(begin, r.arrivalFirst)
	}
	ns := r.end - begin
	s.Duration = seconds(ns)
	s.TTFT, s.TPOT, s.ITL = r.ttft.Latency(), r.tpot.Latency(), r.itl.Latency()
	s.E2E, s.Queue = r.e2e.Latency(), r.queue.Latency()
	if r.requests > 0 {
		s.GoodShare = float64(r.good) / float64(r.requests)
		s.Objectives = r.objectives()
	}
	if span := r.arrivalLast - r.arrivalFirst; span > 0 {
		s.OfferedRate = float64(r.requests-1) / seconds(span)
	}
	if ns <= 0 {
		return s
	}
	servers := float64(1 + r.servers)
	s.Busy = float64(r.busy) / (servers * float64(ns))
	s.RequestThroughput = float64(s.Finished) / s.Duration
	s.InputThroughput = float64(s.PromptTokens) / s.Duration
	s.OutputThroughput = float64(s.GenerationTokens) / s.Duration
	s.TotalThroughput = float64(s.PromptTokens+s.GenerationTokens) / s.Duration
	s.Goodput = float64(r.good) / s.Duration
	var blocks Level
	for _, b := range r.timeline.buckets {
		s.Running.merge(b.Running)
		s.Waiting.merge(b.Waiting)
		s.BatchSize.merge(b.Batch)
		blocks.merge(b.Blocks)
	}
	for _, l := range []*Level{&s.Running, &s.Waiting, &s.BatchSize, &blocks} {
		l.Mean /= float64(ns)
	}
	if r.Blocks > 0 {
		s.KVUsage = Usage{blocks.Mean / (servers * float64(r.Blocks)), float64(blocks.Max) / float64(r.Blocks)}
	}
	return s
}

// Timeline returns what the run did over time, in at most n spans; 0 for as many
// as were kept.
func (r *Run) Timeline(n int) []Bucket { return r.timeline.Buckets(n) }
