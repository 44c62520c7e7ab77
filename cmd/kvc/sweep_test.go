package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"kvcompress/internal/testgc"
	"kvcompress/journal"
)

// asCommand is the variable that makes the test's own program behave as kvc.
const asCommand = "KVC_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	testgc.Main(m)
}

// process returns a process that runs a command line, with more in its environment.
func process(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(append(os.Environ(), asCommand+"=1"), env...)
	c.Stderr = os.Stderr
	return c
}

func sweepArgs(trace string, more ...string) []string {
	return append([]string{"sweep", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "l4,h100", "--max-num-batched-tokens", "8192",
		"--compression", "none,rate:0.5,tokens:256", "--max-num-seqs", "16,64", "--slo-ttft", "2s", "--price", "l4=0.8,h100=2.5"}, more...)
}

func generated(t *testing.T, requests string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "load")
	if code := run([]string{"trace", "generate", "--requests", requests, "--prompt", "500", "--output", "100", "--arrivals", "poisson:4/s", "-o", dir},
		new(bytes.Buffer), os.Stderr); code != 0 {
		t.Fatal("kvc trace generate failed")
	}
	return dir
}

// Three shards as processes, one of them killed in the middle and started again,
// give the same bytes as one machine.
func TestSweepShardsAsProcesses(t *testing.T) {
	trace := generated(t, "1500")
	dir := t.TempDir()
	whole, err := process(t, nil, sweepArgs(trace, "--json")...).Output()
	if err != nil {
		t.Fatal(err)
	}

	killed := process(t, []string{"JOB_COMPLETION_INDEX=1"}, sweepArgs(trace, "--shard", "auto/3", "-o", dir, "--workers", "1")...)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, "shard-1-of-3.jsonl.part")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(part) // it is there when its first outcome is
		if bytes.Count(text, []byte("\n")) >= 2 {
			break
		}
		if _, err := os.Stat(strings.TrimSuffix(part, ".part")); err == nil || time.Now().After(deadline) {
			break // it was too fast to be killed
		}
	}
	if err := killed.Process.Kill(); err != nil {
		t.Log(err) // it has ended
	}
	_ = killed.Wait() // of one that was killed

	for _, s := range [][]string{
		{"JOB_COMPLETION_INDEX=0"}, {"SLURM_ARRAY_TASK_ID=3", "SLURM_ARRAY_TASK_MIN=1", "SLURM_ARRAY_TASK_COUNT=3"},
	} {
		if err := process(t, s, sweepArgs(trace, "--shard", "auto/3", "-o", dir)...).Run(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(part); err == nil {
		merge := process(t, nil, "sweep", "merge", dir, "--json")
		merge.Stderr = nil
		if out, err := merge.Output(); err == nil || merge.ProcessState.ExitCode() != exitUsage || len(out) > 0 {
			t.Errorf("an unfinished sweep is merged: %v, %s", err, out)
		}
	}
	if err := process(t, nil, sweepArgs(trace, "--shard", "1/3", "-o", dir)...).Run(); err != nil {
		t.Fatal(err)
	}
	merged, err := process(t, nil, "sweep", "merge", dir, "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(merged, whole) {
		t.Errorf("merged:\n%.2000s\nwhole:\n%.2000s", merged, whole)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// The printed and written bytes are the same on one core and on many.
func TestSweepIsDeterministic(t *testing.T) {
	trace := generated(t, "200")
	var first map[string][]byte
	for _, workers := range []string{"1", "2", "7"} {
		dir := t.TempDir()
		page, table := filepath.Join(dir, "sweep.html"), filepath.Join(dir, "sweep.csv")
		var out, errs bytes.Buffer
		if code := run(sweepArgs(trace, "--workers", workers, "--html", page, "--csv", table), &out, &errs); code != exitDone {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		got := map[string][]byte{"text": out.Bytes()}
		for name, path := range map[string]string{"page": page, "table": table} {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = text
		}
		if first == nil {
			first = got
		}
		for name := range got {
			if !bytes.Equal(got[name], first[name]) {
				t.Errorf("%s workers: the %s is another", workers, name)
			}
		}
	}
}

// Methods are labelled in every form of the outcomes.
func TestSweepMethods(t *testing.T) {
	trace, dir := generated(t, "100"), t.TempDir()
	page, table, plots := filepath.Join(dir, "sweep.html"), filepath.Join(dir, "sweep.csv"), filepath.Join(dir, "plots")
	args := []string{"sweep", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "l4", "--max-num-batched-tokens", "8192",
		"--compression", "none,snapkv:tokens:128,razor", "--max-num-seqs", "8,64", "--set", "razor.full_share=0.15", "--set", "snapkv.window=16",
		"--html", page, "--csv", table, "--plots", plots}
	var out, errs bytes.Buffer
	if code := run(args, &out, &errs); code != exitDone {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for path, want := range map[string][]string{
		page: {"snapkv, keep 128 KVs a head", "razor: full_share", "snapkv: window", "The kernels of the method are not measured"}, table: {",snapkv:tokens:128,", ",razor,"},
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !bytes.Contains(text, []byte(w)) {
				t.Errorf("%s: no %q", path, w)
			}
		}
	}
	for _, w := range []string{"snapkv:tokens:128", "The kernels of the method are not measured"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), w) {
			t.Errorf("no %q in\n%s", w, out.String())
		}
	}
	out.Reset()
	if code := run(append(args, "--json"), &out, &errs); code != exitDone || !strings.Contains(out.String(), `"compression": "razor"`) {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

func TestSweepMaxLoad(t *testing.T) {
	trace := generated(t, "300")
	var out, errs bytes.Buffer
	args := sweepArgs(trace, "--max-load", "--slo-tpot", "200ms", "--json")
	if code := run(args, &out, &errs); code != exitDone {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var doc struct {
		Outcomes []struct {
			Load    float64 `json:"load"`
			Probes  int     `json:"load_probes"`
			Error   string  `json:"error"`
			Metrics struct {
				Attainment float64 `json:"slo_attainment"`
			} `json:"metrics"`
		} `json:"outcomes"`
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for i, o := range doc.Outcomes {
		if o.Error == "" && (o.Metrics.Attainment < 0.99 || o.Probes < 2) {
			t.Errorf("%d: %+v", i, o)
		}
	}
	if len(doc.Outcomes) != 12 {
		t.Errorf("%d outcomes", len(doc.Outcomes))
	}
}

func TestSweepUsage(t *testing.T) {
	trace := generated(t, "5")
	for want, args := range map[string][]string{
		"--requests is missing":               {"sweep"},
		"unknown card":                        {"sweep", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "z80"},
		"--memory":                            sweepArgs(trace, "--memory", "lots"),
		"--compression":                       append(sweepArgs(trace), "--compression", "zip"),
		"there is no method \"zip\"":          append(sweepArgs(trace), "--compression", "zip:tokens:5"),
		"full_share":                          append(sweepArgs(trace), "--compression", "razor"),
		"compresses nothing":                  append(sweepArgs(trace), "--compression", "snapkv"),
		"want METHOD.KEY=VALUE":               append(sweepArgs(trace), "--set", "window=3"),
		"no option \"colour\"":                append(sweepArgs(trace), "--compression", "snapkv:rate:0.5", "--set", "snapkv.colour=red"),
		"this method is not in --compression": append(sweepArgs(trace), "--set", "snapkv.window=16"),
		"are flags":                           append(sweepArgs(trace), "--set", "kv-compress.sinks=4"),
		"which is not in --compression":       {"sweep", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "l4", "--compression", "snapkv:rate:0.5", "--sinks", "4"},
		"needs an objective":                  {"sweep", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", "l4", "--max-load"},
		"--shard needs -o":                    sweepArgs(trace, "--shard", "0/2"),
		"want I/N":                            sweepArgs(trace, "--shard", "2/2", "-o", t.TempDir()),
		"--price":                             sweepArgs(trace, "--price", "l4"),
		"--price h200":                        sweepArgs(trace, "--price", "h200=3"),
		"which has l4, h100":                  sweepArgs(trace, "--price", "rtx=3"),
		"--limit -1":                          sweepArgs(trace, "--limit", "-1"),
		"are the same file":                   sweepArgs(trace, "--html", "x", "--csv", "x"),
		"--latency":                           sweepArgs(trace, "--latency", "p99"),
		"--tensor-parallel 65":                sweepArgs(trace, "--tensor-parallel", "65"),
		"requires at least 1 arg":             {"sweep", "merge"},
		"--slo-attainment":                    sweepArgs(trace, "--slo-attainment", "2"),
		"want a time above 0":                 sweepArgs(trace, "--slo-ttft", "-1s"),
	} {
		var errs bytes.Buffer
		if code := run(args, new(bytes.Buffer), &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: exit %d, %s; want %q", args, code, errs.String(), want)
		}
	}
}

// With a changed file of a card, it is another sweep.
func TestSweepKnowsFiles(t *testing.T) {
	trace, dir := generated(t, "5"), t.TempDir()
	card := filepath.Join(dir, "card.json")
	sweepPart := func(part string, memory int64) string {
		text := fmt.Sprintf(`{"name": "c", "memory_bytes": %d, "bytes_per_second": 1e12, "flops_16bit": 2e14}`, memory)
		if err := os.WriteFile(card, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		run([]string{"sweep", "--requests", trace, "--model", "llama-3.1-8b", "--gpu", card, "--max-num-seqs", "4,8", "--shard", part, "-o", dir}, new(bytes.Buffer), &errs)
		return errs.String()
	}
	sweepPart("0/2", 30e9)
	sweepPart("1/2", 40e9)
	var errs bytes.Buffer
	if code := run([]string{"sweep", "merge", dir}, new(bytes.Buffer), &errs); code != exitUsage || !strings.Contains(errs.String(), "different sweeps") {
		t.Errorf("exit %d, %s", code, errs.String())
	}
}

// The manifest in docs/jobs has flags that exist, and as many shards as pods.
func TestJobManifest(t *testing.T) {
	text, err := os.ReadFile("../../docs/jobs/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		Spec struct {
			CompletionMode string `yaml:"completionMode"`
			Completions    int
			Template       struct {
				Spec struct {
					Containers []struct{ Command, Args []string }
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &job); err != nil {
		t.Fatal(err)
	}
	c := job.Spec.Template.Spec.Containers[0]
	cmd := newSweepCmd()
	if err := cmd.ParseFlags(c.Args); err != nil || strings.Join(c.Command, " ") != "kvc sweep" || job.Spec.CompletionMode != "Indexed" {
		t.Errorf("%v, %+v", err, job)
	}
	index := func(name string) string { return map[string]string{"JOB_COMPLETION_INDEX": "7"}[name] }
	if s, err := journal.ParseShard(cmd.Flag("shard").Value.String(), index); err != nil || s.N != job.Spec.Completions {
		t.Errorf("shard %v of %d completions, %v", s, job.Spec.Completions, err)
	}
}

// TestSweepOfSomeModels: if some of the models cannot have a method, their points have the reason
// and the others are projected; if none can have it, it is refused.
func TestSweepOfSomeModels(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	if err := os.WriteFile(log, []byte(`{"timestamp": 0, "input_length": 1024, "output_length": 2, "hash_ids": [1, 2]}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"sweep", "--requests", log, "--gpu", "h100", "--engine", "vllm-v1", "--compression", "none,snapkv:tokens:64", "--model"}
	code, out, errs := kvc(append(args, "llama-3.1-8b,mamba-2.8b")...)
	if code != exitDone || !strings.Contains(out, "4 projections") || !strings.Contains(out, "Not projected (1 point): method snapkv on mamba-2.8b") {
		t.Errorf("%d: %s%s", code, errs, out)
	}
	// The note about prefixes is printed for mamba-2.8b only.
	if !strings.Contains(strings.ReplaceAll(out, "\n", " "), "Prompts with a common prefix are all computed and held: prefix sharing is modelled neither for linear-time states") {
		t.Errorf("no note about prefixes: %s", out)
	}
	if code, out, errs := kvc(append(args, "mamba-2.8b,rwkv-5-world-7b")...); code != exitUsage || out != "" || !strings.Contains(errs, "method snapkv on mamba-2.8b") {
		t.Errorf("%d: %s%s", code, errs, out)
	}
	// Without a method prefixes are shared; with one they are not, and the output says so.
	const note = "Prompts with a common prefix"
	for _, c := range []struct{ model, compression, want string }{
		{"llama-3.1-8b", "none", ""},
		{"gpt-oss-20b", "none", ""},
		{"llama-3.1-8b", "none,snapkv:tokens:64", note + " are all computed and held: a method leaves each of them other KVs."},
		{"llama-3.1-8b", "none,llmlingua2:rate:0.5", note + " are all computed and held: which tokens of a prefix are kept"},
	} {
		args[8] = c.compression
		_, out, _ := kvc(append(args, c.model)...)
		if out = strings.ReplaceAll(out, "\n", " "); strings.Contains(out, note) != (c.want != "") || !strings.Contains(out, c.want) {
			t.Errorf("%s, %s: want %q: %s", c.model, c.compression, c.want, out)
		}
	}
}
