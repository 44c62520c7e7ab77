package report

import (
	"fmt"

	"kvcompress/internal/words"
	"kvcompress/sim/sweep"
)

// sweepBars compares cards: it has a bar for the best projection of each model on each card and number
// of cards. Projections that meet the objectives are better than others. Among equals, the best has the
// lowest price per token or, if the cards have no prices, the highest throughput per card; ties go to one
// without compression. It is nil for fewer than two bars.
func sweepBars(s *Sweep) *bars {
	type group struct {
		model, card string
		tp, servers int
		prefill     int // servers of a candidate; 0 on both sides if all servers do both
	}
	priced := false
	for i := range s.Outcomes {
		priced = priced || s.Outcomes[i].USDPerMillion > 0
	}
	meets := func(o *sweep.Outcome) bool { return !s.SLO.Set() || o.Metrics.Meets(s.SLO) }
	value := throughputPerCard
	if priced {
		value = perDollar
	}
	of := map[group][]*sweep.Outcome{} // of each bar: the outcomes that meet the objectives; if none does, those with the most requests within them
	var order []group
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		if o.Error != "" || o.Metrics.Finished == 0 || priced && o.USDPerMillion == 0 {
			continue
		}
		g := group{o.Model, o.Card, o.TP, o.Servers(), o.Prefill}
		if of[g] == nil {
			order = append(order, g)
		}
		switch before := of[g]; {
		case before == nil, meets(o) && !meets(before[0]), !meets(o) && !meets(before[0]) && o.Metrics.GoodShare > before[0].Metrics.GoodShare:
			of[g] = []*sweep.Outcome{o}
		case meets(o), !meets(before[0]) && o.Metrics.GoodShare == before[0].Metrics.GoodShare:
			of[g] = append(before, o)
		}
	}
	best := map[group]*sweep.Outcome{}
	for g, list := range of {
		best[g], _ = preferred(list, value)
	}
	if len(order) < 2 {
		return nil
	}
	b := &bars{Text: "Tokens per second of each card, input and output: longer is better."}
	if priced {
		b.Text = "Dollars for a million output tokens of a server as busy as this: shorter is better."
	}
	b.Text += " Of each number of cards of a kind, the best projection."
	if s.SLO.Set() {
		b.Text += fmt.Sprintf(" Hatched bars miss %s for %s of the requests.", sloText(s.SLO), words.Required(s.SLO.Required()))
	}
	var prices []float64
	models := map[string]bool{}
	for _, g := range order {
		models[g.model] = true
		prices = append(prices, best[g].USDPerMillion)
	}
	_, price := inDollars(prices)
	for _, g := range order {
		o := best[g]
		name := o.Replicated(fmt.Sprintf("%d × %s", g.tp, o.CardName()))
		if len(models) > 1 {
			name = g.model + ", " + name
		}
		x := bar{Key: fmt.Sprint(o.Index), Name: name + ", " + o.Compression.Title(), Value: o.ThroughputPerCard, Text: whole(o.ThroughputPerCard) + " tokens/s"}
		if priced {
			x.Value, x.Text = o.USDPerMillion, "$"+price(o.USDPerMillion)
		}
		if s.SLO.Set() {
			x.Text += ", within for " + words.Share(o.Metrics.GoodShare)
			x.Bad = !meets(o)
		}
		b.List = append(b.List, x)
	}
	b.scale()
	return b
}
