package catalog

import (
	"maps"
	"slices"
	"strings"
)

// composites returns the model_types that have an encoder of images and, in text_config, the entries of a
// text model; for each the model_types that text_config may have.
func composites() map[string][]string {
	return map[string][]string{
		"gemma3":       {"gemma3_text"},
		"gemma4":       {"gemma4_text"},
		"llama4":       {"llama4_text"},
		"kimi_k25":     {"kimi_k2", "deepseek_v3"},
		"mistral3":     {"mistral", "ministral3"},
		"qwen2_5_vl":   {"qwen2_5_vl_text"},
		"qwen3_vl":     {"qwen3_vl_text"},
		"qwen3_vl_moe": {"qwen3_vl_moe_text"},
		"kimi_k3":      {"kimi_linear"},
		"qwen3_5":      {"qwen3_5_text"},
		"qwen3_5_moe":  {"qwen3_5_moe_text"},
	}
}

// flatten moves the entries of text_config to those of the whole model, for one of the given model_types.
func (c *config) flatten(kinds []string) {
	text := c.object("text_config")
	if text == nil {
		return
	}
	if kind := text.str("model_type", kinds[0]); !slices.Contains(kinds, kind) {
		c.fail("text_config.model_type is %.40q, want %s", kind, strings.Join(kinds, " or "))
	}
	if c.has("quantization_config") && text.has("quantization_config") {
		c.fail("quantization_config and text_config.quantization_config: want one of them")
	}
	for _, name := range []string{"text_config", "vision_config"} {
		if text.has(name) {
			c.fail("text_config.%s: want it beside text_config, not in it", name)
		}
	}
	delete(text.entries, "model_type")
	maps.Copy(c.entries, text.entries)
	c.errs = append(c.errs, text.errs...)
}

// tower adds the weights of an encoder of images, which a server holds and reads for no token of text.
type tower struct {
	b      *builder
	c      *config // its entries
	prefix string  // of its modules
}

// vision returns the model's encoder of images, to be added after the text model; nil if it has none or the
// text model has errors.
func (b *builder) vision(prefix string) *tower {
	c := b.c.object("vision_config")
	if c == nil || len(b.c.errs) > 0 {
		return nil
	}
	return &tower{b: b, c: c, prefix: prefix}
}

// close reports what is wrong with the encoder's entries.
func (t *tower) close() { t.b.c.take(t.c) }

func (t *tower) add(name string, in, out, n int) {
	t.b.layer, t.b.prefix = -1, t.prefix
	t.b.add(Tower, name, in, out, n)
}

// linear adds n matrices with biases.
func (t *tower) linear(name string, in, out, n int) { t.add(name, in+1, out, n) }

// norms adds n layer norms, of a weight and a bias each.
func (t *tower) norms(name string, size, n int) { t.add(name, 2, size, n) }

// want refuses a value of an entry other than the one that is modelled, which is the default.
func (t *tower) want(name, value string) {
	if got := t.c.str(name, value); got != value {
		t.c.fail("%s%s is %.40q, want %s", t.c.at, name, got, value)
	}
}

// gemma3Images is gemma3 with a SigLIP encoder.
func gemma3Images(b *builder) {
	gemma3(b)
	t := b.vision("vision_tower.")
	if t == nil {
		return
	}
	c := t.c
	t.want("model_type", "siglip_vision_model")
	hidden, layers := c.sizeOr("hidden_size", 1152, maxWidth), c.sizeOr("num_hidden_layers", 27, maxLayers)
	inner, patch, image := c.sizeOr("intermediate_size", 4304, maxWidth), c.sizeOr("patch_size", 14, 1<<10), c.sizeOr("image_size", 896, 1<<14)
	channels := c.sizeOr("num_channels", 3, 1<<10)
	if c.flag("vision_use_head", true) {
		c.fail("%svision_use_head is not false: such an encoder is not modelled", c.at)
	}
	c.num("num_attention_heads", 0)
	t.close()
	t.linear("patch_embedding", channels*patch*patch, hidden, 1)
	t.add("position_embedding", (image/patch)*(image/patch), hidden, 1)
	t.linear("attention", hidden, hidden, 4*layers)
	t.linear("fc1", hidden, inner, layers)
	t.linear("fc2", inner, hidden, layers)
	t.norms("norms", hidden, 2*layers+1)
	t.prefix = "multi_modal_projector."
	t.add("mm_input_projection", hidden, b.m.Hidden, 1)
	t.add("mm_soft_emb_norm", 1, hidden, 1)
}

// kimiImages is DeepSeek-V3's architecture with MoonViT-3D, whose position embedding is a grid of weights
// for height and width and is computed for time. The projector takes the patches of one place of a grid
// of half the height and width.
func kimiImages(b *builder) {
	b.decoder, b.head = "language_model.model.", "language_model.lm_head"
	deepseek(b)
	t := b.vision("vision_tower.")
	if t == nil {
		return
	}
	c := t.c
	hidden, layers, inner := c.size("vt_hidden_size", maxWidth), c.size("vt_num_hidden_layers", maxLayers), c.size("vt_intermediate_size", maxWidth)
	patch, height, width := c.sizeOr("patch_size", 14, 1<<10), c.sizeOr("init_pos_emb_height", 64, 1<<10), c.sizeOr("init_pos_emb_width", 64, 1<<10)
	t.want("pos_emb_type", "divided_fixed")
	t.want("merge_type", "sd2_tpool")
	t.want("mm_projector_type", "patchmerger")
	t.want("video_attn_type", "spatial_temporal")
	if text := c.sizeOr("text_hidden_size", b.m.Hidden, maxWidth); text != b.m.Hidden {
		c.fail("%stext_hidden_size is %d, and hidden_size is %d", c.at, text, b.m.Hidden)
	}
	if of := c.sizeOr("mm_hidden_size", hidden, maxWidth); of != hidden {
		c.fail("%smm_hidden_size is %d, and vt_hidden_size is %d", c.at, of, hidden)
	}
	merge := []int{2, 2}
	if c.has("merge_kernel_size") {
		merge = c.nums("merge_kernel_size")
	}
	if len(merge) != 2 || min(merge[0], merge[1]) < 1 || max(merge[0], merge[1]) > 16 {
		c.fail("%smerge_kernel_size is %v, want two numbers from 1 to 16", c.at, merge)
		merge = []int{1, 1}
	}
	merged := merge[0] * merge[1] * hidden
	for _, name := range []string{"vt_num_attention_heads", "init_pos_emb_time", "projector_hidden_act", "projector_ln_eps"} {
		c.read[name] = true
	}
	t.close()
	t.linear("patch_embed.proj", 3*patch*patch, hidden, 1)
	t.add("patch_embed.pos_emb", height*width, hidden, 1)
	t.linear("encoder.blocks.wqkv, wo", hidden, hidden, 4*layers)
	t.linear("encoder.blocks.mlp.fc0", hidden, inner, layers)
	t.linear("encoder.blocks.mlp.fc1", inner, hidden, layers)
	t.norms("norms", hidden, 2*layers+1)
	t.prefix = "mm_projector."
	t.norms("pre_norm", hidden, 1)
	t.linear("proj.0", merged, merged, 1)
	t.linear("proj.2", merged, b.m.Hidden, 1)
}

func qwen3VL(b *builder)    { qwenImages(b, qwen3) }
func qwen3VLMoE(b *builder) { qwenImages(b, qwen3MoE) }

// qwenImages adds the encoder of Qwen's models to a text model, whose rotary embedding has positions of time,
// height and width.
func qwenImages(b *builder, text func(*builder)) {
	b.decoder = "model.language_model."
	text(b)
	b.positionsOfImages()
	t := b.vision("model.visual.")
	if t == nil {
		return
	}
	c := t.c
	hidden, layers, inner := c.size("hidden_size", maxWidth), c.size("depth", maxLayers), c.size("intermediate_size", maxWidth)
	channels, patch, frames := c.sizeOr("in_channels", 3, 1<<10), c.size("patch_size", 1<<10), c.sizeOr("temporal_patch_size", 2, 1<<10)
	positions, merge := c.size("num_position_embeddings", maxVocab), c.sizeOr("spatial_merge_size", 2, 1<<4)
	qwenOut(b, c)
	stacked := c.nums("deepstack_visual_indexes")
	for _, l := range stacked {
		if l < 0 || l >= layers {
			c.fail("%sdeepstack_visual_indexes names layer %d of %d", c.at, l, layers)
			break
		}
	}
	c.num("num_heads", 0)
	t.close()
	merged := merge * merge * hidden
	t.linear("patch_embed.proj", channels*frames*patch*patch, hidden, 1)
	t.add("pos_embed", positions, hidden, 1)
	t.linear("blocks.attn", hidden, hidden, 4*layers)
	t.linear("blocks.mlp.linear_fc1", hidden, inner, layers)
	t.linear("blocks.mlp.linear_fc2", inner, hidden, layers)
	t.norms("blocks.norm1, norm2", hidden, 2*layers)
	t.norms("merger.norm", hidden, 1)
	t.norms("deepstack_merger_list.norm", merged, len(stacked)) // after merging
	t.linear("merger, deepstack_merger_list.linear_fc1", merged, merged, 1+len(stacked))
	t.linear("merger, deepstack_merger_list.linear_fc2", merged, b.m.Hidden, 1+len(stacked))
}

// qwenOut reads the width of an encoder's output, which is that of the text model.
func qwenOut(b *builder, c *config) {
	if out := c.size("out_hidden_size", maxWidth); out != b.m.Hidden {
		c.fail("%sout_hidden_size is %d, and hidden_size is %d", c.at, out, b.m.Hidden)
	}
}

// positionsOfImages makes the positions of the rotary embeddings those of time, height and width.
func (b *builder) positionsOfImages() {
	for i := range b.embeddings {
		b.embeddings[i].images = true
	}
}

// qwen25VL is qwen2 with an encoder of gated MLPs and RMS norms. Older files have the entries of the text model beside
// vision_config.
func qwen25VL(b *builder) {
	qwen2(b)
	b.positionsOfImages()
	t := b.vision("visual.")
	if t == nil {
		return
	}
	c := t.c
	hidden, layers, inner := c.size("hidden_size", maxWidth), c.size("depth", maxLayers), c.size("intermediate_size", maxWidth)
	patch, frames, merge := c.size("patch_size", 1<<10), c.sizeOr("temporal_patch_size", 2, 1<<10), c.sizeOr("spatial_merge_size", 2, 1<<4)
	channels := c.sizeOr("in_channels", c.num("in_chans", 3), 1<<10)
	qwenOut(b, c)
	for _, name := range []string{"num_heads", "spatial_patch_size", "window_size", "fullatt_block_indexes", "tokens_per_second"} {
		c.read[name] = true
	}
	t.close()
	merged := merge * merge * hidden
	t.add("patch_embed.proj", channels*frames*patch*patch, hidden, 1)
	t.linear("blocks.attn", hidden, hidden, 4*layers)
	t.linear("blocks.mlp.gate_proj, up_proj", hidden, inner, 2*layers)
	t.linear("blocks.mlp.down_proj", inner, hidden, layers)
	t.add("blocks.norm1, norm2", 2, hidden, layers)
	t.add("merger.ln_q", 1, hidden, 1)
	t.linear("merger.mlp.0", merged, merged, 1)
	t.linear("merger.mlp.2", merged, b.m.Hidden, 1)
}

// mistral3Images is mistral with the Pixtral encoder, of gated MLPs and RMS norms.
func mistral3Images(b *builder) {
	b.decoder, b.head = "language_model.model.", "language_model.lm_head"
	mistral(b)
	merge, bias := b.c.sizeOr("spatial_merge_size", 2, 1<<4), b.c.flag("multimodal_projector_bias", false)
	for _, name := range []string{"vision_feature_layer", "projector_hidden_act"} {
		b.c.read[name] = true
	}
	t := b.vision("vision_tower.")
	if t == nil {
		return
	}
	c := t.c
	t.want("model_type", "pixtral")
	hidden, layers, inner := c.size("hidden_size", maxWidth), c.size("num_hidden_layers", maxLayers), c.size("intermediate_size", maxWidth)
	patch, channels := c.size("patch_size", 1<<10), c.sizeOr("num_channels", 3, 1<<10)
	heads := c.size("num_attention_heads", maxWidth)
	if size := c.num("head_dim", hidden/heads); heads*size != hidden {
		c.fail("%snum_attention_heads %d of head_dim %d are not hidden_size, %d: such an encoder is not modelled", c.at, heads, size, hidden)
	}
	c.num("image_size", 0)
	t.close()
	t.add("patch_conv", channels*patch*patch, hidden, 1)
	t.add("ln_pre", 1, hidden, 1)
	t.add("transformer.layers.attention", hidden, hidden, 4*layers)
	t.add("transformer.layers.feed_forward", hidden, inner, 3*layers)
	t.add("transformer.layers.norms", 2, hidden, layers)
	t.prefix = "multi_modal_projector."
	t.add("norm", 1, hidden, 1)
	t.add("patch_merger.merging_layer", merge*merge*hidden, hidden, 1)
	with := 0
	if bias {
		with = 1
	}
	t.add("linear_1", hidden+with, b.m.Hidden, 1)
	t.add("linear_2", b.m.Hidden+with, b.m.Hidden, 1)
}
