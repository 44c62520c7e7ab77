package kv

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"kvcompress/dtype"
	"kvcompress/ref/quant"
)

// filled returns a cache with one sequence of n tokens and random keys and values.
func filled(t *testing.T, cfg Config, n int) (*Cache, *Sequence) {
	t.Helper()
	c := NewCache(cfg, nil)
	s, err := c.Add(3, n)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	row := func() []float32 {
		x := make([]float32, cfg.Shape.HeadSize)
		for i := range x {
			x[i] = r.Float32() - 0.5
		}
		return x
	}
	for i := range s.Heads {
		for logical := range n {
			c.Store(c.Slot(&s.Heads[i], logical), row(), row())
		}
	}
	return c, s
}

// read reads all keys or values of a head.
func read(c *Cache, h *Head, p Part) []float32 {
	dst := make([]float32, h.KVs()*c.cfg.Shape.HeadSize)
	r := Reader{Cache: c}
	r.Read(dst, h, p, 0)
	return dst
}

// TestQuantize quantizes keys in two calls and values in three, and compares what is read with
// the plain arithmetic of package quant, for every number of bits: all of it, and from every
// index on.
func TestQuantize(t *testing.T) {
	for bits := 1; bits <= 8; bits++ {
		for _, format := range []dtype.DType{dtype.F16, dtype.BF16, dtype.F32} {
			t.Run(fmt.Sprintf("%d bits, %v", bits, format), func(t *testing.T) {
				cfg := Config{Shape: Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 60, DType: format}
				const n = 57
				c, s := filled(t, cfg, n)
				h := &s.Heads[1]
				exact := [3][]float32{Keys: read(c, h, Keys), Values: read(c, h, Values)}
				perChannel, perToken := Format{PerChannel, bits, 8}, Format{PerToken, bits, 16}
				want := [3][]float32{Keys: dequantized(t, cfg, perChannel, exact[Keys], 40), Values: dequantized(t, cfg, perToken, exact[Values], 41)}
				used := c.Blocks() - c.Free()
				for _, q := range []struct {
					part Part
					f    Format
					n    int
				}{{Keys, perChannel, 16}, {Values, perToken, 1}, {Keys, perChannel, 24}, {Values, perToken, 39}, {Values, perToken, 1}} {
					if err := c.Quantize(s, 1, q.part, q.f, q.n); err != nil {
						t.Fatal(err)
					}
				}
				pages := cfg.Pages(perChannel, 40) + cfg.Pages(perToken, 41)
				if got := c.Blocks() - c.Free() - used; got != pages {
					t.Errorf("%d pages were taken, want %d", got, pages)
				}
				if freed := c.TrimPlain(h); freed != 2 || h.First != 40 || h.Offset != 8 || h.KVs() != n || c.TrimPlain(h) != 0 {
					t.Errorf("%d blocks came free, and the plain segment begins with %d at %d", freed, h.First, h.Offset)
				}
				if err := c.CheckHead(h); err != nil {
					t.Error(err)
				}
				for _, p := range []Part{Keys, Values} {
					if got := read(c, h, p); !reflect.DeepEqual(got, want[p]) {
						t.Errorf("%v: what is read differs", p)
					}
					r, d := Reader{Cache: c}, cfg.Shape.HeadSize
					for first := range n {
						dst := make([]float32, min(16, n-first)*d)
						r.Read(dst, h, p, first)
						if !reflect.DeepEqual(dst, want[p][first*d:][:len(dst)]) {
							t.Fatalf("%v: from %d on, what is read differs", p, first)
						}
					}
				}
				if again, err := c.Snapshot().Cache(cfg, nil); err != nil {
					t.Error(err)
				} else if got := read(again, &again.Sequence(3).Heads[1], Keys); !reflect.DeepEqual(got, want[Keys]) {
					t.Error("a snapshot's keys are others")
				}
				if slot := c.Append(s, 0, 1, n); slot != c.Slot(h, n) || h.KVs() != n+1 {
					t.Errorf("the next KV is in slot %d", slot)
				}
				if err := c.Remove(3); err != nil || c.Free() != c.Blocks() {
					t.Errorf("%v: %d of %d blocks are free", err, c.Free(), c.Blocks())
				}
			})
		}
	}
}

// dequantized returns rows of which the first n have been quantized and read again.
func dequantized(t *testing.T, cfg Config, f Format, x []float32, n int) []float32 {
	t.Helper()
	g := quant.Groups{Bits: f.Bits, Size: f.Group, Type: cfg.DType}
	shape := quant.Values(1, n, cfg.Shape.HeadSize)
	if f.Kind == PerChannel {
		shape = quant.Keys(1, n, cfg.Shape.HeadSize)
	}
	q, err := g.Quantize(shape, x[:n*cfg.Shape.HeadSize])
	if err != nil {
		t.Fatal(err)
	}
	y, err := g.Dequantize(shape, q)
	if err != nil {
		t.Fatal(err)
	}
	return append(y, x[len(y):]...)
}

// TestQuantizeFullCache checks that nothing changes where the pages are not there, and that
// what cannot be quantized is refused.
func TestQuantizeFullCache(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 4, DType: dtype.F16}
	c, s := filled(t, cfg, 50)
	before := c.Snapshot()
	var none *ErrNoBlocks
	if err := c.Quantize(s, 0, Keys, Format{PerChannel, 2, 16}, 48); !errors.As(err, &none) || none.Free != 0 {
		t.Errorf("%v", err)
	}
	for _, q := range []struct {
		part Part
		f    Format
		n    int
	}{{Both, Format{PerToken, 4, 32}, 1}, {Keys, Format{PerChannel, 4, 32}, 33}, {Values, Format{PerToken, 4, 32}, 51}, {Values, Format{PerToken, 4, 5}, 1}, {Values, Format{PerToken, 4, 32}, 0}} {
		if err := c.Quantize(s, 0, q.part, q.f, q.n); err == nil || errors.As(err, &none) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if !reflect.DeepEqual(c.Snapshot(), before) {
		t.Error("something has changed")
	}
}

// TestOwnerInts checks that an owner's four numbers are the owner.
func TestOwnerInts(t *testing.T) {
	for _, o := range []Owner{{Seq: NoSeq}, {3, 1, 2, 0, Both}, {math.MaxInt32, 5, 6, MaxBlocks, Keys}, {0, 0, 0, 7, Values}} {
		if got := OwnerOf(o.Ints()); got != o {
			t.Errorf("%+v, want %+v", got, o)
		}
	}
}

// TestIndexedSegments checks that of segments that have a KV both the later one is read.
func TestIndexedSegments(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 60, DType: dtype.F32}
	c, s := filled(t, cfg, 40)
	f := Format{PerToken, 8, 32}
	for head := range 2 {
		if err := c.Quantize(s, head, Keys, f, 30); err != nil {
			t.Fatal(err)
		}
	}
	h, other := &s.Heads[0], &s.Heads[1].Keys[0]
	h.Keys = append(h.Keys, Segment{Table: other.Table, Len: 3, Format: f, Index: []int32{2, 17, 29}})
	want := read(c, &Head{Segment: h.Segment, Keys: h.Keys[:1]}, Keys)
	from := read(c, &s.Heads[1], Keys)
	for i, logical := range h.Keys[1].Index {
		copy(want[logical*32:][:32], from[i*32:])
	}
	if got := read(c, h, Keys); !reflect.DeepEqual(got, want) {
		t.Error("what is read differs")
	}
}
