package sweep

import (
	"context"
	"errors"
	"testing"
)

// TestFewestPools compares the search, where more servers of a kind help, with trying all numbers.
func TestFewestPools(t *testing.T) {
	const most = 20
	for name, enough := range map[string]func(prefill, decode int) bool{
		"one of each":                func(p, d int) bool { return true },
		"three and five":             func(p, d int) bool { return p >= 3 && d >= 5 },
		"the most":                   func(p, d int) bool { return p == most && d == most },
		"a trade":                    func(p, d int) bool { return p*p*d >= 300 },
		"a trade the other way":      func(p, d int) bool { return p*d*d >= 300 },
		"steps":                      func(p, d int) bool { return p >= 2 && d >= 19 || p >= 7 && d >= 15 || p >= 9 && d >= 6 },
		"fewer decode only with all": func(p, d int) bool { return d >= 12 || p == most && d >= 2 },
	} {
		probes := 0
		project := func(_ context.Context, p Point) (Outcome, error) {
			probes++
			return Outcome{Point: p}, nil
		}
		good := func(o *Outcome) bool { return o.Concurrency == 1 || enough(o.Prefill, o.Decode) }
		var want Point
		for total := 2; total <= 2*most && want.Prefill == 0; total++ {
			for p := max(1, total-most); p <= min(most, total-1) && want.Prefill == 0; p++ {
				if enough(p, total-p) {
					want = Point{Model: "m", Load: 1, Prefill: p, Decode: total - p}
				}
			}
		}
		o, err := FewestPools(project, most, good)(t.Context(), Point{Model: "m", Load: 1})
		if err != nil || o.Point != want || o.Alone || o.ReplicaProbes != probes || probes > 60 {
			t.Errorf("%s: %+v after %d projections (it says %d), %v; want %+v", name, o.Point, probes, o.ReplicaProbes, err, want)
		}
	}
}

// TestFewestPoolsNone: no number is enough, nothing can be projected, or projections fail.
func TestFewestPoolsNone(t *testing.T) {
	project := func(_ context.Context, p Point) (Outcome, error) { return Outcome{Point: p}, nil }
	o, err := FewestPools(project, 8, func(o *Outcome) bool { return o.Concurrency == 1 })(t.Context(), Point{})
	if err != nil || o.Prefill != 8 || o.Decode != 8 || o.Alone {
		t.Errorf("not with eight: %+v, %v", o.Point, err)
	}
	o, err = FewestPools(project, 8, func(*Outcome) bool { return false })(t.Context(), Point{})
	if err != nil || !o.Alone || !o.Disaggregated() || o.Concurrency != 0 || o.ReplicaProbes != 2 {
		t.Errorf("not alone: %+v, %v", o, err)
	}
	impossible := func(_ context.Context, p Point) (Outcome, error) {
		return Outcome{Point: p, Error: "it does not fit"}, nil
	}
	if o, err := FewestPools(impossible, 8, nil)(t.Context(), Point{}); err != nil || o.Error == "" || o.ReplicaProbes != 1 {
		t.Errorf("what does not fit: %+v, %v", o, err)
	}
	broken := errors.New("broken")
	for after := range 12 {
		left := after
		fails := func(_ context.Context, p Point) (Outcome, error) {
			if left--; left < 0 {
				return Outcome{}, broken
			}
			return Outcome{Point: p}, nil
		}
		good := func(o *Outcome) bool { return o.Concurrency == 1 || o.Prefill >= 3 && o.Decode >= 5 }
		if _, err := FewestPools(fails, 8, good)(t.Context(), Point{}); !errors.Is(err, broken) {
			t.Errorf("a projection that fails after %d others: %v", after, err)
		}
	}
}

// TestBestPools divides a number of servers.
func TestBestPools(t *testing.T) {
	project := func(_ context.Context, p Point) (Outcome, error) {
		o := Outcome{Point: p}
		o.Metrics.GoodShare = map[int]float64{1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1}[p.Prefill]
		return o, nil
	}
	better := func(a, b *Outcome) bool { return a.Metrics.GoodShare > b.Metrics.GoodShare }
	o, err := BestPools(project, 5, better)(t.Context(), Point{})
	if err != nil || o.Prefill != 2 || o.Decode != 3 || o.ReplicaProbes != 4 {
		t.Errorf("%+v, %v", o, err)
	}
}
