package trace

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Load says which requests to make up: how many, how long, and when they come.
type Load struct {
	Seed     uint64
	Requests int
	Prompt   Range // tokens
	Output   Range // tokens
	Arrivals Arrivals
	Gap      time.Duration // mean time between arrivals; 0 for all at once
}

// Arrivals is how requests follow each other.
type Arrivals uint8

// The ways in which requests follow each other.
const (
	Fixed   Arrivals = iota // every gap the same
	Poisson                 // independently: gaps are exponentially distributed
)

// MaxRequests bounds how many requests Generate makes.
const MaxRequests = 10_000_000

// Range is a range of lengths from Low to High, both included.
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
		return Range{}, fmt.Errorf("%q is no length: want N or LOW-HIGH", s)
	}
	return r, r.check()
}

func (r Range) check() error {
	if r.Low < 1 || r.High < r.Low || r.High > MaxTokens {
		return fmt.Errorf("length %v: want 1 to %d, the lower end first", r, MaxTokens)
	}
	return nil
}

// String returns what ParseRange reads.
func (r Range) String() string {
	if r.Low == r.High {
		return strconv.Itoa(r.Low)
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

// Generate makes the requests, the same for the same Load on every platform. Their
// ids are their numbers from 0, the first arrives at 0, and lengths are drawn
// evenly from their range.
func (l Load) Generate() ([]Request, error) {
	if l.Requests < 1 || l.Requests > MaxRequests {
		return nil, fmt.Errorf("trace: %d requests, want 1 to %d", l.Requests, MaxRequests)
	}
	if err := l.Prompt.check(); err != nil {
		return nil, fmt.Errorf("trace: prompt %w", err)
	}
	if err := l.Output.check(); err != nil {
		return nil, fmt.Errorf("trace: output %w", err)
	}
	if l.Gap < 0 {
		return nil, fmt.Errorf("trace: a gap of %v between arrivals", l.Gap)
	}
	key := derive(mix(l.Seed), 1)
	at := int64(0)
	requests := make([]Request, l.Requests)
	for i := range requests {
		own := derive(key, uint64(i))
		if i > 0 {
			gap := int64(l.Gap)
			if l.Arrivals == Poisson {
				gap = exponential(derive(own, 2), l.Gap)
			}
			if gap > MaxArrivalNS-at {
				return nil, fmt.Errorf("trace: request %d arrives later than a trace can say", i)
			}
			at += gap
		}
		r := Request{
			ID:           strconv.Itoa(i),
			ArrivalNS:    at,
			PromptTokens: l.Prompt.draw(derive(own, 0)),
			OutputTokens: l.Output.draw(derive(own, 1)),
		}
		if err := r.Check(); err != nil {
			return nil, &Error{Request: r.ID, Err: err}
		}
		requests[i] = r
	}
	return requests, nil
}

func (r Range) draw(key uint64) int {
	return r.Low + int(below(key, uint64(r.High-r.Low)+1))
}

// exponential draws an exponentially distributed duration by inversion.
func exponential(key uint64, mean time.Duration) int64 {
	x := float64(-ln(1-unit(key)) * float64(mean)) // 1-unit is above 0, at least 2⁻⁵³
	return int64(math.Floor(min(x, MaxArrivalNS)))
}

// Synthesize writes a trace of the given requests, which lies wholly in its recipe
// and requests.jsonl, into the directory dir.
func Synthesize(dir string, meta Meta, requests []Request) error {
	w, err := Create(dir, meta)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, r := range requests {
		if err := w.Add(r); err != nil {
			return err
		}
	}
	return w.Close()
}
