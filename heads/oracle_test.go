package heads

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/kv"
	"kvcompress/safetensors"
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

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	text, err := os.ReadFile(shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// byLayer is a list for each layer, as the recorded cases have it.
type byLayer[T any] map[string][]T

func (b byLayer[T]) list(layers int) [][]T {
	all := make([][]T, layers)
	for l := range all {
		all[l] = b[fmt.Sprint(l)]
	}
	return all
}

// The recorded results of the published search: Ascend/msmodelslim@3de0a3c,
// ra_rope_tools.py.
func TestOracleRazorHeadSearch(t *testing.T) {
	var file struct {
		Cases []struct {
			ID             string
			Layers         int
			KVHeads        int     `json:"kv_heads"`
			Period         int     `json:"period"`
			Repeats        int     `json:"repeats"`
			InductionRatio float64 `json:"induction_ratio"`
			EchoRatio      float64 `json:"echo_ratio"`

			InductionScore byLayer[float64] `json:"induction_score"`
			EchoScore      byLayer[float64] `json:"echo_score"`
			InductionGroup byLayer[float64] `json:"induction_group"`
			EchoGroup      byLayer[float64] `json:"echo_group"`
			InductionHeads byLayer[int]     `json:"induction_heads"`
			EchoHeads      byLayer[int]     `json:"echo_heads"`
			RetrievalHeads byLayer[int]     `json:"retrieval_heads"`
		}
	}
	readJSON(t, "oracle/methods/razor_head_search.json", &file)
	raw, err := os.Open(shared(t, "oracle/methods/razor_head_search.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	info, err := raw.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := safetensors.Open(raw, info.Size(), info.Name())
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			rep := Repetition{Period: c.Period, Repeats: c.Repeats}
			m := &memory{}
			for l := range c.Layers {
				q, dims := readTensor(t, tensors, fmt.Sprintf("%s.q%d", c.ID, l))
				k, kDims := readTensor(t, tensors, fmt.Sprintf("%s.k%d", c.ID, l))
				m.q, m.k = append(m.q, byToken(q, dims)), append(m.k, byToken(k, kDims))
				m.shape = kv.Shape{Layers: c.Layers, KVHeads: kDims[0], Group: dims[0] / kDims[0], HeadSize: dims[2]}
			}
			s, err := FromTensors(t.Context(), m, m.shape, rep, nil)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "induction", s.Induction, c.InductionScore.list(c.Layers))
			near(t, "echo", s.Echo, c.EchoScore.list(c.Layers))

			got, err := Razor(s, c.KVHeads, RazorOptions{c.InductionRatio, c.EchoRatio}, "")
			if err != nil {
				t.Fatal(err)
			}
			near(t, "induction of groups", got.Scores[0].KV, c.InductionGroup.list(c.Layers))
			near(t, "echo of groups", got.Scores[1].KV, c.EchoGroup.list(c.Layers))
			full := make([][]bool, c.Layers)
			for l := range full {
				for h := range c.KVHeads {
					full[l] = append(full[l], got.IsFull(l, h))
				}
			}
			for _, selected := range []struct {
				name      string
				got, want [][]bool
			}{
				{"induction", got.Scores[0].Selects(), selection(c.InductionHeads.list(c.Layers), c.KVHeads)},
				{"echo", got.Scores[1].Selects(), selection(c.EchoHeads.list(c.Layers), c.KVHeads)},
				{"retrieval", full, selection(c.RetrievalHeads.list(c.Layers), c.KVHeads)},
			} {
				if diff := cmp.Diff(selected.want, selected.got); diff != "" {
					t.Errorf("%s heads (-want +got):\n%s", selected.name, diff)
				}
			}
		})
	}
}

func readTensor(t *testing.T, file *safetensors.File, name string) (values []float32, dims []int) {
	t.Helper()
	info, ok := file.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	raw := make([]byte, info.End-info.Begin)
	if err := file.ReadBytes(raw, name, 0); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += 4 {
		values = append(values, math.Float32frombits(uint32(raw[i])|uint32(raw[i+1])<<8|uint32(raw[i+2])<<16|uint32(raw[i+3])<<24))
	}
	for _, n := range info.Shape {
		dims = append(dims, int(n))
	}
	return values, dims
}

// byToken turns [heads, tokens, D] into [tokens, heads, D].
func byToken(x []float32, dims []int) []float32 {
	heads, tokens, d := dims[0], dims[1], dims[2]
	y := make([]float32, 0, len(x))
	for t := range tokens {
		for h := range heads {
			y = append(y, x[(h*tokens+t)*d:][:d]...)
		}
	}
	return y
}

// near holds scores within 1e-5 of the largest, or of 1 if that is less.
func near(t *testing.T, name string, got, want [][]float64) {
	t.Helper()
	largest := 1.0
	for _, row := range want {
		for _, x := range row {
			largest = max(largest, math.Abs(x))
		}
	}
	worst := 0.0
	for l := range want {
		if len(got[l]) != len(want[l]) {
			t.Fatalf("%s: layer %d: %d scores, want %d", name, l, len(got[l]), len(want[l]))
		}
		for h := range want[l] {
			worst = max(worst, math.Abs(got[l][h]-want[l][h]))
		}
	}
	if t.Logf("%s: off by %.2g at most", name, worst); !(worst <= 1e-5*largest) {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// selection turns lists of heads into [L][H].
func selection(lists [][]int, kvHeads int) [][]bool {
	all := make([][]bool, len(lists))
	for l, list := range lists {
		for h := range kvHeads {
			all[l] = append(all[l], slices.Contains(list, h))
		}
	}
	return all
}

// The recorded results of mit-han-lab/duo-attention@fe93c31, sparsify_attention_heads.
func TestOracleDuoAttention(t *testing.T) {
	var file struct {
		Cases []struct {
			ID       string
			KVHeads  int `json:"kv_heads"`
			Sparsity float64
			Scores   [][]float64
			Full     [][]int
			Reached  float64 `json:"sparsity_reached"`
		}
	}
	readJSON(t, "oracle/methods/duo_attention.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			m, err := Gates(c.Scores, c.KVHeads, c.Sparsity, "")
			if err != nil {
				t.Fatal(err)
			}
			got := make([][]int, len(m.Classes))
			for l, row := range m.Classes {
				for h := range row {
					got[l] = append(got[l], 0)
					if m.IsFull(l, h) {
						got[l][h] = 1
					}
				}
			}
			if diff := cmp.Diff(c.Full, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if reached := 1 - float64(m.CountFull())/float64(m.Layers*m.KVHeads); math.Abs(reached-c.Reached) > 1e-12 {
				t.Errorf("sparsity %v, want %v", reached, c.Reached)
			}
		})
	}
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
