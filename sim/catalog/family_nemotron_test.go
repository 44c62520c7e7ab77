package catalog

import (
	"math"
	"strings"
	"testing"
)

// TestNemotronParams compares with the totals of published files. Super's has a layer of attention and one of experts
// for speculation too, which are not counted, with five norms and a matrix of twice the hidden size.
func TestNemotronParams(t *testing.T) {
	params := func(name string, layers ...int) (all, some int64) {
		for _, mod := range find(t, name).Modules {
			all += mod.Params()
			for _, l := range layers {
				if mod.Layer == l && !strings.HasSuffix(mod.Name, "norms") {
					some += mod.Params()
				}
			}
		}
		return all, some
	}
	// As llama.cpp counts it, and 31,577,937,344 in 16 bits on its page on Hugging Face, where 23 · 128 are in 32.
	if all, _ := params("nemotron-3-nano-30b-a3b"); all != 31_577_940_288 || all-23*128 != 31_577_937_344 {
		t.Errorf("nemotron-3-nano-30b-a3b: %d parameters", all)
	}
	// On its page: 123,611,012,096 in 16 bits and 20,992 in 32. Its report has 120.6 billion without the layers for speculation.
	all, speculation := params("nemotron-3-super-120b-a12b", 7, 8)
	if got := all + speculation + 5*4096 + 2*4096*4096; got != 123_611_012_096+20_992 {
		t.Errorf("nemotron-3-super-120b-a12b: %d parameters with the layers for speculation", got)
	}
	// Only the rounded number of Nemotron-H-56B is published.
	if all, _ := params("nemotron-h-56b"); math.Round(float64(all)/1e9) != 56 {
		t.Errorf("nemotron-h-56b: %d parameters", all)
	}
	// Reports have 3.2 and 12 billion active parameters.
	for name, want := range map[string]float64{"nemotron-3-nano-30b-a3b": 3.2, "nemotron-3-super-120b-a12b": 12} {
		if got := float64(activeParams(find(t, name))) / 1e9; math.Abs(got-want) > 0.25 {
			t.Errorf("%s: a token passes %.2f billion parameters, want %v", name, got, want)
		}
	}
}

const nemotron = `{"model_type":"nemotron_h","hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"mamba_num_heads":4,"mamba_head_dim":16,"ssm_state_size":8,
	"n_groups":2,"conv_kernel":4,"intermediate_size":96,"vocab_size":128,"max_position_embeddings":512,%s}`

// TestNemotronLayers works out the parameters of layers of each kind.
func TestNemotronLayers(t *testing.T) {
	const (
		conv      = 4*16 + 2*2*8
		mamba     = 64*(64+conv+4) + 5*conv + 3*4 + 64 + 64*64
		attention = 64*(4+2*2)*16 + 4*16*64
		mlp       = 2 * 64 * 96
		mixture   = `"n_routed_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":24,"n_shared_experts":2,"moe_shared_expert_intermediate_size":40,`
		experts   = 64*4 + 4 + 2*64*80
	)
	parse := func(entries string) (Model, error) {
		return ParseConfig([]byte(strings.Replace(nemotron, "%s", entries, 1)), nil)
	}
	for entries, want := range map[string]int64{
		`"hybrid_override_pattern":"M-*"`: mamba + mlp + attention + 3*64,
		`"layers_block_type":["mamba","mlp","attention"],"hybrid_override_pattern":"M-*","num_hidden_layers":3,"time_step_limit":[0.0,Infinity],"expand":2`: mamba + mlp + attention + 3*64,
		`"hybrid_override_pattern":"M*","use_conv_bias":false,"use_bias":true,"attention_bias":true`:                                                        mamba - conv + (64 + conv + 4) + 64 + attention + (4+2*2)*16 + 64 + 2*64,
		`"hybrid_override_pattern":"M-*","mlp_bias":true`:                                                                                                   mamba + mlp + 96 + 64 + attention + 3*64,
		mixture + `"layers_block_type":["mamba","moe","attention"]`:                                                                                         mamba + attention + experts + 4*2*64*24 + 3*64,
		mixture + `"hybrid_override_pattern":"ME*E","moe_latent_size":32`:                                                                                   mamba + attention + 2*(experts+4*2*32*24+2*64*32) + 4*64,
	} {
		m, err := parse(entries)
		if got := m.Params() - 2*128*64 - 64; err != nil || got != want || m.Halves != len(m.Layers) {
			t.Errorf("%s: %d parameters, %v; want %d", entries, got, err, want)
		}
	}
	m, err := parse(`"hybrid_override_pattern":"M*","mamba_ssm_cache_dtype":"bfloat16"`)
	if want := 2 * (4*16*8 + conv*3); err != nil || m.State.Bytes() != want {
		t.Errorf("a state in 16 bits: %d bytes, %v; want %d", m.State.Bytes(), err, want)
	}
	for entries, want := range map[string]string{
		`"hybrid_override_pattern":"M-X"`:                                       `layer 2 is 'X', want M, *, - or E`,
		`"hybrid_override_pattern":"M-"`:                                        "no layer has attention",
		`"hybrid_override_pattern":"*-"`:                                        "none a Mamba-2 mixer",
		`"hybrid_override_pattern":"M*","num_hidden_layers":3`:                  "has 2 layers, and num_hidden_layers is 3",
		`"hybrid_override_pattern":"M*","layers_block_type":["mamba"]`:          "want the same layers",
		`"layers_block_type":["mamba","rwkv"]`:                                  `layers_block_type has "rwkv"`,
		`"rms_norm_eps":1`:                                                      "num_hidden_layers is missing",
		`"hybrid_override_pattern":"M*E"`:                                       "n_routed_experts is missing",
		mixture + `"hybrid_override_pattern":"M*E","mlp_bias":true`:             "biases of experts",
		mixture + `"hybrid_override_pattern":"M*E","moe_latent_size":-1`:        "moe_latent_size is -1",
		`"hybrid_override_pattern":"M*","mamba_ssm_cache_dtype":"fp8"`:          "mamba_ssm_cache_dtype",
		`"hybrid_override_pattern":"M*","sliding_window":64`:                    `"sliding_window": unknown`,
		`"hybrid_override_pattern":"M*","block_configs":[{"block_type":"moe"}]`: `"block_configs": unknown`,
	} {
		if _, err := parse(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
}

// TestNemotronFormats: routers stay in 32 bits, and so do the corrections of their scores.
func TestNemotronFormats(t *testing.T) {
	m := find(t, "nemotron-3-nano-30b-a3b")
	const routers = 23 * (2688 + 1) * 128
	if got, want := m.Bytes(BF16), int64(2*31_577_940_288+2*routers); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	linear := int64(0)
	for _, mod := range m.Modules {
		if mod.quantizable() {
			linear += mod.Params()
			if strings.HasSuffix(mod.Name, ".gate") {
				t.Errorf("%s is quantized", mod.Name)
			}
		}
	}
	if got, want := m.Bytes(FP8)-4*23*2*128-4*(23*4+6*4), m.Bytes(BF16)-linear; got != want { // of each matrix a scale
		t.Errorf("%d bytes in 8 bits without scales, want %d", got, want)
	}
}

// TestBlocks: a layer with attention, a mixer or an MLP alone is half a block.
func TestBlocks(t *testing.T) {
	for name, want := range map[string]float64{"llama-3.1-8b": 32, "jamba-v0.1": 32, "nemotron-h-56b": 59} {
		if got := find(t, name).Blocks(); got != want {
			t.Errorf("%s: %v blocks, want %v", name, got, want)
		}
	}
	const nas = `{"model_type":"nemotron-nas","num_hidden_layers":3,"hidden_size":64,"num_attention_heads":4,"vocab_size":128,"max_position_embeddings":512,"block_configs":[
		{"attention":{"n_heads_in_group":2},"ffn":{"ffn_mult":3.0}},{"attention":{"no_op":true},"ffn":{"ffn_mult":3.0}},{"attention":{"no_op":true},"ffn":{"no_op":true}}]}`
	if m, err := ParseConfig([]byte(nas), nil); err != nil || m.Blocks() != 1.5 {
		t.Errorf("%v blocks, %v; want a whole one and half of one", m.Blocks(), err)
	}
}
