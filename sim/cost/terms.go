package cost

import (
	"slices"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Term is one component of the time of a step. Its time is a factor times the time at the card's peak,
// or for an overhead of the host a number of microseconds per unit.
type Term struct {
	ID       string  `json:"term"`
	What     string  `json:"what"`
	Overhead bool    `json:"overhead"` // the factor is in µs per unit, and not a multiple of the time at the peak
	Default  float64 `json:"default"`  // factor without a profile
	Fitted   bool    `json:"fitted"`   // [Calibrate] can fit it to throughputs of whole runs of KV-Compress's server
	Product  bool    `json:"product"`  // matrix products, or the reading of their weights, which may overlap: see Fit.Overlap

	peak func(*Deployment) unit
}

// unit is the nanoseconds, at the card's peak, for each unit of each feature.
type unit [sim.NumFeatures]float64

// read returns the time to read bytes that are divided over all cards. In a pipeline every stage reads
// its part at the same time, for another part of the batch.
func read(bytes float64, d *Deployment) float64 {
	return bytes / d.Card.Read * 1e9 / float64(d.Cards())
}

// readWeights returns the time to read weights in a step. In a pipeline the weights of all stages are
// read one after another, since a step of all sequences is one step of each part of the batch in each
// stage.
func readWeights(bytes float64, d *Deployment) float64 {
	return bytes / d.Card.Read * 1e9 / float64(d.TP)
}

// products returns the time of a token's products with the matrices of a kind, of those with the given inputs, each at the
// peak for these.
func products(d *Deployment, kind catalog.Kind, inputs ...catalog.Inputs) float64 {
	active := d.Model.OnCards(d.TP).Active(d.Weights, kind, &d.Card)
	ns := 0.0
	for _, in := range inputs {
		if n := active[in]; n > 0 {
			ns += 2 * float64(n) / d.Card.Flops(in) * 1e9 / float64(d.Cards())
		}
	}
	return ns
}

// expertLayers returns the number of layers with experts, times the part of the experts' products that have the given inputs.
func expertLayers(d *Deployment, in catalog.Inputs) float64 {
	active := d.Model.Active(d.Weights, catalog.Routed, &d.Card)
	if active[in] == 0 {
		return 0
	}
	all := int64(0)
	for _, n := range active {
		all += n
	}
	return float64(d.Model.ExpertLayers()) * float64(active[in]) / float64(all)
}

// attends returns the time of a (query, key) pair in this many layers. pair is the elements of one query head's
// products with a key and with a value.
func attends(d *Deployment, layers, pair int) float64 {
	m := &d.Model
	return 2 * float64(layers*m.QueryHeads()*pair) / d.Card.Flops16 * 1e9 / float64(d.Cards())
}

// globalPair returns the elements of a pair in the layers that keep every token.
func (d *Deployment) globalPair() int {
	m := &d.Model
	if m.Global.KVHeads == 0 {
		return m.Pair
	}
	return m.Pair / m.Shape.HeadSize * m.Global.Size
}

// indexes returns the time of a (query, key) pair in the layers with an indexer: the products of its heads, in 8
// bits. Every card of a tensor-parallel group computes all of them.
func indexes(d *Deployment) float64 {
	x := &d.Model.Indexer
	return 2 * float64(x.Layers*x.Heads*x.Size) / d.Card.Flops(d.Card.Inputs(catalog.FP8.Format())) * 1e9 / float64(d.stages())
}

// readsKVs sets the times to read what decode attention reads.
func (d *Deployment) readsKVs(u *unit) {
	u[sim.KVsRead] = read(float64(d.attentionBytes()), d)
	u[sim.QuantizedBytesRead] = read(min(1, d.quantizeBytes()+d.mergeBytes()), d) // at most a byte per byte; 0 if there are none
}

func perUnit(f sim.Feature, ns func(*Deployment) float64) func(*Deployment) unit {
	return func(d *Deployment) unit {
		var u unit
		u[f] = ns(d)
		return u
	}
}

func overhead(f sim.Feature) func(*Deployment) unit {
	return perUnit(f, func(*Deployment) float64 { return 1e3 })
}

// ofServer returns an overhead of KV-Compress's server in every step, whether it compresses or not: see
// docs/cost-model.md. On other engines a method, projected as if it were ported, has this overhead only
// in steps that compress.
func ofServer(every, compressed sim.Feature) func(*Deployment) unit {
	return func(d *Deployment) unit {
		cfg := d.Config()
		switch {
		case !cfg.Compresses():
			return unit{}
		case cfg.CountsBlocks():
			return overhead(every)(d)
		default:
			return overhead(compressed)(d)
		}
	}
}

// Terms returns the terms, in the order in which they are printed.
//
// The defaults of the fitted terms are a fit to the rows of the L4 in IsaacRe/vllm-kvcompress's throughput
// benchmark (vLLM 0.6.0 in eager mode, Llama-3.1-8B), rounded: kvc calibrate --gpu l4. Those of the
// others are two thirds of the card's bandwidth, or 0. [DefaultProfile] has other factors for some cards.
func Terms() []Term {
	const twoThirds = 1.5
	return []Term{
		{ID: "weights", What: "reading the weights, in every step", Default: 1.35, Fitted: true, Product: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 {
				return readWeights(float64(d.Model.OnCards(d.TP).StepBytes(d.Weights)), d)
			})},
		{ID: "expert_weights", What: "reading the experts to which a step's tokens are routed", Default: 1.35, Fitted: true, Product: true,
			peak: perUnit(sim.ExpertsRead, func(d *Deployment) float64 {
				return readWeights(float64(d.Model.ExpertBytes(d.Weights)), d) / sim.ExpertUnit
			})},
		{ID: "gemm", What: "matrix products of prompts, in 16 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Linear, catalog.In16, catalog.Unpacked) })},
		{ID: "gemm8", What: "matrix products of prompts, in 8 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Linear, catalog.In8) })},
		{ID: "gemm4", What: "matrix products of prompts, in 4 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Linear, catalog.In4) })},
		{ID: "expert_gemm", What: "matrix products of prompts with experts, in 16 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Routed, catalog.In16) })},
		{ID: "expert_gemm_unpacked", What: "matrix products of prompts with experts in fewer bits, unpacked to 16", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Routed, catalog.Unpacked) })},
		{ID: "expert_gemm8", What: "matrix products of prompts with experts, in 8 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Routed, catalog.In8) })},
		{ID: "expert_gemm8x4", What: "matrix products of prompts with experts, of 8 with 4 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Routed, catalog.In8x4) })},
		{ID: "expert_gemm4", What: "matrix products of prompts with experts, in 4 bits", Default: 3.69, Fitted: true, Product: true,
			peak: perUnit(sim.PrefillTokens, func(d *Deployment) float64 { return products(d, catalog.Routed, catalog.In4) })},
		{ID: "attention", What: "attention of prompts", Default: 1.92, Fitted: true,
			peak: func(d *Deployment) unit {
				if d.Model.Indexer.Tokens > 0 { // the indexer scores all pairs, and the layers attend to the tokens that it chooses
					return unit{sim.AttentionPairs: indexes(d), sim.WindowPairs: attends(d, len(d.Model.Layers), d.Model.Pair)}
				}
				return unit{
					sim.AttentionPairs: attends(d, d.attentionLayers(catalog.Full), d.globalPair()),
					sim.WindowPairs:    attends(d, d.attentionLayers(catalog.Windowed), d.Model.Pair),
				}
			}},
		{ID: "kv", What: "reading keys and values of 16 bits and keys of an indexer, in decode attention, and reading and writing states", Default: 1.69, Fitted: true,
			peak: func(d *Deployment) unit {
				states := d.Model.Count(catalog.Stateful) * d.Model.State.Bytes()
				u := unit{sim.DecodeSeqs: read(float64(2*states), d), sim.IndexKeysRead: read(d.indexBytes(), d)}
				if d.KV.Size() == 2 {
					d.readsKVs(&u)
				}
				return u
			}},
		{ID: "kv8", What: "reading keys and values of 8 bits, in decode attention", Default: 1.69, Fitted: true,
			peak: func(d *Deployment) (u unit) {
				if d.KV.Size() == 1 {
					d.readsKVs(&u)
				}
				return u
			}},
		{ID: "decode_gemm", What: "matrix products of decoding sequences, and what else each of them adds", Default: 3.76, Fitted: true, Product: true,
			peak: perUnit(sim.DecodeSeqs, func(d *Deployment) float64 {
				all := catalog.AllInputs()
				return products(d, catalog.Linear, all...) + products(d, catalog.Routed, all...)
			})},
		{ID: "compression", What: "what a server that compresses does in every step", Overhead: true, Default: 11.2e3, Fitted: true,
			peak: ofServer(sim.Steps, sim.CompressionSteps)},
		{ID: "compressed_sequence", What: "what it does for every sequence", Overhead: true, Default: 0, Fitted: true,
			peak: ofServer(sim.DecodeSeqs, sim.CompressedSeqs)},
		{ID: "metrics", What: "collecting metrics from prompts: two passes over the window's attention in 32 bits", Default: twoThirds,
			peak: perUnit(sim.MetricPairs, func(d *Deployment) float64 {
				return read(float64(d.Model.Shape.Layers*d.Model.QueryHeads()*4*2*2), d)
			})},
		{ID: "sort", What: "sorting KVs: eight passes over key and index", Default: twoThirds,
			peak: perUnit(sim.KVsSorted, func(d *Deployment) float64 { return read(8*8, d) })},
		{ID: "moves", What: "moving KVs: read and written", Default: twoThirds,
			peak: func(d *Deployment) unit {
				cfg := d.Config()
				return unit{sim.KVsMoved: read(float64(2*cfg.MoveBytes()), d), sim.KVsEvicted: read(float64(d.foldedBytes()), d)}
			}},
		{ID: "quantize", What: "quantizing keys and values: read, and their codes, scales and minima written", Default: twoThirds,
			peak: perUnit(sim.Quantized, func(d *Deployment) float64 { return read(d.quantizeBytes(), d) })},
		{ID: "merge", What: "merging keys and values of two layers: read, and directions, norms and retained tokens written", Default: twoThirds,
			peak: perUnit(sim.Merged, func(d *Deployment) float64 { return read(d.mergeBytes(), d) })},
		{ID: "blocks", What: "metadata of freed blocks: read and written", Default: twoThirds,
			peak: perUnit(sim.BlocksFreed, func(d *Deployment) float64 {
				cfg := d.Config()
				return read(float64(2*cfg.MetadataBytes(1)), d)
			})},
		{ID: allReduce, What: "adding up the parts of a tensor-parallel group, twice a layer, and passing on what a stage of a pipeline computed", Default: twoThirds,
			peak: func(d *Deployment) unit {
				var u unit
				if d.TP > 1 {
					bytes := 2 * d.Model.Blocks() * float64(d.Model.Hidden*2) * 2 * float64(d.TP-1) / float64(d.TP)
					u[sim.PrefillTokens] = bytes / d.Card.LinkOf(d.TP) * 1e9 / float64(d.stages())
				}
				if n := d.stages(); n > 1 { // the hidden state, sent from each stage to the next
					u[sim.PrefillTokens] += float64(2*d.Model.Hidden) * float64(n-1) / float64(n) / d.Card.LinkOf(d.Cards()) * 1e9
				}
				u[sim.DecodeSeqs] = u[sim.PrefillTokens]
				return u
			}},
		{ID: "host", What: "fetching KVs from the host's memory", Default: twoThirds,
			peak: perUnit(sim.DecodeSeqs, (*Deployment).fetches)},
		{ID: "prompt_compression", What: "compressing prompts before the model reads them", Default: twoThirds,
			peak: perUnit(sim.PrefillTokens, (*Deployment).compressesPrompt)},
		{ID: "step", What: "launching a step", Overhead: true, peak: overhead(sim.Steps)},
		{ID: "prefill", What: "launching a prefill", Overhead: true, peak: overhead(sim.PrefillSteps)},
		{ID: "sequence", What: "the host's work for each decoding sequence", Overhead: true, peak: overhead(sim.DecodeSeqs)},
		{ID: "prompt", What: "scheduling a prompt", Overhead: true, peak: overhead(sim.PrefillSeqs)},
		{ID: "layer", What: "launching a layer, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * d.Model.Blocks() })},
		{ID: "expert_layer", What: "routing and launching a layer with experts whose products are in 16 bits, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * expertLayers(d, catalog.In16) })},
		{ID: "expert_layer_unpacked", What: "routing and launching a layer with experts in fewer bits, unpacked to 16, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * expertLayers(d, catalog.Unpacked) })},
		{ID: "expert_layer8", What: "routing and launching a layer with experts whose products are in 8 bits, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * expertLayers(d, catalog.In8) })},
		{ID: "expert_layer8x4", What: "routing and launching a layer with experts whose products are of 8 with 4 bits, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * expertLayers(d, catalog.In8x4) })},
		{ID: "expert_layer4", What: "routing and launching a layer with experts whose products are in 4 bits, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * expertLayers(d, catalog.In4) })},
		{ID: "latent_layer", What: "launching the additional products of a layer with multi-head latent attention, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * float64(d.Model.LatentLayers()) })},
		{ID: "indexer_layer", What: "launching an indexer's products and the choice of tokens in a layer with one, in every step", Overhead: true,
			peak: perUnit(sim.Steps, func(d *Deployment) float64 { return 1e3 * float64(d.Model.Indexer.Layers) })},
		{ID: "elementwise", What: "norms, residuals and activations, read and written between the products",
			peak: func(d *Deployment) unit {
				m := &d.Model
				bytes := 2 * m.Blocks() * (8*float64(m.Hidden) + 3*float64(m.Intermediate)/float64(d.TP))
				bytes += 2 * float64(m.Depth.Read) * float64(m.Hidden)
				ns := bytes / d.Card.Read * 1e9
				return unit{sim.PrefillTokens: ns, sim.DecodeSeqs: ns}
			}},
		{ID: "all_reduce_latency", What: "waiting for the other cards of a tensor-parallel group, twice a layer", Overhead: true,
			peak: func(d *Deployment) unit {
				var u unit
				if d.TP > 1 {
					u[sim.Steps] = 1e3 * 2 * d.Model.Blocks()
				}
				return u
			}},
		{ID: RequestTerm, What: "the client's and the API's part of the time to first token", Overhead: true, peak: func(*Deployment) unit { return unit{} }},
	}
}

// ns returns the time of work at a factor of 1.
func (u *unit) ns(w *sim.Work) float64 {
	t := 0.0
	for f, n := range w {
		t += u[f] * float64(n)
	}
	return t
}

// allReduce is the term of the bytes that the cards of a tensor-parallel group exchange. Only runs on
// several cards have it.
const allReduce = "all_reduce"

// Factors are the factors of terms, by ID.
type Factors map[string]float64

// parts are terms that differ only in the format of what is read or multiplied, or in whether it is of experts. Those
// without a factor take that of the first of them that has one, or else of the first of others.
var parts = []struct{ terms, others []string }{
	{[]string{"weights", "expert_weights"}, nil},
	{denseProducts, expertProducts},
	{expertProducts, denseProducts},
	{[]string{"expert_layer", "expert_layer_unpacked", "expert_layer8", "expert_layer8x4", "expert_layer4"}, nil},
	{[]string{"kv", "kv8"}, nil},
}

var (
	denseProducts  = []string{"gemm", "gemm8", "gemm4"}
	expertProducts = []string{"expert_gemm", "expert_gemm_unpacked", "expert_gemm8", "expert_gemm8x4", "expert_gemm4"}
)

// share sets the factors of parts that are not known to that of one that is.
func (f Factors) share(known func(id string) bool) {
	for _, p := range parts {
		all := slices.Concat(p.terms, p.others)
		i := slices.IndexFunc(all, known)
		if i < 0 {
			continue
		}
		for _, id := range p.terms {
			if !known(id) {
				f[id] = f[all[i]]
			}
		}
	}
}

// DefaultFactors returns the default of each term.
func DefaultFactors() Factors {
	f := Factors{}
	for _, t := range Terms() {
		f[t.ID] = t.Default
	}
	return f
}

// RequestTerm is the only term that is not part of a step: it adds to a request's time to first token and
// to its end-to-end latency.
const RequestTerm = "request"
