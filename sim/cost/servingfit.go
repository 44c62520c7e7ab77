package cost

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"kvcompress/internal/work"
	"kvcompress/sim"
)

// ServerFactors returns the factors from which a fit to serving runs starts. A factor that the runs do
// not determine stays near its start. The start is also the natural size of changes of most factors. Factors
// have physical bounds: a factor of a peak is at least 1, a time at least 0.
func ServerFactors() Factors {
	f := DefaultFactors()
	for id, v := range map[string]float64{
		"weights": 1.1, "expert_weights": 1.1, "gemm": 1.5, "gemm8": 1.5, "gemm4": 1.5, "expert_gemm": 3, "expert_gemm_unpacked": 3, "expert_gemm8": 3, "expert_gemm8x4": 3, "expert_gemm4": 3, "decode_gemm": 1.5, "attention": 3, "kv": 1.3, "kv8": 1.3, "elementwise": 1.2, "all_reduce": 1.5,
		"layer": 15, "expert_layer": 15, "expert_layer_unpacked": 15, "expert_layer8": 15, "expert_layer8x4": 15, "expert_layer4": 15, "latent_layer": 15, "indexer_layer": 15, "all_reduce_latency": 10, "step": 1000, "prefill": 100, "sequence": 30, "prompt": 100, RequestTerm: 20_000,
	} {
		f[id] = v
	}
	return f
}

// The weights of the parts of a measured run in a fit.
const (
	// ttftCounts is the weight of an error of the mean time to first token. The TTFT depends on how a
	// benchmark starts its clients and for how long it runs, which files do not state: if all start at
	// once, the requests of the first wave wait for all prompts. So its error is about three times that
	// of TPOT and duration on the recorded rows.
	ttftCounts = 0.3

	priorTrust = 0.03 // weight of a factor's start beside the rows: trust in leastSquares
	outlier    = 0.1  // logarithmic errors above this count less and less: δ in leastSquares
)

// outcome has the times of a run in seconds: means over its requests, and its duration. 0 is unknown.
type outcome struct{ ttft, tpot, total float64 }

// measuredRun is a run to which factors are fitted.
type measuredRun interface {
	deployment() *Deployment
	server() sim.Scheduler                             // the server whose factors it is fitted to
	work() *[sim.NumFeatures]float64                   // the work of the run
	outcomes(context.Context, *Fit) ([]outcome, error) // predicted, the whole run first and then its parts
	measured() []outcome                               // measured, likewise
	rows() int                                         // number of its rows in the file
}

// fitServing fits the factors to serving runs by [leastSquares]. The residuals are the logarithms of
// predicted over measured: of each run's mean time to first token (times [ttftCounts]), mean time per
// output token and duration, each multiplied by the run's weight (1 if weights is nil). So TTFT, TPOT and
// throughput are fitted together, and a factor of two too much is as wrong as a factor of two too little.
func fitServing(ctx context.Context, runs []measuredRun, weights []float64, card, file string, start Factors) (*Fit, error) {
	fit := &Fit{Card: card, Factors: maps.Clone(start), Overlap: true, Unpacked: []string{}}
	add := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for _, r := range runs {
		fit.Rows += r.rows()
		d := r.deployment()
		add(&fit.Models, d.Model.Name)
		add(&fit.Formats, string(d.Weights))
		if d.Model.Experts.Total > 0 {
			add(&fit.Experts, string(d.Weights))
		}
		for _, w := range d.unpacked() {
			add(&fit.Unpacked, string(w))
		}
	}
	fit.Of = fmt.Sprintf("%s of %s (%s, %s)", rows(fit.Rows), file, cardsOfFit(card), strings.Join(fit.Models, ", "))
	terms := servingTerms(runs, fit)
	if len(terms) == 0 {
		return nil, fmt.Errorf("%s: %s: no term has any work", file, card)
	}
	problem := leastSquares{trust: priorTrust, delta: outlier}
	for _, t := range terms {
		problem.least = append(problem.least, t.least)
		problem.start = append(problem.start, t.start)
		problem.scale = append(problem.scale, t.scale)
	}
	problem.residuals = func(x []float64) ([]float64, error) {
		for k, t := range terms {
			fit.Factors[t.id] = x[k]
		}
		return residuals(ctx, runs, weights, fit)
	}
	x, jacobian, err := problem.solve()
	var undetermined []bool
	if err == nil {
		undetermined, err = problem.undetermined(jacobian)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", file, card, err)
	}
	for k, t := range terms {
		fit.Fitted = append(fit.Fitted, t.id)
		if x[k] <= t.least+atBound*t.scale {
			x[k] = t.least
			fit.AtBound = append(fit.AtBound, t.id)
		}
		if undetermined[k] {
			fit.Undetermined = append(fit.Undetermined, t.id)
		}
		fit.Factors[t.id] = round(x[k])
	}
	return fit, nil
}

// residuals returns the weighted logarithmic errors of the runs by a fit.
func residuals(ctx context.Context, runs []measuredRun, weights []float64, fit *Fit) ([]float64, error) {
	var r []float64
	add := func(weight, predicted, measured float64) {
		switch {
		case measured > 0 && predicted > 0:
			r = append(r, weight*math.Log(predicted/measured))
		case measured > 0: // predicted is 0 only if all factors are
			r = append(r, 0)
		}
	}
	for k, run := range runs {
		weight := 1.0
		if weights != nil {
			weight = weights[k]
		}
		predicted, err := run.outcomes(ctx, fit)
		if err != nil {
			return nil, err
		}
		work.Step(ctx)
		for i, m := range run.measured() {
			p := predicted[i]
			add(weight*ttftCounts, p.ttft, m.ttft)
			add(weight, p.tpot, m.tpot)
			add(weight, p.total, m.total)
		}
	}
	return r, nil
}

// servingTerm is a factor that a fit may move.
type servingTerm struct {
	id           string
	least, start float64
	scale        float64 // natural size of a change, positive even if the factor starts at 0
}

// scales are the natural sizes of changes of factors whose usual values are known. Cards reach 70 to 100 % of their
// bandwidth in reading weights from end to end, a factor of 1 to 1.4, and 50 to 100 % of their peak in dense products of
// prompts, a factor of 1 to 2. Where the rows have little of either, such as those of models with experts, looser factors
// would take up what other terms miss, and be far off for other models.
var scales = map[string]float64{"weights": 0.5, "expert_weights": 0.5, "gemm": 0.35, "gemm8": 0.35, "gemm4": 0.35}

// atBound is the distance from its bound, as a fraction of its scale, within which a factor counts as
// being at the bound.
const atBound = 1e-4

// servingTerms returns the terms for which the runs have work, and moves their factors in fit to within
// their bounds.
func servingTerms(runs []measuredRun, fit *Fit) []servingTerm {
	var terms []servingTerm
	size := ServerFactors()
	for _, t := range Terms() {
		has := slices.ContainsFunc(runs, func(r measuredRun) bool {
			if t.ID == RequestTerm {
				return r.measured()[0].ttft > 0
			}
			for feature, ns := range t.peak(r.deployment()) {
				if ns*r.work()[feature] > 0 {
					return true
				}
			}
			return false
		})
		if !has {
			continue
		}
		least := 1.0
		if t.Overhead {
			least = 0
		}
		start := max(least, fit.Factors[t.ID])
		fit.Factors[t.ID] = start
		scale, known := scales[t.ID]
		if !known {
			scale = max(start, size[t.ID])
		}
		terms = append(terms, servingTerm{t.ID, least, start, scale})
	}
	return terms
}
