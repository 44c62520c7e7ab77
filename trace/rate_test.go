package trace

import (
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func requestsAt(t *testing.T, at ...int64) *Trace {
	t.Helper()
	var requests []Request
	for i, ns := range at {
		requests = append(requests, Request{ID: string(rune('a' + i)), ArrivalNS: ns, PromptTokens: 10 + i, OutputTokens: 1})
	}
	tr, err := New(Meta{FormatVersion: 1, Source: Source{Kind: Generated}}, requests)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestRateOverTime(t *testing.T) {
	tr := requestsAt(t, 1e9, 1e9, 2e9, 5e9)
	got, ok := tr.RateOverTime(2)
	want := RateOverTime{
		WindowNS: 2e9, Mean: 1, Peak: 1.5, PeakOverMean: 1.5, PeakNS: 1e9,
		Windows: []RateWindow{
			{FromNS: 1e9, Requests: 3, PerSecond: 1.5, PromptTokens: 33, OutputTokens: 3},
			{FromNS: 3e9, Requests: 1, PerSecond: 0.5, PromptTokens: 13, OutputTokens: 1},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Error(ok, diff)
	}
	if _, ok := requestsAt(t, 5, 5).RateOverTime(3); ok {
		t.Error("requests at once have a rate")
	}
	if got, ok := requestsAt(t, 0, 2).RateOverTime(100); !ok || len(got.Windows) != 2 {
		t.Error(got, ok)
	}
	if got, _ := requestsAt(t, 0, MaxArrivalNS).RateOverTime(MaxWindows + 1); len(got.Windows) != MaxWindows {
		t.Error(len(got.Windows))
	}
}

// TestWindowStart holds the starts against rational numbers.
func TestWindowStart(t *testing.T) {
	for _, span := range []int64{1, 2, 7, 1000, 999_999_999_999, MaxArrivalNS} {
		for _, n := range []int{1, 2, 3, 24, MaxWindows} {
			for _, i := range []int{0, 1, n / 2, n - 1, n} {
				x := new(big.Int).Mul(big.NewInt(span), big.NewInt(int64(i)))
				x.Add(x, big.NewInt(int64(n-1))).Quo(x, big.NewInt(int64(n)))
				if got := windowStart(span, i, n); got != x.Int64() {
					t.Errorf("window %d of %d over %d: %d, want %v", i, n, span, got, x)
				}
			}
		}
	}
}
