package catalog

import (
	"cmp"
	"errors"
	"fmt"

	"kvcompress/kv"
)

// builder makes a model from a config.json. The function of the model's family adds the modules.
type builder struct {
	c      *config
	m      Model
	layer  int     // that modules are added to
	prefix string  // of the layer's modules
	params float64 // parameters so far; a float64, which cannot overflow

	decoder, head string // names of the decoder and of the output matrix if they are not the family's own and lm_head

	positions  int      // max_position_embeddings
	embeddings []rotary // of the layers with attention
	rotated    int      // elements of a key that have positions, if it is not the whole head
}

// newBuilder reads the entries that all families share.
func newBuilder(c *config) *builder {
	b := &builder{c: c}
	b.m.Hidden = c.size("hidden_size", maxWidth)
	b.m.Vocab = c.size("vocab_size", maxVocab)
	b.m.Layers = make([]Layer, c.size("num_hidden_layers", maxLayers))
	b.m.Weights = BF16
	for _, name := range []string{"torch_dtype", "dtype"} {
		switch t := c.str(name, ""); t {
		case "", "bfloat16", "float32": // servers convert float32 to bfloat16
		case "float16":
			b.m.Weights = F16
		default:
			c.fail("%s is %.40q, want bfloat16, float16 or float32", name, t)
		}
	}
	return b
}

func (b *builder) err() error {
	if err := errors.Join(b.c.errs...); err != nil {
		return err
	}
	if b.params > maxParams {
		return fmt.Errorf("%.3g parameters are more than %.0g", b.params, float64(maxParams))
	}
	return b.m.Validate()
}

func (b *builder) add(kind Kind, name string, in, out, n int) {
	b.params += float64(in) * float64(out) * float64(n)
	b.m.Modules = append(b.m.Modules, Module{
		Name: b.prefix + name, Layer: b.layer, Kind: kind, In: in, Out: out, N: n,
		Format: Format{Weights: b.m.Weights, Bits: 16, Activations: 16},
	})
}

// linear adds a matrix, and its bias if it has one.
func (b *builder) linear(name string, in, out int, bias bool) {
	b.add(Linear, name, in, out, 1)
	if bias {
		b.small(name+".bias", out)
	}
}

// routed adds the matrices of a layer's routed experts.
func (b *builder) routed(name string, in, out int) {
	b.add(Routed, name, in, out, b.m.Experts.Total)
}

// fixed makes the last module one that servers hold in this number of bits, whatever the format of the others.
func (b *builder) fixed(bits int) {
	m := &b.m.Modules[len(b.m.Modules)-1]
	m.Fixed, m.Format.Bits = true, bits
}

// stateFormat reads the format of the linear-time layers' states, which are given in 32 bits.
func (b *builder) stateFormat(name, byDefault string) {
	switch t := b.c.str(name, byDefault); t {
	case "float32":
	case "bfloat16", "float16":
		b.m.State = b.m.State.in16()
	default:
		b.c.fail("%s is %.40q, want float32 or bfloat16", name, t)
	}
}

// whole adds a matrix, and its bias if it has one, of which every card of a tensor-parallel group holds all.
func (b *builder) whole(name string, in, out int, bias bool) {
	first := len(b.m.Modules)
	b.linear(name, in, out, bias)
	for i := first; i < len(b.m.Modules); i++ {
		b.m.Modules[i].Copied = true
	}
}

// router adds the matrix by whose products a layer's experts are weighed. Servers hold it in this number of bits.
func (b *builder) router(name string, bits int) {
	b.whole(name, b.m.Hidden, b.m.Experts.Total, false)
	b.fixed(bits)
}

// correction adds the vector that is added to the routed experts' weights when they are chosen.
func (b *builder) correction(name string, bits int) {
	b.small(name, b.m.Experts.Total)
	b.fixed(bits)
}

// plain adds a matrix that no format of fewer bits applies to.
func (b *builder) plain(name string, in, out int) { b.add(Small, name, in, out, 1) }

// small adds norms, biases and the like.
func (b *builder) small(name string, n int) { b.add(Small, name, 1, n, 1) }

// norms adds n norms of the hidden size.
func (b *builder) norms(n int) { b.small("norms", n*b.m.Hidden) }

// stack adds the embedding, the layers and the output matrix. body adds a layer's modules.
func (b *builder) stack(prefix string, tied bool, body func(layer int)) {
	if len(b.c.errs) > 0 {
		return // the sizes are wrong
	}
	b.m.Tied = b.c.flag("tie_word_embeddings", tied)
	prefix = cmp.Or(b.decoder, prefix)
	b.layer = -1
	b.add(Embedding, prefix+"embed_tokens", b.m.Hidden, b.m.Vocab, 1)
	for l := range b.m.Layers {
		b.layer, b.prefix = l, fmt.Sprintf("%slayers.%d.", prefix, l)
		body(l)
		if len(b.c.errs) > 0 {
			return
		}
	}
	b.layer, b.prefix = len(b.m.Layers), ""
	b.small(prefix+"norm", b.m.Hidden)
	if !b.m.Tied {
		b.add(Output, cmp.Or(b.head, "lm_head"), b.m.Hidden, b.m.Vocab, 1)
	}
}

// finish sets the fields of the model that follow from the layers.
func (b *builder) finish() {
	b.m.Shape.Layers = b.m.Count(Full) + b.m.Count(Windowed)
	if b.m.Shape.Layers == 0 {
		b.m.Shape = kv.Shape{}
	} else if b.positions < Unbounded {
		b.m.Rotary = tables(b.embeddings, b.positions, cmp.Or(b.rotated, b.m.Shape.HeadSize))
	}
	if b.m.Global.KVHeads > 0 {
		b.twoSizes()
	}
	if b.m.Global.KVHeads == 0 && (b.m.Count(Windowed) == 0 || b.m.Window >= b.m.MaxLen) {
		for l, kind := range b.m.Layers { // a window as long as the context is full attention
			if kind == Windowed {
				b.m.Layers[l] = Full
			}
		}
		b.m.Window = 0
	}
}

// twoSizes removes one of two sizes of heads if all layers have the other.
func (b *builder) twoSizes() {
	s, g := &b.m.Shape, b.m.Global
	switch {
	case b.m.Count(Full) == 0:
		b.m.Global = Heads{}
	case b.m.Count(Windowed) == 0:
		queries := b.m.QueryHeads()
		s.KVHeads, s.Group, s.HeadSize, b.m.Pair = g.KVHeads, queries/g.KVHeads, g.Size, 2*g.Size
		b.m.Global = Heads{}
	}
}

// context reads the longest context, and the rotary embedding of the layers with attention.
func (b *builder) context(byDefault int) { b.contextRotating(byDefault, 1) }

// contextRotating is context for a family that rotates a part of a head's elements by default.
func (b *builder) contextRotating(byDefault int, part float64) {
	b.positions = b.c.sizeOr("max_position_embeddings", byDefault, Unbounded)
	r := b.rotary(b.positions, part)
	b.embeddings = []rotary{r}
	b.m.MaxLen = r.scaled(b.positions)
}

// heads reads the attention of all layers: query heads, KV heads and their size.
func (b *builder) heads(queries, keys, size int) {
	q := b.c.sizeOr("num_attention_heads", queries, maxWidth)
	if keys == 0 {
		keys = q // configurations older than grouped-query attention have no such entry
	}
	k := b.c.sizeOr("num_key_value_heads", keys, maxWidth)
	d := b.c.num("head_dim", size)
	if q%k != 0 {
		b.c.fail("num_attention_heads %d is not a multiple of num_key_value_heads %d", q, k)
		return
	}
	if d == 0 {
		if b.m.Hidden%q != 0 {
			b.c.fail("hidden_size %d is not a multiple of num_attention_heads %d, and there is no head_dim", b.m.Hidden, q)
			return
		}
		d = b.m.Hidden / q
	}
	if d < 1 || d > kv.MaxHeadSize {
		b.c.fail("head size %d is not from 1 to %d", d, kv.MaxHeadSize)
		return
	}
	b.m.Shape.KVHeads, b.m.Shape.Group, b.m.Shape.HeadSize, b.m.Pair = k, q/k, d, 2*d
}

// width returns the elements of a token's queries and of its keys.
func (b *builder) width() (q, kv int) {
	s := b.m.Shape
	return s.KVHeads * s.Group * s.HeadSize, s.KVHeads * s.HeadSize
}

// attention adds q, k, v and output projections.
func (b *builder) attention(biasQKV, biasOut bool) {
	q, kv := b.width()
	b.linear("self_attn.q_proj", b.m.Hidden, q, biasQKV)
	b.linear("self_attn.k_proj", b.m.Hidden, kv, biasQKV)
	b.linear("self_attn.v_proj", b.m.Hidden, kv, biasQKV)
	b.linear("self_attn.o_proj", q, b.m.Hidden, biasOut)
}

// mlp adds a gated MLP.
func (b *builder) mlp(prefix string, inner int, bias bool) {
	b.linear(prefix+"gate_proj", b.m.Hidden, inner, bias)
	b.linear(prefix+"up_proj", b.m.Hidden, inner, bias)
	b.linear(prefix+"down_proj", inner, b.m.Hidden, bias)
}

// widest raises the width of the model's widest MLP to inner if it is less.
func (b *builder) widest(inner int) { b.m.Intermediate = max(b.m.Intermediate, inner) }

// window marks the layers with sliding windows: those that layer_types names or, without that entry,
// those for which windowed is true.
func (b *builder) window(size int, windowed func(layer int) bool) {
	types := b.c.strs("layer_types")
	b.m.Window = size
	if types != nil && !b.ofLayers("layer_types", len(types)) {
		return
	}
	for l := range b.m.Layers {
		slides := size > 0 && windowed(l)
		if types != nil {
			switch types[l] {
			case "sliding_attention":
				slides = true
			case "full_attention":
				slides = false
			default:
				b.c.fail("layer_types: layer %d is %.40q, want full_attention or sliding_attention", l, types[l])
				return
			}
		}
		if slides && size < 1 {
			b.c.fail("layer %d has a sliding window, and sliding_window does not say of how many tokens", l)
			return
		}
		if slides {
			b.m.Layers[l] = Windowed
		}
	}
}

// ofLayers reports whether an entry has a value for each layer. It fails otherwise.
func (b *builder) ofLayers(name string, values int) bool {
	if values == len(b.m.Layers) {
		return true
	}
	b.c.fail("%s has %d layers, and num_hidden_layers is %d", name, values, len(b.m.Layers))
	return false
}

func always(int) bool { return true }
func never(int) bool  { return false }

// moe reads the number of experts, and the number to which a token is routed.
func (b *builder) moe(total, active string, defaultTotal, defaultActive int) {
	b.m.Experts.Total = b.c.sizeOr(total, defaultTotal, maxExperts)
	b.m.Experts.Active = b.c.sizeOr(active, defaultActive, maxExperts)
}
