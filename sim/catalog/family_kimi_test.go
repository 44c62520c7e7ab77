package catalog

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// kimiK3 is the config.json of moonshotai/Kimi-K3 without entries about training and sampling: full attention in every
// fourth of 93 layers and in the last.
func kimiK3() string {
	var full, delta []string
	for l := 1; l <= 93; l++ {
		if l%4 == 0 || l == 93 {
			full = append(full, fmt.Sprint(l))
		} else {
			delta = append(delta, fmt.Sprint(l))
		}
	}
	return `{"model_type":"kimi_k3","dtype":"bfloat16","ignore_index":-100,"image_placeholder":"<image>","tie_word_embeddings":false,"text_config":{"model_type":"kimi_linear","hidden_size":7168,
		"num_hidden_layers":93,"num_attention_heads":96,"num_key_value_heads":96,"q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,
		"mla_use_nope":true,"mla_use_output_gate":true,"attn_res_block_size":12,"intermediate_size":33792,"first_k_dense_replace":1,"moe_layer_freq":1,"num_experts":896,"num_experts_per_token":16,
		"num_shared_experts":2,"moe_intermediate_size":3072,"routed_expert_hidden_size":3584,"latent_moe_use_norm":true,"vocab_size":163840,"max_position_embeddings":1048576,
		"activation_situ_beta":4.0,"activation_situ_linear_beta":25.0,"hidden_act":"situ","moe_renormalize":true,"moe_router_activation_func":"sigmoid","num_expert_group":1,"use_grouped_topk":true,
		"linear_attn_config":{"num_heads":96,"head_dim":128,"short_conv_kernel_size":4,"use_full_rank_gate":true,"gate_lower_bound":-5.0,"full_attn_layers":[` + strings.Join(full, ",") + `],"kda_layers":[` + strings.Join(delta, ",") + `]},
		"quantization_config":{"quant_method":"compressed-tensors","format":"mxfp4-pack-quantized","ignore":["re:.*self_attn.*","re:.*shared_experts.*","re:.*mlp\\.(gate|up|gate_up|down)_proj.*","re:.*lm_head.*"],
		"config_groups":{"group_0":{"format":"mxfp4-pack-quantized","targets":["Linear"],"weights":{"num_bits":4,"type":"float","strategy":"group","group_size":32,"scale_dtype":"torch.uint8"}}}}},
		"vision_config":{"vt_hidden_size":1024,"vt_num_hidden_layers":27,"vt_intermediate_size":4096,"vt_num_attention_heads":12,"qkv_hidden_size":1536,"patch_size":14,"init_pos_emb_height":64,"init_pos_emb_width":64,
		"init_pos_emb_time":4,"mm_hidden_size":1024,"text_hidden_size":7168,"merge_kernel_size":[2,2],"merge_type":"sd2_tpool","mm_projector_type":"patchmergerv2","mlp_type":"mlp2","norm_type":"rmsnorm",
		"pos_emb_type":"divided_fixed","attn_bias":false,"linear_bias":false,"patch_embed_proj_bias":false}}`
}

// TestKimiPublished compares with the parameters and bytes of Kimi-K3's safetensors files, by their index, and with the
// rounded number of Kimi-Linear-48B's, 49.12 billion. Reports have 104 and 3 billion active parameters.
func TestKimiPublished(t *testing.T) {
	linear := find(t, "kimi-linear-48b-a3b")
	if got, want := float64(linear.Params())/1e9, 49.12; math.Abs(got-want) > 0.005 {
		t.Errorf("Kimi-Linear-48B: %.3f billion parameters, want %v", got, want)
	}
	k3, err := ParseConfig([]byte(kimiK3()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k3.Bytes(k3.Weights), int64(1_560_860_324_864); k3.Weights != MXFP4 || got != want {
		t.Errorf("Kimi-K3: %d bytes in %s, want %d", got, k3.Weights, want)
	}
	if got, want := k3.Params(), int64(2_779_931_837_184); got != want {
		t.Errorf("Kimi-K3: %d parameters, want %d", got, want)
	}
	for m, want := range map[*Model]float64{linear: 3, &k3: 104} {
		if got := float64(activeParams(m)) / 1e9; math.Round(got) != want {
			t.Errorf("%d layers: a token passes %.2f billion parameters, want %v", len(m.Layers), got, want)
		}
	}
	// A state is a matrix of 128 × 128 in 32 bits for each head, and three inputs of three convolutions.
	if got, want := k3.State.Bytes(), 96*128*(128*4+3*3*2); got != want {
		t.Errorf("a state of %d bytes, want %d", got, want)
	}
	if k3.Count(Full) != 24 || k3.Count(Stateful) != 69 || k3.LatentLayers() != 24 || k3.RotaryBytes() != 0 {
		t.Errorf("%d layers with latents, %d with states, %d bytes of tables", k3.LatentLayers(), k3.Count(Stateful), k3.RotaryBytes())
	}
	// The sums of layers 1 to 12, 13 to 24, … are read twice in each layer that follows the first of them, and by the output.
	if want := (Depth{Kept: 8, Read: 2*12*(1+2+3+4+5+6+7) + 2*9*8 + 8}); k3.Depth != want {
		t.Errorf("%+v, want %+v", k3.Depth, want)
	}
}

// TestKimiRefused checks what is not known of a file.
func TestKimiRefused(t *testing.T) {
	config := kimiK3()
	for _, test := range []struct{ from, to, want string }{
		{`"mla_use_nope":true`, `"mla_use_nope":false`, "mla_use_nope is not true"},
		{`"full_attn_layers":[4,`, `"full_attn_layers":[5,`, "linear_attn_config.full_attn_layers names layer 5"},
		{`"full_attn_layers":[4,`, `"full_attn_layers":[`, "names no kind for layer 4"},
		{`"kda_layers":[1,`, `"kda_layers":[0,1,`, "names layer 0, of 93"},
		{`"linear_attn_config"`, `"_linear_attn_config"`, "linear_attn_config is missing"},
		{`"gate_lower_bound":-5.0`, `"chunk":64`, `"linear_attn_config.chunk": unknown`},
		{`"attn_res_block_size":12`, `"attn_res_block_size":0`, "attn_res_block_size is 0"},
		{`"num_shared_experts":2`, `"num_shared_experts":-2`, "num_shared_experts is -2"},
		{`"latent_moe_use_norm":true`, `"latent_moe_groups":2`, `"latent_moe_groups": unknown`},
		{`"attn_bias":false`, `"attn_bias":true`, "attn_bias is not false"},
		{`"norm_type":"rmsnorm"`, `"norm_type":"layernorm"`, `norm_type is "layernorm", want rmsnorm`},
		{`"text_hidden_size":7168`, `"text_hidden_size":4096`, "text_hidden_size is 4096, want 7168"},
		{`"merge_kernel_size":[2,2]`, `"merge_kernel_size":[3,3]`, "merge_kernel_size is [3 3]"},
	} {
		changed := strings.Replace(config, test.from, test.to, 1)
		if _, err := ParseConfig([]byte(changed), nil); changed == config || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.to, err, test.want)
		}
	}
	// Without a block size there is no attention over the layers' outputs, and without a smaller hidden state no matrix for it.
	base, err := ParseConfig([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	for from, less := range map[string]int64{
		`"attn_res_block_size":12,`:   93*4*7168 + 2*7168,
		`"mla_use_output_gate":true,`: 24 * 7168 * 96 * 128,
		`"latent_moe_use_norm":true,`: 92 * 3584,
		`"use_full_rank_gate":true,`:  69 * (7168*96*128 - 7168*128 - 128*96*128),
		`"gate_lower_bound":-5.0,`:    69 * (128 - 96),
	} {
		m, err := ParseConfig([]byte(strings.Replace(config, from, "", 1)), nil)
		if err != nil || base.Params()-m.Params() != less {
			t.Errorf("without %s %d parameters fewer, %v; want %d", from, base.Params()-m.Params(), err, less)
		}
	}
}
