package trace

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func each(requests []Request) iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		for _, r := range requests {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// beat has n requests, one every second from 100 s on, of 10·i prompt and i output
// tokens for the i-th, and two prefix hashes.
func beat(n int) []Request {
	var requests []Request
	for i := 1; i <= n; i++ {
		requests = append(requests, Request{ID: fmt.Sprint(i), ArrivalNS: int64(99+i) * 1e9, PromptTokens: 10 * i, OutputTokens: i, PrefixHashes: []uint64{1, 2}})
	}
	return requests
}

func TestSelection(t *testing.T) {
	for _, tc := range []struct {
		name string
		s    Selection
		want string // ID@arrival/prompt/output/hashes
		seen int
	}{
		{"all", Selection{}, "1@0s/10/1/2 2@1s/20/2/2 3@2s/30/3/2 4@3s/40/4/2", 4},
		{"from", Selection{From: 1500 * time.Millisecond}, "3@500ms/30/3/2 4@1.5s/40/4/2", 4},
		{"to", Selection{From: time.Second, To: 3 * time.Second}, "2@0s/20/2/2 3@1s/30/3/2", 3},
		{"limit", Selection{From: time.Second, Limit: 1}, "2@0s/20/2/2", 2},
		{"speedup", Selection{Speedup: 4}, "1@0s/10/1/2 2@250ms/20/2/2 3@500ms/30/3/2 4@750ms/40/4/2", 4},
		{"slower", Selection{Speedup: 0.5, Limit: 2}, "1@0s/10/1/2 2@2s/20/2/2", 2},
		{"output", Selection{MaxOutput: 2}, "1@0s/10/1/2 2@1s/20/2/2 3@2s/30/2/2 4@3s/40/2/2", 4},
		{"prompt", Selection{MaxPrompt: 25}, "1@0s/10/1/2 2@1s/20/2/2 3@2s/25/3/0 4@3s/25/4/0", 4},
		{"prompt, known blocks", Selection{MaxPrompt: 25, PrefixBlockTokens: 16}, "1@0s/10/1/2 2@1s/20/2/2 3@2s/25/3/1 4@3s/25/4/1", 4},
		{"arrivals", Selection{From: time.Second, Arrivals: &Arrivals{Gap: time.Minute}}, "2@0s/20/2/2 3@1m0s/30/3/2 4@2m0s/40/4/2", 4},
		{"nothing", Selection{From: time.Hour}, "", 4},
	} {
		var got []string
		var done Selected
		for r, err := range tc.s.Apply(each(beat(4)), &done) {
			if err != nil {
				t.Fatal(tc.name, err)
			}
			got = append(got, fmt.Sprintf("%s@%v/%d/%d/%d", r.ID, time.Duration(r.ArrivalNS), r.PromptTokens, r.OutputTokens, len(r.PrefixHashes)))
		}
		if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" || done.Seen != tc.seen || done.Taken != len(got) {
			t.Errorf("%s: %+v%s", tc.name, done, diff)
		}
	}
}

func TestSelectionSample(t *testing.T) {
	requests := beat(20_000)
	for i := range requests {
		if i%2 == 0 {
			requests[i].Session = fmt.Sprint("s", i/10)
		}
	}
	take := func(seed uint64) (ids map[string]bool) {
		ids = make(map[string]bool)
		sessions := make(map[string]int)
		for r, err := range (Selection{Sample: 0.25, Seed: seed}).Apply(each(requests), nil) {
			if err != nil {
				t.Fatal(err)
			}
			ids[r.ID] = true
			sessions[r.Session]++
		}
		for s, n := range sessions {
			if s != "" && n != 5 {
				t.Fatalf("%d of the 5 requests of session %s", n, s)
			}
		}
		return ids
	}
	one := take(1)
	if n := len(one); n < 4_700 || n > 5_300 {
		t.Errorf("%d of 20,000, want about 5,000", n)
	}
	if cmp.Diff(one, take(1)) != "" || cmp.Diff(one, take(2)) == "" {
		t.Error("want the same for the same seed, and only for it")
	}
}

func TestSelectionErrors(t *testing.T) {
	for _, tc := range []struct {
		s    Selection
		want string
	}{
		{Selection{From: -1}, "from -1ns"},
		{Selection{From: 5, To: 5}, "want the end after the beginning"},
		{Selection{To: -1}, "want the end after the beginning"},
		{Selection{Sample: 1.5}, "a sample of 1.5"},
		{Selection{Sample: math.NaN()}, "a sample of NaN"},
		{Selection{Limit: -1}, "a limit of -1"},
		{Selection{Speedup: math.Inf(1)}, "a speedup of +Inf"},
		{Selection{Speedup: -1}, "a speedup of -1"},
		{Selection{MaxOutput: -2}, "at most -2 tokens"},
		{Selection{Speedup: 2, Arrivals: &Arrivals{}}, "other arrival times"},
		{Selection{Arrivals: &Arrivals{Gap: -1}}, "a gap of -1ns"},
		{Selection{Speedup: MinSpeedup}, "later than a trace can represent"},
		{Selection{Arrivals: &Arrivals{Gap: math.MaxInt64}}, "later than a trace can represent"},
		{Selection{}, "broken"},
	} {
		requests := func(yield func(Request, error) bool) {
			for _, r := range []Request{{ID: "a", PromptTokens: 1, OutputTokens: 1}, {ID: "b", ArrivalNS: 1 << 52, PromptTokens: 1, OutputTokens: 1}} {
				if !yield(r, nil) {
					return
				}
			}
			yield(Request{}, errors.New("broken"))
		}
		var last error
		n := 0
		for _, err := range tc.s.Apply(requests, nil) {
			last = err
			n++
		}
		if last == nil || !strings.Contains(last.Error(), tc.want) || n > 3 {
			t.Errorf("%+v: %v, want %q", tc.s, last, tc.want)
		}
	}
}
