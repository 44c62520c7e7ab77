package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPools disaggregates prefill and decode from the command line: of a request alone, the
// time to first token grows by its KVs' way over the link and by the last token that is
// computed once more.
func TestPools(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log.csv")
	if err := os.WriteFile(log, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,1600,10\n2023-11-16 18:02:00,1600,10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rows := filepath.Join(dir, "rows.jsonl")
	args := func(more ...string) []string {
		return append([]string{"sim", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "l4", "--per-request", rows, "--check"}, more...)
	}
	firsts := func(args []string) (first []int64, replicas []int) {
		t.Helper()
		if code, _, errs := kvc(args...); code != 0 {
			t.Fatalf("%d: %s", code, errs)
		}
		text, err := os.ReadFile(rows)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var r struct {
				Arrival int64 `json:"arrival_ns"`
				First   int64 `json:"first_token_ns"`
				Replica int
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			first, replicas = append(first, r.First-r.Arrival), append(replicas, r.Replica)
		}
		return first, replicas
	}
	alone, on := firsts(args("--replicas", "2"))
	if len(on) != 2 || on[0] != 0 || on[1] != 1 {
		t.Errorf("replicas %v", on)
	}
	near, on := firsts(args("--prefill-replicas", "1", "--decode-replicas", "2", "--kv-link-bandwidth", "1e12"))
	if len(on) != 2 || on[0] != 0 || on[1] != 1 {
		t.Errorf("decoded on replicas %v", on)
	}
	far, _ := firsts(args("--prefill-replicas", "1", "--decode-replicas", "2", "--kv-link-bandwidth", "1e9", "--kv-link-latency", "3ms"))
	// 1,600 tokens of 32 layers with 8 heads of 128, keys and values in 16 bits.
	const bytes = 1600 * 32 * 8 * 128 * 2 * 2
	if want := int64(bytes - bytes/1000 + 3e6); far[0]-near[0] < want-1 || far[0]-near[0] > want+1 || near[0]-alone[0] < bytes/1000 {
		t.Errorf("first tokens after %d ns, %d over a quick link and %d over a slow one, which takes %d more", alone[0], near[0], far[0], want)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--prefill-replicas", "1"}, "want at least one of each"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1"}, "the network of l4 is not known"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "-1"}, "a link of -1 bytes a second"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--replicas", "2"}, "--replicas does not go with"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--engine", "vllm-0.6"}, "are of --engine vllm-v1"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--concurrency", "2"}, "neither --concurrency nor --turns"},
		{[]string{"--kv-link-latency", "1s"}, "are of --prefill-replicas and --decode-replicas"},
	} {
		if code, out, errs := kvc(args(c.args...)...); code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d: %s%s: want %q", c.args, code, out, errs, c.want)
		}
	}
}
