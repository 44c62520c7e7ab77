package cost

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"kvcompress/sim"
)

// Source is a file of measured serving runs of vLLM, or of a server that schedules alike.
type Source struct {
	Name    string
	Serving []*ServingCase // rows of runs, or
	Log     *LogCase       // a log of requests

	// Server ran them; "" is vLLM V1. Of the runs of another server only what is the card's
	// is taken, and not what is the host's.
	Server sim.Scheduler
}

func (s *Source) old() bool { return s.Server != "" && s.Server != sim.VLLMV1 }

func (s *Source) runs() []measuredRun {
	if s.Log != nil {
		return []measuredRun{s.Log}
	}
	list := make([]measuredRun, len(s.Serving))
	for i, c := range s.Serving {
		list[i] = c
	}
	return list
}

// usualRows is how many rows of a source count in full beside other sources: those of a larger
// one count as many together.
const usualRows = 50

// pool is runs of several sources, with what each counts.
type pool struct {
	runs    []measuredRun
	weights []float64
	names   []string
}

func (p *pool) add(s *Source, of func(measuredRun) bool) {
	runs := slices.DeleteFunc(s.runs(), func(r measuredRun) bool { return !of(r) })
	if len(runs) == 0 {
		return
	}
	weight := math.Sqrt(min(1, usualRows/float64(len(runs))))
	for _, r := range runs {
		p.runs = append(p.runs, r)
		p.weights = append(p.weights, weight)
	}
	p.names = append(p.names, s.Name)
}

// CalibrateServing fits the factors to measured serving runs: first to all of them, which is
// what holds of cards that have no rows; then, starting there, to those of each card by
// itself, so that what a card's rows do not determine is as on the others.
func CalibrateServing(ctx context.Context, sources []*Source) (*Profile, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("cost: nothing was measured")
	}
	var names, cards, oldCards []string
	for _, s := range sources {
		names = append(names, s.Name)
		if s.old() {
			for _, r := range s.runs() {
				if card := r.deployment().Card.Name; !slices.Contains(oldCards, card) {
					oldCards = append(oldCards, card)
				}
			}
			continue
		}
		for _, r := range s.runs() {
			if card := r.deployment().Card.Name; !slices.Contains(cards, card) {
				cards = append(cards, card)
			}
		}
	}
	p := &Profile{Version: profileVersion, File: strings.Join(names, ", ")}
	if len(cards) == 0 {
		return nil, fmt.Errorf("cost: none of the files is of vLLM V1: of another server's runs only what is the card's is taken")
	}
	gather := func(of func(measuredRun) bool) *pool {
		g := &pool{}
		for _, s := range sources {
			if !s.old() {
				g.add(s, of)
			}
		}
		return g
	}
	fit := func(g *pool, card string, start Factors) (*Fit, error) {
		f, err := fitServing(ctx, g.runs, g.weights, card, strings.Join(g.names, ", "), start)
		if err != nil {
			return nil, err
		}
		f.Server = sim.VLLMV1
		return f, nil
	}
	every := gather(func(measuredRun) bool { return true })
	all, err := fit(every, AnyCard, ServerFactors())
	if err != nil {
		return nil, err
	}
	if err := all.measureServing(ctx, every); err != nil {
		return nil, err
	}
	for _, card := range cards {
		of := gather(func(r measuredRun) bool { return r.deployment().Card.Name == card })
		f, err := fit(of, card, all.Factors)
		if err != nil {
			return nil, err
		}
		if err := f.measureServing(ctx, of); err != nil {
			return nil, err
		}
		if err := f.crossServing(ctx, of, all.Factors); err != nil {
			return nil, err
		}
		p.Fits = append(p.Fits, *f)
		if len(cards) == 1 {
			continue
		}
		// As if there were no rows of this card.
		others, err := fit(gather(func(r measuredRun) bool { return r.deployment().Card.Name != card }), AnyCard, ServerFactors())
		if err != nil {
			return nil, err
		}
		if err := others.measureServing(ctx, of); err != nil {
			return nil, err
		}
		all.Quality.OtherTPOTMAPE += others.Quality.TPOTMAPE / float64(len(cards))
		all.Quality.OtherThroughput += others.Quality.ThroughputMAPE / float64(len(cards))
	}
	for _, card := range oldCards {
		if slices.Contains(cards, card) {
			continue
		}
		g := &pool{}
		for _, s := range sources {
			if s.old() {
				g.add(s, func(r measuredRun) bool { return r.deployment().Card.Name == card })
			}
		}
		f, err := fit(g, card, all.Factors)
		if err != nil {
			return nil, err
		}
		if err := f.measureServing(ctx, g); err != nil {
			return nil, err
		}
		if err := f.crossServing(ctx, g, all.Factors); err != nil {
			return nil, err
		}
		f.withHostOf(all)
		p.Fits = append(p.Fits, *f)
	}
	if len(cards) > 1 {
		p.All = all
	}
	return p, nil
}

// withHostOf takes the host's factors, and those that its rows do not determine, from another
// fit.
func (f *Fit) withHostOf(all *Fit) {
	var kept []string
	for _, t := range Terms() {
		switch {
		case !slices.Contains(f.Fitted, t.ID):
		case t.Overhead || slices.Contains(f.Undetermined, t.ID):
			f.Factors[t.ID] = all.Factors[t.ID]
		default:
			kept = append(kept, t.ID)
		}
	}
	f.Fitted, f.Undetermined = kept, nil
	f.AtBound = slices.DeleteFunc(f.AtBound, func(id string) bool { return !slices.Contains(kept, id) })
	f.Of += ", which ran another server: the host's part is as on the cards of " + all.Of
}

// measureServing sets the quality of a fit on runs: each source as one, so that a long one
// does not hide a short one.
func (f *Fit) measureServing(ctx context.Context, g *pool) error {
	q := &f.Quality
	q.TTFTMAPE, q.TPOTMAPE, q.ThroughputMAPE = 0, 0, 0
	var weights [3]float64
	for i, r := range g.runs {
		predicted, err := r.outcomes(ctx, f)
		if err != nil {
			return err
		}
		w := g.weights[i] * g.weights[i]
		e := errorsOf(r, predicted[0])
		for k, to := range []*float64{&q.TTFTMAPE, &q.TPOTMAPE, &q.ThroughputMAPE} {
			if !math.IsNaN(e[k]) {
				*to += w * math.Abs(e[k])
				weights[k] += w
			}
		}
	}
	for k, to := range []*float64{&q.TTFTMAPE, &q.TPOTMAPE, &q.ThroughputMAPE} {
		*to = round(*to / max(weights[k], 1e-300))
	}
	return nil
}

// crossServing sets the errors of each half of the runs, every other one, by a fit to the other
// half.
func (f *Fit) crossServing(ctx context.Context, g *pool, start Factors) error {
	if len(g.runs) < 4 {
		return nil
	}
	var tpot, throughput float64
	for half := range 2 {
		var in, out pool
		for i, r := range g.runs {
			to := &in
			if i%2 == half {
				to = &out
			}
			to.runs, to.weights = append(to.runs, r), append(to.weights, g.weights[i])
		}
		other, err := fitServing(ctx, in.runs, in.weights, f.Card, "half", start)
		if err != nil {
			return err
		}
		if err := other.measureServing(ctx, &out); err != nil {
			return err
		}
		tpot += other.Quality.TPOTMAPE / 2
		throughput += other.Quality.ThroughputMAPE / 2
	}
	f.Quality.CrossTPOTMAPE, f.Quality.CrossThroughput = round(tpot), round(throughput)
	return nil
}

// errorsOf returns the errors of a predicted run as parts: of the mean time to first token, the
// mean time per output token and the throughput. NaN is what was not measured. The throughput
// of a closed loop, whose duration is not measured, follows from the mean times: a client sends
// one request after another.
func errorsOf(r measuredRun, p outcome) [3]float64 {
	m := r.measured()[0]
	e := [3]float64{math.NaN(), math.NaN(), math.NaN()}
	if m.ttft > 0 {
		e[0] = p.ttft/m.ttft - 1
	}
	if m.tpot > 0 {
		e[1] = p.tpot/m.tpot - 1
	}
	switch c, closed := r.(*ServingCase); {
	case m.total > 0 && p.total > 0:
		e[2] = m.total/p.total - 1
	case closed && m.ttft > 0 && m.tpot > 0:
		n := float64(c.OSL - 1)
		e[2] = (m.ttft+n*m.tpot)/(p.ttft+n*p.tpot) - 1
	}
	return e
}
