package cost

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"

	"kvcompress/sim"
)

// ServerFactors returns where a fit to serving runs starts, and what a factor is that the
// runs do not determine. Bounds are of physics: a factor of a peak is at least 1, a time at
// least 0.
func ServerFactors() Factors {
	f := DefaultFactors()
	for id, v := range map[string]float64{
		"weights": 1.1, "gemm": 1.5, "decode_gemm": 1.5, "attention": 3, "kv": 1.3, "elementwise": 1.2, "all_reduce": 1.5,
		"layer": 15, "all_reduce_latency": 10, "step": 1000, "sequence": 30, "prompt": 100, RequestTerm: 20_000,
	} {
		f[id] = v
	}
	return f
}

// How much the parts of a measured run count in a fit. A mean time to first token depends on
// how a benchmark starts its clients, which files do not say.
const (
	ttftCounts = 0.3
	priorTrust = 0.03 // how much a factor's start counts beside the rows, as a relative error of one of them
	outlier    = 0.1  // relative errors above this count less and less
)

// outcome is what a run comes to, in seconds: means over its requests, and its duration. 0 is
// not known.
type outcome struct{ ttft, tpot, total float64 }

// measuredRun is a run that a fit is held against.
type measuredRun interface {
	deployment() *Deployment
	work() *[sim.NumFeatures]float64  // of the run
	outcomes(*Fit) ([]outcome, error) // of the whole run first
	measured() []outcome              // likewise
	rows() int                        // of its file
}

// servingTerm is a factor that a fit may move.
type servingTerm struct {
	id           string
	least, start float64
}

// fitServing fits the factors to serving runs: it makes the mean square of the logarithms of
// predicted over measured least, of time to first token, time per output token and duration
// together, by the method of Levenberg and Marquardt within the bounds.
//
// Each case counts by its weight; nil is one for each.
func fitServing(cases []measuredRun, weights []float64, card, file string, start Factors) (*Fit, error) {
	fit := &Fit{Card: card, Factors: Factors{}, Overlap: true}
	for _, c := range cases {
		fit.Rows += c.rows()
	}
	for id, v := range start {
		fit.Factors[id] = v
	}
	for _, c := range cases {
		if !slices.Contains(fit.Models, c.deployment().Model.Name) {
			fit.Models = append(fit.Models, c.deployment().Model.Name)
		}
	}
	fit.Of = fmt.Sprintf("%d rows of %s (%s, %s)", fit.Rows, file, card, strings.Join(fit.Models, ", "))
	terms := servingTerms(cases, fit)
	if len(terms) == 0 {
		return nil, fmt.Errorf("%s: %s: no term has any work", file, card)
	}
	s := &servingSolver{cases: cases, weights: weights, fit: fit, terms: terms}
	if s.solve(); s.err != nil {
		return nil, fmt.Errorf("%s: %s: %w", file, card, s.err)
	}
	for _, t := range terms {
		fit.Factors[t.id] = round(fit.Factors[t.id])
		fit.Fitted = append(fit.Fitted, t.id)
		if fit.Factors[t.id] <= t.least*(1+1e-6) {
			fit.AtBound = append(fit.AtBound, t.id)
		}
	}
	fit.Undetermined = s.undetermined()
	return fit, nil
}

// servingTerms returns the terms that the cases have work for.
func servingTerms(cases []measuredRun, fit *Fit) []servingTerm {
	var terms []servingTerm
	for _, t := range Terms() {
		least := 1.0
		if t.Overhead {
			least = 0
		}
		has := t.ID == RequestTerm && slices.ContainsFunc(cases, func(c measuredRun) bool { return c.measured()[0].ttft > 0 })
		for _, c := range cases {
			u := t.peak(c.deployment())
			for f, ns := range u {
				has = has || ns*c.work()[f] > 0
			}
		}
		if has {
			terms = append(terms, servingTerm{t.ID, least, max(least, fit.Factors[t.ID])})
			fit.Factors[t.ID] = max(least, fit.Factors[t.ID])
		}
	}
	return terms
}

type servingSolver struct {
	cases   []measuredRun
	weights []float64 // of the cases; nil is one for each
	fit     *Fit
	terms   []servingTerm

	jacobian *mat.Dense // at the solution
	err      error
}

// scale is the size of a change of a term that is a change at all.
func (t *servingTerm) scale() float64 { return max(t.start, 0.1) }

// residuals returns the weighted errors of the cases, and after them those of the factors
// from their starts.
func (s *servingSolver) residuals(x []float64) []float64 {
	for j, t := range s.terms {
		s.fit.Factors[t.id] = x[j]
	}
	var r []float64
	add := func(weight, predicted, measured float64) {
		switch {
		case measured > 0 && predicted > 0:
			r = append(r, weight*math.Log(predicted/measured))
		case measured > 0:
			r = append(r, 0)
		}
	}
	for k, c := range s.cases {
		weight := 1.0
		if s.weights != nil {
			weight = s.weights[k]
		}
		measured := c.measured()
		predicted, err := c.outcomes(s.fit)
		if err != nil { // the residuals that there would be, of none; the caller stops
			s.err, predicted = err, make([]outcome, len(measured))
		}
		for i, m := range measured {
			p := predicted[i]
			add(weight*ttftCounts, p.ttft, m.ttft)
			add(weight, p.tpot, m.tpot)
			add(weight, p.total, m.total)
		}
	}
	for j, t := range s.terms {
		r = append(r, priorTrust*(x[j]-t.start)/t.scale())
	}
	return r
}

// tame gives errors beyond what is usual less weight, by the square root of their
// pseudo-Huber weight.
func (s *servingSolver) tame(r []float64) []float64 {
	w := make([]float64, len(r))
	for i := range r {
		w[i] = 1
		if i < len(r)-len(s.terms) {
			w[i] = math.Sqrt(1 / math.Sqrt(1+float64(r[i]/outlier)*float64(r[i]/outlier)))
		}
	}
	return w
}

func (s *servingSolver) solve() {
	n := len(s.terms)
	x := make([]float64, n)
	for j, t := range s.terms {
		x[j] = t.start
	}
	r := s.residuals(x)
	cost := func(r, w []float64) float64 {
		sum := 0.0
		for i := range r {
			v := float64(r[i] * w[i])
			sum += float64(v * v)
		}
		return sum
	}
	const rounds, steps = 8, 12
	for range rounds {
		w := s.tame(r)
		damping := 1e-3
		now := cost(r, w)
		before := now
		for range steps {
			j := s.differences(x, r)
			for i := range r {
				for k := range n {
					j.Set(i, k, j.At(i, k)*w[i])
				}
			}
			moved := false
			for range 12 {
				next := s.step(j, r, w, x, damping)
				nr := s.residuals(next)
				if c := cost(nr, w); c < now {
					x, r, now, moved = next, nr, c, true
					damping = max(damping/5, 1e-12)
					break
				}
				damping *= 4
			}
			if !moved {
				break
			}
		}
		if before-now < 1e-9*before {
			break
		}
	}
	s.jacobian = s.differences(x, s.residuals(x))
	s.residuals(x) // sets the factors
}

// differences returns the Jacobian, [residuals][terms].
func (s *servingSolver) differences(x, r []float64) *mat.Dense {
	j := mat.NewDense(len(r), len(x), nil)
	at := slices.Clone(x)
	for k, t := range s.terms {
		h := 1e-4 * max(x[k], t.scale())
		at[k] = x[k] + h
		for i, v := range s.residuals(at) {
			j.Set(i, k, (v-r[i])/h)
		}
		at[k] = x[k]
	}
	return j
}

// step returns where a damped step leads, within the bounds: terms at their bound that it
// would take beyond it stay there.
func (s *servingSolver) step(j *mat.Dense, r, w, x []float64, damping float64) []float64 {
	n := len(x)
	weighted := mat.NewVecDense(len(r), nil)
	for i := range r {
		weighted.SetVec(i, r[i]*w[i])
	}
	var g mat.VecDense
	g.MulVec(j.T(), weighted)
	free := make([]bool, n)
	for k := range free {
		free[k] = x[k] > s.terms[k].least || g.AtVec(k) < 0
	}
	var a mat.Dense
	a.Mul(j.T(), j)
	for k := range n {
		if !free[k] {
			for l := range n {
				a.Set(k, l, 0)
				a.Set(l, k, 0)
			}
			a.Set(k, k, 1)
			g.SetVec(k, 0)
			continue
		}
		a.Set(k, k, a.At(k, k)*(1+damping)+1e-12)
	}
	var d mat.VecDense
	next := slices.Clone(x)
	if err := d.SolveVec(&a, &g); err != nil && d.Len() == 0 {
		return next
	}
	for k := range next {
		if v := x[k] - d.AtVec(k); !math.IsNaN(v) {
			next[k] = min(max(v, s.terms[k].least), maxFactor)
		}
	}
	return next
}

// undetermined returns the terms of which the rows say less than their start does: the
// variance of the fit is more than half of what the start alone leaves.
func (s *servingSolver) undetermined() []string {
	n := len(s.terms)
	var a mat.SymDense
	a.SymOuterK(1, s.jacobian.T())
	var inverse mat.Dense
	if err := inverse.Inverse(&a); err != nil {
		if _, ok := err.(mat.Condition); !ok {
			return nil
		}
	}
	var list []string
	for k := range n {
		prior := s.terms[k].scale() / priorTrust
		if inverse.At(k, k) > prior*prior/2 {
			list = append(list, s.terms[k].id)
		}
	}
	return list
}
