package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/sweep"
)

// schedulerFlags say which server's scheduler is simulated, and its limits.
type schedulerFlags struct {
	fs        *pflag.FlagSet
	scheduler string
	usage     string
	version   string // of vLLM, whose memory profiling is followed; "" is the scheduler's default
	v1        sim.V1
}

// v1Flags are the flags that only vllm-v1 has.
var v1Flags = []string{"usage-context", "long-prefill-token-threshold", "scheduler-reserve-full-isl"}

func (f *schedulerFlags) add(fs *pflag.FlagSet) {
	f.fs = fs
	f.v1 = sim.DefaultV1(0)
	fs.StringVar(&f.scheduler, "engine", "", "`server` whose scheduler is simulated: "+choices(sim.Schedulers())+" (default vllm-v1, or kv-compress with compression)")
	fs.StringVar(&f.usage, "usage-context", string(sim.V1APIServer), "vllm-v1's usage context, by which it chooses its default limits for a card: "+choices(sim.V1Usages()))
	fs.StringVar(&f.version, "vllm-version", "", "`version` of vLLM, such as 0.19, whose memory profiling and admission are simulated (default: no single version of V1: memory as 0.9.2 to 0.16 profile it, admission as 0.20 and later; with compression, KV-Compress's server)")
	fs.IntVar(&f.v1.LongPrefill, "long-prefill-token-threshold", 0, "with vllm-v1, most `tokens` of a prompt in one iteration; 0 is no limit")
	fs.BoolVar(&f.v1.ReserveFull, "scheduler-reserve-full-isl", true, "with vllm-v1, admit a request when its whole prompt fits, as vLLM 0.20 and later do; false: when its first chunk fits")
}

// choices joins names for a help text.
func choices[T ~string](all []T) string {
	var words []string
	for _, v := range all {
		words = append(words, string(v))
	}
	return strings.Join(words, ", ")
}

// server returns the scheduler to simulate and vLLM V1's usage context. The default scheduler is
// that of the newest server that supports compression, if method is set, or else of vLLM V1.
func (f *schedulerFlags) server(method bool) (sim.Scheduler, sim.V1Usage, error) {
	scheduler := sim.VLLMV1
	if method {
		scheduler = sim.KVCompressServer
	}
	if f.scheduler != "" {
		var err error
		if scheduler, err = sim.ParseScheduler(f.scheduler); err != nil {
			return "", "", usageError{fmt.Errorf("--engine: %w", err)}
		}
	}
	usage, err := sim.ParseV1Usage(f.usage)
	if err != nil {
		return "", "", usageError{fmt.Errorf("--usage-context: %w", err)}
	}
	for _, name := range v1Flags {
		if scheduler != sim.VLLMV1 && f.fs.Changed(name) {
			return "", "", usagef("--%s is an option of vllm-v1, and the scheduler here is %s", name, scheduler)
		}
	}
	if err := f.v1.Validate(); err != nil {
		return "", "", usageError{err}
	}
	if f.version != "" {
		engine, err := cost.EngineOf(f.version)
		switch {
		case err != nil:
			return "", "", usageError{fmt.Errorf("--vllm-version: %w", err)}
		case engine.Scheduler() != scheduler:
			return "", "", usagef("--vllm-version %s has the scheduler %s, and the one here is %s: choose it with --engine", f.version, engine.Scheduler(), scheduler)
		case scheduler == sim.VLLMV1 && !f.fs.Changed("scheduler-reserve-full-isl"):
			f.v1.ReserveFull = cost.ReservesFull(f.version)
		}
	}
	if scheduler == sim.VLLMV1 && f.fs.Changed("watermark") {
		return "", "", usagef("--watermark: vllm-v1 has no watermark; vllm-0.6 (--engine) has")
	}
	return scheduler, usage, nil
}

// limits returns the limits of a server on a card. A limit without a flag is the server's default, which depends on
// the longest request and on whether prompts are prefilled whole: see sim.Limits.V1Defaults.
func (f *schedulerFlags) limits(given sim.Limits, scheduler sim.Scheduler, card catalog.Card, usage sim.V1Usage, longest int, whole bool) sim.Limits {
	if scheduler != sim.VLLMV1 {
		return given
	}
	given.Watermark = 0
	defaults := given
	if !f.fs.Changed("max-num-batched-tokens") {
		defaults.MaxNumBatchedTokens = 0
	}
	if !f.fs.Changed("max-num-seqs") {
		defaults.MaxNumSeqs = 0
	}
	defaults = defaults.V1Defaults(sim.V1Limits(card.Name, card.Memory, usage), longest, whole)
	if !f.fs.Changed("max-num-batched-tokens") {
		given.MaxNumBatchedTokens = defaults.MaxNumBatchedTokens
	}
	if !f.fs.Changed("max-num-seqs") {
		given.MaxNumSeqs = defaults.MaxNumSeqs
	}
	return given
}

// memory returns the engine whose memory profiling is simulated, by --vllm-version or --engine;
// "" if neither is given, and the default depends on what is served.
func (f *schedulerFlags) memory(scheduler sim.Scheduler) cost.Engine {
	switch {
	case f.version != "":
		engine, _ := cost.EngineOf(f.version) // server has returned the error
		return engine
	case f.scheduler == "":
		return ""
	case scheduler == sim.VLLM06:
		return cost.VLLM06
	case scheduler == sim.KVCompressServer:
		return cost.KVCompress
	}
	return cost.VLLMV1
}

// checkLimits refuses limits with which vLLM does not start. of says what they are of, such as a
// card; it may be "".
func checkLimits(of string, seqs, tokens int) error {
	if seqs <= tokens {
		return nil
	}
	if of != "" {
		of += ": "
	}
	return usagef("%smax_num_batched_tokens %d is less than max_num_seqs %d, with which vLLM does not start: want max_num_batched_tokens of at least %d, or max_num_seqs of at most %d",
		of, tokens, seqs, seqs, tokens)
}

// checkPointLimits is checkLimits for the points of a sweep.
func checkPointLimits(s *sweep.Settings, points []sweep.Point) error {
	for _, p := range points {
		card, err := catalog.FindCard(p.Card)
		if err != nil {
			return usageError{err}
		}
		if err := checkLimits(p.CardName(), p.MaxNumSeqs, s.Limits(p, card).MaxNumBatchedTokens); err != nil {
			return err
		}
	}
	return nil
}
