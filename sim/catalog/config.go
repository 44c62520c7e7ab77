package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kvcompress/kv"
	"kvcompress/strictjson"
)

// families are the model_type values whose layers are those of [Model].
func families() []string {
	return []string{"llama", "mistral", "qwen2", "qwen3"}
}

// ParseConfig reads a Hugging Face config.json of a dense decoder of the Llama
// family. Entries that do not matter here are passed over. A model of another kind
// (a mixture of experts, latent attention) is refused: its size and time follow
// other rules.
func ParseConfig(text []byte) (Model, error) {
	var c struct {
		ModelType    string `json:"model_type"`
		Layers       int    `json:"num_hidden_layers"`
		Heads        int    `json:"num_attention_heads"`
		KVHeads      int    `json:"num_key_value_heads"`
		HeadDim      int    `json:"head_dim"`
		Hidden       int    `json:"hidden_size"`
		Intermediate int    `json:"intermediate_size"`
		Vocab        int    `json:"vocab_size"`
		MaxLen       int    `json:"max_position_embeddings"`
		Tied         bool   `json:"tie_word_embeddings"`
		Bias         bool   `json:"attention_bias"`
		DType        string `json:"torch_dtype"`
		Quantization *struct {
			Method string `json:"quant_method"`
			Bits   int    `json:"bits"`
		} `json:"quantization_config"`
	}
	// Names twice, and what follows the object, are errors; unknown ones are not.
	if err := strictjson.Object(text, func(string, []byte) error { return nil }); err != nil {
		return Model{}, fmt.Errorf("config.json: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return Model{}, fmt.Errorf("config.json: %w", err)
	}
	if !slices.Contains(families(), c.ModelType) {
		return Model{}, fmt.Errorf("config.json: model_type is %.40q, want one of %s", c.ModelType, strings.Join(families(), ", "))
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads // before grouped-query attention, the entry did not exist
	}
	if c.Heads < 1 || c.KVHeads < 1 || c.Heads%c.KVHeads != 0 {
		return Model{}, fmt.Errorf("config.json: num_attention_heads %d is not a multiple of num_key_value_heads %d", c.Heads, c.KVHeads)
	}
	if c.HeadDim == 0 {
		if c.Hidden%c.Heads != 0 {
			return Model{}, fmt.Errorf("config.json: hidden_size %d is not a multiple of num_attention_heads %d, and there is no head_dim", c.Hidden, c.Heads)
		}
		c.HeadDim = c.Hidden / c.Heads
	}
	m := Model{
		Shape:  kv.Shape{Layers: c.Layers, KVHeads: c.KVHeads, Group: c.Heads / c.KVHeads, HeadSize: c.HeadDim},
		Hidden: c.Hidden, Intermediate: c.Intermediate, Vocab: c.Vocab, Tied: c.Tied,
		QKVBias: c.Bias || c.ModelType == "qwen2", MaxLen: c.MaxLen, Weights: BF16,
	}
	switch c.DType {
	case "", "bfloat16", "float32": // a server casts float32
	case "float16":
		m.Weights = F16
	default:
		return Model{}, fmt.Errorf("config.json: torch_dtype is %.40q, want bfloat16, float16 or float32", c.DType)
	}
	if q := c.Quantization; q != nil {
		switch {
		case q.Method == "fp8" || q.Method == "fbgemm_fp8":
			m.Weights = FP8
		case (q.Method == "awq" || q.Method == "gptq") && q.Bits == 4:
			m.Weights = INT4
		case q.Method == "gptq" && q.Bits == 8:
			m.Weights = INT8
		default:
			return Model{}, fmt.Errorf("config.json: quantization_config has quant_method %.40q with %d bits, want fp8, or awq or gptq with 4 bits: or take the entry out and say --weights", q.Method, q.Bits)
		}
	}
	if err := m.Validate(); err != nil {
		return Model{}, fmt.Errorf("config.json: %w", err)
	}
	return m, nil
}
