package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSimEngine checks that the output names the scheduler, its limits and its prefill.
func TestSimEngine(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	line := `{"timestamp": 0, "input_length": 1024, "output_length": 2, "hash_ids": [1, 2]}` + "\n" +
		`{"timestamp": 90000, "input_length": 1024, "output_length": 2, "hash_ids": [1, 3]}` + "\n"
	if err := os.WriteFile(log, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	serve := "sim --model llama-3.1-8b --gpu h100 --check --requests " + log + " "
	for _, c := range []struct{ args, want string }{
		{"--engine vllm-v1", "prefix caching (512 prompt tokens found in the cache), prompts in chunks; batches as vllm-v1 forms them"},
		{"", "Memory of a card, as vllm-v1 measures it"},
		{"--engine vllm-v1", "Memory of a card, as vllm-v1 measures it"}, // giving the default values of an option changes nothing
		{"--vllm-version 0.19", "Memory of a card, as vllm-v1-0.17 measures it"},
		{"--vllm-version v0.21.3 --engine vllm-v1", "Memory of a card, as vllm-v1-0.21 measures it"},
		{"--vllm-version 0.6.4 --engine vllm-0.6", "Memory of a card, as vllm-0.6.3 measures it"},
		{"--engine vllm-v1 --enable-prefix-caching=false", "uncompressed, prompts in chunks; batches"},
		{"--engine vllm-v1 --enable-chunked-prefill=false", "512 prompt tokens found in the cache); batches"},
		{"--enable-chunked-prefill=false --max-num-batched-tokens 1023 --max-model-len 1026", "a prompt of 1,024 tokens exceeds max_num_batched_tokens 1023. vLLM does not start so: without chunked prefill it wants max_num_batched_tokens, here 1023, to be at least max_model_len, here 1026."},
		{"--engine vllm-v1 --max-cache-tokens 64", "KV-Compress exists for vLLM 0.6.0 only. On vLLM V1 it is projected as if it were ported"},
		{"--engine vllm-v1 --method snapkv --max-cache-tokens 64", "vLLM V1 has no snapkv. It is projected as if it were ported: it drops KVs once, after a prompt's last chunk."},
		{"--engine vllm-v1 --max-model-len 1000", "2 are refused, the first because a prompt of 1,024 tokens and 2 of output exceed max_model_len 1000"},
		{"--engine kv-compress", "batches as kv-compress forms them"},
		{"", "batches as vllm-v1 forms them"},
		{"--rate 0.5", "batches as kv-compress forms them"},
	} {
		code, out, errs := kvc(strings.Fields(serve + c.args)...)
		if code != 0 || !strings.Contains(strings.ReplaceAll(out, "\n", " "), c.want) {
			t.Errorf("%s: %d, %s: no %q in\n%s", c.args, code, errs, c.want, out)
		}
	}
	for _, c := range []struct {
		args        string
		seqs, batch int
		wrong       bool
	}{
		{args: "--gpu h100", seqs: 1024, batch: 8192},
		{args: "--gpu h100 --usage-context llm-class", seqs: 1024, batch: 16384},
		{args: "--gpu a100-80gb", seqs: 256, batch: 2048},
		{args: "--gpu l4 --usage-context llm-class", seqs: 256, batch: 8192},
		{args: "--gpu l4 --max-num-batched-tokens 128", seqs: 128, batch: 128},
		{args: "--gpu l4 --max-num-seqs 16", seqs: 16, batch: 2048},
		{args: "--gpu l4 --enable-chunked-prefill=false --max-model-len 4096", seqs: 256, batch: 4096},
		{args: "--gpu h100 --enable-chunked-prefill=false --max-model-len 4096", seqs: 1024, batch: 8192},
		{args: "--gpu h100 --enable-chunked-prefill=false", seqs: 1024, batch: 131072},
		{args: "--gpu l4 --engine vllm-v2", wrong: true},
		{args: "--gpu l4 --usage-context phone", wrong: true},
		{args: "--gpu l4 --vllm-version 0.6.4", wrong: true},
		{args: "--gpu l4 --vllm-version new", wrong: true},
		{args: "--gpu l4 --watermark 0.1", wrong: true},
		{args: "--gpu l4 --engine vllm-0.6 --long-prefill-token-threshold 5", wrong: true},
		{args: "--gpu l4 --long-prefill-token-threshold -5", wrong: true},
		{args: "--gpu l4 --enable-prefix-caching --rate 0.5", wrong: true},
	} {
		code, out, _ := kvc(strings.Fields("sim --model llama-3.1-8b --json --engine vllm-v1 --requests " + log + " " + c.args)...)
		if c.wrong {
			if code != 2 {
				t.Errorf("%s: exit code %d, want 2", c.args, code)
			}
			continue
		}
		var got struct {
			Inputs struct {
				Scheduler string
				Limits    struct {
					Seqs  int `json:"max_num_seqs"`
					Batch int `json:"max_num_batched_tokens"`
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.Inputs.Scheduler != "vllm-v1" || got.Inputs.Limits.Seqs != c.seqs || got.Inputs.Limits.Batch != c.batch {
			t.Errorf("%s: %v, %+v, want %d sequences and %d tokens", c.args, err, got, c.seqs, c.batch)
		}
	}
}

// TestSweepEngine sweeps on vLLM V1, with its limits by card, and with prefix caching for
// uncompressed points.
func TestSweepEngine(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	line := `{"timestamp": 0, "input_length": 1024, "output_length": 2, "hash_ids": [1, 2]}` + "\n" +
		`{"timestamp": 90000, "input_length": 1024, "output_length": 2, "hash_ids": [1, 3]}` + "\n"
	if err := os.WriteFile(log, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, out, errs := kvc(strings.Fields("sweep --json --model llama-3.1-8b --gpu h100 --compression none --requests " + log)...); !strings.Contains(out, `"max_num_seqs": 1024`) {
		t.Errorf("a sweep of nothing compressed is not on vLLM V1: %s\n%s", errs, out)
	}
	code, out, errs := kvc(strings.Fields("sweep --json --engine vllm-v1 --model llama-3.1-8b --gpu l4,h100 --compression none,rate:0.5 --requests " + log)...)
	var got struct {
		Outcomes []struct {
			GPU     string
			Seqs    int `json:"max_num_seqs"`
			Metrics struct {
				Cached int `json:"cached_tokens"`
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got.Outcomes) != 4 {
		t.Fatalf("%d, %v, %s: %s", code, err, errs, out)
	}
	for i, want := range []struct{ seqs, cached int }{{256, 512}, {256, 0}, {1024, 512}, {1024, 0}} {
		if o := got.Outcomes[i]; o.Seqs != want.seqs || o.Metrics.Cached != want.cached {
			t.Errorf("outcome %d: %+v, want %+v", i, o, want)
		}
	}
}
