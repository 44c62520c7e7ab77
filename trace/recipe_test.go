package trace

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHead(t *testing.T) {
	for _, tc := range []struct {
		in, text string
		want     Head
	}{
		{"sink", "sink", Head{Sink: true}},
		{"local", "local:128", Head{Local: 128}},
		{"local:1", "local:1", Head{Local: 1}},
		{"retrieval+local:16384+sink", "sink+local:16384+retrieval", Head{Sink: true, Local: 16384, Retrieval: true}},
		{"uniform", "uniform", Head{Uniform: true}},
	} {
		got, err := ParseHead(tc.in)
		if err != nil || got != tc.want || got.String() != tc.text {
			t.Errorf("%s: %v, %v", tc.in, got, err)
		}
	}
	for in, want := range map[string]string{
		"":                           "want sink",
		"Sink":                       "want sink",
		"sink+":                      "want sink",
		"sink:3":                     "want local:WINDOW",
		"local:":                     "want local:WINDOW",
		"local:x":                    "want local:WINDOW",
		"local:0":                    "the window is 0",
		"local:-1":                   "the window is -1",
		"local:16385":                "the window is 16385",
		"local:99999999999999999999": "want local:WINDOW",
		"sink+sink":                  "sink occurs twice",
		"local:1+local:2":            "local occurs twice",
		"uniform+sink":               "uniform cannot be combined",
	} {
		if h, err := ParseHead(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, error %v, want %q", in, h, err, want)
		}
	}
}

func TestRecipeJSON(t *testing.T) {
	const text = `{"seed":18446744073709551615,"layers":[["sink","local:256"],["sink+retrieval","uniform"]]}`
	var r Recipe
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if errs := r.problems(); errs != nil {
		t.Error(errs)
	}
	parsed, err := ParseLayers("sink,local:256/sink+retrieval,uniform")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parsed, r.Layers); diff != "" {
		t.Error(diff)
	}
	out, err := json.Marshal(r)
	if err != nil || string(out) != text {
		t.Errorf("%s, %v", out, err)
	}
	if got := r.Head(3, 4); got != (Head{Sink: true, Retrieval: true}) {
		t.Errorf("layer 3, head 4: %v", got)
	}
}

func TestRecipeProblems(t *testing.T) {
	for _, tc := range []struct {
		r    Recipe
		want string
	}{
		{Recipe{}, "synth: layers is empty"},
		{Recipe{Layers: [][]Head{{{Sink: true}}, {}}}, "synth: layers[1] is empty"},
		{Recipe{Layers: [][]Head{{{Sink: true}, {}}}}, "synth: layers[0][1]: a head of no kind"},
		{Recipe{Layers: [][]Head{{{Local: MaxWindow + 1}}}}, "the window is 16385"},
		{Recipe{Layers: [][]Head{make([]Head, maxHeads+1)}}, "lists 65537 heads"},
	} {
		errs := tc.r.problems()
		if len(errs) == 0 || !strings.Contains(errs[len(errs)-1].Error(), tc.want) {
			t.Errorf("%d errors, want %q", len(errs), tc.want)
		}
	}
}
