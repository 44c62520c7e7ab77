package kv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
)

func scaleConfig(format dtype.DType, s *Scale) Config {
	return Config{Shape: Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: 8}, BlockSize: 2, Blocks: 8, DType: format, KVScale: s}
}

// TestScaleProblems lists the scales that a cache cannot have.
func TestScaleProblems(t *testing.T) {
	one := []float32{1}
	for _, c := range []struct {
		name   string
		format dtype.DType
		scale  *Scale
		want   string
	}{
		{"none", dtype.F16, nil, ""},
		{"one for all layers", dtype.E4M3, &Scale{one, []float32{0.5}}, ""},
		{"one for each", dtype.E5M2, &Scale{[]float32{1, 2}, one}, ""},
		{"of f16", dtype.F16, &Scale{one, one}, "kv_scale: a cache of f16 has none: only the fp8 formats have"},
		{"too many", dtype.E4M3, &Scale{one, []float32{1, 1, 1}}, "kv_scale: v has 3 numbers: want one for all layers, or one for each of the 2"},
		{"of K alone", dtype.E4M3, &Scale{K: one}, "kv_scale: v has 0 numbers"},
		{"zero", dtype.E4M3, &Scale{[]float32{0}, one}, "kv_scale: k[0] is 0, want 2^-40 to 2^40"},
		{"negative", dtype.E4M3, &Scale{one, []float32{1, -1}}, "kv_scale: v[1] is -1"},
		{"NaN", dtype.E4M3, &Scale{[]float32{float32(math.NaN())}, one}, "kv_scale: k[0] is NaN"},
		{"infinite", dtype.E4M3, &Scale{[]float32{float32(math.Inf(1))}, one}, "kv_scale: k[0] is +Inf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := scaleConfig(c.format, c.scale)
			got := fmt.Sprint(cfg.Problems(nil))
			if c.want == "" && got != "[]" || !strings.Contains(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestScale stores values and reads them back, with the scales of their layer.
func TestScale(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, format := range []dtype.DType{dtype.E4M3, dtype.E5M2} {
		scale := &Scale{K: []float32{0.01, MaxScale}, V: []float32{0.3}}
		c := NewCache(scaleConfig(format, scale), nil)
		plain := NewCache(scaleConfig(format, nil), nil)
		ones := NewCache(scaleConfig(format, &Scale{K: []float32{1}, V: []float32{1, 1}}), nil)
		for _, cache := range []*Cache{c, plain, ones} {
			if _, err := cache.Add(0, 3); err != nil {
				t.Fatal(err)
			}
		}
		for layer := range 2 {
			for i := range 3 {
				slot := c.Slot(&c.Sequence(0).Heads[layer], i)
				k, v := make([]float32, 8), make([]float32, 8)
				for j := range k {
					k[j], v[j] = float32(rng.NormFloat64()*math.Exp(rng.Float64()*40-20)), float32(rng.NormFloat64())
				}
				for _, cache := range []*Cache{c, plain, ones} {
					cache.Store(slot, k, v)
				}
				if !slices.Equal(plain.Key(slot), ones.Key(slot)) || !slices.Equal(plain.Value(slot), ones.Value(slot)) {
					t.Fatalf("%v: a scale of 1 changes what is stored", format)
				}
				gotK, gotV := make([]float32, 8), make([]float32, 8)
				c.ReadKeys(gotK, slot)
				c.ReadValues(gotV, slot)
				for j := range k {
					byK, byV := scale.K[layer], scale.V[0]
					if want := float32(once(format, k[j]/byK) * byK); gotK[j] != want {
						t.Errorf("%v, layer %d: key %g reads as %g, want %g", format, layer, k[j], gotK[j], want)
					}
					if want := float32(once(format, v[j]/byV) * byV); gotV[j] != want {
						t.Errorf("%v, layer %d: value %g reads as %g, want %g", format, layer, v[j], gotV[j], want)
					}
				}
				plain.ReadKeys(gotK, slot)
				ones.ReadKeys(gotV, slot)
				if !slices.Equal(gotK, gotV) {
					t.Fatalf("%v: a scale of 1 changes what is read", format)
				}
			}
		}
	}
}

// once rounds a number to a format.
func once(format dtype.DType, x float32) float32 {
	var b [1]byte
	to := []float32{x}
	format.Encode(b[:], to)
	format.Decode(to, b[:])
	return to[0]
}
