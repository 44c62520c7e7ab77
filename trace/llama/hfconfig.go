package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

	"kvcompress/kv"
	"kvcompress/strictjson"
	"kvcompress/trace"
)

// hfConfig is the part of a Hugging Face config.json that affects what a Llama
// model computes.
type hfConfig struct {
	HiddenSize        int     `json:"hidden_size"`
	IntermediateSize  int     `json:"intermediate_size"`
	HiddenLayers      int     `json:"num_hidden_layers"`
	AttentionHeads    int     `json:"num_attention_heads"`
	KeyValueHeads     *int    `json:"num_key_value_heads"` // null: num_attention_heads
	HeadDim           *int    `json:"head_dim"`            // null: hidden_size / num_attention_heads
	VocabSize         int     `json:"vocab_size"`
	MaxPositions      int     `json:"max_position_embeddings"`
	RMSNormEps        float64 `json:"rms_norm_eps"`
	HiddenAct         string  `json:"hidden_act"`
	TieWordEmbeddings bool    `json:"tie_word_embeddings"`
	AttentionBias     bool    `json:"attention_bias"`
	MLPBias           bool    `json:"mlp_bias"`

	SlidingWindow    *int     `json:"sliding_window"`
	UseSlidingWindow bool     `json:"use_sliding_window"`
	MaxWindowLayers  int      `json:"max_window_layers"`
	LayerTypes       []string `json:"layer_types"`

	RopeTheta      *float64        `json:"rope_theta"`
	RopeScaling    *hfRope         `json:"rope_scaling"`                     // the older name
	RopeParameters *hfRope         `json:"rope_parameters"`                  // the newer name
	Original       *int            `json:"original_max_position_embeddings"` // overrides that of the scaling
	Quantization   json.RawMessage `json:"quantization_config"`
	PartialRotary  *float64        `json:"partial_rotary_factor"`

	BOS tokenIDs `json:"bos_token_id"`
	EOS tokenIDs `json:"eos_token_id"`
}

// hfRope is a rotary embedding. Fields that the file omits are nil.
type hfRope struct {
	RopeType       *string  `json:"rope_type"`
	Type           *string  `json:"type"` // the older name of rope_type
	RopeTheta      *float64 `json:"rope_theta"`
	Factor         *float64 `json:"factor"`
	LowFreqFactor  *float64 `json:"low_freq_factor"`
	HighFreqFactor *float64 `json:"high_freq_factor"`
	Original       *int     `json:"original_max_position_embeddings"`
	PartialRotary  *float64 `json:"partial_rotary_factor"`

	AttentionFactor *float64 `json:"attention_factor"` // yarn
	BetaFast        *float64 `json:"beta_fast"`
	BetaSlow        *float64 `json:"beta_slow"`
	MScale          *float64 `json:"mscale"`
	MScaleAllDim    *float64 `json:"mscale_all_dim"`
	Truncate        *bool    `json:"truncate"`

	// Parameters of the layers of one type. Of the supported families, none has them.
	FullAttention    json.RawMessage `json:"full_attention"`
	SlidingAttention json.RawMessage `json:"sliding_attention"`
}

// empty reports whether the file omits the rotary embedding, or every field of it.
func (p *hfRope) empty() bool { return p == nil || reflect.ValueOf(*p).IsZero() }

// hfFamily is an architecture of Hugging Face's transformers: the defaults of its configuration
// class for fields that config.json omits, and the switches that it supports.
type hfFamily struct {
	modelType string // its model_type
	defaults  hfConfig

	qkvBias  bool // q, k and v always have a bias
	attnBias bool // attention_bias gives q, k, v and the output projection one
	mlpBias  bool // mlp_bias gives the feed-forward layer one
	qkNorm   bool // each query and key is normalized before RoPE

	window  bool // sliding_window applies to every layer
	windows bool // with use_sliding_window, it applies to the layers from max_window_layers on, or to those listed in layer_types
}

// hfFamilies are the supported architectures.
func hfFamilies() map[string]hfFamily {
	number := func(n int) *int { return &n }
	llama := hfConfig{
		HiddenSize: 4096, IntermediateSize: 11008, HiddenLayers: 32, AttentionHeads: 32, VocabSize: 32000,
		MaxPositions: 2048, RMSNormEps: 1e-6, HiddenAct: "silu", BOS: tokenIDs{1}, EOS: tokenIDs{2},
	}
	mistral := llama
	mistral.IntermediateSize, mistral.KeyValueHeads = 14336, number(8)
	mistral.MaxPositions, mistral.SlidingWindow = 131072, number(4096)
	qwen := hfConfig{
		HiddenSize: 4096, IntermediateSize: 22016, HiddenLayers: 32, AttentionHeads: 32, KeyValueHeads: number(32), VocabSize: 151936,
		MaxPositions: 32768, RMSNormEps: 1e-6, HiddenAct: "silu", SlidingWindow: number(4096), MaxWindowLayers: 28,
	}
	qwen3 := qwen
	qwen3.HeadDim = number(128)
	return map[string]hfFamily{
		"LlamaForCausalLM":   {modelType: "llama", defaults: llama, attnBias: true, mlpBias: true},
		"MistralForCausalLM": {modelType: "mistral", defaults: mistral, window: true},
		"Qwen2ForCausalLM":   {modelType: "qwen2", defaults: qwen, qkvBias: true, windows: true},
		"Qwen3ForCausalLM":   {modelType: "qwen3", defaults: qwen3, attnBias: true, qkNorm: true, windows: true},
	}
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

// hfField returns config.json's name for a field of Config.
func hfField(field string) string {
	names := map[string]string{
		"Dim": "hidden_size", "HiddenDim": "intermediate_size", "Layers": "num_hidden_layers",
		"QueryHeads": "num_attention_heads", "KVHeads": "num_key_value_heads", "HeadSize": "head_dim",
		"Vocab": "vocab_size", "MaxPositions": "max_position_embeddings", "NormEps": "rms_norm_eps",
	}
	return names[field]
}

// hfModel is the content of config.json: the Config, and which weights the model has.
type hfModel struct {
	Config
	tied    bool // the output layer is the embedding
	biasQKV bool
	biasO   bool
	biasMLP bool
	qkNorm  bool
}

// parseConfig reads a config.json.
func parseConfig(data []byte) (hfModel, error) {
	var named struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
	}
	if err := strictjson.Known(data, &named); err != nil {
		return hfModel{}, err
	}
	architecture, family, err := familyOf(named.Architectures, named.ModelType)
	if err != nil {
		return hfModel{}, err
	}
	f := family.defaults
	if err := strictjson.Known(data, &f); err != nil {
		return hfModel{}, err
	}
	if err := f.supported(family); err != nil {
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
		NormEps:      float32(f.RMSNormEps),
		BOS:          -1,
		EOS:          f.EOS,
		Format:       architecture,
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
	if len(f.BOS) > 0 {
		cfg.BOS = f.BOS[0]
	}
	if err := cfg.validate(hfField); err != nil {
		return hfModel{}, err
	}
	if err := f.rope(&cfg); err != nil {
		return hfModel{}, err
	}
	if cfg.Windows, err = f.slidingWindows(family); err != nil {
		return hfModel{}, err
	}
	return hfModel{
		Config:  cfg,
		tied:    f.TieWordEmbeddings,
		biasQKV: family.qkvBias || family.attnBias && f.AttentionBias,
		biasO:   family.attnBias && f.AttentionBias,
		biasMLP: family.mlpBias && f.MLPBias,
		qkNorm:  family.qkNorm,
	}, nil
}

// familyOf returns the architecture of a config.json, and its family. If the file omits
// architectures, its model_type says which it is.
func familyOf(architectures []string, modelType string) (string, hfFamily, error) {
	known := hfFamilies()
	if len(architectures) == 0 {
		for name, family := range known {
			if family.modelType == modelType {
				return name, family, nil
			}
		}
		return "", hfFamily{}, fmt.Errorf("architectures: missing, and model_type %q is not supported, only llama, mistral, qwen2 and qwen3",
			strictjson.Excerpt(modelType))
	}
	if len(architectures) != 1 {
		return "", hfFamily{}, fmt.Errorf("architectures: %q is not one architecture", architectures)
	}
	family, ok := known[architectures[0]]
	if !ok {
		return "", hfFamily{}, fmt.Errorf("architectures: %q is not supported, only %q", architectures[0], slices.Sorted(maps.Keys(known)))
	}
	return architectures[0], family, nil
}

// supported returns an error for models that this package would silently compute incorrectly.
func (f *hfConfig) supported(family hfFamily) error {
	switch {
	case f.HiddenAct != "silu" && f.HiddenAct != "swish": // two names of one function
		return fmt.Errorf("hidden_act: %q is not supported, only silu", f.HiddenAct)
	case len(f.Quantization) > 0 && string(f.Quantization) != "null":
		return fmt.Errorf("quantization_config: quantized models are not supported")
	case f.PartialRotary != nil && *f.PartialRotary != 1:
		return fmt.Errorf("partial_rotary_factor: %g is not supported, only 1", *f.PartialRotary)
	case len(f.LayerTypes) > 0 && family.windows && len(f.LayerTypes) != f.HiddenLayers:
		return fmt.Errorf("layer_types: %d for %d layers", len(f.LayerTypes), f.HiddenLayers)
	}
	return nil
}

// slidingWindows returns the attention window of each layer, 0 for no window; nil if no layer
// has one.
func (f *hfConfig) slidingWindows(family hfFamily) ([]int, error) {
	windowed := func(layer int) bool { return family.window }
	if family.windows {
		windowed = func(layer int) bool { return f.UseSlidingWindow && layer >= f.MaxWindowLayers }
		if len(f.LayerTypes) > 0 {
			for i, kind := range f.LayerTypes {
				if kind != "full_attention" && kind != "sliding_attention" {
					return nil, fmt.Errorf("layer_types: %d: %q is not supported, only full_attention and sliding_attention", i, kind)
				}
				if kind == "sliding_attention" && !f.UseSlidingWindow {
					return nil, fmt.Errorf("layer_types: %d: %s without use_sliding_window, so that its window is not known", i, kind)
				}
			}
			windowed = func(layer int) bool { return f.LayerTypes[layer] == "sliding_attention" }
		}
	}
	var windows []int
	for l := range f.HiddenLayers {
		if f.SlidingWindow == nil || !windowed(l) {
			continue
		}
		if *f.SlidingWindow < 1 {
			return nil, fmt.Errorf("sliding_window: %d is not at least 1", *f.SlidingWindow)
		}
		if windows == nil {
			windows = make([]int, f.HiddenLayers)
		}
		windows[l] = *f.SlidingWindow
	}
	return windows, nil
}

// rope reads the rotary embedding. If the file has both the older rope_scaling and the newer
// rope_parameters, the newer one is ignored.
func (f *hfConfig) rope(cfg *Config) error {
	cfg.Rope = trace.Rope{Base: 10000, RotarySize: cfg.HeadSize, Pairing: trace.Half}
	if f.RopeTheta != nil {
		cfg.Rope.Base = *f.RopeTheta
	}
	field, p := "rope_scaling", f.RopeScaling
	if p.empty() {
		field, p = "rope_parameters", f.RopeParameters
	}
	if !p.empty() {
		if f.Original != nil {
			p.Original = f.Original
		}
		if err := p.read(cfg); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	if r := cfg.Rope; !(r.Base >= trace.MinRopeBase && r.Base < trace.MaxRopeBase) {
		return fmt.Errorf("rope_theta: %g is not a number from %d to %g", r.Base, trace.MinRopeBase, trace.MaxRopeBase)
	}
	if cfg.HeadSize > kv.MaxHeadSize {
		return nil // a trace cannot store such heads; its writer reports the error
	}
	return cfg.Rope.Check()
}

// read sets the Rope of a configuration, and MaxPositions if the scaling extends it.
func (p *hfRope) read(cfg *Config) error {
	r := &cfg.Rope
	if p.RopeTheta != nil {
		r.Base = *p.RopeTheta
	}
	switch {
	case p.PartialRotary != nil && *p.PartialRotary != 1:
		return fmt.Errorf("partial_rotary_factor: %g is not supported, only 1", *p.PartialRotary)
	case p.FullAttention != nil || p.SlidingAttention != nil:
		return errors.New("parameters for each type of layer are not supported, only the same ones for all layers")
	}
	kind, factor, original := "default", or(p.Factor, 0), or(p.Original, cfg.MaxPositions)
	for _, name := range []*string{p.Type, p.RopeType} {
		kind = or(name, kind)
	}
	switch kind {
	case "default":
		return nil
	case "dynamic":
		return p.dynamic(cfg)
	case trace.Linear:
		r.Scaling = &trace.RopeScaling{Type: kind, Factor: factor}
		cfg.MaxPositions = extended(cfg.MaxPositions, factor)
	case trace.Llama3:
		r.Scaling = &trace.RopeScaling{
			Type:              kind,
			Factor:            factor,
			LowFreqFactor:     or(p.LowFreqFactor, 0),
			HighFreqFactor:    or(p.HighFreqFactor, 0),
			OriginalPositions: original,
		}
	case trace.YaRN:
		if p.Factor == nil {
			factor = float64(cfg.MaxPositions) / float64(original)
		}
		r.Scaling = &trace.RopeScaling{
			Type:              kind,
			Factor:            factor,
			OriginalPositions: original,
			BetaFast:          nonzero(p.BetaFast, 32),
			BetaSlow:          nonzero(p.BetaSlow, 1),
			Untruncated:       !or(p.Truncate, true),
			AttentionFactor:   or(p.AttentionFactor, p.yarnMagnitude(factor)),
		}
		cfg.MaxPositions = max(cfg.MaxPositions, extended(original, factor))
	default:
		return fmt.Errorf("rope_type: %q is not supported, only default, linear, dynamic, llama3 and yarn", strictjson.Excerpt(kind))
	}
	return r.Scaling.Check()
}

// dynamic reads a dynamic scaling: see [DynamicRope].
func (p *hfRope) dynamic(cfg *Config) error {
	factor := or(p.Factor, 0)
	switch {
	case !(factor >= 1 && factor <= maxPositions):
		return fmt.Errorf("factor: %g is not from 1 to %d", factor, maxPositions)
	case cfg.HeadSize < 4:
		return fmt.Errorf("rope_type: dynamic needs heads of 4 elements or more, and these have %d", cfg.HeadSize)
	}
	cfg.Dynamic = &DynamicRope{Factor: factor, OriginalPositions: cfg.MaxPositions}
	cfg.MaxPositions = extended(cfg.MaxPositions, factor)
	return nil
}

// extended returns the number of positions after scaling by a factor, at most maxPositions.
func extended(positions int, factor float64) int {
	return int(min(maxPositions, max(float64(positions), float64(positions)*factor)))
}

// yarnMagnitude returns the default YaRN attention factor, by which queries and keys are
// multiplied: m(1) with m(s) = 0.1·s·ln(factor) + 1, or m(mscale)/m(mscale_all_dim) if the file
// has both.
func (p *hfRope) yarnMagnitude(factor float64) float64 {
	of := func(scale float64) float64 {
		if factor <= 1 {
			return 1
		}
		return 0.1*scale*math.Log(factor) + 1
	}
	if scale, all := or(p.MScale, 0), or(p.MScaleAllDim, 0); scale != 0 && all != 0 {
		return of(scale) / of(all)
	}
	return of(1)
}

// or returns *p, or otherwise if p is nil.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// nonzero returns *p, or otherwise if p is nil or *p is 0.
func nonzero(p *float64, otherwise float64) float64 {
	if p == nil || *p == 0 {
		return otherwise
	}
	return *p
}
