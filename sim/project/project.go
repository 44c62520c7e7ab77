// Package project projects the latencies and throughput of serving requests on given cards, and what
// limits them. The scheduler of package sim serves the requests on a ledger that counts blocks.
// Package cost models how many blocks fit the cards' memory and how long each step takes.
//
// Start with [Run].
package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/stats"
	"kvcompress/trace"
)

// Config is the input of a projection, besides the requests.
type Config struct {
	Deployment cost.Deployment // SortedKVs follows from Schedule
	Schedule   sim.Schedule
	Scheduler  sim.Scheduler // empty is KVCompressServer
	V1         sim.V1        // of VLLMV1
	Limits     sim.Limits    // MaxNumBatchedTokens 0 is the deployment's MaxTokens
	Profile    *cost.Profile // nil is the defaults
	Spread     sim.Spread    // nil is cost.Spared
	SLO        stats.SLO

	PrefixTokens   int                 // tokens of a prefix hash of the requests; 0 turns prefix caching off
	ChunkedPrefill bool                // prefill prompts in chunks, in the same steps as decoding sequences
	Concurrency    int                 // clients of a closed loop; 0: requests arrive at their recorded times
	Turns          sim.Turns           // when the turns of a session arrive; empty is as recorded
	Replicas       int                 // of the deployment, behind a router; 0 is 1
	Router         sim.Router          // of several replicas
	Disaggregation *sim.Disaggregation // prefill and decode servers, in place of Replicas; Router and BlockBytes in it are set by Run
	Check          bool                // check the scheduler's invariants in each step; it takes longer

	Step func(*sim.Step)   // called after every step, or after several equal ones taken at once; may be nil
	Done func(*sim.Result) // called with each request's result; may be nil
}

// Result is the result of a projection.
type Result struct {
	Memory   cost.Memory   `json:"memory"`
	Metrics  stats.Summary `json:"metrics"`
	Time     []cost.Share  `json:"time"`                       // by term
	Client   float64       `json:"client_seconds"`             // time that clients and the API server add to TTFT and E2E: see cost.RequestTerm
	Factors  string        `json:"factors_of"`                 // the measurements that the cost model's factors were fitted to
	Other    string        `json:"factors_of_other,omitempty"` // how these differ from what is projected, such as another card: see cost.Fit.Suits
	Expected string        `json:"error_to_expect"`            // of the times, in words: see cost.Fit.Expected
	Bound    Bound         `json:"bound"`
	Reading  string        `json:"reading"`             // what limits the throughput, in a sentence or two
	Refusal  string        `json:"refusal,omitempty"`   // why the first refused request was refused
	TooLong  int64         `json:"longer_than_context"` // refused requests that are longer than max_model_len: by default the model's context
	Link     *LinkUse      `json:"kv_link,omitempty"`   // of disaggregated servers
	Notes    []string      `json:"notes,omitempty"`     // assumptions about the method
	Partial  bool          `json:"partial"`             // it was interrupted before the last request finished
}

// LinkUse is the use of the links over which prefill servers send KVs to decode servers.
type LinkUse struct {
	Sent int     `json:"prompts"`      // prompts whose KVs were sent
	Send float64 `json:"send_seconds"` // mean time to send a prompt's KVs, without the latency
	Wait float64 `json:"wait_seconds"` // mean time that a prompt's KVs wait for the link
	Busy float64 `json:"busy"`         // fraction of the duration that a link is in use, mean over the prefill servers
}

// linkUse returns the use of the servers' links, nil if nothing was sent.
func linkUse(served *sim.Projection, servers int, duration float64) *LinkUse {
	if served.Sent == 0 {
		return nil
	}
	n := float64(served.Sent)
	u := &LinkUse{Sent: served.Sent, Send: served.LinkBusy / n, Wait: served.LinkWait / n}
	if duration > 0 {
		u.Busy = min(1, served.LinkBusy/(duration*float64(servers)))
	}
	return u
}

// Bound says what requests waited for, as fractions of the time.
type Bound struct {
	Nothing float64 `json:"nothing"`      // no request waited
	Memory  float64 `json:"memory"`       // waiting for free blocks, while others decoded
	Seqs    float64 `json:"max_num_seqs"` // waiting because of max_num_seqs, while others decoded
	Prefill float64 `json:"prefill"`      // waiting for the prefill of earlier prompts
}

// ByLoad reports whether the load is the bound of a run: in at least nine tenths of the time no request waited.
func (b *Bound) ByLoad() bool { return b.Nothing >= 0.9 }

// Run makes a projection. If the context ends, it returns the result so far, marked partial, and
// the context's error.
func Run(ctx context.Context, c Config, requests iter.Seq2[trace.Request, error]) (*Result, error) {
	d := c.Deployment
	d.SortedKVs = 0
	if d.Compresses() {
		d.SortedKVs = c.Schedule.MaxKVPerCompression
	}
	if c.Limits.MaxNumBatchedTokens == 0 {
		c.Limits.MaxNumBatchedTokens = d.MaxTokens
	}
	if c.Replicas < 0 || c.Replicas > sim.MaxReplicas {
		return nil, fmt.Errorf("%d replicas: want 1 to %d", c.Replicas, sim.MaxReplicas)
	}
	memory, err := d.Memory()
	if err != nil {
		return nil, err
	}
	if memory.Blocks < 1 {
		return nil, fmt.Errorf("%s leaves no block of KV cache on %s", d.Model.Name, d.Card.Name)
	}
	if c.Limits.MaxModelLen == 0 && memory.MaxModelLen < catalog.Unbounded {
		c.Limits.MaxModelLen = memory.MaxModelLen
	}
	profile := c.Profile
	if profile == nil {
		profile = cost.DefaultProfile()
	}
	server := cmp.Or(c.Scheduler, sim.KVCompressServer)
	fit := profile.For(&d.Card, server)
	rates, products, err := d.Costs(&fit)
	if err != nil {
		return nil, err
	}
	cfg := d.Config()
	cfg.Blocks = memory.Blocks
	spread := c.Spread
	if spread == nil {
		spread = cost.Spared{}
	}
	servers := max(1, c.Replicas)
	if c.Disaggregation != nil {
		if c.Replicas > 1 {
			return nil, errors.New("replicas and disaggregated servers exclude each other")
		}
		if err := c.Disaggregation.Validate(); err != nil {
			return nil, err
		}
		servers = c.Disaggregation.Prefill + c.Disaggregation.Decode
	}
	runs := make([]stats.Run, servers)
	for i := range runs {
		runs[i] = stats.Run{SLO: c.SLO, Blocks: int64(memory.Blocks), Client: fit.ClientNS()}
	}
	var bound bounds
	refusal, tooLong := "", int64(0)
	plan := sim.Plan{
		Scheduler: c.Scheduler, V1: c.V1,
		Config: cfg, Schedule: c.Schedule, Limits: c.Limits, Rates: rates, Products: products, Spread: spread,
		Select: d.Selection(), Layout: d.Layout(), Experts: sim.Experts(d.Model.Experts), PrefixTokens: c.PrefixTokens, ChunkedPrefill: c.ChunkedPrefill, Check: c.Check,
		Concurrency: c.Concurrency, Turns: c.Turns,
	}
	var whole prompts
	if rate := d.PromptRate(); rate < 1 {
		if c.PrefixTokens > 0 {
			return nil, errors.New("prefix caching does not go with prompt compression: which tokens of a prefix are kept depends on what follows it, so it cannot be shared")
		}
		requests = whole.shortened(requests, rate)
	}
	watch := func(replica int) sim.Watch {
		run := &runs[replica]
		return sim.Watch{
			Quiet: true,
			Step: func(s *sim.Step) {
				e := stats.FromStep(s)
				run.Step(&e)
				bound.add(s, &c)
				if c.Step != nil {
					c.Step(s)
				}
			},
			Result: func(r *sim.Result) {
				if r.Error != "" && r.PromptTokens+r.Asked > memory.MaxModelLen {
					tooLong++
				}
				if refusal == "" {
					refusal = r.Error
				}
				r = whole.restored(r)
				run.Request(r)
				if c.Done != nil {
					c.Done(r)
				}
			},
		}
	}
	router := c.Router
	if router == "" {
		router = sim.RoundRobin
	}
	var served *sim.Projection
	if c.Disaggregation != nil {
		of := *c.Disaggregation
		of.Router, of.Link.BlockBytes = router, int64(memory.BlockKV)*int64(d.CardHeads())
		served, err = sim.ProjectDisaggregated(ctx, &plan, of, requests, watch)
	} else {
		served, err = sim.ProjectReplicas(ctx, &plan, len(runs), router, requests, watch)
	}
	if served == nil {
		return nil, err
	}
	for i := range runs[1:] {
		runs[0].Merge(&runs[i+1])
	}
	run := &runs[0]
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	r := &Result{
		Memory: memory, Metrics: run.Summary(), Time: d.Shares(&fit, &served.Work, served.Products),
		Client: float64(fit.ClientNS()) / 1e9, Factors: fit.Of, Other: fit.Suits(&d.Card, server), Expected: fit.Expected(&d.Card, server),
		Bound: bound.parts(), Refusal: refusal, TooLong: tooLong, Notes: c.notes(), Partial: err != nil,
	}
	if c.Disaggregation != nil {
		r.Link = linkUse(served, c.Disaggregation.Prefill, r.Metrics.Duration)
	}
	if untimed := fit.Untimed(); untimed != "" {
		r.Notes = append(r.Notes, untimed)
	}
	if unlike := fit.Unlike(&d); unlike != "" {
		r.Notes = append(r.Notes, unlike)
	}
	r.Reading = r.read(&c)
	return r, err
}

// prompts has the lengths of the prompts that have been shortened, of requests that have no result yet,
// so that throughputs count the tokens that clients send.
type prompts map[string]int

// shortened returns the requests with a fraction of their prompts' tokens, rounded up.
func (p *prompts) shortened(requests iter.Seq2[trace.Request, error], rate float64) iter.Seq2[trace.Request, error] {
	*p = prompts{}
	return func(yield func(trace.Request, error) bool) {
		for r, err := range requests {
			(*p)[r.ID] = r.PromptTokens
			r.PromptTokens = int(math.Ceil(float64(rate * float64(r.PromptTokens))))
			r.PrefixHashes = nil
			if !yield(r, err) {
				return
			}
		}
	}
}

// restored returns a result with the length of its prompt before it was shortened.
func (p prompts) restored(r *sim.Result) *sim.Result {
	n, ok := p[r.ID]
	if !ok {
		return r
	}
	delete(p, r.ID)
	of := *r
	of.PromptTokens = n
	return &of
}

// bounds sums up what requests waited for, in nanoseconds. If requests wait during a step without a
// prefill (on vLLM V1: during a step that does not use all tokens of its batch), none of them can be
// admitted.
type bounds struct{ nothing, memory, seqs, prefill float64 }

func (b *bounds) add(s *sim.Step, c *Config) {
	ns := float64(s.End - s.Start)
	prefill := s.Work[sim.PrefillTokens] > 0
	if c.Scheduler == sim.VLLMV1 {
		prefill = s.Tokens/s.Steps >= c.Limits.MaxNumBatchedTokens
	}
	switch {
	case s.Waiting == 0:
		b.nothing += ns
	case prefill:
		b.prefill += ns
	case s.Running+s.Filling+len(s.Finished) >= c.Limits.MaxNumSeqs:
		b.seqs += ns
	default:
		b.memory += ns
	}
}

func (b *bounds) parts() Bound {
	sum := b.nothing + b.memory + b.seqs + b.prefill
	if sum == 0 {
		return Bound{Nothing: 1}
	}
	return Bound{b.nothing / sum, b.memory / sum, b.seqs / sum, b.prefill / sum}
}
