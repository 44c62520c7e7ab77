package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestPTXCapture writes launches of several kernels, and replays them on the same kernels and on a
// wrong one.
func TestPTXCapture(t *testing.T) {
	if testing.Short() {
		t.Skip("it replays traces on the PTX machine several times")
	}
	t.Chdir(t.TempDir())
	kvc := func(line string) (int, string) {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(line), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	for i, line := range []string{
		"attend_combine --trace story --step 9", "attend_factors --trace story --step 12 --launch 1", "append_tokens_f16 --trace story --step 3", "append_prompt --trace random-fp8 --step 2",
	} {
		dir := "case" + string(rune('0'+i))
		if code, out := kvc("ptx capture " + line + " -o " + dir); code != exitDone || !strings.Contains(out, "kvc ptx script "+dir+"/launch.txt") {
			t.Fatalf("%s: %d\n%s", line, code, out)
		}
		if code, out := kvc("ptx script " + dir + "/launch.txt"); code != exitDone || !strings.Contains(out, " equals ") {
			t.Errorf("%s: %d\n%s", line, code, out)
		}
	}
	// A kernel that subtracts instead of adding.
	text, err := os.ReadFile("case0/attention.ptx")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(text, []byte(".visible .entry attend_combine("))
	wrong := append(bytes.Clone(text[:at]), bytes.ReplaceAll(text[at:], []byte("add.rn.f32"), []byte("sub.rn.f32"))...)
	if err := os.WriteFile("case0/attention.ptx", wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := kvc("ptx script case0/launch.txt"); code != exitFailed || !strings.Contains(out, "outputs differs from outputs.expected.npy") {
		t.Errorf("a wrong kernel: %d\n%s", code, out)
	}
	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"attend_combine --trace story --step 9 -o case0", "case0: the folder is not empty", exitUsage},
		{"attend_combine --trace story --step 99999 -o new", "there is no step 99999", exitUsage},
		{"attend_combine --trace story --step 0 -o new", "is not launched in step 0 of story, which launches ", exitUsage},
		{"attend_combine --trace story --step 9 --launch 99 -o new", "there is no launch 99", exitUsage},
		{"nope --trace story --step 9 -o new", `no kernel "nope"`, exitUsage},
		{"attend_combine --trace nope --step 9 -o new", "nope", exitUsage},
		{"attend_combine --trace story -o new", "--step is needed", exitUsage},
		{"attend_combine --trace story --step -1 -o new", "count from 0", exitUsage},
	} {
		if code, out := kvc("ptx capture " + c.line); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d, want %d\n%s\nwant %q", c.line, code, c.code, out, c.want)
		}
	}
	if _, err := os.Stat("new"); err == nil {
		t.Error("a capture that failed has written a folder")
	}
}
