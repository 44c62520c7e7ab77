package trace

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"kvcompress/internal/splitmix"
)

// Arrivals is the distribution of the times between requests. With the zero Arrivals all requests arrive at
// once.
type Arrivals struct {
	Rule ArrivalRule
	Gap  time.Duration // mean time between two arrivals
	CV   float64       // of Gamma: standard deviation of the gaps, divided by their mean
}

// ArrivalRule is the distribution of the gaps between arrivals.
type ArrivalRule uint8

// The rules.
const (
	Fixed   ArrivalRule = iota // all gaps are equal
	Poisson                    // independent arrivals: gaps are exponentially distributed
	Gamma                      // gaps are gamma distributed; a CV above 1 gives bursts
)

// Bounds of a CV. Beyond them almost all gaps equal the mean, or almost all are 0.
const (
	MinCV = 0.01
	MaxCV = 100
)

// ParseArrivals reads "fixed:50ms", "poisson:50ms" or "gamma:50ms,2.5". A rate as in "poisson:20/s" can
// replace the time.
func ParseArrivals(s string) (Arrivals, error) {
	rule, of, _ := strings.Cut(s, ":")
	gap, cv, hasCV := strings.Cut(of, ",")
	var a Arrivals
	switch rule {
	case "fixed":
		a.Rule = Fixed
	case "poisson":
		a.Rule = Poisson
	case "gamma":
		a.Rule = Gamma
		var err error
		if a.CV, err = strconv.ParseFloat(cv, 64); err != nil {
			return Arrivals{}, fmt.Errorf("%q: want gamma:TIME,CV, where CV is the gaps' standard deviation over their mean", s)
		}
	default:
		return Arrivals{}, fmt.Errorf("%q: want fixed:TIME, poisson:TIME or gamma:TIME,CV", s)
	}
	if hasCV && a.Rule != Gamma {
		return Arrivals{}, fmt.Errorf("%q: only gamma has a CV", s)
	}
	var err error
	if a.Gap, err = parseGap(gap); err != nil {
		return Arrivals{}, fmt.Errorf("%q: %w", s, err)
	}
	return a, a.check()
}

func parseGap(s string) (time.Duration, error) {
	want := errors.New("want a time such as 50ms or a rate such as 20/s after the colon")
	rate, isRate := strings.CutSuffix(s, "/s")
	if !isRate {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, want
		}
		return d, nil
	}
	x, err := strconv.ParseFloat(rate, 64)
	if err != nil || !(x >= 1e-9 && x <= 1e9) {
		return 0, want
	}
	return time.Duration(math.Floor(1e9/x + 0.5)), nil
}

// String returns the form that ParseArrivals reads, or "at once" for a gap of 0.
func (a Arrivals) String() string {
	switch {
	case a.Gap == 0:
		return "at once"
	case a.Rule == Poisson:
		return fmt.Sprintf("poisson:%v", a.Gap)
	case a.Rule == Gamma:
		return fmt.Sprintf("gamma:%v,%g", a.Gap, a.CV)
	}
	return fmt.Sprintf("fixed:%v", a.Gap)
}

func (a Arrivals) check() error {
	switch {
	case a.Gap < 0:
		return fmt.Errorf("a gap of %v between arrivals", a.Gap)
	case a.Rule > Gamma:
		return fmt.Errorf("unknown arrival rule %d", a.Rule)
	case a.Rule == Gamma && !(a.CV >= MinCV && a.CV <= MaxCV):
		return fmt.Errorf("a CV of %g, want %g to %g", a.CV, MinCV, float64(MaxCV))
	}
	return nil
}

// gap draws the time between two arrivals.
func (a Arrivals) gap(key uint64) int64 {
	if a.Gap == 0 || a.Rule == Fixed {
		return int64(a.Gap)
	}
	var x float64 // has mean 1
	if a.Rule == Poisson {
		x = exponential(key)
	} else {
		variance := float64(a.CV * a.CV)
		x = float64(gamma(key, float64(1/variance)) * variance)
	}
	return int64(math.Floor(min(float64(x*float64(a.Gap)), MaxArrivalNS)))
}

// clock gives the arrival times of consecutive requests; the first arrives at 0.
type clock struct {
	arrivals Arrivals
	started  bool
	at       int64
}

func (c *clock) next(key uint64) (int64, error) {
	if c.started {
		gap := c.arrivals.gap(key)
		if gap > MaxArrivalNS-c.at {
			return 0, errors.New("a request arrives later than a trace can represent")
		}
		c.at += gap
	}
	c.started = true
	return c.at, nil
}

// Retime gives requests new arrival times. They depend only on the seed and are the same on every platform.
func (a Arrivals) Retime(seed uint64, requests iter.Seq2[Request, error]) iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		c := clock{arrivals: a}
		key := derive(splitmix.Mix(seed), 2)
		i := uint64(0)
		for r, err := range requests {
			if err == nil {
				r.ArrivalNS, err = c.next(derive(key, i))
				i++
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
