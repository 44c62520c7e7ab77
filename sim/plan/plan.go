// Package plan finds the cheapest cards, number of replicas and compression that serve requests
// within objectives. It ranks outcomes of package sweep, each with the fewest replicas that meet the
// objectives, and says why the others miss them.
//
// Start with [NewAnswer].
package plan

import (
	"cmp"
	"context"
	"math"
	"slices"

	"kvcompress/sim"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// hoursPerMonth is a twelfth of a year of 365 days.
const hoursPerMonth = 730

// Question is the question of a plan: the objectives, and how many replicas are allowed.
type Question struct {
	Objectives stats.SLO
	Replicas   int // of every candidate; 0 is the fewest that meet the objectives
	Most       int // most replicas, or most of each kind, in a search
}

// Search returns a Project that projects a candidate with the replicas of the question, or with the
// fewest that meet the objectives. For a disaggregated point it finds the numbers of prefill and
// decode servers, at least one of each. Every error of a projection is taken as the candidate's, so
// the requests must be valid.
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
	Scheduler   sim.Scheduler `json:"scheduler"`
	Cards       int           `json:"cards"` // of all replicas
	USDPerMonth float64       `json:"usd_per_month,omitempty"`
	Meets       bool          `json:"meets"`              // it meets the objectives
	Reasons     []Reason      `json:"reasons,omitempty"`  // why it does not
	Tightest    *Margin       `json:"tightest,omitempty"` // the objective with the smallest margin, if it meets all
	Off         Expected      `json:"expected_error"`     // of its times
	Quality     *Quality      `json:"quality,omitempty"`  // nil if the question does not ask for it
}

// Margin is an objective that is met, and by how much.
type Margin struct {
	stats.Objective
	Spare float64 `json:"spare"` // fraction of the limit
}

// Answer is the list of candidates, the best first. Candidates that meet the objectives come first, by
// price, or by number of cards if there are no prices. Candidates that miss an objective come next: those
// with the most requests within the objectives first, ties by the smallest excess over an objective's
// limit. Candidates that cannot serve the requests come last.
type Answer struct {
	Question   Question
	Requests   Requests
	Priced     bool // all candidates that can be projected have a price
	OneEngine  bool // all candidates are projected on the same engine
	Candidates []Candidate
}

// Facts are the facts about a candidate that its outcome does not have.
type Facts struct {
	Scheduler sim.Scheduler
	Cards     int // of one replica
	Context   int // tokens of the model's context
	Expected  Expected
	Quality   *Quality // nil if the question does not ask for it
}

// NewAnswer ranks outcomes. facts returns the facts about a candidate.
func NewAnswer(q Question, outcomes []sweep.Outcome, requests Requests, facts func(*sweep.Point) Facts) *Answer {
	a := &Answer{Question: q, Requests: requests, OneEngine: true}
	projected, priced := 0, 0
	for i := range outcomes {
		o := &outcomes[i]
		f := facts(&o.Point)
		c := Candidate{Outcome: *o, Scheduler: f.Scheduler, Cards: f.Cards * o.Servers(), Off: f.Expected, Quality: f.Quality}
		c.USDPerMonth = o.USDPerHour * hoursPerMonth
		if c.Meets = o.Error == "" && o.Metrics.Meets(q.Objectives) && f.Quality.enough(); c.Meets {
			c.Tightest = tightest(o.Metrics.Objectives)
		} else {
			c.Reasons = q.reasons(o, f)
		}
		if o.Error == "" {
			projected++
			if o.USDPerHour > 0 {
				priced++
			}
		}
		if f.Scheduler != facts(&outcomes[0].Point).Scheduler {
			a.OneEngine = false
		}
		a.Candidates = append(a.Candidates, c)
	}
	a.Priced = projected > 0 && priced == projected
	slices.SortStableFunc(a.Candidates, a.compare)
	return a
}

// rank orders the kinds of candidates.
func (c *Candidate) rank() int {
	switch {
	case c.Meets:
		return 0
	case c.Serves():
		return 1
	case c.Error == "":
		return 2
	}
	return 3
}

// Serves reports whether any request is served, within the objectives or not.
func (c *Candidate) Serves() bool { return c.Error == "" && c.Metrics.Finished > 0 }

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
		return cmp.Or(kept, cmp.Compare(a.excess(&x), a.excess(&y)), price, cmp.Compare(x.Cards, y.Cards))
	}
	// Compression costs quality that no projection shows: at the same price it has no advantage.
	compressed := 0
	if x.Compression.Enabled() != y.Compression.Enabled() {
		compressed = -1
		if x.Compression.Enabled() {
			compressed = 1
		}
	}
	return cmp.Or(price, cmp.Compare(x.Cards, y.Cards), compressed, kept)
}

// excess returns the largest ratio of an objective's time to its limit; infinite if too few requests
// finish.
func (a *Answer) excess(c *Candidate) float64 {
	most := 0.0
	for _, o := range c.Metrics.Objectives {
		times := o.At / o.Limit
		if o.At == 0 && o.Share < a.Question.Objectives.Required() {
			times = math.Inf(1)
		}
		most = max(most, times)
	}
	return most
}

// Best returns the best candidate that meets the objectives, nil if none does.
func (a *Answer) Best() *Candidate { return a.meeting(0) }

// Next returns the second best candidate that meets the objectives, nil if there is none.
func (a *Answer) Next() *Candidate { return a.meeting(1) }

func (a *Answer) meeting(i int) *Candidate {
	if i < len(a.Candidates) && a.Candidates[i].Meets {
		return &a.Candidates[i]
	}
	return nil
}

// Nearest returns the candidate with which the most requests meet the objectives, and among equals the
// one that misses them by the least; nil if no candidate can serve the requests.
func (a *Answer) Nearest() *Candidate {
	for i := range a.Candidates {
		if c := &a.Candidates[i]; c.rank() == 1 {
			return c
		}
	}
	return nil
}

// tightest returns the objective with the smallest margin, of those with a latency above 0.
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
