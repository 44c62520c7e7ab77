package task_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"kvcompress/bench/task"
)

// The tables of docs/tasks.md have the tasks that Generate makes.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, category := range task.Categories() {
		made := generate(t, task.Options{Category: category, Length: 256, Seed: 1})
		line := task.Format(made.Question) + " ->"
		for _, s := range made.Steps {
			token := task.Format([]int32{s.Token})
			if s.Given {
				token = "(" + token + ")"
			}
			line += " " + token
		}
		for _, want := range []string{
			fmt.Sprintf("| `%s` | `%s` |", category, line),
			fmt.Sprintf("| `%s` | %d | %.3f | %.2g |", category, len(made.Answer()), made.Chance, made.ChanceExact),
		} {
			if !strings.Contains(string(page), want) {
				t.Errorf("docs/tasks.md has no %s", want)
			}
		}
	}
}
