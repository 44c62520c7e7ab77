package report

import (
	"fmt"
	"io"

	"kvcompress/internal/words"
	"kvcompress/sim/plan"
)

// PlanHTML writes an answer as one self-contained page: the answer, a chart of the candidates'
// prices, a table of all candidates with the reasons, and the inputs.
func PlanHTML(w io.Writer, p *Plan) error {
	a := p.Answer
	out := page{Title: "Which cards serve the requests", Answer: a.Headline(), Lead: append(a.Caveats(), planNotes(a)...), Footer: p.Footer}
	out.Footer.expected = planTime(a)
	if p.Partial() {
		out.Partial = fmt.Sprintf("%s of %s are there.", words.Number(len(a.Candidates)), words.Count(p.Candidates, "candidate"))
	}
	if best := a.Best(); best != nil {
		out.Cards = planCards(a, best)
	}
	if b := planBars(a); len(b.List) > 0 {
		out.Sections = append(out.Sections, section{Title: "Which card", Bars: b})
	}
	if f := qualityFigure(a); f != nil {
		figures, err := newPageFigures([]*Figure{f})
		if err != nil {
			return err
		}
		out.Sections = append(out.Sections, section{Title: "Quality and throughput", Figures: figures})
	}
	columns, rows := planTable(a)
	table := section{Title: "All candidates", Table: newPageTable(columns, rows)}
	table.Table.Sort = true
	for i := range a.Candidates {
		table.Table.Rows[i].Key = fmt.Sprint(a.Candidates[i].Index)
	}
	out.Sections = append(out.Sections, table, inputsSection(p.Inputs))
	return out.write(w)
}

// planCards are the figures of the best candidate.
func planCards(a *plan.Answer, c *plan.Candidate) []Input {
	m := &c.Metrics
	var cards []Input
	replicas := words.Number(c.Servers())
	if c.Disaggregated() {
		replicas = fmt.Sprintf("%d prefill + %d decode", c.Prefill, c.Decode)
	}
	if a.Priced {
		cards = append(cards, Input{"dollars a month", whole(c.USDPerMonth)})
	}
	cards = append(cards, Input{nounOf(c.Cards, "card"), words.Number(c.Cards)}, Input{nounOf(c.Servers(), "replica"), replicas})
	if a.Question.Objectives.Set() {
		cards = append(cards, Input{"requests within " + sloText(a.Question.Objectives), words.Share(m.GoodShare)})
	}
	return append(cards,
		Input{"TTFT, p99", duration(m.TTFT.P99)}, Input{"TPOT, p99", duration(m.TPOT.P99)}, Input{"end to end, p99", duration(m.E2E.P99)},
		Input{"tokens/s, input and output", whole(m.TotalThroughput)}, Input{"of a cache in use at most", percentShort(m.KVUsage.Max)})
}

// planBars is a chart of each candidate's price. Candidates that no number of replicas makes
// sufficient are left out.
func planBars(a *plan.Answer) *bars {
	b := &bars{Text: "Cards that each candidate takes: shorter is better."}
	if a.Priced {
		b.Text = "Dollars a month: shorter is better."
	}
	if a.Question.Objectives.Set() && a.Best() == nil || a.Question.Replicas > 0 {
		b.Text += fmt.Sprintf(" Hatched bars miss %s for %s of the requests, with as many replicas as are shown.", sloText(a.Question.Objectives), words.Required(a.Question.Objectives.Required()))
	}
	for i := range a.Candidates {
		c := &a.Candidates[i]
		if c.Error != "" || c.Alone || len(b.List) == mostBars {
			continue
		}
		x := bar{Key: fmt.Sprint(c.Index), Name: a.Name(c), Value: float64(c.Cards), Text: words.Count(c.Cards, "card"), Bad: !c.Meets}
		if a.Priced {
			x.Value, x.Text = c.USDPerMonth, plan.Month(c.USDPerMonth)
		}
		if a.Question.Objectives.Set() {
			x.Text += ", within for " + words.Share(c.Metrics.GoodShare)
		}
		b.List = append(b.List, x)
	}
	b.scale()
	return b
}

// mostBars is the largest number of bars in a chart; the table has all candidates.
const mostBars = 40

// nounOf returns the singular or plural of a noun.
func nounOf(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}
