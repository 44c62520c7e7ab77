package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/trace"
)

// kvc runs a command line and returns its exit code and what it printed.
func kvc(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

// synth makes a small trace and returns its folder.
func synth(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "small")
	args = append([]string{"trace", "synth", "-o", dir, "--shape", "2,4,2,16", "--heads", "sink,local:8/uniform"}, args...)
	if code, _, stderr := kvc(args...); code != 0 {
		t.Fatalf("%v: %d, %s", args, code, stderr)
	}
	return dir
}

func TestTraceSynthAndInfo(t *testing.T) {
	dir := synth(t, "--requests", "3", "--prompt", "40", "--output", "10", "--arrivals", "fixed:1500ms", "--dtype", "bf16", "--seed", "9")
	code, out, stderr := kvc("trace", "info", dir)
	if code != 0 || stderr != "" {
		t.Fatal(code, stderr)
	}
	const want = `name      small
shape     2 layers × 4 KV heads × 16, 2 query heads each, bf16
source    synthetic
          heads of stated kinds in a shape of one's own
heads     2 sink
          2 local:8
          4 uniform
requests  3, 3 of them with tensors
tokens    150
arrivals  over 3s, 0.6667 a second; standard deviation of the gaps / mean 0.00
on disk   615 B in 2 files
KV cache  73.5 KiB, uncompressed (512 B a token; largest request 24.5 KiB)

                          min   p50  mean   p90   p99   max
          prompt tokens    40    40  40.0    40    40    40
          output tokens    10    10  10.0    10    10    10
  time between arrivals  1.5s  1.5s  1.5s  1.5s  1.5s  1.5s
`
	trim := func(s string) string { // the table's lines end with spaces
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(want, trim(out)); diff != "" {
		t.Error(diff)
	}
	code, out, _ = kvc("trace", "info", dir, "--json")
	var info trace.Info
	if err := json.Unmarshal([]byte(out), &info); code != 0 || err != nil || info.Requests != 3 || info.Shape.Group != 2 {
		t.Errorf("%d, %v: %s", code, err, out)
	}
}

// TestTraceSynthSame checks that a seed gives the same files, and another seed others.
func TestTraceSynthSame(t *testing.T) {
	read := func(seed string) string {
		dir := synth(t, "--requests", "20", "--prompt", "1-500", "--output", "1-500", "--arrivals", "poisson:10ms", "--seed", seed)
		var all []byte
		for _, name := range []string{"trace.json", "requests.jsonl"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
		}
		return string(all)
	}
	one := read("1")
	if one != read("1") {
		t.Error("seed 1 twice differs")
	}
	if one == read("2") {
		t.Error("seeds 1 and 2 are the same")
	}
}

func TestTraceCheck(t *testing.T) {
	good, bad := synth(t), synth(t)
	lines := `{"id":"a","arrival_ns":-4,"prompt_tokens":1,"output_tokens":0}` + "\n"
	if err := os.WriteFile(filepath.Join(bad, "requests.jsonl"), []byte(lines), 0o666); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := kvc("trace", "check", good, bad)
	want := good + ": no errors\n" +
		"trace: " + bad + "/requests.jsonl:1: request a: arrival_ns is -4, want 0 to 2^62\n" +
		"trace: " + bad + "/requests.jsonl:1: request a: output_tokens is 0, want 1 to 16777216\n"
	if diff := cmp.Diff(want, out); diff != "" || code != 1 || stderr != "kvc: 2 errors in 1 of 2 traces\n" {
		t.Error(code, stderr, diff)
	}
	code, out, _ = kvc("trace", "check", good, bad, "--json")
	var got []traceCheck
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 {
		t.Fatal(code, err)
	}
	wantJSON := []traceCheck{
		{Trace: good, OK: true, Errors: []traceError{}},
		{Trace: bad, Errors: []traceError{
			{File: bad + "/requests.jsonl", Line: 1, Request: "a", Error: "arrival_ns is -4, want 0 to 2^62"},
			{File: bad + "/requests.jsonl", Line: 1, Request: "a", Error: "output_tokens is 0, want 1 to 16777216"},
		}},
	}
	if diff := cmp.Diff(wantJSON, got); diff != "" {
		t.Error(diff)
	}
}

// TestTraceCheckGoesOn checks that after a trace that does not exist the others are still checked.
func TestTraceCheckGoesOn(t *testing.T) {
	good, bad := synth(t), synth(t)
	if err := os.WriteFile(filepath.Join(bad, "trace.json"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := kvc("trace", "check", good, "nosuch", "mha")
	if code != 2 || out != good+": no errors\nmha: no errors\n" || !strings.Contains(stderr, `"nosuch" is neither a directory nor`) {
		t.Error(code, out, stderr)
	}
	code, out, stderr = kvc("trace", "check", "nosuch", bad, "--json")
	var got []traceCheck
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 2 || len(got[0].Errors) != 1 || got[0].OK || got[1].OK {
		t.Error(err, out)
	}
	if code != 1 || !strings.HasPrefix(stderr, "kvc: 1 error in 1 of 2 traces\n") || !strings.Contains(stderr, `"nosuch"`) {
		t.Error(code, stderr)
	}
	if _, _, stderr = kvc("trace", "check", bad); stderr != "kvc: 1 error in 1 of 1 trace\n" {
		t.Error(stderr)
	}
}

// TestBytesBarSilent checks that there is no progress bar without a terminal.
func TestBytesBarSilent(t *testing.T) {
	var out strings.Builder
	bar := newBytesBar(&out, "x")
	for i := range int64(100) {
		bar.set(i, 100)
	}
	bar.clear()
	if bar.bar != nil || out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}

// TestTraceInfoForeign describes a trace from another program: control characters in its names do
// not reach the terminal, and other files in its folder are ignored.
func TestTraceInfoForeign(t *testing.T) {
	dir := synth(t, "--name", "a\x1b]0;b\x07\nc")
	if err := os.WriteFile(filepath.Join(dir, "options.json"), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := kvc("trace", "info", dir)
	if code != 0 || stderr != "" || !strings.HasPrefix(out, "name      a\uFFFD]0;b\uFFFD c\n") {
		t.Errorf("%d %s %q", code, stderr, out)
	}
}

// TestTraceSynthHere: a trace written to "." has the folder's real name.
func TestTraceSynthHere(t *testing.T) {
	here := filepath.Join(t.TempDir(), "here")
	if err := os.Mkdir(here, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(here)
	if code, out, _ := kvc("trace", "synth", "-o", "."); code != 0 || !strings.HasPrefix(out, "name      here\n") {
		t.Error(code, out)
	}
}

// TestTraceUse checks the exit codes of wrong use and of failure.
func TestTraceUse(t *testing.T) {
	dir := synth(t)
	new := func() string { return filepath.Join(t.TempDir(), "new") }
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"info", 2, "accepts 1 arg"},
		{"info /nowhere", 2, "neither a directory nor one of the bundled"},
		{"info DIR --yaml", 2, "unknown flag: --yaml"},
		{"check", 2, "requires at least 1 arg"},
		{"check /nowhere", 2, "neither a directory"},
		{"check trace_test.go", 2, "trace_test.go is a file, and a trace is a folder"},
		{"synth", 2, "-o is missing"},
		{"synth -o NEW extra", 2, "unknown command"},
		{"synth -o DIR", 2, "already has a trace"},
		{"synth -o NEW --model gpt", 2, `--model: unknown model "gpt", want one of llama-3.1-8b, llama-3.1-70b`},
		{"synth -o NEW --model llama-3.1-8b --shape 1,1,1,8", 2, "exclude each other"},
		{"synth -o NEW --shape=", 2, "--shape is empty"},
		{"synth -o NEW --shape 1,1,8", 2, "want four numbers"},
		{"synth -o NEW --shape 1,1,x,8", 2, `"x" is not a number`},
		{"synth -o NEW --shape 1,1,1,12", 2, "multiple of 8"},
		{"synth -o NEW --layers 33", 2, "--layers 33: want 1 to 32"},
		{"synth -o NEW --heads sync", 2, `--heads: head "sync"`},
		{"synth -o NEW --dtype f64", 2, `--dtype: dtype: unknown format "f64"`},
		{"synth -o NEW --dtype e4m3", 2, "dtype is fp8_e4m3"},
		{"synth -o NEW --prompt 0", 2, "--prompt: length 0"},
		{"synth -o NEW --output x", 2, `--output: "x" is not a length`},
		{"synth -o NEW --requests 0", 2, "0 requests"},
		{"synth -o NEW --arrivals daily", 2, "want fixed:TIME, poisson:TIME or gamma:TIME,CV"},
		{"synth -o NEW --arrivals fixed:5", 2, "want a time such as 50ms"},
	} {
		args := []string{"trace"}
		for _, a := range strings.Fields(tc.args) {
			switch a {
			case "DIR":
				a = dir
			case "NEW":
				a = new()
			}
			args = append(args, a)
		}
		code, out, stderr := kvc(args...)
		if code != tc.code || !strings.Contains(stderr, tc.want) || out != "" {
			t.Errorf("%s: exit %d, %s%s; want %d, %q", tc.args, code, out, stderr, tc.code, tc.want)
		}
	}
}
