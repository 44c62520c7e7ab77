package sim

import (
	"math"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

func TestReadOptions(t *testing.T) {
	o, err := ReadOptions(strings.NewReader(`{"block_size": 8, "kv_dtype": "bf16", "compression": {"rate": 0.5}, "limits": {"max_num_seqs": 3}}`))
	if err != nil {
		t.Fatal(err)
	}
	d := DefaultOptions()
	if o.BlockSize != 8 || o.DType != dtype.BF16 || o.Compression.Rate != 0.5 || o.Limits.MaxNumSeqs != 3 {
		t.Errorf("what is given is not read: %+v", o)
	}
	if o.Metric != d.Metric || o.Limits.Watermark != d.Limits.Watermark || o.Compression.ProtectedWindow != d.Compression.ProtectedWindow {
		t.Errorf("what is not given is not the default: %+v", o)
	}
	for in, want := range map[string]string{
		``:                        "empty",
		`{"rats": 1}`:             "rats",
		`{"kv_dtype": "int4"}`:    "int4",
		`{} {}`:                   "after",
		`{}]`:                     "after",
		`null`:                    "object",
		`{"Block_Size": 8}`:       "Block_Size",
		`{"blocks":1,"blocks":2}`: "twice",
		`{"block_size": "8"}`:     "block_size",
		`{"block_size": 1e300}`:   "block_size",
	} {
		if _, err := ReadOptions(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", in, err, want)
		}
	}
}

func TestFill(t *testing.T) {
	shape := kv.Shape{Layers: 2, KVHeads: 3, Group: 1, HeadSize: 64}
	o := DefaultOptions()
	o.Fill(trace.Meta{Shape: shape}, requests([3]int{0, 16, 2}, [3]int{0, 15, 2})) // 17 and 16 tokens are cached: 2 and 1 blocks
	if want := int(math.Ceil(6*3/0.99)) + 1; o.Blocks != want || o.Shape != shape {
		t.Errorf("%d blocks, want %d", o.Blocks, want)
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	o = DefaultOptions()
	o.Fill(trace.Meta{Shape: shape}, requests([3]int{0, 1 << 24, 1 << 24}, [3]int{0, 1 << 24, 1 << 24}))
	if bytes := o.Blocks * o.BlockBytes(); bytes > DefaultCacheBytes || bytes < DefaultCacheBytes/2 {
		t.Errorf("a cache of %d bytes", bytes)
	}
}

// TestFillThenValidate checks that absurd options are an error, not a panic.
func TestFillThenValidate(t *testing.T) {
	for in, want := range map[string]string{
		`{"block_size": 461168601842738790}`:    "block_size",
		`{"block_size": 0}`:                     "block_size",
		`{"limits": {"watermark": 1}}`:          "watermark",
		`{"step_time_ns": 9223372036854775807}`: "step_time_ns",
		`{"blocks": 429496729}`:                 "blocks",
		`{"compression": {"even_layers": true, "control_layers": [` + strings.Repeat("-1,", 1000) + `-1]}}`: "control_layers",
	} {
		o, err := ReadOptions(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		o.Fill(trace.Meta{Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}}, requests([3]int{0, 5, 3}))
		err = o.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.80s: %.500v, want a short error with %q", in, err, want)
		}
	}
}

func FuzzReadOptions(f *testing.F) {
	f.Add([]byte(`{"block_size": 461168601842738790}`))
	f.Add([]byte(`{"kv_dtype": "fp8_e4m3", "kv_scale": {"k": [0.02, 1e-3], "v": [1]}, "metric": {"prefill_only": true}}`))
	f.Add([]byte(`{"block_size": 8, "compression": {"rate": 0.5, "head_bias": {"bins": [0], "bias": [[[1]]]}, "bias_weight": 2}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		o, err := ReadOptions(strings.NewReader(string(in)))
		if err != nil {
			return
		}
		o.Fill(trace.Meta{Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}}, requests([3]int{0, 5, 3}))
		if o.Validate() == nil && o.Blocks*o.BlockBytes() > 1<<34 {
			t.Errorf("a cache of %d bytes is valid", o.Blocks*o.BlockBytes())
		}
	})
}

// TestBlocksNobodyUses checks that a small file cannot make an engine allocate more blocks than
// the trace's requests can use.
func TestBlocksNobodyUses(t *testing.T) {
	tr, err := trace.New(trace.Meta{FormatVersion: trace.FormatVersion,
		Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, DType: dtype.F16,
		Source: trace.Source{Kind: trace.Synthetic}, Synth: &trace.Recipe{Layers: [][]trace.Head{{{Sink: true}}}},
	}, []trace.Request{{ID: "a", PromptTokens: 8, OutputTokens: 2}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		blocks int
		want   string
	}{{0, ""}, {9, ""}, {1 << 16, ""}, {kv.MaxBlocks, "these requests use at most 11 blocks"}} {
		o := DefaultOptions()
		o.BlockSize, o.Blocks = 1, c.blocks
		_, err := Replay(t.Context(), tr, o, Hooks{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d blocks: %v, want %q", c.blocks, err, c.want)
		}
	}
}
