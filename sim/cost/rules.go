package cost

import (
	"fmt"
	"strings"

	"kvcompress/sim"
)

// Servers whose measured runs have fits of their own, beside the schedulers of [sim].
const (
	VLLMV0      sim.Scheduler = "vllm-v0" // vLLM before 0.8, by the engine V0
	SGLang      sim.Scheduler = "sglang"
	TensorRTLLM sim.Scheduler = "trtllm"
)

// Servers returns the servers of which measured runs can be.
func Servers() []sim.Scheduler { return []sim.Scheduler{sim.VLLMV1, VLLMV0, SGLang, TensorRTLLM} }

// Rules is how the runs of a backend are taken to be served: what a file of serving runs does
// not say, and what its rows show. docs/cost-model.md has the errors of each backend's rows by
// either rule.
type Rules struct {
	Server sim.Scheduler `json:"server"` // whose fits hold

	// PrefillFirst: waiting prompts are prefilled whole before the next decode step; else
	// batches are formed as by vLLM V1, prompts in chunks beside decoding sequences.
	PrefillFirst bool `json:"prefill_first"`

	// Jitter is by which part the lengths of a closed loop are taken to vary around isl and
	// osl. Benchmarks sample prompts near a length; clients that all send equal requests
	// prefill together, wave by wave, for ever.
	Jitter float64 `json:"length_jitter"`

	// Utilization is the part of a card's memory that the server takes, where the file does not
	// say. Static: weights and cache have that part between them, and the rest is for
	// activations; else the peak of the activations comes off it, as vLLM measures it.
	Utilization float64 `json:"gpu_memory_utilization"`
	Static      bool    `json:"static_memory,omitempty"`

	Known bool `json:"backend_known"` // else the rules are vLLM V1's for want of others
}

// staticSGLang is the part of a card that SGLang's weights and cache have in the recorded runs,
// which do not state it: that with which the runs whose cache is full come out best. A
// mem_fraction_static of 0.8 is this, less what libraries hold.
const staticSGLang = 0.79

// jitter of the lengths of a closed loop on vLLM.
const jitter = 0.1

// RulesOf returns the rules of a backend, as the column backend names it. SGLang's scheduler
// prefers prefills, and with it equal requests stay in step; it divides a fixed part of the
// memory; all others are served by the
// rules of vLLM V1. An unknown one has vLLM V1's fits too.
func RulesOf(backend string) Rules {
	r := Rules{Server: sim.VLLMV1, Jitter: jitter, Utilization: 0.9, Known: true}
	switch strings.ToLower(backend) {
	case "sglang":
		r.Server, r.PrefillFirst, r.Jitter = SGLang, true, 0
		r.Utilization, r.Static = staticSGLang, true
	case "trtllm", "tensorrt-llm", "tensorrt_llm":
		r.Server = TensorRTLLM
	case "vllm-v0":
		r.Server = VLLMV0
	case "", "vllm", "vllm-v1":
	default:
		r.Known = false
	}
	return r
}

// rules returns the rules of a run: of its backend, and of vLLM's version where it is stated.
func (s *Serving) rules() Rules {
	r := RulesOf(s.Backend)
	if e, err := EngineOf(s.Version); r.Server == sim.VLLMV1 && r.Known && err == nil && e.Scheduler() != sim.VLLMV1 {
		return RulesOf(string(VLLMV0))
	}
	return r
}

// Note says, for a reader of the results, how the rows of a backend were served.
func (r Rules) Note(backend string) string {
	how := "by the rules of vLLM V1"
	if r.PrefillFirst {
		how = "prefill-first: waiting prompts before the next decode step"
	}
	lengths := "lengths of a closed loop all equal"
	if r.Jitter > 0 {
		lengths = fmt.Sprintf("lengths of a closed loop spread by ±%g %%", 100*r.Jitter)
	}
	switch {
	case backend == "" && r.Server == sim.VLLMV1:
		return fmt.Sprintf("The rows do not say of which server they are: served %s, %s. --profile vllm-v0, sglang or trtllm takes them for another's. On another server's rows the error is larger than is stated.", how, lengths)
	case !r.Known:
		return fmt.Sprintf("Backend %s is not modelled: its rows are served %s, %s.", backend, how, lengths)
	case backend == "":
		backend = string(r.Server)
	}
	return fmt.Sprintf("Backend %s served %s, %s.", backend, how, lengths)
}

// engine returns the engine that measures the memory of a run: that of its version of vLLM,
// where the file says one of V1, or else [VLLMV1].
func (s *Serving) engine() Engine {
	if backend := strings.ToLower(s.Backend); backend != "" && backend != "vllm" {
		return VLLMV1
	}
	if e, err := EngineOf(s.Version); err == nil && e.Scheduler() == sim.VLLMV1 {
		return e
	}
	return VLLMV1
}

// plan returns how a deployment serves requests without compression on vLLM V1, within the
// limits of a batch and the blocks that its memory has; costs are left to be set. It sets the
// deployment's limits.
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
		Layout: d.Layout(), Experts: sim.Experts(d.Model.Experts),
	}, memory, nil
}
