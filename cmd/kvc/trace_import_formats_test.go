package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const chats = `[{"id": "a", "conversations": [{"from": "human", "value": "Once upon a time"}, {"from": "gpt", "value": "there was a cat"},
 {"from": "human", "value": "And then?"}, {"from": "gpt", "value": "It slept."}]}]`

// TestTraceImportTexts checks that the output tells how tokens of a log of texts were counted.
func TestTraceImportTexts(t *testing.T) {
	log := writeText(t, "chats.json", chats)
	dir := filepath.Join(t.TempDir(), "new")
	if code, _, stderr := kvc("trace", "import", log, "-o", dir); code != 2 || !strings.Contains(stderr, "has no arrival times: give a rule for them, such as --arrivals poisson:4/s") {
		t.Error(code, stderr)
	}
	code, out, stderr := kvc("trace", "import", log, "-o", dir, "--arrivals", "fixed:1s")
	if code != 0 || !strings.Contains(out, "\n  note: in 2 of 2 rows, tokens are estimated from texts, at 4 bytes (characters of English) a token; --tokenizer counts them\n") {
		t.Error(code, out, stderr)
	}
	if diff := cmp.Diff([]string{
		`{"id":"0","arrival_ns":0,"prompt_tokens":4,"output_tokens":4,"session":"a"}`,
		`{"id":"1","arrival_ns":1000000000,"prompt_tokens":10,"output_tokens":3,"session":"a"}`,
	}, requestsOf(t, dir)); diff != "" {
		t.Error(diff)
	}
	counted := filepath.Join(t.TempDir(), "counted")
	code, out, stderr = kvc("trace", "import", log, "-o", counted, "--arrivals", "fixed:0s", "--tokenizer", filepath.Join("..", "..", "trace", "tokenizer", "testdata", "llama2"), "--json")
	var got imported
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "are counted with the tokenizer") {
		t.Error(code, err, out, stderr)
	}
}

// TestTraceImportFields reads JSON lines and CSVs by the given names of fields, with the older
// name of the flag too.
func TestTraceImportFields(t *testing.T) {
	lines := writeText(t, "log.jsonl", `{"at": 1500, "use": {"in": 5, "out": 6}}`+"\n"+`{"at": 1750, "use": {"in": 7, "out": 8}}`+"\n")
	table := writeText(t, "log.csv", "at,in,out\n1500,5,6\n1750,7,8\n")
	want := []string{`{"id":"0","arrival_ns":0,"prompt_tokens":5,"output_tokens":6}`, `{"id":"1","arrival_ns":250000000,"prompt_tokens":7,"output_tokens":8}`}
	for _, args := range [][]string{
		{lines, "--fields", "arrival=at:ms,prompt=use.in,output=use.out"},
		{lines, "--columns", "arrival=at,prompt=use.in,output=use.out", "--time-unit", "ms", "--format", "jsonl"},
		{table, "--columns", "arrival=at,prompt=in,output=out", "--time-unit", "ms"},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if code, _, stderr := kvc(append([]string{"trace", "import", "-o", dir}, args...)...); code != 0 {
			t.Fatal(args, stderr)
		}
		if diff := cmp.Diff(want, requestsOf(t, dir)); diff != "" {
			t.Error(args, diff)
		}
	}
	for args, wantErr := range map[string]string{
		"--fields arrival=at:ms,prompt=use.in,output=use.out --time-unit s": "two units of time",
		"--tokenizer x --bytes-per-token 3":                                 "exclude each other",
		"--tokenizer /nowhere":                                              "/nowhere",
		"--bytes-per-token 0":                                               "--bytes-per-token 0",
		"--bytes-per-token 1000":                                            "1000 bytes a token, want 0.25 to 64",
		"--run 2 --fields prompt=use.in,output=use.out":                     "holds one run",
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if code, _, stderr := kvc(append([]string{"trace", "import", lines, "-o", dir}, strings.Fields(args)...)...); code == 0 || !strings.Contains(stderr, wantErr) {
			t.Errorf("%s: exit %d, %s; want %q", args, code, stderr, wantErr)
		}
	}
}

// TestNotesOfAProjection checks that a projection of a log prints the assumptions about the log.
func TestNotesOfAProjection(t *testing.T) {
	log := writeText(t, "chats.json", chats)
	code, _, stderr := kvc("sim", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "h100")
	if code != 0 || !strings.Contains(stderr, "chats.json: note: in 2 of 2 rows, tokens are estimated from texts") || !strings.Contains(stderr, "chats.json: note: there are no times of arrival, so all come at once") {
		t.Error(code, stderr)
	}
}

func TestTraceInfoRate(t *testing.T) {
	log := writeText(t, "log.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,1\n0,20,1\n1,30,1\n4,40,2\n")
	dir := filepath.Join(t.TempDir(), "new")
	if code, _, stderr := kvc("trace", "import", log, "-o", dir); code != 0 {
		t.Fatal(stderr)
	}
	code, out, _ := kvc("trace", "info", dir, "--windows", "2")
	_, rate, _ := strings.Cut(out, "Rate over time")
	want := `, in windows of 2s: mean 1 requests a second, peak 1.5 (1.50 times the mean) from 0s on; CV of the gaps 0.94

  from  requests  a second  prompt tokens/s  output tokens/s
    0s         3     1.500            30.00            1.500  ████████████████████
    2s         1     0.500            20.00            1.000  ██████▋
`
	if diff := cmp.Diff(want, rate); diff != "" || code != 0 {
		t.Error(code, diff)
	}
	code, out, _ = kvc("trace", "info", dir, "--windows", "3", "--json")
	var info traceInfo
	if err := json.Unmarshal([]byte(out), &info); err != nil || code != 0 || len(info.RateOverTime.Windows) != 3 || info.Requests != 4 {
		t.Error(code, err, out)
	}
	if code, _, stderr := kvc("trace", "info", dir, "--windows", "0"); code != 2 || !strings.Contains(stderr, "--windows is 0") {
		t.Error(code, stderr)
	}
}
