package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"kvcompress/sim"
)

// steady is a log of requests of 1,000 prompt and 50 output tokens, at the given milliseconds.
func steady(t *testing.T, times ...string) string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log.jsonl")
	var text strings.Builder
	for _, at := range times {
		text.WriteString(`{"timestamp": ` + at + `, "input_length": 1000, "output_length": 50}` + "\n")
	}
	if err := os.WriteFile(log, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return log
}

// planJSON has the fields of an answer that tests read.
type planJSON struct {
	Answer     string
	Meets      bool
	Priced     bool
	OneEngine  bool `json:"one_engine"`
	Time       []string
	Candidates []struct {
		GPU         string `json:"gpu"`
		TP          int    `json:"tensor_parallel"`
		Compression string
		Replicas    int
		Cards       int
		Scheduler   sim.Scheduler
		Month       float64 `json:"usd_per_month"`
		Meets       bool
		Alone       bool
		Error       string
		Reasons     []struct{ Kind, Text string }
		Metrics     struct {
			Attainment float64 `json:"slo_attainment"`
			Finished   int     `json:"completed"`
		}
	}
}

func planned(t *testing.T, want int, args ...string) planJSON {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(append(append([]string{"plan"}, args...), "--json"), &out, &errs); code != want {
		t.Fatalf("%v: exit %d, want %d: %s", args, code, want, errs.String())
	}
	var p planJSON
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPlan plans for a log in which one request alone on a card meets the objective, but not two
// at the same time: it takes as many replicas as requests arrive together.
func TestPlan(t *testing.T) {
	log := steady(t, "0", "0", "0", "60000", "60000", "60000", "120000", "120000", "120000")
	of := func(more ...string) []string {
		return append([]string{"--requests", log, "--model", "llama-3.1-8b", "--tensor-parallel", "1", "--price", "l4=1", "--gpu", "l4"}, more...)
	}
	// How long one request alone takes, and the last of three at once.
	alone := planned(t, exitDone, of("--replicas", "3", "--slo-ttft", "1h")...)
	if got := alone.Candidates[0]; got.Replicas != 3 || got.Cards != 3 || got.Month != 3*730 || !strings.Contains(alone.Answer, "3 replicas of 1 × l4, uncompressed: meets the objectives for 100 %") {
		t.Fatalf("%+v", alone)
	}
	var ttft struct {
		Candidates []struct {
			Metrics struct {
				TTFT struct{ Max float64 } `json:"time_to_first_token_seconds"`
			}
		}
	}
	var out bytes.Buffer
	if code := run(append([]string{"plan"}, of("--replicas", "3", "--slo-ttft", "1h", "--json")...), &out, os.Stderr); code != exitDone {
		t.Fatal(code)
	}
	if err := json.Unmarshal(out.Bytes(), &ttft); err != nil {
		t.Fatal(err)
	}
	one := time.Duration(ttft.Candidates[0].Metrics.TTFT.Max * 1e9)
	found := planned(t, exitDone, of("--slo-ttft", (one*101/100).String())...)
	if c := found.Candidates[0]; !c.Meets || c.Replicas != 3 || c.Scheduler != sim.VLLMV1 || c.Metrics.Attainment != 1 || c.Metrics.Finished != 9 || !found.OneEngine || !found.Priced || len(found.Time) != 1 {
		t.Errorf("%+v", found)
	}
	if never := planned(t, exitFailed, of("--slo-ttft", (one/2).String())...); never.Meets || !never.Candidates[0].Alone || never.Candidates[0].Reasons[0].Kind != "objective" ||
		!strings.HasPrefix(never.Answer, "None meets the objectives for 99 % of the requests. Nearest: 1 × l4 with any number of replicas") {
		t.Errorf("%+v", never)
	}
	if few := planned(t, exitFailed, of("--slo-ttft", (one*101/100).String(), "--max-replicas", "2")...); few.Candidates[0].Replicas != 2 || few.Candidates[0].Alone ||
		!strings.Contains(few.Candidates[0].Reasons[0].Text, "with 2 replicas: TTFT") {
		t.Errorf("%+v", few)
	}
	// On two, one of each three is alone.
	if part := planned(t, exitDone, of("--slo-ttft", (one*101/100).String(), "--slo-attainment", "0.3")...); part.Candidates[0].Replicas != 2 {
		t.Errorf("%+v", part)
	}
}

// TestPlanReasons checks candidates that each fail for another reason.
func TestPlanReasons(t *testing.T) {
	log := steady(t, "0", "100")
	p := planned(t, exitDone, "--requests", log, "--model", "llama-3.1-70b", "--gpu", "h100", "--tensor-parallel", "1,2,4,7", "--slo-ttft", "1h",
		"--compression", "none,rate:0.5,snapkv,razor", "--replicas", "1")
	kinds := map[string]string{}
	for _, c := range p.Candidates {
		if c.Meets == (len(c.Reasons) > 0) {
			t.Errorf("%+v", c)
		}
		for _, r := range c.Reasons {
			kinds[r.Kind] += r.Text + "\n"
		}
	}
	for kind, want := range map[string]string{"memory": "the weights take 141.1 GB", "projected": "full_share"} {
		if !strings.Contains(kinds[kind], want) {
			t.Errorf("%s: no %q in %q", kind, want, kinds)
		}
	}
	for _, want := range []string{"compresses nothing without", "7"} {
		if !strings.Contains(kinds["projected"], want) {
			t.Errorf("no %q in %q", want, kinds["projected"])
		}
	}
	own := planned(t, exitDone, "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100", "--slo-ttft", "1h", "--compression", "none,rate:0.5", "--engine", "own")
	if own.OneEngine || !strings.Contains(own.Answer, "different engines") || own.Candidates[0].Scheduler == own.Candidates[1].Scheduler {
		t.Errorf("%+v", own)
	}
	old := planned(t, exitDone, "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100", "--slo-ttft", "1h", "--compression", "none,rate:0.5", "--engine", "vllm-0.6")
	if c := old.Candidates[1]; c.Meets || len(c.Reasons) != 1 || c.Reasons[0].Kind != "projected" || !strings.HasPrefix(c.Reasons[0].Text, "vLLM 0.6 does not compress") {
		t.Errorf("a method on vllm-0.6: %+v", c)
	}
}

// TestPlanOutputs checks that the first line has the answer, that the others have at most 120
// characters, and that the page is written.
func TestPlanOutputs(t *testing.T) {
	page := filepath.Join(t.TempDir(), "plan.html")
	args := []string{"plan", "--requests", steady(t, "0", "1000", "2000"), "--model", "llama-3.1-8b", "--gpu", "l4,h100", "--slo-ttft", "10ms", "--slo-e2e", "20s",
		"--compression", "none,streaming-llm:tokens:512", "--price", "l4=0.7,h100=3", "--html", page}
	var out, errs bytes.Buffer
	if code := run(args, &out, &errs); code != exitFailed {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	first, rest, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(first, "None meets the objectives for 99 % of the requests. Nearest: ") || !strings.Contains(first, "TTFT is within 10 ms for") {
		t.Error(first)
	}
	for line := range strings.Lines(rest) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 120 {
			t.Errorf("a line of more than 120: %s", line)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{first, "<html lang=\"en\">", "kvc plan --requests", "--slo-ttft 10ms", "Time on l4 by ", "scope=\"col\"", "scope=\"row\"", "<time datetime="} {
		if !bytes.Contains(text, []byte(strings.ReplaceAll(want, "&", "&amp;"))) {
			t.Errorf("the page has no %q", want)
		}
	}
	if bytes.Contains(text, []byte("--html")) {
		t.Error("the page says where it was written")
	}
}

func TestPlanUsage(t *testing.T) {
	log := steady(t, "0")
	base := []string{"plan", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "l4,h100", "--slo-ttft", "1s"}
	for want, args := range map[string][]string{
		"h100 has no price":                    {"--price", "l4=1"},
		"want CARD=DOLLARS":                    {"--price", "l4=cheap"},
		"want more than 0, and at most 10,000": {"--price", "l4=-1,h100=1"},
		"want 1 to 4096":                       {"--max-replicas", "0"},
		"--replicas -2: want":                  {"--replicas", "-2"},
		"--max-replicas 5000: want":            {"--max-replicas", "5000"},
		"--max-replicas and --replicas":        {"--replicas", "2", "--max-replicas", "1"},
		"is less than max_num_seqs 64":         {"--max-num-seqs", "64", "--max-num-batched-tokens", "16"},
		"want a fraction in (0, 1]":            {"--slo-attainment", "1.5"},
		"want a time above 0":                  {"--slo-tpot", "0s"},
		"there is no router":                   {"--router", "dice"},
		"there is no rule":                     {"--turns", "never"},
		"clients":                              {"--concurrency", "0"},
		"there is no scheduler":                {"--engine", "orca"},
		"exclude each other":                   {"--rate", "0.5", "--max-cache-tokens", "7"},
		"--compression exclude":                {"--rate", "0.5", "--compression", "none"},
		"ways to serve one load":               {"--load", "1,2"},
		"kvc sweep takes several":              {"--model", "llama-3.1-70b"},
		"--weights \"fp4\": want bf16":         {"--weights", "fp4"},
		"KV format f32: want f16":              {"--kv-dtype", "f32"},
		"tokens 0: want at least 1":            {"--max-num-batched-tokens", "0"},
		"as many":                              {"--tensor-parallel", "0"},
	} {
		if want == "as many" {
			want = "--tensor-parallel 0"
		}
		var out, errs bytes.Buffer
		if code := run(append(append([]string{}, base...), args...), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%v: exit %d, %s%.200s\nwant %q", args, code, errs.String(), out.String(), want)
		}
	}
	if code, out, errs := kvc("plan", "--requests", log, "--model", "nothing", "--gpu", "l4"); code != exitUsage || out != "" {
		t.Errorf("%d: %s", code, errs)
	}
}

// TestSweepTakesFlagsOfSim checks that kvc sweep has every flag of kvc sim that changes a
// projection.
func TestSweepTakesFlagsOfSim(t *testing.T) {
	other := map[string]bool{"num-gpu-blocks": true, "cases": true, "plot": true, "chrome-trace": true, "per-request": true, "per-step": true} // of one run
	found := map[string]bool{"plots": true, "prefill-replicas": true, "decode-replicas": true}                                                 // kvc plan finds how many, with --disaggregate
	sweep, plan := newSweepCmd().Flags(), newPlanCmd().Flags()
	newSimCmd().Flags().VisitAll(func(f *pflag.Flag) {
		if other[f.Name] {
			return
		}
		if sweep.Lookup(f.Name) == nil {
			t.Errorf("kvc sweep has no --%s", f.Name)
		}
		if !found[f.Name] && plan.Lookup(f.Name) == nil {
			t.Errorf("kvc plan has no --%s", f.Name)
		}
	})
}

// TestSweepAsSim checks that a sweep of one point gives the same as kvc sim, with any flags.
func TestSweepAsSim(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	var text strings.Builder
	for i := range 40 {
		text.WriteString(`{"timestamp": ` + string(rune('0'+i/10)) + `00, "input_length": 1024, "output_length": 90, "session_id": "s` + string(rune('0'+i%3)) + `", "hash_ids": [1, ` + string(rune('2'+i%7)) + `]}` + "\n")
	}
	if err := os.WriteFile(log, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	type metrics struct {
		Metrics json.RawMessage
	}
	for _, args := range []string{
		"", "--concurrency 4", "--turns wait", "--turns think --concurrency 2", "--replicas 3 --router least-outstanding", "--replicas 3 --router session-affinity", "--blocks 65536",
		"--enable-prefix-caching=false", "--enable-chunked-prefill=false --max-model-len 8192", "--engine vllm-0.6 --enable-chunked-prefill", "--engine vllm-0.6 --enable-prefix-caching",
		"--rate 0.25 --window 8", "--method snapkv --max-cache-tokens 128 --set window=16 --spread even", "--max-cache-tokens 128 --interval 3 --engine vllm-v1",
		"--gpu-memory-utilization 0.8 --slo-ttft 100ms --slo-attainment 0.5", "--no-compression --max-num-seqs 3 --max-model-len 2000",
	} {
		all := append([]string{"--requests", log, "--model", "llama-3.1-8b", "--gpu", "l4", "--check", "--json"}, strings.Fields(args)...)
		code, out, errs := kvc(append([]string{"sim"}, all...)...)
		var one metrics
		if err := json.Unmarshal([]byte(out), &one); code != exitDone || err != nil {
			t.Fatalf("sim %s: %d, %v, %s", args, code, err, errs)
		}
		code, out, errs = kvc(append([]string{"sweep"}, all...)...)
		var many struct{ Outcomes []metrics }
		if err := json.Unmarshal([]byte(out), &many); code != exitDone || err != nil || len(many.Outcomes) != 1 {
			t.Fatalf("sweep %s: %d, %v, %s", args, code, err, errs)
		}
		var a, b bytes.Buffer
		if err := json.Compact(&a, one.Metrics); err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&b, many.Outcomes[0].Metrics); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s:\nsim   %s\nsweep %s", args, a.String(), b.String())
		}
	}
}

func TestToday(t *testing.T) {
	now := func() time.Time { return time.Date(2031, 5, 6, 23, 0, 0, 0, time.FixedZone("", -3600*2)) }
	for epoch, want := range map[string]string{"": "2031-05-07", "86400": "1970-01-02", "-1": "2031-05-07", "x": "2031-05-07", "99999999999999": "2031-05-07"} {
		if got := today(func(string) string { return epoch }, now); got != want {
			t.Errorf("%q: %s, want %s", epoch, got, want)
		}
	}
	if got := asWord("a b'c"); got != `'a b'\''c'` {
		t.Error(got)
	}
}

// A candidate has to keep a fraction of the full cache's quality, by the given bench, and the
// answer names the bench.
func TestPlanQuality(t *testing.T) {
	dir := t.TempDir()
	table := `{"plan": {"models": ["tiny"], "length": 512}, "rankings": [{"mode": "query-aware", "budget": "1/2", "methods": [
		{"method": "snapkv", "relative": 0.97, "bytes": 0.49}, {"method": "streaming-llm", "relative": 0.5, "bytes": 0.49},
		{"method": "infllm", "relative": 0.72, "bytes": 0.495}]}]}`
	file := filepath.Join(dir, "bench.json")
	if err := os.WriteFile(file, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	requests := filepath.Join(dir, "requests.csv")
	if err := os.WriteFile(requests, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,2000,20\n2023-11-16 18:15:56.6805900,2000,20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"plan", "--requests", requests, "--model", "llama-3.1-8b", "--gpu", "l4", "--slo-ttft", "60s",
		"--compression", "snapkv:rate:0.52,streaming-llm:rate:0.52,knorm:rate:0.52"}
	var out, errs bytes.Buffer
	if code := run(append(args, "--quality", file, "--min-quality", "0.95"), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, errs.String(), out.String())
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"l4, snapkv, keep 52 %: meets", "that of tiny at 512 tokens", "it keeps 50 % of the full cache's quality", "its quality is not known"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	page := filepath.Join(dir, "front.html")
	args[len(args)-1] = "none,bench"
	if code := run(append(args, "--quality", file, "--min-quality", "0.4", "--html", page, "--json"), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	// InfLLM takes no rate: its candidate has half of the tokens of the mean prompt.
	for _, want := range []string{`snapkv:rate:0.5`, `streaming-llm:rate:0.5`, `infllm:tokens:1000`, `"kept": 0.72`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the bench's methods are no candidates: no %s in %s", want, out.String())
		}
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("Throughput against quality")) {
		t.Errorf("the page has no picture of throughput against quality, %v", err)
	}
	out.Reset()
	errs.Reset()
	published := append(args[:len(args)-1:len(args)-1], "none,kivi,snapkv:rate:0.5", "--quality", "longctx_bench:Llama-3-8B", "--min-quality", "0.97")
	if code := run(published, &out, &errs); code != 0 || !strings.Contains(out.String(), "Llama-3-8B in the published table of longctx_bench") || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), "has no result of snapkv") {
		t.Errorf("exit %d, %s, %s", code, out.String(), errs.String())
	}
	errs.Reset()
	if code := run(append(args, "--quality", file), &out, &errs); code != 2 || !strings.Contains(errs.String(), "--quality needs --min-quality") {
		t.Errorf("without --min-quality: exit code %d and %q", code, errs.String())
	}
	for _, wrong := range [][]string{{}, {"--quality", "longctx_bench:llama", "--min-quality", "0.9"}, {"--min-quality", "0.9"}, {"--quality", file, "--min-quality", "2"}, {"--quality", requests, "--min-quality", "0.9"}, {"--quality", file, "--min-quality", "0.9", "--quality-mode", "query-agnostic"}} {
		if code := run(append(args, wrong...), &out, &errs); code != 2 {
			t.Errorf("%v: exit code %d", wrong, code)
		}
	}
}

// TestPlanCardOfFile checks that a card of a file has one name in kvc sim, sweep and plan: the one that the file
// states. --price takes it, and the file's.
func TestPlanCardOfFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("c8.json", []byte(`{"name": "mycard", "memory_bytes": 24000000000, "bytes_per_second": 3e11, "flops_16bit": 1.2e14}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := kvc("trace", "generate", "--requests", "50", "--arrivals", "poisson:1/s", "--prompt", "lognormal:500,1000", "--output", "lognormal:50,100", "-o", "log"); code != exitDone {
		t.Fatal(errs)
	}
	args := []string{"--requests", "log", "--model", "llama-3.1-8b", "--gpu", "c8.json"}
	if code, out, errs := kvc(append([]string{"sim"}, args...)...); code != exitDone || !strings.Contains(out, " on mycard:") {
		t.Errorf("sim: %d: %s%s", code, out, errs)
	}
	args = append(args, "--slo-ttft", "20s", "--price")
	for _, name := range []string{"mycard", "MyCard", "c8", "c8.json", "./c8.json"} {
		if code, out, errs := kvc(append(append([]string{"plan"}, args...), name+"=1")...); code != exitDone || !strings.Contains(out, "× mycard, uncompressed: meets the objectives for 100 % of the requests at $730 a month") {
			t.Errorf("plan, %s: %d: %s%s", name, code, out, errs)
		}
		if code, out, errs := kvc(append(append([]string{"sweep"}, args...), name+"=1")...); code != exitDone || !strings.Contains(out, "GPU mycard, cards 1") {
			t.Errorf("sweep, %s: %d: %s%s", name, code, out, errs)
		}
	}
	if code, _, errs := kvc(append(append([]string{"plan"}, args...), "c9=1")...); code != exitUsage || !strings.Contains(errs, "--price c9: no such card is in --gpu, which has mycard") {
		t.Errorf("%d: %s", code, errs)
	}
}
