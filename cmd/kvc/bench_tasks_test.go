package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvcompress/bench"
	"kvcompress/trace/tokenizer"
)

// textModel is a folder with random weights and a tokenizer, and positions for prompts.
func textModel(t *testing.T) string {
	t.Helper()
	dir := randomFolder(t, "llama3")
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`"max_position_embeddings": 64`), []byte(`"max_position_embeddings": 900`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeTasks writes a file of three tasks with the given answers.
func writeTasks(t *testing.T, path string, answers ...string) {
	t.Helper()
	var file strings.Builder
	for i, dataset := range []string{`"hotpotqa"`, `"mine", "metric": "edit_sim", "category": "summary"`, `"hotpotqa"`} {
		answer, err := json.Marshal(answers[i])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&file, `{"input": "Who?", "context": %q, "answers": [%s], "length": 9, "dataset": %s, "language": "en", "all_classes": null, "_id": "%d"}`+"\n",
			strings.Repeat("The lazy dog was there and a fox. ", 9+7*i), answer, dataset, i)
	}
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// benchTable runs kvc bench and returns its table.
func benchTable(t *testing.T, args ...string) (bench.Table, string) {
	t.Helper()
	code, out, stderr := kvc(append([]string{"bench", "--json"}, args...)...)
	if code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	var table bench.Table
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		t.Fatal(err)
	}
	return table, out
}

// A file of tasks for a user's model. If the full cache's output is the right answer, it scores
// 1, on one machine and on two. The budgets are met although the tasks differ in length.
func TestBenchTasksOfFile(t *testing.T) {
	model := textModel(t)
	tok, err := tokenizer.Load(model)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	writeTasks(t, "tasks.jsonl", "she", "he", "it")
	args := []string{"--models", model, "--tasks", "tasks.jsonl", "--max-tokens", "6", "--length", "300", "--methods", "snapkv,random", "--budgets", "1/2", "--block-size", "4"}
	table, _ := benchTable(t, append(args, "-o", "before")...)
	if table.Done != 3 || table.Runs != 3*2*3 || !slices.Equal(table.Plan.Categories, []string{"multi-doc", "summary"}) || table.Plan.Prompts != 3 {
		t.Fatalf("%d units, %d generations, %+v", table.Done, table.Runs, table.Plan)
	}
	for _, c := range table.Cells {
		if n := map[string]int{"multi-doc": 2, "summary": 1}[c.Category]; c.N != n || c.Missing != 0 {
			t.Errorf("%+v: want %d tasks", c, n)
		}
		if c.Row != bench.Full && !(c.Bytes > 0.3 && c.Bytes <= 0.5) {
			t.Errorf("%s, %s, %s: %v of the bytes", c.Row, c.Mode, c.Category, c.Bytes)
		}
	}
	paths, err := filepath.Glob("before/*.jsonl")
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	file, err := bench.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	answers := make([]string, 3)
	for _, r := range file.Items {
		for _, run := range r.Runs {
			if run.Row != bench.Full || run.Mode != bench.Aware {
				continue
			}
			var ids []int
			for _, token := range run.Answer {
				ids = append(ids, int(token))
			}
			if answers[r.Unit], err = tok.Decode(ids); err != nil {
				t.Fatal(err)
			}
		}
	}
	// F1 counts words of letters and digits: an answer without any cannot be right.
	writeTasks(t, "tasks.jsonl", answers...)
	table, want := benchTable(t, args...)
	for _, category := range table.Plan.Categories {
		full := table.Cell(bench.Aware, 1, bench.Full, category)
		if category == "summary" && full.Score != 1 || full.Score == 0 {
			t.Errorf("%s: the full cache has %v with its own answers %q", category, full.Score, answers)
		}
	}
	for _, shard := range []string{"0/2", "1/2"} {
		if code, _, stderr := kvc(append([]string{"bench", "-o", "after", "--shard", shard}, args...)...); code != exitDone {
			t.Fatal(stderr)
		}
	}
	if code, out, stderr := kvc("bench", "merge", "after", "--json"); code != exitDone || out != want {
		t.Errorf("two shards give another table: exit code %d: %s", code, stderr)
	}
	if code, _, stderr := kvc(append([]string{"bench", "-o", "before"}, args...)...); code != exitUsage || !strings.Contains(stderr, "another bench") {
		t.Errorf("with another file it goes on: exit code %d: %s", code, stderr)
	}
	writeTasks(t, "tasks.jsonl", "she", "he", "it")
	if code, _, stderr := kvc("bench", "merge", "after", "--json"); code != exitUsage || !strings.Contains(stderr, "has changed since the plan was made") {
		t.Errorf("the shards of another file are merged: exit code %d: %s", code, stderr)
	}
	// The error names the file that has changed.
	template := func(words string) {
		if err := os.WriteFile("templates.json", []byte(`{"hotpotqa": "`+words+` {context} {input}"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	template("Read:")
	if code, _, stderr := kvc(append([]string{"bench", "-o", "worded", "--template", "templates.json"}, args...)...); code != exitDone {
		t.Fatal(stderr)
	}
	template("Look:")
	if code, _, stderr := kvc("bench", "merge", "worded", "--json"); code != exitUsage || !strings.Contains(stderr, "templates.json: the file has changed") {
		t.Errorf("with other templates: exit code %d: %s", code, stderr)
	}
	if table, _ := benchTable(t, append(args, "--prompts", "1")...); table.Done != 2 {
		t.Errorf("%d tasks, want the first of each dataset", table.Done)
	}
}

// Needles of 64 digits in the words of the model's tokenizer, and the same on the CUDA engine.
func TestBenchTasksOfText(t *testing.T) {
	if testing.Short() {
		t.Skip("it decodes some hundred tokens on the PTX machine")
	}
	model := textModel(t)
	code, out, stderr := kvc("bench", "--models", model, "--tasks", "text", "--digits", "64", "--length", "400", "--prompts", "1", "--categories", "needle,summary",
		"--methods", "snapkv", "--budgets", "1/2", "--modes", "query-aware", "--sample", "1", "--json")
	if code != exitDone {
		t.Fatal(stderr)
	}
	var table bench.Table
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		t.Fatal(err)
	}
	needle := table.Cell(bench.Aware, 2, "snapkv", "needle")
	if table.Runs != 4 || needle == nil || needle.N != 1 || needle.Bytes > 0.5 || !strings.Contains(stderr, "to the bit, in 1 generation") {
		t.Errorf("%d generations, %+v, %s", table.Runs, needle, stderr)
	}
}

func TestBenchTasksWrongUse(t *testing.T) {
	model := textModel(t)
	t.Chdir(t.TempDir())
	writeTasks(t, "tasks.jsonl", "she", "he", "it")
	for name, text := range map[string]string{"line.jsonl": "\n{\"dataset\": \"hotpotqa\"}\n", "wording.json": `{"hotpotqa": "{input}"}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"--tasks none.jsonl --models M":                          "none.jsonl",
		"--tasks line.jsonl --models M":                          "line.jsonl: longbench: line 2: context: it is missing",
		"--tasks tasks.jsonl":                                    "needs --models",
		"--tasks tasks.jsonl --models recall-0":                  "recall-0 has no tokenizer",
		"--tasks tasks.jsonl --models M --categories code":       "no task is of the categories code",
		"--tasks tasks.jsonl --models M --template wording.json": `wording.json: prompt: templates: "hotpotqa": it has no {context}`,
		"--tasks tasks.jsonl --models M --template none.json":    "none.json",
		"--tasks tasks.jsonl --models M --max-tokens 5000":       "an answer of 5000 tokens: want 1 to 4096",
		"--tasks tasks.jsonl --models M --max-tokens 880":        "leaves too few for a prompt",
		"--tasks tasks.jsonl --models M --length 890":            "too few for a prompt of 890 tokens",
		"--tasks tasks.jsonl --models M --digits 7":              "digits and distractors can only be set without a file",
		"--tasks tasks.jsonl --models M --prompts -1":            "-1 prompts",
		"--tasks text --models M --max-tokens 7":                 "can only be set with a file of tasks",
		"--tasks text --models M --categories prose":             "prose",
		"--tasks text --models M --digits 65":                    "65 digits: want 1 to 64",
		"--tasks text --models M --length 890":                   "want contexts of",
		"--models M":                                             "has a vocabulary of",
		"needle --models M --tasks tasks.jsonl":                  "want recall or text",
		"needle --models M --tokenizer T":                        "--tokenizer is for tasks of text",
		"needle --models M --tasks text --digits 65":             "65 digits: want 1 to 64",
		"needle --models M --tasks text --lengths 100,890":       "a context of 890 tokens needs",
		"--digits 7": "--digits is for tasks of text",
		"--tasks text --models M --tokenizer wording.json --prompts 1": "wording.json",
	} {
		code, _, stderr := kvc(append([]string{"bench"}, strings.Fields(strings.Replace(args, "--models M", "--models "+model, 1))...)...)
		if code != exitUsage || !strings.Contains(stderr, want) || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
			t.Errorf("%s: exit code %d, %s, want %q", args, code, stderr, want)
		}
	}
}

// Needles in the words of the model's tokenizer: two shards give the same map by length and depth
// as one machine. A method that reaches the budget only at some lengths has only these places.
func TestBenchNeedleOfText(t *testing.T) {
	model := textModel(t)
	t.Chdir(t.TempDir())
	args := []string{"needle", "--models", model, "--tasks", "text", "--lengths", "100,300", "--depths", "2", "--prompts", "1", "--digits", "5", "--methods", "razor", "--budgets", "1/2", "--modes", "query-aware"}
	table, want := benchTable(t, args...)
	for _, h := range table.Heats {
		for l, length := range table.Plan.Grid.Lengths {
			n := 1
			if h.Row == "razor" && length == 100 {
				n = 0
			}
			for d, got := range h.N[l] {
				if got != n {
					t.Errorf("%s in %d tokens, depth %d: %d prompts, want %d", h.Row, length, d, got, n)
				}
			}
		}
	}
	for _, c := range table.Cells {
		if c.Missing != 0 {
			t.Errorf("%+v: nothing is missing", c)
		}
	}
	for _, shard := range []string{"0/2", "1/2"} {
		if code, _, stderr := kvc(append([]string{"bench"}, append(args, "-o", "shards", "--shard", shard)...)...); code != exitDone {
			t.Fatal(stderr)
		}
	}
	if code, out, stderr := kvc("bench", "merge", "shards", "--json"); code != exitDone || out != want {
		t.Errorf("two shards give another table: exit code %d: %s", code, stderr)
	}
}
