package sim

import (
	"context"
	"errors"
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Report is the outcome of a replay.
type Report struct {
	Trace    string     `json:"trace"`
	Shape    kv.Shape   `json:"shape"`
	Options  Options    `json:"options"`
	Steps    []Step     `json:"steps"`
	Requests []Result   `json:"requests"`
	Heads    HeadTotals `json:"heads"`
	Totals   Totals     `json:"totals"`
}

// HeadTotals has sums over a replay for each head, [L][H].
type HeadTotals struct {
	Entered [][]int64 `json:"kvs_entered"`
	Evicted [][]int64 `json:"kvs_evicted"`
}

// Kept returns for each head, [L][H], the fraction of its KVs that was never evicted; 1 if it had none.
func (h *HeadTotals) Kept() [][]float64 {
	kept := make([][]float64, len(h.Entered))
	for l, entered := range h.Entered {
		kept[l] = make([]float64, len(entered))
		for i, n := range entered {
			kept[l][i] = 1
			if n > 0 {
				kept[l][i] = 1 - float64(h.Evicted[l][i])/float64(n)
			}
		}
	}
	return kept
}

// Totals has sums over a replay.
type Totals struct {
	Steps         int   `json:"steps"`
	Prefills      int   `json:"prefill_steps"`
	Decodes       int   `json:"decode_steps"`
	Compressions  int   `json:"compressions"` // each of one sequence
	Preemptions   int   `json:"preemptions"`
	Finished      int   `json:"requests_finished"`
	Refused       int   `json:"requests_refused"`
	BlocksAsked   int   `json:"blocks_asked"` // by methods that count blocks; for others the number of freed blocks
	BlocksFreed   int   `json:"blocks_freed"` // by compression
	KVsEvicted    int   `json:"kvs_evicted"`
	KVsMoved      int   `json:"kvs_moved"`
	BytesMoved    int64 `json:"bytes_moved"` // bytes read plus bytes written
	PeakBlocks    int   `json:"peak_blocks"`
	PeakKVs       int   `json:"peak_kvs"`
	MetadataBytes int64 `json:"metadata_bytes"`               // of the blocks at their peak
	KVsShort      int   `json:"kvs_short,omitempty"`          // for methods that count KVs: asked for and not evicted
	MaxHidden     int   `json:"max_kvs_hidden,omitempty"`     // of one sequence at a time
	Quantized     int   `json:"quantized,omitempty"`          // keys and values, each counted by itself
	Merged        int   `json:"merged,omitempty"`             // likewise
	BlocksTaken   int   `json:"blocks_taken,omitempty"`       // by compression
	PeakPayload   int64 `json:"peak_payload_bytes,omitempty"` // bytes of K and V with scales and minima, if some are quantized

	// The peaks of an uncompressed cache.
	PeakDenseBlocks int `json:"peak_dense_blocks"`
	PeakDenseKVs    int `json:"peak_dense_kvs"`
}

// Shortfall returns the blocks that were asked for and could not be freed.
func (t *Totals) Shortfall() int { return t.BlocksAsked - t.BlocksFreed }

// Hooks are functions that are called during a replay. Each may be nil.
type Hooks struct {
	Event    func(ref.Event) // called after every stage of the engine
	Step     func(*Step)     // called after every step of the scheduler
	Progress func(rows int)  // called when the keys of rows tokens of a layer are read: see [Rows]; from any goroutine of the engine
	ByHead   bool            // report in each step what every head holds
}

// Rows returns the number of rows of keys that a replay without preemptions reads: one for each token and
// layer.
func Rows(t *trace.Trace) int64 {
	rows := int64(0)
	for _, r := range t.Requests() {
		rows += int64(r.CachedTokens()) * int64(t.Meta.Shape.Layers)
	}
	return rows
}

// watched are a request's tensors. Reading them reports progress, and fails when the context is done.
type watched struct {
	trace.Tensors
	ctx      context.Context
	progress func(rows int)
}

func (w *watched) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if t == trace.K && w.progress != nil {
		w.progress(n)
	}
	return w.Tensors.Read(dst, t, layer, from, n)
}

// Engine is a cache with keys and values, such as a *ref.Engine.
type Engine interface {
	Cache
	Close() error
}

// NewEngine makes an engine with an empty cache. open and observe are as for [ref.NewEngine].
type NewEngine func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error)

// Replay serves a trace with tensors on the reference engine. If the context ends, Replay returns after at
// most a layer of a prompt, with the report up to the last complete step and an error.
func Replay(ctx context.Context, t *trace.Trace, opt Options, hooks Hooks) (*Report, error) {
	return ReplayOn(ctx, t, opt, hooks, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return ref.NewEngine(cfg, open, observe)
	})
}

// ReplayOn is [Replay] on the engine that newEngine makes. It closes the engine.
func ReplayOn(ctx context.Context, t *trace.Trace, opt Options, hooks Hooks, newEngine NewEngine) (_ *Report, err error) {
	requests := t.Requests()
	opt.Fill(t.Meta, requests)
	if err := errors.Join(opt.Validate(), checkOwn(&opt.Config, requests)); err != nil {
		return nil, err
	}
	if err := opt.checkBlocks(requests); err != nil {
		return nil, err
	}
	heads := newHeadTotals(opt.Shape)
	open := func(id kv.SeqID) (trace.Tensors, error) {
		tensors, err := t.Tensors(int(id))
		if copies := opt.Shape.KVHeads / t.Meta.Shape.KVHeads; err == nil && copies > 1 {
			tensors = trace.Repeat(tensors, copies, opt.Shape.HeadSize)
		}
		return &watched{tensors, ctx, hooks.Progress}, err
	}
	engine, err := newEngine(opt.Config, open, func(e ref.Event) {
		heads.add(e)
		if hooks.Event != nil {
			hooks.Event(e)
		}
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	server, err := NewServer(engine, &opt.Config, opt.Schedule, opt.Limits, requests, FixedStepTime(opt.StepTimeNS))
	if err != nil {
		return nil, err
	}
	server.ByHead = hooks.ByHead
	report := &Report{Trace: t.Meta.Name, Shape: opt.Shape, Options: opt, Heads: heads}
	for {
		var step *Step
		if step, err = server.Step(); step == nil || err != nil {
			err = ofRequest(err, requests)
			break
		}
		report.Steps = append(report.Steps, *step)
		report.Totals.Add(step, &opt.Config)
		if hooks.Step != nil {
			hooks.Step(step)
		}
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("sim: stopped after %d steps: %w", len(report.Steps), ctx.Err())
	}
	report.Requests = server.Results()
	for _, r := range report.Requests {
		if r.Finished >= 0 {
			report.Totals.Finished++
		}
		if r.Error != "" {
			report.Totals.Refused++
		}
	}
	return report, err
}

// Add adds a step of a replay with this configuration, except for the counts of requests.
func (t *Totals) Add(s *Step, cfg *ref.Config) {
	t.Steps++
	if s.Kind == Prefill {
		t.Prefills++
	} else {
		t.Decodes++
	}
	t.Preemptions += len(s.Preempted)
	for _, c := range s.Compression {
		t.Compressions++
		if cfg.CountsBlocks() {
			t.BlocksAsked += c.Asked
		} else {
			t.BlocksAsked += c.Freed
			t.KVsShort += c.Short
		}
		t.BlocksFreed += c.Freed
		t.KVsEvicted += c.Evicted
		t.MaxHidden = max(t.MaxHidden, c.Hidden)
		t.KVsMoved += c.Moved
		t.Quantized += c.Quantized
		t.Merged += c.Merged
		t.BlocksTaken += c.Taken
		t.BytesMoved += int64(c.Moved) * int64(cfg.MoveBytes())
	}
	t.PeakBlocks = max(t.PeakBlocks, s.Usage.Allocated)
	t.PeakKVs = max(t.PeakKVs, s.Usage.KVs)
	t.PeakPayload = max(t.PeakPayload, s.Usage.Payload)
	t.PeakDenseBlocks = max(t.PeakDenseBlocks, s.Usage.DenseBlocks)
	t.PeakDenseKVs = max(t.PeakDenseKVs, s.Usage.DenseKVs)
	t.MetadataBytes = max(t.MetadataBytes, cfg.MetadataBytes(s.Usage.Allocated))
}

// ofRequest adds the request's name to the error about a value that an engine cannot store.
func ofRequest(err error, requests []trace.Request) error {
	var value *ref.ValueError
	if errors.As(err, &value) {
		return fmt.Errorf("request %q: %w", requests[value.Seq].ID, value)
	}
	return err
}

func newHeadTotals(shape kv.Shape) HeadTotals {
	matrix := func() [][]int64 {
		m := make([][]int64, shape.Layers)
		for l := range m {
			m[l] = make([]int64, shape.KVHeads)
		}
		return m
	}
	return HeadTotals{matrix(), matrix()}
}

// add adds the KVs that enter or are evicted by an event.
func (h *HeadTotals) add(e ref.Event) {
	entered := int64(0)
	switch e.Stage {
	case ref.StagePrefill:
		entered = int64(e.Cache.Sequence(e.Seqs[0]).Len)
	case ref.StageDecode:
		entered = int64(len(e.Seqs))
	case ref.StageDecide:
		shape := e.Cache.Shape()
		for i, gone := range e.Plan.Gone(shape.Heads()) {
			h.Evicted[i/shape.KVHeads][i%shape.KVHeads] += int64(len(gone))
		}
		return
	default:
		return
	}
	for _, layer := range h.Entered {
		for i := range layer {
			layer[i] += entered
		}
	}
}
