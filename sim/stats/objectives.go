package stats

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// SLO are the objectives: the latencies that a request must not exceed to count for goodput. 0 is no
// limit.
type SLO struct {
	TTFT time.Duration `json:"ttft_ns,omitempty"` // time to first token
	TPOT time.Duration `json:"tpot_ns,omitempty"` // time per output token after the first, on average
	E2E  time.Duration `json:"e2e_ns,omitempty"`  // from arrival to the last token
	Part float64       `json:"part,omitempty"`    // fraction of all requests that must meet them, in (0, 1]; 0 is DefaultPart
}

// DefaultPart is the default fraction of the requests that must meet the objectives.
const DefaultPart = 0.99

// Set reports whether there is any objective.
func (s SLO) Set() bool { return s.TTFT > 0 || s.TPOT > 0 || s.E2E > 0 }

// Required returns the fraction of the requests that must meet the objectives.
func (s SLO) Required() float64 {
	if s.Part == 0 {
		return DefaultPart
	}
	return s.Part
}

// Validate returns every error of the objectives, joined.
func (s SLO) Validate() error {
	var errs []error
	if s.TTFT < 0 || s.TPOT < 0 || s.E2E < 0 {
		errs = append(errs, errors.New("an objective is negative"))
	}
	if !(s.Part >= 0 && s.Part <= 1) {
		errs = append(errs, fmt.Errorf("the fraction of the requests that must meet the objectives is %v: want one in (0, 1]", s.Part))
	}
	return errors.Join(errs...)
}

// objectives is the number of objectives. Their order is TTFT, TPOT, E2E.
const objectives = 3

func (s SLO) limits() [objectives]time.Duration {
	return [objectives]time.Duration{s.TTFT, s.TPOT, s.E2E}
}

func (s SLO) keeps(t Times) (keeps [objectives]bool) {
	times := [objectives]int64{t.TTFT, t.TPOT, t.E2E}
	for i, limit := range s.limits() {
		keeps[i] = limit <= 0 || times[i] <= int64(limit)
	}
	return keeps
}

// Objective is the attainment of one objective in a run.
type Objective struct {
	Name  string  `json:"name"`       // ttft, tpot or e2e
	Limit float64 `json:"limit"`      // seconds
	Share float64 `json:"attainment"` // fraction of all requests that meet it
	// At is the smallest limit, in seconds, that the required fraction of all requests would meet; 0
	// if fewer requests have finished.
	At float64 `json:"at"`
}

// keeps counts a finished request for the objectives that it meets.
func (r *Run) keeps(t Times) {
	all := true
	for i, k := range r.SLO.keeps(t) {
		if k {
			r.keep[i]++
		}
		all = all && k
	}
	if all {
		r.good++
	}
}

// objectives returns the attainment of each objective of the SLO.
func (r *Run) objectives() []Objective {
	var list []Objective
	rank := r.required()
	for i, limit := range r.SLO.limits() {
		if limit <= 0 {
			continue
		}
		o := Objective{Name: [objectives]string{"ttft", "tpot", "e2e"}[i], Limit: limit.Seconds(), Share: float64(r.keep[i]) / float64(r.requests)}
		times, first := [objectives]*Sketch{&r.ttft, &r.tpot, &r.e2e}[i], rank
		if times == &r.tpot {
			first -= r.single // requests with a single token have no TPOT and meet any limit
		}
		if rank <= r.s.Finished && first > 0 {
			o.At = seconds(times.AtRank(first))
		}
		list = append(list, o)
	}
	return list
}

// required returns the smallest number of requests that is the required fraction of all.
func (r *Run) required() int64 {
	n := int64(math.Ceil(r.SLO.Required() * float64(r.requests)))
	if n > 0 && float64(n-1)/float64(r.requests) >= r.SLO.Required() { // a product that was rounded up
		n--
	}
	return n
}

// Meets reports whether the required fraction of all requests meets the objectives.
func (s *Summary) Meets(slo SLO) bool {
	return s.Finished > 0 && s.GoodShare >= slo.Required()
}

// Worst returns the objective that the fewest requests meet, nil if there is none.
func (s *Summary) Worst() *Objective {
	var worst *Objective
	for i := range s.Objectives {
		if o := &s.Objectives[i]; worst == nil || o.Share < worst.Share {
			worst = o
		}
	}
	return worst
}

// Merge adds the run of another server at the same time, with its own requests. Afterwards the mean
// of a [Level] is the sum over the servers, its maximum that of a single server, and there is no
// timeline.
func (r *Run) Merge(o *Run) {
	if o.s.Steps > 0 {
		if r.s.Steps == 0 || o.begin < r.begin {
			r.begin = o.begin
		}
		r.end = max(r.end, o.end)
	}
	if o.requests > 0 {
		if r.requests == 0 || o.arrivalFirst < r.arrivalFirst {
			r.arrivalFirst = o.arrivalFirst
		}
		r.arrivalLast = max(r.arrivalLast, o.arrivalLast)
	}
	r.requests += o.requests
	r.good += o.good
	for i := range r.keep {
		r.keep[i] += o.keep[i]
	}
	r.single += o.single
	r.busy += o.busy
	r.servers += 1 + o.servers
	for _, pair := range [][2]*Sketch{{&r.ttft, &o.ttft}, {&r.tpot, &o.tpot}, {&r.itl, &o.itl}, {&r.e2e, &o.e2e}, {&r.queue, &o.queue}} {
		pair[0].Merge(pair[1])
	}
	r.timeline.buckets = append(r.timeline.buckets, o.timeline.buckets...)
	s, t := &r.s, &o.s
	for _, pair := range [][2]*int64{
		{&s.Finished, &t.Finished}, {&s.Refused, &t.Refused}, {&s.Unfinished, &t.Unfinished}, {&s.Steps, &t.Steps}, {&s.PrefillSteps, &t.PrefillSteps},
		{&s.PromptTokens, &t.PromptTokens}, {&s.GenerationTokens, &t.GenerationTokens}, {&s.Recomputed, &t.Recomputed}, {&s.Cached, &t.Cached},
		{&s.Preemptions, &t.Preemptions}, {&s.PreemptedRequests, &t.PreemptedRequests},
	} {
		*pair[0] += *pair[1]
	}
	s.MaxBatch, s.MaxDecodeBatch = max(s.MaxBatch, t.MaxBatch), max(s.MaxDecodeBatch, t.MaxDecodeBatch)
}
