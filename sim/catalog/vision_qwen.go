package catalog

import "strings"

// qwenVision adds the encoder of images and videos of Qwen3-VL and Qwen3.5, whose weights a server holds: a
// convolution over patches of some frames, blocks with biases, and mergers that turn a square of patches
// into one row of the language model: one after the last block, and one after each block of
// deepstack_visual_indexes.
func qwenVision(b *builder) {
	vision := b.c.object("vision_config")
	if len(b.c.errs) > 0 {
		return
	}
	if vision == nil {
		b.c.fail("vision_config is missing")
		return
	}
	kind := b.c.str("model_type", "")
	if of := vision.str("model_type", kind); strings.TrimSuffix(of, "_vision") != kind {
		b.c.fail("vision_config.model_type is %.40q, want %s or %s_vision", of, kind, kind)
	}
	hidden, blocks := vision.sizeOr("hidden_size", 1152, maxWidth), vision.sizeOr("depth", 27, maxLayers)
	inner, out := vision.sizeOr("intermediate_size", 4304, maxWidth), vision.sizeOr("out_hidden_size", 3584, maxWidth)
	patch, frames, channels := vision.sizeOr("patch_size", 16, 1<<10), vision.sizeOr("temporal_patch_size", 2, 1<<6), vision.sizeOr("in_channels", 3, 1<<6)
	positions, side := vision.sizeOr("num_position_embeddings", 2304, 1<<24), vision.sizeOr("spatial_merge_size", 2, 1<<4)
	vision.num("num_heads", 16)
	deep := len(vision.nums("deepstack_visual_indexes"))
	if err := vision.unread(); err != nil {
		b.c.fail("%w", err)
	}
	b.c.errs = append(b.c.errs, vision.errs...)
	if deep > blocks {
		b.c.fail("vision_config.deepstack_visual_indexes names %d of %d blocks", deep, blocks)
	}
	if out != b.m.Hidden {
		b.c.fail("vision_config.out_hidden_size is %d, and hidden_size %d", out, b.m.Hidden)
	}
	merged := side * side * hidden
	b.layer, b.prefix = -1, "model.visual."
	b.add(Tower, "patch_embed.proj", channels*frames*patch*patch+1, hidden, 1) // and the bias
	b.add(Tower, "pos_embed", positions, hidden, 1)
	b.add(Tower, "blocks.*.attn.qkv, proj", hidden+1, 4*hidden, blocks)
	b.add(Tower, "blocks.*.mlp.linear_fc1", hidden+1, inner, blocks)
	b.add(Tower, "blocks.*.mlp.linear_fc2", inner+1, hidden, blocks)
	b.add(Tower, "blocks.*.norm1, norm2", 4, hidden, blocks)
	b.add(Tower, "merger.norm", 2, hidden, 1)
	b.add(Tower, "deepstack_merger_list.*.norm", 2, merged, deep)
	b.add(Tower, "merger.linear_fc1", merged+1, merged, 1+deep)
	b.add(Tower, "merger.linear_fc2", merged+1, out, 1+deep)
}
