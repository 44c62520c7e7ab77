package requestlog_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"kvcompress/trace/requestlog"
)

// A log in the format of Azure's LLM inference traces is detected by its columns, and read as
// a stream.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "requestlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "azure.csv")
	err = os.WriteFile(path, []byte(`TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
`), 0o600)
	if err != nil {
		log.Fatal(err)
	}

	l, err := requestlog.Open(context.Background(), path, requestlog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	fmt.Println("form:", l.Format.Name)
	first := int64(-1)
	for r, err := range l.Requests() {
		if err != nil {
			log.Fatal(err) // the error names the file, the line and the column
		}
		if first < 0 {
			first = r.ArrivalNS
		}
		fmt.Printf("after %d ms: %d prompt and %d output tokens\n", (r.ArrivalNS-first)/1e6, r.PromptTokens, r.OutputTokens)
	}
	// Output:
	// form: azure
	// after 0 ms: 4808 prompt and 10 output tokens
	// after 52 ms: 3180 prompt and 8 output tokens
}
