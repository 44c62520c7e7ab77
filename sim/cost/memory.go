package cost

import (
	"fmt"

	"kvcompress/sim"
)

// Three figures of the memory model that no data sheet has. The first two are
// fitted to the block counts that follow from the largest batches published for
// KV-Compress on two cards (docs/cost-model.md): two figures, two unknowns.
const (
	// ActivationReserve is how much more PyTorch's allocator has reserved, when a
	// server measures its peak, than the tensors of one layer take.
	ActivationReserve = 1.2432

	// FixedBytes is what the server's libraries and small tensors take on each card.
	FixedBytes = 250_000_000

	// ScratchPerKV is what a compression needs beside the cache for each slot that
	// it may sort: one index of 32 bits.
	ScratchPerKV = 4
)

// Memory is the ledger of one card's bytes.
type Memory struct {
	Card        int64 `json:"card_bytes"`                 // in all
	Reserved    int64 `json:"reserved_bytes"`             // left to others: what the utilisation does not allow
	Weights     int64 `json:"weights_bytes"`              // of the model
	Activations int64 `json:"activations_bytes"`          // at their peak, in the longest prefill batch
	Fixed       int64 `json:"fixed_bytes"`                // of libraries
	Scratch     int64 `json:"scratch_bytes"`              // of compression
	Compressor  int64 `json:"compressor_bytes,omitempty"` // weights of a compressor of prompts
	Metadata    int64 `json:"metadata_bytes"`             // of the method, for its blocks and slots
	KV          int64 `json:"kv_bytes"`                   // keys and values
	Unused      int64 `json:"unused_bytes"`               // less than a block; or more, where the blocks were given

	BlockKV       int `json:"block_kv_bytes"` // one block's keys and values
	BlockMetadata int `json:"block_metadata_bytes"`
	Blocks        int `json:"blocks"`              // of all cards, each of one head
	Tokens        int `json:"tokens"`              // uncompressed, that the blocks hold: of as many heads, were all of them to hold every token
	Sequences     int `json:"sequences,omitempty"` // that the blocks hold, where no layer holds KVs
}

// Memory returns where the bytes of a card go. Every card of a tensor-parallel
// group has an equal part of the weights, heads and blocks. The error says what
// does not fit.
func (d *Deployment) Memory() (Memory, error) {
	if err := d.Validate(); err != nil {
		return Memory{}, err
	}
	m := Memory{Card: d.Card.Memory, Fixed: FixedBytes}
	usable := int64(float64(m.Card) * d.Utilization)
	m.Reserved = m.Card - usable
	m.Activations = int64(ActivationReserve * float64(d.activations()))
	m.BlockKV = d.blockKV()
	m.BlockMetadata = d.blockMetadata()
	perBlock := int64(m.BlockKV + m.BlockMetadata)
	ranks := d.ranks()
	if ranks && d.SortedKVs > 0 {
		m.Scratch = ScratchPerKV * int64(d.SortedKVs) / int64(d.TP)
	} else if ranks {
		perBlock += ScratchPerKV * int64(d.BlockSize) // every slot may be sorted at once
	}
	m.Compressor = d.compressorBytes()
	room := usable - m.Activations - m.Fixed - m.Scratch - m.Compressor
	blocks, weights := d.share(room, perBlock)
	m.Weights = weights
	room -= weights
	if given := int64(d.BlocksGiven); given > 0 {
		blocks = (given + int64(d.TP) - 1) / int64(d.TP) // of a stage, where there are several: all layers'
	} else if room < 0 {
		return m, fmt.Errorf("%s does not fit on %s: of %s (%.0f %% of the card), the weights take %s, activations of %d tokens %s, the rest %s: "+
			"want more cards (tensor parallelism), fewer bits a weight or fewer tokens in a batch",
			d.Model.Name, d.Card.Name, gb(usable), 100*d.Utilization, gb(m.Weights), d.MaxTokens, gb(m.Activations), gb(m.Fixed+m.Scratch+m.Compressor))
	}
	blocks = min(blocks, sim.MaxLedgerBlocks/int64(d.TP))
	held := blocks / int64(d.stages()) // on each card, on average over the stages
	m.KV = held * int64(m.BlockKV)
	m.Metadata = held * int64(m.BlockMetadata)
	if ranks && d.SortedKVs == 0 {
		m.Scratch = held * ScratchPerKV * int64(d.BlockSize)
	}
	m.Unused = usable - m.Compressor - m.Weights - m.Activations - m.Fixed - m.Scratch - m.Metadata - m.KV
	m.Blocks = int(blocks) * d.TP
	if d.BlocksGiven > 0 {
		m.Blocks = d.BlocksGiven
	}
	if heads := d.Heads(); heads > 0 {
		m.Tokens = m.Blocks / heads * d.BlockSize
	} else {
		m.Sequences = m.Blocks / d.TP
	}
	return m, nil
}

// activations returns the bytes of the largest tensors that live at once in the
// longest prefill batch: in the MLP, its gate and up products and their result,
// beside the residual and the layer's input; and, where products take 8 bits, the
// result once more in these.
func (d *Deployment) activations() int64 {
	inner, hidden := int64(d.Model.Intermediate)/int64(d.TP), int64(d.Model.Hidden)
	perToken := 2 * (3*inner + 2*hidden)
	if d.Weights.QuantizesActivations() {
		perToken += inner
	}
	return int64(d.MaxTokens) * perToken
}

func gb(n int64) string { return fmt.Sprintf("%.1f GB", float64(n)/1e9) }
