package catalog

import (
	"slices"
	"strings"
	"testing"
)

// TestGemma4Params compares parameters with those of the published safetensors files, as the metadata of the models'
// pages on Hugging Face has them. The matrices of keys that are values too are held twice.
func TestGemma4Params(t *testing.T) {
	for _, test := range []struct {
		model        string
		params, keys int64
	}{
		{"gemma-4-26b-a4b", 25_805_936_206, 5 * 2816 * 2 * 512}, {"gemma-4-31b", 31_273_088_876, 10 * 5376 * 4 * 512},
	} {
		m := find(t, test.model)
		if got, want := m.Bytes(BF16), 2*(test.params+test.keys); m.Params() != test.params || got != want {
			t.Errorf("%s: %d parameters in %d bytes, want %d in %d", test.model, m.Params(), got, test.params, want)
		}
	}
}

const gemma4Model = `"model_type":"gemma4_text","num_hidden_layers":6,"hidden_size":64,"num_attention_heads":8,"num_key_value_heads":4,"head_dim":8,"global_head_dim":16,"intermediate_size":32,"vocab_size":128,"max_position_embeddings":1000,"sliding_window":100,"rope_parameters":{"full_attention":{"rope_type":"proportional","partial_rotary_factor":0.25,"rope_theta":1e6},"sliding_attention":{"rope_theta":1e4}}`

// TestGemma4 works out layers whose heads are of two sizes.
func TestGemma4(t *testing.T) {
	parse := func(entries string) (Model, error) { return ParseConfig([]byte("{"+gemma4Model+entries+"}"), nil) }
	const (
		windowed = 64*64 + 2*64*32 + 64*64 + 2*8
		other    = 3*64*32 + 4*64 + 1
		mixture  = 4*(3*64*16+64) + 64 + 4 + 3*64
		table    = 128*64 + 64
	)
	tables := []RotaryTable{{1000, 16}, {1000, 8}}
	for _, test := range []struct {
		entries string
		params  int64
		held    int64 // elements that are held in addition
		global  Heads
		shape   [3]int // KV heads, query heads of one, head size
		tables  []RotaryTable
	}{
		{`,"attention_k_eq_v":true,"num_global_key_value_heads":2`, 5*windowed + 64*128 + 64*32 + 128*64 + 2*16 + 6*other + table, 64 * 32, Heads{2, 16}, [3]int{4, 2, 8}, tables},
		{`,"num_global_key_value_heads":2`, 5*windowed + 64*128 + 2*64*64 + 128*64 + 2*16 + 6*other + table, 0, Heads{4, 16}, [3]int{4, 2, 8}, tables},
		{`,"enable_moe_block":true,"num_experts":4,"top_k_experts":2,"moe_intermediate_size":16`, 5*windowed + 64*128 + 2*64*64 + 128*64 + 2*16 + 6*(other+mixture) + table, 0, Heads{4, 16}, [3]int{4, 2, 8}, tables},
		{`,"layer_types":["full_attention","full_attention","full_attention","full_attention","full_attention","full_attention"],"attention_k_eq_v":true,"num_global_key_value_heads":2`,
			6*(64*128+64*32+128*64+2*16) + 6*other + table, 6 * 64 * 32, Heads{}, [3]int{2, 4, 16}, tables},
		{`,"layer_types":["sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention"],"num_global_key_value_heads":2`,
			6*windowed + 6*other + table, 0, Heads{}, [3]int{4, 2, 8}, tables},
	} {
		m, err := parse(test.entries)
		if err != nil {
			t.Errorf("%s: %v", test.entries, err)
			continue
		}
		if got, bytes := m.Params(), m.Bytes(BF16); got != test.params || bytes != 2*(test.params+test.held) || m.Global != test.global {
			t.Errorf("%s: %d parameters in %d bytes, heads %v, want %d in %d, %v", test.entries, got, bytes, m.Global, test.params, 2*(test.params+test.held), test.global)
		}
		if s := m.Shape; [3]int{s.KVHeads, s.Group, s.HeadSize} != test.shape || m.Pair != 2*s.HeadSize || !slices.Equal(m.Rotary, test.tables) {
			t.Errorf("%s: shape %v, pair %d, tables %v, want %v and %v", test.entries, s, m.Pair, m.Rotary, test.shape, test.tables)
		}
	}
	// A window as long as the context does not make heads of one size of two.
	if m, err := ParseConfig([]byte("{"+strings.Replace(gemma4Model, `"sliding_window":100`, `"sliding_window":1000`, 1)+"}"), nil); err != nil || m.Count(Windowed) != 5 || m.Uniform() {
		t.Errorf("%v, %v", m.Layers, err)
	}
	for entries, want := range map[string]string{
		`,"hidden_size_per_layer_input":256`:                         `"hidden_size_per_layer_input": unknown`,
		`,"num_kv_shared_layers":2`:                                  `"num_kv_shared_layers": unknown`,
		`,"use_double_wide_mlp":true`:                                `"use_double_wide_mlp": unknown`,
		`,"attention_k_eq_v":true,"num_global_key_value_heads":3`:    "num_attention_heads 8 is not a multiple of num_global_key_value_heads 3",
		`,"enable_moe_block":true,"num_experts":4,"top_k_experts":2`: "moe_intermediate_size is missing",
		`,"layer_types":["full_attention"]`:                          "layer_types has 1 layers",
	} {
		if _, err := parse(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
	if _, err := ParseConfig([]byte("{"+strings.Replace(gemma4Model, `"global_head_dim":16`, `"global_head_dim":12`, 1)+"}"), nil); err == nil || !strings.Contains(err.Error(), "global head size 12 is not a multiple of the head size 8") {
		t.Errorf("a head of one and a half: %v", err)
	}
	encoder := func(entries string) (Model, error) {
		return ParseConfig([]byte(`{"model_type":"gemma4","text_config":{`+gemma4Model+`},"vision_config":{"hidden_size":24,"num_hidden_layers":3,"num_attention_heads":3,"head_dim":8,"intermediate_size":50,"patch_size":7,"position_embedding_size":36`+entries+`}}`), nil)
	}
	plain, _ := parse("")
	const held = 3*7*7*24 + 2*36*24 + 3*(4*24*24+2*8+3*24*50+4*24) + 24*64
	for entries, want := range map[string]int64{"": held, `,"standardize":true,"global_head_dim":8,"pooling_kernel_size":3`: held + 2*24} {
		if m, err := encoder(entries); err != nil || m.Params()-plain.Params() != want || m.StepBytes(BF16) != plain.StepBytes(BF16) {
			t.Errorf("%s: %d parameters of the encoder, %v, want %d", entries, m.Params()-plain.Params(), err, want)
		}
	}
	for entries, want := range map[string]string{
		`,"use_clipped_linears":true`:         "use_clipped_linears or attention_bias is true",
		`,"num_key_value_heads":1`:            "vision_config.num_attention_heads: 3 heads of 8 elements",
		`,"model_type":"siglip_vision_model"`: "vision_config.model_type is",
	} {
		if _, err := encoder(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
}
