package record_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kvcompress/bench/models"
	"kvcompress/dtype"
	"kvcompress/trace"
	"kvcompress/trace/record"
)

// A prompt is generated from, and its queries, keys and values are recorded as a trace.
func ExampleRecord() {
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	m, err := models.Load("recall-0")
	if err != nil {
		fmt.Println(err)
		return
	}
	prompts := []record.Prompt{{ID: "one", Tokens: []int{0, 31, 101, 79, 1, 31}, MaxOutput: 2}}
	err = record.Record(context.Background(), filepath.Join(dir, "trace"), m, prompts, record.Options{
		Name: "one-fact", Model: "recall-0", DType: dtype.F16, Description: "one fact and its question", Licence: "none",
		OnRequest: func(r record.Result) error {
			fmt.Println("output:", r.Output, r.End)
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := trace.Open(filepath.Join(dir, "trace"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range t.Requests() {
		fmt.Println(r.ID, r.PromptTokens, "prompt tokens,", r.CachedTokens(), "rows")
	}
	// Output:
	// output: [101 79] the limit of output tokens was reached
	// one 6 prompt tokens, 7 rows
}
