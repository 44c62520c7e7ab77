package sim_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/traces"
)

// both is a reference engine and a ledger that get the same calls. All results that a
// scheduler sees must be equal. After the first difference, all operations return an error.
type both struct {
	*ref.Engine
	ledger counting
	moved  *[2]int // KVs, by the engine and as the ledger estimates
	err    error
}

// counting has the methods of a ledger that both calls.
type counting interface {
	sim.Cache
	NeedAll(steps int) int
	Lengths(to []int, id kv.SeqID) []int
}

// newBoth returns a function that makes an engine and a ledger that evicts the same KVs. If wrap is
// not nil, it plants a bug in the ledger.
func newBoth(moved *[2]int, wrap func(*sim.Ledger) counting) func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (*both, error) {
	return func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (*both, error) {
		recording := sim.NewRecording()
		engine, err := ref.NewEngine(cfg, open, func(e ref.Event) {
			recording.Observe(e)
			observe(e)
		})
		if err != nil {
			return nil, err
		}
		ledger, err := sim.NewLedger(&cfg, recording)
		if err != nil {
			return nil, err
		}
		b := &both{Engine: engine, ledger: ledger, moved: moved}
		if wrap != nil {
			b.ledger = wrap(ledger)
		}
		return b, nil
	}
}

func same[T any](b *both, what string, engine, ledger T) T {
	if b.err == nil && !reflect.DeepEqual(engine, ledger) {
		b.err = fmt.Errorf("%s: the engine has %v, the ledger %v", what, engine, ledger)
	}
	return engine
}

func (b *both) Free() int { return same(b, "free", b.Engine.Free(), b.ledger.Free()) }
func (b *both) PrefillNeed(n int) int {
	return same(b, "prefill need", b.Engine.PrefillNeed(n), b.ledger.PrefillNeed(n))
}
func (b *both) DecodeNeed(id kv.SeqID) int {
	return same(b, "decode need", b.Engine.DecodeNeed(id), b.ledger.DecodeNeed(id))
}
func (b *both) Held(id kv.SeqID) int { return same(b, "held", b.Engine.Held(id), b.ledger.Held(id)) }
func (b *both) Count(id kv.SeqID) int {
	return same(b, "count", b.Engine.Count(id), b.ledger.Count(id))
}
func (b *both) Usage() kv.Usage { return same(b, "usage", b.Engine.Usage(), b.ledger.Usage()) }
func (b *both) HeadUsage() kv.HeadUsage {
	return same(b, "usage of the heads", b.Engine.HeadUsage(), b.ledger.HeadUsage())
}

func (b *both) Configure(id kv.SeqID, own *trace.Compression) error {
	return b.do(func(c sim.Cache) error { return c.Configure(id, own) })
}

func (b *both) Prefill(id kv.SeqID, n int) error {
	return b.do(func(c sim.Cache) error { return c.Prefill(id, n) })
}

func (b *both) Decode(batch []kv.SeqID) error {
	need := 0
	for _, id := range batch {
		need += b.DecodeNeed(id)
	}
	if len(batch) == len(b.Cache().Sequences()) {
		same(b, "blocks of a step", need, b.ledger.NeedAll(1))
	}
	return b.do(func(c sim.Cache) error { return c.Decode(batch) })
}

func (b *both) Compress(id kv.SeqID) (ref.Compressed, error) {
	var results []ref.Compressed
	err := b.do(func(c sim.Cache) error {
		r, err := c.Compress(id)
		results = append(results, r)
		return err
	})
	engine, ledger := results[0], results[len(results)-1]
	b.moved[0] += engine.Moved
	b.moved[1] += ledger.Moved
	ledger.Moved = engine.Moved
	same(b, "compressed", engine, ledger)
	return engine, errors.Join(err, b.err)
}

func (b *both) Release(id kv.SeqID) error {
	return b.do(func(c sim.Cache) error { return c.Release(id) })
}

// do performs an operation on engine and ledger, and compares their state. Only the engine
// can return an error for a value that the cache's format cannot represent.
func (b *both) do(operation func(sim.Cache) error) error {
	err := operation(b.Engine)
	var value *ref.ValueError
	if errors.As(err, &value) {
		return err
	}
	if lerr := operation(b.ledger); (err == nil) != (lerr == nil) {
		return fmt.Errorf("the engine says %v, the ledger %v", err, lerr)
	}
	b.Free()
	b.Usage()
	b.HeadUsage()
	for _, id := range b.Cache().Sequences() {
		b.Held(id)
		b.DecodeNeed(id)
		b.Count(id)
		var lens []int
		for _, h := range b.Cache().Sequence(id).Heads {
			lens = append(lens, h.KVs())
		}
		same(b, fmt.Sprintf("KVs of the heads of sequence %d", id), lens, b.ledger.Lengths(nil, id))
	}
	return errors.Join(err, b.err)
}

// replayBoth replays a trace on the reference engine and on a ledger that evicts the same
// as the engine.
func replayBoth(t *testing.T, tr *trace.Trace, opt sim.Options, moved *[2]int) *sim.Report {
	t.Helper()
	var b *both
	report, err := sim.ReplayOn(context.Background(), tr, opt, sim.Hooks{}, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (_ sim.Engine, err error) {
		b, err = newBoth(moved, nil)(cfg, open, observe)
		return b, err
	})
	if err == nil {
		err = b.err
	}
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestLedgerIsTheEngine replays every bundled trace on the reference engine and a
// ledger together, with the trace's options and with others, and compares the
// blocks, the free blocks and every head's length after every operation.
func TestLedgerIsTheEngine(t *testing.T) {
	changes := map[string]func(o *sim.Options){
		"as it is":     func(*sim.Options) {},
		"uncompressed": func(o *sim.Options) { o.Compression = ref.Compression{} },
		"even layers, few blocks": func(o *sim.Options) {
			o.Compression = ref.Compression{Rate: 0.4, ProtectedWindow: 7, Sinks: 3, EvenLayers: true}
			o.Schedule = sim.Schedule{Interval: 3}
			o.Blocks = 0
		},
		"uniform": func(o *sim.Options) {
			o.Compression = ref.Compression{MaxCacheTokens: 20, ProtectedWindow: 4, Uniform: true}
			o.Schedule = sim.Schedule{Interval: 1}
		},
		"random, limited": func(o *sim.Options) {
			o.Compression = ref.Compression{MaxCacheTokens: 24, ProtectedWindow: 16, Random: true}
			o.Schedule = sim.Schedule{Interval: 2, MaxKVPerCompression: 1000}
		},
	}
	each := testsize.Of(3, 2, 1) // a trace has one in each options, and options have one in each traces
	preempted, moved := 0, [2]int{}
	for i, name := range traces.Names() {
		for j, what := range slices.Sorted(maps.Keys(changes)) {
			if (i+j)%each > 0 {
				continue
			}
			change := changes[what]
			t.Run(name+"/"+what, func(t *testing.T) {
				b, err := traces.Bundled(name)
				if err != nil {
					t.Fatal(err)
				}
				opt := b.Options
				change(&opt)
				if what == "even layers, few blocks" {
					fewBlocks(&opt, b.Trace)
				}
				r := replayBoth(t, b.Trace, opt, &moved)
				preempted += r.Totals.Preemptions
			})
		}
	}
	if preempted == 0 {
		t.Error("no sequence was preempted")
	}
	t.Logf("%d KVs moved; estimated %d", moved[0], moved[1])
	if d := moved[1] - moved[0]; d > moved[0]/20 || d < -moved[0]/20 {
		t.Errorf("%d KVs moved; estimated %d", moved[0], moved[1])
	}
}

// fewBlocks gives the cache a few blocks more than the longest request needs.
func fewBlocks(opt *sim.Options, t *trace.Trace) {
	shape := opt.CacheShape(t.Meta.Shape)
	opt.Blocks = 0
	for _, r := range t.Requests() {
		opt.Blocks = max(opt.Blocks, shape.Heads()*((r.CachedTokens()+opt.BlockSize-1)/opt.BlockSize)*9/8)
	}
	opt.Limits.Watermark = 0
}

// TestHeadProfile measures a profile on an engine, and compresses a sequence of a ledger by
// it: every head keeps the measured fraction of its KVs, to a block.
func TestHeadProfile(t *testing.T) {
	b, err := traces.Bundled("llama-heads")
	if err != nil {
		t.Fatal(err)
	}
	opt := b.Options
	opt.Schedule.Once = true
	shape := b.Trace.Meta.Shape
	meter := sim.NewHeadMeter(shape)
	if _, err := sim.Replay(t.Context(), b.Trace, opt, sim.Hooks{Event: meter.Observe}); err != nil {
		t.Fatal(err)
	}
	profile, err := meter.Profile(b.Name)
	if err != nil {
		t.Fatal(err)
	}
	spread, err := profile.Spread(shape)
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range profile.Points {
		const tokens = 1 << 16
		cfg := ref.Default()
		cfg.Shape = shape
		cfg.Blocks = 1 << 20
		cfg.Compression.MaxCacheTokens = int(point.Kept*tokens) / 16 * 16
		ledger, err := sim.NewLedger(&cfg, spread)
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.Prefill(0, tokens); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Compress(0); err != nil {
			t.Fatal(err)
		}
		for i, n := range ledger.Lengths(nil, 0) {
			want := point.Heads[i/shape.KVHeads][i%shape.KVHeads] * tokens
			if d := float64(n) - want; d < -64 || d > 64 {
				t.Errorf("of %v: head %d keeps %d KVs of %d, want %.0f", point.Kept, i, n, tokens, want)
			}
		}
	}
}
