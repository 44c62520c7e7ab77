package requestlog

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/trace"
)

// order runs rows through a reorderer that holds at most window rows, and returns
// the numbers of the rows that come out.
func order(times []int64, window int) (numbers []int, err error) {
	var w reorderer
	pop := func() {
		var r row
		if r, err = w.pop(); err == nil {
			numbers = append(numbers, r.number)
		}
	}
	for i, at := range times {
		w.push(row{Request: trace.Request{ArrivalNS: at}, number: i, line: i + 2})
		if w.len() >= window && err == nil {
			pop()
		}
	}
	for w.len() > 0 && err == nil {
		pop()
	}
	return numbers, err
}

// TestReorder compares the reorderer with a stable sort.
func TestReorder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range testsize.Of(200, 500, 2000) {
		times := make([]int64, rng.IntN(200))
		want := make([]int, len(times))
		for i := range times {
			times[i] = int64(i/3*4 + rng.IntN(1+rng.IntN(80)))
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int { return int(times[a] - times[b]) })
		for _, window := range []int{1, 10, 100, 1000} {
			got, err := order(times, window)
			if err == nil && !slices.Equal(want, got) {
				t.Fatalf("window %d: %v gives %v, want %v", window, times, got, want)
			}
			if err != nil && window == 1000 {
				t.Fatal(err)
			}
		}
	}
	if _, err := order([]int64{5, 6, 7e9, 3}, 2); err == nil || !strings.Contains(err.Error(), "it arrives 3ns before the request of line 3") {
		t.Error(err)
	}
}

// TestUnsorted checks that a file is sorted within the window.
func TestUnsorted(t *testing.T) {
	rows := func(n, late int) string {
		var b strings.Builder
		b.WriteString("arrived_at,num_prefill_tokens,num_decode_tokens\n")
		for i := range n {
			if i == late {
				b.WriteString("0,7,7\n")
				continue
			}
			b.WriteString("1,5,5\n")
		}
		return b.String()
	}
	l, requests, err := read(write(t, map[string]string{"log": rows(windowRows, windowRows-1)})+"/log", Options{})
	if err != "" || requests[0].PromptTokens != 7 || requests[0].ID != "65535" || requests[1].ID != "0" || l.Stats.Reordered != 1 {
		t.Errorf("%v, %+v", err, l.Stats)
	}
	_, requests, err = read(write(t, map[string]string{"log": rows(windowRows+10, windowRows+5)})+"/log", Options{})
	if want := "log:65543: it arrives 1s before the request of line 7, more than 65535 rows above: sort the log by arrival first"; err != want || len(requests) != 6 {
		t.Errorf("after %d requests: %v", len(requests), err)
	}
}
