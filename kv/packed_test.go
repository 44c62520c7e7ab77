package kv

import (
	"reflect"
	"testing"

	"kvcompress/dtype"
	"kvcompress/ref/merge"
)

// TestPut puts keys and values into pages later than they were computed. Until then nothing has changed; putting them
// a second time fails, since they do not follow the contents of the pages.
func TestPut(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 20, DType: dtype.F16}
	c, s := filled(t, cfg, 40)
	before := c.Snapshot()
	quantized, err := c.Quantized(s, 0, Keys, Format{PerToken, 4, 8}, 20)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := c.Merged(s, 0, 1, Values, Format{Kind: Merged, Bits: 2, Group: 8}, merge.Default(), 30, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Snapshot(), before) {
		t.Error("something has changed")
	}
	for _, p := range []*Packed{quantized, merged} {
		if err := c.Put(s, p); err != nil {
			t.Fatal(err)
		}
		if err := c.Put(s, p); err == nil {
			t.Error("they are there twice")
		}
	}
	if h := &s.Heads[1]; s.Heads[0].End(Keys) != 20 || s.Heads[0].End(Values) != 30 || h.End(Values) != 30 || h.End(Keys) != 0 || !h.Values[0].Deep {
		t.Errorf("%+v", s.Heads)
	}
	for i := range s.Heads {
		if err := c.CheckHead(&s.Heads[i]); err != nil {
			t.Error(err)
		}
	}
}
