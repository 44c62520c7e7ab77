package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"kvcompress/internal/testsize"
	"kvcompress/internal/words"
	"kvcompress/ref"
)

// pages returns the pages of documentation, whose commands are held to the program.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/methods/*.md", "../../ref/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		all = append(all, names...)
	}
	return all
}

// shown returns the command lines of kvc that a page shows as code, without comments. Lines that are
// continued with \ are joined.
func shown(page string) []string {
	var lines []string
	fenced, more := false, false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		line, code := strings.CutPrefix(line, "    ")
		if !code && !fenced {
			more = false
			continue
		}
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		line = strings.TrimPrefix(line, "$ ")
		for _, one := range strings.Split(line, " && ") {
			text, goesOn := strings.CutSuffix(strings.TrimSpace(one), `\`)
			switch {
			case more:
				lines[len(lines)-1] += " " + text
			case strings.HasPrefix(text, "kvc "):
				lines = append(lines, text)
			default:
				continue
			}
			more = goesOn
		}
	}
	return lines
}

// commandWords splits a command line at blanks, but not within double quotes.
func commandWords(line string) []string {
	var list []string
	for _, w := range regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(line, -1) {
		list = append(list, strings.Trim(w, `"'`))
	}
	return list[1:] // kvc
}

// TestPagesCommands parses every command that the documentation and the help of commands show. A method
// that it names must be in the table.
func TestPagesCommands(t *testing.T) {
	check := func(where, line string) {
		if strings.Contains(line, "…") {
			return
		}
		line, _, _ = strings.Cut(line, " | ")
		line, _, _ = strings.Cut(line, " > ")
		cmd, args, err := newRootCmd(io.Discard, nil).Find(commandWords(line))
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err == nil && cmd.Flags().Changed("method") {
			_, err = ref.FindMethod(cmd.Flag("method").Value.String())
		}
		if err != nil {
			t.Errorf("%s: %s: %v", where, line, err)
		}
	}
	commands := 0
	for _, name := range pages(t) {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range shown(string(page)) {
			commands++
			check(name, line)
		}
	}
	if commands < 110 {
		t.Errorf("%d commands are on the pages", commands)
	}
	examples := 0
	everyCommand(newRootCmd(io.Discard, nil), func(cmd *cobra.Command) {
		for _, line := range shown("```\n" + cmd.Example + "\n```\n") {
			line, _, _ = strings.Cut(line, "   ") // an explanation
			examples++
			check(cmd.CommandPath()+" --help", line)
		}
	})
	if examples < 60 {
		t.Errorf("%d commands are in examples of the help", examples)
	}
}

// fromPage runs a command of docs/planning.md, which begins so, and returns what it prints. more
// is added to it.
func fromPage(t *testing.T, page, begins string, more ...string) string {
	t.Helper()
	for _, line := range shown(page) {
		if strings.HasPrefix(line, begins) {
			code, out, errs := kvc(append(commandWords(line), more...)...)
			if code != exitDone {
				t.Fatalf("%s: exit code %d: %s", line, code, errs)
			}
			return out
		}
	}
	t.Fatalf("docs/planning.md has no command that begins %q", begins)
	return ""
}

// sweptPoint is what docs/planning.md shows of a point of a sweep.
type sweptPoint struct {
	Compression string
	Memory      string `json:"memory_budget"`
	MaxSeqs     int    `json:"max_num_seqs"`
	Bytes       struct {
		Metadata float64 `json:"metadata_bytes"`
	} `json:"memory"`
	Metrics struct {
		Tokens float64 `json:"total_token_throughput"`
		Batch  int     `json:"max_decode_batch"`
		TTFT   struct {
			P50 float64
		} `json:"time_to_first_token_seconds"`
		TPOT struct {
			P50 float64
		} `json:"request_time_per_output_token_seconds"`
	}
	Dollars float64 `json:"usd_per_million_output_tokens"`
}

// row returns the point as a row of a table whose last column is of metadata, or of dollars.
func (p *sweptPoint) row(name string, metadata bool) string {
	m := &p.Metrics
	last := fmt.Sprintf("%.2f", p.Dollars)
	if metadata {
		last = fmt.Sprintf("%.0f MB", p.Bytes.Metadata/1e6)
	}
	return fmt.Sprintf("| %s | %s | %s s | %.0f ms | %d | %s |", name, words.Whole(m.Tokens), words.Whole(m.TTFT.P50), 1e3*m.TPOT.P50, m.Batch, last)
}

// TestPlanningPage runs the commands of docs/planning.md, and compares the answer, the reading, the
// tables and the images with what they print and draw. -update rewrites tables and images.
func TestPlanningPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs the commands of a page, seconds of a sweep")
	}
	// The sweep of the table of methods takes several times as long as everything else.
	methods := testsize.Of(false, false, true) || *update
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs/planning.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	t.Chdir(t.TempDir())
	fromPage(t, page, "kvc trace generate")

	_, answer, _ := strings.Cut(page, "\nprints\n\n```\n")
	answer, _, _ = strings.Cut(answer, "```")
	if out := fromPage(t, page, "kvc plan --requests chat"); len(answer) < 200 || !strings.HasPrefix(out, answer) {
		t.Errorf("kvc plan prints\n%s\nand the page has\n%s", out, answer)
	}
	out := fromPage(t, page, "kvc sim --requests chat --model llama-3.1-8b --gpu l4 --rate", "--plots", "sim")
	reading := regexp.MustCompile(`\n> (.*)\.\n`).FindStringSubmatch(page)
	if reading == nil || !strings.Contains(out, reading[1]) {
		t.Errorf("kvc sim prints\n%s\nand the page has\n%s", out, reading)
	}
	for _, more := range []string{"h100 --concurrency", "l4 --replicas", "h100 --prefill-replicas"} {
		fromPage(t, page, "kvc sim --requests chat --model llama-3.1-8b --gpu "+more)
	}

	updated := page
	table := func(begins, after string, rows int, metadata bool) {
		t.Helper()
		var swept struct{ Outcomes []sweptPoint }
		if err := json.Unmarshal([]byte(fromPage(t, page, begins, "--json")), &swept); err != nil {
			t.Fatal(err)
		}
		_, part, _ := strings.Cut(page, after)
		found := 0
		for line := range strings.Lines(part) {
			line = strings.TrimSuffix(line, "\n")
			if line == "" && found > 0 {
				break
			}
			name := strings.TrimSpace(strings.Split(line+"||", "|")[1])
			for _, p := range swept.Outcomes {
				if of := regexp.MustCompile(`^[^ ,]*`).FindString(name); p.Memory != "0.9" || p.MaxSeqs != 128 || of != p.Compression {
					continue
				}
				found++
				if want := p.row(name, metadata); line != want {
					updated = strings.Replace(updated, line, want, 1)
				}
			}
		}
		if found != rows {
			t.Errorf("after %q the page has %d rows of the sweep, want %d", after, found, rows)
		}
	}
	table("kvc sweep --requests chat --model llama-3.1-8b --gpu l4 --memory", "a batch limit of 128:", 3, false)
	if methods {
		table("kvc sweep --requests chat --model llama-3.1-8b --gpu l4 --max-num-seqs 128", "### Methods at equal memory", 7, true)
	}
	if updated != page {
		if !*update {
			t.Errorf("the tables of docs/planning.md are others: go test ./cmd/kvc -run PlanningPage -update\n%s", updated)
		} else if err := os.WriteFile(path, []byte(updated), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for image, drawn := range map[string]string{
		"planning-requests.svg": "sim/requests.svg",
		"planning-cache.svg":    "sim/cache.svg",
		"planning-batch.svg":    "plots/throughput-batch-llama-3.1-8b-on-1-l4-memory-0.9-load-1.svg",
		"planning-memory.svg":   "plots/throughput-memory-llama-3.1-8b-on-1-l4-batch-limit-128-load-1.svg",
	} {
		sameImage(t, filepath.Join(root, "docs/images", image), drawn)
	}
}

// sharedData returns a file of ../shared/data, or skips the test where it is absent.
func sharedData(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../shared/data", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Skipf("%s is not there", name)
	}
	return path
}

// TestPagesOfAzureLog compares what README.md quotes of a projection of the Azure code log, and what
// docs/importing.md shows of its rate.
func TestPagesOfAzureLog(t *testing.T) {
	log := sharedData(t, "requests/AzureLLMInferenceTrace_code.csv")
	oneLine := func(text string) string {
		return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n> ", " ")), " ")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	quote := regexp.MustCompile(`(?s)\n> (Compute-bound: .*?)\.\n`).FindStringSubmatch(string(readme))
	code, out, errs := kvc("sim", "--requests", log, "--model", "llama-3.1-8b", "--gpu", "l4")
	if code != exitDone || quote == nil || !strings.Contains(oneLine(out), oneLine(quote[1])) {
		t.Errorf("kvc sim: exit code %d: %s\n%s\nand README.md has\n%s", code, errs, out, quote)
	}

	page, err := os.ReadFile("../../docs/importing.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if code, _, errs := kvc("trace", "import", log, "-o", "code"); code != exitDone {
		t.Fatal(errs)
	}
	_, shown, _ := strings.Cut(string(page), "kvc trace info code --windows 6\n…\n")
	shown, _, _ = strings.Cut(shown, "…\n```")
	if code, out, errs := kvc("trace", "info", "code", "--windows", "6"); code != exitDone || len(shown) < 200 || !strings.Contains(out, shown) {
		t.Errorf("kvc trace info: exit code %d: %s\n%s\nand docs/importing.md has\n%s", code, errs, out, shown)
	}
}

// TestAzureExamplesServeAll runs the examples of README.md and of the help with Azure's code log. None may
// refuse one of its requests.
func TestAzureExamplesServeAll(t *testing.T) {
	log := sharedData(t, "requests/AzureLLMInferenceTrace_code.csv")
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := shown(string(readme))
	for _, cmd := range []*cobra.Command{newSimCmd(), newSweepCmd()} {
		lines = append(lines, shown("```\n"+cmd.Example+"\n```\n")...)
	}
	t.Chdir(t.TempDir())
	ran := 0
	for _, line := range lines {
		// The load that --max-load tries last is as large as is served, and its search takes seconds.
		if !regexp.MustCompile(`^kvc (sim|sweep) --requests (AzureLLM.*_)?code\.csv `).MatchString(line) || strings.Contains(line, "--max-load") {
			continue
		}
		args := commandWords(line)
		args[2] = log
		code, out, errs := kvc(append(args, "--json")...)
		refused := regexp.MustCompile(`"refused": ([0-9]+)`).FindAllStringSubmatch(out, -1)
		if code != exitDone || len(refused) == 0 {
			t.Fatalf("%s: exit code %d: %s", line, code, errs)
		}
		ran++
		for _, n := range refused {
			if n[1] != "0" {
				t.Errorf("%s: %s requests are refused", line, n[1])
			}
		}
	}
	if ran < 14 {
		t.Errorf("%d examples are of the log", ran)
	}
}

// TestErrorsOfServingRuns compares the errors that docs/cost-model.md states of measured serving runs
// with those of kvc sim --cases.
func TestErrorsOfServingRuns(t *testing.T) {
	page, err := os.ReadFile("../../docs/cost-model.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		file, more string
		row        string // of the page, up to its errors
		columns    []string
	}{
		{"closed-loop-qwen3-32b-h100-vllm.csv", "", "| vLLM 0.12, Qwen3-32B on 2, 4 and 8 H100: 90 runs |", []string{"tpot_mape", "ttft_mape", "throughput_mape"}},
		{"closed-loop-qwen3-32b-h100-sglang.csv", "", "| SGLang 0.5.1, Qwen3-32B on 1 to 8 H100: 84 runs |", []string{"tpot_mape", "ttft_mape", "throughput_mape"}},
		{"closed-loop-llama-3.1-8b-h100-trtllm.csv", "", "| TensorRT-LLM 1.0, Llama-3.1-8B on 1 to 8 H100: 177 runs |", []string{"tpot_mape", "ttft_mape", "throughput_mape"}},
		{"static-batch-a100-vllm.csv", "--profile vllm-v0", "| vLLM V0, 184 batches on 1 to 4 A100 of 40 GB | | |", []string{"throughput_mape"}},
		{"static-batch-a100-vllm.csv", "", "| these without `--profile`: taken for vLLM V0, since as vLLM V1 they are off by 19.3 % | | |", []string{"throughput_mape"}},
	}
	for _, c := range testsize.Of(rows[1:2], rows, rows) {
		args := append([]string{"sim", "--cases", sharedData(t, "serving/"+c.file), "--json"}, strings.Fields(c.more)...)
		code, out, errs := kvc(args...)
		var got struct{ Summary map[string]float64 }
		if err := json.Unmarshal([]byte(out), &got); code != exitDone || err != nil {
			t.Fatalf("%v: %d: %v, %s", args, code, err, errs)
		}
		want := c.row
		for _, column := range c.columns {
			want += fmt.Sprintf(" %.1f %% |", 100*got.Summary[column])
		}
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/cost-model.md does not have: %s", want)
		}
	}
}
