package cost

import (
	"context"
	"fmt"

	"kvcompress/internal/words"
	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/trace"
)

// setup has the settings of measured runs that their file does not state.
type setup struct {
	Card        catalog.Card
	Utilization float64
	MaxTokens   int // of a prefill batch, and of a request
	SortedKVs   int // most slots that one compression sorts; 0 is no limit
	Window      int // tokens of the protected window and of the observation window
}

// setupOf returns the setup of a card's runs of a model: that of KV-Compress's published benchmark,
// if it has such runs, or else vLLM's defaults.
//
// The benchmark says that its H100 has 80 GB. But its largest batches need 13.2 GB of cache beside
// 72.7 GB of weights, which is more than 0.96 of 80 GB, and its decode steps read the weights faster
// than that card's 3.35 TB/s. Both agree with an H100 NVL, of 94 GB and 3.9 TB/s, so that card is
// assumed.
func setupOf(c catalog.Card, m catalog.Model) (setup, error) {
	s := setup{Card: c, Utilization: 0.9, MaxTokens: 32768, Window: 32}
	switch {
	case c.Name == "l4" && m.Name == "llama-3.1-8b":
		s.MaxTokens, s.SortedKVs = 19000, 5_000_000
	case c.Name == "h100" && m.Name == "llama-3.1-70b-fp8":
		s.Utilization, s.MaxTokens, s.SortedKVs = 0.96, 33000, 50_000_000
		var err error
		s.Card, err = catalog.FindCard("h100-nvl")
		return s, err
	}
	return s, nil
}

// Case is a measured run, projected.
type Case struct {
	Measurement
	Deployment Deployment `json:"-"`
	Memory     Memory     `json:"memory"`
	Batch      int        `json:"predicted_batch"`            // largest decode batch
	Work       sim.Work   `json:"-"`                          // of the run
	Throughput float64    `json:"predicted_tokens_per_s"`     // 0 before [Case.Predict]
	Off        *float64   `json:"throughput_error,omitempty"` // of the predicted, as a part of the measured; nil where none was
	Time       []Share    `json:"time,omitempty"`             // by term
	Calibrated string     `json:"factors_of,omitempty"`       // the measurements that the factors were fitted to
}

// withinContext returns an error if a request of this many tokens is longer than the model's context.
func withinContext(tokens int, m *catalog.Model) error {
	if tokens <= m.MaxLen {
		return nil
	}
	return fmt.Errorf("a request of %s is longer than the context of %s, %s: a server refuses it", words.Count(tokens, "token"), m.Name, words.Count(m.MaxLen, "token"))
}

// SpreadOf returns, for the shape of a model, how evicted KVs are spread over its heads.
type SpreadOf func(kv.Shape) (sim.Spread, error)

// NewCase simulates a measured run: the scheduler serves its requests on a ledger with the blocks
// that fit the memory. The result does not depend on the times of steps, since all requests arrive at
// the start. spreadOf may be nil, for [Spared].
func NewCase(ctx context.Context, m Measurement, spreadOf SpreadOf) (*Case, error) {
	model, err := catalog.FindModel(m.Model)
	if err != nil {
		return nil, err
	}
	card, err := catalog.FindCard(m.GPU)
	if err != nil {
		return nil, err
	}
	if err := withinContext(m.InputLen+m.OutputLen, &model); err != nil {
		return nil, err
	}
	s, err := setupOf(card, model)
	if err != nil {
		return nil, err
	}
	d := New(model, s.Card)
	d.Utilization, d.MaxTokens, d.Engine = s.Utilization, s.MaxTokens, KVCompress // plain vLLM 0.6.0 profiles memory in the same way
	d.Method.Metric = ref.Default().Metric
	d.Method.Metric.Window = s.Window
	if m.Compressed() {
		d.SortedKVs = s.SortedKVs
		d.Method.Compression = ref.Compression{MaxCacheTokens: m.MaxCacheTokens, ProtectedWindow: s.Window}
	}
	c := &Case{Measurement: m, Deployment: d}
	if c.Memory, err = d.Memory(); err != nil {
		return nil, err
	}
	cfg := d.Config()
	cfg.Blocks = c.Memory.Blocks
	requests := make([]trace.Request, m.NumRequests)
	for i := range requests {
		requests[i] = trace.Request{PromptTokens: m.InputLen, OutputTokens: m.OutputLen}
	}
	limits := sim.DefaultLimits()
	limits.MaxNumBatchedTokens = s.MaxTokens
	var spread sim.Spread = Spared{}
	if spreadOf != nil {
		if spread, err = spreadOf(model.Shape); err != nil {
			return nil, err
		}
	}
	schedule := sim.Schedule{MaxKVPerCompression: s.SortedKVs, Strict: true}
	return c, c.serve(ctx, &cfg, schedule, limits, requests, spread)
}

// NewCases is [NewCase] for every measurement, on all cores. file names the measurements in errors.
// done, unless nil, is called after each, from any goroutine.
func NewCases(ctx context.Context, list []Measurement, file string, spreadOf SpreadOf, done func()) ([]*Case, error) {
	return ofRows(ctx, len(list), func(ctx context.Context, i int) (*Case, error) {
		c, err := NewCase(ctx, list[i], spreadOf)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, list[i].Line, err)
		}
		if done != nil {
			done()
		}
		return c, nil
	})
}

// ofRows returns the results of one for each of n rows, computed on all cores. It ends at the first
// error.
func ofRows[T any](ctx context.Context, n int, one func(ctx context.Context, i int) (T, error)) ([]T, error) {
	all := make([]T, n)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work.Each(work.Workers(n), n, func(_, i int) {
		if ctx.Err() != nil {
			return
		}
		var err error
		if all[i], err = one(ctx, i); err != nil {
			cancel(err)
		}
		work.Step(ctx)
	})
	return all, context.Cause(ctx)
}

// serve sets the work and the largest batch. Rows without compression are of vLLM 0.6.0, the others
// of KV-Compress's server at the time of the published plots: commit 463a1a53 counts KVs, and its
// benchmark set no interval, so that it compresses only after prefills and when blocks are lacking.
func (c *Case) serve(ctx context.Context, cfg *ref.Config, schedule sim.Schedule, limits sim.Limits, requests []trace.Request, spread sim.Spread) error {
	ledger, err := sim.NewLedger(cfg, spread)
	if err != nil {
		return err
	}
	server, err := sim.NewServer(ledger, cfg, schedule, limits, requests, nil)
	if err == nil && cfg.Compresses() {
		err = ledger.CountLike(sim.CountKVs)
	} else if err == nil {
		err = server.UseVLLM06()
	}
	if err != nil {
		return err
	}
	server.Skip = true
	var step sim.Step
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := server.Next(&step)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if step.Kind == sim.Decode {
			c.Batch = max(c.Batch, step.Sequences)
		}
		c.Work.Add(&step.Work)
	}
	for _, r := range server.Results() {
		if r.Error != "" {
			return fmt.Errorf("a request was refused: %s", r.Error)
		}
	}
	return nil
}

// Predict sets the throughput by the factors of a profile.
func (c *Case) Predict(p *Profile) error {
	fit := p.For(&c.Deployment.Card, c.Deployment.Engine.Scheduler())
	c.Calibrated = fit.Of
	rates, products, err := c.Deployment.Costs(&fit)
	if err != nil {
		return err
	}
	if products != nil {
		return fmt.Errorf("the fit to %s is of a server with chunked prefill, and these runs are of a server without", fit.Of)
	}
	seconds := rates.Cost(&c.Work).Seconds()
	if seconds == 0 {
		return fmt.Errorf("with the factors of %s the run takes no time", fit.Of)
	}
	c.Throughput = float64(c.NumRequests*(c.InputLen+c.OutputLen)) / seconds
	c.Time = c.Deployment.Shares(&fit, &c.Work, sim.Ticks{})
	c.Off = off(c.Throughput, c.TokensPerS)
	return nil
}

// Summary compares predictions with measurements. Errors are fractions: 0.04 is 4 %.
type Summary struct {
	Rows               int      `json:"rows"`
	BatchRows          int      `json:"batch_rows"` // rows with a measured batch
	BatchExact         int      `json:"batch_exact"`
	BatchMaxError      int      `json:"batch_max_error"`
	ThroughputMAPE     *float64 `json:"throughput_mape,omitempty"`      // mean absolute error; nil where nothing was measured
	ThroughputMaxError *float64 `json:"throughput_max_error,omitempty"` // absolute; likewise
}

// Summarize compares cases with what was measured.
func Summarize(cases []*Case) Summary {
	s := Summary{Rows: len(cases)}
	var throughput errorSum
	for _, c := range cases {
		if c.MaxDecodingBatch > 0 {
			s.BatchRows++
			off := max(c.Batch-c.MaxDecodingBatch, c.MaxDecodingBatch-c.Batch)
			s.BatchMaxError = max(s.BatchMaxError, off)
			if off == 0 {
				s.BatchExact++
			}
		}
		throughput.addKnown(c.Off)
	}
	s.ThroughputMAPE, s.ThroughputMaxError = throughput.mape(), throughput.maxError()
	return s
}
