package cost

import (
	"fmt"

	"kvcompress/internal/ceil"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// infLLMPlan returns the numbers of KVs that InfLLM holds and reads per head; false if the method is
// another.
func (d *Deployment) infLLMPlan() (ref.InfLLMPlan, bool) {
	if d.Method.Method != infLLM {
		return ref.InfLLMPlan{}, false
	}
	p, err := d.Method.InfLLMReads()
	return p, err == nil // Validate returns the error
}

// infLLMLayout returns what a sequence holds on the card with InfLLM: the budget of KVs per head, and
// for every block a representative key of each query head. A key has half the bytes of a KV, so the
// representatives are counted as the KVs of further heads.
func (d *Deployment) infLLMLayout() *sim.Layout {
	p, ok := d.infLLMPlan()
	if !ok {
		return nil
	}
	heads := d.shape().Heads()
	return &sim.Layout{Windowed: heads, Window: p.Tokens(), Full: ceil.Div(heads*d.shape().Group, 2*p.Block)}
}

// attentionLayers returns the number of layers whose attention in prompts is of a kind. With InfLLM
// all layers attend within a window.
func (d *Deployment) attentionLayers(kind catalog.Layer) int {
	if _, ok := d.infLLMPlan(); ok {
		if kind == catalog.Windowed {
			return d.Model.Shape.Layers
		}
		return 0
	}
	return d.Model.Count(kind)
}

// fetches returns the time that a decode step of a sequence takes to fetch KVs from the host, over the
// links of all cards.
func (d *Deployment) fetches() float64 {
	p, ok := d.infLLMPlan()
	if !ok {
		return 0
	}
	bytes := p.Missed * float64(p.LookedUp*d.shape().Heads()*d.rowBytes())
	return bytes / d.Card.Host * 1e9 / float64(d.TP)
}

// promptPlan returns the plan of prompt compression; false if the method is another.
func (d *Deployment) promptPlan() (ref.PromptPlan, bool) {
	if d.Method.Method != llmLingua2 {
		return ref.PromptPlan{}, false
	}
	p, err := d.Method.PromptCompression()
	return p, err == nil // Validate returns the error
}

// PromptRate returns the fraction of a prompt's tokens that the model reads: 1 without prompt
// compression.
func (d *Deployment) PromptRate() float64 {
	if p, ok := d.promptPlan(); ok {
		return p.Rate
	}
	return 1
}

// compressorBytes returns the bytes of a prompt compressor's weights on each card.
func (d *Deployment) compressorBytes() int64 {
	p, _ := d.promptPlan()
	return p.Bytes
}

// compressesPrompt returns the time of a prompt compressor's matrix products, on one card, per token of
// the compressed prompt, which stands for 1/rate original tokens.
func (d *Deployment) compressesPrompt() float64 {
	p, ok := d.promptPlan()
	if !ok {
		return 0
	}
	return 2 * p.Matrices / p.Rate / d.Card.Flops16 * 1e9
}

// plannedNotes returns the assumptions about a method that no engine runs, nil if the method is
// another.
func (d *Deployment) plannedNotes() []string {
	if p, ok := d.infLLMPlan(); ok {
		host := d.shape().Heads() * d.rowBytes()
		return []string{
			fmt.Sprintf("The kernels of the method are not measured: reading a KV is assumed to cost the same as with KV-Compress. The host holds %d bytes for each token of every running sequence.", host),
			fmt.Sprintf("Each head has %d KVs on the card, %d of them looked up. In every decode step of every sequence, short ones too, a fraction of %g of these is assumed to be fetched from the host; 1 is the most, and missed=… sets less.", p.Tokens(), p.LookedUp, p.Missed),
		}
	}
	if p, ok := d.promptPlan(); ok {
		return []string{fmt.Sprintf("Prompts are compressed to %g of their tokens; throughputs count the tokens before that. The compressor runs on one card before the prompt; its matrix products take %.0f million operations per original token, and its attention is not counted.", p.Rate, 2*p.Matrices/1e6)}
	}
	return nil
}
