package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sort"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
	"kvcompress/trace"
)

// Settings are the inputs that all projections of a sweep share.
type Settings struct {
	BlockSize           int     `json:"block_size"`
	MaxNumBatchedTokens int     `json:"max_num_batched_tokens"`      // of one prefill batch; 0 is vLLM V1's default for the card
	MaxModelLen         int     `json:"max_model_len,omitempty"`     // tokens of the longest request; 0 is the model's context
	FitModelLen         bool    `json:"fit_max_model_len,omitempty"` // MaxModelLen is lowered to what the cache holds, where it holds less
	Watermark           float64 `json:"watermark"`
	PP                  int     `json:"pipeline_parallel,omitempty"` // stages, each of the point's cards
	Blocks              int     `json:"blocks,omitempty"`            // of the cache, each of one head; 0: what fits the point's budget
	Weights             string  `json:"weights,omitempty"`           // format of the model's matrices; empty is the model's own
	KV                  string  `json:"kv_dtype"`                    // format of keys and values in the cache

	Scheduler sim.Scheduler `json:"scheduler,omitempty"`     // empty is KV-Compress's server
	V1        *sim.V1       `json:"vllm_v1,omitempty"`       // options of sim.VLLMV1
	Usage     sim.V1Usage   `json:"usage_context,omitempty"` // of sim.VLLMV1

	Chunked      bool       `json:"enable_chunked_prefill,omitempty"`   // of schedulers other than sim.VLLMV1
	PrefixTokens int        `json:"prefix_block_tokens,omitempty"`      // likewise: tokens of a prefix hash; 0 turns prefix caching off
	Turns        sim.Turns  `json:"turns,omitempty"`                    // when the turns of a session arrive; empty is as recorded
	Router       sim.Router `json:"router,omitempty"`                   // of replicas
	Link         float64    `json:"kv_link_bytes_per_second,omitempty"` // of each prefill card to the decode servers; 0 is the card's network
	LinkLatency  int64      `json:"kv_link_latency_ns,omitempty"`
	Spread       string     `json:"spread,omitempty"` // name of Projector.Spread

	// Rules in which the schedulers here differ from the published servers: see sim.Limits and
	// sim.Schedule.
	DropOutgrown        bool `json:"drop_outgrown,omitempty"`
	HoldAfterPreemption bool `json:"hold_after_preemption,omitempty"`
	Strict              bool `json:"strict_max_kv,omitempty"`
	UntilFree           bool `json:"compress_until_free,omitempty"`

	// Engine is the server whose memory profiling is followed for all points; if it is empty,
	// [cost.Deployment.Server] chooses one for each point.
	Engine cost.Engine `json:"engine,omitempty"`

	// Options of KV-Compress.
	ProtectedWindow int   `json:"protected_window"`
	Sinks           int   `json:"sinks"`
	EvenLayers      bool  `json:"even_layers,omitempty"`
	ControlLayers   []int `json:"control_layers,omitempty"`
	Uniform         bool  `json:"uniform,omitempty"`
	Window          int   `json:"window,omitempty"` // last queries of a prompt that are observed; 0 is the method's default

	// Options of all methods.
	Set                 map[string]ref.Settings `json:"set,omitempty"`           // the methods' own options, by method
	Once                bool                    `json:"compress_once,omitempty"` // compress a sequence only once
	OwnInterval         bool                    `json:"own_interval,omitempty"`  // use [OwnInterval] for each method in place of Interval
	Interval            int                     `json:"interval"`                // decode steps between compressions; 0: only after prefills and when blocks are lacking
	NewTokenLimit       int                     `json:"new_token_limit,omitempty"`
	MaxKVPerCompression int                     `json:"max_kv_per_compression"` // 0 is no limit

	SLO    stats.SLO          `json:"slo"`
	Prices map[string]float64 `json:"usd_per_gpu_hour,omitempty"` // by card, in place of the catalogue's
}

// OwnInterval returns the interval of a method's published code: 0 for KV-Compress, whose server
// compresses after prefills and when blocks are lacking, and 1 for other methods, which evict in
// every step.
func OwnInterval(m *ref.Config) int {
	if m.CountsBlocks() {
		return 0
	}
	return 1
}

// DefaultSettings returns vLLM's settings, and those with which KV-Compress was measured: at most
// five million slots sorted in a compression.
func DefaultSettings() Settings {
	limits, compression := sim.DefaultLimits(), ref.Default().Compression
	return Settings{
		BlockSize: 16, MaxNumBatchedTokens: limits.MaxNumBatchedTokens, Watermark: limits.Watermark, KV: "f16",
		ProtectedWindow: compression.ProtectedWindow, OwnInterval: true, MaxKVPerCompression: 5_000_000,
	}
}

// Method returns the configuration of a compression of the sweep.
func (s *Settings) Method(c Compression) ref.Config {
	if !c.Enabled() {
		return ref.Config{}
	}
	m := ref.Config{Method: c.Method, Compression: ref.Compression{Rate: c.Rate, MaxCacheTokens: c.MaxCacheTokens}}
	if c.Method != "" {
		m.Set = s.Set[c.Method]
		return m
	}
	m.Compression.ProtectedWindow, m.Compression.Sinks = s.ProtectedWindow, s.Sinks
	m.Compression.EvenLayers, m.Compression.ControlLayers, m.Compression.Uniform = s.EvenLayers, s.ControlLayers, s.Uniform
	if s.Window > 0 {
		m.Metric = ref.Default().Metric
		m.Metric.Window = s.Window
	}
	return m
}

// Schedule returns the schedule of a method's compressions.
func (s *Settings) Schedule(m *ref.Config) sim.Schedule {
	interval := s.Interval
	if s.OwnInterval {
		interval = OwnInterval(m)
	}
	return sim.Schedule{Once: s.Once, Interval: interval, NewTokenLimit: s.NewTokenLimit, MaxKVPerCompression: s.MaxKVPerCompression, Strict: s.Strict, UntilFree: s.UntilFree}
}

// CheckMethod returns an error if a model cannot be projected with a compression.
func (s *Settings) CheckMethod(m catalog.Model, c Compression) error {
	card := catalog.Cards()[0]
	d := cost.New(m, card)
	d.BlockSize, d.Method = s.BlockSize, s.Method(c)
	return d.Validate()
}

// Check returns every error of the settings, joined.
func (s *Settings) Check() error {
	var format dtype.DType
	limits := sim.Limits{MaxNumSeqs: 1, MaxNumBatchedTokens: s.MaxNumBatchedTokens, Watermark: s.Watermark, MaxModelLen: s.MaxModelLen}
	if s.Scheduler == sim.VLLMV1 && limits.MaxNumBatchedTokens == 0 {
		limits.MaxNumBatchedTokens = 1 // 0 stands for V1's default, which is valid
	}
	err := format.UnmarshalText([]byte(s.KV))
	if err == nil {
		err = cost.CheckKV(format)
	}
	errs := []error{err, limits.Validate()}
	for card, usd := range s.Prices {
		if !(usd > 0 && usd <= 1e4) {
			errs = append(errs, fmt.Errorf("a price of %v dollars per hour for %s: want more than 0, and at most 10,000; leave out cards without a price", usd, card))
		}
	}
	if n := s.BlockSize; n < 1 || n > 32 || n&(n-1) != 0 {
		errs = append(errs, fmt.Errorf("block size %d: want 1, 2, 4, 8, 16 or 32", n))
	}
	if s.PP < 0 || s.PP > cost.MaxPP {
		errs = append(errs, fmt.Errorf("pipeline parallelism %d: want 1 to %d", s.PP, cost.MaxPP))
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"protected window", s.ProtectedWindow}, {"sinks", s.Sinks}, {"interval", s.Interval},
		{"new token limit", s.NewTokenLimit}, {"slots of a compression", s.MaxKVPerCompression},
		{"blocks", s.Blocks}, {"window", s.Window}, {"tokens of a prefix hash", s.PrefixTokens},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d is negative", n.name, n.value))
		}
	}
	return errors.Join(append(errs, s.SLO.Validate())...)
}

// Projector makes the projections of a sweep, all of the same requests.
type Projector struct {
	Settings
	Profile *cost.Profile // nil is the defaults
	Check   bool          // check the scheduler's invariants in each step; it takes longer

	// Spread returns the model of how evicted blocks are spread over heads; nil is cost.Spared.
	Spread   func(kv.Shape) (sim.Spread, error)
	Requests func() iter.Seq2[trace.Request, error]
}

// Project implements [Project].
func (j *Projector) Project(ctx context.Context, p Point) (Outcome, error) {
	o := Outcome{Point: p}
	c, err := j.config(p)
	var memory cost.Memory
	note := ""
	if err == nil {
		memory, err = c.Deployment.Memory()
		n := 0
		if err != nil && j.FitModelLen {
			n = j.longest(p, c.Deployment)
		}
		if n > 0 {
			j.shorten(p, &c.Deployment, n)
			c.Limits.MaxModelLen, c.Limits.MaxNumBatchedTokens = n, c.Deployment.MaxTokens
			memory, err = c.Deployment.Memory()
			note = fmt.Sprintf("%d × %s: the cache serves no request of more than %s, so the server is started with --max-model-len %d, and longer requests are refused.", c.Deployment.Cards(), p.CardName(), words.Count(n, "token"), n)
		}
		o.NoRoom = err != nil
	}
	if err == nil && memory.Blocks < 1 {
		o.NoRoom = true
		err = fmt.Errorf("%s leaves no block of KV cache on %s", p.Model, p.CardName())
	}
	if err != nil {
		o.Error = err.Error()
		return o, nil
	}
	r, err := project.Run(ctx, c, scaled(j.Requests(), p.Load))
	if err != nil && p.Disaggregated() && ctx.Err() == nil { // the link is too slow for this model
		o.Error = err.Error()
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.Memory, o.Metrics, o.Time, o.Factors, o.Bound, o.Reading, o.Notes, o.Refusal, o.TooLong = r.Memory, r.Metrics, r.Time, r.Factors, r.Bound, r.Reading, r.Notes, r.Refusal, r.TooLong
	o.Other, o.Expected, o.Client = r.Other, r.Expected, r.Client
	if note != "" {
		o.Notes = append(o.Notes, note)
	}
	o.price(&c.Deployment, j.Prices)
	if c.Disaggregation != nil {
		o.Link, o.LinkUse = c.Disaggregation.Link.BytesPerSecond, r.Link
	}
	return o, nil
}

// longest returns the tokens of the longest request that a server of a point can hold, if it is started for requests
// of that length; 0 if it cannot start. Without chunked prefill a shorter length leaves a larger cache, since a batch
// need not have room for as many tokens.
func (j *Projector) longest(p Point, d cost.Deployment) int {
	return sort.Search(j.MaxModelLen, func(shorter int) bool {
		n := shorter + 1
		j.shorten(p, &d, n)
		d.MaxModelLen = 0 // how much the cache holds, whatever the server takes
		m, err := d.Memory()
		return err != nil || m.Longest < n
	})
}

// shorten sets the longest request of a point's server, and the limit of a batch that follows from it.
func (j *Projector) shorten(p Point, d *cost.Deployment, n int) {
	s := j.Settings
	s.MaxModelLen = n
	d.MaxModelLen, d.MaxTokens = n, s.Limits(p, d.Card).MaxNumBatchedTokens
}

// scaled returns the requests with the gaps between their arrivals divided by load. The first
// arrives when it was recorded.
func scaled(requests iter.Seq2[trace.Request, error], load float64) iter.Seq2[trace.Request, error] {
	if load == 1 {
		return requests
	}
	return func(yield func(trace.Request, error) bool) {
		first := int64(-1)
		for r, err := range requests {
			if first < 0 {
				first = r.ArrivalNS
			}
			after := math.Round(float64(r.ArrivalNS-first) / load)
			if err == nil && after > float64(trace.MaxArrivalNS-first) {
				err = fmt.Errorf("at a load of %g, request %q arrives %g s after the first: want a larger load", load, r.ID, after/1e9)
			}
			r.ArrivalNS = first + int64(min(after, float64(trace.MaxArrivalNS-first)))
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// config returns the configuration of a point's projection.
func (j *Projector) config(p Point) (c project.Config, err error) {
	model, err := catalog.FindModel(p.Model)
	if err != nil {
		return c, err
	}
	card, err := catalog.FindCard(p.Card)
	if err != nil {
		return c, err
	}
	d := cost.New(model, card)
	limits := j.Limits(p, card)
	d.PP, d.BlocksGiven = j.PP, j.Blocks
	d.TP, d.BlockSize, d.Engine = p.TP, j.BlockSize, j.Engine
	d.MaxTokens, d.MaxSeqs, d.MaxModelLen = limits.MaxNumBatchedTokens, limits.MaxNumSeqs, j.MaxModelLen
	if j.Weights != "" {
		d.Weights = catalog.Weights(j.Weights)
	}
	if err := d.KV.UnmarshalText([]byte(j.KV)); err != nil {
		return c, err
	}
	switch {
	case p.Budget.Tokens > 0:
		size := int64(max(1, j.BlockSize))
		heads := d.Heads()
		if heads == 0 {
			return c, fmt.Errorf("memory %s: no layer of %s holds KVs: give bytes or a fraction of the card", p.Budget, p.Model)
		}
		d.BlocksGiven = int(ceil.Div(p.Budget.Tokens, size) * int64(heads)) // the same number for every method
	case p.Budget.Bytes > card.Memory:
		return c, fmt.Errorf("%s of memory are more than the %.1f GB of %s", p.Budget, float64(card.Memory)/1e9, card.Name)
	case p.Budget.Bytes > 0:
		d.Utilization = float64(p.Budget.Bytes) / float64(card.Memory)
	default:
		d.Utilization = p.Budget.Utilization
	}
	c = project.Config{
		Scheduler: j.Scheduler, Limits: limits,
		Profile: j.Profile, SLO: j.SLO, Check: j.Check,
		Concurrency: p.Concurrency, Turns: j.Turns, Replicas: p.Replicas, Router: j.Router,
	}
	d.Method = j.Method(p.Compression)
	if d.Compresses() {
		c.Schedule = j.Schedule(&d.Method)
		d.SortedKVs = j.MaxKVPerCompression
	}
	c.Deployment = d
	if j.Spread != nil && d.Compresses() {
		cfg := d.Config()
		if c.Spread, err = j.Spread(cfg.Shape); err != nil {
			return c, err
		}
	}
	if j.V1 != nil {
		c.V1 = *j.V1
		c.V1.Prefixes = c.V1.Prefixes && d.SharesPrefixes()
	}
	if j.Scheduler != sim.VLLMV1 {
		c.ChunkedPrefill, c.PrefixTokens = j.Chunked, j.PrefixTokens
	}
	if err := cmp.Or(d.Validate(), c.Limits.Validate()); err != nil || !p.Disaggregated() {
		return c, err
	}
	c.Replicas = 0
	if c.Disaggregation, err = j.disaggregation(p, &card); err == nil {
		err = c.Disaggregation.Suits(&sim.Plan{Scheduler: c.Scheduler, Config: d.Config(), Layout: d.Layout(), Concurrency: c.Concurrency, Turns: c.Turns})
	}
	return c, err
}

// disaggregation returns the prefill and decode servers of a point and the link between them.
func (s *Settings) disaggregation(p Point, card *catalog.Card) (*sim.Disaggregation, error) {
	d := &sim.Disaggregation{Prefill: p.Prefill, Decode: p.Decode, Link: sim.Link{BytesPerSecond: s.Link, LatencyNS: s.LinkLatency}}
	if d.Link.BytesPerSecond == 0 {
		d.Link.BytesPerSecond = card.Network
	}
	if d.Link.BytesPerSecond == 0 {
		return nil, fmt.Errorf("the network of %s, over which prefill servers send KVs to decode servers, is not known: want --kv-link-bandwidth, or network_bytes_per_sec in a file of the card", card.Name)
	}
	return d, nil
}

// price sets the costs of the outcome.
func (o *Outcome) price(d *cost.Deployment, prices map[string]float64) {
	cards := float64(d.Cards() * o.Servers())
	o.ThroughputPerCard = o.Metrics.TotalThroughput / cards
	usd, ok := prices[d.Card.Name]
	if !ok {
		usd = d.Card.PriceUSD
	}
	o.USDPerHour = usd * cards
	if o.Metrics.OutputThroughput > 0 {
		o.USDPerMillion = o.USDPerHour / (o.Metrics.OutputThroughput * 3600) * 1e6
		o.USDPerMillionAll = o.USDPerHour / (o.Metrics.TotalThroughput * 3600) * 1e6
	}
}

// Limits returns the limits of a point. Those that the point and the settings leave open are vLLM
// V1's defaults for its card.
func (s *Settings) Limits(p Point, card catalog.Card) sim.Limits {
	l := sim.Limits{
		MaxNumSeqs: p.MaxNumSeqs, MaxNumBatchedTokens: s.MaxNumBatchedTokens, Watermark: s.Watermark, MaxModelLen: s.MaxModelLen,
		DropOutgrown: s.DropOutgrown, HoldAfterPreemption: s.HoldAfterPreemption,
	}
	if s.Scheduler == sim.VLLMV1 {
		l.Watermark = 0
		l.MaxNumBatchedTokens = s.v1Limits(p, card).MaxNumBatchedTokens
	}
	return l
}

// v1Limits returns vLLM V1's limits for a point. A limit that neither the point nor the settings state is V1's default.
func (s *Settings) v1Limits(p Point, card catalog.Card) sim.Limits {
	longest := s.MaxModelLen
	if longest == 0 {
		if model, err := catalog.FindModel(p.Model); err == nil { // else the error is returned for the point
			d := cost.New(model, card)
			longest = d.LongestRequest()
		}
	}
	l := sim.Limits{MaxNumSeqs: p.MaxNumSeqs, MaxNumBatchedTokens: s.MaxNumBatchedTokens}
	return l.V1Defaults(sim.V1Limits(card.Name, card.Memory, s.Usage), longest, s.V1 != nil && s.V1.WholePrompts)
}

// OwnMaxNumSeqs sets MaxNumSeqs of the points to vLLM V1's defaults for their cards.
func (s *Settings) OwnMaxNumSeqs(points []Point) error {
	for i := range points {
		card, err := catalog.FindCard(points[i].Card)
		if err != nil {
			return err
		}
		points[i].MaxNumSeqs = 0
		points[i].MaxNumSeqs = s.v1Limits(points[i], card).MaxNumSeqs
	}
	return nil
}
