package kv

import (
	"strings"
	"testing"

	"kvcompress/dtype"
)

// TestCapacity pins how many KVs a page holds by values worked out by hand. A page of 16
// KVs of 128 f16 elements has 16·2·128·2 = 8,192 bytes.
func TestCapacity(t *testing.T) {
	llama := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 128}, BlockSize: 16, DType: dtype.F16}
	small := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 32}, BlockSize: 4, DType: dtype.F32}
	for _, c := range []struct {
		name    string
		cfg     Config
		format  Format
		page    int
		holds   int
		payload float64
	}{
		{"plain", llama, Format{}, 8192, 16, 512},
		// A group: 32·128·4/8 = 2,048 bytes of codes, 2·2·128 = 512 of scales and minima.
		{"keys of 4 bits", llama, Format{Kind: QuantizedKeys, Bits: 4, Group: 32}, 8192, 3 * 32, 2560.0 / 32},
		// 1,024 + 512 bytes: 5.33 groups.
		{"keys of 2 bits", llama, Format{Kind: QuantizedKeys, Bits: 2, Group: 32}, 8192, 5 * 32, 1536.0 / 32},
		// A token: 128·4/8 = 64 bytes of codes, 2·2·4 = 16 of scales and minima.
		{"values of 4 bits", llama, Format{Kind: QuantizedValues, Bits: 4, Group: 32}, 8192, 102, 80},
		{"values of 2 bits", llama, Format{Kind: QuantizedValues, Bits: 2, Group: 32}, 8192, 170, 48},
		// 256 bytes of direction, two norms of 2.
		{"merged", llama, Format{Kind: Merged}, 8192, 31, 260},
		{"merged, of 4 bits", llama, Format{Kind: Merged, Bits: 4, Group: 32}, 8192, 97, 84},
		// In f32 scales are f32: 32·32·4/8 + 2·4·32 = 768 bytes of 4·2·32·4 = 1,024.
		{"f32 keys of 4 bits", small, Format{Kind: QuantizedKeys, Bits: 4, Group: 32}, 1024, 32, 24},
	} {
		if err := c.cfg.Check(c.format); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if page, holds, payload := c.cfg.PageBytes(), c.cfg.Capacity(c.format), c.cfg.Payload(c.format); page != c.page || holds != c.holds || payload != c.payload {
			t.Errorf("%s: a page of %d bytes holds %d KVs of %g bytes, want %d, %d and %g", c.name, page, holds, payload, c.page, c.holds, c.payload)
		}
	}
}

// TestFormatRefused checks that a format that cannot be packed is refused, with what
// would do.
func TestFormatRefused(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 40}, BlockSize: 1, DType: dtype.F16}
	for want, f := range map[string]Format{
		"has neither bits nor groups": {Bits: 4},
		"kind 9 is unknown":           {Kind: 9},
		"0 bits, want 1 to 8":         {Kind: QuantizedKeys, Group: 32},
		"9 bits, want 1 to 8":         {Kind: QuantizedValues, Bits: 9, Group: 8},
		"groups of 0":                 {Kind: QuantizedKeys, Bits: 4},
		"a multiple of 8":             {Kind: QuantizedKeys, Bits: 3, Group: 4},
		"a divisor of 40":             {Kind: QuantizedValues, Bits: 4, Group: 32},
		"a larger block_size":         {Kind: QuantizedKeys, Bits: 4, Group: 32},
	} {
		if err := cfg.Check(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", f, err, want)
		}
	}
}

// TestSegmentsCount checks that the blocks of every segment are counted, kept in a
// snapshot, and freed with the sequence.
func TestSegmentsCount(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 128}, BlockSize: 16, Blocks: 20, DType: dtype.F16}
	c := NewCache(cfg, nil)
	s, err := c.Add(3, 20) // two blocks a head
	if err != nil {
		t.Fatal(err)
	}
	format := Format{Kind: QuantizedKeys, Bits: 4, Group: 32}
	h := &s.Heads[1]
	for range 2 {
		b := int32(c.free.take())
		c.Owners[b] = Owner{Seq: 3, Head: 1}
		h.Keys = append(h.Keys, Segment{Table: []int32{b}, Len: 96, Format: format, First: 96 * len(h.Keys)})
	}
	if err := c.Holds(h); err != nil {
		t.Error(err)
	}
	if h.Blocks() != 4 || h.KVs() != 20+192 || s.Blocks() != 6 || c.HeadUsage().Blocks[0][1] != 4 {
		t.Errorf("the head has %d blocks and %d keys, the sequence %d blocks", h.Blocks(), h.KVs(), s.Blocks())
	}
	copied, err := c.Snapshot().Cache(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Keys[0].Table[0]++
	if got := copied.Sequence(3).Heads[1].Keys; len(got) != 2 || got[0].Format != format || got[0].Table[0] == h.Keys[0].Table[0] {
		t.Errorf("the snapshot has %+v", got)
	}
	h.Keys[0].Table[0]--
	if err := c.Remove(3); err != nil || c.Free() != cfg.Blocks {
		t.Errorf("%v: %d of %d blocks are free", err, c.Free(), cfg.Blocks)
	}
}
