package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"kvcompress/ref"
	"kvcompress/trace"
)

// Plan is what a projection serves requests with: a ledger and costs, in place of
// an engine and a clock.
type Plan struct {
	Config   ref.Config
	Schedule Schedule
	Limits   Limits
	Rates    Rates
	Products Products // what iterations take beyond the rates; nil for nothing
	Spread   Spread   // nil for Even

	Select         *Selection // nil where queries read all that is held
	Scheduler      Scheduler  // VLLMV1, or any other for one by ChunkedPrefill and PrefixTokens
	V1             V1         // of VLLMV1, whose cache lacks the null block of Config's
	Layout         *Layout    // nil where all layers are alike: see Ledger.Lay
	Experts        Experts    // of a mixture
	ChunkedPrefill bool       // see Server.ChunkPrefills
	PrefixTokens   int        // of a prefix hash; 0 for no prefix caching: see Ledger.CachePrefixes
	Concurrency    int        // of a closed loop; 0 where requests arrive by their own times: see Server.CloseLoop
	Turns          Turns      // when the turns of a session arrive; empty is as recorded: see Server.KeepTurns
	Check          bool       // see that the run keeps to the server's rules; it takes longer
	MaxSteps       int        // the most steps; 0 for no bound
}

// Watch is told of a projection. The zero value watches nothing, which is the
// fastest.
type Watch struct {
	Step   func(*Step)   // after every step; valid during the call
	Quiet  bool          // have Step told of steps between which nothing happens at once: see Step.Steps
	Batch  bool          // have steps say which sequences their batches are
	Result func(*Result) // of every request that has arrived; valid during the call
}

// Projection is what a projection comes to.
type Projection struct {
	Steps       int   `json:"steps"`
	EndNS       int64 `json:"end_ns"`    // on the serving clock
	MaxBatch    int   `json:"max_batch"` // sequences decoded together, at most
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
	Products    Ticks `json:"-"` // of the time, what is not linear in the work

	// Of disaggregated servers: prompts whose KVs were sent, and in seconds how long they
	// waited in all for the link of their server and were on it.
	Sent     int     `json:"kvs_sent"`
	LinkWait float64 `json:"kv_link_wait"`
	LinkBusy float64 `json:"kv_link_busy"`
}

// ErrMaxSteps is in the error of a projection that reached Plan.MaxSteps.
var ErrMaxSteps = errors.New("the steps are used up")

// Project serves requests, which it reads as they arrive. The context ends it; what
// it has come to is returned beside the error, and the requests that had arrived
// are reported unfinished.
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
	replica  int // among several servers
	maxSteps int
	step     Step // the last one
	out      *Projection
}

// start makes the ledger and the server of a plan. Requests arrive by their own times.
func (p *Plan) start(requests iter.Seq2[trace.Request, error], watch Watch) (*projecting, error) {
	cfg := p.Config
	if p.Scheduler == VLLMV1 {
		if p.ChunkedPrefill || p.PrefixTokens != 0 {
			return nil, errors.New("sim: vllm-v1 chunks prompts and shares prefixes as its own options say")
		}
		if p.Layout == nil { // else the null block is not whole blocks of the heads
			cfg.Blocks = V1Blocks(&cfg)
		}
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

// next runs one iteration, or several where steps are skipped. It returns false when every
// request has finished or was refused.
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

// end reports the requests that are unfinished, and returns err with what a check finds.
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
	p.PeakBlocks = max(p.PeakBlocks, s.Usage.Allocated)
	p.PeakKVs = max(p.PeakKVs, s.Usage.KVs)
	p.Work.Add(&s.Work)
	p.Products = p.Products.Plus(s.Products)
}
