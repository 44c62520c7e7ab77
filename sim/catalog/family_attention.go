package catalog

// families returns the function of each model_type.
func families() map[string]func(*builder) {
	return map[string]func(*builder){
		"llama": llama, "mistral": mistral, "granite": llama, "qwen2": qwen2, "qwen3": qwen3, "phi3": phi3, "olmo2": olmo2,
		"mimo": mimo, "mimo_v2_flash": mimoV2, "nemotron-nas": nemotronNAS, "smollm3": smolLM3, "seed_oss": seedOSS, "exaone4": exaone4, "cohere2": cohere2, "olmo3": olmo3,
		"glm4_moe": glm4MoE, "glm4_moe_lite": deepseek, "ernie4_5_moe": ernie45MoE, "granitemoe": graniteMoE,
		"gemma": gemma, "gemma2": gemma2, "gemma3_text": gemma3, "gemma3": gemma3Images, "qwen2_5_vl": qwen25VL, "mistral3": mistral3Images, "ministral3": mistral, "gemma4": gemma4Images, "gemma4_text": gemma4, "llama4": llama4Images, "llama4_text": llama4, "qwen3_vl": qwen3VL, "qwen3_vl_moe": qwen3VLMoE,
		"mixtral": mixtral, "minimax_m2": miniMaxM2, "qwen2_moe": qwen2MoE, "qwen3_moe": qwen3MoE, "gpt_oss": gptOSS,
		"deepseek_v2": deepseek, "deepseek_v3": deepseek, "kimi_k2": deepseek, "kimi_k25": kimiImages,
		"deepseek_v32": deepseekSparse, "glm_moe_dsa": glmSparse,
		"mamba": mamba, "falcon_mamba": mamba, "mamba2": mamba2, "rwkv": rwkv4, "rwkv5": rwkv5,
		"recurrent_gemma": recurrentGemma, "jamba": jamba, "qwen3_next": qwen3Next, "nemotron_h": nemotronH, "kimi_linear": kimiLinear, "kimi_k3": kimiK3Images,
		"qwen3_5": qwen35Images, "qwen3_5_moe": qwen35MoEImages, "qwen3_5_text": qwen35, "qwen3_5_moe_text": qwen35MoE,
	}
}

func llama(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	bias, mlpBias := b.c.flag("attention_bias", false), b.c.flag("mlp_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", false, func(int) {
		b.attention(bias, bias)
		b.mlp("mlp.", inner, mlpBias)
		b.norms(2)
	})
}

func mistral(b *builder) {
	b.window(b.c.num("sliding_window", 0), always)
	llama(b)
}

// useWindow reads the windows of Qwen models: if use_sliding_window is set, layers from
// max_window_layers on have windows.
func useWindow(b *builder) {
	from, size := b.c.num("max_window_layers", 28), b.c.num("sliding_window", 0)
	if !b.c.flag("use_sliding_window", false) {
		size = 0
	}
	b.window(size, func(l int) bool { return l >= from })
}

func qwen2(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	useWindow(b)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", false, func(int) {
		b.attention(true, false)
		b.mlp("mlp.", inner, false)
		b.norms(2)
	})
}

func qwen3(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	useWindow(b)
	bias := b.c.flag("attention_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", false, func(int) {
		b.attention(bias, bias)
		b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		b.mlp("mlp.", inner, false)
		b.norms(2)
	})
}

func phi3(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	b.window(b.c.num("sliding_window", 0), always)
	bias := b.c.flag("attention_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	q, kv := b.width()
	b.stack("model.", false, func(int) {
		b.linear("self_attn.qkv_proj", b.m.Hidden, q+2*kv, bias)
		b.linear("self_attn.o_proj", q, b.m.Hidden, bias)
		b.linear("mlp.gate_up_proj", b.m.Hidden, 2*inner, false)
		b.linear("mlp.down_proj", inner, b.m.Hidden, false)
		b.norms(2)
	})
}

func olmo2(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	bias := b.c.flag("attention_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	q, kv := b.width()
	b.stack("model.", false, func(int) {
		b.attention(bias, bias)
		b.small("self_attn.q_norm, k_norm", q+kv)
		b.mlp("mlp.", inner, false)
		b.norms(2)
	})
}

func gemma(b *builder) {
	b.context(8192)
	b.heads(0, 0, 256)
	bias := b.c.flag("attention_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", true, func(int) {
		b.attention(bias, bias)
		b.mlp("mlp.", inner, false)
		b.norms(2)
	})
}

// gemma2 has a window in every other layer, from the first on.
func gemma2(b *builder) {
	b.context(8192)
	b.heads(8, 4, 256)
	size := b.c.sizeOr("sliding_window", 4096, Unbounded)
	b.c.num("sliding_window_size", size) // an older name, which files may have in addition
	b.window(size, func(l int) bool { return l%2 == 0 })
	gemmaLayers(b, false)
}

// gemma3 has windows in all layers except every sixth, and a rotary embedding of their own in them. The
// context includes the scaling of the others'.
func gemma3(b *builder) {
	b.context(131072)
	b.m.MaxLen = b.positions
	whole := b.embeddings[0]
	if !b.c.has("rope_theta") && !b.c.has("rope_parameters") {
		whole.theta = 1e6
	}
	b.embeddings = []rotary{whole, b.localRotary()}
	b.heads(8, 4, 256)
	pattern := b.c.num("sliding_window_pattern", b.c.num("_sliding_window_pattern", 6))
	if pattern < 1 {
		b.c.fail("sliding_window_pattern is %d, want at least 1", pattern)
		return
	}
	b.window(b.c.sizeOr("sliding_window", 4096, Unbounded), func(l int) bool { return (l+1)%pattern != 0 })
	gemmaLayers(b, true)
}

// gemmaLayers adds layers with norms before and after attention and MLP.
func gemmaLayers(b *builder, qkNorm bool) {
	bias := b.c.flag("attention_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", true, func(int) {
		b.attention(bias, bias)
		if qkNorm {
			b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		}
		b.mlp("mlp.", inner, false)
		b.norms(4)
	})
}

// localRotary reads the rotary embedding of the layers with windows of a model that has two.
func (b *builder) localRotary() rotary {
	local := rotary{theta: b.c.real("rope_local_base_freq", 10000), factor: 1, original: b.positions, part: 1}
	if of := b.c.object("rope_parameters"); of != nil {
		if slides := of.object("sliding_attention"); slides != nil {
			local.read(slides)
			of.errs = append(of.errs, slides.errs...)
		}
		b.c.errs = append(b.c.errs, of.errs...)
	}
	return local
}
