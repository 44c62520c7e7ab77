package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPools disaggregates prefill and decode from the command line. The time to first token of a
// single request grows by the transfer of its KVs and by its last token, which is computed once
// more.
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
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "-1"}, "--kv-link-bandwidth -1: want bytes a second, more than 0"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--replicas", "2"}, "--replicas does not go with"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--engine", "vllm-0.6"}, "need --engine vllm-v1"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--concurrency", "2"}, "neither --concurrency nor --turns"},
		{[]string{"--kv-link-latency", "1s"}, "--kv-link-latency needs --prefill-replicas and --decode-replicas"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "0"}, "--kv-link-bandwidth 0: want bytes a second, more than 0"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "inf"}, "--kv-link-bandwidth +Inf: want"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e-9"}, "takes more than an hour for a block"},
		{[]string{"--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e9", "--kv-link-latency", "2h"}, "--kv-link-latency 2h0m0s: want 0 to an hour"},
	} {
		if code, out, errs := kvc(args(c.args...)...); code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d: %s%s: want %q", c.args, code, out, errs, c.want)
		}
	}
}

// TestPoolsSwept sweeps over numbers of prefill and decode servers, as in kvc sim, and over
// replicas that do both.
func TestPoolsSwept(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.csv")
	if err := os.WriteFile(log, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,1600,10\n2023-11-16 18:00:00.01,1600,10\n2023-11-16 18:00:00.02,160,99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := func(command string, more ...string) []string {
		return append([]string{command, "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100", "--json"}, more...)
	}
	type outcome struct {
		Prefill  int     `json:"prefill_replicas"`
		Decode   int     `json:"decode_replicas"`
		Replicas int     `json:"replicas"`
		USD      float64 `json:"usd_per_hour"`
		Link     float64 `json:"kv_link_bytes_per_second"`
		Error    string
		Metrics  json.RawMessage
	}
	sweep := func(want int, more ...string) []outcome {
		t.Helper()
		code, out, errs := kvc(args("sweep", more...)...)
		var got struct{ Outcomes []outcome }
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got.Outcomes) != want {
			t.Fatalf("%v: %d, %v: %s%s", more, code, err, errs, out)
		}
		return got.Outcomes
	}
	link := []string{"--kv-link-bandwidth", "1e10", "--kv-link-latency", "2ms"}
	all := sweep(5, append(link, "--prefill-replicas", "1,2", "--decode-replicas", "1,3", "--replicas", "2", "--price", "h100=3")...)
	for i, want := range []outcome{{Replicas: 2, USD: 6}, {Prefill: 1, Decode: 1, USD: 6}, {Prefill: 1, Decode: 3, USD: 12}, {Prefill: 2, Decode: 1, USD: 9}, {Prefill: 2, Decode: 3, USD: 15}} {
		got := all[i]
		if got.Prefill != want.Prefill || got.Decode != want.Decode || got.Replicas != want.Replicas || got.USD != want.USD || (got.Link == 1e10) != (want.Prefill > 0) {
			t.Errorf("outcome %d: %+v, want %+v", i, got, want)
		}
	}
	code, out, errs := kvc(args("sim", append(link, "--prefill-replicas", "2", "--decode-replicas", "1")...)...)
	var one struct{ Metrics json.RawMessage }
	if err := json.Unmarshal([]byte(out), &one); err != nil || code != 0 {
		t.Fatalf("%d, %v, %s", code, err, errs)
	}
	if flat := func(raw json.RawMessage) string { return strings.Join(strings.Fields(string(raw)), "") }; flat(one.Metrics) != flat(all[3].Metrics) {
		t.Errorf("a sweep's\n%s\nand kvc sim's\n%s", all[3].Metrics, one.Metrics)
	}
	code, out, errs = kvc("sim", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100", "--prefill-replicas", "1", "--decode-replicas", "1", "--kv-link-bandwidth", "1e7")
	// Of 131,072 bytes a token, prompts of 1,600 tokens take 21 s and that of 160 tokens 2.1 s: the
	// second waits 21 s and the third 42, less than 0.1 s each that they came later.
	if code != 0 || !strings.Contains(out, "Bound by the links that KVs are sent over: prompts wait 20.9 s") || !strings.Contains(out, "The KVs of 3 prompts were sent: 14.68 s on the link on average, and 20.94 s waiting for it") {
		t.Errorf("a slow link: %d: %s%s", code, errs, out)
	}
	if got := sweep(2, "--prefill-replicas", "1", "--decode-replicas", "1,2"); got[0].Prefill != 1 || got[1].Decode != 2 {
		t.Errorf("without --replicas: %+v", got)
	}
	if got := sweep(2, "--prefill-replicas", "1", "--decode-replicas", "1", "--compression", "none,snapkv:tokens:64", "--engine", "vllm-v1"); got[0].Error != "" || !strings.Contains(got[1].Error, "cannot be disaggregated with compression") {
		t.Errorf("with a method: %+v", got)
	}
	for _, c := range []struct{ args, want string }{
		{"--prefill-replicas 1", "go together"},
		{"--prefill-replicas 0 --decode-replicas 1", "--prefill-replicas 0: want 1 to 4096"},
		{"--prefill-replicas 1 --decode-replicas 1 --concurrency 2", "neither --concurrency nor --turns goes with it"},
		{"--prefill-replicas 1 --decode-replicas 1 --turns wait", "neither --concurrency nor --turns goes with it"},
		{"--prefill-replicas 1 --decode-replicas 1 --kv-link-bandwidth 0", "--kv-link-bandwidth 0: want"},
		{"--kv-link-latency 1s", "--kv-link-latency needs --prefill-replicas and --decode-replicas"},
	} {
		if code, out, errs := kvc(args("sweep", strings.Fields(c.args)...)...); code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("sweep %s: %d: %s%s: want %q", c.args, code, out, errs, c.want)
		}
	}
}

// TestPlanDisaggregates has candidates of both kinds, with the price of all their servers.
func TestPlanDisaggregates(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	var text strings.Builder
	for i := range 60 {
		text.WriteString(`{"timestamp": ` + string(rune('0'+i/6)) + `00, "input_length": 3000, "output_length": 90}` + "\n")
	}
	if err := os.WriteFile(log, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	plan := func(want int, more ...string) (answer string, candidates map[bool]map[string]any) {
		t.Helper()
		code, out, errs := kvc(append([]string{"plan", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100", "--price", "h100=2", "--json"}, more...)...)
		var got struct {
			Answer     string
			Candidates []map[string]any
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != want || len(got.Candidates) != 2 {
			t.Fatalf("%v: %d, %v: %s%s", more, code, err, errs, out)
		}
		candidates = map[bool]map[string]any{}
		for _, c := range got.Candidates {
			_, apart := c["prefill_replicas"]
			candidates[apart] = c
		}
		return got.Answer, candidates
	}
	answer, both := plan(0, "--disaggregate", "--slo-tpot", "9ms", "--slo-attainment", "0.9")
	for apart, c := range both {
		servers := c["replicas"]
		if apart {
			servers = c["prefill_replicas"].(float64) + c["decode_replicas"].(float64)
		}
		if c["meets"] != true || c["usd_per_hour"] != 2*servers.(float64) || c["cards"] != servers {
			t.Errorf("%v: %v", apart, c)
		}
	}
	if !strings.Contains(answer, "meets the objectives") {
		t.Error(answer)
	}
	if _, both = plan(1, "--disaggregate", "--slo-ttft", "1ms"); len(both) != 2 || both[true]["alone"] != true || both[false]["alone"] != true {
		t.Errorf("no number does: %v", both)
	}
	if _, both = plan(0, "--disaggregate", "--replicas", "3"); both[true]["usd_per_hour"] != 6.0 || both[false]["usd_per_hour"] != 6.0 {
		t.Errorf("of three: %v", both)
	}
	for _, c := range []struct{ args, want string }{
		{"--disaggregate --replicas 1", "needs at least two servers"},
		{"--kv-link-bandwidth 1e9", "--kv-link-bandwidth needs --disaggregate"},
		{"--disaggregate --concurrency 3", "with these want no --disaggregate"},
	} {
		if code, out, errs := kvc(append([]string{"plan", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100"}, strings.Fields(c.args)...)...); code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("plan %s: %d: %s%s: want %q", c.args, code, out, errs, c.want)
		}
	}
}

// TestSweepOfNothing: a sweep without any point that can be projected ends like kvc sim.
func TestSweepOfNothing(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.csv")
	if err := os.WriteFile(log, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,1600,10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for gpus, want := range map[string]int{"l4": exitUsage, "l4,h200": exitDone} {
		code, out, errs := kvc("sweep", "--requests", log, "--model", "llama-3.1-70b", "--weights", "fp8", "--gpu", gpus)
		if code != want || !strings.Contains(out, "Not projected (1 point): llama-3.1-70b does not fit on 1 × l4") ||
			strings.Contains(errs, "no point could be projected, the first because llama-3.1-70b does not fit on 1 × l4") != (want == exitUsage) {
			t.Errorf("%s: %d: %s%s", gpus, code, errs, out)
		}
	}
}
