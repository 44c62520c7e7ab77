package catalog

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

// TestPublishedFiles compares parameters with the elements of all tensors of the published safetensors files,
// less those of scales and with packed ones counted each, and bytes with the files'.
func TestPublishedFiles(t *testing.T) {
	const kimiRouted = 60 * 384 * 3 * 7168 * 2048 // 60 layers of 384 experts with three matrices
	for _, test := range []struct {
		model    string
		elements int64
		scales   int64 // elements that are scales, not parameters
		packed   int64 // parameters, less the elements that they are packed in
		bytes    int64 // of all tensors; 0 for two of each element
		source   string
	}{
		// 62 layers of 256 experts with three matrices of 24 × 12 blocks, and attention's of 24 × (2·48 + 2·8).
		{"minimax-m2.5", 228_703_644_928, 62 * (256*3*24*12 + 24*(2*48+2*8)), 0, 230_121_630_720, "tensors of MiniMaxAI/MiniMax-M2 and M2.7, which have the same layers"},
		// A scale for each 32 weights, and two numbers for the shape of each matrix; eight weights in an element.
		{"kimi-k2.5", 170_738_182_128, kimiRouted/32 + 60*384*3*2, kimiRouted * 7 / 8, 595_148_192_736, "tensors of moonshotai/Kimi-K2.5, and total_size of its index"},
		{"qwen3-vl-2b", 2_127_532_032, 0, 0, 0, "parameters of Qwen/Qwen3-VL-2B-Instruct in the model's metadata"},
		{"qwen3-vl-4b", 4_437_815_808, 0, 0, 0, "parameters of Qwen/Qwen3-VL-4B-Instruct as loaded"},
		{"qwen3-vl-8b", 8_767_123_696, 0, 0, 0, "tensors of Qwen/Qwen3-VL-8B-Instruct"},
		{"qwen3-vl-32b", 33_357_390_064, 0, 0, 66_714_780_128, "tensors of Qwen/Qwen3-VL-32B-Instruct"},
		{"qwen3-vl-30b-a3b", 31_070_754_032, 0, 0, 0, "tensors of Qwen/Qwen3-VL-30B-A3B-Instruct"},
		{"qwen3-vl-235b-a22b", 235_670_022_896, 0, 0, 0, "tensors of Qwen/Qwen3-VL-235B-A22B-Instruct"},
		{"llama-4-scout", 108_641_793_536, 0, 0, 0, "parameters of meta-llama/Llama-4-Scout-17B-16E-Instruct in the model's metadata"},
		{"llama-4-maverick", 401_583_781_376, 0, 0, 0, "parameters of meta-llama/Llama-4-Maverick-17B-128E-Instruct in the model's metadata"},
	} {
		m := find(t, test.model)
		if got, want := m.Params(), test.elements-test.scales+test.packed; got != want {
			t.Errorf("%s: %d parameters, want %d (%s)", test.model, got, want, test.source)
		}
		if got, want := m.Bytes(m.Weights), cmp.Or(test.bytes, 2*test.elements); got != want {
			t.Errorf("%s: %d bytes, want %d (%s)", test.model, got, want, test.source)
		}
	}
}

// TestPublishedActive compares the active parameters of a token, the output matrix included, with those of
// model cards and reports, which are rounded or cut to whole billions. Some count the embedding table too.
func TestPublishedActive(t *testing.T) {
	for _, test := range []struct {
		model string
		want  float64
		table bool // it counts the embedding table
	}{
		{"minimax-m2.5", 10, false}, {"kimi-k2.5", 32, false}, {"qwen3-vl-30b-a3b", 3, false}, {"qwen3-vl-235b-a22b", 22, false},
		{"glm-4.5", 32, false}, {"glm-4.7-flash", 3, false}, {"glm-4.5-air", 12, false}, {"llama-4-scout", 17, true}, {"llama-4-maverick", 17, true},
	} {
		m := find(t, test.model)
		n := activeParams(m)
		if test.table {
			n += int64(m.Hidden) * int64(m.Vocab)
		}
		if got := float64(n) / 1e9; got < test.want-0.5 || got >= test.want+1 {
			t.Errorf("%s: a token passes %.2f billion parameters, want %v", test.model, got, test.want)
		}
	}
}

// activeParams returns the parameters of the products of a token.
func activeParams(m *Model) int64 {
	n := int64(m.Hidden) * int64(m.Vocab)
	for _, kind := range []Kind{Linear, Routed} {
		for _, w := range m.Active(m.Weights, kind, &Card{}) {
			n += w
		}
	}
	return n
}

const miniMax = `"model_type":"minimax_m2","num_hidden_layers":2,"hidden_size":512,"num_attention_heads":8,"num_key_value_heads":2,"head_dim":128,"intermediate_size":256,"num_local_experts":4,"num_experts_per_tok":2,"vocab_size":64,"max_position_embeddings":1000,`

// TestMiniMaxM2 checks the entries of MiniMax-M2, and that its routers stay as published in every format.
func TestMiniMaxM2(t *testing.T) {
	const (
		attention = 2 * 512 * (2*8*128 + 2*2*128)
		experts   = 2 * 4 * 3 * 512 * 256
		routers   = 2 * 4 * 512
		others    = 2*(10*128+2*512) + 2*64*512 + 512
	)
	parse := func(entries string) (Model, error) { return ParseConfig([]byte("{"+miniMax+entries+"}"), nil) }
	for _, test := range []struct {
		entries string
		weights Weights
		bytes   int64
		rotated int
	}{
		{`"rotary_dim":64,"qk_norm_type":"per_layer","attn_type_list":[1,1],"use_mtp":true,"num_mtp_modules":3`, BF16, 2*(attention+experts+others) + 4*routers, 64},
		{`"rotary_dim":64,"partial_rotary_factor":0.5`, BF16, 2*(attention+experts+others) + 4*routers, 64},
		{`"rope_parameters":{"partial_rotary_factor":0.25,"rope_type":"default"},"use_routing_bias":true`, BF16, 2*(attention+experts+others) + 4*routers + 2*4*4, 32},
		{`"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128],"modules_to_not_convert":["gate","lm_head"]}`, FP8, attention + experts + 4*(attention+experts)/128/128 + 2*others + 4*routers, 128},
		{`"quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4","ignore":["lm_head","model.layers.0.self_attn*","model.layers.1.self_attn*"]}`, NVFP4,
			experts/2 + experts/16 + 8*2*4*3 + 2*(attention+others) + 4*routers, 128},
	} {
		m, err := parse(test.entries)
		if err != nil {
			t.Errorf("%s: %v", test.entries, err)
			continue
		}
		if got := m.Bytes(m.Weights); m.Weights != test.weights || got != test.bytes || m.Rotary[0].Elements != test.rotated {
			t.Errorf("%s: %s, %d bytes, %v; want %s, %d, %d rotated", test.entries, m.Weights, got, m.Rotary, test.weights, test.bytes, test.rotated)
		}
	}
	m, err := parse(`"rotary_dim":64`)
	if got, want := m.Bytes(INT8), int64(attention+experts+4*2*(8*128+2*2*128+512+4*(2*256+512))+2*others+4*routers); err != nil || got != want {
		t.Errorf("in int8 %d bytes, %v, want %d", got, err, want)
	}
	for entries, want := range map[string]string{
		`"rotary_dim":129`:                          "rotary_dim is 129, want 1 to the 128 elements",
		`"rotary_dim":64,"partial_rotary_factor":1`: "partial_rotary_factor is 1, and rotary_dim is 64 of 128",
		`"attn_type_list":[1,0]`:                    "attn_type_list: layers that have no full attention",
		`"attn_type_list":[1]`:                      "attn_type_list has 1 layers, and num_hidden_layers is 2",
		`"qk_norm_type":"per_head"`:                 `qk_norm_type is "per_head"`,
		`"use_qk_norm":false`:                       "use_qk_norm is false",
		`"shared_intermediate_size":64`:             `"shared_intermediate_size": unknown`,
	} {
		if _, err := parse(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
	uneven := "{" + strings.Replace(miniMax, `"num_key_value_heads":2`, `"num_key_value_heads":3`, 1) + `"rotary_dim":64}`
	if _, err := ParseConfig([]byte(uneven), nil); err == nil || err.Error() != "config.json: num_attention_heads 8 is not a multiple of num_key_value_heads 3" {
		t.Errorf("uneven heads: %v", err)
	}
}

const kimi = `"model_type":"kimi_k25","text_config":{"model_type":"kimi_k2","kv_lora_rank":32,"qk_rope_head_dim":8,"qk_nope_head_dim":16,"v_head_dim":16,"num_hidden_layers":2,"hidden_size":64,"num_attention_heads":4,"intermediate_size":128,"moe_intermediate_size":32,"n_routed_experts":4,"n_shared_experts":1,"num_experts_per_tok":2,"first_k_dense_replace":1,"topk_method":"noaux_tc","vocab_size":128,"max_position_embeddings":512%s}`

// TestKimiImages works out the encoder of images and its projector, and the names by which a list of modules
// leaves out those of the text model.
func TestKimiImages(t *testing.T) {
	parse := func(text, entries string) (Model, error) {
		return ParseConfig([]byte("{"+strings.Replace(kimi, "%s", text, 1)+entries+"}"), nil)
	}
	plain, err := parse("", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		vision string
		held   int64
	}{
		{`"vt_hidden_size":24,"vt_num_hidden_layers":3,"vt_intermediate_size":50`,
			(3*14*14+1)*24 + 64*64*24 + 3*(4*25*24+25*50+51*24+4*24) + 2*24 + 2*24 + (4*24+1)*4*24 + (4*24+1)*64},
		{`"vt_hidden_size":24,"vt_num_hidden_layers":3,"vt_intermediate_size":50,"vt_num_attention_heads":2,"patch_size":7,"init_pos_emb_height":5,"init_pos_emb_width":6,"init_pos_emb_time":4,"merge_kernel_size":[1,3],"mm_hidden_size":24,"text_hidden_size":64,"model_type":""`,
			(3*7*7+1)*24 + 5*6*24 + 3*(4*25*24+25*50+51*24+4*24) + 2*24 + 2*24 + (3*24+1)*3*24 + (3*24+1)*64},
	} {
		m, err := parse("", `,"vision_config":{`+test.vision+`}`)
		if err != nil {
			t.Errorf("%s: %v", test.vision, err)
			continue
		}
		if got := m.Params() - plain.Params(); got != test.held {
			t.Errorf("%s: %d parameters of the encoder, want %d", test.vision, got, test.held)
		}
		if m.StepBytes(BF16) != plain.StepBytes(BF16) || m.Bytes(INT8) != plain.Bytes(INT8)+2*test.held {
			t.Errorf("%s: a step reads %d bytes, want %d, and in int8 there are %d", test.vision, m.StepBytes(BF16), plain.StepBytes(BF16), m.Bytes(INT8))
		}
	}
	const groups = `"config_groups":{"a":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":32}}}`
	for _, test := range []struct{ text, entries string }{
		{`,"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["re:.*self_attn.*","re:.*shared_experts.*","re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],` + groups + `}`, ""},
		{"", `,"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["language_model.model.layers.*.self_attn*","language_model.model.layers.0*","language_model.model.layers.1.mlp.shared_experts*"],` + groups + `}`},
	} {
		m, err := parse(test.text, test.entries)
		const routed, matrices = 4 * 3 * 64 * 32, 4 * 3 // 4 experts, the router in 16 bits
		if want := plain.Bytes(BF16) - 2*routed + routed/2 + routed/32*2 + 8*matrices; err != nil || m.Bytes(INT4) != want {
			t.Errorf("%s%s: %d bytes, %v, want %d", test.text, test.entries, m.Bytes(INT4), err, want)
		}
	}
	const vision = `,"vision_config":{"vt_hidden_size":24,"vt_num_hidden_layers":3,"vt_intermediate_size":50,`
	for in, want := range map[[2]string]string{
		{"", vision + `"pos_emb_type":"rope"}`}:                              `vision_config.pos_emb_type is "rope", want divided_fixed`,
		{"", vision + `"mm_projector_type":"patchmergerv2"}`}:                `vision_config.mm_projector_type is "patchmergerv2"`,
		{"", vision + `"merge_kernel_size":[2]}`}:                            "vision_config.merge_kernel_size is [2], want two numbers",
		{"", vision + `"text_hidden_size":65}`}:                              "vision_config.text_hidden_size is 65, and hidden_size is 64",
		{"", vision + `"mm_hidden_size":64}`}:                                "vision_config.mm_hidden_size is 64, and vt_hidden_size is 24",
		{"", vision + `"qkv_hidden_size":12}`}:                               `"vision_config.qkv_hidden_size": unknown`,
		{"", `,"vision_config":{}`}:                                          "vision_config.vt_hidden_size is missing",
		{`,"model_type":"llama"`, ""}:                                        `"model_type" occurs twice`,
		{`,"quantization_config":{"a":1}`, `,"quantization_config":{"a":1}`}: "quantization_config and text_config.quantization_config: want one of them",
		{`,"made_up":1`, ""}:                                                 `"made_up": unknown`,
	} {
		if _, err := parse(in[0], in[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
	if _, err := ParseConfig([]byte(`{"model_type":"kimi_k25","text_config":{"model_type":"llama"}}`), nil); err == nil || !strings.Contains(err.Error(), `text_config.model_type is "llama", want kimi_k2 or deepseek_v3`) {
		t.Errorf("a text model of Llama's: %v", err)
	}
}

const qwenVLModel = `{"model_type":"qwen3_vl","text_config":{"model_type":"qwen3_vl_text","num_hidden_layers":2,"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":128,"vocab_size":128,"max_position_embeddings":512%s},`

// TestQwenImages works out the encoder of Qwen3-VL, with a merger for the output of each stacked layer, and its
// rotary table.
func TestQwenImages(t *testing.T) {
	parse := func(text, vision string) (Model, error) {
		return ParseConfig([]byte(strings.Replace(qwenVLModel, "%s", text, 1)+`"vision_config":{"depth":3,"hidden_size":24,"intermediate_size":50,"num_position_embeddings":36,"patch_size":7,`+vision+`}}`), nil)
	}
	plain, err := ParseConfig([]byte(strings.Replace(qwenVLModel, "%s", "", 1)+`"vision_config":null}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	const blocks = 36*24 + 3*(4*25*24+25*50+51*24+4*24) + 2*24
	for vision, held := range map[string]int64{
		`"out_hidden_size":64`: (3*2*7*7+1)*24 + blocks + 97*96 + 97*64,
		`"out_hidden_size":64,"in_channels":1,"temporal_patch_size":1,"spatial_merge_size":3,"deepstack_visual_indexes":[0,2],"num_heads":4`: (7*7+1)*24 + blocks + 2*2*216 + 3*(217*216+217*64),
	} {
		m, err := parse("", vision)
		if err != nil {
			t.Errorf("%s: %v", vision, err)
			continue
		}
		if got := m.Params() - plain.Params(); got != held || m.StepBytes(BF16) != plain.StepBytes(BF16) {
			t.Errorf("%s: %d parameters of the encoder, want %d, and a step reads %d bytes, want %d", vision, got, held, m.StepBytes(BF16), plain.StepBytes(BF16))
		}
	}
	for text, want := range map[string]int{
		"": 4 * 512, `,"rope_scaling":{"rope_type":"default","mrope_section":[4,2,2],"mrope_interleaved":true}`: 4 * 512,
		`,"rope_parameters":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":512,"mrope_section":[4,2,2]}`: 4 * 4 * 512,
	} {
		m, err := parse(text, `"out_hidden_size":64`)
		if err != nil || len(m.Rotary) != 1 || m.Rotary[0] != (RotaryTable{want, 16}) || m.MaxLen != want/4 {
			t.Errorf("%s: %v, context %d, %v, want %d positions", text, m.Rotary, m.MaxLen, err, want)
		}
	}
	quantized, err := parse(`,"quantization_config":{"quant_method":"fp8","modules_to_not_convert":["model.language_model.layers.0","model.visual"]}`, `"out_hidden_size":64`)
	const layer = 2*64*64 + 2*64*32 + 3*64*128
	if want := quantized.Bytes(BF16) - layer + 7*4; err != nil || quantized.Bytes(FP8) != want {
		t.Errorf("%d bytes, %v, want %d", quantized.Bytes(FP8), err, want)
	}
	for vision, want := range map[string]string{
		`"out_hidden_size":65`:                                 "vision_config.out_hidden_size is 65, and hidden_size is 64",
		`"out_hidden_size":64,"deepstack_visual_indexes":[3]`:  "vision_config.deepstack_visual_indexes names layer 3 of 3",
		`"out_hidden_size":64,"fullatt_block_indexes":[1]`:     `"vision_config.fullatt_block_indexes": unknown`,
		`"out_hidden_size":64,"spatial_merge_size":17`:         "vision_config.spatial_merge_size is 17, want 1 to 16",
		`"out_hidden_size":64,"deepstack_visual_indexes":"24"`: "vision_config.deepstack_visual_indexes",
	} {
		if _, err := parse("", vision); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", vision, err, want)
		}
	}
}

const llama4Model = `{"model_type":"llama4","text_config":{"model_type":"llama4_text","num_hidden_layers":4,"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":32,"intermediate_size_mlp":128,"num_local_experts":4,"vocab_size":128,"max_position_embeddings":512%s}}`

// TestLlama4 works out which layers attend to chunks and which have experts.
func TestLlama4(t *testing.T) {
	parse := func(entries string) (Model, error) {
		return ParseConfig([]byte(strings.Replace(llama4Model, "%s", entries, 1)), nil)
	}
	const (
		attention = 2*64*64 + 2*64*32
		mixture   = 64*4 + (4+1)*3*64*32
		dense     = 3 * 64 * 128
		others    = 2*128*64 + 9*64
	)
	for _, test := range []struct {
		entries  string
		kinds    []Layer
		mixtures int
	}{
		{`,"attention_chunk_size":100`, []Layer{Windowed, Windowed, Windowed, Full}, 4},
		{`,"interleave_moe_layer_step":2,"attention_chunk_size":100,"no_rope_layers":[],"use_qk_norm":true`, []Layer{Windowed, Windowed, Windowed, Full}, 2},
		{`,"interleave_moe_layer_step":3,"attention_chunk_size":100,"no_rope_layers":[1,0,0,1]`, []Layer{Windowed, Full, Full, Windowed}, 1},
		{`,"moe_layers":[0,2,3],"attention_chunk_size":100,"no_rope_layer_interval":2,"layer_types":["chunked_attention","full_attention","chunked_attention","full_attention"]`, []Layer{Windowed, Full, Windowed, Full}, 3},
		{`,"moe_layers":[],"attention_chunk_size":512`, []Layer{Full, Full, Full, Full}, 0},
	} {
		m, err := parse(test.entries)
		if err != nil {
			t.Errorf("%s: %v", test.entries, err)
			continue
		}
		if got, want := m.Params(), int64(4*attention+test.mixtures*mixture+(4-test.mixtures)*dense+others); got != want || !slices.Equal(m.Layers, test.kinds) || m.ExpertLayers() != test.mixtures {
			t.Errorf("%s: %d parameters, layers %v, want %d, %v", test.entries, got, m.Layers, want, test.kinds)
		}
	}
	for entries, want := range map[string]string{
		`,"no_rope_layers":[1,1]`:           "no_rope_layers has 2 layers, and num_hidden_layers is 4",
		`,"moe_layers":[4]`:                 "moe_layers names layer 4 of 4",
		`,"layer_types":["full_attention"]`: "layer_types has 1 layers",
		`,"layer_types":["chunked_attention","chunked_attention","chunked_attention","chunked_attention"]`: "layer 3 is \"chunked_attention\", want full_attention by its rotary embedding",
		`,"attention_chunk_size":0`: "attention_chunk_size is 0",
	} {
		if _, err := parse(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
	const vision = `"hidden_size":24,"num_hidden_layers":3,"intermediate_size":96,"patch_size":7,"image_size":30,"projector_input_dim":40,"projector_output_dim":40`
	encoder := func(entries string) (Model, error) {
		return ParseConfig([]byte(strings.TrimSuffix(strings.Replace(llama4Model, "%s", "", 1), "}")+`,"vision_config":{`+vision+entries+`}}`), nil)
	}
	plain, _ := parse("")
	m, err := encoder("")
	if want := plain.Params() + 3*7*7*24 + 24 + 17*24 + 3*(4*25*24+25*96+97*24+4*24) + 4*24 + 96*40 + 40*40 + 40*64; err != nil || m.Params() != want || m.StepBytes(BF16) != plain.StepBytes(BF16) {
		t.Errorf("%d parameters with the encoder, %v, want %d", m.Params(), err, want)
	}
	for entries, want := range map[string]string{
		`,"pixel_shuffle_ratio":0.25`:        "pixel_shuffle_ratio 0.25 makes vectors of 384 elements, and the adapter takes intermediate_size, 96",
		`,"vision_output_dim":41`:            "vision_output_dim differ",
		`,"multi_modal_projector_bias":true`: "or the projector has a bias",
		`,"use_cls":true`:                    `"vision_config.use_cls": unknown`,
	} {
		if _, err := encoder(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
}
