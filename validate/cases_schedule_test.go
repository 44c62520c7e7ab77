package validate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Small schedules, computed by hand.
var smallSchedules = map[string]string{
	// 4 blocks of 4 tokens. The first two requests take all blocks. The second request's next token finds
	// none free, so it is preempted and recomputed. The third is longer than a batch.
	"vllm-0.6": `{"source":"vllm-project/vllm v0.6.0","cases":[{"name":"small",
		"options":{"block_size":4,"num_gpu_blocks":4,"max_num_seqs":4,"max_num_batched_tokens":16,"max_model_len":8,"enable_chunked_prefill":false},
		"requests":[{"arrival_step":0,"prompt_tokens":5,"max_tokens":2},{"arrival_step":0,"prompt_tokens":5,"max_tokens":2},{"arrival_step":2,"prompt_tokens":9,"max_tokens":2}],
		"steps":[
		{"step":0,"arrived":[0,1],"scheduled":[[0,5,0],[1,5,0]],"num_prefill_groups":2,"free":0,"sampled":[0,1],"free_after":0,"running":[0,1],"waiting":0},
		{"step":1,"scheduled":[[0,1,5]],"preempted":[1],"waiting_head":[1],"num_prefill_groups":0,"free":2,"sampled":[0],"finished":[0],"free_after":4,"running":[],"waiting":1},
		{"step":2,"arrived":[2],"scheduled":[[1,6,0]],"ignored":[2],"num_prefill_groups":1,"free":2,"sampled":[1],"finished":[1],"free_after":4,"running":[],"waiting":0}]}]}`,
	// The second prompt does not fit beside the first in a batch of 10 tokens: 7 of its tokens are computed
	// with the first prompt, and 5 with the first's next token.
	"vllm-0.6, chunks": `{"source":"vllm-project/vllm v0.6.0","cases":[{"name":"small",
		"options":{"block_size":4,"num_gpu_blocks":9,"max_num_seqs":4,"max_num_batched_tokens":10,"max_model_len":16,"enable_chunked_prefill":true},
		"requests":[{"arrival_step":0,"prompt_tokens":3,"max_tokens":2},{"arrival_step":0,"prompt_tokens":12,"max_tokens":1}],
		"steps":[
		{"step":0,"scheduled":[[0,3,0],[1,7,0]],"num_prefill_groups":2,"free":5,"sampled":[0],"free_after":5,"running":[0,1],"waiting":0},
		{"step":1,"scheduled":[[1,5,7],[0,1,3]],"num_prefill_groups":1,"free":5,"sampled":[1,0],"finished":[1,0],"free_after":9,"running":[],"waiting":0}]}]}`,
	// Two heads with blocks of 4 KVs. A prompt of 8 tokens takes 4 blocks and is compressed to 2. With the
	// next token each head takes a block, and loses one again.
	"kv-compress": `{"source":"IsaacRe/vllm-kvcompress","cases":[{"name":"small",
		"options":{"layers":1,"kv_heads":2,"block_size":4,"blocks":12,"max_num_seqs":4,"max_num_batched_tokens":16,"max_model_len":16,"max_cache_tokens":4,
		"target_compression_rate":1.0,"protected_window_size":2,"compress_once":false,"compression_interval":1,"new_token_limit":-1,"max_kv_per_compression":1000},
		"requests":[{"arrival_step":0,"prompt_tokens":8,"max_tokens":3},{"arrival_step":0,"prompt_tokens":1,"max_tokens":1}],
		"steps":[
		{"step":0,"must_preempt":false,"uncompressed_prefill":false,"locked":false,"free_before":12,"lock_prefill":false,"free":6,"prefill":[0,1],"head_kvs":{"0":8,"1":1},"finished":[1],"free_after":8,"waiting":0},
		{"step":1,"must_preempt":false,"uncompressed_prefill":true,"locked":false,"compressed":[[0,2,[1,1]]],"moved":3,"free_before":10,"lock_prefill":false,"free":8,"decode":[0],"head_kvs":{"0":[5,5]},"free_after":8,"waiting":0},
		{"step":2,"must_preempt":false,"uncompressed_prefill":false,"locked":false,"compressed":[[0,2,[1,1]]],"moved":2,"free_before":10,"lock_prefill":false,"free":8,"decode":[0],"head_kvs":{"0":5},"finished":[0],"free_after":12,"waiting":0}]}]}`,
	// The second prompt needs 6 of 7 blocks, one of which is the watermark.
	"kv-compress, an exception": `{"source":"IsaacRe/vllm-kvcompress","cases":[{"name":"small",
		"options":{"layers":1,"kv_heads":2,"block_size":4,"blocks":5,"max_num_seqs":4,"max_num_batched_tokens":16,"max_model_len":16,"max_cache_tokens":4,
		"target_compression_rate":1.0,"protected_window_size":2,"compress_once":false,"compression_interval":1,"new_token_limit":-1,"max_kv_per_compression":1000},
		"requests":[{"arrival_step":0,"prompt_tokens":1,"max_tokens":1},{"arrival_step":1,"prompt_tokens":8,"max_tokens":1}],
		"steps":[
		{"step":0,"must_preempt":false,"uncompressed_prefill":false,"locked":false,"free_before":5,"lock_prefill":false,"free":3,"prefill":[0],"head_kvs":{"0":1},"finished":[0],"free_after":5,"waiting":0},
		{"step":1,"must_preempt":false,"uncompressed_prefill":true,"locked":false,"free_before":5,"error":"Exception: Input length too long!"}]}]}`,
}

func compareText(t *testing.T, text string) CaseResult {
	t.Helper()
	results, err := methodCases(t.Context(), []byte(text), nil)
	if err != nil || len(results) != 1 {
		t.Fatalf("%+v, %v", results, err)
	}
	return results[0]
}

// TestScheduleCases compares the small schedules, and checks that changing any number or boolean in their
// steps makes the case differ.
func TestScheduleCases(t *testing.T) {
	for name, text := range smallSchedules {
		t.Run(name, func(t *testing.T) {
			if r := compareText(t, text); !r.Agree || r.Values == 0 || !strings.HasPrefix(name, r.Kind) {
				t.Fatalf("%+v", r)
			}
			var file map[string]any
			if err := json.Unmarshal([]byte(text), &file); err != nil {
				t.Fatal(err)
			}
			changed := 0
			steps := file["cases"].([]any)[0].(map[string]any)["steps"]
			eachValue(steps, "steps", func(path string) {
				if strings.HasSuffix(path, ".moved") || strings.Contains(path, ".arrived") {
					return // not compared
				}
				other, err := json.Marshal(file)
				if err != nil {
					t.Fatal(err)
				}
				changed++
				if results, err := methodCases(t.Context(), other, nil); err == nil && results[0].Agree {
					t.Errorf("with another %s it agrees", path)
				}
			})
			if changed < 15 {
				t.Errorf("%d values were changed", changed)
			}
		})
	}
}

// eachValue calls f with every number and boolean changed in turn.
func eachValue(v any, path string, f func(path string)) {
	change := func(set func(any), v any, path string) {
		switch v := v.(type) {
		case float64:
			set(v + 1)
		case bool:
			set(!v)
		default:
			eachValue(v, path, f)
			return
		}
		f(path)
		set(v)
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			change(func(x any) { v[i] = x }, v[i], fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		for key := range v {
			change(func(x any) { v[key] = x }, v[key], path+"."+key)
		}
	}
}

// TestForkRefuses checks that a schedule is an error if the published server refuses its options.
func TestForkRefuses(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`"protected_window_size":2`, `"protected_window_size":4`, ""},
		{`"protected_window_size":2`, `"protected_window_size":5`, "more than max_cache_tokens, 4"},
		{`"compression_interval":1`, `"compression_interval":0`, "less than 1"},
		{`"target_compression_rate":1.0`, `"target_compression_rate":0.5`, "both together"},
		{`"max_cache_tokens":4,
		"target_compression_rate":1.0`, `"max_cache_tokens":-1,"target_compression_rate":0`, "wants it in (0, 1]"},
		{`"max_cache_tokens":4,
		"target_compression_rate":1.0`, `"max_cache_tokens":-1,"target_compression_rate":1.5`, "wants it in (0, 1]"},
	} {
		text := strings.Replace(smallSchedules["kv-compress"], c.old, c.new, 1)
		_, err := methodCases(t.Context(), []byte(text), nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.new, err, c.want)
		}
	}
}
