package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// memoryCases are caches of published threads of vllm-project/vllm: issue 10517, pull request
// 4454, and a made-up one.
const memoryCases = `source,model,card,card_gib,tp,utilization,max_num_batched_tokens,max_num_seqs,vllm,weights_gib,activation_gib,kv_gib,gpu_blocks_of_16
issue 10517,llama-3.1-8b,rtx-3090,23.58,1,0.9,20000,256,0.6.4,14.99,2.07,,1952
pull 4454,mistral-7b,rtx-a6000,,1,0.9,32768,256,0.4.1,,,,12735
none,llama-3.1-70b-int8,h100,79.18,2,0.9,2048,1024,0.21,,,,
`

func memoryFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "memory.csv")
	if err := os.WriteFile(path, []byte(memoryCases), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSimMemoryCases(t *testing.T) {
	code, out, errs := kvc("sim", "--cases", memoryFile(t), "--json")
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
	if s["rows"] != 3 || s["measured_rows"] != 2 || s["refused_rows"] != 0 || s["stated_rows"] != 1 || !(s["kv_mape"] > 0 && s["kv_mape"] <= s["kv_max_error"] && s["kv_max_error"] < 0.02) {
		t.Errorf("%v", s)
	}
	if c := got.Cases[0]; c["engine"] != "vllm-0.6.3" || c["gpu_blocks_of_16"] != 1952.0 || c["kv_error"] == 0.0 {
		t.Errorf("%v", c)
	}
	if _, off := got.Cases[2]["gpu_blocks_of_16"]; off || got.Cases[2]["measured"] != false || got.Cases[2]["engine"] != "vllm-v1-0.21" {
		t.Errorf("%v", got.Cases[2])
	}
}

// TestSimMemoryCasesText checks the summary, and that the table's lines have equal lengths.
func TestSimMemoryCasesText(t *testing.T) {
	code, out, errs := kvc("sim", "--cases", memoryFile(t))
	if code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	lines := strings.Split(out, "\n")
	for _, line := range lines[:4] {
		if utf8.RuneCountInString(line) != utf8.RuneCountInString(lines[0]) {
			t.Errorf("the table does not align:\n%s", out)
			break
		}
	}
	for _, want := range []string{"2 × h100", "prefill", "sampler", "3 rows, of which 2 are measured. The cache is off by 1.28 % on average, -0.05 % with its sign, and at most by 1.33 %:", "stated: 1 row\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestCaseForms checks that each form is recognized by its columns, in any order and with others.
func TestCaseForms(t *testing.T) {
	for header, want := range map[string]string{
		"\ufeffmax_num_seqs,card,model,max_num_batched_tokens,kv_gib,utilization":                         "sizes of KV caches on servers",
		"max_cache_tokens,gpu,model,input_len,output_len,num_requests,compression_rate,anything":          "runs of a throughput benchmark",
		"gpu,model,input_len,output_len,num_requests,compression_rate,max_cache_tokens,\"a \"\"b\"\",c\"": "runs of a throughput benchmark",
	} {
		if form, err := formOf([]byte(header+"\n"), "f"); err != nil || form.what != want {
			t.Errorf("%s: %q, %v; want %q", header, form.what, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                  "f: no rows",
		"a\"b,c\n":          "f: parse error",
		"model,card,tp\n1,": "match no known form",
	} {
		if form, err := formOf([]byte(in), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", in, form.what, err)
		}
	}
}

func FuzzCaseForms(f *testing.F) {
	f.Add([]byte(memoryCases))
	f.Add([]byte("gpu,model\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if form, err := formOf(text, "f"); (form.run == nil) != (err != nil) {
			t.Errorf("%q, %v", form.what, err)
		}
	})
}
