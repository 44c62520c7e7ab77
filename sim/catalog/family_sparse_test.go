package catalog

import (
	"strings"
	"testing"
)

// TestSparseParams compares with the totals of the safetensors files on the models' pages on Hugging Face. These
// have a layer for speculation too, which is not counted: a layer with an indexer and experts, three norms and a
// matrix of twice the hidden size; DeepSeek's file repeats the embedding and the output matrix in it.
func TestSparseParams(t *testing.T) {
	for _, test := range []struct {
		model  string
		hidden int64
		total  int64
		again  int64 // parameters that the file has twice
	}{
		{"deepseek-v3.2", 7168, 685_355_329_792, 2 * 129280 * 7168},
		{"glm-5-fp8", 6144, 753_864_139_008, 0},
		{"glm-5.2-fp8", 6144, 753_329_940_480, 0},
	} {
		m := find(t, test.model)
		layer := int64(0)
		for _, mod := range m.Modules {
			if mod.Layer == 38 { // with an indexer, in GLM-5.2 too
				layer += mod.Params()
			}
		}
		if got, want := m.Params()+layer+3*test.hidden+2*test.hidden*test.hidden+test.again, test.total; got != want {
			t.Errorf("%s: %d parameters with the layer for speculation, want %d", test.model, got, want)
		}
	}
	// Reports have 37 billion active parameters for DeepSeek-V3.2, and 40 for GLM-5.
	for name, want := range map[string]int64{"deepseek-v3.2": 37, "glm-5-fp8": 40, "glm-5.2-fp8": 40} {
		if got := activeParams(find(t, name)) / 1e9; got != want {
			t.Errorf("%s: a token passes %d billion parameters, want %d", name, got, want)
		}
	}
}

// TestSparseFP8 compares the elements in 8 bits with those of zai-org/GLM-5.3, which is published in this format
// and has GLM-5.2's layers. The layer for speculation is in 8 bits as layer 38 is, and servers hold the keys' matrix
// of an indexer, 6,144 × 128, in 16 bits.
func TestSparseFP8(t *testing.T) {
	m := find(t, "glm-5.2-fp8")
	all, layer, keys := int64(0), int64(0), int64(0)
	for _, mod := range m.Modules {
		switch {
		case strings.HasSuffix(mod.Name, ".wk"):
			keys++
		case mod.Format.Bits == 8 && mod.Layer == 38:
			layer += mod.Params()
			fallthrough
		case mod.Format.Bits == 8:
			all += mod.Params()
		}
	}
	if got, want := all+layer+(keys+1)*6144*128, int64(751_226_191_872); keys != 21 || got != want {
		t.Errorf("%d elements in 8 bits, with %d indexers, want %d with 21", got, keys, want)
	}
}

// TestSparseTables: the pairs of an indexer's rotated elements are others than the layers' for DeepSeek-V3.2, and so
// it has a table of its own.
func TestSparseTables(t *testing.T) {
	for name, want := range map[string]int64{"deepseek-v3.2": 2 * 2 * 163_840 * 64, "glm-5-fp8": 2 * 202_752 * 64} {
		if got := find(t, name).RotaryBytes(); got != want {
			t.Errorf("%s: %d bytes of tables, want %d", name, got, want)
		}
	}
}

const sparse = `{"model_type":"glm_moe_dsa","kv_lora_rank":64,"qk_rope_head_dim":16,"qk_nope_head_dim":32,"v_head_dim":32,"index_n_heads":4,"index_head_dim":128,"index_topk":64,
	"q_lora_rank":64,"num_hidden_layers":8,"hidden_size":256,"num_attention_heads":8,"intermediate_size":512,"moe_intermediate_size":64,"n_routed_experts":4,"n_shared_experts":1,
	"num_experts_per_tok":2,"first_k_dense_replace":2,"vocab_size":512,"max_position_embeddings":4096,%s}`

// TestIndexedLayers counts the layers with an indexer.
func TestIndexedLayers(t *testing.T) {
	const types = `"indexer_types":["full","full","shared","shared","full","shared","shared","full"]`
	for entries, want := range map[string]int{
		`"qk_head_dim":48,"num_experts":4,"moe_router_dtype":"float32","index_share_for_mtp_iteration":true`: 8,
		`"index_topk_freq":3`: 3 + 1, // layers 0, 1, 4 and 7
		`"index_topk_freq":3,"index_skip_topk_offset":2,` + types:                                              4,
		`"index_topk_pattern":"FFSSFSSF",` + types:                                                             4,
		`"index_topk_freq":4,"index_skip_topk_offset":3`:                                                       3 + 1, // 0, 1, 2 and 6
		`"layer_types":[` + strings.Repeat(`"deepseek_sparse_attention",`, 7) + `"deepseek_sparse_attention"]`: 8,
		`"mlp_layer_types":["dense","dense",` + strings.Repeat(`"sparse",`, 5) + `"sparse"]`:                   8,
	} {
		m, err := ParseConfig([]byte(strings.Replace(sparse, "%s", entries, 1)), nil)
		if err != nil || m.Indexer.Layers != want {
			t.Errorf("%s: %d layers with an indexer, %v; want %d", entries, m.Indexer.Layers, err, want)
		}
	}
	for entries, want := range map[string]string{
		`"index_topk_freq":3,"indexer_types":["full","full","full","full","full","full","full","full"]`: "indexer_types: layer 2 is \"full\", and by index_topk_freq",
		`"indexer_types":["full"]`:         "indexer_types has 1 layers, and num_hidden_layers is 8",
		`"index_topk_pattern":"FS"`:        "index_topk_pattern has 2 layers, and num_hidden_layers is 8",
		`"index_topk_pattern":"SFFFFFFF"`:  "the first layer has no indexer",
		`"index_topk_freq":0`:              "index_topk_freq is 0",
		`"index_kpool":4`:                  `"index_kpool": unknown`,
		`"qk_head_dim":64`:                 "qk_head_dim is 64",
		`"num_experts":8`:                  "num_experts is 8",
		`"moe_router_dtype":"float8"`:      "moe_router_dtype",
		`"mlp_layer_types":["dense"]`:      "mlp_layer_types has 1 layers, and num_hidden_layers is 8",
		`"layer_types":["full_attention"]`: "layer_types has 1 layers, and num_hidden_layers is 8",
		`"mlp_layer_types":["dense","dense","dense"` + strings.Repeat(`,"sparse"`, 5) + `]`: `mlp_layer_types: layer 2 is "dense", want sparse`,
	} {
		if _, err := ParseConfig([]byte(strings.Replace(sparse, "%s", entries, 1)), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
	for _, change := range [][2]string{
		{`"index_head_dim":128`, `"index_head_dim":64`}, {`"index_n_heads":4`, `"index_n_heads":100000`}, {`"index_topk":64`, `"index_topk":0`}, {`"q_lora_rank":64,`, ``},
	} {
		config := strings.Replace(strings.Replace(sparse, ",%s", "", 1), change[0], change[1], 1)
		if m, err := ParseConfig([]byte(config), nil); err == nil {
			t.Errorf("%s: %+v", change[1], m.Indexer)
		}
	}
}
