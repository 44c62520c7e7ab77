package llama

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/trace"
)

// minimal is a config.json with what cannot be left out, and more.
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
		{"mistral", `{"architectures": ["MistralForCausalLM"], "num_key_value_heads": 2, "head_dim": 32, "sliding_window": 1024, "rms_norm_eps": 1e-5}`, func(m *hfModel) {
			m.Format, m.KVHeads, m.HeadSize, m.Rope.RotarySize, m.MaxPositions, m.NormEps = "MistralForCausalLM", 2, 32, 32, 1024, 1e-5
		}},
		{"qwen2", `{"architectures": ["Qwen2ForCausalLM"], "sliding_window": 1024, "use_sliding_window": false, "tie_word_embeddings": true, "rope_theta": 1000000.0}`, func(m *hfModel) {
			m.Format, m.biasQKV, m.tied, m.Rope.Base = "Qwen2ForCausalLM", true, true, 1e6
		}},
		{"bias", `{"attention_bias": true}`, func(m *hfModel) { m.biasQKV, m.biasO = true, true }},
		{"tokens", `{"bos_token_id": 128000, "eos_token_id": [128001, 128009]}`, func(m *hfModel) { m.BOS, m.EOS = 128000, []int{128001, 128009} }},
		{"tokens that are none", `{"bos_token_id": null, "eos_token_id": null, "rope_scaling": null, "quantization_config": null, "head_dim": null}`, func(m *hfModel) {}},
		{"llama 3.1", `{"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}`, func(m *hfModel) {
			m.Rope.Base, m.Rope.Scaling = 5e5, llama31
		}},
		{"llama 3.1, the new spelling", `{"rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}`, func(m *hfModel) {
			m.Rope.Base, m.Rope.Scaling = 5e5, llama31
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
				NormEps: 1e-6, Rope: trace.Rope{Base: 10000, RotarySize: 16, Pairing: trace.Half}, BOS: -1, Format: "LlamaForCausalLM",
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
		{`{"architectures": null}`, "architectures: [] is not one"},
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
		{`{"sliding_window": 0}`, "max_position_embeddings: 0"},
		{`{"rms_norm_eps": -1}`, "rms_norm_eps: -1"},
		{`{"hidden_act": "gelu"}`, `hidden_act: "gelu"`},
		{`{"mlp_bias": true}`, "mlp_bias"},
		{`{"quantization_config": {"bits": 4}}`, "quantization_config"},
		{`{"partial_rotary_factor": 0.5}`, "partial_rotary_factor: 0.5"},
		{`{"rope_theta": 0}`, "rope_theta: 0"},
		{`{"rope_scaling": {"rope_type": "yarn", "factor": 4}}`, `rope_scaling: rope_type: "yarn"`},
		{`{"rope_parameters": {"rope_type": "llama3", "factor": 0}}`, "rope_parameters: factor is 0"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 0.5}}`, "rope_scaling: factor is 0.5"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 8}}`, "rope_scaling: low_freq_factor is 0"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}}`, "rope_scaling: high_freq_factor is 4"},
		{`{"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}}`, "original_max_position_embeddings is 0"},
		{`{"eos_token_id": "two"}`, "want a token id"},
	} {
		_, err := parseConfig(minimal(t, c.more))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.more, err, c.want)
		}
	}
}

func TestRotation(t *testing.T) {
	// One head of four elements, two pairs, turned by a quarter and by nothing.
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
	f.Add(minimal(f, `{"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseConfig(data)
		if err != nil {
			return
		}
		if err := m.validate(hfField); err != nil {
			t.Fatalf("parseConfig took what validate refuses: %v", err)
		}
		for i, x := range m.Rope.InverseFrequencies() {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				t.Fatalf("pair %d turns by %g", i, x)
			}
		}
	})
}
