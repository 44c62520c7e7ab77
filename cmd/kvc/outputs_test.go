package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/testsize"
)

// everyCommand calls f for all commands.
func everyCommand(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		everyCommand(sub, f)
	}
}

// TestOutputsAreChecked checks that every flag for an output file is known, and that an output
// that cannot be written is refused with its path before the work.
func TestOutputsAreChecked(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.Mkdir("folder", 0o755), os.WriteFile("file", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	written := regexp.MustCompile("(?i)\\b(write|draw|drawn|keep outcomes|the new)\\b.*`(file|folder)`|`(file|folder)` to (write|keep)|new `folder`|the trace's `folder`")
	seen := 0
	everyCommand(newRootCmd(io.Discard, nil), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			kind := kindOf(f)
			if written.MatchString(f.Usage) != (kind != "") {
				t.Errorf("%s --%s, %q, is marked as %q", cmd.CommandPath(), f.Name, f.Usage, kind)
			}
			if kind == "" {
				return
			}
			seen++
			bad := []string{"file/in", os.DevNull}
			if kind == outputFile {
				bad = []string{"nowhere/new", "folder", os.DevNull}
			}
			for _, path := range bad {
				if err := f.Value.Set(path); err != nil {
					t.Fatal(err)
				}
				f.Changed = true
				if err := checkOutputs(cmd, nil); err == nil || !strings.Contains(err.Error(), path) || exitCode(t.Context(), err) != exitUsage {
					t.Errorf("%s --%s %s: %v", cmd.CommandPath(), f.Name, path, err)
				}
				f.Changed = false
			}
		})
	})
	if seen < 20 {
		t.Errorf("%d flags are marked", seen)
	}
}

// TestInputsAreNotOverwritten checks that no input is overwritten, under any name, and that two
// outputs cannot be the same file.
func TestInputsAreNotOverwritten(t *testing.T) {
	bundled, err := filepath.Abs("../../traces")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	const log = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,100,10\n0.75,100,10\n"
	const runs = "gpu,model,input_len,output_len,num_requests,compression_rate,max_cache_tokens,max_decoding_batch,total_tokens_per_s\nl4,llama-3.1-8b,500,500,256,vanilla,,,1000\n"
	if err := errors.Join(
		os.WriteFile("log.csv", []byte(log), 0o644), os.WriteFile("runs.csv", []byte(runs), 0o644),
		os.CopyFS("mine", os.DirFS(filepath.Join(bundled, "gqa"))),
		os.Link("log.csv", "hard.csv"), os.Symlink("log.csv", "soft.csv"), os.Symlink("new.csv", "dangling.csv"),
	); err != nil {
		t.Fatal(err)
	}
	const sim = "sim --requests log.csv --model llama-3.1-8b --gpu l4 "
	for _, line := range []string{
		sim + "--per-request log.csv", sim + "--per-request ./mine/../log.csv", sim + "--per-step hard.csv", sim + "--html soft.csv",
		sim + "--chrome-trace log.csv", sim + "--per-request new.csv --per-step dangling.csv", sim + "--html a --chrome-trace ./a",
		"sweep --requests log.csv --model llama-3.1-8b --gpu l4 --csv soft.csv", "sweep --requests log.csv --model llama-3.1-8b --gpu l4 --csv a --html a",
		"plan --requests log.csv --model llama-3.1-8b --gpu l4 --html log.csv",
		"calibrate --measurements runs.csv -o runs.csv", "calibrate --measurements runs.csv,model=llama-3.1-8b -o runs.csv",
		"run ./mine --rate 0.5 --profile mine/options.json", "run ./mine --profile mine/trace.json", "run ./mine/snapkv --profile mine/methods/snapkv/options.json",
		"run ./mine --options mine/methods/snapkv/options.json --profile mine/golden.json",
	} {
		before := contents(t)
		var out, errs bytes.Buffer
		code := run(strings.Fields(line), &out, &errs)
		if code != exitUsage || !strings.Contains(errs.String(), "overwrite") && !strings.Contains(errs.String(), "the same file") || out.Len() > 0 {
			t.Errorf("kvc %s: %d: %s%s", line, code, &out, &errs)
		}
		if after := contents(t); before != after {
			t.Fatalf("kvc %s changes files:\n%s\nto\n%s", line, before, after)
		}
	}
	for _, line := range []string{sim + "--per-request new.csv --html a.html", sim + "--per-request new.csv --html a.html", "run ./mine --profile mine/heads.json --plot mine/a.svg"} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(line), &out, &errs); code != exitDone {
			t.Errorf("kvc %s: %d: %s", line, code, &errs)
		}
	}
}

// contents are all files below the working directory.
func contents(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(".", func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			start, err := io.ReadAll(io.LimitReader(f, 16))
			fmt.Fprintf(&b, "%s: %d %x\n", path, info.Size(), start)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// brokenWriter fails after some bytes, as a full disk or a closed pipe does.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, errors.New("the disk is full")
	}
	w.left -= len(p)
	return len(p), nil
}

func TestStandardOutputFails(t *testing.T) {
	t.Chdir(t.TempDir())
	for i, line := range []string{
		"", "--help", "--version", "help run", "methods", "methods snapkv", "run block-size-1", "run block-size-1 --json", "validate block-size-1", "validate block-size-1 --json",
		"golden check block-size-1", "trace info story", "trace info story --json", "trace check story", "trace generate --requests 3 -o made", "completion bash", "completion fish",
		"golden export block-size-1 --dry-run",
	} {
		both := []int{0, 20}
		for _, left := range testsize.Of(both[i%2:][:1], both, both) {
			if line == "trace check story" && left > 0 {
				continue // it prints less
			}
			var errs bytes.Buffer
			if code := run(strings.Fields(line), &brokenWriter{left}, &errs); code != exitUsage || !strings.Contains(errs.String(), "the disk is full") {
				t.Errorf("kvc %s: %d: %s", line, code, &errs)
			}
			if err := os.RemoveAll("made"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestInterrupted interrupts commands that would run for minutes: they end soon, with exit code
// 130, and leave no files.
func TestInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("it projects 300,000 requests")
	}
	t.Chdir(t.TempDir())
	if code := run(strings.Fields("trace generate --requests 300000 --arrivals poisson:20/s -o load"), new(bytes.Buffer), new(bytes.Buffer)); code != exitDone {
		t.Fatal(code)
	}
	if code := run(strings.Fields("trace synth --shape 2,2,2,64 --requests 40 --prompt 2000 --output 100 -o long"), new(bytes.Buffer), new(bytes.Buffer)); code != exitDone {
		t.Fatal(code)
	}
	if code := run(strings.Fields("heads build -o model"), new(bytes.Buffer), new(bytes.Buffer)); code != exitDone {
		t.Fatal(code)
	}
	const oneCase = `{"layers":1,"kv_heads":1,"block_size":1,"sequence_length":3,"protected_window":0,"attention_sinks":0,
		"metric_reduction":"sum","blocks_to_evict":1,"heads":[{"layer":0,"head":0,"blocks":[4,1,7],"positions":[0,1,2],
		"metrics":[3,1,2],"evicted_blocks":1,"evicted":[1],"moves":[[1,7]]}]}`
	for name, text := range map[string]string{
		"endless.ptx": ".version 7.8\n.target sm_80\n.address_size 64\n.entry e() {\nL:\nbar.sync 0;\nbra L;\n}\n",
		"endless.txt": "module endless.ptx\nlaunch e grid=1 block=32\n",
		"runs.csv": "gpu,model,input_len,output_len,num_requests,compression_rate,max_cache_tokens,max_decoding_batch,total_tokens_per_s\n" +
			strings.Repeat("l4,llama-3.1-8b,500,500,5000,vanilla,,,1000\n", 1000),
		"serving.csv": "model,gpu,isl,osl,concurrency,tpot_ms\n" + strings.Repeat("llama-3.1-8b,h100,500,500,200,10\n", 1000),
		"log.csv":     "arrival_s,input_tokens,output_tokens,ttft_ms\n" + strings.Repeat("1,1000,500,10\n", 99_999),
		"cases.json":  "[" + strings.Repeat(oneCase+",\n", 100_000) + oneCase + "]",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t)
	for _, line := range []string{
		"trace synth --requests 100000000 -o new", "trace generate --requests 100000000 -o new", "trace generate --requests 100000000 --like load -o new",
		"trace info load", "trace import load -o new",
		"run ./long --rate 0.5", "run ./long --rate 0.5 --profile new.json --plot new.svg", "golden update ./long", "golden export ./long -o new", "validate ./long", "validate --random 1000000",
		"sim --requests load --model llama-3.1-8b --gpu l4 --per-request new.csv --html new.html", "sweep --requests load --model llama-3.1-8b --gpu l4,h100 --html new.html --csv new.csv",
		"plan --requests load --model llama-3.1-8b --gpu l4,h100 --html new.html", "bench --html new.html --csv new.csv",
		"golden check six-stories", "golden check six-stories --device ptx", "validate --random 1000000 --coverage", "validate --mutate 1000",
		"trace record --model ./model --token-ids 1,2,3 --max-tokens 4000 -o new", "generate --model ./model --token-ids 1,2,3 --max-tokens 4000", "bench --prompts 1000",
		"heads find --model ./model --period 900 -o new.json", "validate --cases cases.json",
		"ptx run endless.ptx --entry e --grid 1 --block 32", "ptx script endless.txt", "ptx mutate endless.ptx --check yes>/dev/null;{}", "ptx capture attend_combine --trace ./long --step 90 -o new",
		"calibrate --measurements runs.csv -o new.json", "calibrate --measurements serving.csv -o new.json",
		"calibrate --measurements log.csv,model=llama-3.1-8b,gpu=h100 -o new.json",
		"sim --cases runs.csv", "sim --cases serving.csv", "sim --cases log.csv --model llama-3.1-8b --gpu h100",
	} {
		after := testsize.Of[time.Duration](15, 25, 50) * time.Millisecond
		for !endsEarly(t, line, after) {
			if after /= 2; after < time.Millisecond {
				t.Fatalf("kvc %s: it cannot be interrupted", line)
			}
			written, err := filepath.Glob("new*")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range written {
				if err := os.RemoveAll(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if after := contents(t); before != after {
			t.Errorf("kvc %s changes files:\n%s\nto\n%s", line, before, after)
		}
	}
}

// endsEarly runs a command line and interrupts it after a while. It returns false if the
// command has been done all the same: on a fast machine it may end before it is interrupted.
func endsEarly(t *testing.T, line string, after time.Duration) bool {
	t.Helper()
	const limit = 20 * time.Second // a machine may be busy; each would take far longer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- runContext(ctx, strings.Fields(line), &out, &errs, &parsed) }()
	select {
	case c := <-code:
		if c != exitDone {
			t.Fatalf("kvc %s: %d, and it was not interrupted: %s", line, c, &errs)
		}
		return false
	case <-time.After(after):
	}
	cancel()
	start := time.Now()
	select {
	case c := <-code:
		if c == exitDone {
			return false
		}
		if c != exitInterrupted || !strings.Contains(errs.String(), "interrupted") {
			t.Errorf("kvc %s: %d: %s", line, c, &errs)
		}
	case <-time.After(time.Minute):
		t.Fatalf("kvc %s goes on", line)
	}
	if took := time.Since(start); took > limit {
		t.Errorf("kvc %s ends after %v", line, took)
	}
	return true
}

// cancelAt cancels when a text is written to it.
type cancelAt struct {
	bytes.Buffer
	text   string
	cancel func()
}

func (w *cancelAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.cancel()
	}
	return w.Buffer.Write(p)
}

// TestInterruptedKeepsWholeFiles interrupts commands that print partial results: these are marked
// partial, and files of an earlier complete run stay.
func TestInterruptedKeepsWholeFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a bench and a sweep")
	}
	t.Chdir(t.TempDir())
	if code := run(strings.Fields("trace generate --requests 20 --arrivals poisson:20/s -o load"), new(bytes.Buffer), new(bytes.Buffer)); code != exitDone {
		t.Fatal(code)
	}
	for job, line := range map[string]string{
		"bench": "bench --models recall-0 --length 128 --prompts 3 --methods snapkv --budgets 1/4 --categories needle --sample 0 --json --html new.html --csv new.csv -o bench",
		"sweep": "sweep --requests load --model llama-3.1-8b --gpu l4,h100 --json --html new.html --csv new.csv -o sweep",
	} {
		var whole bytes.Buffer
		if code := run(strings.Fields(line), &whole, new(bytes.Buffer)); code != exitDone || !strings.Contains(whole.String(), `"partial": false`) {
			t.Fatalf("kvc %s: %d", line, code)
		}
		// The last item is gone, as if the run had been interrupted before it.
		path := filepath.Join(job, job+".jsonl")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cut := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
		if err := errors.Join(os.WriteFile(path+".part", text[:cut], 0o600), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
		before := contents(t)
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		errs := cancelAt{text: "there already", cancel: cancel}
		if code := runContext(ctx, strings.Fields(line), &out, &errs, &parsed); code != exitInterrupted || !strings.Contains(errs.String(), "no file is written") {
			t.Errorf("kvc %s: %d: %s", line, code, errs.String())
		}
		if !strings.Contains(out.String(), `"partial": true`) {
			t.Errorf("kvc %s prints no partial result: %.500s", line, &out)
		}
		if after := contents(t); after != before {
			t.Errorf("kvc %s changes files:\n%s\nto\n%s", line, before, after)
		}
		var resumed bytes.Buffer
		if code := run(strings.Fields(line), &resumed, new(bytes.Buffer)); code != exitDone || resumed.String() != whole.String() {
			t.Errorf("kvc %s: %d, and resumed it prints otherwise", line, code)
		}
	}
}

func TestBounded(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("é", 200_000), strings.Repeat("x\n", 1000), strings.Repeat(strings.Repeat("y", 5000)+"\n", 1000)} {
		got := bounded(text)
		lines := strings.Split(got, "\n")
		long := slices.ContainsFunc(lines, func(line string) bool { return len(line) > maxErrorLine+100 })
		if len(lines) > maxErrorLines+1 || long || len(text) < maxErrorLine && !strings.Contains(text, "\n") && got != text || strings.Contains(got, "\ufffd") {
			t.Errorf("%d bytes become %d lines", len(text), len(lines))
		}
	}
}
