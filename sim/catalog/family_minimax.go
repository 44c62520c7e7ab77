package catalog

import "slices"

// miniMaxM2 has one norm over the elements of all query heads and one over those of all key heads, a rotary
// embedding of a part of a head's elements, and experts in all layers.
func miniMaxM2(b *builder) {
	c := b.c
	b.heads(0, 0, 0)
	b.contextRotating(0, b.rotaryDim())
	if kinds := c.nums("attn_type_list"); slices.ContainsFunc(kinds, func(kind int) bool { return kind != 1 }) {
		c.fail("attn_type_list: layers that have no full attention (1) are not modelled")
	} else if kinds != nil {
		b.ofLayers("attn_type_list", len(kinds))
	}
	if kind := c.str("qk_norm_type", "per_layer"); kind != "per_layer" || !c.flag("use_qk_norm", true) {
		c.fail("qk_norm_type is %.40q, or use_qk_norm is false: want per_layer and true", kind)
	}
	b.moe("num_local_experts", "num_experts_per_tok", 0, 0)
	bias, corrects := c.flag("attention_bias", false), c.flag("use_routing_bias", false)
	inner := c.size("intermediate_size", maxWidth)
	b.widest(inner * b.m.Experts.Active)
	q, kv := b.width()
	b.stack("model.", false, func(int) {
		b.attention(bias, false)
		b.small("self_attn.q_norm, k_norm", q+kv)
		b.router("block_sparse_moe.gate", 32)
		if corrects {
			b.correction("block_sparse_moe.e_score_correction_bias", 32)
		}
		b.routed("block_sparse_moe.experts.*.w1", b.m.Hidden, inner)
		b.routed("block_sparse_moe.experts.*.w2", inner, b.m.Hidden)
		b.routed("block_sparse_moe.experts.*.w3", b.m.Hidden, inner)
		b.norms(2)
	})
}

// rotaryDim returns the part of a head's elements that are rotated, by rotary_dim: all without that entry.
// The head size must have been read.
func (b *builder) rotaryDim() float64 {
	size := b.m.Shape.HeadSize
	dim := b.c.num("rotary_dim", size)
	if size == 0 { // the heads are wrong
		return 1
	}
	if dim < 1 || dim > size {
		b.c.fail("rotary_dim is %d, want 1 to the %d elements of a head", dim, size)
		return 1
	}
	part := float64(dim) / float64(size)
	if given := b.c.real("partial_rotary_factor", part); b.c.has("rotary_dim") && given != part {
		b.c.fail("partial_rotary_factor is %v, and rotary_dim is %d of %d elements", given, dim, size)
	}
	return part
}
