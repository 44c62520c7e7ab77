package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// entry is a model that is known by name, with the entries of its config.json that determine its memory
// and time.
type entry struct {
	name    string
	repo    string   // on Hugging Face
	aliases []string // other names
	config  string   // without the outer braces
}

// is reports whether wanted is the key of one of the entry's names.
func (e *entry) is(wanted string) bool {
	return key(e.name) == wanted || slices.ContainsFunc(e.names(), func(a string) bool { return key(a) == wanted })
}

// names returns the other names of an entry: the repository and its aliases.
func (e *entry) names() []string { return append([]string{e.repo}, e.aliases...) }

func (e *entry) model() (Model, error) {
	m, err := ParseConfig([]byte("{"+e.config+"}"), nil)
	if err != nil {
		return m, fmt.Errorf("catalogue: %s: %w", e.name, err)
	}
	m.Name, m.Aliases, m.Source = e.name, e.names(), "config.json of "+e.repo+" on Hugging Face"
	return m, nil
}

// ModelNames returns the names of the known models, in the order in which they are listed.
func ModelNames() []string {
	var names []string
	for _, e := range entries() {
		names = append(names, e.name)
	}
	return names
}

// entries are the models that are known by name. Each is its published config.json, without
// the entries that change neither memory nor time.
func entries() []entry {
	const (
		l8    = `"model_type":"llama","num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"vocab_size":128256,"max_position_embeddings":131072,"torch_dtype":"bfloat16"`
		l70   = `"model_type":"llama","num_hidden_layers":80,"hidden_size":8192,"num_attention_heads":64,"num_key_value_heads":8,"intermediate_size":28672,"vocab_size":128256,"max_position_embeddings":131072,"torch_dtype":"bfloat16"`
		l2    = `"model_type":"llama","vocab_size":32000,"max_position_embeddings":4096,"torch_dtype":"float16",`
		m7    = `"model_type":"mistral","num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"vocab_size":32000,"max_position_embeddings":32768,"torch_dtype":"bfloat16"`
		moe   = `"model_type":"mixtral","num_experts_per_tok":2,"num_local_experts":8,"num_key_value_heads":8,"torch_dtype":"bfloat16",`
		q25   = `"model_type":"qwen2","max_position_embeddings":32768,"use_sliding_window":false,"torch_dtype":"bfloat16",`
		q3    = `"model_type":"qwen3","vocab_size":151936,"max_position_embeddings":40960,"num_key_value_heads":8,"head_dim":128,"use_sliding_window":false,"torch_dtype":"bfloat16",`
		q3m   = `"model_type":"qwen3_moe","vocab_size":151936,"max_position_embeddings":40960,"num_key_value_heads":4,"head_dim":128,"num_experts":128,"num_experts_per_tok":8,"use_sliding_window":false,"torch_dtype":"bfloat16",`
		q3vl  = `"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"max_position_embeddings":262144,`
		q3vlm = `"num_key_value_heads":4,"head_dim":128,"vocab_size":151936,"max_position_embeddings":262144,"num_experts":128,"num_experts_per_tok":8,`
		l4    = `"model_type":"llama4","torch_dtype":"bfloat16","text_config":{"num_hidden_layers":48,"hidden_size":5120,"num_attention_heads":40,"num_key_value_heads":8,"head_dim":128,"intermediate_size":8192,"intermediate_size_mlp":16384,"num_experts_per_tok":1,"attention_chunk_size":8192,"vocab_size":202048,`
		see4  = `"vision_config":{"model_type":"llama4_vision_model","hidden_size":1408,"num_hidden_layers":34,"intermediate_size":5632,"patch_size":14,"image_size":336,"projector_input_dim":4096,"projector_output_dim":4096}`
		glm4  = `"model_type":"glm4_moe","num_attention_heads":96,"num_key_value_heads":8,"head_dim":128,"attention_bias":true,"n_shared_experts":1,"num_experts_per_tok":8,"partial_rotary_factor":0.5,"vocab_size":151552,"max_position_embeddings":131072,"torch_dtype":"bfloat16",`
		g2    = `"model_type":"gemma2","vocab_size":256000,"max_position_embeddings":8192,"head_dim":256,"sliding_window":4096,"torch_dtype":"bfloat16",`
		g3    = `"vocab_size":262208,"max_position_embeddings":131072,"rope_scaling":{"rope_type":"linear","factor":8.0},"sliding_window":1024,"sliding_window_pattern":6,`
		see   = `"vision_config":{"model_type":"siglip_vision_model","hidden_size":1152,"num_hidden_layers":27,"intermediate_size":4304,"patch_size":14,"image_size":896,"vision_use_head":false}`
		nemo  = `"model_type":"nemotron_h","num_key_value_heads":2,"head_dim":128,"mamba_head_dim":64,"ssm_state_size":128,"conv_kernel":4,"n_groups":8,"mamba_ssm_cache_dtype":"float32","n_shared_experts":1,"vocab_size":131072,"max_position_embeddings":262144,`
		g4    = `"model_type":"gemma4","torch_dtype":"bfloat16","text_config":{"vocab_size":262144,"max_position_embeddings":262144,"head_dim":256,"global_head_dim":512,"attention_k_eq_v":true,"sliding_window":1024,"rope_parameters":{"full_attention":{"partial_rotary_factor":0.25,"rope_theta":1000000.0,"rope_type":"proportional"},"sliding_attention":{"rope_theta":10000.0,"rope_type":"default"}},`
		see4g = `"vision_config":{"model_type":"gemma4_vision","hidden_size":1152,"num_hidden_layers":27,"num_attention_heads":16,"head_dim":72,"intermediate_size":4304,"patch_size":16,"position_embedding_size":10240,"standardize":true}`
		oss   = `"model_type":"gpt_oss","hidden_size":2880,"intermediate_size":2880,"num_attention_heads":64,"num_key_value_heads":8,"head_dim":64,"num_experts_per_tok":4,"attention_bias":true,"sliding_window":128,"vocab_size":201088,"max_position_embeddings":131072,"quantization_config":{"quant_method":"mxfp4","modules_to_not_convert":["model.layers.*.self_attn","model.layers.*.mlp.router","model.embed_tokens","lm_head"]},`
		mla   = `"kv_lora_rank":512,"qk_rope_head_dim":64,"qk_nope_head_dim":128,"v_head_dim":128,`
		glm   = `"model_type":"glm_moe_dsa","kv_lora_rank":512,"qk_rope_head_dim":64,"qk_nope_head_dim":192,"v_head_dim":256,"index_n_heads":32,"index_head_dim":128,"index_topk":2048,"indexer_rope_interleave":true,"q_lora_rank":2048,"num_hidden_layers":78,"hidden_size":6144,"num_attention_heads":64,"intermediate_size":12288,"moe_intermediate_size":2048,"n_routed_experts":256,"n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":3,"topk_method":"noaux_tc","vocab_size":154880,`
		fp8   = `"quantization_config":{"quant_method":"fp8","fmt":"e4m3","activation_scheme":"dynamic","weight_block_size":[128,128]},`
		int4  = `"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["lm_head","re:.*self_attn.*","re:.*shared_experts.*","re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],"config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":32,"symmetric":true}}}},`
		rgem  = `"model_type":"recurrent_gemma","vocab_size":256000,"num_key_value_heads":1,"head_dim":256,"conv1d_width":4,"attention_window_size":2048,"block_types":["recurrent","recurrent","attention"],`
	)
	return []entry{
		{"llama-3.1-8b", "meta-llama/Llama-3.1-8B", []string{"Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"}, l8},
		{"llama-3.1-70b", "meta-llama/Llama-3.1-70B", []string{"Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"}, l70},
		{"llama-3.1-70b-fp8", "neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8", []string{"Llama-3.1-70B-Instruct-FP8"},
			l70 + `,"quantization_config":{"quant_method":"fp8","activation_scheme":"static","ignored_layers":["lm_head"]}`},
		{"llama-3.1-405b", "meta-llama/Llama-3.1-405B", []string{"Llama-3.1-405B-Instruct", "meta-llama/Llama-3.1-405B-Instruct"},
			`"model_type":"llama","num_hidden_layers":126,"hidden_size":16384,"num_attention_heads":128,"num_key_value_heads":8,"intermediate_size":53248,"vocab_size":128256,"max_position_embeddings":131072,"torch_dtype":"bfloat16"`},
		{"llama-3-8b", "meta-llama/Meta-Llama-3-8B", []string{"Meta-Llama-3-8B", "Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct"}, strings.Replace(l8, "131072", "8192", 1)},
		{"llama-3-70b", "meta-llama/Meta-Llama-3-70B", []string{"Meta-Llama-3-70B", "Meta-Llama-3-70B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"}, strings.Replace(l70, "131072", "8192", 1)},
		{"llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct", []string{"Llama-3.3-70B-Instruct"}, l70},
		{"llama-3.2-1b", "meta-llama/Llama-3.2-1B", []string{"Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"},
			`"model_type":"llama","num_hidden_layers":16,"hidden_size":2048,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":64,"intermediate_size":8192,"vocab_size":128256,"max_position_embeddings":131072,"tie_word_embeddings":true`},
		{"llama-3.2-3b", "meta-llama/Llama-3.2-3B", []string{"Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"},
			`"model_type":"llama","num_hidden_layers":28,"hidden_size":3072,"num_attention_heads":24,"num_key_value_heads":8,"head_dim":128,"intermediate_size":8192,"vocab_size":128256,"max_position_embeddings":131072,"tie_word_embeddings":true`},
		{"llama-2-7b", "meta-llama/Llama-2-7b-hf", []string{"meta-llama/Llama-2-7b-chat-hf"}, l2 + `"num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"intermediate_size":11008`},
		{"llama-2-13b", "meta-llama/Llama-2-13b-hf", []string{"meta-llama/Llama-2-13b-chat-hf"}, l2 + `"num_hidden_layers":40,"hidden_size":5120,"num_attention_heads":40,"intermediate_size":13824`},
		{"llama-2-70b", "meta-llama/Llama-2-70b-hf", []string{"meta-llama/Llama-2-70b-chat-hf"}, l2 + `"num_hidden_layers":80,"hidden_size":8192,"num_attention_heads":64,"num_key_value_heads":8,"intermediate_size":28672`},
		{"llama-4-scout", "meta-llama/Llama-4-Scout-17B-16E-Instruct", []string{"meta-llama/Llama-4-Scout-17B-16E", "Llama-4-Scout-17B-16E-Instruct"},
			l4 + `"interleave_moe_layer_step":1,"num_local_experts":16,"max_position_embeddings":10485760},` + see4},
		{"llama-4-maverick", "meta-llama/Llama-4-Maverick-17B-128E-Instruct", []string{"meta-llama/Llama-4-Maverick-17B-128E", "Llama-4-Maverick-17B-128E-Instruct"},
			l4 + `"interleave_moe_layer_step":2,"num_local_experts":128,"max_position_embeddings":1048576},` + see4},
		{"codellama-34b", "codellama/CodeLlama-34b-hf", []string{"CodeLlama-34b-Instruct-hf", "codellama/CodeLlama-34b-Instruct-hf"},
			`"model_type":"llama","num_hidden_layers":48,"hidden_size":8192,"num_attention_heads":64,"num_key_value_heads":8,"intermediate_size":22016,"vocab_size":32000,"max_position_embeddings":16384`},
		{"yi-34b", "01-ai/Yi-34B", []string{"01-ai/Yi-34B-Chat"},
			`"model_type":"llama","num_hidden_layers":60,"hidden_size":7168,"num_attention_heads":56,"num_key_value_heads":8,"intermediate_size":20480,"vocab_size":64000,"max_position_embeddings":4096,"torch_dtype":"bfloat16"`},
		{"mistral-7b-v0.1", "mistralai/Mistral-7B-v0.1", []string{"mistralai/Mistral-7B-Instruct-v0.1"}, m7 + `,"sliding_window":4096`},
		{"mistral-7b", "mistralai/Mistral-7B-Instruct-v0.2", []string{"Mistral-7B-Instruct-v0.2", "mistral-7b-v0.2"}, m7},
		{"mistral-nemo", "mistralai/Mistral-Nemo-Instruct-2407", []string{"mistralai/Mistral-Nemo-Base-2407", "mistral-nemo-12b", "Mistral-Nemo-Instruct-2407"},
			`"model_type":"mistral","num_hidden_layers":40,"hidden_size":5120,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"intermediate_size":14336,"vocab_size":131072,"max_position_embeddings":1024000,"torch_dtype":"bfloat16"`},
		{"mistral-small-24b", "mistralai/Mistral-Small-24B-Instruct-2501", nil,
			`"model_type":"mistral","num_hidden_layers":40,"hidden_size":5120,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"intermediate_size":32768,"vocab_size":131072,"max_position_embeddings":32768,"torch_dtype":"bfloat16"`},
		{"mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1", []string{"mistralai/Mixtral-8x7B-Instruct-v0.1"},
			moe + `"num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"intermediate_size":14336,"vocab_size":32000,"max_position_embeddings":32768`},
		{"mixtral-8x22b", "mistralai/Mixtral-8x22B-v0.1", nil,
			moe + `"num_hidden_layers":56,"hidden_size":6144,"num_attention_heads":48,"intermediate_size":16384,"vocab_size":32000,"max_position_embeddings":65536`},
		qwen("0.5b", 24, 896, 14, 2, 4864, 151936, q25+`"tie_word_embeddings":true,`),
		qwen("1.5b", 28, 1536, 12, 2, 8960, 151936, q25+`"tie_word_embeddings":true,`),
		qwen("3b", 36, 2048, 16, 2, 11008, 151936, q25+`"tie_word_embeddings":true,`),
		qwen("7b", 28, 3584, 28, 4, 18944, 152064, q25),
		qwen("14b", 48, 5120, 40, 8, 13824, 152064, q25),
		qwen("32b", 64, 5120, 40, 8, 27648, 152064, q25),
		qwen("72b", 80, 8192, 64, 8, 29568, 152064, q25),
		qwen3Entry("0.6b", 28, 1024, 16, 3072, q3+`"tie_word_embeddings":true,`),
		qwen3Entry("1.7b", 28, 2048, 16, 6144, q3+`"tie_word_embeddings":true,`),
		qwen3Entry("4b", 36, 2560, 32, 9728, q3+`"tie_word_embeddings":true,`),
		qwen3Entry("8b", 36, 4096, 32, 12288, q3),
		qwen3Entry("14b", 40, 5120, 40, 17408, q3),
		qwen3Entry("32b", 64, 5120, 64, 25600, q3),
		{"qwen1.5-moe-a2.7b", "Qwen/Qwen1.5-MoE-A2.7B", nil,
			`"model_type":"qwen2_moe","num_hidden_layers":24,"hidden_size":2048,"num_attention_heads":16,"num_key_value_heads":16,"intermediate_size":5632,"moe_intermediate_size":1408,"shared_expert_intermediate_size":5632,"num_experts":60,"num_experts_per_tok":4,"vocab_size":151936,"max_position_embeddings":8192,"use_sliding_window":false`},
		{"qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", nil, q3m + `"num_hidden_layers":48,"hidden_size":2048,"num_attention_heads":32,"intermediate_size":6144,"moe_intermediate_size":768`},
		{"qwen3-235b-a22b", "Qwen/Qwen3-235B-A22B", nil, q3m + `"num_hidden_layers":94,"hidden_size":4096,"num_attention_heads":64,"intermediate_size":12288,"moe_intermediate_size":1536`},
		{"qwen3-next-80b-a3b", "Qwen/Qwen3-Next-80B-A3B-Instruct", nil,
			`"model_type":"qwen3_next","num_hidden_layers":48,"hidden_size":2048,"num_attention_heads":16,"num_key_value_heads":2,"head_dim":256,"full_attention_interval":4,"linear_conv_kernel_dim":4,"linear_key_head_dim":128,"linear_value_head_dim":128,"linear_num_key_heads":16,"linear_num_value_heads":32,"intermediate_size":5120,"moe_intermediate_size":512,"shared_expert_intermediate_size":512,"num_experts":512,"num_experts_per_tok":10,"vocab_size":151936,"max_position_embeddings":262144,"torch_dtype":"bfloat16"`},
		{"qwen3.5-397b-a17b", "Qwen/Qwen3.5-397B-A17B", nil,
			`"model_type":"qwen3_5_moe","text_config":{"num_hidden_layers":60,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":2,"head_dim":256,"attn_output_gate":true,"full_attention_interval":4,"linear_conv_kernel_dim":4,"linear_key_head_dim":128,"linear_value_head_dim":128,"linear_num_key_heads":16,"linear_num_value_heads":64,"mamba_ssm_dtype":"float32","moe_intermediate_size":1024,"shared_expert_intermediate_size":1024,"num_experts":512,"num_experts_per_tok":10,"vocab_size":248320,"max_position_embeddings":262144,"dtype":"bfloat16","rope_parameters":{"rope_type":"default","rope_theta":10000000,"partial_rotary_factor":0.25,"mrope_section":[11,11,10]}},"vision_config":{"model_type":"qwen3_5_moe","depth":27,"hidden_size":1152,"intermediate_size":4304,"num_position_embeddings":2304,"out_hidden_size":4096,"in_channels":3,"patch_size":16,"temporal_patch_size":2,"spatial_merge_size":2}`},
		qwenVL("2b", "qwen3_vl", q3vl+`"num_hidden_layers":28,"hidden_size":2048,"num_attention_heads":16,"intermediate_size":6144,"tie_word_embeddings":true`, 24, 1024, 4096, "5,11,17", 2048),
		qwenVL("4b", "qwen3_vl", q3vl+`"num_hidden_layers":36,"hidden_size":2560,"num_attention_heads":32,"intermediate_size":9728,"tie_word_embeddings":true`, 24, 1024, 4096, "5,11,17", 2560),
		qwenVL("8b", "qwen3_vl", q3vl+`"num_hidden_layers":36,"hidden_size":4096,"num_attention_heads":32,"intermediate_size":12288`, 27, 1152, 4304, "8,16,24", 4096),
		qwenVL("32b", "qwen3_vl", q3vl+`"num_hidden_layers":64,"hidden_size":5120,"num_attention_heads":64,"intermediate_size":25600`, 27, 1152, 4304, "8,16,24", 5120),
		qwenVL("30b-a3b", "qwen3_vl_moe", q3vlm+`"num_hidden_layers":48,"hidden_size":2048,"num_attention_heads":32,"moe_intermediate_size":768`, 27, 1152, 4304, "8,16,24", 2048),
		qwenVL("235b-a22b", "qwen3_vl_moe", q3vlm+`"num_hidden_layers":94,"hidden_size":4096,"num_attention_heads":64,"moe_intermediate_size":1536`, 27, 1152, 4304, "8,16,24", 4096),
		{"gemma-2-2b", "google/gemma-2-2b", []string{"google/gemma-2-2b-it"}, g2 + `"num_hidden_layers":26,"hidden_size":2304,"num_attention_heads":8,"num_key_value_heads":4,"intermediate_size":9216`},
		{"gemma-2-9b", "google/gemma-2-9b", []string{"google/gemma-2-9b-it"}, g2 + `"num_hidden_layers":42,"hidden_size":3584,"num_attention_heads":16,"num_key_value_heads":8,"intermediate_size":14336`},
		{"gemma-2-27b", "google/gemma-2-27b", []string{"google/gemma-2-27b-it"}, `"model_type":"gemma2","vocab_size":256000,"max_position_embeddings":8192,"head_dim":128,"sliding_window":4096,"num_hidden_layers":46,"hidden_size":4608,"num_attention_heads":32,"num_key_value_heads":16,"intermediate_size":36864`},
		{"gemma-3-1b", "google/gemma-3-1b-it", []string{"google/gemma-3-1b-pt"},
			`"model_type":"gemma3_text","num_hidden_layers":26,"hidden_size":1152,"num_attention_heads":4,"num_key_value_heads":1,"head_dim":256,"intermediate_size":6912,"vocab_size":262144,"max_position_embeddings":32768,"sliding_window":512,"sliding_window_pattern":6`},
		{"gemma-3-4b", "google/gemma-3-4b-it", []string{"google/gemma-3-4b-pt"}, `"model_type":"gemma3","text_config":{` + g3 + `"num_hidden_layers":34,"hidden_size":2560,"num_attention_heads":8,"num_key_value_heads":4,"head_dim":256,"intermediate_size":10240},` + see},
		{"gemma-3-12b", "google/gemma-3-12b-it", []string{"google/gemma-3-12b-pt"}, `"model_type":"gemma3","text_config":{` + g3 + `"num_hidden_layers":48,"hidden_size":3840,"num_attention_heads":16,"num_key_value_heads":8,"head_dim":256,"intermediate_size":15360},` + see},
		{"gemma-3-27b", "google/gemma-3-27b-it", []string{"google/gemma-3-27b-pt"}, `"model_type":"gemma3","text_config":{` + g3 + `"num_hidden_layers":62,"hidden_size":5376,"num_attention_heads":32,"num_key_value_heads":16,"head_dim":128,"intermediate_size":21504},` + see},
		{"gemma-4-26b-a4b", "google/gemma-4-26B-A4B-it", []string{"google/gemma-4-26B-A4B"},
			g4 + `"num_hidden_layers":30,"hidden_size":2816,"num_attention_heads":16,"num_key_value_heads":8,"num_global_key_value_heads":2,"intermediate_size":2112,"enable_moe_block":true,"num_experts":128,"top_k_experts":8,"moe_intermediate_size":704},` + see4g},
		{"gemma-4-31b", "google/gemma-4-31B-it", []string{"google/gemma-4-31B"},
			g4 + `"num_hidden_layers":60,"hidden_size":5376,"num_attention_heads":32,"num_key_value_heads":16,"num_global_key_value_heads":4,"intermediate_size":21504},` + see4g},
		{"gpt-oss-20b", "openai/gpt-oss-20b", nil, oss + `"num_hidden_layers":24,"num_local_experts":32`},
		{"gpt-oss-120b", "openai/gpt-oss-120b", nil, oss + `"num_hidden_layers":36,"num_local_experts":128`},
		{"phi-3-mini-4k", "microsoft/Phi-3-mini-4k-instruct", nil,
			`"model_type":"phi3","num_hidden_layers":32,"hidden_size":3072,"num_attention_heads":32,"num_key_value_heads":32,"intermediate_size":8192,"vocab_size":32064,"max_position_embeddings":4096,"sliding_window":2047`},
		{"deepseek-v2-lite", "deepseek-ai/DeepSeek-V2-Lite", []string{"deepseek-ai/DeepSeek-V2-Lite-Chat"},
			`"model_type":"deepseek_v2",` + mla + `"num_hidden_layers":27,"hidden_size":2048,"num_attention_heads":16,"intermediate_size":10944,"moe_intermediate_size":1408,"n_routed_experts":64,"n_shared_experts":2,"num_experts_per_tok":6,"first_k_dense_replace":1,"vocab_size":102400,"max_position_embeddings":163840`},
		{"deepseek-v2", "deepseek-ai/DeepSeek-V2", []string{"deepseek-ai/DeepSeek-V2-Chat"},
			`"model_type":"deepseek_v2",` + mla + `"q_lora_rank":1536,"num_hidden_layers":60,"hidden_size":5120,"num_attention_heads":128,"intermediate_size":12288,"moe_intermediate_size":1536,"n_routed_experts":160,"n_shared_experts":2,"num_experts_per_tok":6,"first_k_dense_replace":1,"vocab_size":102400,"max_position_embeddings":163840`},
		{"deepseek-v3", "deepseek-ai/DeepSeek-V3", []string{"deepseek-ai/DeepSeek-R1", "deepseek-r1", "deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-V3.1", "deepseek-v3.1", "deepseek-ai/DeepSeek-V3.1-Terminus", "deepseek-ai/DeepSeek-R1-0528"},
			`"model_type":"deepseek_v3",` + mla + fp8 + `"q_lora_rank":1536,"num_hidden_layers":61,"hidden_size":7168,"num_attention_heads":128,"intermediate_size":18432,"moe_intermediate_size":2048,"n_routed_experts":256,"n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":3,"topk_method":"noaux_tc","vocab_size":129280,"max_position_embeddings":163840`},
		{"glm-4.5", "zai-org/GLM-4.5", nil,
			glm4 + `"num_hidden_layers":92,"hidden_size":5120,"intermediate_size":12288,"moe_intermediate_size":1536,"n_routed_experts":160,"first_k_dense_replace":3,"use_qk_norm":true`},
		{"glm-4.5-air", "zai-org/GLM-4.5-Air", nil,
			glm4 + `"num_hidden_layers":46,"hidden_size":4096,"intermediate_size":10944,"moe_intermediate_size":1408,"n_routed_experts":128,"first_k_dense_replace":1`},
		{"glm-4.7-flash", "zai-org/GLM-4.7-Flash", nil,
			`"model_type":"glm4_moe_lite","num_hidden_layers":47,"hidden_size":2048,"num_attention_heads":20,"q_lora_rank":768,"kv_lora_rank":512,"qk_nope_head_dim":192,"qk_rope_head_dim":64,"v_head_dim":256,"intermediate_size":10240,"moe_intermediate_size":1536,"n_routed_experts":64,"n_shared_experts":1,"num_experts_per_tok":4,"first_k_dense_replace":1,"topk_method":"noaux_tc","partial_rotary_factor":1.0,"vocab_size":154880,"max_position_embeddings":202752,"torch_dtype":"bfloat16"`},
		{"minimax-m2.5", "MiniMaxAI/MiniMax-M2.5", nil,
			`"model_type":"minimax_m2","num_hidden_layers":62,"hidden_size":3072,"num_attention_heads":48,"num_key_value_heads":8,"head_dim":128,"rotary_dim":64,"intermediate_size":1536,"num_local_experts":256,"num_experts_per_tok":8,"use_routing_bias":true,"vocab_size":200064,"max_position_embeddings":196608,"quantization_config":{"quant_method":"fp8","activation_scheme":"dynamic","weight_block_size":[128,128],"modules_to_not_convert":["gate","e_score_correction_bias","lm_head"]}`},
		{"deepseek-v3.2", "deepseek-ai/DeepSeek-V3.2", nil,
			`"model_type":"deepseek_v32",` + mla + fp8 + `"index_n_heads":64,"index_head_dim":128,"index_topk":2048,"q_lora_rank":1536,"num_hidden_layers":61,"hidden_size":7168,"num_attention_heads":128,"intermediate_size":18432,"moe_intermediate_size":2048,"n_routed_experts":256,"n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":3,"topk_method":"noaux_tc","vocab_size":129280,"max_position_embeddings":163840`},
		{"glm-5-fp8", "zai-org/GLM-5-FP8", []string{"zai-org/GLM-5.1-FP8", "glm-5.1-fp8"}, glm + fp8 + `"max_position_embeddings":202752`},
		{"glm-5.2-fp8", "zai-org/GLM-5.2-FP8", nil, glm + fp8 + `"max_position_embeddings":1048576,"index_topk_freq":4,"index_skip_topk_offset":3`},
		{"kimi-k2", "moonshotai/Kimi-K2-Instruct", nil,
			`"model_type":"kimi_k2",` + mla + fp8 + `"q_lora_rank":1536,"num_hidden_layers":61,"hidden_size":7168,"num_attention_heads":64,"intermediate_size":18432,"moe_intermediate_size":2048,"n_routed_experts":384,"n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":1,"topk_method":"noaux_tc","vocab_size":163840,"max_position_embeddings":131072`},
		{"kimi-k2.5", "moonshotai/Kimi-K2.5", []string{"moonshotai/Kimi-K2.6"},
			`"model_type":"kimi_k25","text_config":{` + mla + int4 + `"model_type":"kimi_k2","q_lora_rank":1536,"num_hidden_layers":61,"hidden_size":7168,"num_attention_heads":64,"intermediate_size":18432,"moe_intermediate_size":2048,"n_routed_experts":384,"n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":1,"topk_method":"noaux_tc","vocab_size":163840,"max_position_embeddings":262144,"rope_scaling":{"type":"yarn","factor":64.0,"original_max_position_embeddings":4096}},` +
				`"vision_config":{"vt_hidden_size":1152,"vt_num_hidden_layers":27,"vt_intermediate_size":4304}`},
		{"kimi-linear-48b-a3b", "moonshotai/Kimi-Linear-48B-A3B-Instruct", nil,
			`"model_type":"kimi_linear",` + mla + `"mla_use_nope":true,"num_hidden_layers":27,"hidden_size":2304,"num_attention_heads":32,"intermediate_size":9216,"moe_intermediate_size":1024,"num_experts":256,"num_shared_experts":1,"num_experts_per_token":8,"first_k_dense_replace":1,"vocab_size":163840,"model_max_length":1048576,"linear_attn_config":{"num_heads":32,"head_dim":128,"short_conv_kernel_size":4,"full_attn_layers":[4,8,12,16,20,24,27],"kda_layers":[1,2,3,5,6,7,9,10,11,13,14,15,17,18,19,21,22,23,25,26]}`},
		{"mamba-2.8b", "state-spaces/mamba-2.8b-hf", nil,
			`"model_type":"mamba","num_hidden_layers":64,"hidden_size":2560,"intermediate_size":5120,"state_size":16,"conv_kernel":4,"time_step_rank":160,"vocab_size":50280,"torch_dtype":"float16"`},
		{"falcon-mamba-7b", "tiiuae/falcon-mamba-7b", nil,
			`"model_type":"falcon_mamba","num_hidden_layers":64,"hidden_size":4096,"intermediate_size":8192,"state_size":16,"conv_kernel":4,"time_step_rank":256,"vocab_size":65024,"tie_word_embeddings":false,"torch_dtype":"bfloat16"`},
		{"mamba-codestral-7b", "mistralai/Mamba-Codestral-7B-v0.1", nil,
			`"model_type":"mamba2","num_hidden_layers":64,"hidden_size":4096,"expand":2,"num_heads":128,"head_dim":64,"n_groups":8,"state_size":128,"conv_kernel":4,"vocab_size":32768,"torch_dtype":"bfloat16"`},
		{"nemotron-h-56b", "nvidia/Nemotron-H-56B-Base-8K", nil,
			`"model_type":"nemotron_h","hybrid_override_pattern":"` + "M-M-M-M*" + strings.Repeat("-M-M-M-M-M*", 9) + `-M-M-M-M-M-","hidden_size":8192,"num_attention_heads":64,"num_key_value_heads":8,"attention_head_dim":128,"mamba_num_heads":256,"mamba_head_dim":64,"ssm_state_size":256,"conv_kernel":4,"n_groups":8,"intermediate_size":32768,"vocab_size":131072,"max_position_embeddings":8192`},
		{"nemotron-3-nano-30b-a3b", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", nil,
			nemo + `"hybrid_override_pattern":"` + strings.Repeat("MEMEM*E", 5) + `MEMEMEM*EMEMEMEME","hidden_size":2688,"num_attention_heads":32,"mamba_num_heads":64,"moe_intermediate_size":1856,"moe_shared_expert_intermediate_size":3712,"n_routed_experts":128,"num_experts_per_tok":6`},
		{"nemotron-3-super-120b-a12b", "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", nil,
			nemo + `"hybrid_override_pattern":"MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME","hidden_size":4096,"num_attention_heads":32,"mamba_num_heads":128,"moe_intermediate_size":2688,"moe_latent_size":1024,"moe_shared_expert_intermediate_size":5376,"n_routed_experts":512,"num_experts_per_tok":22`},
		{"rwkv-5-world-7b", "RWKV/rwkv-5-world-7b", nil,
			`"model_type":"rwkv5","num_hidden_layers":32,"hidden_size":4096,"attention_hidden_size":4096,"head_size":64,"vocab_size":65536`},
		{"recurrentgemma-2b", "google/recurrentgemma-2b", []string{"google/recurrentgemma-2b-it"}, rgem + `"num_hidden_layers":26,"hidden_size":2560,"lru_width":2560,"num_attention_heads":10,"intermediate_size":15360`},
		{"recurrentgemma-9b", "google/recurrentgemma-9b", []string{"google/recurrentgemma-9b-it"}, rgem + `"num_hidden_layers":38,"hidden_size":4096,"lru_width":4096,"num_attention_heads":16,"intermediate_size":24576`},
		{"jamba-v0.1", "ai21labs/Jamba-v0.1", nil,
			`"model_type":"jamba","num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"num_experts":16,"num_experts_per_tok":2,"attn_layer_period":8,"attn_layer_offset":4,"expert_layer_period":2,"expert_layer_offset":1,"mamba_d_state":16,"mamba_d_conv":4,"mamba_expand":2,"mamba_dt_rank":256,"vocab_size":65536,"max_position_embeddings":262144`},
	}
}

// qwen is a model of Qwen2.5.
func qwen(size string, layers, hidden, heads, kvHeads, inner, vocab int, rest string) entry {
	repo := "Qwen/Qwen2.5-" + size
	return entry{"qwen2.5-" + size, repo, []string{repo + "-Instruct"}, rest + fmt.Sprintf(
		`"num_hidden_layers":%d,"hidden_size":%d,"num_attention_heads":%d,"num_key_value_heads":%d,"intermediate_size":%d,"vocab_size":%d`,
		layers, hidden, heads, kvHeads, inner, vocab)}
}

// qwen3Entry is a dense model of Qwen3.
func qwen3Entry(size string, layers, hidden, heads, inner int, rest string) entry {
	return entry{"qwen3-" + size, "Qwen/Qwen3-" + size, nil, rest + fmt.Sprintf(
		`"num_hidden_layers":%d,"hidden_size":%d,"num_attention_heads":%d,"intermediate_size":%d`, layers, hidden, heads, inner)}
}

// qwenVL is a model of Qwen3-VL: the entries of its text model, and its encoder's layers, width, MLP, the
// layers whose output the text model takes, and the text model's width.
func qwenVL(size, kind, text string, layers, hidden, inner int, stacked string, out int) entry {
	repo := "Qwen/Qwen3-VL-" + strings.ToUpper(size)
	return entry{"qwen3-vl-" + size, repo + "-Instruct", []string{repo + "-Thinking"}, fmt.Sprintf(
		`"model_type":"%s","text_config":{%s},"vision_config":{"depth":%d,"hidden_size":%d,"intermediate_size":%d,"deepstack_visual_indexes":[%s],"out_hidden_size":%d,"num_position_embeddings":2304,"patch_size":16}`,
		kind, text, layers, hidden, inner, stacked, out)}
}
