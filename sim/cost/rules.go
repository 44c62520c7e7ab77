package cost

import (
	"fmt"
	"strings"

	"kvcompress/sim"
)

// Rules is how the runs of a backend are taken to be served: what a file of serving runs does
// not say, and what its rows show. docs/cost-model.md has the errors of each backend's rows by
// either rule.
type Rules struct {
	// PrefillFirst: waiting prompts are prefilled whole before the next decode step; else
	// batches are formed as by vLLM V1, prompts in chunks beside decoding sequences.
	PrefillFirst bool `json:"prefill_first"`

	// Jitter is by which part the lengths of a closed loop are taken to vary around isl and
	// osl. Benchmarks sample prompts near a length; clients that all send equal requests
	// prefill together, wave by wave, for ever.
	Jitter float64 `json:"length_jitter"`

	Known bool `json:"backend_known"` // else the rules are vLLM V1's for want of others
}

// jitter of the lengths of a closed loop on vLLM.
const jitter = 0.1

// RulesOf returns the rules of a backend, as the column backend names it. SGLang's scheduler
// prefers prefills, and with it equal requests stay in step; all others are served by the
// rules of vLLM V1.
func RulesOf(backend string) Rules {
	switch strings.ToLower(backend) {
	case "sglang":
		return Rules{PrefillFirst: true, Known: true}
	case "", "vllm":
		return Rules{Jitter: jitter, Known: true}
	}
	return Rules{Jitter: jitter}
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
	if backend == "" {
		return fmt.Sprintf("Served %s, %s.", how, lengths)
	}
	unknown := ""
	if !r.Known {
		unknown = " is not modelled: its rows are"
	}
	return fmt.Sprintf("Backend %s%s served %s, %s.", backend, unknown, how, lengths)
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
