package cost

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"

	"kvcompress/sim"
)

// Calibrate fits the factors to measured throughputs, for each card by itself and, if there are
// several, to all together. file names the measurements in the profile. It also returns the cases,
// with the predictions of the profile.
func Calibrate(ctx context.Context, measurements []Measurement, file string) (*Profile, []*Case, error) {
	var measured []Measurement
	for _, m := range measurements {
		if m.TokensPerS > 0 {
			measured = append(measured, m)
		}
	}
	if len(measured) == 0 {
		return nil, nil, fmt.Errorf("%s: no row has a throughput", file)
	}
	cases, err := NewCases(ctx, measured, file, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	p := &Profile{Version: profileVersion, File: file}
	byCard := map[string][]*Case{}
	var cards []string
	for _, c := range cases {
		name := c.Deployment.Card.Name
		if byCard[name] == nil {
			cards = append(cards, name)
		}
		byCard[name] = append(byCard[name], c)
	}
	for _, card := range cards {
		fit, err := fitCases(byCard[card], card, file)
		if err != nil {
			return nil, nil, err
		}
		p.Fits = append(p.Fits, *fit)
	}
	if len(cards) > 1 {
		all, err := fitCases(cases, AnyCard, file)
		if err != nil {
			return nil, nil, err
		}
		p.All = all
	}
	for _, c := range cases {
		if err := c.Predict(p); err != nil {
			return nil, nil, err
		}
	}
	return p, cases, nil
}

func fitCases(cases []*Case, card, file string) (*Fit, error) {
	factors, fitted, err := solve(cases)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", file, card, err)
	}
	fit := &Fit{Card: card, Server: sim.KVCompressServer, Rows: len(cases), Factors: factors, Fitted: fitted}
	for _, c := range cases {
		if !slices.Contains(fit.Models, c.Deployment.Model.Name) {
			fit.Models = append(fit.Models, c.Deployment.Model.Name)
		}
	}
	fit.Of = fmt.Sprintf("%s of %s (%s, %s)", rows(fit.Rows), file, cardsOfFit(card), strings.Join(fit.Models, ", "))
	fit.Quality = quality(cases, factors)
	return fit, nil
}

// solve returns the factors that minimise the mean square of the relative errors, and the terms
// that were fitted. The other terms keep their defaults, and their time is subtracted from what was
// measured.
func solve(cases []*Case) (Factors, []string, error) {
	factors := DefaultFactors()
	var free []Term
	for _, t := range Terms() {
		if t.Fitted && slices.ContainsFunc(cases, func(c *Case) bool { u := t.peak(&c.Deployment); return u.ns(&c.Work) > 0 }) {
			free = append(free, t)
		}
	}
	if len(free) == 0 {
		return nil, nil, errors.New("no term has any work")
	}
	if len(cases) < len(free) {
		return nil, nil, fmt.Errorf("%d measurements do not determine %d terms: want at least as many, with several input lengths and compressions", len(cases), len(free))
	}
	a, b := mat.NewDense(len(cases), len(free), nil), make([]float64, len(cases))
	for i, c := range cases {
		measured := c.Seconds() * 1e9
		rest := measured
		for _, t := range Terms() {
			if !t.Fitted {
				u := t.peak(&c.Deployment)
				rest -= t.Default * u.ns(&c.Work)
			}
		}
		b[i] = rest / measured
		for j, t := range free {
			u := t.peak(&c.Deployment)
			a.Set(i, j, u.ns(&c.Work)/measured)
		}
	}
	x, err := nnls(a, b)
	if err != nil {
		return nil, nil, err
	}
	var fitted []string
	for j, t := range free {
		factors[t.ID] = round(x[j])
		fitted = append(fitted, t.ID)
	}
	factors.share(func(id string) bool { return slices.Contains(fitted, id) })
	return factors, fitted, nil
}

// round rounds to six significant digits, far beyond the accuracy of a fit, so that a profile is the
// same on every machine.
func round(x float64) float64 {
	if x == 0 {
		return 0
	}
	scale := math.Pow(10, 5-math.Floor(math.Log10(x)))
	return math.Round(x*scale) / scale
}

// quality returns the errors on the measurements, and the cross-validation errors on each input
// length of a fit to the others.
func quality(cases []*Case, factors Factors) Quality {
	var all, compressed, vanilla, cross errorSum
	for _, c := range cases {
		e := c.off(factors)
		all.add(e)
		if c.Compressed() {
			compressed.add(e)
		} else {
			vanilla.add(e)
		}
	}
	for _, e := range crossErrors(cases) {
		cross.add(e)
	}
	return Quality{
		MAPE: all.mape(), MaxError: all.maxError(), CrossMAPE: cross.mape(), CrossMaxError: cross.maxError(),
		CompressedMAPE: compressed.mape(), VanillaMAPE: vanilla.mape(),
	}
}

// crossErrors returns each case's error with a fit to the cases of other input lengths; nil if there
// are no others.
func crossErrors(cases []*Case) []float64 {
	byLength := map[int]Factors{}
	errs := make([]float64, 0, len(cases))
	for _, c := range cases {
		factors, ok := byLength[c.InputLen]
		if !ok {
			var others []*Case
			for _, o := range cases {
				if o.InputLen != c.InputLen {
					others = append(others, o)
				}
			}
			if len(others) == 0 {
				return nil
			}
			var err error
			if factors, _, err = solve(others); err != nil {
				return nil
			}
			byLength[c.InputLen] = factors
		}
		errs = append(errs, c.off(factors))
	}
	return errs
}

// off returns the relative error of the throughput with the given factors.
func (c *Case) off(factors Factors) float64 {
	ns := 0.0
	for _, t := range Terms() {
		u := t.peak(&c.Deployment)
		ns += factors[t.ID] * u.ns(&c.Work)
	}
	return c.Seconds()*1e9/ns - 1
}

// rows formats a number of rows.
func rows(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}
