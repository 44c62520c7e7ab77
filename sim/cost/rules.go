package cost

import (
	"cmp"
	"fmt"
	"strings"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Servers whose measured runs have fits of their own, beside the schedulers of [sim].
const (
	VLLMV0      sim.Scheduler = "vllm-v0" // vLLM before 0.8, by the engine V0
	SGLang      sim.Scheduler = "sglang"
	TensorRTLLM sim.Scheduler = "trtllm"
)

// Servers returns the servers whose measured runs can be fitted.
func Servers() []sim.Scheduler { return []sim.Scheduler{sim.VLLMV1, VLLMV0, SGLang, TensorRTLLM} }

// Rules are how a backend served its runs: what a file of serving runs states, and otherwise assumptions.
// docs/cost-model.md has the errors of each backend's rows with either value of PrefillFirst.
type Rules struct {
	Server sim.Scheduler `json:"server"` // whose fits are used

	// PrefillFirst says that waiting prompts are prefilled as a whole before the next decode step.
	// Otherwise batches are formed as by vLLM V1, with chunks of prompts beside decoding sequences.
	PrefillFirst bool `json:"prefill_first"`

	// Jitter is the fraction by which the lengths of a closed loop are assumed to vary around isl and
	// osl. Benchmarks sample prompts near a length. With equal lengths all clients would stay in step
	// and prefill at the same time, wave after wave.
	Jitter float64 `json:"length_jitter"`

	// Utilization is the fraction of a card's memory that the server uses if the file does not state
	// it. If Static is set, weights and cache have this fraction and activations the rest, and 0 stands for
	// all but a number of bytes; otherwise the fraction includes the peak of the activations, as in vLLM.
	Utilization float64 `json:"gpu_memory_utilization"`
	Static      bool    `json:"static_memory,omitempty"`

	// QuantizedKV says that with weights in fp8 or nvfp4 keys and values are held in fp8 if the file does not
	// state their format: the checkpoints that NVIDIA publishes in these formats say so.
	QuantizedKV bool `json:"quantized_kv,omitempty"`

	Known bool `json:"backend_known"` // false: the backend is unknown, and vLLM V1's rules are used
}

// SGLang leaves a part of a card to activations and libraries, which the recorded runs do not state: on an
// H100 staticSGLang, the value with the smallest error on runs with a full cache. On a card with more
// memory it is as many bytes, since its default is a number of bytes for prefills and CUDA graphs; on one
// with less the part is the same, since the default has smaller prefills there.
const (
	staticSGLang  = 0.21
	sglangReserve = staticSGLang * 79.11 * (1 << 30)
)

// jitter is the [Rules.Jitter] of vLLM.
const jitter = 0.1

// RulesOf returns the rules of a backend, by its name in the column backend. SGLang's scheduler
// prefers prefills, so that equal requests stay in step, and weights and cache have a fixed part of the
// memory. vLLM's V0 prefers prefills too. TensorRT-LLM holds the cache in the format that a checkpoint
// states. Otherwise the rules are those of vLLM V1; an unknown backend also has vLLM V1's fits.
func RulesOf(backend string) Rules {
	r := Rules{Server: sim.VLLMV1, Jitter: jitter, Utilization: 0.9, Known: true}
	switch strings.ToLower(backend) {
	case "sglang":
		r.Server, r.PrefillFirst, r.Jitter = SGLang, true, 0
		r.Utilization, r.Static = 0, true // see Rules.utilization
	case "trtllm", "tensorrt-llm", "tensorrt_llm":
		r.Server, r.QuantizedKV = TensorRTLLM, true
	case "vllm-v0":
		r.Server, r.PrefillFirst = VLLMV0, true
	case "", "vllm", "vllm-v1":
	default:
		r.Known = false
	}
	return r
}

// rules returns the rules of a run: those of its server, but for what the file states.
func (s *Serving) rules() Rules {
	r := s.serverRules()
	if s.First != nil {
		r.PrefillFirst = *s.First
	}
	r.Jitter = cmp.Or(s.Spread, r.Jitter)
	return r
}

// serverRules returns the rules of a run's server: by its backend and, for vLLM, its version if it is stated, or
// the server that was chosen for it.
func (s *Serving) serverRules() Rules {
	if s.Chosen != "" {
		return RulesOf(string(s.Chosen))
	}
	r := RulesOf(s.Backend)
	if e, err := EngineOf(s.Version); r.Server == sim.VLLMV1 && r.Known && err == nil && e.Scheduler() != sim.VLLMV1 {
		return RulesOf(string(VLLMV0))
	}
	return r
}

// utilization returns the fraction of a card's memory that the server uses if the file does not state it.
func (r *Rules) utilization(card *catalog.Card) float64 {
	if r.Static && r.Utilization == 0 {
		return max(1-staticSGLang, 1-sglangReserve/float64(card.Memory))
	}
	return r.Utilization
}

// Note returns a sentence about how the rows of a backend are assumed to be served.
func (r Rules) Note(backend string) string {
	how := "by the rules of vLLM V1"
	if r.PrefillFirst {
		how = "prefill-first: waiting prompts before the next decode step"
	}
	lengths := "lengths of a closed loop all equal"
	if r.Jitter > 0 {
		lengths = fmt.Sprintf("lengths of a closed loop spread by ±%.3g %%", 100*r.Jitter)
	}
	switch {
	case backend == "" && r.Server == sim.VLLMV1:
		return fmt.Sprintf("The rows do not name their server: served %s, %s. If it is another server, the error is larger than stated: --profile vllm-v0, sglang or trtllm names it.", how, lengths)
	case !r.Known:
		return fmt.Sprintf("Backend %s is not modelled: its rows are served %s, %s.", backend, how, lengths)
	case backend == "":
		backend = string(r.Server)
	}
	return fmt.Sprintf("Backend %s served %s, %s.", backend, how, lengths)
}

// engine returns the engine whose memory profiling a run has: that of its version of vLLM V1 if it is
// stated, or else [VLLMV1]. The versions of other backends say nothing of it.
func (s *Serving) engine() (Engine, error) {
	if r := RulesOf(s.Backend); !r.Known || r.Server != sim.VLLMV1 && r.Server != VLLMV0 {
		return VLLMV1, nil
	}
	e, err := EngineOf(s.Version)
	if err == nil && e.Scheduler() != sim.VLLMV1 {
		e = VLLMV1
	}
	return e, err
}

// plan returns the simulation plan of a deployment without compression on vLLM V1, with these limits
// and the blocks that fit the memory. The caller sets the costs. It also sets the deployment's limits.
func (d *Deployment) plan(limits sim.Limits) (*sim.Plan, Memory, error) {
	d.MaxTokens, d.MaxSeqs = limits.MaxNumBatchedTokens, limits.MaxNumSeqs
	memory, err := d.Memory()
	if err != nil {
		return nil, memory, err
	}
	cfg := d.Config()
	cfg.Blocks = memory.Blocks
	return &sim.Plan{
		Config: cfg, Schedule: sim.DefaultSchedule(), Limits: limits, Scheduler: sim.VLLMV1,
		Select: d.Selection(), Layout: d.Layout(), Experts: sim.Experts(d.Model.Experts),
	}, memory, nil
}
