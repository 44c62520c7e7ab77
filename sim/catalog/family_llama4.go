package catalog

import "slices"

// llama4 has rotary embeddings and attention to the tokens of the same chunk in all layers except every fourth, which
// attends to all tokens and has no embedding. A chunk is modelled as a window of its size: what it holds at its end.
// Some layers have a mixture of experts and a shared expert of the same width, the others an MLP.
func llama4(b *builder) {
	c := b.c
	b.context(0)
	b.heads(0, 0, 0)
	b.m.Window, b.m.Chunked = c.sizeOr("attention_chunk_size", 8192, Unbounded), true
	for l, chunked := range b.llama4Chunked() {
		if chunked {
			b.m.Layers[l] = Windowed
		}
	}
	b.moe("num_local_experts", "num_experts_per_tok", 16, 1)
	mixtures := b.llama4Mixtures()
	bias, inner := c.flag("attention_bias", false), c.size("intermediate_size", maxWidth)
	wide := c.num("intermediate_size_mlp", 0)
	if slices.Contains(mixtures, false) {
		wide = c.size("intermediate_size_mlp", maxWidth)
		b.widest(wide)
	}
	if slices.Contains(mixtures, true) {
		b.widest(inner * (b.m.Experts.Active + 1))
	} else {
		b.m.Experts = Experts{}
	}
	for _, name := range []string{"use_qk_norm", "attn_temperature_tuning", "floor_scale", "attn_scale", "for_llm_compressor"} {
		c.read[name] = true // the norm has no weights
	}
	b.stack("model.", false, func(l int) {
		b.attention(bias, bias)
		if mixtures[l] {
			b.router("feed_forward.router", 16)
			b.routedMLP("feed_forward.", inner)
			b.mlp("feed_forward.shared_expert.", inner, false)
		} else {
			b.mlp("feed_forward.", wide, false)
		}
		b.norms(2)
	})
}

// llama4Chunked returns for each layer whether it attends to a chunk: by layer_types, or where no_rope_layers has a 1.
func (b *builder) llama4Chunked() []bool {
	c, chunked := b.c, make([]bool, len(b.m.Layers))
	types, rotates := c.strs("layer_types"), c.nums("no_rope_layers")
	step := c.sizeOr("no_rope_layer_interval", 4, maxLayers)
	if len(rotates) == 0 { // as where the entry is missing
		rotates = nil
	}
	if types != nil && !b.ofLayers("layer_types", len(types)) || rotates != nil && !b.ofLayers("no_rope_layers", len(rotates)) {
		return chunked
	}
	for l := range chunked {
		chunked[l] = (l+1)%step != 0
		if rotates != nil {
			chunked[l] = rotates[l] != 0
		}
		if types == nil {
			continue
		}
		want := "full_attention"
		if chunked[l] {
			want = "chunked_attention"
		}
		if types[l] != want {
			c.fail("layer_types: layer %d is %.40q, want %s by its rotary embedding", l, types[l], want)
			return chunked
		}
	}
	return chunked
}

// llama4Mixtures returns for each layer whether it has a mixture of experts: those of moe_layers, or every
// interleave_moe_layer_step-th.
func (b *builder) llama4Mixtures() []bool {
	c, mixtures := b.c, make([]bool, len(b.m.Layers))
	step := c.sizeOr("interleave_moe_layer_step", 1, maxLayers)
	if !c.has("moe_layers") {
		for l := range mixtures {
			mixtures[l] = (l+1)%step == 0
		}
		return mixtures
	}
	for _, l := range c.nums("moe_layers") {
		if l < 0 || l >= len(mixtures) {
			c.fail("moe_layers names layer %d of %d", l, len(mixtures))
			break
		}
		mixtures[l] = true
	}
	return mixtures
}

// llama4Images is llama4 with an encoder that makes one vector of four of the last layer's.
func llama4Images(b *builder) {
	b.decoder, b.head = "language_model.model.", "language_model.lm_head"
	llama4(b)
	t := b.vision("vision_model.")
	if t == nil {
		return
	}
	c := t.c
	t.want("model_type", "llama4_vision_model")
	hidden, layers, inner := c.size("hidden_size", maxWidth), c.size("num_hidden_layers", maxLayers), c.size("intermediate_size", maxWidth)
	patch, image, channels := c.size("patch_size", 1<<10), c.size("image_size", 1<<14), c.sizeOr("num_channels", 3, 1<<10)
	in, out := c.size("projector_input_dim", maxWidth), c.size("projector_output_dim", maxWidth)
	if ratio := c.real("pixel_shuffle_ratio", 0.5); float64(hidden) != ratio*ratio*float64(inner) {
		c.fail("%spixel_shuffle_ratio %v makes vectors of %v elements, and the adapter takes intermediate_size, %d", c.at, ratio, float64(hidden)/ratio/ratio, inner)
	}
	if c.flag("multi_modal_projector_bias", false) || in != out || c.sizeOr("vision_output_dim", out, maxWidth) != out {
		c.fail("%sprojector_input_dim, projector_output_dim and vision_output_dim differ, or the projector has a bias: such an encoder is not modelled", c.at)
	}
	for _, name := range []string{"num_attention_heads", "vision_feature_layer", "vision_feature_select_strategy"} {
		c.read[name] = true
	}
	t.close()
	t.add("patch_embedding.linear", channels*patch*patch, hidden, 1)
	t.add("class_embedding", 1, hidden, 1)
	t.add("positional_embedding_vlm", (image/patch)*(image/patch)+1, hidden, 1)
	t.linear("model.layers.self_attn", hidden, hidden, 4*layers)
	t.linear("model.layers.mlp.fc1", hidden, inner, layers)
	t.linear("model.layers.mlp.fc2", inner, hidden, layers)
	t.norms("model.layers.norms, layernorm_pre, layernorm_post", hidden, 2*layers+2)
	t.add("vision_adapter.mlp.fc1", inner, in, 1)
	t.add("vision_adapter.mlp.fc2", out, out, 1)
	t.prefix = "multi_modal_projector."
	t.add("linear_1", out, b.m.Hidden, 1)
}
