package plan

import (
	"fmt"
	"math"
	"strings"

	"kvcompress/internal/words"
)

// Name describes a candidate in words: its cards and compression, and the aspects in which
// candidates differ.
func (a *Answer) Name(c *Candidate) string {
	parts := []string{c.What(), c.Compression.Title()}
	for _, other := range []struct {
		of   Aspect
		text string
	}{
		{Memory, "memory " + c.Budget.String()}, {BatchLimit, fmt.Sprintf("batch limit %d", c.MaxNumSeqs)},
		{Engine, "on " + string(c.Scheduler)},
	} {
		if a.Differ(other.of) {
			parts = append(parts, other.text)
		}
	}
	return strings.Join(parts, ", ")
}

// One describes the cards of one of a candidate's servers: 2 × h100, or 4 × h100 in 2 stages.
func (c *Candidate) One() string {
	cards := c.Cards / c.Servers()
	one := fmt.Sprintf("%d × %s", cards, c.CardName())
	if stages := cards / c.TP; stages > 1 {
		one += " in " + words.Count(stages, "stage")
	}
	return one
}

// What describes the cards of a candidate: 2 × h100, 3 replicas of 2 × h100, or 1 prefill + 2
// decode replicas of 2 × h100. If no number of replicas meets the objectives it is 2 × h100 with
// any number of replicas.
func (c *Candidate) What() string {
	one := c.One()
	switch {
	case c.Error == "" && !c.Serves() && !c.Disaggregated():
		return one
	case c.Alone && c.Disaggregated():
		return one + " with any number of prefill and decode replicas"
	case c.Alone:
		return one + " with any number of replicas"
	}
	return c.Replicated(one)
}

// Aspect is a property other than cards and compression in which candidates may differ.
type Aspect int

// The aspects.
const (
	Memory Aspect = iota
	BatchLimit
	Engine
)

// Differ reports whether two candidates on the same kind of card differ in an aspect; for the
// engine, whether any two candidates do.
func (a *Answer) Differ(in Aspect) bool {
	if in == Engine {
		return !a.OneEngine
	}
	first := map[string]any{}
	for i := range a.Candidates {
		p := &a.Candidates[i].Point
		of := [...]any{Memory: p.Budget, BatchLimit: p.MaxNumSeqs}[in]
		if v, ok := first[p.Card]; !ok {
			first[p.Card] = of
		} else if v != of {
			return true
		}
	}
	return false
}

// Month formats a price per month.
func Month(usd float64) string {
	if usd < 100 {
		return fmt.Sprintf("$%.2f a month", usd)
	}
	return "$" + words.Whole(usd) + " a month"
}

// price returns the price of a candidate in words, or its number of cards if there are no prices.
func (a *Answer) price(c *Candidate) string {
	switch {
	case a.Priced:
		return "at " + Month(c.USDPerMonth)
	case c.Cards == 1:
		return "on 1 card"
	}
	return fmt.Sprintf("on %s", words.Count(c.Cards, "card"))
}

// Headline returns the answer in one line. A candidate that misses an objective is named only as
// the nearest.
func (a *Answer) Headline() string {
	var b strings.Builder
	best, next, nearest := a.Best(), a.Next(), a.Nearest()
	required := words.Required(a.Question.Objectives.Required())
	first := "cheapest that does"
	if !a.Priced {
		first = "fewest that do, as there are no prices"
	}
	does := "meets the objectives for"
	if !a.Question.Objectives.Set() {
		does = "serves"
		first += "; no objectives were given"
	}
	switch {
	case best != nil:
		fmt.Fprintf(&b, "%s: %s %s of the requests %s; %s", a.Name(best), does, words.Share(best.Metrics.GoodShare), a.price(best), first)
	case nearest != nil:
		fmt.Fprintf(&b, "None %s %s of the requests. Nearest: %s, for %s", does, required, a.Name(nearest), words.Share(nearest.Metrics.GoodShare))
		if !nearest.Alone {
			fmt.Fprintf(&b, " %s", a.price(nearest))
		}
		fmt.Fprintf(&b, "; misses: %s", texts(nearest.Reasons))
	default:
		b.WriteString("None can serve the requests")
		if len(a.Candidates) > 0 {
			fmt.Fprintf(&b, ". %s: %s", a.Name(&a.Candidates[0]), texts(a.Candidates[0].Reasons))
		}
	}
	switch {
	case next != nil:
		fmt.Fprintf(&b, "; next best: %s, %s", a.Name(next), strings.TrimPrefix(a.price(next), "at "))
	case best != nil && len(a.Candidates) > 1:
		b.WriteString("; no other candidate does")
	}
	if !a.OneEngine {
		b.WriteString(". Candidates are on different engines, whose times are not comparable as those of one")
	}
	return b.String() + "."
}

func texts(reasons []Reason) string {
	var all []string
	for i := range reasons {
		all = append(all, reasons[i].Text)
	}
	return strings.Join(all, "; ")
}

// Why returns in one line why a candidate does not meet the objectives, or its margin if it does.
func (a *Answer) Why(c *Candidate) string {
	if !c.Meets {
		return texts(c.Reasons)
	}
	switch {
	case !a.Question.Objectives.Set():
		return "serves"
	case c.Tightest == nil:
		return "meets"
	}
	return "meets; tightest: " + objectiveName(c.Tightest.Name)
}

func objectiveName(name string) string {
	return map[string]string{"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}[name]
}

// Caveats returns the limits of the answer, one sentence each.
func (a *Answer) Caveats() []string {
	var list []string
	best := a.Best()
	if best == nil {
		return nil
	}
	if m := &best.Metrics; m.Refused > 0 {
		list = append(list, fmt.Sprintf("It refuses %s of the requests: %s.", words.Number(m.Refused), best.Refusal))
	}
	if m := &best.Metrics; !a.Question.Objectives.Set() {
		list = append(list, fmt.Sprintf("Without objectives any latency is accepted: 99 %% of the requests have their first token within %s, and their last within %s. Set objectives with --slo-ttft, --slo-tpot or --slo-e2e.", Seconds(m.TTFT.P99), Seconds(m.E2E.P99)))
	}
	for _, o := range best.Metrics.Objectives {
		if o.At == 0 { // requests with a single token meet it
			list = append(list, fmt.Sprintf("The objective of %s asks for nothing here: %s of the requests have a single output token, and no time for each token after it.", objectiveName(o.Name), words.Required(a.Question.Objectives.Required())))
		}
	}
	if t := best.Tightest; t != nil {
		said := fmt.Sprintf("Its tightest objective is that of %s: %s of %s for %s of the requests, %s to spare", objectiveName(t.Name), Seconds(t.At), Seconds(t.Limit), words.Required(a.Question.Objectives.Required()), words.Share(t.Spare))
		if off := best.Off.Of(t.Name); off != nil && t.Spare < *off {
			said += fmt.Sprintf(", which is less than the error to expect, %s on average: measure before you rely on it", words.Share(*off))
		}
		list = append(list, said+".")
	}
	list = append(list, a.load(best)...)
	if best.Quality != nil {
		list = append(list, best.Quality.caveat())
	}
	if best.Servers() > 1 && a.Question.Replicas == 0 {
		list = append(list, a.number(best))
	}
	return list
}

// number says how safe the number of servers is that a search has found.
func (a *Answer) number(best *Candidate) string {
	switch {
	case best.Disaggregated():
		return "The numbers of servers are found by doubling and bisection, which assumes that more servers meet every objective that fewer meet."
	case best.OneMoreMisses:
		return "With one replica more, too few requests meet the objectives: with this number they do by chance. Measure, or take a longer log."
	case best.OneMoreError != "":
		return "One replica fewer misses the objectives; that more meet them too is assumed, as one more cannot be projected: " + best.OneMoreError + "."
	case best.Replicas == a.Question.Most:
		return "One replica fewer misses the objectives; that more meet them too is assumed."
	}
	return "One replica fewer misses the objectives, and one more meets them; that all larger numbers do is assumed."
}

// load returns caveats if the requests are too few, or come in too short a time, for an answer
// about a lasting load.
func (a *Answer) load(best *Candidate) (list []string) {
	r := &a.Requests
	part := a.Question.Objectives.Required()
	if few := float64(r.Count) * (1 - part); a.Question.Objectives.Set() && part < 1 && few < 1-1e-9 {
		list = append(list, fmt.Sprintf("The requests are too few to tell %s of them from all: want %s or more.", words.Required(part), words.Whole(math.Ceil(1/(1-part)-1e-9))))
	} else if share := best.Metrics.GoodShare; a.Question.Objectives.Set() && r.Count > 0 {
		// The standard error of a binomial share. Requests that come together miss together, so it is a lower bound.
		if off := math.Sqrt(share * (1 - share) / float64(r.Count)); share-part < off {
			list = append(list, fmt.Sprintf("%s of %s meet the objectives, and %s have to: that is a margin of less than the share's standard error of %.2g points, so other requests of the same kind may miss the objectives.",
				words.Share(share), words.Count(r.Count, "request"), words.Required(part), 100*off))
		}
	}
	if best.Concurrency > 0 || r.Count < 2 {
		return list
	}
	span := float64(r.last-r.first) / 1e9 / best.Load
	switch took := best.Metrics.Duration; {
	case span == 0:
		list = append(list, "All requests come at once, so the answer is of this burst and of no lasting load. kvc trace import --arrivals gives them times.")
	case took > 1.5*span:
		list = append(list, fmt.Sprintf("The requests come within %s, and serving them takes %s: that is too short to tell whether the queue would keep growing under such a load. A longer log says more.", Seconds(span), Seconds(took)))
	}
	return list
}
