package cost

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// roundCard is a card whose figures are powers of ten, so that a byte, an operation and a byte
// over a link take a round time.
func roundCard() catalog.Card {
	return catalog.Card{Name: "round", Memory: 1 << 38, Read: 1e12, Flops16: 1e14, Flops8: 2e14, Flops4: 4e14, FlopsMX: 1e15, Link: 1e11, Network: 1e10, Host: 1e10}
}

func onRoundCard(t *testing.T, model string, change func(*Deployment)) *Deployment {
	t.Helper()
	m, err := catalog.FindModel(model)
	if err != nil {
		t.Fatal(err)
	}
	d := New(m, roundCard())
	if change != nil {
		change(&d)
	}
	return &d
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-12*math.Abs(want) }

// Figures of Llama-3.1-8B: 32 layers, hidden 4096, intermediate 14336, 32 query heads, 8 KV
// heads of 128, a vocabulary of 128,256.
const (
	layerWeights  = 4096*(4096+1024+1024+4096) + 3*4096*14336 // of the matrices of a layer
	tokenWeights  = 32 * layerWeights
	readBytes     = 2 * (8_030_261_248 - 128_256*4096) // all but the embedding table
	expertWeights = 32 * 3 * 4096 * 14336              // Mixtral: one expert in each layer
)

// TestTermsByHand compares the time of a unit of each feature in each term, at a factor of 1, in
// nanoseconds, with values worked out by hand. Other features take no time in the term.
func TestTermsByHand(t *testing.T) {
	type cost = map[sim.Feature]float64
	tp := func(n int) func(*Deployment) { return func(d *Deployment) { d.TP = n } }
	pp := func(tp, pp int) func(*Deployment) { return func(d *Deployment) { d.TP, d.PP = tp, pp } }
	weights := func(w catalog.Weights) func(*Deployment) { return func(d *Deployment) { d.Weights = w } }
	method := func(name string, tp int) func(*Deployment) {
		return func(d *Deployment) {
			d.TP = tp
			d.Method = ref.Config{Method: name, Compression: ref.Compression{MaxCacheTokens: 128}}
		}
	}
	kivi := func(d *Deployment) { d.TP, d.Method = 1, ref.Config{Method: "kivi"} }
	both := func(d *Deployment) {
		d.TP, d.Method = 1, ref.Config{Method: "minicache+kivi", Set: ref.Settings{"gamma": []byte("0.25")}}
	}
	merged := func(d *Deployment) {
		d.TP, d.Method = 1, ref.Config{Method: "minicache", Set: ref.Settings{"gamma": []byte("0.25")}}
	}
	halfIn8 := func(d *Deployment) { // the MLPs in 8 bits, the rest in 16
		d.Model.Modules = slices.Clone(d.Model.Modules)
		for i := range d.Model.Modules {
			if m := &d.Model.Modules[i]; m.In == 14336 || m.Out == 14336 {
				m.Format = catalog.FP8.Format()
			}
		}
	}
	someIn8 := func(d *Deployment) { // the experts of 8 of 32 layers in 8 bits
		d.Model.Modules = slices.Clone(d.Model.Modules)
		for i := range d.Model.Modules {
			if m := &d.Model.Modules[i]; m.Kind == catalog.Routed && m.Layer < 8 {
				m.Format = catalog.FP8.Format()
			}
		}
	}
	kv8 := func(d *Deployment) { d.KV = dtype.E4M3 }
	const llama = "llama-3.1-8b"
	for _, c := range []struct {
		term, model string
		change      func(*Deployment)
		want        cost
	}{
		{"weights", llama, nil, cost{sim.Steps: readBytes / 1e3}},
		{"weights", llama, tp(2), cost{sim.Steps: readBytes / 2e3}},
		{"weights", llama, pp(1, 2), cost{sim.Steps: readBytes / 1e3}}, // stages one after another
		{"weights", "mixtral-8x7b", nil, cost{
			sim.Steps: 2 * (46_702_792_704 - 8*expertWeights - 32_000*4096) / 1e3}},
		{"weights", "mixtral-8x7b", tp(2), cost{
			sim.Steps: 2 * (46_702_792_704 - 8*expertWeights - 32_000*4096 + 32*4096*8) / 2e3}}, // both cards have the routers
		{"expert_weights", llama, nil, cost{}},
		{"expert_weights", "mixtral-8x7b", nil, cost{sim.ExpertsRead: 2 * expertWeights / 1e3 / 1024}},
		{"expert_weights", "mixtral-8x7b", tp(2), cost{sim.ExpertsRead: 2 * expertWeights / 2e3 / 1024}},
		{"expert_weights", "mixtral-8x7b", pp(1, 2), cost{sim.ExpertsRead: 2 * expertWeights / 1e3 / 1024}}, // stages one after another

		{"gemm", llama, nil, cost{sim.PrefillTokens: 2 * tokenWeights / 1e5}},
		{"gemm", llama, tp(2), cost{sim.PrefillTokens: 2 * tokenWeights / 2e5}},
		{"gemm", llama, pp(2, 2), cost{sim.PrefillTokens: 2 * tokenWeights / 4e5}},
		{"gemm", llama, weights("int4"), cost{sim.PrefillTokens: 2 * tokenWeights / 1e5}}, // the inputs have 16 bits
		{"gemm", llama, weights(catalog.FP8), cost{}},
		{"gemm", "mixtral-8x7b", nil, cost{sim.PrefillTokens: 2 * 32 * (4096*(4096+1024+1024+4096) + 8*4096) / 1e5}}, // attention and the router
		{"gemm8", llama, nil, cost{}},
		{"gemm8", llama, weights(catalog.FP8), cost{sim.PrefillTokens: 2 * tokenWeights / 2e5}},
		{"gemm8", llama, weights("nvfp4"), cost{}},
		{"gemm4", llama, weights(catalog.FP8), cost{}},
		{"gemm4", llama, weights("nvfp4"), cost{sim.PrefillTokens: 2 * tokenWeights / 4e5}},
		{"expert_gemm", llama, nil, cost{}},
		{"expert_gemm", "mixtral-8x7b", nil, cost{sim.PrefillTokens: 2 * 2 * expertWeights / 1e5}}, // two experts a token
		{"expert_gemm", "mixtral-8x7b", weights(catalog.FP8), cost{}},
		{"expert_gemm", "mixtral-8x7b", weights("int4"), cost{}},
		{"expert_gemm_unpacked", "mixtral-8x7b", weights("int4"), cost{sim.PrefillTokens: 2 * 2 * expertWeights / 1e5}},
		{"expert_gemm_unpacked", "mixtral-8x7b", weights("mxfp4"), cost{}},
		{"expert_gemm8", "mixtral-8x7b", nil, cost{}},
		{"expert_gemm8", "mixtral-8x7b", weights(catalog.FP8), cost{sim.PrefillTokens: 2 * 2 * expertWeights / 2e5}},
		{"gemm", llama, weights("mxfp4"), cost{sim.PrefillTokens: 2 * tokenWeights / 1e5}}, // which only experts have kernels for
		{"expert_gemm8x4", "mixtral-8x7b", weights("mxfp4"), cost{sim.PrefillTokens: 2 * 2 * expertWeights / 1e6}},
		{"expert_gemm8x4", "mixtral-8x7b", weights("nvfp4"), cost{}},
		{"expert_gemm8", "mixtral-8x7b", weights("mxfp4"), cost{}},
		{"expert_gemm4", "mixtral-8x7b", weights(catalog.FP8), cost{}},
		{"expert_gemm4", "mixtral-8x7b", weights("nvfp4"), cost{sim.PrefillTokens: 2 * 2 * expertWeights / 4e5}},
		{"gemm", llama, halfIn8, cost{sim.PrefillTokens: 2 * 32 * 4096 * (4096 + 1024 + 1024 + 4096) / 1e5}},
		{"gemm8", llama, halfIn8, cost{sim.PrefillTokens: 2 * 32 * 3 * 4096 * 14336 / 2e5}},
		{"decode_gemm", llama, nil, cost{sim.DecodeSeqs: 2 * tokenWeights / 1e5}},
		{"decode_gemm", llama, tp(2), cost{sim.DecodeSeqs: 2 * tokenWeights / 2e5}},
		{"decode_gemm", "mixtral-8x7b", weights("mxfp4"), cost{sim.DecodeSeqs: 2*32*(4096*(4096+1024+1024+4096)+8*4096)/1e5 + 2*2*expertWeights/1e6}},
		{"decode_gemm", llama, halfIn8, cost{sim.DecodeSeqs: 2*32*4096*(4096+1024+1024+4096)/1e5 + 2*32*3*4096*14336/2e5}},
		{"decode_gemm", "mixtral-8x7b", weights(catalog.FP8), cost{sim.DecodeSeqs: 2 * (32*(4096*(4096+1024+1024+4096)+8*4096) + 2*expertWeights) / 2e5}},

		{"attention", llama, nil, cost{sim.AttentionPairs: 2 * 32 * 32 * (128 + 128) / 1e5}},
		{"attention", llama, tp(2), cost{sim.AttentionPairs: 2 * 32 * 32 * (128 + 128) / 2e5}},
		{"attention", "mistral-7b-v0.1", nil, cost{sim.WindowPairs: 2 * 32 * 32 * (128 + 128) / 1e5}},
		{"attention", "gpt-oss-20b", nil, cost{sim.AttentionPairs: 2 * 12 * 64 * (64 + 64) / 1e5, sim.WindowPairs: 2 * 12 * 64 * (64 + 64) / 1e5}},

		// An indexer of 32 heads in 21 of 78 layers scores all pairs, and 64 heads of all layers attend to a latent.
		{"attention", "glm-5.2-fp8", nil, cost{sim.AttentionPairs: 2 * 21 * 32 * 128 / 2e5, sim.WindowPairs: 2 * 78 * 64 * (576 + 512) / 1e5}},
		{"kv", "glm-5.2-fp8", nil, cost{sim.KVsRead: 576 * 2 / 1e3, sim.IndexKeysRead: 132 * 21 / 78. / 1e3}},
		{"kv", llama, nil, cost{sim.KVsRead: 2 * 128 * 2 / 1e3}},
		{"kv", llama, tp(2), cost{sim.KVsRead: 2 * 128 * 2 / 2e3}},
		{"kv", "deepseek-v3", tp(1), cost{sim.KVsRead: 576 * 2 / 1e3}},
		{"kv", "jamba-v0.1", nil, cost{sim.KVsRead: 2 * 128 * 2 / 1e3, sim.DecodeSeqs: 28 * 2 * 311_296 / 1e3}}, // a state read and written

		{"kv", llama, kv8, cost{}},
		{"kv8", llama, kv8, cost{sim.KVsRead: 2 * 128 / 1e3}},
		{"kv8", llama, nil, cost{}},
		{"kv8", llama, kivi, cost{}},

		{"kv", llama, kivi, cost{sim.KVsRead: 2 * 128 * 2 / 1e3, sim.QuantizedBytesRead: 1 / 1e3}},
		// 128 elements of 2 bytes are read; 32 bytes of codes and 4 scales and minima of 2 bytes written.
		{"quantize", llama, kivi, cost{sim.Quantized: (256. + 32 + 16) / 1e3}},
		{"quantize", llama, nil, cost{}},
		{"kv", llama, merged, cost{sim.KVsRead: 2 * 128 * 2 / 1e3, sim.QuantizedBytesRead: 1 / 1e3}},
		// 128 elements of 2 bytes are read; half of a direction and two norms of 4 bytes written, and a quarter of a row with an index of 4.
		{"merge", llama, merged, cost{sim.Merged: (256. + (256+8)/2. + (256+4)/4.) / 1e3}},
		{"merge", llama, kivi, cost{}},
		{"merge", llama, both, cost{sim.Merged: (256. + (64+16+8)/2. + (256+4)/4.) / 1e3}},
		{"quantize", llama, both, cost{sim.Quantized: (256. + 64 + 16) / 1e3}},

		{"compression", llama, nil, cost{}},
		{"compression", llama, method("", 1), cost{sim.Steps: 1000}},
		{"compression", llama, method("snapkv", 1), cost{sim.CompressionSteps: 1000}},
		{"compressed_sequence", llama, nil, cost{}},
		{"compressed_sequence", llama, method("", 1), cost{sim.DecodeSeqs: 1000}},
		{"compressed_sequence", llama, method("snapkv", 1), cost{sim.CompressedSeqs: 1000}},

		{"metrics", llama, method("", 1), cost{sim.MetricPairs: 32 * 32 * 4 * 2 * 2 / 1e3}},
		{"metrics", llama, method("", 2), cost{sim.MetricPairs: 32 * 32 * 4 * 2 * 2 / 2e3}},
		{"sort", llama, method("", 1), cost{sim.KVsSorted: 64 / 1e3}},
		{"sort", llama, method("", 2), cost{sim.KVsSorted: 64 / 2e3}},
		{"moves", llama, method("", 1), cost{sim.KVsMoved: 2 * (512 + 4 + 4) / 1e3}}, // K and V, position, metric
		{"moves", llama, method("", 2), cost{sim.KVsMoved: 2 * (512 + 4 + 4) / 2e3}},
		{"moves", llama, method("streaming-llm", 1), cost{sim.KVsMoved: 2 * (512 + 4) / 1e3}},
		{"blocks", llama, method("", 1), cost{sim.BlocksFreed: 2 * (21 + 16*(12+8*4)) / 1e3}},
		{"blocks", llama, method("", 2), cost{sim.BlocksFreed: 2 * (21 + 16*(12+8*4)) / 2e3}},

		// A ring: each of n cards sends 2(n−1)/n of the sum; two sums a layer of 4096 · 2 bytes.
		{"all_reduce", llama, nil, cost{}},
		{"all_reduce", llama, tp(2), cost{sim.PrefillTokens: 64 * 8192 * 1.0 / 100, sim.DecodeSeqs: 64 * 8192 * 1.0 / 100}},
		{"all_reduce", llama, tp(4), cost{sim.PrefillTokens: 64 * 8192 * 1.5 / 100, sim.DecodeSeqs: 64 * 8192 * 1.5 / 100}},
		{"all_reduce", llama, tp(16), cost{sim.PrefillTokens: 64 * 8192 * 1.875 / 10, sim.DecodeSeqs: 64 * 8192 * 1.875 / 10}}, // over the network
		{"all_reduce", llama, pp(1, 2), cost{sim.PrefillTokens: 8192 * 0.5 / 100, sim.DecodeSeqs: 8192 * 0.5 / 100}},
		{"all_reduce", llama, pp(1, 4), cost{sim.PrefillTokens: 8192 * 0.75 / 100, sim.DecodeSeqs: 8192 * 0.75 / 100}},
		{"all_reduce", llama, pp(2, 2), cost{sim.PrefillTokens: (32*8192 + 4096) / 100., sim.DecodeSeqs: (32*8192 + 4096) / 100.}},
		// Stages of 4 cards are linked, and 4 of them are not: the hidden state goes over the network, the sums do not.
		{"all_reduce", llama, pp(4, 4), cost{sim.PrefillTokens: 64*8192*1.5/100/4 + 8192*0.75/10, sim.DecodeSeqs: 64*8192*1.5/100/4 + 8192*0.75/10}},
		{"all_reduce", llama, pp(1, 16), cost{sim.PrefillTokens: 8192 * 0.9375 / 10, sim.DecodeSeqs: 8192 * 0.9375 / 10}},
		{"all_reduce_latency", llama, nil, cost{}},
		{"all_reduce_latency", llama, tp(2), cost{sim.Steps: 64 * 1000}},
		{"all_reduce_latency", llama, tp(8), cost{sim.Steps: 64 * 1000}},

		{"step", llama, nil, cost{sim.Steps: 1000}},
		{"prefill", llama, nil, cost{sim.PrefillSteps: 1000}},
		{"sequence", llama, nil, cost{sim.DecodeSeqs: 1000}},
		{"prompt", llama, nil, cost{sim.PrefillSeqs: 1000}},
		{"layer", llama, nil, cost{sim.Steps: 32_000}},
		{"layer", llama, tp(2), cost{sim.Steps: 32_000}},
		{"latent_layer", "mixtral-8x7b", nil, cost{}},
		{"latent_layer", "deepseek-v3", nil, cost{sim.Steps: 61_000}},
		{"latent_layer", "deepseek-v3", tp(2), cost{sim.Steps: 61_000}},
		{"expert_layer", llama, nil, cost{}},
		{"expert_layer", "mixtral-8x7b", nil, cost{sim.Steps: 32_000}},
		{"expert_layer", "mixtral-8x7b", tp(2), cost{sim.Steps: 32_000}},
		{"indexer_layer", "deepseek-v3", nil, cost{}},
		{"indexer_layer", "deepseek-v3.2", nil, cost{sim.Steps: 61_000}},
		{"expert_layer", "mixtral-8x7b", nil, cost{sim.Steps: 32_000}},
		{"expert_layer", "mixtral-8x7b", weights("int4"), cost{}},
		{"expert_layer_unpacked", "mixtral-8x7b", weights("int4"), cost{sim.Steps: 32_000}},
		{"expert_layer", "deepseek-v3", nil, cost{}},                   // which is in 8 bits
		{"expert_layer8", "deepseek-v3", nil, cost{sim.Steps: 58_000}}, // the first 3 of 61 layers are dense
		{"expert_layer8", "mixtral-8x7b", nil, cost{}},
		{"expert_layer", "mixtral-8x7b", someIn8, cost{sim.Steps: 24_000}},
		{"expert_layer8", "mixtral-8x7b", someIn8, cost{sim.Steps: 8_000}},
		{"expert_layer4", "mixtral-8x7b", weights("nvfp4"), cost{sim.Steps: 32_000}},
		{"expert_layer8x4", "mixtral-8x7b", weights("mxfp4"), cost{sim.Steps: 32_000}},
		{"expert_layer8x4", "mixtral-8x7b", weights("int4"), cost{}},
		{"elementwise", llama, nil, cost{sim.PrefillTokens: 64 * (8*4096 + 3*14336) / 1e3, sim.DecodeSeqs: 64 * (8*4096 + 3*14336) / 1e3}},
		{"elementwise", llama, tp(2), cost{sim.PrefillTokens: 64 * (8*4096 + 3*7168) / 1e3, sim.DecodeSeqs: 64 * (8*4096 + 3*7168) / 1e3}},
		{RequestTerm, llama, tp(2), cost{}},
	} {
		d := onRoundCard(t, c.model, c.change)
		i := slices.IndexFunc(Terms(), func(term Term) bool { return term.ID == c.term })
		for f, got := range Terms()[i].peak(d) {
			if want := c.want[sim.Feature(f)]; !near(got, want) {
				t.Errorf("%s of %s on %d × %d, method %q: %s takes %v ns, want %v", c.term, c.model, d.TP, d.stages(), d.Method.Method, sim.Feature(f), got, want)
			}
		}
	}
}

// TestDefaultFactors checks every default, and that factors of a peak start within their bounds.
func TestDefaultFactors(t *testing.T) {
	want := Factors{
		"weights": 1.35, "expert_weights": 1.35, "gemm": 3.69, "gemm8": 3.69, "gemm4": 3.69, "expert_gemm": 3.69, "expert_gemm_unpacked": 3.69, "expert_gemm8": 3.69, "expert_gemm8x4": 3.69, "expert_gemm4": 3.69, "attention": 1.92, "kv": 1.69, "kv8": 1.69, "decode_gemm": 3.76, "compression": 11.2e3, "compressed_sequence": 0,
		"metrics": 1.5, "sort": 1.5, "moves": 1.5, "quantize": 1.5, "merge": 1.5, "blocks": 1.5, "all_reduce": 1.5, "host": 1.5, "prompt_compression": 1.5,
		"step": 0, "prefill": 0, "sequence": 0, "prompt": 0, "layer": 0, "expert_layer": 0, "expert_layer_unpacked": 0, "expert_layer8": 0, "expert_layer8x4": 0, "expert_layer4": 0, "latent_layer": 0, "indexer_layer": 0, "elementwise": 0, "all_reduce_latency": 0, "request": 0,
	}
	if got := DefaultFactors(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	for id, v := range map[string]float64{
		"weights": 1.1, "expert_weights": 1.1, "gemm": 1.5, "gemm8": 1.5, "gemm4": 1.5, "expert_gemm": 3, "expert_gemm_unpacked": 3, "expert_gemm8": 3, "expert_gemm8x4": 3, "expert_gemm4": 3, "decode_gemm": 1.5, "attention": 3, "kv": 1.3, "kv8": 1.3, "elementwise": 1.2, "all_reduce": 1.5,
		"layer": 15, "expert_layer": 15, "expert_layer_unpacked": 15, "expert_layer8": 15, "expert_layer8x4": 15, "expert_layer4": 15, "latent_layer": 15, "indexer_layer": 15, "all_reduce_latency": 10, "step": 1000, "prefill": 100, "sequence": 30, "prompt": 100, RequestTerm: 20_000,
	} {
		want[id] = v
	}
	if got := ServerFactors(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("a fit starts with %v\nwant %v", got, want)
	}
	for _, term := range Terms() {
		start := ServerFactors()[term.ID]
		if !term.Overhead && start < 1 || start < 0 {
			t.Errorf("a fit starts with %v for %s", start, term.ID)
		}
	}
}

// TestCostsByHand checks two terms of one feature, each with a factor, and their sum.
func TestCostsByHand(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.TP = 2 })
	f := &Fit{Factors: Factors{"weights": 2, "layer": 3, "step": 5, "all_reduce_latency": 7, "gemm": 11, "all_reduce": 13}}
	rates, products, err := d.Costs(f)
	if err != nil || products != nil {
		t.Fatal(products != nil, err)
	}
	for feature, want := range map[sim.Feature]float64{
		sim.Steps:         2*readBytes/2e3 + 3*32_000 + 5*1000 + 7*64_000,
		sim.PrefillTokens: 11*2*tokenWeights/2e5 + 13*64*8192/100.,
		sim.DecodeSeqs:    13 * 64 * 8192 / 100.,
		sim.KVsRead:       0,
	} {
		if got := float64(rates[feature]) / sim.TicksPerNS; math.Abs(got-want) > 1./sim.TicksPerNS {
			t.Errorf("%s: %v ns, want %v", feature, got, want)
		}
	}
}

// TestParts: terms that are parts of one take the factor of the first part that has one, in a profile that
// lacks them and in a fit whose rows have no work for them.
func TestParts(t *testing.T) {
	for _, c := range []struct{ have, want Factors }{
		{Factors{"weights": 2}, Factors{"weights": 2, "expert_weights": 2, "gemm": 3.69}},
		{Factors{"gemm": 2, "kv": 3}, Factors{"gemm": 2, "gemm8": 2, "gemm4": 2, "expert_gemm": 2, "kv": 3, "kv8": 3}},
		{Factors{"expert_gemm": 2, "expert_layer": 7}, Factors{"gemm": 2, "gemm8": 2, "gemm4": 2, "expert_gemm8": 2, "expert_gemm4": 2, "expert_layer8": 7, "expert_layer8x4": 7, "expert_layer4": 7}},
		{Factors{"gemm8": 2, "expert_gemm4": 3, "expert_layer4": 7}, Factors{"gemm": 2, "gemm4": 2, "expert_gemm": 3, "expert_gemm_unpacked": 3, "expert_gemm8": 3, "expert_layer": 7, "expert_layer8": 7}},
		{Factors{"gemm4": 5, "gemm8": 4, "kv8": 3}, Factors{"gemm": 4, "gemm8": 4, "gemm4": 5, "expert_gemm": 4, "kv": 3, "kv8": 3}},
		{Factors{}, Factors{"gemm": 3.69, "gemm8": 3.69, "gemm4": 3.69, "expert_gemm": 3.69, "expert_gemm_unpacked": 3.69, "kv": 1.69, "kv8": 1.69}},
	} {
		got := maps.Clone(c.have)
		if err := got.complete(); err != nil {
			t.Fatal(err)
		}
		for id, want := range c.want {
			if got[id] != want {
				t.Errorf("%v: %s is %v, want %v", c.have, id, got[id], want)
			}
		}
	}
}

// TestProductsByHand: if products overlap with the reading of weights, a step takes the root of
// the sum of their squares, and the rates contain neither.
func TestProductsByHand(t *testing.T) {
	f := &Fit{Overlap: true, Factors: Factors{"weights": 2, "expert_weights": 3, "gemm": 3, "expert_gemm": 4, "decode_gemm": 5, "step": 7}}
	const vocabulary = 2 * 128_256 * 4096 // operations of the output matrix
	llama := onRoundCard(t, "llama-3.1-8b", nil)
	two := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.TP = 2 })
	staged := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.PP = 2 })
	mixtral := onRoundCard(t, "mixtral-8x7b", nil)
	const dense, sampled = 2 * (46_702_792_704 - 8*expertWeights - 32_000*4096) / 1e3, 2 * 32_000 * 4096 / 1e5
	const dense16 = 2 * 32 * (4096*(4096+1024+1024+4096) + 8*4096) / 1e5
	const token = dense16 + 2*2*expertWeights/1e5
	for _, c := range []struct {
		d                  *Deployment
		prefilled, decoded int64
		read, product      float64
	}{
		{llama, 0, 0, 2 * readBytes / 1e3, 0},
		{llama, 100, 0, 2 * readBytes / 1e3, 100 * 3 * 2 * tokenWeights / 1e5},
		{llama, 0, 10, 2 * readBytes / 1e3, 10 * 5 * (2*tokenWeights + vocabulary) / 1e5},
		{llama, 100, 10, 2 * readBytes / 1e3, 100*3*2*tokenWeights/1e5 + 10*5*(2*tokenWeights+vocabulary)/1e5},
		{two, 100, 10, 2 * readBytes / 2e3, 100*3*2*tokenWeights/2e5 + 10*5*(2*tokenWeights+vocabulary)/2e5},
		// Two stages read their weights one after another, and multiply at the same time, the output matrix too.
		{staged, 100, 10, 2 * readBytes / 1e3, 100*3*2*tokenWeights/2e5 + 10*5*(2*tokenWeights+vocabulary)/2e5},
		// A token uses 2 of 8 experts; two tokens use 8·(1 − (6/8)²) = 3.5.
		{mixtral, 1, 0, 2*dense + 3*2*2*expertWeights/1e3, 3*dense16 + 4*(token-dense16)},
		{mixtral, 1, 1, 2*dense + 3*3.5*2*expertWeights/1e3, 3*dense16 + 4*(token-dense16) + 5*(token+sampled)},
	} {
		rates, products, err := c.d.Costs(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := products(c.prefilled, c.decoded), math.Hypot(c.read, c.product); !near(got, want) {
			t.Errorf("%s, %d and %d tokens: %v ns, want %v", c.d.Model.Name, c.prefilled, c.decoded, got, want)
		}
		want := sim.Rates{sim.Steps: 7000 * sim.TicksPerNS}
		if rates != want {
			t.Errorf("%s: %v beside the products, want a step's 7 µs", c.d.Model.Name, rates)
		}
	}
}

// TestSharesByHand: the shares of a run add up to its time; the overlapping terms are one share.
func TestSharesByHand(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", nil)
	f := &Fit{Overlap: true, Factors: Factors{"weights": 1, "gemm": 1, "step": 5, "prompt": 10}}
	w := &sim.Work{sim.Steps: 100, sim.PrefillSeqs: 50}
	products := sim.TicksOf(3_000_000) // 3 ms, beside 0.5 ms of steps and 0.5 of prompts
	want := []Share{{ProductsShare, 3e-3, 0.75}, {"step", 0.5e-3, 0.125}, {"prompt", 0.5e-3, 0.125}}
	got := d.Shares(f, w, products)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i].Term != want[i].Term || !near(got[i].Seconds, want[i].Seconds) || !near(got[i].Share, want[i].Share) {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
		if got[i].What() == "" {
			t.Errorf("%s has no words", got[i].Term)
		}
	}
	if none := d.Shares(f, new(sim.Work), sim.Ticks{}); len(none) != 0 {
		t.Errorf("shares of nothing: %v", none)
	}
	if !strings.Contains(got[0].What(), "overlap") || got[1].What() != "launching a step" || got[2].What() != "scheduling a prompt" || (&Share{}).What() != "" {
		t.Errorf("%s, %s, %s", got[0].What(), got[1].What(), got[2].What())
	}
}

// TestClientTerm checks that the client's time is in whole nanoseconds.
func TestClientTerm(t *testing.T) {
	if got := (&Fit{Factors: Factors{RequestTerm: 1234.5678}}).ClientNS(); got != 1_234_568 {
		t.Errorf("%d ns, want 1,234,568", got)
	}
}

func catalogModel(t *testing.T, name string) catalog.Model {
	t.Helper()
	m, err := catalog.FindModel(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
