package llama_test

import (
	"fmt"

	"kvcompress/bench/models"
	"kvcompress/trace/llama"
)

// A model continues a text greedily: each new token is the likeliest one.
func ExampleSession() {
	m, err := models.Load("recall-0") // llama.Load reads a folder or a checkpoint
	if err != nil {
		fmt.Println(err)
		return
	}
	s := m.NewSession()
	logits, err := s.Feed([]int{0, 31, 101, 79, 1, 31}, nil) // BOS, k23 v37 v15, ASK k23
	for range 2 {
		if err != nil {
			fmt.Println(err)
			return
		}
		next := llama.Likeliest(logits)
		fmt.Println(next)
		logits, err = s.Feed([]int{next}, nil)
	}
	// Output:
	// 101
	// 79
}
