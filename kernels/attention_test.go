package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// activations are the random tensors of one sequence.
type activations struct {
	shape  kv.Shape
	seed   uint64
	tokens int
	draw   func(rng *rand.Rand) float32
}

func (a activations) Tokens() int  { return a.tokens }
func (a activations) Close() error { return nil }
func (a activations) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	row := len(dst) / n
	for i := range n {
		rng := rand.New(rand.NewPCG(a.seed, uint64(t)<<60|uint64(layer)<<40|uint64(from+i)))
		for j := range row {
			dst[i*row+j] = a.draw(rng)
		}
	}
	return nil
}

// draws are ways to draw an element of Q, K or V.
var draws = []func(rng *rand.Rand) float32{
	func(rng *rand.Rand) float32 { return float32(rng.NormFloat64()) },
	func(rng *rand.Rand) float32 { return float32(rng.IntN(9) - 4) },
	func(rng *rand.Rand) float32 { return float32(rng.NormFloat64() * 30) }, // nearly all attention goes to one KV
	func(rng *rand.Rand) float32 { return float32(rng.NormFloat64() * 0x1p-70) },
	func(rng *rand.Rand) float32 { return float32(math.Copysign(0, rng.NormFloat64())) },
}

// pipeline runs the same stages on the reference's engine and on a device.
type pipeline struct {
	*testing.T
	cfg     ref.Config
	inputs  func(kv.SeqID) activations
	engine  *ref.Engine
	outputs []float32 // of the reference in the last decode step
}

func newPipeline(t *testing.T, cfg ref.Config, inputs func(kv.SeqID) activations) *pipeline {
	p := &pipeline{T: t, cfg: cfg, inputs: inputs}
	var err error
	p.engine, err = ref.NewEngine(cfg,
		func(id kv.SeqID) (trace.Tensors, error) { return inputs(id), nil },
		func(e ref.Event) {
			if e.Stage == ref.StageDecode {
				p.outputs = slices.Clone(e.Parts[0].Floats)
			}
		})
	p.must(err)
	return p
}

func (p *pipeline) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// tensor uploads tokens of a sequence: [n, heads, D].
func (p *pipeline) tensor(s *state, name string, id kv.SeqID, t trace.Tensor, layer, from, n, heads int) device.Ptr {
	p.Helper()
	x := make([]float32, n*heads*p.cfg.Shape.HeadSize)
	p.must(p.inputs(id).Read(x, t, layer, from, n))
	ptr, err := upload(s, name, x)
	p.must(err)
	return ptr
}

// prefill enters a prompt on a device, and compares the cache with that of the reference.
func (p *pipeline) prefill(dev device.Device, n int) {
	p.Helper()
	const id = 3
	p.must(p.engine.Prefill(id, n))

	s, err := stateFor(dev, p.cfg, 2, n)
	p.must(err)
	defer func() { p.must(s.close()) }()
	shape := p.cfg.Shape
	window := min(n, p.cfg.Metric.Window)
	p.must(s.allocatePrompt(1, id, n))
	for layer := range shape.Layers {
		q := p.tensor(s, "q", id, trace.Q, layer, n-window, window, shape.QueryHeads())
		k := p.tensor(s, "k", id, trace.K, layer, 0, n, shape.KVHeads)
		v := p.tensor(s, "v", id, trace.V, layer, 0, n, shape.KVHeads)
		p.must(s.storePrompt(1, layer, n, k, v))
		p.must(s.prefillMetrics(s.watched, 1, layer, n, window, q, k))
	}
	p.must(kvsDiffer(s, p.engine.Cache().Snapshot()))
}

// decode runs a step of the batch on a device, starting from the reference's cache, and compares the outputs
// and the cache afterwards.
func (p *pipeline) decode(dev device.Device, ids []kv.SeqID) {
	p.Helper()
	before := &content{p.cfg, p.engine.Cache().Snapshot()}
	need := 0
	for _, id := range ids {
		need += p.engine.DecodeNeed(id)
	}
	p.must(p.engine.Decode(ids))

	s := before.upload(p.T, dev)
	var rows, names, positions []int32
	for _, id := range ids {
		i := slices.IndexFunc(before.snap.Sequences, func(q *kv.Sequence) bool { return q.ID == id })
		rows, names = append(rows, int32(i)), append(names, int32(id))
		positions = append(positions, int32(before.snap.Sequences[i].Len))
	}
	b := batch{n: len(ids)}
	for _, x := range []struct {
		to     *device.Ptr
		name   string
		values []int32
	}{{&b.rows, "rows", rows}, {&b.ids, "ids", names}, {&b.positions, "positions", positions}} {
		var err error
		*x.to, err = upload(s, x.name, x.values)
		p.must(err)
	}
	b.times = b.positions
	p.must(s.allocateTokens(b, need))

	shape := p.cfg.Shape
	after := p.engine.Cache().Snapshot()
	size := len(ids) * shape.QueryHeads() * shape.HeadSize
	out, err := s.buffer("outputs", 4*size)
	p.must(err)
	for layer := range shape.Layers {
		input := func(name string, t trace.Tensor, heads int) device.Ptr {
			var x []float32
			for i, id := range ids {
				token := make([]float32, heads*shape.HeadSize)
				p.must(p.inputs(id).Read(token, t, layer, int(positions[i]), 1))
				x = append(x, token...)
			}
			ptr, err := upload(s, name, x)
			p.must(err)
			return ptr
		}
		longest := 0
		for _, row := range rows {
			for _, h := range after.Sequences[row].Heads[layer*shape.KVHeads:][:shape.KVHeads] {
				longest = max(longest, h.Len)
			}
		}
		p.must(s.storeTokens(b, layer, input("k", trace.K, shape.KVHeads), input("v", trace.V, shape.KVHeads)))
		p.must(s.attend(b, layer, longest, input("q", trace.Q, shape.QueryHeads()), out))
		got, err := download[float32](s, out, size)
		p.must(err)
		for i, want := range p.outputs[layer*size:][:size] {
			if math.Float32bits(got[i]) != math.Float32bits(want) {
				p.Fatalf("layer %d: output %d of [batch, H·G, D] is %x, not %x", layer, i, got[i], want)
			}
		}
	}
	p.must(kvsDiffer(s, after))
}

// shapes has awkward shapes, and shapes of models.
var shapes = []kv.Shape{
	{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8},
	{Layers: 2, KVHeads: 4, Group: 2, HeadSize: 8},
	{Layers: 1, KVHeads: 2, Group: 3, HeadSize: 16},
	{Layers: 1, KVHeads: 3, Group: 6, HeadSize: 24},
	{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 32},
	{Layers: 1, KVHeads: 2, Group: 7, HeadSize: 40},
	{Layers: 1, KVHeads: 4, Group: 1, HeadSize: 64},
	{Layers: 1, KVHeads: 2, Group: 5, HeadSize: 80},
	{Layers: 1, KVHeads: 2, Group: 4, HeadSize: 128},
	{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 136},
	{Layers: 1, KVHeads: 1, Group: 8, HeadSize: 256},
	{Layers: 1, KVHeads: 1, Group: 11, HeadSize: 96},
	{Layers: 1, KVHeads: 2, Group: 12, HeadSize: 8},
}

// randomMetric draws options of the metric.
func randomMetric(rng *rand.Rand) ref.Metric {
	return ref.Metric{
		Norm:      []ref.Norm{ref.L1, ref.L2}[rng.IntN(2)],
		Reduction: []ref.Reduction{ref.Sum, ref.Avg}[rng.IntN(2)],
		MaxPool:   []int{0, 3, 7, 31}[rng.IntN(4)],
		Window:    1 + rng.IntN(20),
		Buffer:    []int{0, 0, 1, 5, 30}[rng.IntN(5)],
	}
}

// TestPrefill compares the cache after a prompt.
func TestPrefill(t *testing.T) {
	lengths := []int{1, 2, 31, 33, 127, 128, 129, 257}
	for i, shape := range shapes {
		for j, n := range lengths {
			if (i+j)%testsize.Of(4, 2, 1) != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%+v/%d", shape, n), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				cfg := ref.Config{Config: kv.Config{Shape: shape, DType: dtype.DType((i + j) % 5), BlockSize: kv.BlockSizes()[rng.IntN(6)]}, Metric: randomMetric(rng)}
				cfg.Blocks = shape.Layers*shape.KVHeads*ceil.Div(n, cfg.BlockSize) + 3
				cfg.KVScale = draw.Scale(rng, cfg.DType, shape.Layers)
				inputs := draws[rng.IntN(len(draws))]
				p := newPipeline(t, cfg, func(id kv.SeqID) activations { return activations{shape, uint64(id), n, inputs} })
				p.prefill(checked(t, uint64(j%3)), n)
			})
		}
	}
}

// TestPrefillWindow observes more queries than are in memory at a time.
func TestPrefillWindow(t *testing.T) {
	const n = 200
	shape := kv.Shape{Layers: 1, KVHeads: 1, Group: 3, HeadSize: 16}
	for _, buffer := range []int{0, 3, 190, 1000} {
		for _, together := range []int{1, 7, 64} {
			cfg := ref.Config{Config: kv.Config{Shape: shape, DType: dtype.F16, BlockSize: 4, Blocks: 60}, Metric: ref.Default().Metric}
			cfg.Metric.Window, cfg.Metric.Buffer = 150, buffer
			p := newPipeline(t, cfg, func(kv.SeqID) activations { return activations{shape, 1, n, draws[0]} })
			p.must(p.engine.Prefill(0, n))
			s, err := stateFor(checked(t, 0), cfg, 1, n)
			p.must(err)
			p.must(s.allocatePrompt(0, 0, n))
			k := p.tensor(s, "k", 0, trace.K, 0, 0, n, 1)
			p.must(s.storePrompt(0, 0, n, k, p.tensor(s, "v", 0, trace.V, 0, 0, n, 1)))
			p.must(s.prefillMetricsBy(s.watched, together, 0, 0, n, 150, p.tensor(s, "q", 0, trace.Q, 0, n-150, 150, 3), k))
			p.must(kvsDiffer(s, p.engine.Cache().Snapshot()))
			p.must(s.close())
		}
	}
}

// TestDecode compares decode steps of batches whose sequences and heads have different lengths, from prompts
// and from compressions.
func TestDecode(t *testing.T) {
	for i, shape := range shapes {
		for j := range dtype.E5M2 + 1 {
			if (i+int(j))%testsize.Of(5, 2, 1) != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%+v/%v", shape, j), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(i), 7+uint64(j)))
				cfg := ref.Config{Config: kv.Config{Shape: shape, DType: j, BlockSize: kv.BlockSizes()[rng.IntN(6)]}, Metric: randomMetric(rng)}
				cfg.Blocks = 3*shape.Layers*shape.KVHeads*ceil.Div(310, cfg.BlockSize) + 7
				cfg.Compression.Rate, cfg.Compression.Random, cfg.Compression.ProtectedWindow = 0.5, true, 4
				cfg.KVScale = draw.Scale(rng, j, shape.Layers)
				inputs := draws[rng.IntN(len(draws))]
				p := newPipeline(t, cfg, func(id kv.SeqID) activations { return activations{shape, uint64(id), 400, inputs} })
				ids := []kv.SeqID{0, 2, 5}
				for _, id := range ids {
					edges := []int{1, 3, 31, 126, 127, 128, 254, 255, 300}
					p.must(p.engine.Prefill(id, edges[rng.IntN(len(edges))]))
				}
				rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
				for step := range 3 {
					p.decode(checked(t, uint64(step)), ids[:1+rng.IntN(3)])
					_, err := p.engine.Compress(ids[step])
					p.must(err)
				}
			})
		}
	}
}

// TestDecodeScales attends to fp8 KVs with queries, keys, values and scales of all magnitudes: scales must be
// multiplied as ref/NUMERICS.md §2 specifies, with no overflow and no additional rounding.
func TestDecodeScales(t *testing.T) {
	anyMagnitude := func(rng *rand.Rand) float32 {
		return float32(math.Ldexp(rng.NormFloat64(), rng.IntN(149+50)-149))
	}
	for seed := range testsize.Of[uint64](15, 30, 60) {
		rng := rand.New(rand.NewPCG(seed, 8))
		shape := shapes[rng.IntN(len(shapes))]
		scales := func() []float32 {
			s := make([]float32, shape.Layers)
			for i := range s {
				s[i] = oneOf(rng, kv.MinScale, kv.MaxScale, float32(math.Ldexp(1+rng.Float64(), rng.IntN(80)-40)))
			}
			return s
		}
		cfg := ref.Config{Config: kv.Config{
			Shape: shape, DType: oneOf(rng, dtype.E4M3, dtype.E5M2), BlockSize: oneOf(rng, kv.BlockSizes()...),
			KVScale: &kv.Scale{K: scales(), V: scales()},
		}, Metric: randomMetric(rng)}
		cfg.Blocks = shape.Layers * shape.KVHeads * ceil.Div(140, cfg.BlockSize)
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		p := newPipeline(t, cfg, func(id kv.SeqID) activations { return activations{shape, seed, 140, anyMagnitude} })
		p.must(p.engine.Prefill(0, oneOf(rng, 1, 31, 100, 128, 135)))
		for step := range uint64(2) {
			p.decode(checked(t, step), []kv.SeqID{0})
		}
	}
}

// TestDecodeLong has more partitions than a warp has lanes.
func TestDecodeLong(t *testing.T) {
	shape := kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8}
	cfg := ref.Config{Config: kv.Config{Shape: shape, DType: dtype.F16, BlockSize: 16, Blocks: 1200}, Metric: ref.Default().Metric}
	cfg.Metric.Window = 2
	p := newPipeline(t, cfg, func(id kv.SeqID) activations { return activations{shape, uint64(id), 9000, draws[id%2]} })
	p.must(p.engine.Prefill(0, 8000))
	p.must(p.engine.Prefill(1, 100))
	p.decode(checked(t, 0), []kv.SeqID{1, 0})
}

// TestAttendFar stores and attends to KVs in slots beyond 2^32 bytes.
func TestAttendFar(t *testing.T) {
	const n = 40
	shape := kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 256}
	near := ref.Config{Config: kv.Config{Shape: shape, DType: dtype.F32, BlockSize: 32, Blocks: 2}, Metric: ref.Default().Metric}
	p := newPipeline(t, near, func(kv.SeqID) activations { return activations{shape, 5, n + 1, draws[0]} })
	p.must(p.engine.Prefill(0, n))
	p.must(p.engine.Decode([]kv.SeqID{0}))
	want := p.engine.Cache().Snapshot()

	far := near
	far.Blocks = 140_000 // 4.6 GB of keys, of which only a few are touched
	dev := ptx.New(ptx.Options{})
	s, err := stateFor(dev, far, 1, n+1)
	p.must(err)
	table := []int32{int32(far.Blocks - 1), 1 << 16} // the second begins at 2^31 bytes
	p.must(dev.Write(s.tablesOf(0), encode(table)))
	input := func(name string, tensor trace.Tensor, from, n int) device.Ptr {
		heads := map[trace.Tensor]int{trace.Q: 2, trace.K: 1, trace.V: 1}[tensor]
		return p.tensor(s, name, 0, tensor, 0, from, n, heads)
	}
	k := input("k", trace.K, 0, n)
	p.must(s.storePrompt(0, 0, n, k, input("v", trace.V, 0, n)))
	p.must(s.prefillMetrics(s.watched, 0, 0, n, 32, input("q", trace.Q, n-32, 32), k))

	p.must(dev.Write(s.lengthsOf(0), encode([]int32{n + 1})))
	zero, err := upload(s, "zero", []int32{0})
	p.must(err)
	position, err := upload(s, "position", []int32{n})
	p.must(err)
	b := batch{n: 1, rows: zero, ids: zero, positions: position, times: position}
	p.must(s.storeTokens(b, 0, input("k", trace.K, n, 1), input("v", trace.V, n, 1)))
	out, err := s.buffer("outputs", 2*256*4)
	p.must(err)
	p.must(s.attend(b, 0, n+1, input("q", trace.Q, n, 1), out))
	got, err := download[float32](s, out, 2*256)
	p.must(err)
	if !slices.Equal(got, p.outputs) {
		t.Error("the outputs differ")
	}
	head := want.Sequences[0].Heads[0]
	for logical := range n + 1 {
		from, to := head.Slot(logical, 32), int(table[logical/32])*32+logical%32
		for _, a := range []struct {
			name string
			at   device.Ptr
			want []byte
		}{
			{"key", s.keys + device.Ptr(to*1024), want.Keys[from*1024:][:1024]},
			{"value", s.values + device.Ptr(to*1024), want.Values[from*1024:][:1024]},
			{"metric", s.metrics + device.Ptr(to*4), encode(want.Data[0][from:][:1])},
			{"position", s.positions + device.Ptr(to*4), encode(want.Positions[from:][:1])},
		} {
			b := make([]byte, len(a.want))
			p.must(dev.Read(b, a.at))
			if !slices.Equal(b, a.want) {
				t.Errorf("KV %d has another %s", logical, a.name)
			}
		}
	}
	p.must(s.close())
	p.must(dev.Close())
}
