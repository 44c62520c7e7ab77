package validate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/strictjson"
)

// forkStep is a recorded step of KV-Compress's server: what is compared of it. Moves are left out, because
// they depend on which KVs are evicted, which a ledger does not know.
type forkStep struct {
	Step        int              `json:"step"`
	Lacking     bool             `json:"must_preempt"`
	Prefilled   bool             `json:"uncompressed_prefill"`
	Locked      bool             `json:"locked"`
	Compressed  []forkCompressed `json:"compressed"` // by request
	FreeBefore  int              `json:"free_before"`
	LockedAfter bool             `json:"lock_prefill"`
	Prefill     []int            `json:"prefill"`
	Decode      []int            `json:"decode"`
	Preempted   []int            `json:"preempted"`
	WaitingHead []int            `json:"waiting_head"`
	Free        int              `json:"free"`
	HeadKVs     map[int]headKVs  `json:"head_kvs"`
	Finished    []int            `json:"finished"`
	FreeAfter   int              `json:"free_after"`
	Waiting     int              `json:"waiting"`
}

// forkCompressed is what one sequence loses: blocks in total and per head.
type forkCompressed struct {
	Request, Blocks int
	heads           []int
}

func (c *forkCompressed) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&c.Request, &c.Blocks, &c.heads})
}

func (c forkCompressed) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{c.Request, c.Blocks, c.heads})
}

// headKVs is how many KVs each head holds: one number if all hold the same.
type headKVs []int

func (h *headKVs) UnmarshalJSON(text []byte) error {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		*h = headKVs{0}
		return json.Unmarshal(text, &(*h)[0])
	}
	if err := json.Unmarshal(text, (*[]int)(h)); err != nil {
		return err
	}
	*h = (*h).short()
	return nil
}

// short reduces the list to one number if all are equal.
func (h headKVs) short() headKVs {
	if len(h) > 0 && !slices.ContainsFunc(h, func(n int) bool { return n != h[0] }) {
		return h[:1]
	}
	return h
}

// forkError is a recorded step in which the published code raised an exception, with the decisions recorded
// before it.
type forkError struct {
	Error     *string `json:"error"`
	Step      int     `json:"step"`
	Lacking   *bool   `json:"must_preempt"`
	Prefilled *bool   `json:"uncompressed_prefill"`
	Locked    *bool   `json:"locked"`
	Free      *int    `json:"free_before"`
}

// tooLong is part of the exception's text for a prompt that does not fit an empty cache.
const tooLong = "Input length too long"

// compare compares what the server does in the step of the exception.
func (e *forkError) compare(r *CaseResult, server *sim.Server) error {
	var step sim.Step
	if _, err := server.Next(&step); err != nil {
		return err
	}
	here := forkError{Error: e.Error, Step: int(step.Start / stepNS)}
	if e.Lacking != nil {
		here.Lacking = &step.Server.Lacking
	}
	if e.Prefilled != nil {
		here.Prefilled = &step.Server.Prefilled
	}
	if e.Locked != nil {
		here.Locked = &step.Server.Locked
	}
	if e.Free != nil {
		here.Free = &step.Server.Free
	}
	if got, want := compact(here), compact(e); got != want {
		r.Mismatch = fmt.Sprintf("the step of the exception: %s; recorded %s", got, want)
	} else if strings.Contains(*e.Error, tooLong) && len(step.Refused) == 0 {
		r.Mismatch = fmt.Sprintf("no request is refused; recorded %s", want)
	}
	return nil
}

// compareKVCompress serves the requests of a recorded schedule of KV-Compress's server. The number of blocks
// to evict is computed; how they are spread over the heads is taken from the recording.
func compareKVCompress(c *scheduleCase) (CaseResult, error) {
	var r CaseResult
	cfg, schedule, limits, err := c.forkOptions()
	if err != nil {
		return r, fmt.Errorf("options: %w", err)
	}
	var recorded []json.RawMessage
	var raised forkError
	told := toldBlocks{map[kv.SeqID][][]int{}, map[kv.SeqID][]int{}}
	for i, raw := range c.steps {
		raised = forkError{}
		var step forkStep
		if err := json.Unmarshal(raw, &raised); err != nil {
			return r, fmt.Errorf("steps[%d]: %w", i, strictjson.Plain(err))
		}
		if raised.Error != nil {
			break
		}
		if err := json.Unmarshal(raw, &step); err != nil {
			return r, fmt.Errorf("steps[%d]: %w", i, strictjson.Plain(err))
		}
		for _, lost := range step.Compressed {
			told.recorded[kv.SeqID(lost.Request)] = append(told.recorded[kv.SeqID(lost.Request)], lost.heads)
		}
		slices.SortFunc(step.Compressed, func(a, b forkCompressed) int { return cmp.Compare(a.Request, b.Request) })
		slices.Sort(step.Preempted)
		text, err := json.Marshal(step)
		if err != nil {
			return r, err
		}
		recorded = append(recorded, text)
	}
	ledger, err := sim.NewLedger(cfg, told)
	if err != nil {
		return r, err
	}
	counting := sim.CountSampled
	if strings.Contains(c.source, "463a1a53") {
		counting = sim.CountKVs
	}
	if err := ledger.CountLike(counting); err != nil {
		return r, err
	}
	cache := &leftLengths{ledger, map[kv.SeqID][]int{}}
	server, err := c.server(cache, cfg, schedule, limits)
	if err != nil {
		return r, err
	}
	var step sim.Step
	err = compareSteps(&r, recorded, func() (forkStep, bool, error) {
		clear(cache.left)
		more, err := server.Next(&step)
		if !more || err != nil {
			return forkStep{}, more, err
		}
		s := forkStep{
			Step: int(step.Start / stepNS), Lacking: step.Server.Lacking, Prefilled: step.Server.Prefilled, Locked: step.Server.Locked,
			FreeBefore: step.Server.Free, LockedAfter: step.Server.LockedAfter, Preempted: ids(step.Preempted), Free: step.Usage.Free,
			HeadKVs: map[int]headKVs{}, Finished: ids(step.Finished), FreeAfter: ledger.Free(), Waiting: step.Waiting,
		}
		for _, one := range step.Compression {
			s.Compressed = append(s.Compressed, forkCompressed{int(one.Seq), one.Asked, told.used[one.Seq]})
		}
		slices.SortFunc(s.Compressed, func(a, b forkCompressed) int { return cmp.Compare(a.Request, b.Request) })
		slices.Sort(s.Preempted)
		if s.Decode = ids(step.Batch); step.Kind == sim.Prefill {
			s.Prefill, s.Decode = s.Decode, nil
		}
		running, waiting := server.Queues()
		s.WaitingHead = ids(waiting[:min(len(waiting), len(s.Preempted))])
		for _, id := range running {
			s.HeadKVs[int(id)] = headKVs(ledger.Lengths(nil, id)).short()
		}
		for _, id := range step.Finished {
			s.HeadKVs[int(id)] = headKVs(cache.left[id]).short()
		}
		return s, true, nil
	})
	switch {
	case err != nil || r.Mismatch != "" || c.found["stuck"] != nil:
		return r, err
	case raised.Error != nil:
		return r, raised.compare(&r, server)
	}
	if more, err := server.Next(&step); err != nil {
		return r, err
	} else if more {
		r.Mismatch = fmt.Sprintf("the recorded schedule ends, and step %d follows", step.Index)
	}
	return r, nil
}

// maxForkHeads bounds the heads of a recorded schedule.
const maxForkHeads = 1 << 10

// forkOptions returns a recorded schedule's options in the simulator's types.
func (c *scheduleCase) forkOptions() (*ref.Config, sim.Schedule, sim.Limits, error) {
	cfg, schedule, limits := ref.Default(), sim.Schedule{Strict: true}, sim.DefaultLimits()
	opt := &cfg.Compression
	*opt = ref.Compression{}
	limits.DropOutgrown, limits.KeepUnservable = true, true
	cfg.Shape = kv.Shape{Group: 1, HeadSize: 8}
	var interval, tokenLimit int
	err := fields{
		"layers": &cfg.Shape.Layers, "kv_heads": &cfg.Shape.KVHeads, "block_size": &cfg.BlockSize, "blocks": &cfg.Blocks,
		"max_num_seqs": &limits.MaxNumSeqs, "max_num_batched_tokens": &limits.MaxNumBatchedTokens, "max_model_len": &limits.MaxModelLen,
		"max_cache_tokens": &opt.MaxCacheTokens, "target_compression_rate": &opt.Rate, "protected_window_size": &opt.ProtectedWindow,
		"compress_once": &schedule.Once, "compression_interval": &interval, "new_token_limit": &tokenLimit,
		"max_kv_per_compression": &schedule.MaxKVPerCompression,
	}.decode(c.options)
	if err != nil {
		return nil, schedule, limits, err
	}
	if cfg.Shape.Layers > maxForkHeads || cfg.Shape.KVHeads > maxForkHeads || cfg.Shape.Heads() > maxForkHeads {
		return nil, schedule, limits, fmt.Errorf("%d layers of %d KV heads are more than %d heads", cfg.Shape.Layers, cfg.Shape.KVHeads, maxForkHeads)
	}
	opt.MaxCacheTokens = max(0, opt.MaxCacheTokens)
	if err := forkRefuses(opt, interval); err != nil {
		return nil, schedule, limits, err
	}
	if opt.MaxCacheTokens > 0 {
		opt.Rate = 0
	}
	// A limit of 0 tokens is exceeded by every step.
	if schedule.Interval = interval; tokenLimit == 0 {
		schedule.Interval = 1
	}
	schedule.NewTokenLimit = max(0, tokenLimit)
	schedule.MaxKVPerCompression = max(1, schedule.MaxKVPerCompression) // less than any sequence holds
	return &cfg, schedule, limits, nil
}

// forkRefuses returns an error if KV-Compress's server refuses these options: its KVCompressConfig checks
// them. No recorded schedule can have such options.
func forkRefuses(c *ref.Compression, interval int) error {
	switch {
	case c.MaxCacheTokens > 0 && c.Rate < 1:
		return fmt.Errorf("max_cache_tokens %d and target_compression_rate %v: the published server refuses both together", c.MaxCacheTokens, c.Rate)
	case !(c.Rate > 0 && c.Rate <= 1):
		return fmt.Errorf("target_compression_rate is %v: the published server wants it in (0, 1]", c.Rate)
	case interval < 1:
		return fmt.Errorf("compression_interval is %d: the published server refuses less than 1", interval)
	case c.MaxCacheTokens > 0 && c.ProtectedWindow > c.MaxCacheTokens:
		return fmt.Errorf("protected_window_size is %d: the published server refuses more than max_cache_tokens, %d", c.ProtectedWindow, c.MaxCacheTokens)
	}
	return nil
}

// toldBlocks has, for each sequence, the recorded blocks that its heads lose in each compression. As a
// [sim.Spread] it returns them. If they do not add up to the demand, or none are recorded, the schedules
// already differ, and the blocks are spread evenly.
type toldBlocks struct {
	recorded map[kv.SeqID][][]int
	used     map[kv.SeqID][]int // blocks of the last compression; nil if they could not be used
}

// Spread implements [sim.Spread].
func (t toldBlocks) Spread(dst []sim.Heads, d *sim.Demand) []sim.Heads {
	t.used[d.Seq] = nil
	recorded := t.recorded[d.Seq]
	if len(recorded) == 0 {
		return sim.Even().Spread(dst, d)
	}
	lost := recorded[0]
	t.recorded[d.Seq] = recorded[1:]
	start, left, usable := len(dst), 0, true
	for _, q := range d.Quotas {
		left += q.Units
	}
	for _, h := range d.Heads {
		for i := h.First; i < h.First+h.N; i++ {
			one := h
			one.First, one.N = i, 1
			if i < len(lost) {
				one.Lost = lost[i]
				left -= one.Lost
			}
			usable = usable && 0 <= one.Lost && one.Lost <= one.Can
			dst = append(dst, one)
		}
	}
	if !usable || left != 0 || len(dst)-start != len(lost) {
		return sim.Even().Spread(dst[:start], d)
	}
	t.used[d.Seq] = lost
	return dst
}

// leftLengths is a ledger that records how many KVs each head of a sequence held when the sequence was
// released.
type leftLengths struct {
	*sim.Ledger
	left map[kv.SeqID][]int
}

// Release implements [sim.Cache].
func (l *leftLengths) Release(id kv.SeqID) error {
	l.left[id] = l.Lengths(nil, id)
	return l.Ledger.Release(id)
}
