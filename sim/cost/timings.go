package cost

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kvcompress/dtype"
	"kvcompress/internal/words"
	"kvcompress/sim/catalog"
)

// timed reports whether the fit is to timings of single terms, which are of no server.
func (f *Fit) timed() bool { return f.Server == "" }

// Untimed returns what a projection by a fit to timings of single terms assumes of all other terms; "" for
// fits to runs.
func (f *Fit) Untimed() string {
	if !f.timed() || len(f.Fitted) == 0 {
		return ""
	}
	var alike []string
	for _, id := range termIDs() {
		if f.Like(id) != "" {
			alike = append(alike, id)
		}
	}
	said := "Timed were " + words.List(f.Fitted) + "."
	if len(f.Fitted) == 1 {
		said = "Timed was " + f.Fitted[0] + " alone."
	}
	if len(alike) > 0 {
		said += " The like terms " + words.List(alike) + " take the same factors."
	}
	said += " All other terms have default factors, which follow vLLM 0.6.0 in eager mode."
	if !f.Overlap {
		said += " Matrix products and the reading of their weights are added up, though servers overlap them in part."
	}
	return said
}

// Like returns the fitted term from which a term without measurements takes its factor, such as gemm for gemm8;
// "" if there is none.
func (f *Fit) Like(id string) string {
	fitted := func(id string) bool { return slices.Contains(f.Fitted, id) }
	if fitted(id) {
		return ""
	}
	for _, p := range parts {
		all := slices.Concat(p.terms, p.others)
		if i := slices.IndexFunc(all, fitted); i >= 0 && slices.Contains(p.terms, id) {
			return all[i]
		}
	}
	return ""
}

// CalibrateTimings fits the factor of each term that was timed by itself, for each card, by minimising the
// mean square of the relative errors, within its physical bound: a factor of a peak is at least 1. Terms that were
// not timed keep their defaults.
func CalibrateTimings(timings []Timing, file string) (*Profile, error) {
	type sums struct{ x, xx float64 }
	p := &Profile{Version: profileVersion, File: file}
	fits := map[string]*Fit{}
	byTerm := map[string]map[string]*sums{} // of each card
	var cards []string
	at := make([]float64, len(timings)) // the time at a factor of 1 as a fraction of the measured time
	for i, m := range timings {
		part, err := m.atPeak()
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, m.Line, err)
		}
		at[i] = part
		card, err := catalog.FindCard(m.GPU)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, m.Line, err)
		}
		if fits[card.Name] == nil {
			fits[card.Name] = &Fit{Card: card.Name, Factors: DefaultFactors()}
			byTerm[card.Name] = map[string]*sums{}
			cards = append(cards, card.Name)
		}
		f := fits[card.Name]
		f.Rows++
		if !slices.Contains(f.Models, m.Model) {
			f.Models = append(f.Models, m.Model)
		}
		s := byTerm[card.Name][m.Term]
		if s == nil {
			s = new(sums)
			byTerm[card.Name][m.Term] = s
		}
		s.x += part
		s.xx += part * part
	}
	for _, card := range cards {
		f := fits[card]
		for _, t := range Terms() {
			id := t.ID
			if s := byTerm[card][id]; s != nil {
				factor := round(s.x / s.xx)
				if !(factor >= 0 && factor <= maxFactor) {
					return nil, fmt.Errorf("%s: %s on %s would take %g times its time at the card's peak: is the unit of the work right?", file, id, card, s.x/s.xx)
				}
				if factor < 1 && !t.Overhead {
					factor = 1
					f.AtBound = append(f.AtBound, id)
				}
				f.Factors[id] = factor
				f.Fitted = append(f.Fitted, id)
			}
		}
		f.Factors.share(func(id string) bool { return slices.Contains(f.Fitted, id) })
		f.Of = fmt.Sprintf("%d timings of %s (%s, %s)", f.Rows, file, card, strings.Join(f.Models, ", "))
		p.Fits = append(p.Fits, *f)
	}
	errs := make([]errorSum, len(cards))
	for i, m := range timings {
		card, err := catalog.FindCard(m.GPU)
		if err != nil {
			return nil, err
		}
		n := slices.Index(cards, card.Name)
		errs[n].add(p.Fits[n].Factors[m.Term]*at[i] - 1)
	}
	for i := range p.Fits {
		p.Fits[i].Quality = Quality{MAPE: errs[i].mape(), MaxError: errs[i].maxError()}
	}
	return p, nil
}

// atPeak returns the time of the timed work at a factor of 1, as a fraction of the measured time.
func (m *Timing) atPeak() (float64, error) {
	model, err := catalog.FindModel(m.Model)
	if err != nil {
		return 0, err
	}
	card, err := catalog.FindCard(m.GPU)
	if err != nil {
		return 0, err
	}
	d := New(model, card)
	d.TP = m.TP
	if m.Term == "kv8" {
		d.KV = dtype.E4M3
	}
	if err := errors.Join(d.checkParallel()...); err != nil {
		return 0, err
	}
	d.Method.Compression.Rate = 0.5 // some terms need compression
	for _, t := range Terms() {
		if t.ID != m.Term {
			continue
		}
		u := t.peak(&d)
		for _, ns := range u {
			if ns > 0 {
				return ns * m.Units / (m.Seconds * 1e9), nil
			}
		}
	}
	return 0, fmt.Errorf("the term %s takes no time in steps of %s on %d of these cards", m.Term, m.Model, m.TP)
}
