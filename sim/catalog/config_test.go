package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const small = `{"model_type":"llama","num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":4,"hidden_size":64,
	"intermediate_size":172,"vocab_size":512,"max_position_embeddings":512,"torch_dtype":"float16","rope_theta":1e4}`

// with returns small with the given entries added or replaced.
func with(entries ...string) string {
	out := strings.TrimSuffix(small, "}")
	for _, e := range entries {
		name, _, _ := strings.Cut(e, ":")
		if at := strings.Index(out, name+":"); at >= 0 {
			end := at + strings.IndexAny(out[at:]+",", ",")
			out = out[:at] + e + out[end:]
			continue
		}
		out += "," + e
	}
	return out + "}"
}

func TestParseConfig(t *testing.T) {
	m, err := ParseConfig([]byte(small), nil)
	if err != nil || m.Shape.Group != 2 || m.Shape.HeadSize != 8 || m.Weights != F16 {
		t.Errorf("%+v, %v", m, err)
	}
	// Null, false and 0 turn an entry off; Python writes Infinity.
	for _, more := range []string{`"head_dim":null`, `"num_key_value_heads_x":null`, `"made_up":false`, `"time_step_limit":[0.0,Infinity]`, `"_note":1`} {
		if _, err := ParseConfig([]byte(with(more)), nil); err != nil {
			t.Errorf("%s: %v", more, err)
		}
	}
	for in, want := range map[string]string{
		`{`:                                 "config.json",
		`[]`:                                "config.json",
		`{"model_type":"llama5"}`:           "llama5",
		`{"model_type":"llama"}`:            "hidden_size is missing",
		with(`"vocab_size":0`):              "vocab_size is 0, want 1 to",
		with(`"hidden_size":65`):            "head_dim",
		with(`"num_hidden_layers":-2`):      "num_hidden_layers",
		with(`"vocab_size":1e30`):           "vocab_size",
		with(`"torch_dtype":"float8"`):      "float8",
		with(`"head_dim":7`):                "head size 7",
		with(`"index_topk":2048`):           `"index_topk": unknown, and may change`,
		with(`"a":[1]`, `"b":{"c":1}`):      `"a", "b": unknown, and may change`,
		with(`"quantization_config":"fp8"`): "quantization_config: not a JSON object",
		with(`"quantization_config":[1]`):   "quantization_config: not a JSON object",
		with(`"model_type":"gemma3_text"`, `"layer_types":["full_attention"]`):                                      "layer_types has 1 layers",
		with(`"model_type":"gemma3_text"`, `"layer_types":["full_attention","chunked_attention"]`):                  "chunked_attention",
		with(`"model_type":"qwen3_moe"`, `"moe_intermediate_size":8`, `"num_experts":4`, `"num_experts_per_tok":5`): "experts of a token",
		with(`"model_type":"mixtral"`, `"num_local_experts":100000`):                                                "num_local_experts is 100000",
	} {
		if _, err := ParseConfig([]byte(in), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", in, err, want)
		}
	}
	if _, err := ParseConfig([]byte(with(`"vocab_size":"many"`)), nil); err == nil || err.Error() != `config.json: vocab_size is "many", want a whole number` {
		t.Errorf("a text for a number: %v", err)
	}
}

// TestGemma3Defaults reads a config.json of Gemma 3 as it is published, which leaves out what is
// transformers' default.
func TestGemma3Defaults(t *testing.T) {
	const published = `{"model_type":"gemma3","torch_dtype":"bfloat16","mm_tokens_per_image":256,
		"text_config":{"hidden_size":2560,"intermediate_size":10240,"model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,"rope_type":"linear"},"sliding_window":1024},
		"vision_config":{"hidden_size":1152,"image_size":896,"intermediate_size":4304,"model_type":"siglip_vision_model","num_attention_heads":16,"num_hidden_layers":27,"patch_size":14,"vision_use_head":false}}`
	m, err := ParseConfig([]byte(published), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := find(t, "gemma-3-4b")
	if m.Params() != want.Params() || m.Shape != want.Shape || m.MaxLen != want.MaxLen || m.Window != want.Window || m.Vocab != want.Vocab {
		t.Errorf("%+v of %v parameters, want %+v of %v", m.Shape, m.Params(), want.Shape, want.Params())
	}
}

// TestWindows reads windows from the entries of each family.
func TestWindows(t *testing.T) {
	for in, want := range map[string]int{
		with(`"model_type":"mistral"`, `"sliding_window":128`):                                                                                    2,
		with(`"model_type":"mistral"`, `"sliding_window":512`):                                                                                    0, // the context fits into it
		with(`"model_type":"qwen2"`, `"sliding_window":128`, `"max_window_layers":1`):                                                             0,
		with(`"model_type":"qwen2"`, `"use_sliding_window":true`, `"sliding_window":128`, `"max_window_layers":1`):                                1,
		with(`"model_type":"qwen3"`, `"use_sliding_window":true`, `"sliding_window":128`, `"max_window_layers":2`):                                0,
		with(`"model_type":"qwen3"`, `"sliding_window":128`, `"layer_types":["sliding_attention","full_attention"]`):                              0,
		with(`"model_type":"qwen3"`, `"use_sliding_window":true`, `"sliding_window":128`, `"layer_types":["sliding_attention","full_attention"]`): 1,
		with(`"model_type":"gemma3_text"`, `"sliding_window":16`, `"sliding_window_pattern":2`):                                                   1,
	} {
		m, err := ParseConfig([]byte(in), nil)
		if want == 0 && err != nil && strings.Contains(err.Error(), "does not say of how many") {
			continue // a window that is named and turned off
		}
		if err != nil || m.Count(Windowed) != want {
			t.Errorf("%s: %d windowed layers, %v; want %d", in, m.Count(Windowed), err, want)
		}
	}
}

// TestQuantization compares the bytes of two layers of 64 × 172 with those of each scheme.
func TestQuantization(t *testing.T) {
	const (
		attn   = 2*64*64 + 2*64*32
		mlp    = 3 * 64 * 172
		all    = 2 * (attn + mlp)
		others = 2*512*64 + 5*64 // tables and norms
	)
	q := func(s string) string { return with(`"quantization_config":` + s) }
	for in, want := range map[string]struct {
		bytes int64
		w     Weights
	}{
		q(`{"quant_method":"fp8","activation_scheme":"dynamic"}`):                                                            {all + 4*14 + 2*others, FP8},
		q(`{"quant_method":"fp8","activation_scheme":"static"}`):                                                             {all + 8*14 + 2*others, FP8},
		q(`{"quant_method":"fp8","activation_scheme":"static","kv_cache_scheme":"static"}`):                                  {all + 8*14 + 2*others, FP8},
		q(`{"quant_method":"fp8","ignored_layers":["lm_head","self_attn"]}`):                                                 {2*mlp + 4*6 + 2*2*attn + 2*others, FP8},
		q(`{"quant_method":"fp8","modules_to_not_convert":["model.layers.0"]}`):                                              {(attn + mlp) + 4*7 + 2*(attn+mlp) + 2*others, FP8},
		q(`{"quant_method":"fp8","weight_block_size":[128,128]}`):                                                            {all + 4*2*(4+2+2+2) + 2*others, FP8}, // 172 is two blocks
		q(`{"quant_method":"fbgemm_fp8"}`):                                                                                   {all + 4*2*(64+32+32+64+172+172+64) + 2*others, FP8},
		q(`{"quant_method":"awq","bits":4,"group_size":32,"zero_point":true}`):                                               {all/2 + 2*(2*2*(64+32+32+64+172+172)+2*6*64) + 2*(2*(64+32+32+64+172+172)+6*64)/2 + 2*others, INT4}, // 172 inputs are six groups
		q(`{"quant_method":"bitsandbytes","load_in_8bit":true,"load_in_4bit":false}`):                                        {all + 4*2*(64+32+32+64+172+172+64) + 2*others, INT8},
		q(`{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4","llm_int8_skip_modules":["mlp"]}`): {attn + 4*2*(64+32+32+64) + 2*2*mlp + 2*others, NF4},
		q(`{"quant_method":"compressed-tensors","ignore":["re:.*self_attn.*"],"config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":8,"type":"float","strategy":"tensor"},"input_activations":{"num_bits":8}}}}`): {2*mlp + 4*6 + 2*2*attn + 2*others, FP8},
		q(`{"quant_method":"compressed-tensors","config_groups":{"g":{"targets":["re:.*down_proj"],"weights":{"num_bits":4,"type":"int","strategy":"channel"},"input_activations":null}}}`):                                  {2*(attn+2*64*172)*2 + 172*64 + 2*2*64 + 2*others, INT4},
		q(`{"quant_method":"modelopt","quant_algo":"NVFP4","group_size":16,"ignore":["model.layers.*.self_attn*"]}`):                                                                                                         {mlp + 2*(2*172*4+64*11) + 8*6 + 2*2*attn + 2*others, NVFP4},
	} {
		m, err := ParseConfig([]byte(in), nil)
		if err != nil || m.Weights != want.w || m.Bytes(m.Weights) != want.bytes {
			t.Errorf("%s: %s, %d bytes, %v; want %s, %d", in, m.Weights, m.Bytes(m.Weights), err, want.w, want.bytes)
		}
	}
	for in, want := range map[string]string{
		`{"quant_method":"aqlm"}`:                               "aqlm",
		`{"quant_method":"awq","bits":3}`:                       "bits is 3",
		`{"quant_method":"gptq","bits":2}`:                      "bits is 2",
		`{"quant_method":"gptq","bits":4,"dynamic":{"+:x":{}}}`: `"dynamic": unknown`,
		`{"quant_method":"fp8","weight_block_size":[128]}`:      "weight_block_size",
		`{"quant_method":"fp8","kv_cache_scheme":"dynamic"}`:    "kv_cache_scheme",
		`{"quant_method":"compressed-tensors"}`:                 "config_groups",
		`{"quant_method":"modelopt","quant_algo":"W4A8_AWQ"}`:   "W4A8_AWQ",
		`{"quant_method":"fp8","ignored_layers":["re:("]}`:      "regular expression",
		`{"quant_method":"compressed-tensors","sparsity_config":{"format":"sparse-24-bitmask"},"config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":8,"type":"float","strategy":"tensor"}}}}`:              "sparsity_config",
		`{"quant_method":"compressed-tensors","format":"marlin-24","config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":128}}}}`:                            `format is "marlin-24"`,
		`{"quant_method":"compressed-tensors","format":"mixed-precision","config_groups":{"g":{"targets":["Linear"],"format":"marlin-24","weights":{"num_bits":4,"type":"int","strategy":"group","group_size":128}}}}`: `format is "marlin-24"`,
	} {
		if _, err := ParseConfig([]byte(q(in)), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", in, err, want)
		}
	}
}

// TestExpertNames checks lists that leave out experts by name.
func TestExpertNames(t *testing.T) {
	moe := func(skips string) (Model, error) {
		return ParseConfig([]byte(with(`"model_type":"mixtral"`, `"num_local_experts":2`, `"quantization_config":{"quant_method":"fp8","modules_to_not_convert":[`+skips+`]}`)), nil)
	}
	plain, err := moe("")
	if err != nil {
		t.Fatal(err)
	}
	const matrix = 64 * 172
	for skips, kept := range map[string]int64{
		`"model.layers.0.block_sparse_moe.experts.0.w1","model.layers.0.block_sparse_moe.experts.1.w1"`: 2 * matrix,
		`"w2"`: 4 * matrix, `"model.layers.1.block_sparse_moe.experts"`: 6 * matrix, `"re:.*experts.*w3"`: 4 * matrix, `"*.experts.*.w1"`: 4 * matrix,
	} {
		m, err := moe(skips)
		scales := kept / matrix * 4
		if err != nil || m.Bytes(FP8) != plain.Bytes(FP8)+kept-scales {
			t.Errorf("%s: %d bytes, %v; want %d", skips, m.Bytes(FP8), err, plain.Bytes(FP8)+kept-scales)
		}
	}
	for _, skips := range []string{`"model.layers.0.block_sparse_moe.experts.1.w1"`, `"*.experts.0.*"`} {
		if _, err := moe(skips); err == nil || !strings.Contains(err.Error(), "some of its experts") {
			t.Errorf("%s: %v", skips, err)
		}
	}
}

// TestSibling reads ModelOpt's file beside a config.json.
func TestSibling(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", small)
	write("hf_quant_config.json", `{"producer":{"name":"modelopt","version":"0.23.0"},"quantization":{"quant_algo":"FP8","kv_cache_quant_algo":"FP8","exclude_modules":["lm_head"]}}`)
	for _, path := range []string{dir, filepath.Join(dir, "config.json")} {
		m, err := FindModel(path)
		if err != nil || m.Weights != FP8 || m.KVFormat != "FP8" {
			t.Errorf("%s: %s, %q, %v", path, m.Weights, m.KVFormat, err)
		}
	}
	write("hf_quant_config.json", `{"quantization":{"quant_algo":"MIXED_PRECISION","quantized_layers":{"model.layers.0.mlp.up_proj":{"quant_algo":"FP8"},"model.layers.1.mlp.up_proj":{"quant_algo":"NVFP4","group_size":16}}}}`)
	m, err := FindModel(dir)
	var eight, four int
	for _, mod := range m.Modules {
		switch mod.Format.Bits {
		case 8:
			eight++
		case 4:
			four++
		}
	}
	if err != nil || eight != 1 || four != 1 {
		t.Errorf("%d modules in 8 bits and %d in 4, %v; want one of each", eight, four, err)
	}
	write("hf_quant_config.json", `{"quantization":{"quant_algo":null,"kv_cache_quant_algo":"FP8"}}`) // the KV cache only
	if m, err := FindModel(dir); err != nil || m.Weights != F16 || m.KVFormat != "FP8" {
		t.Errorf("%s, %q, %v; want f16 weights and a KV cache in FP8", m.Weights, m.KVFormat, err)
	}
	write("hf_quant_config.json", `{"quantization":{"quant_algo":"INT3"}}`)
	if _, err := FindModel(dir); err == nil || !strings.Contains(err.Error(), "INT3") {
		t.Errorf("an unknown algorithm: %v", err)
	}
}

// TestOneError: a list of many wrong values, and an entry that makes many layers wrong, are one error.
func TestOneError(t *testing.T) {
	const experts = `"intermediate_size":32,"moe_intermediate_size":32,"num_experts":4,"num_experts_per_tok":2,`
	many := func(value string) string { return strings.Repeat(value+",", 1000) + value }
	for entries, want := range map[string]string{
		`"model_type":"qwen3_moe",` + experts + layersModel + `"mlp_only_layers":[` + many("4") + `]`:     "mlp_only_layers names layer 4 of 4",
		strings.Trim(strings.Replace(llama4Model, "%s", `,"moe_layers":[`+many("-1")+`]`, 1), "{}") + "}": "moe_layers names layer -1 of 4",
		strings.Trim(strings.Replace(qwenVLModel, "%s", "", 1), "{,") + `,"vision_config":{"depth":3,"hidden_size":24,"intermediate_size":50,"num_position_embeddings":36,"patch_size":7,"out_hidden_size":64,"deepstack_visual_indexes":[` + many("3") + `]}`: "vision_config.deepstack_visual_indexes names layer 3 of 3",
		`"model_type":"nemotron-nas","num_hidden_layers":1001,"hidden_size":64,"num_attention_heads":4,"vocab_size":128,"max_position_embeddings":512,"block_configs":[` + many(`{"attention":{"n_heads_in_group":0},"ffn":{"ffn_mult":1}}`) + `]`:             "block_configs[0].attention.n_heads_in_group is 0",
		`"model_type":"qwen3_vl","text_config":{"text_config":{}}`:   "text_config.text_config: want it beside text_config, not in it",
		`"model_type":"qwen3_vl","text_config":{"vision_config":{}}`: "text_config.vision_config: want it beside text_config, not in it",
	} {
		if _, err := ParseConfig([]byte("{"+entries+"}"), nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.200s: %.500v, want %q alone", entries, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(small), []byte(nil))
	for _, e := range entries() {
		f.Add([]byte("{"+e.config+"}"), []byte(`{"quantization":{"quant_algo":"NVFP4","exclude_modules":["*.experts.0*","re:a"]}}`))
	}
	for _, of := range publishedModels() {
		f.Add([]byte("{"+of.entries+"}"), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, in, quant []byte) {
		if len(quant) == 0 {
			quant = nil
		}
		m, err := ParseConfig(in, quant)
		if err != nil {
			return
		}
		if m.Params() <= 0 || m.Bytes(m.Weights) <= 0 || m.StepBytes(m.Weights) > m.Bytes(m.Weights) || m.Shape.Layers+m.Count(Stateful)+m.Count(Stateless) != len(m.Layers) {
			t.Errorf("%+v: %d parameters, %d bytes", m, m.Params(), m.Bytes(m.Weights))
		}
		for _, w := range AllWeights() {
			if m.Bytes(w) <= 0 {
				t.Errorf("%d bytes in %s", m.Bytes(w), w)
			}
		}
	})
}
