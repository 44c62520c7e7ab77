package validate

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"kvcompress/safetensors"
)

const agreeingMetrics = `[{"kv_heads":1,"group":1,"head_dim":8,"tokens":1,"window":1,"buffer":0,"max_pool":0,"norm":"L1",` +
	`"q":[1,0,0,0,0,0,0,0],"k":[1,0,0,0,0,0,0,0],"metrics":[1]}]`

// TestCasesIn compares a whole folder: cases that agree, that differ, of methods that are not implemented,
// and files that cannot be read are counted separately.
func TestCasesIn(t *testing.T) {
	files := fstest.MapFS{
		"a.json": {Data: []byte(agreeingMetrics)},
		"b.json": {Data: []byte(strings.Replace(agreeingMetrics, `"metrics":[1]`, `"metrics":[2]`, 1))},
		"c.json": {Data: []byte(`{"method":"of-the-future","cases":[{"id":"x"},{"id":"y","other":{}}],"table":[{}]}`)},
		"d.json": {Data: []byte(`{"method":"of-the-future"}`)},
		"e.json": {Data: []byte(`{"something":"else"}`)},
	}
	report, err := CasesIn(t.Context(), files, "a.json", "b.json", "c.json", "d.json", "e.json")
	if err == nil || !strings.HasPrefix(err.Error(), "d.json: cases: ") || strings.Contains(err.Error(), "e.json") {
		t.Errorf("error %v", err)
	}
	if report.Cases != 2 || report.Agree != 1 || report.Skipped != 3 || len(report.Files) != 4 || len(report.Results) != 5 {
		t.Errorf("%+v", report)
	}
	for i, want := range []CaseResult{
		{File: "a.json", Kind: KindMetrics, Agree: true},
		{File: "b.json", Kind: KindMetrics},
		{File: "c.json", Kind: "of-the-future", ID: "x"},
		{File: "c.json", Kind: "of-the-future", ID: "y", Case: 1},
		{File: "c.json", Kind: "of-the-future_table", ID: "table 0", Case: 2},
	} {
		got := report.Results[i]
		if got.File != want.File || got.Kind != want.Kind || got.Agree != want.Agree || got.ID != want.ID || got.Case != want.Case {
			t.Errorf("result %d: %+v, want %+v", i, got, want)
		}
		if (got.Skipped != "") != (got.File == "c.json") {
			t.Errorf("result %d: skipped %q", i, got.Skipped)
		}
	}
	if _, err := CasesIn(t.Context(), files, "e.json"); err == nil {
		t.Error("a named file with another kind of object is not an error")
	}
	pipes := fstest.MapFS{
		"a.json":        {Mode: fs.ModeNamedPipe},
		"b.json":        {Data: []byte(`{"method":"m","cases":[{}]}`)},
		"b.safetensors": {Mode: fs.ModeNamedPipe},
	}
	for name, want := range map[string]string{"a.json": "a.json: not a regular file", "b.json": "b.json: b.safetensors: not a regular file"} {
		if _, err := CasesIn(t.Context(), pipes, name); err == nil || err.Error() != want {
			t.Errorf("pipe: error %v, want %s", err, want)
		}
	}
}

// TestFolderWithoutCases checks that a folder in which nothing can be compared is an error.
func TestFolderWithoutCases(t *testing.T) {
	dir := t.TempDir()
	if _, err := CasesAt(t.Context(), dir); err == nil || !strings.Contains(err.Error(), dir+": no .json file") {
		t.Errorf("empty: %v", err)
	}
	for _, name := range []string{"a.json", "b.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"name": "x"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := CasesAt(t.Context(), dir); err == nil || err.Error() != dir+": none of its .json files has recorded cases" {
		t.Errorf("other files: %v", err)
	}
	if _, err := CasesAt(t.Context(), dir+"/nowhere"); err == nil || err.Error() != dir+"/nowhere: no such file or directory" {
		t.Errorf("no folder: %v", err)
	}
}

// TestMetricReduction compares recorded metrics with the reduction avg.
func TestMetricReduction(t *testing.T) {
	const in = `[{"kv_heads":1,"group":1,"head_dim":8,"tokens":2,"window":2,"buffer":0,"max_pool":0,"norm":"L1","metric_reduction":REDUCTION,
		"q":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"k":[1,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0],"metrics":METRICS}]`
	for reduction, metrics := range map[string]string{`"sum"`: "[1.5,0.5]", `null`: "[1.5,0.5]", `"avg"`: "[0.75,0.5]"} {
		results, err := Cases(t.Context(), strings.NewReader(strings.NewReplacer("REDUCTION", reduction, "METRICS", metrics).Replace(in)))
		if err != nil || results[0].Mismatch != "" {
			t.Errorf("%s: %v, %+v", reduction, err, results)
		}
	}
	_, err := Cases(t.Context(), strings.NewReader(strings.NewReplacer("REDUCTION", `"mean"`, "METRICS", "[1,1]").Replace(in)))
	if err == nil || !strings.Contains(err.Error(), `reduction "mean"`) {
		t.Errorf("reduction mean: %v", err)
	}
}

// TestRecordedMethods compares all recorded cases of methods, if they are available.
func TestRecordedMethods(t *testing.T) {
	dir := filepath.Join("..", "..", "shared", "data", "oracle", "methods")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	report, err := CasesAt(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Files {
		t.Logf("%s: %d of %d cases agree, %d were not compared", f.Name, f.Agree, f.Cases, f.Skipped)
	}
	for _, r := range report.Results {
		if r.Mismatch != "" {
			t.Errorf("%s, case %s: %s", r.File, r.ID, r.Mismatch)
		}
	}
}

// tensorsOf returns a safetensors file with one tensor.
func tensorsOf(t testing.TB, header string, data []byte) *safetensors.File {
	t.Helper()
	text := append([]byte{byte(len(header)), byte(len(header) >> 8), 0, 0, 0, 0, 0, 0}, header...)
	text = append(text, data...)
	f, err := safetensors.Open(bytes.NewReader(text), int64(len(text)), "test")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCaseTensors(t *testing.T) {
	const header = `{"c0.x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`
	one, nan := []byte{0, 0, 128, 63}, []byte{0, 0, 192, 127}
	for _, c := range []struct {
		name, tensor string
		data         []byte
		dims         []int
		want         string // substring of the error; empty for none
	}{
		{"right", "x", append(one[:4:4], one...), []int{1, 2}, ""},
		{"NaN", "x", append(one[:4:4], nan...), []int{1, 2}, "element 1"},
		{"missing", "y", append(one[:4:4], one...), []int{1, 2}, "c0.y is missing"},
		{"other shape", "x", append(one[:4:4], one...), []int{2, 1}, "want [2 1]"},
		{"fewer dimensions", "x", append(one[:4:4], one...), []int{2}, "want [2]"},
	} {
		m := methodCase{id: "c0", tensors: tensorsOf(t, header, c.data)}
		got, err := m.floats(c.tensor, c.dims...)
		if c.want == "" && (err != nil || len(got) != 2 || got[0] != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		if _, err := m.ints(c.tensor, c.dims...); err == nil {
			t.Errorf("%s: F32 read as I32", c.name)
		}
	}
	if _, err := (&methodCase{id: "c0"}).floats("x", 1); err == nil {
		t.Error("a tensor of no file")
	}
}

// TestCaseTensorTypes reads the number 1 in every type that can represent it.
func TestCaseTensorTypes(t *testing.T) {
	for _, c := range []struct {
		dtype string
		data  []byte
		want  string // substring of the error; empty for none
	}{
		{"F16", []byte{0, 0x3c}, ""},
		{"BF16", []byte{0x80, 0x3f}, ""},
		{"F64", []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, ""},
		{"F64", []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x7f}, "element 0"}, // infinity
		{"I32", []byte{1, 0, 0, 0}, "c0.x is I32, want a float type"},
	} {
		header := fmt.Sprintf(`{"c0.x":{"dtype":%q,"shape":[1],"data_offsets":[0,%d]}}`, c.dtype, len(c.data))
		m := methodCase{id: "c0", tensors: tensorsOf(t, header, c.data)}
		got, err := m.floats("x", 1)
		if c.want == "" && (err != nil || got[0] != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v", c.dtype, got, err)
		}
	}
}

// TestCasesBesideOthers: a case that cannot be compared does not prevent the comparison of the others in its
// file.
func TestCasesBesideOthers(t *testing.T) {
	const duo = `{"layers":1,"kv_heads":2,"sparsity":0.5,"scores":[[0.9,0.1]],"full":[[1,0]],"sparsity_reached":0.5}`
	results, err := methodCases(t.Context(), []byte(`{"method":"duo_attention","cases":[`+duo+`,{"id":"bad"},{},`+duo+`]}`), nil)
	if len(results) != 2 || !results[0].Agree || !results[1].Agree || results[1].Case != 3 {
		t.Errorf("%+v", results)
	}
	if err == nil || !strings.Contains(err.Error(), "case bad: ") || !strings.Contains(err.Error(), "1 more") {
		t.Errorf("error %v", err)
	}
	results, err = methodCases(t.Context(), []byte(`{"method":"kvpress","cases":[{"press":"AdaKV:RandomPress"}]}`), nil)
	if err != nil || len(results) != 1 || !strings.Contains(results[0].Skipped, "RandomPress") {
		t.Errorf("a press that is no method: %+v, %v", results, err)
	}
}

// FuzzMethodCases gives the reader of a method's cases any JSON and any tensors.
func FuzzMethodCases(f *testing.F) {
	f.Add([]byte(`{"method":"m","cases":[{"id":"c0"}],"table":[{}]}`), []byte(`{"c0.x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`), make([]byte, 8))
	for _, c := range []struct{ method, fields string }{
		{"snapkv", `"max_capacity":3,"kernel":3,"pooling":"avgpool","gqa_agg":null`},
		{"h2o_prefill", `"max_capacity":3,"gqa_agg":"max"`},
		{"pyramidkv", `"max_capacity":3,"kernel":3,"pooling":"maxpool","layers":2,"layer":1,"beta":20`},
		{"adakv", `"base_capacity":3,"kernel":3,"pooling":"avgpool","layers":1,"layer":0,"beta":20,"floor_alpha":0.2,"pyramid":false,"normalize":true`},
	} {
		f.Add([]byte(`{"method":"`+c.method+`","cases":[{"id":"c0","q_heads":1,"kv_heads":1,"tokens":4,"dim":8,"window":1,"margin":0,"kept":[[0,2,3]],`+c.fields+`}],`+
			`"table":[{"layers":2,"beta":20,"window":1,"max_capacity":3,"tokens":4,"past":[3,1]}]}`),
			[]byte(`{"c0.q":{"dtype":"F32","shape":[1,1,4,8],"data_offsets":[0,128]},"c0.k":{"dtype":"F32","shape":[1,1,4,8],"data_offsets":[128,256]}}`),
			make([]byte, 256))
	}
	f.Fuzz(func(t *testing.T, text, header, data []byte) {
		file := append([]byte{byte(len(header)), byte(len(header) >> 8), byte(len(header) >> 16), 0, 0, 0, 0, 0}, header...)
		file = append(file, data...)
		tensors, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "fuzz")
		if err != nil {
			tensors = nil
		}
		results, err := methodCases(t.Context(), text, tensors)
		if err == nil && len(results) == 0 {
			t.Error("no cases, and no error")
		}
		for _, r := range results {
			if r.Agree && (r.Mismatch != "" || r.Skipped != "") {
				t.Errorf("%+v", r)
			}
		}
	})
}

// TestDocumentedDecision checks that docs/decision.json is the case that the page about checking
// shows, and that it agrees.
func TestDocumentedDecision(t *testing.T) {
	const file = "../docs/decision.json"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/checking.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := strings.TrimSuffix(strings.TrimPrefix(string(text), "["), "]\n")
	if !strings.Contains(string(page), "```json\n"+shown+"\n```") {
		t.Errorf("docs/checking.md does not show the case of %s", file)
	}
	report, err := CasesAt(t.Context(), file)
	if err != nil || report.Agree != 1 || report.Cases != 1 {
		t.Errorf("%d of %d cases agree, %v", report.Agree, report.Cases, err)
	}
}
