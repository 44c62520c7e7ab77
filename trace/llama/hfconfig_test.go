package llama

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/trace"
)

// minimal is a config.json with the required fields and more.
func minimal(t testing.TB, more string) []byte {
	t.Helper()
	config := map[string]any{}
	for _, text := range []string{`{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 2,
		"num_attention_heads": 4, "vocab_size": 300, "max_position_embeddings": 2048}`, more} {
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseConfig(t *testing.T) {
	llama31 := &trace.RopeScaling{Type: trace.Llama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPositions: 8192}
	for _, c := range []struct {
		name, more string
		want       func(m *hfModel)
	}{
		{"defaults", `{}`, func(m *hfModel) {}},
		{"mistral", `{"architectures": ["MistralForCausalLM"], "num_key_value_heads": 2, "head_dim": 32, "sliding_window": 1024, "rms_norm_eps": 1e-5, "attention_bias": true, "mlp_bias": true}`, func(m *hfModel) {
			m.Format, m.KVHeads, m.HeadSize, m.Rope.RotarySize, m.Windows, m.NormEps = "MistralForCausalLM", 2, 32, 32, []int{1024, 1024}, 1e-5
		}},
		{"mistral without a window's key", `{"architectures": ["MistralForCausalLM"], "num_key_value_heads": null, "use_sliding_window": false}`, func(m *hfModel) {
			m.Format, m.Windows = "MistralForCausalLM", []int{4096, 4096}
		}},
		{"mistral without a window", `{"architectures": ["MistralForCausalLM"], "num_attention_heads": 8, "sliding_window": null}`, func(m *hfModel) {
			m.Format, m.QueryHeads, m.KVHeads, m.HeadSize, m.Rope.RotarySize = "MistralForCausalLM", 8, 8, 8, 8
		}},
		{"llama knows no window", `{"sliding_window": 1024, "use_sliding_window": true, "max_window_layers": 0}`, func(m *hfModel) {}},
		{"qwen2", `{"architectures": ["Qwen2ForCausalLM"], "sliding_window": 1024, "use_sliding_window": false, "tie_word_embeddings": true, "rope_theta": 1000000.0, "num_key_value_heads": 4}`, func(m *hfModel) {
			m.Format, m.biasQKV, m.tied, m.Rope.Base, m.BOS, m.EOS = "Qwen2ForCausalLM", true, true, 1e6, -1, nil
		}},
		{"qwen2 with a window that it does not use, and biases it does not listen to", `{"architectures": ["Qwen2ForCausalLM"], "sliding_window": 1024, "attention_bias": true, "mlp_bias": true, "num_key_value_heads": 4}`, func(m *hfModel) {
			m.Format, m.biasQKV, m.BOS, m.EOS = "Qwen2ForCausalLM", true, -1, nil
		}},
		{"qwen2 with windows", `{"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": true, "max_window_layers": 1, "num_key_value_heads": 4}`, func(m *hfModel) {
			m.Format, m.biasQKV, m.Windows, m.BOS, m.EOS = "Qwen2ForCausalLM", true, []int{0, 4096}, -1, nil
		}},
		{"qwen3", `{"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": true, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "num_key_value_heads": 2}`, func(m *hfModel) {
			m.Format, m.qkNorm, m.Windows, m.KVHeads, m.HeadSize, m.Rope.RotarySize, m.BOS, m.EOS = "Qwen3ForCausalLM", true, []int{8, 0}, 2, 128, 128, -1, nil
		}},
		{"bias", `{"attention_bias": true, "mlp_bias": true}`, func(m *hfModel) { m.biasQKV, m.biasO, m.biasMLP = true, true, true }},
		{"tokens", `{"bos_token_id": 128000, "eos_token_id": [128001, 128009]}`, func(m *hfModel) { m.BOS, m.EOS = 128000, []int{128001, 128009} }},
		{"tokens that are none", `{"bos_token_id": null, "eos_token_id": null, "rope_scaling": null, "quantization_config": null, "head_dim": null}`, func(m *hfModel) { m.BOS, m.EOS = -1, nil }},
		{"llama 3.1", `{"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}`, func(m *hfModel) {
			m.Rope.Base, m.Rope.Scaling = 5e5, llama31
		}},
		{"llama 3.1, the new spelling", `{"rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}`, func(m *hfModel) {
			m.Rope.Base, m.Rope.Scaling = 5e5, llama31
		}},
		{"llama 3.1 without its positions", `{"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}`, func(m *hfModel) {
			s := *llama31
			s.OriginalPositions, m.Rope.Scaling = 2048, &s
		}},
		{"both spellings, of which the older counts", `{"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}`, func(m *hfModel) {
			m.Rope.Base, m.Rope.Scaling, m.MaxPositions = 100, &trace.RopeScaling{Type: trace.Linear, Factor: 2}, 4096
		}},
		{"both spellings, of which the older is empty", `{"rope_scaling": {}, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}`, func(m *hfModel) { m.Rope.Base = 5e5 }},
		{"dynamic", `{"rope_scaling": {"type": "dynamic", "factor": 2.5}}`, func(m *hfModel) {
			m.Dynamic, m.MaxPositions = &DynamicRope{Factor: 2.5, OriginalPositions: 2048}, 5120
		}},
		{"yarn", `{"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}}`, func(m *hfModel) {
			m.Rope.Scaling, m.MaxPositions = &trace.RopeScaling{Type: trace.YaRN, Factor: 4, OriginalPositions: 1024, BetaFast: 32, BetaSlow: 1, AttentionFactor: 0.1*math.Log(4) + 1}, 4096
		}},
		{"yarn, everything stated", `{"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16, "beta_slow": 2, "mscale": 1.5, "mscale_all_dim": 0.5, "truncate": false}}`, func(m *hfModel) {
			m.Rope.Scaling, m.MaxPositions = &trace.RopeScaling{
				Type: trace.YaRN, Factor: 4, OriginalPositions: 2048, BetaFast: 16, BetaSlow: 2, Untruncated: true,
				AttentionFactor: (0.15*math.Log(4) + 1) / (0.05*math.Log(4) + 1),
			}, 8192
		}},
		{"yarn, with positions beside it", `{"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}, "original_max_position_embeddings": 1024}`, func(m *hfModel) {
			m.Rope.Scaling, m.MaxPositions = &trace.RopeScaling{Type: trace.YaRN, Factor: 4, OriginalPositions: 1024, BetaFast: 32, BetaSlow: 1, AttentionFactor: 0.1*math.Log(4) + 1}, 4096
		}},
		{"yarn, whose base is not that of the newer spelling", `{"rope_scaling": {"type": "yarn", "factor": 4.0}, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}`, func(m *hfModel) {
			m.Rope.Scaling, m.MaxPositions = &trace.RopeScaling{Type: trace.YaRN, Factor: 4, OriginalPositions: 2048, BetaFast: 32, BetaSlow: 1, AttentionFactor: 0.1*math.Log(4) + 1}, 8192
		}},
		{"no architecture", `{"architectures": null, "model_type": "mistral", "num_key_value_heads": 4, "hidden_act": "swish"}`, func(m *hfModel) {
			m.Format, m.Windows = "MistralForCausalLM", []int{4096, 4096}
		}},
		{"the old name of the type", `{"rope_scaling": {"type": "default"}}`, func(m *hfModel) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseConfig(minimal(t, c.more))
			if err != nil {
				t.Fatal(err)
			}
			want := hfModel{Config: Config{
				Dim: 64, HiddenDim: 100, Layers: 2, QueryHeads: 4, KVHeads: 4, HeadSize: 16, Vocab: 300, MaxPositions: 2048,
				NormEps: 1e-6, Rope: trace.Rope{Base: 10000, RotarySize: 16, Pairing: trace.Half}, BOS: 1, EOS: []int{2}, Format: "LlamaForCausalLM",
			}}
			c.want(&want)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(hfModel{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseConfigErrors(t *testing.T) {
	for _, c := range []struct{ more, want string }{
		{`{"architectures": ["Gemma2ForCausalLM"]}`, `architectures: "Gemma2ForCausalLM" is not supported`},
		{`{"architectures": null}`, `architectures: missing, and model_type "" is not supported`},
		{`{"architectures": ["LlamaForCausalLM", "Qwen2ForCausalLM"]}`, `architectures: ["LlamaForCausalLM" "Qwen2ForCausalLM"] is not one`},
		{`{"rope_parameters": {"full_attention": {"rope_theta": 5}}}`, "rope_parameters: parameters for each type of layer"},
		{`{"hidden_size": 0}`, "hidden_size: 0"},
		{`{"hidden_size": 64.5}`, "hidden_size"},
		{`{"hidden_size": 65}`, "hidden_size: 65 is not a multiple of num_attention_heads"},
		{`{"num_attention_heads": -4}`, "num_attention_heads: -4"},
		{`{"num_key_value_heads": 3}`, "num_attention_heads: 4 is not a multiple of num_key_value_heads"},
		{`{"head_dim": 15}`, "head_dim: 15 is odd"},
		{`{"head_dim": 1000000000}`, "head_dim: 1000000000"},
		{`{"num_hidden_layers": 4294967296}`, "num_hidden_layers: 4294967296"},
		{`{"vocab_size": -1}`, "vocab_size: -1"},
		{`{"max_position_embeddings": 0}`, "max_position_embeddings: 0"},
		{`{"architectures": ["MistralForCausalLM"], "num_key_value_heads": 4, "sliding_window": 0}`, "sliding_window: 0"},
		{`{"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 4, "layer_types": ["sliding_attention", "full_attention"]}`, "layer_types: 0: sliding_attention without use_sliding_window"},
		{`{"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 4, "layer_types": ["full_attention", "linear_attention"]}`, `layer_types: 1: "linear_attention" is not supported`},
		{`{"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 4, "layer_types": ["full_attention"]}`, "layer_types: 1 for 2 layers"},
		{`{"rms_norm_eps": -1}`, "rms_norm_eps: -1"},
		{`{"hidden_act": "gelu"}`, `hidden_act: "gelu"`},
		{`{"quantization_config": {"bits": 4}}`, "quantization_config"},
		{`{"partial_rotary_factor": 0.5}`, "partial_rotary_factor: 0.5"},
		{`{"rope_theta": 0}`, "rope_theta: 0"},
		{`{"rope_scaling": {"rope_type": "longrope", "factor": 4}}`, `rope_scaling: rope_type: "longrope"`},
		{`{"rope_scaling": {"rope_type": "dynamic"}}`, "rope_scaling: factor: 0 is not"},
		{`{"rope_scaling": {"rope_type": "dynamic", "factor": 2}, "head_dim": 2}`, "rope_scaling: rope_type: dynamic needs heads of 4"},
		{`{"rope_scaling": {"rope_type": "linear", "factor": 0.5}}`, "rope_scaling: factor is 0.5"},
		{`{"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 0}}`, "rope_scaling: original_max_position_embeddings is 0"},
		{`{"rope_theta": 1, "rope_scaling": {"rope_type": "yarn", "factor": 4}}`, "scaling: base is 1"},
		{`{"rope_parameters": {"rope_type": "llama3", "factor": 0}}`, "rope_parameters: factor is 0"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 0.5}}`, "rope_scaling: factor is 0.5"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 8}}`, "rope_scaling: low_freq_factor is 0"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}}`, "rope_scaling: high_freq_factor is 4"},
		{`{"eos_token_id": "two"}`, "want a token id"},
	} {
		_, err := parseConfig(minimal(t, c.more))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.more, err, c.want)
		}
	}
}

func TestRotation(t *testing.T) {
	// One head with four elements: two pairs, one rotated by 90° and one not rotated.
	r := rotation{cos: []float32{0, 1}, sin: []float32{1, 0}}
	neighbours := []float32{1, 2, 3, 4}
	r.apply(neighbours, trace.Rope{RotarySize: 4, Pairing: trace.Interleaved})
	if diff := cmp.Diff([]float32{-2, 1, 3, 4}, neighbours); diff != "" {
		t.Errorf("pairs of neighbours (-want +got):\n%s", diff)
	}
	halves := []float32{1, 2, 3, 4}
	r.apply(halves, trace.Rope{RotarySize: 4, Pairing: trace.Half})
	if diff := cmp.Diff([]float32{-3, 2, 1, 4}, halves); diff != "" {
		t.Errorf("pairs half a head apart (-want +got):\n%s", diff)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(minimal(f, `{}`))
	f.Add(minimal(f, `{"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16}}`))
	f.Add(minimal(f, `{"architectures": ["Qwen3ForCausalLM"], "rope_scaling": {"type": "dynamic", "factor": 4}, "use_sliding_window": true, "max_window_layers": 1}`))
	f.Add(minimal(f, `{"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseConfig(data)
		if err != nil {
			return
		}
		if err := m.validate(hfField); err != nil {
			t.Fatalf("parseConfig took what validate refuses: %v", err)
		}
		for i, x := range m.RopeOf(m.MaxPositions).InverseFrequencies() {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				t.Fatalf("pair %d turns by %g", i, x)
			}
		}
	})
}
