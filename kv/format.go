package kv

import (
	"fmt"

	"kvcompress/internal/ceil"
)

// Format is the format of a segment's pages. The zero value is the plain format.
type Format struct {
	Kind  Kind
	Bits  int // bits per code in PerChannel and PerToken pages, and in Merged pages with quantized directions; else 0
	Group int // elements that share one scale and one minimum, if Bits is not 0
}

// Kind is the layout of a page.
type Kind uint8

// The kinds of pages.
const (
	Plain      Kind = iota // B keys and B values of the same KVs, in the cache's dtype
	PerChannel             // keys or values: groups of Group tokens, with a scale and a minimum per channel (KIVI's keys)
	PerToken               // keys or values: tokens, with a scale and a minimum per Group channels (KIVI's values, FlexGen)
	Merged                 // keys or values: a direction shared by two layers, and a norm for each of the two (MiniCache)
	Exact                  // keys or values in the cache's dtype, each after its logical index (what MiniCache retains)
)

func (k Kind) String() string {
	names := [...]string{"plain", "per-channel", "per-token", "merged", "exact"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// scaleBytes is the size of a scale or a minimum, which are stored in the cache's dtype.
func (c *Config) scaleBytes() int { return c.DType.Size() }

// Sizes of the numbers in a unit that are not in the cache's dtype.
const (
	normBytes  = 4 // a norm, in binary32, since the norm of a vector may exceed the largest f16
	indexBytes = 4 // a logical index
)

// Check returns an error if a cache of this configuration cannot have pages of the format; the error suggests
// what to change.
func (c *Config) Check(f Format) error {
	d := c.Shape.HeadSize
	switch f.Kind {
	case Plain:
		if f != (Format{}) {
			return fmt.Errorf("format: a plain page has neither bits nor groups")
		}
		return nil
	case PerChannel, PerToken, Merged, Exact:
	default:
		return fmt.Errorf("format: unknown kind %d", f.Kind)
	}
	if c.DType.Size() < 2 {
		return fmt.Errorf("format: scales, minima and directions cannot be stored in a cache of %v: choose kv_dtype f32, f16 or bf16", c.DType)
	}
	switch exact := f.Kind == Exact || f.Kind == Merged && f.Bits == 0; {
	case exact && (f.Bits != 0 || f.Group != 0):
		return fmt.Errorf("format: %d bits and groups of %d in a format that is not quantized", f.Bits, f.Group)
	case exact:
	case f.Bits < 1 || f.Bits > 8:
		return fmt.Errorf("format: %d bits, want 1 to 8", f.Bits)
	case f.Group < 1:
		return fmt.Errorf("format: groups of %d, want at least 1", f.Group)
	case f.Kind == PerChannel && f.Group*f.Bits%8 != 0:
		return fmt.Errorf("format: %d tokens of %d bits are not a whole number of bytes: choose a group that is a multiple of 8", f.Group, f.Bits)
	case f.Kind != PerChannel && d%f.Group != 0:
		return fmt.Errorf("format: a head size of %d is not a multiple of the group size %d: choose a divisor of %d", d, f.Group, d)
	case f.Kind != PerChannel && d*f.Bits%32 != 0:
		return fmt.Errorf("format: %d elements of %d bits are not a whole number of 32-bit words: choose another number of bits", d, f.Bits)
	}
	if c.Capacity(f) == 0 {
		return fmt.Errorf("format: a page of %d bytes is too small for one group of %d bytes: choose a larger block_size or smaller groups", c.PageBytes(), c.UnitBytes(f))
	}
	return nil
}

// Unit returns the number of KVs in a unit, the least that can be added to a page of the format.
func (f Format) Unit() int {
	if f.Kind == PerChannel {
		return f.Group
	}
	return 1
}

// UnitBytes returns the bytes of a unit: codes or elements, scales, minima and norms. Check must accept the
// format.
func (c *Config) UnitBytes(f Format) int {
	d, scale := c.Shape.HeadSize, c.scaleBytes()
	switch f.Kind {
	case PerChannel:
		return f.Group*d*f.Bits/8 + 2*scale*d
	case PerToken:
		return (d*f.Bits+7)/8 + 2*scale*(d/f.Group)
	case Merged:
		if f.Bits == 0 {
			return c.RowBytes() + 2*normBytes
		}
		return (d*f.Bits+7)/8 + 2*scale*(d/f.Group) + 2*normBytes
	case Exact:
		return indexBytes + c.RowBytes()
	default:
		return 2 * c.RowBytes()
	}
}

// Capacity returns how many KVs a page of the format holds: B in a plain page, whole units in others, 0 if
// not even one fits. For example, a page of 8,192 bytes holds 96 keys of 128 f16 elements in 4-bit groups of
// 32 tokens: 80 bytes per key would be 102, but groups are not divided.
func (c *Config) Capacity(f Format) int {
	if f.Kind == Plain {
		return c.BlockSize
	}
	if f.Group < 1 && f.Bits > 0 || f.Kind > Exact || c.DType.Size() < 2 {
		return 0
	}
	n := c.UnitBytes(f)
	if n < 1 {
		return 0
	}
	return c.PageBytes() / n * f.Unit()
}

// Payload returns the bytes per KV without the unused end of a page: for K and V in a plain page, for K or V
// alone in others.
func (c *Config) Payload(f Format) float64 {
	return float64(c.UnitBytes(f)) / float64(f.Unit())
}

// Pages returns how many pages of the format the given number of KVs needs.
func (c *Config) Pages(f Format, kvs int) int { return ceil.Div(kvs, c.Capacity(f)) }
