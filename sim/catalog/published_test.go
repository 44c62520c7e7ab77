package catalog

import (
	"math"
	"strings"
	"testing"
)

// TestPublishedChecks compares parameters with the elements of all tensors of the published safetensors files,
// less those of scales, and bytes with the files' total_size. Where the source gives the bytes rounded, they are
// compared after the same rounding.
func TestPublishedChecks(t *testing.T) {
	for _, test := range []struct {
		model    string
		elements int64 // of all tensors
		scales   int64 // of them, those that are no parameters
		gib      float64
		source   string
	}{
		// 62 layers of 256 experts with three matrices of 24 × 12 blocks, and attention's of 24 × (2·48 + 2·8).
		{"minimax-m2.5", 228_703_644_928, 62 * (256*3*24*12 + 24*(2*48+2*8)), 214.32,
			"tensors of MiniMaxAI/MiniMax-M2.7, which has the same layers"},
	} {
		m := find(t, test.model)
		if got := m.Params(); got != test.elements-test.scales {
			t.Errorf("%s: %d parameters, want %d (%s)", test.model, got, test.elements-test.scales, test.source)
		}
		if got := math.Round(float64(m.Bytes(m.Weights))/(1<<30)*100) / 100; got != test.gib {
			t.Errorf("%s: %.2f GiB, want %v (%s)", test.model, got, test.gib, test.source)
		}
	}
}

// TestPublishedActive compares the active parameters of a token, the output matrix included, with those of
// model cards and reports, which are rounded to whole billions.
func TestPublishedActive(t *testing.T) {
	for name, want := range map[string]float64{"minimax-m2.5": 10} {
		if got := float64(activeParams(find(t, name))) / 1e9; math.Round(got) != want {
			t.Errorf("%s: a token passes %.2f billion parameters, want %v", name, got, want)
		}
	}
}

// activeParams returns the parameters of the products of a token.
func activeParams(m *Model) int64 {
	n := int64(m.Hidden) * int64(m.Vocab)
	for _, kind := range []Kind{Linear, Routed} {
		for _, w := range m.Active(m.Weights, kind) {
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
