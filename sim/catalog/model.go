package catalog

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/kv"
)

// Model has the properties of a decoder that determine its memory and time.
type Model struct {
	Name         string
	Aliases      []string // other names
	Shape        kv.Shape // number of layers with a KV cache; their KV heads, query heads per KV head and head size
	Layers       []Layer  // kind of each layer, in order
	Halves       int      // layers that have no MLP, or nothing else
	Depth        Depth    // what layers read of earlier ones besides the residual
	Modules      []Module // all weights, in the order of the layers
	Hidden       int
	Intermediate int // width of the widest MLP; for a mixture of experts the sum over a token's experts
	Vocab        int
	Tied         bool    // the output matrix is the embedding table
	MaxLen       int     // longest context, tokens
	Weights      Weights // format that the weights are published in
	KVFormat     string  // the KV cache format for which the checkpoint has scales, by its name there; "" for none
	Source       string

	Global  Heads // of the layers that keep every token, if Shape has those of the layers with windows and they differ
	Rotary  []RotaryTable
	Window  int     // tokens that a windowed layer attends to, the newest included
	Chunked bool    // windows stand for chunks: a token attends to those of its chunk of Window tokens
	Latent  int     // elements of a token's latent KV, in place of K and V of heads; 0 for none
	Pair    int     // elements of one query head's products with a key and with a value
	Indexer Indexer // of sparse attention
	State   State   // of a linear-time layer
	Experts Experts // of a mixture of experts
}

// Layer is the kind of a layer: what it keeps of a sequence.
type Layer int

// The kinds of layer.
const (
	Full      Layer = iota // K and V of every token
	Windowed               // K and V of the last Model.Window tokens
	Stateful               // a state of fixed size
	Stateless              // nothing
)

// Depth is attention over the layers' outputs: sums over blocks of earlier layers, of a hidden state each, take the
// place of one residual.
type Depth struct {
	Kept int // most sums of a token that are held
	Read int // sums of a token that all layers together read
}

// State is the state that a linear-time layer keeps of a sequence, whatever its length.
type State struct {
	Elements16 int // elements in 16 bits
	Elements32 int // elements in 32 bits
	Heads      int // of which every card of a tensor-parallel group has as many; 0 if the layer has no heads
}

// in16 returns the state with all elements in 16 bits.
func (s State) in16() State {
	s.Elements16, s.Elements32 = s.Elements16+s.Elements32, 0
	return s
}

// Bytes returns the bytes of one layer's state of one sequence.
func (s State) Bytes() int { return 2*s.Elements16 + 4*s.Elements32 }

// Indexer chooses the tokens that a query attends to, in DeepSeek Sparse Attention. It has heads of queries and
// one key for each token. Layers without an indexer attend to the tokens that the one before them chose.
type Indexer struct {
	Heads  int
	Size   int // elements of a key
	Tokens int // most tokens that a query attends to; 0 if there is no indexer
	Layers int // layers with an indexer
	Latent int // bytes of a token's latent in a KV cache in 8 bits
}

// indexBlock is the number of elements of an index key that share a scale.
const indexBlock = 128

// KeyBytes returns the bytes of a token's key: its elements in 8 bits, and a scale in 32 bits for each 128.
func (x *Indexer) KeyBytes() int { return x.Size + x.Size/indexBlock*4 }

// Experts is a mixture of experts.
type Experts struct {
	Total  int // routed experts of a layer
	Active int // experts to which a token is routed
}

// Heads are the KV heads of a layer.
type Heads struct {
	KVHeads int
	Size    int // elements of a key and of a value
}

// Module is a tensor of weights, or several equal ones.
type Module struct {
	Name   string // its name in the checkpoint
	Layer  int    // −1 before the layers, len(Layers) after them
	Kind   Kind
	In     int
	Out    int
	N      int    // number of equal tensors: the experts of a layer; otherwise 1
	Twice  bool   // servers hold it a second time as another matrix: keys that are values too
	Format Format // as published
	Fixed  bool   // servers hold it as published, whatever the format of the other modules
	Copied bool   // every card of a tensor-parallel group holds all of it
}

// Kind is the kind of a module. It determines whether the module can be quantized and when it is read.
type Kind int

// The kinds of module.
const (
	Linear    Kind = iota // a matrix of a layer
	Routed                // matrices of N routed experts, of which a token uses Experts.Active
	Embedding             // a table from which a token reads a row; if tied, also the output matrix
	Output                // the output matrix
	Small                 // norms, biases and other vectors: a row of Out elements
	Tower                 // the weights of an image encoder, which are held and not read for text
)

// Params returns the parameters of the module.
func (m *Module) Params() int64 { return int64(m.N) * int64(m.In) * int64(m.Out) }

// times returns how often servers hold the module.
func (m *Module) times() int64 {
	if m.Twice {
		return 2
	}
	return 1
}

// bytes returns the bytes of one of the module's tensors.
func (m *Module) bytes(f Format) int64 { return f.Bytes(int64(m.In), int64(m.Out)) }

// quantizable reports whether a format of fewer bits applies to the module.
func (m *Module) quantizable() bool { return (m.Kind == Linear || m.Kind == Routed) && !m.Fixed }

// format returns how a module is stored if the model's weights are in the given format: as in the
// checkpoint if that is its format.
func (m *Model) format(mod *Module, w Weights) Format {
	switch {
	case w == m.Weights || mod.Fixed:
		return mod.Format
	case mod.quantizable():
		return w.Format()
	}
	return Format{Weights: BF16, Bits: 16, Activations: 16}
}

// QueryHeads returns the query heads of a layer.
func (m *Model) QueryHeads() int { return m.Shape.KVHeads * m.Shape.Group }

// Count returns the number of layers of a kind.
func (m *Model) Count(kind Layer) int {
	n := 0
	for _, l := range m.Layers {
		if l == kind {
			n++
		}
	}
	return n
}

// Blocks returns the number of layers, where a layer with only a mixer (attention or a linear-time one) or only an MLP
// counts half.
func (m *Model) Blocks() float64 { return float64(len(m.Layers)) - float64(m.Halves)/2 }

// Uniform reports whether every layer keeps K and V of every token.
func (m *Model) Uniform() bool { return m.Count(Full) == len(m.Layers) }

// Params returns the number of parameters.
func (m *Model) Params() int64 {
	n := int64(0)
	for i := range m.Modules {
		n += m.Modules[i].Params()
	}
	return n
}

// Bytes returns the bytes of the weights in the given format, scales included. If it is that of the
// checkpoint they are stored as published; otherwise the layers' matrices have this format and all
// others 16 bits.
func (m *Model) Bytes(w Weights) int64 { return m.sum(w, func(*Module) int64 { return 1 }) }

// StepBytes returns the bytes of the weights that every step reads: all except the routed experts, an
// embedding table that is not also the output matrix (a step reads a few rows of it), and an image
// encoder.
func (m *Model) StepBytes(w Weights) int64 {
	return m.sum(w, func(mod *Module) int64 {
		if mod.Kind == Routed || mod.Kind == Tower || mod.Kind == Embedding && !m.Tied {
			return 0
		}
		return 1
	})
}

// OnCards returns the model as n cards of a tensor-parallel group hold it: a module of which each of them holds
// all counts n times.
func (m *Model) OnCards(n int) *Model {
	if n == 1 || !slices.ContainsFunc(m.Modules, func(mod Module) bool { return mod.Copied }) {
		return m
	}
	on := *m
	on.Modules = slices.Clone(m.Modules)
	for i := range on.Modules {
		if mod := &on.Modules[i]; mod.Copied {
			mod.N *= n
		}
	}
	return &on
}

// ExpertLayers returns the number of layers with routed experts.
func (m *Model) ExpertLayers() int {
	n, last := 0, -1
	for i := range m.Modules {
		if mod := &m.Modules[i]; mod.Kind == Routed && mod.Layer != last {
			n, last = n+1, mod.Layer
		}
	}
	return n
}

// LatentLayers returns the number of layers with multi-head latent attention.
func (m *Model) LatentLayers() int {
	if m.Latent == 0 {
		return 0
	}
	return m.Shape.Layers
}

// ExpertBytes returns the bytes of one routed expert, summed over the layers with experts.
func (m *Model) ExpertBytes(w Weights) int64 {
	return m.sum(w, func(mod *Module) int64 {
		if mod.Kind != Routed {
			return 0
		}
		return -1
	})
}

// TowerBytes returns the bytes of the weights of an image encoder.
func (m *Model) TowerBytes(w Weights) int64 {
	return m.sum(w, func(mod *Module) int64 {
		if mod.Kind != Tower {
			return 0
		}
		return 1
	})
}

// LayerBytes returns the bytes of the weights of layers from ≤ l < to. Layer −1 stands for the modules
// before the layers, len(Layers) for those after them.
func (m *Model) LayerBytes(w Weights, from, to int) int64 {
	return m.sum(w, func(mod *Module) int64 {
		if mod.Layer < from || mod.Layer >= to {
			return 0
		}
		return 1
	})
}

// sum adds up the bytes of modules: of all N tensors if count is 1, of one tensor if it is −1, of none
// if it is 0.
func (m *Model) sum(w Weights, count func(*Module) int64) int64 {
	bytes := int64(0)
	for i := range m.Modules {
		mod := &m.Modules[i]
		switch count(mod) {
		case 1:
			bytes += int64(mod.N) * mod.times() * mod.bytes(m.format(mod, w))
		case -1:
			bytes += mod.bytes(m.format(mod, w))
		}
	}
	return bytes
}

// Active returns the number of weights with which a token is multiplied in the matrices of a kind, [Linear]
// or [Routed], by the inputs of the product on a card.
func (m *Model) Active(w Weights, kind Kind, on *Card) map[Inputs]int64 {
	active := map[Inputs]int64{}
	for i := range m.Modules {
		mod := &m.Modules[i]
		if mod.Kind != kind {
			continue
		}
		n := mod.Params() * mod.times()
		if mod.Kind == Routed {
			n = n / int64(mod.N) * int64(m.Experts.Active)
		}
		active[m.inputs(mod, w, on)] += n
	}
	return active
}

// Unbounded is the MaxLen of a model with unbounded context.
const Unbounded = 1 << 30

// Bounds on a model.
const (
	maxLayers  = 1 << 10
	maxWidth   = 1 << 20 // of a layer, in any direction
	maxVocab   = 1 << 24
	maxExperts = 1 << 12
	maxParams  = 1e15
	maxGlobal  = 16 // heads of the size of those with windows that make one of a layer that keeps every token
)

// Validate returns every error of the model, joined.
func (m *Model) Validate() error {
	var errs []error
	within := func(name string, n, low, bound int) {
		if n < low || n > bound {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", name, n, low, bound))
		}
	}
	within("num_hidden_layers", len(m.Layers), 1, maxLayers)
	within("hidden_size", m.Hidden, 1, maxWidth)
	within("intermediate_size, or the width of a token's experts together,", m.Intermediate, 1, maxWidth)
	within("vocab_size", m.Vocab, 1, maxVocab)
	within("max_position_embeddings", m.MaxLen, 1, 1<<30)
	if m.Shape.Layers > 0 {
		within("num_key_value_heads", m.Shape.KVHeads, 1, kv.MaxKVHeads)
		within("query heads per KV head", m.Shape.Group, 1, kv.MaxGroup)
		if d := m.Shape.HeadSize; m.Latent == 0 && (d < 8 || d > kv.MaxHeadSize || d%8 != 0) {
			errs = append(errs, fmt.Errorf("head size %d is not a multiple of 8 from 8 to %d", d, kv.MaxHeadSize))
		}
	}
	if g := m.Global; g.KVHeads > 0 {
		within("num_global_key_value_heads", g.KVHeads, 1, kv.MaxKVHeads)
		if d := m.Shape.HeadSize; d > 0 && (g.Size%d != 0 || g.Size > kv.MaxHeadSize*maxGlobal) {
			errs = append(errs, fmt.Errorf("global head size %d is not a multiple of the head size %d, up to %d", g.Size, d, kv.MaxHeadSize*maxGlobal))
		}
	}
	if m.Count(Windowed) > 0 {
		within("sliding window", m.Window, 1, 1<<30)
	}
	if m.Experts.Total > 0 {
		within("experts of a layer", m.Experts.Total, 1, maxExperts)
		within("experts of a token", m.Experts.Active, 1, m.Experts.Total)
	}
	if m.Count(Stateful) > 0 {
		within("elements of a state", m.State.Elements16+m.State.Elements32, 1, 1<<30)
	}
	return errors.Join(errs...)
}
