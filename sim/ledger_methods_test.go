package sim_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/traces"
	"kvcompress/validate"
)

// drawn returns the methods that an engine can run.
func drawn(t *testing.T) []*draw.Method {
	t.Helper()
	methods, cannot, err := draw.Methods()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cannot {
		t.Logf("skipped: %v", c.Why)
	}
	return methods
}

// pipeline runs a random pipeline of a method on the reference engine, and on the engine
// and a ledger together. It returns the ledger's first difference.
func pipeline(t *testing.T, m *draw.Method, seed uint64, wrap func(*sim.Ledger) counting) *validate.Divergence {
	t.Helper()
	p, err := validate.RandomPipelineOf(seed, []*draw.Method{m})
	if err != nil {
		t.Fatal(err)
	}
	o, err := p.Run(t.Context(), func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
		return newBoth(new([2]int), wrap)(cfg, open, observe)
	}, validate.Tolerance{})
	if err != nil {
		t.Fatalf("%s\n%v", p, err)
	}
	return o.Divergence
}

// TestLedgerOfEveryMethod runs random pipelines of every method on an engine and a ledger
// together, and replays bundled traces with random options of every method. Blocks, free
// blocks, every head's length and the results of compressions have to be equal after every
// operation.
func TestLedgerOfEveryMethod(t *testing.T) {
	pipelines, replays := testsize.Of(1, 1, 12), testsize.Of(1, 1, 2)
	// The requests of by-request have options of KV-Compress: see TestLedgerIsTheEngine. The longest trace takes
	// most of the time.
	without := append([]string{"by-request"}, testsize.Of([]string{"story-full"}, nil, nil)...)
	names := slices.DeleteFunc(traces.Names(), func(name string) bool { return slices.Contains(without, name) })
	for i, m := range drawn(t) {
		t.Run(m.Name, func(t *testing.T) {
			for seed := range pipelines {
				if d := pipeline(t, m, uint64(seed), nil); d != nil {
					t.Fatalf("pipeline of seed %d: %v", seed, d)
				}
			}
			acted := 0
			for j := range replays {
				acted += replayDrawn(t, m, names[(i+j*4)%len(names)], uint64(j))
			}
			if acted == 0 {
				t.Error("no KV was evicted, hidden or quantized in a trace")
			}
		})
	}
}

// replayDrawn replays a bundled trace with random options of a method, half the times in a
// small cache. It returns how many KVs were evicted or hidden, or keys and values quantized.
func replayDrawn(t *testing.T, m *draw.Method, name string, seed uint64) int {
	t.Helper()
	b, err := traces.Bundled(name)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 9))
	for range 20 { // until something is compressed
		opt := b.Options
		opt.Fill(b.Trace.Meta, b.Trace.Requests())
		base := opt.Config
		base.Shape = b.Trace.Meta.Shape
		if m.OwnPages && !draw.HasPages(&base.Config) { // an fp8 cache, or blocks of one KV
			base.DType, base.KVScale, base.BlockSize = dtype.F16, nil, max(8, base.BlockSize)
		}
		if opt.Config, err = m.Config(r, base); err != nil {
			t.Fatal(err)
		}
		opt.Blocks = 0
		opt.Schedule = sim.Schedule{Interval: 1 + r.IntN(4)}
		if seed%2 == 1 {
			fewBlocks(&opt, b.Trace)
		}
		report := replayBoth(t, b.Trace, opt, new([2]int))
		if n := report.Totals.KVsEvicted + report.Totals.MaxHidden + report.Totals.Quantized + report.Totals.Merged; n > 0 {
			return n
		}
	}
	return 0
}

// oneOff is a ledger that, once it has compressed, counts one free block too many.
type oneOff struct {
	*sim.Ledger
	off int
}

func (o *oneOff) Free() int { return o.Ledger.Free() + o.off }

func (o *oneOff) Compress(id kv.SeqID) (ref.Compressed, error) {
	c, err := o.Ledger.Compress(id)
	if c.Asked > 0 {
		o.off = 1
	}
	return c, err
}

// TestLedgerNotices plants a bug in the ledger of each method; random pipelines have to find it.
func TestLedgerNotices(t *testing.T) {
	for _, m := range drawn(t) {
		t.Run(m.Name, func(t *testing.T) {
			for seed := range uint64(50) {
				if d := pipeline(t, m, seed, func(l *sim.Ledger) counting { return &oneOff{Ledger: l} }); d != nil {
					return
				}
			}
			t.Error("not noticed")
		})
	}
}
