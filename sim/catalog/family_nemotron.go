package catalog

import "strings"

// nemotronLayer is the kind of a layer of Nemotron-H: its letter in hybrid_override_pattern.
type nemotronLayer byte

const (
	nemotronMamba     nemotronLayer = 'M'
	nemotronAttention nemotronLayer = '*'
	nemotronMLP       nemotronLayer = '-'
	nemotronExperts   nemotronLayer = 'E'
)

// nemotronPattern returns the kinds of all layers, by hybrid_override_pattern or layers_block_type.
func nemotronPattern(c *config) string {
	pattern := c.str("hybrid_override_pattern", "")
	if types := c.strs("layers_block_type"); types != nil {
		var letters strings.Builder
		letterOf := map[string]nemotronLayer{"mamba": nemotronMamba, "attention": nemotronAttention, "mlp": nemotronMLP, "moe": nemotronExperts}
		for _, kind := range types {
			letter := letterOf[kind]
			if letter == 0 {
				c.fail("layers_block_type has %.40q, want mamba, attention, mlp or moe", kind)
				return ""
			}
			letters.WriteByte(byte(letter))
		}
		if pattern != "" && pattern != letters.String() {
			c.fail("hybrid_override_pattern and layers_block_type: want the same layers")
		}
		pattern = letters.String()
	}
	return pattern
}

// nemotronH has a Mamba-2 mixer, attention, an MLP or a mixture of experts in each layer, and no positions. Its
// MLPs have no gate. With moe_latent_size the routed experts work on a smaller hidden state, to and from which every
// card of a tensor-parallel group computes all elements.
func nemotronH(b *builder) {
	c, h := b.c, b.m.Hidden
	b.context(0)
	b.embeddings = nil
	b.heads(0, 0, c.num("attention_head_dim", 0))
	pattern := nemotronPattern(c)
	if !b.ofLayers("hybrid_override_pattern or layers_block_type", len(pattern)) {
		return
	}
	for l, letter := range []byte(pattern) {
		switch nemotronLayer(letter) {
		case nemotronMamba:
			b.m.Layers[l] = Stateful
		case nemotronAttention:
		case nemotronMLP, nemotronExperts:
			b.m.Layers[l] = Stateless
		default:
			c.fail("hybrid_override_pattern: layer %d is %q, want M, *, - or E", l, letter)
			return
		}
	}
	if !strings.ContainsRune(pattern, rune(nemotronAttention)) || !strings.ContainsRune(pattern, rune(nemotronMamba)) {
		c.fail("no layer has attention, or none a Mamba-2 mixer: such a model is not modelled")
		return
	}
	b.m.Halves = len(pattern)
	for _, name := range []string{
		"expand", "time_step_rank", "mamba_proj_bias", // that no mixer has
		"mlp_hidden_act", "mamba_hidden_act", "mtp_hybrid_override_pattern", "mtp_layers_block_type", "moe_shared_expert_overlap",
	} {
		c.read[name] = true
	}
	mamba := b.mamba2Mixer(mamba2Names{"mamba_num_heads", "mamba_head_dim", "ssm_state_size"})
	b.stateFormat("mamba_ssm_cache_dtype", "float32")
	bias, mlpBias := c.flag("attention_bias", false), c.flag("mlp_bias", false)
	inner := c.num("intermediate_size", 0)
	if strings.ContainsRune(pattern, rune(nemotronMLP)) {
		inner = c.size("intermediate_size", maxWidth)
		b.widest(inner)
	}
	experts := func() {}
	if strings.ContainsRune(pattern, rune(nemotronExperts)) {
		experts = nemotronMixture(b, mlpBias)
	}
	q, k := b.width()
	b.stack("backbone.", false, func(l int) {
		switch nemotronLayer(pattern[l]) {
		case nemotronMamba:
			mamba()
		case nemotronAttention:
			b.linear("mixer.q_proj", h, q, bias)
			b.linear("mixer.k_proj", h, k, bias)
			b.linear("mixer.v_proj", h, k, bias)
			b.linear("mixer.o_proj", q, h, bias)
		case nemotronMLP:
			b.linear("mixer.up_proj", h, inner, mlpBias)
			b.linear("mixer.down_proj", inner, h, mlpBias)
		case nemotronExperts:
			experts()
		}
		b.norms(1)
	})
}

// nemotronMixture reads the mixture of experts of Nemotron-H, and returns a function that adds that of a layer.
func nemotronMixture(b *builder, bias bool) func() {
	c, h := b.c, b.m.Hidden
	b.moe("n_routed_experts", "num_experts_per_tok", 0, 0)
	each, latent := c.size("moe_intermediate_size", maxWidth), c.sizeOr("moe_latent_size", h, maxWidth)
	sharedEach := 0
	if c.num("n_shared_experts", 0) > 0 {
		sharedEach = c.size("moe_shared_expert_intermediate_size", maxWidth)
	}
	shared := b.shared("n_shared_experts", 0, sharedEach)
	if bias {
		c.fail("mlp_bias is true: biases of experts are not modelled")
	}
	b.widest(each*b.m.Experts.Active + shared)
	return func() {
		b.router("mixer.gate", 32)
		b.correction("mixer.gate.e_score_correction_bias", 32)
		if c.has("moe_latent_size") {
			b.whole("mixer.fc1_latent_proj", h, latent, false)
			b.whole("mixer.fc2_latent_proj", latent, h, false)
		}
		b.routed("mixer.experts.*.up_proj", latent, each)
		b.routed("mixer.experts.*.down_proj", each, latent)
		if shared > 0 {
			b.linear("mixer.shared_experts.up_proj", h, shared, false)
			b.linear("mixer.shared_experts.down_proj", shared, h, false)
		}
	}
}
