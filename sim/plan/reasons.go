package plan

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// Kind is a kind of reason.
type Kind string

// The kinds.
const (
	NoRoom   Kind = "memory"    // the model leaves no room for keys and values
	TooLong  Kind = "context"   // requests are longer than max_model_len
	Refused  Kind = "refused"   // requests do not fit the cache or a batch
	Missed   Kind = "objective" // an objective is missed
	Together Kind = "together"  // enough requests meet each objective, but too few meet all of them
	Not      Kind = "projected" // it cannot be projected, for example a method that the engine does not support
	Unserved Kind = "unserved"  // requests have not finished
	Low      Kind = "quality"   // too little of the full cache's quality is kept, or it is not known
)

// Reason says why a candidate does not meet the objectives.
type Reason struct {
	Kind      Kind             `json:"kind"`
	Text      string           `json:"text"`
	Objective *stats.Objective `json:"objective,omitempty"` // the missed objective
	Over      float64          `json:"over,omitempty"`      // by which fraction of its limit it is missed; 0 if too few requests finish
}

// Requests is a summary of the requests.
type Requests struct {
	Count       int
	first, last int64 // arrivals
}

// Count returns the summary of requests.
func Count(requests iter.Seq[trace.Request]) Requests {
	var r Requests
	for q := range requests {
		if r.Count == 0 {
			r.first, r.last = q.ArrivalNS, q.ArrivalNS
		}
		r.Count++
		r.first, r.last = min(r.first, q.ArrivalNS), max(r.last, q.ArrivalNS)
	}
	return r
}

// reasons returns why an outcome does not meet the objectives.
func (q *Question) reasons(o *sweep.Outcome, f Facts) []Reason {
	switch {
	case o.NoRoom:
		return []Reason{{Kind: NoRoom, Text: o.Error}}
	case o.Error != "":
		return []Reason{{Kind: Not, Text: strings.TrimPrefix(o.Error, "sim: ")}}
	}
	var list []Reason
	if !f.Quality.enough() {
		list = append(list, Reason{Kind: Low, Text: f.Quality.text()})
		if o.Metrics.Meets(q.Objectives) {
			return list
		}
	}
	m := &o.Metrics
	all := max(1, m.Finished+m.Refused+m.Unfinished)
	if o.TooLong > 0 {
		bound := "the model's context"
		if o.Memory.MaxModelLen < f.Context {
			bound = "max_model_len"
		}
		list = append(list, Reason{Kind: TooLong, Text: fmt.Sprintf("%s of the requests are longer than the %s tokens of %s", words.Share(float64(o.TooLong)/float64(all)), words.Number(o.Memory.MaxModelLen), bound)})
	}
	if others := m.Refused - o.TooLong; others > 0 {
		list = append(list, Reason{Kind: Refused, Text: fmt.Sprintf("%s of the requests are refused, as %s", words.Share(float64(others)/float64(all)), o.Refusal)})
	}
	if m.Unfinished > 0 {
		list = append(list, Reason{Kind: Unserved, Text: fmt.Sprintf("%s of the requests have not finished", words.Share(float64(m.Unfinished)/float64(all)))})
	}
	missed := false
	for i := range m.Objectives {
		objective := &m.Objectives[i]
		if objective.Share >= q.Objectives.Required() {
			continue
		}
		missed = true
		if m.Finished == 0 { // said above: none has times
			continue
		}
		reason := q.missed(objective, &f.Expected)
		if served := float64(m.Finished) / float64(all); served < 1 && objective.Share >= served-1e-9 {
			reason.Text = fmt.Sprintf("%s is within %s for all others", objectiveName(objective.Name), Seconds(objective.Limit))
		}
		if l := o.LinkUse; l != nil && objective.Name != "tpot" && l.Wait > 0.1*objective.Limit {
			reason.Text += fmt.Sprintf("; prompts wait %s on average for the link that their KVs are sent over", Seconds(l.Wait))
		}
		list = append(list, reason)
	}
	if !missed && len(m.Objectives) > 0 {
		list = append(list, Reason{Kind: Together, Text: fmt.Sprintf("enough requests meet each objective, but only %s meet all of them", words.Share(m.GoodShare))})
	}
	how := ""
	switch {
	case m.Finished == 0: // with any number of servers
	case o.Alone:
		how = "even one request at a time: "
	case o.Disaggregated():
		how = fmt.Sprintf("with %d prefill and %d decode replicas: ", o.Prefill, o.Decode)
	case o.Servers() > 1:
		how = fmt.Sprintf("with %s: ", words.Count(o.Servers(), "replica"))
	}
	if len(list) > 0 {
		list[0].Text = how + list[0].Text
	}
	return list
}

func (q *Question) missed(o *stats.Objective, expected *Expected) Reason {
	r := Reason{Kind: Missed, Objective: o}
	r.Text = fmt.Sprintf("%s is within %s for %s of the requests only", objectiveName(o.Name), Seconds(o.Limit), words.Share(o.Share))
	if o.At > 0 {
		r.Over = o.At/o.Limit - 1
		r.Text += fmt.Sprintf(": %s is %s, %s", quantile(q.Objectives.Required()), Seconds(o.At), over(r.Over))
		if known := expected.Of(o.Name); known != nil && r.Over < *known {
			r.Text += ", which is less than the error to expect"
		}
	}
	return r
}

// quantile returns the name of a quantile, such as p99.
func quantile(part float64) string { return "p" + strconv.FormatFloat(100*part, 'g', 6, 64) }

// over returns in words by which fraction a limit is exceeded.
func over(part float64) string {
	switch {
	case part >= 9:
		return words.Whole(part+1) + " times the limit"
	case part >= 0.0995:
		return fmt.Sprintf("%.0f %% over", 100*part)
	}
	return fmt.Sprintf("%.2g %% over", 100*part)
}

// Seconds formats a time with three digits.
func Seconds(s float64) string {
	switch {
	case s < 0.9995e-3:
		return fmt.Sprintf("%.3g µs", 1e6*s)
	case s < 0.9995:
		return fmt.Sprintf("%.3g ms", 1e3*s)
	case s < 999.5:
		return fmt.Sprintf("%.3g s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}
