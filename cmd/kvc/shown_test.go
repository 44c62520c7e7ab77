package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels"
)

// notShown are the outputs on pages that TestShownOutputs does not compare, and why. Some tables
// are from runs that take minutes, and no test compares them: the scores in README.md and
// results-quality.md (kvc bench), coverage and mutation in checking.md (kvc validate --coverage and
// --mutate), the speed in simulator.md, and the tables of methods/kivi.md and
// methods/minicache+kivi.md.
var notShown = map[string]string{
	"kvc validate --device cuda": "of a binary with the tag cuda",
	"kvc golden compare golden --theirs mine --parts outputs --atol 1.1e-3": "TestCIPage runs it: it needs NumPy",
}

// shownOutput is a command line that a page shows after "$ ", with the output that the page shows
// for it.
type shownOutput struct{ line, output string }

// shownOutputs returns the kvc commands of a page's indented or fenced blocks, with their
// outputs.
func shownOutputs(page string) []shownOutput {
	var list []shownOutput
	fenced, in := false, false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced, in = !fenced, false
			continue
		}
		text, code := strings.CutPrefix(line, "    ")
		switch {
		case fenced:
			text = line
		case !code && line != "\n":
			in = false
			continue
		}
		if command, ok := strings.CutPrefix(text, "$ "); ok {
			if in = strings.HasPrefix(command, "kvc "); in {
				list = append(list, shownOutput{line: strings.TrimSpace(command)})
			}
		} else if in {
			list[len(list)-1].output += text
		}
	}
	return list
}

// likeShown reports whether an output is the one that a page shows, except for times and for parts
// that the page replaces with a line of … alone.
func likeShown(shown, output string) bool {
	masked := regexp.MustCompile(`\s*\b[0-9.]+m?s\b|took .* for|, [0-9.e+]* million a second`)
	var pattern strings.Builder
	for line := range strings.Lines(strings.TrimSpace(shown) + "\n") {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		pattern.WriteString(regexp.QuoteMeta(masked.ReplaceAllString(strings.TrimRight(line, " \n"), "")) + `\n`)
	}
	var plain strings.Builder
	for line := range strings.Lines(strings.TrimSpace(output) + "\n") {
		plain.WriteString(masked.ReplaceAllString(strings.TrimRight(line, " \n"), "") + "\n")
	}
	return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(plain.String())
}

// nearKernel writes near.ptx: the engine's attention, in which the sums of attend_combine begin at
// 2⁻³² and not at 0, as docs/checking.md says.
func nearKernel(t *testing.T) {
	t.Helper()
	text, err := kernels.PTX("attention.ptx")
	if err != nil {
		t.Fatal(err)
	}
	before, entry, ok := strings.Cut(string(text), ".entry attend_combine(")
	body, after, ended := strings.Cut(entry, "\n}")
	const zero, near = "0f00000000", "0f2F800000"
	if !ok || !ended || !strings.Contains(body, zero) {
		t.Fatal("attention.ptx has no attend_combine that begins at 0")
	}
	changed := before + ".entry attend_combine(" + strings.ReplaceAll(body, zero, near) + "\n}" + after
	if err := os.WriteFile("near.ptx", []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// myTrace writes my-trace: the bundled trace story without options.
func myTrace(t *testing.T, bundled string) {
	t.Helper()
	if err := os.CopyFS("my-trace", os.DirFS(filepath.Join(bundled, "story"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"options.json", "golden.json"} {
		if err := os.Remove(filepath.Join("my-trace", name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestShownOutputs runs every command that a page shows with its output, and compares.
func TestShownOutputs(t *testing.T) {
	bundled, err := filepath.Abs("../../traces")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, name := range pages(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	example(t)
	nearKernel(t)
	myTrace(t, bundled)
	compared, listed := 0, map[string]bool{}
	for name, text := range texts {
		for _, s := range shownOutputs(text) {
			if _, ok := notShown[s.line]; ok {
				listed[s.line] = true
				continue
			}
			compared++
			_, stdout, stderr := kvc(commandWords(s.line)...)
			if !likeShown(s.output, stdout) && !likeShown(s.output, stdout+stderr) {
				t.Errorf("%s: %s prints\n%s%s\nand the page has\n%s", name, s.line, stdout, stderr, s.output)
			}
		}
	}
	if compared < 9 {
		t.Errorf("%d outputs are on the pages", compared)
	}
	for line := range notShown {
		if !listed[line] {
			t.Errorf("%q is listed, and on no page", line)
		}
	}
}

// TestTableOfValidate compares the output of kvc validate with the table in README.md, except for times: all
// rows with KVC_TESTS=full, else the rows of small traces.
func TestTableOfValidate(t *testing.T) {
	if testing.Short() {
		t.Skip("it replays bundled traces on the PTX machine")
	}
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "and ends with:\n\n```\n")
	table, _, ended := strings.Cut(table, "```")
	if few := testsize.Of(true, true, false); few {
		const most = 2_000_000         // values of a trace
		small := map[string][]string{} // rows by trace, without the time
		for line := range strings.Lines(table) {
			row := strings.Fields(line)
			if len(row) != 7 {
				continue
			}
			if values, err := strconv.Atoi(strings.ReplaceAll(row[4], ",", "")); err == nil && values <= most {
				small[row[0]] = slices.Delete(row, 5, 6)
			}
		}
		if len(small) == 0 {
			t.Fatalf("README.md has no table with a trace of at most %d values:\n%s", most, table)
		}
		code, stdout, stderr := kvc(append([]string{"validate"}, slices.Sorted(maps.Keys(small))...)...)
		for line := range strings.Lines(stdout) {
			if row := strings.Fields(line); len(row) == 7 && slices.Equal(slices.Delete(row, 5, 6), small[row[0]]) {
				delete(small, row[0])
			}
		}
		if code != exitDone || !found || !ended || len(small) > 0 {
			t.Errorf("kvc validate: exit code %d: %s\n%s\nand README.md has\n%v", code, stderr, stdout, small)
		}
		return
	}
	code, stdout, stderr := kvc("validate")
	if code != exitDone || !found || !ended || !likeShown(table, stdout) {
		t.Errorf("kvc validate: exit code %d: %s\n%s\nand README.md has\n%s", code, stderr, stdout, table)
	}
}

// TestPublishedPage compares what docs/cost-model.md says of the published throughputs with what
// its commands print: the fit to each card's rows, and that to the L4's carried to the H100.
func TestPublishedPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it fits the cost model of two cards, twice")
	}
	csv, err := filepath.Abs("../../sim/cost/testdata/published/kv-compress.csv")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/cost-model.md")
	if err != nil {
		t.Fatal(err)
	}
	image, err := filepath.Abs("../../docs/images/published-throughput.svg")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(text)), " ")
	t.Chdir(t.TempDir())
	has := func(format string, args ...any) {
		t.Helper()
		if want := fmt.Sprintf(format, args...); !strings.Contains(page, want) {
			t.Errorf("docs/cost-model.md does not have: %s", want)
		}
	}
	type errorsOf struct {
		MAPE       float64
		Max        float64 `json:"max_error"`
		Cross      float64 `json:"cross_mape"`
		CrossMax   float64 `json:"cross_max_error"`
		Compressed float64 `json:"compressed_mape"`
		Vanilla    float64 `json:"vanilla_mape"`
	}
	var fitted struct {
		Profile struct {
			Fits []struct {
				Card    string
				Rows    int
				Quality errorsOf
			}
		}
		Cases []measuredRow
	}
	run := func(to any, args ...string) {
		t.Helper()
		code, stdout, stderr := kvc(append(args, "--json")...)
		if err := json.Unmarshal([]byte(stdout), to); code != exitDone || err != nil {
			t.Fatalf("%v: %d: %v, %s", args, code, err, stderr)
		}
	}
	run(&fitted, "calibrate", "--measurements", csv, "-o", "both.json")
	fits := fitted.Profile.Fits
	if len(fits) != 2 || fits[0].Card != "l4" {
		t.Fatalf("fits %+v", fits)
	}
	l4, h100 := &fits[0].Quality, &fits[1].Quality
	has("| | L4, %d rows | H100, %d rows |", fits[0].Rows, fits[1].Rows)
	const l4Name, h100Name = "NVIDIA L4", "NVIDIA H100 80GB" // in the file
	exact := map[string][2]int{}
	for _, row := range fitted.Cases {
		if row.Batch > 0 {
			n := exact[row.GPU]
			if n[1]++; row.Batch == row.Predicted {
				n[0]++
			}
			exact[row.GPU] = n
		}
	}
	has("| largest batch exact | %d of %d | %d of %d |", exact[l4Name][0], exact[l4Name][1], exact[h100Name][0], exact[h100Name][1])
	for _, row := range []struct {
		name     string
		l4, h100 float64
	}{
		{"throughput off, on average", l4.MAPE, h100.MAPE}, {"at most", l4.Max, h100.Max}, {"compressed rows, on average", l4.Compressed, h100.Compressed},
		{"plain vLLM, on average", l4.Vanilla, h100.Vanilla}, {"each input length by a fit to the others, on average", l4.Cross, h100.Cross}, {"at most", l4.CrossMax, h100.CrossMax},
	} {
		has("| %s | %.1f %% | %.1f %% |", row.name, 100*row.l4, 100*row.h100)
	}

	run(new(any), "calibrate", "--measurements", csv, "--gpu", "l4", "-o", "l4.json")
	var carried struct{ Cases []measuredRow }
	run(&carried, "sim", "--cases", csv, "--profile", "l4.json")
	run(new(any), "sim", "--cases", csv, "--profile", "both.json", "--plot", "published.svg")
	sameImage(t, image, "published.svg")
	mean, most, n := 0.0, 0.0, 0
	for _, row := range carried.Cases {
		if row.GPU == h100Name && row.Off != nil {
			mean, most, n = mean+math.Abs(*row.Off), max(most, math.Abs(*row.Off)), n+1
		}
	}
	has("is off by %.1f %% on average over the H100's rows, and by %.1f %% at most", 100*mean/float64(n), 100*most)
}

// measuredRow is a run of a throughput benchmark, as kvc prints it.
type measuredRow struct {
	GPU       string
	Batch     int      `json:"max_decoding_batch"`
	Predicted int      `json:"predicted_batch"`
	Off       *float64 `json:"throughput_error"`
}

// TestSpreadPage compares the largest batches of the run that docs/simulator.md shows of spreads.
func TestSpreadPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	t.Chdir(t.TempDir())
	for _, begins := range []string{"kvc run llama-heads --profile", "kvc trace generate --requests 256"} {
		fromPage(t, page, begins)
	}
	var batches []int
	for _, spread := range []string{"even", "heads.json"} {
		var got struct {
			Metrics struct {
				Batch int `json:"max_decode_batch"`
			}
		}
		if err := json.Unmarshal([]byte(fromPage(t, page, "kvc sim --requests equal", "--json", "--spread", spread)), &got); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, got.Metrics.Batch)
	}
	if want := fmt.Sprintf("| 500 | 496 | %d, %d |", batches[0], batches[1]); !strings.Contains(page, want) {
		t.Errorf("docs/simulator.md does not have: %s", want)
	}
}
