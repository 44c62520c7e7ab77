package heads

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRules(t *testing.T) {
	scores := [][]float64{{0.5, 0.1}, {0.9, 0.5}, {0.3, 0.5}}
	for _, c := range []struct {
		rule Rule
		x    float64
		want string // of the heads, in order
	}{
		{TopRatio, 0, "000000"},
		{TopRatio, 0.08, "000000"}, // 0.48
		{TopRatio, 0.1, "001000"},  // 0.6
		{TopRatio, 0.25, "101101"}, // 1.5 is 2, and three are second
		{TopRatio, 0.5, "101101"},
		{TopRatio, 0.75, "101101"}, // 4.5 is 4
		{TopRatio, 0.8, "101111"},
		{TopRatio, 1, "111111"},
		{Quantile, 0, "111111"},
		{Quantile, 0.2, "101111"}, // the second smallest
		{Quantile, 0.3, "101101"}, // between the second and the third
		{Quantile, 0.5, "101101"},
		{Quantile, 0.9, "001000"}, // between the two largest
		{Quantile, 0.999, "001000"},
		{Quantile, 1, "000000"},
		{Above, 0.5, "001000"},
		{Above, 0.49, "101101"},
		{Above, -1, "111111"},
	} {
		got := ""
		for _, row := range c.rule.selects(scores, c.x) {
			for _, full := range row {
				got += map[bool]string{true: "1", false: "0"}[full]
			}
		}
		if got != c.want {
			t.Errorf("%s %v selects %s, want %s", c.rule, c.x, got, c.want)
		}
	}
}

// The top r of distinct scores: their number is Python's round of the fraction, and no other
// score is larger.
func TestTopRatioSelectsTheLargest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		scores := make([][]float64, 1+random.IntN(5))
		heads := 1 + random.IntN(9)
		for l := range scores {
			for range heads {
				scores[l] = append(scores[l], random.Float64())
			}
		}
		ratio := float64(random.IntN(9)) / 8
		var in, out []float64
		for l, row := range TopRatio.selects(scores, ratio) {
			for h, full := range row {
				if full {
					in = append(in, scores[l][h])
				} else {
					out = append(out, scores[l][h])
				}
			}
		}
		if want := int(math.RoundToEven(float64(len(scores)*heads) * ratio)); len(in) != want {
			t.Fatalf("%d of %d × %d selected by %v, want %d", len(in), len(scores), heads, ratio, want)
		}
		if len(in) > 0 && len(out) > 0 && slices.Min(in) <= slices.Max(out) {
			t.Fatalf("%v is selected, and %v is not", in, out)
		}
	}
}

func TestPrompt(t *testing.T) {
	for _, c := range []struct {
		rep  Repetition
		draw Draw
	}{
		{Repetition{50, 4}, Draw{BOS: 0, First: 0, Last: 255}},
		{Repetition{50, 2}, Draw{BOS: 7, First: 7, Last: 8, Seed: 1}},
		{Repetition{50, 3}, Draw{BOS: 57, First: 7, Last: 57, Distinct: true, Seed: 2}},
		{Repetition{50, 3}, Draw{BOS: 30, First: 7, Last: 57, Distinct: true}},
		{Published(), Draw{BOS: 1, First: 10_000, Last: 12_500}},
	} {
		prompt, err := c.rep.Prompt(c.draw)
		if err != nil {
			t.Fatal(err)
		}
		if len(prompt) != c.rep.Tokens() || prompt[0] != c.draw.BOS {
			t.Errorf("%+v: %d tokens, the first is %d", c, len(prompt), prompt[0])
		}
		seen := map[int]bool{}
		for i, id := range prompt[1:] {
			if id < c.draw.First || id > c.draw.Last || id == c.draw.BOS {
				t.Errorf("%+v: id %d", c, id)
			}
			if i >= c.rep.Period && id != prompt[1+i-c.rep.Period] {
				t.Errorf("%+v: token %d does not repeat", c, i)
			}
			seen[id] = true
		}
		if c.draw.Distinct && len(seen) != c.rep.Period {
			t.Errorf("%+v: %d distinct ids", c, len(seen))
		}
		again, err := c.rep.Prompt(c.draw)
		if err != nil || !slices.Equal(prompt, again) {
			t.Errorf("%+v: not the same again, %v", c, err)
		}
		c.draw.Seed += 10
		if other, err := c.rep.Prompt(c.draw); err != nil || c.draw.Last-c.draw.First > 1 && slices.Equal(prompt, other) {
			t.Errorf("%+v: the seed makes no difference, %v", c, err)
		}
	}
	for _, c := range []struct {
		draw Draw
		want string
	}{
		{Draw{First: -1, Last: 5}, "ids -1 to 5"},
		{Draw{First: 5, Last: 4}, "ids 5 to 4"},
		{Draw{BOS: 5, First: 5, Last: 5}, "no token other than BOS"},
		{Draw{BOS: 5, First: 0, Last: 10, Distinct: true}, "10 ids are too few for 11 distinct"},
	} {
		if _, err := (Repetition{11, 2}).Prompt(c.draw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want something with %q", c.draw, err, c.want)
		}
	}
}

// small is a valid map.
func small(t testing.TB) *Map {
	t.Helper()
	m, err := Razor(&Scores{
		Induction: [][]float64{{0.1, 0.7, 0, 0.25}, {0.3, 0.1, 0.2, 0.1}},
		Echo:      [][]float64{{0, 0, 0, 0}, {0, 0, 0.5, 0}},
	}, 2, RazorOptions{0.25, 0.25}, "a test")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMapRoundTrip(t *testing.T) {
	m := small(t)
	if want := [][]Class{{Full, Streaming}, {Streaming, Full}}; !cmp.Equal(want, m.Classes) || m.CountFull() != 2 || !cmp.Equal([][]int{{1, 0}, {0, 1}}, m.FullHeads()) {
		t.Errorf("%v", m.Classes)
	}
	if want := [][]float64{{0.7, 0.25}, {0.3, 0.2}}; !cmp.Equal(want, m.Scores[0].KV) {
		t.Errorf("%v", m.Scores[0].KV)
	}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		t.Fatal(err)
	}
	got, err := ReadMap(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

func TestMapRefused(t *testing.T) {
	var text bytes.Buffer
	if err := small(t).Write(&text); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text.Bytes()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"format_version":1`, `"format_version":2`, "format_version 2, want 1"},
		{`"layers":2`, `"layers":0`, "layers: 0"},
		{`"layers":2`, `"layers":3`, "classes: 2 layers, want 3"},
		{`"kv_heads":2,`, `"kv_heads":1000000000000,`, "kv_heads: 1000000000000"},
		{`"query_heads":4`, `"query_heads":3`, "query_heads: 3"},
		{`"query_heads":4`, `"query_heads":0`, "query_heads[0]: 4 heads, want 0"},
		{`["full","streaming"]`, `["full"]`, "classes[0]: 1 heads, want 2"},
		{`["full","streaming"]`, `["full","Streaming"]`, `classes[0][1]: "Streaming"`},
		{`"name":"echo"`, `"name":"induction"`, `another score has the name "induction"`},
		{`"name":"echo"`, `"name":""`, "scores[1]: it has no name"},
		{`"rule":"top-ratio"`, `"rule":"best"`, `scores[0]: rule "best"`},
		{`"value":0.25`, `"value":1.5`, "top-ratio 1.5: want 0 to 1"},
		{`[0.7,0.25]`, `[0.7]`, "scores[0]: kv_heads[0]: 1 heads, want 2"},
		{`[0.7,0.25]`, `[0.7,1e999]`, "scores[0].kv_heads[0][1]"},
		{`"source"`, `"sauce"`, `unknown field "sauce"`},
		{`"method":"razorattention"`, `"method":null`, "method"},
	} {
		changed := strings.Replace(compact.String(), c.old, c.new, 1)
		if changed == compact.String() {
			t.Fatalf("there is no %s in %s", c.old, changed)
		}
		if _, err := ReadMap(strings.NewReader(changed)); err == nil || !strings.HasPrefix(err.Error(), "head map: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.new, err, c.want)
		}
	}
	if _, err := Gates([][]float64{{1, 2, 3}}, 2, 0.5, ""); err == nil {
		t.Error("3 heads divide by 2")
	}
	if _, err := Gates([][]float64{{1, 2}, {1}}, 2, 0.5, ""); err == nil {
		t.Error("ragged layers")
	}
	if _, err := Gates([][]float64{{1, math.NaN()}}, 2, 0.5, ""); err == nil {
		t.Error("NaN is a score")
	}
	if _, err := Retrieval([][]float64{{1, 2}}, 2, TopRatio, 2, ""); err == nil {
		t.Error("twice as many heads as there are")
	}
}

func TestReadTSV(t *testing.T) {
	for _, c := range []struct {
		in   string
		want [][]float64
		err  string
	}{
		{"1\t2\n3\t-4e-1\n", [][]float64{{1, 2}, {3, -0.4}}, ""},
		{"1 2\r\n3  4\r\n\r\n\n", [][]float64{{1, 2}, {3, 4}}, ""},
		{"0.5", [][]float64{{0.5}}, ""},
		{"", nil, "there are no scores"},
		{"\n\n", nil, "there are no scores"},
		{"1\t2\n3\n", nil, "line 2: 1 heads, want 2 as in the lines before"},
		{"1\n\n2\n", nil, "line 2 is empty, but more lines follow"},
		{"\n1\n", nil, "line 1 is empty, but more lines follow"},
		{"1\tx\n", nil, `line 1, head 1: "x" is not a finite number`},
		{"1\nNaN\n", nil, `line 2, head 0: "NaN" is not a finite number`},
		{"1e999", nil, `"1e999" is not a finite number`},
		{strings.Repeat("1 ", maxHeads+1), nil, "more than 65536 heads"},
		{strings.Repeat("1\n", 1025), nil, "line 1025: more than 1024 layers"},
		{strings.Repeat("1", maxTSVLine+1), nil, "line 1 is longer than 4 MiB"},
	} {
		got, err := ReadTSV(strings.NewReader(c.in))
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.40q: %v, want %q", c.in, err, c.err)
		}
		if err == nil && !cmp.Equal(c.want, got) {
			t.Errorf("%.40q: %v, want %v", c.in, got, c.want)
		}
	}
}

// All published tables can be read, and have the heads that their models have.
func TestPublishedTables(t *testing.T) {
	folder := shared(t, "heads")
	for name, shape := range map[string][2]int{
		"duo-Llama-2-7B-32K-Instruct":            {32, 32},
		"duo-Llama-3-8B-Instruct-Gradient-1048k": {32, 8},
		"duo-Llama-3-8B-Instruct-Gradient-4194k": {32, 8},
		"duo-Meta-Llama-3.1-8B-Instruct":         {32, 8},
		"duo-Mistral-7B-Instruct-v0.2":           {32, 8},
		"duo-Mistral-7B-Instruct-v0.3":           {32, 8},
		"retrieval-Mistral-7B-v0.2-hf":           {32, 32},
		"retrieval-Mixtral-8x7B-v0.1":            {32, 32},
		"retrieval-Qwen1.5-14B-Chat":             {40, 40},
		"retrieval-Qwen1.5-14B":                  {40, 40},
		"retrieval-Yi-6B-200K":                   {32, 32},
		"retrieval-llama-2-13b-64k":              {40, 40},
		"retrieval-llama-2-7b-80k":               {32, 32},
	} {
		text, err := os.ReadFile(filepath.Join(folder, name+".tsv"))
		if err != nil {
			t.Fatal(err)
		}
		scores, err := ReadTSV(bytes.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(scores) != shape[0] || len(scores[0]) != shape[1] {
			t.Errorf("%s: %d × %d, want %v", name, len(scores), len(scores[0]), shape)
		}
	}
}

// Of the query heads of Llama-2-13B-64K 2.1 % have a score above 0.1, and 6.2 % of
// Mixtral's: the least and the most of the seven models.
func TestRetrievalShares(t *testing.T) {
	for name, want := range map[string]string{"llama-2-13b-64k": "2.1", "Mixtral-8x7B-v0.1": "6.2"} {
		text, err := os.ReadFile(shared(t, "heads/retrieval-"+name+".tsv"))
		if err != nil {
			t.Fatal(err)
		}
		scores, err := ReadTSV(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Retrieval(scores, len(scores[0]), Above, 0.1, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%.1f", 100*float64(m.CountFull())/float64(m.Layers*m.KVHeads)); got != want {
			t.Errorf("%s: %s %%, want %s %%", name, got, want)
		}
	}
}

func FuzzReadMap(f *testing.F) {
	var text bytes.Buffer
	if err := small(f).Write(&text); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Add([]byte(`{"format_version":1,"layers":1,"kv_heads":1,"classes":[["full"]]}`))
	f.Add([]byte(`{"format_version":1,"layers":1,"kv_heads":1,"classes":[["full"]],"scores":[]}`))
	f.Add([]byte(`{"format_version":1,"layers":1024,"kv_heads":64,"classes":[]}`))
	f.Add([]byte(`{"format_version":1,"layers":1,"kv_heads":1,"query_heads":2,"classes":[["streaming"]],"scores":[{"name":"x","rule":"above","value":-1,"kv_heads":[[0]],"query_heads":[[0,-0]]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMap(bytes.NewReader(data))
		if err != nil {
			return
		}
		for l := range m.Layers {
			for h := range m.KVHeads {
				m.IsFull(l, h)
			}
		}
		for i := range m.Scores {
			m.Scores[i].Selects()
		}
		var text bytes.Buffer
		if err := m.Write(&text); err != nil {
			t.Fatalf("it was read and cannot be written: %v", err)
		}
		again, err := ReadMap(&text)
		if err != nil {
			t.Fatalf("it was written and cannot be read: %v", err)
		}
		if diff := cmp.Diff(m, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzReadTSV(f *testing.F) {
	f.Add([]byte("1\t2\n3\t-4e-1\n"))
	f.Add([]byte("9.9e-01 0x1p-2\r\n1_0 +.5\r\n\r\n"))
	f.Add([]byte("\n"))
	f.Add([]byte("1\n\x00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		scores, err := ReadTSV(bytes.NewReader(data))
		if err != nil {
			return
		}
		if m, err := Gates(scores, 1, 0.5, ""); err != nil {
			t.Fatalf("%v make no map: %v", scores, err)
		} else if m.Layers != len(scores) || m.QueryHeads != len(scores[0]) {
			t.Fatalf("%d × %d became %d × %d", len(scores), len(scores[0]), m.Layers, m.QueryHeads)
		}
	})
}
