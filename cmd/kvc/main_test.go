package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/ptx"
)

// parsed keeps the modules of PTX that the tests' command lines have parsed.
var parsed ptx.Cache

// run executes one command line and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	return runContext(context.Background(), args, stdout, stderr, &parsed)
}

// TestCommandLines runs whole command lines and checks the exit code and the output: 0 for done,
// 1 for a disagreement, 2 for wrong use.
func TestCommandLines(t *testing.T) {
	bundled, err := filepath.Abs("../../traces")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, edit := range map[string]func(dir string) error{
		"same":    func(string) error { return nil },
		"changed": func(dir string) error { return replace(dir+"/golden.json", `"kvs":524`, `"kvs":525`) },
		"small":   func(dir string) error { return os.WriteFile(dir+"/options.json", []byte(`{"blocks": 1}`), 0o600) },
		"bad":     func(dir string) error { return os.WriteFile(dir+"/options.json", []byte(`{"block_size": 3}`), 0o600) },
		"bare":    func(dir string) error { return os.Remove(dir + "/golden.json") },
	} {
		if err := os.CopyFS(name, os.DirFS(filepath.Join(bundled, "block-size-1"))); err != nil {
			t.Fatal(err)
		}
		if err := edit(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"copy", "few"} {
		if err := os.CopyFS(name, os.DirFS(filepath.Join(bundled, "gqa"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove("copy/methods/knorm/golden.json"); err != nil {
		t.Fatal(err)
	}
	methods, err := os.ReadDir("few/methods")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range methods {
		if m.Name() != "random" {
			if err := os.RemoveAll("few/methods/" + m.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
	const oneCase = `[{"layers":1,"kv_heads":1,"block_size":1,"sequence_length":3,"protected_window":0,"attention_sinks":0,
		"metric_reduction":"sum","blocks_to_evict":1,"heads":[{"layer":0,"head":0,"blocks":[4,1,7],"positions":[0,1,2],
		"metrics":[3,1,2],"evicted_blocks":1,"evicted":[EVICTED],"moves":[[1,7]]}]}]`
	agrees, disagrees := strings.Replace(oneCase, "EVICTED", "1", 1), strings.Replace(oneCase, "EVICTED", "0", 1)
	for _, file := range []struct{ name, text string }{
		{"agrees.json", agrees}, {"disagrees.json", disagrees},
		{"recorded/a.json", agrees}, {"recorded/deeper/b.json", disagrees}, {"recorded/c.json", `{"method":"of-the-future","cases":[{}]}`},
		{"unreadable/a.json", agrees}, {"unreadable/b.json", agrees}, {"unreadable/broken.json", `[{"heads":`},
	} {
		if err := os.MkdirAll(filepath.Dir(file.name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file.name, []byte(file.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	type commandLine struct {
		line           string
		code           int
		stdout, stderr string
	}
	lines := []commandLine{
		{"", exitDone, "Available Commands", ""},
		{"--version", exitDone, "kvc version", ""},
		{"nope", exitUsage, "", `unknown command "nope"`},
		{"help nope", exitUsage, "", `no command "nope"`},
		{"completion bash extra", exitUsage, "", "extra"},
		{"golden check block-size-1 ./same", exitDone, "same", ""},
		{"golden check ./bare", exitUsage, "", "there is no golden.json: make one with"},
		{"golden check ./bare ./same", exitUsage, "block-size-1  61", "there is no golden.json"},
		{"golden check ./changed", exitFailed, "step 0, stage prefill: result.kvs\n  golden  525\n  now     524", "1 of 1 trace differs"},
		{"golden check nowhere", exitUsage, "", "neither a directory nor one of the bundled"},
		{"golden check --rats", exitUsage, "", "unknown flag: --rats"},
		{"golden check gqa/tova ./copy/tova", exitDone, "gqa/tova  41", ""},
		{"golden check ./copy/...", exitUsage, "gqa/snapkv", "gqa/knorm: there is no golden.json"},
		{"golden update ./copy/knorm", exitDone, "methods/knorm/golden.json: written, 41 steps", ""},
		{"golden check ./copy/knorm gqa/knorm", exitDone, "gqa/knorm  41", ""},
		{"golden check gqa/nothing", exitUsage, "", `no replay "nothing" among its methods: ada-snapkv`},
		{"run gqa/razor", exitDone, "razor", ""},
		{"run gqa/razor --block-size 8 --json", exitDone, `"block_size": 8`, ""},
		{"validate ./few/...", exitDone, "gqa/random ", ""},
		{"golden check ./few/... --device ptx", exitDone, "gqa/random", ""},
		{"golden update ./bare", exitDone, "bare/golden.json: written, 61 steps", ""},
		{"golden update ./bare", exitDone, "bare/golden.json: as before", ""},
		{"golden update block-size-1", exitUsage, "", "name its folder with --dir"},
		{"validate block-size-1", exitDone, "agree in all", ""},
		{"validate block-size-1 --device ptx --checks races --shuffle 3", exitDone, "(PTX on the CPU, checks: races) agree in all", ""},
		{"validate ./bad", exitUsage, "", "block_size 3"},
		{"validate --random 0", exitUsage, "", "--random 0"},
		{"validate --random 2 story", exitUsage, "", "--random and traces exclude each other"},
		{"validate --replay nowhere", exitUsage, "", "not a folder"},
		{"validate --replay same", exitUsage, "", "stage.json"},
		{"validate --rtol 2", exitUsage, "", "--rtol 2"},
		{"validate --device tpu", exitUsage, "", "tpu"},
		{"validate --checks none,rats", exitUsage, "", "rats"},
		{"validate --kernel settle=mine.ptx", exitUsage, "", "want NAME=FILE.ptx:ENTRY"},
		{"validate --kernel settle=mine.ptx:settle", exitUsage, "", "mine.ptx"},
		{"validate block-size-1 --kernel rats=agrees.json:rats", exitUsage, "", `no kernel "rats"`},
		{"validate block-size-1 --kernel append=agrees.json:append", exitUsage, "", `no kernel "append"`},
		{"validate ./small", exitUsage, "nothing compared", "no request fits the cache"},
		{"validate block-size-1 --kernel settle=agrees.json:settle", exitUsage, "", "agrees.json:1"},
		{"validate --replay same --dump there", exitUsage, "", "--dump goes with"},
		{"validate --cases agrees.json", exitDone, "1 of 1 case agrees", ""},
		{"validate --cases disagrees.json", exitFailed, "[0] is 1, 0 recorded", "1 of 1 case disagrees"},
		{"validate --cases agrees.json story", exitUsage, "", "exclude each other"},
		{"validate --cases=", exitUsage, "", "--cases"},
		{"validate --cases nowhere.json", exitUsage, "", "nowhere.json"},
		{"validate --cases recorded", exitFailed, "1 of 2 cases agrees; 1 was not compared", "1 of 2 cases disagrees"},
		{"validate --cases recorded --json", exitFailed, `"by_file": [`, "1 of 2 cases disagrees"},
		{"validate --cases unreadable", exitUsage, "All 2 cases agree", "broken.json"},
		{"validate --cases unreadable/broken.json", exitUsage, "", "broken.json: cases:"},
		{"run ./bad", exitUsage, "", "options.json: config: block_size 3"},
		{"run ./bad --blocks 9", exitUsage, "", "block_size 3"},
		{"run --options=", exitUsage, "", "--options"},
	}
	lines = append(lines, testsize.Of(nil, []commandLine{
		{"validate gqa/tova --json", exitDone, `"not_run": []`, ""},
		{"validate gqa/razor", exitDone, "agree in all", ""},
		{"golden check block-size-1 --device ptx", exitDone, "same", ""},
	}, []commandLine{
		{"validate gqa/tova --json", exitDone, `"not_run": []`, ""},
		{"validate gqa/razor", exitDone, "agree in all", ""},
		{"golden check block-size-1 --device ptx", exitDone, "same", ""},
		{"validate gqa/razor gqa/random --json", exitDone, `"not_run": []`, ""},
		{"validate --random 2", exitDone, "of 2 random pipelines", ""},
		{"golden check gqa/razor --device ptx", exitDone, "same", ""},
	})...)
	for _, c := range lines {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(c.line), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("kvc %s: exit code %d, want %d\nstdout, with %q:\n%s\nstderr, with %q:\n%s", c.line, code, c.code, c.stdout, &stdout, c.stderr, &stderr)
		}
	}
}

func replace(file, old, with string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.Replace(text, []byte(old), []byte(with), 1), 0o600)
}

// TestValidateJSON checks the names that scripts read.
func TestValidateJSON(t *testing.T) {
	t.Chdir(t.TempDir())
	type replay struct {
		name  string
		steps float64
	}
	small, fp8 := replay{"gqa/tova", 41}, replay{"random-fp8", 32}
	other := testsize.Of(small, fp8, fp8)
	var stdout, stderr bytes.Buffer
	if code := run([]string{"validate", other.name, "block-size-1", "--json"}, &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	var got map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["traces"] != 2.0 || got["steps"] != 61+other.steps || got["mismatches"] != 0.0 || got["values_compared"] == nil {
		t.Errorf("%v", got)
	}
}
