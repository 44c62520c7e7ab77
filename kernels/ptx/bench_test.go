//go:build linux

package ptx_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// BenchmarkMachine runs the pipeline on the machine: prompts, decode steps of a
// batch, and compressions, of four heads of Llama-3.1-8B's size. It reports
// millions of thread-instructions a second of the processor's time, of all kernels
// and, with -v, of each.
func BenchmarkMachine(b *testing.B) {
	for _, c := range []struct {
		name   string
		checks ptx.Checks
	}{
		{"unchecked", ptx.Checks{}},
		{"checked", ptx.AllChecks()},
	} {
		b.Run(c.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			m := &meter{Device: ptx.New(ptx.Options{Checks: c.checks}), kernels: map[string]*count{}}
			for b.Loop() {
				if err := pipeline(m); err != nil {
					b.Fatal(err)
				}
			}
			m.report(b)
			if err := m.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// pipeline is what the benchmark runs.
func pipeline(dev device.Device) error {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 4, Group: 4, HeadSize: 128}
	cfg.Blocks = 512
	cfg.Compression.Rate = 0.5
	const tokens, steps = 600, 4
	e, err := kernels.New(dev, cfg, func(id kv.SeqID) (trace.Tensors, error) {
		return noise{uint64(id), tokens + steps}, nil
	}, nil, kernels.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	ids := []kv.SeqID{0, 1, 2}
	for i, id := range ids {
		if err := e.Prefill(id, tokens>>i); err != nil {
			return err
		}
	}
	for range steps {
		if err := e.Decode(ids); err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := e.Compress(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// noise is the random tensors of a sequence.
type noise struct {
	seed   uint64
	tokens int
}

func (n noise) Tokens() int  { return n.tokens }
func (n noise) Close() error { return nil }
func (n noise) Read(dst []float32, t trace.Tensor, layer, from, rows int) error {
	rng := rand.New(rand.NewPCG(n.seed, uint64(t)<<32|uint64(from)))
	for i := range dst {
		dst[i] = float32(rng.NormFloat64())
	}
	return nil
}

// meter measures the launches of a machine by kernel.
type meter struct {
	*ptx.Device
	kernels map[string]*count
}

type count struct {
	launches     int
	instructions int64
	time         time.Duration
}

func (m *meter) Load(name string, text []byte) (device.Module, error) {
	mod, err := m.Device.Load(name, text)
	return meterModule{mod, m}, err
}

type meterModule struct {
	device.Module
	m *meter
}

func (mm meterModule) Kernel(entry string) (device.Kernel, error) {
	k, err := mm.Module.Kernel(entry)
	if mm.m.kernels[entry] == nil {
		mm.m.kernels[entry] = new(count)
	}
	return meterKernel{k, mm.m, mm.m.kernels[entry]}, err
}

type meterKernel struct {
	device.Kernel
	m *meter
	c *count
}

func (k meterKernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	before, start := k.m.Instructions(), ptx.ThreadTime()
	err := k.Kernel.Launch(ctx, grid, block, shared, args...)
	k.c.time += ptx.ThreadTime() - start
	k.c.instructions += k.m.Instructions() - before
	k.c.launches++
	return err
}

func (m *meter) report(b *testing.B) {
	var names []string
	var all count
	for name, c := range m.kernels {
		names = append(names, name)
		all.time += c.time
		all.instructions += c.instructions
	}
	rate := func(c *count) float64 { return float64(c.instructions) / 1e6 / c.time.Seconds() }
	slices.SortFunc(names, func(x, y string) int { return int(m.kernels[y].time - m.kernels[x].time) })
	for _, name := range names {
		c := m.kernels[name]
		b.Logf("%-24s %5.1f %% of the time, %7.0f million a second, %d launches, %d instructions", name,
			100*c.time.Seconds()/all.time.Seconds(), rate(c), c.launches, c.instructions)
	}
	b.ReportMetric(rate(&all), "Minstr/s")
}

// BenchmarkParse reads the largest of the project's modules.
func BenchmarkParse(b *testing.B) {
	text, err := kernels.PTX("prefill.ptx")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ptx.Parse("prefill.ptx", text, false); err != nil {
			b.Fatal(err)
		}
	}
}
