package mutants

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
	"kvcompress/traces"
	"kvcompress/validate"
)

// seeds is the number of seeds that are tried, from 1 on, as by kvc validate --random.
const seeds = 200

// randomBudget bounds the instructions of a launch in a random pipeline, so that an infinite
// loop is detected. passBytes is so small that prompts take several launches. Both are the
// values of kvc validate --random.
const (
	randomBudget = 1 << 22
	passBytes    = 256 << 10
)

// inputs returns the names of the inputs on which a bug is tried, the cheap ones first.
func inputs(m *Mutant) []string {
	var all []string
	of := ""
	if m.Method != "" {
		of = " of " + m.Method
	}
	for seed := range seeds {
		all = append(all, fmt.Sprintf("random pipeline %d%s", seed+1, of), fmt.Sprintf("edge pipelines %d%s", seed+1, of))
	}
	for _, name := range traces.Replays() {
		all = append(all, "trace "+name)
	}
	return all
}

// planted makes engines with a bug, or without one, and stores the reports of the checks.
type planted struct {
	kernels map[string]kernels.Replacement
	format  string // of the caches whose kernels have the bug; empty for all
	report  *ptx.Report
	refused error // why a kernel did not load
}

// run runs an input, and returns the check that detects the bug, or nothing.
func (p *planted) run(input string) (string, error) {
	if name, ok := strings.CutPrefix(input, "trace "); ok {
		return p.replay(name)
	}
	pipelines, err := pipelinesOf(input)
	if err != nil {
		return "", err
	}
	for _, x := range pipelines {
		if !p.has(x.Config) {
			continue
		}
		outcome, err := x.Run(context.Background(), p.engine(ptx.Options{Budget: randomBudget}), validate.Tolerance{})
		if by, err := p.found(outcome.Divergence, err); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// pipelinesOf returns the pipelines of an input, "random pipeline 7" or "edge pipelines 7", of
// all methods or of one.
func pipelinesOf(input string) ([]validate.Pipeline, error) {
	var kind, method string
	var seed uint64
	if n, _ := fmt.Sscanf(input, "%s pipeline %d of %s", &kind, &seed, &method); n < 2 {
		if n, _ := fmt.Sscanf(input, "%s pipelines %d of %s", &kind, &seed, &method); n < 2 {
			return nil, fmt.Errorf("%q is no input", input)
		}
	}
	methods, _, err := draw.Methods()
	if err != nil {
		return nil, err
	}
	if method != "" {
		m, err := draw.Find(method)
		if err != nil {
			return nil, err
		}
		methods = []*draw.Method{m}
	}
	if kind == "edge" {
		return validate.EdgePipelines(seed, methods)
	}
	random, err := validate.RandomPipelineOf(seed, methods)
	return []validate.Pipeline{random}, err
}

// replay runs a bundled replay.
func (p *planted) replay(name string) (string, error) {
	bundle, err := traces.Bundled(name)
	if err != nil || !p.has(bundle.Options.Config) {
		return "", err
	}
	result, err := validate.Trace(context.Background(), name, bundle.Trace, bundle.Options, validate.Run{Engine: p.engine(ptx.Options{})})
	return p.found(result.Divergence, err)
}

// has reports whether the kernels for a cache of this format may have the bug.
func (p *planted) has(cfg ref.Config) bool {
	return p.format == "" || p.format == strings.TrimPrefix(cfg.DType.String(), "fp8_")
}

// parsed is shared by all devices: they have the same modules except for those with a bug.
var parsed ptx.Cache

// engine makes engines with the bug, each on a device of its own with all checks.
func (p *planted) engine(opt ptx.Options) validate.NewEngine {
	opt.Checks, opt.Cache = ptx.AllChecks(), &parsed
	return func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
		return p.on(ptx.New(opt), cfg, open, observe)
	}
}

func (p *planted) on(dev device.Device, cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
	e, err := kernels.New(dev, cfg, open, observe, kernels.Options{Kernels: p.kernels, PrefillBytes: passBytes, FreshBuffers: true})
	if err != nil {
		if unsupported := (*ref.UnsupportedError)(nil); !errors.As(err, &unsupported) {
			p.refused = err
		}
		return nil, err
	}
	return &watched{e, p}, nil
}

// found returns the check that detected the bug in a run that ended with a divergence, an
// error, or neither. A pipeline that the engine refuses to run detects nothing.
func (p *planted) found(d *validate.Divergence, err error) (string, error) {
	switch unsupported := (*ref.UnsupportedError)(nil); {
	case errors.As(err, &unsupported):
		return "", nil
	case p.refused != nil:
		return "refused when it is loaded: " + strings.SplitN(p.refused.Error(), ": ", 4)[2], nil
	case p.report != nil:
		return fmt.Sprintf("checker: %s, %s:%d", p.report.Kind, path.Clean(p.report.File), p.report.Line), nil
	case d == nil:
		return "", err
	}
	var parts []string
	for _, part := range d.Parts {
		parts = append(parts, part.What)
	}
	return fmt.Sprintf("diff at %s: %s", d.Stage, strings.Join(parts, ", ")), nil
}

// watched is an engine that stores the reports of its checks.
type watched struct {
	*kernels.Engine
	planted *planted
}

func (w *watched) keep(err error) error {
	errors.As(err, &w.planted.report)
	return err
}

func (w *watched) Prefill(id kv.SeqID, n int) error { return w.keep(w.Engine.Prefill(id, n)) }
func (w *watched) Decode(ids []kv.SeqID) error      { return w.keep(w.Engine.Decode(ids)) }
func (w *watched) Release(id kv.SeqID) error        { return w.keep(w.Engine.Release(id)) }
func (w *watched) Compress(id kv.SeqID) (ref.Compressed, error) {
	c, err := w.Engine.Compress(id)
	return c, w.keep(err)
}
