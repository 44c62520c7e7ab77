package trace

import (
	"context"
	"iter"
)

// MaxWindows bounds the number of windows of a RateOverTime.
const MaxWindows = 10_000

// RateOverTime is the rate of arrivals in windows of equal length from the first arrival to the last.
type RateOverTime struct {
	WindowNS float64 `json:"window_ns"`       // length of a window
	Mean     float64 `json:"mean_per_second"` // requests divided by the time of all windows
	// Peak is the largest rate of a window, and PeakOverMean is Peak/Mean. It is near 1 for steady arrivals,
	// and depends on the window length.
	Peak         float64      `json:"peak_per_second"`
	PeakOverMean float64      `json:"peak_over_mean"`
	PeakNS       int64        `json:"peak_from_ns"` // start of the first window with that rate
	Windows      []RateWindow `json:"windows"`
}

// RateWindow is one window: it counts arrivals from FromNS up to but excluding the start of the next window.
// The last window includes the last arrival.
type RateWindow struct {
	FromNS       int64   `json:"from_ns"`
	Requests     int     `json:"requests"`
	PerSecond    float64 `json:"per_second"`
	PromptTokens int64   `json:"prompt_tokens"`
	OutputTokens int64   `json:"output_tokens"`
}

// RateOverTime divides the time between the first and the last arrival into n windows, from 1 to MaxWindows.
// It returns false if all requests arrive at once.
func (t *Trace) RateOverTime(n int) (RateOverTime, bool) {
	last := len(t.requests) - 1
	r, _ := newRate(context.Background(), t.all(), len(t.requests), t.requests[0].ArrivalNS, t.requests[last].ArrivalNS, n)
	if r == nil {
		return RateOverTime{}, false
	}
	return *r, true
}

// newRate divides the time between the first and the last arrival of count requests into n windows. It
// returns nil if all arrive at once.
func newRate(ctx context.Context, requests iter.Seq2[Request, error], count int, first, last int64, n int) (*RateOverTime, error) {
	span := last - first
	n = max(1, min(n, MaxWindows))
	if int64(n) > span {
		n = int(span) // windows of one nanosecond
	}
	if n == 0 {
		return nil, nil
	}
	r := &RateOverTime{WindowNS: float64(span) / float64(n), Windows: make([]RateWindow, n)}
	r.Mean = float64(count) / (float64(span) / 1e9)
	for i := range r.Windows {
		r.Windows[i].FromNS = first + windowStart(span, i, n)
	}
	w, done := 0, 0
	for q, err := range requests {
		if err == nil && done%1024 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		done++
		for w+1 < n && q.ArrivalNS >= r.Windows[w+1].FromNS {
			w++
		}
		r.Windows[w].Requests++
		r.Windows[w].PromptTokens += int64(q.PromptTokens)
		r.Windows[w].OutputTokens += int64(q.OutputTokens)
	}
	for i := range r.Windows {
		w := &r.Windows[i]
		w.PerSecond = float64(w.Requests) / (r.WindowNS / 1e9)
		if w.PerSecond > r.Peak {
			r.Peak, r.PeakNS = w.PerSecond, w.FromNS
		}
	}
	r.PeakOverMean = r.Peak / r.Mean
	return r, nil
}

// windowStart returns ⌈span·i/n⌉: the first nanosecond of window i of n.
func windowStart(span int64, i, n int) int64 {
	whole, rest := span/int64(n), span%int64(n)
	return whole*int64(i) + (rest*int64(i)+int64(n)-1)/int64(n)
}
