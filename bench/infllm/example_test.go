package infllm_test

import (
	"context"
	"fmt"

	"kvcompress/bench/infllm"
	"kvcompress/bench/models"
	"kvcompress/dtype"
	"kvcompress/ref"
)

// A sequence reads a prompt of 100 tokens in chunks of 8, and generates one token. Of 48 tokens on the card 1 is the
// first, 8 are in a block that was looked up, and 39 are the newest; 5 more do not fill a block yet.
func ExampleSequence() {
	m, err := models.Load("recall-0")
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := ref.Config{Method: "infllm", Set: ref.Settings{"block": []byte("8"), "local": []byte("8")}}
	cfg.Compression.MaxCacheTokens, cfg.DType = 48, dtype.F16
	s, err := infllm.New(cfg, m, m.NewStepper())
	if err != nil {
		fmt.Println(err)
		return
	}
	prompt := make([]int, 100)
	for i := range prompt {
		prompt[i] = i % 7
	}
	if err := s.Read(context.Background(), prompt); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := s.Feed(7); err != nil {
		fmt.Println(err)
		return
	}
	plan, err := cfg.InfLLMReads()
	if err != nil {
		fmt.Println(err)
		return
	}
	card, host := plan.Held(s.Len())
	fmt.Printf("%d first, %d looked up, %d local\n%d tokens: %d on the card, %d in the host's memory\n", plan.First, plan.LookedUp, plan.Local, s.Len(), card, host)
	// Output:
	// 1 first, 8 looked up, 39 local
	// 101 tokens: 53 on the card, 56 in the host's memory
}
