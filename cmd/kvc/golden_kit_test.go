package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGoldenKit runs command lines of `kvc golden export`, `compare` and `update`.
func TestGoldenKit(t *testing.T) {
	bundled, err := filepath.Abs("../../traces")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.CopyFS("mine", os.DirFS(filepath.Join(bundled, "story"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mine/options.json", "mine/golden.json"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("none", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"golden export story", exitUsage, "", "want a folder with -o"},
		{"golden export story -o a --dry-run", exitUsage, "", "--dry-run"},
		{"golden export story --dry-run", exitDone, "story, 101 steps     146", ""},
		{"golden export story --dry-run --json", exitDone, `"total": {`, ""},
		{"golden export story -o a --steps -1", exitUsage, "", "--steps -1"},
		{"golden export story -o a --steps 9 --stages nope", exitUsage, "", `"nope" is none of prefill, decode`},
		{"golden export story -o a --rate 2", exitUsage, "", "--rate 2: want a fraction"},
		{"golden export nowhere -o a", exitUsage, "", "nowhere"},
		{"golden export story -o a --steps 9", exitDone, "Written to a.", ""},
		{"golden export story -o a --steps 9", exitUsage, "", "the folder is not empty"},
		{"golden export story -o b --steps 9 --format safetensors", exitDone, "Written to b.", ""},
		{"golden export story -o c --steps 9 --norm L1", exitDone, "Written to c.", ""},
		{"golden compare a --theirs b --all", exitDone, "arrays agree", ""},
		{"golden compare a --theirs c", exitFailed, "story, step 0, stage prefill of sequence 0: metric\n", "arrays differ"},
		{"golden compare a --theirs c --parts positions,outputs", exitDone, "outputs", ""},
		{"golden compare a --theirs c --format github", exitFailed, "::error title=story%3A first divergence::story, step 0", ""},
		{"golden compare a --theirs c --format junit", exitFailed, `<failure message="step 0, stage prefill`, ""},
		{"golden compare a --theirs c --format json", exitFailed, `"first_divergence": {`, ""},
		{"golden compare a --theirs c --json --format text", exitUsage, "", "exclude each other"},
		{"golden compare a --theirs none", exitFailed, "not compared", "nothing was compared"},
		{"golden compare a --theirs none --format github", exitFailed, "::error title=story::nothing was compared", ""},
		{"golden compare a", exitUsage, "", "--theirs"},
		{"golden compare a --theirs nowhere", exitUsage, "", "nowhere"},
		{"golden compare none --theirs a", exitUsage, "", "none: there is no manifest.json"},
		{"golden compare a --theirs b --parts rats", exitUsage, "", `no part "rats": want one of`},
		{"golden compare a --theirs b --atol -1", exitUsage, "", "--atol -1"},
		{"golden update ./mine", exitDone, "nothing is evicted, as the options ask for no compression", ""},
		{"golden update ./mine --rate 0.5 --protected-window 8", exitDone, "mine/options.json: written\nmine/golden.json: written, 101 steps\n  88 compressions evicted 746 KVs", ""},
		{"golden check ./mine", exitDone, "same", ""},
		{"golden update ./mine", exitDone, "mine/golden.json: as before\n  88 compressions", ""},
		{"golden update ./mine --method snapkv --max-cache-tokens 32 --set windo=16", exitUsage, "", `no option "windo"`},
		{"golden update ./mine --method h2o-mask --max-cache-tokens 32", exitDone, "hid at most", ""},
		{"golden check ./mine", exitDone, "same", ""},
		{"golden update --rate 0.5", exitUsage, "", "--rate would change the options of every bundled trace"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(c.line), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("kvc %s: exit code %d, want %d\nstdout, with %q:\n%s\nstderr, with %q:\n%s", c.line, code, c.code, c.stdout, &stdout, c.stderr, &stderr)
		}
	}
	var stdout bytes.Buffer
	run([]string{"golden", "compare", "a", "--theirs", "c", "--json"}, &stdout, new(bytes.Buffer))
	var keys map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"cases", "agree", "skipped", "by_file", "by_part", "results", "first_divergence", "values_compared"} {
		if keys[key] == nil {
			t.Errorf("no %s in the JSON", key)
		}
	}
}

// TestOptionsErrors writes options.json files by hand: an error names the key.
func TestOptionsErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../traces/story")); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"block_size": 3}`:                                    "block_size 3",
		`{"blok_size": 4}`:                                     `"blok_size"`,
		`{"blocks": -1}`:                                       "blocks -1",
		`{"kv_dtype": "fp9"}`:                                  "kv_dtype: ",
		`{"kv_scale": {"k": [1], "v": [1]}}`:                   "kv_scale: ",
		`{"method": "sn"}`:                                     `method "sn"`,
		`{"method": "snapkv", "set": {"windo": 3}}`:            `no option "windo" (did you mean window?): choose one of window`,
		`{"method": "snapkv", "set": {"window": "a"}}`:         "window: want an integer",
		`{"metric": {"norm": "L3"}}`:                           "metric: norm",
		`{"metric": {"max_pool": 4}}`:                          "metric: max_pool 4",
		`{"compression": {"rate": 2}}`:                         "compression: rate 2",
		`{"compression": {"rate": "x"}}`:                       "compression.rate: want a number",
		`{"compression": {"Rate": 0.5}}`:                       `compression: unknown field "Rate"`,
		`{"compression": {"rate": 0.5, "rate": 0.6}}`:          `"rate" occurs twice`,
		`{"compression": {"interval": -1}}`:                    "compression: interval -1",
		`{"compression": {"rate":0.5, "max_cache_tokens": 3}}`: "max_cache_tokens and rate",
		`{"limits": {"max_num_seqs": 0}}`:                      "max_num_seqs 0",
		`{"step_time_ns": 0}`:                                  "step_time_ns 0",
	} {
		if err := os.WriteFile(filepath.Join(dir, "options.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		if code := run([]string{"golden", "update", dir}, new(bytes.Buffer), &stderr); code == exitDone || !strings.Contains(stderr.String(), "options.json: ") || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d, %q, want %q", text, code, &stderr, want)
		}
	}
}

// python returns a Python that has NumPy.
func python(t *testing.T) string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import numpy").Run() == nil {
			return name
		}
	}
	t.Skip("there is no python3 with NumPy")
	return ""
}

// TestCIPage runs the implementation in NumPy of docs/ci.md, as the page says, and with the
// mistake that the page shows.
func TestCIPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it exports and compares three replays")
	}
	page, err := os.ReadFile("../../docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	between := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindSubmatch(page)
		if found == nil {
			t.Fatalf("docs/ci.md has no %s", pattern)
		}
		return string(found[1])
	}
	program := between("(?s)```python\n(.*?)```")
	tolerance := strings.Fields(between(`--theirs mine (--parts outputs --atol \S+)\n`))
	sample := between("(?s)first in 0001-0-decode\n\n(.*?)  theirs")
	const right, wrong = "h // G", "h % H"
	if strings.Count(program, right) != 2 {
		t.Fatalf("the program has not twice %s", right)
	}
	py := python(t)
	golden := map[string]string{} // the folder that a trace is exported to
	for _, trace := range []string{"story", "recall/snapkv"} {
		golden[trace] = filepath.Join(t.TempDir(), "golden")
		var stdout, stderr bytes.Buffer
		if code := run([]string{"golden", "export", trace, "-o", golden[trace]}, &stdout, &stderr); code != exitDone {
			t.Fatalf("export: exit code %d: %s", code, &stderr)
		}
	}
	for _, c := range []struct {
		trace, program string
		code           int
		stdout         string
	}{
		{"story", program, exitDone, "100 of 100 arrays agree"},
		{"recall/snapkv", program, exitDone, "23 of 23 arrays agree"},
		{"story", strings.ReplaceAll(program, right, wrong), exitFailed, sample},
	} {
		dir := t.TempDir()
		mine, script := filepath.Join(dir, "mine"), filepath.Join(dir, "mine.py")
		if err := os.WriteFile(script, []byte(c.program), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(py, script, golden[c.trace], mine).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var stdout, stderr bytes.Buffer
		if code := run(append([]string{"golden", "compare", golden[c.trace], "--theirs", mine}, tolerance...), &stdout, &stderr); code != c.code || !strings.Contains(stdout.String(), c.stdout) {
			t.Errorf("%s: exit code %d, want %d, with %q:\n%s%s", c.trace, code, c.code, c.stdout, &stdout, &stderr)
		}
	}
}
