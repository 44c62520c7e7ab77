package cost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/trace"
)

// ServingCase is a measured serving run, projected.
type ServingCase struct {
	Serving
	Error      string     `json:"error,omitempty"` // why it cannot be projected; then the following is not set
	Deployment Deployment `json:"-"`
	Memory     Memory     `json:"memory"`

	PredictedTTFT   float64  `json:"predicted_ttft_ms"`
	PredictedTPOT   float64  `json:"predicted_tpot_ms"`
	PredictedTokens float64  `json:"predicted_total_tokens_per_s"`
	TTFTOff         *float64 `json:"ttft_error,omitempty"`       // of the predicted, as a part of the measured; nil where none was
	TPOTOff         *float64 `json:"tpot_error,omitempty"`       // likewise
	TokensOff       *float64 `json:"throughput_error,omitempty"` // likewise; of a closed loop, whose duration is not measured, from the mean times
	Rules           Rules    `json:"served_as"`
	Calibrated      string   `json:"factors_of,omitempty"`
	Other           string   `json:"factors_of_other,omitempty"` // see Fit.Suits
	Expected        string   `json:"error_to_expect,omitempty"`  // see Fit.Expected
	Notes           []string `json:"-"`                          // assumptions, and what no run of the fit had: see Fit.Unlike

	record *record
	peaks  *peaks // of the deployment; nil until they are first needed
}

// NewServingCase simulates a run by the rules of its backend, with the blocks that fit the memory, and
// records the work of its steps.
func NewServingCase(ctx context.Context, s Serving) (*ServingCase, error) {
	model, err := catalog.FindModel(s.Model)
	if err != nil {
		return nil, err
	}
	card, err := s.card()
	if err != nil {
		return nil, err
	}
	d := New(model, card)
	c := &ServingCase{Serving: s, Rules: s.rules()}
	c.Rules.Utilization = c.Rules.utilization(&card)
	d.TP, d.KV, d.Utilization = s.TP, s.KV, cmp.Or(s.Utilization, c.Rules.Utilization)
	if d.Engine, err = s.engine(); err != nil {
		return nil, err
	}
	if err := withinContext(s.ISL+s.OSL, &model); err != nil {
		return nil, err
	}
	if s.Weights != "" {
		d.Weights = s.Weights
	}
	if s.KVAuto && c.Rules.QuantizedKV && (d.Weights == catalog.FP8 || d.Weights == catalog.NVFP4) {
		d.KV = dtype.E4M3
		c.KV = d.KV
	}
	limits := sim.V1Limits(card.Name, card.Memory, sim.V1APIServer)
	switch {
	case s.MaxTokens > 0:
		limits.MaxNumBatchedTokens = s.MaxTokens
	case s.Whole: // a batch then has room for the longest request that the server was started for: at least for these
		limits.MaxNumBatchedTokens = max(limits.MaxNumBatchedTokens, int(math.Ceil(float64(s.ISL+s.OSL)*(1+cmp.Or(s.Spread, c.Rules.Jitter)))))
	}
	limits.MaxNumSeqs = cmp.Or(s.MaxSeqs, min(limits.MaxNumSeqs, limits.MaxNumBatchedTokens)) // the default as in vLLM
	d.MaxTokens, d.MaxSeqs = limits.MaxNumBatchedTokens, limits.MaxNumSeqs
	if c.Rules.Static {
		d.BlocksGiven = d.staticBlocks()
	}
	plan, memory, err := d.plan(limits)
	if err != nil {
		return nil, err
	}
	c.Deployment, c.Memory = d, memory
	plan.Concurrency = s.Concurrency
	switch {
	case c.Rules.PrefillFirst && s.Prompts > 0:
		return nil, errors.New("distinct_prompts: prefix caching is modelled with vLLM V1's rules only, and this run is served prefill-first")
	case c.Rules.PrefillFirst:
		plan.Scheduler = sim.KVCompressServer // without compression it prefills whole prompts before any decode step
	default:
		plan.V1.WholePrompts = s.Whole
		if s.Prompts > 0 {
			plan.V1.Prefixes, plan.V1.PrefixTokens = true, plan.Config.BlockSize
		}
	}
	c.record, err = recordOf(ctx, plan, s.requests(c.Rules.Jitter, plan.Config.BlockSize))
	return c, err
}

// staticBlocks returns the number of blocks that fit beside the weights in the memory that the
// utilisation allows, at least 0.
func (d *Deployment) staticBlocks() int {
	m, _ := d.Memory() // the caller gets the same error when it uses the blocks
	if m.BlockKV == 0 {
		return 0
	}
	return max(0, int(m.Card-m.Reserved-m.Weights)/m.BlockKV*d.TP)
}

// TakeCards chooses the cards of runs whose file names a card of which there are several sizes, and does
// not state its memory. They are taken for a card that the profile has a fit to; if it has none, for the
// card that the catalogue has under this name.
func (p *Profile) TakeCards(list []Serving) {
	for i := range list {
		s := &list[i]
		sizes := catalog.Sizes(s.GPU)
		if len(sizes) == 0 || s.CardGiB != 0 {
			continue
		}
		if c, err := catalog.FindCard(s.GPU); err == nil {
			sizes = append([]catalog.Card{c}, sizes...)
		}
		s.TakenFor = sizes[0].Name
		if k := slices.IndexFunc(sizes, func(c catalog.Card) bool {
			return slices.ContainsFunc(p.Fits, func(f Fit) bool { return f.Card == c.Name })
		}); k >= 0 {
			s.TakenFor = sizes[k].Name
		}
	}
}

// card returns the run's card. If the file states its memory, it is the card of the same chip with about
// this memory: the catalogue has an A100 of 40 GB and one of 80 GB.
func (s *Serving) card() (catalog.Card, error) {
	card, err := catalog.FindCard(cmp.Or(s.TakenFor, s.GPU))
	has := func(c *catalog.Card) bool {
		return s.CardGiB == 0 || math.Abs(float64(c.Memory)/(s.CardGiB*(1<<30))-1) <= 0.1
	}
	if err != nil || has(&card) {
		return card, err
	}
	for _, c := range catalog.Cards() {
		if c.Chip() != "" && c.Chip() == card.Chip() && has(&c) {
			return c, nil
		}
	}
	return card, fmt.Errorf("card_gib: no card of the chip of %s has %g GiB", card.Name, s.CardGiB)
}

// requests returns the run's requests. The lengths of a closed loop are spread evenly within a fraction
// jitter of isl and osl, by the multiples of two irrational numbers. With distinct prompts, each request
// has one of them at random, and a prefix hash for each whole block of blockSize tokens.
func (s *Serving) requests(jitter float64, blockSize int) []trace.Request {
	random := rand.New(rand.NewPCG(0, 0))
	hashes := make([][]uint64, s.Prompts)
	list := make([]trace.Request, s.Count())
	for i := range list {
		list[i] = trace.Request{PromptTokens: s.ISL, OutputTokens: s.OSL}
		prompt := i
		if s.Prompts > 0 {
			prompt = random.IntN(s.Prompts)
		}
		if s.Concurrency > 0 {
			list[i].PromptTokens = spreadLength(s.ISL, prompt, math.Phi, jitter)
			list[i].OutputTokens = spreadLength(s.OSL, i, math.Sqrt2, jitter)
		}
		if s.Prompts > 0 {
			if hashes[prompt] == nil {
				hashes[prompt] = slices.Repeat([]uint64{uint64(prompt)}, list[i].PromptTokens/blockSize)
			}
			list[i].PrefixHashes = hashes[prompt]
		}
	}
	return list
}

// spreadLength returns n·(1 + jitter·(2·frac((i+1)·irrational) − 1)), rounded, and at least 1.
func spreadLength(n, i int, irrational, jitter float64) int {
	_, part := math.Modf(float64(float64(i+1) * irrational))
	return max(1, int(math.Round(float64(n)*(1+float64(jitter*(2*part-1))))))
}

func (c *ServingCase) outcomes(_ context.Context, f *Fit) ([]outcome, error) {
	return []outcome{c.outcome(f)}, nil
}

// outcome returns the predicted times of the run by a fit. In a closed loop the time of the client and
// the API server, [RequestTerm], adds to the duration once for each request of a client.
func (c *ServingCase) outcome(f *Fit) outcome {
	if c.peaks == nil {
		c.peaks = c.Deployment.peaks()
	}
	rates, products := c.peaks.costs(f)
	request := f.Factors[RequestTerm] / 1e6
	r := (*[sim.NumFeatures]float64)(&rates)
	oneAfterAnother := 1.0
	if c.Concurrency > 0 {
		oneAfterAnother = math.Ceil(float64(c.Count()) / float64(c.Concurrency))
	}
	return outcome{
		ttft:  c.record.ttft.seconds(r, products) + request,
		tpot:  c.record.tpot.seconds(r, products),
		total: c.record.total.seconds(r, products) + float64(oneAfterAnother*request),
	}
}

func (c *ServingCase) measured() []outcome { return []outcome{c.means()} }

// means returns the measured times.
func (c *ServingCase) means() outcome {
	m := outcome{ttft: c.TTFT / 1e3, tpot: c.TPOT / 1e3, total: c.Latency}
	if m.total == 0 && c.Tokens > 0 {
		m.total = float64(c.record.tokens) / c.Tokens
	}
	return m
}

func (c *ServingCase) rows() int { return 1 }

func (c *ServingCase) deployment() *Deployment { return &c.Deployment }

func (c *ServingCase) server() sim.Scheduler { return c.Rules.Server }

func (c *ServingCase) work() *[sim.NumFeatures]float64 { return &c.record.total.work }

// Predict sets the predictions by a fit.
func (c *ServingCase) Predict(f *Fit) error {
	switch {
	case c.Error != "":
		return errors.New(c.Error)
	case c.record == nil:
		return fmt.Errorf("cost: the case was not made by NewServingCase")
	}
	c.Calibrated = f.Of
	c.Other = f.Suits(&c.Deployment.Card, c.Rules.Server)
	c.Expected = f.Expected(&c.Deployment.Card, c.Rules.Server)
	c.Notes = f.notes(&c.Deployment)
	if c.KVAuto && c.KV != dtype.F16 {
		c.Notes = append(c.Notes, fmt.Sprintf("The rows do not state the format of the cache: with weights in %s it is taken for %v on %s. A column kv_dtype states it.", c.Deployment.Weights, c.KV, c.Rules.Server))
	}
	if c.Prompts > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("The clients repeat %d distinct prompts: what the prefix cache holds of one is not computed again.", c.Prompts))
	}
	p := c.outcome(f)
	if p.total <= 0 {
		return fmt.Errorf("with the factors of %s the run takes no time", f.Of)
	}
	c.PredictedTTFT, c.PredictedTPOT, c.PredictedTokens = 1e3*p.ttft, 1e3*p.tpot, float64(c.record.tokens)/p.total
	errs := errorsOf(c, p)
	c.TTFTOff, c.TPOTOff, c.TokensOff = measured(errs[0]), measured(errs[1]), measured(errs[2])
	return nil
}

// NewServingCases is [NewServingCase] for every run, on all cores. A run that cannot be projected is a
// case with an Error. The only other error is that of ctx.
func NewServingCases(ctx context.Context, list []Serving) ([]*ServingCase, error) {
	return ofRows(ctx, len(list), func(ctx context.Context, i int) (*ServingCase, error) {
		c, err := NewServingCase(ctx, list[i])
		if ctx.Err() == nil && err != nil {
			return &ServingCase{Serving: list[i], Error: err.Error()}, nil
		}
		return c, err
	})
}

// Projected returns the cases that can be projected.
func Projected(cases []*ServingCase) []*ServingCase {
	return slices.DeleteFunc(slices.Clone(cases), func(c *ServingCase) bool { return c.Error != "" })
}

// Refused returns the error of the first case that cannot be projected, with its file and line; nil if
// there is none.
func Refused(cases []*ServingCase, file string) error {
	for _, c := range cases {
		if c.Error != "" {
			return fmt.Errorf("%s:%d: %s", file, c.Line, c.Error)
		}
	}
	return nil
}

// ServingSummary compares predictions with measurements. Errors are fractions: 0.04 is 4 %. Mean
// and largest errors are signed, positive if the prediction is too high. Errors of quantities that
// were not measured are nil.
type ServingSummary struct {
	Rows               int      `json:"rows"`
	Refused            int      `json:"refused_rows"` // rows that cannot be projected
	TTFTRows           int      `json:"ttft_rows"`
	TTFTMAPE           *float64 `json:"ttft_mape,omitempty"`
	TTFTMean           *float64 `json:"ttft_mean_error,omitempty"`
	TTFTMaxError       *float64 `json:"ttft_max_error,omitempty"`
	TPOTRows           int      `json:"tpot_rows"`
	TPOTMAPE           *float64 `json:"tpot_mape,omitempty"`
	TPOTMean           *float64 `json:"tpot_mean_error,omitempty"`
	TPOTMaxError       *float64 `json:"tpot_max_error,omitempty"`
	ThroughputRows     int      `json:"throughput_rows"`
	ThroughputMAPE     *float64 `json:"throughput_mape,omitempty"`
	ThroughputMean     *float64 `json:"throughput_mean_error,omitempty"`
	ThroughputMaxError *float64 `json:"throughput_max_error,omitempty"`
}

// SummarizeServing compares cases with what was measured.
func SummarizeServing(cases []*ServingCase) ServingSummary {
	s := ServingSummary{Rows: len(cases)}
	var ttft, tpot, throughput errorSum
	for _, c := range cases {
		if c.Error != "" {
			s.Refused++
		}
		ttft.addKnown(c.TTFTOff)
		tpot.addKnown(c.TPOTOff)
		throughput.addKnown(c.TokensOff)
	}
	s.TTFTRows, s.TTFTMAPE, s.TTFTMean, s.TTFTMaxError = ttft.n, ttft.mape(), ttft.mean(), ttft.largest()
	s.TPOTRows, s.TPOTMAPE, s.TPOTMean, s.TPOTMaxError = tpot.n, tpot.mape(), tpot.mean(), tpot.largest()
	s.ThroughputRows, s.ThroughputMAPE, s.ThroughputMean, s.ThroughputMaxError = throughput.n, throughput.mape(), throughput.mean(), throughput.largest()
	return s
}
