package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/traces"
)

func TestOptionFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	options := write("options.json", `{"block_size": 2, "compression": {"rate": 0.25, "sinks": 3}}`)
	misspelt := write("misspelt.json", `{"blocksize": 2}`)
	bias := write("bias.json", `{"bins": [0], "bias": [[[1]]]}`)
	twice := write("twice.json", `{"bins": [0], "bins": [0]}`)

	withRate := sim.DefaultOptions()
	withRate.Compression.Rate = 0.5
	withTokens := sim.DefaultOptions()
	withTokens.Compression.MaxCacheTokens = 64
	withScales := sim.DefaultOptions()
	withScales.DType, withScales.KVScale = dtype.E4M3, &kv.Scale{K: []float32{0.5}, V: []float32{2}}
	even := sim.DefaultOptions()
	even.Compression.EvenLayers, even.Compression.ControlLayers = true, []int{1}

	for _, c := range []struct {
		args string
		from sim.Options
		want func(*sim.Options) // changes from
		err  string
	}{
		{args: "", from: withRate, want: func(*sim.Options) {}},
		{args: "--max-cache-tokens 128", from: withRate, want: func(o *sim.Options) {
			o.Compression.MaxCacheTokens, o.Compression.Rate = 128, 0
		}},
		{args: "--rate 0.1", from: withTokens, want: func(o *sim.Options) {
			o.Compression.MaxCacheTokens, o.Compression.Rate = 0, 0.1
		}},
		{args: "--no-compression", from: withTokens, want: func(o *sim.Options) { o.Compression.MaxCacheTokens = 0 }},
		{args: "--no-compression", from: withRate, want: func(o *sim.Options) { o.Compression.Rate = 0 }},
		{args: "--no-compression=false", from: withRate, want: func(*sim.Options) {}},
		{args: "--rate 0.1 --max-cache-tokens 5", err: "--rate and --max-cache-tokens exclude each other"},
		{args: "--no-compression --rate 0.1", err: "exclude each other"},
		{args: "--even-layers --uniform", err: "exclude each other"},

		{args: "--uniform", from: even, want: func(o *sim.Options) {
			o.Compression.Uniform, o.Compression.EvenLayers, o.Compression.ControlLayers = true, false, nil
		}},
		{args: "--even-layers --control-layers 0,3", from: withRate, want: func(o *sim.Options) {
			o.Compression.EvenLayers, o.Compression.ControlLayers = true, []int{0, 3}
		}},
		{args: "--control-layers 2", from: even, want: func(o *sim.Options) { o.Compression.ControlLayers = []int{2} }},

		{args: "--protected-window 8 --sinks 4 --random --seed 7 --compress-once --interval 3 --new-token-limit 9 --max-kv-per-compression 1000",
			from: withRate, want: func(o *sim.Options) {
				c := &o.Compression
				c.ProtectedWindow, c.Sinks, c.Random, c.Seed = 8, 4, true, 7
				o.Schedule = sim.Schedule{Once: true, Interval: 3, NewTokenLimit: 9, MaxKVPerCompression: 1000}
			}},
		{args: "--block-size 4 --blocks 77 --kv-dtype fp8_e5m2", from: withRate, want: func(o *sim.Options) {
			o.BlockSize, o.Blocks, o.DType = 4, 77, dtype.E5M2
		}},
		{args: "--kv-dtype half", from: withRate, want: func(o *sim.Options) { o.DType = dtype.F16 }},
		{args: "--kv-dtype f64", err: "want f32, f16, bf16, fp8_e4m3, fp8_e5m2"},
		{args: "--norm l1 --reduction avg --max-pool 0 --window 5 --buffer 2", from: withRate, want: func(o *sim.Options) {
			o.Metric = ref.Metric{Norm: ref.L1, Reduction: ref.Avg, MaxPool: 0, Window: 5, Buffer: 2}
		}},
		{args: "--prefill-metrics-only", from: withRate, want: func(o *sim.Options) { o.Metric.PrefillOnly = true }},
		{args: "--norm L3", err: "want L2, L1"},
		{args: "--reduction mean", err: "want sum, avg"},
		{args: "--max-num-seqs 3 --max-num-batched-tokens 100 --watermark 0.5 --step-time 2ms", from: withRate, want: func(o *sim.Options) {
			o.Limits = sim.Limits{MaxNumSeqs: 3, MaxNumBatchedTokens: 100, Watermark: 0.5}
			o.StepTimeNS = (2 * time.Millisecond).Nanoseconds()
		}},

		{args: "--options " + options + " --sinks 1", from: withTokens, want: func(o *sim.Options) {
			*o = sim.DefaultOptions()
			o.BlockSize, o.Compression.Rate, o.Compression.Sinks = 2, 0.25, 1
		}},
		{args: "--kv-dtype fp8_e4m3 --k-scale 0.02,0.5", from: withTokens, want: func(o *sim.Options) {
			o.DType, o.KVScale = dtype.E4M3, &kv.Scale{K: []float32{0.02, 0.5}, V: []float32{1}}
		}},
		{args: "--v-scale 3", from: withScales, want: func(o *sim.Options) {
			o.KVScale = &kv.Scale{K: withScales.KVScale.K, V: []float32{3}}
		}},
		{args: "--kv-dtype fp8_e5m2", from: withScales, want: func(o *sim.Options) { o.DType = dtype.E5M2 }},
		{args: "--kv-dtype bf16", from: withScales, want: func(o *sim.Options) { o.DType, o.KVScale = dtype.BF16, nil }},
		{args: "--k-scale a", err: "invalid argument"},
		{args: "--options " + misspelt, err: "blocksize"},
		{args: "--options " + filepath.Join(dir, "none.json"), err: "no such file"},
		{args: "--head-bias " + bias, from: withRate, want: func(o *sim.Options) {
			o.Compression.HeadBias, o.Compression.BiasWeight = &ref.HeadBias{Bins: []int32{0}, Bias: [][][]float32{{{1}}}}, 1
		}},
		{args: "--bias-weight 0.5 --head-bias " + bias, from: withRate, want: func(o *sim.Options) {
			o.Compression.HeadBias, o.Compression.BiasWeight = &ref.HeadBias{Bins: []int32{0}, Bias: [][][]float32{{{1}}}}, 0.5
		}},
		{args: "--head-bias " + twice, err: "bins"},
		{args: "--head-bias " + filepath.Join(dir, "none.json"), err: "no such file"},
	} {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		fs.SetOutput(io.Discard)
		override := addOptionFlags(fs)
		got := c.from
		err := fs.Parse(strings.Fields(c.args))
		if err == nil {
			if err = override(&got); err != nil && exitCode(t.Context(), err) != exitUsage {
				t.Errorf("%s: exit code %d for %v, want %d", c.args, exitCode(t.Context(), err), err, exitUsage)
			}
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got error %v, want one with %q", c.args, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		want := c.from
		c.want(&want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
}

// runArgs runs `kvc run` and returns its exit code and what it printed.
func runArgs(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = runContext(ctx, append([]string{"run"}, args...), &out, &errs, &parsed)
	return code, out.String(), errs.String()
}

// smallTrace writes a synthetic trace of three requests, one of them too long
// for a cache of 60 blocks.
func smallTrace(t *testing.T) string {
	t.Helper()
	layers, err := trace.ParseLayers("sink,uniform/local:8,retrieval")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "small")
	w, err := trace.Create(dir, trace.Meta{
		Shape:  kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 16},
		Source: trace.Source{Kind: trace.Synthetic},
		Synth:  &trace.Recipe{Seed: 1, Layers: layers},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []trace.Request{
		{ID: "a", PromptTokens: 20, OutputTokens: 12},
		{ID: "b", ArrivalNS: 30e6, PromptTokens: 200, OutputTokens: 3},
		{ID: "c", ArrivalNS: 40e6, PromptTokens: 12, OutputTokens: 8},
	} {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRun(t *testing.T) {
	dir := smallTrace(t)
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stdout []string // in this order
		stderr []string
	}{
		{
			name: "refused", args: []string{dir, "--block-size", "4", "--blocks", "60", "--rate", "0.5", "--protected-window", "4"},
			stdout: []string{
				"small: 3 requests, 2 layers × 2 KV heads, block size 4, f16", "Compression to 50 %", "the newest 4 tokens stay",
				"Memory ledger", "admitted a", "finished a", "Requests", "refused", "Refused b: a prompt of 200 tokens needs 204 blocks",
				"Kept", "Summary", "Of 3 requests, 2 finished and 1 could not be served", "were evicted",
			},
		},
		{name: "hint", args: []string{dir}, stdout: []string{"No compression was asked for."}, stderr: []string{"--rate 0.5"}},
		{name: "by head", args: []string{dir, "--rate", "0.5", "--by-head", "--steps", "2"},
			stdout: []string{"steps more (--steps all shows them)", "By layer and head", "blocks", "at peak"}},
		{name: "all steps", args: []string{dir, "--no-compression", "--steps", "all"}, stdout: []string{"\n   0 ", "\n   7 "}},
		{name: "default trace", stdout: []string{"six-stories: 6 requests"}},

		{name: "no trace", args: []string{"no-such-trace"}, code: exitUsage, stderr: []string{"no-such-trace"}},
		{name: "two traces", args: []string{dir, dir}, code: exitUsage},
		{name: "bad value", args: []string{dir, "--rate", "2"}, code: exitUsage, stderr: []string{"--rate 2: want a fraction in (0, 1]"}},
		{name: "bad block size", args: []string{dir, "--block-size", "3"}, code: exitUsage, stderr: []string{"block_size 3"}},
		{name: "both", args: []string{dir, "--rate", "0.5", "--max-cache-tokens", "9"}, code: exitUsage, stderr: []string{"exclude each other"}},
		{name: "bad plot", args: []string{dir, "--plot", "kept.gif"}, code: exitUsage, stderr: []string{".png or a .svg"}},
		{name: "profile of nothing", args: []string{dir, "--no-compression", "--profile", filepath.Join(t.TempDir(), "heads.json")}, code: exitUsage, stderr: []string{"nothing was compressed"}},
		{name: "bad steps", args: []string{dir, "--steps", "0"}, code: exitUsage, stderr: []string{"at least 1, or all"}},
		{name: "unknown flag", args: []string{"--ratio", "0.5"}, code: exitUsage, stderr: []string{"unknown flag: --ratio"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := runArgs(t.Context(), c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d; standard error:\n%s", code, c.code, stderr)
			}
			for _, want := range c.stdout {
				_, after, ok := strings.Cut(stdout, want)
				if !ok {
					t.Fatalf("standard output lacks %q after what came before it:\n%s", want, stdout)
				}
				stdout = after
			}
			for _, want := range c.stderr {
				if !strings.Contains(stderr, want) {
					t.Errorf("standard error lacks %q:\n%s", want, stderr)
				}
			}
			if c.code == 0 && c.stderr == nil && stderr != "" {
				t.Errorf("standard error is not empty:\n%s", stderr)
			}
		})
	}
}

func TestRunProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "heads.json")
	code, _, stderr := runArgs(t.Context(), smallTrace(t), "--max-cache-tokens", "16", "--protected-window", "4", "--profile", file)
	if code != 0 || !strings.Contains(stderr, file) {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	profile, err := sim.ReadHeadProfile(f)
	if err != nil || profile.Trace != "small" || len(profile.Points) == 0 {
		t.Errorf("%v: %+v", err, profile)
	}
}

func TestRunJSONAndPlot(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "kept.svg")
	code, stdout, stderr := runArgs(t.Context(), smallTrace(t), "--max-cache-tokens", "16", "--protected-window", "4", "--json", "--plot", plot)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var got struct {
		Trace   string
		Partial bool
		Totals  struct {
			Evicted  int `json:"kvs_evicted"`
			Finished int `json:"requests_finished"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Trace != "small" || got.Partial || got.Totals.Evicted == 0 || got.Totals.Finished != 3 {
		t.Errorf("got %+v", got)
	}
	if info, err := os.Stat(plot); err != nil || info.Size() == 0 {
		t.Errorf("the picture: %v", err)
	}
	if !strings.Contains(stderr, plot) {
		t.Errorf("standard error does not say where the picture is: %s", stderr)
	}
}

// TestRunPlotKept draws the KVs that heads keep. docs/images/kept has this plot for every method;
// it must equal the command's.
func TestRunPlotKept(t *testing.T) {
	if testing.Short() {
		t.Skip("it replays a trace with every method")
	}
	replays, err := traces.Expand("recall/...")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, replay := range replays {
		name := strings.TrimPrefix(replay, "recall/")
		if replay == "recall" {
			name = ref.KVCompress
		}
		plot := filepath.Join(dir, name+".svg")
		if code, _, stderr := kvc("run", replay, "--plot-kept", plot); code != 0 || !strings.Contains(stderr, plot) {
			t.Fatalf("%s: exit code %d: %s", replay, code, stderr)
		}
		sameImage(t, filepath.Join("../../docs/images/kept", name+".svg"), plot)
	}
	if code, _, stderr := kvc("run", "recall", "--plot-kept", "kept.gif"); code != exitUsage || !strings.Contains(stderr, "--plot-kept") {
		t.Errorf("a .gif: exit code %d: %s", code, stderr)
	}
}

// A replay that is stopped prints its results so far, marked partial.
func TestRunStopped(t *testing.T) {
	dir := smallTrace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, stdout, _ := runArgs(ctx, dir, "--rate", "0.5")
	if code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	for _, want := range []string{"PARTIAL", "unfinished"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("standard output lacks %q:\n%s", want, stdout)
		}
	}
}

func TestRunHelp(t *testing.T) {
	code, stdout, _ := runArgs(t.Context(), "--help")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"Examples:\n  kvc run\n", "six-stories", "--max-cache-tokens", "--steps N|all", "(default 10ms)", "--plot file"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the help lacks %q:\n%s", want, stdout)
		}
	}
}

func TestRunCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", ""}, "six-stories"},
		{[]string{"run", "--kv-dtype", ""}, "fp8_e4m3"},
		{[]string{"run", "--norm", ""}, "L1"},
		{[]string{"run", "--reduction", ""}, "avg"},
		{[]string{"run", "--block-size", ""}, "32"},
		{[]string{"run", "--steps", ""}, "all"},
	} {
		var out bytes.Buffer
		if code := run(append([]string{"__complete"}, c.args...), &out, io.Discard); code != exitDone {
			t.Fatal(code)
		}
		if !strings.Contains(out.String(), c.want+"\n") {
			t.Errorf("%q: no %q in\n%s", c.args, c.want, out.String())
		}
	}
}
