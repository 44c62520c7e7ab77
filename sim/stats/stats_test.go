package stats

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvcompress/sim"
)

// Two requests by hand: the first is prefilled from 1 s to 2 s, the second from 2 s
// to 4 s; both decode from 4 s to 5 s, and the first alone from 5 s to 5.5 s.
func TestRunByHand(t *testing.T) {
	const s = 1e9
	r := Run{SLO: SLO{TTFT: time.Second}, Blocks: 10}
	for _, step := range []Step{
		{Steps: 1, Start: 1 * s, End: 2 * s, Batch: 1, New: 1, Prompt: 100, Generated: 1, Running: 1, Waiting: 0, Blocks: 4},
		{Steps: 1, Start: 2 * s, End: 4 * s, Batch: 1, New: 1, Prompt: 200, Generated: 1, Running: 2, Waiting: 1, Blocks: 8},
		{Steps: 1, Start: 4 * s, End: 5 * s, Batch: 2, Generated: 2, Running: 2, Blocks: 8, Finished: 1},
		{Steps: 1, Start: 5 * s, End: 5.5 * s, Batch: 1, Generated: 1, Running: 1, Blocks: 4, Finished: 1},
	} {
		r.Step(&step)
	}
	r.Request(&sim.Result{Arrival: 1.5 * s, Admitted: 2 * s, FirstToken: 4 * s, Finished: 5 * s, PromptTokens: 200, OutputTokens: 2})
	r.Request(&sim.Result{Arrival: 1 * s, Admitted: 1 * s, FirstToken: 2 * s, Finished: 5.5 * s, PromptTokens: 100, OutputTokens: 3})
	r.Request(&sim.Result{Arrival: 1 * s, Admitted: -1, FirstToken: -1, Finished: -1, Error: "too long"})
	got := r.Summary()
	lat := func(n int64, mean, p50, rest float64) Latency {
		return Latency{Count: n, Mean: mean, P50: p50, P90: rest, P95: rest, P99: rest, Max: rest}
	}
	want := Summary{
		Duration: 4.5, Busy: 1, Finished: 2, Refused: 1, Steps: 4, PrefillSteps: 2,
		PromptTokens: 300, GenerationTokens: 5, MaxBatch: 2, MaxDecodeBatch: 2,
		OfferedRate: 4, RequestThroughput: 2 / 4.5, InputThroughput: 300 / 4.5, OutputThroughput: 5 / 4.5, TotalThroughput: 305 / 4.5,
		Goodput: 1 / 4.5, GoodShare: 1.0 / 3,
		Objectives: []Objective{{Name: "ttft", Limit: 1, Share: 1.0 / 3}}, // 99 % of three are three, and two finish
		TTFT:       lat(2, 1.75, 1, 2.5),
		TPOT:       lat(2, 1.375, 1, 1.75),
		ITL:        lat(3, 4.5/3, 1, 3), // the second: 1; the first: 3 with a prefill between, and 0.5
		E2E:        lat(2, 4, 3.5, 4.5),
		Queue:      lat(2, 0.25, 0, 0.5),

		Running:   Level{(1*1 + 2*2 + 1*2 + 0.5*1) / 4.5, 2},
		Waiting:   Level{2 / 4.5, 1},
		BatchSize: Level{(1 + 2 + 2 + 0.5) / 4.5, 2},
		KVUsage:   Usage{(4 + 16 + 8 + 2) / 4.5 / 10, 0.8},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Error(diff)
	}
}

// The timeline of a run of any length is bounded, and loses nothing.
func TestTimeline(t *testing.T) {
	for _, steps := range []int{1, 10, 1000, 100_000} {
		r := rand.New(rand.NewPCG(9, uint64(steps)))
		var line Timeline
		now, area, tokens := int64(5e17), 0.0, int64(0)
		for range steps {
			if r.IntN(50) == 0 {
				now += r.Int64N(1e10)
			}
			s := Step{Steps: 1, Start: now, End: now + r.Int64N(1e8), Batch: r.Int64N(100), Prompt: r.Int64N(1000), Blocks: 3}
			line.Add(&s)
			now = s.End
			area += float64(s.Batch) * float64(s.End-s.Start)
			tokens += s.Prompt
		}
		for _, n := range []int{0, 100, 1} {
			buckets := line.Buckets(n)
			if len(buckets) > timelineBuckets || n > 0 && len(buckets) > n {
				t.Fatalf("%d steps: %d buckets", steps, len(buckets))
			}
			gotArea, gotSteps, gotTokens := 0.0, int64(0), int64(0)
			for i, b := range buckets {
				gotArea += b.Batch.Mean * (b.End - b.Start) * 1e9
				gotSteps += b.Steps
				gotTokens += b.Prompt
				if b.Busy < 0 || b.Busy > 1.0001 || i > 0 && b.Start != buckets[i-1].End {
					t.Fatalf("%d steps: bucket %d: %+v", steps, i, b)
				}
			}
			if math.Abs(gotArea-area) > 1e-6*area || gotSteps != int64(steps) || gotTokens != tokens {
				t.Errorf("%d steps in %d buckets: area %v of %v, %d steps, %d of %d tokens", steps, len(buckets), gotArea, area, gotSteps, gotTokens, tokens)
			}
		}
	}
}

func TestTimelineOfAllTime(t *testing.T) {
	var line Timeline
	line.Add(&Step{Steps: 1, Start: 0, End: math.MaxInt64, Batch: 1})
	if b := line.Buckets(0); len(b) == 0 || b[0].Batch.Max != 1 {
		t.Errorf("got %+v", b)
	}
}

func BenchmarkRunStep(b *testing.B) {
	var r Run
	s := Step{Steps: 1, End: 20e6, Batch: 200, Generated: 200, Running: 200, Blocks: 9000}
	for b.Loop() {
		r.Step(&s)
		s.Start, s.End = s.End, s.End+20e6+s.Start%5000
	}
}

// TestClient: the client's time is in the time to first token, end to end and in the objectives,
// but not in the time per output token or in the queue.
func TestClient(t *testing.T) {
	const s = int64(1e9)
	for _, c := range []struct {
		slo  SLO
		good int64
	}{
		{SLO{TTFT: 1100 * time.Millisecond}, 1}, // times of 1.1 and 2.1 s
		{SLO{TTFT: 1099 * time.Millisecond}, 0},
		{SLO{E2E: 3100 * time.Millisecond}, 1}, // 3.1 and 4.1 s
		{SLO{E2E: 3099 * time.Millisecond}, 0},
		{SLO{TPOT: 2 * time.Second}, 2},
	} {
		r := Run{SLO: c.slo, Client: s / 10}
		r.Step(&Step{Start: 0, End: 4 * s, Steps: 1})
		r.Request(&sim.Result{Arrival: 0, Admitted: 0, FirstToken: 1 * s, Finished: 3 * s, PromptTokens: 1, OutputTokens: 2})
		r.Request(&sim.Result{Arrival: 0, Admitted: 0, FirstToken: 2 * s, Finished: 4 * s, PromptTokens: 1, OutputTokens: 2})
		r.Request(&sim.Result{Arrival: 0, Admitted: -1, FirstToken: -1, Finished: -1})
		m := r.Summary()
		if m.TTFT.Mean != 1.6 || m.E2E.Mean != 3.6 || m.TPOT.Mean != 2 || m.Queue.Mean != 0 || m.Duration != 4 {
			t.Errorf("%+v", m)
		}
		if m.GoodShare != float64(c.good)/3 || m.Goodput != float64(c.good)/4 {
			t.Errorf("%+v: attainment %v and goodput %v, want %d of 3 in 4 s", c.slo, m.GoodShare, m.Goodput, c.good)
		}
	}
}
