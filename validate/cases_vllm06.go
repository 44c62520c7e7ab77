package validate

import (
	"encoding/json"
	"fmt"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/strictjson"
)

// vllm06Step is a recorded step of vLLM 0.6.0: what is compared of it.
type vllm06Step struct {
	Step          int      `json:"step"`
	Scheduled     [][3]int `json:"scheduled"` // request, tokens, tokens computed before
	PrefillGroups int      `json:"num_prefill_groups"`
	Ignored       []int    `json:"ignored"`
	Preempted     []int    `json:"preempted"`
	WaitingHead   []int    `json:"waiting_head"`
	Free          int      `json:"free"`
	Sampled       []int    `json:"sampled"`
	Finished      []int    `json:"finished"`
	FreeAfter     int      `json:"free_after"`
	Running       []int    `json:"running"`
	Waiting       int      `json:"waiting"`
}

// compareVLLM06 serves the requests of a recorded schedule of vLLM 0.6.0.
func compareVLLM06(c *scheduleCase) (CaseResult, error) {
	var r CaseResult
	var o struct{ blockSize, blocks, seqs, tokens, modelLen int }
	var chunked bool
	err := fields{
		"block_size": &o.blockSize, "num_gpu_blocks": &o.blocks, "max_num_seqs": &o.seqs,
		"max_num_batched_tokens": &o.tokens, "max_model_len": &o.modelLen, "enable_chunked_prefill": &chunked,
	}.decode(c.options)
	if err != nil {
		return r, fmt.Errorf("options: %w", err)
	}
	if chunked && o.tokens < o.seqs {
		r.Skipped = fmt.Sprintf("max_num_batched_tokens %d is less than max_num_seqs %d: vLLM refuses to start", o.tokens, o.seqs)
		return r, nil
	}
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks, cfg.Compression = o.blockSize, o.blocks, ref.Compression{}
	limits := sim.DefaultLimits()
	limits.MaxNumSeqs, limits.MaxNumBatchedTokens, limits.MaxModelLen = o.seqs, o.tokens, o.modelLen
	limits.DropOutgrown, limits.KeepUnservable = true, true
	ledger, err := sim.NewLedger(&cfg, nil)
	if err != nil {
		return r, err
	}
	server, err := c.server(ledger, &cfg, sim.Schedule{}, limits)
	if err != nil {
		return r, err
	}
	if chunked {
		err = server.ChunkPrefills()
	} else {
		err = server.UseVLLM06()
	}
	if err != nil {
		return r, err
	}
	steps, ignored, err := foldIgnored(c.steps)
	if err != nil {
		return r, err
	}
	var step sim.Step
	err = compareSteps(&r, steps, func() (vllm06Step, bool, error) {
		more, err := server.Next(&step)
		if !more || err != nil {
			return vllm06Step{}, more, err
		}
		s := vllm06Step{
			Step: int(step.Start / stepNS), PrefillGroups: int(step.Work[sim.PrefillSeqs]), Ignored: ids(step.Refused),
			Preempted: slices.Sorted(slices.Values(ids(step.Preempted))),
			Free:      step.Usage.Free, FreeAfter: ledger.Free(), Waiting: step.Waiting,
		}
		running, waiting := server.Queues()
		s.Running = append([]int{}, ids(running)...)
		s.WaitingHead = ids(waiting[:min(len(waiting), len(s.Preempted))])
		s.schedule(&step)
		return s, true, nil
	})
	if err != nil || r.Mismatch != "" || c.found["stuck"] != nil {
		return r, err
	}
	// Requests that the last steps ignored are refused before the server finds nothing left to do.
	more, err := server.Next(&step)
	switch here := ids(step.Refused); {
	case err != nil:
		return r, err
	case more:
		r.Mismatch = fmt.Sprintf("the recorded schedule ends, and step %d follows", step.Index)
	case !slices.Equal(here, ignored):
		r.Mismatch = fmt.Sprintf("in the end %v are refused; recorded %v", here, ignored)
	}
	return r, nil
}

// schedule sets what was scheduled, sampled and finished, in the scheduler's order.
func (s *vllm06Step) schedule(step *sim.Step) {
	s.Scheduled, s.Sampled = [][3]int{}, []int{}
	for _, c := range step.Scheduled {
		s.Scheduled = append(s.Scheduled, [3]int{int(c.Seq), c.Tokens, c.Before})
		if slices.Contains(step.Batch, c.Seq) {
			s.Sampled = append(s.Sampled, int(c.Seq))
		}
		if slices.Contains(step.Finished, c.Seq) {
			s.Finished = append(s.Finished, int(c.Seq))
		}
	}
}

// foldIgnored removes steps in which the recorded scheduler only ignored requests, because the simulator does
// not count these as steps. It adds the ignored requests to the next step; ignored has the rest at the end.
// The order of preempted requests is not compared here: waiting_head shows it.
func foldIgnored(steps []json.RawMessage) (folded []json.RawMessage, ignored []int, err error) {
	for i, raw := range steps {
		var s vllm06Step
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, nil, fmt.Errorf("steps[%d]: %w", i, strictjson.Plain(err))
		}
		if len(s.Ignored) > 0 && len(s.Scheduled)+len(s.Preempted)+len(s.Running) == 0 {
			ignored = append(ignored, s.Ignored...)
			continue
		}
		s.Ignored, ignored = append(ignored, s.Ignored...), nil
		slices.Sort(s.Preempted)
		if raw, err = json.Marshal(s); err != nil {
			return nil, nil, err
		}
		folded = append(folded, raw)
	}
	return folded, ignored, nil
}

// server returns a server of the recorded requests on a ledger. A request ends after max_tokens, or with
// max_model_len tokens in total.
func (c *scheduleCase) server(cache sim.Cache, cfg *ref.Config, schedule sim.Schedule, limits sim.Limits) (*sim.Server, error) {
	requests := c.traceRequests()
	for i := range requests {
		q := &requests[i]
		if limits.MaxModelLen > 0 {
			q.OutputTokens = max(1, min(q.OutputTokens, limits.MaxModelLen-q.PromptTokens))
		}
	}
	server, err := sim.NewServer(cache, cfg, schedule, limits, requests, sim.FixedStepTime(stepNS))
	if err != nil {
		return nil, err
	}
	server.Batch = true
	return server, nil
}

// ids returns sequences as numbers; nil for none.
func ids(seqs []kv.SeqID) []int {
	var out []int
	for _, id := range seqs {
		out = append(out, int(id))
	}
	return out
}
