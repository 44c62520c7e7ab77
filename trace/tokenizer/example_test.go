package tokenizer_test

import (
	"fmt"
	"log"

	"kvcompress/trace/tokenizer"
)

func ExampleLoad() {
	t, err := tokenizer.Load("testdata/smollm/tokenizer.json")
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := t.Encode("The quick brown fox")
	if err != nil {
		log.Fatal(err)
	}
	text, err := t.Decode(tokens)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tokens)
	fmt.Println(text)
	// Output:
	// [277 220 80 84 72 66 74 297 81 78 86 77 220 69 78 87]
	// The quick brown fox
}
