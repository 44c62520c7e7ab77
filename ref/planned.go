package ref

import (
	"errors"
	"fmt"
)

// InfLLMOptions are the options of InfLLM, which is planned and not run.
type InfLLMOptions struct {
	Init            float64 `json:"init" help:"part of the budget for the first tokens"`
	Context         float64 `json:"context" help:"part of the budget for blocks of the past that a query looks up"`
	Local           int     `json:"local" help:"newest tokens that are held at least"`
	Block           int     `json:"block" help:"tokens of a block of the past"`
	Representatives int     `json:"representatives" help:"keys of each block that stay on the card, to look it up by"`
	Missed          float64 `json:"missed" help:"part of the blocks looked up that a step fetches from the host: 1, all of them, is the most"`
}

// InfLLMPlan is what InfLLM holds and reads of each KV head.
type InfLLMPlan struct {
	Tokens          int     // KVs on the card, which a query reads
	LookedUp        int     // of them, in blocks that were looked up
	Block           int     // tokens of a block
	Representatives int     // keys of each block of the past that stay on the card
	Missed          float64 // part of LookedUp that a step fetches
}

// InfLLMReads returns what the configuration's MaxCacheTokens, C, come to: int(init·C) first
// tokens, ⌊int(context·C)/block⌋ blocks, and as many of the newest tokens as are left, local
// at least.
func (c *Config) InfLLMReads() (InfLLMPlan, error) {
	e := infLLMEntry()
	o := *e.Defaults().(*InfLLMOptions)
	if err := c.Set.Into(&e, &o); err != nil {
		return InfLLMPlan{}, err
	}
	total := c.Compression.MaxCacheTokens
	switch {
	case c.Compression.Rate > 0:
		return InfLLMPlan{}, e.wrap(errors.New("it has no rate: max_cache_tokens is what a head has on the card"))
	case total < 1:
		return InfLLMPlan{}, e.wrap(errors.New("it holds everything without max_cache_tokens: say how many tokens a head has on the card"))
	case !(o.Init >= 0 && o.Context >= 0 && o.Init+o.Context <= 1):
		return InfLLMPlan{}, e.wrap(fmt.Errorf("init %v and context %v: want parts of the budget", o.Init, o.Context))
	case !(o.Missed >= 0 && o.Missed <= 1):
		return InfLLMPlan{}, e.wrap(fmt.Errorf("missed is %v, want 0 to 1", o.Missed))
	case o.Block < 1 || o.Block > MaxWindow || o.Representatives < 1 || o.Representatives > o.Block || o.Local < 1 || o.Local > MaxWindow:
		return InfLLMPlan{}, e.wrap(fmt.Errorf("block %d, representatives %d, local %d: want 1 to %d, and no more representatives than a block has tokens", o.Block, o.Representatives, o.Local, MaxWindow))
	}
	first := int(o.Init * float64(total))
	looked := int(o.Context*float64(total)) / o.Block * o.Block
	return InfLLMPlan{
		Tokens:   first + looked + max(o.Local, total-first-looked),
		LookedUp: looked, Block: o.Block, Representatives: o.Representatives, Missed: o.Missed,
	}, nil
}

// infLLMEntry is the row of InfLLM (Xiao et al., arXiv 2402.04617), with the settings that
// longctx_bench compares it with.
func infLLMEntry() Entry {
	return Entry{
		Name:        "infllm",
		Paper:       "InfLLM (Xiao et al., arXiv 2402.04617)",
		Watches:     "each query, against representative keys of every block of the past",
		Does:        "moves the KVs of the past to the host's memory; a prompt attends within the budget",
		From:        "of each head alike",
		When:        "from the first token beyond the budget on",
		Reads:       "the first tokens, the newest, and the blocks whose representatives fit best",
		Payload:     "2·D·b of the budget's tokens; representatives/block·D·b of every token",
		CacheTokens: "KVs of each head on the card",
		Rate:        "none",
		HeldAgainst: "henryzhongsc/longctx_bench@72204d0 (settings)",
		Planned:     true,
		Defaults: func() any {
			return &InfLLMOptions{Init: 0.021, Context: 0.324, Local: 512, Block: 128, Representatives: 4, Missed: 1}
		},
		New: planOnly("infllm", "no engine here keeps KVs in the host's memory"),
	}
}

// PromptOptions are the options of prompt compression, which is planned and not run.
type PromptOptions struct {
	Matrices float64 `json:"matrices" help:"parameters of the compressor that each prompt token is multiplied with, in millions"`
	Weights  float64 `json:"weights" help:"parameters of the compressor in all, in millions: each takes 2 bytes of every card"`
}

// PromptPlan is what prompt compression leaves of a prompt and what it takes.
type PromptPlan struct {
	Rate     float64 // part of the tokens that is left
	Matrices float64 // parameters that a token of the prompt, as it came, is multiplied with
	Bytes    int64   // of the compressor's weights
}

// PromptCompression returns what the configuration's rate and options come to.
func (c *Config) PromptCompression() (PromptPlan, error) {
	e := llmLingua2Entry()
	o := *e.Defaults().(*PromptOptions)
	if err := c.Set.Into(&e, &o); err != nil {
		return PromptPlan{}, err
	}
	const most = 1e6 // millions
	switch {
	case c.Compression.MaxCacheTokens > 0:
		return PromptPlan{}, e.wrap(errors.New("it has no max_cache_tokens: rate is the part of a prompt's tokens that is left"))
	case !(c.Compression.Rate > 0 && c.Compression.Rate <= 1):
		return PromptPlan{}, e.wrap(errors.New("it leaves everything without rate: say which part of a prompt's tokens is left, as 0.5"))
	case !(o.Matrices >= 0 && o.Matrices <= most && o.Weights >= 0 && o.Weights <= most):
		return PromptPlan{}, e.wrap(fmt.Errorf("matrices %v and weights %v: want 0 to %g million", o.Matrices, o.Weights, most))
	}
	return PromptPlan{Rate: c.Compression.Rate, Matrices: o.Matrices * 1e6, Bytes: int64(2 * o.Weights * 1e6)}, nil
}

// llmLingua2Entry is the row of LLMLingua-2 (Pan et al., arXiv 2403.12968). Its compressor is
// XLM-RoBERTa-large: 24 layers of 12·1,024² parameters and 559.89 million in all.
func llmLingua2Entry() Entry {
	return Entry{
		Name:        "llmlingua2",
		Paper:       "LLMLingua-2 (Pan et al., arXiv 2403.12968)",
		Watches:     "nothing: an encoder reads the prompt before the model does",
		Does:        "drops tokens of the prompt",
		From:        "of the prompt",
		When:        "before the prompt",
		Reads:       "all that is held",
		Payload:     "2·D·b of the tokens that are left",
		CacheTokens: "none",
		Rate:        "part of a prompt's tokens that is left",
		HeldAgainst: "henryzhongsc/longctx_bench@72204d0 (settings)",
		Planned:     true,
		Defaults:    func() any { return &PromptOptions{Matrices: 301.99, Weights: 559.89} },
		New:         planOnly("llmlingua2", "it changes a prompt's tokens, and a trace has those that were served"),
	}
}

// planOnly returns a constructor that says why a method only has plans.
func planOnly(name, why string) func(*Config) (Method, error) {
	return func(*Config) (Method, error) {
		return nil, &UnsupportedError{fmt.Errorf("method %s cannot run: %s; kvc sim and kvc sweep plan it", name, why)}
	}
}
