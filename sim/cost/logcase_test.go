package cost

import (
	"cmp"
	"context"
	"math"
	"strings"
	"testing"

	"kvcompress/internal/work"
	"kvcompress/sim"
)

func TestReadRequestLog(t *testing.T) {
	in := "request_id,arrival_s,input_tokens,output_tokens,measured_ttft_ms,measured_tpot_ms,measured_e2e_s\n" +
		"b,2.5,10,1,20,,0.02\n" + "a,0.5,100,5,30,4,0.05\n"
	got, err := ReadRequestLog(strings.NewReader(in), "f")
	want := []LoggedRequest{
		{Line: 3, ID: "a", Arrival: 0.5, Input: 100, Output: 5, TTFT: 30, TPOT: 4, E2E: 0.05},
		{Line: 2, ID: "b", Arrival: 2.5, Input: 10, Output: 1, TTFT: 20, E2E: 0.02},
	}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = ReadRequestLog(strings.NewReader("arrival_s,input_tokens,output_tokens,ttft_ms,tpot_ms,e2e_s\n0,1,2,3,4,5\n"), "f")
	if err != nil || got[0] != (LoggedRequest{Line: 2, Input: 1, Output: 2, TTFT: 3, TPOT: 4, E2E: 5}) {
		t.Errorf("%+v, %v", got, err)
	}
	for row, want := range map[string]string{
		"x,1,1,":           `f:2: arrival_s: want a number from 0 to 1e+09, got "x"`,
		"-1,1,1,":          "arrival_s",
		"NaN,1,1,":         "arrival_s",
		"0,0,1,":           "input_tokens: want an integer from 1 to 2147483647",
		"0,1,,":            "output_tokens",
		"0,2000000000,1,":  "input_tokens: 2000000000: want at most",
		"0,1,1,-3":         "ttft_ms",
		"0,1,1,1e300":      "ttft_ms: want a number from 0 to 1e+09",
		"0,1":              "wrong number of fields",
		"0,1,1,1\n0,1,1,x": "f:3: ttft_ms",
	} {
		if _, err := ReadRequestLog(strings.NewReader("arrival_s,input_tokens,output_tokens,ttft_ms\n"+row+"\n"), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", row, err, want)
		}
	}
}

func FuzzReadRequestLog(f *testing.F) {
	f.Add("arrival_s,input_tokens,output_tokens,ttft_ms\n0,1,2,3\n")
	f.Add("request_id,arrival_s,input_tokens,output_tokens,measured_ttft_ms,measured_tpot_ms,measured_e2e_s\nb,2.5,10,1,20,,0.02\n")
	f.Fuzz(func(t *testing.T, in string) {
		list, err := ReadRequestLog(strings.NewReader(in), "f")
		if err != nil {
			return
		}
		before := 0.0
		for _, q := range list {
			if q.Input < 1 || q.Output < 1 || !(q.Arrival >= before) || !(q.TTFT >= 0 && q.TPOT >= 0 && q.E2E >= 0) {
				t.Errorf("%+v", q)
			}
			before = q.Arrival
		}
	})
}

// TestLogByHand serves two requests far apart and one beside the second, with steps of 10 ms and
// a client's constant of 5 ms.
func TestLogByHand(t *testing.T) {
	list := []LoggedRequest{
		{Arrival: 1, Input: 10, Output: 3, TTFT: 20, TPOT: 8, E2E: 0.04},
		{Arrival: 2, Input: 10, Output: 2, TTFT: 10, E2E: 0.02},
		{Arrival: 2.005, Input: 10, Output: 1, TTFT: 10},
	}
	limits := sim.Limits{MaxNumSeqs: 8, MaxNumBatchedTokens: 100}
	c, err := NewLogCase(deployment(t, "llama-3.1-8b", "l4"), limits, list)
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	counted := work.Watch(context.Background(), func() { steps++ })
	r, err := c.Report(counted, &Fit{Of: "a test", Card: "l4", Factors: Factors{"step": 10_000, RequestTerm: 5000}})
	if err != nil {
		t.Fatal(err)
	}
	if steps != len(list) {
		t.Errorf("progress of %d for %d requests", steps, len(list))
	}
	if err := c.start(counted); err != nil || steps != len(list) {
		t.Errorf("a projection of many counts its requests: %d, %v", steps, err)
	}
	// 1: 10, 20 and 30 ms. 2: 10, 20 ms. 3 arrives 5 ms into that step: first token at 20 of it.
	for i, want := range [][3]float64{{15, 10, 0.035}, {15, 10, 0.025}, {20, 0, 0.020}} {
		q := r.Requests[i]
		if (q.ProjectedTPOT == nil) != (want[1] == 0) {
			t.Errorf("request %d has a time per output token: %v", i, q.ProjectedTPOT != nil)
		}
		for k, got := range []float64{q.ProjectedTTFT, *cmp.Or(q.ProjectedTPOT, new(float64)), q.ProjectedE2E} {
			if !(math.Abs(got-want[k]) <= 1e-6) { // a nanosecond, in ms
				t.Errorf("request %d, time %d: %v, want %v", i, k, got, want[k])
			}
		}
	}
	s := r.Summary
	for name, v := range map[string][2]float64{
		"mean TTFT": {s.TTFT, 0.05 / 3}, "mean TPOT": {s.TPOT, 0.010}, "mean E2E": {s.E2E, 0.08 / 3},
		"duration":           {s.Duration, 1.025},
		"measured mean TTFT": {val(s.MeasuredTTFT), 0.04 / 3}, "measured mean TPOT": {val(s.MeasuredTPOT), 0.008}, "measured mean E2E": {val(s.MeasuredE2E), 0.03}, "measured duration": {val(s.MeasuredDuration), 1.02},
		"TTFT error": {val(s.TTFTError), 0.25}, "TPOT error": {val(s.TPOTError), 0.25}, "duration error": {val(s.DurationError), 1.025/1.02 - 1},
		"throughput": {val(s.ThroughputMAPE), 1 - 1.02/1.025}, "TTFT mape": {val(s.TTFTMAPE), 0.25}, "TPOT mape": {val(s.TPOTMAPE), 0.25},
		"TTFT by request": {val(s.RequestTTFT), (0.25 + 0.5 + 1) / 3}, "TPOT by request": {val(s.RequestTPOT), 0.25}, "E2E by request": {val(s.RequestE2E), (0.125 + 0.25) / 2},
	} {
		if !(math.Abs(v[0]-v[1]) <= 1e-6) {
			t.Errorf("%s: %v, want %v", name, v[0], v[1])
		}
	}
	if s.Rows != 3 || s.Requests != 3 || s.Factors != "a test" || s.Expected != "not known" || s.Other != "" {
		t.Errorf("%+v", s)
	}

	list[0].E2E, list[0].TTFT, list[1].TTFT, list[2].TTFT, list[0].TPOT = 0, 0, 0, 0, 0
	if r, err = c.Report(context.Background(), &Fit{Factors: Factors{"step": 10_000}}); err != nil || val(r.Summary.MeasuredE2E) != 0.02 || r.Summary.MeasuredTTFT != nil || r.Summary.TTFTError != nil {
		t.Errorf("%+v, %v", r.Summary, err)
	}

	list[1].Output = 200_000
	if _, err := c.Report(context.Background(), &Fit{Factors: ServerFactors()}); err == nil || !strings.Contains(err.Error(), "of 3 requests 1 do not finish") {
		t.Errorf("%v", err)
	}
}

// TestLogParts: the first mean is over all requests, and each of the others over an eighth.
func TestLogParts(t *testing.T) {
	var c LogCase
	for i := range 16 {
		c.Requests = append(c.Requests, LoggedRequest{Arrival: float64(3 + i), TTFT: float64(1000 * (i + 1)), E2E: 2})
	}
	m := c.measured()
	if len(m) != 1+logParts || !near(m[0].ttft, 8.5) || m[0].tpot != 0 || !near(m[0].total, 17) {
		t.Errorf("%+v", m[0])
	}
	for i, p := range m[1:] {
		if !near(p.ttft, 1.5+2*float64(i)) || p.total != 0 {
			t.Errorf("part %d: %+v", i, p)
		}
	}
}
