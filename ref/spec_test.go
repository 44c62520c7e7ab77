package ref

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// specAttention is NUMERICS.md §3 and §4 line by line, for one query over KVs in logical order: the weights
// and the output.
func specAttention(q []float32, k, v [][]float32) (weights, out []float32) {
	d, n := len(q), len(k)
	butterfly := func(lane [32]float32) float32 {
		for distance := 16; distance >= 1; distance /= 2 {
			old := lane
			for l := range lane {
				lane[l] = old[l] + old[l^distance]
			}
		}
		return lane[0]
	}
	scale := 1 / float32(math.Sqrt(float64(d)))
	e := make([]float32, n)
	for i := range n {
		var lane [32]float32
		for j := range d {
			lane[j%32] = lane[j%32] + float32(q[j]*k[i][j])
		}
		e[i] = float32(butterfly(lane) * scale)
	}
	var m, z []float32
	for p := 0; p < n; p += 128 {
		part := e[p:min(p+128, n)]
		top := part[0]
		for _, s := range part {
			top = max(top, s)
		}
		var lane [32]float32
		for i := range part {
			part[i] = vec.Exp(part[i] - top)
			lane[i%32] = lane[i%32] + part[i]
		}
		m, z = append(m, top), append(z, butterfly(lane))
	}
	top := m[0]
	for _, x := range m {
		top = max(top, x)
	}
	var sum float32
	for p := range m {
		sum = sum + float32(vec.Exp(m[p]-top)*z[p])
	}
	out = make([]float32, d)
	for p := range m {
		f := vec.Exp(m[p]-top) / sum
		o := make([]float32, d)
		for i := p * 128; i < min(p*128+128, n); i++ {
			for j := range d {
				o[j] = o[j] + float32(e[i]*v[i][j])
			}
			weights = append(weights, float32(e[i]*f))
		}
		for j := range d {
			out[j] = out[j] + float32(o[j]*f)
		}
	}
	return weights, out
}

// Attend gives the specification's weights and output, for up to three partitions.
func TestAttend(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, n := range []int{1, 2, 100, Partition, Partition + 1, 300} {
		const d = 24
		row := func() []float32 {
			x := make([]float32, d)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			return x
		}
		q, out := row(), row()
		var k, v [][]float32
		var scores, values []float32
		for i := range n {
			k, v = append(k, row()), append(v, row())
			values = append(values, v[i]...)
			var dot [1]float32
			vec.Dots(dot[:], q, k[i], d)
			scores = append(scores, float32(dot[0]*attentionScale(d)))
		}
		Attend(out, scores, values)
		if weights, want := specAttention(q, k, v); !slices.Equal(scores, weights) || !slices.Equal(out, want) {
			t.Errorf("%d KVs: the weights or the output differ", n)
		}
	}
}

// TestEngineFollowsSpec compares the engine's decode steps with NUMERICS.md, to the bit: outputs and metrics,
// over shapes around every boundary.
func TestEngineFollowsSpec(t *testing.T) {
	for seed := range 80 {
		rng := rand.New(rand.NewPCG(uint64(seed), 10))
		shape := kv.Shape{Layers: 1, KVHeads: 1 + rng.IntN(2), Group: 1 + rng.IntN(8), HeadSize: 8 * (1 + rng.IntN(32))}
		n := []int{1, 2, 31, 32, 33, 127, 128, 129, 255, 256, 257, 300}[rng.IntN(12)]
		cfg := Default()
		cfg.Shape, cfg.BlockSize, cfg.DType = shape, 1<<rng.IntN(6), dtype.DType(rng.IntN(5))
		cfg.Blocks = shape.KVHeads * (n + 1)
		cfg.Metric = Metric{Norm: []Norm{L1, L2}[rng.IntN(2)], Reduction: Sum, Window: 1, Buffer: rng.IntN(5)}
		scale := map[trace.Tensor]float32{trace.K: 1, trace.V: 1}
		if cfg.DType.Size() == 1 && rng.IntN(2) == 0 {
			scale[trace.K], scale[trace.V] = rng.Float32()/64+0x1p-20, rng.Float32()*4+0x1p-20
			cfg.KVScale = &kv.Scale{K: []float32{scale[trace.K]}, V: []float32{scale[trace.V]}}
		}
		var outputs []float32
		e, err := NewEngine(cfg, func(kv.SeqID) (trace.Tensors, error) { return wide{hashed{3, shape}}, nil }, func(ev Event) {
			if ev.Stage == StageDecode {
				outputs = append([]float32(nil), ev.Parts[0].Floats...)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Prefill(3, n); err != nil {
			t.Fatal(err)
		}
		s := e.Cache().Sequence(3)
		before := make([][]float32, shape.KVHeads)
		for head := range before {
			for i := range n {
				before[head] = append(before[head], e.Cache().Data[0][e.Cache().Slot(&s.Heads[head], i)])
			}
			before[head] = append(before[head], 0)
		}
		if err := e.Decode([]kv.SeqID{3}); err != nil {
			t.Fatal(err)
		}

		d := shape.HeadSize
		src := hashed{3, shape}
		stored := func(tensor trace.Tensor, head int) (rows [][]float32) {
			for token := range n + 1 {
				row, bytes := make([]float32, d), make([]byte, d*cfg.DType.Size())
				for j := range row {
					row[j] = src.at(tensor, 0, token, head*d+j) / scale[tensor]
				}
				cfg.DType.Encode(bytes, row)
				cfg.DType.Decode(row, bytes)
				for j := range row {
					row[j] *= scale[tensor]
				}
				rows = append(rows, row)
			}
			return rows
		}
		for head := range shape.KVHeads {
			k, v := stored(trace.K, head), stored(trace.V, head)
			gained := make([]float32, n+1)
			for g := range shape.Group {
				q := make([]float32, d)
				for j := range q {
					q[j] = src.at(trace.Q, 0, n, (head*shape.Group+g)*d+j)
				}
				weights, out := specAttention(q, k, v)
				for j, want := range out {
					if got := outputs[(head*shape.Group+g)*d+j]; math.Float32bits(got) != math.Float32bits(want) {
						t.Fatalf("seed %d, %v, %d KVs: head %d, query %d, output %d is %g (%08x), the page says %g (%08x)",
							seed, cfg, n, head, g, j, got, math.Float32bits(got), want, math.Float32bits(want))
					}
				}
				for i, p := range weights {
					if cfg.Metric.Norm == L2 {
						p = float32(p * p)
					}
					gained[i] = gained[i] + p
				}
			}
			for i := range n + 1 {
				want := before[head][i]
				if i <= n-cfg.Metric.Buffer {
					want = want + gained[i]
				}
				if got := e.Cache().Data[0][e.Cache().Slot(&s.Heads[head], i)]; math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("seed %d, %v: head %d, metric %d is %g, the page says %g", seed, cfg, head, i, got, want)
				}
			}
		}
	}
}

// wide is a hashed source of many tokens.
type wide struct{ hashed }

func (wide) Tokens() int { return 1 << 14 }

// TestPrefillFollowsSpec does the same for the metrics of a prompt.
func TestPrefillFollowsSpec(t *testing.T) {
	for seed := range 60 {
		rng := rand.New(rand.NewPCG(uint64(seed), 11))
		d, group := 8*(1+rng.IntN(20)), 1+rng.IntN(4)
		n := []int{1, 2, 5, 31, 33, 128, 129, 140, 260}[rng.IntN(9)]
		m := Metric{
			Norm: []Norm{L1, L2}[rng.IntN(2)], Reduction: []Reduction{Sum, Avg}[rng.IntN(2)],
			MaxPool: []int{0, 7}[rng.IntN(2)], Window: 1 + rng.IntN(12), Buffer: rng.IntN(4),
		}
		w := min(m.Window, n)
		random := func(n int) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			return x
		}
		q, k := random(w*group*d), random(n*d)
		var rows [][]float32
		for i := range n {
			rows = append(rows, k[i*d:][:d])
		}
		want := make([]float32, n)
		for g := range group {
			a := make([]float32, n)
			for i := range w {
				at := n - w + i
				weights, _ := specAttention(q[(i*group+g)*d:][:d], rows[:at+1], rows[:at+1])
				for key, p := range weights {
					if key > at-m.Buffer {
						continue
					}
					if m.Norm == L2 {
						p = float32(p * p)
					}
					a[key] = a[key] + p
				}
			}
			if m.Reduction == Avg {
				for i := range a {
					a[i] = float32(a[i] * (float32(i+1) / float32(w)))
				}
			}
			for i := range want {
				top := a[i]
				for j := max(0, i-m.MaxPool/2); j <= min(n-1, i+m.MaxPool/2); j++ {
					top = max(top, a[j])
				}
				want[i] = want[i] + top
			}
		}
		got := make([]float32, n)
		m.PrefillMetrics(got, q, k, group, d)
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Fatalf("seed %d, %+v: metric %d is %g, the page says %g", seed, m, i, got[i], want[i])
			}
		}
	}
}

func TestCount(t *testing.T) {
	llama := kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}
	small := kv.Shape{Layers: 3, KVHeads: 2, Group: 1, HeadSize: 8}
	for _, c := range []struct {
		name                string
		shape               kv.Shape
		blockSize           int
		opt                 Compression
		length, kvs, blocks int
		want                int
	}{
		{"nothing asked", small, 4, Compression{}, 100, 600, 150, 0},
		{"6,000 tokens at 1/8", llama, 16, Compression{MaxCacheTokens: 752}, 6000, 1536000, 96000, 83968},
		{"tokens are rounded up to blocks", small, 4, Compression{MaxCacheTokens: 5}, 100, 600, 150, 150 - 8*6/4},
		{"already there", small, 4, Compression{MaxCacheTokens: 100}, 100, 600, 150, 0},
		{"half", small, 4, Compression{Rate: 0.5}, 100, 600, 150, (600 - 300) / 4},
		{"half beyond a window of 10, which is 12 in blocks", small, 4, Compression{Rate: 0.5, ProtectedWindow: 10}, 100, 600, 150, (600 - (88*6/2 + 12*6)) / 4},
		{"the target is rounded up, and so are the blocks", small, 4, Compression{Rate: 1.0 / 3}, 10, 60, 18, (60 - 20) / 4},
		{"all that is compressible is protected", small, 4, Compression{Rate: 0.5, ProtectedWindow: 97}, 100, 600, 150, 0},
		{"compressed before", small, 4, Compression{Rate: 0.5}, 100, 299, 75, 0},
		{"even layers round 77 down to a multiple of 3", small, 4, Compression{Rate: 0.49, EvenLayers: true}, 100, 600, 150, 75},
	} {
		cfg := Config{Config: kv.Config{Shape: c.shape, BlockSize: c.blockSize}, Compression: c.opt}
		if got := cfg.Count(c.length, c.kvs, c.blocks); got != c.want {
			t.Errorf("%s: %d blocks, want %d", c.name, got, c.want)
		}
	}
}

func TestQuotas(t *testing.T) {
	cfg := Config{Config: kv.Config{Shape: kv.Shape{Layers: 3, KVHeads: 2}}}
	total := func(opt Compression, e int) (blocks, quotas int) {
		cfg.Compression = opt
		for _, q := range cfg.Quotas(e) {
			blocks += q.Units
			quotas++
		}
		return blocks, quotas
	}
	for _, c := range []struct {
		opt            Compression
		e              int
		blocks, quotas int
	}{
		{Compression{}, 17, 17, 1},
		{Compression{EvenLayers: true}, 15, 15, 3},
		{Compression{EvenLayers: true, ControlLayers: []int{1}}, 15, 10, 2},
		{Compression{Uniform: true}, 17, 12, 6},
	} {
		if blocks, quotas := total(c.opt, c.e); blocks != c.blocks || quotas != c.quotas {
			t.Errorf("%+v: %d blocks in %d quotas, want %d in %d", c.opt, blocks, quotas, c.blocks, c.quotas)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	valid := Default()
	valid.Shape, valid.Blocks = kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 64}, 100
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	for _, c := range []struct {
		want string
		edit func(*Config)
	}{
		{"shape: layers is 0, want 1 to 1024", func(c *Config) { c.Shape.Layers = 0 }},
		{"shape: layers is 4611686018427387904", func(c *Config) { c.Shape.Layers = 1 << 62 }},
		{"shape: kv_heads is 4611686018427387904", func(c *Config) { c.Shape.KVHeads = 1 << 62 }},
		{"shape: group is 4611686018427387904", func(c *Config) { c.Shape.Group = 1 << 62 }},
		{"shape: kv_heads·group·head_size is", func(c *Config) { c.Shape.KVHeads, c.Shape.Group, c.Shape.HeadSize = 1024, 128, 256 }},
		{"shape: head_size is 12", func(c *Config) { c.Shape.HeadSize = 12 }},
		{"shape: head_size is 264", func(c *Config) { c.Shape.HeadSize = 264 }},
		{"block_size 3", func(c *Config) { c.BlockSize = 3 }},
		{"blocks 0", func(c *Config) { c.Blocks = 0 }},
		{"a cache of more than 16 GiB", func(c *Config) { c.Blocks = kv.MaxBlocks }},
		{"is not from 1 to 67108864", func(c *Config) { c.Blocks = kv.MaxBlocks + 1 }},
		{"kv_dtype", func(c *Config) { c.DType = 77 }},
		{`norm "L3"`, func(c *Config) { c.Metric.Norm = "L3" }},
		{`reduction "max"`, func(c *Config) { c.Metric.Reduction = "max" }},
		{"max_pool 4", func(c *Config) { c.Metric.MaxPool = 4 }},
		{"window 0", func(c *Config) { c.Metric.Window = 0 }},
		{"buffer -1", func(c *Config) { c.Metric.Buffer = -1 }},
		{"rate NaN", func(c *Config) { c.Compression.Rate = nan }},
		{"rate 1.5", func(c *Config) { c.Compression.Rate = 1.5 }},
		{"exclude each other", func(c *Config) { c.Compression.Rate, c.Compression.MaxCacheTokens = 0.5, 100 }},
		{"even_layers and uniform", func(c *Config) { c.Compression.EvenLayers, c.Compression.Uniform = true, true }},
		{"control_layers needs even_layers", func(c *Config) { c.Compression.ControlLayers = []int{0} }},
		{"control_layers: 2", func(c *Config) { c.Compression.EvenLayers, c.Compression.ControlLayers = true, []int{2} }},
		{"control_layers: 1", func(c *Config) { c.Compression.EvenLayers, c.Compression.ControlLayers = true, []int{1, 1} }},
		{"sinks -1", func(c *Config) { c.Compression.Sinks = -1 }},
		{"bias_weight", func(c *Config) { c.Compression.BiasWeight = float32(nan) }},
		{"first of the bins", func(c *Config) { c.Compression.HeadBias = &HeadBias{Bins: []int32{1}} }},
		{"bins[1] = 0", func(c *Config) { c.Compression.HeadBias = &HeadBias{Bins: []int32{0, 0}} }},
		{"0 layers, the model has 2", func(c *Config) { c.Compression.HeadBias = &HeadBias{Bins: []int32{0}} }},
	} {
		cfg := valid
		c.edit(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

// TestEngineErrors checks that an operation that fails says why and changes nothing.
func TestEngineErrors(t *testing.T) {
	cfg := Default()
	cfg.Shape, cfg.BlockSize, cfg.Blocks = kv.Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: 8}, 4, 5
	bad := -1 // the token that cannot be read
	e, err := NewEngine(cfg, func(id kv.SeqID) (trace.Tensors, error) { return failing{hashed{id, cfg.Shape}, &bad}, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", what, err, want)
		}
	}
	check("no tokens", e.Prefill(0, 0), "0 tokens")
	check("beyond the trace", e.Prefill(0, maxTokens+1), "its trace has 150")
	check("too many blocks", e.Prefill(0, 9), "6 blocks are needed and 5 are free")
	bad = 2
	check("unreadable prompt", e.Prefill(0, 3), "token 2 is broken")
	bad = -1
	if e.Free() != 5 {
		t.Errorf("%d of 5 blocks are free after failed prefills", e.Free())
	}
	if err := e.Prefill(0, 8); err != nil {
		t.Fatal(err)
	}
	check("a second time", e.Prefill(0, 1), "already in the cache")
	check("no block for the second layer", e.Decode([]kv.SeqID{0}), "2 blocks are needed and 1 are free")
	if s := e.Cache().Sequence(0); s.KVs() != 16 || s.Len != 8 || e.Free() != 1 {
		t.Errorf("%d KVs, length %d, %d free after a failed decode", s.KVs(), s.Len, e.Free())
	}
	check("nobody", e.Decode([]kv.SeqID{7}), "not in the cache")
	check("twice", e.Decode([]kv.SeqID{0, 0}), "in the batch twice")
	check("nobody", e.Release(7), "not in the cache")
	_, err = e.Compress(7)
	check("nobody", err, "not in the cache")

	if err := e.Release(0); err != nil {
		t.Fatal(err)
	}
	if err := e.Prefill(1, 3); err != nil {
		t.Fatal(err)
	}
	bad = 3
	check("unreadable token", e.Decode([]kv.SeqID{1}), "token 3 is broken")
	if s := e.Cache().Sequence(1); s.KVs() != 6 || s.Len != 3 {
		t.Errorf("%d KVs, length %d after a failed decode", s.KVs(), s.Len)
	}
}

// TestValueBeyondFormat checks that a key or value that f16 would round to infinity is refused before
// anything changes, and that fp8 saturates.
func TestValueBeyondFormat(t *testing.T) {
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2} {
		for _, at := range []int{2, 4} { // in the prompt, and in decode
			cfg := Default()
			cfg.DType, cfg.Blocks = format, 100
			cfg.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}
			e, err := NewEngine(cfg, func(id kv.SeqID) (trace.Tensors, error) { return large{hashed{id, cfg.Shape}, at}, nil }, func(ev Event) {
				if ev.Stage != StageDecode {
					return
				}
				for _, o := range ev.Parts[0].Floats {
					if math.IsNaN(float64(o)) || math.IsInf(float64(o), 0) {
						t.Errorf("%v: an output is %g", format, o)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			err = e.Prefill(0, 4)
			if err == nil {
				err = e.Decode([]kv.SeqID{0})
			}
			if format != dtype.F16 {
				if err != nil {
					t.Errorf("%v: %v", format, err)
				}
				continue
			}
			want := ValueError{Seq: 0, Tensor: trace.V, Token: at, Layer: 1, Head: 1, Element: 3, Value: 70000, Format: dtype.F16}
			var got *ValueError
			if !errors.As(err, &got) || *got != want {
				t.Errorf("token %d: %v, want %v", at, err, &want)
			}
			if s := e.Cache().Sequence(0); at == 2 && s != nil || at == 4 && s.KVs() != 16 {
				t.Errorf("token %d: the sequence has changed", at)
			}
		}
	}
}

// large is a source with one value that f16 cannot hold.
type large struct {
	hashed
	token int
}

func (l large) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	err := l.hashed.Read(dst, t, layer, from, n)
	if t == trace.V && layer == 1 && l.token >= from && l.token < from+n {
		dst[(l.token-from)*16+8+3] = 70000
	}
	return err
}

// TestPrefillTooLarge checks that a prefill that would need too much memory is an error, whatever the trace
// says.
func TestPrefillTooLarge(t *testing.T) {
	cfg := Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 32, Group: 128, HeadSize: 256}
	cfg.Metric.Window = 1 << 20
	for n, ok := range map[int]bool{100: true, 200: true, 300: false, 1 << 24: false} {
		if err := cfg.PrefillFits(n); (err == nil) != ok {
			t.Errorf("%d tokens: %v", n, err)
		}
	}
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 128, HeadSize: 8}
	cfg.Metric.Window = 32
	for n, ok := range map[int]bool{1 << 16: true, 1 << 24: false} {
		if err := cfg.PrefillFits(n); (err == nil) != ok {
			t.Errorf("%d tokens of wide groups: %v", n, err)
		}
	}
}

// failing is a source with one token that cannot be read.
type failing struct {
	hashed
	bad *int
}

func (f failing) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	if b := *f.bad; b >= from && b < from+n && layer == f.shape.Layers-1 {
		return errBroken(b)
	}
	return f.hashed.Read(dst, t, layer, from, n)
}

type errBroken int

func (e errBroken) Error() string { return "token " + string(rune('0'+int(e))) + " is broken" }
