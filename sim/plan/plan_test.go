package plan_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/plan"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// outcome is that of replicas of a card that cost usd per hour in all. A fraction of the 100
// requests has TTFT within 2 s; for 99 % it is at most the time at.
func outcome(card string, replicas int, usd, share, at float64) sweep.Outcome {
	o := sweep.Outcome{Point: sweep.Point{Card: card, TP: 2, Replicas: replicas, MaxNumSeqs: 256, Load: 1}, USDPerHour: usd}
	o.Metrics = stats.Summary{Finished: 100, GoodShare: share, Objectives: []stats.Objective{{Name: "ttft", Limit: 2, Share: share, At: at}}}
	return o
}

func objectives() plan.Question {
	return plan.Question{Objectives: stats.SLO{TTFT: 2 * time.Second, Part: 0.99}, Most: 8}
}

func answer(outcomes ...sweep.Outcome) *plan.Answer {
	for i := range outcomes {
		outcomes[i].Index = i
	}
	var requests []trace.Request
	for i := range 100 {
		requests = append(requests, trace.Request{PromptTokens: 1000 * (1 + i), OutputTokens: 24})
	}
	return plan.NewAnswer(objectives(), outcomes, plan.Count(slices.Values(requests)), func(p *sweep.Point) plan.Facts {
		f := plan.Facts{Scheduler: sim.VLLMV1, Cards: p.TP, Context: 90_000}
		if p.Compression.Enabled() {
			f.Scheduler = sim.KVCompressServer
		}
		return f
	})
}

// TestHeadline checks the first line of answers. It never recommends a candidate that misses an
// objective without saying so.
func TestHeadline(t *testing.T) {
	broken := outcome("l4", 1, 0, 0, 0)
	broken.Error, broken.NoRoom = "the weights take 141 GB", true
	alone := outcome("l4", 1, 1, 0.5, 6)
	alone.Alone = true
	compressed := outcome("h100", 1, 3, 1, 1)
	compressed.Compression = sweep.Compression{Rate: 0.5}
	compressedMore := outcome("h100", 1, 6, 1, 1)
	compressedMore.Compression = sweep.Compression{Rate: 0.5}
	bigger := outcome("h100", 1, 5, 1, 1)
	bigger.MaxNumSeqs = 512
	apart, neither := outcome("h100", 0, 9, 1, 1), outcome("l4", 0, 1, 0.5, 6)
	apart.Prefill, apart.Decode = 1, 2
	neither.Prefill, neither.Decode, neither.Alone = 1, 1, true
	few := outcome("l4", 0, 1, 0.98, 2.5)
	few.Prefill, few.Decode = 8, 7
	for _, c := range []struct {
		name string
		a    *plan.Answer
		want string
		not  string
	}{
		{"disaggregated", answer(apart, outcome("a100", 4, 10, 1, 1)),
			"1 prefill + 2 decode replicas of 2 × h100, uncompressed: meets the objectives for 100 % of the requests at $6,570 a month; cheapest that does; next best: 4 replicas of 2 × a100, uncompressed, $7,300 a month.", ""},
		{"disaggregated, and not enough", answer(few),
			"None meets the objectives for 99 % of the requests. Nearest: 8 prefill + 7 decode replicas of 2 × l4, uncompressed, for 98 % at $730 a month; misses: with 8 prefill and 7 decode replicas: TTFT", ""},
		{"disaggregated, and never enough", answer(neither),
			"None meets the objectives for 99 % of the requests. Nearest: 2 × l4 with any number of prefill and decode replicas, uncompressed, for 50 %; misses: even one request at a time: TTFT", "$"},
		{"the cheapest", answer(outcome("a100", 3, 8, 1, 0.1), outcome("h100", 1, 6, 0.995, 1.9), outcome("l4", 2, 0.1, 0.98, 2.1)),
			"2 × h100, uncompressed: meets the objectives for 99.5 % of the requests at $4,380 a month; cheapest that does; next best: 3 replicas of 2 × a100, uncompressed, $5,840 a month.", "l4"},
		{"only one", answer(outcome("h100", 1, 0.1, 0.995, 1.9), outcome("l4", 1, 0.01, 0.98, 2.1)),
			"2 × h100, uncompressed: meets the objectives for 99.5 % of the requests at $73.00 a month; cheapest that does; no other candidate does.", ""},
		{"no prices", answer(outcome("a100", 3, 0, 1, 0.1), outcome("h100", 2, 0, 1, 1)),
			"2 replicas of 2 × h100, uncompressed: meets the objectives for 100 % of the requests on 4 cards; fewest that do, as there are no prices; next best: 3 replicas of 2 × a100, uncompressed, on 6 cards.", "$"},
		{"none meets", answer(outcome("h100", 8, 48, 0.9899, 2.02), alone, broken),
			"None meets the objectives for 99 % of the requests. Nearest: 8 replicas of 2 × h100, uncompressed, for 98.9 % at $35,040 a month; misses: with 8 replicas: TTFT is within 2 s for 98.9 % of the requests only: p99 is 2.02 s, 1 % over.", "cheapest"},
		{"not even alone", answer(alone, broken),
			"None meets the objectives for 99 % of the requests. Nearest: 2 × l4 with any number of replicas, uncompressed, for 50 %; misses: even one request at a time: TTFT is within 2 s for 50 % of the requests only: p99 is 6 s, 200 % over.", "$"},
		{"none fits", answer(broken), "None can serve the requests. 2 × l4, uncompressed: the weights take 141 GB.", "meets"},
		{"two engines", answer(outcome("h100", 1, 6, 1, 1), compressed),
			"2 × h100, keep 50 %, on kv-compress: meets the objectives for 100 % of the requests at $2,190 a month; cheapest that does; next best: 2 × h100, uncompressed, on vllm-v1, $4,380 a month. Candidates are on different engines", ""},
		{"compression at the same price", answer(compressedMore, outcome("h100", 1, 6, 0.99, 1)), "2 × h100, uncompressed, on vllm-v1: meets", ""},
		{"limits that differ", answer(outcome("h100", 1, 6, 1, 1), bigger), "2 × h100, uncompressed, batch limit 512: meets", ""},
		{"nothing", answer(), "None can serve the requests.", ""},
	} {
		got := c.a.Headline()
		if !strings.HasPrefix(got, c.want) || c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("%s:\ngot  %s\nwant %s, not %q", c.name, got, c.want, c.not)
		}
		if strings.Contains(got, "\n") {
			t.Errorf("%s: it is of several lines", c.name)
		}
	}
}

// TestReasons checks the reasons why candidates fail.
func TestReasons(t *testing.T) {
	long := outcome("h100", 1, 6, 0.85, 0)
	long.Compression = sweep.Compression{Rate: 0.5}
	long.TooLong, long.Memory.MaxModelLen = 11, 90_000
	long.Metrics.Finished, long.Metrics.Refused, long.Refusal = 85, 15, "a prompt of 95000 tokens exceeds 90000"
	late := outcome("h100", 1, 6, 0.84, 2.5)
	late.TooLong, late.Memory.MaxModelLen = 15, 80_000
	late.Metrics.Finished, late.Metrics.Refused = 85, 15
	cut := outcome("h100", 1, 6, 0.5, 0)
	cut.Metrics.Finished, cut.Metrics.Unfinished = 50, 50
	refused := outcome("h100", 1, 6, 0, 0)
	refused.Alone, refused.Refusal, refused.Metrics.Finished, refused.Metrics.Refused = true, "a prompt of 6,000 tokens exceeds max_num_batched_tokens 2048", 0, 100
	together := outcome("h100", 4, 6, 0.98, 1)
	together.Metrics.Objectives = []stats.Objective{{Name: "ttft", Limit: 2, Share: 0.99, At: 2}, {Name: "tpot", Limit: 0.1, Share: 0.99, At: 0.1}}
	method := outcome("h100", 1, 6, 0, 0)
	method.Error = "sim: razor needs full_share"
	slow := outcome("h100", 0, 6, 0.5, 3)
	slow.Prefill, slow.Decode, slow.LinkUse = 1, 1, &project.LinkUse{Wait: 1.25}
	fat := outcome("l4", 1, 0, 0, 0)
	fat.Error, fat.NoRoom = "the weights take 141 GB", true
	for _, c := range []struct {
		name  string
		o     sweep.Outcome
		kinds []plan.Kind
		want  string
	}{
		{"too long", long, []plan.Kind{plan.TooLong, plan.Refused, plan.Missed}, "11 % of the requests are longer than the 90,000 tokens of the model's context; 4 % of the requests are refused, as a prompt of 95000 tokens exceeds 90000; TTFT is within 2 s for all others"},
		{"too long and late", late, []plan.Kind{plan.TooLong, plan.Missed}, "15 % of the requests are longer than the 80,000 tokens of max_model_len; TTFT is within 2 s for 84 % of the requests only: p99 is 2.5 s, 25 % over"},
		{"a slow link", slow, []plan.Kind{plan.Missed}, "with 1 prefill and 1 decode replicas: TTFT is within 2 s for 50 % of the requests only: p99 is 3 s, 50 % over; prompts wait 1.25 s on average for the link that their KVs are sent over"},
		{"unfinished", cut, []plan.Kind{plan.Unserved, plan.Missed}, "50 % of the requests have not finished; TTFT is within 2 s for all others"},
		{"nothing served", refused, []plan.Kind{plan.Refused}, "100 % of the requests are refused, as a prompt of 6,000 tokens exceeds max_num_batched_tokens 2048"},
		{"together", together, []plan.Kind{plan.Together}, "with 4 replicas: enough requests meet each objective, but only 98 % meet all of them"},
		{"no room", fat, []plan.Kind{plan.NoRoom}, "the weights take 141 GB"},
		{"a method", method, []plan.Kind{plan.Not}, "razor needs full_share"},
		{"far off", outcome("l4", 1, 1, 0, 40), []plan.Kind{plan.Missed}, "TTFT is within 2 s for 0 % of the requests only: p99 is 40 s, 20 times the limit"},
	} {
		a := answer(c.o)
		got := &a.Candidates[0]
		var kinds []plan.Kind
		for _, r := range got.Reasons {
			kinds = append(kinds, r.Kind)
		}
		if got.Meets || !slices.Equal(kinds, c.kinds) || !strings.HasPrefix(a.Why(got), c.want) {
			t.Errorf("%s: %v: %s", c.name, kinds, a.Why(got))
		}
	}
	a := answer(refused)
	if got, want := a.Headline(), "None can serve the requests. 2 × h100, uncompressed: 100 % of the requests are refused, as a prompt of 6,000 tokens exceeds max_num_batched_tokens 2048."; got != want || a.Nearest() != nil {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestOrder ranks candidates.
func TestOrder(t *testing.T) {
	impossible := outcome("x", 1, 0, 0, 0)
	impossible.Error = "no"
	a := answer(
		impossible,
		outcome("near", 1, 1, 0.98, 3),
		outcome("dear", 1, 9, 1, 1),
		outcome("far", 1, 1, 0.5, 9),
		outcome("cheap", 1, 3, 0.99, 2),
		outcome("cheap and better", 1, 3, 1, 1),
	)
	var got []string
	for _, c := range a.Candidates {
		got = append(got, c.Card)
	}
	if want := []string{"cheap and better", "cheap", "dear", "near", "far", "x"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if a.Best().Card != "cheap and better" || a.Next().Card != "cheap" || a.Nearest().Card != "near" {
		t.Errorf("best %v, next %v, nearest %v", a.Best().Card, a.Next().Card, a.Nearest().Card)
	}
	if text := strings.Join(a.Caveats(), " "); !strings.Contains(text, "TTFT: 1 s of 2 s for 99 % of the requests, 50 % to spare") {
		t.Error(text)
	}
}

// TestNearest: of candidates with which equally many requests meet the objectives, the nearest is the
// one that misses them by least, whatever its price; and last is one with which too few finish.
func TestNearest(t *testing.T) {
	unfinished := outcome("unfinished", 1, 1, 0, 0)
	a := answer(outcome("cheap", 1, 1, 0, 50), unfinished, outcome("dear", 1, 9, 0, 2.5), outcome("more", 1, 20, 0.1, 90))
	var got []string
	for _, c := range a.Candidates {
		got = append(got, c.Card)
	}
	if want := []string{"more", "dear", "cheap", "unfinished"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCaveats checks the warning that the margin is less than the expected error.
func TestCaveats(t *testing.T) {
	a := plan.NewAnswer(objectives(), []sweep.Outcome{outcome("h100", 3, 6, 1, 1.9)}, plan.Requests{}, func(*sweep.Point) plan.Facts {
		return plan.Facts{Scheduler: sim.VLLMV1, Cards: 2, Expected: plan.Expected{Throughput: new(0.08)}}
	})
	text := strings.Join(a.Caveats(), " ")
	for _, want := range []string{"1.9 s of 2 s", "5 % to spare, which is less than the error to expect, 8 % on average: measure", "One replica fewer misses the objectives, and one more meets them"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}

// TestCaveatsOfRequests checks the warnings about requests that cannot answer the question.
func TestCaveatsOfRequests(t *testing.T) {
	at := func(n int, gap time.Duration, output int) []trace.Request {
		list := make([]trace.Request, n)
		for i := range list {
			list[i] = trace.Request{ArrivalNS: 5e9 + int64(i)*int64(gap), PromptTokens: 10, OutputTokens: output}
		}
		return list
	}
	const few, burst, short, nothing, anyTime = "too few to tell 99 % of them from all: want 100 or more", "come at once", "come within", "objective of TPOT asks for nothing", "Without objectives any latency is accepted: 99 % of the requests have their first token within 1.5 s, and their last within 4 s"
	for name, c := range map[string]struct {
		requests    []trace.Request
		took        float64 // seconds from the first arrival to the last token
		load        float64
		concurrency int
		slo         stats.SLO
		want        []string
	}{
		"enough":             {at(100, time.Second, 9), 101, 1, 0, stats.SLO{TTFT: 2 * time.Second}, nil},
		"few":                {at(99, time.Second, 9), 101, 1, 0, stats.SLO{TTFT: 2 * time.Second}, []string{few}},
		"few, and all asked": {at(3, time.Second, 9), 2.5, 1, 0, stats.SLO{TTFT: 2 * time.Second, Part: 1}, nil},
		"at once":            {at(200, 0, 9), 9, 1, 0, stats.SLO{TTFT: 2 * time.Second}, []string{burst}},
		"clients":            {at(200, 0, 9), 9, 1, 4, stats.SLO{TTFT: 2 * time.Second}, nil},
		"short":              {at(101, time.Second, 9), 151, 1, 0, stats.SLO{TTFT: 2 * time.Second}, []string{short + " 100 s, and serving them takes 151 s"}},
		"short by the load":  {at(101, time.Second, 9), 76, 2, 0, stats.SLO{TTFT: 2 * time.Second}, []string{short + " 50 s, and serving them takes 76 s"}},
		"one alone":          {at(1, 0, 9), 1, 1, 0, stats.SLO{TTFT: 2 * time.Second}, []string{few}},
		"of nothing":         {at(100, time.Second, 1), 101, 1, 0, stats.SLO{TPOT: time.Second}, []string{nothing}},
		"no objectives":      {at(3, time.Second, 9), 2.5, 1, 0, stats.SLO{}, []string{anyTime}},
	} {
		o := sweep.Outcome{Point: sweep.Point{Card: "h100", TP: 1, Replicas: 1, Load: c.load, Concurrency: c.concurrency}}
		o.Metrics = stats.Summary{Finished: int64(len(c.requests)), GoodShare: 1, Duration: c.took, TTFT: stats.Latency{P99: 1.5}, E2E: stats.Latency{P99: 4}}
		if c.slo.TTFT > 0 {
			o.Metrics.Objectives = []stats.Objective{{Name: "ttft", Limit: 2, Share: 1, At: 1}}
		}
		if c.slo.TPOT > 0 {
			o.Metrics.Objectives = []stats.Objective{{Name: "tpot", Limit: 1, Share: 1}}
		}
		a := plan.NewAnswer(plan.Question{Objectives: c.slo, Most: 8}, []sweep.Outcome{o}, plan.Count(slices.Values(c.requests)), func(*sweep.Point) plan.Facts { return plan.Facts{Cards: 1} })
		text := strings.Join(a.Caveats(), " ")
		for _, caveat := range []string{few, burst, short, nothing, anyTime} {
			wanted := slices.ContainsFunc(c.want, func(w string) bool { return strings.HasPrefix(w, caveat) })
			if got := strings.Contains(text, caveat); got != wanted {
				t.Errorf("%s: that it has %q is %v: %s", name, caveat, got, text)
			}
		}
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in %s", name, w, text)
			}
		}
		if got := a.Candidates[0].Tightest; (got != nil) != (c.slo.TTFT > 0) {
			t.Errorf("%s: the tightest objective is %+v", name, got)
		}
	}
}

// TestMetByFew checks the warning that as many requests as required may meet the objectives by chance: of
// 1,000 requests the standard error of 99.3 % is √(0.993 · 0.007/1000) = 0.26 %, that of 99.2 % 0.28 %.
func TestMetByFew(t *testing.T) {
	requests := plan.Count(slices.Values(make([]trace.Request, 1000)))
	for share, want := range map[float64]string{
		0.992: "99.2 % of 1,000 requests meet the objectives, and 99 % have to: that is a margin of less than the share's standard error of 0.28 points",
		0.993: "",
		1:     "",
	} {
		a := plan.NewAnswer(plan.Question{Objectives: objectives().Objectives, Most: 8}, []sweep.Outcome{outcome("h100", 1, 3, share, 1)}, requests, func(*sweep.Point) plan.Facts { return plan.Facts{Cards: 1} })
		text := strings.Join(a.Caveats(), " ")
		if strings.Contains(text, "standard error") != (want != "") || !strings.Contains(text, want) {
			t.Errorf("%v: %s", share, text)
		}
	}
}

// TestMissedByLittle checks the note that an objective is missed by less than the expected error.
func TestMissedByLittle(t *testing.T) {
	for at, little := range map[float64]bool{2.1: true, 2.3: false} {
		a := plan.NewAnswer(objectives(), []sweep.Outcome{outcome("h100", 3, 6, 0.98, at)}, plan.Requests{}, func(*sweep.Point) plan.Facts {
			return plan.Facts{Scheduler: sim.VLLMV1, Cards: 2, Expected: plan.Expected{TPOT: new(0.08)}}
		})
		if why := a.Why(&a.Candidates[0]); strings.HasSuffix(why, "% over, which is less than the error to expect") != little {
			t.Errorf("%v s: %s", at, why)
		}
	}
}

// TestSearch: a failed projection becomes a candidate's error; a cancelled context is returned.
func TestSearch(t *testing.T) {
	fails := func(context.Context, sweep.Point) (sweep.Outcome, error) {
		return sweep.Outcome{}, errors.New("no such server")
	}
	for _, replicas := range []int{0, 3} {
		q := objectives()
		q.Replicas = replicas
		o, err := q.Search(fails)(t.Context(), sweep.Point{Card: "l4"})
		if err != nil || o.Error != "no such server" || o.Card != "l4" {
			t.Errorf("%d replicas: %+v, %v", replicas, o, err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if _, err := q.Search(func(ctx context.Context, _ sweep.Point) (sweep.Outcome, error) { return sweep.Outcome{}, ctx.Err() })(ended, sweep.Point{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%d replicas: %v of a context that has ended", replicas, err)
		}
	}
	q := objectives()
	q.Replicas = 3
	if o, err := q.Search(func(_ context.Context, p sweep.Point) (sweep.Outcome, error) { return sweep.Outcome{Point: p}, nil })(t.Context(), sweep.Point{}); err != nil || o.Replicas != 3 {
		t.Errorf("3 replicas: %+v, %v", o, err)
	}
}

// TestSearchApart finds the numbers of prefill and decode servers, and splits a given number.
func TestSearchApart(t *testing.T) {
	project := func(_ context.Context, p sweep.Point) (sweep.Outcome, error) {
		o := outcome(p.Card, p.Replicas, 1, 0.5, 9)
		o.Point = p
		if p.Prefill >= 2 && p.Decode >= 3 || p.Concurrency == 1 {
			o.Metrics.GoodShare = 1
		}
		o.Metrics.E2E.P99 = float64((p.Prefill - 4) * (p.Prefill - 4))
		return o, nil
	}
	for _, c := range []struct{ replicas, prefill, decode int }{{0, 2, 3}, {1, 1, 1}, {6, 3, 3}, {4, 3, 1}} {
		q := objectives()
		q.Replicas = c.replicas
		o, err := q.Search(project)(t.Context(), sweep.Point{Card: "l4", Prefill: 1, Decode: 1})
		if err != nil || o.Prefill != c.prefill || o.Decode != c.decode {
			t.Errorf("%+v: %+v, %v", c, o.Point, err)
		}
		if q.Replicas == 0 {
			continue
		}
		if o, err := q.Search(project)(t.Context(), sweep.Point{Card: "l4"}); err != nil || o.Replicas != c.replicas || o.Disaggregated() {
			t.Errorf("%d replicas: %+v, %v", c.replicas, o.Point, err)
		}
	}
}

// TestExpect: the expected error is that of runs left out of a fit; for a model or a format that its
// runs did not have, or if too few were left out, that of sources left out; if the fit is of other
// cards, that of other cards; and unknown if it is of another server.
func TestExpect(t *testing.T) {
	card, err := catalog.FindCard("l40s")
	if err != nil {
		t.Fatal(err)
	}
	serving := cost.Quality{
		TTFTMAPE: new(0.3), TPOTMAPE: new(0.02), ThroughputMAPE: new(0.03), CrossTPOTMAPE: new(0.05), CrossThroughput: new(0.06),
		SourceTPOTMAPE: new(0.07), SourceThroughput: new(0.08), OtherTPOTMAPE: new(0.15), OtherThroughput: new(0.2),
	}
	sources := serving
	sources.CrossTPOTMAPE, sources.CrossThroughput = nil, nil
	few := sources
	few.SourceTPOTMAPE, few.SourceThroughput = nil, nil
	alone := cost.Quality{TTFTMAPE: new(0.01), TPOTMAPE: new(0.02), ThroughputMAPE: new(0.03)}
	batches := cost.Quality{ThroughputMAPE: new(0.03), CrossThroughput: new(0.06), SourceThroughput: new(0.08), OtherThroughput: new(0.2)}
	const ran, other = "llama-3.1-8b", "qwen3-8b"
	for _, c := range []struct {
		name, card, model string
		server            sim.Scheduler
		quality           cost.Quality
		want              plan.Expected
		ttft, of          *float64
	}{
		{"this card", "l40s", ran, sim.VLLMV1, serving, plan.Expected{TTFT: new(0.3), TPOT: new(0.05), Throughput: new(0.06)}, new(0.3), new(0.05)},
		{"another model", "l40s", other, sim.VLLMV1, serving, plan.Expected{TTFT: new(0.3), TPOT: new(0.07), Throughput: new(0.08)}, new(0.3), new(0.07)},
		{"another format", "l40s", ran + "-int4", sim.VLLMV1, serving, plan.Expected{TTFT: new(0.3), TPOT: new(0.07), Throughput: new(0.08)}, new(0.3), new(0.07)},
		{"a format that ran", "l40s", ran + "-fp8", sim.VLLMV1, serving, plan.Expected{TTFT: new(0.3), TPOT: new(0.05), Throughput: new(0.06)}, new(0.3), new(0.05)},
		{"only sources left out", "l40s", ran, sim.VLLMV1, sources, plan.Expected{TTFT: new(0.3), TPOT: new(0.07), Throughput: new(0.08)}, new(0.3), new(0.07)},
		{"nothing left out", "l40s", ran, sim.VLLMV1, few, plan.Expected{TTFT: new(0.3), TPOT: new(0.15), Throughput: new(0.2)}, new(0.3), new(0.15)},
		{"only its rows", "l40s", ran, sim.VLLMV1, alone, plan.Expected{TTFT: new(0.02), TPOT: new(0.02), Throughput: new(0.03)}, new(0.02), new(0.02)},
		{"another card", "h100", ran, sim.VLLMV1, serving, plan.Expected{TPOT: new(0.15), Throughput: new(0.2)}, new(0.15), new(0.15)},
		{"another server", "l40s", ran, sim.KVCompressServer, serving, plan.Expected{}, nil, nil},
		{"throughputs", "l40s", ran, sim.VLLMV1, cost.Quality{MAPE: new(0.02), CrossMAPE: new(0.04)}, plan.Expected{Throughput: new(0.04)}, new(0.04), new(0.04)},
		{"batches", "l40s", ran, sim.VLLMV1, batches, plan.Expected{Throughput: new(0.06)}, new(0.06), new(0.06)},
		{"batches, another model", "l40s", other, sim.VLLMV1, batches, plan.Expected{Throughput: new(0.08)}, new(0.08), new(0.08)},
		{"batches, another card", "h100", ran, sim.VLLMV1, batches, plan.Expected{Throughput: new(0.2)}, new(0.2), new(0.2)},
		{"nothing", "l40s", ran, sim.VLLMV1, cost.Quality{}, plan.Expected{}, nil, nil},
	} {
		model, err := catalog.FindModel(c.model)
		if err != nil {
			t.Fatal(err)
		}
		d := cost.New(model, card)
		fit := cost.Fit{Card: c.card, Server: c.server, Models: []string{ran}, Formats: []string{"bf16", "fp8"}, Of: "rows", Rows: 5, Factors: cost.DefaultFactors(), Quality: c.quality}
		e := plan.Expect(&cost.Profile{Version: 1, Fits: []cost.Fit{fit}}, &d, sim.VLLMV1)
		if e.Text == "" || !cmp.Equal(e.Of("ttft"), c.ttft) || !cmp.Equal(e.Of("e2e"), c.of) {
			t.Errorf("%s: %+v", c.name, e)
		}
		if e.Text = ""; !cmp.Equal(e, c.want) {
			t.Errorf("%s: %s", c.name, cmp.Diff(c.want, e))
		}
	}
}

func TestNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"44.5 ms": plan.Seconds(0.0445), "0.001 µs": plan.Seconds(1e-9), "999 µs": plan.Seconds(0.000999), "1 ms": plan.Seconds(0.0009999), "2 s": plan.Seconds(2), "1234 s": plan.Seconds(1234.4), "$73.00 a month": plan.Month(73), "$1,234,567 a month": plan.Month(1234567),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestOne: the cards of a server, with the stages of pipeline parallelism.
func TestOne(t *testing.T) {
	for _, c := range []struct {
		tp, cards, replicas int
		want                string
	}{
		{2, 2, 1, "2 × h100"},
		{2, 4, 1, "4 × h100 in 2 stages"},
		{4, 24, 2, "12 × h100 in 3 stages"},
	} {
		candidate := plan.Candidate{Cards: c.cards, Outcome: sweep.Outcome{Point: sweep.Point{Card: "h100", TP: c.tp, Replicas: c.replicas}}}
		if got := candidate.One(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
