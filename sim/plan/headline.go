package plan

import (
	"fmt"
	"kvcompress/internal/words"
	"strconv"
	"strings"
)

// Name says in words what a candidate is: the cards and the compression, and what is said of
// it beside, where candidates differ in it.
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

// What says the cards of a candidate: 2 × h100, 3 replicas of 2 × h100, or, where no number
// of replicas meets the objectives, any replicas of 2 × h100.
func (c *Candidate) What() string {
	one := fmt.Sprintf("%d × %s", c.Cards/c.Servers(), c.Card)
	if c.Alone {
		return "any replicas of " + one
	}
	if n := c.Servers(); n > 1 {
		return fmt.Sprintf("%s of %s", words.Count(n, "replica"), one)
	}
	return one
}

// Aspect is something beside cards and compression in which candidates may differ.
type Aspect int

// The aspects.
const (
	Memory Aspect = iota
	BatchLimit
	Engine
)

// Differ reports whether candidates on one kind of card differ in an aspect, or any do in the
// engine.
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

// Month writes a price a month.
func Month(usd float64) string {
	if usd < 100 {
		return fmt.Sprintf("$%.2f a month", usd)
	}
	s := strconv.FormatFloat(usd, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return "$" + s + " a month"
}

// price says what a candidate costs: dollars, or cards where there are no prices.
func (a *Answer) price(c *Candidate) string {
	switch {
	case a.Priced:
		return "at " + Month(c.USDPerMonth)
	case c.Cards == 1:
		return "on 1 card"
	}
	return fmt.Sprintf("on %s", words.Count(c.Cards, "card"))
}

// Headline is the answer in one line. It recommends nothing that misses an objective without
// saying so.
func (a *Answer) Headline() string {
	var b strings.Builder
	best, next, nearest := a.Best(), a.Next(), a.Nearest()
	required := Percent(a.Question.Objectives.Required())
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
		fmt.Fprintf(&b, "%s: %s %s of the requests %s; %s", a.Name(best), does, Percent(best.Metrics.GoodShare), a.price(best), first)
	case nearest != nil:
		fmt.Fprintf(&b, "None %s %s of the requests. Nearest: %s, for %s", does, required, a.Name(nearest), Percent(nearest.Metrics.GoodShare))
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
		b.WriteString("; no other candidate meets them")
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

// Why says in a line why a candidate does not meet the objectives, or by how little it does.
func (a *Answer) Why(c *Candidate) string {
	if !c.Meets {
		return texts(c.Reasons)
	}
	if c.Tightest == nil {
		return "meets"
	}
	return "meets; tightest: " + objectiveName(c.Tightest.Name)
}

func objectiveName(name string) string {
	return map[string]string{"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}[name]
}

// Caveats says what is to be known of the answer beside it.
func (a *Answer) Caveats() []string {
	var list []string
	best := a.Best()
	if best == nil {
		return nil
	}
	if m := &best.Metrics; m.Refused > 0 {
		list = append(list, fmt.Sprintf("It refuses %d of the requests: %s.", m.Refused, best.Refusal))
	}
	switch t := best.Tightest; {
	case t == nil:
	default:
		said := fmt.Sprintf("Its tightest objective is that of %s: %s of %s for %s of the requests, %s to spare", objectiveName(t.Name), Seconds(t.At), Seconds(t.Limit), Percent(a.Question.Objectives.Required()), Percent(t.Spare))
		if off := best.Off.Of(t.Name); t.Spare < off {
			said += fmt.Sprintf(", which is less than the error to expect, %s on average: measure before you rely on it", Percent(off))
		}
		list = append(list, said+".")
	}
	if best.Quality != nil {
		list = append(list, best.Quality.caveat())
	}
	if best.Servers() > 1 && a.Question.Replicas == 0 {
		list = append(list, "Replicas are searched for by doubling and bisection, as if what holds with some of them held with more.")
	}
	return list
}
