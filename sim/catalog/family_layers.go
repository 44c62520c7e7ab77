package catalog

import (
	"math"
	"slices"
	"strings"
)

// nemotronNAS has layers of which each says whether it has attention and how wide its MLP is.
func nemotronNAS(b *builder) {
	c := b.c
	blocks := c.list("block_configs")
	if !b.ofLayers("block_configs", len(blocks)) {
		return
	}
	group, inner := 0, make([]int, len(blocks))
	for l, block := range blocks {
		if of := block.object("attention"); of != nil {
			switch n := of.num("n_heads_in_group", 0); {
			case of.flag("no_op", false):
				b.m.Layers[l] = Stateless
				b.m.Halves++
			case n < 1 || group > 0 && n != group:
				of.fail("%sn_heads_in_group is %d: want the same number of query heads for each KV head in all layers", of.at, n)
			default:
				group = n
			}
			block.take(of)
		}
		if of := block.object("ffn"); of != nil {
			inner[l] = of.num("intermediate_size", ffnWidth(of.real("ffn_mult", 0), b.m.Hidden))
			if of.flag("no_op", false) {
				inner[l] = 0
				b.m.Halves++
			} else if inner[l] < 1 || inner[l] > maxWidth {
				of.fail("%sffn_mult or intermediate_size make an MLP of %d elements, want 1 to %d", of.at, inner[l], maxWidth)
			}
			block.take(of)
		}
		for _, name := range []string{"attention", "ffn"} {
			if !block.has(name) {
				block.fail("%s%s is missing", block.at, name)
			}
		}
		c.take(block)
		if len(c.errs) > 0 {
			return // of many layers with the same error the first is enough
		}
	}
	if group == 0 {
		c.fail("block_configs: no layer has attention: such a model is not modelled")
		return
	}
	b.context(0)
	b.heads(0, c.size("num_attention_heads", maxWidth)/group, 0)
	bias, mlpBias := c.flag("attention_bias", false), c.flag("mlp_bias", false)
	b.widest(slices.Max(inner))
	b.stack("model.", false, func(l int) {
		if b.m.Layers[l] != Stateless {
			b.attention(bias, bias)
			b.norms(1)
		}
		if inner[l] > 0 {
			b.mlp("mlp.", inner[l], mlpBias)
			b.norms(1)
		}
	})
}

// ffnWidth returns the width of an MLP with this multiplier: 2/3 · multiplier · hidden, rounded up to a multiple of
// 256.
func ffnWidth(multiplier float64, hidden int) int {
	if !(multiplier > 0 && multiplier < maxWidth) {
		return 0
	}
	return (int(math.Min(2*multiplier*float64(hidden)/3, maxWidth)) + 255) / 256 * 256
}

// smolLM3 is llama with layers that have no rotary embedding, which changes neither memory nor time.
func smolLM3(b *builder) {
	for _, name := range []string{"no_rope_layers", "no_rope_layer_interval"} {
		b.c.read[name] = true
	}
	useWindow(b)
	llama(b)
}

// seedOSS is llama with a bias of queries, keys and values that is not the output's.
func seedOSS(b *builder) {
	b.context(0)
	b.heads(0, 0, 128)
	bias, outBias, mlpBias := b.c.flag("attention_bias", true), b.c.flag("attention_out_bias", false), b.c.flag("mlp_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", false, func(int) {
		b.attention(bias, outBias)
		b.mlp("mlp.", inner, mlpBias)
		b.norms(2)
	})
}

// exaone4 has norms of q and k, and norms after attention and MLP only. All layers except every fourth have windows.
func exaone4(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	size := b.c.num("sliding_window", 0)
	pattern := b.pattern(4)
	b.window(size, func(l int) bool { return (l+1)%pattern != 0 })
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	b.stack("model.", false, func(int) {
		b.attention(false, false)
		b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		b.mlp("mlp.", inner, false)
		b.norms(2)
	})
}

// pattern returns the number of layers of which the last has no window: sliding_window_pattern, which may be a
// text such as LLLG.
func (b *builder) pattern(byDefault int) int {
	const name = "sliding_window_pattern"
	n := byDefault
	if b.c.has(name) && b.c.entries[name][0] == '"' {
		text := b.c.str(name, "")
		if locals, ok := strings.CutSuffix(text, "G"); !ok || strings.Trim(locals, "L") != "" || len(text) > maxLayers {
			b.c.fail("%s is %.40q, want an L for each layer with a window and then a G", name, text)
			return 1
		}
		return len(text)
	}
	if n = b.c.num(name, byDefault); n < 1 || n > maxLayers {
		b.c.fail("%s is %d, want 1 to %d", name, n, maxLayers)
		return 1
	}
	return n
}

// cohere2 has attention and MLP side by side behind one norm. All layers except every fourth have windows and
// a rotary embedding.
func cohere2(b *builder) {
	b.context(8192)
	b.heads(0, 0, 0)
	pattern := b.pattern(4)
	b.window(b.c.num("sliding_window", 4096), func(l int) bool { return (l+1)%pattern != 0 })
	bias, qkNorm := b.c.flag("attention_bias", false), b.c.flag("use_qk_norm", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner)
	if qkNorm {
		b.c.fail("use_qk_norm is true: such a model is not modelled")
	}
	for _, name := range []string{"logit_scale", "layer_switch", "order_of_interleaved_layers", "position_embedding_type", "rotary_pct", "use_parallel_block", "use_parallel_embedding", "use_embedding_sharing", "use_gated_activation"} {
		b.c.read[name] = true
	}
	b.stack("model.", true, func(int) {
		b.attention(bias, bias)
		b.mlp("mlp.", inner, false)
		b.norms(1)
	})
}

// olmo3 is olmo2 with windows in all layers except every fourth. They have a rotary embedding of their own, without
// the scaling of the others'.
func olmo3(b *builder) {
	b.window(b.c.sizeOr("sliding_window", 4096, Unbounded), func(l int) bool { return (l+1)%4 != 0 })
	olmo2(b)
	local := b.embeddings[0]
	local.scaling, local.factor, local.original = "", 1, b.positions
	b.embeddings = append(b.embeddings, local)
}

// glm4MoE has first dense layers and then mixtures of experts with shared experts.
func glm4MoE(b *builder) {
	c := b.c
	b.contextRotating(0, 0.5)
	b.heads(0, 0, 0)
	b.moe("n_routed_experts", "num_experts_per_tok", 0, 0)
	first := c.num("first_k_dense_replace", 1)
	each, inner := c.size("moe_intermediate_size", maxWidth), c.size("intermediate_size", maxWidth)
	shared := b.shared("n_shared_experts", 1, each)
	bias, qkNorm := c.flag("attention_bias", false), c.flag("use_qk_norm", false)
	b.widest(max(inner, each*b.m.Experts.Active+shared))
	b.stack("model.", false, func(l int) {
		b.attention(bias, false)
		if qkNorm {
			b.small("self_attn.q_norm, k_norm", 2*b.m.Shape.HeadSize)
		}
		if l < first {
			b.mlp("mlp.", inner, false)
		} else {
			b.router("mlp.gate", 16)
			b.correction("mlp.gate.e_score_correction_bias", 32)
			b.routedMLP("mlp.", each)
			if shared > 0 {
				b.mlp("mlp.shared_experts.", shared, false)
			}
		}
		b.norms(2)
	})
}

// ernie45MoE has mixtures of experts with shared experts in a range of layers.
func ernie45MoE(b *builder) {
	c := b.c
	b.context(131072)
	b.heads(0, 0, 0)
	b.moe("moe_num_experts", "moe_k", 0, 0)
	first, last, every := c.num("moe_layer_start_index", 1), c.num("moe_layer_end_index", -1), c.sizeOr("moe_layer_interval", 1, maxLayers)
	if last == -1 {
		last = len(b.m.Layers) - 1
	}
	each, inner := c.size("moe_intermediate_size", maxWidth), c.size("intermediate_size", maxWidth)
	shared, corrects := b.shared("moe_num_shared_experts", 0, each), c.flag("moe_use_aux_free", true)
	bias := c.flag("use_bias", false)
	b.widest(max(inner, each*b.m.Experts.Active+shared))
	b.stack("model.", true, func(l int) {
		b.attention(bias, bias)
		if l < first || l > last || (l+1)%every != 0 {
			b.mlp("mlp.", inner, bias)
		} else {
			b.router("mlp.gate", 32)
			if corrects {
				b.correction("mlp.moe_statics.e_score_correction_bias", 32)
			}
			b.routedMLP("mlp.", each)
			if shared > 0 {
				b.mlp("mlp.shared_experts.", shared, bias)
			}
		}
		b.norms(2)
	})
}

// graniteMoE has experts in all layers.
func graniteMoE(b *builder) {
	b.context(0)
	b.heads(0, 0, 0)
	b.moe("num_local_experts", "num_experts_per_tok", 8, 2)
	bias := b.c.flag("attention_bias", false)
	inner := b.c.size("intermediate_size", maxWidth)
	b.widest(inner * b.m.Experts.Active)
	b.stack("model.", false, func(int) {
		b.attention(bias, bias)
		b.router("block_sparse_moe.router.layer", 16)
		b.routed("block_sparse_moe.input_linear", b.m.Hidden, 2*inner)
		b.routed("block_sparse_moe.output_linear", inner, b.m.Hidden)
		b.norms(2)
	})
}
