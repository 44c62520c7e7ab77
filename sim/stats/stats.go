// Package stats computes serving metrics: distributions of TTFT, TPOT, inter-token and end-to-end
// latency, throughput, goodput, and over time the running and waiting requests and the use of the
// KV cache. It processes requests and steps one by one and keeps none of them, so that a million
// requests need no more memory than a thousand. The same requests and steps give the same summary,
// to the bit.
//
// Names in JSON are those of vLLM's Prometheus metrics without their prefix (vLLM,
// docs/design/metrics.md) or of its serving benchmark, where these have the metric.
//
// A [Run] collects the steps and requests, and returns a [Summary].
package stats

import "kvcompress/sim"

// Step is the part of a server's step that statistics need. Times are in nanoseconds on the serving
// clock.
type Step struct {
	Start, End int64
	Steps      int64 // number of equal steps that it stands for: see sim.Step
	Batch      int64 // sequences that got a token, in each of the steps
	New        int64 // those of Batch that got their token from a prefill
	Prompt     int64 // tokens prefilled, recomputed ones included
	Generated  int64 // tokens generated
	Running    int64 // sequences running in this step
	Waiting    int64 // sequences waiting in this step
	Blocks     int64 // blocks allocated at its end
	MeanBlocks int64 // mean of the allocated blocks, if it stands for several steps; else 0
	Finished   int64 // sequences that finish with this step
	Single     int64 // those of New that finish with this token
	Preempted  int64 // sequences preempted in this step
}

// FromStep returns the part of a step of [sim.Server] that statistics need.
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
	TPOT  int64 // from one token to the next, on average; −1 if there is only one token
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

// Run collects the statistics of a run. The zero value is ready for use; set SLO for objectives.
type Run struct {
	SLO    SLO
	Blocks int64 // of the cache

	// Client is the time, in nanoseconds, that clients and the API server add to each request's TTFT
	// and so to its end-to-end latency. The serving clock does not include it.
	Client int64

	ttft, tpot, itl, e2e, queue Sketch
	timeline                    Timeline
	s                           Summary
	begin, end                  int64
	busy                        int64
	requests, good              int64
	keep                        [objectives]int64 // requests that meet each objective
	single                      int64             // finished requests with one token, which have no TPOT
	servers                     int64             // servers that were merged into this run
	arrivalFirst, arrivalLast   int64
	lastDecode                  int64
	fresh                       []freshSeqs // sequences prefilled since the last decode step
	freshSeqs                   int64
}

// freshSeqs are n sequences that got their first token from a prefill at a time, and wait for the
// next token.
type freshSeqs struct{ at, n int64 }

// Request adds a request that has finished or was refused.
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

// Step adds a step. Steps must come in the order of time.
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

// gaps adds the inter-token latencies that a decode step ends: those of sequences with a token from
// the last decode step, and those of sequences prefilled since. Preemption takes the latest
// sequences first, so if sequences are missing, they are of the latter. The time that a sequence
// waits to be recomputed is not counted here; its TPOT includes it. Steps taken at once all count
// with their mean duration.
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

// Summary is the summary of a run. Times are in seconds.
type Summary struct {
	Duration     float64 `json:"duration"` // from the first arrival to the last token
	Busy         float64 `json:"busy"`     // fraction of Duration spent in steps
	Finished     int64   `json:"completed"`
	Refused      int64   `json:"refused"`
	Unfinished   int64   `json:"unfinished"`
	Steps        int64   `json:"steps"`
	PrefillSteps int64   `json:"prefill_steps"`

	PromptTokens      int64 `json:"prompt_tokens"`     // of finished requests
	GenerationTokens  int64 `json:"generation_tokens"` // of finished requests
	Recomputed        int64 `json:"recomputed_tokens"` // prefilled again after preemptions
	Cached            int64 `json:"cached_tokens"`     // tokens found in the prefix cache; on vLLM V1 also those of its own that a preempted request finds again
	Preemptions       int64 `json:"num_preemptions"`
	PreemptedRequests int64 `json:"preempted_requests"`
	MaxBatch          int64 `json:"max_batch"`
	MaxDecodeBatch    int64 `json:"max_decode_batch"`

	OfferedRate       float64 `json:"offered_request_rate,omitempty"` // arrivals per second; 0 if all arrive at once
	RequestThroughput float64 `json:"request_throughput"`             // this and the following: per second of Duration
	InputThroughput   float64 `json:"input_throughput"`               // tokens
	OutputThroughput  float64 `json:"output_throughput"`              // tokens
	TotalThroughput   float64 `json:"total_token_throughput"`
	Goodput           float64 `json:"request_goodput"` // requests that meet the objectives
	GoodShare         float64 `json:"slo_attainment"`  // fraction of all requests that meet them

	Objectives []Objective `json:"objectives,omitempty"` // each by itself

	TTFT  Latency `json:"time_to_first_token_seconds"`
	TPOT  Latency `json:"request_time_per_output_token_seconds"`
	ITL   Latency `json:"inter_token_latency_seconds"`
	E2E   Latency `json:"e2e_request_latency_seconds"`
	Queue Latency `json:"request_queue_time_seconds"`

	Running   Level `json:"num_requests_running"` // means over Duration
	Waiting   Level `json:"num_requests_waiting"`
	BatchSize Level `json:"batch_size"`
	KVUsage   Usage `json:"kv_cache_usage_perc"` // fraction of the blocks, from 0 to 1
}

// Usage is the fraction of a cache that was allocated.
type Usage struct {
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"`
}

// Summary returns the summary of the run so far.
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
