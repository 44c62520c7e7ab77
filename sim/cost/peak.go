package cost

import (
	"math"

	"kvcompress/sim/catalog"
)

// vocabMultiple is what the rows of a table of the vocabulary are padded to a multiple of.
const vocabMultiple = 64

// paddedVocab returns the rows of the embedding table and of the output matrix, with padding.
func (d *Deployment) paddedVocab() int64 {
	return (int64(d.Model.Vocab) + vocabMultiple - 1) / vocabMultiple * vocabMultiple
}

// weights returns the bytes of the weights on each card of a stage, which has an equal part of
// every matrix and table. The table of rotary embeddings, a cosine and a sine for each position
// and half of a head in 16 bits, is on every card.
func (d *Deployment) weights(p *profiling, stage int) int64 {
	bytes, tables := d.stageBytes(stage)
	padding := 2 * tables * (d.paddedVocab() - int64(d.Model.Vocab)) * int64(d.Model.Hidden)
	bytes = (bytes + padding) / int64(d.TP)
	if p.rope && d.Model.MaxLen < catalog.Unbounded {
		bytes += 2 * int64(d.Model.MaxLen) * int64(d.Model.Shape.HeadSize)
	}
	return bytes
}

// The parts of a step whose tensors take most memory.
const (
	PeakPrefill = "prefill" // of the largest batch, in an MLP
	PeakSampler = "sampler" // of as many sequences as run at a time
)

// peak returns the bytes that the largest step takes beside weights and cache, and the part of
// it that takes them.
func (d *Deployment) peak(p *profiling) (int64, string) {
	layer, sampler := d.layerPeak(p), d.samplerPeak(p)
	if sampler > layer {
		return int64(p.reserve * float64(sampler)), PeakSampler
	}
	return int64(p.reserve * float64(layer)), PeakPrefill
}

// layerPeak returns the bytes of the largest tensors that live at once in the longest prefill
// batch: in the MLP, its gate and up products and their result, beside the residual and the
// layer's input; and, where products take 8 bits, the result once more in these.
func (d *Deployment) layerPeak(p *profiling) int64 {
	inner, hidden := int64(d.Model.Intermediate)/int64(d.TP), int64(d.Model.Hidden)
	residuals := p.residuals
	if d.TP > 1 {
		residuals = p.residualsTP
	}
	perToken := 2 * (3*inner + residuals*hidden)
	if d.Weights.QuantizesActivations() {
		perToken += inner
	}
	return int64(d.MaxTokens) * perToken
}

// samplerPeak returns the bytes that live while the first token of as many sequences as run at
// a time is sampled: for each the logits of the whole vocabulary, on every card, whatever
// tensor parallelism is, in several copies; the hidden states of the whole batch, and those of
// each sequence's last token once more.
func (d *Deployment) samplerPeak(p *profiling) int64 {
	seqs := int64(min(d.MaxSeqs, d.MaxTokens))
	logits := int64(math.Round(p.sampler * float64(seqs*d.paddedVocab())))
	return logits + p.workspace + 2*(int64(d.MaxTokens)+seqs)*int64(d.Model.Hidden)
}
