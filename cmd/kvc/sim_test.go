package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const published = "../../sim/cost/testdata/published/kv-compress.csv"

// TestSimPublished calibrates on the published measurements, as a user would, and projects
// them with the profile.
func TestSimPublished(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	profile := filepath.Join(t.TempDir(), "profile.json")
	if code, out, errs := kvc("calibrate", "--measurements", published, "-o", profile); code != 0 || !strings.Contains(out, "leaving each input length out") {
		t.Fatalf("%d: %s%s", code, out, errs)
	}
	code, out, errs := kvc("sim", "--cases", published, "--profile", profile, "--json")
	if code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	var got struct {
		Cases   []map[string]any
		Summary map[string]float64
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	s := got.Summary
	if len(got.Cases) != 72 || s["rows"] != 72 || s["batch_exact"] < 70 || s["batch_max_error"] > 1 || s["throughput_mape"] > 0.04 || s["throughput_max_error"] > 0.15 {
		t.Errorf("%v", s)
	}
}

func TestSimRequests(t *testing.T) {
	args := []string{"sim", "--requests", "six-stories", "--model", "llama-3.1-8b", "--gpu", "l4", "--max-num-batched-tokens", "8192", "--check"}
	code, out, errs := kvc(args...)
	if code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	for _, want := range []string{"six-stories by llama-3.1-8b on l4", "Bound by", "goes into reading the weights", "Error to expect", "first token (TTFT), ms", "weights", "Memory of a card"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	code, first, _ := kvc(append(args, "--json", "--rate", "0.5")...)
	_, again, _ := kvc(append(args, "--json", "--rate", "0.5")...)
	if code != 0 || first != again || !json.Valid([]byte(first)) {
		t.Errorf("%d: the same projection is not the same JSON:\n%s\n%s", code, first, again)
	}
}

// TestSimMethods checks that the output names the method, its options and the assumptions.
func TestSimMethods(t *testing.T) {
	serve := "sim --requests six-stories --model llama-3.1-8b --gpu l4 --max-num-batched-tokens 8192 --check --method "
	for _, c := range []struct{ args, want string }{
		{"snapkv --max-cache-tokens 64", "compressed by snapkv to 64 KVs a head"},
		{"snapkv --max-cache-tokens 64", "The kernels of the method are not measured"},
		{"razor --set full_share=0.15", "Of 256 heads 38 are assumed to keep everything"},
		{"streaming-llm --rate 0.25", "before every decode step"},
		{"quest --max-cache-tokens 64", "No memory is freed"},
	} {
		code, out, errs := kvc(strings.Fields(serve + c.args)...)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d, %s: no %q in\n%s", c.args, code, errs, c.want, out)
		}
	}
	code, out, errs := kvc(strings.Fields(serve + "razor --set full_share=0.15 --set decode=rolling --json")...)
	var got struct {
		Inputs struct {
			Method string
			Set    map[string]any
		}
		Notes []string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Inputs.Method != "razor" || got.Inputs.Set["full_share"] != 0.15 || got.Inputs.Set["decode"] != "rolling" || len(got.Notes) < 2 {
		t.Errorf("%d, %v, %s: %+v", code, err, errs, got)
	}
}

// TestSimSaysOptions checks that the output has the kind of prefill, the prompt tokens found in
// the prefix cache, and a warning about given blocks that do not fit.
func TestSimSaysOptions(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	line := `{"timestamp": 0, "input_length": 1024, "output_length": 2, "hash_ids": [1, 2]}` + "\n" +
		`{"timestamp": 90000, "input_length": 1024, "output_length": 2, "hash_ids": [1, 3]}` + "\n"
	if err := os.WriteFile(log, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := kvc(strings.Fields("sim --model llama-3.1-8b --gpu l4 --check --enable-prefix-caching --enable-chunked-prefill --blocks 2000000 --requests " + log)...)
	if code != 0 {
		t.Fatal(errs)
	}
	for _, want := range []string{"prefix caching (512 prompt tokens found in the cache)", "prompts in chunks", "beyond what the server may take"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestSimObjectives checks that the requests within one objective and within all read the same if
// they are the same: 2 of 3 are 66.6 %, rounded down as everywhere, so that 98.96 % is not 99 %.
func TestSimObjectives(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.csv")
	if err := os.WriteFile(log, []byte("arrival_s,input_tokens,output_tokens\n0,100,2\n60,100,2\n120,20000,2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := kvc("sim", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "l4", "--slo-ttft", "1s")
	if code != 0 || strings.Count(out, "met by 66.6 %") != 2 {
		t.Errorf("%d: %s%s", code, errs, out)
	}
}

func TestSimWrongUse(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain.csv")
	if err := os.WriteFile(plain, []byte("when,in,out\n0,5,5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none.csv")
	if err := os.WriteFile(none, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	memory := filepath.Join(dir, "memory.csv")
	if err := os.WriteFile(memory, []byte("model,card,utilization,max_num_batched_tokens,max_num_seqs,kv_gib\ngpt-9,l4,0.9,2048,256,1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	serve := "sim --requests six-stories --model llama-3.1-8b --gpu l4 "
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"sim", "--requests is missing", exitUsage},
		{"sim --requests six-stories", "--model is missing", exitUsage},
		{"sim --requests six-stories --model llama-3.1-8b", "--gpu is missing", exitUsage},
		{"sim --requests six-stories --model gpt-5 --gpu l4", "unknown model", exitUsage},
		{"sim --requests six-stories --model llama-3.1-8b --gpu abacus", "unknown card", exitUsage},
		{"sim --requests nowhere --model llama-3.1-8b --gpu l4", "nowhere", exitUsage},
		{serve + "--rate 0.5 --max-cache-tokens 5", "exclude each other", exitUsage},
		{serve + "--rate 0", "leave it out", exitUsage},
		{serve + "--rate 7", "--rate 7: want a fraction in (0, 1]", exitUsage},
		{serve + "--rate -1", "--rate -1: want a fraction in (0, 1]", exitUsage},
		{serve + "--rate NaN", "--rate NaN: want a fraction in (0, 1]", exitUsage},
		{serve + "--method snapkv --max-cache-tokens -1", "--max-cache-tokens -1: want at least 1", exitUsage},
		{serve + "--method zip", "there is no method", exitUsage},
		{serve + "--method snapkv", "compresses nothing without max_cache_tokens or rate", exitUsage},
		{serve + "--method snapkv --rate 0.5 --sinks 4", "--sinks is an option of kv-compress", exitUsage},
		{serve + "--method snapkv --rate 0.5 --set colour=red", "no option", exitUsage},
		{serve + "--method snapkv --rate 0.5 --enable-chunked-prefill", "do not go with compression", exitUsage},
		{serve + "--method razor", "full_share=0.15", exitUsage},
		{serve + "--method duo-attention --set map=" + none, "none.csv", exitUsage},
		{serve + "--method quest --rate 0.5", "no rate", exitUsage},
		{serve + "--kv-dtype f32", "KV format f32", exitUsage},
		{serve + "--limit -1", "--limit -1", exitUsage},
		{serve + "--slo-ttft -1s", "want a time above 0", exitUsage},
		{"sim --requests " + plain + " --model llama-3.1-8b --gpu l4", "kvc trace import", exitUsage},
		{"sim --requests " + none + " --model llama-3.1-8b --gpu l4", "has no requests", exitUsage},
		{serve + "--tensor-parallel 3", "tensor parallelism 3", exitUsage},
		{serve + "--gpu-memory-utilization 90", "such as 0.9", exitUsage},
		{serve + "--rate 0.5 --enable-prefix-caching", "do not go with compression", exitUsage},
		{serve + "--enable-prefix-caching", "no prefix hashes", exitUsage},
		{serve + "--profile " + empty, "empty", exitUsage},
		{"sim --requests six-stories --model llama-3.1-70b --gpu l4", "does not fit", exitUsage},
		{"sim --cases x --requests y", "exclude each other", exitUsage},
		{"sim --requests x --model llama-3.1-8b --gpu l4 --engine vllm-0.6 --rate 0.5", "--engine vllm-0.6 compresses nothing: --engine kv-compress does", exitUsage},
		{"sim --cases " + memory + " --gpu l4", "--gpu does not go with --cases", exitUsage},
		{"sim --cases " + memory + " --max-num-seqs 3", "--max-num-seqs does not go with --cases", exitUsage},
		{serve + "--plot a.svg", "draws the runs of --cases", exitUsage},
		{serve + "--spread nowhere", "--spread: nowhere", exitUsage},
		{serve + "--spread " + empty, "empty", exitUsage},
		{"sim --cases nowhere", "nowhere", exitUsage},
		{"sim --cases " + empty, "no rows", exitUsage},
		{"sim --cases " + plain, "the columns of its first line match no known form", exitUsage},
		{"sim --cases " + memory + " --profile x", "--profile does not go with --cases: the rows of memory.csv are sizes of KV caches", exitUsage},
		{"sim --cases " + memory + " --plot x.svg", "--plot does not go with --cases", exitUsage},
		{"sim --cases " + memory, "1 row of memory.csv cannot be projected", exitUsage},
		{serve + "--max-model-len -1", "max_model_len -1", exitUsage},
		{serve + "--max-model-len 131073", "want 1 to 131072, the context of llama-3.1-8b", exitUsage},
		{serve + "--max-model-len 131072 --max-num-batched-tokens 2048", "a server refuses to start", exitUsage},
		{"calibrate", "--measurements is missing", exitUsage},
		{"calibrate --measurements " + empty, "-o is missing", exitUsage},
		{"calibrate --measurements " + empty + " -o " + dir + "/p", "no rows", exitUsage},
	} {
		code, _, errs := kvc(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: %d, %q: want %d and %q", c.args, code, errs, c.code, c.want)
		}
	}
}

func TestCalibrateTimingsCommand(t *testing.T) {
	dir := t.TempDir()
	timings := filepath.Join(dir, "timings.csv")
	if err := os.WriteFile(timings, []byte("gpu,model,term,units,microseconds\nl4,llama-3.1-8b,sort,1000000,640\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(dir, "p.json")
	code, out, errs := kvc("calibrate", "--measurements", timings, "-o", profile)
	if code != 0 || !strings.Contains(out, "33.3 % of the peak") || strings.Contains(out, "Inf") || !strings.Contains(out, "how far off a run will be is not known") || !strings.Contains(out, "Timed was sort alone.") {
		t.Fatalf("%d: %s%s", code, out, errs)
	}
	if code, out, errs = kvc("sim", "--requests", "six-stories", "--model", "llama-3.1-8b", "--gpu", "l4", "--profile", profile, "--max-cache-tokens", "64"); code != 0 || !strings.Contains(out, "1 timings of timings.csv") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if text := strings.Join(strings.Fields(out), " "); !strings.Contains(text, "Error to expect: not known, as no run was measured") || !strings.Contains(text, "Timed was sort alone. All other terms have default factors") {
		t.Errorf("the error of single terms is taken for that of a run: %s", out)
	}
}
