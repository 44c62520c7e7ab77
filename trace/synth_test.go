package trace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
)

// synthTrace returns a trace of one request of n cached tokens.
func synthTrace(tb testing.TB, shape kv.Shape, format dtype.DType, layers string, n int) *Trace {
	tb.Helper()
	pattern, err := ParseLayers(layers)
	if err != nil {
		tb.Fatal(err)
	}
	meta := Meta{
		FormatVersion: 1, Shape: shape, DType: format,
		Source: Source{Kind: Synthetic},
		Synth:  &Recipe{Seed: 1, Layers: pattern},
	}
	tr, err := New(meta, []Request{{ID: "0", PromptTokens: n, OutputTokens: 1}})
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

// attention returns softmax(q·k/√d) of the query head and token over the causal
// keys.
func attention(tb testing.TB, x Tensors, s kv.Shape, k []float32, layer, head, token int) []float64 {
	tb.Helper()
	d := s.HeadSize
	q := make([]float32, Q.row(s))
	if err := x.Read(q, Q, layer, token, 1); err != nil {
		tb.Fatal(err)
	}
	q = q[head*d:][:d]
	p := make([]float64, token+1)
	for j := range p {
		key := k[j*K.row(s)+head/s.Group*d:][:d]
		for i := range d {
			p[j] += float64(q[i]) * float64(key[i])
		}
		p[j] /= math.Sqrt(float64(d))
	}
	top := slices.Max(p)
	sum := 0.0
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p
}

func total(p []float64) (sum float64) {
	for _, x := range p {
		sum += x
	}
	return sum
}

// TestHeadKinds computes the attention of heads of each kind, and checks that it goes to the
// tokens that the kind attends to.
func TestHeadKinds(t *testing.T) {
	big := kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 128}
	mid := kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 64}
	tiny := kv.Shape{Layers: 2, KVHeads: 4, Group: 2, HeadSize: 8}
	sinks := func(p []float64) float64 { return total(p[:SinkTokens]) }
	last := func(w int) func(p []float64) float64 {
		return func(p []float64) float64 { return total(p[max(0, len(p)-w):]) }
	}
	// needle is the attention of the NeedleTokens most attended tokens at least a
	// block back.
	needle := func(p []float64) float64 {
		if len(p) <= 2*NeedleBlock {
			return 1
		}
		p = slices.Clone(p[SinkTokens : len(p)-NeedleBlock])
		slices.Sort(p)
		return total(p[len(p)-NeedleTokens:])
	}
	// needles is that of ten needles: with few dimensions, patterns recur.
	needles := func(p []float64) float64 {
		if len(p) <= 2*NeedleBlock {
			return 1
		}
		p = slices.Clone(p[:len(p)-NeedleBlock])
		slices.Sort(p)
		return total(p[max(0, len(p)-10*NeedleTokens):])
	}
	// flat is the share of tokens that hold half of the attention, which is 1/2
	// where it is quite even.
	flat := func(p []float64) float64 {
		p = slices.Clone(p)
		slices.Sort(p)
		sum, n := 0.0, 0
		for sum < 0.5 {
			n++
			sum += p[len(p)-n]
		}
		return float64(n) / float64(len(p))
	}
	for _, tc := range []struct {
		layers string
		shape  kv.Shape
		tokens int
		share  func(p []float64) float64
		name   string
		mean   float64 // at least, over heads and queries
		min    float64 // of each
	}{
		{"sink", big, 2000, sinks, "sinks", 0.9, 0.7},
		{"sink", big, 32000, sinks, "sinks", 0.8, 0.5},
		{"sink", tiny, 2000, sinks, "sinks", 0.9, 0.5},
		{"local:1", big, 2000, last(2), "window+1", 0.9, 0.5},
		{"local:16", big, 2000, last(16), "window", 0.9, 0.7},
		{"local:256", big, 2000, last(256), "window", 0.95, 0.9},
		{"local:256", big, 32000, last(256), "window", 0.95, 0.9},
		{"local:4096", mid, 32000, last(4096), "window", 0.95, 0.9},
		{"local:64", mid, 32000, last(64), "window", 0.9, 0.7},
		{"local:16", tiny, 2000, last(16), "window", 0.9, 0.5},
		{"local:64", tiny, 8000, last(64), "window", 0.9, 0.5},
		{"retrieval", big, 2000, needle, "needle", 0.9, 0.7},
		{"retrieval", big, 32000, needle, "needle", 0.9, 0.6},
		{"retrieval", mid, 8000, needle, "needle", 0.9, 0.5},
		{"retrieval", tiny, 500, needles, "ten needles", 0.9, 0.5},
		{"uniform", big, 2000, flat, "half", 0.35, 0.25},
		{"uniform", tiny, 500, flat, "half", 0.3, 0.15},
		{"sink+local:64", big, 2000, sinks, "sinks", 0.3, 0.05},
		{"sink+local:64", big, 2000, last(64), "window", 0.3, 0.05},
		{"sink+local:64", tiny, 500, sinks, "sinks", 0.15, 0},
		{"sink+local:64", tiny, 500, last(64), "window", 0.15, 0},
		{"sink+retrieval", big, 8000, sinks, "sinks", 0.3, 0.05},
		{"sink+retrieval", big, 8000, needle, "needle", 0.3, 0.05},
		{"local:128+retrieval", big, 8000, last(128), "window", 0.3, 0.05},
		{"local:128+retrieval", big, 8000, needle, "needle", 0.3, 0.05},
		{"sink+local:32+retrieval", big, 8000, sinks, "sinks", 0.15, 0.02},
		{"sink+local:32+retrieval", big, 8000, last(32), "window", 0.15, 0.02},
		{"sink+local:32+retrieval", big, 8000, needle, "needle", 0.15, 0.02},
	} {
		t.Run(fmt.Sprintf("%s/%d×%d/%s", tc.layers, tc.tokens, tc.shape.HeadSize, tc.name), func(t *testing.T) {
			if tc.tokens > testsize.Of(2000, 8000, 32000) {
				t.Skip("a long prompt")
			}
			tr := synthTrace(t, tc.shape, dtype.F16, tc.layers, tc.tokens)
			x, err := tr.Tensors(0)
			if err != nil {
				t.Fatal(err)
			}
			sum, n, low := 0.0, 0, 1.0
			layer := 1
			k := make([]float32, tc.tokens*K.row(tc.shape))
			if err := x.Read(k, K, layer, 0, tc.tokens); err != nil {
				t.Fatal(err)
			}
			for head := range tc.shape.QueryHeads() {
				for i := range 12 {
					token := tc.tokens - 1 - i*tc.tokens/24
					share := tc.share(attention(t, x, tc.shape, k, layer, head, token))
					sum, n, low = sum+share, n+1, min(low, share)
				}
			}
			t.Logf("mean %.3f, lowest %.3f", sum/float64(n), low)
			if mean := sum / float64(n); mean < tc.mean || low < tc.min {
				t.Errorf("mean %.3f, lowest %.3f; want %.2f and %.2f", mean, low, tc.mean, tc.min)
			}
		})
	}
}

// TestSynthRandomAccess: every way to read gives the same values.
func TestSynthRandomAccess(t *testing.T) {
	shape := kv.Shape{Layers: 3, KVHeads: 3, Group: 2, HeadSize: 16}
	const n = 300
	tr := synthTrace(t, shape, dtype.BF16, "sink,local:8+sink+retrieval/uniform/retrieval,local", n)
	a, _ := tr.Tensors(0)
	b, _ := tr.Tensors(0)
	for layer := range shape.Layers {
		for x := Q; x <= V; x++ {
			whole := make([]float32, n*x.row(shape))
			if err := a.Read(whole, x, layer, 0, n); err != nil {
				t.Fatal(err)
			}
			for _, r := range [][2]int{{0, 1}, {n - 1, 1}, {17, 40}, {n, 0}, {100, 200}} {
				part := make([]float32, r[1]*x.row(shape))
				if err := b.Read(part, x, (layer+1)%3, 0, 0); err == nil && r[1] > 0 {
					t.Error("a dst of the wrong length was taken")
				}
				if err := b.Read(part, x, layer, r[0], r[1]); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(part, whole[r[0]*x.row(shape):][:len(part)]) {
					t.Errorf("%v, layer %d: tokens %d+%d differ", x, layer, r[0], r[1])
				}
			}
		}
	}
}

// TestSynthDepends: values depend on the request, seed, layer and head, and on nothing else.
func TestSynthDepends(t *testing.T) {
	shape := kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 8}
	read := func(seed uint64, id string, layer, tokens int) []float32 {
		meta := synthTrace(t, shape, dtype.F32, "sink+local", 1).Meta
		meta.Synth.Seed = seed
		tr, err := New(meta, []Request{
			{ID: "first", PromptTokens: 3, OutputTokens: 1},
			{ID: id, PromptTokens: tokens, OutputTokens: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		x, _ := tr.Tensors(1)
		dst := make([]float32, 5*Q.row(shape))
		if err := x.Read(dst, Q, layer, 0, 5); err != nil {
			t.Fatal(err)
		}
		return dst
	}
	a := read(1, "a", 0, 10)
	if !slices.Equal(a, read(1, "a", 0, 20)) {
		t.Error("the length makes a difference")
	}
	for name, b := range map[string][]float32{"seed": read(2, "a", 0, 10), "id": read(1, "b", 0, 10), "layer": read(1, "a", 1, 10)} {
		same := 0
		for i := range a {
			if a[i] == b[i] {
				same++
			}
		}
		if same > len(a)/20 {
			t.Errorf("another %s: %d of %d values are the same", name, same, len(a))
		}
	}
	for h := 1; h < shape.QueryHeads(); h++ {
		if slices.Equal(a[:8], a[8*h:8*h+8]) {
			t.Errorf("heads 0 and %d are the same", h)
		}
	}
}

// TestSynthGolden pins the bytes that recipes expand to: a change here is a change
// of the format, and the same digests must come out on every platform.
func TestSynthGolden(t *testing.T) {
	for _, tc := range []struct {
		layers string
		shape  kv.Shape
		format dtype.DType
		tokens int
		want   string // of q, k and v
	}{
		{"sink,local,retrieval,uniform", kv.Shape{Layers: 2, KVHeads: 4, Group: 2, HeadSize: 64}, dtype.F16, 300, "0bbdc542fbb58477"},
		{"sink+local:32+retrieval/local:1", kv.Shape{Layers: 2, KVHeads: 2, Group: 3, HeadSize: 128}, dtype.BF16, 300, "743b7a593801e17e"},
		{"sink+local:16/retrieval+local", kv.Shape{Layers: 5, KVHeads: 4, Group: 2, HeadSize: 8}, dtype.F32, 300, "abc219fb1ded2824"},
		{"sink+retrieval,local:16384,uniform", kv.Shape{Layers: 1, KVHeads: 3, Group: 1, HeadSize: 256}, dtype.F32, 700, "0398c238f4a4f4fa"},
	} {
		tr := synthTrace(t, tc.shape, tc.format, tc.layers, tc.tokens)
		x, err := tr.Tensors(0)
		if err != nil {
			t.Fatal(err)
		}
		if got := digest(t, x, tc.shape); got != tc.want {
			t.Errorf("%s: digest %s, want %s", tc.layers, got, tc.want)
		}
	}
}

// digest is the beginning of the SHA-256 of Q, K and V as little-endian float32.
func digest(tb testing.TB, x Tensors, s kv.Shape) string {
	h := sha256.New()
	for t := Q; t <= V; t++ {
		row := make([]float32, t.row(s))
		raw := make([]byte, 4*len(row))
		for token := range x.Tokens() {
			for layer := range s.Layers {
				if err := x.Read(row, t, layer, token, 1); err != nil {
					tb.Fatal(err)
				}
				for i, v := range row {
					binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
				}
				h.Write(raw)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func BenchmarkSynthesize(b *testing.B) {
	for _, layers := range []string{"sink", "local:256", "retrieval", "uniform", "sink,local:256,retrieval,uniform", "sink+local+retrieval"} {
		b.Run(layers, func(b *testing.B) {
			shape := kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}
			const n = 6000
			x, err := synthTrace(b, shape, dtype.F16, layers, n).Tensors(0)
			if err != nil {
				b.Fatal(err)
			}
			var dst [3][]float32
			for t := Q; t <= V; t++ {
				dst[t] = make([]float32, n*t.row(shape))
			}
			b.ReportAllocs()
			for b.Loop() {
				for t := Q; t <= V; t++ {
					if err := x.Read(dst[t], t, 0, 0, n); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
