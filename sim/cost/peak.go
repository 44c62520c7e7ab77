package cost

import (
	"math"

	"kvcompress/internal/ceil"
	"kvcompress/sim/catalog"
)

// vocabMultiple is the number to a multiple of which the rows of a vocabulary table are padded.
const vocabMultiple = 64

// paddedVocab returns the rows of the embedding table and of the output matrix, with padding.
func (d *Deployment) paddedVocab() int64 {
	return ceil.Div(int64(d.Model.Vocab), vocabMultiple) * vocabMultiple
}

// weights returns the bytes of the weights on each card of a stage. Every matrix and table is split
// evenly over the cards, except the tables of rotary embeddings, which are on every card.
func (d *Deployment) weights(p *profiling, stage int) int64 {
	bytes, tables := d.stageBytes(stage)
	padding := 2 * tables * (d.paddedVocab() - int64(d.Model.Vocab)) * int64(d.Model.Hidden)
	bytes = (bytes + padding) / int64(d.TP)
	if p.rope {
		bytes += d.Model.RotaryBytes()
	}
	return bytes
}

// The parts of a step whose tensors take most memory.
const (
	PeakPrefill = "prefill" // the prefill of the largest batch, in an MLP
	PeakSampler = "sampler" // sampling for the most sequences that run at a time
)

// peak returns the bytes that the largest step takes besides weights and cache, and which part of the
// step takes them: PeakPrefill or PeakSampler.
func (d *Deployment) peak(p *profiling) (int64, string) {
	layer, sampler := d.layerPeak(p), d.samplerPeak(p)
	if sampler > layer {
		return int64(p.reserve * float64(sampler)), PeakSampler
	}
	return int64(p.reserve * float64(layer)), PeakPrefill
}

// layerPeak returns the most bytes of tensors that are live at once in the largest prefill batch: in
// an MLP the gate and up products and their result, the residual and the layer's input, and with
// products of quantized inputs a quantized copy of the result.
func (d *Deployment) layerPeak(p *profiling) int64 {
	inner, hidden := int64(d.Model.Intermediate)/int64(d.TP), int64(d.Model.Hidden)
	residuals := p.residuals
	if d.TP > 1 {
		residuals = p.residualsTP
	}
	perToken := 2 * (3*inner + (residuals+int64(d.Model.Depth.Kept))*hidden)
	if d.quantizes() {
		perToken += inner
	}
	return int64(d.MaxTokens) * perToken
}

// quantizes reports whether some of the model's matrices are multiplied with a quantized copy of their input. A kernel for
// experts in mxfp4 quantizes on the way.
func (d *Deployment) quantizes() bool {
	for _, kind := range []catalog.Kind{catalog.Linear, catalog.Routed} {
		active := d.Model.Active(d.Weights, kind, &d.Card)
		if active[catalog.In8] > 0 || active[catalog.In4] > 0 {
			return true
		}
	}
	return false
}

// samplerPeak returns the bytes that are live while the first token of MaxSeqs sequences is sampled:
// several copies of each sequence's logits of the whole vocabulary, on every card even with tensor
// parallelism; the hidden states of the whole batch; and a copy of those of each sequence's last
// token.
func (d *Deployment) samplerPeak(p *profiling) int64 {
	seqs := int64(min(d.MaxSeqs, d.MaxTokens))
	logits := int64(math.Round(p.sampler * float64(seqs*d.paddedVocab())))
	return logits + p.workspace + 2*(int64(d.MaxTokens)+seqs)*int64(d.Model.Hidden)
}
