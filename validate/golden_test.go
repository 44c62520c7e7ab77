package validate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/traces"
)

// TestGolden compares every bundled replay, with -short a third of them, with its golden result.
func TestGolden(t *testing.T) {
	for i, name := range traces.Replays() {
		if i%testsize.Of(6, 1, 1) != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, name)
			f, err := b.FS.Open(traces.GoldenFile)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want, err := ReadGolden(f)
			if err != nil {
				t.Fatal(err)
			}
			got := record(t, b)
			if d := want.Compare(got); d != nil {
				t.Errorf("%v\nif this change is intended: go run ./cmd/kvc golden update", d)
			}
		})
	}
}

func open(t *testing.T, name string) *traces.Bundle {
	t.Helper()
	b, err := traces.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func record(t *testing.T, b *traces.Bundle) *Golden {
	t.Helper()
	g, err := Record(context.Background(), b.Name, b.Trace, b.Options, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGoldenNotices changes what a replay does and checks where the golden result reports a difference.
func TestGoldenNotices(t *testing.T) {
	b := open(t, "block-size-1")
	want := record(t, b)

	again := record(t, b)
	if d := want.Compare(again); d != nil {
		t.Errorf("a second replay differs: %v", d)
	}
	for i, s := range want.Steps { // remove a compression
		if s.Stages[0].Stage == ref.StageDecide {
			again.Steps[i].Stages = s.Stages[2:]
			if d := want.Compare(again); d == nil || d.Step != i || d.What != "stages" || !strings.HasPrefix(d.Want, "decide [") {
				t.Errorf("a missing compression: %v", d)
			}
			again.Steps[i].Stages = s.Stages
			break
		}
	}
	again.Steps = again.Steps[:len(again.Steps)-1]
	if d := want.Compare(again); d == nil || d.What != "number of steps" {
		t.Errorf("a missing step: %v", d)
	}
	other := *b
	other.Options.Metric.Norm = ref.L1
	if d := want.Compare(record(t, &other)); d == nil || d.What != "options.metric.norm" || d.Got != `"L1"` {
		t.Errorf("another norm: %v", d)
	}
	// The same options, but other arithmetic: a replay with another norm, compared under the golden result's
	// options.
	changed := record(t, &other)
	changed.Options = want.Options
	if d := want.Compare(changed); d == nil || d.Step != 0 || d.Stage != ref.StagePrefill || !strings.HasPrefix(d.What, "metrics") {
		t.Errorf("other metrics: %v", d)
	}
}

func TestGoldenRoundTrip(t *testing.T) {
	g := record(t, open(t, "random-fp8"))
	var text bytes.Buffer
	if err := g.Write(&text); err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text.Bytes(), []byte("\n")); lines != len(g.Steps)+2 {
		t.Errorf("%d lines for %d steps", lines, len(g.Steps))
	}
	back, err := ReadGolden(&text)
	if err != nil {
		t.Fatal(err)
	}
	if d := g.Compare(back); d != nil {
		t.Error(d)
	}
	for in, want := range map[string]string{"": "empty", `{"format":1}{`: "there is data after", `{"format":2}`: "format 2", `{"rats":1}`: "rats"} {
		if _, err := ReadGolden(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", in, err, want)
		}
	}
}

func FuzzReadGolden(f *testing.F) {
	f.Add([]byte(`{"format":1,"steps":[{"step":0,"stages":[{"stage":"decide","digest":[{"part":"evicted","sum":"00"}]}]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		g, err := ReadGolden(bytes.NewReader(in))
		if err != nil {
			return
		}
		g.Compare(&Golden{})
		if err := g.Write(new(bytes.Buffer)); err != nil {
			t.Skip(err) // JSON cannot represent it
		}
	})
}

// TestBundledCoverOptions checks that every option is used by some bundled
// trace.
func TestBundledCoverOptions(t *testing.T) {
	have := map[string]bool{}
	for _, name := range traces.Names() {
		b := open(t, name)
		o := b.Options
		c := o.Compression
		for option, used := range map[string]bool{
			"L1": o.Metric.Norm == ref.L1, "L2": o.Metric.Norm == ref.L2,
			"sum": o.Metric.Reduction == ref.Sum, "avg": o.Metric.Reduction == ref.Avg,
			"max-pool 7": o.Metric.MaxPool == 7, "no max-pool": o.Metric.MaxPool == 0,
			"buffer": o.Metric.Buffer > 0, "window beyond the prompt": o.Metric.Window > b.Trace.Requests()[0].PromptTokens,
			"sinks": c.Sinks > 0, "protected window": c.ProtectedWindow > 0,
			"head bias":   c.HeadBias != nil && len(c.HeadBias.Bins) > 1 && c.BiasWeight != 0,
			"even layers": c.EvenLayers, "control layers": len(c.ControlLayers) > 0, "uniform": c.Uniform, "random": c.Random,
			"once": b.Options.Schedule.Once, "continual": !b.Options.Schedule.Once && b.Options.Schedule.Interval == 1, "interval": b.Options.Schedule.Interval > 1,
			"new-token limit": b.Options.Schedule.NewTokenLimit > 0, "limit of KVs in one compression": b.Options.Schedule.MaxKVPerCompression > 0,
			"by rate": c.Rate > 0, "by tokens": c.MaxCacheTokens > 0,
			"recorded": b.Trace.Meta.Source.Kind == trace.Recorded, "synthetic": b.Trace.Meta.Synth != nil,
			"no groups":      b.Trace.Meta.Shape.Group == 1,
			o.DType.String(): true,
		} {
			have[option] = have[option] || used
		}
	}
	for _, d := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2} {
		if !have[d.String()] {
			t.Errorf("no bundled trace has a %v cache", d)
		}
	}
	var missing []string
	for option, used := range have {
		if !used {
			missing = append(missing, option)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("no bundled trace covers: %s", strings.Join(missing, ", "))
	}
}

// TestBundledMethods checks that every method compresses in a replay of a recorded and of a synthetic trace,
// and several times if it compresses at every step; and that the replays together cover cache formats, block
// sizes and variants of methods.
func TestBundledMethods(t *testing.T) {
	const (
		recorded = iota
		synthetic
	)
	acts := [2]map[string]int{{}, {}} // compressions of each method, by kind of trace
	var seen []string                 // formats, block sizes, and variants of methods
	for _, name := range traces.Replays() {
		b := open(t, name)
		f, err := b.FS.Open(traces.GoldenFile)
		if err != nil {
			t.Fatal(err)
		}
		golden, err := ReadGolden(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		kind := recorded
		if b.Trace.Meta.Synth != nil {
			kind = synthetic
		}
		b.Options.Fill(b.Trace.Meta, b.Trace.Requests())
		cfg := b.Options.Config
		m, err := cfg.NewMethod()
		if err != nil {
			t.Fatal(err)
		}
		acts[kind][m.Name()] = max(acts[kind][m.Name()], golden.Totals.Compressions)
		switch m.(type) {
		case ref.Masker:
		case ref.Merger:
			if golden.Totals.Merged == 0 {
				t.Errorf("%s: nothing is merged", name)
			}
		case ref.Quantizer:
			if golden.Totals.Quantized == 0 {
				t.Errorf("%s: nothing is quantized", name)
			}
		default:
			if golden.Totals.KVsEvicted == 0 {
				t.Errorf("%s: nothing is evicted", name)
			}
		}
		if m.Name() != ref.KVCompress {
			seen = append(seen, cfg.DType.String(), fmt.Sprint("blocks of ", cfg.BlockSize))
		}
		seen = append(seen, fmt.Sprint(m.Name(), " ", string(cfg.Set["decode"]), string(cfg.Set["positions"])))
	}
	for _, e := range ref.Methods() {
		if e.Planned {
			continue // no engine runs it
		}
		want := 1
		if slices.Contains([]string{ref.KVCompress, "duo-attention", "flexgen", "kivi", "h2o-mask", "h2o-real-drop", "random", "razor", "streaming-llm"}, e.Name) {
			want = 10
		}
		if acts[synthetic][e.Name] < want || acts[recorded][e.Name] < want {
			t.Errorf("%s compresses %d times in synthetic traces and %d in recorded ones, want at least %d", e.Name, acts[synthetic][e.Name], acts[recorded][e.Name], want)
		}
	}
	for _, want := range []string{
		"f32", "f16", "bf16", "fp8_e4m3", "fp8_e5m2", "blocks of 1", "blocks of 2", "blocks of 4", "blocks of 8", "blocks of 16", "blocks of 32",
		"razor ", `razor "rolling"`, "streaming-llm ", `streaming-llm "cache"`,
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("no replay has %s", want)
		}
	}
}

// TestRecordStops checks that a cancelled replay ends with an error.
func TestRecordStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := open(t, "random-fp8")
	if _, err := Record(ctx, b.Name, b.Trace, b.Options, nil, nil); err == nil {
		t.Error("no error")
	}
	report, err := sim.Replay(ctx, b.Trace, b.Options, sim.Hooks{})
	if err == nil || report == nil {
		t.Errorf("report %v, error %v", report, err)
	}
}
