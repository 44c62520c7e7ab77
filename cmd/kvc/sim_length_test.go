package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMaxModelLen checks that longer requests are refused, and the printed maximum concurrency.
func TestMaxModelLen(t *testing.T) {
	serve := "sim --requests six-stories --model llama-3.1-8b --gpu l4 --max-num-batched-tokens 2048 --blocks 524288 "
	code, out, errs := kvc(strings.Fields(serve + "--max-model-len 8192")...)
	if want := "for 32,768 tokens uncompressed:\n  at most 4 requests of 8,192 tokens at once. Maximum concurrency for 8,192 tokens per request: 4.00x"; code != 0 || !strings.Contains(out, want) {
		t.Errorf("%d, %s: no %q in\n%s", code, errs, want, out)
	}
	_, out, _ = kvc(strings.Fields(serve)...)
	if want := "not one request of 131,072 tokens at once. Maximum concurrency for 131,072 tokens per request: 0.25x.\n  Without compression a server needs --max-model-len 32752 or less"; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	for _, how := range []string{"", " --enable-chunked-prefill"} {
		_, out, _ = kvc(strings.Fields(serve + "--max-model-len 100 --json" + how)...)
		var got struct {
			Inputs  struct{ Limits map[string]float64 }
			Memory  map[string]any
			Metrics map[string]any
			Refusal string
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if got.Refusal != "a prompt of 5 tokens and 240 of output exceed max_model_len 100" || got.Memory["max_model_len"] != 100.0 || got.Inputs.Limits["max_model_len"] != 100.0 || got.Memory["engine"] != "vllm-v1" {
			t.Errorf("%s: %+v", how, got)
		}
	}
	code, out, errs = kvc(strings.Fields("sweep --requests six-stories --model llama-3.1-8b --gpu l4 --memory 32768tokens --max-num-batched-tokens 2048 --max-model-len 8192 --compression none,rate:0.5")...)
	if code != 0 || !strings.Contains(out, "8,192 tokens") || !strings.Contains(out, "4.00x") {
		t.Errorf("%d, %s:\n%s", code, errs, out)
	}
}

// TestBeyondContext: requests longer than the model's context are refused by sim, sweep and plan alike.
func TestBeyondContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.csv")
	// The context of llama-2-7b is 4,096 tokens.
	if err := os.WriteFile(path, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,4000,96\n2023-11-16 18:00:09,4000,97\n2023-11-16 18:00:19,100,10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	serve := " --requests " + path + " --model llama-2-7b --gpu h100"
	const why = "a prompt of 4,000 tokens and 97 of output exceed max_model_len 4096"
	for command, wants := range map[string][]string{
		"sim":                   {"1 request is refused, the first because " + why + ". 1 request is longer than the 4,096 tokens of the model's context."},
		"sim --json":            {`"refusal": "` + why, `"longer_than_context": 1`},
		"sweep --json":          {`"refusal": "` + why, `"longer_than_context": 1`},
		"plan --slo-ttft 9s":    {"33.3 % of the requests are longer than the 4,096 tokens of the model's context"},
		"sim --engine vllm-0.6": {why},
	} {
		if _, out, errs := kvc(strings.Fields(command + serve)...); !containsAll(out, wants) {
			t.Errorf("%s: want %q in\n%s%s", command, wants, out, errs)
		}
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
