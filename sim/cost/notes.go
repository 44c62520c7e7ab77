package cost

import (
	"fmt"

	"kvcompress/sim/catalog"
)

// modelNotes returns the assumptions about the model, how it is divided over cards, and their link.
func (d *Deployment) modelNotes() (notes []string) {
	say := func(format string, args ...any) {
		notes = append(notes, d.Model.Name+": "+fmt.Sprintf(format, args...))
	}
	m := &d.Model
	windowed, stateful := m.Count(catalog.Windowed), m.Count(catalog.Stateful)
	if m.Experts.Total > 0 {
		say("each token is assumed to be routed to random experts, %[2]d of %[1]d in a layer: a step of n tokens reads %[3]d·(1 − (1 − %[4]d/%[5]d)^n) of them.",
			m.Experts.Total, m.Experts.Active, m.Experts.Total, m.Experts.Active, m.Experts.Total)
	}
	switch {
	case windowed > 0 && m.Chunked:
		say("%d of %d layers attend within chunks of %d tokens, and are counted as if they held the last %[3]d: as much as at a chunk's end.", windowed, len(m.Layers), m.Window)
	case windowed > 0:
		say("%d of %d layers hold only the last %d tokens.", windowed, len(m.Layers), m.Window)
	}
	if g := m.Global; g.KVHeads > 0 {
		say("the %d layers that hold every token have %d KV heads of %d elements of K and V, the others %d of %d.", m.Count(catalog.Full), g.KVHeads, 2*g.Size, m.Shape.KVHeads, 2*m.Shape.HeadSize)
		if d.TP > g.KVHeads {
			say("%d KV heads are fewer than %d cards: each head of these layers is held by %d cards.", g.KVHeads, d.TP, d.TP/g.KVHeads)
		}
	}
	if none := m.Count(catalog.Stateless); none > 0 {
		say("%d of %d layers hold nothing of a sequence.", none, len(m.Layers))
	}
	if stateful > 0 {
		say("%d of %d layers hold a state of %d bytes per sequence, whatever its length; computing it in prompts is assumed to take no time beside the matrix products.", stateful, len(m.Layers), m.State.Bytes())
	}
	if layout := d.Layout(); layout != nil && m.Shape.Layers > 0 && !m.Uniform() {
		if have := m.Count(catalog.Full)*d.globalHeads() + windowed*d.shape().KVHeads; layout.Full+layout.Windowed > have {
			say("layers are put into groups of equal size and padded, as in vLLM V1: %d heads are counted for %d.", layout.Full+layout.Windowed, have)
		}
	}
	if m.Latent > 0 {
		where := "per layer"
		if n := m.LatentLayers(); n < len(m.Layers) {
			where = fmt.Sprintf("in each of %d layers", n)
		}
		say("a token's KV is one latent of %d elements %s, which every card of a tensor-parallel group holds.", m.Latent, where)
	} else if m.Shape.Layers > 0 && d.TP > m.Shape.KVHeads {
		say("%d KV heads are fewer than %d cards: each head is held by %d cards.", m.Shape.KVHeads, d.TP, d.TP/m.Shape.KVHeads)
	}
	if x := &m.Indexer; x.Tokens > 0 {
		say("attention is sparse: a token attends to at most %d tokens. %d of %d layers have an indexer, which chooses them and holds a key of %d bytes of each token.", x.Tokens, x.Layers, len(m.Layers), x.KeyBytes())
	}
	if m.KVFormat != "" && d.KV.Size() > 1 {
		say("the checkpoint has scales for a KV cache in %s: --kv-dtype fp8_e4m3 uses it.", m.KVFormat)
	}
	for _, w := range d.unpacked() {
		notes = append(notes, fmt.Sprintf("%s: servers have no kernels here that multiply %s as it is. They unpack it, so products take as long as those of 16 bits, or refuse it.", d.Card.Name, w))
	}
	if d.TP > 1 && d.Card.ThroughHost() {
		notes = append(notes, fmt.Sprintf("%s: the cards are assumed to add up their parts through the host's memory, at %g GB/s. If they read each other's memory over PCI Express, it takes less time: link_bytes_per_sec in a file of the card says so.", d.Card.Name, d.Card.Link/1e9))
	}
	if n := d.stages(); n > 1 {
		say("the %d stages are assumed to be busy all the time, each with a part of the batch: a single request takes up to %d times as long.", n, n)
	}
	return notes
}
