package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"kvcompress/sim"
	"kvcompress/sim/plan"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// samplePlan has candidates of each kind: two that meet the objectives, one that misses them, one
// that misses them with any number of replicas, and one that does not fit the memory.
func samplePlan() *Plan {
	slo := stats.SLO{TTFT: 2 * time.Second, E2E: 30 * time.Second, Part: 0.95}
	outcome := func(card string, tp, replicas int, compression sweep.Compression, usd float64, share, ttft, e2e float64) sweep.Outcome {
		o := sweep.Outcome{Point: sweep.Point{Card: card, TP: tp, Replicas: replicas, Compression: compression, MaxNumSeqs: 256, Load: 1}, USDPerHour: usd * float64(tp*replicas)}
		o.Metrics = stats.Summary{Finished: 1000, GoodShare: share, Objectives: []stats.Objective{{Name: "ttft", Limit: 2, Share: share, At: ttft}, {Name: "e2e", Limit: 30, Share: 1, At: e2e}}}
		return o
	}
	keep := sweep.Compression{Method: "streaming-llm", MaxCacheTokens: 1024}
	outcomes := []sweep.Outcome{
		outcome("l4", 1, 12, sweep.Compression{}, 0.7, 0.9512, 1.95, 28.1),
		outcome("rtx-pro-6000", 1, 2, keep, 2, 1, 0.312, 9),
		outcome("rtx-pro-6000", 1, 2, sweep.Compression{}, 2, 0.9499, 2.01, 12),
		outcome("l4", 2, 1, keep, 0.7, 0.4, 4.5, 29),
		{Point: sweep.Point{Card: "l4", TP: 1, Compression: keep, MaxNumSeqs: 256, Load: 1}, Error: "llama-3.1-70b does not fit on 1 × l4", NoRoom: true},
	}
	outcomes[3].Alone = true
	outcomes[1].Notes = []string{"vLLM V1 has no streaming-llm."}
	for i := range outcomes {
		outcomes[i].Index = i
		if outcomes[i].Error == "" {
			outcomes[i].Factors, outcomes[i].Expected = "a fit", "TPOT 8 % <of> the throughput"
		}
	}
	a := plan.NewAnswer(plan.Question{Objectives: slo, Most: 64}, outcomes, plan.Count(slices.Values([]trace.Request{{PromptTokens: 1, OutputTokens: 1}})), func(p *sweep.Point) plan.Facts {
		return plan.Facts{Scheduler: sim.VLLMV1, Cards: p.TP}
	})
	return &Plan{Answer: a, Candidates: len(outcomes), Inputs: []Input{{"requests", "<b>log</b>"}}, Footer: Footer{Date: "2031-05-06", Version: "v1", Command: "kvc plan --requests 'a <b>'"}}
}

func TestPlanText(t *testing.T) {
	for name, width := range map[string]int{"plan.txt": 0, "plan-narrow.txt": 90} {
		var out bytes.Buffer
		if err := PlanText(&out, samplePlan(), TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.Bytes())
	}
}

func TestPlanPage(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"whole":   func(*Plan) {},
		"partial": func(p *Plan) { p.Candidates = 9 },
		"none meets": func(p *Plan) {
			p.Answer.Candidates = slices.DeleteFunc(p.Answer.Candidates, func(c plan.Candidate) bool { return c.Meets })
		},
		"nothing": func(p *Plan) { p.Answer.Candidates = nil },
	} {
		p := samplePlan()
		change(p)
		var out bytes.Buffer
		if err := PlanHTML(&out, p); err != nil {
			t.Fatal(err)
		}
		page := out.String()
		for _, bad := range []string{"ZgotmplZ", "NaN", "http:", "https:", "<link", "<b>log", "<of>"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: the page has %s", name, bad)
			}
		}
		for _, want := range []string{"&lt;b&gt;log", "&#39;a &lt;b&gt;&#39;", "2031-05-06", p.Answer.Headline(), "</html>"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page has no %s", name, want)
			}
		}
		if got := strings.Contains(page, "Partial."); got != p.Partial() {
			t.Errorf("%s: that it is partial is %v", name, got)
		}
	}
}

func TestPlanJSON(t *testing.T) {
	var out bytes.Buffer
	if err := PlanJSON(&out, samplePlan()); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Answer     string
		Candidates []map[string]any
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || len(doc.Candidates) != 5 || doc.Answer != samplePlan().Answer.Headline() {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if c := doc.Candidates[0]; c["meets"] != true || c["usd_per_month"] != 2920.0 || c["replicas"] != 2.0 || c["scheduler"] != "vllm-v1" {
		t.Errorf("%v", c)
	}
	if c := doc.Candidates[4]; c["no_room"] != true || c["reasons"].([]any)[0].(map[string]any)["kind"] != "memory" {
		t.Errorf("%v", c)
	}
}

// TestPlanDisaggregatedShown checks that a disaggregated candidate without numbers of servers is told from one
// that is not disaggregated.
func TestPlanDisaggregatedShown(t *testing.T) {
	p := samplePlan()
	for _, c := range []struct {
		change func(*plan.Candidate)
		want   string
	}{
		{func(c *plan.Candidate) { c.Error = "windows" }, "1 × l4, disaggregated"},
		{func(c *plan.Candidate) { c.Alone = true }, "1 × l4, disaggregated"},
		{func(*plan.Candidate) {}, "1 × l4"},
	} {
		candidate := plan.Candidate{Outcome: sweep.Outcome{Point: sweep.Point{Card: "l4", TP: 1, Prefill: 2, Decode: 1}}, Cards: 3}
		c.change(&candidate)
		if got := planColumns(p.Answer)[1].cell(&candidate); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestPlanNothingServed: no number of replicas serves requests that a server refuses.
func TestPlanNothingServed(t *testing.T) {
	p := samplePlan()
	for i := range p.Answer.Candidates {
		if c := &p.Answer.Candidates[i]; c.Alone {
			c.Metrics.Finished = 0
		}
	}
	var out bytes.Buffer
	if err := PlanText(&out, p, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "2 × l4") && !strings.HasPrefix(strings.TrimSpace(line), "–") {
			t.Errorf("%q", line)
		}
	}
	if strings.Contains(out.String(), " any ") {
		t.Error(out.String())
	}
}
