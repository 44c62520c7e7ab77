package trace

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Lengths is a distribution of prompt or output lengths in tokens: a Range or a LogNormal.
type Lengths interface {
	// String returns the form that ParseLengths reads.
	String() string
	check() error
	draw(key uint64) int
}

// ParseLengths reads "600", "100-4000" or "lognormal:600,8000".
func ParseLengths(s string) (Lengths, error) {
	rule, of, ok := strings.Cut(s, ":")
	switch {
	case !ok:
		return ParseRange(s)
	case rule != "lognormal":
		return nil, fmt.Errorf("%q is not a length: want N, LOW-HIGH or lognormal:MEDIAN,P99", s)
	}
	median, p99, _ := strings.Cut(of, ",")
	var l LogNormal
	var err1, err2 error
	l.Median, err1 = strconv.Atoi(median)
	l.P99, err2 = strconv.Atoi(p99)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%q is not a length: want lognormal:MEDIAN,P99, two numbers of tokens", s)
	}
	return l, l.check()
}

// Range is the uniform distribution of lengths from Low to High, both included.
type Range struct{ Low, High int }

// ParseRange reads "600" or "100-4000".
func ParseRange(s string) (Range, error) {
	low, high, isRange := strings.Cut(s, "-")
	var r Range
	var err1, err2 error
	r.Low, err1 = strconv.Atoi(low)
	if r.High = r.Low; isRange {
		r.High, err2 = strconv.Atoi(high)
	}
	if err1 != nil || err2 != nil {
		return Range{}, fmt.Errorf("%q is not a length: want N or LOW-HIGH", s)
	}
	return r, r.check()
}

func (r Range) check() error {
	if r.Low < 1 || r.High < r.Low || r.High > MaxTokens {
		return fmt.Errorf("length %v: want 1 to %d, the lower end first", r, MaxTokens)
	}
	return nil
}

// String returns the form that ParseRange reads.
func (r Range) String() string {
	if r.Low == r.High {
		return strconv.Itoa(r.Low)
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

func (r Range) draw(key uint64) int {
	return r.Low + int(below(key, uint64(r.High-r.Low)+1))
}

// LogNormal is a log-normal distribution of lengths, given by two percentiles as kvc trace info prints them.
// Lengths are rounded to whole tokens and limited to 1 to MaxTokens/2, so that prompt and output together do
// not exceed the limit of a request.
type LogNormal struct{ Median, P99 int }

func (l LogNormal) check() error {
	if l.Median < 1 || l.P99 < l.Median || l.P99 > MaxTokens/2 {
		return fmt.Errorf("length %v: want 1 to %d, the median first", l, MaxTokens/2)
	}
	return nil
}

// String returns the form that ParseLengths reads.
func (l LogNormal) String() string { return fmt.Sprintf("lognormal:%d,%d", l.Median, l.P99) }

// z99 is the 99th percentile of the standard normal distribution.
const z99 = 2.3263478740408408

func (l LogNormal) draw(key uint64) int {
	sigma := ln(float64(l.P99)/float64(l.Median)) / z99
	x := float64(float64(l.Median) * exp(float64(sigma*normal(key))))
	return int(math.Floor(min(max(x, 1), MaxTokens/2) + 0.5))
}
