//go:build unix

package ref

import (
	"encoding/json"
	"flag"
	"os"
	"syscall"
	"testing"
	"time"

	"kvcompress/dtype"
	"kvcompress/internal/splitmix"
	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/trace"
)

// The workload of BenchmarkMethods: one layer of Llama-3.1-8B's shape, f32, and a prompt of 4,096 tokens of
// which a head keeps 1,024. scripts/published-plans.py runs the published code on the same values.
const (
	benchTokens   = 4096
	benchCapacity = 1024
	benchHeads    = 8
	benchGroup    = 4
	benchHeadSize = 128
)

var keptFile = flag.String("kept", "", "`file` to which TestMethodsKept writes what every method keeps of BenchmarkMethods' prompt")

// uniform returns n numbers in [−1, 1): number i is u/2²³ − 1, where u is the top 24 bits of output i of
// SplitMix64 with the given state.
func uniform(state uint64, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(splitmix.Next(state+uint64(i)*splitmix.Golden)>>40)/(1<<23) - 1
	}
	return x
}

// methodBench is a method's engine after the prompt of the workload.
type methodBench struct {
	*Engine
	heads []PromptHead // [H] of a layer
}

// newMethodBench gives every layer the same q [n, H·G, D], k and v [n, H, D]. PyramidKV has two layers, so
// that their budgets differ. For the two methods with published code that selects for each query head, K and
// V are repeated.
func newMethodBench(tb testing.TB, name string) *methodBench {
	tb.Helper()
	cfg := Default()
	cfg.UseMethod(name)
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: benchHeads, Group: benchGroup, HeadSize: benchHeadSize}
	cfg.DType = dtype.F32
	cfg.Rope = &trace.Rope{Base: 500000, RotarySize: benchHeadSize, Pairing: trace.Half}
	cfg.Compression.MaxCacheTokens = benchCapacity
	switch name {
	case "pyramidkv":
		cfg.Shape.Layers = 2
	case "h2o-real-drop", "snapkv-published":
		cfg.Shape.KVHeads, cfg.Shape.Group = benchHeads*benchGroup, 1
	case "duo-attention", "razor":
		cfg.Set = Settings{"full": json.RawMessage(`"none"`)}
	}
	shape := cfg.Shape
	cfg.Blocks = shape.Heads() * (benchTokens/cfg.BlockSize + 1)
	e, err := NewEngine(cfg, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}

	row := benchHeads * benchHeadSize
	q, k, v := uniform(1, benchTokens*benchGroup*row), uniform(2, benchTokens*row), uniform(3, benchTokens*row)
	k, v = repeatHeads(k, shape.KVHeads/benchHeads), repeatHeads(v, shape.KVHeads/benchHeads)
	q = q[len(q)-e.observation.Queries(benchTokens)*benchGroup*row:]
	p, err := e.BeginPrompt(0, benchTokens)
	if err != nil {
		tb.Fatal(err)
	}
	for range shape.Layers {
		if err := p.Layer(q, k, v); err != nil {
			tb.Fatal(err)
		}
	}
	p.End()

	m := &methodBench{Engine: e}
	for head := range shape.KVHeads {
		h := PromptHead{Head: head, Group: shape.Group, HeadSize: benchHeadSize}
		h.Q = rowsOf(q, head, shape.KVHeads, shape.Group*benchHeadSize)
		h.K, h.V = rowsOf(k, head, shape.KVHeads, benchHeadSize), rowsOf(v, head, shape.KVHeads, benchHeadSize)
		m.heads = append(m.heads, h)
	}
	return m
}

// repeatHeads repeats every head of [rows, D] the given number of times.
func repeatHeads(x []float32, times int) []float32 {
	out := make([]float32, 0, times*len(x))
	for i := 0; i < len(x); i += benchHeadSize {
		for range times {
			out = append(out, x[i:][:benchHeadSize]...)
		}
	}
	return out
}

// observe computes the scores of every head of every layer, as [Prompt.Layer] does.
func (m *methodBench) observe() {
	o, heads := m.observation, len(m.heads)
	for range m.cfg.Shape.Layers {
		scores := make([][]float32, heads)
		work.Each(work.Workers(heads), heads, func(_, head int) {
			scores[head] = make([]float32, benchTokens*m.cache.Columns()[o.Column].Width)
			o.Prompt(&m.heads[head], scores[head])
		})
		if o.LayerMean {
			meanOfHeads(scores)
		}
	}
}

// step runs one decode step of all layers.
func (m *methodBench) step(tb testing.TB) {
	tb.Helper()
	shape := m.cfg.Shape
	size := shape.QueryHeads() * shape.HeadSize
	t, err := m.BeginTokens([]kv.SeqID{0})
	if err != nil {
		tb.Fatal(err)
	}
	k := uniform(5, shape.KVHeads*shape.HeadSize)
	for range shape.Layers {
		if err := t.Layer(uniform(4, size), k, k, make([]float32, size)); err != nil {
			tb.Fatal(err)
		}
	}
	t.End()
}

func (m *methodBench) compress(tb testing.TB) {
	tb.Helper()
	if _, err := m.Compress(0); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkMethods times each method's work on a prompt: observe computes the scores of all heads; plan
// decides which KVs to evict; compress is the plan and its moves. For methods that also act during decode,
// step is the plan after a step. cpu-ns/op is processor time, which depends less on other load than wall
// time.
func BenchmarkMethods(b *testing.B) {
	for _, entry := range Methods() {
		if entry.Planned { // has no plan
			continue
		}
		b.Run(entry.Name, func(b *testing.B) {
			m := newMethodBench(b, entry.Name)
			if m.observation.ofPrompts() {
				b.Run("observe", func(b *testing.B) { timed(b, m.observe, nil) })
			}
			plan := func() { m.method.Plan(View{m.cache, m.cache.Sequence(0)}) }
			b.Run("plan", func(b *testing.B) { timed(b, plan, nil) })

			prompt := m.cache.Snapshot()
			restore := func() {
				var err error
				if m.cache, err = prompt.Cache(m.cfg.Config, m.method.Columns()); err != nil {
					b.Fatal(err)
				}
			}
			b.Run("compress", func(b *testing.B) { timed(b, func() { m.compress(b) }, restore) })
			restore()
			m.compress(b)
			m.step(b)
			if m.Count(0) > 0 {
				b.Run("step", func(b *testing.B) { timed(b, plan, nil) })
			}
		})
	}
}

// timed times f. before, which may be nil, runs before each f and is not timed.
func timed(b *testing.B, f, before func()) {
	b.ReportAllocs()
	var used time.Duration
	for b.Loop() {
		if before != nil {
			b.StopTimer()
			before()
			b.StartTimer()
		}
		start := processorTime(b)
		f()
		used += processorTime(b) - start
	}
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// processorTime returns the processor time used by the process.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestMethodsKept writes, with -kept FILE, which positions of BenchmarkMethods' prompt each head of every
// method keeps, [L·H][…], and the scores, [L·H][n].
func TestMethodsKept(t *testing.T) {
	if *keptFile == "" {
		t.Skip("writes a file for scripts/published-plans.py: -kept FILE says where")
	}
	type result struct {
		Kept   [][]int     `json:"kept"`
		Scores [][]float32 `json:"scores,omitempty"`
	}
	results := map[string]result{}
	for _, entry := range Methods() {
		if entry.Planned { // has no plan
			continue
		}
		t.Run(entry.Name, func(t *testing.T) {
			m := newMethodBench(t, entry.Name)
			s := m.cache.Sequence(0)
			plan := m.method.Plan(View{m.cache, s})
			gone := make([][]bool, len(s.Heads))
			for i := range gone {
				gone[i] = make([]bool, benchTokens)
			}
			for _, e := range plan.Edits {
				for _, i := range e.KVs {
					gone[e.Head][i] = true
				}
			}
			r := result{Kept: make([][]int, len(s.Heads))}
			for head := range s.Heads {
				for i := range benchTokens {
					if !gone[head][i] {
						r.Kept[head] = append(r.Kept[head], i)
					}
				}
				if m.observation.ofPrompts() {
					r.Scores = append(r.Scores, m.scores(&s.Heads[head]))
				}
			}
			results[entry.Name] = r
		})
	}
	text, err := json.Marshal(results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*keptFile, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

// scores returns the scores of a head's KVs, [n].
func (m *methodBench) scores(h *kv.Head) []float32 {
	scores := make([]float32, h.Len)
	for i := range scores {
		scores[i] = m.cache.Data[m.observation.Column][m.cache.Slot(h, i)]
	}
	return scores
}
