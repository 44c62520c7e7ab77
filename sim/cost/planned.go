package cost

import (
	"fmt"

	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// infLLMPlan returns what InfLLM holds and reads of each head; false if it is not the method.
func (d *Deployment) infLLMPlan() (ref.InfLLMPlan, bool) {
	if d.Method.Method != infLLM {
		return ref.InfLLMPlan{}, false
	}
	p, err := d.Method.InfLLMReads()
	return p, err == nil // Validate says what is wrong
}

// infLLMLayout returns what a sequence holds on the card with InfLLM: of every head as many
// KVs as the budget, and the representative keys of all blocks, which are as many bytes as
// the KVs of some heads more: representatives of block keys, and a key is half a KV.
func (d *Deployment) infLLMLayout() *sim.Layout {
	p, ok := d.infLLMPlan()
	if !ok {
		return nil
	}
	heads := d.shape().Heads()
	return &sim.Layout{Windowed: heads, Window: p.Tokens, Full: ceilDiv(heads*p.Representatives, 2*p.Block)}
}

// attentionLayers returns how many layers have attention of a kind in prompts: with InfLLM
// that of all is within the budget.
func (d *Deployment) attentionLayers(kind catalog.Layer) int {
	if _, ok := d.infLLMPlan(); ok {
		if kind == catalog.Windowed {
			return d.Model.Shape.Layers
		}
		return 0
	}
	return d.Model.Count(kind)
}

// fetches returns what a decode step of a sequence takes to fetch KVs from the host, over
// the links of all cards.
func (d *Deployment) fetches() float64 {
	p, ok := d.infLLMPlan()
	if !ok {
		return 0
	}
	bytes := p.Missed * float64(p.LookedUp*d.shape().Heads()*d.rowBytes())
	return bytes / d.Card.Host * 1e9 / float64(d.TP)
}

// promptPlan returns what prompt compression comes to; false if it is not the method.
func (d *Deployment) promptPlan() (ref.PromptPlan, bool) {
	if d.Method.Method != llmLingua2 {
		return ref.PromptPlan{}, false
	}
	p, err := d.Method.PromptCompression()
	return p, err == nil // Validate says what is wrong
}

// PromptRate returns the part of a prompt's tokens that the model reads: 1 without prompt
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

// compressesPrompt returns what a prompt compressor's matrix products take, on one card, for
// each token that is left of a prompt: 1/rate tokens came for it.
func (d *Deployment) compressesPrompt() float64 {
	p, ok := d.promptPlan()
	if !ok {
		return 0
	}
	return 2 * p.Matrices / p.Rate / d.Card.Flops16 * 1e9
}

// plannedNotes says what is taken for granted of a method that no engine runs, nil if it is
// not the method.
func (d *Deployment) plannedNotes() []string {
	if p, ok := d.infLLMPlan(); ok {
		host := d.shape().Heads() * d.rowBytes()
		return []string{
			fmt.Sprintf("The kernels of %s are not measured: a KV that is read is taken to cost what it does with KV-Compress. The host holds %d bytes for each token of every sequence that runs.", infLLM, host),
			fmt.Sprintf("Each head has %d KVs on the card, %d of them looked up; in every decode step of every sequence, short ones too, %g of these are taken to be fetched from the host: the most there can be is 1, and missed=… plans with less.", p.Tokens, p.LookedUp, p.Missed),
		}
	}
	if p, ok := d.promptPlan(); ok {
		return []string{fmt.Sprintf("Prompts are counted as compressed to %g of their tokens, input tokens too; the compressor's matrix products take %.0f million operations for each token that came, on one card, before the prompt, and its attention is not counted.", p.Rate, 2*p.Matrices/1e6)}
	}
	return nil
}
