package ref

import (
	"errors"
	"fmt"
)

// InfLLMOptions are the options of InfLLM, which no engine runs: plans and the bench have it.
type InfLLMOptions struct {
	Init            float64 `json:"init" help:"fraction of the budget for the first tokens"`
	Context         float64 `json:"context" help:"fraction of the budget for blocks of past tokens that a query looks up"`
	Local           int     `json:"local" help:"minimum number of newest tokens, and tokens of a chunk of the prompt"`
	Block           int     `json:"block" help:"tokens of a block"`
	Representatives int     `json:"representatives" help:"keys of each block whose mean stays on the card, for lookup"`
	Missed          float64 `json:"missed" help:"fraction of the looked-up blocks that a step fetches from the host; 1 is the worst case"`
}

// InfLLMPlan says how InfLLM divides a sequence, and what it holds and reads for each KV head. From its
// beginning a sequence is
//
//	first tokens | blocks | newest tokens
//
// The first and the newest tokens, and the looked-up blocks, are on the card. The other blocks are in the host's
// memory.
type InfLLMPlan struct {
	First           int     // first tokens
	LookedUp        int     // KVs in blocks that a query looks up, a multiple of Block
	Local           int     // newest tokens that a query attends to at their true distance
	Chunk           int     // tokens of a prompt that are computed together, at most Local
	Block           int     // tokens of a block
	Representatives int     // keys of each block whose mean stays on the card
	Missed          float64 // fraction of LookedUp that a step fetches from the host
}

// Tokens returns the KVs that a query reads at most, without newest tokens that do not fill a block yet.
func (p *InfLLMPlan) Tokens() int { return p.First + p.LookedUp + p.Local }

// Divide returns how a sequence of tokens is divided. A block is made as soon as Local newer tokens follow it, so
// there are Local to Local + Block − 1 newest tokens, or all tokens, less the first ones, if the sequence is too
// short for a block.
func (p *InfLLMPlan) Divide(tokens int) (first, blocks, newest int) {
	first = min(p.First, max(0, tokens-p.Local))
	blocks = max(0, tokens-first-p.Local) / p.Block
	return first, blocks, tokens - first - blocks*p.Block
}

// Held returns how many KVs of a sequence of tokens are on the card for each KV head, and how many are in the host's
// memory: those of all blocks, as a block on the card is a copy.
func (p *InfLLMPlan) Held(tokens int) (card, host int) {
	first, blocks, newest := p.Divide(tokens)
	return first + min(blocks*p.Block, p.LookedUp) + newest, blocks * p.Block
}

// InfLLMReads divides the configuration's MaxCacheTokens, C: int(init·C) first tokens, ⌊int(context·C)/block⌋
// blocks, and the rest newest tokens, at least local. So did longctx_bench.
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
		First: first, LookedUp: looked, Local: max(o.Local, total-first-looked), Chunk: o.Local,
		Block: o.Block, Representatives: o.Representatives, Missed: o.Missed,
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
		Payload:     "2·D·b of the budget's tokens; group/block·D·b of every token",
		CacheTokens: "KVs of each head on the card",
		Rate:        "none",
		HeldAgainst: "thunlp/InfLLM@12b7079 (attention), henryzhongsc/longctx_bench@72204d0 (settings)",
		Planned:     true,
		Defaults: func() any {
			return &InfLLMOptions{Init: 0.021, Context: 0.324, Local: 512, Block: 128, Representatives: 4, Missed: 1}
		},
		New: planOnly("infllm", "no engine here keeps KVs in the host's memory", "kvc sim and kvc sweep plan it, and kvc bench measures its quality"),
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
		New:         planOnly("llmlingua2", "it changes a prompt's tokens, and a trace has those that were served", "kvc sim and kvc sweep plan it"),
	}
}

// planOnly returns a constructor whose error says why a method can only be planned, and which commands have it.
func planOnly(name, why, commands string) func(*Config) (Method, error) {
	return func(*Config) (Method, error) {
		return nil, &UnsupportedError{fmt.Errorf("method %s cannot run: %s; %s", name, why, commands)}
	}
}
