package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/trace"
)

// writeLog writes a log of n requests in Vidur's form, one every second, and returns its path.
func writeLog(t *testing.T, n int) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("arrived_at,num_prefill_tokens,num_decode_tokens\n")
	for i := range n {
		fmt.Fprintf(&text, "%d,%d,%d\n", 100+i, 10*(i+1), i) // the first without output
	}
	return writeText(t, "log.csv", text.String())
}

func writeText(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// requestsOf reads a trace's requests.jsonl, a line each.
func requestsOf(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "requests.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestTraceImport(t *testing.T) {
	log := writeLog(t, 5)
	dir := filepath.Join(t.TempDir(), "new")
	code, out, stderr := kvc("trace", "import", log, "-o", dir, "--to", "2s", "--max-prompt", "25", "--speedup", "2", "--licence", "MIT")
	want := dir + ": 2 requests over 500ms, 2 a second; 45 prompt and 3 output tokens\n" +
		"  from log.csv (vidur: Vidur's processed traces, CSV)\n" +
		"  of 5 rows, 1 without prompt or output tokens and 0 that failed are left out\n" +
		"  1 prompt and 0 outputs shortened\n"
	if diff := cmp.Diff(want, out); diff != "" || code != 0 || stderr != "" {
		t.Fatal(code, stderr, diff)
	}
	if diff := cmp.Diff([]string{
		`{"id":"1","arrival_ns":0,"prompt_tokens":20,"output_tokens":1}`,
		`{"id":"2","arrival_ns":500000000,"prompt_tokens":25,"output_tokens":2}`,
	}, requestsOf(t, dir)); diff != "" {
		t.Error(diff)
	}
	tr, err := trace.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trace.Meta{FormatVersion: 1, Name: "new", Source: trace.Source{
		Kind: "imported", Licence: "MIT",
		Description: "imported from log.csv (vidur: Vidur's processed traces, CSV), whose first request came at 1m41s, with --to 2s --max-prompt 25 --speedup 2",
	}}, tr.Meta); diff != "" {
		t.Error(diff)
	}
	if code, out, _ := kvc("trace", "check", dir); code != 0 || out != dir+": no errors\n" {
		t.Error(code, out)
	}
	if code, out, _ := kvc("trace", "info", dir); code != 0 || strings.Contains(out, "shape") || strings.Contains(out, "KV cache") {
		t.Error(code, out)
	}
	for _, command := range []string{"run", "validate"} {
		if code, _, stderr := kvc(command, dir); code == 0 || !strings.Contains(stderr, "holds requests only, and no tensors to replay") {
			t.Error(command, code, stderr)
		}
	}

	again := filepath.Join(t.TempDir(), "again")
	code, out, _ = kvc("trace", "import", dir, "-o", again, "--from", "1ms", "--json")
	var got imported
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatal(code, err, out)
	}
	if diff := cmp.Diff(imported{
		writtenRequests: writtenRequests{Trace: again, Requests: 1, PromptTokens: 25, OutputTokens: 2, FirstNS: 499e6, LastNS: 499e6},
		Format:          "trace", Rows: 2,
	}, got, cmp.AllowUnexported(imported{})); diff != "" {
		t.Error(diff)
	}
}

// TestTraceImportPrefixes checks that prefix hashes are kept, from a log and from a bundled
// trace's requests.
func TestTraceImportPrefixes(t *testing.T) {
	log := writeText(t, "moon.jsonl", `{"timestamp": 7, "input_length": 1000, "output_length": 3, "hash_ids": [4, 5]}`+"\n")
	dir := filepath.Join(t.TempDir(), "new")
	if code, _, stderr := kvc("trace", "import", log, "-o", dir); code != 0 {
		t.Fatal(stderr)
	}
	shorter := filepath.Join(t.TempDir(), "shorter")
	if code, _, stderr := kvc("trace", "import", dir, "-o", shorter, "--max-prompt", "600"); code != 0 {
		t.Fatal(stderr)
	}
	if diff := cmp.Diff([]string{`{"id":"0","arrival_ns":0,"prompt_tokens":600,"output_tokens":3,"prefix_hashes":[4]}`}, requestsOf(t, shorter)); diff != "" {
		t.Error(diff)
	}
	if code, out, _ := kvc("trace", "info", shorter); code != 0 || !strings.Contains(out, "prefixes  of 1 request, in blocks of 512 tokens") {
		t.Error(code, out)
	}
	bundled := filepath.Join(t.TempDir(), "bundled")
	if code, out, stderr := kvc("trace", "import", "six-stories", "-o", bundled); code != 0 || !strings.Contains(out, "6 requests") {
		t.Error(code, out, stderr)
	}
}

// TestTraceGenerate checks that a seed gives the same bytes, and another seed others.
func TestTraceGenerate(t *testing.T) {
	made := func(args ...string) string {
		dir := filepath.Join(t.TempDir(), "load")
		code, out, stderr := kvc(append([]string{"trace", "generate", "-o", dir, "--requests", "50"}, args...)...)
		if code != 0 || stderr != "" || !strings.HasPrefix(out, dir+": 50 requests ") {
			t.Fatal(code, out, stderr)
		}
		if code, out, _ := kvc("trace", "check", dir); code != 0 {
			t.Error(out)
		}
		return strings.Join(requestsOf(t, dir), "\n")
	}
	args := []string{"--prompt", "lognormal:600,8000", "--output", "1-300", "--arrivals", "gamma:4/s,2.5"}
	one := made(args...)
	if one != made(args...) {
		t.Error("the same seed makes another load")
	}
	if one == made(append(args, "--seed", "2")...) {
		t.Error("another seed makes the same load")
	}
	like := made("--like", writeLog(t, 3), "--arrivals", "fixed:1s")
	for _, line := range strings.Split(like, "\n") {
		if !strings.Contains(line, `"prompt_tokens":20,"output_tokens":1}`) && !strings.Contains(line, `"prompt_tokens":30,"output_tokens":2}`) {
			t.Error(line)
		}
	}
	if code, out, _ := kvc("trace", "load", "-o", filepath.Join(t.TempDir(), "x"), "--json"); code != 0 || !strings.Contains(out, `"requests": 1000`) {
		t.Error(code, out)
	}
}

// TestTraceImportUse checks the exit codes of wrong use and of a bad log.
func TestTraceImportUse(t *testing.T) {
	log, taken := writeLog(t, 3), synth(t)
	lengths := writeText(t, "lengths.csv", "num_prefill_tokens,num_decode_tokens\n5,6\n")
	bad := writeText(t, "bad.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,6\n0,x,6\n")
	empty := writeText(t, "empty.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n")
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"import", 2, "accepts 1 arg"},
		{"import LOG", 2, "-o is missing"},
		{"import LOG -o TAKEN", 2, "already has a trace"},
		{"import /nowhere -o NEW", 2, "/nowhere is neither a file, nor the folder of a trace"},
		{"import LOG -o NEW --format azur", 2, `unknown format "azur"`},
		{"import TAKEN -o NEW --format azure", 2, "is a trace, and not of the format azure"},
		{"import LOG -o NEW --columns a=b", 2, "--fields: "},
		{"import LOG -o NEW --columns=", 2, "--fields is empty"},
		{"import LOG -o NEW --columns prompt=x,output=y", 2, `log.csv:1: there is no column "x"`},
		{"import LOG -o NEW --time-unit h", 2, "--time-unit: "},
		{"import LOG -o NEW --time-unit s", 2, "has a time unit of its own"},
		{"import LOG -o NEW --prefix-block -1", 2, "--prefix-block is -1"},
		{"import LOG -o NEW --speedup 0", 2, "--speedup 0"},
		{"import LOG -o NEW --speedup -1", 2, "a speedup of -1"},
		{"import LOG -o NEW --speedup NaN", 2, "a speedup of NaN"},
		{"import LOG -o NEW --speedup 2 --arrivals fixed:1s", 2, "exclude each other"},
		{"import LOG -o NEW --arrivals often", 2, "--arrivals: "},
		{"import LOG -o NEW --from 5s --to 2s", 2, "want the end after the beginning"},
		{"import LOG -o NEW --sample 2", 2, "a sample of 2"},
		{"import LOG -o NEW --limit 0", 2, "--limit 0"},
		{"import LOG -o NEW --to 0s", 2, "--to 0"},
		{"import LOG -o NEW --max-prompt -3", 2, "at most -3 tokens"},
		{"import LOG -o NEW --from 1h", 2, "no request is left: nothing is written; of 3 rows, 1 without prompt or output tokens and 0 that failed are left out, 2 requests not selected by --from"},
		{"import EMPTY -o NEW", 2, "no request is left: nothing is written; it has no rows"},
		{"import LENGTHS -o NEW", 2, "has no arrival times"},
		{"import LENGTHS -o NEW --arrivals fixed:1s --from 1s", 2, "has no arrival times, which --from and --to need"},
		{"import BAD -o NEW", 2, `bad.csv:3:3: num_prefill_tokens: want a number of tokens, got "x"`},
		{"generate", 2, "-o is missing"},
		{"generate -o TAKEN", 2, "already has a trace"},
		{"generate -o NEW --requests 0", 2, "0 requests"},
		{"generate -o NEW --prompt x", 2, "--prompt: "},
		{"generate -o NEW --output 0", 2, "--output: "},
		{"generate -o NEW --arrivals gamma:1s", 2, "--arrivals: "},
		{"generate -o NEW --like LOG --prompt 5", 2, "--like gives the lengths"},
		{"generate -o NEW --like /nowhere", 2, "/nowhere is neither"},
		{"generate -o NEW --like EMPTY", 2, "has no requests"},
		{"generate -o NEW --like BAD", 2, "bad.csv:3:3"},
		{"generate -o NEW --prompt 16777216 --output 1", 2, "prompt_tokens + output_tokens"},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		args := []string{"trace"}
		for _, a := range strings.Fields(tc.args) {
			switch a {
			case "LOG":
				a = log
			case "TAKEN":
				a = taken
			case "LENGTHS":
				a = lengths
			case "BAD":
				a = bad
			case "EMPTY":
				a = empty
			case "NEW":
				a = dir
			}
			args = append(args, a)
		}
		code, out, stderr := kvc(args...)
		if code != tc.code || !strings.Contains(stderr, tc.want) || out != "" {
			t.Errorf("%s: exit %d, %s%s; want %d, %q", tc.args, code, out, stderr, tc.code, tc.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something is left", tc.args)
		}
	}
}
