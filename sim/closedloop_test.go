package sim

import (
	"context"
	"testing"

	"kvcompress/trace"
)

// TestClosedLoop serves four requests of two clients by hand: a prefill takes 10 ns, a decode
// step 1 ns, and requests are of 1, 3 and again 1, 3 … tokens. Arrival times are ignored.
func TestClosedLoop(t *testing.T) {
	requests := func(yield func(trace.Request, error) bool) {
		for i := range 4 {
			if !yield(trace.Request{ArrivalNS: int64(1000 * i), PromptTokens: 4, OutputTokens: 1 + 2*(i%2)}, nil) {
				return
			}
		}
	}
	p := &Plan{
		Config: twoHeads(100), Limits: DefaultLimits(), Check: true, Concurrency: 2,
		Rates: rates(map[Feature]float64{PrefillSteps: 10, DecodeSeqs: 1}),
	}
	var got [][3]int64
	if _, err := Project(context.Background(), p, requests, Watch{Result: func(r *Result) {
		got = append(got, [3]int64{r.Arrival, r.FirstToken, r.Finished})
	}}); err != nil {
		t.Fatal(err)
	}
	// 0–10: 0 and 1 are prefilled, 0 ends. 10–20: 2 is, and ends. 20–30: 3 is. Then 1 and 3
	// decode, 2 ns a step: 1 ends at 34 and so does 3.
	want := [][3]int64{{0, 10, 10}, {10, 20, 20}, {0, 10, 34}, {20, 30, 34}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("result %d: arrival, first token, end are %v, want %v", i, got[i], want[i])
		}
	}
}
