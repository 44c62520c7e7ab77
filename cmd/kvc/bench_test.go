package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/bench"
	"kvcompress/internal/testsize"
)

// benched runs kvc bench with a short plan, and returns what it prints.
func benched(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	short := []string{"bench", "--models", "recall-0", "--length", testsize.Of("128", "256", "256"), "--prompts", "2", "--methods", "snapkv,random", "--budgets", "1/4", "--categories", "single-doc,needle"}
	if code := run(append(short, args...), &out, &errs); code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
	}
	return out.String(), errs.String()
}

// One machine, one that resumes, and two with a shard each print the same table; a few
// generations give the same logits on the CUDA engine.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	page, cells := filepath.Join(dir, "bench.html"), filepath.Join(dir, "bench.csv")
	columns := filepath.Join(dir, "bench.parquet")
	want, said := benched(t, "--json", "-o", whole, "--html", page, "--csv", cells, "--parquet", columns, "--sample", "1")
	if !strings.Contains(said, "to the bit, in 1 generation") {
		t.Errorf("nothing is said of the CUDA engine: %s", said)
	}
	var table bench.Table
	if err := json.Unmarshal([]byte(want), &table); err != nil {
		t.Fatal(err)
	}
	if table.Done != 2 || table.Runs != 2*2*2*3 || len(table.Rankings) != 2 {
		t.Errorf("%d units, %d generations, %d rankings", table.Done, table.Runs, len(table.Rankings))
	}
	full, evicted := table.Cell(bench.Aware, 1, bench.Full, "single-doc"), table.Cell(bench.Aware, 4, "random", "single-doc")
	if full == nil || evicted == nil || full.Score < 0.9 || evicted.Score >= full.Score || evicted.Bytes > 0.25 {
		t.Errorf("the full cache has %+v, random eviction at 1/4 %+v", full, evicted)
	}
	again, said := benched(t, "--json", "-o", whole, "--sample", "0")
	if again != want || !strings.Contains(said, "2 contexts of 2 there already") {
		t.Errorf("resumed it prints otherwise, and says %q", said)
	}
	shards := filepath.Join(dir, "shards")
	for _, shard := range []string{"0/2", "1/2"} {
		benched(t, "-o", shards, "--shard", shard)
	}
	var merged, errs bytes.Buffer
	if code := run([]string{"bench", "merge", shards, "--json"}, &merged, &errs); code != 0 || merged.String() != want {
		t.Errorf("merged: exit code %d, %s", code, errs.String())
	}
	if err := os.Remove(filepath.Join(shards, "shard-1-of-2.jsonl")); err != nil {
		t.Fatal(err)
	}
	if code := run([]string{"bench", "merge", shards}, &merged, &errs); code != 2 || !strings.Contains(errs.String(), "unit is missing") {
		t.Errorf("without a shard: exit code %d, %s", code, errs.String())
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<svg", "Score at 1/4, query-aware", "snapkv", "max_cache_tokens"} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("the page has no %q", part)
		}
	}
	if text, err = os.ReadFile(cells); err != nil || bytes.Count(text, []byte("\n")) != 1+2*2*3 {
		t.Errorf("the CSV is %s, %v", text, err)
	}
	if text, err = os.ReadFile(columns); err != nil || !bytes.HasPrefix(text, []byte("PAR1")) || !bytes.HasSuffix(text, []byte("PAR1")) {
		t.Errorf("the Parquet file has %d bytes, %v", len(text), err)
	}
	shown, _ := benched(t, "-o", whole, "--sample", "0", "--show", "all")
	for _, part := range []string{"Score by budget, query-agnostic", "Score at 1/4, query-aware", "snapkv", "Digest of every decoded token: " + table.Digest} {
		if !strings.Contains(strings.Join(strings.Fields(shown), " "), part) {
			t.Errorf("no %q in %s", part, shown)
		}
	}
	knobs, _ := benched(t, "--knobs")
	if !strings.Contains(knobs, "max_cache_tokens") || strings.Contains(knobs, "tova") {
		t.Errorf("the knobs are %s", knobs)
	}
}

// A heat map of two shards is that of one machine, in the text, the page and the CSV.
func TestBenchNeedle(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs models")
	}
	dir := t.TempDir()
	needle := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		short := []string{"bench", "needle", "--lengths", "128,160", "--depths", "3", "--prompts", "1", "--digits", "5", "--methods", "streaming-llm"}
		if code := run(append(short, args...), &out, &errs); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
		}
		return out.String()
	}
	page, places := filepath.Join(dir, "needle.html"), filepath.Join(dir, "needle.csv")
	want := needle("--html", page, "--csv", places, "--plots", filepath.Join(dir, "maps"))
	for _, part := range []string{"Needle, full cache, query-aware", "Needle, streaming-llm at 1/4, query-agnostic", " 50 %", "128   160"} {
		if !strings.Contains(want, part) {
			t.Errorf("no %q in %s", part, want)
		}
	}
	shards := filepath.Join(dir, "shards")
	for _, shard := range []string{"0/2", "1/2"} {
		needle("-o", shards, "--shard", shard)
	}
	var merged, errs bytes.Buffer
	if code := run([]string{"bench", "merge", shards}, &merged, &errs); code != 0 || merged.String() != want {
		t.Errorf("merged: exit code %d, %s", code, errs.String())
	}
	text, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(text, []byte(`aria-label="streaming-llm at 1/4, query-aware. The part of passkeys`)) {
		t.Errorf("the page has no map, %v", err)
	}
	if text, err = os.ReadFile(places); err != nil || bytes.Count(text, []byte("\n")) != 1+2*2*2*3 || !bytes.Contains(text, []byte("query-aware,1/4,streaming-llm,160,0.5,1,")) {
		t.Errorf("the CSV is %s, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "maps", "needle-query-aware-1-4-streaming-llm.svg")); err != nil {
		t.Error(err)
	}
}

func TestBenchWrongUse(t *testing.T) {
	for _, args := range [][]string{
		{"--budgets", "4"}, {"--budgets", "1/4,1/2"}, {"--modes", "x"}, {"--methods", "x"}, {"--categories", "x"}, {"--length", "1"},
		{"--prompts", "0"}, {"--block-size", "3"}, {"--shard", "0/2"}, {"--shard", "2/2", "-o", "x"}, {"--sample", "-1"}, {"--show", "4"}, {"x"},
		{"needle", "--lengths", "0"}, {"needle", "--lengths", "x"}, {"needle", "--depths", "0"}, {"needle", "--digits", "99"}, {"needle", "--length", "512"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"bench"}, args...), &out, &errs); code != 2 {
			t.Errorf("%v: exit code %d: %s", args, code, errs.String())
		}
	}
}

// TestBenchWithoutSample: where no method of a bench runs on the CUDA engine, the output says so.
func TestBenchWithoutSample(t *testing.T) {
	code, _, errs := kvc("bench", "--methods", "full,infllm", "--budgets", "1/2", "--prompts", "1", "--length", "128",
		"--categories", "needle", "--modes", "query-aware", "--models", "recall-0")
	if code != exitDone || !strings.Contains(errs, "No generation was repeated on the CUDA engine") {
		t.Errorf("%d: %s", code, errs)
	}
}
