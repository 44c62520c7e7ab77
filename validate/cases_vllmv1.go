package validate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// v1Options are the options of a recorded schedule of vLLM V1, under vLLM's names.
type v1Options struct {
	BlockSize   int    `json:"block_size"`
	Blocks      int    `json:"num_gpu_blocks"` // including the null block
	Seqs        int    `json:"max_num_seqs"`
	Tokens      int    `json:"max_num_batched_tokens"`
	ModelLen    int    `json:"max_model_len"`
	LongPrefill int    `json:"long_prefill_token_threshold"`
	Chunked     bool   `json:"enable_chunked_prefill"`
	Prefixes    bool   `json:"enable_prefix_caching"`
	Policy      string `json:"policy"`
	ReserveFull bool   `json:"scheduler_reserve_full_isl"`
	Groups      []int  `json:"groups"` // the sliding window of each group of layers, 0 for none; missing: one group without
}

// v1Step is what is compared of a step of vLLM V1. Requests are named by their index.
type v1Step struct {
	Step      int      `json:"step"`
	Arrived   []int    `json:"arrived,omitempty"`
	Scheduled [][3]int `json:"scheduled"` // request, tokens, tokens computed or cached before
	Sampled   []int    `json:"sampled"`   // requests that got a token
	New       []int    `json:"new,omitempty"`
	Resumed   []int    `json:"resumed,omitempty"`
	Preempted []int    `json:"preempted,omitempty"`
	Finished  []int    `json:"finish_order,omitempty"`
	Free      int      `json:"free"`       // free blocks when the batch is formed
	FreeAfter int      `json:"free_after"` // free blocks after finished requests are released
	Running   []int    `json:"running"`
	Waiting   []int    `json:"waiting"`
}

// Versions of vLLM V1 with recorded schedules.
const (
	v1Recent = "v0.20.1"
	v1Older  = "v0.11.0" // does not reserve whole prompts
)

// compareV1 compares every step of a schedule of vLLM V1, including its free blocks.
func compareV1(c *scheduleCase) (CaseResult, error) {
	o, err := readV1Options(c)
	if err != nil {
		return CaseResult{}, err
	}
	var older string
	if err := (fields{v1Older: &older}).optional(c.found); err != nil {
		return CaseResult{}, err
	}
	version := c.version()
	if version == "" {
		version = v1Recent
	}
	versions := []string{version}
	if older == "same" {
		versions = append(versions, v1Older)
	}
	r := CaseResult{
		Detail: fmt.Sprintf("%s, %s, %s of %d, %s", words.Count(len(c.requests), "request"), words.Count(len(c.steps), "step"), words.Count(o.Blocks, "block"), o.BlockSize, o.Policy),
		Compared: "of every step: who is scheduled, with how many tokens after how many, who gets a token, is preempted and finishes, " +
			"free blocks, and who runs and waits",
	}
	for _, v := range versions {
		if err := c.replayV1(&r, o, v); err != nil {
			return r, err
		}
		if r.Mismatch != "" {
			r.Mismatch = "by the rules of " + v + ": " + r.Mismatch
			break
		}
	}
	return r, nil
}

func readV1Options(c *scheduleCase) (*v1Options, error) {
	o := &v1Options{}
	err := fields{
		"block_size": &o.BlockSize, "num_gpu_blocks": &o.Blocks, "max_num_seqs": &o.Seqs, "max_num_batched_tokens": &o.Tokens,
		"max_model_len": &o.ModelLen, "long_prefill_token_threshold": &o.LongPrefill, "enable_chunked_prefill": &o.Chunked,
		"enable_prefix_caching": &o.Prefixes, "policy": &o.Policy, "scheduler_reserve_full_isl": &o.ReserveFull,
	}.decode(c.options)
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if err := (fields{"groups": &o.Groups}).optional(c.options); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if _, err := o.layout(); err != nil {
		return nil, fmt.Errorf("options: groups: %w", err)
	}
	if o.Policy != "fcfs" && o.Policy != "priority" {
		return nil, fmt.Errorf(`options: policy is %q, want "fcfs" or "priority"`, o.Policy)
	}
	if o.Blocks < 2 || o.Blocks > kv.MaxBlocks {
		return nil, fmt.Errorf("options: num_gpu_blocks %d is not from 2 to %d", o.Blocks, kv.MaxBlocks)
	}
	return o, nil
}

// layout returns the layers of a case with groups as layers of one head; nil without groups.
func (o *v1Options) layout() (*sim.Layout, error) {
	switch n := len(o.Groups); {
	case n == 0:
		return nil, nil
	case n > maxScheduleGroups:
		return nil, fmt.Errorf("%d groups, want at most %d", n, maxScheduleGroups)
	}
	l := &sim.Layout{Group: 1, Window: slices.Max(o.Groups), WindowsFirst: o.Groups[0] > 0}
	turns := 0
	for i, window := range o.Groups {
		switch window {
		case 0:
			l.Full++
		case l.Window:
			l.Windowed++
		default:
			return nil, fmt.Errorf("windows of %d and %d tokens: want all to be equal", window, l.Window)
		}
		if i > 0 && window != o.Groups[i-1] {
			turns++
		}
	}
	if turns > 1 {
		return nil, fmt.Errorf("%v: want all groups with windows before the others, or after them", o.Groups)
	}
	return l, l.Validate()
}

// serverV1 returns a server that schedules as a version of vLLM V1 does, with a cache of one head.
func (c *scheduleCase) serverV1(o *v1Options, version string) (*sim.Server, *sim.Ledger, error) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks = o.BlockSize, o.Blocks
	cfg.Compression = ref.Compression{}
	cfg.Blocks = sim.V1Blocks(&cfg, nil)
	ledger, err := sim.NewLedger(&cfg, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("options: %w", err)
	}
	if layout, err := o.layout(); layout != nil {
		if err = errors.Join(err, ledger.Lay(*layout)); err != nil {
			return nil, nil, fmt.Errorf("options: groups: %w", err)
		}
	}
	limits := sim.Limits{MaxNumSeqs: o.Seqs, MaxNumBatchedTokens: o.Tokens, MaxModelLen: o.ModelLen}
	server, err := sim.NewServer(ledger, &cfg, sim.Schedule{}, limits, c.traceRequests(), sim.FixedStepTime(stepNS))
	if err != nil {
		return nil, nil, fmt.Errorf("options: %w", err)
	}
	v1 := sim.V1{
		LongPrefill: o.LongPrefill, WholePrompts: !o.Chunked, Prefixes: o.Prefixes,
		ReserveFull: o.ReserveFull && version != v1Older, BlockedHead: true, StalePreempted: version == v1Older,
	}
	if o.Policy == "priority" {
		v1.Priority = func(id kv.SeqID) int { return c.requests[id].Priority }
	}
	if o.Prefixes {
		v1.Content = c.content
	}
	server.Batch = true
	return server, ledger, server.UseV1(v1)
}

// outputStream is the stream of request 0's output; request i's is outputStream + i.
const outputStream = 1000

// content returns the contents of a request's tokens, for prefix caching. A prompt without segments shares
// nothing with others.
func (c *scheduleCase) content(id kv.SeqID) sim.Content {
	r := c.requests[id]
	content := sim.Content{Output: outputStream + uint64(id)}
	for _, s := range r.Prompt {
		content.Prompt = append(content.Prompt, sim.Segment{Stream: uint64(s[0]), First: s[1], Tokens: s[2]})
	}
	if r.Prompt == nil {
		content.Prompt = []sim.Segment{{Stream: maxScheduleStream + 1 + uint64(id), Tokens: r.Tokens}}
	}
	return content
}

// replayV1 runs the requests of a case and compares every step.
func (c *scheduleCase) replayV1(r *CaseResult, o *v1Options, version string) error {
	server, ledger, err := c.serverV1(o, version)
	if err != nil {
		return err
	}
	var s sim.Step
	arrived, preempted := 0, map[kv.SeqID]bool{}
	admissions, admitted := 0, map[kv.SeqID]int{} // each request's latest admission
	next := func() (v1Step, bool, error) {
		more, err := server.Next(&s)
		if !more || err != nil {
			return v1Step{}, false, err
		}
		step := v1Step{
			Step: int(s.Start / stepNS), Scheduled: [][3]int{}, Sampled: indices(s.Batch), Preempted: indices(s.Preempted),
			Finished: indices(s.Finished), Free: s.Usage.Free, FreeAfter: ledger.Free(),
		}
		for ; arrived < len(c.requests) && c.requests[arrived].Arrival <= step.Step; arrived++ {
			step.Arrived = append(step.Arrived, arrived)
		}
		for _, p := range s.Scheduled {
			step.Scheduled = append(step.Scheduled, [3]int{int(p.Seq), p.Tokens, p.Before})
			if !p.Admitted {
				continue
			}
			admissions++
			admitted[p.Seq] = admissions
			if preempted[p.Seq] {
				step.Resumed = append(step.Resumed, int(p.Seq))
			} else {
				step.New = append(step.New, int(p.Seq))
			}
		}
		for _, id := range s.Preempted {
			preempted[id] = true
		}
		running, waiting := server.Queues()
		running = append(running, s.Finished...) // the recording lists who runs when the batch is formed
		slices.SortFunc(running, func(a, b kv.SeqID) int { return cmp.Compare(admitted[a], admitted[b]) })
		step.Running, step.Waiting = indices(running), indices(waiting)
		return step, true, nil
	}
	return compareSteps(r, c.steps, next)
}

// UnmarshalJSON decodes a recorded step, in which lists may be missing.
func (s *v1Step) UnmarshalJSON(text []byte) error {
	type plain v1Step
	if err := json.Unmarshal(text, (*plain)(s)); err != nil {
		return err
	}
	for _, list := range []*[]int{&s.Sampled, &s.Running, &s.Waiting} {
		*list = append([]int{}, *list...)
	}
	s.Scheduled = append([][3]int{}, s.Scheduled...)
	return nil
}

// indices returns sequences as a recording names them.
func indices(ids []kv.SeqID) []int {
	list := make([]int, len(ids))
	for i, id := range ids {
		list[i] = int(id)
	}
	return list
}
