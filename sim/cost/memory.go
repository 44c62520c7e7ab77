package cost

import (
	"fmt"

	"kvcompress/sim"
)

// Three figures of KV-Compress's server that no data sheet has. The first two are
// fitted to the block counts that follow from the largest batches published for
// it on two cards (docs/cost-model.md): two figures, two unknowns.
const (
	// ActivationReserve is how much more PyTorch's allocator has reserved, when that
	// server measures its peak, than the tensors of one layer take.
	ActivationReserve = 1.2432

	// FixedBytes is what its libraries and small tensors take on each card.
	FixedBytes = 250_000_000

	// ScratchPerKV is what a compression needs beside the cache for each slot that
	// it may sort: one index of 32 bits.
	ScratchPerKV = 4
)

// Memory is the ledger of one card's bytes.
type Memory struct {
	Card        int64 `json:"card_bytes"`        // in all
	Reserved    int64 `json:"reserved_bytes"`    // left to others: what the utilisation does not allow
	Weights     int64 `json:"weights_bytes"`     // of the model
	Activations int64 `json:"activations_bytes"` // at their peak
	Fixed       int64 `json:"fixed_bytes"`       // outside PyTorch: CUDA's context, libraries, NCCL
	Graphs      int64 `json:"cuda_graphs_bytes"` // of CUDA graphs, where the engine counts them
	Scratch     int64 `json:"scratch_bytes"`     // of compression
	Metadata    int64 `json:"metadata_bytes"`    // of the method, for its blocks and slots
	KV          int64 `json:"kv_bytes"`          // keys and values
	Unused      int64 `json:"unused_bytes"`      // less than a block; or more, where the blocks were given

	BlockKV       int `json:"block_kv_bytes"` // one block's keys and values
	BlockMetadata int `json:"block_metadata_bytes"`
	Blocks        int `json:"blocks"` // of all cards, each of one head
	Tokens        int `json:"tokens"` // uncompressed, that the blocks hold

	Engine      Engine  `json:"engine"`          // whose way of measuring it is
	Peak        string  `json:"peak_of"`         // what the activations are of: PeakPrefill or PeakSampler
	MaxModelLen int     `json:"max_model_len"`   // tokens of the longest request
	Concurrency float64 `json:"max_concurrency"` // uncompressed requests of that length that the blocks hold at once
}

// Memory returns where the bytes of a card go. Every card of a tensor-parallel
// group has an equal part of the weights, heads and blocks. The error says what
// does not fit.
func (d *Deployment) Memory() (Memory, error) {
	if err := d.Validate(); err != nil {
		return Memory{}, err
	}
	p := d.Server().profiling()
	m := Memory{Card: d.Card.Memory, Fixed: p.outside, Engine: p.engine, MaxModelLen: d.maxModelLen()}
	if d.CardMemory > 0 {
		m.Card = d.CardMemory
	}
	if d.TP > 1 {
		m.Fixed += p.links
	}
	usable := int64(float64(m.Card) * d.Utilization)
	m.Reserved = m.Card - usable
	m.Weights, m.Graphs = d.weights(&p), d.graphs(&p)
	m.Activations, m.Peak = d.peak(&p)
	m.BlockKV = 2 * d.BlockSize * d.Model.Shape.HeadSize * d.KV.Size()
	m.BlockMetadata = d.blockMetadata()
	perBlock := int64(m.BlockKV + m.BlockMetadata)
	ranks := d.ranks()
	if ranks && d.SortedKVs > 0 {
		m.Scratch = ScratchPerKV * int64(d.SortedKVs) / int64(d.TP)
	} else if ranks {
		perBlock += ScratchPerKV * int64(d.BlockSize) // every slot may be sorted at once
	}
	room := usable - m.Weights - m.Activations - m.Fixed - m.Graphs - m.Scratch
	blocks := room / perBlock
	if given := int64(d.BlocksGiven); given > 0 {
		blocks = (given + int64(d.TP) - 1) / int64(d.TP)
	} else if room < 0 {
		return m, fmt.Errorf("%s does not fit on %s: of %s (%.0f %% of the card), the weights take %s, the peak of %s %s, the rest %s: "+
			"want more cards (tensor parallelism), fewer bits a weight or %s",
			d.Model.Name, d.Card.Name, gb(usable), 100*d.Utilization, gb(m.Weights), d.peakOf(m.Peak), gb(m.Activations), gb(m.Fixed+m.Graphs+m.Scratch), fewer(m.Peak))
	}
	blocks = min(blocks, sim.MaxLedgerBlocks/int64(d.TP))
	m.KV = blocks * int64(m.BlockKV)
	m.Metadata = blocks * int64(m.BlockMetadata)
	if ranks && d.SortedKVs == 0 {
		m.Scratch = blocks * ScratchPerKV * int64(d.BlockSize)
	}
	m.Unused = usable - m.Weights - m.Activations - m.Fixed - m.Graphs - m.Scratch - m.Metadata - m.KV
	m.Blocks = int(blocks) * d.TP
	if d.BlocksGiven > 0 {
		m.Blocks = d.BlocksGiven
	}
	m.Tokens = m.Blocks / d.Heads() * d.BlockSize
	m.Concurrency = float64(m.Tokens/d.BlockSize) / float64((m.MaxModelLen+d.BlockSize-1)/d.BlockSize)
	if d.MaxModelLen > m.Tokens && !d.Compresses() {
		return m, fmt.Errorf("a request of %d tokens does not fit: the cache of %s on %s holds %d, and a server refuses to start: want a max_model_len of at most that, more cards, or more of their memory",
			d.MaxModelLen, d.Model.Name, d.Card.Name, m.Tokens)
	}
	return m, nil
}

// maxModelLen returns the tokens of the longest request: the model's context, where the
// deployment has no limit of its own.
func (d *Deployment) maxModelLen() int {
	if d.MaxModelLen > 0 {
		return d.MaxModelLen
	}
	return d.Model.MaxLen
}

// peakOf says what a peak is of, and fewer what makes it smaller.
func (d *Deployment) peakOf(part string) string {
	if part == PeakSampler {
		return fmt.Sprintf("sampling %d sequences", d.MaxSeqs)
	}
	return fmt.Sprintf("a prefill of %d tokens", d.MaxTokens)
}

func fewer(part string) string {
	if part == PeakSampler {
		return "fewer sequences at a time (max_num_seqs)"
	}
	return "fewer tokens in a batch (max_num_batched_tokens)"
}

func gb(n int64) string { return fmt.Sprintf("%.1f GB", float64(n)/1e9) }
