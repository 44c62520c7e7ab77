package heads

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kvcompress/trace/llama"
)

// shared returns the path of something in ../shared/data, or skips the test where that
// is not.
func shared(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "data", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	return path
}

// The recall models were made to have induction heads and an echo head. The second has
// one more induction head.
func TestRecallModel(t *testing.T) {
	for folder, induction := range map[string][][2]int{
		"model/recall":       {{1, 0}, {2, 0}},
		"model/recall/seed0": {{1, 0}, {2, 0}, {3, 0}},
	} {
		model, err := llama.Load(shared(t, folder))
		if err != nil {
			t.Fatal(err)
		}
		rep := Repetition{Period: 100, Repeats: 4}
		cfg := model.Config()
		for _, distinct := range []bool{false, true} {
			prompt, err := rep.Prompt(Draw{BOS: cfg.BOS, First: 8, Last: cfg.Vocab - 1, Distinct: distinct})
			if err != nil {
				t.Fatal(err)
			}
			s, err := FromModel(t.Context(), model.NewSession(), cfg.Shape(), rep, prompt, nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Razor(s, cfg.KVHeads, PublishedRatios(), "")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, distinct %v: induction %.3f, echo %.3f", folder, distinct, m.Scores[0].KV, m.Scores[1].KV)
			standOut(t, "induction", m.Scores[0].KV, induction)
			standOut(t, "echo", m.Scores[1].KV, [][2]int{{2, 1}})
		}
	}
}

// standOut holds that the given heads have at least twice the score of all others.
func standOut(t *testing.T, name string, scores [][]float64, heads [][2]int) {
	t.Helper()
	lowest, highest := math.Inf(1), 0.0
	for l, row := range scores {
		for h, v := range row {
			if slices.Contains(heads, [2]int{l, h}) {
				lowest = min(lowest, v)
			} else {
				highest = max(highest, v)
			}
		}
	}
	if !(lowest >= 2*highest) {
		t.Errorf("%s: heads %v have at least %.3f, others up to %.3f: %.3f", name, heads, lowest, highest, scores)
	}
}
