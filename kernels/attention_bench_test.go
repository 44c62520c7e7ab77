package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// benchShapes are the shapes of the bundled traces.
var benchShapes = []struct {
	shape  kv.Shape
	format dtype.DType
}{
	{kv.Shape{Layers: 1, KVHeads: 4, Group: 2, HeadSize: 8}, dtype.F16},
	{kv.Shape{Layers: 1, KVHeads: 2, Group: 2, HeadSize: 32}, dtype.F32},
	{kv.Shape{Layers: 1, KVHeads: 4, Group: 1, HeadSize: 64}, dtype.BF16},
	{kv.Shape{Layers: 1, KVHeads: 2, Group: 5, HeadSize: 80}, dtype.E4M3},
	{kv.Shape{Layers: 1, KVHeads: 8, Group: 4, HeadSize: 128}, dtype.F16},
	{kv.Shape{Layers: 1, KVHeads: 2, Group: 8, HeadSize: 256}, dtype.E5M2},
}

// benchState returns a state with one sequence of n tokens, and a function that makes random inputs for it.
func benchState(b *testing.B, dev device.Device, cfg ref.Config, n int) (s *state, input func(name string, tokens, heads int) device.Ptr) {
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	cfg.BlockSize = 16
	cfg.Blocks = cfg.Shape.KVHeads * ceil.Div(n, cfg.BlockSize)
	s, err := stateFor(dev, cfg, 1, n)
	must(err)
	b.Cleanup(func() { must(s.close()) })
	must(s.allocatePrompt(0, 0, n))
	rng := rand.New(rand.NewPCG(1, 2))
	return s, func(name string, tokens, heads int) device.Ptr {
		x := make([]float32, tokens*heads*cfg.Shape.HeadSize)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		p, err := upload(s, name, x)
		must(err)
		return p
	}
}

// BenchmarkAttend counts the PTX machine's instructions for decode attention, per KV of a KV head.
func BenchmarkAttend(b *testing.B) {
	const n = 512
	for _, c := range benchShapes {
		b.Run(fmt.Sprintf("d=%d/g=%d/%v", c.shape.HeadSize, c.shape.Group, c.format), func(b *testing.B) {
			dev := ptx.New(ptx.Options{})
			s, input := benchState(b, dev, ref.Config{Config: kv.Config{Shape: c.shape, DType: c.format}, Metric: ref.Metric{Norm: ref.L2}}, n)
			must := func(err error) {
				if err != nil {
					b.Fatal(err)
				}
			}
			must(s.storePrompt(0, 0, n, input("k", n, c.shape.KVHeads), input("v", n, c.shape.KVHeads)))
			one, err := upload(s, "rows", []int32{0})
			must(err)
			time, err := upload(s, "times", []int32{n})
			must(err)
			q, out := input("q", 1, c.shape.QueryHeads()), input("out", 1, c.shape.QueryHeads())
			step := batch{n: 1, rows: one, ids: one, positions: time, times: time}
			before := dev.Instructions()
			for b.Loop() {
				must(s.attend(step, 0, n, q, out))
			}
			b.ReportMetric(float64(dev.Instructions()-before)/float64(b.N*c.shape.KVHeads*n), "instructions/KV")
		})
	}
}

// BenchmarkPrefillMetrics counts the instructions for the metrics of a prompt, per query and key.
func BenchmarkPrefillMetrics(b *testing.B) {
	const n, window = 512, 32
	for _, c := range benchShapes {
		b.Run(fmt.Sprintf("d=%d/g=%d", c.shape.HeadSize, c.shape.Group), func(b *testing.B) {
			dev := ptx.New(ptx.Options{})
			s, input := benchState(b, dev, ref.Config{Config: kv.Config{Shape: c.shape, DType: c.format}, Metric: ref.Default().Metric}, n)
			k, q := input("k", n, c.shape.KVHeads), input("q", window, c.shape.QueryHeads())
			before := dev.Instructions()
			for b.Loop() {
				if err := s.prefillMetrics(s.watched, 0, 0, n, window, q, k); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(dev.Instructions()-before)/float64(b.N*c.shape.QueryHeads()*n*window), "instructions/pair")
		})
	}
}

// BenchmarkAppend counts the instructions for storing a prompt's K and V, per KV of a KV head.
func BenchmarkAppend(b *testing.B) {
	const n = 512
	for _, c := range benchShapes {
		b.Run(fmt.Sprintf("d=%d/%v", c.shape.HeadSize, c.format), func(b *testing.B) {
			dev := ptx.New(ptx.Options{})
			s, input := benchState(b, dev, ref.Config{Config: kv.Config{Shape: c.shape, DType: c.format}}, n)
			k, v := input("k", n, c.shape.KVHeads), input("v", n, c.shape.KVHeads)
			before := dev.Instructions()
			for b.Loop() {
				if err := s.storePrompt(0, 0, n, k, v); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(dev.Instructions()-before)/float64(b.N*c.shape.KVHeads*n), "instructions/KV")
		})
	}
}

// BenchmarkScores counts the instructions for scores that are not attention weights, per KV of a KV head.
func BenchmarkScores(b *testing.B) {
	const n = 512
	shape := kv.Shape{Layers: 1, KVHeads: 1, Group: 4, HeadSize: 128}
	for _, name := range []string{"knorm", "keydiff", "lagkv", "expected-attention"} {
		b.Run(name, func(b *testing.B) {
			dev := ptx.New(ptx.Options{})
			cfg := ref.Config{Config: kv.Config{Shape: shape, DType: dtype.F16}}
			cfg.UseMethod(name)
			cfg.Rope = &trace.Rope{Base: 10000, RotarySize: shape.HeadSize, Pairing: trace.Half}
			s, input := benchState(b, dev, cfg, n)
			on := tensors{input("q", n, shape.QueryHeads()), input("k", n, shape.KVHeads), input("v", n, shape.KVHeads)}
			before := dev.Instructions()
			for b.Loop() {
				if err := s.promptNumbers(s.watched, 0, 0, n, on); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(dev.Instructions()-before)/float64(b.N*shape.KVHeads*n), "instructions/KV")
		})
	}
}
