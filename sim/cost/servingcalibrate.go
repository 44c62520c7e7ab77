package cost

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Source is a file of measured serving runs.
type Source struct {
	Name    string
	Serving []*ServingCase // rows of runs; or
	Log     *LogCase       // a log of requests

	// Server is the server of the file, if it is not the rows' own. If it is neither "" nor vLLM V1,
	// only the card's factors are taken from the file, for vLLM V1, and not the host's.
	Server sim.Scheduler

	// Chosen says as which servers rows that do not name theirs are projected.
	Chosen []ServerChoice
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

// usualRows is the number of rows up to which each row of a source counts in full beside other sources.
// The rows of a larger source count as this many together: their residuals are multiplied by
// √(usualRows/rows).
const usualRows = 50

// pool is the runs of several sources, with their weights.
type pool struct {
	runs    []measuredRun
	weights []float64
	source  []int // of each run, an index of names
	names   []string
}

// poolOf returns the sources' runs on a server, on the cards for which of is true.
func poolOf(sources []*Source, server sim.Scheduler, of func(card string) bool) *pool {
	p := &pool{}
	for _, s := range sources {
		runs := slices.DeleteFunc(s.runs(), func(r measuredRun) bool { return r.server() != server || !of(r.deployment().Card.Name) })
		if len(runs) == 0 {
			continue
		}
		weight := math.Sqrt(min(1, usualRows/float64(len(runs))))
		for _, r := range runs {
			p.runs = append(p.runs, r)
			p.weights = append(p.weights, weight)
			p.source = append(p.source, len(p.names))
		}
		p.names = append(p.names, s.Name)
	}
	return p
}

// files returns the names of the sources, or how many they are where they are more than two.
func (p *pool) files() string {
	if n := len(p.names); n > 2 {
		return fmt.Sprintf("%d files", n)
	}
	return strings.Join(p.names, ", ")
}

// fit fits the factors to the runs and sets the fit's quality.
func (p *pool) fit(ctx context.Context, card string, start Factors) (*Fit, error) {
	f, err := fitServing(ctx, p.runs, p.weights, card, p.files(), start)
	if err != nil {
		return nil, err
	}
	if f.Server = p.runs[0].server(); f.Server != sim.VLLMV1 {
		f.Of += ", on " + string(f.Server)
	}
	return f, f.measureServing(ctx, p)
}

// CalibrateServing fits the factors to measured serving runs, for each server by itself: first to all of
// its rows, for cards without rows, and then, starting from that fit, to the rows of each card, so that
// factors that a card's rows do not determine are as on the other cards. For cards that have rows only
// of sources with a Server of their own, the card's factors are fitted and the host's are those of
// vLLM V1.
//
// The first of these fits starts from [ServerFactors], or from the fits of a profile, if start is not nil: the nearest
// to the rows' card, or to several cards. If that has a fit to a card, of the same server, the card's fit starts from it.
func CalibrateServing(ctx context.Context, sources []*Source, start *Profile) (*Profile, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("cost: nothing was measured")
	}
	p := &Profile{Version: profileVersion}
	if start != nil {
		if i := slices.IndexFunc(start.Fits, func(f Fit) bool { return !f.Overlap }); i >= 0 {
			return nil, fmt.Errorf("cost: the fit of %s to start from, %s, is not one to serving runs", start.Fits[i].Card, start.Fits[i].Of)
		}
		p.Start = start.File
	}
	var current, old []*Source
	for _, s := range sources {
		if s.Log != nil {
			if err := s.Log.start(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		p.File += ", " + s.Name
		if s.old() {
			old = append(old, s)
		} else {
			current = append(current, s)
		}
	}
	p.File = strings.TrimPrefix(p.File, ", ")
	var v1 *Fit // to all rows of vLLM V1
	for _, server := range serversOf(current) {
		fits, all, err := calibrateServer(ctx, current, server, start)
		if err != nil {
			return nil, err
		}
		p.Fits = append(p.Fits, fits...)
		if server == sim.VLLMV1 {
			v1 = all
		} else if len(fits) > 1 {
			p.Fits = append(p.Fits, *all)
		}
	}
	if v1 == nil {
		if len(old) > 0 {
			return nil, fmt.Errorf("cost: none of the files is of vLLM V1: from another server's runs only the card's factors are taken")
		}
		return p, nil
	}
	cards := cardsOf(current, sim.VLLMV1)
	for _, card := range cardsOf(old, sim.VLLMV1) {
		if slices.Contains(cards, card) {
			continue
		}
		f, err := poolOf(old, sim.VLLMV1, only(card)).fit(ctx, card, v1.Factors)
		if err != nil {
			return nil, err
		}
		f.withHostOf(v1)
		p.Fits = append(p.Fits, *f)
	}
	if len(cards) > 1 {
		p.All = v1
	}
	return p, nil
}

// calibrateServer fits the factors to the runs of one server: for each card, and for all cards together.
func calibrateServer(ctx context.Context, sources []*Source, server sim.Scheduler, start *Profile) (fits []Fit, all *Fit, err error) {
	cards := cardsOf(sources, server)
	first := cards[0]
	if len(cards) > 1 {
		first = AnyCard
	}
	if all, err = poolOf(sources, server, anyCard).fit(ctx, AnyCard, start.factors(first, server)); err != nil {
		return nil, nil, err
	}
	start.completes(all)
	var tpot, throughput errorSum
	for _, card := range cards {
		rows := poolOf(sources, server, only(card))
		from := all.Factors
		if start.has(card, server) {
			from = start.factors(card, server)
		}
		f, err := rows.fit(ctx, card, from)
		if err != nil {
			return nil, nil, err
		}
		if err := errors.Join(f.crossServing(ctx, rows, from), f.crossSources(ctx, rows, start)); err != nil {
			return nil, nil, err
		}
		fits = append(fits, *f)
		if len(cards) == 1 {
			continue
		}
		others, err := poolOf(sources, server, allBut(card)).fit(ctx, AnyCard, start.factors(AnyCard, server))
		if err != nil {
			return nil, nil, err
		}
		start.completes(others)
		if err := others.measureServing(ctx, rows); err != nil {
			return nil, nil, err
		}
		tpot.addKnown(others.Quality.TPOTMAPE)
		throughput.addKnown(others.Quality.ThroughputMAPE)
	}
	all.Quality.OtherTPOTMAPE, all.Quality.OtherThroughput = rounded(tpot.mape()), rounded(throughput.mape())
	all.Quality.WorstTPOTMAPE, all.Quality.WorstThroughput = rounded(tpot.maxError()), rounded(throughput.maxError())
	for i := range fits { // of a card of the same chip, or of other runs where they are few
		fits[i].Quality.others(&all.Quality)
	}
	return fits, all, nil
}

// factors returns the factors from which a fit to a server's runs on a card, or on several for [AnyCard], starts.
func (p *Profile) factors(card string, server sim.Scheduler) Factors {
	if p == nil {
		return ServerFactors()
	}
	return p.For(&catalog.Card{Name: card}, server).Factors
}

// completes gives the parts of terms that no run of a first fit has the factors of other parts: see parts. If the fit
// starts from a profile, it has them from there.
func (p *Profile) completes(f *Fit) {
	if p == nil {
		f.Factors.share(func(id string) bool { return slices.Contains(f.Fitted, id) })
	}
}

// has reports whether the profile has a fit to a server's runs on a card.
func (p *Profile) has(card string, server sim.Scheduler) bool {
	return p != nil && slices.ContainsFunc(p.Fits, func(f Fit) bool { return f.Card == card && f.Server == server })
}

// serversOf returns the servers of the sources' runs, in the order in which they come.
func serversOf(sources []*Source) []sim.Scheduler {
	var servers []sim.Scheduler
	for _, s := range sources {
		for _, r := range s.runs() {
			if server := r.server(); !slices.Contains(servers, server) {
				servers = append(servers, server)
			}
		}
	}
	return servers
}

// cardsOf returns the cards of the sources' runs on a server, in the order in which they come.
func cardsOf(sources []*Source, server sim.Scheduler) []string {
	var cards []string
	for _, s := range sources {
		for _, r := range s.runs() {
			if r.server() != server {
				continue
			}
			if card := r.deployment().Card.Name; !slices.Contains(cards, card) {
				cards = append(cards, card)
			}
		}
	}
	return cards
}

func anyCard(string) bool { return true }

func only(card string) func(string) bool { return func(c string) bool { return c == card } }

func allBut(card string) func(string) bool { return func(c string) bool { return c != card } }

// withHostOf takes the host's factors, and those that the rows do not determine, from another fit. The
// error to expect is then that of a card without rows.
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
	f.Quality = Quality{}
	f.Quality.others(&all.Quality)
	f.AtBound = slices.DeleteFunc(f.AtBound, func(id string) bool { return !slices.Contains(kept, id) })
	f.Of += ", of another server: the host's factors are those of " + all.Of
}

// measureServing sets the quality of a fit on runs. Errors are averaged within each source first, so that
// a long source does not outweigh a short one.
func (f *Fit) measureServing(ctx context.Context, g *pool) error {
	var sums, weights [3]float64
	for i, r := range g.runs {
		predicted, err := r.outcomes(ctx, f)
		if err != nil {
			return err
		}
		w := g.weights[i] * g.weights[i]
		e := errorsOf(r, predicted[0])
		for k := range e {
			if !math.IsNaN(e[k]) {
				sums[k] += w * math.Abs(e[k])
				weights[k] += w
			}
		}
	}
	q := &f.Quality
	for k, to := range []**float64{&q.TTFTMAPE, &q.TPOTMAPE, &q.ThroughputMAPE} {
		if *to = nil; weights[k] > 0 {
			*to = new(round(sums[k] / weights[k]))
		}
	}
	return nil
}

// halves returns the runs with even and with odd indices.
func (p *pool) halves() (half [2]pool) {
	for i, r := range p.runs {
		h := &half[i%2]
		h.runs, h.weights = append(h.runs, r), append(h.weights, p.weights[i])
	}
	return half
}

// crossServing sets the cross-validation errors: on each half of the runs, with a fit to the other half.
func (f *Fit) crossServing(ctx context.Context, g *pool, start Factors) error {
	if len(g.runs) < 4 {
		return nil
	}
	var tpot, throughput errorSum
	halves := g.halves()
	for i := range halves {
		in, out := &halves[i], &halves[1-i]
		other, err := fitServing(ctx, in.runs, in.weights, f.Card, "half", start)
		if err != nil {
			return err
		}
		if err := other.measureServing(ctx, out); err != nil {
			return err
		}
		tpot.addKnown(other.Quality.TPOTMAPE)
		throughput.addKnown(other.Quality.ThroughputMAPE)
	}
	f.Quality.CrossTPOTMAPE, f.Quality.CrossThroughput = rounded(tpot.mape()), rounded(throughput.mape())
	return nil
}

// without returns the runs of all sources but one, and those of this one.
func (p *pool) without(source int) (others, one pool) {
	for i, r := range p.runs {
		to := &others
		if p.source[i] == source {
			to = &one
		}
		to.runs, to.weights = append(to.runs, r), append(to.weights, p.weights[i])
	}
	return others, one
}

// crossSources sets the errors on each source of several with a fit to the others. It starts where the first
// fit to any runs starts: what the left-out source tells of a factor is not in it.
func (f *Fit) crossSources(ctx context.Context, g *pool, start *Profile) error {
	if len(g.names) < 2 {
		return nil
	}
	server := g.runs[0].server()
	var tpot, throughput errorSum
	for i := range g.names {
		others, one := g.without(i)
		fit, err := fitServing(ctx, others.runs, others.weights, f.Card, "other sources", start.factors(f.Card, server))
		if err != nil {
			return err
		}
		start.completes(fit)
		if err := fit.measureServing(ctx, &one); err != nil {
			return err
		}
		tpot.addKnown(fit.Quality.TPOTMAPE)
		throughput.addKnown(fit.Quality.ThroughputMAPE)
	}
	q := &f.Quality
	q.SourceTPOTMAPE, q.SourceThroughput = rounded(tpot.mape()), rounded(throughput.mape())
	q.WorstSourceTPOT, q.WorstSourceRate = rounded(tpot.maxError()), rounded(throughput.maxError())
	return nil
}

// errorsOf returns the errors of a predicted run, as fractions: of the mean time to first token, the mean
// time per output token and the throughput; NaN if it was not measured. The duration of a closed loop is
// not measured, and its throughput follows from the mean times, since a client sends one request after
// another.
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
