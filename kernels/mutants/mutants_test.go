package mutants

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
	"kvcompress/traces"
	"kvcompress/validate"
)

var update = flag.Bool("update", false, "write docs/planted-bugs.md")

const page = "../../docs/planted-bugs.md"

// TestEveryBugIsCaught plants each bug and looks for it: with random pipelines, and
// where those do not meet it with the bundled traces; or with the replay that it names.
func TestEveryBugIsCaught(t *testing.T) {
	all := All()
	caught := make([]string, len(all))
	t.Run("bugs", func(t *testing.T) {
		for i := range all {
			t.Run(all[i].Name, func(t *testing.T) {
				t.Parallel()
				found, err := hunt(&all[i])
				if err != nil {
					t.Fatal(err)
				}
				if found == "" {
					t.Errorf("not noticed: %s", all[i].Bug)
				}
				caught[i] = found
			})
		}
	})
	if t.Failed() {
		return
	}
	var b bytes.Buffer
	b.WriteString(introduction)
	for i := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", all[i].Name, all[i].File, all[i].Bug, caught[i])
	}
	if *update {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not what the test finds: go test ./kernels/mutants -update", page)
	}
}

// hunt returns by what a bug is noticed, or nothing.
func hunt(m *Mutant) (string, error) {
	replaced, err := m.Kernels()
	if err != nil {
		return "", err
	}
	program := &planted{kernels: replaced}
	if m.Replay != "" {
		return program.replay(m.Replay)
	}
	for seed := range uint64(pipelines) {
		p := validate.RandomPipeline(seed)
		if strings.TrimPrefix(p.Config.DType.String(), "fp8_") != m.InFormat() {
			continue
		}
		if m.With != nil {
			p.Config.Shape = p.Shape
			m.With(&p.Config)
			p.Rope = p.Config.Rope
			p.Own = nil // options by request of KV-Compress
		}
		outcome, err := p.Run(program.engine, validate.Tolerance{})
		if program.refused != nil {
			return "refused when it is loaded: " + strings.SplitN(program.refused.Error(), ": ", 4)[2], nil
		}
		if err != nil {
			return "", err
		}
		if d := outcome.Divergence; d != nil {
			return program.found(d, fmt.Sprintf("random pipeline %d", seed)), nil
		}
	}
	if m.With != nil {
		return "", nil
	}
	for _, name := range traces.Names() {
		if found, err := program.replay(name); err != nil || found != "" {
			return found, err
		}
	}
	return highSlots(program)
}

// replay returns by what a bug is noticed in a bundled replay, or nothing.
func (p *planted) replay(name string) (string, error) {
	bundle, err := traces.Bundled(name)
	if err != nil {
		return "", err
	}
	result, err := validate.Trace(context.Background(), name, bundle.Trace, bundle.Options, validate.Run{Engine: p.engine})
	if err != nil || result.Divergence == nil {
		return "", err
	}
	return p.found(result.Divergence, "trace "+name), nil
}

// highSlots decodes in the last blocks of a cache of more than 2 GiB of keys.
func highSlots(program *planted) (string, error) {
	const blocks, last = 1 << 17, 64
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 256}
	cfg.BlockSize, cfg.Blocks = 32, blocks+last
	open := func(kv.SeqID) (trace.Tensors, error) { return ones{}, nil }
	dev := &fullDevice{Device: ptx.New(ptx.Options{Checks: ptx.AllChecks()}), taken: blocks}
	e, err := program.on(dev, cfg, open, nil)
	if err != nil {
		return "", err
	}
	if err := e.Prefill(0, 39); err != nil {
		return "", err
	}
	if err := e.Decode([]kv.SeqID{0}); err != nil && program.report == nil {
		return "", err
	}
	if program.report == nil {
		return "", nil
	}
	return program.found(nil, "the end of a cache of 4 GiB"), nil
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

// pipelines is how many random pipelines a bug may pass before the traces are tried.
const pipelines = 300

// planted makes engines that have a bug, and keeps what a checker has reported.
type planted struct {
	kernels map[string]kernels.Replacement
	report  *ptx.Report
	refused error
}

func (p *planted) engine(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
	return p.on(ptx.New(ptx.Options{Checks: ptx.AllChecks()}), cfg, open, observe)
}

func (p *planted) on(dev device.Device, cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
	e, err := kernels.New(dev, cfg, open, observe, kernels.Options{Kernels: p.kernels})
	if err != nil {
		p.refused = err
		return nil, err
	}
	return &watched{e, p}, nil
}

// found says by what a bug was noticed, and where.
func (p *planted) found(d *validate.Divergence, where string) string {
	if r := p.report; r != nil {
		return fmt.Sprintf("checker: %s, %s:%d (%s)", r.Kind, path.Clean(r.File), r.Line, where)
	}
	var parts []string
	for _, part := range d.Parts {
		parts = append(parts, part.What)
	}
	return fmt.Sprintf("diff at %s: %s (%s)", d.Stage, strings.Join(parts, ", "), where)
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

const introduction = `# Planted bugs

A validation is worth what it would have noticed. Each of these bugs is a small edit of
a kernel, planted by itself (kernels/mutants); the table says what finds it first, of
the comparison with the reference after every stage and the checkers of the PTX machine.
The test that writes this page fails where a bug goes unnoticed:

    go test ./kernels/mutants

| bug | in | what is wrong | noticed by |
|---|---|---|---|
`

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
