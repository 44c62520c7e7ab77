package ref

import (
	"errors"
	"fmt"
)

// InfLLMOptions are the options of InfLLM, which is only planned.
type InfLLMOptions struct {
	Init            float64 `json:"init" help:"fraction of the budget for the first tokens"`
	Context         float64 `json:"context" help:"fraction of the budget for blocks of past tokens that a query looks up"`
	Local           int     `json:"local" help:"minimum number of newest tokens"`
	Block           int     `json:"block" help:"tokens of a block"`
	Representatives int     `json:"representatives" help:"keys of each block that stay on the card, for lookup"`
	Missed          float64 `json:"missed" help:"fraction of the looked-up blocks that a step fetches from the host; 1 is the worst case"`
}

// InfLLMPlan says what InfLLM holds and reads for each KV head.
type InfLLMPlan struct {
	Tokens          int     // KVs on the card, all of which a query reads
	LookedUp        int     // those of Tokens in blocks that a query looked up
	Block           int     // tokens of a block
	Representatives int     // keys of each past block that stay on the card
	Missed          float64 // fraction of LookedUp that a step fetches from the host
}

// InfLLMReads divides the configuration's MaxCacheTokens, C: int(init·C) first tokens, ⌊int(context·C)/block⌋
// blocks, and the rest newest tokens, at least local.
func (c *Config) InfLLMReads() (InfLLMPlan, error) {
	e := infLLMEntry()
	o := *e.Defaults().(*InfLLMOptions)
	if err := c.Set.Into(&e, &o); err != nil {
		return InfLLMPlan{}, err
	}
	total := c.Compression.MaxCacheTokens
	switch {
	case c.Compression.Rate > 0:
		return InfLLMPlan{}, e.wrap(errors.New("it takes no rate: max_cache_tokens is the number of tokens that a head has on the card"))
	case total < 1:
		return InfLLMPlan{}, e.wrap(errors.New("it needs max_cache_tokens, the number of tokens that a head has on the card"))
	case !(o.Init >= 0 && o.Context >= 0 && o.Init+o.Context <= 1):
		return InfLLMPlan{}, e.wrap(fmt.Errorf("init %v and context %v: want fractions of the budget, at most 1 together", o.Init, o.Context))
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

// infLLMEntry is the row of InfLLM (Xiao et al., arXiv 2402.04617), with longctx_bench's settings for it.
func infLLMEntry() Entry {
	return Entry{
		Name:        "infllm",
		Paper:       "InfLLM (Xiao et al., arXiv 2402.04617)",
		Watches:     "each query, against representative keys of every block of the past",
		Does:        "moves the KVs of the past to the host's memory; a prompt attends within the budget",
		From:        "the same number from each head",
		When:        "as soon as a head has more tokens than the budget",
		Reads:       "the first tokens, the newest, and the blocks with the best matching representatives",
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

// PromptOptions are the options of prompt compression, which is only planned.
type PromptOptions struct {
	Matrices float64 `json:"matrices" help:"millions of compressor parameters that each prompt token is multiplied with"`
	Weights  float64 `json:"weights" help:"millions of compressor parameters in total; each takes 2 bytes of every card"`
}

// PromptPlan says what prompt compression keeps of a prompt, and its cost.
type PromptPlan struct {
	Rate     float64 // fraction of the tokens that is kept
	Matrices float64 // parameters that each token of the original prompt is multiplied with
	Bytes    int64   // of the compressor's weights
}

// PromptCompression returns the plan for the configuration's rate and options.
func (c *Config) PromptCompression() (PromptPlan, error) {
	e := llmLingua2Entry()
	o := *e.Defaults().(*PromptOptions)
	if err := c.Set.Into(&e, &o); err != nil {
		return PromptPlan{}, err
	}
	const most = 1e6 // millions
	switch {
	case c.Compression.MaxCacheTokens > 0:
		return PromptPlan{}, e.wrap(errors.New("it takes no max_cache_tokens: rate is the fraction of a prompt's tokens to keep"))
	case !(c.Compression.Rate > 0 && c.Compression.Rate <= 1):
		return PromptPlan{}, e.wrap(errors.New("it needs a rate, the fraction of a prompt's tokens to keep, such as 0.5"))
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
		Reads:       "all held KVs",
		Payload:     "2·D·b of the kept tokens",
		CacheTokens: "none",
		Rate:        "fraction of a prompt's tokens to keep",
		HeldAgainst: "henryzhongsc/longctx_bench@72204d0 (settings)",
		Planned:     true,
		Defaults:    func() any { return &PromptOptions{Matrices: 301.99, Weights: 559.89} },
		New:         planOnly("llmlingua2", "it changes a prompt's tokens, and a trace has those that were served"),
	}
}

// planOnly returns a constructor whose error says why a method can only be planned.
func planOnly(name, why string) func(*Config) (Method, error) {
	return func(*Config) (Method, error) {
		return nil, &UnsupportedError{fmt.Errorf("method %s cannot run: %s; kvc sim and kvc sweep plan it", name, why)}
	}
}
