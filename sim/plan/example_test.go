package plan_test

import (
	"fmt"
	"slices"
	"time"

	"kvcompress/sim/plan"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// Two candidates meet the objective, and the cheaper one is the answer. Outcomes come from
// package sweep; here they are made up.
func ExampleNewAnswer() {
	outcome := func(card string, index, replicas int, usd float64) sweep.Outcome {
		return sweep.Outcome{
			Index:      index,
			Point:      sweep.Point{Model: "llama-3.1-8b", Card: card, TP: 1, Replicas: replicas, MaxNumSeqs: 256, Load: 1},
			USDPerHour: usd,
			Metrics: stats.Summary{Finished: 100, GoodShare: 1,
				Objectives: []stats.Objective{{Name: "ttft", Limit: 2, Share: 1, At: 1.5}}},
		}
	}
	requests := slices.Values([]trace.Request{{PromptTokens: 1000, OutputTokens: 100}})
	a := plan.NewAnswer(
		plan.Question{Objectives: stats.SLO{TTFT: 2 * time.Second, Part: 0.99}, Most: 8},
		[]sweep.Outcome{outcome("h100", 0, 1, 3), outcome("l4", 1, 2, 1.6)},
		plan.Count(requests),
		func(p *sweep.Point) plan.Facts { return plan.Facts{Cards: p.TP} },
	)
	fmt.Println(a.Headline())
	// Output:
	// 2 replicas of 1 × l4, uncompressed: meets the objectives for 100 % of the requests at $1,168 a month; cheapest that does; next best: 1 × h100, uncompressed, $2,190 a month.
}
