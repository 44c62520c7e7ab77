package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
	"kvcompress/safetensors"
	"kvcompress/trace"
	"kvcompress/trace/tokenizer"
)

// runRecord runs kvc trace record.
func runRecord(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := newTraceRecordCmd()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err = cmd.ExecuteContext(t.Context())
	if errs.Len() > 0 {
		t.Errorf("it writes to standard error, which is no terminal: %q", errs.String())
	}
	return out.String(), err
}

// randomFolder writes a Hugging Face folder: 1 layer, 2 query heads and 1 KV head
// of size 8, random weights, and the tokenizer of the given style.
func randomFolder(t *testing.T, style string) string {
	t.Helper()
	const dim, hidden = 16, 24
	vocab := int64(10)
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if style != "" {
		data, err := os.ReadFile(filepath.Join("..", "..", "trace", "tokenizer", "testdata", style, "tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		write("tokenizer.json", data)
		tok, err := tokenizer.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		vocab = int64(tok.VocabSize())
	}
	write("config.json", fmt.Appendf(nil, `{"architectures": ["LlamaForCausalLM"], "hidden_size": %d, "intermediate_size": %d,
		"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": %d,
		"max_position_embeddings": 64, "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": 2}`, dim, hidden, vocab))
	const layer = "model.layers.0."
	shapes := map[string][]int64{
		"model.embed_tokens.weight":               {vocab, dim},
		"model.norm.weight":                       {dim},
		layer + "input_layernorm.weight":          {dim},
		layer + "post_attention_layernorm.weight": {dim},
		layer + "self_attn.q_proj.weight":         {dim, dim},
		layer + "self_attn.k_proj.weight":         {dim / 2, dim},
		layer + "self_attn.v_proj.weight":         {dim / 2, dim},
		layer + "self_attn.o_proj.weight":         {dim, dim},
		layer + "mlp.gate_proj.weight":            {hidden, dim},
		layer + "mlp.up_proj.weight":              {hidden, dim},
		layer + "mlp.down_proj.weight":            {dim, hidden},
	}
	var infos []safetensors.Info
	var weights []float32
	random := rand.New(rand.NewPCG(1, 1))
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		info := safetensors.Info{Name: name, DType: safetensors.BF16, Shape: shapes[name]}
		infos = append(infos, info)
		elements := int64(1)
		for _, n := range info.Shape {
			elements *= n
		}
		for range elements {
			weights = append(weights, float32(random.NormFloat64()))
		}
	}
	data, err := safetensors.AppendHeader(nil, infos, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 2*len(weights))
	dtype.BF16.Encode(raw, weights)
	write("model.safetensors", append(data, raw...))
	return dir
}

func TestTraceRecord(t *testing.T) {
	for _, style := range []string{"llama2", "llama3"} {
		t.Run(style, func(t *testing.T) {
			model, dir := randomFolder(t, style), filepath.Join(t.TempDir(), "two")
			out, err := runRecord(t, "--model", model, "--prompt", "The lazy dog", "--prompt", "it's a cache", "--ignore-eos",
				"--max-tokens", "9,3", "--arrivals", "fixed:50ms", "--description", "random weights", "--licence", "none", "-o", dir)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out, "[1] The lazy dog") || !strings.Contains(out, "[2] it's a cache") || !strings.Contains(out, ": 2 requests, 21 tokens; 1 layers × 1 KV heads × 8, 2 query heads each") {
				t.Errorf("it prints %q", out)
			}
			tr, err := trace.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			requests := tr.Requests()
			if requests[0].OutputTokens != 9 || requests[1].OutputTokens != 3 || requests[1].ArrivalNS != 50e6 {
				t.Errorf("requests %+v", requests)
			}
			wantSource := trace.Source{
				Kind: trace.Recorded, Licence: "none",
				Description: "random weights; recorded by: record --model " + filepath.Base(model) +
					` --prompt 'The lazy dog' --prompt 'it'\''s a cache' --ignore-eos --max-tokens 9,3 --arrivals fixed:50ms --out two`,
			}
			if diff := cmp.Diff(wantSource, tr.Meta.Source); diff != "" || tr.Meta.Name != "two" {
				t.Errorf("name %q, source (-want +got):\n%s", tr.Meta.Name, diff)
			}
			for err := range trace.Check(t.Context(), os.DirFS(dir), dir, nil) {
				t.Error(err)
			}
		})
	}
}

// Without a tokenizer the prompts and the output are token ids.
func TestTraceRecordTokenIDs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ids")
	out, err := runRecord(t, "--model", randomFolder(t, ""), "--token-ids", "1,2, 3", "--token-ids", "4", "--max-tokens", "2", "--dtype", "f32", "--json", "-o", dir)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Trace    string
		Requests []recordedRequest
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Trace != dir || len(got.Requests) != 2 || !slices.Equal(got.Requests[0].Tokens[:3], []int{1, 2, 3}) || got.Requests[1].CachedTokens != 2 {
		t.Errorf("it prints %+v", got)
	}
	out, err = runRecord(t, "--model", randomFolder(t, ""), "--token-ids", "1", "--max-tokens", "1", "-o", dir+"2")
	if err != nil || !strings.HasPrefix(out, "[1] tokens 1 ") || !strings.Contains(out, ": 1 request, 1 token; ") {
		t.Errorf("it prints %q, %v", out, err)
	}
}

// TestTraceRecordTokenIDFiles reads ids from files, and describes the trace by the
// files' names and not their folders.
func TestTraceRecordTokenIDFiles(t *testing.T) {
	folder, dir := t.TempDir(), filepath.Join(t.TempDir(), "ids")
	file := filepath.Join(folder, "ids.txt")
	if err := os.WriteFile(file, []byte("1, 2,\r\n3 4\n\n5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runRecord(t, "--model", randomFolder(t, ""), "--token-ids", "@"+file, "--token-ids", "6", "--max-tokens", "1", "-o", dir)
	if err != nil || !strings.Contains(out, "[1] tokens 1 2 3 4 5 ") || !strings.Contains(out, "[2] tokens 6 ") {
		t.Errorf("it prints %q, %v", out, err)
	}
	code, out, stderr := kvc("trace", "info", dir)
	if code != 0 || !strings.Contains(out, "--token-ids '@ids.txt' --token-ids 6 ") || strings.Contains(out, folder) {
		t.Errorf("the trace is described as %s%s", out, stderr)
	}
	if want := "\nrope      base 10000, 8 of a head's 8 elements, pairing half\n"; !strings.Contains(out, want) {
		t.Errorf("the trace is described as %s, want %q in it", out, want)
	}
}

func TestTraceRecordStory(t *testing.T) {
	shared := filepath.Join("..", "..", "..", "shared", "data", "model")
	if _, err := os.Stat(shared); err != nil {
		t.Skip("no shared/data/model beside the repository")
	}
	dir := filepath.Join(t.TempDir(), "story")
	out, err := runRecord(t, "--model", filepath.Join(shared, "stories260K.bin"), "--tokenizer", filepath.Join(shared, "tok512.bin"),
		"--prompt", "Once upon a time", "--max-tokens", "101", "-o", dir)
	if err != nil {
		t.Fatal(err)
	}
	const opening = "[1] Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."
	if !strings.HasPrefix(out, opening) {
		t.Errorf("it says %q", out)
	}
}

// TestTraceRecordRecall records the prompt of the bundled trace recall, and checks that the model
// finds the record in it and that the trace equals the bundled one.
func TestTraceRecordRecall(t *testing.T) {
	if testing.Short() {
		t.Skip("it records a prompt of hundreds of tokens")
	}
	model := filepath.Join("..", "..", "..", "shared", "data", "model", "recall")
	if _, err := os.Stat(model); err != nil {
		t.Skip("no shared/data/model/recall beside the repository")
	}
	script := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "python3", append([]string{filepath.Join("..", "..", "scripts", "recall-prompt.py")}, args...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("no python3")
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	prompt, dir := filepath.Join(t.TempDir(), "prompt.txt"), filepath.Join(t.TempDir(), "recall")
	if err := os.WriteFile(prompt, []byte(script()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runRecord(t, "--model", model, "--token-ids", "@"+prompt, "--max-tokens", "24", "--json", "-o", dir)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Requests []recordedRequest }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(script("--answer"), "answer "), "\n")
	want, err := parseTokenIDs("the answer", line)
	if err != nil {
		t.Fatal(err)
	}
	r := got.Requests[0]
	if answer := r.Tokens[r.PromptTokens:][:len(want)]; len(want) != 16 || !slices.Equal(answer, want) {
		t.Errorf("it answers %v, want %v", answer, want)
	}
	tr, err := trace.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	bundled, err := trace.Open(filepath.Join("..", "..", "traces", "recall"))
	if err != nil {
		t.Fatal(err)
	}
	tr.Meta.Source = bundled.Meta.Source
	if diff := cmp.Diff(bundled.Meta, tr.Meta) + cmp.Diff(bundled.Requests(), tr.Requests()); diff != "" {
		t.Errorf("the bundled trace and this one (-bundled +this):\n%s", diff)
	}
}

func TestTraceRecordWrongUse(t *testing.T) {
	model := randomFolder(t, "llama2")
	bare := randomFolder(t, "")
	file := filepath.Join(bare, "config.json")
	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, []byte("\n \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(t.TempDir(), "long.txt")
	if err := os.WriteFile(long, bytes.Repeat([]byte("1\n"), maxTokenIDs/2+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no model", []string{"--prompt", "a"}, "--model is missing"},
		{"no prompt", []string{"--model", model}, "want prompts from one of"},
		{"two kinds of prompts", []string{"--model", model, "--prompt", "a", "--token-ids", "1"}, "want prompts from one of"},
		{"two kinds of arrivals", []string{"--model", model, "--prompt", "a", "--arrival", "0s", "--arrivals", "fixed:1s"}, "exclude each other"},
		{"too few arrivals", []string{"--model", model, "--prompt", "a", "--prompt", "b", "--arrival", "0s"}, "--arrival: 1 time for 2 requests"},
		{"arrivals out of order", []string{"--model", model, "--prompt", "a", "--prompt", "b", "--arrival", "2s,1s"}, "not in ascending order"},
		{"arrival before 0", []string{"--model", model, "--prompt", "a", "--arrival", "-1s"}, "-1s is before 0"},
		{"arrivals of another kind", []string{"--model", model, "--prompt", "a", "--arrivals", "often"}, "want fixed:TIME, poisson:TIME or gamma:TIME,CV"},
		{"arrivals at no interval", []string{"--model", model, "--prompt", "a", "--arrivals", "fixed:soon"}, "want a time such as 50ms"},
		{"no tokens to generate", []string{"--model", model, "--prompt", "a", "--max-tokens", "0"}, "--max-tokens 0"},
		{"limits for others", []string{"--model", model, "--prompt", "a", "--max-tokens", "1,2"}, "--max-tokens: 2 numbers for 1 request; want 1"},
		{"ids that are none", []string{"--model", model, "--token-ids", "1,a"}, `--token-ids: "a" is not a number`},
		{"ids that are not there", []string{"--model", model, "--token-ids", ","}, "--token-ids: a comma without a number on both sides"},
		{"file without ids", []string{"--model", model, "--token-ids", "@" + empty}, "--token-ids: " + empty + ": there are no ids"},
		{"file of no ids", []string{"--model", model, "--token-ids", "@" + file}, "config.json: \"{\\\"architectures\\\":\" is not a number"},
		{"no such file of ids", []string{"--model", model, "--token-ids", "@/nowhere"}, "--token-ids: /nowhere"},
		{"long file of ids", []string{"--model", model, "--token-ids", "@" + long}, "longer than 16 MiB"},
		{"no such model", []string{"--model", "/nowhere", "--prompt", "a"}, "--model /nowhere: no such file"},
		{"no such tokenizer", []string{"--model", model, "--tokenizer", "/nowhere", "--prompt", "a"}, "--tokenizer /nowhere: no such file"},
		{"no such prompts", []string{"--model", model, "--prompts", "/nowhere"}, "--prompts: /nowhere"},
		{"ids that are none, of no model", []string{"--model", file, "--token-ids", "1,99999999999999999999"}, `--token-ids: "99999999999999999999" is not a number`},
		{"no tokens to generate, of no model", []string{"--model", file, "--token-ids", "1", "--max-tokens", "0"}, "--max-tokens 0"},
		{"no probability", []string{"--model", model, "--prompt", "a", "--top-p", "0"}, "--top-p 0"},
		{"ids beyond the vocabulary", []string{"--model", model, "--token-ids", "1,99999"}, "99999 is not in the model's vocabulary"},
		{"temperature", []string{"--model", model, "--prompt", "a", "--temperature", "-1"}, "temperature: -1"},
		{"fp8", []string{"--model", model, "--prompt", "a", "--dtype", "e4m3"}, "want f32, f16 or bf16"},
		{"no tokenizer in the folder", []string{"--model", bare, "--prompt", "a"}, "--tokenizer is missing: there is no tokenizer.json"},
		{"file without prompts", []string{"--model", model, "--prompts", empty}, "has no prompt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := runRecord(t, append(c.args, "-o", filepath.Join(t.TempDir(), "x"))...)
			var usage usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want wrong use with %q", err, c.want)
			}
		})
	}
	if _, err := runRecord(t, "--model", file, "--token-ids", "1", "-o", t.TempDir()); err == nil || !strings.Contains(err.Error(), "config.json: ") {
		t.Errorf("a file that is no checkpoint: %v", err)
	}
}

func TestTraceRecordTaken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "1.safetensors"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The folder is checked before the model, which does not exist.
	_, err := runRecord(t, "--model", filepath.Join(dir, "1.safetensors"), "--token-ids", "1", "-o", dir)
	if !errors.As(err, new(usageError)) || !errors.Is(err, trace.ErrTaken) {
		t.Error(err)
	}
}

// TestTraceRecordInterrupted checks that an interrupted recording leaves no files and prints so.
func TestTraceRecordInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	ctx, cancel := context.WithCancel(t.Context())
	cmd := newTraceRecordCmd()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"--model", randomFolder(t, ""), "--token-ids", "1", "--token-ids", "2", "--max-tokens", "3", "-o", dir})
	cmd.SetOut(writerFunc(func([]byte) { cancel() })) // when the first request is done
	cmd.SetErr(io.Discard)
	err := cmd.ExecuteContext(ctx)
	if err == nil || err.Error() != "interrupted: nothing is left in "+dir {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// TestTraceRecordHere records into the working directory, with the same arrivals as kvc trace
// synth.
func TestTraceRecordHere(t *testing.T) {
	model := randomFolder(t, "")
	here := filepath.Join(t.TempDir(), "here")
	if err := os.Mkdir(here, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(here)
	out, err := runRecord(t, "--model", model, "--token-ids", "1", "--token-ids", "2", "--token-ids", "3", "--max-tokens", "1", "--arrivals", "poisson:1s", "--json", "--description", "a < b", "-o", ".")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := trace.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	r := tr.Requests()
	if tr.Meta.Name != "here" || !strings.HasSuffix(tr.Meta.Source.Description, "--out here") || strings.Contains(out, `\u00`) {
		t.Errorf("%+v, %s", tr.Meta, out)
	}
	if a, b := r[1].ArrivalNS, r[2].ArrivalNS-r[1].ArrivalNS; r[0].ArrivalNS != 0 || a <= 0 || b <= 0 || a == b {
		t.Errorf("%+v", r)
	}
}
