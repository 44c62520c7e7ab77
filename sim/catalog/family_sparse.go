package catalog

// deepseekSparse is deepseek with DeepSeek Sparse Attention: an indexer chooses the tokens that a query attends
// to. Its queries are made of the latent of the layer's queries, its keys and the weights of its heads of the
// hidden state. Engines compute this attention with the latents themselves, for prompts too.
func deepseekSparse(b *builder) {
	c := b.c
	heads, size := c.size("index_n_heads", maxWidth), c.size("index_head_dim", maxWidth)
	tokens, rank := c.size("index_topk", Unbounded), c.size("q_lora_rank", maxWidth)
	latent, rope := c.size("kv_lora_rank", maxWidth), c.size("qk_rope_head_dim", maxWidth)
	if size%indexBlock != 0 || heads*size > maxWidth {
		c.fail("index_head_dim is %d, in %d heads: want a multiple of %d, and at most %d in all", size, heads, indexBlock, maxWidth)
		return
	}
	indexes := b.indexed()
	if indexes == nil {
		return
	}
	latentLayers(b, func(l int) {
		if !indexes[l] {
			return
		}
		b.whole("self_attn.indexer.wq_b", rank, heads*size, false)
		b.whole("self_attn.indexer.wk", b.m.Hidden, size, false)
		b.fixed(16)
		b.whole("self_attn.indexer.weights_proj", b.m.Hidden, heads, false)
		b.fixed(16)
		b.small("self_attn.indexer.k_norm", 2*size)
		b.m.Indexer.Layers++
	})
	x := &b.m.Indexer
	x.Heads, x.Size, x.Tokens = heads, size, tokens
	x.Latent = latent + latentScales(latent) + 2*rope
	b.m.Pair = 2*latent + rope
	if !c.flag("indexer_rope_interleave", false) {
		of := b.embeddings[0]
		of.halves = true
		b.embeddings = append(b.embeddings, of)
	}
}

// latentScales returns the bytes of a latent's scales in 8 bits: one in 32 bits for each 128 elements.
func latentScales(latent int) int { return (latent + indexBlock - 1) / indexBlock * 4 }

// indexed reports of each layer whether it has an indexer, nil if the entries are wrong. Those that
// index_topk_pattern marks with S have none. Without that entry layer index_skip_topk_offset − 1, each
// index_topk_freq-th after it, and all before it have one. indexer_types says the same.
func (b *builder) indexed() []bool {
	c := b.c
	every, offset := c.sizeOr("index_topk_freq", 1, maxLayers), c.num("index_skip_topk_offset", 2)
	pattern, types := c.str("index_topk_pattern", ""), c.strs("indexer_types")
	c.read["index_share_for_mtp_iteration"] = true // of layers that servers load only for speculation
	if pattern != "" && !b.ofLayers("index_topk_pattern", len(pattern)) || types != nil && !b.ofLayers("indexer_types", len(types)) {
		return nil
	}
	indexes := make([]bool, len(b.m.Layers))
	for l := range indexes {
		indexes[l] = max(0, l-offset+1)%every == 0
		if pattern != "" {
			indexes[l] = pattern[l] != 'S'
		}
		want := "full"
		if !indexes[l] {
			want = "shared"
		}
		if types != nil && types[l] != want {
			c.fail("indexer_types: layer %d is %.40q, and by index_topk_freq, index_skip_topk_offset and index_topk_pattern it is %s", l, types[l], want)
			return nil
		}
	}
	if !indexes[0] {
		c.fail("the first layer has no indexer, and none before it has chosen tokens")
		return nil
	}
	return indexes
}

// glmSparse is deepseekSparse with entries that say in other words what is known from its own.
func glmSparse(b *builder) {
	c := b.c
	same := func(name, of string, want int) {
		if n := c.num(name, want); n != want {
			c.fail("%s is %d, and %s %d", name, n, of, want)
		}
	}
	same("qk_head_dim", "qk_nope_head_dim and qk_rope_head_dim make", c.num("qk_nope_head_dim", 0)+c.num("qk_rope_head_dim", 0))
	same("num_experts", "n_routed_experts is", c.num("n_routed_experts", 0))
	if kind := c.str("moe_router_dtype", "float32"); kind != "float32" {
		c.fail("moe_router_dtype is %.40q, want float32", kind)
	}
	dense := c.num("first_k_dense_replace", 0)
	for _, list := range []struct {
		name string
		want func(layer int) string
	}{
		{"layer_types", func(int) string { return "deepseek_sparse_attention" }},
		{"mlp_layer_types", func(l int) string {
			if l < dense {
				return "dense"
			}
			return "sparse"
		}},
	} {
		types := c.strs(list.name)
		if types != nil && !b.ofLayers(list.name, len(types)) {
			continue
		}
		for l, kind := range types {
			if want := list.want(l); kind != want {
				c.fail("%s: layer %d is %.40q, want %s", list.name, l, kind, want)
				break
			}
		}
	}
	deepseekSparse(b)
}
