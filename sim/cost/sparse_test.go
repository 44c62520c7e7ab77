package cost

import (
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// TestSparseByHand works out the memory and the times of DeepSeek Sparse Attention: a latent of 512 + 64 elements, in
// 8 bits 512 bytes, four scales of 4 bytes and 64 elements of 2, and an indexer's key of 128 bytes and a scale of 4.
func TestSparseByHand(t *testing.T) {
	for _, test := range []struct {
		model string
		kv    dtype.DType
		block int
	}{
		{"deepseek-v3.2", dtype.F16, 16 * (1152 + 132)}, {"deepseek-v3.2", dtype.E4M3, 16 * (656 + 132)}, {"glm-5-fp8", dtype.F16, 16 * (1152 + 132)},
		{"glm-5.2-fp8", dtype.F16, 16*1152 + 569}, // 21 of 78 layers have keys of 16 · 132 bytes: 568.6 of each
		{"deepseek-v3", dtype.E4M3, 16 * 576},
	} {
		d := deploy(t, test.model, "b200", 8)
		if d.KV = test.kv; d.blockKV() != test.block {
			t.Errorf("%s in %v: %d bytes a block, want %d", test.model, test.kv, d.blockKV(), test.block)
		}
	}
	near, peak := byHand(t)
	d := deploy(t, "deepseek-v3.2", "h200", 8)
	a := peak(d, "attention")
	near("a pair that the indexers score", a[sim.AttentionPairs], 2*61*64*128/1979e12*1e9) // on every card
	near("a pair that the heads attend to", a[sim.WindowPairs], 2*61*128*(576+512)/989e12*1e9/8)
	near("a latent", peak(d, "kv")[sim.KVsRead], 1152/4800e9*1e9/8)
	near("an index key", peak(d, "kv")[sim.IndexKeysRead], 132/4800e9*1e9/8)
	dense := deploy(t, "deepseek-v3", "h200", 8)
	near("a token in 8 bits", peak(d, "gemm8")[sim.PrefillTokens], peak(dense, "gemm8")[sim.PrefillTokens]+2*61*1536*64*128/1979e12*1e9)
	near("a token in 16 bits", peak(d, "gemm")[sim.PrefillTokens], peak(dense, "gemm")[sim.PrefillTokens]+2*61*7168*(128+64)/989e12*1e9)
	// A step reads all of an indexer on every card: a matrix in 8 bits with a scale of each 128 × 128, two in 16.
	const indexer = 1536*8192 + 4*12*64 + 2*7168*(128+64)
	near("a step", peak(d, "weights")[sim.Steps]-peak(dense, "weights")[sim.Steps], (61*indexer+61*2*2*128/8.0)/4800e9*1e9)
	for _, kv := range []dtype.DType{dtype.F16, dtype.E4M3} {
		if d.KV = kv; d.Selection() == nil || d.Selection().Tokens != 2048 || d.takesKVs() || !d.SharesPrefixes() {
			t.Errorf("%+v selects, by a method: %v", d.Selection(), d.takesKVs())
		}
	}
	near("a latent in 8 bits", peak(d, "kv8")[sim.KVsRead], 656/4800e9*1e9/8)

	d = deploy(t, "glm-5.2-fp8", "h200", 8)
	near("an index key of some layers", peak(d, "kv")[sim.IndexKeysRead], 132*21/78.0/4800e9*1e9/8)
	d.PP = 2
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "21 of the 78 layers") {
		t.Errorf("stages of layers with and without an indexer: %v", err)
	}
	d.PP, d.Method.Compression.Rate = 0, 0.5
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "latent") {
		t.Errorf("a method on sparse attention: %v", err)
	}
}

// TestLayerNotes: notes say which layers of several kinds hold what, of models on 8 cards.
func TestLayerNotes(t *testing.T) {
	for model, want := range map[string][]string{
		"deepseek-v3":             {"one latent of 576 elements per layer"},
		"glm-5.2-fp8":             {"a token attends to at most 2048 tokens. 21 of 78 layers have an indexer", "a key of 132 bytes"},
		"kimi-linear-48b-a3b":     {"one latent of 576 elements in each of 7 layers", "20 of 27 layers hold a state of 2170880 bytes"},
		"nemotron-3-nano-30b-a3b": {"23 of 52 layers hold nothing of a sequence", "23 of 52 layers hold a state of 2134016 bytes"},
		"gemma-4-26b-a4b":         {"the 5 layers that hold every token have 2 KV heads of 1024 elements", "2 KV heads are fewer than 8 cards: each head of these layers is held by 4 cards"},
		"llama-4-scout":           {"36 of 48 layers attend within chunks of 8192 tokens, and are counted as if they held the last 8192: as"},
		"gemma-4-31b":             {"50 of 60 layers hold only the last 1024 tokens", "4 KV heads are fewer than 8 cards: each head of these layers is held by 2 cards"},
	} {
		notes := strings.Join(deploy(t, model, "b200", 8).Notes(), " ")
		for _, part := range want {
			if !strings.Contains(notes, part) {
				t.Errorf("%s: %q, want %q", model, notes, part)
			}
		}
	}
}

// TestOnCards: what every card of a group holds counts for each.
func TestOnCards(t *testing.T) {
	m, err := catalog.FindModel("deepseek-v3.2")
	if err != nil {
		t.Fatal(err)
	}
	const indexer = 61 * (1536*8192 + 4*12*64 + 2*7168*(128+64))
	const latents = 61 * (7168*1536 + 4*56*12 + 7168*576 + 4*56*5) // of queries and of KVs
	const routers = 58 * 2 * 7168 * 256
	one, eight := m.Bytes(m.Weights), m.OnCards(8).Bytes(m.Weights)
	if eight-one != 7*(indexer+latents+routers) || m.Bytes(m.Weights) != one {
		t.Errorf("%d bytes more on 8 cards, want %d", eight-one, 7*(indexer+latents+routers))
	}
}
