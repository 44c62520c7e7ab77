package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"kvcompress/ref"
	"kvcompress/trace"
)

// Plan is the input of a projection: the configuration of a ledger, and costs that replace a clock.
type Plan struct {
	Config   ref.Config
	Schedule Schedule
	Limits   Limits
	Rates    Rates
	Products Products // time of steps beyond the rates; nil for none
	Spread   Spread   // nil for Even

	Select         *Selection // nil if queries read all KVs
	Scheduler      Scheduler  // VLLMV1 or VLLM06; any other follows from ChunkedPrefill and PrefixTokens
	V1             V1         // options of VLLMV1, whose cache has one block less than Config: the null block
	Layout         *Layout    // nil if all layers hold every token: see Ledger.Lay
	Experts        Experts    // of a mixture of experts
	ChunkedPrefill bool       // see Server.ChunkPrefills
	PrefixTokens   int        // tokens of a prefix hash; 0 for no prefix caching: see Ledger.CachePrefixes
	Concurrency    int        // clients of a closed loop; 0: requests arrive at their recorded times: see Server.CloseLoop
	Turns          Turns      // when the turns of a session arrive; empty is as recorded: see Server.KeepTurns
	Check          bool       // check the scheduler's invariants in each step; it takes longer
	MaxSteps       int        // most steps; 0 is no limit
}

// Watch has functions that are called during a projection. With the zero value a projection is fastest.
type Watch struct {
	Step   func(*Step)   // called after every step; valid during the call
	Quiet  bool          // call Step once for several steps between which nothing happens: see Step.Steps
	Batch  bool          // report in each step the sequences of its batch
	Result func(*Result) // called for every request that has arrived; valid during the call
}

// Projection is the result of a projection.
type Projection struct {
	Steps       int   `json:"steps"`
	EndNS       int64 `json:"end_ns"`    // on the serving clock
	MaxBatch    int   `json:"max_batch"` // most sequences decoded in a step
	Finished    int   `json:"requests_finished"`
	Refused     int   `json:"requests_refused"`
	Unfinished  int   `json:"requests_unfinished"`
	Preemptions int   `json:"preemptions"`
	Recomputed  int   `json:"recomputed_tokens"`
	Cached      int   `json:"cached_tokens"`
	InputTokens int   `json:"input_tokens"`  // of finished requests
	Output      int   `json:"output_tokens"` // likewise
	PeakBlocks  int   `json:"peak_blocks"`
	PeakKVs     int   `json:"peak_kvs"`
	Work        Work  `json:"-"`
	Products    Ticks `json:"-"` // the part of the time that is not linear in the work

	// For disaggregated servers: the number of prompts whose KVs were sent, and the total times, in
	// seconds, for which they waited for the link of their server and used it.
	Sent     int     `json:"kvs_sent"`
	LinkWait float64 `json:"kv_link_wait"`
	LinkBusy float64 `json:"kv_link_busy"`
}

// ErrMaxSteps is wrapped by the error of a projection that reached Plan.MaxSteps.
var ErrMaxSteps = errors.New("the maximum number of steps is reached")

// Project serves requests, which it reads as they arrive. If the context ends, it returns the result so
// far and the context's error, and requests that have arrived are reported as unfinished.
func Project(ctx context.Context, p *Plan, requests iter.Seq2[trace.Request, error], watch Watch) (*Projection, error) {
	run, err := p.start(requests, watch)
	if err != nil {
		return nil, err
	}
	defer run.server.Close()
	if p.Concurrency != 0 {
		if err := run.server.CloseLoop(p.Concurrency); err != nil {
			return nil, err
		}
	}
	if err := run.server.KeepTurns(p.Turns); err != nil {
		return nil, err
	}
	for more := true; more && err == nil; {
		if err = ctx.Err(); err == nil {
			more, err = run.next()
		}
	}
	return run.out, run.end(err)
}

// projecting is a projection on one server.
type projecting struct {
	server   *Server
	ledger   *Ledger
	check    *checker // nil unless the plan has it
	watch    Watch
	replica  int // number of the server, of several
	maxSteps int
	step     Step // the latest one
	out      *Projection
}

// start makes the ledger and the server of a plan. Requests arrive at their recorded times.
func (p *Plan) start(requests iter.Seq2[trace.Request, error], watch Watch) (*projecting, error) {
	cfg := p.Config
	if p.Scheduler == VLLMV1 {
		if p.ChunkedPrefill || p.PrefixTokens != 0 {
			return nil, errors.New("sim: vllm-v1 has options of its own for chunked prefill and prefix caching: ChunkedPrefill and PrefixTokens are for other schedulers")
		}
		cfg.Blocks = V1Blocks(&cfg, p.Layout)
	}
	ledger, err := NewLedger(&cfg, p.Spread)
	if err != nil {
		return nil, err
	}
	if err := p.Rates.Validate(); err != nil {
		return nil, err
	}
	if p.PrefixTokens != 0 {
		if err := ledger.CachePrefixes(p.PrefixTokens); err != nil {
			return nil, err
		}
	}
	if p.Select != nil {
		if err := ledger.Select(*p.Select); err != nil {
			return nil, err
		}
	}
	if p.Layout != nil {
		if err := ledger.Lay(*p.Layout); err != nil {
			return nil, err
		}
	}
	server, err := NewStream(ledger, &cfg, p.Schedule, p.Limits, requests, &p.Rates)
	if err != nil {
		return nil, err
	}
	server.experts = p.Experts
	switch {
	case p.Scheduler == VLLMV1:
		err = server.UseV1(p.V1)
	case p.ChunkedPrefill:
		err = server.ChunkPrefills()
	case p.Scheduler == VLLM06 || p.PrefixTokens != 0:
		err = server.UseVLLM06()
	}
	if err != nil {
		server.Close()
		return nil, err
	}
	run := &projecting{server: server, ledger: ledger, watch: watch, maxSteps: p.MaxSteps, out: &Projection{}}
	server.Done = run.result
	server.Products = p.Products
	if p.Check {
		run.check = newChecker(ledger.Blocks())
		if p.Scheduler == VLLMV1 {
			run.check.budget = p.Limits.MaxNumBatchedTokens
		}
		server.took = run.check.took
		server.Done = func(r *Result) {
			run.check.done(r)
			run.result(r)
		}
	}
	server.Skip = watch.Step == nil || watch.Quiet
	server.Batch = watch.Batch || p.Check
	return run, nil
}

func (p *projecting) result(r *Result) {
	r.Replica = p.replica
	p.out.add(r)
	if p.watch.Result != nil {
		p.watch.Result(r)
	}
}

// next runs one step, or several equal ones at once. It returns false when every request has finished or
// was refused.
func (p *projecting) next() (bool, error) {
	if p.maxSteps > 0 && p.out.Steps >= p.maxSteps {
		return false, fmt.Errorf("sim: %w: %d", ErrMaxSteps, p.out.Steps)
	}
	more, err := p.server.Next(&p.step)
	if !more && err == nil && p.check != nil {
		err = p.check.idle(&p.step)
	}
	if !more || err != nil {
		return false, err
	}
	p.out.step(&p.step)
	if p.watch.Step != nil {
		p.watch.Step(&p.step)
	}
	if p.check != nil {
		if err := p.check.step(&p.step); err != nil {
			return false, err
		}
	}
	return true, nil
}

// end reports the unfinished requests, and returns err joined with the errors of the checks.
func (p *projecting) end(err error) error {
	for r := range p.server.Unfinished() {
		p.result(&r)
	}
	if p.check != nil {
		err = errors.Join(err, p.check.end(p.server.Unfinished()), p.ledger.audit())
	}
	return err
}

func (p *Projection) add(r *Result) {
	p.Preemptions += r.Preemptions
	p.Recomputed += r.Recomputed
	p.Cached += r.Cached
	switch {
	case r.Finished >= 0:
		p.Finished++
		p.InputTokens += r.PromptTokens
		p.Output += r.OutputTokens
	case r.Error != "":
		p.Refused++
	default:
		p.Unfinished++
	}
}

func (p *Projection) step(s *Step) {
	p.Steps += s.Steps
	p.EndNS = s.End
	if n := int(s.Work[DecodeSeqs]); n > p.MaxBatch*s.Steps {
		p.MaxBatch = n / s.Steps
	}
	p.PeakBlocks = max(p.PeakBlocks, s.Peak)
	p.PeakKVs = max(p.PeakKVs, s.Usage.KVs)
	p.Work.Add(&s.Work)
	p.Products = p.Products.Plus(s.Products)
}
