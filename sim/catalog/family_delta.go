package catalog

// qwen3Next has gated delta nets, and gated attention in every fourth layer.
func qwen3Next(b *builder) {
	b.contextRotating(0, 0.25)
	b.heads(16, 2, 256)
	mlp := qwenExperts(b, 512, 10, 512)
	deltaNets(b, mlp, func(keys, values, heads int) {
		b.linear("linear_attn.in_proj_qkvz", b.m.Hidden, 2*keys+2*values, false)
		b.linear("linear_attn.in_proj_ba", b.m.Hidden, 2*heads, false)
	})
}

// qwen35 has the layers of qwen3Next, without experts. The matrices of a delta net's inputs are apart.
func qwen35(b *builder) {
	b.contextRotating(0, 0.25)
	b.heads(16, 4, 256)
	inner := b.c.sizeOr("intermediate_size", 12288, maxWidth)
	b.widest(inner)
	qwen35Layers(b, func(int) { b.mlp("mlp.", inner, false) })
}

// qwen35MoE is qwen35 with a mixture of experts in every layer.
func qwen35MoE(b *builder) {
	b.contextRotating(0, 0.25)
	b.heads(16, 2, 256)
	b.moe("num_experts", "num_experts_per_tok", 256, 8)
	each, shared := b.c.sizeOr("moe_intermediate_size", 512, maxWidth), b.c.sizeOr("shared_expert_intermediate_size", 512, maxWidth)
	b.widest(each*b.m.Experts.Active + shared)
	b.c.num("intermediate_size", 0) // which no layer has
	qwen35Layers(b, func(int) {
		b.router("mlp.gate", 16)
		b.routedMLP("mlp.", each)
		b.mlp("mlp.shared_expert.", shared, false)
		b.whole("mlp.shared_expert_gate", b.m.Hidden, 1, false)
		b.fixed(16)
	})
}

// qwen35Layers adds the layers of both; mlp adds a layer's MLP.
func qwen35Layers(b *builder, mlp func(layer int)) {
	for _, name := range []string{"mtp_num_hidden_layers", "mtp_use_dedicated_embeddings"} {
		b.c.read[name] = true // of layers that servers load only for speculation
	}
	b.c.read["output_gate_type"] = true // the function of the gate
	deltaNets(b, mlp, func(keys, values, heads int) {
		b.linear("linear_attn.in_proj_qkv", b.m.Hidden, 2*keys+values, false)
		b.linear("linear_attn.in_proj_z", b.m.Hidden, values, false)
		b.linear("linear_attn.in_proj_b", b.m.Hidden, heads, false)
		b.linear("linear_attn.in_proj_a", b.m.Hidden, heads, false)
	})
}

// qwen35Images and qwen35MoEImages have an encoder of images and videos.
func qwen35Images(b *builder)    { qwenImages(b, qwen35) }
func qwen35MoEImages(b *builder) { qwenImages(b, qwen35MoE) }

// deltaNets adds layers with gated delta nets, and with gated attention in every full_attention_interval-th
// of them or where layer_types says so. A delta net's state is a matrix for each head of values and the
// past inputs of the convolution. inputs adds the matrices of a delta net's inputs: of the elements of
// its keys and values, and of its heads of values.
func deltaNets(b *builder, mlp func(layer int), inputs func(keys, values, heads int)) {
	c, h := b.c, b.m.Hidden
	keySize, valueSize := c.sizeOr("linear_key_head_dim", 128, 1<<12), c.sizeOr("linear_value_head_dim", 128, 1<<12)
	heads := c.sizeOr("linear_num_value_heads", 32, maxWidth)
	keyHeads := c.sizeOr("linear_num_key_heads", 16, maxWidth)
	keys, values := keyHeads*keySize, heads*valueSize
	taps := c.sizeOr("linear_conv_kernel_dim", 4, 1<<10)
	if keys > maxWidth || values > maxWidth {
		c.fail("linear_num_key_heads and linear_num_value_heads make keys of %d and values of %d elements, want at most %d", keys, values, maxWidth)
		return
	}
	every := c.sizeOr("full_attention_interval", 4, maxLayers)
	types := c.strs("layer_types")
	if types == nil {
		for l := range b.m.Layers {
			kind := "linear_attention"
			if (l+1)%every == 0 {
				kind = "full_attention"
			}
			types = append(types, kind)
		}
	}
	if !b.ofLayers("layer_types", len(types)) {
		return
	}
	for l, kind := range types {
		switch kind {
		case "linear_attention":
			b.m.Layers[l] = Stateful
		case "full_attention":
		default:
			c.fail("layer_types: layer %d is %.40q, want full_attention or linear_attention", l, kind)
			return
		}
	}
	if heads%keyHeads != 0 {
		c.fail("linear_num_value_heads %d is not a multiple of linear_num_key_heads %d", heads, keyHeads)
		return
	}
	b.m.State = State{Elements16: (2*keys + values) * (taps - 1), Elements32: values * keySize, Heads: keyHeads}
	b.stateFormat("mamba_ssm_dtype", "bfloat16")
	bias := c.flag("attention_bias", false)
	q, k := b.width()
	queries := q
	if c.flag("attn_output_gate", true) {
		queries = 2 * q // and the output's gate
	}
	b.stack("model.", false, func(l int) {
		if b.m.Layers[l] == Full {
			b.linear("self_attn.q_proj", h, queries, bias)
			b.linear("self_attn.k_proj", h, k, bias)
			b.linear("self_attn.v_proj", h, k, bias)
			b.linear("self_attn.o_proj", q, h, bias)
			b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		} else {
			inputs(keys, values, heads)
			b.plain("linear_attn.conv1d", taps, 2*keys+values)
			b.small("linear_attn.dt_bias, A_log", 2*heads)
			b.small("linear_attn.norm", valueSize)
			b.linear("linear_attn.out_proj", values, h, false)
		}
		mlp(l)
		b.norms(2)
	})
}
