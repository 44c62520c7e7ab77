package llama

import (
	"encoding/json"
	"fmt"
	"slices"

	"kvcompress/strictjson"
	"kvcompress/trace"
)

// hfConfig is the part of a Hugging Face config.json that decides what a Llama
// model computes.
type hfConfig struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`

	HiddenSize        int      `json:"hidden_size"`
	IntermediateSize  int      `json:"intermediate_size"`
	HiddenLayers      int      `json:"num_hidden_layers"`
	AttentionHeads    int      `json:"num_attention_heads"`
	KeyValueHeads     *int     `json:"num_key_value_heads"` // as many as there are heads, if missing
	HeadDim           *int     `json:"head_dim"`            // hidden_size / num_attention_heads, if missing
	VocabSize         int      `json:"vocab_size"`
	MaxPositions      int      `json:"max_position_embeddings"`
	RMSNormEps        *float64 `json:"rms_norm_eps"`
	HiddenAct         string   `json:"hidden_act"`
	TieWordEmbeddings bool     `json:"tie_word_embeddings"`
	AttentionBias     bool     `json:"attention_bias"`
	MLPBias           bool     `json:"mlp_bias"`

	SlidingWindow    *int  `json:"sliding_window"`
	UseSlidingWindow *bool `json:"use_sliding_window"`

	RopeTheta      *float64        `json:"rope_theta"`
	RopeScaling    *hfRope         `json:"rope_scaling"`    // the older spelling
	RopeParameters *hfRope         `json:"rope_parameters"` // the newer one
	Quantization   json.RawMessage `json:"quantization_config"`
	PartialRotary  *float64        `json:"partial_rotary_factor"`

	BOS tokenIDs `json:"bos_token_id"`
	EOS tokenIDs `json:"eos_token_id"`
}

type hfRope struct {
	RopeType       string   `json:"rope_type"`
	Type           string   `json:"type"` // what rope_type was called before
	RopeTheta      *float64 `json:"rope_theta"`
	Factor         float64  `json:"factor"`
	LowFreqFactor  float64  `json:"low_freq_factor"`
	HighFreqFactor float64  `json:"high_freq_factor"`
	Original       int      `json:"original_max_position_embeddings"`
	PartialRotary  *float64 `json:"partial_rotary_factor"`
}

// tokenIDs is a token id, a list of them, or null.
type tokenIDs []int

// UnmarshalJSON implements json.Unmarshaler.
func (t *tokenIDs) UnmarshalJSON(data []byte) error {
	var list []int
	if err := json.Unmarshal(data, &list); err == nil {
		*t = list
		return nil
	}
	var id int
	if err := json.Unmarshal(data, &id); err != nil {
		return fmt.Errorf("want a token id, which is an integer, or a list of them, got %s", strictjson.Excerpt(data))
	}
	*t = []int{id}
	return nil
}

// hfArchitectures are the architectures that compute what this package does.
// The value says whether their q, k and v projections always have a bias.
func hfArchitectures() map[string]bool {
	return map[string]bool{"LlamaForCausalLM": false, "MistralForCausalLM": false, "Qwen2ForCausalLM": true}
}

// hfField gives config.json's names for the fields of a Config.
func hfField(field string) string {
	names := map[string]string{
		"Dim": "hidden_size", "HiddenDim": "intermediate_size", "Layers": "num_hidden_layers",
		"QueryHeads": "num_attention_heads", "KVHeads": "num_key_value_heads", "HeadSize": "head_dim",
		"Vocab": "vocab_size", "MaxPositions": "max_position_embeddings", "NormEps": "rms_norm_eps",
	}
	return names[field]
}

// hfModel is what config.json says: the Config, and which weights there are.
type hfModel struct {
	Config
	tied    bool // the output layer is the embedding
	biasQKV bool
	biasO   bool
}

// parseConfig reads a config.json.
func parseConfig(data []byte) (hfModel, error) {
	var f hfConfig
	if err := strictjson.Known(data, &f); err != nil {
		return hfModel{}, err
	}
	if err := f.supported(); err != nil {
		return hfModel{}, err
	}
	cfg := Config{
		Dim:          f.HiddenSize,
		HiddenDim:    f.IntermediateSize,
		Layers:       f.HiddenLayers,
		QueryHeads:   f.AttentionHeads,
		KVHeads:      f.AttentionHeads,
		HeadSize:     2,
		Vocab:        f.VocabSize,
		MaxPositions: f.MaxPositions,
		NormEps:      1e-6,
		BOS:          -1,
		Format:       f.Architectures[0],
	}
	if f.KeyValueHeads != nil {
		cfg.KVHeads = *f.KeyValueHeads
	}
	switch {
	case f.HeadDim != nil:
		cfg.HeadSize = *f.HeadDim
	case f.AttentionHeads > 0:
		if f.HiddenSize%f.AttentionHeads != 0 {
			return hfModel{}, fmt.Errorf("hidden_size: %d is not a multiple of num_attention_heads, which is %d, and there is no head_dim",
				f.HiddenSize, f.AttentionHeads)
		}
		cfg.HeadSize = f.HiddenSize / f.AttentionHeads
	}
	if f.RMSNormEps != nil {
		cfg.NormEps = float32(*f.RMSNormEps)
	}
	// Attention is dense here, which is the same as a window for as long as the
	// sequence fits into it.
	if f.SlidingWindow != nil && (f.UseSlidingWindow == nil || *f.UseSlidingWindow) {
		cfg.MaxPositions = min(cfg.MaxPositions, *f.SlidingWindow)
	}
	if len(f.BOS) > 0 {
		cfg.BOS = f.BOS[0]
	}
	cfg.EOS = f.EOS
	var err error
	if cfg.Rope, err = f.rope(cfg.HeadSize); err != nil {
		return hfModel{}, err
	}
	if err := cfg.validate(hfField); err != nil {
		return hfModel{}, err
	}
	always := hfArchitectures()[cfg.Format]
	return hfModel{
		Config:  cfg,
		tied:    f.TieWordEmbeddings,
		biasQKV: f.AttentionBias || always,
		biasO:   f.AttentionBias,
	}, nil
}

// supported refuses models that this package would silently compute wrong.
func (f *hfConfig) supported() error {
	known := hfArchitectures()
	if len(f.Architectures) != 1 {
		return fmt.Errorf("architectures: %q is not one architecture", f.Architectures)
	}
	if _, ok := known[f.Architectures[0]]; !ok {
		var names []string
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("architectures: %q is not supported, only %q", f.Architectures[0], names)
	}
	switch {
	case f.HiddenAct != "silu" && f.HiddenAct != "":
		return fmt.Errorf("hidden_act: %q is not supported, only silu", f.HiddenAct)
	case f.MLPBias:
		return fmt.Errorf("mlp_bias: not supported")
	case len(f.Quantization) > 0 && string(f.Quantization) != "null":
		return fmt.Errorf("quantization_config: quantized models are not supported")
	case f.PartialRotary != nil && *f.PartialRotary != 1:
		return fmt.Errorf("partial_rotary_factor: %g is not supported, only 1", *f.PartialRotary)
	}
	return nil
}

// rope reads the rotary embedding, which newer files have all in rope_parameters.
func (f *hfConfig) rope(headSize int) (trace.Rope, error) {
	r := trace.Rope{Base: 10000, RotarySize: headSize, Pairing: trace.Half}
	if f.RopeTheta != nil {
		r.Base = *f.RopeTheta
	}
	field, p := "rope_scaling", f.RopeScaling
	if f.RopeParameters != nil {
		field, p = "rope_parameters", f.RopeParameters
	}
	if p != nil {
		if err := p.read(&r); err != nil {
			return r, fmt.Errorf("%s: %w", field, err)
		}
	}
	if !(r.Base >= trace.MinRopeBase && r.Base < trace.MaxRopeBase) {
		return r, fmt.Errorf("rope_theta: %g is not a number from %d to %g", r.Base, trace.MinRopeBase, trace.MaxRopeBase)
	}
	return r, nil
}

func (p *hfRope) read(r *trace.Rope) error {
	if p.RopeTheta != nil {
		r.Base = *p.RopeTheta
	}
	if p.PartialRotary != nil && *p.PartialRotary != 1 {
		return fmt.Errorf("partial_rotary_factor: %g is not supported, only 1", *p.PartialRotary)
	}
	kind := p.RopeType
	if kind == "" {
		kind = p.Type
	}
	switch kind {
	case "", "default":
		return nil
	case trace.Llama3:
		r.Scaling = &trace.RopeScaling{
			Type:              kind,
			Factor:            p.Factor,
			LowFreqFactor:     p.LowFreqFactor,
			HighFreqFactor:    p.HighFreqFactor,
			OriginalPositions: p.Original,
		}
		return r.Scaling.Check()
	}
	return fmt.Errorf("rope_type: %q is not supported, only default and llama3", kind)
}
