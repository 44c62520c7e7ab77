package validate

import (
	"context"
	"fmt"

	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// TraceResult is what a replay of one trace has shown.
type TraceResult struct {
	Trace     string `json:"trace"`
	Steps     int    `json:"steps"`
	Stages    int    `json:"stages"`
	Decisions int    `json:"decisions"`
	Values    int    `json:"values_compared"`
	Mismatch  string `json:"mismatch,omitempty"` // the first; empty if all agree
}

// Trace replays a trace on the reference engine and makes each of its eviction
// decisions again, by [ref.Walk]: the specification, sorted over all heads at
// once. The two must agree in every KV. progress is that of
// [sim.Hooks], and may be nil.
func Trace(ctx context.Context, name string, t *trace.Trace, opt sim.Options, progress func(rows int)) (TraceResult, error) {
	result := TraceResult{Trace: name}
	opt.Fill(t.Meta.Shape, t.Requests())
	_, err := sim.Replay(ctx, t, opt, sim.Hooks{
		Progress: progress,
		Step:     func(*sim.Step) { result.Steps++ },
		Event: func(e ref.Event) {
			result.Stages++
			if e.Stage != ref.StageDecide {
				return
			}
			result.Decisions++
			walked := ref.Walk(opt.Config.Problem(e.Cache, e.Cache.Sequence(e.Seqs[0])))
			result.Values += len(walked.Heads) + walked.KVs()
			if result.Mismatch == "" && !walked.Equal(e.Decision) {
				result.Mismatch = fmt.Sprintf("step %d, stage %s, sequence %d: %s", result.Steps, e.Stage, e.Seqs[0], decisionDifference(e.Decision, &walked))
			}
		},
	})
	return result, err
}

// decisionDifference says where two decisions first differ.
func decisionDifference(got, walked *ref.Decision) string {
	for i := range min(len(got.Heads), len(walked.Heads)) {
		a, b := got.Heads[i], walked.Heads[i]
		if a.Blocks != b.Blocks {
			return fmt.Sprintf("head %d of L·H: %d blocks fall, %d by the walk", i, a.Blocks, b.Blocks)
		}
		for j := range min(len(a.KVs), len(b.KVs)) {
			if a.KVs[j] != b.KVs[j] {
				return fmt.Sprintf("head %d of L·H: KV [%d] that falls is %d, %d by the walk", i, j, a.KVs[j], b.KVs[j])
			}
		}
	}
	return fmt.Sprintf("%d of %d blocks fall, %d of %d by the walk", got.Evicted, got.Asked, walked.Evicted, walked.Asked)
}
