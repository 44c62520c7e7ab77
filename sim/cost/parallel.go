package cost

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// The bounds of parallelism.
const (
	MaxTP = 64 // cards over which every layer is split
	MaxPP = 64 // stages over which the layers are divided
)

// Cards returns the cards of the deployment.
func (d *Deployment) Cards() int { return d.TP * d.stages() }

func (d *Deployment) stages() int { return max(1, d.PP) }

// checkParallel returns the errors of tensor and pipeline parallelism.
func (d *Deployment) checkParallel() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	m, s := &d.Model, d.Model.Shape
	if d.TP < 1 || d.TP > MaxTP {
		bad("tensor parallelism %d: want 1 to %d", d.TP, MaxTP)
		return errs
	}
	if d.PP < 0 || d.PP > MaxPP {
		bad("pipeline parallelism %d: want 1 to %d", d.PP, MaxPP)
		return errs
	}
	if s.Layers > 0 && s.KVHeads%d.TP != 0 && (d.TP%s.KVHeads != 0 || m.QueryHeads()%d.TP != 0) {
		bad("tensor parallelism %d: want a divisor of the %d KV heads of %s, or a multiple of them that divides its %d query heads", d.TP, s.KVHeads, m.Name, m.QueryHeads())
	}
	if g := m.Global.KVHeads; g > 0 && g%d.TP != 0 && d.TP%g != 0 {
		bad("tensor parallelism %d: want a divisor or a multiple of the %d KV heads that some layers of %s have", d.TP, g, m.Name)
	}
	if h := m.State.Heads; h%d.TP != 0 {
		bad("tensor parallelism %d: want a divisor of the %d heads of the linear-time layers of %s", d.TP, h, m.Name)
	}
	if d.TP > 1 && d.Card.LinkOf(d.TP) == 0 {
		bad("tensor parallelism %d on %s: the link between so many cards is not known: set link_bytes_per_sec, linked_cards and network_bytes_per_sec in a file of the card, or use fewer cards and pipeline parallelism", d.TP, d.Card.Name)
	}
	if d.stages() > 1 {
		switch {
		case d.PP > len(m.Layers):
			bad("pipeline parallelism %d: %s has %d layers", d.PP, m.Name, len(m.Layers))
		case m.Indexer.Layers%len(m.Layers) != 0:
			bad("pipeline parallelism %d: only %d of the %d layers of %s have an indexer, and their division over stages is not modelled: use tensor parallelism", d.PP, m.Indexer.Layers, len(m.Layers), m.Name)
		case !m.Uniform():
			bad("pipeline parallelism %d: the layers of %s are of several kinds, and their division over stages is not modelled: use tensor parallelism", d.PP, m.Name)
		case d.takesKVs():
			bad("pipeline parallelism %d with a method: budgets over the layers of several stages are not modelled: use tensor parallelism", d.PP)
		case d.Card.LinkOf(d.Cards()) == 0:
			bad("pipeline parallelism %d on %s: the link between %d cards is not known: set network_bytes_per_sec in a file of the card", d.PP, d.Card.Name, d.Cards())
		}
	}
	if d.takesKVs() && (!m.Uniform() || m.Latent > 0 || d.TP > s.KVHeads) {
		switch {
		case m.Latent > 0:
			bad("method %s on %s: multi-head latent attention has one latent per token for all heads, from which a single head's KVs cannot be evicted: project it without a method", d.methodName(), m.Name)
		case !m.Uniform():
			bad("method %s on %s: it is defined for models in which all layers hold every token, and some layers here have windows or states: project it without a method", d.methodName(), m.Name)
		default:
			bad("method %s with tensor parallelism %d: %d KV heads are held by several cards each, which is not modelled with a method: use at most %d", d.methodName(), d.TP, s.KVHeads, s.KVHeads)
		}
	}
	return errs
}

// takesKVs reports whether a method decides which KVs are held or read.
func (d *Deployment) takesKVs() bool {
	return d.Compresses() || d.Method.Method == quest || d.Method.Method == infLLM
}

// shape returns the shape of the cache over the cards of a tensor-parallel group. If there are fewer
// KV heads than cards, each is held by several cards, each of which has a share of its query heads.
// The latent of multi-head latent attention is held by all cards in the same way.
//
// A ledger counts heads and blocks by this shape. Its head size is within an engine's bounds even if
// the model's is not; bytes follow from [Deployment.rowBytes].
func (d *Deployment) shape() kv.Shape {
	s := d.Model.Shape
	if s.Layers == 0 {
		return kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: kv.MinHeadSize} // a model with states only: see Layout
	}
	if d.TP > s.KVHeads {
		s.KVHeads, s.Group = d.TP, max(1, s.KVHeads*s.Group/d.TP)
	}
	if d.Model.Latent > 0 {
		s.HeadSize = kv.MaxHeadSize
	}
	return s
}

// globalHeads returns the heads of a layer that keeps every token, over the cards of a tensor-parallel group and
// in heads of the size of those with windows: a larger one counts as several. In vLLM a block holds a
// layer's heads together, and more tokens of a layer whose heads have fewer bytes: the memory is the same.
func (d *Deployment) globalHeads() int {
	g := d.Model.Global
	if g.KVHeads == 0 {
		return d.shape().KVHeads
	}
	return max(g.KVHeads, d.TP) * (g.Size / d.Model.Shape.HeadSize)
}

// rowBytes returns the bytes of a token's KV of one head: K and V, or the latent.
func (d *Deployment) rowBytes() int {
	if x := &d.Model.Indexer; x.Tokens > 0 && d.KV.Size() == 1 {
		return x.Latent
	}
	if d.Model.Latent > 0 {
		return d.Model.Latent * d.KV.Size()
	}
	return 2 * d.Model.Shape.HeadSize * d.KV.Size()
}

// stateBytes returns the bytes of a sequence's states on one card.
func (d *Deployment) stateBytes() int {
	return d.Model.Count(catalog.Stateful) * ceil.Div(d.Model.State.Bytes(), d.TP)
}

// blockKV returns the bytes of a block on one card: BlockSize KVs of one head, or if no layer has KVs
// a sequence's states.
func (d *Deployment) blockKV() int {
	if d.Model.Shape.Layers == 0 {
		return d.stateBytes()
	}
	return d.BlockSize*d.rowBytes() + int(math.Ceil(float64(d.BlockSize)*d.indexBytes()))
}

// indexBytes returns the bytes of a token's key of an indexer in a layer, on average over the layers.
func (d *Deployment) indexBytes() float64 {
	x := &d.Model.Indexer
	return float64(x.KeyBytes()*x.Layers) / float64(len(d.Model.Layers))
}

// Layout returns what a sequence holds of a model with layers of several kinds, nil if all layers are
// equal. As in vLLM V1, the layers of each kind are divided into groups of equal size, and a group
// that is not full is padded. A state takes as many blocks of its layer as it needs.
func (d *Deployment) Layout() *sim.Layout {
	m := &d.Model
	if m.Uniform() {
		return d.infLLMLayout()
	}
	if m.Shape.Layers == 0 {
		return &sim.Layout{Fixed: d.TP}
	}
	group := groupSize(m.Count(catalog.Full), m.Count(catalog.Windowed), m.Count(catalog.Stateful))
	padded := func(kind catalog.Layer) int { return ceil.Div(m.Count(kind), group) * group }
	heads := d.shape().KVHeads
	perCard := heads / d.TP
	state := perCard * ceil.Div(ceil.Div(m.State.Bytes(), d.TP), perCard*d.blockKV())
	layout := &sim.Layout{
		Full:     padded(catalog.Full) * d.globalHeads(),
		Windowed: padded(catalog.Windowed) * heads,
		Window:   m.Window,
		Fixed:    padded(catalog.Stateful) * state * d.TP,
	}
	if m.Count(catalog.Stateful) == 0 {
		first := slices.IndexFunc(m.Layers, func(l catalog.Layer) bool { return l == catalog.Full || l == catalog.Windowed })
		layout.Group, layout.WindowsFirst = group*gcd(heads, d.globalHeads()), m.Layers[first] == catalog.Windowed
	}
	return layout
}

// gcd returns the greatest common divisor of two numbers.
func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// SharesPrefixes reports whether vLLM V1's prefix caching is modelled for the deployment: no method decides which
// KVs are held or read, and no layer has a state.
func (d *Deployment) SharesPrefixes() bool {
	return !d.takesKVs() && d.Model.Count(catalog.Stateful) == 0
}

// groupSize returns the number of layers of a group: that of the rarest kind, or that of the most
// frequent kind if it is only a little larger.
func groupSize(kinds ...int) int {
	least, most := 0, 0
	for _, n := range kinds {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
		most = max(most, n)
	}
	if 4*most < 5*least {
		return most
	}
	return max(1, least)
}

// Heads returns the number of heads that hold KVs, over all layers and cards; 0 if no layer holds KVs.
func (d *Deployment) Heads() int {
	if layout := d.Layout(); layout != nil && !d.Model.Uniform() {
		return layout.Full + layout.Windowed
	}
	cfg := d.Config()
	return cfg.Shape.Heads()
}

// CardHeads returns the number of heads whose KVs a card holds, in the stage with the most layers.
func (d *Deployment) CardHeads() int {
	heads := d.Heads() / d.TP
	if stages := d.stages(); stages > 1 { // all layers are equal: see checkParallel
		layers := len(d.Model.Layers)
		heads = heads / layers * ceil.Div(layers, stages)
	}
	return heads
}

// stage returns the layers from ≤ l < to of a stage. As in vLLM, remaining layers go to the stages
// before the last.
func (d *Deployment) stage(i int) (from, to int) {
	layers, stages := len(d.Model.Layers), d.stages()
	each, more := layers/stages, layers%stages
	start := func(i int) int { return i*each + max(0, min(i, stages-1)-(stages-1-more)) }
	return start(i), start(i + 1)
}

// stageBytes returns the bytes of a stage's weights and its number of vocabulary tables. The first
// stage has the embedding and the last the output matrix, which may be the same table. As in vLLM, every stage
// has all of the model's image encoder.
func (d *Deployment) stageBytes(stage int) (bytes, tables int64) {
	m := &d.Model
	from, to := d.stage(stage)
	last := d.stages() - 1
	switch {
	case stage == 0: // embedding and encoder come before the layers
		from, tables = -1, 1
	case stage == last && m.Tied:
		bytes = m.LayerBytes(d.Weights, -1, 0)
	default:
		bytes = m.TowerBytes(d.Weights)
	}
	if stage == last {
		to = len(m.Layers) + 1
		if !m.Tied || last > 0 {
			tables++
		}
	}
	return bytes + m.OnCards(d.TP).LayerBytes(d.Weights, from, to), tables
}

// share returns the number of blocks of one tensor-parallel rank, over all stages. room is the memory
// of a card for weights and KV cache. The stage with the fewest blocks per layer decides; weights are
// the bytes of its weights.
func (d *Deployment) share(room, perBlock int64, p *profiling) (blocks, weights int64) {
	if d.stages() == 1 {
		weights = d.weights(p, 0)
		return (room - weights) / perBlock, weights
	}
	perCard := int64(d.shape().KVHeads / d.TP)
	rows := int64(-1)
	for i := range d.stages() {
		from, to := d.stage(i)
		w := d.weights(p, i)
		if n := (room - w) / (perBlock * perCard * int64(to-from)); rows < 0 || n < rows {
			rows, weights = max(0, n), w
		}
	}
	return rows * perCard * int64(len(d.Model.Layers)), weights
}
