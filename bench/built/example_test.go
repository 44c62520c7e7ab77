package built_test

import (
	"fmt"
	"os"
	"path/filepath"

	"kvcompress/bench/built"
	"kvcompress/trace/llama"
)

func Example() {
	heads, err := built.ParseHeads("previous,local;induction,sink")
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := built.Options{Heads: heads, Seed: 1}.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "built")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "model")
	if err := m.Write(folder); err != nil {
		fmt.Println(err)
		return
	}
	model, err := llama.Load(folder)
	if err != nil {
		fmt.Println(err)
		return
	}
	logits, err := model.NewSession().Feed([]int{0, 17, 99, 42, 5, 17, 99}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	best := 0
	for token, x := range logits {
		if x > logits[best] {
			best = token
		}
	}
	fmt.Println("after 17 99 42 5 17 99 comes", best)
	fmt.Println(m.Truth.Classes)
	// Output:
	// after 17 99 42 5 17 99 comes 42
	// [[streaming streaming] [full streaming]]
}
