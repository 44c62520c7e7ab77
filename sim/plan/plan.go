// Package plan answers which cards, how many of them and with which compression serve
// requests within objectives, at which price: it ranks the outcomes of package sweep, each
// with the fewest replicas that meet the objectives, and says why the others do not.
package plan

import (
	"cmp"
	"context"
	"slices"

	"kvcompress/sim"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// HoursPerMonth is a twelfth of a year of 365 days.
const HoursPerMonth = 730

// Question is what a plan has to answer.
type Question struct {
	Objectives stats.SLO
	Replicas   int // of every candidate; 0 is the fewest that meet the objectives
	Most       int // replicas, or of each kind of them, where they are searched for
}

// Search returns the projection of a candidate: with the replicas that are asked for, or the
// fewest that meet the objectives. Where a point has some that prefill and others that decode,
// how many of each is found too; at least one of each. What makes a candidate impossible is
// the outcome's error, whatever it is: the requests are taken to be good.
func (q *Question) Search(project sweep.Project) sweep.Project {
	possible := func(ctx context.Context, p sweep.Point) (sweep.Outcome, error) {
		o, err := project(ctx, p)
		if err != nil && ctx.Err() == nil {
			o.Point, o.Error, err = p, err.Error(), nil
		}
		return o, err
	}
	good := func(o *sweep.Outcome) bool { return o.Metrics.Meets(q.Objectives) }
	together := sweep.FewestReplicas(possible, q.Most, good)
	apart := sweep.FewestPools(possible, q.Most, good)
	if q.Replicas > 0 {
		apart = sweep.BestPools(possible, max(2, q.Replicas), func(a, b *sweep.Outcome) bool {
			x, y := &a.Metrics, &b.Metrics
			return cmp.Or(cmp.Compare(x.GoodShare, y.GoodShare), cmp.Compare(y.E2E.P99, x.E2E.P99)) > 0
		})
		together = func(ctx context.Context, p sweep.Point) (sweep.Outcome, error) {
			p.Replicas = q.Replicas
			o, err := possible(ctx, p)
			o.Point = p
			return o, err
		}
	}
	return func(ctx context.Context, p sweep.Point) (sweep.Outcome, error) {
		if p.Disaggregated() {
			return apart(ctx, p)
		}
		return together(ctx, p)
	}
}

// Candidate is one way to serve the requests.
type Candidate struct {
	sweep.Outcome
	Scheduler   sim.Scheduler `json:"scheduler"` // that forms its batches
	Cards       int           `json:"cards"`     // of all replicas
	USDPerMonth float64       `json:"usd_per_month,omitempty"`
	Meets       bool          `json:"meets"` // the objectives
	Reasons     []Reason      `json:"reasons,omitempty"`
	Tightest    *Margin       `json:"tightest,omitempty"` // of the objectives, of one that meets them
	Off         Expected      `json:"expected_error"`     // of its times
	Quality     *Quality      `json:"quality,omitempty"`  // where it is asked for
}

// Margin is how far an objective is kept.
type Margin struct {
	stats.Objective
	Spare float64 `json:"spare"` // part of the limit
}

// Answer is the candidates, the best first: those that meet the objectives by price, or by
// cards where there are no prices; then those that miss them by how many requests keep them;
// then those that are impossible.
type Answer struct {
	Question   Question
	Requests   Requests
	Priced     bool // all candidates that can be projected have a price
	OneEngine  bool // all candidates are projected on one server
	Candidates []Candidate
}

// Facts are what is known of a candidate beside its outcome.
type Facts struct {
	Scheduler sim.Scheduler
	Cards     int // of one replica
	Context   int // tokens of the longest request that the model takes; 0 is no limit
	Expected  Expected
	Quality   *Quality // nil where none is asked for
}

// NewAnswer ranks outcomes. facts says what is known of each.
func NewAnswer(q Question, outcomes []sweep.Outcome, requests Requests, facts func(*sweep.Point) Facts) *Answer {
	a := &Answer{Question: q, Requests: requests, Priced: true, OneEngine: true}
	for i := range outcomes {
		o := &outcomes[i]
		f := facts(&o.Point)
		c := Candidate{Outcome: *o, Scheduler: f.Scheduler, Cards: f.Cards * o.Servers(), Off: f.Expected, Quality: f.Quality}
		c.USDPerMonth = o.USDPerHour * HoursPerMonth
		if c.Meets = o.Error == "" && o.Metrics.Meets(q.Objectives) && f.Quality.enough(); c.Meets {
			c.Tightest = tightest(o.Metrics.Objectives)
		} else {
			c.Reasons = q.reasons(o, requests, f)
		}
		if o.Error == "" && o.USDPerHour == 0 {
			a.Priced = false
		}
		if f.Scheduler != facts(&outcomes[0].Point).Scheduler {
			a.OneEngine = false
		}
		a.Candidates = append(a.Candidates, c)
	}
	slices.SortStableFunc(a.Candidates, a.compare)
	return a
}

// rank orders the kinds of candidates.
func (c *Candidate) rank() int {
	switch {
	case c.Meets:
		return 0
	case c.Error == "":
		return 1
	}
	return 2
}

func (a *Answer) compare(x, y Candidate) int {
	if by := cmp.Compare(x.rank(), y.rank()); by != 0 || x.Error != "" {
		return by
	}
	price := 0
	if a.Priced {
		price = cmp.Compare(x.USDPerMonth, y.USDPerMonth)
	}
	kept := cmp.Compare(y.Metrics.GoodShare, x.Metrics.GoodShare)
	if !x.Meets {
		return cmp.Or(kept, price, cmp.Compare(x.Cards, y.Cards))
	}
	return cmp.Or(price, cmp.Compare(x.Cards, y.Cards), kept)
}

// Best returns the candidate to take; nil if none meets the objectives. Next returns the
// second of those that do.
func (a *Answer) Best() *Candidate { return a.meeting(0) }

// Next returns the best but one of the candidates that meet the objectives; nil if there is
// none.
func (a *Answer) Next() *Candidate { return a.meeting(1) }

func (a *Answer) meeting(i int) *Candidate {
	if i < len(a.Candidates) && a.Candidates[i].Meets {
		return &a.Candidates[i]
	}
	return nil
}

// Nearest returns the candidate under which the most requests keep the objectives; nil if
// none is possible.
func (a *Answer) Nearest() *Candidate {
	for i := range a.Candidates {
		if c := &a.Candidates[i]; c.rank() == 1 {
			return c
		}
	}
	return nil
}

// tightest returns the objective that is kept by the least, of those that requests take any
// time for.
func tightest(objectives []stats.Objective) *Margin {
	var least *Margin
	for _, o := range objectives {
		if o.At == 0 {
			continue
		}
		if m := (&Margin{o, 1 - o.At/o.Limit}); least == nil || m.Spare < least.Spare {
			least = m
		}
	}
	return least
}
