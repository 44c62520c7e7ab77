package kv

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/ref/merge"
	"kvcompress/ref/quant"
)

// TestMerge merges the keys of two heads in two calls and their values in three, retains some, and compares what is
// read with the arithmetic of package merge: all of it, and from every index on.
func TestMerge(t *testing.T) {
	for _, format := range []dtype.DType{dtype.F16, dtype.BF16, dtype.F32} {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			cfg := Config{Shape: Shape{Layers: 3, KVHeads: 2, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 90, DType: format}
			const n, shallow, deep = 57, 3, 5 // layers 1 and 2, head 1
			c, s := filled(t, cfg, n)
			by, d := merge.Default(), cfg.Shape.HeadSize
			heads := [2]*Head{&s.Heads[shallow], &s.Heads[deep]}
			merged, kept := [3]int{Keys: 40, Values: 57}, [3][]int32{Keys: {3, 8, 39}, Values: {0, 1, 50, 56}}
			var want [3][2][]float32
			for _, p := range []Part{Keys, Values} {
				was := [2][]float32{read(c, heads[0], p), read(c, heads[1], p)}
				m, err := by.Spec(was[1], was[0], d)
				if err != nil {
					t.Fatal(err)
				}
				row := make([]byte, cfg.RowBytes())
				for side, norms := range [2][]float32{m.Shallow, m.Deep} {
					want[p][side] = slices.Clone(was[side])
					for i := range merged[p] {
						if slices.Contains(kept[p], int32(i)) {
							continue
						}
						direction := want[p][side][i*d:][:d]
						format.Encode(row, m.Directions[i*d:][:d])
						format.Decode(direction, row)
						for j := range direction {
							direction[j] *= norms[i]
						}
					}
				}
			}
			used := c.Blocks() - c.Free()
			for _, step := range []struct {
				part     Part
				n        int
				retained []int32
			}{{Keys, 16, []int32{3, 8}}, {Values, 1, []int32{0}}, {Keys, 24, []int32{39}}, {Values, 55, []int32{1, 50}}, {Values, 1, []int32{56}}} {
				if err := c.Merge(s, shallow, deep, step.part, Format{Kind: Merged}, by, step.n, 0.25); err != nil {
					t.Fatal(err)
				}
				for _, head := range []int{shallow, deep} {
					if err := c.Retain(s, head, step.part, step.retained); err != nil {
						t.Fatal(err)
					}
				}
			}
			own, exact := 0, 0
			for _, p := range []Part{Keys, Values} {
				own += cfg.Pages(Format{Kind: Merged}, merged[p])
				exact += cfg.Pages(Format{Kind: Exact}, len(kept[p]))
			}
			if got := c.Blocks() - c.Free() - used; got != own+2*exact {
				t.Errorf("%d pages were taken, want %d and twice %d", got, own, exact)
			}
			for side, h := range heads {
				if freed := c.TrimPlain(h); freed != 2 || h.First != 40 || h.KVs() != n {
					t.Errorf("%d blocks came free, and the plain segment begins with %d", freed, h.First)
				}
				if got, want := h.Blocks(), len(h.Table)+exact+(1-side)*own; got != want {
					t.Errorf("head %d holds %d blocks, want %d", side, got, want)
				}
				if err := c.CheckHead(h); err != nil {
					t.Error(err)
				}
				for _, p := range []Part{Keys, Values} {
					if got := read(c, h, p); !reflect.DeepEqual(got, want[p][side]) {
						t.Errorf("head %d, %v: what is read differs", side, p)
					}
					r := Reader{Cache: c}
					for first := range n {
						dst := make([]float32, min(16, n-first)*d)
						r.Read(dst, h, p, first)
						if !reflect.DeepEqual(dst, want[p][side][first*d:][:len(dst)]) {
							t.Fatalf("head %d, %v: from %d on, what is read differs", side, p, first)
						}
					}
				}
			}
			if u := c.Usage(); u.Allocated != s.Blocks() {
				t.Errorf("%d blocks are allocated, the sequence holds %d", u.Allocated, s.Blocks())
			}
			if again, err := c.Snapshot().Cache(cfg, nil); err != nil {
				t.Error(err)
			} else if got := read(again, &again.Sequence(3).Heads[deep], Keys); !reflect.DeepEqual(got, want[Keys][1]) {
				t.Error("a snapshot's keys are others")
			}
			c.Poison()
			if got := read(c, heads[1], Keys); !reflect.DeepEqual(got, want[Keys][1]) {
				t.Error("keys were poisoned")
			}
			if err := c.Remove(3); err != nil || c.Free() != c.Blocks() {
				t.Errorf("%v: %d of %d blocks are free", err, c.Free(), c.Blocks())
			}
		})
	}
}

// TestMergeRefused has what cannot be merged or retained: nothing changes.
func TestMergeRefused(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 9, DType: dtype.F16}
	c, s := filled(t, cfg, 40) // 6 blocks
	by, f := merge.Default(), Format{Kind: Merged}
	for name, err := range map[string]error{
		"nothing":         c.Merge(s, 0, 1, Keys, f, by, 0, 0),
		"too many":        c.Merge(s, 0, 1, Keys, f, by, 41, 0),
		"both parts":      c.Merge(s, 0, 1, Both, f, by, 8, 0),
		"one head":        c.Merge(s, 1, 1, Keys, f, by, 8, 0),
		"a plain format":  c.Merge(s, 0, 1, Keys, Format{}, by, 8, 0),
		"groups of 5":     c.Merge(s, 0, 1, Keys, Format{Merged, 4, 5}, by, 8, 0),
		"no such merging": c.Merge(s, 0, 1, Keys, f, merge.Slerp{T: 2, Eps: 1e-6}, 8, 0),
		"not merged":      c.Retain(s, 0, Keys, []int32{1}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var full *ErrNoBlocks
	if _, err := c.Add(4, 16); err != nil { // one block is left
		t.Fatal(err)
	}
	before := c.Snapshot()
	if err := c.Merge(s, 0, 1, Keys, f, by, 40, 0); !errors.As(err, &full) || full.Need != 2 || full.Free != 1 {
		t.Errorf("%v, want that 2 blocks are needed and 1 is free", err)
	}
	if got := c.Snapshot(); !reflect.DeepEqual(got, before) {
		t.Error("something has changed")
	}
	if err := c.Merge(s, 0, 1, Keys, f, by, 20, 0); err != nil {
		t.Fatal(err)
	}
	for _, kvs := range [][]int32{{-1}, {5, 5}, {7, 3}, {40}, nil} {
		if err := c.Retain(s, 0, Keys, kvs); err == nil || errors.As(err, &full) {
			t.Errorf("%v are retained: %v", kvs, err)
		}
	}
	if err := c.Retain(s, 0, Keys, []int32{5}); !errors.As(err, &full) {
		t.Errorf("%v, want that no block is free", err)
	}
	bad := s.Heads[1]
	bad.Keys = slices.Clone(bad.Keys)
	bad.Keys[0].Format, bad.Keys[0].Table = Format{Kind: Exact}, nil
	if err := c.CheckHead(&bad); err == nil || !strings.Contains(err.Error(), "retained") {
		t.Errorf("a deeper layer's exact segment: %v", err)
	}
}

// TestMergeQuantized merges keys whose directions are quantized: each is read back as its direction, in the cache's type and then
// in groups, times its norm.
func TestMergeQuantized(t *testing.T) {
	const d, n = 32, 20
	for _, format := range []dtype.DType{dtype.F16, dtype.BF16, dtype.F32} {
		for bits := 1; bits <= 4; bits++ {
			cfg := Config{Shape: Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: d}, BlockSize: 16, Blocks: 20, DType: format}
			c, s := filled(t, cfg, 40)
			f, by := Format{Kind: Merged, Bits: bits, Group: 8}, merge.Default()
			shallow, deep := read(c, &s.Heads[0], Keys)[:n*d], read(c, &s.Heads[1], Keys)[:n*d]
			m, err := by.Spec(deep, shallow, d)
			if err != nil {
				t.Fatal(err)
			}
			stored, rounded := make([]byte, n*d*format.Size()), make([]float32, n*d)
			format.Encode(stored, m.Directions)
			format.Decode(rounded, stored)
			g, a := quant.Groups{Bits: bits, Size: 8, Type: format}, quant.Values(1, n, d)
			q, err := g.Quantize(a, rounded)
			if err != nil {
				t.Fatal(err)
			}
			back, err := g.Dequantize(a, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []int{12, n - 12} { // in two calls
				if err := c.Merge(s, 0, 1, Keys, f, by, part, 0); err != nil {
					t.Fatal(err)
				}
			}
			for side, norms := range [][]float32{m.Shallow, m.Deep} {
				got := read(c, &s.Heads[side], Keys)
				for i := range n * d {
					if want := float32(back[i] * norms[i/d]); got[i] != want {
						t.Fatalf("%v, %d bits, side %d: element %d of token %d is %g, want %g", format, bits, side, i%d, i/d, got[i], want)
					}
				}
				if err := c.CheckHead(&s.Heads[side]); err != nil {
					t.Error(err)
				}
			}
			if err := c.Merge(s, 0, 1, Keys, Format{Kind: Merged}, by, 1, 0); err == nil {
				t.Error("directions of two formats are in one segment")
			}
		}
	}
}
