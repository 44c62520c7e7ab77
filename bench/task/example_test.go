package task_test

import (
	"fmt"

	"kvcompress/bench/task"
)

func Example() {
	t, err := task.Generate(task.MultiDoc, 512, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(t.Context), "tokens, then:", task.Format(t.Question))
	fmt.Println("answer:", task.Format(t.Answer()))
	for _, e := range t.Evidence {
		fmt.Printf("at %d: %s\n", e.From, task.Format(t.Context[e.From:e.To]))
	}
	wrong := t.Answer()
	wrong[2]++
	fmt.Printf("score: %.2f, %.2f\n", t.Score(t.Answer()), t.Score(wrong))
	// Output:
	// 512 tokens, then: ASK k37
	// answer: k23 v9 v47
	// at 377: k37 k23 LINK
	// at 463: k23 v9 v47
	// score: 1.00, 0.67
}

func ExampleOptions() {
	depth := 0.5
	t, err := task.Options{Category: task.Needle, Length: 1024, Seed: 1, Digits: 7, Depth: &depth}.Generate()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(task.Format(t.Question), "->", task.Format(t.Answer()))
	fmt.Println("at", t.Evidence[0].From, "of", len(t.Context))
	// Output:
	// PASS -> v62 v35 v5 v40 v36 v17 v49
	// at 509 of 1024
}
