package catalog

// kimiLinear has Kimi Delta Attention in most layers, which keeps a matrix for each head and the past inputs of three
// convolutions, multi-head latent attention without positions in the others, and mixtures of experts.
func kimiLinear(b *builder) {
	c, h := b.c, b.m.Hidden
	b.context(c.num("model_max_length", 0))
	b.embeddings = nil
	if !c.flag("mla_use_nope", false) {
		c.fail("mla_use_nope is not true: latent attention with positions is not modelled for kimi_linear")
	}
	latents, ok := b.latentHeads()
	delta := b.kimiDelta()
	if !ok || delta == nil {
		return
	}
	gate := c.flag("mla_use_output_gate", false)
	dense, every := c.num("first_k_dense_replace", 0), c.sizeOr("moe_layer_freq", 1, maxLayers)
	inner, mixture := c.size("intermediate_size", maxWidth), kimiMixture(b)
	b.widest(inner)
	for _, name := range []string{
		"moe_renormalize", "moe_router_activation_func", "num_expert_group", "use_grouped_topk", "activation_situ_beta", "activation_situ_linear_beta",
	} {
		c.read[name] = true // what becomes of products
	}
	depth := b.depth()
	b.stack("model.", false, func(l int) {
		if b.m.Layers[l] == Stateful {
			delta()
		} else {
			b.latentAttention(latents)
			if gate {
				b.linear("self_attn.g_proj", h, latents.heads*latents.value, false)
			}
		}
		if l < dense || l%every != 0 {
			b.mlp("mlp.", inner, false)
		} else {
			mixture()
		}
		b.norms(2)
		if depth {
			b.norms(4) // a norm and a vector of scores before attention and before the MLP
		}
	})
	if depth {
		b.norms(2)
	}
}

// depth reads the attention over the layers' outputs, and reports whether there is one: every layer chooses twice among
// the sums of all blocks of attn_res_block_size layers before it, and the output once.
func (b *builder) depth() bool {
	if !b.c.has("attn_res_block_size") {
		return false
	}
	size := b.c.size("attn_res_block_size", maxLayers)
	for l := range b.m.Layers {
		b.m.Depth.Read += 2 * (l/size + 1)
	}
	b.m.Depth.Kept = (len(b.m.Layers)-1)/size + 1
	b.m.Depth.Read += b.m.Depth.Kept
	return true
}

// kimiDelta reads the layers with Kimi Delta Attention and its sizes, and returns a function that adds the attention of
// a layer; nil if they are wrong.
func (b *builder) kimiDelta() func() {
	of := b.c.object("linear_attn_config")
	if of == nil {
		b.c.fail("linear_attn_config is missing")
		return nil
	}
	heads, size := of.size("num_heads", maxWidth), of.size("head_dim", 1<<12)
	taps, full := of.sizeOr("short_conv_kernel_size", 4, 1<<10), of.flag("use_full_rank_gate", false)
	decays := heads
	if of.has("gate_lower_bound") { // published files then have as many as elements of a head
		of.real("gate_lower_bound", 0)
		decays = size
	}
	seen := make([]bool, len(b.m.Layers))
	mark := func(name string, kind Layer) {
		for _, l := range of.nums(name) { // counted from 1
			if l < 1 || l > len(seen) || seen[l-1] {
				of.fail("%s%s names layer %d, of %d, or one twice", of.at, name, l, len(seen))
				return
			}
			seen[l-1], b.m.Layers[l-1] = true, kind
		}
	}
	mark("kda_layers", Stateful)
	mark("full_attn_layers", Full)
	for l, known := range seen {
		if !known && len(of.errs) == 0 {
			of.fail("linear_attn_config names no kind for layer %d", l+1)
		}
	}
	if heads*size > maxWidth {
		of.fail("%snum_heads and head_dim make %d elements, want at most %d", of.at, heads*size, maxWidth)
	}
	if b.m.Count(Stateful) == 0 || b.m.Count(Full) == 0 {
		of.fail("linear_attn_config: want layers of both kinds")
	}
	b.c.take(of)
	if len(b.c.errs) > 0 {
		return nil
	}
	h, all := b.m.Hidden, heads*size
	b.m.State = State{Elements16: 3 * all * (taps - 1), Elements32: all * size, Heads: heads}
	return func() {
		for _, name := range []string{"q", "k", "v"} {
			b.linear("self_attn."+name+"_proj", h, all, false)
			b.plain("self_attn."+name+"_conv1d", taps, all)
			b.fixed(32)
		}
		b.whole("self_attn.f_a_proj", h, size, false)
		b.linear("self_attn.f_b_proj", size, all, false)
		b.linear("self_attn.b_proj", h, heads, false)
		if full {
			b.linear("self_attn.g_proj", h, all, false)
		} else {
			b.whole("self_attn.g_a_proj", h, size, false)
			b.linear("self_attn.g_b_proj", size, all, false)
		}
		b.small("self_attn.A_log, dt_bias, o_norm", decays+all+size)
		b.fixed(32)
		b.linear("self_attn.o_proj", all, h, false)
	}
}

// kimiMixture reads the mixture of experts, and returns a function that adds that of a layer. With
// routed_expert_hidden_size the routed experts work on a smaller hidden state.
func kimiMixture(b *builder) func() {
	c, h := b.c, b.m.Hidden
	b.moe("num_experts", "num_experts_per_token", 0, 0)
	each, latent := c.size("moe_intermediate_size", maxWidth), c.sizeOr("routed_expert_hidden_size", h, maxWidth)
	norm, shared := c.flag("latent_moe_use_norm", false), b.shared("num_shared_experts", 0, each)
	b.widest(each*b.m.Experts.Active + shared)
	return func() {
		b.router("block_sparse_moe.gate", 16)
		b.correction("block_sparse_moe.gate.e_score_correction_bias", 32)
		if c.has("routed_expert_hidden_size") {
			b.whole("block_sparse_moe.routed_expert_down_proj", h, latent, false)
			b.fixed(16)
			b.whole("block_sparse_moe.routed_expert_up_proj", latent, h, false)
			b.fixed(16)
			if norm {
				b.small("block_sparse_moe.routed_expert_norm", latent)
			}
		}
		b.routed("block_sparse_moe.experts.*.w1", latent, each)
		b.routed("block_sparse_moe.experts.*.w3", latent, each)
		b.routed("block_sparse_moe.experts.*.w2", each, latent)
		if shared > 0 {
			b.mlp("block_sparse_moe.shared_experts.", shared, false)
		}
	}
}

// kimiK3Images is kimiLinear with a MoonViT of its own sizes of heads, without biases and with norms of one vector.
func kimiK3Images(b *builder) {
	b.decoder, b.head = "language_model.model.", "language_model.lm_head"
	kimiLinear(b)
	t := b.vision("vision_tower.")
	if t == nil {
		return
	}
	c := t.c
	hidden, layers, inner := c.size("vt_hidden_size", maxWidth), c.size("vt_num_hidden_layers", maxLayers), c.size("vt_intermediate_size", maxWidth)
	heads, patch := c.sizeOr("qkv_hidden_size", hidden, maxWidth), c.sizeOr("patch_size", 14, 1<<10)
	height, width := c.sizeOr("init_pos_emb_height", 64, 1<<10), c.sizeOr("init_pos_emb_width", 64, 1<<10)
	t.want("norm_type", "rmsnorm")
	t.want("mlp_type", "mlp2")
	t.want("pos_emb_type", "divided_fixed")
	t.want("merge_type", "sd2_tpool")
	t.want("mm_projector_type", "patchmergerv2")
	for _, name := range []string{"attn_bias", "linear_bias", "patch_embed_proj_bias"} {
		if c.flag(name, true) {
			c.fail("%s%s is not false: such an encoder is not modelled", c.at, name)
		}
	}
	for _, same := range []struct {
		name string
		want int
	}{{"mm_hidden_size", hidden}, {"text_hidden_size", b.m.Hidden}} {
		if n := c.sizeOr(same.name, same.want, maxWidth); n != same.want {
			c.fail("%s%s is %d, want %d", c.at, same.name, n, same.want)
		}
	}
	if merge := c.nums("merge_kernel_size"); len(merge) != 2 || merge[0] != 2 || merge[1] != 2 {
		c.fail("%smerge_kernel_size is %v, want [2 2]", c.at, merge)
	}
	for _, name := range []string{"vt_num_attention_heads", "init_pos_emb_time", "pos_emb_interpolation_mode", "activation_func", "projector_hidden_act", "projector_ln_eps"} {
		c.read[name] = true
	}
	t.close()
	t.add("patch_embed.proj", 3*patch*patch, hidden, 1)
	t.add("patch_embed.pos_emb", height*width, hidden, 1)
	t.add("encoder.blocks.wqkv, wo", hidden, heads, 4*layers)
	t.add("encoder.blocks.mlp", hidden, inner, 2*layers)
	t.add("norms", 1, hidden, 2*layers+1)
	t.prefix = "mm_projector."
	t.add("proj.0", 4*hidden, 4*hidden, 1)
	t.add("proj.2", 4*hidden, b.m.Hidden, 1)
	t.add("post_norm", 1, b.m.Hidden, 1)
}
