package cost

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/sim"
)

func TestReadServing(t *testing.T) {
	in := "\ufeffbackend,version,model,card,tp,weights,kv_dtype,isl,osl,concurrency,batch,num_requests,ttft_ms,tpot_ms,latency_s,total_tokens_per_s,max_num_seqs,max_num_batched_tokens,chunked_prefill,gpu_memory_utilization,prefill_first,length_spread,distinct_prompts\n" +
		"vllm,0.19.0,llama-3.1-8b,h100,2,fp8,fp8_e4m3,1000,200,8,,32,120.5,7.25,,,64,4096,false,0.8,,0.25,100\n" +
		"sglang,,llama-3.1-8b,h100,,,auto,10,20,,16,,,,3.5,99,,,,,off,,\n"
	got, err := ReadServing(strings.NewReader(in), "f")
	if err != nil {
		t.Fatal(err)
	}
	want := []Serving{
		{Line: 2, GPU: "h100", Model: "llama-3.1-8b", Backend: "vllm", Version: "0.19.0", TP: 2, Weights: "fp8", KV: dtype.E4M3, MaxSeqs: 64, MaxTokens: 4096, Whole: true, Utilization: 0.8,
			ISL: 1000, OSL: 200, Concurrency: 8, Requests: 32, Spread: 0.25, Prompts: 100, TTFT: 120.5, TPOT: 7.25},
		{Line: 3, GPU: "h100", Model: "llama-3.1-8b", Backend: "sglang", TP: 1, KV: dtype.F16, KVAuto: true, First: new(false), ISL: 10, OSL: 20, Requests: 16, Latency: 3.5, Tokens: 99},
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("row %d: %+v, want %+v", i, got[i], want[i])
		}
	}

	const header = "gpu,model,isl,osl,concurrency,batch,num_requests,ttft_ms,tpot_ms,tensor_parallel,weights,kv_dtype,chunked_prefill,gpu_memory_utilization,prefill_first,length_spread,distinct_prompts\n"
	for row, want := range map[string]string{
		",m,1,1,1,,,1,,,,,,,,,":                                 "f:2: gpu: want the name of a card",
		"g,m,0,1,1,,,1,,,,,,,,,":                                `isl: want an integer from 1 to 2147483647, got "0"`,
		"g,m,1,,1,,,1,,,,,,,,,":                                 `osl: want an integer from 1 to 2147483647, got ""`,
		"g,m,1,1,-1,,,1,,,,,,,,,":                               "concurrency",
		"g,m,1,1,x,,,1,,,,,,,,,":                                "concurrency",
		"g,m,1,1,,,,1,,,,,,,,,":                                 "one of concurrency and batch",
		"g,m,1,1,2,2,,1,,,,,,,,,":                               "one of concurrency and batch",
		"g,m,1,1,1,,2000000,1,,,,,,,,,":                         "2000000 requests of 1 and 1 tokens: want at most",
		"g,m,2000000000,2000000000,1,,,1,,,,,,,,,":              "tokens in all",
		"g,m,1,1,1,,,,,,,,,,,,":                                 "nothing was measured",
		"g,m,1,1,1,,,,,,,,,0.9,,,":                              "nothing was measured",
		"g,m,1,1,1,,,0,,,,,,,,,":                                "ttft_ms: want a number above 0",
		"g,m,1,1,1,,,1.05e9,,,,,,,,,":                           "ttft_ms: want a number above 0 and at most 1e+09",
		"g,m,1,1,1,,,,1.05e9,,,,,,,,":                           "tpot_ms: want a number above 0 and at most 1e+09",
		"g,m,1,1,1,,,,NaN,,,,,,,,":                              "tpot_ms",
		"g,m,1,1,1,,,,Inf,,,,,,,,":                              "tpot_ms",
		"g,m,1,1,1,,,1,,x,,,,,,,":                               "tensor_parallel",
		"g,m,1,1,1,,,1,,,fp3,,,,,,":                             `weights: want one of`,
		"g,m,1,1,1,,,1,,,,int7,,,,,":                            "kv_dtype",
		"g,m,1,1,1,,,1,,,,,maybe,,,,":                           `chunked_prefill: want true or false, got "maybe"`,
		"g,m,1,1,1,,,1,,,,,,1.5,,,":                             "gpu_memory_utilization: want a number above 0 and at most 1",
		"g," + strings.Repeat("m", 300) + ",1,1,1,,,1,,,,,,,,,": "f:2: column 2: a field of 300 bytes",
		"g,m,1,1,1,,,1,,,,,,,yes,,":                             `prefill_first: want true or false, got "yes"`,
		"g,m,1,1,1,,,1,,,,,,,,1.5,":                             "length_spread: want a number above 0 and at most 1",
		"g,m,1,1,1,,,,,,,,,,,0.1,":                              "nothing was measured",
		"g,m,1,1,1,,,1,,,,,,,,,-1":                              "distinct_prompts",
		"g,m,1,1,1,,,1,,,,,,,,,2147483647":                      "distinct_prompts: 2147483647: want at most 1000000",
		"g,m,1":                                                 "wrong number of fields",
		"g,m,1,1\"":                                             "bare",
	} {
		if _, err := ReadServing(strings.NewReader(header+row+"\n"), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", row, err, want)
		}
	}
	if _, err := ReadServing(strings.NewReader("model,isl\n"), "f"); err == nil || !strings.Contains(err.Error(), `column "osl" is missing`) {
		t.Errorf("%v", err)
	}
}

func FuzzReadServing(f *testing.F) {
	f.Add("gpu,model,isl,osl,concurrency,ttft_ms\nh100,llama-3.1-8b,1000,200,8,120.5\n")
	f.Add("card,model,isl,osl,batch,latency_s,chunked_prefill\na100,llama-2-7b,128,128,16,1.5,false\n")
	f.Fuzz(func(t *testing.T, in string) {
		list, err := ReadServing(strings.NewReader(in), "f")
		if err != nil {
			return
		}
		for _, s := range list {
			m := max(s.TTFT, s.TPOT, s.Latency, s.Tokens)
			if s.ISL < 1 || s.OSL < 1 || s.Count() < 1 || s.Count() > maxRunRequests || s.TP < 0 || !(m > 0) || math.IsInf(m, 0) || !(s.Utilization >= 0 && s.Utilization <= 1) {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestRulesOf: sglang and V0 are served otherwise than vLLM V1, three servers have fits of their own,
// and of others the output says that they are not modelled.
func TestRulesOf(t *testing.T) {
	for backend, want := range map[string]struct {
		rules Rules
		note  string
	}{
		"":             {Rules{Server: sim.VLLMV1, Jitter: 0.1, Utilization: 0.9, Known: true}, "The rows do not name their server: served by the rules of vLLM V1, lengths of a closed loop spread by ±10 %."},
		"vllm":         {Rules{Server: sim.VLLMV1, Jitter: 0.1, Utilization: 0.9, Known: true}, "Backend vllm served by the rules of vLLM V1"},
		"vLLM":         {Rules{Server: sim.VLLMV1, Jitter: 0.1, Utilization: 0.9, Known: true}, "served by the rules of vLLM V1"},
		"vllm-v0":      {Rules{Server: VLLMV0, PrefillFirst: true, Jitter: 0.1, Utilization: 0.9, Known: true}, "Backend vllm-v0 served prefill-first: waiting prompts before the next decode step, lengths of a closed loop spread by ±10 %."},
		"SGLang":       {Rules{Server: SGLang, PrefillFirst: true, Static: true, Known: true}, "prefill-first"},
		"TensorRT-LLM": {Rules{Server: TensorRTLLM, Jitter: 0.1, Utilization: 0.9, QuantizedKV: true, Known: true}, "Backend TensorRT-LLM served by the rules of vLLM V1"},
		"tgi":          {Rules{Server: sim.VLLMV1, Jitter: 0.1, Utilization: 0.9}, "Backend tgi is not modelled: its rows are served by the rules of vLLM V1"},
	} {
		if got := RulesOf(backend); got != want.rules || !strings.Contains(got.Note(backend), want.note) {
			t.Errorf("%q: %+v, %s", backend, got, got.Note(backend))
		}
	}
	for _, c := range []struct {
		backend, version string
		want             Engine
	}{
		{"", "", VLLMV1}, {"vllm", "0.12.0", VLLMV1}, {"vllm", "0.19", VLLMV1Next}, {"", "0.21.1", VLLMV1Last}, {"vllm", "0.8.5", VLLMV1First},
		{"vllm", "0.6.3", VLLMV1}, {"vllm-v0", "0.6.3.post1", VLLMV1}, {"sglang", "0.5.1.post1", VLLMV1}, {"sglang", "banana", VLLMV1}, {"tgi", "banana", VLLMV1},
	} {
		s := Serving{Backend: c.backend, Version: c.version}
		if got, err := s.engine(); got != c.want || err != nil {
			t.Errorf("%s %s: %s, %v, want %s", c.backend, c.version, got, err, c.want)
		}
	}
}

// TestServerOfRows: a row's backend says whose fit it has, and of vLLM the version does.
func TestServerOfRows(t *testing.T) {
	p := DefaultProfile()
	for _, c := range []struct {
		backend, version string
		want             sim.Scheduler
	}{
		{"", "", sim.VLLMV1}, {"vllm", "0.12.0", sim.VLLMV1}, {"vllm", "0.6.3", VLLMV0}, {"", "0.5.4", VLLMV0}, {"vllm", "0.6.3.post1", VLLMV0},
		{"sglang", "0.5.1", SGLang}, {"trtllm", "1.0.0rc3", TensorRTLLM}, {"tgi", "0.6", sim.VLLMV1},
	} {
		s := Serving{GPU: "h100", Model: "llama-3.1-8b", TP: 1, KV: dtype.F16, Utilization: 0.9, ISL: 100, OSL: 2, Requests: 1, Backend: c.backend, Version: c.version}
		run, err := NewServingCase(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		fit := p.For(&run.Deployment.Card, run.Rules.Server)
		if run.Rules.Server != c.want || fit.Server != c.want {
			t.Errorf("%s %s: rules of %s, a fit of %s, want %s", c.backend, c.version, run.Rules.Server, fit.Server, c.want)
		}
	}
	for _, server := range Servers() {
		for _, f := range ShippedProfile(server).Fits {
			if f.Server != server || !(val(f.Quality.ThroughputMAPE) > 0 || val(f.Quality.OtherThroughput) > 0) {
				t.Errorf("%s has a fit of %s, %s, with the errors %+v", server, f.Server, f.Of, f.Quality)
			}
		}
	}
	h100 := catalogCard(t, "h100")
	if f := ShippedProfile(SGLang).For(h100, sim.VLLMV1); f.Suits(h100, sim.VLLMV1) != "another server (sglang, not vllm-v1)" {
		t.Errorf("SGLang's fit under vLLM V1: %q", f.Suits(h100, sim.VLLMV1))
	}
}

// TestStaticMemory: of SGLang, 0.79 of an H100 of 79.11 GiB less the 61.0 GiB of Qwen3-32B are cache, which
// is 374 blocks of 16 tokens of 64 layers with 8 heads of 128, twice, in 16 bits. A file's own
// utilisation goes before it.
func TestStaticMemory(t *testing.T) {
	s := Serving{GPU: "h100", Model: "qwen3-32b", Backend: "sglang", TP: 1, KV: dtype.F16, ISL: 100, OSL: 2, Concurrency: 1}
	c, err := NewServingCase(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	const block = 16 * 64 * 8 * 128 * 2 * 2
	card := float64(c.Memory.Card)
	if want := int((card - float64(c.Memory.Card)*0.21 - float64(c.Memory.Weights)) / block); c.Memory.Tokens != 16*want || want != 374 {
		t.Errorf("room for %d tokens, want %d", c.Memory.Tokens, 16*want)
	}
	s.GPU = "h200" // as many bytes are left to activations
	if c, err = NewServingCase(t.Context(), s); err != nil || c.Memory.Tokens != 16*int((float64(c.Memory.Card)-card*0.21-float64(c.Memory.Weights))/block) || math.Abs(c.Rules.Utilization-0.881) > 0.0005 {
		t.Errorf("on an H200: %d tokens, %+v, %v", c.Memory.Tokens, c.Rules, err)
	}
	s.GPU, s.Model = "l4", "llama-3.1-8b" // the same part of a smaller card
	if c, err = NewServingCase(t.Context(), s); err != nil || math.Abs(c.Rules.Utilization-0.79) > 1e-12 {
		t.Errorf("on an L4: %+v, %v", c.Rules, err)
	}
	s.GPU, s.Model, s.Utilization = "h100", "qwen3-32b", 0.9
	if c, err = NewServingCase(t.Context(), s); err != nil || c.Memory.Tokens != 16*int((float64(card*0.9)-float64(c.Memory.Weights))/block) {
		t.Errorf("at 0.9: %d tokens, %v", c.Memory.Tokens, err)
	}
	s.Utilization = 0.5
	if _, err = NewServingCase(t.Context(), s); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("at 0.5: %v", err)
	}
}

// TestQuantizedKV: with weights in fp8 and nvfp4 TensorRT-LLM holds the cache in fp8, unless the row states
// its format.
func TestQuantizedKV(t *testing.T) {
	p := DefaultProfile()
	for _, c := range []struct {
		row  string
		want dtype.DType
	}{
		{"trtllm,fp8,", dtype.E4M3},
		{"trtllm,nvfp4,auto", dtype.E4M3},
		{"trtllm,fp8,bf16", dtype.BF16},
		{"trtllm,bf16,", dtype.F16},
		{"trtllm,int8,", dtype.F16},
		{"vllm,fp8,", dtype.F16},
	} {
		list, err := ReadServing(strings.NewReader("backend,weights,kv_dtype,model,card,isl,osl,batch,latency_s\n"+c.row+",llama-3.1-8b,h100,100,2,1,1\n"), "f")
		if err != nil {
			t.Fatal(err)
		}
		run, err := NewServingCase(t.Context(), list[0])
		if err != nil {
			t.Fatal(err)
		}
		fit := p.For(&run.Deployment.Card, run.Rules.Server)
		if err := run.Predict(&fit); err != nil {
			t.Fatal(err)
		}
		taken := slices.ContainsFunc(run.Notes, func(note string) bool { return strings.Contains(note, "it is taken for fp8_e4m3 on trtllm") })
		if run.KV != c.want || run.Deployment.KV != c.want || taken != (c.want == dtype.E4M3) {
			t.Errorf("%s: a cache in %v, want %v: %q", c.row, run.Deployment.KV, c.want, run.Notes)
		}
	}
}

// TestCardOfRows: a row's card_gib tells cards of one name apart.
func TestCardOfRows(t *testing.T) {
	for gib, want := range map[float64]string{0: "a100-80gb", 39.5: "a100-40gb", 40: "a100-40gb", 79.25: "a100-80gb", 80: "a100-80gb", 24: ""} {
		s := Serving{GPU: "a100", CardGiB: gib}
		if c, err := s.card(); (err != nil) != (want == "") || err == nil && c.Name != want {
			t.Errorf("%v GiB: %s, %v, want %q", gib, c.Name, err, want)
		}
	}
}

// TestServingCase: what a row says reaches the deployment and the limits.
func TestServingCase(t *testing.T) {
	s := Serving{GPU: "h100", Model: "llama-3.1-8b", TP: 2, Weights: "fp8", KV: dtype.E4M3, Utilization: 0.8, ISL: 100, OSL: 4, Concurrency: 2, Requests: 4, MaxSeqs: 7, MaxTokens: 333}
	c, err := NewServingCase(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Deployment
	if d.TP != 2 || d.Weights != "fp8" || d.KV != dtype.E4M3 || d.Utilization != 0.8 || d.MaxSeqs != 7 || d.MaxTokens != 333 || c.Memory.Blocks == 0 {
		t.Errorf("%+v", d)
	}
	s.MaxSeqs, s.MaxTokens = 0, 0
	if c, err = NewServingCase(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	own := sim.V1Limits("h100", c.Deployment.Card.Memory, sim.V1APIServer)
	if c.Deployment.MaxSeqs != own.MaxNumSeqs || c.Deployment.MaxTokens != own.MaxNumBatchedTokens {
		t.Errorf("limits %d and %d, want V1's own %+v", c.Deployment.MaxSeqs, c.Deployment.MaxTokens, own)
	}
	fit := &Fit{Of: "a test", Overlap: true, Card: "l4", Factors: ServerFactors()}
	c.TTFT = 1
	if err := c.Predict(fit); err != nil || c.Calibrated != "a test" || c.Other != "another card (l4, not h100)" || c.Expected != "not known" || !near(val(c.TTFTOff), c.PredictedTTFT/1-1) || c.TPOTOff != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if want := float64(c.record.tokens) / c.outcome(fit).total; !near(c.PredictedTokens, want) {
		t.Errorf("%v tokens a second, want %v", c.PredictedTokens, want)
	}
	if err := c.Predict(&Fit{Of: "nothing"}); err == nil || !strings.Contains(err.Error(), "takes no time") {
		t.Errorf("%v", err)
	}
	if err := new(ServingCase).Predict(fit); err == nil {
		t.Error("a case without a record was predicted")
	}
	for change, want := range map[string]func(*Serving){
		"magic": func(s *Serving) { s.Model = "magic" }, "card": func(s *Serving) { s.GPU = "abacus" }, "tensor parallelism 3": func(s *Serving) { s.TP = 3 },
	} {
		bad := s
		want(&bad)
		cases, err := NewServingCases(context.Background(), []Serving{s, bad})
		if err != nil || cases[0].Error != "" || !strings.Contains(cases[1].Error, change) {
			t.Errorf("%s: %v, %+v", change, err, cases)
			continue
		}
		if err := Refused(cases, "f"); err == nil || err.Error() != fmt.Sprintf("f:%d: %s", bad.Line, cases[1].Error) {
			t.Errorf("%s: %v", change, err)
		}
		if err := cases[1].Predict(fit); err == nil || SummarizeServing(cases).Refused != 1 {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// TestServedAsStated: what a row states of prefills and lengths goes before the rules of its server.
func TestServedAsStated(t *testing.T) {
	s := Serving{Backend: "sglang"}
	if r := s.rules(); !r.PrefillFirst || r.Jitter != 0 || r.Server != SGLang {
		t.Errorf("%+v", r)
	}
	s.First, s.Spread = new(false), 0.25
	if r := s.rules(); r.PrefillFirst || r.Jitter != 0.25 || r.Server != SGLang || !r.Static {
		t.Errorf("%+v", r)
	}
}

// TestDistinctPrompts: of four requests with one prompt of 40 tokens, one after another, the first computes all of it
// and each other what follows its two whole blocks of 16. A prompt of 32 tokens is two whole blocks, and the last is
// computed again: the first token needs the output of a token. Without distinct prompts all is computed.
func TestDistinctPrompts(t *testing.T) {
	for _, c := range []struct{ isl, prompts, want int }{{40, 0, 4 * 40}, {40, 1, 40 + 3*8}, {32, 1, 32 + 3*16}} {
		s := Serving{GPU: "h100", Model: "llama-3.1-8b", TP: 1, KV: dtype.F16, ISL: c.isl, OSL: 2, Concurrency: 1, Requests: 4, Spread: 1e-9, Prompts: c.prompts}
		run, err := NewServingCase(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if got := run.work()[sim.PrefillTokens]; got != float64(c.want) {
			t.Errorf("%d distinct prompts of %d tokens: %v tokens are computed, want %d", c.prompts, c.isl, got, c.want)
		}
		if err := run.Predict(&Fit{Of: "a test", Overlap: true, Card: "h100", Factors: ServerFactors()}); err != nil {
			t.Fatal(err)
		}
		if noted := slices.ContainsFunc(run.Notes, func(n string) bool { return strings.Contains(n, "1 distinct prompts") }); noted != (c.prompts > 0) {
			t.Errorf("%d distinct prompts: %q", c.prompts, run.Notes)
		}
	}
	s := Serving{GPU: "h100", Model: "llama-3.1-8b", TP: 1, KV: dtype.F16, ISL: 10, OSL: 2, Concurrency: 1, Backend: "sglang", Prompts: 5}
	if _, err := NewServingCase(t.Context(), s); err == nil || !strings.Contains(err.Error(), "distinct_prompts") {
		t.Errorf("%v, want an error: served prefill-first", err)
	}
	s.First, s.Prompts, s.Spread, s.Requests = new(false), 3, 0.5, 200
	lengths := map[int]int{}
	for _, r := range s.requests(s.Spread, 1) {
		if len(r.PrefixHashes) != r.PromptTokens || slices.Min(r.PrefixHashes) != slices.Max(r.PrefixHashes) {
			t.Fatalf("%d hashes of a prompt of %d tokens", len(r.PrefixHashes), r.PromptTokens)
		}
		lengths[r.PromptTokens]++
	}
	if len(lengths) != 3 { // 11, 7 and 14
		t.Errorf("prompts by length: %v, want three lengths", lengths)
	}
}

// TestSummarizeServing computes the summary of errors of +10 %, −30 % and 0 by hand.
func TestSummarizeServing(t *testing.T) {
	cases := []*ServingCase{
		{Serving: Serving{TTFT: 1, TPOT: 1}, TTFTOff: new(0.1), TPOTOff: new(0.2), TokensOff: new(-0.1)},
		{Serving: Serving{TTFT: 1}, TTFTOff: new(-0.3)},
		{Serving: Serving{Latency: 1}, TokensOff: new(0.3)},
	}
	s := SummarizeServing(cases)
	if s.Rows != 3 || s.TTFTRows != 2 || s.TPOTRows != 1 || s.ThroughputRows != 2 ||
		!near(val(s.TTFTMAPE), 0.2) || !near(val(s.TTFTMean), -0.1) || val(s.TTFTMaxError) != -0.3 || val(s.TPOTMAPE) != 0.2 || val(s.TPOTMaxError) != 0.2 ||
		!near(val(s.ThroughputMAPE), 0.2) || !near(val(s.ThroughputMean), 0.1) || val(s.ThroughputMaxError) != 0.3 {
		t.Errorf("%+v", s)
	}
	cases[1].TTFTOff = new(-0.1) // as large as the first: that stays
	if s := SummarizeServing(cases); val(s.TTFTMaxError) != 0.1 {
		t.Errorf("of equal errors %v", val(s.TTFTMaxError))
	}
	if s := SummarizeServing(nil); s != (ServingSummary{}) {
		t.Errorf("of nothing: %+v", s)
	}
}
