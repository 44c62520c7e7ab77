package cost

import (
	"fmt"

	"kvcompress/sim/catalog"
)

// modelNotes says what is taken for granted of the model, and of how the cards share it.
func (d *Deployment) modelNotes() (notes []string) {
	say := func(format string, args ...any) {
		notes = append(notes, d.Model.Name+": "+fmt.Sprintf(format, args...))
	}
	m := &d.Model
	windowed, stateful := m.Count(catalog.Windowed), m.Count(catalog.Stateful)
	if m.Experts.Total > 0 {
		say("of %d experts a layer each token is taken to pass %d at random: a step of n tokens reads %d·(1 − (1 − %d/%d)^n) of them.",
			m.Experts.Total, m.Experts.Active, m.Experts.Total, m.Experts.Active, m.Experts.Total)
	}
	if windowed > 0 {
		say("%d of %d layers hold the last %d tokens only.", windowed, len(m.Layers), m.Window)
	}
	if stateful > 0 {
		say("%d of %d layers hold a state of %d bytes a sequence, whatever its length; what computes it, beside the matrix products, is taken to cost nothing in prompts.", stateful, len(m.Layers), m.State.Bytes())
	}
	if layout := d.Layout(); layout != nil && m.Shape.Layers > 0 && !m.Uniform() {
		if have := m.Shape.Layers * d.shape().KVHeads; layout.Full+layout.Windowed > have {
			say("layers are put into groups of equal size, as vLLM V1 does: %d heads are counted for %d.", layout.Full+layout.Windowed, have)
		}
	}
	if m.Latent > 0 {
		say("a token's KV is one latent of %d elements a layer, which every card of a tensor-parallel group holds.", m.Latent)
	} else if m.Shape.Layers > 0 && d.TP > m.Shape.KVHeads {
		say("%d KV heads are fewer than %d cards: each is held by %d of them.", m.Shape.KVHeads, d.TP, d.TP/m.Shape.KVHeads)
	}
	if m.KVFormat != "" && d.KV.Size() > 1 {
		say("the checkpoint has scales for a KV cache in %s: --kv-dtype fp8_e4m3 plans with it.", m.KVFormat)
	}
	if n := d.stages(); n > 1 {
		say("the %d stages are taken to be busy all the time, each with a part of the batch: one request alone takes up to %d times as long.", n, n)
	}
	return notes
}
