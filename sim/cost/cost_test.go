package cost

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

func deployment(t testing.TB, model, card string) Deployment {
	t.Helper()
	m, err := catalog.FindModel(model)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.FindCard(card)
	if err != nil {
		t.Fatal(err)
	}
	return New(m, c)
}

// TestMemoryAddsUp checks that no byte is left out or counted twice.
func TestMemoryAddsUp(t *testing.T) {
	for _, c := range []struct {
		model, card string
		tp          int
		compresses  bool
		sorted      int
		engine      Engine
	}{
		{"llama-3.1-8b", "l4", 1, false, 0, ""}, {"llama-3.1-8b", "l4", 1, true, 5e6, ""}, {"llama-3.1-8b", "l4", 1, true, 0, ""},
		{"llama-3.1-70b", "h100", 4, false, 0, ""}, {"llama-3.1-70b", "h100", 8, true, 5e7, ""}, {"qwen2.5-7b", "a100", 2, true, 1e6, ""},
		{"llama-3.1-8b", "l4", 1, false, 0, VLLMV1Last}, {"llama-3.1-70b", "h100", 4, false, 0, VLLMV1Last}, // with CUDA graphs
	} {
		d := deployment(t, c.model, c.card)
		d.TP, d.SortedKVs, d.MaxTokens, d.Engine = c.tp, c.sorted, 8192, c.engine
		if c.compresses {
			d.Method.Compression.Rate = 0.5
		}
		m, err := d.Memory()
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if sum := m.Reserved + m.Weights + m.Activations + m.Fixed + m.Graphs + m.Scratch + m.Metadata + m.KV + m.Unused; sum != m.Card {
			t.Errorf("%+v: the parts are %d bytes, the card has %d", c, sum, m.Card)
		}
		if m.Unused < 0 || m.Unused >= int64(m.BlockKV+m.BlockMetadata)+scratch(d.BlockSize) || m.Blocks%c.tp != 0 {
			t.Errorf("%+v: %d bytes are unused, %d blocks on %d cards", c, m.Unused, m.Blocks, c.tp)
		}
		if (c.engine == VLLMV1Last) != (m.Graphs > 0) {
			t.Errorf("%+v: %d bytes of CUDA graphs", c, m.Graphs)
		}
		if c.compresses == (m.Metadata == 0) || c.compresses == (m.Scratch == 0) {
			t.Errorf("%+v: %d bytes of metadata, %d of scratch", c, m.Metadata, m.Scratch)
		}
	}
}

// TestMemoryByHand is Llama-3.1-8B on 24 GB: 8.03 billion weights of two bytes, and
// blocks of 16·2·128·2 bytes, with KV-Compress of 21 + 16·44 more.
func TestMemoryByHand(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "l4")
	d.Method.Compression.Rate = 0.5
	d.SortedKVs = 1
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if m.Weights != 16060522496 || m.BlockKV != 8192 || m.BlockMetadata != 725 {
		t.Errorf("%+v", m)
	}
	d.BlocksGiven = 12345
	if m, err = d.Memory(); err != nil || m.Blocks != 12345 || m.KV != 12345*8192 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestDoesNotFit(t *testing.T) {
	d := deployment(t, "llama-3.1-70b", "h100")
	d.Engine, d.MaxTokens = VLLMV1Last, 8192
	_, err := d.Memory()
	// A token takes 2 · 3 · (28672 + 8192) bytes. Outside and graphs: 655 MiB, and 67 + 34 graphs of 1 MiB for 512 and 256 sequences.
	want := "llama-3.1-70b does not fit on 1 × h100: of 76.4 GB (90 % of each card), the weights take 141.1 GB, the peak of a prefill of 8,192 tokens 1.8 GB, the rest 0.8 GB"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "more cards") {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Deployment){
		"tensor parallelism 9":     func(d *Deployment) { d.TP = 9 },
		"tensor parallelism 3":     func(d *Deployment) { d.TP = 3 },
		"link_bytes_per_sec":       func(d *Deployment) { d.TP, d.Card.Link = 2, 0 },
		"weights":                  func(d *Deployment) { d.Weights = "fp3" },
		"KV format f32":            func(d *Deployment) { d.KV = dtype.F32 },
		"block size 5":             func(d *Deployment) { d.BlockSize = 5 },
		"memory utilisation NaN":   func(d *Deployment) { d.Utilization = math.NaN() },
		"memory utilisation 90":    func(d *Deployment) { d.Utilization = 90 },
		"max_num_batched_tokens 0": func(d *Deployment) { d.MaxTokens = 0 },
		"-1 KVs sorted":            func(d *Deployment) { d.SortedKVs = -1 },
		"max_num_seqs 0: want":     func(d *Deployment) { d.MaxSeqs = 0 },
		"max_model_len 131073":     func(d *Deployment) { d.MaxModelLen = 131073 },
		"max_model_len -1":         func(d *Deployment) { d.MaxModelLen = -1 },
		`engine "sglang"`:          func(d *Deployment) { d.Engine = "sglang" },
		"bytes of a card":          func(d *Deployment) { d.CardMemory = 1<<42 + 1 },
	} {
		d := deployment(t, "llama-3.1-8b", "l4")
		change(&d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// TestRatesAreTheTerms checks that the cost of a step is the sum of its terms.
func TestRatesAreTheTerms(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "l4")
	d.TP = 2
	d.Method.Compression.Rate = 0.5
	factors := DefaultFactors()
	for _, id := range termIDs() {
		if factors[id] == 0 {
			factors[id] = 7
		}
	}
	rates, _, err := d.Costs(&Fit{Factors: factors})
	if err != nil {
		t.Fatal(err)
	}
	var w sim.Work
	for f := range w {
		w[f] = int64(1000 * (f + 1))
	}
	sum := 0.0
	shares := d.Shares(&Fit{Factors: factors}, &w, sim.Ticks{})
	for _, s := range shares {
		sum += s.Seconds
	}
	if got := rates.Cost(&w).Seconds(); math.Abs(got/sum-1) > 1e-6 {
		t.Errorf("%v s, the terms' sum is %v", got, sum)
	}
	for _, term := range Terms() {
		if term.ID == RequestTerm { // of no step
			continue
		}
		of := d
		of.Card.Flops4, of.Card.FlopsMX = of.Card.Flops8, of.Card.Flops8
		switch term.ID { // those of some methods alone
		case "gemm8":
			of.Weights = catalog.FP8
		case "gemm4":
			of.Weights = catalog.NVFP4
		case "expert_weights", "expert_gemm", "expert_layer":
			of.Model = catalogModel(t, "mixtral-8x7b")
		case "expert_gemm_unpacked", "expert_layer_unpacked":
			of.Model, of.Weights = catalogModel(t, "mixtral-8x7b"), catalog.INT4
		case "expert_gemm8", "expert_layer8":
			of.Model, of.Weights = catalogModel(t, "mixtral-8x7b"), catalog.FP8
		case "expert_gemm4", "expert_layer4":
			of.Model, of.Weights = catalogModel(t, "mixtral-8x7b"), catalog.NVFP4
		case "expert_gemm8x4", "expert_layer8x4":
			of.Model, of.Weights = catalogModel(t, "mixtral-8x7b"), catalog.MXFP4
		case "latent_layer":
			of.Model = catalogModel(t, "deepseek-v3")
		case "indexer_layer":
			of.Model = catalogModel(t, "deepseek-v3.2")
		case "kv8":
			of.KV = dtype.E4M3
		case "host":
			of.Method = ref.Config{Method: infLLM, Compression: ref.Compression{MaxCacheTokens: 4096}}
		case "quantize":
			of.Method = ref.Config{Method: "kivi"}
		case "merge":
			of.Method = ref.Config{Method: "minicache"}
		case "prompt_compression":
			of.Method = ref.Config{Method: llmLingua2, Compression: ref.Compression{Rate: 0.5}}
		}
		if u := term.peak(&of); u.ns(&w) <= 0 {
			t.Errorf("the term %s takes no time", term.ID)
		}
	}
}

// TestOverheadsOfCompression: the host work of a compressing server is a cost of every step of
// KV-Compress, of the compressions of another method, and of nothing without compression.
func TestOverheadsOfCompression(t *testing.T) {
	w := sim.Work{sim.Steps: 10, sim.CompressionSteps: 3, sim.DecodeSeqs: 50, sim.CompressedSeqs: 4}
	for _, c := range []struct {
		name   string
		change func(*Deployment)
		want   float64 // microseconds
	}{
		{"uncompressed", func(*Deployment) {}, 0},
		{"kv-compress", func(d *Deployment) { d.Method.Compression.MaxCacheTokens = 128 }, 10*1000 + 50*20},
		{"snapkv", func(d *Deployment) { d.Method.Method, d.Method.Compression.MaxCacheTokens = "snapkv", 128 }, 3*1000 + 4*20},
	} {
		d := deployment(t, "llama-3.1-8b", "l4")
		c.change(&d)
		factors := Factors{"compression": 1000, "compressed_sequence": 20}
		sum := 0.0
		for _, s := range d.Shares(&Fit{Factors: factors}, &w, sim.Ticks{}) {
			sum += s.Seconds * 1e6
		}
		if math.Abs(sum-c.want) > 1e-6 {
			t.Errorf("%s: %v µs, want %v", c.name, sum, c.want)
		}
	}
}

// TestWeightsRead checks which weights a step reads: where the embedding table is
// the output matrix too, all of them.
func TestWeightsRead(t *testing.T) {
	for name, params := range map[string]int64{
		"llama-3.1-8b": 8_030_261_248 - 128256*4096,
		"qwen2.5-0.5b": 494_032_768,
	} {
		d := deployment(t, name, "l4")
		for _, s := range d.Shares(&Fit{Factors: Factors{"weights": 1}}, &sim.Work{sim.Steps: 1}, sim.Ticks{}) {
			if want := float64(2*params) / d.Card.Read; math.Abs(s.Seconds/want-1) > 1e-9 {
				t.Errorf("%s: %v s, want %v", name, s.Seconds, want)
			}
		}
	}
}

const header = "gpu,model,input_len,output_len,num_requests,compression_rate,max_cache_tokens,max_decoding_batch,total_tokens_per_s\n"

// TestCalibrateFindsFactors computes runs from known factors; a fit to them has to find these.
func TestCalibrateFindsFactors(t *testing.T) {
	var list []Measurement
	for i, in := range []int{300, 900, 2500, 6000} {
		for j, c := range []int{0, 128, 256, 512} {
			if c >= in {
				continue
			}
			list = append(list, Measurement{Line: 2 + i*4 + j, GPU: "l4", Model: "llama-3.1-8b", InputLen: in, OutputLen: 100, NumRequests: 64, MaxCacheTokens: c, TokensPerS: 1})
		}
	}
	want := DefaultFactors()
	want["weights"], want["gemm"], want["kv"], want["decode_gemm"], want["compression"], want["compressed_sequence"], want["attention"] = 1.2, 2.5, 3, 1.5, 5000, 70, 4
	for id, as := range map[string]string{ // which no row has: as the part that rows have
		"gemm8": "gemm", "gemm4": "gemm", "expert_gemm": "gemm", "expert_gemm_unpacked": "gemm", "expert_gemm8": "gemm", "expert_gemm8x4": "gemm", "expert_gemm4": "gemm", "expert_weights": "weights", "kv8": "kv",
	} {
		want[id] = want[as]
	}
	for i := range list {
		c, err := NewCase(context.Background(), list[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		rates, _, err := c.Deployment.Costs(&Fit{Factors: want})
		if err != nil {
			t.Fatal(err)
		}
		list[i].TokensPerS = float64(list[i].NumRequests*(list[i].InputLen+list[i].OutputLen)) / rates.Cost(&c.Work).Seconds()
	}
	p, _, err := Calibrate(context.Background(), list, "test")
	if err != nil {
		t.Fatal(err)
	}
	for id, v := range p.Fits[0].Factors {
		if math.Abs(v-want[id]) > 1e-3*want[id] {
			t.Errorf("%s: %v, want %v", id, v, want[id])
		}
	}
	if q := p.Fits[0].Quality; *q.MaxError > 1e-4 || *q.CrossMaxError > 1e-2 {
		t.Errorf("%+v", q)
	}

	if _, _, err := Calibrate(context.Background(), list[:3], "test"); err == nil || !strings.Contains(err.Error(), "3 measurements do not determine 7 terms") {
		t.Errorf("three measurements: %v", err)
	}

	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	back, err := ReadProfile(&out)
	if err != nil || !cmp.Equal(back.Fits, p.Fits) {
		t.Errorf("%v, %s", err, cmp.Diff(p.Fits, back.Fits))
	}
}

func TestReadMeasurements(t *testing.T) {
	good := header + "NVIDIA L4,Llama-3.1-8B-Instruct,500,500,256,2,240,69,843.6\nl4,llama-3.1-8b,500,500,256,vanilla,,,\n"
	list, err := ReadMeasurements(strings.NewReader(good), "f")
	if err != nil || len(list) != 2 || list[0].MaxDecodingBatch != 69 || list[1].Compressed() || list[1].Line != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	for in, want := range map[string]string{
		"":                   "no rows",
		header:               "no rows",
		"gpu\nx\n":           `f:1: column "model" is missing`,
		"a" + header + "1\n": `unknown column "agpu"`,
		strings.Replace(header, "model", "gpu", 1) + "1\n":    "twice",
		header + "l4,m,0,1,1,1,,,\n":                          `f:2: input_len: want an integer from 1 to 2147483647, got "0"`,
		header + "l4,m,1,1,2000000,1,,,\n":                    "2000000: want at most 1000000",
		header + "l4,m,1,1,1,1,-5,,\n":                        "max_cache_tokens",
		header + "l4,m,1,1,1,1,,,NaN\n":                       "total_tokens_per_s",
		header + "l4,m,2000000000,2000000000,1000000,1,,,1\n": "more than",
		header + "l4,m,1\n":                                   "wrong number of fields",
		header + strings.Repeat("x", 300) + ",m,1,1,1,1,,,\n": "300 bytes",
	} {
		if _, err := ReadMeasurements(strings.NewReader(in), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an error with %q", in, err, want)
		}
	}
}

func FuzzReadMeasurements(f *testing.F) {
	f.Add(header + "l4,llama-3.1-8b,500,500,256,2,240,69,843.6\n")
	f.Fuzz(func(t *testing.T, in string) {
		list, err := ReadMeasurements(strings.NewReader(in), "f")
		for _, m := range list {
			if err == nil && (m.InputLen < 1 || m.OutputLen < 1 || m.NumRequests < 1 || m.MaxCacheTokens < 0 || !(m.TokensPerS >= 0)) {
				t.Errorf("%+v", m)
			}
		}
	})
}

func TestReadProfile(t *testing.T) {
	for in, want := range map[string]string{
		``:              "empty",
		`{"version":2}`: "version 2",
		`{"version":1}`: "no fits",
		`{"version":1,"fits":[{"card":"l4","factors":{"magic":1}}]}`:      "magic",
		`{"version":1,"fits":[{"card":"l4","factors":{"weights":-1}}]}`:   "weights is -1",
		`{"version":1,"fits":[{"card":"l4","factors":{"weights":1e99}}]}`: "weights is 1e+99",
		`{"version":1,"fitz":[]}`:        "fitz",
		strings.Repeat(" ", 1<<20) + "1": "longer than 1 MiB",
		`{"version":1,"fits":[{"card":"l4","factors":{}}],"all":{"card":"any","factors":{"magic":1}}}`: "all: factor of an unknown term",
	} {
		if _, err := ReadProfile(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", in, err, want)
		}
	}
	p, err := ReadProfile(strings.NewReader(`{"version":1,"file":"f","fits":[{"card":"l4","factors":{"weights":1.5}}]}`))
	if err != nil || fitFor(p, "h100").Factors["weights"] != 1.5 || fitFor(p, "l4").Factors["sort"] != DefaultFactors()["sort"] {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzReadProfile(f *testing.F) {
	f.Add(`{"version":1,"fits":[{"card":"l4","factors":{"weights":1.5}}]}`)
	f.Fuzz(func(t *testing.T, in string) {
		p, err := ReadProfile(strings.NewReader(in))
		if err != nil {
			return
		}
		d := deployment(t, "llama-3.1-8b", "l4")
		if _, _, err := d.Costs(&p.Fits[0]); err != nil {
			t.Error(err)
		}
	})
}

func TestCalibrateTimings(t *testing.T) {
	in := "gpu,model,term,units,microseconds\n" +
		"l4,llama-3.1-8b,sort,1000000,640\n" + // 64 bytes of each at 300 GB/s take 213.3 µs
		"l4,llama-3.1-8b,sort,2000000,1280\n" +
		"h100,llama-3.1-8b,compression,2,100\n"
	// A token takes 64 all-reduces of 8,192 bytes over two cards. Each card sends half of that twice.
	const summed = "gpu,model,tensor_parallel,term,units,microseconds\nh100,llama-3.1-8b,2,all_reduce,1000,4000\n"
	if list, err := ReadTimings(strings.NewReader(summed), "f"); err != nil {
		t.Error(err)
	} else if p, err := CalibrateTimings(list, "f"); err != nil || math.Abs(fitFor(p, "h100").Factors["all_reduce"]-4e-3/(1000*64*8192/deployment(t, "llama-3.1-8b", "h100").Card.Link)) > 1e-4 {
		t.Errorf("%v, %v", p, err)
	}
	// KVs of 8 bits, 2·128 bytes each, at twice their time. Those of 16 bits have no timings, so they share the factor.
	const kv8 = "gpu,model,term,units,microseconds\nh100,llama-3.1-8b,kv8,3350000,512\n"
	if list, err := ReadTimings(strings.NewReader(kv8), "f"); err != nil {
		t.Error(err)
	} else if p, err := CalibrateTimings(list, "f"); err != nil || math.Abs(fitFor(p, "h100").Factors["kv8"]-2) > 1e-4 || fitFor(p, "h100").Factors["kv"] != fitFor(p, "h100").Factors["kv8"] {
		t.Errorf("%v, %v", p, err)
	}
	// Twice as fast as the card can: at its peak. An overhead has no such bound.
	const fast = "gpu,model,term,units,microseconds\nh100,llama-3.1-8b,kv8,3350000,128\nh100,llama-3.1-8b,step,1,0.5\n"
	if list, err := ReadTimings(strings.NewReader(fast), "f"); err != nil {
		t.Error(err)
	} else if p, err := CalibrateTimings(list, "f"); err != nil || fitFor(p, "h100").Factors["kv8"] != 1 || !slices.Equal(fitFor(p, "h100").AtBound, []string{"kv8"}) || fitFor(p, "h100").Factors["step"] != 0.5 {
		t.Errorf("faster than the card: %v, %v", p, err)
	}
	if !IsTimings("gpu,model,term,units,microseconds") || IsTimings(header) {
		t.Error("the two forms are not told apart")
	}
	list, err := ReadTimings(strings.NewReader(in), "f")
	if err != nil {
		t.Fatal(err)
	}
	p, err := CalibrateTimings(list, "f")
	if err != nil {
		t.Fatal(err)
	}
	if got := fitFor(p, "l4"); math.Abs(got.Factors["sort"]-3) > 1e-5 || *got.Quality.MaxError > 1e-5 || got.Factors["weights"] != DefaultFactors()["weights"] {
		t.Errorf("%+v", got)
	}
	if got := fitFor(p, "h100").Factors["compression"]; got != 50 {
		t.Errorf("%v µs for a compression, want 50", got)
	}
	const rest = " All other terms have default factors, which follow vLLM 0.6.0 in eager mode. Matrix products and the reading of their weights are added up, though servers overlap them in part."
	for want, fit := range map[string]Fit{
		"Timed was sort alone." + rest: fitFor(p, "l4"),
		"Timed were gemm, kv8. The like terms gemm8, gemm4, expert_gemm, expert_gemm_unpacked, expert_gemm8, expert_gemm8x4, expert_gemm4, kv take the same factors." + rest: {Fitted: []string{"gemm", "kv8"}},
		"": {Server: sim.VLLMV1, Fitted: []string{"gemm"}},
	} {
		if got := fit.Untimed(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for in, want := range map[string]string{
		"l4,m,magic,1,1\n":                    "magic",
		"l4,llama-3.1-8b,request,1,1\n":       "takes no time",
		"l4,m,sort,0,1\n":                     "units",
		"l4,m,sort,1,-1\n":                    "microseconds",
		"l4,llama-3.1-8b,all_reduce,1,1\n":    "on 1 of these cards",
		"l4,llama-3.1-8b,sort,1,1000000000\n": "unit of the work",
	} {
		list, err := ReadTimings(strings.NewReader("gpu,model,term,units,microseconds\n"+in), "f")
		if err == nil {
			_, err = CalibrateTimings(list, "f")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", in, err, want)
		}
	}
}

// fitFor returns the fit of a profile to a card under KV-Compress's server.
func fitFor(p *Profile, card string) Fit {
	c, err := catalog.FindCard(card)
	if err != nil {
		panic(err)
	}
	return p.For(&c, sim.KVCompressServer)
}

// TestQualityByHand: three runs of 100 tokens, projected at 2 s each, measured at 2.5, 1.8 and
// 2.2 s, of which one was compressed; and of one input length there is no fit to others.
func TestQualityByHand(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "l4")
	run := func(measured float64, keep int) *Case {
		return &Case{
			Measurement: Measurement{NumRequests: 1, InputLen: 60, OutputLen: 40, TokensPerS: 100 / measured, MaxCacheTokens: keep},
			Deployment:  d, Work: sim.Work{sim.Steps: 2000},
		}
	}
	q := quality([]*Case{run(2.5, 0), run(1.8, 64), run(2.2, 0)}, Factors{"step": 1000})
	for name, v := range map[string][2]float64{
		"mean": {*q.MAPE, (0.25 + 0.1 + 0.1) / 3}, "most": {*q.MaxError, 0.25}, "compressed": {*q.CompressedMAPE, 0.1}, "vanilla": {*q.VanillaMAPE, 0.175},
	} {
		if !(math.Abs(v[0]-v[1]) <= 1e-9) {
			t.Errorf("%s: %v, want %v", name, v[0], v[1])
		}
	}
	if q := quality([]*Case{run(2.5, 0)}, Factors{"step": 1000}); !near(val(q.VanillaMAPE), 0.25) || q.CompressedMAPE != nil || q.CrossMAPE != nil {
		t.Errorf("of one: %+v", q)
	}
	if q := quality([]*Case{run(2.5, 9)}, Factors{"step": 1000}); !near(val(q.CompressedMAPE), 0.25) || q.VanillaMAPE != nil {
		t.Errorf("of one that is compressed: %+v", q)
	}
}

func TestSummarizeByHand(t *testing.T) {
	cases := []*Case{
		{Measurement: Measurement{MaxDecodingBatch: 10, TokensPerS: 1}, Batch: 10, Off: new(0.1)},
		{Measurement: Measurement{MaxDecodingBatch: 10, TokensPerS: 1}, Batch: 7, Off: new(-0.3)},
		{Measurement: Measurement{MaxDecodingBatch: 10}, Batch: 12},
		{Batch: 5},
	}
	if got, want := Summarize(cases), (Summary{4, 3, 1, 3, new(0.2), new(0.3)}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if got, want := Summarize(cases[:1]), (Summary{1, 1, 1, 0, new(0.1), new(0.1)}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if got := Summarize(nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
