package validate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// worked is a schedule of vLLM V1, computed by hand. Of 4 usable blocks of 4 tokens, the first request takes
// 2 with its first chunk of 6 tokens. When its other 2 tokens are scheduled, both its blocks are full, and
// the second request finds them in the prefix cache in the same step: of its 9 tokens it computes only the
// last, in a block of its own.
const worked = `{"source":"vllm-project/vllm v0.20.1","cases":[{"name":"worked","v0.11.0":"same","options":{"block_size":4,"num_gpu_blocks":5,"max_num_seqs":2,
	"max_num_batched_tokens":6,"max_model_len":64,"long_prefill_token_threshold":0,"enable_chunked_prefill":true,"enable_prefix_caching":true,
	"policy":"fcfs","scheduler_reserve_full_isl":true},
	"requests":[{"arrival_step":0,"prompt":[[1,0,8]],"prompt_tokens":8,"max_tokens":2},{"arrival_step":1,"prompt":[[1,0,5],[1,5,3],[2,0,1]],"prompt_tokens":9,"max_tokens":1}],
	"steps":[
	{"step":0,"arrived":[0],"scheduled":[[0,6,0]],"sampled":[],"new":[0],"free":2,"running":[0],"waiting":[],"free_after":2},
	{"step":1,"arrived":[1],"scheduled":[[0,2,6],[1,1,8]],"sampled":[0,1],"new":[1],"finished":[1],"finish_order":[1],"free":1,"running":[0,1],"waiting":[],"free_after":2},
	{"step":2,"scheduled":[[0,1,8]],"sampled":[0],"finished":[0],"finish_order":[0],"free":1,"running":[0],"waiting":[],"free_after":4}]}]}`

// crowded has a second step in which one block is left for the second request, after the third, which has
// priority. Its 10 tokens need 3 blocks: v0.20.1 waits for all of them, v0.11.0 only for the one that its
// first chunk needs, the 4 tokens left in the batch.
const crowded = `{"source":"vllm-project/vllm VERSION","cases":[{"name":"crowded","options":{"block_size":4,"num_gpu_blocks":5,"max_num_seqs":3,
	"max_num_batched_tokens":6,"max_model_len":64,"long_prefill_token_threshold":0,"enable_chunked_prefill":true,"enable_prefix_caching":false,
	"policy":"priority","scheduler_reserve_full_isl":true},
	"requests":[{"arrival_step":0,"prompt_tokens":6,"max_tokens":2,"priority":1},{"arrival_step":0,"prompt_tokens":10,"max_tokens":1,"priority":2},{"arrival_step":1,"prompt_tokens":1,"max_tokens":1,"priority":0}],
	"steps":[
	{"step":0,"arrived":[0,1],"scheduled":[[0,6,0]],"sampled":[0],"new":[0],"free":2,"running":[0],"waiting":[1],"free_after":2},
	{"step":1,"arrived":[2],"scheduled":STEP]}]}`

// sliding has a group of layers with a window of 5 tokens and one without. With the token after 8 the first
// request's window begins with block 1: a block is freed, and two are taken. Then the second request finds blocks
// 0 and 1 in the one group, and block 1 in the other, which is as far as its window reaches back.
const sliding = `{"source":"vllm-project/vllm v0.20.1","cases":[{"name":"sliding","v0.11.0":"same","options":{"block_size":4,"num_gpu_blocks":9,"max_num_seqs":2,
	"max_num_batched_tokens":4,"max_model_len":64,"long_prefill_token_threshold":0,"enable_chunked_prefill":true,"enable_prefix_caching":true,
	"policy":"fcfs","scheduler_reserve_full_isl":true,"groups":[5,0]},
	"requests":[{"arrival_step":0,"prompt":[[1,0,8]],"prompt_tokens":8,"max_tokens":2},{"arrival_step":2,"prompt":[[1,0,8],[2,0,1]],"prompt_tokens":9,"max_tokens":1}],
	"steps":[
	{"step":0,"arrived":[0],"scheduled":[[0,4,0]],"sampled":[],"new":[0],"free":6,"running":[0],"waiting":[],"free_after":6},
	{"step":1,"scheduled":[[0,4,4]],"sampled":[0],"free":4,"running":[0],"waiting":[],"free_after":4},
	{"step":2,"arrived":[1],"scheduled":[[0,1,8],[1,1,8]],"sampled":[0,1],"new":[1],"finish_order":[0,1],"free":1,"running":[0,1],"waiting":[],"free_after":8}]}]}`

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		name, text, old, new string
		want                 string // substring of the mismatch or error; empty if the case agrees
	}{
		{"as it is", worked, "", "", ""},
		{"other free blocks", worked, `"free":1,"running":[0,1]`, `"free":2,"running":[0,1]`, `by the rules of v0.20.1: steps[1]: free differ: {"step":1,`},
		{"other order", worked, `"running":[0,1]`, `"running":[1,0]`, `steps[1]: running differ`},
		{"other hit", worked, `[1,1,8]`, `[1,5,4]`, `steps[1]: scheduled differ`},
		{"several members", worked, `"sampled":[],"new":[0]`, `"sampled":[0],"new":[]`, `steps[0]: new, sampled differ`},
		{"a step too many", worked, `"free_after":4}`, `"free_after":4},{"step":3}`, `steps[3]: the simulator has nothing left to do; recorded {"step":3,`},
		{"a stream of its own", worked, `[1,0,5],[1,5,3]`, `[3,0,5],[1,5,3]`, `steps[1]`},
		{"a head of 10 tokens waits for 3 blocks", crowded, "STEP", `[[0,1,6],[2,1,0]],"sampled":[0,2],"new":[2],"finish_order":[0,2],"free":1,"running":[0,2],"waiting":[1],"free_after":4}`, ""},
		{"its first chunk waits for one", strings.Replace(crowded, "VERSION", "v0.11.0", 1), "STEP", `[[0,1,6],[2,1,0],[1,4,0]],"sampled":[0,2],"new":[2,1],"finish_order":[0,2],"free":0,"running":[0,2,1],"waiting":[],"free_after":3}`, ""},
		{"groups of layers", sliding, "", "", ""},
		{"groups in the other order", sliding, "[5,0]", "[0,5]", ""},
		{"a longer window", sliding, "[5,0]", "[6,0]", "steps[2]: free differ"},
		{"two windows", sliding, "[5,0]", "[5,6,0]", "options: groups: windows of 5 and 6 tokens"},
		{"groups that alternate", sliding, "[5,0]", "[5,0,5]", "groups: [5 0 5]: want all groups with windows before the others"},
		{"a negative window", sliding, "[5,0]", "[-5,0]", "options: groups: windows of -5 and 0 tokens"},
		{"too many groups", sliding, "[5,0]", "[" + strings.Repeat("5,", maxScheduleGroups) + "0]", "options: groups: 65 groups"},
		{"options are missing", worked, `"policy":"fcfs",`, "", `case worked: options: "policy" is missing`},
		{"policy", worked, `"fcfs"`, `"lifo"`, `policy is "lifo"`},
		{"no blocks", worked, `"num_gpu_blocks":5`, `"num_gpu_blocks":1`, "num_gpu_blocks 1 is not from 2"},
		{"block size", worked, `"block_size":4`, `"block_size":3`, "block_size 3"},
		{"a prompt of other length", worked, `"prompt_tokens":9`, `"prompt_tokens":10`, "request 1: the segments of its prompt have 9 tokens, and prompt_tokens is 10"},
		{"not in order", worked, `"arrival_step":0`, `"arrival_step":2`, "request 1: arrival_step 1 is before"},
		{"too many tokens", worked, `[[1,0,8]],"prompt_tokens":8`, `[[1,0,67108864]],"prompt_tokens":67108864`, "request 0: "},
		{"a step that is none", worked, `{"step":0,`, `{"step":[],`, "steps[0]: "},
	} {
		text := strings.Replace(c.text, c.old, c.new, 1)
		if c.old != "" && text == c.text {
			t.Fatalf("%s: nothing is replaced", c.name)
		}
		results, err := methodCases(t.Context(), []byte(text), nil)
		switch {
		case err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case err != nil:
		case len(results) != 1 || results[0].Agree != (c.want == "") || !strings.Contains(results[0].Mismatch, c.want) || results[0].Kind != "vllm-v1":
			t.Errorf("%s: %+v, want %q", c.name, results, c.want)
		case results[0].Values == 0:
			t.Errorf("%s: nothing is compared", c.name)
		}
	}
}

// TestRecordedSchedules compares all recorded schedules, if they are available.
func TestRecordedSchedules(t *testing.T) {
	if testing.Short() {
		t.Skip("it replays thousands of steps")
	}
	dir := filepath.Join("..", "..", "shared", "data", "oracle", "schedule")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	report, err := CasesAt(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Files {
		t.Logf("%s: %d of %d cases agree, %d were not compared", f.Name, f.Agree, f.Cases, f.Skipped)
	}
	for _, r := range report.Results {
		if r.Mismatch != "" {
			t.Errorf("%s, case %s: %s", r.File, r.ID, r.Mismatch)
		}
	}
}

// FuzzSchedules gives the reader of recorded schedules any JSON.
func FuzzSchedules(f *testing.F) {
	f.Add([]byte(worked))
	f.Add([]byte(sliding))
	f.Add([]byte(strings.NewReplacer("VERSION", "v0.11.0", "STEP", `[]}`).Replace(crowded)))
	for _, text := range smallSchedules {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<14 {
			return
		}
		results, err := methodCases(t.Context(), text, nil)
		if err == nil && len(results) == 0 {
			t.Error("no cases, and no error")
		}
		for _, r := range results {
			if r.Agree && r.Mismatch != "" {
				t.Errorf("%+v", r)
			}
		}
	})
}
