package sweep

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestFewestReplicasOfAny: whatever numbers are good, the outcome's is good, one fewer is not, and one more is
// or OneMoreMisses says that it is not.
func TestFewestReplicasOfAny(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	found, missed := 0, 0
	for range 2000 {
		most, share := 1+rng.IntN(40), rng.Float64()
		good := make([]bool, most+2)
		for n := 1; n <= most; n++ {
			good[n] = rng.Float64() < share*float64(n)/float64(most)
		}
		project := func(_ context.Context, p Point) (Outcome, error) { return Outcome{}, nil }
		o, err := FewestReplicas(project, most, func(o *Outcome) bool { return o.Concurrency == 1 || good[o.Replicas] })(t.Context(), Point{})
		n := o.Replicas
		if err != nil || n < 1 || n > most || o.Alone {
			t.Fatalf("%v: %+v, %v", good, o.Point, err)
		}
		switch {
		case !good[n]:
			if n != most || o.OneMoreMisses {
				t.Errorf("%v: %d replicas, one more misses: %t", good, n, o.OneMoreMisses)
			}
		case n > 1 && good[n-1], n > 1 && n < most && good[n+1] == o.OneMoreMisses, n == most && o.OneMoreMisses:
			t.Errorf("%v: %d replicas, one more misses: %t", good, n, o.OneMoreMisses)
		case o.OneMoreMisses:
			missed++
		default:
			found++
		}
	}
	if found < 100 || missed < 100 {
		t.Errorf("%d numbers with one more and %d without: want 100 of each", found, missed)
	}
}

// TestFewestReplicas searches for a known number of replicas, and for one that does not exist.
func TestFewestReplicas(t *testing.T) {
	const most = 50
	for _, c := range []struct {
		name            string
		enough          int  // replicas
		alone           bool // one request at a time holds
		replicas        int  // of the outcome
		holds, notAlone bool
		probes          int
	}{
		{"one", 1, true, 1, true, false, 1},
		{"two", 2, true, 2, true, false, 4},  // 1, alone, 2, 3
		{"five", 5, true, 5, true, false, 7}, // 1, alone, 2, 4, 8, 6, 5
		{"the most", most, true, most, true, false, 0},
		{"more", most + 1, true, most, false, false, 8}, // 1, alone, 2, 4, 8, 16, 32, 50
		{"never", most + 1, false, 1, false, true, 2},
	} {
		probes := 0
		project := func(_ context.Context, p Point) (Outcome, error) {
			probes++
			return Outcome{Point: p}, nil
		}
		good := func(o *Outcome) bool {
			if o.Concurrency == 1 {
				return c.alone
			}
			return o.Replicas >= c.enough
		}
		o, err := FewestReplicas(project, most, good)(t.Context(), Point{Model: "m", Load: 1})
		if err != nil || o.Replicas != c.replicas || good(&o) != c.holds || o.Alone != c.notAlone || o.Concurrency != 0 || o.ReplicaProbes != probes || c.probes > 0 && probes != c.probes {
			t.Errorf("%s: %+v after %d projections, %v", c.name, o.Point, probes, err)
		}
	}
	for _, c := range []struct {
		name           string
		good           func(replicas int) bool
		replicas, most int
		chance         bool // one more misses
	}{
		{"by chance with 10", func(n int) bool { return n == 10 || n >= 12 }, 12, most, false}, // 10 is found first
		{"by chance with 5", func(n int) bool { return n == 5 || n == 8 || n >= 11 }, 11, most, false},
		{"by chance with the last but one", func(n int) bool { return n >= most-1 }, most - 1, most, false},
		{"even numbers", func(n int) bool { return n%2 == 0 && n > 2 }, 4, most, true},
		{"one number of few", func(n int) bool { return n == 4 }, 4, 6, true},
		{"the last", func(n int) bool { return n == 4 }, 4, 4, false},
	} {
		probes := 0
		project := func(_ context.Context, p Point) (Outcome, error) {
			probes++
			return Outcome{Point: p}, nil
		}
		good := func(o *Outcome) bool { return o.Concurrency == 1 || c.good(o.Replicas) }
		o, err := FewestReplicas(project, c.most, good)(t.Context(), Point{Model: "m", Load: 1})
		if err != nil || o.Replicas != c.replicas || o.OneMoreMisses != c.chance || o.ReplicaProbes != probes || probes > 30 {
			t.Errorf("%s: %d replicas after %d projections, one more misses: %t, %v", c.name, o.Replicas, probes, o.OneMoreMisses, err)
		}
	}
	// Some numbers cannot be projected. What is known to be enough stays the answer.
	for _, c := range []struct {
		name     string
		broken   func(replicas int) bool
		good     func(replicas int) bool
		replicas int
		chance   bool
		why      string // of the outcome's OneMoreError
	}{
		{"one more", func(n int) bool { return n == 9 }, func(n int) bool { return n >= 8 }, 8, false, "9 fail"},
		{"all above what is by chance enough", func(n int) bool { return n > 9 }, func(n int) bool { return n == 8 }, 8, true, ""},
	} {
		project := func(_ context.Context, p Point) (Outcome, error) {
			if c.broken(p.Replicas) {
				return Outcome{Point: p, Error: fmt.Sprint(p.Replicas, " fail")}, nil
			}
			return Outcome{Point: p}, nil
		}
		good := func(o *Outcome) bool { return o.Concurrency == 1 || c.good(o.Replicas) }
		o, err := FewestReplicas(project, most, good)(t.Context(), Point{Model: "m", Load: 1})
		if err != nil || o.Error != "" || o.Replicas != c.replicas || o.OneMoreMisses != c.chance || o.OneMoreError != c.why {
			t.Errorf("%s: %+v, one more misses: %t, %q, %v", c.name, o.Point, o.OneMoreMisses, o.OneMoreError, err)
		}
	}
	broken := errors.New("broken")
	if _, err := FewestReplicas(func(context.Context, Point) (Outcome, error) { return Outcome{}, broken }, most, nil)(t.Context(), Point{}); !errors.Is(err, broken) {
		t.Errorf("a projection that fails: %v", err)
	}
	impossible := func(_ context.Context, p Point) (Outcome, error) {
		return Outcome{Point: p, Error: "it does not fit"}, nil
	}
	if o, err := FewestReplicas(impossible, most, nil)(t.Context(), Point{}); err != nil || o.Error == "" || o.ReplicaProbes != 1 {
		t.Errorf("what does not fit: %+v, %v", o, err)
	}
}
