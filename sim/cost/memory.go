package cost

import (
	"cmp"
	"fmt"
	"sort"

	"kvcompress/internal/ceil"
	"kvcompress/internal/words"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Three figures of KV-Compress's server that no data sheet has, fitted to the block
// counts that follow from the largest batches published for it and for plain vLLM 0.6.0 on
// two cards (docs/cost-model.md).
const (
	// activationReserve is the memory that PyTorch's allocator has reserved when the server measures
	// its peak, as a multiple of the tensors of one layer.
	activationReserve = 1.2432

	// fixedBytes is the memory of its libraries and small tensors on each card.
	fixedBytes = 248_000_000

	// scratchPerKV is the number of bytes that a compression needs besides the cache for each slot
	// that it may sort: about an index of 32 bits.
	scratchPerKV = 3.75
)

// scratch returns the bytes that a compression needs outside the cache to sort slots.
func scratch(slots int) int64 { return int64(scratchPerKV * float64(slots)) }

// Memory says how one card's bytes are used.
type Memory struct {
	Card        int64 `json:"card_bytes"`                 // in all
	Reserved    int64 `json:"reserved_bytes"`             // beyond the utilisation, and so not used
	Weights     int64 `json:"weights_bytes"`              // of the model
	Activations int64 `json:"activations_bytes"`          // at their peak
	Fixed       int64 `json:"fixed_bytes"`                // outside PyTorch: CUDA's context, libraries, NCCL
	Graphs      int64 `json:"cuda_graphs_bytes"`          // of CUDA graphs, if the engine counts them
	Scratch     int64 `json:"scratch_bytes"`              // of compression
	Compressor  int64 `json:"compressor_bytes,omitempty"` // weights of a prompt compressor
	Metadata    int64 `json:"metadata_bytes"`             // of the method, for its blocks and slots
	KV          int64 `json:"kv_bytes"`                   // keys and values
	Unused      int64 `json:"unused_bytes"`               // less than a block; or more, if the number of blocks was given

	BlockKV       int `json:"block_kv_bytes"` // one block's keys and values
	BlockMetadata int `json:"block_metadata_bytes"`
	Blocks        int `json:"blocks"`              // of all cards, each of one head
	Tokens        int `json:"tokens"`              // tokens that the blocks hold uncompressed, with all heads
	Sequences     int `json:"sequences,omitempty"` // sequences whose states the blocks hold, if no layer has KVs

	Engine      Engine  `json:"engine"`          // whose memory profiling was followed
	Peak        string  `json:"peak_of"`         // what takes the activations: PeakPrefill or PeakSampler
	MaxModelLen int     `json:"max_model_len"`   // tokens of the longest request
	Concurrency float64 `json:"max_concurrency"` // uncompressed requests of that length that fit the blocks
	Longest     int     `json:"longest_request"` // tokens of the longest uncompressed request that can be served, at most MaxModelLen
}

// Memory returns how the bytes of a card are used. All cards of a tensor-parallel group have equal
// shares of the weights, heads and blocks. The error says what does not fit.
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
	m.Graphs = d.graphs(&p)
	m.Activations, m.Peak = d.peak(&p)
	m.BlockKV = d.blockKV()
	m.BlockMetadata = d.blockMetadata()
	perBlock := int64(m.BlockKV + m.BlockMetadata)
	ranks := d.ranks()
	if ranks && d.SortedKVs > 0 {
		m.Scratch = scratch(d.SortedKVs) / int64(d.TP)
	} else if ranks {
		perBlock += scratch(d.BlockSize) // every slot may be sorted at once
	}
	m.Compressor = d.compressorBytes()
	room := usable - m.Activations - m.Fixed - m.Graphs - m.Scratch - m.Compressor
	blocks, weights := d.share(room, perBlock, &p)
	m.Weights = weights
	room -= weights
	if given := int64(d.BlocksGiven); given > 0 {
		blocks = ceil.Div(given, int64(d.TP)) // for all layers, over the stages
	} else if room < 0 {
		return m, fmt.Errorf("%s does not fit on %d × %s: of %s (%.0f %% of each card), the weights take %s, the peak of %s %s, the rest %s: "+
			"want more cards (tensor parallelism), fewer bits a weight or %s",
			d.Model.Name, d.Cards(), d.Card.Name, gb(usable), 100*d.Utilization, gb(m.Weights), d.peakOf(m.Peak), gb(m.Activations), gb(m.Fixed+m.Graphs+m.Scratch+m.Compressor), d.fewer(m.Peak))
	}
	blocks = min(blocks, sim.MaxLedgerBlocks/int64(d.TP))
	held := blocks / int64(d.stages()) // on each card, on average over the stages
	m.KV = held * int64(m.BlockKV)
	m.Metadata = held * int64(m.BlockMetadata)
	if ranks && d.SortedKVs == 0 {
		m.Scratch = held * scratch(d.BlockSize)
	}
	m.Unused = usable - m.Compressor - m.Weights - m.Activations - m.Fixed - m.Graphs - m.Scratch - m.Metadata - m.KV
	m.Blocks = int(blocks) * d.TP
	if d.BlocksGiven > 0 {
		m.Blocks = d.BlocksGiven
	}
	return m, d.fits(&m)
}

// fits sets the numbers of tokens and of longest requests that the blocks hold. It is an error if
// MaxModelLen is set and not even one request of this length fits.
func (d *Deployment) fits(m *Memory) error {
	heads := d.Heads()
	if heads == 0 {
		m.Sequences = m.Blocks / d.TP
		m.Concurrency, m.Longest = float64(m.Sequences), m.MaxModelLen
		return nil
	}
	m.Tokens = m.Blocks / heads * d.BlockSize
	if d.Layout() != nil {
		m.Concurrency = float64(m.Blocks) / float64(d.need(m.MaxModelLen))
	} else {
		m.Concurrency = float64(m.Tokens/d.BlockSize) / float64(ceil.Div(m.MaxModelLen, d.BlockSize))
	}
	within := func(blocks int) int {
		return sort.Search(m.MaxModelLen, func(n int) bool { return d.need(n+1) > blocks })
	}
	m.Longest = within(d.servable(m.Blocks))
	if d.MaxModelLen == 0 || d.need(d.MaxModelLen) <= m.Blocks || d.Compresses() {
		return nil
	}
	holds := within(m.Blocks)
	why := ""
	if m.Longest < holds {
		why = ", of which vLLM V1 uses all blocks but one,"
	}
	if d.MaxTokens == d.maxModelLen() { // a smaller one leaves room for more: see fewer
		return fmt.Errorf("a request of %d tokens does not fit beside a batch of as many: the cache of %s on %s then holds one of at most %d, and a server refuses to start: want a smaller max_model_len, for which a batch takes less memory, or chunked prefill, %s",
			d.MaxModelLen, d.Model.Name, d.Card.Name, holds, d.more(m))
	}
	return fmt.Errorf("a request of %d tokens does not fit: the cache of %s on %s holds one of at most %d%s and a server refuses to start: want a max_model_len of at most %d, %s",
		d.MaxModelLen, d.Model.Name, d.Card.Name, holds, cmp.Or(why, ","), m.Longest, d.more(m))
}

// servable returns how many of a cache's blocks sequences can have. vLLM V1 counts its null block when it starts, and never uses
// it.
func (d *Deployment) servable(blocks int) int {
	if d.Server().Scheduler() != sim.VLLMV1 {
		return blocks
	}
	cfg := d.Config()
	cfg.Blocks = blocks
	return sim.V1Blocks(&cfg, d.Layout())
}

// need returns the blocks that a request of n tokens takes uncompressed.
func (d *Deployment) need(n int) int {
	layout := d.Layout()
	if layout == nil {
		return d.Heads() * ceil.Div(n, d.BlockSize)
	}
	window := ceil.Div(min(n, layout.Window), d.BlockSize)
	if d.Server().Scheduler() == sim.VLLMV1 && layout.Group > 0 {
		window = ceil.Div(min(n, layout.Window-1+d.MaxTokens), d.BlockSize) + 1 // a batch's tokens too; it may begin within a block
	}
	return layout.Full*ceil.Div(n, d.BlockSize) + layout.Windowed*window + layout.Fixed
}

// LongestRequest returns the tokens of the longest request that a server takes: MaxModelLen, or else the model's
// context; 0 if that is unbounded.
func (d *Deployment) LongestRequest() int {
	if n := d.maxModelLen(); n < catalog.Unbounded {
		return n
	}
	return 0
}

// maxModelLen returns the tokens of the longest request: the deployment's limit, or else the model's
// context.
func (d *Deployment) maxModelLen() int {
	if d.MaxModelLen > 0 {
		return d.MaxModelLen
	}
	return d.Model.MaxLen
}

// peakOf returns in words what takes the peak memory; fewer returns what would reduce it.
func (d *Deployment) peakOf(part string) string {
	if part == PeakSampler {
		return "sampling " + words.Count(d.MaxSeqs, "sequence")
	}
	return fmt.Sprintf("a prefill of %s", words.Count(d.MaxTokens, "token"))
}

func (d *Deployment) fewer(part string) string {
	switch {
	case part == PeakSampler:
		return "fewer sequences at a time (max_num_seqs)"
	case d.MaxTokens == d.maxModelLen():
		return "fewer tokens in a batch (max_num_batched_tokens, which without chunked prefill is by default max_model_len)"
	}
	return "fewer tokens in a batch (max_num_batched_tokens)"
}

// more returns in words what would make the cache larger.
func (d *Deployment) more(m *Memory) string {
	if d.BlocksGiven > 0 {
		return "or more blocks"
	}
	return fmt.Sprintf("more cards, more of their memory, or %s, whose peak is %s", d.fewer(m.Peak), gb(m.Activations))
}

func gb(n int64) string { return fmt.Sprintf("%.1f GB", float64(n)/1e9) }
