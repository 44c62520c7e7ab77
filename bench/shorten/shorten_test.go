package shorten_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/bench/built"
	"kvcompress/bench/shorten"
	"kvcompress/bench/task"
	"kvcompress/trace/llama"
)

// table is a model whose logits follow from the last token alone.
type table [][]float32

func (m table) Feed(tokens []int, _ func(q, k, v []float32) error) ([]float32, error) {
	if len(tokens) != 1 || tokens[0] >= len(m) {
		return nil, errors.New("no such token")
	}
	return slices.Clone(m[tokens[0]]), nil
}

func TestSurprise(t *testing.T) {
	m := table{{0, 0, 0, 0}, {float32(math.Log(6)), 0, 0, float32(math.Log(2))}, {100, 0, 0, 0}}
	got, err := shorten.Surprise(t.Context(), m, []int32{0, 1, 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{0, math.Log(4), math.Log(5)} { // 1 of 4, and 2 of 6+1+1+2
		if math.Abs(got[i]-want) > 1e-6 {
			t.Errorf("token %d has a surprise of %v, want %v", i, got[i], want)
		}
	}
	if got, err := shorten.Surprise(t.Context(), m, []int32{2, 1}); err != nil || math.Abs(got[1]-100) > 1e-5 {
		t.Errorf("a token that is 100 nats below another has a surprise of %v (%v)", got, err)
	}
	if _, err := shorten.Surprise(t.Context(), m, []int32{0, 4}); err == nil || !strings.Contains(err.Error(), "token 1 of the context is 4, outside the vocabulary of 4") {
		t.Errorf("got error %v", err)
	}
	if _, err := shorten.Surprise(t.Context(), m, []int32{3, 0}); err == nil || !strings.Contains(err.Error(), "token 0 of the context: no such token") {
		t.Errorf("got error %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := shorten.Surprise(done, m, []int32{0, 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}

func TestKeep(t *testing.T) {
	made := &task.Task{Category: task.Needle, Context: []int32{0, 10, 11, 12, 13, 14}, Question: []int32{1}, Steps: []task.Step{{Token: 2}},
		Evidence: []task.Span{{From: 1, To: 3}, {From: 3, To: 5}}, Chance: 0.5}
	short, err := shorten.Keep(made, []float64{-1, 0, 5, 5, 5, 9}, 4)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{0, 11, 12, 14}; !slices.Equal(short.Context, want) {
		t.Errorf("the context is %v, want %v", short.Context, want)
	}
	if len(short.Evidence) != 0 {
		t.Errorf("the evidence is %v, of which nothing is whole", short.Evidence)
	}
	if short, _ = shorten.Keep(made, []float64{0, 0, 0, 9, 9, 0}, 3); fmt.Sprint(short.Evidence, short.Context) != "[{1 3}] [0 12 13]" {
		t.Errorf("evidence and context are %v %v", short.Evidence, short.Context)
	}
	if short, _ = shorten.Keep(made, make([]float64, 6), 6); !slices.Equal(short.Context, made.Context) || len(short.Evidence) != 2 {
		t.Errorf("all tokens are %v, evidence %v", short.Context, short.Evidence)
	}
	if !slices.Equal(made.Context, []int32{0, 10, 11, 12, 13, 14}) || len(made.Evidence) != 2 {
		t.Error("the task itself is changed")
	}
	for want, scores := range map[string][]float64{
		"shorten: 2 scores for a context of 6 tokens":      {0, 1},
		"shorten: the score of token 1 is not a number":    {0, math.NaN(), 0, 0, 0, 0},
		"shorten: 7 tokens of a context of 6: want 1 to 6": {0, 0, 0, 0, 0, 0},
	} {
		tokens := 3
		if strings.Contains(want, "7 tokens") {
			tokens = 7
		}
		if _, err := shorten.Keep(made, scores, tokens); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}

// A model that predicts repetitions gives them a low surprisal, and they are dropped first.
func TestRepetitionsGo(t *testing.T) {
	m, err := built.Default().Build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() + "/model"
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	model, err := llama.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	made := &task.Task{Context: []int32{0}}
	for range 2 {
		for i := range int32(30) {
			made.Context = append(made.Context, 40+3*i)
		}
	}
	scores, err := shorten.Surprise(t.Context(), model.NewSession(), made.Context)
	if err != nil {
		t.Fatal(err)
	}
	short, err := shorten.Keep(made, scores, 32)
	if err != nil {
		t.Fatal(err)
	}
	// BOS, the first copy of the thirty tokens, and the first token of the second copy.
	if !slices.Equal(short.Context, made.Context[:32]) {
		t.Errorf("kept %v of %v", short.Context, made.Context)
	}
}

func TestRandom(t *testing.T) {
	if a, b := shorten.Random(100, 1), shorten.Random(100, 1); !slices.Equal(a, b) || slices.Equal(a, shorten.Random(100, 2)) {
		t.Error("a seed does not decide the numbers")
	}
}

func ExampleKeep() {
	t, err := task.Generate(task.Needle, 256, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	short, err := shorten.Keep(t, shorten.Random(len(t.Context), 1), 64)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(t.Context), "tokens become", len(short.Context))
	fmt.Println(task.Format(short.Question), "->", task.Format(short.Answer()))
	// Output:
	// 256 tokens become 64
	// PASS -> v38 v23 v21 v52 v9
}
