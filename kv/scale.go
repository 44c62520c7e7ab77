package kv

import (
	"errors"
	"fmt"
)

// Scale is the scales of an fp8 cache. K and V are divided by them before rounding, and multiplied by them
// when they are read. Each of K and V has one scale for all layers or one per layer. These are k_scale and
// v_scale of vLLM 0.6 and IsaacRe/vllm-kvcompress, which have one of each per layer.
//
//	stored = fp8(x / s)    read = float32(stored) · s
type Scale struct {
	K []float32 `json:"k"`
	V []float32 `json:"v"`
}

// Bounds of a scale, chosen so that no quotient or product overflows: what is stored is at most 57344, what
// is read at most trace.MaxMagnitude.
const (
	MinScale = 0x1p-40
	MaxScale = 0x1p+40
)

// check returns all errors of the scales of a model with the given number of layers, joined.
func (s *Scale) check(layers int) error {
	var errs []error
	for _, x := range []struct {
		name   string
		values []float32
	}{{"k", s.K}, {"v", s.V}} {
		if n := len(x.values); n != 1 && n != layers {
			errs = append(errs, fmt.Errorf("config: kv_scale: %s has %d numbers: want one for all layers, or one for each of the %d", x.name, n, layers))
		}
		for i, v := range x.values {
			if !(v >= MinScale && v <= MaxScale) {
				errs = append(errs, fmt.Errorf("config: kv_scale: %s[%d] is %v, want 2^-40 to 2^40", x.name, i, v))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// Of returns the scales of K and V in a layer: 1 if s is nil.
func (s *Scale) Of(layer int) (k, v float32) {
	if s == nil {
		return 1, 1
	}
	return at(s.K, layer), at(s.V, layer)
}

// at returns the scale of a layer.
func at(scales []float32, layer int) float32 {
	if len(scales) == 1 {
		return scales[0]
	}
	return scales[layer]
}

// Store rounds one key and value to the cache's format and writes them to a slot of a head.
func (c *Cache) Store(slot int, k, v []float32) {
	c.StoreKey(slot, k)
	c.StoreValue(slot, v)
}

// StoreKey rounds one key, as Store does.
func (c *Cache) StoreKey(slot int, k []float32) {
	if s := c.cfg.KVScale; s != nil {
		k = quotients(k, at(s.K, c.layerOf(slot)))
	}
	c.cfg.DType.Encode(c.Key(slot), k)
}

// StoreValue rounds one value, as Store does.
func (c *Cache) StoreValue(slot int, v []float32) {
	if s := c.cfg.KVScale; s != nil {
		v = quotients(v, at(s.V, c.layerOf(slot)))
	}
	c.cfg.DType.Encode(c.Value(slot), v)
}

// ReadKeys reads the keys of consecutive slots of one block of a head into dst, [n, D].
func (c *Cache) ReadKeys(dst []float32, slot int) {
	c.cfg.DType.Decode(dst, c.KeyRows(slot, len(dst)/c.cfg.Shape.HeadSize))
	if s := c.cfg.KVScale; s != nil {
		multiply(dst, at(s.K, c.layerOf(slot)))
	}
}

// ReadValues reads values, as ReadKeys reads keys.
func (c *Cache) ReadValues(dst []float32, slot int) {
	c.cfg.DType.Decode(dst, c.ValueRows(slot, len(dst)/c.cfg.Shape.HeadSize))
	if s := c.cfg.KVScale; s != nil {
		multiply(dst, at(s.V, c.layerOf(slot)))
	}
}

// layerOf returns the layer of the head that holds a slot.
func (c *Cache) layerOf(slot int) int { return int(c.Owners[slot/c.cfg.BlockSize].Layer) }

func quotients(x []float32, by float32) []float32 {
	q := make([]float32, len(x))
	for i, v := range x {
		q[i] = v / by
	}
	return q
}

func multiply(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}
