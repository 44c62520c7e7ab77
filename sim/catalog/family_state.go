package catalog

// mambaMixer reads the sizes of a Mamba layer, and returns a function that adds one. The state of a
// layer is that of its channels and the past inputs of the convolution.
func mambaMixer(b *builder, names mambaNames, norms bool) func() {
	c, h := b.c, b.m.Hidden
	inner := c.num("intermediate_size", 0)
	if expand := c.sizeOr(names.expand, 2, 1<<8); inner == 0 || names.ofExpand {
		inner = expand * h
	}
	states, taps := c.sizeOr(names.state, 16, 1<<12), c.sizeOr(names.conv, 4, 1<<10)
	rank := (h + 15) / 16
	if c.has(names.rank) && string(c.entries[names.rank]) != `"auto"` {
		rank = c.size(names.rank, maxWidth)
	}
	c.read[names.rank] = true
	bias, convBias := c.flag(names.bias, false), c.flag(names.convBias, true)
	if inner < 1 || inner > maxWidth {
		c.fail("a Mamba layer of %d channels is not from 1 to %d wide", inner, maxWidth)
		return func() {}
	}
	b.m.State = State{Elements16: inner * (states + taps - 1)}
	return func() {
		b.linear("mixer.in_proj", h, 2*inner, bias)
		b.plain("mixer.conv1d", taps, inner)
		if convBias {
			b.small("mixer.conv1d.bias", inner)
		}
		b.linear("mixer.x_proj", inner, rank+2*states, false)
		b.linear("mixer.dt_proj", rank, inner, true)
		b.plain("mixer.A_log", states, inner)
		b.small("mixer.D", inner)
		b.linear("mixer.out_proj", inner, h, bias)
		if norms {
			b.small("mixer.norms", rank+2*states)
		}
	}
}

// mambaNames are the names of a family for the sizes of a Mamba layer.
type mambaNames struct {
	expand, state, conv, rank, bias, convBias string
	ofExpand                                  bool // intermediate_size is something else's
}

// states marks layers as linear-time.
func (b *builder) states(is func(layer int) bool) {
	for l := range b.m.Layers {
		if is(l) {
			b.m.Layers[l] = Stateful
		}
	}
}

func mamba(b *builder) {
	b.context(Unbounded)
	mixer := mambaMixer(b, mambaNames{"expand", "state_size", "conv_kernel", "time_step_rank", "use_bias", "use_conv_bias", false}, false)
	b.m.Intermediate = b.c.sizeOr("intermediate_size", 2*b.m.Hidden, maxWidth)
	b.states(always)
	b.stack("backbone.", true, func(int) {
		mixer()
		b.norms(1)
	})
}

func mamba2(b *builder) {
	b.context(Unbounded)
	mixer := b.mamba2Mixer(mamba2Names{"num_heads", "head_dim", "state_size"})
	inner := b.c.sizeOr("expand", 2, 1<<8) * b.m.Hidden
	b.c.num("intermediate_size", inner)
	if b.m.Intermediate != inner {
		b.c.fail("num_heads and head_dim make %d elements, and expand × hidden_size %d", b.m.Intermediate, inner)
		return
	}
	b.m.State = b.m.State.in16()
	b.states(always)
	b.stack("backbone.", false, func(int) {
		mixer()
		b.norms(1)
	})
}

// mamba2Names are the names of a family for the sizes of a Mamba-2 mixer.
type mamba2Names struct{ heads, size, state string }

// mamba2Mixer reads the sizes of a Mamba-2 mixer, and returns a function that adds one. Its state is a matrix for
// each head, here in 32 bits, and the past inputs of the convolution.
func (b *builder) mamba2Mixer(names mamba2Names) func() {
	c, h := b.c, b.m.Hidden
	heads, size := c.sizeOr(names.heads, 128, maxWidth), c.sizeOr(names.size, 64, maxWidth)
	states, taps, groups := c.sizeOr(names.state, 128, 1<<12), c.sizeOr("conv_kernel", 4, 1<<10), c.sizeOr("n_groups", 8, 1<<10)
	bias, convBias := c.flag("use_bias", false), c.flag("use_conv_bias", true)
	inner := heads * size
	if inner > maxWidth {
		c.fail("%s %d of %s %d make %d elements, want at most %d", names.heads, heads, names.size, size, inner, maxWidth)
		return func() {}
	}
	conv := inner + 2*groups*states
	b.widest(inner)
	b.m.State = State{Elements16: conv * (taps - 1), Elements32: inner * states, Heads: heads}
	return func() {
		b.linear("mixer.in_proj", h, inner+conv+heads, bias)
		b.plain("mixer.conv1d", taps, conv)
		if convBias {
			b.small("mixer.conv1d.bias", conv)
		}
		b.small("mixer.dt_bias, A_log, D", 3*heads)
		b.small("mixer.norm", inner)
		b.linear("mixer.out_proj", inner, h, bias)
	}
}

// rwkv4 keeps the last input of each half of a layer, and three sums in 32 bits.
func rwkv4(b *builder) {
	b.m.MaxLen = Unbounded
	b.c.num("context_length", 0) // of training; it is no bound
	h := b.m.Hidden
	att, inner := b.c.sizeOr("attention_hidden_size", h, maxWidth), b.c.sizeOr("intermediate_size", 4*h, maxWidth)
	b.m.Intermediate = inner
	b.m.State = State{Elements16: 2 * h, Elements32: 3 * att}
	b.states(always)
	b.rwkv(func() {
		b.small("attention.time_decay, time_first", 2*att)
		b.small("attention.time_mix", 3*h)
		b.linear("attention.key", h, att, false)
		b.linear("attention.value", h, att, false)
		b.linear("attention.receptance", h, att, false)
		b.linear("attention.output", att, h, false)
	}, inner)
}

// rwkv5 keeps a matrix for each head instead.
func rwkv5(b *builder) {
	b.m.MaxLen = Unbounded
	b.c.num("context_length", 0)
	b.c.num("model_version", 0)
	h := b.m.Hidden
	size := b.c.sizeOr("head_size", 64, 1<<10)
	b.c.num("head_size_divisor", 8)
	b.c.num("num_attention_heads", 0) // older files have it for head_size
	att := b.c.sizeOr("attention_hidden_size", h, maxWidth)
	inner := b.c.sizeOr("intermediate_size", max(32, h*7/2/32*32), maxWidth)
	if att%size != 0 {
		b.c.fail("attention_hidden_size %d is not a multiple of head_size %d", att, size)
		return
	}
	b.m.Intermediate = inner
	b.m.State = State{Elements16: 2 * h, Elements32: att * size}
	b.states(always)
	b.rwkv(func() {
		b.small("attention.time_decay, time_faaaa", 2*att)
		b.small("attention.time_mix", 4*h)
		b.linear("attention.key", h, att, false)
		b.linear("attention.value", h, att, false)
		b.linear("attention.receptance", h, att, false)
		b.linear("attention.gate", h, att, false)
		b.linear("attention.output", att, h, false)
		b.small("attention.ln_x", 2*att)
	}, inner)
}

// rwkv adds blocks of an attention and a channel mix, with norms that have biases.
func (b *builder) rwkv(attention func(), inner int) {
	h := b.m.Hidden
	b.stack("rwkv.", false, func(l int) {
		attention()
		b.small("feed_forward.time_mix", 2*h)
		b.linear("feed_forward.key", h, inner, false)
		b.linear("feed_forward.receptance", h, h, false)
		b.linear("feed_forward.value", inner, h, false)
		b.norms(4)
		if l == 0 {
			b.norms(2) // before the first block
		}
	})
	b.small("rwkv.ln_out.bias", h)
}

// recurrentGemma has gated linear recurrences, and attention with a window in every third
// layer.
func recurrentGemma(b *builder) {
	b.contextRotating(Unbounded, 0.5)
	b.heads(0, 0, 0)
	c, h := b.c, b.m.Hidden
	width, taps := c.sizeOr("lru_width", h, maxWidth), c.sizeOr("conv1d_width", 4, 1<<10)
	inner := c.size("intermediate_size", maxWidth) / 2 // the entry counts both halves of the gate
	b.m.Window = c.sizeOr("attention_window_size", 2048, Unbounded)
	types := c.strs("block_types")
	if types == nil {
		types = c.strs("_block_types")
	}
	if types == nil {
		types = []string{"recurrent", "recurrent", "attention"}
	}
	for l := range b.m.Layers {
		switch kind := types[l%max(1, len(types))]; kind {
		case "recurrent":
			b.m.Layers[l] = Stateful
		case "attention":
			b.m.Layers[l] = Windowed
		default:
			c.fail("block_types: %.40q is neither recurrent nor attention", kind)
			return
		}
	}
	b.m.State = State{Elements16: (taps - 1) * width, Elements32: width}
	b.widest(max(1, inner))
	bias, q := c.flag("attention_bias", false), b.m.QueryHeads()
	if width%max(1, q) != 0 {
		c.fail("lru_width %d is not a multiple of num_attention_heads %d", width, q)
		return
	}
	b.stack("model.", true, func(l int) {
		if b.m.Layers[l] == Windowed {
			b.attention(bias, true)
		} else {
			b.linear("temporal_block.linear_x", h, width, true)
			b.linear("temporal_block.linear_y", h, width, true)
			b.linear("temporal_block.linear_out", width, h, true)
			b.plain("temporal_block.conv_1d", taps+1, width) // and its bias
			b.small("temporal_block.rg_lru.recurrent_param", width)
			b.plain("temporal_block.rg_lru.gates", 2*(width/q+1), width) // of blocks as wide as a head, and biases
		}
		b.mlp("mlp_block.", inner, true)
		b.norms(2)
	})
}

// jamba has attention in some layers, without positions, and mixtures of experts in some.
func jamba(b *builder) {
	b.context(262144)
	b.embeddings = nil
	b.heads(32, 8, 0)
	c := b.c
	mixer := mambaMixer(b, mambaNames{"mamba_expand", "mamba_d_state", "mamba_d_conv", "mamba_dt_rank", "mamba_proj_bias", "mamba_conv_bias", true}, true)
	b.moe("num_experts", "num_experts_per_tok", 16, 2)
	inner := c.size("intermediate_size", maxWidth)
	period := func(name string, period, offset int) func(int) bool {
		p, o := c.sizeOr(name+"_period", period, maxLayers), c.num(name+"_offset", offset)
		return func(l int) bool { return l%p == o }
	}
	attends, mixes := period("attn_layer", 8, 4), period("expert_layer", 2, 1)
	if b.m.Experts.Total == 1 {
		b.m.Experts, mixes = Experts{}, never
	}
	b.widest(inner * max(1, b.m.Experts.Active))
	b.states(func(l int) bool { return !attends(l) })
	b.stack("model.", false, func(l int) {
		if attends(l) {
			b.attention(false, false)
		} else {
			mixer()
		}
		if mixes(l) {
			b.whole("feed_forward.router", b.m.Hidden, b.m.Experts.Total, false)
			b.routedMLP("feed_forward.", inner)
		} else {
			b.mlp("feed_forward.", inner, false)
		}
		b.norms(2)
	})
}
