package project

import (
	"strings"
	"testing"

	"kvcompress/sim"
)

// TestMethodNotes: the first note says which server does not exist, and what the method does there and when; the last of
// methods that act before every step, what a larger interval changes.
func TestMethodNotes(t *testing.T) {
	const after, once = " after a prompt's last chunk", " once, after a prompt's last chunk."
	const drops, folds, step = "it drops KVs", "it folds KVs into a stand-in of each head", ", and then before every decode step"
	const full, grow = step + " where a head holds too much.", "lets heads grow by this many KVs in between."
	for _, c := range []struct {
		method    string
		capacity  int
		set       map[string]string
		interval  int
		scheduler sim.Scheduler
		first     string // part of the first note
		interval1 string // end of the last note about a larger interval; "" if there is none
	}{
		{"quest", 1024, nil, 1, sim.VLLMV1, "vLLM V1 has no quest. It is projected as if it were ported: it compresses nothing, and every decode step reads", ""},
		{"infllm", 4096, nil, 1, sim.VLLMV1, "vLLM V1 has no infllm. It is projected as if it were ported: a prompt attends within the budget", ""},
		{"infllm", 4096, nil, 1, sim.VLLM06, "vLLM 0.6.0 has no infllm.", ""},
		{"llmlingua2", 0, nil, 1, sim.VLLMV1, "vLLM V1 has no llmlingua2. It is projected as if it were ported: an encoder drops tokens of a prompt before", ""},
		{"h2o-mask", 1024, nil, 1, sim.VLLMV1, "vLLM V1 has no h2o-mask. It is projected as if it were ported: it hides KVs, and frees none," + after + full, "leaves this many KVs more visible in between."},
		{"kivi", 0, nil, 1, sim.VLLMV1, "it quantizes KVs" + after + step + ".", "leaves up to this many KVs more of each head unquantized in between."},
		{"flexgen", 0, nil, 1, sim.VLLMV1, "it quantizes KVs" + after + step + ".", "leaves up to this many KVs more of each head unquantized in between."},
		{"minicache", 0, nil, 1, sim.VLLMV1, "it merges the KVs of pairs of layers" + after + step + ".", "leaves the KVs of this many tokens unmerged in between."},
		{"minicache+kivi", 0, nil, 1, sim.VLLMV1, "it merges the KVs of pairs of layers and quantizes those of others" + after + step + ".", "leaves the KVs of this many tokens as they are in between."},
		{"streaming-llm", 1024, nil, 1, sim.VLLMV1, drops + after + full, grow},
		{"streaming-llm", 1024, nil, 64, sim.VLLMV1, drops + after + ", and then every 64 decode steps where a head holds too much.", ""},
		{"streaming-llm", 1024, nil, 0, sim.VLLMV1, drops + after + ", and then where blocks are lacking.", ""},
		{"streaming-llm", 1024, nil, 1, sim.KVCompressServer, "KV-Compress's server has no streaming-llm. It is projected as if it were ported: it drops KVs after a prompt" + full, grow},
		{"snapkv", 1024, nil, 1, sim.VLLMV1, drops + once, ""},
		{"razor", 0, map[string]string{"full_share": "0.15"}, 1, sim.VLLMV1, "vLLM V1 has no razor; Huawei's MindIE has it, whose code is closed. It is projected as if it were ported: " + folds + once, ""},
		{"razor", 0, map[string]string{"full_share": "0.15", "decode": "rolling"}, 1, sim.VLLMV1, folds + after + full, grow},
		{"", 1024, nil, 0, sim.VLLMV1, "KV-Compress exists for vLLM 0.6.0 only. On vLLM V1 it is projected as if it were ported: it drops KVs" + after + ", and then where blocks are lacking.", ""},
		{"", 1024, nil, 1, sim.VLLMV1, drops + after + step + ".", ""},
	} {
		of := ofMethod(t, c.method, c.capacity, c.set)
		if c.method == "llmlingua2" {
			of.Deployment.Method.Compression.Rate = 0.5
		}
		of.Scheduler, of.Schedule.Interval = c.scheduler, c.interval
		if err := of.Deployment.Validate(); err != nil {
			t.Errorf("%s: %v", c.method, err)
			continue
		}
		notes := of.notes()
		if len(notes) == 0 || !strings.Contains(notes[0], c.first) {
			t.Errorf("%s: %q, want %q", c.method, notes, c.first)
		}
		larger := ""
		for _, note := range notes {
			if rest, ok := strings.CutPrefix(note, "A larger --interval takes less time, and "); ok {
				larger = rest
			}
		}
		if larger != c.interval1 {
			t.Errorf("%s: a larger interval %q, want %q", c.method, larger, c.interval1)
		}
	}
	for _, scheduler := range []sim.Scheduler{sim.VLLMV1, sim.KVCompressServer} { // nothing to say
		of := ofMethod(t, "", 0, nil)
		if of.Scheduler = scheduler; scheduler == sim.KVCompressServer {
			of.Deployment.Method.Compression.Rate = 0.5
		}
		if notes := of.notes(); len(notes) > 0 {
			t.Errorf("%s: %q", scheduler, notes)
		}
	}
}

// TestV1Refusals: refusals on vLLM V1 are in its blocks, of 16 tokens of all heads of a group of layers, of which one is never used.
func TestV1Refusals(t *testing.T) {
	for _, c := range []struct {
		model          string
		blocks         int // num_gpu_blocks
		prompt, output int
		want           string
	}{
		{"llama-3.1-8b", 101, 1601, 1, "a prompt of 1,601 tokens needs 101 blocks of 16 tokens: the cache has 100, one less than num_gpu_blocks"},
		{"llama-3.1-8b", 101, 1600, 1, ""},
		{"llama-3.1-8b", 101, 800, 1000, "it was preempted with 800 prompt and 801 generated tokens, and to recompute them needs 101 blocks of 16 tokens: the cache has 100, one less than num_gpu_blocks"},
		// A group of 12 layers keeps all tokens, another of 12 the last 128 and a batch: for 1,601 tokens 101 blocks each.
		{"gpt-oss-20b", 151, 1601, 1, "a prompt of 1,601 tokens needs 202 blocks of 16 tokens: the cache has 150, one less than num_gpu_blocks"},
	} {
		of := config(t, c.model, "h100")
		heads := of.Deployment.Heads()
		if layout := of.Deployment.Layout(); layout != nil {
			heads = layout.Group
		}
		of.Scheduler, of.V1, of.Deployment.BlocksGiven = sim.VLLMV1, sim.DefaultV1(0), c.blocks*heads
		r, err := Run(t.Context(), of, equal(1, 0, c.prompt, c.output))
		if err != nil || r.Refusal != c.want {
			t.Errorf("%s, %d and %d tokens: %v, %q, want %q", c.model, c.prompt, c.output, err, r.Refusal, c.want)
		}
	}
}
