package quant_test

import (
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref/quant"
)

// TestBytesOfPages compares Bytes with what package kv counts for the same KVs in pages.
func TestBytesOfPages(t *testing.T) {
	compared := 0
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16} {
		for d := kv.MinHeadSize; d <= kv.MaxHeadSize; d += 8 {
			c := kv.Config{Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: d}, BlockSize: 256, DType: format}
			for bits := 1; bits <= quant.MaxBits; bits++ {
				for _, size := range []int{8, 16, 32, 64, d} {
					g := quant.Groups{Bits: bits, Size: size, Type: format}
					for _, x := range []struct {
						kind   kv.Kind
						a      quant.Array
						tokens int
					}{{kv.PerChannel, quant.Keys(1, size, d), size}, {kv.PerToken, quant.Values(1, 1, d), 1}} {
						n, err := g.Bytes(x.a)
						if err != nil {
							continue
						}
						page := kv.Format{Kind: x.kind, Bits: bits, Group: size}
						if want := c.Payload(page) * float64(x.tokens); float64(n) != want {
							t.Fatalf("%+v of head size %d: %d bytes, a page counts %g", page, d, n, want)
						}
						compared++
					}
				}
			}
		}
	}
	t.Logf("%d formats", compared)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
