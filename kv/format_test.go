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
		{"keys of 4 bits", llama, Format{Kind: PerChannel, Bits: 4, Group: 32}, 8192, 3 * 32, 2560.0 / 32},
		// 1,024 + 512 bytes: 5.33 groups.
		{"keys of 2 bits", llama, Format{Kind: PerChannel, Bits: 2, Group: 32}, 8192, 5 * 32, 1536.0 / 32},
		// A token: 128·4/8 = 64 bytes of codes, 2·2·4 = 16 of scales and minima.
		{"values of 4 bits", llama, Format{Kind: PerToken, Bits: 4, Group: 32}, 8192, 102, 80},
		{"values of 2 bits", llama, Format{Kind: PerToken, Bits: 2, Group: 32}, 8192, 170, 48},
		// 256 bytes of direction, two norms of 4.
		{"merged", llama, Format{Kind: Merged}, 8192, 31, 264},
		{"merged, of 4 bits", llama, Format{Kind: Merged, Bits: 4, Group: 32}, 8192, 93, 88},
		{"exact", llama, Format{Kind: Exact}, 8192, 31, 260},
		// In f32 scales are f32: 32·32·4/8 + 2·4·32 = 768 bytes of 4·2·32·4 = 1,024.
		{"f32 keys of 4 bits", small, Format{Kind: PerChannel, Bits: 4, Group: 32}, 1024, 32, 24},
	} {
		if err := c.cfg.Check(c.format); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if page, holds, payload := c.cfg.PageBytes(), c.cfg.Capacity(c.format), c.cfg.Payload(c.format); page != c.page || holds != c.holds || payload != c.payload {
			t.Errorf("%s: a page of %d bytes holds %d KVs of %g bytes, want %d, %d and %g", c.name, page, holds, payload, c.page, c.holds, c.payload)
		}
	}
}

// TestFormatRefused: the error for a format that cannot be packed says what would work.
func TestFormatRefused(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 40}, BlockSize: 1, DType: dtype.F16}
	for want, f := range map[string]Format{
		"has neither bits nor groups":        {Bits: 4},
		"unknown kind 9":                     {Kind: 9},
		"0 bits, want 1 to 8":                {Kind: PerChannel, Group: 32},
		"9 bits, want 1 to 8":                {Kind: PerToken, Bits: 9, Group: 8},
		"not a whole number of 32-bit words": {Kind: PerToken, Bits: 2, Group: 8},
		"groups of 0":                        {Kind: PerChannel, Bits: 4},
		"a multiple of 8":                    {Kind: PerChannel, Bits: 3, Group: 4},
		"choose a divisor of 40":             {Kind: PerToken, Bits: 4, Group: 32},
		"a larger block_size":                {Kind: PerChannel, Bits: 4, Group: 32},
	} {
		if err := cfg.Check(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", f, err, want)
		}
	}
}

// TestFormatOfFP8 checks that an fp8 cache, which has no type for scales, has plain pages
// alone.
func TestFormatOfFP8(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 64}, BlockSize: 16, DType: dtype.E4M3}
	if err := cfg.Check(Format{Kind: PerToken, Bits: 4, Group: 32}); err == nil || !strings.Contains(err.Error(), "choose kv_dtype f32, f16 or bf16") {
		t.Errorf("%v", err)
	}
}
