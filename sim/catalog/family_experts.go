package catalog

import "slices"

func mixtral(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	b.window(b.c.num("sliding_window", 0), always)
	b.moe("num_local_experts", "num_experts_per_tok", 8, 2)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner * b.m.Experts.Active)
	b.stack("model.", false, func(int) {
		b.attention(false, false)
		b.whole("block_sparse_moe.gate", b.m.Hidden, b.m.Experts.Total, false)
		b.routed("block_sparse_moe.experts.*.w1", b.m.Hidden, inner)
		b.routed("block_sparse_moe.experts.*.w2", inner, b.m.Hidden)
		b.routed("block_sparse_moe.experts.*.w3", b.m.Hidden, inner)
		b.norms(2)
	})
}

// experts adds the router and the routed experts of a layer.
func (b *builder) experts(inner int) {
	b.whole("mlp.gate", b.m.Hidden, b.m.Experts.Total, false)
	b.routedMLP("mlp.", inner)
}

// routedMLP adds the routed experts of a layer, each a gated MLP.
func (b *builder) routedMLP(prefix string, inner int) {
	b.routed(prefix+"experts.*.gate_proj", b.m.Hidden, inner)
	b.routed(prefix+"experts.*.up_proj", b.m.Hidden, inner)
	b.routed(prefix+"experts.*.down_proj", inner, b.m.Hidden)
}

// shared reads the number of shared experts, each of which is this wide, and returns the width of all.
func (b *builder) shared(name string, byDefault, each int) int {
	n := b.c.num(name, byDefault)
	if n < 0 || n > maxExperts || n*each > maxWidth {
		b.c.fail("%s is %d: %d wide, want 0 to %d in all", name, n, each, maxWidth)
		return 0
	}
	return n * each
}

// qwenExperts reads the mixture of experts of a Qwen model, and returns a function that adds the MLP of
// a layer. shared is the default width of the shared expert, 0 if the family has none.
func qwenExperts(b *builder, total, active, shared int) func(layer int) {
	b.moe("num_experts", "num_experts_per_tok", total, active)
	each := b.c.size("moe_intermediate_size", maxWidth)
	shared = b.c.num("shared_expert_intermediate_size", shared)
	if shared < 0 || shared > maxWidth {
		b.c.fail("shared_expert_intermediate_size is %d, want 0 to %d", shared, maxWidth)
	}
	step, dense := b.c.num("decoder_sparse_step", 1), b.c.nums("mlp_only_layers")
	if step < 1 {
		b.c.fail("decoder_sparse_step is %d, want at least 1", step)
		step = 1
	}
	isDense := make([]bool, len(b.m.Layers))
	for _, l := range dense {
		if l < 0 || l >= len(isDense) {
			b.c.fail("mlp_only_layers names layer %d of %d", l, len(isDense))
			break
		}
		isDense[l] = true
	}
	for l := range isDense {
		isDense[l] = isDense[l] || (l+1)%step != 0
	}
	inner := b.c.num("intermediate_size", 0)
	if slices.Contains(isDense, true) {
		inner = b.c.size("intermediate_size", maxWidth)
		b.widest(inner)
	}
	if slices.Contains(isDense, false) {
		b.widest(each*b.m.Experts.Active + shared)
	} else {
		b.m.Experts = Experts{}
	}
	return func(l int) {
		if isDense[l] {
			b.mlp("mlp.", inner, false)
			return
		}
		b.experts(each)
		if shared > 0 {
			b.mlp("mlp.shared_expert.", shared, false)
			b.whole("mlp.shared_expert_gate", b.m.Hidden, 1, false)
		}
	}
}

func qwen2MoE(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	useWindow(b)
	mlp, bias := qwenExperts(b, 60, 4, 5632), b.c.flag("qkv_bias", true)
	b.stack("model.", false, func(l int) {
		b.attention(bias, false)
		mlp(l)
		b.norms(2)
	})
}

func qwen3MoE(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	useWindow(b)
	mlp, bias := qwenExperts(b, 128, 8, 0), b.c.flag("attention_bias", false)
	if !b.c.flag("use_qk_norm", true) || b.c.flag("qkv_bias", false) {
		b.c.fail("use_qk_norm false, or qkv_bias true: no server has such a model of model_type qwen3_moe")
	}
	b.stack("model.", false, func(l int) {
		b.attention(bias, bias)
		b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		mlp(l)
		b.norms(2)
	})
}

// gptOSS has a window in every other layer, sinks, and biases everywhere.
func gptOSS(b *builder) {
	b.context(131072)
	b.heads(64, 8, 64)
	b.window(b.c.sizeOr("sliding_window", 128, Unbounded), func(l int) bool { return l%2 == 0 })
	active := b.c.num("experts_per_token", 4) // an older name, which files may have in addition
	b.moe("num_local_experts", "num_experts_per_tok", 128, active)
	bias := b.c.flag("attention_bias", true)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner * b.m.Experts.Active)
	b.stack("model.", false, func(int) {
		b.attention(bias, bias)
		b.small("self_attn.sinks", b.m.QueryHeads())
		b.whole("mlp.router", b.m.Hidden, b.m.Experts.Total, true)
		b.routed("mlp.experts.gate_up_proj", b.m.Hidden, 2*inner)
		b.plain("mlp.experts.gate_up_proj_bias", b.m.Experts.Total, 2*inner)
		b.routed("mlp.experts.down_proj", inner, b.m.Hidden)
		b.plain("mlp.experts.down_proj_bias", b.m.Experts.Total, b.m.Hidden)
		b.norms(2)
	})
}

// deepseek has multi-head latent attention, and first dense layers and then mixtures of experts with
// shared experts.
func deepseek(b *builder) { latentLayers(b, func(int) {}) }

// latentHeads are the sizes of multi-head latent attention.
type latentHeads struct {
	heads, rank, latent, rope, nope, value int
	bias                                   bool
}

// latentHeads reads the sizes of multi-head latent attention; false if they are wrong.
func (b *builder) latentHeads() (latentHeads, bool) {
	c := b.c
	a := latentHeads{heads: c.size("num_attention_heads", maxWidth)}
	c.num("num_key_value_heads", a.heads) // heads that the latent replaces
	c.num("head_dim", 0)
	a.latent, a.rope = c.size("kv_lora_rank", maxWidth), c.size("qk_rope_head_dim", maxWidth)
	a.nope, a.value = c.size("qk_nope_head_dim", maxWidth), c.size("v_head_dim", maxWidth)
	if a.rank = c.num("q_lora_rank", 0); a.rank < 0 || a.rank > maxWidth {
		c.fail("q_lora_rank is %d, want 1 to %d, or null", a.rank, maxWidth)
	}
	if float64(a.heads)*float64(a.nope+a.rope+a.value) > maxWidth {
		c.fail("num_attention_heads %d, of qk_nope_head_dim %d and qk_rope_head_dim %d or v_head_dim %d elements, are wider than %d", a.heads, a.nope, a.rope, a.value, maxWidth)
		return a, false
	}
	a.bias = c.flag("attention_bias", false)
	b.m.Shape.KVHeads, b.m.Shape.Group = 1, a.heads
	b.m.Latent, b.m.Pair = a.latent+a.rope, a.nope+a.rope+a.value
	b.rotated = a.rope
	return a, true
}

// latentAttention adds the matrices of multi-head latent attention.
func (b *builder) latentAttention(a latentHeads) {
	h, q := b.m.Hidden, a.heads*(a.nope+a.rope)
	if a.rank > 0 {
		b.whole("self_attn.q_a_proj", h, a.rank, a.bias)
		b.small("self_attn.q_a_layernorm", a.rank)
		b.linear("self_attn.q_b_proj", a.rank, q, false)
	} else {
		b.linear("self_attn.q_proj", h, q, false)
	}
	b.whole("self_attn.kv_a_proj_with_mqa", h, a.latent+a.rope, a.bias)
	b.small("self_attn.kv_a_layernorm", a.latent)
	b.linear("self_attn.kv_b_proj", a.latent, a.heads*(a.nope+a.value), false)
	b.linear("self_attn.o_proj", a.heads*a.value, h, a.bias)
}

// latentLayers adds the layers of deepseek; more adds further modules of a layer.
func latentLayers(b *builder, more func(layer int)) {
	b.context(0)
	c := b.c
	attention, ok := b.latentHeads()
	if !ok {
		return
	}
	dense := len(b.m.Layers)
	if c.has("n_routed_experts") {
		b.moe("n_routed_experts", "num_experts_per_tok", 0, 0)
		dense = c.num("first_k_dense_replace", 0)
	}
	every := c.sizeOr("moe_layer_freq", 1, maxLayers)
	each := 0
	if dense < len(b.m.Layers) {
		each = c.size("moe_intermediate_size", maxWidth)
	}
	inner, shared := c.size("intermediate_size", maxWidth), b.shared("n_shared_experts", 0, each)
	corrects := c.str("topk_method", "") == "noaux_tc"
	b.widest(max(inner, each*b.m.Experts.Active+shared))
	b.stack("model.", false, func(l int) {
		b.latentAttention(attention)
		more(l)
		if l < dense || l%every != 0 {
			b.mlp("mlp.", inner, false)
		} else {
			b.router("mlp.gate", 16)
			b.routedMLP("mlp.", each)
			if corrects {
				b.correction("mlp.gate.e_score_correction_bias", 32)
			}
			if shared > 0 {
				b.mlp("mlp.shared_experts.", shared, false)
			}
		}
		b.norms(2)
	})
}
