package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
)

func TestMeasurementFile(t *testing.T) {
	for in, want := range map[string]servingSetup{
		"f.csv":                            {},
		"f.csv,model=m,gpu=g":              {model: "m", gpu: "g"},
		"f.csv,tensor-parallel=2":          {tp: 2},
		"f.csv,max-num-seqs=3":             {seqs: 3},
		"f.csv,max-num-batched-tokens=4":   {tokens: 4},
		"f.csv,num-gpu-blocks=5":           {blocks: 5},
		"f.csv,gpu-memory-utilization=0.5": {utilization: 0.5},
		"f.csv,engine=vllm-0.6":            {engine: sim.VLLM06},
		"f.csv,server=sglang":              {server: cost.SGLang},
		"f.csv,model=a=b":                  {model: "a=b"},
	} {
		path, got, err := measurementFile(in)
		if err != nil || path != "f.csv" || got != want {
			t.Errorf("%s: %q, %+v, %v", in, path, got, err)
		}
	}
	for in, want := range map[string]string{
		"f.csv,model":                      `"model" is not of the form key=value`,
		"f.csv,":                           "key=value",
		"f.csv,colour=red":                 `unknown key "colour": want model, gpu`,
		"f.csv,tensor-parallel=0":          "tensor-parallel of f.csv: want an integer of at least 1",
		"f.csv,num-gpu-blocks=x":           "num-gpu-blocks of f.csv",
		"f.csv,gpu-memory-utilization=1.5": "want a fraction in (0, 1]",
		"f.csv,gpu-memory-utilization=NaN": "want a fraction in (0, 1]",
		"f.csv,engine=magic":               "engine of f.csv",
		"f.csv,server=magic":               "want one of [vllm-v1 vllm-v0 sglang trtllm]",
	} {
		if _, _, err := measurementFile(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", in, err, want)
		}
	}
}

// servingRows are made-up runs of a closed loop on three backends.
const servingRows = `backend,model,card,isl,osl,concurrency,num_requests,ttft_ms,tpot_ms
vllm,llama-3.1-8b,l4,400,10,1,3,250,70
sglang,llama-3.1-8b,l4,400,10,4,8,600,80
magic,llama-3.1-8b,l4,200,10,2,6,200,75
vllm,llama-3.1-8b,l4,900,20,8,24,900,110
`

const loggedRows = `request_id,arrival_s,input_tokens,output_tokens,ttft_ms,tpot_ms,e2e_s
a,0,400,10,250,70,0.9
b,0.5,900,20,600,75,2.1
`

func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestServingCases calibrates on runs and a log, and compares both with the new fit and with the
// shipped ones: each output names its fit, how rows were served, and the expected error.
func TestServingCases(t *testing.T) {
	rows, log := written(t, "rows.csv", servingRows), written(t, "log.csv", loggedRows)
	profile := filepath.Join(t.TempDir(), "p.json")
	code, out, errs := kvc("calibrate", "--measurements", rows, "--measurements", log+",model=llama-3.1-8b,gpu=l4", "-o", profile)
	for _, want := range []string{"Fitted to 5 rows of rows.csv, log.csv (l4, llama-3.1-8b):", "Fitted to 1 row of rows.csv (l4, llama-3.1-8b), on sglang:", "off on average: TPOT", "not determined by these rows", "fitted", "Written to"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Fatalf("%d: %s%s: want %q", code, out, errs, want)
		}
	}
	code, out, errs = kvc("sim", "--cases", rows, "--profile", profile)
	for _, want := range []string{
		"Backend vllm served by the rules of vLLM V1, lengths of a closed loop spread by ±10 %.", "Backend sglang served prefill-first", "Backend magic is not modelled",
		"Time by 5 rows of rows.csv, log.csv (l4, llama-3.1-8b).", "Time by 1 row of rows.csv (l4, llama-3.1-8b), on sglang.", "\n4 rows\n",
	} {
		if code != 0 || strings.Count(out, want) != 1 {
			t.Fatalf("%d: %s%s: want %q once", code, out, errs, want)
		}
	}
	code, out, errs = kvc("sim", "--cases", rows)
	card, err := catalog.FindCard("l4")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"On l4 that is a fit to other cards than l4.", "Time by " + cost.DefaultProfile().For(&card, cost.SGLang).Of + "."} { // vLLM's, SGLang's
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d: %s%s: want %q", code, out, errs, want)
		}
	}
	unstated := written(t, "unstated.csv", "model,card,isl,osl,batch,latency_s\nllama-3.1-8b,a100,100,10,4,0.2\n")
	for _, c := range []struct{ args, want string }{
		{"", "The rows do not name their server: served by the rules of vLLM V1"},
		{"", "a100 is taken for a100-40gb: --gpu or a column card_gib says which it is."},
		{"--gpu a100-40gb", "Error to expect on a100-40gb"},
		{"--profile trtllm", "Backend trtllm served by the rules of vLLM V1"},
		{"--profile vllm-v0 --gpu a100-40gb", "Time by 209 rows of 3 files (a100-40gb, llama-2-7b, llama-3.1-8b, mistral-7b, llama-2-70b, mixtral-8x7b, qwen2.5-7b), on vllm-v0."},
	} {
		code, out, errs := kvc(append([]string{"sim", "--cases", unstated}, strings.Fields(c.args)...)...)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d: %s%s: want %q", c.args, code, out, errs, c.want)
		}
	}

	// With --gpu and the name of cards of two sizes, the rows say which of them; another card overrules them.
	for _, c := range []struct{ row, gpu, want string }{
		{"a100-80gb,", "a100", "Error to expect on a100-80gb"},
		{"a100,79.25", "a100", "Error to expect on a100-80gb"},
		{"a100,79.25", "a100-40gb", "The file says a100 of 79.25 GiB: --gpu puts these rows on a100-40gb."},
		{"h100,", "l4", "The file says h100: --gpu puts these rows on l4."},
		{"a100,", "a100", "a100 is taken for a100-40gb: --gpu or a column card_gib says which it is."},
	} {
		file := written(t, "stated.csv", "model,card,card_gib,isl,osl,batch,latency_s\nllama-3.1-8b,"+c.row+",100,10,4,0.2\n")
		code, out, errs := kvc("sim", "--cases", file, "--gpu", c.gpu)
		if code != 0 || !strings.Contains(out, c.want) || strings.Contains(out, "--gpu puts") != strings.Contains(c.want, "--gpu puts") {
			t.Errorf("%v: %d: %s%s", c, code, out, errs)
		}
	}

	some := written(t, "some.csv", "model,card,tp,isl,osl,concurrency,tpot_ms\nllama-3.1-8b,l4,1,100,10,4,50\nllama-3.1-70b,l4,1,100,10,4,50\nllama-3.1-70b,l4,1,100,10,8,50\nmagic,l4,1,100,10,4,50\n")
	code, out, errs = kvc("sim", "--cases", some)
	for _, want := range []string{
		"Lines 3, 4 cannot be projected: llama-3.1-70b does not fit on 1 × l4", "Line 5 cannot be projected: unknown model \"magic\"", "\n1 row\n", "refused", "TPOT     1",
	} {
		if code != 2 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "3 rows of some.csv cannot be projected") || !strings.Contains(out, want) {
			t.Errorf("%d: %s%s: want %q", code, out, errs, want)
		}
	}
	fitted := filepath.Join(t.TempDir(), "some.json")
	code, out, errs = kvc("calibrate", "--measurements", some, "-o", fitted)
	for _, want := range []string{"some.csv: the fit is to the 1 of 4 rows that can be projected.\n", "Lines 3, 4 cannot be projected: llama-3.1-70b does not fit on 1 × l4", "Line 5 cannot be projected: unknown model \"magic\""} {
		if code != 0 || !strings.Contains(out, "Fitted to 1 row of some.csv") || !strings.Contains(errs, want) {
			t.Errorf("calibrate: %d: %s%s: want %q", code, out, errs, want)
		}
	}
	text, err := os.ReadFile(some)
	if err != nil {
		t.Fatal(err)
	}
	hostile := written(t, "so\x1b[31mme.csv", string(text))
	if code, out, errs := kvc("calibrate", "--measurements", hostile, "-o", fitted); code != 0 || strings.Contains(out+errs, "\x1b") || !strings.Contains(errs, "the fit is to the 1 of 4 rows") {
		t.Errorf("a name with control characters: %d: %q%q", code, out, errs)
	}
	none := written(t, "none.csv", "model,card,isl,osl,batch,latency_s\nmagic,l4,100,10,4,0.2\n")
	if code, out, errs := kvc("calibrate", "--measurements", rows, "--measurements", none, "-o", fitted); code != 2 || out != "" || !strings.Contains(errs, "none.csv:2: unknown model") {
		t.Errorf("calibrate with no row: %d: %s%s", code, out, errs)
	}
	if code, out, errs := kvc("sim", "--cases", none); code != 2 || out != "" || !strings.Contains(errs, "none.csv:2: unknown model") {
		t.Errorf("no row: %d: %s%s", code, out, errs)
	}
	two := written(t, "two.csv", "model,card,tp,isl,osl,concurrency,tpot_ms\nllama-3.1-8b,rtx-4090,2,100,10,4,50\n")
	code, out, errs = kvc("sim", "--cases", two)
	for _, want := range []string{"rtx-4090: the cards are assumed to add up their parts through the host's memory, at 16 GB/s.", "none of which had several cards."} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d: %s%s: want %q", code, out, errs, want)
		}
	}

	code, out, errs = kvc("sim", "--cases", rows, "--json")
	var runs struct {
		Cases   []map[string]any
		Summary map[string]float64
		Notes   []string
	}
	if err := json.Unmarshal([]byte(out), &runs); code != 0 || err != nil {
		t.Fatalf("%d: %v, %s", code, err, errs)
	}
	if s := runs.Summary; s["rows"] != 4 || s["tpot_rows"] != 4 || !(s["tpot_mape"] > 0) || !(s["ttft_mape"] > 0) || !(s["throughput_mape"] > 0) || s["tpot_max_error"] == 0 || s["tpot_mean_error"] == 0 {
		t.Errorf("%v", s)
	}
	if notes := strings.Join(runs.Notes, "\n"); !strings.Contains(notes, "Backend magic is not modelled") || !strings.Contains(notes, "Error to expect on l4: ") {
		t.Errorf("notes %s", notes)
	}
	if c := runs.Cases[1]; c["factors_of_other"] != "other cards than l4" || !strings.Contains(c["error_to_expect"].(string), "TPOT") || c["served_as"].(map[string]any)["prefill_first"] != true {
		t.Errorf("%v", c)
	}

	code, out, errs = kvc("sim", "--cases", log, "--model", "llama-3.1-8b", "--gpu", "l4", "--num-gpu-blocks", "500")
	for _, want := range []string{"log.csv: 2 requests, on 1 × l4 with 500 blocks of 16 tokens", "That is a fit to other cards than l4.", "Error to expect: TPOT ", "mean TTFT", "duration"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Fatalf("%d: %s%s: want %q", code, out, errs, want)
		}
	}
	code, out, errs = kvc("sim", "--cases", log, "--model", "llama-3.1-8b", "--gpu", "l4", "--profile", profile, "--json")
	var logged struct {
		Requests []map[string]any
		Summary  map[string]any
		Notes    []string
	}
	if err := json.Unmarshal([]byte(out), &logged); code != 0 || err != nil {
		t.Fatalf("%d: %v, %s", code, err, errs)
	}
	if s := logged.Summary; s["rows"] != 2.0 || len(logged.Requests) != 2 || s["error_to_expect"] == "" || s["factors_of_other"] != nil || logged.Notes == nil {
		t.Errorf("%v", s)
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sim", "--cases", log}, "want --model and --gpu"},
		{[]string{"sim", "--cases", rows, "--model", "llama-3.1-8b"}, "--model does not go with --cases"},
		{[]string{"calibrate", "--measurements", log, "-o", profile}, filepath.Base(log) + ",model=MODEL,gpu=CARD"},
		{[]string{"calibrate", "--measurements", rows + ",model=llama-3.1-8b", "-o", profile}, "says of each row which model"},
		{[]string{"calibrate", "--measurements", rows, "--gpu", "l4", "-o", profile}, "each card is fitted by itself"},
		{[]string{"calibrate", "--measurements", rows + ",engine=vllm-0.6", "-o", profile}, "none of the files is of vLLM V1"},
		{[]string{"calibrate", "--measurements", rows, "--measurements", memoryFile(t), "-o", profile}, "several files are fitted together where all are"},
	} {
		if code, out, errs := kvc(c.args...); code == 0 || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d, %s%s, want an error with %q", c.args, code, out, errs, c.want)
		}
	}
}

// TestCalibrateStart fits serving runs from a shipped fit and from a file, and refuses what fits cannot start from.
func TestCalibrateStart(t *testing.T) {
	rows, profile := written(t, "rows.csv", servingRows), filepath.Join(t.TempDir(), "p.json")
	code, out, errs := kvc("calibrate", "--measurements", rows, "--start", "vllm-v1", "-o", profile)
	if code != 0 || !strings.Contains(out, "as at the start") || strings.Contains(out, "as on other cards") {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
	text, err := os.ReadFile(profile)
	if err != nil || !strings.Contains(string(text), `"start": "vllm-v1"`) {
		t.Errorf("%v: %.200s", err, text)
	}
	if code, out, errs := kvc("calibrate", "--measurements", rows, "--start", profile, "-o", filepath.Join(t.TempDir(), "again.json")); code != 0 {
		t.Errorf("from a file: %d\n%s\n%s", code, out, errs)
	}
	timings := written(t, "timings.csv", "gpu,model,term,units,microseconds\nl4,llama-3.1-8b,weights,1,50000\n")
	kernels := filepath.Join(t.TempDir(), "kernels.json")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--measurements", timings, "--start", "vllm-v1"}, "--start is for serving runs and logs of requests"},
		{[]string{"--measurements", rows, "--start", "nothing.json"}, "nothing.json"},
		{[]string{"--measurements", timings}, ""},
		{[]string{"--measurements", rows, "--start", kernels}, "the fit of l4 to start from"},
	} {
		to := kernels
		if slices.Contains(c.args, kernels) {
			to = filepath.Join(t.TempDir(), "own.json")
		}
		code, _, errs := kvc(append([]string{"calibrate", "-o", to}, c.args...)...)
		if (code == 0) != (c.want == "") || !strings.Contains(errs, c.want) {
			t.Errorf("%q: %d, %q, want %q", c.args, code, errs, c.want)
		}
	}
}

// TestSimSaysItsFit: a projection has in text, JSON and on its page the fit of its times and the
// expected error; a sweep has them for each card.
func TestSimSaysItsFit(t *testing.T) {
	page := filepath.Join(t.TempDir(), "p.html")
	args := []string{"--requests", "six-stories", "--model", "llama-3.1-8b", "--gpu"}
	code, out, errs := kvc(append([]string{"sim", "--html", page}, append(args, "l4")...)...)
	text, err := os.ReadFile(page)
	if code != 0 || err != nil {
		t.Fatal(code, errs, err)
	}
	for _, want := range []string{"That is a fit to other cards than l4.", "Error to expect: TPOT ", "of clients and the API in them", "reading the weights and the matrix products with them, which overlap"} {
		if !strings.Contains(out, want) || !strings.Contains(string(text), want) {
			t.Errorf("%s\nwant %q, there and on the page", out, want)
		}
	}
	code, out, errs = kvc(append([]string{"sim", "--json"}, append(args, "h100")...)...)
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatal(code, errs, err)
	}
	if got["factors_of_other"] != nil || !strings.HasPrefix(got["error_to_expect"].(string), "TPOT ") || !(got["client_seconds"].(float64) > 0) {
		t.Errorf("%v %v %v", got["factors_of_other"], got["error_to_expect"], got["client_seconds"])
	}
	code, out, errs = kvc(append([]string{"sweep"}, append(args, "l4,h100")...)...)
	for _, want := range []string{"Time on l4 by a fit to other cards than l4,", `Time on h100 by \d+ rows of`} {
		if unwrapped := strings.Join(strings.Fields(out), " "); code != 0 || !regexp.MustCompile(want).MatchString(unwrapped) {
			t.Errorf("%d: %s%s: want %q", code, out, errs, want)
		}
	}
	code, out, errs = kvc(append([]string{"sweep", "--json"}, append(args, "l4,h100")...)...)
	if code != 0 || !strings.Contains(out, "l4: a fit to other cards than l4, ") || !regexp.MustCompile(`h100: \d+ rows of `).MatchString(out) || strings.Count(out, "error to expect: TPOT") != 2 {
		t.Errorf("%d: %s%s", code, out, errs)
	}
}
