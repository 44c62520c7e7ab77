package sweep

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"kvcompress/dtype"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/stats"
	"kvcompress/trace"
)

// Settings are what all projections of a sweep have in common.
type Settings struct {
	BlockSize           int     `json:"block_size"`
	MaxNumBatchedTokens int     `json:"max_num_batched_tokens"` // of one prefill batch
	Watermark           float64 `json:"watermark"`
	Weights             string  `json:"weights,omitempty"` // format of the model's matrices; empty is the model's own
	KV                  string  `json:"kv_dtype"`          // format of keys and values in the cache
	ProtectedWindow     int     `json:"protected_window"`
	Sinks               int     `json:"sinks"`
	Interval            int     `json:"interval"`               // decode steps between compressions; 0 is after prefills only
	MaxKVPerCompression int     `json:"max_kv_per_compression"` // 0 is no limit

	SLO    stats.SLO          `json:"slo"`
	Prices map[string]float64 `json:"usd_per_gpu_hour,omitempty"` // by card; before those of the catalogue
}

// DefaultSettings are vLLM's, and KV-Compress's as they were measured: compression
// in every step, the newest 32 tokens protected.
func DefaultSettings() Settings {
	limits := sim.DefaultLimits()
	return Settings{
		BlockSize: 16, MaxNumBatchedTokens: limits.MaxNumBatchedTokens, Watermark: limits.Watermark, KV: "f16",
		ProtectedWindow: 32, Interval: 1,
	}
}

// Projector makes projections of one load of requests.
type Projector struct {
	Settings
	Profile  *cost.Profile // nil is the defaults
	Spread   sim.Spread    // which heads lose blocks; nil is cost.Spared
	Requests func() iter.Seq2[trace.Request, error]
}

// Projection is a projection in full.
type Projection struct {
	Outcome
	Run stats.Run
}

// Watch sees a projection as it goes. The zero value watches nothing.
type Watch struct {
	Step    func(*sim.Step)   // valid during the call
	Request func(*sim.Result) // likewise
	Skip    bool              // steps between which nothing happens may come as one
}

// Project implements [Project].
func (j *Projector) Project(ctx context.Context, p Point) (Outcome, error) {
	full, err := j.Full(ctx, p, Watch{Skip: true})
	if full == nil {
		return Outcome{Point: p}, err
	}
	return full.Outcome, err
}

// Full makes one projection, and tells all of it. Of a context that ends it returns
// what was projected until then, beside the error.
func (j *Projector) Full(ctx context.Context, p Point, watch Watch) (*Projection, error) {
	full := &Projection{Outcome: Outcome{Point: p}}
	o := &full.Outcome
	d, err := j.deployment(p)
	if err != nil {
		o.Error = err.Error()
		return full, nil
	}
	if o.Memory, err = d.Memory(); err != nil {
		o.Error = err.Error()
		return full, nil
	}
	profile := j.Profile
	if profile == nil {
		profile = cost.DefaultProfile()
	}
	fit := profile.For(d.Card.Name)
	o.Factors = fit.Of
	rates, err := d.Rates(fit.Factors)
	if err != nil {
		return nil, err
	}
	cfg := j.config(&d, p, o.Memory.Blocks)
	spread := j.Spread
	if spread == nil {
		spread = cost.Spared{}
	}
	ledger, err := sim.NewLedger(&cfg, spread)
	if err != nil {
		o.Error = err.Error()
		return full, nil
	}
	limits := sim.Limits{MaxNumSeqs: p.MaxNumSeqs, MaxNumBatchedTokens: j.MaxNumBatchedTokens, Watermark: j.Watermark}
	server, err := sim.NewStream(ledger, &cfg, limits, scaled(j.Requests(), p.Load), &rates)
	if err != nil {
		o.Error = err.Error()
		return full, nil
	}
	defer server.Close()
	full.Run = stats.Run{SLO: j.SLO, Blocks: int64(o.Memory.Blocks)}
	work, refusal, err := serve(ctx, server, &full.Run, watch)
	o.Metrics = full.Run.Summary()
	o.Time = d.Shares(fit.Factors, &work)
	o.price(&d, j.Prices)
	o.Reading = o.read(p.MaxNumSeqs, refusal)
	return full, err
}

// serve runs a server to its end.
func serve(ctx context.Context, server *sim.Server, run *stats.Run, watch Watch) (work sim.Work, refusal string, err error) {
	server.Skip = watch.Skip
	server.Batch = watch.Step != nil
	ended := func(r *sim.Result) {
		run.Request(r)
		if r.Error != "" && refusal == "" {
			refusal = r.Error
		}
		if watch.Request != nil {
			watch.Request(r)
		}
	}
	server.Done = ended
	var step sim.Step
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			err = ctx.Err()
			break
		}
		more, nextErr := server.Next(&step)
		if nextErr != nil {
			return work, refusal, nextErr
		}
		if !more {
			return work, refusal, nil
		}
		s := stats.FromStep(&step)
		run.Step(&s)
		work.Add(&step.Work)
		if watch.Step != nil {
			watch.Step(&step)
		}
	}
	for r := range server.Unfinished() {
		ended(&r)
	}
	return work, refusal, err
}

// scaled returns the requests with their arrivals as many times as often.
func scaled(requests iter.Seq2[trace.Request, error], load float64) iter.Seq2[trace.Request, error] {
	if load == 1 {
		return requests
	}
	return func(yield func(trace.Request, error) bool) {
		for r, err := range requests {
			at := math.Round(float64(r.ArrivalNS) / load)
			if err == nil && at > trace.MaxArrivalNS {
				err = fmt.Errorf("at a load of %g, request %q arrives after %g s: at most %g", load, r.ID, at/1e9, float64(trace.MaxArrivalNS)/1e9)
			}
			r.ArrivalNS = int64(at)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// deployment returns what a point is of.
func (j *Projector) deployment(p Point) (cost.Deployment, error) {
	model, err := catalog.FindModel(p.Model)
	if err != nil {
		return cost.Deployment{}, err
	}
	card, err := catalog.FindCard(p.Card)
	if err != nil {
		return cost.Deployment{}, err
	}
	d := cost.New(model, card)
	d.TP, d.BlockSize, d.MaxTokens = p.TP, j.BlockSize, j.MaxNumBatchedTokens
	d.Compresses, d.SortedKVs = p.Compression.Enabled(), j.MaxKVPerCompression
	if j.Weights != "" {
		d.Weights = catalog.Weights(j.Weights)
	}
	if err := d.KV.UnmarshalText([]byte(j.KV)); err != nil {
		return d, err
	}
	switch {
	case p.Budget.Tokens > 0:
		size := int64(max(1, j.BlockSize))
		d.BlocksGiven = int(min((p.Budget.Tokens+size-1)/size, math.MaxInt/int64(d.Heads())) * int64(d.Heads()))
	case p.Budget.Bytes > card.Memory:
		return d, fmt.Errorf("%s of memory are more than the %.1f GB of %s", p.Budget, float64(card.Memory)/1e9, card.Name)
	case p.Budget.Bytes > 0:
		d.Utilization = float64(p.Budget.Bytes) / float64(card.Memory)
	default:
		d.Utilization = p.Budget.Utilization
	}
	return d, nil
}

// config is the cache's, and the compression's.
func (j *Projector) config(d *cost.Deployment, p Point, blocks int) ref.Config {
	cfg := ref.Default()
	cfg.Shape, cfg.BlockSize, cfg.DType, cfg.Blocks = d.Model.Shape, d.BlockSize, d.KV, blocks
	cfg.Metric.Window = max(1, j.ProtectedWindow)
	cfg.Compression = ref.Compression{}
	if p.Compression.Enabled() {
		cfg.Compression = ref.Compression{
			Rate: p.Compression.Rate, MaxCacheTokens: p.Compression.MaxCacheTokens, ProtectedWindow: j.ProtectedWindow, Sinks: j.Sinks,
			Interval: j.Interval, MaxKVPerCompression: j.MaxKVPerCompression,
		}
	}
	return cfg
}

// price works out what the tokens cost.
func (o *Outcome) price(d *cost.Deployment, prices map[string]float64) {
	o.ThroughputPerCard = o.Metrics.TotalThroughput / float64(d.TP)
	usd, ok := prices[d.Card.Name]
	if !ok {
		usd = d.Card.PriceUSD
	}
	o.USDPerHour = usd * float64(d.TP)
	if o.Metrics.OutputThroughput > 0 {
		o.USDPerMillion = o.USDPerHour / (o.Metrics.OutputThroughput * 3600) * 1e6
		o.USDPerMillionAll = o.USDPerHour / (o.Metrics.TotalThroughput * 3600) * 1e6
	}
}

// Check returns an error for settings with which no projection can be made.
func (s *Settings) Check() error {
	var kv dtype.DType
	err := kv.UnmarshalText([]byte(s.KV))
	limits := sim.Limits{MaxNumSeqs: 1, MaxNumBatchedTokens: s.MaxNumBatchedTokens, Watermark: s.Watermark}
	return errors.Join(err, limits.Validate())
}
