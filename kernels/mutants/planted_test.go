package mutants

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
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

// randomPipelines is how many seeds are tried, from 1 on, as kvc validate --random does.
const randomPipelines = 300

// randomBudget bounds the instructions of a launch in a random pipeline, so that a bug that
// loops for ever is noticed.
const randomBudget = 1 << 22

// largeCache is the input that is not of kvc validate: see [planted.decodeLate].
const largeCache = "the end of a cache of 4 GiB"

// inputs returns the names of what a bug is looked for in, the cheap ones first.
func inputs(m *Mutant) []string {
	var all []string
	for seed := range randomPipelines {
		input := fmt.Sprintf("random pipeline %d", seed+1)
		if m.Method != "" {
			input += " of " + m.Method
		}
		all = append(all, input)
	}
	for _, name := range traces.Replays() {
		all = append(all, "trace "+name)
	}
	return append(all, largeCache)
}

// planted makes engines that have a bug, or none, and keeps what a checker has reported.
type planted struct {
	kernels map[string]kernels.Replacement
	format  string // of the caches whose kernels have the bug; empty for all
	report  *ptx.Report
	refused error // why a kernel did not load
}

// run runs an input, and returns by what the bug is noticed in it, or nothing.
func (p *planted) run(input string) (string, error) {
	var seed uint64
	var method string
	if n, _ := fmt.Sscanf(input, "random pipeline %d of %s", &seed, &method); n > 0 {
		return p.pipeline(seed, method)
	}
	if n, _ := fmt.Sscanf(input, "edge pipelines of %d", &seed); n > 0 {
		return p.edges(seed)
	}
	if name, ok := strings.CutPrefix(input, "trace "); ok {
		return p.replay(name)
	}
	if input == largeCache {
		return p.decodeLate()
	}
	return "", fmt.Errorf("%q is no input", input)
}

// pipeline runs the random pipeline of a seed, of all methods or of one.
func (p *planted) pipeline(seed uint64, method string) (string, error) {
	methods, _, err := draw.Methods()
	if err != nil {
		return "", err
	}
	if method != "" {
		m, err := draw.Find(method)
		if err != nil {
			return "", err
		}
		methods = []*draw.Method{m}
	}
	random, err := validate.RandomPipelineOf(seed, methods)
	if err != nil || !p.has(random.Config) {
		return "", err
	}
	outcome, err := random.Run(context.Background(), p.engine(ptx.Options{Budget: randomBudget}), validate.Tolerance{})
	return p.found(outcome.Divergence, err)
}

// edges runs the edge pipelines of a seed.
func (p *planted) edges(seed uint64) (string, error) {
	methods, _, err := draw.Methods()
	if err != nil {
		return "", err
	}
	pipelines, err := validate.EdgePipelines(seed, methods)
	if err != nil {
		return "", err
	}
	for _, edge := range pipelines {
		if !p.has(edge.Config) {
			continue
		}
		outcome, err := edge.Run(context.Background(), p.engine(ptx.Options{Budget: randomBudget}), validate.Tolerance{})
		if by, err := p.found(outcome.Divergence, err); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
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

// has reports whether the kernels for such a cache may have the bug.
func (p *planted) has(cfg ref.Config) bool {
	return p.format == "" || p.format == strings.TrimPrefix(cfg.DType.String(), "fp8_")
}

// decodeLate decodes in the last blocks of a cache of more than 2 GiB of keys.
func (p *planted) decodeLate() (string, error) {
	const blocks, last = 1 << 17, 64
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 256}
	cfg.BlockSize, cfg.Blocks = 32, blocks+last
	open := func(kv.SeqID) (trace.Tensors, error) { return ones{}, nil }
	dev := &fullDevice{Device: ptx.New(ptx.Options{Checks: ptx.AllChecks()}), taken: blocks}
	e, err := p.on(dev, cfg, open, nil)
	if err != nil {
		return p.found(nil, err)
	}
	err = e.Prefill(0, 39)
	if err == nil {
		err = e.Decode([]kv.SeqID{0})
	}
	return p.found(nil, errors.Join(err, e.Close()))
}

// fullDevice is a device on which the first blocks of the free list are taken.
type fullDevice struct {
	device.Device
	free  device.Ptr
	taken int
}

func (d *fullDevice) Alloc(name string, size int64) (p device.Ptr, err error) {
	p, err = d.Device.Alloc(name, size)
	if name == "free" {
		d.free = p
	}
	return p, err
}

func (d *fullDevice) Write(to device.Ptr, from []byte) error {
	if to == d.free {
		from = slices.Clone(from)
		clear(from[:d.taken/8])
	}
	return d.Device.Write(to, from)
}

// parsed is of all devices: the modules of bugs are few, and the others the same.
var parsed ptx.Cache

// engine makes engines that have the bug, each on a device of its own under all checks.
func (p *planted) engine(opt ptx.Options) validate.NewEngine {
	opt.Checks, opt.Cache = ptx.AllChecks(), &parsed
	return func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
		return p.on(ptx.New(opt), cfg, open, observe)
	}
}

func (p *planted) on(dev device.Device, cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
	e, err := kernels.New(dev, cfg, open, observe, kernels.Options{Kernels: p.kernels})
	if err != nil {
		if unsupported := (*ref.UnsupportedError)(nil); !errors.As(err, &unsupported) {
			p.refused = err
		}
		return nil, err
	}
	return &watched{e, p}, nil
}

// found says by what the bug was noticed in a run that ended with a divergence, an error,
// or neither. A pipeline that the engine refuses to run notices nothing.
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

// watched is an engine whose checker's reports are kept.
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

// ones are the tensors of 40 tokens.
type ones struct{}

func (ones) Tokens() int  { return 40 }
func (ones) Close() error { return nil }
func (ones) Read(dst []float32, _ trace.Tensor, _, _, _ int) error {
	for i := range dst {
		dst[i] = 1
	}
	return nil
}
