package bench_test

import (
	"context"
	"fmt"

	"kvcompress/bench"
)

// SnapKV with the question in the prompt, at a quarter of the full cache's bytes.
func Example() {
	plan := bench.DefaultPlan()
	plan.Models, plan.Prompts, plan.Length = plan.Models[:1], 1, 256
	plan.Methods, plan.Budgets = []string{bench.Full, "snapkv"}, []bench.Budget{4}
	plan.Categories, plan.Modes = []string{"single-doc"}, []bench.Mode{bench.Aware}
	b, err := bench.New(context.Background(), plan)
	if err != nil {
		fmt.Println(err)
		return
	}
	var results []bench.Result
	err = b.Run(context.Background(), []int{0}, func(r *bench.Result) error {
		results = append(results, *r)
		return nil
	}, func(int) {})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := b.NewTable(results).Cell(bench.Aware, 4, "snapkv", "single-doc")
	fmt.Printf("%d prompt, score %.2f, at most a quarter of the bytes: %v\n", c.N, c.Score, c.Bytes <= 0.25)
	// Output:
	// 1 prompt, score 1.00, at most a quarter of the bytes: true
}
