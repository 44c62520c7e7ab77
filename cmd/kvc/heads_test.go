package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/heads"
)

func readHeadMap(t *testing.T, path string) *heads.Map {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := heads.ReadMap(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The scores of a model's heads equal, to the bit, those from a trace recorded from the model
// with the same prompt.
func TestHeadsFindModelAndTrace(t *testing.T) {
	model := randomFolder(t, "")
	t.Chdir(t.TempDir())
	rep := heads.Repetition{Period: 7, Repeats: 3}
	code, out, stderr := kvc("heads", "find", "--model", model, "--period", "7", "--repeats", "3", "--bos", "1", "--ids", "2:9", "--seed", "4",
		"--induction-ratio", "1", "-o", "model.json")
	if code != exitDone || !strings.Contains(out, "1 layers × 1 KV heads: 1 of 1 full (100.0 %)") || stderr != "Written to model.json.\n" {
		t.Fatalf("%d\n%s\n%s", code, out, stderr)
	}
	prompt, err := rep.Prompt(heads.Draw{BOS: 1, First: 2, Last: 9, Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.ReplaceAll(strings.Trim(fmt.Sprint(prompt), "[]"), " ", ",")
	if code, _, stderr := kvc("trace", "record", "--model", model, "--token-ids", ids, "--max-tokens", "1", "--dtype", "f32", "-o", "recorded"); code != exitDone {
		t.Fatal(stderr)
	}
	code, out, stderr = kvc("heads", "find", "./recorded", "--period", "7", "--repeats", "3", "--request", "1", "--json", "-o", "trace.json")
	if code != exitDone || stderr != "Written to trace.json.\n" {
		t.Fatalf("%d\n%s\n%s", code, out, stderr)
	}
	if want, got := readHeadMap(t, "model.json"), readHeadMap(t, "trace.json"); !cmp.Equal(want.Scores[0].Query, got.Scores[0].Query) || !cmp.Equal(want.Scores[1].Query, got.Scores[1].Query) {
		t.Errorf("of the model\n%+v\nof the trace\n%+v", want, got)
	}
	var printed headMapJSON
	if err := json.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatal(err)
	}
	if printed.Full != 0 || printed.Streaming != 1 || len(printed.Heads) != 1 || printed.Heads[0].Class != heads.Streaming || printed.Scores[1].Name != "echo" || printed.Source != "recorded, request 1, 3 × 7 tokens" {
		t.Errorf("it prints %+v", printed)
	}
	// With another period, the error says that nothing repeats.
	if code, _, stderr = kvc("heads", "find", "./recorded", "--period", "6", "--repeats", "3", "-o", "trace.json"); code != exitDone || !strings.Contains(stderr, "do not repeat every 6 tokens") {
		t.Errorf("%d: %s", code, stderr)
	}
}

func TestHeadsCommandLines(t *testing.T) {
	model := randomFolder(t, "")
	bundled, err := filepath.Abs("../../traces")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"duo.tsv":    "0.9\t0.1\n0.2\t0.8\n",
		"bad.tsv":    "0.9\t0.1\n0.2\n",
		"bad.json":   `{"format_version":1,"layers":1,"kv_heads":1,"classes":[["half"]]}`,
		"plain.json": `{"format_version":1,"layers":1,"kv_heads":2,"classes":[["full","streaming"]]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"heads", exitDone, "Available Commands", ""},
		{"heads import duo.tsv --sparsity 0.5 -o duo.json", exitDone, "2 of 4 full (50.0 %)", "Written to duo.json."},
		{"heads import duo.tsv --threshold 0.85 -o above.json", exitDone, "1 of 4 full (25.0 %)", "Written to above.json."},
		{"heads import duo.tsv --ratio 0.5 --kv-heads 1 -o top.json --json", exitDone, `"full": 1`, "Written to top.json."},
		{"heads import duo.tsv -o x.json", exitUsage, "", "want one of --sparsity"},
		{"heads import duo.tsv --ratio 0.5 --sparsity 0.5 -o x.json", exitUsage, "", "want one of --sparsity"},
		{"heads import duo.tsv --ratio 1.5 -o x.json", exitUsage, "", "--ratio 1.5"},
		{"heads import duo.tsv --threshold NaN -o x.json", exitUsage, "", "--threshold NaN"},
		{"heads import duo.tsv --ratio 0.5", exitUsage, "", "-o is missing"},
		{"heads import duo.tsv --ratio 0.5 --kv-heads 3 -o x.json", exitUsage, "", "--kv-heads 3"},
		{"heads import duo.tsv --ratio 0.5 --kv-heads 0 -o x.json", exitUsage, "", "--kv-heads 0"},
		{"heads import nowhere.tsv --ratio 0.5 -o x.json", exitUsage, "", "nowhere.tsv"},
		{"heads import bad.tsv --ratio 0.5 -o x.json", exitUsage, "", "bad.tsv: line 2: 1 heads, want 2"},
		{"heads show duo.json", exitDone, "duoattention, duo.tsv\n2 layers × 2 KV heads: 2 of 4 full", ""},
		{"heads show duo.json --plot duo.svg --json", exitDone, `"class": "full"`, "Written to duo.svg."},
		{"heads show plain.json --plot plain.png", exitDone, "retrieval heads\n1 layers × 2 KV heads: 1 of 2 full", "Written to plain.png."},
		{"heads show duo.json --plot duo.gif", exitUsage, "", "a picture is a .png or a .svg"},
		{"heads show bad.json", exitUsage, "", `bad.json: head map: classes[0][0]: "half"`},
		{"heads show nowhere.json", exitUsage, "", "nowhere.json"},
		{"heads show", exitUsage, "", "accepts 1 arg"},
		{"heads find -o x.json", exitUsage, "", "want a model"},
		{"heads find story --model M -o x.json", exitUsage, "", "exclude each other"},
		{"heads find --model nowhere -o x.json", exitUsage, "", "the bundled models are recall-0"},
		{"heads find --model M", exitUsage, "", "-o is missing"},
		{"heads find --model M -o x.json", exitUsage, "", "want a --period of at most 15"},
		{"heads find --model M --period 5 -o x.json", exitUsage, "", "has no BOS"},
		{"heads find --model M --period 5 --bos 10 -o x.json", exitUsage, "", "--bos 10"},
		{"heads find --model M --period 5 --bos 0 --ids 3 -o x.json", exitUsage, "", "--ids \"3\""},
		{"heads find --model M --period 5 --bos 0 --ids 3:10 -o x.json", exitUsage, "", "vocabulary of 10"},
		{"heads find --model M --period 5 --bos 0 --ids 3:6 --distinct -o x.json", exitUsage, "", "4 ids are too few"},
		{"heads find --model M --period 5 --bos 0 --request 1 -o x.json", exitUsage, "", "--request"},
		{"heads find --model M --period 0 -o x.json", exitUsage, "", "a period of 0"},
		{"heads find --model M --repeats 1 -o x.json", exitUsage, "", "1 repeats"},
		{"heads find --model M --echo-ratio -1 -o x.json", exitUsage, "", "echo: top-ratio -1"},
		{"heads find --model M --period 5 --bos 0 -o no/such/x.json", exitUsage, "", "the folder no/such does not exist"},
		{"heads find T/story -o x.json", exitUsage, "", "2500 = 10001"},
		{"heads find T/story --period 5 --seed 3 -o x.json", exitUsage, "", "--seed needs --model"},
		{"heads find T/story --period 5 --request none -o x.json", exitUsage, "", `--request "none"`},
		{"heads find nowhere -o x.json", exitUsage, "", "neither a directory nor"},
	} {
		line := strings.NewReplacer("--model M", "--model "+model, "T/", bundled+"/").Replace(c.line)
		code, stdout, stderr := kvc(strings.Fields(line)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("kvc %s: exit code %d, want %d\nstdout, with %q:\n%s\nstderr, with %q:\n%s", c.line, code, c.code, c.stdout, stdout, c.stderr, stderr)
		}
	}
	if _, err := os.Stat("x.json"); err == nil {
		t.Error("a command that failed has written its file")
	}
}

// sameImage fails the test if an image of the docs differs from the drawn one; with -update it
// writes the drawn one.
func sameImage(t *testing.T, image, drawn string) {
	t.Helper()
	want, err := os.ReadFile(drawn)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(image)
	switch {
	case err == nil && bytes.Equal(got, want):
	case !*update:
		t.Errorf("%s is not what the command draws: go test ./cmd/kvc -update (%v)", image, err)
	default:
		if err := os.WriteFile(image, want, 0o666); err != nil {
			t.Error(err)
		}
	}
}

// The output that docs/heads.md shows.
func TestHeadsFindRecall(t *testing.T) {
	page, err := os.ReadFile("../../docs/heads.md")
	if err != nil {
		t.Fatal(err)
	}
	image, err := filepath.Abs("../../docs/images/heads-recall.svg")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	code, out, stderr := kvc("heads", "find", "--model", "recall-0", "--period", "200", "--ids", "8:255", "--distinct", "--induction-ratio", "0.25", "--echo-ratio", "0.125", "-o", "map.json")
	if code != exitDone {
		t.Fatal(stderr)
	}
	if !strings.Contains(string(page), out) {
		t.Errorf("docs/heads.md does not have\n%s", out)
	}
	if code, _, stderr := kvc("heads", "show", "map.json", "--plot", "map.svg"); code != exitDone {
		t.Fatal(stderr)
	}
	sameImage(t, image, "map.svg")
	m := readHeadMap(t, "map.json")
	if !m.IsFull(1, 0) || !m.IsFull(2, 0) || !m.IsFull(2, 1) || m.CountFull() != 3 {
		t.Errorf("%v", m.Classes)
	}
}
