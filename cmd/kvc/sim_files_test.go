package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"kvcompress/report/export"
)

// Every file that kvc sim can write has every request, or every step.
func TestSimFiles(t *testing.T) {
	const n = 150
	trace, dir := generated(t, "150"), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var out, errs bytes.Buffer
	code := run([]string{"sim", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "l4", "--rate", "0.5", "--max-num-batched-tokens", "8192", "--json",
		"--slo-ttft", "1s", "--html", at("sim.html"), "--plots", at("plots"), "--chrome-trace", at("trace.json"),
		"--per-request", at("requests.parquet"), "--per-step", at("steps.csv")}, &out, &errs)
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var doc struct {
		Metrics struct {
			Completed int     `json:"completed"`
			Steps     int     `json:"steps"`
			Good      float64 `json:"slo_attainment"`
		} `json:"metrics"`
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.Metrics.Completed != n || doc.Metrics.Good <= 0 {
		t.Errorf("%+v, %v", doc, err)
	}
	if rows, err := parquet.ReadFile[export.Request](at("requests.parquet")); err != nil || len(rows) != n {
		t.Errorf("%d requests, %v", len(rows), err)
	}
	text, err := os.ReadFile(at("steps.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll(); err != nil || len(rows) < 2 || len(rows)-1 > doc.Metrics.Steps {
		t.Errorf("%d rows of %d steps, %v", len(rows)-1, doc.Metrics.Steps, err)
	}
	if text, err = os.ReadFile(at("trace.json")); err != nil || !json.Valid(text) || bytes.Count(text, []byte(`"name":"decode","ts"`)) == 0 {
		t.Errorf("the trace is not one: %v", err)
	}
	if text, err = os.ReadFile(at("sim.html")); err != nil || !strings.HasSuffix(strings.TrimSpace(string(text)), "</html>") {
		t.Errorf("the page is not whole: %v", err)
	}
	if plots, err := filepath.Glob(at("plots/*.svg")); err != nil || len(plots) < 3 {
		t.Errorf("plots %v, %v", plots, err)
	}

	for _, args := range [][]string{{"--per-step", at("steps.xls")}, {"--per-request", at("requests")}} {
		code := run(append([]string{"sim", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "l4"}, args...), new(bytes.Buffer), &errs)
		if _, err := os.Stat(args[1]); code != exitUsage || err == nil {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
