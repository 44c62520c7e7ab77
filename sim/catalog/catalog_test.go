package catalog

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestParams compares the sizes with those that the models are published with, in
// billions.
func TestParams(t *testing.T) {
	for name, want := range map[string]float64{
		"llama-3.1-8b": 8.03, "llama-3.1-70b": 70.55, "llama-2-7b": 6.74, "llama-2-13b": 13.02, "llama-2-70b": 68.98,
		"mistral-7b": 7.24, "qwen2.5-0.5b": 0.494, "qwen2.5-1.5b": 1.54, "qwen2.5-3b": 3.09, "qwen2.5-7b": 7.62, "qwen2.5-14b": 14.77,
		"qwen2.5-32b": 32.76, "qwen2.5-72b": 72.71, "qwen3-0.6b": 0.596, "qwen3-1.7b": 1.72, "qwen3-4b": 4.02, "qwen3-8b": 8.19,
		"qwen3-14b": 14.77, "qwen3-32b": 32.76,
	} {
		m, err := FindModel(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := float64(m.Params()) / 1e9; math.Abs(got/want-1) > 0.003 {
			t.Errorf("%s: %.3f billion parameters, want %v", name, got, want)
		}
	}
}

func TestCatalogIsSound(t *testing.T) {
	names := map[string]bool{}
	once := func(name string) {
		if names[key(name)] {
			t.Errorf("%s names two things", name)
		}
		names[key(name)] = true
	}
	for _, m := range Models() {
		if err := m.Validate(); err != nil || m.Source == "" || !m.Weights.Valid() {
			t.Errorf("%s: %v, source %q, weights %q", m.Name, err, m.Source, m.Weights)
		}
		once(m.Name)
		for _, a := range m.Aliases {
			if key(a) != key(m.Name) {
				once(a)
			}
		}
	}
	for _, c := range Cards() {
		if err := c.Validate(); err != nil || c.Source == "" {
			t.Errorf("%s: %v, source %q", c.Name, err, c.Source)
		}
		once(c.Name)
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{
		"Llama-3.1-8B-Instruct": "llama-3.1-8b", "Llama-3.1-70B-Instruct-FP8": "llama-3.1-70b-fp8", "qwen 2.5 7B": "qwen2.5-7b",
	} {
		if m, err := FindModel(name); err != nil || m.Name != want {
			t.Errorf("%s: %q, %v", name, m.Name, err)
		}
	}
	for name, want := range map[string]string{"NVIDIA L4": "l4", "NVIDIA H100 80GB": "h100", "RTX 4090": "rtx-4090"} {
		if c, err := FindCard(name); err != nil || c.Name != want {
			t.Errorf("%s: %q, %v", name, c.Name, err)
		}
	}
	if _, err := FindModel("gpt-5"); err == nil || !strings.Contains(err.Error(), "llama-3.1-8b") {
		t.Errorf("an unknown model: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "card.json")
	if err := os.WriteFile(path, []byte(`{"name":"x","memory_bytes":17179869184,"bytes_per_second":5e11,"flops_16bit":1e14}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if c, err := FindCard(path); err != nil || c.Name != "x" || c.Memory != 16<<30 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := FindCard(dir); err == nil {
		t.Error("a folder is a card")
	}
}

const llama = `{"model_type":"llama","num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":4,"hidden_size":64,
	"intermediate_size":172,"vocab_size":512,"max_position_embeddings":512,"torch_dtype":"float16","rope_theta":1e4}`

func TestParseConfig(t *testing.T) {
	m, err := ParseConfig([]byte(llama))
	if err != nil || m.Shape.Group != 2 || m.Shape.HeadSize != 8 || m.Weights != F16 {
		t.Errorf("%+v, %v", m, err)
	}
	for in, want := range map[string]string{
		`{`:                        "config.json",
		`[]`:                       "config.json",
		`{"model_type":"mixtral"}`: "mixtral",
		`{"model_type":"llama"}`:   "num_attention_heads",
		strings.Replace(llama, `"hidden_size":64`, `"hidden_size":65`, 1):                                      "head_dim",
		strings.Replace(llama, `"num_hidden_layers":2`, `"num_hidden_layers":-2`, 1):                           "num_hidden_layers",
		strings.Replace(llama, `"vocab_size":512`, `"vocab_size":1e30`, 1):                                     "vocab_size",
		strings.Replace(llama, `"torch_dtype":"float16"`, `"torch_dtype":"float8"`, 1):                         "float8",
		strings.Replace(llama, `"rope_theta":1e4`, `"quantization_config":{"quant_method":"awq","bits":3}`, 1): "awq",
	} {
		if _, err := ParseConfig([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", in, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(llama))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := ParseConfig(in)
		if err == nil && (m.Params() <= 0 || m.Bytes(m.Weights) <= 0) {
			t.Errorf("%+v: %d parameters, %d bytes", m, m.Params(), m.Bytes(m.Weights))
		}
	})
}
