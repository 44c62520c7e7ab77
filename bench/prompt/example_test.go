package prompt_test

import (
	"fmt"
	"strings"

	"kvcompress/bench/prompt"
	"kvcompress/bench/task"
	"kvcompress/trace/tokenizer"
)

func ExampleVocabulary_Generate() {
	tok, err := tokenizer.Load("../../trace/tokenizer/testdata/llama3")
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := prompt.New(tok)
	if err != nil {
		fmt.Println(err)
		return
	}
	depth := 0.5
	t, err := v.Generate(prompt.Options{Category: task.Needle, Length: 400, Digits: 7, Depth: &depth})
	if err != nil {
		fmt.Println(err)
		return
	}
	text := func(tokens []int32) string {
		ids := make([]int, len(tokens))
		for i, x := range tokens {
			ids[i] = int(x)
		}
		s, err := tok.Decode(ids)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(s)
	}
	e := t.Evidence[0]
	fmt.Println(text(t.Context[e.From:e.To]))
	fmt.Println(text(t.Question))
	fmt.Println(text(t.Answer()))
	// Output:
	// The code of laztoke is 1684253.
	// What is the code of laztoke? The code of laztoke is
	// 1684253
}
