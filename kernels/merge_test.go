package kernels

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/merge"
	"kvcompress/trace"
)

// mergeConfig is a cache of a method with three pairs of heads, and of a layer that is not merged.
func mergeConfig(t *testing.T, method string, options map[string]any) ref.Config {
	t.Helper()
	var cfg ref.Config
	cfg.Shape = kv.Shape{Layers: 3, KVHeads: 3, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks, cfg.DType = 2, 200, dtype.F16
	if err := setting(&cfg, method, options); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestListRetained compares list_retained with package merge, on distances with many ties, for more tokens than a block
// has threads.
func TestListRetained(t *testing.T) {
	cfg := mergeConfig(t, "minicache", map[string]any{"from": 1})
	s, err := newState(checked(t, 0), cfg, mustMethod(t, cfg), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	const first, pairs = 1, 3 // of layers 1 and 2
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		n := oneOf(rng, 1, 2, 31, 32, 33, 255, 256, 257, 700)
		values := oneOf(rng, 1, 2, 5, 1<<24)
		gamma := oneOf(rng, 0, 0.05, 0.3, 0.999, 1)
		from, rule := rng.IntN(50), rng.IntN(3)
		distances, limits := make([]float32, 2*pairs*n), make([]float32, 2*s.heads())
		for i := range distances {
			distances[i] = float32(rng.IntN(values+1)) / float32(values)
		}
		for i := range limits {
			limits[i] = oneOf(rng, -1, 0, float32(rng.IntN(values+1))/float32(values))
		}
		on, err := upload(s, "distances", distances)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.dev.Write(s.packing.limits, encode(limits)); err != nil {
			t.Fatal(err)
		}
		list, err := s.buffer("list of retained tokens", 4*len(distances))
		if err != nil {
			t.Fatal(err)
		}
		counts, err := s.buffer("tokens retained", 8*pairs)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.launch("merged.ptx", "list_retained", device.Dim{X: pairs, Y: 2, Z: 1}, threads(n, 256), 0,
			device.Pointer(on), device.Pointer(list), device.Pointer(counts), device.Pointer(s.packing.limits),
			number(first), number(cfg.Shape.KVHeads), number(from), number(n), number(rule), number(merge.RatioCount(n, gamma)), device.F32(float32(gamma))); err != nil {
			t.Fatal(err)
		}
		got, err := download[int32](s, counts, 2*pairs)
		if err != nil {
			t.Fatal(err)
		}
		after, err := download[float32](s, s.packing.limits, len(limits))
		if err != nil {
			t.Fatal(err)
		}
		for row := range 2 * pairs {
			d, at := distances[row*n:][:n], 2*(first*cfg.Shape.KVHeads)+row
			want, limit := merge.Ratio(d, gamma), limits[at]
			switch rule {
			case byRatio:
				limit = -1
				for i, x := range d {
					if !slices.Contains(want, int32(i)) {
						limit = max(limit, x)
					}
				}
			case byThreshold:
				limit = merge.Limit(d, gamma)
				want = merge.Above(d, limit)
			case byLimit:
				want = merge.Above(d, limit)
			}
			for i := range want {
				want[i] += int32(from)
			}
			var kept []int32
			if got[row] > 0 {
				if kept, err = download[int32](s, list+device.Ptr(4*row*n), int(got[row])); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(kept, want) || math.Float32bits(after[at]) != math.Float32bits(limit) {
				t.Fatalf("rule %d, γ = %v, %d tokens, pair and part %d: %v and a limit of %v, want %v and %v", rule, gamma, n, row, kept, after[at], want, limit)
			}
		}
	}
}

func mustMethod(t *testing.T, cfg ref.Config) ref.Method {
	t.Helper()
	m, err := cfg.NewMethod()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRestoreMerged restores caches that a reference engine cannot have.
func TestRestoreMerged(t *testing.T) {
	cfg := mergeConfig(t, "minicache", map[string]any{"from": 1, "gamma": 0.3})
	restoreEdited(t, cfg, []restoreCase{
		{"", func([]kv.Head) {}},
		{"the method has none", func(h []kv.Head) { h[0].Keys = h[3].Keys }},
		{"all heads alike", func(h []kv.Head) { h[4] = h[0] }},
		{"segment 0 of a part", func(h []kv.Head) { h[6].Keys[0].Deep = false }},
		{"segment 1 of V", func(h []kv.Head) { h[6].Values[1].First = 1 }},
		{"not those of the segment", func(h []kv.Head) { h[3].Keys[1].Index[h[3].Keys[1].Len-1]++ }},
		{"than the head of the shallower layer", func(h []kv.Head) { h[7].Values[0].Table[0] = h[7].Values[0].Table[1] }},
		{"than the head of the shallower layer", func(h []kv.Head) { h[7].Values = h[7].Values[:1] }},
	})
}

// TestRestoreMergedQuantized does so for a method that quantizes too: layer 0 is quantized, and layers 1 and 2 are merged.
func TestRestoreMergedQuantized(t *testing.T) {
	cfg := mergeConfig(t, "minicache+kivi", map[string]any{"from": 1, "gamma": 0.3, "group": 8, "residual": 8})
	restoreEdited(t, cfg, []restoreCase{
		{"", func([]kv.Head) {}},
		{"2 segments of a part, want at most 1", func(h []kv.Head) { h[0] = h[3] }},
		{"all heads alike", func(h []kv.Head) { h[4] = h[0] }},
		{"all heads alike", func(h []kv.Head) { h[2].Values[0].Len++ }},
		{"segment 0 of a part has format", func(h []kv.Head) { h[1].Keys[0].Format.Bits = 2 }},
		{"than the head of the shallower layer", func(h []kv.Head) { h[7].Values[0].Table[0] = h[7].Values[1].Table[0] }},
	})
}

// restoreCase is a cache whose heads are edited, and the error of restoring it.
type restoreCase struct {
	want string
	edit func(heads []kv.Head)
}

// restoreEdited restores the cache of a prompt that is compressed, edited as the cases say.
func restoreEdited(t *testing.T, cfg ref.Config, cases []restoreCase) {
	t.Helper()
	open := func(kv.SeqID) (trace.Tensors, error) { return tokens(30), nil }
	reference, err := ref.NewEngine(cfg, open, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reference.Close()
	e, err := New(checked(t, 0), cfg, open, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := reference.Prefill(0, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := reference.Compress(0); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		snap := reference.Cache().Snapshot()
		c.edit(snap.Sequences[0].Heads)
		cache, err := snap.Cache(cfg.Config, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = e.Restore(cache)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("case %d: %v, want %q", i, err, c.want)
		}
	}
}

// TestMergeWithoutRoom: a plan that needs more blocks than are free changes nothing.
func TestMergeWithoutRoom(t *testing.T) {
	for _, method := range []string{"minicache", "minicache+kivi"} {
		t.Run(method, func(t *testing.T) {
			options := map[string]any{"from": 1, "retain": "threshold", "gamma": 0.5}
			if method != "minicache" {
				options["group"], options["residual"] = 8, 8
			}
			mergeWithoutRoom(t, mergeConfig(t, method, options))
		})
	}
}

func mergeWithoutRoom(t *testing.T, cfg ref.Config) {
	cfg.Blocks = 9 * 10 // of a prompt of 20 tokens
	open := func(kv.SeqID) (trace.Tensors, error) { return tokens(30), nil }
	dev := checked(t, 0)
	e, err := New(dev, cfg, open, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Prefill(0, 20); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(e.Usage(), e.Count(0))
	if _, err := e.Compress(0); err == nil || !strings.Contains(err.Error(), "free") {
		t.Fatal(err)
	}
	if after := fmt.Sprint(e.Usage(), e.Count(0)); after != before || e.Free() != 0 {
		t.Errorf("%s, before %s; %d free", after, before, e.Free())
	}
}

// nearly are tensors whose layers have vectors that are parallel, opposite, nearly so, 0 or at random.
type nearly struct{ shape kv.Shape }

func (nearly) Tokens() int  { return 40 }
func (nearly) Close() error { return nil }
func (n nearly) Read(dst []float32, of trace.Tensor, layer, from, count int) error {
	heads, d := of.Heads(n.shape), n.shape.HeadSize
	for i := range dst[:count*heads*d] {
		token, head, j := from+i/(heads*d), i/d%heads, i%d
		rng := rand.New(rand.NewPCG(uint64(token), uint64(head*256+j)))
		x, other := float32(rng.NormFloat64()), float32(rng.NormFloat64())
		if layer%2 == 1 {
			switch token % 8 {
			case 0:
				x *= 4
			case 1:
				x *= -0.5
			case 2:
				x *= 1 + other*0x1p-9
			case 3:
				x *= -1 + other*0x1p-9
			case 4:
				x = 0
			case 5:
				x *= 0x1p-23
			default:
				x = other
			}
		}
		dst[i] = x
	}
	return nil
}

// TestMergeVectors merges vectors that lie at the edges of the arithmetic, and reads them, on both engines.
func TestMergeVectors(t *testing.T) {
	sizes, bits, weights := []int{8, 40, 128, 256}, map[int]int{8: 4, 40: 4, 128: 3, 256: 1}, []float64{0.6, 0.5, 0, 1}
	sizes, weights = sizes[testsize.Of(1, 0, 0):testsize.Of(2, 2, 4)], weights[:testsize.Of(2, 2, 4)]
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16} {
		for _, d := range sizes {
			for _, weight := range weights {
				options := map[string]any{"from": 0, "t": weight, "gamma": 0.2, "append": "threshold"}
				mergeVectors(t, mergeConfig(t, "minicache", options), format, d)
				options["group"], options["residual"], options["bits"] = 8, 8, bits[d]
				mergeVectors(t, mergeConfig(t, "minicache+kivi", options), format, d)
			}
		}
	}
}

func mergeVectors(t *testing.T, cfg ref.Config, format dtype.DType, d int) {
	t.Helper()
	cfg.Shape = kv.Shape{Layers: 2, KVHeads: 1, Group: 2, HeadSize: d}
	cfg.DType, cfg.BlockSize = format, 8
	open := func(kv.SeqID) (trace.Tensors, error) { return nearly{cfg.Shape}, nil }
	var outputs [][]float32
	observe := func(e ref.Event) {
		for _, p := range e.Parts {
			if p.Floats != nil {
				outputs = append(outputs, slices.Clone(p.Floats))
			}
		}
	}
	reference, err := ref.NewEngine(cfg, open, observe)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(checked(t, 0), cfg, open, observe, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []pipelineEngine{reference, e} {
		run := func() error {
			if err := engine.Prefill(0, 32); err != nil {
				return err
			}
			for range 6 {
				if _, err := engine.Compress(0); err != nil {
					return err
				}
				if err := engine.Decode([]kv.SeqID{0}); err != nil {
					return err
				}
			}
			return nil
		}
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := e.Cache()
	if err != nil {
		t.Fatal(err)
	}
	if err := sameMerged(reference.Cache(), got); err != nil {
		t.Errorf("%v, D = %d, %s: %v", format, d, cfg.Set, err)
	}
	half := len(outputs) / 2
	for i := range half {
		if !slices.Equal(outputs[i], outputs[half+i]) {
			t.Errorf("%v, D = %d, %s: the outputs of step %d differ", format, d, cfg.Set, i)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := reference.Close(); err != nil {
		t.Error(err)
	}
}

// sameMerged compares the segments of sequence 0 of two caches that are not plain, and their bytes.
func sameMerged(want, got *kv.Cache) error {
	for i := range want.Sequence(0).Heads {
		w, g := &want.Sequence(0).Heads[i], &got.Sequence(0).Heads[i]
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			a, b := w.List(part), g.List(part)
			if !reflect.DeepEqual(a, b) || len(a) != 2 {
				return fmt.Errorf("head %d, %v: %+v, want %+v", i, part, b, a)
			}
			for k := range a {
				var units [][]byte
				got.Units(&b[k], func(_ int, unit []byte) { units = append(units, unit) })
				n, wrong := 0, -1
				want.Units(&a[k], func(first int, unit []byte) {
					if !bytes.Equal(unit, units[n]) {
						wrong = first
					}
					n++
				})
				if wrong >= 0 {
					return fmt.Errorf("head %d, %v: KV %d of segment %d differs", i, part, wrong, k)
				}
			}
		}
	}
	return nil
}

// TestPackedRefused: a grid has at most 65,535 blocks in y, one for each pair of heads that is merged, and for each head that is quantized.
func TestPackedRefused(t *testing.T) {
	for _, c := range []struct {
		method string
		layers int // of 1,024 heads
		want   string
	}{
		{"minicache", 127, ""},
		{"minicache", 128, "merges 65536 pairs of heads, of which a grid has at most 65535: it runs on the reference engine"},
		{"kivi", 63, ""},
		{"kivi", 64, "quantizes 65536 heads, of which a grid has at most 65535: it runs on the reference engine"},
		{"minicache+kivi", 127, ""}, // 63 pairs of layers, and one layer
		{"minicache+kivi", 128, "merges 65536 pairs"},
	} {
		cfg := ref.Default()
		cfg.Shape, cfg.Blocks = kv.Shape{Layers: c.layers, KVHeads: 1024, Group: 1, HeadSize: 32}, 1
		options := map[string]any{"from": 0}
		if c.method == "kivi" {
			options = nil
		}
		if err := setting(&cfg, c.method, options); err != nil {
			t.Fatal(err)
		}
		err := supported(mustMethod(t, cfg), cfg.Shape)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s of %d layers: %v, want %q", c.method, c.layers, err, c.want)
		}
	}
	cfg := mergeConfig(t, "minicache+kivi", map[string]any{"group": 8})
	if err := supported(eightBits{mustMethod(t, cfg).(ref.Merger)}, cfg.Shape); err == nil || !strings.Contains(err.Error(), "directions of 8 bits") {
		t.Errorf("%v", err)
	}
}

// eightBits merges into directions of 8 bits.
type eightBits struct{ ref.Merger }

func (eightBits) Directions() kv.Format { return kv.Format{Kind: kv.Merged, Bits: 8, Group: 8} }
