package catalog

import (
	"slices"

	"kvcompress/kv"
)

// mimo is qwen2.
func mimo(b *builder) {
	if !b.c.flag("attention_bias", true) || b.c.flag("use_mrope", false) {
		b.c.fail("attention_bias is false or use_mrope true: such a model is not modelled")
	}
	qwen2(b)
}

// mimoV2 has layers with windows, sinks and more KV heads, and others that keep every token. A value is shorter than a
// key: the head size is their mean, which gives the bytes of both. Layers have a mixture of experts or an MLP.
func mimoV2(b *builder) {
	c := b.c
	b.context(0)
	queries := c.size("num_attention_heads", maxWidth)
	key, value := c.size("head_dim", kv.MaxHeadSize), c.sizeOr("v_head_dim", c.num("head_dim", 0), kv.MaxHeadSize)
	full, local := c.size("num_key_value_heads", maxWidth), c.size("swa_num_key_value_heads", maxWidth)
	if c.sizeOr("swa_num_attention_heads", queries, maxWidth) != queries || c.sizeOr("swa_head_dim", key, kv.MaxHeadSize) != key || c.sizeOr("swa_v_head_dim", value, kv.MaxHeadSize) != value {
		c.fail("swa_num_attention_heads, swa_head_dim or swa_v_head_dim are not those of the other layers: such a model is not modelled")
	}
	if queries%full != 0 || queries%local != 0 || (key+value)%2 != 0 {
		c.fail("num_attention_heads %d is not a multiple of num_key_value_heads %d and swa_num_key_value_heads %d, or head_dim %d and v_head_dim %d are odd", queries, full, local, key, value)
		return
	}
	size := (key + value) / 2
	b.m.Shape.KVHeads, b.m.Shape.Group, b.m.Shape.HeadSize, b.m.Pair = local, queries/local, size, key+value
	b.m.Global = Heads{KVHeads: full, Size: size}

	windows, mixtures := c.nums("hybrid_layer_pattern"), c.nums("moe_layer_freq")
	if !b.ofLayers("hybrid_layer_pattern", len(windows)) || !b.ofLayers("moe_layer_freq", len(mixtures)) {
		return
	}
	b.m.Window = c.sizeOr("sliding_window_size", c.num("sliding_window", 0), Unbounded)
	for l, is := range windows {
		if is != 0 {
			b.m.Layers[l] = Windowed
		}
	}
	whole := b.embeddings[0]
	whole.head = key
	slides := whole
	slides.theta = c.real("swa_rope_theta", whole.theta)
	b.embeddings = []rotary{whole, slides}

	bias, sinks, fullSinks := c.flag("attention_bias", false), c.flag("add_swa_attention_sink_bias", false), c.flag("add_full_attention_sink_bias", false)
	routers := map[string]int{"float32": 32, "bfloat16": 16}[c.str("moe_router_dtype", "float32")]
	if routers == 0 {
		c.fail("moe_router_dtype is %.40q, want float32 or bfloat16", c.str("moe_router_dtype", ""))
	}
	b.moe("n_routed_experts", "num_experts_per_tok", 0, 0)
	each, inner := c.size("moe_intermediate_size", maxWidth), 0
	if slices.Contains(mixtures, 0) {
		inner = c.size("intermediate_size", maxWidth)
	}
	c.num("intermediate_size", 0)
	b.widest(max(inner, each*b.m.Experts.Active))
	for _, name := range []string{"attention_chunk_size", "attention_value_scale", "layernorm_epsilon"} { // of the same windows; arithmetic
		c.read[name] = true
	}
	b.stack("model.", false, func(l int) {
		heads, sink := full, fullSinks
		if windows[l] != 0 {
			heads, sink = local, sinks
		}
		b.linear("self_attn.q_proj", b.m.Hidden, queries*key, bias)
		b.linear("self_attn.k_proj", b.m.Hidden, heads*key, bias)
		b.linear("self_attn.v_proj", b.m.Hidden, heads*value, bias)
		b.linear("self_attn.o_proj", queries*value, b.m.Hidden, false)
		if sink {
			b.small("self_attn.attention_sink_bias", queries)
		}
		if mixtures[l] == 0 {
			b.mlp("mlp.", inner, false)
		} else {
			b.router("mlp.gate", routers)
			b.correction("mlp.gate.e_score_correction_bias", routers)
			b.routedMLP("mlp.", each)
		}
		b.norms(2)
	})
}
