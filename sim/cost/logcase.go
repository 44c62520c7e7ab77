package cost

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"kvcompress/internal/work"
	"kvcompress/sim"
	"kvcompress/trace"
)

// LoggedRequest is a request as a benchmark measured it. Unknown times are 0.
type LoggedRequest struct {
	Line    int
	ID      string
	Arrival float64 // s
	Input   int     // tokens
	Output  int     // tokens
	TTFT    float64 // ms
	TPOT    float64 // ms; a request of one token has none
	E2E     float64 // s
}

// LogColumns returns the columns that a log of measured requests must have, and those that it
// may have.
func LogColumns() (required, optional []string) {
	return []string{"arrival_s", "input_tokens", "output_tokens"}, []string{"request_id", "measured_ttft_ms", "measured_tpot_ms", "measured_e2e_s", "ttft_ms", "tpot_ms", "e2e_s"}
}

// ReadRequestLog reads a CSV with the columns of [LogColumns], a row for each request, and
// returns the requests by arrival. The error names the line and column.
func ReadRequestLog(r io.Reader, name string) ([]LoggedRequest, error) {
	var list []LoggedRequest
	required, optional := LogColumns()
	tokens := 0.0
	err := readCSV(r, name, required, optional, func(line int, get func(string) string) error {
		q := LoggedRequest{Line: line, ID: get("request_id")}
		for _, c := range []struct {
			column string
			to     *int
		}{{"input_tokens", &q.Input}, {"output_tokens", &q.Output}} {
			if err := parseCount(c.to, get(c.column), 1); err != nil {
				return fmt.Errorf("%s: %w", c.column, err)
			}
			if *c.to > trace.MaxTokens {
				return fmt.Errorf("%s: %d: want at most %d", c.column, *c.to, trace.MaxTokens)
			}
		}
		for _, c := range []struct {
			columns []string
			to      *float64
			most    float64
		}{
			{[]string{"arrival_s"}, &q.Arrival, 1e9},
			{[]string{"measured_ttft_ms", "ttft_ms"}, &q.TTFT, 1e9}, {[]string{"measured_tpot_ms", "tpot_ms"}, &q.TPOT, 1e9}, {[]string{"measured_e2e_s", "e2e_s"}, &q.E2E, 1e7},
		} {
			for _, column := range c.columns {
				text := get(column)
				if text == "" {
					continue
				}
				v, err := strconv.ParseFloat(text, 64)
				if err != nil || !(v >= 0 && v <= c.most) {
					return fmt.Errorf("%s: want a number from 0 to %g, got %q", column, c.most, text)
				}
				*c.to = v
			}
		}
		if tokens += float64(q.Input + q.Output); tokens > maxRunTokens {
			return fmt.Errorf("more than %d tokens in all", maxRunTokens)
		}
		list = append(list, q)
		return nil
	})
	slices.SortStableFunc(list, func(a, b LoggedRequest) int { return cmp.Compare(a.Arrival, b.Arrival) })
	return list, err
}

// LogCase is a log of measured requests, projected on vLLM V1 with their arrival times.
type LogCase struct {
	Deployment Deployment
	Memory     Memory
	Requests   []LoggedRequest
	Results    []sim.Result // of the latest prediction, by request

	plan *sim.Plan
	done sim.Work
}

// NewLogCase returns the case of a log on a deployment, with the limits of a batch.
func NewLogCase(d Deployment, limits sim.Limits, requests []LoggedRequest) (*LogCase, error) {
	plan, memory, err := d.plan(limits)
	if err != nil {
		return nil, err
	}
	for i := range requests {
		if err := withinContext(requests[i].Input+requests[i].Output, &d.Model); err != nil {
			return nil, fmt.Errorf("line %d: %w", requests[i].Line, err)
		}
	}
	return &LogCase{Deployment: d, Memory: memory, Requests: requests, plan: plan, Results: make([]sim.Result, len(requests))}, nil
}

// start serves the log once, by the factors with which fits start: [LogCase.work] is then known.
func (c *LogCase) start(ctx context.Context) error {
	_, err := c.outcomes(ctx, &Fit{Factors: ServerFactors(), Overlap: true, Of: "a start"})
	return err
}

// serve projects the requests by a fit, and keeps their results. Each request is a piece of work.
func (c *LogCase) serve(ctx context.Context, f *Fit) error {
	rates, products, err := c.Deployment.Costs(f)
	if err != nil {
		return err
	}
	c.plan.Rates, c.plan.Products = rates, products
	out, err := sim.Project(ctx, c.plan, func(yield func(trace.Request, error) bool) {
		for _, q := range c.Requests {
			work.Step(ctx)
			if !yield(trace.Request{ID: q.ID, ArrivalNS: int64(math.Round((q.Arrival - c.Requests[0].Arrival) * 1e9)), PromptTokens: q.Input, OutputTokens: q.Output}, nil) {
				return
			}
		}
	}, sim.Watch{Result: func(r *sim.Result) { c.Results[r.Seq] = *r }})
	if err != nil {
		return err
	}
	c.done = out.Work
	if out.Finished < len(c.Requests) {
		return fmt.Errorf("of %d requests %d do not finish: %s", len(c.Requests), len(c.Requests)-out.Finished, refusalOf(c.Results))
	}
	return nil
}

// times returns the latencies of a request as projected, in ms and s.
func (c *LogCase) times(i int, f *Fit) (ttft, tpot, e2e float64) {
	r := &c.Results[i]
	request := f.Factors[RequestTerm] / 1e6
	ttft = 1e3*(float64(r.FirstToken-r.Arrival)/1e9) + 1e3*request
	e2e = float64(r.Finished-r.Arrival)/1e9 + request
	if r.OutputTokens > 1 {
		tpot = float64(r.Finished-r.FirstToken) / 1e6 / float64(r.OutputTokens-1)
	}
	return ttft, tpot, e2e
}

// logParts is the number of parts into which a log is divided by arrival time, so that a fit sees how
// times depend on the load.
const logParts = 8

// outcomes projects the log. For a fit that is one run of many, whose requests are not counted.
func (c *LogCase) outcomes(ctx context.Context, f *Fit) ([]outcome, error) {
	if err := c.serve(work.Watch(ctx, func() {}), f); err != nil {
		return nil, err
	}
	return c.projected(f), nil
}

// projected returns the means of the last projection.
func (c *LogCase) projected(f *Fit) []outcome {
	return c.means(func(i int) (ttft, tpot, e2e float64) { return c.times(i, f) })
}

func (c *LogCase) measured() []outcome {
	return c.means(func(i int) (ttft, tpot, e2e float64) {
		q := &c.Requests[i]
		return q.TTFT, q.TPOT, q.E2E
	})
}

// means returns the means over all requests, and over each part of them.
func (c *LogCase) means(times func(int) (ttft, tpot, e2e float64)) []outcome {
	of := func(from, to int) outcome {
		var o outcome
		ttfts, tpots := 0, 0
		for i := from; i < to; i++ {
			ttft, tpot, e2e := times(i)
			if ttft > 0 {
				o.ttft += ttft / 1e3
				ttfts++
			}
			if tpot > 0 {
				o.tpot += tpot / 1e3
				tpots++
			}
			if e2e > 0 {
				o.total = max(o.total, c.Requests[i].Arrival-c.Requests[0].Arrival+e2e)
			}
		}
		o.ttft /= float64(max(1, ttfts))
		o.tpot /= float64(max(1, tpots))
		return o
	}
	n := len(c.Requests)
	list := []outcome{of(0, n)}
	for i := range logParts {
		part := of(i*n/logParts, (i+1)*n/logParts)
		part.total = 0
		list = append(list, part)
	}
	return list
}

func (c *LogCase) rows() int { return len(c.Requests) }

func (c *LogCase) server() sim.Scheduler { return sim.VLLMV1 }

func (c *LogCase) deployment() *Deployment { return &c.Deployment }

func (c *LogCase) work() *[sim.NumFeatures]float64 {
	var w [sim.NumFeatures]float64
	for f, n := range c.done {
		w[f] = float64(n)
	}
	return &w
}

// LogReport compares a log with its projection.
type LogReport struct {
	Requests []LogRequest `json:"requests"`
	Summary  LogSummary   `json:"summary"`
	Notes    []string     `json:"notes"` // assumptions, and what no run of the fit had: see Fit.Unlike
}

// LogRequest is one request of a log, as measured and as projected. Times that were not measured are
// absent.
type LogRequest struct {
	ID            string   `json:"id,omitempty"`
	Input         int      `json:"input_tokens"`
	Output        int      `json:"output_tokens"`
	TTFT          *float64 `json:"measured_ttft_ms,omitempty"`
	TPOT          *float64 `json:"measured_tpot_ms,omitempty"`
	E2E           *float64 `json:"measured_e2e_s,omitempty"`
	ProjectedTTFT float64  `json:"ttft_ms"`
	ProjectedTPOT *float64 `json:"tpot_ms,omitempty"`
	ProjectedE2E  float64  `json:"e2e_s"`
}

// LogSummary has means over a log, in seconds. Errors are fractions of the measured value, positive
// if the projection is too high. Those by request are mean absolute errors of each request's own time.
// Values that were not measured are absent.
type LogSummary struct {
	Rows             int      `json:"rows"`
	Requests         int      `json:"num_requests"`
	Factors          string   `json:"factors_of"`
	Other            string   `json:"factors_of_other,omitempty"` // see Fit.Suits
	Expected         string   `json:"error_to_expect"`            // see Fit.Expected
	TTFT             float64  `json:"mean_ttft_s"`
	TPOT             float64  `json:"mean_tpot_s"`
	E2E              float64  `json:"mean_e2e_s"`
	Duration         float64  `json:"duration_s"`
	MeasuredTTFT     *float64 `json:"measured_mean_ttft_s,omitempty"`
	MeasuredTPOT     *float64 `json:"measured_mean_tpot_s,omitempty"`
	MeasuredE2E      *float64 `json:"measured_mean_e2e_s,omitempty"`
	MeasuredDuration *float64 `json:"measured_duration_s,omitempty"`
	TTFTError        *float64 `json:"mean_ttft_error,omitempty"`
	TPOTError        *float64 `json:"mean_tpot_error,omitempty"`
	E2EError         *float64 `json:"mean_e2e_error,omitempty"`
	DurationError    *float64 `json:"duration_error,omitempty"`
	RequestTTFT      *float64 `json:"request_ttft_mape,omitempty"`
	RequestTPOT      *float64 `json:"request_tpot_mape,omitempty"`
	RequestE2E       *float64 `json:"request_e2e_mape,omitempty"`

	// The absolute errors of the means, under the names that all forms of serving measurements share.
	// The throughput is that of the whole log, and its error follows from the durations.
	TTFTMAPE       *float64 `json:"ttft_mape,omitempty"`
	TPOTMAPE       *float64 `json:"tpot_mape,omitempty"`
	ThroughputMAPE *float64 `json:"throughput_mape,omitempty"`
}

// Report projects the log by a fit and compares it with what was measured.
func (c *LogCase) Report(ctx context.Context, f *Fit) (*LogReport, error) {
	if err := c.serve(ctx, f); err != nil {
		return nil, err
	}
	p, m := c.projected(f), c.measured()[0]
	r := &LogReport{Summary: LogSummary{
		Rows: len(c.Requests), Requests: len(c.Requests), Factors: f.Of, Other: f.Suits(&c.Deployment.Card, sim.VLLMV1), Expected: f.Expected(&c.Deployment.Card, sim.VLLMV1),
		TTFT: p[0].ttft, TPOT: p[0].tpot, Duration: p[0].total,
		MeasuredTTFT: known(m.ttft), MeasuredTPOT: known(m.tpot), MeasuredDuration: known(m.total),
		TTFTError: off(p[0].ttft, m.ttft), TPOTError: off(p[0].tpot, m.tpot), DurationError: off(p[0].total, m.total),
	}}
	r.Notes = f.notes(&c.Deployment)
	s := &r.Summary
	var ttft, tpot, e2e errorSum
	measuredE2E := 0.0
	for i, q := range c.Requests {
		t, each, whole := c.times(i, f)
		r.Requests = append(r.Requests, LogRequest{
			ID: q.ID, Input: q.Input, Output: q.Output, TTFT: known(q.TTFT), TPOT: known(q.TPOT), E2E: known(q.E2E),
			ProjectedTTFT: t, ProjectedTPOT: known(each), ProjectedE2E: whole,
		})
		ttft.addKnown(off(t, q.TTFT))
		tpot.addKnown(off(each, q.TPOT))
		e2e.addKnown(off(whole, q.E2E))
		s.E2E += whole / float64(len(c.Requests))
		measuredE2E += q.E2E
	}
	s.MeasuredE2E = known(measuredE2E / float64(max(1, e2e.n)))
	s.E2EError = off(s.E2E, measuredE2E/float64(max(1, e2e.n)))
	s.RequestTTFT, s.RequestTPOT, s.RequestE2E = ttft.mape(), tpot.mape(), e2e.mape()
	s.TTFTMAPE, s.TPOTMAPE = absolute(s.TTFTError), absolute(s.TPOTError)
	if m.total > 0 {
		s.ThroughputMAPE = new(math.Abs(m.total/s.Duration - 1))
	}
	return r, nil
}
