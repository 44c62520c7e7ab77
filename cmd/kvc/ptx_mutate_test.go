package main

import (
	"encoding/json"
	"strings"
	"testing"

	"kvcompress/kernels/mutate"
)

// TestPTXMutate plants faults in a file, and runs a command to find them.
func TestPTXMutate(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a shell for each fault")
	}
	example(t)
	code, stdout, stderr := kvc("ptx", "mutate", "example.ptx", "--entry", "saxpy", "-n", "1000", "--json",
		"--check", "test $(grep -c st.global.f32 {}) = $(grep -c st.global.f32 example.ptx)")
	var r mutate.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitDone {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	stores := 0
	for _, k := range r.Kinds {
		if k.Kind == mutate.KindStore {
			stores = k.Noticed
		}
	}
	if r.Mutants < 20 || r.Noticed == 0 || r.Noticed != stores || r.Mutants != r.Noticed+len(r.Survivors) {
		t.Errorf("%d mutants, %d noticed, of them %d dropped stores; %d survivors", r.Mutants, r.Noticed, stores, len(r.Survivors))
	}
	if code, stdout, _ := kvc("ptx", "mutate", "example.ptx", "-n", "5", "--check", "test -s {}"); code != exitDone || !strings.Contains(stdout, "0 of 5 mutants noticed") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	for args, want := range map[string]string{
		"example.ptx --check=false&&{}":                  "fails without a fault: exit status 1\n",
		"example.ptx --check true":                       "want {} in it",
		"example.ptx --check no-such-command-anywhere{}": "cannot be run",
		"example.ptx --check test{} --entry nobody":      "there are saxpy",
		"example.ptx":                                       "--check is missing",
		"example.ptx --check test{} -n 0":                   "want at least 1",
		"bad.ptx --check test{}":                            "unknown opcode",
		"nowhere.ptx --check test{}":                        "no such file",
		"example.ptx --check=yes>/dev/null;{} --timeout=1s": "took more than 1s",
	} {
		if code, _, stderr := kvc(append([]string{"ptx", "mutate"}, strings.Fields(args)...)...); code == exitDone || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
	}
}
