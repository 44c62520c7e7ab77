package live_test

import (
	"context"
	"fmt"

	"kvcompress/bench/live"
	"kvcompress/bench/models"
	"kvcompress/ref"
)

// A small model finds a record in its context, and no longer finds it after StreamingLLM has
// evicted it.
func Example() {
	model, err := models.Load("recall-0")
	if err != nil {
		fmt.Println(err)
		return
	}
	prompt := []int{0, 160, 20, 70, 71} // BOS, filler, and the record 20: 70 71
	for i := range 60 {
		prompt = append(prompt, 152+i*i*7%104)
	}
	p, err := live.Read(context.Background(), model, prompt)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, tokens := range []int{0, 16} {
		cfg := ref.Default()
		cfg.BlockSize, cfg.Shape = 8, model.Config().Shape()
		cfg.UseMethod("streaming-llm")
		cfg.Compression.MaxCacheTokens = tokens
		cfg.Blocks = live.Room(&cfg, len(prompt)+10)
		engine, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		s, err := live.Begin(live.Reference(engine), 0, p, model.NewStepper())
		if err != nil {
			fmt.Println(err)
			return
		}
		question := []int{1, 20} // which values has 20?
		g, err := s.Generate(context.Background(), question, 2, nil, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		found := g.Output[0] == 70 && g.Output[1] == 71
		fmt.Printf("%d blocks: found %v\n", s.Blocks(), found)
	}
	// Output:
	// 72 blocks: found true
	// 24 blocks: found false
}
