package catalog

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// published is a model that is not known by name: the parameters of its safetensors files, as the metadata of its
// page on Hugging Face has them, and the entries of its config.json.
type published struct {
	model   string
	params  float64
	round   float64 // params is rounded to a multiple of this
	entries string
}

// publishedModels returns models of the families of which none is known by name.
func publishedModels() []published {
	const (
		pixtral = `"vision_config":{"model_type":"pixtral","hidden_size":1024,"num_hidden_layers":24,"num_attention_heads":16,"head_dim":64,"intermediate_size":4096,"patch_size":14,"num_channels":3,"image_size":1540,"rope_theta":10000.0}`
		yarn    = `"rope_parameters":{"type":"yarn","rope_type":"yarn","rope_theta":1000000.0,"factor":16.0,"original_max_position_embeddings":16384,"llama_4_scaling_beta":0.1}`
		qwen25  = `"model_type":"qwen2_5_vl","vocab_size":%d,"max_position_embeddings":128000,"use_sliding_window":false,"sliding_window":32768,"rope_scaling":{"type":"mrope","mrope_section":[16,24,24]},"vision_config":{"depth":32,"hidden_size":1280,"intermediate_size":%d,"num_heads":16,"in_chans":3,"out_hidden_size":%d,"patch_size":14,"spatial_merge_size":2,"spatial_patch_size":14,"window_size":112,"fullatt_block_indexes":[7,15,23,31],"tokens_per_second":2,"temporal_patch_size":2},`
	)
	return []published{
		{"mistralai/Mistral-Small-3.2-24B-Instruct-2506", 24_011_361_280, 1, `"model_type":"mistral3","spatial_merge_size":2,"multimodal_projector_bias":false,"projector_hidden_act":"gelu","vision_feature_layer":-1,"image_token_index":10,"text_config":{"model_type":"mistral","num_hidden_layers":40,"hidden_size":5120,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"intermediate_size":32768,"vocab_size":131072,"max_position_embeddings":131072,"sliding_window":null},` + pixtral},
		{"mistralai/Ministral-3-3B-Instruct-2512", 3_849_090_048, 1, `"model_type":"mistral3","text_config":{"model_type":"ministral3","num_hidden_layers":26,"hidden_size":3072,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"intermediate_size":9216,"vocab_size":131072,"max_position_embeddings":262144,"tie_word_embeddings":true,` + yarn + `},` + pixtral},
		{"mistralai/Ministral-3-8B-Instruct-2512, less two scales of each of 238 matrices", 8_918_026_716 - 2*7*34, 1, `"model_type":"mistral3","text_config":{"model_type":"ministral3","num_hidden_layers":34,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"intermediate_size":14336,"vocab_size":131072,"max_position_embeddings":262144,` + yarn + `},` + pixtral},
		{"Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976, 1, fmt.Sprintf(qwen25, 151936, 3420, 2048) + `"num_hidden_layers":36,"hidden_size":2048,"num_attention_heads":16,"num_key_value_heads":2,"intermediate_size":11008,"tie_word_embeddings":true`},
		{"Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656, 1, fmt.Sprintf(qwen25, 152064, 3420, 3584) + `"num_hidden_layers":28,"hidden_size":3584,"num_attention_heads":28,"num_key_value_heads":4,"intermediate_size":18944`},
		{"Qwen/Qwen2.5-VL-32B-Instruct", 33_452_718_336, 1, fmt.Sprintf(qwen25, 152064, 3456, 5120) + `"num_hidden_layers":64,"hidden_size":5120,"num_attention_heads":40,"num_key_value_heads":8,"intermediate_size":27648`},
		{"HuggingFaceTB/SmolLM3-3B", 3_075_098_624, 1, `"model_type":"smollm3","num_hidden_layers":36,"hidden_size":2048,"num_attention_heads":16,"num_key_value_heads":4,"intermediate_size":11008,"vocab_size":128256,"max_position_embeddings":65536,"tie_word_embeddings":true,"no_rope_layers":[1,1,1,0],"no_rope_layer_interval":4,"use_sliding_window":false`},
		{"ByteDance-Seed/Seed-OSS-36B-Base", 36_151_104_512, 1, `"model_type":"seed_oss","num_hidden_layers":64,"hidden_size":5120,"num_attention_heads":80,"num_key_value_heads":8,"head_dim":128,"intermediate_size":27648,"vocab_size":155136,"max_position_embeddings":524288,"attention_bias":true,"attention_out_bias":false,"mlp_bias":false`},
		{"LGAI-EXAONE/EXAONE-4.0-32B", 32_003_216_384, 1, `"model_type":"exaone4","num_hidden_layers":64,"hidden_size":5120,"num_attention_heads":40,"num_key_value_heads":8,"head_dim":128,"intermediate_size":27392,"vocab_size":102400,"max_position_embeddings":131072,"sliding_window":4096,"sliding_window_pattern":"LLLG"`},
		{"LGAI-EXAONE/EXAONE-4.0-1.2B", 1_279_391_488, 1, `"model_type":"exaone4","num_hidden_layers":30,"hidden_size":2048,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":64,"intermediate_size":4096,"vocab_size":102400,"max_position_embeddings":65536,"tie_word_embeddings":true,"sliding_window":null`},
		{"allenai/Olmo-3-1025-7B", 7_298_011_136, 1, `"model_type":"olmo3","num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":32,"intermediate_size":11008,"vocab_size":100278,"max_position_embeddings":65536`},
		{"allenai/Olmo-3-1125-32B", 32_233_522_176, 1, `"model_type":"olmo3","num_hidden_layers":64,"hidden_size":5120,"num_attention_heads":40,"num_key_value_heads":8,"intermediate_size":27648,"vocab_size":100278,"max_position_embeddings":65536`},
		{"ibm-granite/granite-3.1-1b-a400m-base", 1_334_628_352, 1, `"model_type":"granitemoe","num_hidden_layers":24,"hidden_size":1024,"num_attention_heads":16,"num_key_value_heads":8,"intermediate_size":512,"num_local_experts":32,"num_experts_per_tok":8,"vocab_size":49155,"max_position_embeddings":131072,"tie_word_embeddings":true`},
		{"ibm-granite/granite-guardian-3.2-3b-a800m", 3_298_793_472, 1, `"model_type":"granitemoe","num_hidden_layers":32,"hidden_size":1536,"num_attention_heads":24,"num_key_value_heads":8,"intermediate_size":512,"num_local_experts":40,"num_experts_per_tok":8,"vocab_size":49155,"max_position_embeddings":131072,"tie_word_embeddings":true`},
		{"nvidia/Llama-3_3-Nemotron-Super-49B-v1", 49_867_145_216, 1, `"model_type":"nemotron-nas","num_hidden_layers":80,"hidden_size":8192,"num_attention_heads":64,"intermediate_size":null,"num_key_value_heads":null,"vocab_size":128256,"max_position_embeddings":131072,"block_configs":[` + strings.Join(nemotronSuper(), ",") + "]"},
		{"CohereLabs/c4ai-command-a-03-2025", 111e9, 1e9, `"model_type":"cohere2","num_hidden_layers":64,"hidden_size":12288,"num_attention_heads":96,"num_key_value_heads":8,"head_dim":128,"intermediate_size":36864,"vocab_size":256000,"max_position_embeddings":131072,"sliding_window":4096,"sliding_window_pattern":4,"logit_scale":0.25`},
		{"baidu/ERNIE-4.5-21B-A3B-PT", 21.8e9, 1e8, `"model_type":"ernie4_5_moe","num_hidden_layers":28,"hidden_size":2560,"num_attention_heads":20,"num_key_value_heads":4,"head_dim":128,"intermediate_size":12288,"moe_intermediate_size":1536,"moe_num_experts":64,"moe_k":6,"moe_num_shared_experts":2,"moe_layer_start_index":1,"moe_layer_end_index":27,"moe_layer_interval":1,"vocab_size":103424,"max_position_embeddings":131072,"tie_word_embeddings":true,"use_bias":false`},
		{"XiaomiMiMo/MiMo-V2-Flash", 309e9, 1e9, `"model_type":"mimo_v2_flash","num_hidden_layers":48,"hidden_size":4096,"num_attention_heads":64,"num_key_value_heads":4,"head_dim":192,"v_head_dim":128,"swa_num_attention_heads":64,"swa_num_key_value_heads":8,"swa_head_dim":192,"swa_v_head_dim":128,"sliding_window":128,"sliding_window_size":128,"partial_rotary_factor":0.334,"rope_theta":5000000,"swa_rope_theta":10000,"add_swa_attention_sink_bias":true,"hybrid_layer_pattern":[0,1,1,1,1` + strings.Repeat(",0,1,1,1,1,1", 7) + `,0],"moe_layer_freq":[0` + strings.Repeat(",1", 47) + `],"intermediate_size":16384,"moe_intermediate_size":2048,"n_routed_experts":256,"num_experts_per_tok":8,"topk_method":"noaux_tc","vocab_size":152576,"max_position_embeddings":262144`},
	}
}

// TestFamilies compares parameters with those of published safetensors files.
func TestFamilies(t *testing.T) {
	for _, test := range publishedModels() {
		m, err := ParseConfig([]byte("{"+test.entries+"}"), nil)
		if got := math.Round(float64(m.Params())/test.round) * test.round; err != nil || got != test.params {
			t.Errorf("%s: %d parameters, %v, want %v", test.model, m.Params(), err, test.params)
		}
	}
}

// nemotronSuper returns the layers of Llama-3.3-Nemotron-Super-49B by their number, in another order than its own.
func nemotronSuper() (blocks []string) {
	for _, kind := range []struct {
		n, heads int // heads of a group; 0 without attention
		width    float64
	}{{48, 8, 5.25}, {1, 8, 2.625}, {10, 0, 1.3125}, {8, 0, 1}, {6, 0, 0.5}, {5, 0, 2.625}, {1, 0, 3.28125}, {1, 0, 5.25}} {
		for range kind.n {
			blocks = append(blocks, fmt.Sprintf(`{"attention":{"n_heads_in_group":%d,"no_op":%v,"window_length":null},"ffn":{"ffn_mult":%v,"no_op":false}}`, kind.heads, kind.heads == 0, kind.width))
		}
	}
	return blocks
}

// TestSpeculation adds the layer for speculation of GLM-4.5 and GLM-4.7, which is not counted, to the parameters: those of the
// published files. It has an embedding table and an output matrix of its own, three norms and a matrix that joins
// two vectors.
func TestSpeculation(t *testing.T) {
	for name, want := range map[string]int64{"glm-4.5": 358_337_791_296, "glm-4.5-air": 110_468_824_832, "glm-4.7-flash": 31_221_488_576} {
		m := find(t, name)
		h, layer := int64(m.Hidden), int64(0)
		for i := range m.Modules {
			if mod := &m.Modules[i]; mod.Layer == len(m.Layers)-1 {
				layer += mod.Params()
			}
		}
		if got := m.Params() + layer + h*(2*h+3+2*int64(m.Vocab)); got != want {
			t.Errorf("%s: %d parameters with the layer for speculation, want %d", name, got, want)
		}
	}
}

const layersModel = `"num_hidden_layers":4,"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":128,"max_position_embeddings":512,`

// TestFamilyLayers counts the layers with windows, those without attention, and those with experts.
func TestFamilyLayers(t *testing.T) {
	const nas = `"model_type":"nemotron-nas","num_hidden_layers":3,"hidden_size":64,"num_attention_heads":4,"vocab_size":128,"max_position_embeddings":512,"block_configs":[{"attention":{"n_heads_in_group":2},"ffn":{"ffn_mult":3}},{"attention":{"no_op":true},"ffn":{"intermediate_size":100}},{"attention":{"n_heads_in_group":2},"ffn":{"no_op":true}}]`
	for _, test := range []struct {
		entries  string
		kinds    []Layer
		mixtures int
		params   int64 // of the layers
	}{
		{`"model_type":"exaone4","intermediate_size":32,"sliding_window":100,` + layersModel + `"sliding_window_pattern":"LG"`, []Layer{Windowed, Full, Windowed, Full}, 0, 4 * (2*64*64 + 2*64*32 + 2*16 + 3*64*32 + 2*64)},
		{`"model_type":"exaone4","intermediate_size":32,"sliding_window":100,` + layersModel + `"sliding_window_pattern":4`, []Layer{Windowed, Windowed, Windowed, Full}, 0, 4 * (2*64*64 + 2*64*32 + 2*16 + 3*64*32 + 2*64)},
		{`"model_type":"exaone4","intermediate_size":32,` + layersModel + `"sliding_window_pattern":4`, []Layer{Full, Full, Full, Full}, 0, 4 * (2*64*64 + 2*64*32 + 2*16 + 3*64*32 + 2*64)},
		{`"model_type":"cohere2","intermediate_size":32,"sliding_window":100,"tie_word_embeddings":false,` + layersModel + `"logit_scale":1`, []Layer{Windowed, Windowed, Windowed, Full}, 0, 4 * (2*64*64 + 2*64*32 + 3*64*32 + 64)},
		{`"model_type":"olmo3","intermediate_size":32,"sliding_window":100,` + layersModel + `"rms_norm_eps":1`, []Layer{Windowed, Windowed, Windowed, Full}, 0, 4 * (2*64*64 + 2*64*32 + 3*32 + 3*64*32 + 2*64)},
		{`"model_type":"glm4_moe","intermediate_size":128,"moe_intermediate_size":32,"n_routed_experts":4,"num_experts_per_tok":2,"n_shared_experts":2,"attention_bias":true,` + layersModel + `"first_k_dense_replace":1`, []Layer{Full, Full, Full, Full}, 3,
			4*(2*64*64+2*64*32+2*64+2*64) + 3*64*128 + 3*((4+2)*3*64*32+64*4+4)},
		{`"model_type":"ernie4_5_moe","intermediate_size":128,"moe_intermediate_size":32,"moe_num_experts":4,"moe_k":2,"moe_num_shared_experts":2,"tie_word_embeddings":false,` + layersModel + `"moe_layer_start_index":1,"moe_layer_interval":2,"moe_use_aux_free":false`, []Layer{Full, Full, Full, Full}, 2,
			4*(2*64*64+2*64*32+2*64) + 2*3*64*128 + 2*((4+2)*3*64*32+64*4)},
		{`"model_type":"ernie4_5_moe","intermediate_size":128,"moe_intermediate_size":32,"moe_num_experts":4,"moe_k":2,"tie_word_embeddings":false,` + layersModel + `"moe_layer_start_index":0,"moe_layer_end_index":1`, []Layer{Full, Full, Full, Full}, 2,
			4*(2*64*64+2*64*32+2*64) + 2*3*64*128 + 2*(4*3*64*32+64*4+4)},
		{`"model_type":"granitemoe","intermediate_size":32,"num_local_experts":4,"num_experts_per_tok":2,` + layersModel + `"logits_scaling":6.0`, []Layer{Full, Full, Full, Full}, 4, 4 * (2*64*64 + 2*64*32 + 4*3*64*32 + 64*4 + 2*64)},
		{`"model_type":"seed_oss","intermediate_size":32,"head_dim":16,` + layersModel + `"attention_out_bias":true,"mlp_bias":true`, []Layer{Full, Full, Full, Full}, 0, 4 * (2*64*64 + 2*64*32 + 2*64 + 64 + 3*64*32 + 2*32 + 64 + 2*64)},
		{`"model_type":"mimo","intermediate_size":32,"attention_bias":true,"use_mrope":false,"use_sliding_window":false,"num_nextn_predict_layers":1,` + layersModel + `"rope_theta":1`, []Layer{Full, Full, Full, Full}, 0, 4 * (2*64*64 + 2*64*32 + 64 + 2*32 + 3*64*32 + 2*64)},
		{nas, []Layer{Full, Stateless, Full}, 0, 2*(2*64*64+2*64*32+64) + 3*64*256 + 3*64*100 + 2*64}, // 2/3 of 3·64 is 128, up to a multiple of 256
	} {
		m, err := ParseConfig([]byte("{"+test.entries+"}"), nil)
		if err != nil {
			t.Errorf("%s: %v", test.entries, err)
			continue
		}
		if got := m.Params() - 2*128*64 - 64; got != test.params || !slices.Equal(m.Layers, test.kinds) || m.ExpertLayers() != test.mixtures {
			t.Errorf("%s: %d parameters of layers %v, %d with experts, want %d, %v, %d", test.entries, got, m.Layers, m.ExpertLayers(), test.params, test.kinds, test.mixtures)
		}
	}
	m, err := ParseConfig([]byte(`{"model_type":"olmo3","intermediate_size":32,`+layersModel+`"sliding_window":100,"rope_scaling":{"rope_type":"yarn","factor":8.0,"original_max_position_embeddings":64}}`), nil)
	if want := []RotaryTable{{512, 16}, {512, 16}}; err != nil || !slices.Equal(m.Rotary, want) {
		t.Errorf("olmo3: tables %v, %v, want %v: one with scaling and one without", m.Rotary, err, want)
	}
	for entries, want := range map[string]string{
		`"model_type":"exaone4","intermediate_size":32,"sliding_window":100,"sliding_window_pattern":"GL",` + layersModel + `"rope_theta":1`:                                                 `sliding_window_pattern is "GL", want an L for each layer`,
		`"model_type":"exaone4","intermediate_size":32,"sliding_window":100,"sliding_window_pattern":0,` + layersModel + `"rope_theta":1`:                                                    "sliding_window_pattern is 0, want 1 to",
		`"model_type":"cohere2","intermediate_size":32,"use_qk_norm":true,` + layersModel + `"rope_theta":1`:                                                                                 "use_qk_norm is true",
		`"model_type":"mimo","intermediate_size":32,"use_mrope":true,` + layersModel + `"rope_theta":1`:                                                                                      "use_mrope true",
		`"model_type":"glm4_moe","intermediate_size":32,"moe_intermediate_size":1048576,"n_routed_experts":4,"num_experts_per_tok":2,"n_shared_experts":2,` + layersModel + `"rope_theta":1`: "n_shared_experts is 2: 1048576 wide",
		`"model_type":"ernie4_5_moe","intermediate_size":32,"moe_intermediate_size":32,"moe_num_experts":4,"moe_k":2,"moe_num_shared_experts":-1,` + layersModel + `"rope_theta":1`:          "moe_num_shared_experts is -1",
		`"model_type":"ernie4_5_moe","intermediate_size":32,"moe_intermediate_size":[32],"moe_num_experts":4,"moe_k":2,` + layersModel + `"rope_theta":1`:                                    "moe_intermediate_size is [32], want a whole number",
		strings.Replace(nas, `"n_heads_in_group":2},"ffn":{"no_op"`, `"n_heads_in_group":4},"ffn":{"no_op"`, 1):                                                                              "block_configs[2].attention.n_heads_in_group is 4: want the same number",
		strings.Replace(nas, `"no_op":true},"ffn":{"inter`, `"no_op":true,"window_length":5},"ffn":{"inter`, 1):                                                                              `"block_configs[1].attention.window_length": unknown`,
		strings.Replace(nas, `"ffn_mult":3`, `"ffn_mult":1e300`, 1):                                                                                                                          "block_configs[0].ffn.ffn_mult or intermediate_size make an MLP of 0 elements",
		strings.Replace(nas, `"no_op":true},"ffn":{"inter`, `"no_op":true},"ssm":{"a":1},"ffn":{"inter`, 1):                                                                                  `"block_configs[1].ssm": unknown`,
		strings.Replace(nas, `"num_hidden_layers":3`, `"num_hidden_layers":2`, 1):                                                                                                            "block_configs has 3 layers, and num_hidden_layers is 2",
		strings.ReplaceAll(nas, `"n_heads_in_group":2`, `"no_op":true`):                                                                                                                      "no layer has attention",
		strings.Replace(nas, `,"ffn":{"ffn_mult":3}`, ``, 1):                                                                                                                                 "block_configs[0].ffn is missing",
		strings.Replace(nas, `{"attention":{"no_op":true},`, `{`, 1):                                                                                                                         "block_configs[1].attention is missing",
		strings.Replace(nas, `[{"att`, `[1,{"att`, 1):                                                                                                                                        "block_configs[0]: ",
	} {
		if _, err := ParseConfig([]byte("{"+entries+"}"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
}

const mimoModel = `"model_type":"mimo_v2_flash","num_hidden_layers":3,"hidden_size":64,"num_attention_heads":8,"num_key_value_heads":2,"head_dim":24,"v_head_dim":8,"swa_num_key_value_heads":4,"sliding_window_size":100,"partial_rotary_factor":0.334,"swa_rope_theta":10000,"rope_theta":5000000,"hybrid_layer_pattern":[0,1,1],"moe_layer_freq":[0,1,1],"intermediate_size":32,"moe_intermediate_size":16,"n_routed_experts":4,"num_experts_per_tok":2,"vocab_size":128,"max_position_embeddings":1000`

// TestMiMoV2 works out layers whose values are shorter than their keys, and those with windows that have more heads.
func TestMiMoV2(t *testing.T) {
	parse := func(entries string) (Model, error) { return ParseConfig([]byte("{"+mimoModel+entries+"}"), nil) }
	const (
		full, windowed = 64*8*24 + 64*2*24 + 64*2*8 + 8*8*64 + 2*64, 64*8*24 + 64*4*24 + 64*4*8 + 8*8*64 + 2*64
		mlp, mixture   = 3 * 64 * 32, 4*3*64*16 + 64*4 + 4
		tables         = 2*128*64 + 64
	)
	for entries, want := range map[string][2]int64{ // parameters, bytes
		"":                                     {full + mlp + 2*(windowed+mixture) + tables, 2*(full+mlp+2*(windowed+mixture)+tables) + 2*2*(64*4+4)},
		`,"moe_router_dtype":"bfloat16"`:       {full + mlp + 2*(windowed+mixture) + tables, 2 * (full + mlp + 2*(windowed+mixture) + tables)},
		`,"add_swa_attention_sink_bias":true`:  {full + mlp + 2*(windowed+mixture+8) + tables, 2*(full+mlp+2*(windowed+mixture+8)+tables) + 2*2*(64*4+4)},
		`,"add_full_attention_sink_bias":true`: {full + 8 + mlp + 2*(windowed+mixture) + tables, 2*(full+8+mlp+2*(windowed+mixture)+tables) + 2*2*(64*4+4)},
		`,"attention_bias":true`:               {full + 8*24 + 2*24 + 2*8 + mlp + 2*(windowed+8*24+4*24+4*8+mixture) + tables, 2*(full+8*24+2*24+2*8+mlp+2*(windowed+8*24+4*24+4*8+mixture)+tables) + 2*2*(64*4+4)},
	} {
		m, err := parse(entries)
		if err != nil || m.Params() != want[0] || m.Bytes(BF16) != want[1] {
			t.Errorf("%s: %d parameters in %d bytes, %v, want %d", entries, m.Params(), m.Bytes(BF16), err, want)
			continue
		}
		if !slices.Equal(m.Layers, []Layer{Full, Windowed, Windowed}) || m.Global != (Heads{2, 16}) || m.Shape.KVHeads != 4 || m.Shape.HeadSize != 16 || m.Pair != 32 || !slices.Equal(m.Rotary, []RotaryTable{{1000, 8}, {1000, 8}}) {
			t.Errorf("%s: layers %v, heads %v of %v, pair %d, tables %v", entries, m.Layers, m.Global, m.Shape, m.Pair, m.Rotary)
		}
	}
	for entries, want := range map[string]string{
		`,"swa_head_dim":16`:            "swa_head_dim or swa_v_head_dim are not those of the other layers",
		`,"n_shared_experts":1`:         `"n_shared_experts": unknown`,
		`,"moe_router_dtype":"float16"`: `moe_router_dtype is "float16", want float32 or bfloat16`,
	} {
		if _, err := parse(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
	for old, want := range map[[2]string]string{
		{`"v_head_dim":8`, `"v_head_dim":9`}:                             "head_dim 24 and v_head_dim 9 are odd",
		{`"swa_num_key_value_heads":4`, `"swa_num_key_value_heads":3`}:   "is not a multiple of num_key_value_heads 2 and swa_num_key_value_heads 3",
		{`"hybrid_layer_pattern":[0,1,1]`, `"hybrid_layer_pattern":[0]`}: "hybrid_layer_pattern has 1 layers, and num_hidden_layers is 3",
	} {
		if _, err := ParseConfig([]byte("{"+strings.Replace(mimoModel, old[0], old[1], 1)+"}"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", old, err, want)
		}
	}
}

// TestImageEncoders works out the encoders of Qwen2.5-VL and of Mistral's models.
func TestImageEncoders(t *testing.T) {
	const (
		text = `"num_hidden_layers":2,"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":128,"vocab_size":128,"max_position_embeddings":512`
		qwen = `"vision_config":{"depth":3,"hidden_size":24,"intermediate_size":50,"patch_size":7,"out_hidden_size":64`
		pix  = `"vision_config":{"hidden_size":24,"num_hidden_layers":3,"num_attention_heads":3,"intermediate_size":50,"patch_size":7`
	)
	parse := func(entries string) (Model, error) { return ParseConfig([]byte("{"+entries+"}"), nil) }
	for _, test := range []struct {
		kind, without, with string
		held                int64
		positions           int
	}{
		{"in text_config", `"model_type":"qwen2_5_vl","text_config":{"model_type":"qwen2_5_vl_text",` + text + `}`, qwen + `,"in_channels":1,"temporal_patch_size":1,"spatial_merge_size":3}`,
			7*7*24 + 3*(4*25*24+2*25*50+51*24+2*24) + 24 + 217*216 + 217*64, 4 * 512},
		{"beside vision_config", `"model_type":"qwen2_5_vl",` + text, qwen + `}`, 3*2*7*7*24 + 3*(4*25*24+2*25*50+51*24+2*24) + 24 + 97*96 + 97*64, 4 * 512},
		{"pixtral", `"model_type":"mistral3","text_config":{` + text + `}`, pix + `}`, 3*7*7*24 + 24 + 3*(4*24*24+3*24*50+2*24) + 24 + 96*24 + 24*64 + 64*64, 512},
		{"with biases", `"model_type":"mistral3","spatial_merge_size":1,"multimodal_projector_bias":true,"text_config":{"model_type":"ministral3",` + text + `}`, pix + `,"num_channels":1,"head_dim":8}`,
			7*7*24 + 24 + 3*(4*24*24+3*24*50+2*24) + 24 + 24*24 + 25*64 + 65*64, 512},
	} {
		plain, err := parse(test.without)
		if err != nil {
			t.Errorf("%s: %v", test.kind, err)
			continue
		}
		m, err := parse(test.without + "," + test.with)
		if err != nil || m.Params()-plain.Params() != test.held || m.StepBytes(BF16) != plain.StepBytes(BF16) || !slices.Equal(m.Rotary, []RotaryTable{{test.positions, 16}}) {
			t.Errorf("%s: %d parameters of the encoder, tables %v, %v, want %d, %d positions", test.kind, m.Params()-plain.Params(), m.Rotary, err, test.held, test.positions)
		}
	}
	for entries, want := range map[string]string{
		`"model_type":"qwen2_5_vl",` + text + "," + strings.Replace(qwen, `"out_hidden_size":64`, `"out_hidden_size":32`, 1) + "}": "vision_config.out_hidden_size is 32, and hidden_size is 64",
		`"model_type":"qwen2_5_vl",` + text + "," + qwen + `,"deepstack_visual_indexes":[1]}`:                                      `"vision_config.deepstack_visual_indexes": unknown`,
		`"model_type":"mistral3","text_config":{` + text + `},` + pix + `,"head_dim":16}`:                                          "vision_config.num_attention_heads 3 of head_dim 16 are not hidden_size, 24",
		`"model_type":"mistral3","text_config":{` + text + `},` + pix + `,"model_type":"siglip_vision_model"}`:                     "vision_config.model_type is",
		`"model_type":"mistral3","text_config":{"model_type":"mixtral",` + text + `}`:                                              "text_config.model_type is \"mixtral\", want mistral or ministral3",
	} {
		if _, err := parse(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
}
