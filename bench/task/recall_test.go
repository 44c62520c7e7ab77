package task_test

import (
	"os"
	"path/filepath"
	"testing"

	"kvcompress/bench/task"
	"kvcompress/internal/testsize"
	"kvcompress/trace/llama"
)

// shared returns a path in ../shared/data, or skips the test if it does not exist.
func shared(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	return path
}

// decode runs a model over a task and returns what it decodes, greedily.
func decode(t *testing.T, model *llama.Model, task *task.Task) []int32 {
	t.Helper()
	session := model.NewSession()
	feed := func(tokens ...int32) int32 {
		ids := make([]int, len(tokens))
		for i, x := range tokens {
			ids[i] = int(x)
		}
		logits, err := session.Feed(ids, nil)
		if err != nil {
			t.Fatal(err)
		}
		return int32(llama.Likeliest(logits))
	}
	feed(task.Context...)
	next := feed(task.Question...)
	var answer []int32
	for _, s := range task.Steps {
		if !s.Given {
			answer = append(answer, next)
			next = feed(next)
		} else {
			next = feed(s.Token)
		}
	}
	return answer
}

// Both recall models answer every category with their full cache.
func TestRecallModelAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs models over some prompts")
	}
	for _, c := range []struct {
		folder  string
		filler  task.Filler
		prompts map[int]int // by length
	}{
		{"model/recall", task.Bigram, testsize.Of(nil, map[int]int{256: 1}, map[int]int{256: 3, 512: 2, 1024: 1})},
		{"model/recall", task.Uniform, testsize.Of(nil, nil, map[int]int{256: 2})},
		{"model/recall/seed0", task.Bigram, testsize.Of(nil, map[int]int{256: 1}, map[int]int{256: 2})},
	} {
		model, err := llama.Load(shared(t, c.folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, category := range task.Categories() {
			var score, n float64
			for length, prompts := range c.prompts {
				for seed := range prompts {
					task, err := task.Options{Category: category, Length: length, Seed: uint64(seed), Filler: c.filler}.Generate()
					if err != nil {
						t.Fatal(err)
					}
					score += task.Score(decode(t, model, task))
					n++
				}
			}
			t.Logf("%s, %s, %s: score %.3f of %v prompts", c.folder, c.filler, category, score/n, n)
			if score/n < 0.9 {
				t.Errorf("%s, %s, %s: score %.3f of %v prompts, want at least 0.9", c.folder, c.filler, category, score/n, n)
			}
		}
	}
}
