package catalog

import (
	"fmt"
	"strings"
	"testing"
)

// qwen35Config is the config.json of a model of Qwen3.5, from its hidden size, layers, heads of queries, of
// keys and of the delta nets' values, and further entries of text_config.
func qwen35Config(kind string, hidden, layers, heads, kvHeads, values int, more string) string {
	return fmt.Sprintf(`{"model_type":%q,"tie_word_embeddings":false,"text_config":{"hidden_size":%d,"num_hidden_layers":%d,"num_attention_heads":%d,"num_key_value_heads":%d,"head_dim":256,
		"linear_num_value_heads":%d,"linear_num_key_heads":16,"linear_key_head_dim":128,"linear_value_head_dim":128,"linear_conv_kernel_dim":4,"full_attention_interval":4,"attn_output_gate":true,
		"mamba_ssm_dtype":"float32","mtp_num_hidden_layers":1,"mtp_use_dedicated_embeddings":false,"vocab_size":248320,"max_position_embeddings":262144,
		"rope_parameters":{"rope_type":"default","rope_theta":1e7,"partial_rotary_factor":0.25,"mrope_section":[11,11,10],"mrope_interleaved":true},%s},
		"vision_config":{"deepstack_visual_indexes":[],"depth":27,"hidden_act":"gelu_pytorch_tanh","hidden_size":1152,"in_channels":3,"intermediate_size":4304,"model_type":%q,"num_heads":16,
		"num_position_embeddings":2304,"out_hidden_size":%d,"patch_size":16,"spatial_merge_size":2,"temporal_patch_size":2}}`,
		kind, hidden, layers, heads, kvHeads, values, more, kind, hidden)
}

// TestQwen35Params compares with the totals of the safetensors files on the models' pages on Hugging Face.
// These have the layer for speculation too, which is not counted: a gated attention with its MLP, three
// norms more, and a matrix of twice the hidden size.
func TestQwen35Params(t *testing.T) {
	const experts = `"moe_intermediate_size":%d,"shared_expert_intermediate_size":%[1]d,"num_experts":%d,"num_experts_per_tok":%d`
	dense := func(inner int) (string, int64) { return fmt.Sprintf(`"intermediate_size":%d`, inner), int64(3 * inner) }
	mixture := func(inner, n, active int) (string, int64) {
		return fmt.Sprintf(experts, inner, n, active), int64(3*inner*(n+1) + n + 1)
	}
	for _, test := range []struct {
		name, kind                             string
		hidden, layers, heads, kvHeads, values int
		mlp                                    func() (entries string, perHidden int64)
		total                                  int64
	}{
		{"Qwen3.5-27B", "qwen3_5", 5120, 64, 24, 4, 48, func() (string, int64) { return dense(17408) }, 27_781_427_952},
		{"Qwen3.5-35B-A3B", "qwen3_5_moe", 2048, 40, 16, 2, 32, func() (string, int64) { return mixture(512, 256, 8) }, 35_951_822_704},
		{"Qwen3.5-122B-A10B", "qwen3_5_moe", 3072, 48, 32, 2, 64, func() (string, int64) { return mixture(1024, 256, 8) }, 125_086_497_008},
		{"Qwen3.5-397B-A17B", "qwen3_5_moe", 4096, 60, 32, 2, 64, func() (string, int64) { return mixture(1024, 512, 10) }, 403_397_928_944},
	} {
		more, perHidden := test.mlp()
		m, err := ParseConfig([]byte(qwen35Config(test.kind, test.hidden, test.layers, test.heads, test.kvHeads, test.values, more)), nil)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		h := int64(test.hidden)
		speculation := h*int64(256*(3*test.heads+2*test.kvHeads)) + 2*256 + h*perHidden + 5*h + 2*h*h
		if got, want := m.Params(), test.total-speculation; got != want {
			t.Errorf("%s: %d parameters, want %d", test.name, got, want)
		}
	}
	m := find(t, "qwen3.5-397b-a17b")
	const encoder = 456_010_480 // of which a step reads nothing
	if got, want := m.Bytes(BF16)-m.StepBytes(BF16)-int64(m.Experts.Total)*m.ExpertBytes(BF16), int64(2*(encoder+248320*4096)); got != want {
		t.Errorf("%d bytes are held and not read, want %d", got, want)
	}
}

// TestQwen35Refused checks that what is not known of a file is an error.
func TestQwen35Refused(t *testing.T) {
	config := qwen35Config("qwen3_5_moe", 2048, 4, 16, 2, 32, `"moe_intermediate_size":512,"num_experts":4,"num_experts_per_tok":2`)
	if _, err := ParseConfig([]byte(config), nil); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ from, to, want string }{
		{`"out_hidden_size":2048`, `"out_hidden_size":1024`, "out_hidden_size is 1024, and hidden_size is 2048"},
		{`"num_heads":16`, `"window_size":112`, `"vision_config.window_size": unknown`},
		{`"deepstack_visual_indexes":[]`, `"deepstack_visual_indexes":"all"`, "vision_config.deepstack_visual_indexes"},
		{`"depth":27`, `"depth":0`, "vision_config.depth is 0"},
		{`"num_experts":4`, `"num_experts":4,"mlp_only_layers":[1]`, `"mlp_only_layers": unknown`},
		{`"num_experts":4`, `"num_experts":4,"layer_types":["full_attention"]`, "layer_types has 1 layers"},
		{`"num_experts":4`, `"num_experts":4,"layer_scale":true`, `"layer_scale": unknown`},
		{`"mamba_ssm_dtype":"float32"`, `"mamba_ssm_dtype":"float8"`, "mamba_ssm_dtype"},
		{`"linear_num_key_heads":16`, `"linear_num_key_heads":5`, "linear_num_value_heads 32 is not a multiple of linear_num_key_heads 5"},
		{`"linear_num_key_heads":16`, `"linear_num_key_heads":16384`, "make keys of 2097152 and values of 4096 elements, want at most 1048576"},
		{`"linear_key_head_dim":128`, `"linear_key_head_dim":-1`, "linear_key_head_dim is -1"},
	} {
		changed := strings.Replace(config, test.from, test.to, 1)
		if _, err := ParseConfig([]byte(changed), nil); changed == config || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.to, err, test.want)
		}
	}
}

// TestQwen35Entries works out by hand what single entries change.
func TestQwen35Entries(t *testing.T) {
	config := qwen35Config("qwen3_5", 2048, 4, 16, 2, 32, `"intermediate_size":4096`)
	base, err := ParseConfig([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		from, to string
		more     int64 // parameters
	}{
		{`"attn_output_gate":true`, `"attn_output_gate":false`, -2048 * 16 * 256},
		{`"deepstack_visual_indexes":[]`, `"deepstack_visual_indexes":[8,16]`, 2 * (2*4608 + 4608*4608 + 4608 + 4608*2048 + 2048)},
		{`"tie_word_embeddings":false`, `"tie_word_embeddings":true`, -2048 * 248320},
	} {
		m, err := ParseConfig([]byte(strings.Replace(config, test.from, test.to, 1)), nil)
		if err != nil || m.Params()-base.Params() != test.more {
			t.Errorf("%s: %d parameters more, %v; want %d", test.to, m.Params()-base.Params(), err, test.more)
		}
	}
	// Without the encoder.
	text := `{"model_type":"qwen3_5_text",` + config[strings.Index(config, `"hidden_size"`):strings.Index(config, `"vision_config"`)]
	text = strings.TrimRight(strings.TrimSpace(text), ",")
	m, err := ParseConfig([]byte(text), nil)
	tower := int64(0)
	for _, mod := range base.Modules {
		if mod.Kind == Tower {
			tower += mod.Params()
		}
	}
	if err != nil || tower == 0 || m.Params() != base.Params()-tower {
		t.Errorf("the language model alone: %d parameters, %v; want %d", m.Params(), err, base.Params()-tower)
	}
}

// TestWeightOnlyNVFP4 reads a file in which ModelOpt names each module, the output matrix among them: by
// hand, 4 bits and a scale of 8 bits of each 16 weights, and one of 32 bits; products in 16 bits.
func TestWeightOnlyNVFP4(t *testing.T) {
	const quant = `{"quantization":{"quant_algo":"MIXED_PRECISION","quantized_layers":{
		"lm_head":{"quant_algo":"W4A16_NVFP4","group_size":16},"model.language_model.layers.0.mlp.experts":{"quant_algo":"W4A16_NVFP4","group_size":16}}}}`
	config := []byte(qwen35Config("qwen3_5_moe", 2048, 4, 16, 2, 32, `"moe_intermediate_size":512,"num_experts":4,"num_experts_per_tok":2`))
	plain, err := ParseConfig(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseConfig(config, []byte(quant))
	const output, experts = 2048 * 248320, 4 * 3 * 2048 * 512
	want := plain.Bytes(BF16) - 2*(output+experts) + (output+experts)/2 + (output+experts)/16 + 4*(1+12)
	if err != nil || m.Weights != NVFP4 || m.Bytes(NVFP4) != want {
		t.Errorf("%s, %d bytes, %v; want %d", m.Weights, m.Bytes(m.Weights), err, want)
	}
	if got := m.Active(NVFP4, Routed, &Card{Flops4: 1}); got[Unpacked] != 2*3*2048*512 || got[In16] != 3*2*3*2048*512 {
		t.Errorf("products with experts by inputs: %v", got)
	}
}
