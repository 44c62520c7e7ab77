package catalog

import "strings"

// qwenVision adds the encoder of images and videos of Qwen3-VL and Qwen3.5: a convolution over patches of some
// frames, blocks with biases, and mergers that turn a square of patches into one row of the text model: one
// after the last block, and one after each block of deepstack_visual_indexes.
func qwenVision(b *builder) {
	t := b.vision("model.visual.")
	if t == nil {
		return
	}
	c, whole := t.c, b.c.str("model_type", "")
	if kind := c.str("model_type", whole); strings.TrimSuffix(kind, "_vision") != whole {
		c.fail("%smodel_type is %.40q, want %s_vision or %[3]s", c.at, kind, whole)
	}
	hidden, blocks, inner := c.sizeOr("hidden_size", 1152, maxWidth), c.sizeOr("depth", 27, maxLayers), c.sizeOr("intermediate_size", 4304, maxWidth)
	patch, frames, channels := c.sizeOr("patch_size", 16, 1<<10), c.sizeOr("temporal_patch_size", 2, 1<<6), c.sizeOr("in_channels", 3, 1<<6)
	positions, side := c.sizeOr("num_position_embeddings", 2304, 1<<24), c.sizeOr("spatial_merge_size", 2, 1<<4)
	c.num("num_heads", 16)
	mergers := 1 + len(c.nums("deepstack_visual_indexes"))
	if mergers > 1+blocks {
		c.fail("%sdeepstack_visual_indexes names %d of %d blocks", c.at, mergers-1, blocks)
	}
	if out := c.sizeOr("out_hidden_size", 3584, maxWidth); out != b.m.Hidden {
		c.fail("%sout_hidden_size is %d, and hidden_size is %d", c.at, out, b.m.Hidden)
	}
	t.close()
	merged := side * side * hidden
	t.linear("patch_embed.proj", channels*frames*patch*patch, hidden, 1)
	t.add("pos_embed", positions, hidden, 1)
	t.linear("blocks.attn.qkv, proj", hidden, 4*hidden, blocks)
	t.linear("blocks.mlp.linear_fc1", hidden, inner, blocks)
	t.linear("blocks.mlp.linear_fc2", inner, hidden, blocks)
	t.norms("blocks.norm1, norm2", hidden, 2*blocks)
	t.norms("merger.norm", hidden, 1)
	if mergers > 1 {
		t.norms("deepstack_merger_list.norm", merged, mergers-1)
	}
	t.linear("merger.linear_fc1", merged, merged, mergers)
	t.linear("merger.linear_fc2", merged, b.m.Hidden, mergers)
}
