package catalog

// gemma4 has windows in all layers except every sixth, whose KV heads are fewer and larger, and may be values and keys at
// once. A layer with experts has an MLP too, with norms of its own before and after each.
func gemma4(b *builder) {
	c := b.c
	b.context(0)
	b.heads(0, 0, 256)
	if len(c.errs) > 0 {
		return
	}
	sameKV := c.flag("attention_k_eq_v", false)
	global := Heads{KVHeads: b.m.Shape.KVHeads, Size: c.sizeOr("global_head_dim", b.m.Shape.HeadSize, maxWidth)}
	if n := c.sizeOr("num_global_key_value_heads", global.KVHeads, maxWidth); sameKV {
		global.KVHeads = n
	}
	queries := b.m.QueryHeads()
	if queries%global.KVHeads != 0 {
		c.fail("num_attention_heads %d is not a multiple of num_global_key_value_heads %d", queries, global.KVHeads)
	}
	b.m.Global = global
	whole := b.embeddings[0]
	whole.head = global.Size
	b.embeddings = []rotary{whole, b.localRotary()}
	b.window(c.sizeOr("sliding_window", 1024, Unbounded), func(l int) bool { return (l+1)%6 != 0 })
	c.num("vocab_size_per_layer_input", 0) // of embeddings for each layer, which hidden_size_per_layer_input 0 turns off
	bias, inner, each := c.flag("attention_bias", false), c.size("intermediate_size", maxWidth), 0
	mixture := c.flag("enable_moe_block", false)
	if mixture {
		b.moe("num_experts", "top_k_experts", 0, 0)
		each = c.sizeOr("moe_intermediate_size", c.num("expert_intermediate_size", 0), maxWidth)
	}
	b.widest(inner + each*b.m.Experts.Active)
	b.stack("model.", true, func(l int) {
		if b.m.Layers[l] == Windowed {
			b.attention(bias, bias)
			b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		} else {
			b.linear("self_attn.q_proj", b.m.Hidden, queries*global.Size, bias)
			b.linear("self_attn.k_proj", b.m.Hidden, global.KVHeads*global.Size, bias)
			if sameKV {
				b.m.Modules[len(b.m.Modules)-1].Twice = true
			} else {
				b.linear("self_attn.v_proj", b.m.Hidden, global.KVHeads*global.Size, bias)
			}
			b.linear("self_attn.o_proj", queries*global.Size, b.m.Hidden, bias)
			b.small("self_attn.q_norm, k_norm", 2*global.Size)
		}
		b.mlp("mlp.", inner, false)
		b.norms(4)
		b.small("layer_scalar", 1)
		if mixture {
			b.router("router.proj", 16)
			b.small("router.scale", b.m.Hidden)
			b.small("router.per_expert_scale", b.m.Experts.Total)
			b.routedMLP("", each)
			b.norms(3)
		}
	})
}

// gemma4Images is gemma4 with an encoder that has positions in a table for rows and one for columns.
func gemma4Images(b *builder) {
	b.decoder = "model.language_model."
	gemma4(b)
	t := b.vision("model.vision_tower.")
	if t == nil {
		return
	}
	c := t.c
	t.want("model_type", "gemma4_vision")
	hidden, layers, inner := c.size("hidden_size", maxWidth), c.size("num_hidden_layers", maxLayers), c.size("intermediate_size", maxWidth)
	patch, positions := c.size("patch_size", 1<<10), c.size("position_embedding_size", maxVocab)
	heads, size := c.size("num_attention_heads", maxWidth), c.size("head_dim", maxWidth)
	if heads*size != hidden || c.num("num_key_value_heads", heads) != heads || c.num("global_head_dim", size) != size {
		c.fail("%snum_attention_heads: %d heads of %d elements are not hidden_size, %d, or num_key_value_heads or global_head_dim differ: such an encoder is not modelled", c.at, heads, size, hidden)
	}
	if c.flag("use_clipped_linears", false) || c.flag("attention_bias", false) {
		c.fail("%suse_clipped_linears or attention_bias is true: such an encoder is not modelled", c.at)
	}
	standardize := c.flag("standardize", false)
	for _, name := range []string{"default_output_length", "pooling_kernel_size", "max_position_embeddings", "image_seq_length", "video_seq_length"} {
		c.read[name] = true
	}
	t.close()
	t.add("patch_embedder.input_proj", 3*patch*patch, hidden, 1)
	t.add("patch_embedder.position_embedding_table", 2*positions, hidden, 1)
	t.add("encoder.layers.self_attn", hidden, hidden, 4*layers)
	t.add("encoder.layers.self_attn.q_norm, k_norm", 2, size, layers)
	t.add("encoder.layers.mlp", hidden, inner, 3*layers)
	t.add("encoder.layers.norms", 4, hidden, layers)
	if standardize {
		t.add("std_scale, std_bias", 2, hidden, 1)
	}
	t.prefix = "model.embed_vision."
	t.add("embedding_projection", hidden, b.m.Hidden, 1)
}
