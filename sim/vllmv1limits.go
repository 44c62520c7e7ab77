package sim

import (
	"fmt"
	"strings"
)

// V1Usage is the way in which vLLM is run, its UsageContext. Default limits depend on it.
type V1Usage string

// The usages.
const (
	V1APIServer V1Usage = "api-server" // vllm serve (OPENAI_API_SERVER)
	V1LLMClass  V1Usage = "llm-class"  // the Python class LLM, for batches of prompts (LLM_CLASS)
	V1Engine    V1Usage = "engine"     // the engine by itself, as in Python benchmarks (ENGINE_CONTEXT)
)

// V1Usages returns all usages.
func V1Usages() []V1Usage { return []V1Usage{V1APIServer, V1LLMClass, V1Engine} }

// ParseV1Usage returns the usage of a name.
func ParseV1Usage(name string) (V1Usage, error) {
	for _, u := range V1Usages() {
		if string(u) == name {
			return u, nil
		}
	}
	return "", fmt.Errorf("sim: there is no usage %q of vLLM: want one of %v", name, V1Usages())
}

// v1Limits are V1's default limits: EngineArgs.get_batch_defaults in vLLM's vllm/engine/arg_utils.py, which are
// equal in v0.11.0 and v0.20.1.
var v1Limits = []struct {
	large    bool // a card with at least v1LargeMemory, except the A100
	usage    V1Usage
	maxSeqs  int
	maxBatch int // tokens
}{
	{true, V1APIServer, 1024, 8192},
	{true, V1LLMClass, 1024, 16384},
	{false, V1APIServer, 256, 2048},
	{false, V1LLMClass, 256, 8192},
	{true, V1Engine, 128, 2048}, // defaults of SchedulerConfig
	{false, V1Engine, 128, 2048},
}

// v1LargeMemory is the least memory of a card for V1's larger limits: 70 GiB.
const v1LargeMemory = 70 << 30

// V1Limits returns the default limits of vLLM's V1 engine on a card with this many bytes of memory, for chunked
// prefill and long requests: see [Limits.V1Defaults]. The watermark is 0.
func V1Limits(card string, memory int64, usage V1Usage) Limits {
	large := memory >= v1LargeMemory && !strings.Contains(strings.ToLower(card), "a100")
	for _, l := range v1Limits {
		if l.large == large && l.usage == usage {
			return Limits{MaxNumSeqs: l.maxSeqs, MaxNumBatchedTokens: l.maxBatch}
		}
	}
	return V1Limits(card, memory, V1APIServer)
}

// V1Defaults replaces limits of 0 by V1's defaults. own are those of V1Limits, and longest is the server's
// max_model_len, 0 where requests have no bound. As in vLLM's EngineArgs since it lets chunked prefill be turned off, a
// batch of whole prompts has room for the longest request, and no batch is larger than max_num_seqs of these.
func (l Limits) V1Defaults(own Limits, longest int, whole bool) Limits {
	seqs := l.MaxNumSeqs
	if seqs == 0 {
		seqs = own.MaxNumSeqs
	}
	if l.MaxNumBatchedTokens == 0 {
		l.MaxNumBatchedTokens = own.MaxNumBatchedTokens
		if whole {
			l.MaxNumBatchedTokens = max(longest, l.MaxNumBatchedTokens)
		}
		if longest > 0 && seqs > 0 && seqs < l.MaxNumBatchedTokens/longest+1 { // the product cannot overflow
			l.MaxNumBatchedTokens = min(seqs*longest, l.MaxNumBatchedTokens)
		}
	}
	if l.MaxNumSeqs == 0 {
		l.MaxNumSeqs = min(seqs, l.MaxNumBatchedTokens)
	}
	return l
}
