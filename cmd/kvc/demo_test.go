package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
)

// The demonstration prints what its help describes, and leaves its files.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	code, stdout, stderr := kvc("demo", "-o", dir)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	at := 0
	for _, want := range []string{
		"race: bytes", "sum.cu:13", "(exit code 1)", // the line of the missing barrier
		"6 compressions freed 415 blocks", "requests over", "meets the objectives for", "In " + dir,
	} {
		found := strings.Index(stdout[at:], want)
		if found < 0 {
			t.Fatalf("no %q behind byte %d of\n%s", want, at, stdout)
		}
		at += found
	}
	for _, name := range []string{"sum.cu", "sum.ptx", "kept.png", "plan.html", filepath.Join("requests", "trace.json")} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	source, err := os.ReadFile(filepath.Join(dir, "sum.cu"))
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Split(string(source), "\n")[12]; !strings.Contains(line, "part[t + half]") {
		t.Errorf("line 13 of sum.cu is %q", line)
	}
	if code, _, stderr := kvc("demo", "-o", dir); code != exitUsage || !strings.Contains(stderr, "is not empty") {
		t.Errorf("again into the same folder: exit code %d, %s", code, stderr)
	}
}

// TestDemoFolder checks that the commands of the demo work in a folder of any name.
func TestDemoFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	together := []string{"-Inf", "a b,c=d:e#f'g"}
	for _, dir := range testsize.Of(together, together, []string{"-Inf", "a b", "a,b", "a=b", "a:b", "a#b", "a'b"}) {
		if code, _, stderr := kvc("demo", "-o="+dir); code != exitDone {
			t.Errorf("%q: exit code %d: %s", dir, code, stderr)
		}
	}
}
